"""Canonical JSON: the same value gives the same bytes, or a refusal that tells where."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from infra.canonical import (
    CanonicalError,
    decode,
    encode,
    offset_text,
    parse_time,
    time_text,
)

NAMES = st.text(st.characters(max_codepoint=127), max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=5)
)
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(timezones=OFFSETS).filter(lambda moment: 1 < moment.year < 9999)
NAIVE = datetime.fromisoformat("2026-01-01T00:00:00")


class Perspective(StrEnum):
    CLIENT = "client"


class Level(IntEnum):
    MUCH_MORE = 2


class Place(Enum):
    ROOM = UUID("00000000-0000-4000-8000-00000000000a")


class Pair(NamedTuple):
    left: int
    right: int


@given(VALUES)
@example({'\x00\x1f\x7f"\\/\b\t\n\f\r': '\x00\x1f\x7f"\\/\b\t\n\f\r é ß \u2028\u2029 😀 \uffff'})
@example({"": [], "a": {}, "B": [[]], "aa": None, "A": 2**53 - 1})
def test_bytes_equal_the_reference_implementation(value: object) -> None:
    """Idea 5: leaf inputs and contents are RFC 8785, byte for byte."""
    assert encode(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(VALUES)
def test_what_was_encoded_decodes_to_itself(value: object) -> None:
    """Idea 5: stored bytes and the value they stand for are one and the same."""
    decoded = decode(encode(value))
    assert decoded == value
    assert encode(decoded) == encode(value)


def test_values_of_the_domain_have_one_form() -> None:
    """Idea 5: ids, times, dates and enumerations are stored as the format says."""
    east = timezone(timedelta(hours=2))
    value = {
        "session": UUID("6F9619FF-8B86-4D01-B42D-00CF4FC964FF"),
        "at": datetime(2026, 11, 23, 4, 53, 41, tzinfo=east),
        "on": date(2026, 11, 23),
        "by": Perspective.CLIENT,
        "level": Level.MUCH_MORE,
        "place": Place.ROOM,
        "items": (1, 2),
        "none": None,
    }
    assert decode(encode(value)) == {
        "session": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
        "at": {"at": "2026-11-23T02:53:41.000000Z", "offset": "+02:00"},
        "on": "2026-11-23",
        "by": "client",
        "level": 2,
        "place": "00000000-0000-4000-8000-00000000000a",
        "items": [1, 2],
        "none": None,
    }


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value,code,path",
    [
        (0.5, "float", ()),
        ({"a": [1, {"b": 2.0}]}, "float", ("a", 1, "b")),
        (float("nan"), "float", ()),
        ([Decimal("1.5")], "type", (0,)),
        ({"a": b"bytes"}, "type", ("a",)),
        ({"a": {1, 2}}, "type", ("a",)),
        ({"a": Pair(1, 2)}, "type", ("a",)),
        (timedelta(1), "type", ()),
        ([2**53], "integer_range", (0,)),
        ([-(2**53)], "integer_range", (0,)),
        ([10**40], "integer_range", (0,)),
        ({"at": NAIVE}, "naive_datetime", ("at",)),
        ({"at": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "time_range", ("at",)),
        (
            {"at": datetime(1850, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))},
            "offset_precision",
            ("at",),
        ),
        ({"a": {"é": 1}}, "name", ("a",)),
        ({1: 1}, "name", ()),
        ({Perspective.CLIENT: 1, "client": 2}, "name", ()),
        ({"a": "\ud800"}, "surrogate", ("a",)),
        ({"a": ["x", "ok\udfff"]}, "surrogate", ("a", 1)),
        (CYCLE, "depth", (0,) * 64),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_path(
    value: object, code: str, path: tuple[str | int, ...]
) -> None:
    """Idea 5: no floats, integers below 2^53, ASCII names, no lone surrogates; said by path."""
    with pytest.raises(CanonicalError) as refused:
        encode(value)
    assert (refused.value.code, refused.value.path) == (code, path)


def test_a_refusal_never_carries_the_value() -> None:
    """R27: errors hold codes and places, never what was entered."""
    with pytest.raises(CanonicalError) as refused:
        encode({"note": ["Anna said\udc00"]})
    assert "Anna" not in f"{refused.value!r} {refused.value} {refused.value.args}"
    assert str(refused.value) == "surrogate at /note/0"
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "data,code",
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'"\xff"', "not_json"),
        (rb'"\ud800"', "not_json"),
        (b"NaN", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"{} ", "not_canonical"),
        (b'{"b":1,"a":2}', "not_canonical"),
        (b'{"a":1,"a":1}', "not_canonical"),
        (b'{"a": 1}', "not_canonical"),
        (rb'"\u0041"', "not_canonical"),
        (rb'"\/"', "not_canonical"),
        (b"1.5", "float"),
        (b"1.0", "float"),
        (b"1e3", "float"),
        (b"-0.0", "float"),
        (b"9007199254740992", "integer_range"),
        (b"99999999999999999999999", "float"),
        ('{"é":1}'.encode(), "name"),
        (b"[" * 65 + b"]" * 65, "depth"),
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes, code: str) -> None:
    """R3: a stored text that says the same in other bytes is an altered text."""
    with pytest.raises(CanonicalError) as refused:
        decode(data)
    assert refused.value.code == code


def test_minus_zero_is_refused() -> None:
    """Idea 5: one number, one spelling."""
    with pytest.raises(CanonicalError):
        decode(b"-0")


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_whatever_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    """R3: decoding is strict, so equal content means equal bytes."""
    try:
        value = decode(data)
    except CanonicalError:
        return
    assert encode(value) == data


@given(MOMENTS)
@example(datetime(2026, 11, 23, 4, 53, 41, tzinfo=timezone(timedelta(hours=2))))
@example(datetime(999, 1, 3, tzinfo=timezone(timedelta(minutes=-1))))
def test_a_time_keeps_its_moment_and_its_offset(moment: datetime) -> None:
    """Rule 5: both times of an entry survive storage to the microsecond, with their offset."""
    again = parse_time(time_text(moment), offset_text(moment))
    assert again == moment
    assert again.utcoffset() == moment.utcoffset()


@given(MOMENTS)
@example(datetime(2026, 11, 23, tzinfo=UTC))
@example(datetime(1, 1, 1, microsecond=1, tzinfo=UTC))
def test_a_time_is_written_as_the_standard_library_writes_it(moment: datetime) -> None:
    """Formats: RFC 3339 in UTC with six digits, to the last character what `isoformat` gives."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    assert time_text(moment) == f"{utc.isoformat(timespec='microseconds')}Z"


