"""Rows of the log read the short way say exactly what the long way says."""

import json
from collections.abc import Callable
from datetime import UTC, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.topics import EVENTS
from infra import canonical
from infra.canonical import offset_text
from infra.mapper import event_of
from infra.scanned import bound_to, read
from infra.sealing import Envelope, entry_aad

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "golden").glob("*.json"))


def outcome(of: Callable[[str, int, bytes], object], *of_what: Any) -> object:
    """What it gives, or the kind of error: what a parked stream is marked with."""
    try:
        return of(*of_what)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("file", GOLDEN, ids=[file.stem for file in GOLDEN])
def test_every_kind_of_content_reads_alike(file: Path) -> None:
    """R17: read straight from its bytes, an entry of any release is the same event."""
    topic, _, version = file.stem.rpartition("-")
    content = canonical.encode(json.loads(file.read_text("utf-8")))
    event = read(topic, int(version), content)
    assert event == event_of(topic, int(version), content)
    assert [*map(type, vars(event).values())] == [
        *map(type, vars(event_of(topic, int(version), content)).values())
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@for_all(st.sampled_from(GOLDEN), st.data())
def test_damaged_content_is_refused_alike(file: Path, data: st.DataObject) -> None:
    """R3: whatever is wrong with some content, both ways refuse it with the same kind of error, or
    read the same."""
    topic, _, version = file.stem.rpartition("-")
    fields: dict[str, Any] = json.loads(file.read_text("utf-8"))
    name = data.draw(st.sampled_from([*fields, "unheard_of"]))
    fields[name] = data.draw(JSON)
    written = data.draw(
        st.sampled_from(
            [
                lambda value: json.dumps(value, sort_keys=True, separators=(",", ":")),
                lambda value: json.dumps(value, sort_keys=True),
                lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
                lambda value: json.dumps(value, separators=(",", ":"))[:-3],
            ]
        )
    )
    content = written(fields).encode("utf-8", "surrogatepass")
    short, whole = (outcome(way, topic, int(version), content) for way in (read, event_of))
    assert short == whole


@pytest.mark.parametrize("number", ["5.0", "5.5", "-0.0", "5e0", "9007199254740992"])
def test_a_number_that_is_not_canonical_is_refused(number: str) -> None:
    """R3: a fraction is not read as a whole number, nor one too large to be kept exactly."""
    topic = "goal.rated"
    fields = json.loads((GOLDEN[0].parent / f"{topic}-1.json").read_text("utf-8"))
    content = canonical.encode(fields | {"revision": 111}).replace(b"111", number.encode())
    for way in (read, event_of):
        with pytest.raises(ValueError, match=r".") as refused:
            way(topic, EVENTS[topic].schema_version, content)
        assert isinstance(refused.value, canonical.CanonicalError)


@for_all(
    st.uuids(), st.uuids(), st.uuids(), st.none() | st.uuids(), st.uuids(), st.text(), st.text(),
    st.integers(1, 2**53 - 1),
    st.datetimes(timezones=st.integers(-840, 840).map(lambda m: timezone(timedelta(minutes=m)))),
)  # fmt: skip
@example(*[UUID(int=1)] * 3, None, UUID(int=2), 'x"\\', "ü\n", 3, None)
def test_columns_are_bound_as_their_envelope_is(
    clinic: UUID, actor: UUID, command: UUID, behalf: UUID | None, key: UUID,
    stream: str, topic: str, number: int, at: Any,
) -> None:  # fmt: skip
    """Format rapport-entry/1: what a seal is bound to, from columns that are text."""
    at = at or canonical.parse_time("2026-03-01T12:00:00.000000Z", "+02:00")
    try:
        at.astimezone(UTC)
    except OverflowError:
        return
    stream, topic = (text.encode("utf-8", "replace").decode() for text in (stream, topic))
    envelope = Envelope(
        clinic, stream, number, topic, 1, at, actor, behalf, "entered", command, 7, key
    )
    row = (
        1, stream, number, topic, 1, at.astimezone(UTC), offset_text(at), at,
        str(actor), behalf and str(behalf), "entered", str(command), 7, str(key), b"", b"",
    )  # fmt: skip
    assert bound_to(clinic, row) == entry_aad(envelope)
