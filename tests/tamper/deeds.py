"""What a superuser, with or without the keyring, does to the log of `record.py`."""

# ruff: noqa: S608  statements are put together from what stands in this file

import sqlite3
from collections.abc import Callable
from uuid import uuid4

from domain.event import Event, Stream
from infra.keyring import RING_FILE
from tests.kit import CLIENT, PARTNER, held, home, informed
from tests.tamper.forger import Forger
from tests.tamper.suspect import ENTRIES, change, delete, flipped

Deed = Callable[[Forger], None]


def sql(*statements: str) -> Deed:
    return lambda log: log.tamper(*statements)


def many(*deeds: Deed) -> Deed:
    def deed(log: Forger) -> None:
        for each in deeds:
            each(log)

    return deed


LEAVES, COMMITS, HEAD = Forger.fit_leaves, Forger.fit_commits, Forger.fit_head
WHOLE = many(LEAVES, COMMITS, HEAD)
"""Everything that the database stores fits again."""


def edited(column: str, position: int = 5) -> Deed:
    """One bit turned in one column of an entry."""

    def deed(log: Forger) -> None:
        (row,) = log.rows(f"SELECT {column} AS it {ENTRIES} AND position = {position}")
        update = change("entries", f"{column} = %(value)s", f"position = {position}")
        log.tamper(update, value=flipped(row["it"]))

    return deed


def swapped(column: str, one: int, other: int) -> Deed:
    """The values of a column in two entries, exchanged."""

    def deed(log: Forger) -> None:
        rows = log.rows(f"SELECT {column} AS it {ENTRIES} ORDER BY position")
        for to, source in ((one, other), (other, one)):
            update = change("entries", f"{column} = %(value)s", f"position = {to}")
            log.tamper(update, value=rows[source - 1]["it"])

    return deed


def in_each_others_place(one: int, other: int, table: str = "entries") -> Deed:
    """Two entries, or commands, of which each stands where the other stood."""
    place = "position" if table == "entries" else "first_position"
    return sql(
        change(table, f"{place} = {1000 + one}", f"{place} = {one}"),
        change(table, f"{place} = {one}", f"{place} = {other}"),
        change(table, f"{place} = {other}", f"{place} = {1000 + one}"),
    )


# --- Entries removed, added, exchanged ---------------------------------------------------------

# Entry 5 deleted; what stands behind it, and what counts it, is moved up.
removed = sql(
    delete("entries", "position = 5"),
    change("entries", "version = version - 1", "position IN (6, 7)"),
    change("entries", "command_index = 1", "position = 6"),
    change("entries", "position = position + 999", "position > 5"),
    change("entries", "position = position - 1000", "position > 1000"),
    change("commands", "first_position = first_position - 1", "first_position > 5"),
    change("commands", "entries = 2", "first_position = 4"),
    change("commands", "tree_size = tree_size - 1", "tree_size > 5"),
    change("batches", "size = 5", "size = 6"),
    change("batches", "size = 9", "size = 10"),
)

# Entry 5 a second time, behind itself, as the next one of its stream and command.
doubled = sql(
    f"CREATE TEMP TABLE forged AS SELECT * {ENTRIES} AND position = 5",
    change("entries", "version = version + 100", "position IN (6, 7)"),
    change("entries", "version = version - 99", "version > 100"),
    change("entries", "command_index = 3", "position = 6"),
    change("entries", "position = position + 1001", "position > 5"),
    change("entries", "position = position - 1000", "position > 1000"),
    "UPDATE forged SET position = 6, version = version + 1, command_index = 2",
    "INSERT INTO rapport.entries SELECT * FROM forged",
    change("commands", "first_position = first_position + 1", "first_position > 5"),
    change("commands", "entries = 4", "first_position = 4"),
    change("commands", "tree_size = tree_size + 1", "tree_size > 5"),
    change("batches", "size = 11", "size = 10"),
    change("batches", "size = 7", "size = 6"),
)

