"""What every view keeps, whatever it tells."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC
from operator import itemgetter
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import TypeAdapter

from domain.event import ERASED, Erased, Event, History, RecordedEvent, Stream
from domain.relationship import RelationshipOpened
from domain.task import TaskRetired
from domain.topics import Unreadable
from infra import canonical
from infra.recorder import ScannedRow
from infra.scanned import Scans
from projections.dossier import VIEWS, dossier
from projections.folding import Batch, Change, Folds, differing
from projections.timeline import Line, State, Timeline
from projections.view import Cell, Code, PlainRow, Row, View, up_to
from tests.domain.test_records import wild_records
from tests.kit import CLIENT, CONSENTED, RELATIONSHIP, Record, given, held, named

every_view = pytest.mark.parametrize("view", VIEWS.all(), ids=lambda view: view.name)
STREAM = Stream("relationship", RELATIONSHIP)


def history_of(record: Record) -> History:
    """The one relationship of a wild record."""
    return History(e for e in record.entries if e.stream.category == "relationship")


def after(rows: Mapping[int, PlainRow], change: Change) -> dict[int, PlainRow]:
    """What a table holds of a stream after a change. What is said never to have been written stands
    in blocks of several rows, which nothing else may be in."""
    kept = {} if change.afresh else rows
    assert not {key for key in change.written if key >= change.since} & kept.keys()
    return {**kept, **change.written}


def plain(view: View[Any, Any], history: Sequence[RecordedEvent]) -> dict[int, PlainRow]:
    if not history:
        return {}
    rows = view.of(history[0].stream, history)
    return {key: view.taken_apart(row) for key, row in rows.items()}


# --- Folding ------------------------------------------------------------------------------------


@every_view
@for_all(
    record=wild_records(),
    batches=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1)), min_size=30),
    capacity=st.sampled_from([0, 1, 50_000]),
)
def test_batches_make_no_difference(
    view: View[Any, Any], record: Record, batches: list[tuple[int, int]], capacity: int
) -> None:
    """Rule 6: however the log is cut, whichever of two workers is first, the rows are equal."""
    history, workers = history_of(record), (Folds(view, capacity), Folds(view, capacity))
    rows: dict[int, PlainRow] = {}
    end = 0
    for size, worker in batches:
        batch = history[end : end + size]
        if batch:
            end = batch[-1].version
            change = workers[worker].advance(batch[0].stream, batch, lambda: history)
            rows = after(rows, change)
            assert rows == plain(view, history[:end])
    assert end == len(history)


@every_view
@for_all(record=wild_records(), data=st.data())
def test_a_change_names_only_what_changed(
    view: View[Any, Any], record: Record, data: st.DataObject
) -> None:
    """Rule 6: of a stream that is known, no row is written that did not change."""
    history, folds = history_of(record), Folds(view)
    if any(isinstance(entry.event, Erased) for entry in history) or len(history) < 2:
        return
    cut = data.draw(st.integers(1, len(history) - 1))
    stream = history[0].stream
    folds.advance(stream, history[:cut], lambda: history)
    change = folds.advance(stream, history[cut:], lambda: history)
    before = plain(view, history[:cut])
    if before.keys() <= plain(view, history).keys():
        assert not change.afresh
        assert all(before.get(key) != row for key, row in change.written.items())
    else:  # a row is gone, and the others are written again
        assert change.afresh


@for_all(
    before=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), unique_by=itemgetter(0)),
    after=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), unique_by=itemgetter(0)),
    grown=st.booleans(),
)
def test_rows_side_by_side(
    before: list[tuple[int, int]], after: list[tuple[int, int]], grown: bool
) -> None:
    """Rule 6: whichever way they are gone through, no row is missed that was replaced or is new,
    and none that is gone."""
    lines: list[Any] = [object() for _ in range(3)]
    old = {key: lines[which] for key, which in before}
    new = {**(old if grown else {}), **{key: lines[which] for key, which in after}}
    others, gone = differing(old, new)
    assert sorted(others) == sorted(key for key in new if new[key] is not old.get(key))
    assert sorted(gone) == sorted(old.keys() - new.keys())


@every_view
@for_all(record=wild_records())
def test_nothing_wild_stops_a_view(view: View[Any, Any], record: Record) -> None:
    """Rules 1, 9: whatever is corrected, in error, missing or erased, every stream is folded."""
    history = history_of(record)
    if history:
        change = Folds(view).advance(history[0].stream, list(history), lambda: history)
        assert change.parked is None


@every_view
@for_all(record=wild_records())
def test_every_value_names_its_entry(view: View[Any, Any], record: Record) -> None:
    """R21: each cell of each row cites an entry of the stream by version, position and key."""
    history = history_of(record)
    entries = {entry.version: entry for entry in history}
    rows = view.of(history[0].stream, history) if history else {}
    for key, row in rows.items():
        assert key in entries
        for _, cell in row.cells():
            entry = entries[cell.ref.version]
            assert (cell.ref.position, cell.ref.key_id) == (entry.position, entry.key_id)
            if isinstance(cell.value, Erased):
                assert entry.event == ERASED


@every_view
@for_all(record=wild_records(), data=st.data())
def test_no_row_needs_a_key_that_is_gone(
    view: View[Any, Any], record: Record, data: st.DataObject
) -> None:
    """Rule 9: after a key was destroyed a stream's rows are told by the keys that are left."""
    whole = history_of(record)
    keys = sorted({entry.key_id for entry in whole}) or [CLIENT]
    lost = data.draw(st.sets(st.sampled_from(keys)))
    history = [replace(e, event=ERASED) if e.key_id in lost else e for e in whole]
    for row in plain(view, history).values():
        assert not row.groups.keys() & lost


