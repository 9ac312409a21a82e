"""How rows of views are spelt: each as a line of JSON in the clear, and one for every key.

A row that one entry tells is spelt as the values of its form alone, whose names stand once in a
block. The format is `rapport-view/2`, written down in docs/formats/view.md.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby, islice, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import orjson

from infra.canonical import AS_THEY_ARE, encode, time_text

Ref = tuple[int, int, UUID, int | None]
"""Position, version, key and amended_at of the entry that established a value."""
Cited = tuple[Ref, bool, Sequence[str]]
"""Clear fields (or, where True, erased ones) that one entry established."""
Group = Mapping[str, tuple[int, int, int | None, object]]
"""Sealed under one key: field → position, version, amended_at, value."""

_CANONICAL: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_IN_ORDER: Final = orjson.OPT_STRICT_INTEGER
"""Of arrays of what is written in order already."""
_TOLD: Final = orjson.OPT_UTC_Z | orjson.OPT_STRICT_INTEGER
"""Of arrays with moments: with microseconds, or with whole seconds where there are none."""


class Form(Protocol):
    """Fields that one entry establishes at once: all that are clear, and others."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def clear(self) -> Sequence[str]: ...
    @property
    def times(self) -> Sequence[str]:
        """Those of the clear ones that are moments."""
        ...

    def __hash__(self) -> int: ...


class NewRow(Protocol):
    """A row to be written."""

    @property
    def told(self) -> tuple[Form, Ref, Sequence[Any]] | None:
        """Where one entry tells all of it: in which form, which one, and the values."""
        ...

    @property
    def columns(self) -> Mapping[str, object]: ...
    @property
    def cited(self) -> Sequence[Cited]: ...
    @property
    def groups(self) -> Mapping[UUID, Group]: ...


class StoredRow(NamedTuple):
    """A row as it was kept; a group is None where its key was destroyed."""

    stream: str
    entry: int
    columns: Mapping[str, Any]
    cited: Sequence[Cited]
    groups: Mapping[UUID, Group | None]


class Spelt(NamedTuple):
    """A row in JSON, not yet sealed. Equal rows are spelt equally, whatever block they are in."""

    entry: int
    clear: bytes
    parts: Sequence[bytes | None]
    """What is sealed under each of its keys, which `clear` names; None: that is destroyed."""


Keys = Sequence[UUID]
"""Of one row."""


class Spelling:
    """How rows are spelt that one entry tells, in one form."""

    def __init__(self, number: int, form: Form) -> None:
        self.clear = sorted(form.clear)
        self.sealed = sorted(set(form.names).difference(form.clear))
        self._number = number
        self._of_clear = _picking(form.names, self.clear)
        self._of_sealed = _picking(form.names, self.sealed)
        self._times = [_BEFORE_VALUES + self.clear.index(name) for name in form.times]

    def rows(self, rows: Sequence[tuple[int, Ref, Sequence[Any]]]) -> Iterator[tuple[Spelt, Keys]]:
        """Rows, each with its entry, who tells it, and the values of the form."""
        # A step is taken for all of them before the next: a third less time than each by itself.
        clear = [
            [self._number, entry, *ref, *self._of_clear(values)] for entry, ref, values in rows
        ]
        for at in self._times:
            for row in clear:
                moment = row[at]
                if moment is not None and moment.tzinfo is not UTC:
                    row[at] = moment.astimezone(UTC)
        sealed = [
            [value if type(value) in AS_THEY_ARE else _for_json(value) for value in its]
            for its in [self._of_sealed(values) for _, _, values in rows]
        ]
        return (
            (Spelt(entry, told, [its]), (ref[2],))
            for (entry, ref, _), told, its in zip(
                rows,
                [orjson.dumps(row, option=_TOLD) for row in clear],
                [orjson.dumps(row, option=_IN_ORDER) for row in sealed],
                strict=True,
            )
        )


_BEFORE_VALUES: Final = 6
"""In a line that one entry tells: form, entry, position, version, key and amended_at."""


def _picking(names: Sequence[str], wanted: Sequence[str]) -> Callable[[Sequence[Any]], list[Any]]:
    """What picks the values of these fields."""
    if len(wanted) < 2:
        ats = [names.index(name) for name in wanted]
        return lambda values: [values[at] for at in ats]
    return itemgetter(*map(names.index, wanted))


class Spellings:
    """How rows of one view are spelt: those of its forms, and all others."""

    def __init__(self, forms: Sequence[Form]) -> None:
        self._told = {form.names: Spelling(number, form) for number, form in enumerate(forms)}
        self._of_form: dict[Form, Spelling | None] = {}
        told = self._told.values()
        self.clear = orjson.dumps([one.clear for one in told])
        """What a block begins with in the clear: the names of each form's clear fields."""
        self.sealed = orjson.dumps([one.sealed for one in told])
        """What each of its groups begins with: the names of the others."""

    def rows(self, rows: Iterable[tuple[int, NewRow]]) -> Iterator[tuple[Spelt, Keys]]:
        """Rows, each with its entry: how they are spelt, and their keys. Raises CanonicalError, or
        orjson's error for a surrogate or an integer too large."""
        for told, its in groupby(rows, self._form):
            if told is None:
                yield from (_apart(*each) for each in its)
            else:
                values = [(entry, *row.told[1:]) for entry, row in its if row.told is not None]
                yield from told.rows(values)

    def _form(self, row: tuple[int, NewRow]) -> Spelling | None:
        told = row[1].told
        if told is None:
            return None
        try:
            return self._of_form[told[0]]
        except KeyError:  # another copy of the view tells it, or it is in no declared form
            found = self._of_form[told[0]] = self._told.get(told[0].names)
            return found


