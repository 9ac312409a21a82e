"""What a view is: one pure fold per stream, whose rows a table keeps for now.

A view's state is folded from a stream's history; its rows are read off the state. A row is named
by the version of the entry that opened it, and each of its values, a `Cell`, names the entry that
established it. Nothing here knows of bytes, keys or PostgreSQL: the ports at the end of the file
are what the views need of them. docs/formats/view.md says what is stored.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from pydantic import AwareDatetime, PlainSerializer, TypeAdapter

from domain.event import ERASED, Erased, History, RecordedEvent, Stream
from domain.topics import may_amend
from projections.cells import (
    Cell,
    Cells,
    Code,
    Instant,
    Number,
    Ref,
    Row,
    Together,
    Told,
    cell,
    erased,
    known,
    occurred,
    told,
)

__all__ = [  # readers look for them here
    "Cell",
    "Cells",
    "Code",
    "Instant",
    "Number",
    "Ref",
    "Row",
    "Together",
    "Told",
    "cell",
    "erased",
    "known",
    "occurred",
    "told",
]

# --- Rows in plain values ----------------------------------------------------------------------

_SQL: Mapping[Any, str] = {
    UUID: "uuid",
    tuple[UUID, ...]: "uuid[]",
    Instant: "timestamptz",
    Code: "text",
    Number: "bigint",
    bool: "boolean",
}
"""What may stand in the clear, and as what. Text and plain integers are not in it on purpose."""

_AS_THEY_ARE = frozenset({str, int, bool, type(None), UUID, datetime, AwareDatetime, date})
"""Types whose values are stored as what they are."""


class Cited(NamedTuple):
    """The names of the clear and of the erased fields that one entry established."""

    ref: Ref
    erased: bool
    fields: tuple[str, ...]


Group = Mapping[str, tuple[int, int, int | None, object]]
"""What one key seals: field → position, version, amended_at and value."""


class ToldBy(NamedTuple):
    """What one entry says of a row, all of it known: values as they are to be written."""

    form: "Form"
    ref: Ref
    values: Sequence[Any]


@dataclass(slots=True)
class PlainRow:
    """A row taken apart for a table: clear columns, citations, and a group of cells per key.

    Nobody assigns to one. Of one that a single entry tells they are made when they are asked for: a
    table, for which rows are made by the million, asks for none of them.
    """

    columns: Mapping[str, object]
    cited: tuple[Cited, ...]
    groups: Mapping[UUID, Group]
    told: ToldBy | None = field(default=None, init=False, compare=False, repr=False)
    """Where one entry tells all of it."""

    @classmethod
    def told_by(cls, told: ToldBy) -> Self:
        row = cls.__new__(cls)
        row.told = told
        return row

    if not TYPE_CHECKING:  # else every name would pass for a field

        def __getattr__(self, name: str) -> Any:
            # Python asks here for what has no value yet.
            if name not in self.__slots__:
                raise AttributeError(name)
            form, (position, version, key_id, amended_at), values = told = self.told
            said = dict(zip(form.names, values, strict=True))
            self.columns = {name: said[name] for name in form.clear}
            self.cited = (Cited(told.ref, False, form.clear),)
            cells = {name: (position, version, amended_at, said[name]) for name in form.sealed}
            self.groups = {key_id: cells}
            return object.__getattribute__(self, name)


def _sql_type(value: Any, name: str) -> str:
    """As what such a value may stand in the clear. TypeError where it must not."""
    for option in (value, *get_args(value)):
        if option in _SQL:
            return _SQL[option]
        if isinstance(option, type) and issubclass(option, StrEnum):
            return "text"
    raise TypeError(f"{name} must not stand in the clear")


def _cell_in(hint: Any) -> Any:
    """`Cell[…]` out of `Cell[…]`, `Cell[…] | None` or `tuple[Cell[…], ...]`."""
    (of_cell,) = (part for part in (hint, *get_args(hint)) if get_origin(part) is Cell)
    return of_cell


Writing = Callable[[Any], object]
"""How a value of one type is written."""

_Part = tuple[str, bool, Writing | None, Cell[Any] | None]
"""A cell's name, whether it stands in the clear, how its value is written, and the cell."""
_Parts = tuple[str, bool, Writing | None, Cell[Any] | tuple[Cell[Any], ...] | None]
"""The same of a field, which may hold several."""