# --- Rows in a table ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A row on its way through a table: what is sealed becomes canonical bytes and back."""

    stream: str
    entry: int
    columns: Mapping[str, Any]
    cited: Sequence[Any]
    groups: Mapping[UUID, Any]

    @classmethod
    def of(cls, row: PlainRow, lost: frozenset[UUID] = frozenset()) -> "Kept":
        groups = {
            key_id: None if key_id in lost else canonical.decode(canonical.encode(dict(group)))
            for key_id, group in row.groups.items()
        }
        return cls("", 0, row.columns, row.cited, groups)


@every_view
@for_all(record=wild_records())
def test_a_row_comes_back_as_it_went(view: View[Any, Any], record: Record) -> None:
    """Rule 6: taken apart, sealed form and back, put together: the same row."""
    history = history_of(record)
    rows = view.of(history[0].stream, history) if history else {}
    for row in rows.values():
        assert view.put_together(Kept.of(view.taken_apart(row))) == row


def by_its_types(view: View[Any, Any], row: Row) -> dict[str, object]:
    """Every value of a row that is told, as pydantic writes what its field says that it holds."""
    hints = get_type_hints(view.row, include_extras=True)

    def written(name: str, value: object) -> object:
        hint = hints[name.partition("/")[0]]
        (of_cell,) = (part for part in (hint, *get_args(hint)) if get_origin(part) is Cell)
        return TypeAdapter(get_args(of_cell)[0]).dump_python(value)

    return {
        name: written(name, cell.value)
        for name, cell in row.cells()
        if not isinstance(cell.value, Erased)
    }


@every_view
@for_all(record=wild_records())
def test_a_row_is_written_as_its_types_say(view: View[Any, Any], record: Record) -> None:
    """Rule 6: what is stored as it is, is what pydantic would have written; its bytes are equal."""
    history = history_of(record)
    rows = view.of(history[0].stream, history) if history else {}
    for row in rows.values():
        apart = view.taken_apart(row)
        groups = apart.groups.values()
        sealed = {name: value for cells in groups for name, (*_, value) in cells.items()}
        clear = {
            name: apart.columns[name] for c in apart.cited if not c.erased for name in c.fields
        }
        slowly = by_its_types(view, row)
        assert sealed | clear == slowly
        assert canonical.encode(sealed | clear) == canonical.encode(slowly)
        told = {name: cell.ref for name, cell in row.cells()}
        assert all(told[name] == c.ref for c in apart.cited for name in c.fields)
        assert all(
            (told[name].key_id, *told[name][:2], told[name].amended_at) == (key_id, *cell[:3])
            for key_id, cells in apart.groups.items()
            for name, cell in cells.items()
        )


@every_view
@for_all(record=wild_records())
def test_a_lost_group_reads_as_erased(view: View[Any, Any], record: Record) -> None:
    """Rule 9: as soon as its key is destroyed nothing of a group is told, nor said to be absent."""
    history = history_of(record)
    rows = view.of(history[0].stream, history) if history else {}
    for row in rows.values():
        apart = view.taken_apart(row)
        for key_id, group in apart.groups.items():
            read = view.put_together(Kept.of(apart, frozenset({key_id})))
            cells = dict(read.cells())
            for name in group:
                assert name not in cells or cells[name].value == ERASED
            others = {n for n, c in row.cells() if n not in group}
            assert all(cells[name] == dict(row.cells())[name] for name in others)


