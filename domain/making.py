"""Frozen values, made as fast as others.

A frozen data class sets each of its fields past its own refusal to be changed, which takes several
times as long as setting it. Where values are made by the thousand, `maker` has them filled in while
they are of a class like theirs that is not frozen, and then makes them theirs.
"""

from collections.abc import Callable
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, Final, ParamSpec, TypeVar

from pydantic import BaseModel

_SET: Final = object.__setattr__
_NOT_KEPT: Final[set[str]] = set()

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


def checked(kind: Callable[P, T]) -> Callable[P, T]:
    """What makes facts of that kind, as calling the class would, of values that were checked by the
    same annotations before: as a command's, whose fields become those of what it decides.

    It looks at none of them again, and runs no validator. What has no default must be given.
    """
    assert isinstance(kind, type)
    assert issubclass(kind, BaseModel)
    told: list[tuple[str, Any, Any]] = []
    for name, one in kind.model_fields.items():
        assert one.default_factory is None, "it would not be called"
        told.append((name, Any, field() if one.is_required() else field(default=one.default)))
    # The dictionaries of its values share their keys: they take half the memory.
    blank = make_dataclass(kind.__name__, told, kw_only=True, eq=False, repr=False)
    new = kind.__new__

    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        fact: Any = new(kind)
        _SET(fact, "__dict__", vars(blank(*args, **kwargs)))
        _SET(fact, "__pydantic_fields_set__", _NOT_KEPT)
        _SET(fact, "__pydantic_extra__", None)
        _SET(fact, "__pydantic_private__", None)
        return fact  # type: ignore[no-any-return]

    return made