class Form:
    """Fields that one entry establishes at once, taken apart: all that are clear, and others."""

    def __init__(
        self,
        together: Together,
        ways: tuple[Sequence[str], Sequence[bool], Sequence[Writing | None]],
        kinds: Mapping[str, str],
    ) -> None:
        """`kinds`: of the clear fields, as SQL has them."""
        self.names = together.names
        self.way = {name: (clear, how) for name, clear, how in zip(*ways, strict=True)}
        # In the order of the row's fields, as citations have them.
        self.clear = tuple(name for name, (is_clear, _) in self.way.items() if is_clear)
        self.sealed = tuple(name for name in self.names if name not in self.clear)
        self.times = tuple(name for name in self.clear if kinds[name] == "timestamptz")
        ways_of = [(at, self.way[name][1]) for at, name in enumerate(self.names)]
        self._writing = [(at, how) for at, how in ways_of if how is not None]

    def written(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values as they are to be written."""
        if not self._writing:
            return values
        plain = list(values)
        for at, writing in self._writing:
            plain[at] = writing(plain[at])
        return plain


def _stays_as_it_is(kind: Any) -> bool:
    """Whether values of that type are written as what they are, down to their parts."""
    if get_origin(kind) is Annotated:
        base, *more = get_args(kind)
        return not any(isinstance(each, PlainSerializer) for each in more) and _stays_as_it_is(base)
    if get_origin(kind) in (tuple, dict, Union, UnionType):
        return all(part is ... or _stays_as_it_is(part) for part in get_args(kind))
    return kind in _AS_THEY_ARE or (isinstance(kind, type) and issubclass(kind, StrEnum))


# --- The view ---------------------------------------------------------------------------------

S = TypeVar("S")
R = TypeVar("R", bound=Row)


class View(ABC, Generic[S, R]):
    """One question to the record, answered per stream.

    `fold` changes nothing that it is given. It meets every entry of a stream as it was recorded,
    survives any of them being Erased, and knows nothing but the stream: so the rows depend on the
    history alone, however it was cut into batches (rule 6).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Of the code: to be raised whenever the same history would give other rows."""
    category: ClassVar[str] = "relationship"
    """The streams that it folds."""
    topics: ClassVar[frozenset[str] | None] = None
    """The entries that it has to do with, beside those that may amend one of them; None: all."""
    clear: ClassVar[tuple[str, ...]] = ()
    """Fields that stand in the clear; all others are sealed.

    What is asked for by more than one stream, and what is still known of an erased entry.
    """
    indexed: ClassVar[tuple[str, ...]] = ()
    """Those of them that rows are found by, across streams: ids."""
    together: ClassVar[tuple[Together, ...]] = ()
    """What one entry tells of a row, where it tells all of it, and many rows are told so."""
    alone: ClassVar[frozenset[str]] = frozenset()
    """Topics of entries each of which comes to one row, whatever came before it, and to no more."""

    row: type[R]

    @abstractmethod
    def empty(self, stream: Stream) -> S:
        """The state of a stream without entries."""

    @abstractmethod
    def fold(self, state: S, *entries: RecordedEvent) -> S:
        """The state these entries later; one by one they come to the same."""

    @abstractmethod
    def rows(self, state: S) -> Mapping[int, R]:
        """The rows, each by the version of the entry that opened it."""

    def __getstate__(self) -> dict[str, Any]:
        """What it was made with, for another process: that finds out for itself what is cached."""
        kind = type(self)
        return {
            name: value
            for name, value in vars(self).items()
            if not isinstance(getattr(kind, name, None), cached_property)
        }

    def alone_values(self, entry: RecordedEvent) -> Sequence[Any]:
        """What an entry of a topic that stands `alone`, and is not Erased, tells: all of its row,
        in the first form of `together`."""
        raise NotImplementedError

    def alone_apart(self, entries: Sequence[RecordedEvent]) -> dict[int, PlainRow]:
        """The rows of such entries, taken apart."""
        form, made, written = self.forms[0], PlainRow.told_by, self.forms[0].written
        return {
            entry.version: made(ToldBy(form, Ref.to(entry), written(self.alone_values(entry))))
            for entry in entries
        }

    def of(self, stream: Stream, history: Iterable[RecordedEvent]) -> Mapping[int, R]:
        """The rows of a whole history."""
        return self.rows(self.fold(self.empty(stream), *history))

    def gathered(self, entries: Iterable[RecordedEvent]) -> Iterator[RecordedEvent]:
        """Those of its topics, and those that amend others."""
        topics = self.topics or ()
        return (
            entry
            for entry in entries
            if entry.topic in topics or (may_amend(entry.topic) and entry.amends() is not None)
        )

    def needs(self, topic: str) -> bool:
        """Whether it cannot be told without the entries of that topic."""
        return self.topics is None or topic in self.topics or may_amend(topic)

    @property
    def table(self) -> str:
        """The name of its table, and of the place in the log that it has reached."""
        return f"{self.name}_v{self.version}"

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """The columns that rows are found by, with their SQL types. TypeError where anything in
        the clear must be sealed."""
        return {name: kind for name, kind in self._kinds.items() if name in self.indexed}

    @cached_property
    def forms(self) -> Sequence[Form]:
        """How rows are taken apart that one entry tells, and that come by the thousand."""
        return tuple(map(self._form, self.together))

    @cached_property
    def _kinds(self) -> Mapping[str, str]:
        """The clear fields with their SQL types. TypeError for what must be sealed."""
        return {name: _sql_type(self._values[name], name) for name in self.clear}

    @cached_property
    def _values(self) -> Mapping[str, Any]:
        """The type of each field's values."""
        hints = get_type_hints(self.row, include_extras=True)
        return {name: get_args(_cell_in(hint))[0] for name, hint in hints.items()}

    @cached_property
    def _several(self) -> frozenset[str]:
        """The fields that hold a tuple of cells."""
        hints = get_type_hints(self.row, include_extras=True)
        return frozenset(name for name, hint in hints.items() if get_origin(hint) is tuple)

    @cached_property
    def _adapters(self) -> Mapping[str, TypeAdapter[Any]]:
        """How each field's values are written and read again."""
        return {name: TypeAdapter(value) for name, value in self._values.items()}

    @cached_property
    def _ways(self) -> tuple[Sequence[str], Sequence[bool], Sequence["Writing | None"]]:
        """The fields: their names, which are in the clear, how each is written."""
        values = self._values
        written = [self._writing(name, value) for name, value in values.items()]
        return list(values), [name in self.clear for name in values], written

    @cached_property
    def _forms(self) -> dict[Together, Form]:
        """How rows are taken apart that one entry tells, by the fields that it establishes."""
        return {}

    def _form(self, together: Together) -> Form:
        form = self._forms.get(together)
        if form is None:
            form = self._forms[together] = Form(together, self._ways, self._kinds)
        return form

    @cached_property
    def _contents(self) -> Callable[[R], tuple[Any, ...]]:
        """What a row holds in its fields."""
        first, *others = self._values
        return attrgetter(first, *others) if others else lambda row: (getattr(row, first),)

    @cached_property
    def _tuples(self) -> Sequence[int]:
        """Where among the fields those are that hold several cells."""
        return [at for at, name in enumerate(self._values) if name in self._several]

    def _writing(self, name: str, value: Any) -> "Writing | None":
        """How values of that type are written; None: as they are."""
        return None if _stays_as_it_is(value) else self._adapters[name].dump_python

    def taken_apart(self, row: R) -> PlainRow:
        """The row as a table keeps it."""
        told = getattr(row, "_told", None)
        if told is not None:
            return self._told_apart(*told)
        return self._apart(dict.fromkeys(self.clear), {}, {}, self._parts(self._contents(row)))

    def _told_apart(
        self, ref: Ref, together: Together, values: Sequence[Any], beside: Mapping[str, Any]
    ) -> PlainRow:
        """The same of a row that was told `by` one entry."""
        form = self._form(together)
        row = PlainRow.told_by(ToldBy(form, ref, form.written(values)))
        if not beside or not any(beside.values()):
            return row
        cited = {(ref, False): [*form.clear]}
        groups = {ref.key_id: {**row.groups[ref.key_id]}}
        others = self._named_parts((name, *form.way[name], beside[name]) for name in beside)
        return self._apart({**row.columns}, cited, groups, others)

    def _apart(
        self,
        columns: dict[str, object],
        cited: dict[tuple[Ref, bool], list[str]],
        groups: dict[UUID, dict[str, tuple[int, int, int | None, object]]],
        parts: Iterable[_Part],
    ) -> PlainRow:
        """What is taken apart already, and these cells."""
        ref = named = cells = None
        for name, clear, writing, content in parts:
            if not content:
                continue
            value = content.value
            if content.ref is not ref:  # most of a row is of one entry
                ref, named, cells = content.ref, None, None
                position, version, key_id, amended_at = ref
            if isinstance(value, Erased):
                cited.setdefault((ref, True), []).append(name)
                continue
            if writing is not None:
                value = writing(value)
            if clear:
                if named is None:
                    named = cited.setdefault((ref, False), [])
                named.append(name)
                columns[name] = value
            else:
                if cells is None:
                    cells = groups.setdefault(key_id, {})
                cells[name] = (position, version, amended_at, value)
        told = [Cited(ref, gone, tuple(names)) for (ref, gone), names in cited.items()]
        if len(told) > 1:
            told.sort(key=lambda one: (one.fields, one.ref, one.erased))
        return PlainRow(columns, tuple(told), groups)

    def _parts(self, contents: Sequence[Any]) -> Iterable[_Part]:
        """The cells as they are to be written; those of a tuple one by one."""
        parts = zip(*self._ways, contents, strict=True)
        several = any(contents[at] for at in self._tuples)
        return self._named_parts(parts) if several else parts

    @staticmethod
    def _named_parts(parts: Iterable[_Parts]) -> Iterable[_Part]:
        for name, clear, writing, content in parts:
            if isinstance(content, tuple):
                for at, part in enumerate(content):
                    yield f"{name}/{at}", False, writing, part
            else:
                yield name, clear, writing, content

    def put_together(self, stored: "StoredRow") -> R:
        """The row that a table kept.

        A group whose key was destroyed since reads as erased, without saying which entry
        established it: version and position 0. Folding the stream again says it.
        """
        cells: dict[str, Cell[Any]] = {}
        for key_id, group in stored.groups.items():
            for name, (position, version, amended_at, plain) in (group or {}).items():
                value = self._adapters[name.partition("/")[0]].validate_python(plain)
                cells[name] = Cell(value, Ref(position, version, key_id, amended_at))
        for cited, gone, names in stored.cited:
            for name in names:
                value = ERASED
                if not gone:
                    value = self._adapters[name].validate_python(stored.columns[name])
                cells[name] = Cell(value, Ref(*cited))
        lost = next((key_id for key_id, group in stored.groups.items() if group is None), None)
        if lost is not None:
            unknown: Cell[Any] = Cell(ERASED, Ref(0, 0, lost))
            cells = {**dict.fromkeys(set(self._values) - self._several, unknown), **cells}
        return self.row(**{name: self._field(name, cells) for name in self._values})

    def _field(self, name: str, cells: Mapping[str, Cell[Any]]) -> Any:
        if name not in self._several:
            return cells.get(name)
        return tuple(
            cells[part] for part in map(f"{name}/{{}}".format, range(len(cells))) if part in cells
        )


class Gathering(View[History, R]):
    """A view whose state is simply those entries of the stream that it has to do with.

    For what reads best as a question to a whole history: corrections, and late entries that take
    their place among earlier ones, are then the history's business.
    """

    topics: ClassVar[frozenset[str]]

    def empty(self, stream: Stream) -> History:
        return History()

    def fold(self, state: History, *entries: RecordedEvent) -> History:
        return state.then(*self.gathered(entries))

    def rows(self, state: History) -> Mapping[int, R]:
        return dict(self.rows_of(state)) if state else {}

    @abstractmethod
    def rows_of(self, history: History) -> Iterable[tuple[int, R]]:
        """The rows of a history of such entries."""


def up_to(history: History, position: int) -> History:
    """The part of a history that the log had at that position."""
    if not history or history[-1].position <= position:
        return history
    return History(entry for entry in history if entry.position <= position)


# --- Reading ----------------------------------------------------------------------------------


class ViewNotBuilt(Exception):
    """The view has no table to read yet; its text is the view's name. Ask again."""


class ViewBehind(Exception):
    """The view did not reach the position asked for in time. Ask again."""

    def __init__(self, position: int) -> None:
        super().__init__(f"not yet at position {position}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Reading(Generic[R]):
    """What a view held at one moment: by whose code, how far, and what it could not fold."""

    view: str
    version: int
    position: int
    """Of the last entry of the log that it covers (rule 7)."""
    rows: Mapping[Stream, Mapping[int, R]]
    parked: Mapping[Stream, tuple[int, str]]
    """Streams that are missing here, each with the position and the code of what went wrong."""

    def of(self, stream: Stream) -> Mapping[int, R]:
        """One stream's rows."""
        return self.rows.get(stream, {})


class ViewReader:
    """Where the views are read."""

    def __init__(self, store: "RowReader") -> None:
        self._store = store

    def read(
        self,
        view: View[S, R],
        stream: Stream | None = None,
        *,
        where: Mapping[str, object] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> Reading[R]:
        """The rows of one stream, past row `after`, or of all; raises ViewNotBuilt.

        `where`: clear columns and what they must equal or, where they hold several ids, contain.
        """
        stored = self._store.read(
            view, stream=stream and str(stream), where=where or {}, after=after, limit=limit
        )
        if stored is None:
            raise ViewNotBuilt(view.name)
        rows: dict[Stream, dict[int, R]] = {}
        for row in stored.rows:
            rows.setdefault(Stream.parse(row.stream), {})[row.entry] = view.put_together(row)
        parked = {Stream.parse(name): why for name, why in stored.parked.items()}
        return Reading(view.name, view.version, stored.position, rows, parked)

    def wait_for(self, views: Iterable[View[Any, Any]], position: int, timeout: float) -> None:
        """Returns once all the views cover `position`; ViewBehind after `timeout` seconds."""
        if not self._store.wait_for([view.table for view in views], position, timeout):
            raise ViewBehind(position)


# --- Ports ------------------------------------------------------------------------------------


class StoredRow(Protocol):
    """A row as a table kept it; a group is None where its key was destroyed."""

    @property
    def stream(self) -> str: ...
    @property
    def entry(self) -> int: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def cited(
        self,
    ) -> Sequence[tuple[tuple[int, int, UUID, int | None], bool, Sequence[str]]]: ...
    @property
    def groups(self) -> Mapping[UUID, Group | None]: ...


class StoredReading(Protocol):
    """Rows with stream and entry, the position they cover, and the parked streams."""

    @property
    def position(self) -> int: ...
    @property
    def rows(self) -> Sequence[StoredRow]: ...
    @property
    def parked(self) -> Mapping[str, tuple[int, str]]: ...


class RowReader(Protocol):
    """The tables, to be read. `None`: the view was never built."""

    def read(
        self,
        table: View[Any, Any],
        *,
        stream: str | None,
        where: Mapping[str, object],
        after: int,
        limit: int | None,
    ) -> StoredReading | None: ...

    def wait_for(self, tables: Sequence[str], position: int, timeout: float) -> bool: ...
