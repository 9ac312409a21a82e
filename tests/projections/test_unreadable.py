"""What cannot be opened, read or sealed parks one stream where it is needed; the rest goes on."""

from dataclasses import asdict, replace
from uuid import UUID, uuid4

import pytest

from api.worker import Worker
from domain.clinic import Scope
from domain.event import ERASED, Stream
from domain.goal import GoalRated
from infra.canonical import CanonicalError
from infra.keyring import KeyUnknown
from infra.postgres import EmbeddedPostgres
from infra.sealing import SealBroken
from infra.view_store import ViewStore
from projections.rebuild import rebuild
from projections.timeline import Line, Timeline
from projections.view import PlainRow, ViewReader
from tests.conftest import Clinic
from tests.projections.story import House
from tests.projections.test_tables import (
    ALL,
    assert_as_folded,
    rebuilt_equal,
    superuser,
    told_a_lot,
)


def altered(server: EmbeddedPostgres, clinic: Clinic, position: int, column: str, by: str) -> str:
    """One column of a stored entry is changed past every guard; gives what it held before."""
    where = "clinic = %s AND position = %s"
    with superuser(server, clinic) as conn:
        conn.execute("SET session_replication_role = replica")
        held = f"SELECT {column}::text FROM rapport.entries WHERE {where}"  # noqa: S608  ours
        row = conn.execute(held, (clinic.id, position)).fetchone()
        change = f"UPDATE rapport.entries SET {column} = %s WHERE {where}"  # noqa: S608  ours
        assert conn.execute(change, (by, clinic.id, position)).rowcount == 1
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize(
    "column, by, code",
    [
        ("ciphertext", "\\x" + "00" * 80, "SealBroken"),
        ("ciphertext", "\\x00", "SealBroken"),
        ("commitment", "\\x" + "00" * 32, "SealBroken"),
        ("occurred_offset", "+99:99", "SealBroken"),
        ("occurred_at", "9999-12-31 23:59:59+00", "SealBroken"),
        ("source", "nowhere", "SealBroken"),
        ("key_id", str(UUID(int=7)), "KeyUnknown"),
    ],
)
def test_an_entry_that_does_not_open_parks_one_stream(
    house: House,
    store: ViewStore,
    reader: ViewReader,
    server: EmbeddedPostgres,
    column: str,
    by: str,
    code: str,
) -> None:
    """R27: what was damaged is named in each view that needs it, in its digest too; all else is
    told, and nothing is decided over it. As soon as it opens again its stream is told again."""
    clinic = house.clinic
    told, other = told_a_lot(house), told_a_lot(house)
    rated = next(e for e in clinic.log.history(told.stream) if e.topic == GoalRated.topic)
    before = altered(server, clinic, rated.position, column, by)
    Worker(ALL, clinic.log, store).catch_up()
    other.session()
    Worker(ALL, clinic.log, store).catch_up()
    whole = clinic.log.history(other.stream)
    for view in ALL:
        reading, digest = reader.read(view), store.digest(view)
        needed = view.category == "relationship" and view.needs(rated.topic)
        assert reading.parked == ({told.stream: (rated.position, code)} if needed else {})
        assert digest is not None
        assert digest.parked == len(reading.parked)
        assert reading.of(other.stream) == view.of(other.stream, whole)
    with pytest.raises((SealBroken, CanonicalError, ValueError, KeyUnknown)):
        clinic.open_log().history(told.stream)
    assert all(
        outcome.comparison and outcome.comparison.equal
        for outcome in rebuild(ALL, clinic.log, store)
    )
    altered(server, clinic, rated.position, column, before)
    told.session()
    Worker(ALL, clinic.log, store).catch_up()
    assert_as_folded(reader, clinic, told.stream)
    rebuilt_equal(clinic, store)


@pytest.mark.parametrize(
    "column, by", [("source", "nowhere"), ("occurred_offset", "+99:99"), ("stream", "nowhere")]
)
def test_an_erased_entry_with_senseless_columns_is_not_decided_over(
    house: House, server: EmbeddedPostgres, column: str, by: str
) -> None:
    """Rule 9, R3: of an entry that no seal can vouch for any more, at least the columns make
    sense; views pass over what is of no stream, decisions do not go on."""
    clinic = house.clinic
    told = told_a_lot(house)
    rated = next(e for e in clinic.log.history(told.stream) if e.topic == GoalRated.topic)
    clinic.keyring.destroy(clinic.id, rated.key_id)
    before = altered(server, clinic, rated.position, column, by)
    (scanned,) = clinic.log.scan(rated.position - 1, 1)
    assert (scanned.position, scanned.event) == (rated.position, ERASED)
    with pytest.raises(SealBroken):
        clinic.log.read_log(rated.position - 1, 1)
    altered(server, clinic, rated.position, column, before)
    assert clinic.log.read_log(rated.position - 1, 1)


class Unwritable(Timeline):
    """A timeline that says of a withdrawal what no bytes are for."""

    name = "unwritable"
    alone = frozenset()

    def taken_apart(self, row: Line) -> PlainRow:
        apart = super().taken_apart(row)
        if row.topic.value == "consent.withdrawn":
            return replace(apart, groups={key: {"x": (1, 1, None, 0.5)} for key in apart.groups})
        return apart


def test_a_row_that_cannot_be_sealed_parks_one_stream(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """R27: also what has no form in bytes parks its stream, and the others go on."""
    view = Unwritable()
    worker = Worker([view], house.clinic.log, store)
    worker.catch_up()
    told, other = house.open(), house.open()
    receipt = told.withdraw(Scope.TREATMENT)
    worker.catch_up()
    assert reader.read(view).parked == {told.stream: (receipt.position, "CanonicalError")}
    assert reader.read(view).rows.keys() == {other.stream}


@pytest.mark.parametrize("at_once", [1, 2, 1_000])
def test_a_stream_is_parked_also_where_some_of_its_rows_were_written(
    house: House,
    store: ViewStore,
    reader: ViewReader,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    """R27: a rebuild writes a few blocks at a time; if a row of a stream has no form in bytes, none
    of the stream stays."""
    monkeypatch.setattr("infra.view_parts._BLOCKS_AT_ONCE", at_once)
    view = Unwritable()
    streams = [house.open() for _ in range(3)]
    receipt = streams[1].withdraw(Scope.TREATMENT)
    Worker([view], house.clinic.log, store).catch_up()
    for _ in range(2):
        (outcome,) = rebuild([view], house.clinic.log, store)
        assert outcome.comparison is not None
        assert outcome.comparison.equal
        reading = reader.read(view)
        parked = {streams[1].stream: (receipt.position, "CanonicalError")}
        assert reading.parked == parked
        assert reading.rows.keys() == {streams[0].stream, streams[2].stream}


def test_views_read_what_decisions_read(house: House) -> None:
    """Rule 6: opened when it is asked for, an entry is the same as opened at once."""
    told, log = told_a_lot(house), house.clinic.log
    assert [*map(asdict, log.scan(0, 1000))] == [*map(asdict, log.read_log(0, 1000))]
    (scanned, nothing) = log.scan_streams([told.stream, Stream("relationship", uuid4())])
    assert [*map(asdict, scanned)] == [*map(asdict, log.history(told.stream))]
    assert not nothing