class Careless(Row):
    note: Cell[str]
    score: Cell[int]
    topic: Cell[Code]


@pytest.mark.parametrize("name", ["note", "score"])
def test_text_and_scores_cannot_be_clear(name: str) -> None:
    """ARCHITECTURE, idea 6: a column in the clear holds ids, positions, times and codes alone."""

    class Leaky(Timeline):
        row = Careless  # type: ignore[assignment]
        clear = ("topic", name)  # type: ignore[assignment]

    with pytest.raises(TypeError, match=name):
        _ = Leaky().columns


def test_these_fields_are_clear() -> None:
    """ARCHITECTURE, idea 6: whoever adds a field that PostgreSQL can read says so here."""
    assert {view.name: [*view.columns] for view in VIEWS.all() if view.columns} == {
        "caseload": ["clients", "therapists", "supervisor"]
    }
    assert {view.name: sorted(view.clear) for view in VIEWS.all()} == {
        "timeline": [
            "actor",
            "late",
            "occurred_at",
            "occurred_offset",
            "on_behalf_of",
            "position",
            "recorded_at",
            "source",
            "topic",
        ],
        "alliance_course": ["family", "rated_at", "source"],
        "consent_register": ["at", "source", "step"],
        "goal_course": ["at", "kind", "source"],
        "caseload": [
            "clients",
            "erased_entries",
            "imported_entries",
            "late_entries",
            "state",
            "supervisor",
            "therapists",
        ],
        "actions": [],
        "break_glass": ["used_at"],
        "ruptures": ["marked_at"],
    }


# --- What cannot be folded ----------------------------------------------------------------------


class Brittle(Timeline):
    """A timeline that fails on one kind of entry while nothing follows it."""

    alone = frozenset()

    def rows(self, state: State) -> Mapping[int, Line]:
        last = max(state.lines, default=0)
        if last and state.lines[last].topic.value == TaskRetired.topic:
            raise ZeroDivisionError("what a task says is nobody's business")
        return super().rows(state)


RETIRED = TaskRetired(task=named("task"), reason="Done.")


def test_what_cannot_be_folded_is_parked() -> None:
    """R27: a stream that a view fails on loses its rows and is named with a code, no content."""
    history = given(*CONSENTED, held(), RETIRED).relationship
    folds = Folds(Brittle())
    folds.advance(STREAM, history[:-1], lambda: history)
    change = folds.advance(STREAM, history[-1:], lambda: history)
    assert change == Change(STREAM, True, {}, parked=(history[-1].position, "ZeroDivisionError"))


def test_a_parked_stream_gets_another_chance() -> None:
    """Rule 6: what is parked is a matter of the history alone, so the next entry may mend it."""
    history = given(*CONSENTED, RETIRED, held()).relationship
    folds = Folds(Brittle())
    assert folds.advance(STREAM, history[:-1], lambda: history).parked
    change = folds.advance(STREAM, history[-1:], lambda: history)
    assert change.afresh
    assert change.parked is None
    assert change.written == plain(Timeline(), history)


class ReadAs(Scans):
    """One entry as views read it; with a code, one that cannot be read."""

    def __init__(self, entry: RecordedEvent, code: str | None) -> None:
        self._clinic = entry.clinic
        self._found, self._code = entry, code

    def content(self, row: ScannedRow) -> Event | Erased:
        if self._code is not None:
            raise Unreadable(self._code)
        return self._found.event

    def entry(self) -> RecordedEvent:
        found = self._found
        behalf = found.on_behalf_of
        row = (
            found.position,
            str(found.stream),
            found.version,
            found.topic,
            found.schema_version,
            found.occurred_at.astimezone(UTC),
            canonical.offset_text(found.occurred_at),
            found.recorded_at,
            str(found.actor),
            None if behalf is None else str(behalf),
            found.source.value,
            str(found.command_id),
            found.command_index,
            str(found.key_id),
            bytes.fromhex(found.commitment),
            b"",
        )
        (entry,) = self.entries([row])
        return entry


