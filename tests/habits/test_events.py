"""What is stored has no floats: 0.1 + 0.2 must not depend on who adds."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from domain.topics import EVENTS


def test_no_event_holds_a_float() -> None:
    """ARCHITECTURE, idea 5: scaled integers or decimal strings, down to the nested values."""
    floats = sorted(
        f"{event.__name__}.{name}"
        for event in EVENTS.values()
        for name, field in event.model_fields.items()
        if float in _types(field.annotation, set())
    )
    assert floats == []
    assert EVENTS


def _types(annotation: Any, seen: set[type]) -> Iterator[Any]:
    """The type and all it is made of: arguments of generics, fields of models."""
    yield annotation
    for argument in get_args(annotation):
        yield from _types(argument, seen)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in seen:
            return
        seen.add(annotation)
        for field in annotation.model_fields.values():
            yield from _types(field.annotation, seen)
