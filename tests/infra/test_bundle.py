"""The format of evidence bundles: one spelling for JSON, envelopes and the zip file."""

import stat
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import canonical
from infra.bundle import (
    FILES_LIMIT,
    LEAF_LIMIT,
    MANIFEST_LIMIT,
    BundleBroken,
    Disclosed,
    Leaf,
    committed,
    packed,
    parsed,
    read,
    rendered,
    unpacked,
    write,
)
from infra.sealing import commitment

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_canonical_json_is_the_same_by_both_libraries(value: Any) -> None:
    """Format: the verifier writes by the standard library what the record writes by another, to
    the byte; what one refuses, so does the other."""
    try:
        expected = canonical.encode(value)
    except canonical.CanonicalError:
        with pytest.raises(ValueError):  # noqa: PT011  UnicodeEncodeError is one
            rendered(value)
        return
    assert rendered(value) == expected
    assert parsed(expected) == value


class Colour(StrEnum):
    GREEN = "green"


def test_what_json_has_no_form_for_is_written_alike() -> None:
    """Format: ids, times and dates of contents have the forms of docs/formats/entry.md."""
    at = datetime(2026, 11, 23, 4, 53, 41, 5, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    value = {
        "id": UUID(int=7),
        "at": at,
        "utc": at.astimezone(UTC),
        "day": date(2026, 11, 23),
        "code": Colour.GREEN,
        "list": (1, None, True),
    }
    assert rendered(value) == canonical.encode(value)


@pytest.mark.parametrize(
    "text",
    ['{"a":1.0}', '{"a": 1}', '{"b":1,"a":2}', '{"a":1,"a":1}', "[NaN]", "9007199254740992",
     '{"ä":1}', '"\\ud800"', "[" * 65 + "]" * 65, "[" * 100_000, "", "{", '"\\u0041"', "-0"],
)  # fmt: skip
def test_other_spellings_are_refused(text: str) -> None:
    """Format: strict reading; what is not canonical is nothing, however deep or long it is."""
    with pytest.raises(ValueError):  # noqa: PT011  JSONDecodeError is one
        parsed(text.encode())


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=60))
def test_the_commitment_is_the_entry_formats(salt: bytes, content: bytes) -> None:
    """Format: docs/formats/entry.md, section 4."""
    assert committed(salt, content) == commitment(salt, content).hex()


LEAF = (
    b'{"actor":"0b2f4a52-6a0e-4f0e-9d3a-9f1f6f1f2d31","ciphertext_sha256":"bb03a0855d063c7afe7727a2'
    b'60a67b17122278e685fe1d0bd77497c7bb1e549a","clinic":"5f0c6a3e-9d0b-4c1f-8f57-3c1f2b6a9e10","co'
    b'mmand_id":"7b0e4f3c-5c1d-4e6f-9a2b-1d3c5e7f9a0b","command_index":0,"commitment":"dc978ef0f482'
    b'93bbf4ad29d6cc34b860a011c51ec2aa3425a92771e711f21e07","format":"rapport-entry/1","key_id":"f3'
    b'a1c5d7-2b4e-4c6a-8e0f-9b7d5c3a1e2f","occurred_at":"2026-11-23T02:53:41.000000Z","occurred_off'
    b'set":"+02:00","on_behalf_of":null,"position":1,"recorded_at":"2026-11-23T02:53:41.250000Z","s'
    b'chema_version":1,"source":"entered","stream":"relationship-2d1c9f6e-7f0a-4a64-b1a5-0f6ad1b58e'
    b'77","stream_version":12,"topic":"alliance.rated"}'
)
"""The worked example of docs/formats/entry.md, section 11."""


def test_an_envelope_is_read_from_the_bytes_that_were_logged() -> None:
    """Format: the leaf input is the envelope; both of its times keep what they were told in."""
    entry = Disclosed(LEAF, None, None).recorded()
    assert (entry.position, entry.version, entry.topic) == (1, 12, "alliance.rated")
    assert entry.occurred_at.isoformat() == "2026-11-23T04:53:41+02:00"
    assert entry.commitment.startswith("dc978ef0")


@given(st.data())
def test_no_other_bytes_are_that_envelope(data: st.DataObject) -> None:
    """Format: any other bytes are another envelope, or none."""
    altered = bytearray(LEAF)
    altered[data.draw(st.integers(0, len(LEAF) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        leaf = Leaf.parse(bytes(altered))
    except ValueError:
        return
    assert leaf != Leaf.parse(LEAF)


@given(st.dictionaries(st.sampled_from(["README.txt", "report.html", "checkpoint"]), st.binary()))
def test_a_zip_is_read_as_it_was_written(files: dict[str, bytes]) -> None:
    """Format: one zip file for the same files, whatever the order they came in."""
    data = packed(files)
    assert unpacked(data) == files
    assert packed(dict(reversed(files.items()))) == data


def test_a_zip_has_only_so_many_files() -> None:
    """Format: a bound on what is looked at before anything is read."""
    names = (f"entries/{number:012}.leaf.json" for number in range(FILES_LIMIT + 1))
    with pytest.raises(BundleBroken, match="too_large"):
        unpacked(packed(dict.fromkeys(names, b"")))


@pytest.mark.parametrize(
    "name, limit",
    [("manifest.json", MANIFEST_LIMIT), ("entries/000000000001.leaf.json", LEAF_LIMIT)],
)
def test_what_is_parsed_as_a_whole_is_not_long(name: str, limit: int) -> None:
    """Format: a manifest and an envelope have their limits too."""
    assert unpacked(packed({name: bytes(limit)}))
    with pytest.raises(BundleBroken, match="too_large"):
        unpacked(packed({name: bytes(limit + 1)}))


def test_a_bundle_is_written_whole_for_its_owner_alone(tmp_path: Path) -> None:
    """Format: 0600, in one step, with nothing left where that fails."""
    target = tmp_path / "case.zip"
    write(target, b"one")
    write(target, b"two")
    assert (read(target), stat.S_IMODE(target.stat().st_mode)) == (b"two", 0o600)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(OSError, match="taken"):
        write(tmp_path / "taken", b"three")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.zip", "taken"]