@every_view
@for_all(record=wild_records(), data=st.data())
def test_what_cannot_be_read_is_parked_where_it_is_needed(
    view: View[Any, Any], record: Record, data: st.DataObject
) -> None:
    """R27: an entry that does not open parks its stream in the views that need it; others tell
    the same as ever, whether or not somebody could read it."""
    history = history_of(record)
    if not history:
        return
    broken = data.draw(st.sampled_from(list(history)))
    scan = [ReadAs(e, "SealBroken" if e is broken else None).entry() for e in history]
    change = Folds(view).refold(STREAM, History(scan))
    if view.needs(broken.topic):
        assert change == Change(STREAM, True, {}, parked=(broken.position, "SealBroken"))
    else:
        assert (change.parked, change.written) == (None, plain(view, history))


@every_view
@for_all(record=wild_records())
def test_a_view_needs_no_other_entries_than_it_says(view: View[Any, Any], record: Record) -> None:
    """Rule 6: what a view says that it does not need changes none of its rows."""
    history = history_of(record)
    needed = [entry for entry in history if view.needs(entry.topic)]
    assert plain(view, history) == plain(view, needed)


def test_of_a_kind_of_entry_that_nobody_knows_nobody_knows_what_it_amends() -> None:
    """R27: what a newer release has recorded may concern any row of its stream."""
    assert all(view.needs("goal.celebrated") for view in VIEWS.all())
    assert [view.name for view in VIEWS.all() if not view.needs(TaskRetired.topic)] == [
        "alliance_course",
        "consent_register",
        "goal_course",
        "actions",
        "break_glass",
        "ruptures",
    ]


def test_a_keyring_that_does_not_answer_parks_nothing() -> None:
    """R27: trouble that says nothing about an entry stops the view, until it is over."""
    (entry,) = given(*CONSENTED).relationship[:1]

    class Trouble(Exception):
        pass

    class Sealed(RecordedEvent):
        __slots__ = ()

        def __getattr__(self, name: str) -> Any:
            raise Trouble(name)

    unopened = Sealed(**{f.name: getattr(entry, f.name) for f in fields(entry)})
    object.__delattr__(unopened, "event")
    with pytest.raises(Trouble):
        Folds(VIEWS.timeline).refold(STREAM, History([unopened]))


@for_all(record=wild_records(), data=st.data())
def test_a_stream_that_can_be_read_again_is_told_afresh(
    record: Record, data: st.DataObject
) -> None:
    """Rule 6: after a release that reads it, no row is missing, whatever came in between."""
    history = history_of(record)
    if len(history) < 2:
        return
    cut = data.draw(st.integers(1, len(history) - 1))
    folds, batch = Folds(VIEWS.timeline), Batch(history[cut:], OneStream(history))
    (change,) = folds.changes(batch, {str(history[0].stream)})
    assert change.afresh
    assert change.written == plain(VIEWS.timeline, history)


@dataclass(frozen=True)
class OneStream:
    """A log of one stream, as views read it."""

    whole: History

    def scan(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        return [entry for entry in self.whole if entry.position > after][:limit]

    def scan_streams(self, streams: Sequence[Stream]) -> Sequence[History]:
        return [self.whole for _ in streams]

    def head_size(self) -> int:
        return self.whole[-1].position

    def streams(self, category: str) -> Iterator[Stream]:
        yield self.whole[0].stream


# --- The two times ------------------------------------------------------------------------------


@for_all(wild_records(), st.integers(0, 40))
def test_a_dossier_is_the_fold_of_what_was_known(record: Record, position: int) -> None:
    """Rule 5: as known at a time, a dossier is what the tables held when that was all."""
    history = history_of(record)
    if not history:
        return
    stream = history[0].stream
    then = up_to(history, position)
    known_at = then[-1].recorded_at if then else history[0].recorded_at.replace(year=2000)
    seen = History(entry for entry in history if entry.recorded_at <= known_at)
    told = dossier(stream, history, known_at=known_at)
    assert told.position == (seen[-1].position if seen else 0)
    assert told.timeline == VIEWS.timeline.of(stream, seen)
    assert told.ratings == VIEWS.alliance_course.of(stream, seen)
    assert told.consents == VIEWS.consent_register.of(stream, seen)
    assert told.goals == VIEWS.goal_course.of(stream, seen)
    assert told.case == next(iter(VIEWS.caseload.of(stream, seen).values()), None)


def test_a_view_names_its_version() -> None:
    """Rule 7: a dossier names the code that told it and the last position that it covers."""
    history = given(*CONSENTED).relationship
    told = dossier(STREAM, history)
    assert told.position == history[-1].position
    assert told.view_versions == {view.name: view.version for view in VIEWS.all()}
    assert dossier(STREAM, History()).case is None
    assert RelationshipOpened.topic in {line.topic.value for line in told.timeline.values()}
