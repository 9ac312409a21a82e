"""The bytes of an event's content: whichever way they are written, they are the same."""

from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import Role
from domain.consent import Reliance
from domain.event import Event
from infra.canonical import CanonicalError, encode
from infra.mapper import content_bytes, content_of

PLAIN = st.text() | st.uuids() | st.none() | st.integers() | st.booleans() | st.sampled_from(Role)
MOMENTS = st.datetimes(
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
)
MODELS = st.builds(Reliance, entry=st.integers(1, 9), consent=st.uuids())
ANYTHING = st.recursive(
    PLAIN | MOMENTS | MODELS | st.floats() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner).map(tuple) | st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class Told(Event):
    """An event that holds anything."""

    topic = "test.told"

    one: Any = None
    other: Any = None


@given(
    st.builds(
        Told,
        one=ANYTHING,
        other=PLAIN | MOMENTS,
        late_reason=st.none() | st.just("Found in the post."),
        import_id=st.none() | st.uuids(),
        reported=st.lists(st.sampled_from(["consent-missing", "out-of-scope"])).map(tuple),
    )
)
def test_content_is_written_in_its_one_form(event: Told) -> None:
    """Idea 5: the canonical bytes of the fields, or the same refusal, whatever they hold."""
    try:
        expected = encode(content_of(event))
    except CanonicalError as error:
        with pytest.raises(CanonicalError, match=error.code):
            content_bytes(event)
        return
    assert content_bytes(event) == expected
