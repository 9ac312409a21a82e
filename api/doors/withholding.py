"""What a reader is not shown of a row: content, and not that it is there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from domain.event import Erased
from projections.view import Cell, Number, Ref, Row, Together, View

S = TypeVar("S")
R = TypeVar("R", bound=Row)


class Withheld(Erased):
    """Content that this reader is not shown. Whoever knows of erased content knows what to do."""


WITHHELD = Withheld()


def withheld(
    view: View[S, R], rows: Mapping[int, R], hidden: Callable[[int], bool]
) -> Mapping[int, R]:
    """The rows without what the hidden entries established, but for their structure."""
    return {key: withhold(view, row, hidden) for key, row in rows.items()}


def withhold(view: View[S, R], row: R, hidden: Callable[[int], bool]) -> R:
    """The row without what the hidden entries established, but for its structure.

    Of everything else it is shown that it is there, and which entry established it.
    """
    told = getattr(row, "_told", None)
    if told is not None:
        return _withheld_together(view, type(row), told, hidden)
    veiled = {name: _veiled(getattr(row, name), hidden) for name in _beyond_structure(view)}
    return replace(row, **veiled)  # type: ignore[type-var]  # every row is a dataclass


def _withheld_together(
    view: View[Any, R],
    kind: type[R],
    told: tuple[Ref, Together, Sequence[Any], Mapping[str, Any]],
    hidden: Callable[[int], bool],
) -> R:
    """The same of a row that one entry tells, without making each of its cells."""
    ref, together, values, beside = told
    veiled = {
        name: _veiled(content, hidden) if name in _beyond_structure(view) else content
        for name, content in beside.items()
    }
    if hidden(ref.version):
        together, seen, unseen = _divided(view, together)
        values = [values[at] for at in seen]
        veiled |= dict.fromkeys(unseen, Cell(WITHHELD, ref))
    row: R = kind.told_by(ref, together, values, **veiled)  # type: ignore[attr-defined]
    return row


@cache
def _divided(
    view: View[Any, Any], together: Together
) -> tuple[Together, Sequence[int], Sequence[str]]:
    """Of fields that one entry establishes those of structure, where they are, and the others."""
    unseen = [name for name in together.names if name in _beyond_structure(view)]
    seen = [name for name in together.names if name not in unseen]
    return Together(*seen), [together.names.index(name) for name in seen], unseen


@cache
def _beyond_structure(view: View[Any, Any]) -> tuple[str, ...]:
    """The fields that no table keeps in the clear, and that are no positions or counts."""
    hints = get_type_hints(view.row, include_extras=True)
    return tuple(
        field.name
        for field in fields(view.row)
        if field.name not in view.clear and not _is_number(hints[field.name])
    )


def _is_number(hint: object) -> bool:
    return hint == Number or any(map(_is_number, get_args(hint)))


def _veiled(content: Any, hidden: Callable[[int], bool]) -> Any:
    match content:
        case tuple():
            return tuple(_veiled(part, hidden) for part in content)
        case Cell(value=value, ref=ref) if hidden(ref.version) and not isinstance(value, Erased):
            return replace(content, value=WITHHELD)
    return content
