"""What histories come to, as bytes and back: of the folds of `domain` that last.

Bytes of other code are never read: `code()` changes with every line of `domain` and of this
module, so that a state needs no version of its own. Each is JSON, deflated by itself, so that what
is not asked for is not read; ahead of them stand their names and sizes. A text says by its first
letter what it is; a list says so by its first item, where a data class, a named tuple and a model
stand by their names. Those are looked up among the classes of `domain`; nothing is imported because
bytes name it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final, cast
from uuid import UUID
from zlib import compress, decompress

import orjson

import domain
from domain.event import Fold, History, RecordedEvent, Stored
from domain.told import Growing, Telling
from domain.values import Model
from infra import canonical

Fields = Callable[[Any], tuple[object, ...]]

_LEVEL: Final = 1
"""Ids come again and again: a quarter is left, and it takes no longer than to receive the rest."""
_ENTRIES: Final = "entries"


class Unstorable(TypeError):
    """A state that holds something without a form here; its text is that class."""


@cache
def code() -> str:
    """Of the code that states come from and are read by: 32 hexadecimal digits."""
    return code_of([*sorted(Path(domain.__file__).parent.rglob("*.py")), Path(__file__)])


def code_of(files: Iterable[Path]) -> str:
    """The same of these files, in this order."""
    found = sha256()
    for path in files:
        found.update(sha256(path.read_bytes()).digest())
    return found.hexdigest()[:32]


def fold_all(history: History) -> None:
    """Folds it by everything that lasts: what is asked of one of its kind is asked of others."""
    for fold in _folds().values():
        with suppress(Exception):  # whoever asks is told why it cannot be told
            history.folded(fold)


def stored(history: History) -> bytes:
    """What the history was folded to, of what lasts; nothing in it is older than its last entry."""
    writer, told = _Writer(), dict[str, object]()
    rested = history.at_rest(history)  # nothing that would have entries read again
    for fold in rested.lasting:
        if (name := _names().get(fold)) is not None:
            told[name] = writer.written(rested.folded(fold))
    told[_ENTRIES] = writer.entries
    parts = {name: compress(orjson.dumps(one), _LEVEL) for name, one in told.items()}
    sizes = {name: len(part) for name, part in parts.items()}
    return b"\n".join((orjson.dumps(sizes), b"".join(parts.values())))


def opened(data: bytes) -> dict[Fold[Any], Stored[Any]]:
    """The same, each read when it is first asked for."""
    sizes, _, inside = data.partition(b"\n")
    parts, at = dict[str, bytes](), 0
    for name, size in orjson.loads(sizes).items():
        parts[name] = inside[at : at + size]
        at += size
    reader, folds = _Reader(parts.pop(_ENTRIES)), _folds()
    return {folds[name]: Stored(reader.reading(part)) for name, part in parts.items()}


# --- What has a name --------------------------------------------------------------------------


def _modules() -> Iterator[ModuleType]:
    for module in iter_modules(domain.__path__, "domain."):
        yield import_module(module.name)


@cache
def _folds() -> Mapping[str, Fold[Any]]:
    """Every fold that lasts, by where in `domain` it stands."""
    found: dict[str, Fold[Any]] = {}
    for module in _modules():
        for name, value in vars(module).items():
            fold = value.fold if isinstance(value, Telling) else value
            if isinstance(fold, Fold) and fold.lasts:
                found[f"{module.__name__}.{name}"] = fold
    return found


@cache
def _names() -> Mapping[Fold[Any], str]:
    return {fold: name for name, fold in _folds().items()}


@cache
def _classes() -> Mapping[str, type]:
    return {
        _name(value): value
        for module in _modules()
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


@cache
def _name(kind: Any) -> str:
    return f"{kind.__module__.removeprefix('domain.')}.{kind.__qualname__}"


@cache
def _is_named(kind: Any) -> bool:
    return _classes().get(_name(kind)) is kind


@cache
def _fields(kind: Any) -> Fields | None:
    """What gives the values that make up one of that class, as `kind(*values)` takes them."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple
    if not is_dataclass(kind) or not all(one.init for one in fields(kind)):
        return None
    names = [one.name for one in fields(kind)]
    return lambda value: tuple([getattr(value, name) for name in names])


# --- Writing ----------------------------------------------------------------------------------


