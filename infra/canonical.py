"""Canonical JSON (RFC 8785) for everything that is hashed, sealed or compared.

Two programs that hold the same value must produce the same bytes, today and in ten years, in any
language. RFC 8785 gives that for JSON; this module narrows it further to what never surprises:
no floats, integers below 2^53, ASCII names, no lone surrogates, no Unicode normalisation.

`encode` is RFC 8785 by way of orjson: within the narrowed values both give the same bytes, which a
property test proves against the reference implementation. Source: RFC 8785; docs/formats/entry.md.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, StrEnum
from functools import lru_cache
from types import NoneType
from typing import Any, Final
from uuid import UUID

import orjson

INTEGER_LIMIT: Final = 2**53
"""Integers must lie strictly between -2^53 and 2^53, so that every JSON reader keeps them exact."""

DEPTH_LIMIT: Final = 64
"""How many objects and arrays may stand inside each other; a cycle ends here too."""

AS_THEY_ARE: Final[set[type]] = {str, int, bool, NoneType, UUID}
"""What orjson writes as it stands, a UUID as its lower-case text, or refuses: lone surrogates and
integers out of range. Enumerations of ASCII texts are added as they are met."""

_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


class CanonicalError(ValueError):
    """A value or a text that has no canonical form here.

    `code` says why; `path` leads to the place by field names and indices. The value itself is
    never carried: it may be clinical.
    """

    def __init__(self, code: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(code, path)
        self.code = code
        self.path = path

    def __str__(self) -> str:
        return f"{self.code} at /{'/'.join(map(str, self.path))}"


def encode(value: object) -> bytes:
    """The canonical bytes of `value`.

    Takes str, int, bool, None, list, tuple and dict with str names, and converts UUID → text,
    aware datetime → {"at", "offset"}, date → "YYYY-MM-DD", Enum → its value. Raises
    `CanonicalError` for anything else: codes `float`, `type`, `integer_range`, `naive_datetime`,
    `offset_precision`, `time_range`, `name`, `surrogate`, `depth`.
    """
    return written(_plain(value, DEPTH_LIMIT))


def written(plain: object) -> bytes:
    """The same of what holds nothing but AS_THEY_ARE, in objects and arrays."""
    try:
        return orjson.dumps(plain, option=_OPTIONS)
    except orjson.JSONEncodeError:
        _require_written(plain, ())
        raise


def decode(data: bytes) -> Any:
    """The value whose canonical bytes are exactly `data`.

    Raises `CanonicalError` `not_json`, `not_canonical` (other order, white space, escapes, a name
    given twice …) or what `encode` raises (a float, an integer out of range).
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise CanonicalError("not_json") from None
    if encode(value) != data:
        raise CanonicalError("not_canonical")
    return value


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC with six digits: "2026-11-23T02:53:41.000000Z"."""
    if moment.tzinfo is UTC:
        return _utc_text(moment)
    if moment.utcoffset() is None:
        raise CanonicalError("naive_datetime")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise CanonicalError("time_range") from None
    return _utc_text(utc)


def offset_text(moment: datetime) -> str:
    """The offset from UTC that `moment` was given in: "+02:00", "+00:00"; whole minutes only."""
    if moment.tzinfo is UTC:
        return "+00:00"
    offset = moment.utcoffset()
    if offset is None:
        raise CanonicalError("naive_datetime")
    return _offset_text(offset)


def told_moment(moment: datetime) -> dict[str, str]:
    """A moment as content holds it."""
    return {"at": time_text(moment), "offset": offset_text(moment)}


def parse_time(at: str, offset: str) -> datetime:
    """The moment `at` (as `time_text` writes it), told in `offset` (as `offset_text` writes it).

    Raises `CanonicalError` `time_text` or `offset_text` for any other spelling, `time_range` where
    the year would leave 1–9999.
    """
    match = _OFFSET.fullmatch(offset)
    if match is None or offset == "-00:00":
        raise CanonicalError("offset_text")
    if _TIME.fullmatch(at) is None:
        raise CanonicalError("time_text")
    try:
        utc = datetime.fromisoformat(at)
    except ValueError:
        raise CanonicalError("time_text") from None
    sign, hours, minutes = match.groups()
    shift = timedelta(hours=int(hours), minutes=int(minutes))
    try:
        return utc.astimezone(timezone(-shift if sign == "-" else shift))
    except OverflowError:
        raise CanonicalError("time_range") from None


def time_text_once(moment: datetime) -> str:
    """The same of a moment that will hardly come again: to look for it takes longer than this."""
    return _spelt(moment) if moment.tzinfo is UTC else time_text(moment)


def _spelt(moment: datetime) -> str:
    # As `isoformat(timespec="microseconds")` has it, in a third of the time; orjson leaves out
    # microseconds that are none.
    text = orjson.dumps(moment, option=orjson.OPT_UTC_Z).decode()
    return text[1:-1] if moment.microsecond else f"{text[1:-2]}.000000Z"


_utc_text: Final = lru_cache(1024)(_spelt)  # of moments in UTC alone, where equal ones are the same


@lru_cache(1024)
def _offset_text(offset: timedelta) -> str:
    minutes, rest = divmod(offset, timedelta(minutes=1))
    if rest:
        raise CanonicalError("offset_precision")
    hours, minutes_left = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{minutes_left:02}"


def _plain(value: object, depth: int) -> object:
    """`value` in what orjson writes, or `CanonicalError` with the path to what has no form.

    Texts and integers are left to orjson, which knows the same limits.
    """
    kind = type(value)
    if kind in AS_THEY_ARE:
        return value
    # Exact types: a named tuple would lose its names without a word.
    if kind is dict:
        return _object(value, depth)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        return _array(value, depth)  # type: ignore[arg-type]
    return _converted(value, depth)


def _object(fields: dict[Any, Any], depth: int) -> dict[str, object]:
    if not depth:
        raise CanonicalError("depth")
    plain: dict[str, object] = {}
    for name, item in fields.items():
        # An Enum member as a name could meet a plain name of the same text: str and nothing else.
        if type(name) is not str or not name.isascii():
            raise CanonicalError("name")
        if type(item) in AS_THEY_ARE:
            plain[name] = item
            continue
        try:
            plain[name] = _plain(item, depth - 1)
        except CanonicalError as error:
            raise CanonicalError(error.code, (name, *error.path)) from None
    return plain


def _array(items: list[Any] | tuple[Any, ...], depth: int) -> list[object] | tuple[object, ...]:
    if not depth:
        raise CanonicalError("depth")
    if AS_THEY_ARE.issuperset(map(type, items)):
        return items
    plain: list[object] = []
    for index, item in enumerate(items):
        try:
            plain.append(_plain(item, depth - 1))
        except CanonicalError as error:
            raise CanonicalError(error.code, (index, *error.path)) from None
    return plain


def _require_written(plain: object, path: tuple[str | int, ...]) -> None:
    """Says what of it orjson does not write."""
    match plain:
        case str():
            try:
                plain.encode()
            except UnicodeEncodeError:
                raise CanonicalError("surrogate", path) from None
        case int():
            if not -INTEGER_LIMIT < plain < INTEGER_LIMIT:
                raise CanonicalError("integer_range", path) from None
        case dict():
            for name, item in plain.items():
                _require_written(item, (*path, name))
        case list() | tuple():
            for index, item in enumerate(plain):
                _require_written(item, (*path, index))


def _converted(value: object, depth: int) -> object:
    match value:
        case StrEnum() if "".join(type(value)).isascii():
            AS_THEY_ARE.add(type(value))
            return value
        case Enum():
            return _plain(value.value, depth)
        case datetime():
            return told_moment(value)
        case date():
            return value.isoformat()
        case float():
            raise CanonicalError("float")
        case _:
            raise CanonicalError("type")
