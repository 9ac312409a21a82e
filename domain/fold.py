"""What folds are made of that knows nothing of entries: stored states, and kinds of events."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

S = TypeVar("S")


class Stored(Generic[S]):
    """What a history was folded to before, read from where it is kept when it is asked for."""

    __slots__ = ("read",)

    def __init__(self, read: Callable[[], S]) -> None:
        self.read = read


def read(state: Any) -> Any:
    """The state, also where it is stored."""
    return state.read() if type(state) is Stored else state


class Among(dict[type, bool]):
    """Whether a class is one of these kinds; looked into once, for it is asked of every entry."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self._kinds = kinds

    def __missing__(self, kind: type) -> bool:
        is_one = self[kind] = issubclass(kind, self._kinds)
        return is_one
