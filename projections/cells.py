"""Cells and rows: values, each with the entry that established it.

A row is named by the version of the entry that opened it. docs/formats/view.md says what is stored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, Never, Self, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime

from domain.event import ERASED, Erased, Event, RecordedEvent

Instant = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
"""A point in time in UTC: what a column of a table can keep. An offset stands beside it."""

Code = Annotated[str, "a word from a closed list that the code itself writes"]
Number = Annotated[int, "a position, a version or a count; never a score"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Ref(NamedTuple):
    """The entry that a value comes from, and the key under which it is sealed."""

    position: int
    version: int
    key_id: UUID
    amended_at: int | None = None
    """Position of the correction through which the entry reads as it does."""

    @classmethod
    def to(cls, entry: RecordedEvent) -> "Ref":
        return cls(entry.position, entry.version, entry.key_id, entry.amended_at)


@dataclass(slots=True, unsafe_hash=True)
class Cell(Generic[T_co]):
    """A value, and the entry that established it. Erased: the key of that entry is destroyed.

    Nobody assigns to one. It is not frozen because a million are made at a time, and twice as fast.
    """

    value: T_co | Erased
    ref: Ref

    @property
    def known(self) -> T_co | None:
        """The value; None where it was erased."""
        return None if isinstance(self.value, Erased) else self.value


def cell(entry: RecordedEvent, value: T) -> Cell[T]:
    """A value that this entry establishes."""
    return Cell(value, Ref.to(entry))


class Cells:
    """Makes the cells of one entry: `here = Cells(entry)`, then `here(value)`."""

    __slots__ = ("_entry", "_ref")

    def __init__(self, entry: RecordedEvent) -> None:
        self._entry = entry
        self._ref = Ref.to(entry)

    def __call__(self, value: T) -> Cell[T]:
        return Cell(value, self._ref)

    def told(self, read: Callable[[Event], T]) -> Cell[T]:
        """What the entry's content tells, erased or not."""
        event = self._entry.event
        return Cell(ERASED if isinstance(event, Erased) else read(event), self._ref)

    def occurred(self) -> Cell[datetime]:
        """When the entry's fact occurred, in UTC: known without its content."""
        return Cell(self._entry.occurred_at.astimezone(UTC), self._ref)


def erased(entry: RecordedEvent) -> Cell[Never]:
    """A value that this entry established; nobody can tell any more which."""
    return Cell(ERASED, Ref.to(entry))


def told(entry: RecordedEvent, read: Callable[[Event], T]) -> Cell[T]:
    """What the entry's content tells, erased or not."""
    return Cells(entry).told(read)


def occurred(entry: RecordedEvent) -> Cell[datetime]:
    """When the entry's fact occurred, in UTC: known without its content."""
    return Cells(entry).occurred()


def known(cell: Cell[T] | None) -> T | None:
    """The value; None where no entry established it yet, or where it was erased."""
    return None if cell is None else cell.known


class Row:
    """The base of all rows: slotted dataclasses of cells, or of tuples of cells.

    Like cells, nobody assigns to them, and they are not frozen for the same reason. A field that
    no entry has established yet is None, or empty.
    """

    __slots__ = ()

    def cells(self) -> Iterator[tuple[str, Cell[Any]]]:
        """The established cells by name; those of a tuple as `name/0`, `name/1` …"""
        names: tuple[str, ...] = self.__slots__
        for name in names:
            content = getattr(self, name)
            if isinstance(content, tuple):
                yield from ((f"{name}/{at}", part) for at, part in enumerate(content))
            elif content is not None:
                yield name, content

    @classmethod
    def erased(cls, entry: RecordedEvent, **still_known: Any) -> Self:
        """The row of an entry whose content is erased: what else is known, and no more."""
        gone = erased(entry)
        needed = [
            attribute.name
            for attribute in fields(cls)  # type: ignore[arg-type]
            if attribute.default is MISSING
        ]
        return cls(**{**dict.fromkeys(needed, gone), **still_known})


class Together:
    """Fields of a row that one entry establishes at once, by name."""

    def __init__(self, *names: str) -> None:
        self.names = names


class Told(Row):
    """A row most of whose cells one entry establishes: `Line.told_by(ref, _FIELDS, values)`.

    A cell of it is made when it is asked for. A table, for which rows are made by the million, asks
    for none: it keeps the values.
    """

    __slots__ = ("_told",)

    if TYPE_CHECKING:  # else it would pass for a field of the row
        _told: tuple[Ref, Together, Sequence[Any], Mapping[str, Any]]

    @classmethod
    def told_by(
        cls, ref: Ref, together: Together, values: Sequence[object], **beside: object
    ) -> Self:
        """The row whose fields have these values, by that entry, none of them erased. `beside`:
        what others establish; what is not named there has its default."""
        row = cls.__new__(cls)
        row._told = ref, together, values, beside
        return row

    if not TYPE_CHECKING:  # else every name would pass for a field

        def __getattr__(self, name: str) -> Any:
            # Python asks here for what has no value yet.
            if name not in self.__slots__:
                raise AttributeError(name)
            ref, together, values, beside = self._told
            cells = {
                field: Cell(value, ref) for field, value in zip(together.names, values, strict=True)
            }
            self.__init__(**cells, **beside)
            return object.__getattribute__(self, name)
