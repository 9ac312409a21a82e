"""What is quick about facts and moments comes to exactly what is slow about them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from domain.event import Event, Moment
from domain.goal import GoalRated
from domain.topics import EVENTS
from tests.domain.test_records import GOLDEN, read_current

MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)

FACTS = st.sampled_from(sorted(EVENTS)).map(lambda topic: read_current(topic, GOLDEN[topic]))
OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)) | st.integers(-15, 15).map(
    lambda hours: timedelta(hours=hours)
)
ZONES = OFFSETS.map(timezone) | st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), None])


class _Elsewhere(datetime):
    """A time that is not known to be one that was read before."""


def read(moment: datetime) -> tuple[Any, ...]:
    """When it is and where, or what is wrong with it."""
    try:
        found = MOMENT.validate_python(moment)
    except ValidationError as error:
        return tuple((fault["type"], fault["msg"]) for fault in error.errors())
    return found.replace(tzinfo=None), found.utcoffset(), type(found.tzinfo)


@for_all(st.datetimes(datetime(1899, 12, 30), datetime(2200, 1, 3)), ZONES)  # noqa: DTZ001  zones
def test_a_moment_that_was_read_is_read_again_as_any_other(
    time: datetime, zone: timezone | ZoneInfo | None
) -> None:
    """Rule 4: what a command was given goes into its events, and nothing else would."""
    elsewhere = _Elsewhere.combine(time, time.time()).replace(tzinfo=zone)
    assert type(elsewhere) is _Elsewhere
    assert read(time.replace(tzinfo=zone)) == read(elsewhere)


@for_all(st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30)), st.integers(-840, 840))  # noqa: DTZ001  zones
def test_a_moment_is_read_as_it_is_stored(time: datetime, minutes: int) -> None:
    """Rule 2: in UTC, and the offset that it was told with beside it."""
    moment = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    hours, rest = divmod(abs(minutes), 60)
    stored = {
        "at": moment.astimezone(UTC).isoformat(),
        "offset": f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}",
    }
    found = MOMENT.validate_python(stored)
    assert (found, found.utcoffset()) == (moment, moment.utcoffset())


@pytest.mark.parametrize(
    "stored",
    [
        {"at": "2026-03-01T14:00:00", "offset": "+01:00"},
        {"at": "in March", "offset": "+01:00"},
        {"at": "9999-12-31T23:59:59Z", "offset": "+01:00"},
        {"at": "2026-03-01T14:00:00Z", "offset": "01:00"},
        {"at": "2026-03-01T14:00:00Z", "offset": "+24:00"},
        {"at": "2026-03-01T14:00:00Z", "offset": "+99:99"},
        {"at": "2026-03-01T14:00:00Z", "offset": None},
        {"at": None, "offset": "+01:00"},
        {"at": "2026-03-01T14:00:00Z"},
        {},
    ],
)
def test_nothing_else_is_a_stored_moment(stored: dict[str, object]) -> None:
    """Rule 2: neither without a zone, nor in one that there is not."""
    with pytest.raises(ValidationError) as refused:
        MOMENT.validate_python(stored)
    assert [fault["type"] for fault in refused.value.errors()] == ["not_a_moment"]


@for_all(
    FACTS,
    st.none() | st.just("Found later."),
    st.none() | st.uuids(),
    st.lists(st.sampled_from(["consent-missing", "out-of-scope"]), unique=True).map(tuple),
)
def test_a_fact_that_carries_more_is_a_copy(
    fact: Event, late_reason: str | None, import_id: UUID | None, reported: tuple[str, ...]
) -> None:
    """Rules 3 and 45: lateness and import stand in what is recorded, and nothing else changes."""
    before = fact.model_dump()
    carried = fact.carrying(late_reason, import_id, reported)
    common = {"late_reason": late_reason, "import_id": import_id, "reported": reported}
    assert carried == type(fact).model_validate(before | common)
    assert type(carried) is type(fact)
    assert fact.model_dump() == before


@for_all(FACTS)
def test_no_fact_keeps_which_of_its_fields_were_given(fact: Event) -> None:
    """Entries: a fact is the same, however much of it was left out; a copy of it marks no other."""
    copy = fact.model_copy(update={"late_reason": "Found later."})
    assert copy.late_reason == "Found later."
    assert fact.model_fields_set == fact.carrying("Late.", None, ()).model_fields_set == set()
    assert type(fact).model_validate(fact.model_dump()) == fact


@pytest.mark.parametrize("scale", ["gas", "gbo"])
def test_a_level_is_kept_once(scale: str) -> None:
    """Entries: however many ratings hold it, and whoever reads them."""
    content = GOLDEN[GoalRated.topic] | {"level": {"scale": scale, "value": 1}}
    one, other = (read_current(GoalRated.topic, content) for _ in range(2))
    assert isinstance(one, GoalRated)
    assert isinstance(other, GoalRated)
    assert one.level is other.level
    assert (one.level.scale, one.level.value) == (scale, 1)
