"""Where the parts are joined: settings → database → keyring → one clinic's log and views.

Doors receive what stands here; only this module, the command line and the worker know `infra`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid4

import psycopg

from domain.records import Clock, Records, system_clock
from infra.acknowledged import AcknowledgedHead
from infra.event_store import ClinicLog
from infra.keyring import FileKeyring, open_keyring
from infra.migrate import migrate
from infra.postgres import Database, open_database
from infra.recorder import clinics, found_clinic
from infra.settings import Settings

Progress = Callable[[str], None]

# Advisory lock of whoever begins a clinic: the bytes of "founding" as a number.
_FOUNDING = int.from_bytes(b"founding", "big")


class ClinicUnclear(Exception):
    """The database holds several clinics, or not the one that was named. The text says which."""


@dataclass(frozen=True)
class Service:
    """The opened parts of one clinic's service."""

    settings: Settings
    database: Database
    keyring: FileKeyring
    clinic: UUID
    log: ClinicLog

    @property
    def records(self) -> Records:
        return Records(self.log)

    def acknowledged(self) -> tuple[int, bytes] | None:
        """(size, root) of the last head acknowledged to anybody, kept outside PostgreSQL."""
        return acknowledged_head(self.settings, self.clinic)

    @contextmanager
    def log_with(self, clock: Clock) -> Iterator[ClinicLog]:
        """Another writer on the same log, by a clock of its own."""
        log = ClinicLog(
            self.database.dsn("app"),
            self.clinic,
            self.keyring,
            AcknowledgedHead(self.settings.home / "heads", self.clinic),
            clock=clock,
        )
        try:
            yield log
        finally:
            log.close()


def acknowledged_head(settings: Settings, clinic: UUID) -> tuple[int, bytes] | None:
    """(size, root) of the last head acknowledged to anybody, kept outside PostgreSQL."""
    head = AcknowledgedHead(settings.home / "heads", clinic)
    try:
        return head.read()
    finally:
        head.close()


@contextmanager
def open_service(
    settings: Settings,
    *,
    role: Literal["app", "import", "read"] = "app",
    progress: Progress | None = None,
    clock: Clock = system_clock,
) -> Iterator[Service]:
    """Opens everything one process needs, and closes it again.

    Raises PostgresError, MigrationError, KeyringError, ClinicUnclear, LogDiverged; each message is
    for the person who runs the product.
    """
    with ExitStack() as opened:
        database = opened.enter_context(open_database(settings, progress))
        migrate(database.dsn("owner"))
        keyring = opened.enter_context(open_keyring(settings.keyring))
        clinic = begin_clinic(database, settings)
        log = ClinicLog(
            database.dsn(role),
            clinic,
            keyring,
            AcknowledgedHead(settings.home / "heads", clinic),
            clock=clock,
        )
        opened.callback(log.close)
        yield Service(settings, database, keyring, clinic, log)


def clinic_in(database: Database, settings: Settings) -> UUID | None:
    """The clinic this process is for; None where the database holds none. ClinicUnclear."""
    known = clinics(database.dsn("owner"))
    if settings.clinic is not None:
        return settings.clinic if settings.clinic in known else None
    if len(known) > 1:
        raise ClinicUnclear(
            "The database holds several clinics; name one by RAPPORT_CLINIC: "
            + ", ".join(map(str, known))
        )
    return known[0] if known else None


def begin_clinic(database: Database, settings: Settings) -> UUID:
    """The clinic this process is for; on a new database it begins one.

    Processes that start together take turns, or each would begin its own.
    """
    owner = database.dsn("owner")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_FOUNDING,))
        known = clinic_in(database, settings)
        if known is None:
            known = settings.clinic or uuid4()
            found_clinic(owner, known)
        return known
