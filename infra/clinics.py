"""Which clinics a database holds, and which of them this process is for.

All that can be known of a record before it is opened; who only verifies it needs no more.
"""

from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.acknowledged import AcknowledgedHead, LogDiverged, remembered
from infra.merkle import Frontier
from infra.postgres import Database
from infra.settings import Settings


class NoSuchClinic(Exception):
    """The database holds no log of that clinic; its text is the clinic's id."""


class ClinicUnclear(Exception):
    """The database holds several clinics, or not the one that was named. The text says which."""


def found_clinic(owner_conninfo: str, clinic: UUID) -> None:
    """Begins a clinic's log, as the owner of the tables; repeating it is harmless."""
    empty = Frontier()
    with psycopg.connect(owner_conninfo, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO rapport.heads (clinic, size, root, frontier, recorded_at) "
            "VALUES (%s, 0, %s, %s, 'epoch') ON CONFLICT DO NOTHING",
            (clinic, empty.root(), empty.to_bytes()),
        )


def clinics(owner_conninfo: str) -> list[UUID]:
    """Every clinic that has a log in the database, for the owner of the tables only."""
    with psycopg.connect(owner_conninfo, autocommit=True) as conn:
        rows = conn.execute("SELECT clinic FROM rapport.heads ORDER BY clinic").fetchall()
    return [row[0] for row in rows]


def holds_entries(owner_conninfo: str) -> bool:
    """Whether any clinic's log in the database has an entry."""
    with psycopg.connect(owner_conninfo, autocommit=True) as conn:
        row = conn.execute("SELECT EXISTS (SELECT FROM rapport.heads WHERE size > 0)").fetchone()
    return row == (True,)


def pinned(conninfo: str, clinic: UUID) -> str:
    """`conninfo` with its sessions limited to one clinic by row-level security."""
    return with_option(conninfo, f"rapport.clinic={clinic}")


def with_option(conninfo: str, setting: str) -> str:
    """`conninfo` with a setting of its sessions: `name=value`."""
    options = conninfo_to_dict(conninfo).get("options") or ""
    return make_conninfo(conninfo, options=f"{options} -c {setting}".strip())


def acknowledged_head(settings: Settings, clinic: UUID) -> tuple[int, bytes] | None:
    """(size, root) of the last head acknowledged to anybody, kept outside PostgreSQL."""
    head = AcknowledgedHead(settings.home / "heads", clinic)
    try:
        return head.read()
    finally:
        head.close()


def clinic_in(database: Database, settings: Settings) -> UUID | None:
    """The clinic this process is for; None where the database holds none.

    Raises ClinicUnclear; LogDiverged where a log of which something was acknowledged is gone as a
    whole: it must not look like a new database, on which another clinic would be begun.
    """
    known = clinics(database.dsn("owner"))
    for clinic, size in remembered(settings.home / "heads").items():
        if clinic not in known and settings.clinic in (None, clinic):
            raise LogDiverged(clinic, size, 0)
    if settings.clinic is not None:
        return settings.clinic if settings.clinic in known else None
    if len(known) > 1:
        raise ClinicUnclear(
            "The database holds several clinics; name one by RAPPORT_CLINIC: "
            + ", ".join(map(str, known))
        )
    return known[0] if known else None
