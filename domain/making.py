"""Frozen values, made as fast as others.

A frozen data class sets each of its fields past its own refusal to be changed, which takes several
times as long as setting it. Where values are made by the thousand, `maker` has them filled in while
they are of a class like theirs that is not frozen, and then makes them theirs.
"""

from collections.abc import Callable
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def maker(kind: Callable[P, T]) -> Callable[P, T]:
    """What makes values of that frozen data class with slots, as calling the class would."""
    assert not hasattr(kind, "__post_init__"), "it would not be called"
    told: list[tuple[str, Any, Any]] = []
    for one in fields(kind):  # type: ignore[arg-type]
        if one.default_factory is not MISSING:
            told.append((one.name, Any, field(default_factory=one.default_factory)))
        else:
            told.append((one.name, Any, field(default=one.default)))
    blank = make_dataclass("blank", told, slots=True, eq=False)

    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        value = blank(*args, **kwargs)
        value.__class__ = kind
        return value  # type: ignore[no-any-return]

    return made
