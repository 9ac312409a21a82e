"""How rows are spelt that one entry tells: their names are the same, in the same order, each time.

The formats are those of infra/view_rows.py, written down in docs/formats/view.md.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from infra.canonical import AS_THEY_ARE, encode, time_text_once

Ref = tuple[int, int, UUID, int | None]
"""Position, version, key and amended_at of the entry that established a value."""

IN_ORDER: Final = orjson.OPT_STRICT_INTEGER
"""Of objects whose names are in order already."""


class Form(Protocol):
    """Fields that one entry establishes at once: all that are clear, and others."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def clear(self) -> Sequence[str]: ...
    @property
    def times(self) -> Sequence[str]:
        """Those of the clear ones that are moments."""
        ...

    def __hash__(self) -> int: ...


class Spelling:
    """How rows of one form are spelt: which of their values stand where, by name."""

    def __init__(self, form: Form) -> None:
        self._names = form.names
        self._columns = sorted(form.clear)
        self._sealed = sorted(set(form.names).difference(form.clear))
        self._times = form.times
        self._of_columns, self._of_sealed = self.picking(self._columns), self.picking(self._sealed)
        self._cited = b",false,%b]]" % orjson.dumps(form.clear)

    def picking(self, names: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """What picks the values of these fields."""
        first, *others = map(self._names.index, names)
        return itemgetter(first, *others) if others else itemgetter(slice(first, first + 1))

    def plain(self, values: Sequence[Any]) -> dict[str, object]:
        """The clear columns as they are digested, in order."""
        plain = dict(zip(self._columns, self._of_columns(values), strict=True))
        for name in self._times:
            value = plain[name]
            if value is not None:
                plain[name] = time_text_once(value)
        return plain

    def cells(
        self, ref: Ref, values: Sequence[Any]
    ) -> dict[str, tuple[int, int, int | None, object]]:
        """The sealed cells as orjson writes them canonically, in order."""
        position, version, _, amended_at = ref
        return {
            name: (
                position,
                version,
                amended_at,
                value if type(value) in AS_THEY_ARE else value_for_json(value),
            )
            for name, value in zip(self._sealed, self._of_sealed(values), strict=True)
        }

    def cited(self, ref: Ref, key: bytes) -> bytes:
        """The citation of that entry, as JSON."""
        position, version, _, amended_at = ref
        amended = b"null" if amended_at is None else b"%d" % amended_at
        return b'[[%d,%d,"%b",%b%b' % (position, version, key, amended, self._cited)


spelling = lru_cache(256)(Spelling)
"""Of a form, made once."""


def value_for_json(value: object) -> object:
    """A value as orjson writes it canonically."""
    if type(value) in AS_THEY_ARE:
        return value
    if type(value) is tuple and AS_THEY_ARE.issuperset(map(type, value)):
        return value
    return orjson.Fragment(encode(value))