spellings = lru_cache(64)(Spellings)
"""Of a view's forms, made once."""


def _apart(entry: int, row: "NewRow | StoredRow") -> tuple[Spelt, Keys]:
    """A row that several entries tell."""
    keys = sorted(row.groups)
    told = {
        "cited": [(*ref, erased, fields) for ref, erased, fields in row.cited],
        "columns": {
            name: time_text(value) if type(value) is datetime else value
            for name, value in row.columns.items()
        },
        "entry": entry,
        "keys": keys,
    }
    groups = [row.groups[key_id] for key_id in keys]
    parts = [None if group is None else group_bytes(group) for group in groups]
    return Spelt(entry, orjson.dumps(told, option=_CANONICAL), parts), keys


def group_bytes(group: Group) -> bytes:
    """`canonical.encode(dict(group))`, which looks at every part of every cell.

    Most values are of types that have one form in JSON; the others are encoded by themselves.
    Raises as `canonical.encode` does, or orjson's error for a surrogate or an integer too large.
    """
    others = {
        name: (*cell[:3], _for_json(cell[3]))
        for name, cell in group.items()
        if type(cell[3]) not in AS_THEY_ARE
    }
    return orjson.dumps({**group, **others} if others else group, option=_CANONICAL)


def _for_json(value: object) -> object:
    """A value as orjson writes it canonically."""
    if type(value) in AS_THEY_ARE:
        return value
    if type(value) is tuple and (not value or AS_THEY_ARE.issuperset(map(type, value))):
        return value
    return orjson.Fragment(encode(value))


# --- Blocks ---------------------------------------------------------------------------------

_BETWEEN: Final = b",\n"
"""Between the lines of a block. JSON as it is written here has no line feed anywhere else."""


def block(head: bytes, lines: Iterable[bytes]) -> bytes:
    """Lines as one array, after what it begins with."""
    return b"[%b]" % _BETWEEN.join([head, *lines])


def _lines(text: bytes) -> list[bytes]:
    """What a block is made of, the head first."""
    return text[1:-1].split(_BETWEEN)


def spelt_rows(clear: bytes, groups: Mapping[UUID, bytes | None], wanted: Spellings) -> list[Spelt]:
    """The rows of a block that was opened, as they are spelt.

    What was told in other forms than those that are `wanted` is spelt as what several entries tell:
    so it is not taken for what it is not.
    """
    head, *lines = _lines(clear)
    sealed = {key_id: None if text is None else _lines(text) for key_id, text in groups.items()}
    if head != wanted.clear or any(its and its[0] != wanted.sealed for its in sealed.values()):
        return [_apart(row.entry, row)[0] for row in stored_rows("", clear, groups)]
    _, *rows = orjson.loads(clear)
    return [
        Spelt(row["entry"] if type(row) is dict else row[1], line, parts)
        for row, line, parts in zip(rows, lines, _dealt(rows, sealed), strict=True)
    ]


def stored_rows(stream: str, clear: bytes, groups: Mapping[UUID, bytes | None]) -> list[StoredRow]:
    """The rows of a block that was opened."""
    names, *rows = orjson.loads(clear)
    sealed = {
        key_id: None if text is None else orjson.loads(text) for key_id, text in groups.items()
    }
    return [
        _stored_apart(stream, row, parts)
        if type(row) is dict
        else _stored_told(stream, row, names, sealed, parts)
        for row, parts in zip(rows, _dealt(rows, sealed), strict=True)
    ]


def _dealt(rows: Iterable[Any], sealed: Mapping[UUID, Sequence[Any] | None]) -> Iterator[list[Any]]:
    """What of each row is sealed under each of its keys; None: that is destroyed."""
    following = {
        str(key_id): repeat(None) if its is None else islice(its, 1, None)
        for key_id, its in sealed.items()
    }
    return (
        [next(following[key_id]) for key_id in (row["keys"] if type(row) is dict else row[4:5])]
        for row in rows
    )


def _stored_apart(stream: str, row: Any, parts: Iterable[Any]) -> StoredRow:
    """A row that several entries tell."""
    cited = tuple(
        ((position, version, UUID(key_id), amended_at), erased, fields)
        for position, version, key_id, amended_at, erased, fields in row["cited"]
    )
    groups = dict(zip(map(UUID, row["keys"]), parts, strict=True))
    return StoredRow(stream, row["entry"], row["columns"], cited, groups)


def _stored_told(
    stream: str,
    row: Any,
    names: Sequence[Sequence[str]],
    sealed: Mapping[UUID, Sequence[Any] | None],
    parts: Sequence[Any],
) -> StoredRow:
    """A row that one entry tells."""
    form, entry, position, version, key, amended_at, *values = row
    key_id = UUID(key)
    group, its = None, sealed[key_id]
    if its is not None:
        told = zip(its[0][form], parts[0], strict=True)
        group = {name: (position, version, amended_at, value) for name, value in told}
    columns = dict(zip(names[form], values, strict=True))
    cited = (((position, version, key_id, amended_at), False, names[form]),)
    return StoredRow(stream, entry, columns, cited, {key_id: group})