into_another_stream = sql(
    change("entries", "stream = 'schedule-' || gen_random_uuid()", "position = 8")
)

# Entry 5 of another clinic's log in the place of this one's, as far as columns can be made to fit.
from_another_clinic = sql(
    "CREATE TEMP TABLE forged AS SELECT * FROM rapport.entries WHERE position = 5 "
    "AND clinic = (SELECT clinic FROM rapport.heads WHERE clinic <> %(clinic)s LIMIT 1)",
    f"UPDATE forged SET clinic = %(clinic)s, (recorded_at, command_id) = "
    f"(SELECT recorded_at, command_id {ENTRIES} AND position = 5)",
    delete("entries", "position = 5"),
    "INSERT INTO rapport.entries SELECT * FROM forged",
)

commands_cut = sql(delete("entries", "position > 6"), delete("commands", "first_position > 6"))
commits_cut = many(commands_cut, sql(delete("batches", "size > 6")))


# --- With the keyring ---------------------------------------------------------------------------


def appended(event: Event, stream: Stream, subject: str | None = None) -> Deed:
    """A further entry of that stream, sealed by the key of its subject, or of somebody else."""

    def deed(log: Forger) -> None:
        whose = str(event.subject() or "joint") if subject is None else subject
        with log.keyring() as keyring:
            key_id, key = keyring.key_for(log.clinic, str(stream), whose)
        log.append(stream, event, key_id, key)

    return deed


def appended_under(position: int, event: Event) -> Deed:
    """A further entry that names the key of an earlier one, by somebody who does not have it."""

    def deed(log: Forger) -> None:
        (row,) = log.rows(f"SELECT key_id {ENTRIES} AND position = {position}")
        log.append(home(event), event, row["key_id"], bytes(32))

    return deed


class _Nonsense(Event):
    """What no reader of its topic knows."""

    topic = "information.given"
    nothing: str = "of the kind"


appended_properly = appended(informed(), home(informed()))
appended_by_another_key = appended(informed(), home(informed()), "joint")
appended_nonsense = appended(_Nonsense(), home(informed()))


def gone_on(entries: int) -> Deed:
    """Other entries, where those of the last commit stood and beyond."""
    return many(*(appended(held(uuid4()), home(held())) for _ in range(entries)))


def resealed(log: Forger) -> None:
    """Another document was given, says entry 5."""
    log.reseal(5, informed(version=2))


# --- In the keyring ------------------------------------------------------------------------------

_CLIENTS = (
    "WHERE clinic = :clinic AND subject = :client AND stream LIKE 'relationship-%'"  # of 5 and 6
)


def ring(*statements: str) -> Deed:
    """Changes the keyring's file, of which an older copy stands beside it as `older`."""

    def deed(log: Forger) -> None:
        db = sqlite3.connect(log.home / "keyring" / RING_FILE)
        named = {"clinic": str(log.clinic), "client": str(CLIENT), "partner": str(PARTNER)}
        db.execute("ATTACH :ring AS older", {"ring": str(log.older_ring)})
        with db:
            for statement in statements:
                assert db.execute(statement, named).rowcount > 0
        db.close()

    return deed


key_exchanged = ring(
    "UPDATE keys SET wrapped = (SELECT wrapped FROM keys WHERE clinic = :clinic AND "
    f"subject = 'joint') {_CLIENTS}"
)
key_lost = ring(f"DELETE FROM keys {_CLIENTS}")
key_destroyed = ring(f"UPDATE keys SET wrapped = NULL, destroyed_at = created_at {_CLIENTS}")
key_given_away = ring(f"UPDATE keys SET subject = 'joint' {_CLIENTS}")
key_brought_back = ring(
    "DELETE FROM keys WHERE clinic = :clinic AND wrapped IS NULL",
    "INSERT INTO keys SELECT * FROM older.keys WHERE clinic = :clinic AND subject = :partner",
)