@pytest.mark.parametrize(
    "offset,text",
    [(0, "+00:00"), (120, "+02:00"), (-210, "-03:30"), (345, "+05:45"), (-1, "-00:01")],
)
def test_offsets_are_told_in_hours_and_minutes(offset: int, text: str) -> None:
    """Idea 5: times are RFC 3339 UTC with six digits, the original offset beside."""
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(minutes=offset)))
    assert offset_text(moment) == text


@pytest.mark.parametrize(
    "at,offset,code",
    [
        ("2026-11-23T02:53:41Z", "+02:00", "time_text"),
        ("2026-11-23T02:53:41.000000+00:00", "+02:00", "time_text"),
        ("2026-11-23 02:53:41.000000Z", "+02:00", "time_text"),
        ("2026-11-23t02:53:41.000000z", "+02:00", "time_text"),
        ("2026-02-30T02:53:41.000000Z", "+02:00", "time_text"),
        ("2026-11-23T24:00:00.000000Z", "+02:00", "time_text"),
        ("2026-11-23T23:59:60.000000Z", "+02:00", "time_text"),
        ("0000-11-23T02:53:41.000000Z", "+02:00", "time_text"),
        ("２026-11-23T02:53:41.000000Z", "+02:00", "time_text"),
        ("2026-11-23T02:53:41.000000Z\n", "+02:00", "time_text"),
        ("2026-11-23T02:53:41.000000Z", "-00:00", "offset_text"),
        ("2026-11-23T02:53:41.000000Z", "+24:00", "offset_text"),
        ("2026-11-23T02:53:41.000000Z", "+02:60", "offset_text"),
        ("2026-11-23T02:53:41.000000Z", "+2:00", "offset_text"),
        ("2026-11-23T02:53:41.000000Z", "Z", "offset_text"),
        ("0001-01-01T00:00:00.000000Z", "-00:01", "time_range"),
        ("9999-12-31T23:59:59.999999Z", "+00:01", "time_range"),
    ],
)
def test_other_spellings_of_a_time_are_refused(at: str, offset: str, code: str) -> None:
    """Idea 5: one moment and offset, one spelling."""
    with pytest.raises(CanonicalError) as refused:
        parse_time(at, offset)
    assert refused.value.code == code


def test_a_naive_time_has_no_text() -> None:
    """Rule 5: a time without its offset is not a moment."""
    for tell in (time_text, offset_text):
        with pytest.raises(CanonicalError, match="naive_datetime"):
            tell(NAIVE)
    assert time_text(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000000Z"