class _Writer:
    """Writes states; entries that several hold are written once."""

    def __init__(self) -> None:
        self.entries: dict[str, object] = {}

    def written(self, value: Any) -> object:
        kind = type(value)
        if value is None or kind is int or kind is bool:
            return value
        if (text := _text(value)) is not None:
            return text
        if kind is tuple or kind is list:
            return ["(" if kind is tuple else "[", *map(self.written, value)]
        if kind is frozenset:
            return ["<", *sorted(map(self._key, value))]
        if kind is dict or kind is Growing:
            pairs = {self._key(key): self.written(one) for key, one in value.items()}
            return ["{" if kind is dict else "*", pairs]
        if kind is RecordedEvent:
            return ["@", self._entry(value)]
        return self._of_class(kind, value)

    def _of_class(self, kind: Any, value: Any) -> list[object]:
        if not _is_named(kind):
            raise Unstorable(_name(kind))
        if issubclass(kind, Model):
            content = kind.__pydantic_serializer__.to_python(value, exclude_none=True)
            return ["=", _name(kind), canonical.encode(content).decode()]
        its = _fields(kind)
        if its is None:
            raise Unstorable(_name(kind))
        return [_name(kind), *map(self.written, its(value))]

    def _entry(self, entry: RecordedEvent) -> str:
        # An entry may be held as it was recorded and as it reads today.
        name = f"{entry.version}/{entry.amended_at or ''}"
        if name not in self.entries:
            self.entries[name] = self._of_class(RecordedEvent, entry)
        return name

    def _key(self, value: Any) -> str:
        text = _text(value)
        return "k" + orjson.dumps(self.written(value)).decode() if text is None else text


def _text(value: Any) -> str | None:
    """The value in one text; None where it has no such form."""
    match value:
        case UUID():
            return f"u{value.hex}"
        case StrEnum():
            return f"e{_name(type(value))}={value.value}"
        case str():
            return f"'{value}"
        case datetime():
            return f"t{value.isoformat()}"
        case date():
            return f"d{value.isoformat()}"
        case _:
            return None


# --- Reading ----------------------------------------------------------------------------------


@lru_cache(65_536)
def _enumerated(text: str) -> StrEnum:
    name, _, value = text.partition("=")
    kind = _classes()[name]
    assert issubclass(kind, StrEnum)
    return kind(value)


_TEXTS: Final[Mapping[str, Callable[[str], object]]] = {
    "u": lru_cache(65_536)(UUID),
    "e": _enumerated,
    "'": str,
    "t": datetime.fromisoformat,
    "d": date.fromisoformat,
}


def _inflated(part: bytes) -> object:
    return orjson.loads(decompress(part))


class _Reader:
    """Reads what a `_Writer` wrote."""

    def __init__(self, entries: bytes) -> None:
        self._part = entries
        self._entries: dict[str, object] = {}

    def reading(self, part: bytes) -> Callable[[], Any]:
        return lambda: self.read(_inflated(part))

    @cached_property
    def _raw(self) -> dict[str, list[Any]]:
        return cast(dict[str, list[Any]], _inflated(self._part))

    def read(self, raw: Any) -> Any:
        if type(raw) is str:
            return self.key(raw)
        if type(raw) is not list:
            return raw
        return self._listed(raw)

    def _listed(self, raw: list[Any]) -> Any:
        match raw[0]:
            case "(":
                return tuple([self.read(one) for one in raw[1:]])
            case "[":
                return [self.read(one) for one in raw[1:]]
            case "<":
                return frozenset(map(self.key, raw[1:]))
            case "{":
                return {self.key(key): self.read(one) for key, one in raw[1].items()}
            case "*":
                return Growing(cast(dict[Any, Any], _Unread(self, raw[1])))
            case "@":
                return self._entry(raw[1])
            case "=":
                kind = _classes()[raw[1]]
                assert issubclass(kind, Model)
                return kind.model_validate_json(raw[2])
            case name:
                return _classes()[name](*[self.read(one) for one in raw[1:]])

    def key(self, text: str) -> Any:
        if text[0] == "k":
            return self.read(orjson.loads(text[1:]))
        return _TEXTS[text[0]](text[1:])

    def _entry(self, name: str) -> object:
        found = self._entries.get(name)
        if found is None:
            found = self._entries[name] = self._listed(self._raw[name])
        return found


class _Unread(Mapping[Any, Any]):
    """What is kept by keys, each read when it is first asked for: there may be many."""

    __slots__ = ("_raw", "_read", "_reader")

    def __init__(self, reader: _Reader, raw: dict[str, object]) -> None:
        self._reader, self._raw = reader, raw
        self._read: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        if key in self._read:
            return self._read[key]
        found = self._read[key] = self._reader.read(self._raw[_Writer()._key(key)])
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._read or _Writer()._key(key) in self._raw

    def __iter__(self) -> Iterator[Any]:
        return map(self._reader.key, self._raw)

    def __len__(self) -> int:
        return len(self._raw)
