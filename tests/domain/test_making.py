"""What is made fast is what would have been made."""

from dataclasses import FrozenInstanceError, dataclass, field, replace
from datetime import UTC
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.alliance import AllianceRated
from domain.consent import Reliance
from domain.event import ERASED, RecordedEvent, Source, Stream
from domain.instrument import Perspective
from domain.making import checked, maker
from domain.outcome import OutcomeRated
from domain.rating import Rating
from domain.session import SessionTimeTaken

MOMENTS = st.datetimes(timezones=st.just(UTC))
ENTRIES = st.fixed_dictionaries(
    {
        "clinic": st.uuids(),
        "position": st.integers(1),
        "stream": st.builds(Stream, st.just("access"), st.uuids()),
        "version": st.integers(1),
        "topic": st.text(),
        "schema_version": st.integers(1),
        "occurred_at": MOMENTS,
        "recorded_at": MOMENTS,
        "actor": st.uuids(),
        "on_behalf_of": st.none() | st.uuids(),
        "source": st.sampled_from(Source),
        "command_id": st.uuids(),
        "command_index": st.integers(0),
        "key_id": st.uuids(),
        "event": st.just(ERASED),
    },
    optional={"commitment": st.text(), "amended_at": st.none() | st.integers(1)},
)
made = maker(RecordedEvent)


@dataclass(frozen=True, slots=True)
class Sized:
    """With all that a field may say."""

    id: UUID
    names: list[str] = field(default_factory=list)
    size: int = field(default=3, repr=False, compare=False)


@for_all(ENTRIES)
def test_an_entry_is_the_one_that_its_class_makes(told: dict[str, object]) -> None:
    """Rule 1: of the same class, equal, and as little to be changed."""
    entry = made(**told)  # type: ignore[arg-type]
    assert type(entry) is RecordedEvent
    assert entry == RecordedEvent(**told)  # type: ignore[arg-type]
    assert (hash(entry), repr(entry)) == (hash(replace(entry)), repr(replace(entry)))
    assert replace(entry, version=7).version == 7
    with pytest.raises(FrozenInstanceError):
        entry.version = 7  # type: ignore[misc]
    with pytest.raises(AttributeError):
        entry.__dict__  # noqa: B018  nothing but its fields


def test_defaults_are_those_of_the_class() -> None:
    """Rule 1: also those that are made anew for each."""
    sized = maker(Sized)
    first, second = sized(UUID(int=1)), sized(id=UUID(int=1))
    assert first == second == Sized(UUID(int=1))
    assert first.names is not second.names
    assert first.size == 3
    with pytest.raises(TypeError, match="id"):
        sized()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="height"):
        sized(UUID(int=1), height=2)  # type: ignore[call-arg]


def test_a_class_that_checks_what_it_is_given_has_no_maker() -> None:
    """Rule 1: nothing is made past a check."""

    @dataclass(frozen=True, slots=True)
    class Checked:
        size: int

        def __post_init__(self) -> None:
            assert self.size

    with pytest.raises(AssertionError, match="would not be called"):
        maker(Checked)


PLACES = st.sampled_from([(None, True), (UUID(int=3), False)])
RATED = st.tuples(
    st.fixed_dictionaries(
        {
            "rating": st.uuids(),
            "instrument": st.just("SRS-3"),
            "perspective": st.sampled_from(Perspective),
            "rater": st.uuids(),
            "items": st.lists(st.none() | st.integers(-9, 9), min_size=1).map(tuple),
        },
        optional={
            "key_hash": st.none() | st.just("f" * 64),
            "follow_up": st.booleans(),
            "relies_on": st.lists(
                st.builds(Reliance, entry=st.integers(1, 9), consent=st.uuids())
            ).map(tuple),
            "late_reason": st.none() | st.just("Found in the post."),
        },
    ),
    PLACES,
)


@for_all(RATED, st.sampled_from([AllianceRated, OutcomeRated]))
def test_a_fact_of_checked_values_is_the_one_that_its_class_makes(
    told: tuple[dict[str, object], tuple[UUID | None, bool]], kind: type[Rating]
) -> None:
    """Rule 1: of the same class and fields, equal, as little to be changed, and written alike."""
    fields, (session, between) = told
    fields = {**fields, "session": session, "between_sessions": between}
    fact, expected = checked(kind)(**fields), kind(**fields)  # type: ignore[arg-type]
    assert type(fact) is kind
    assert fact == expected
    assert (repr(fact), fact.model_dump_json()) == (repr(expected), expected.model_dump_json())
    assert list(fact.__dict__) == list(expected.__dict__)
    assert fact.model_fields_set == expected.model_fields_set
    assert hash(fact) == hash(expected)
    with pytest.raises(ValidationError, match="frozen"):
        fact.follow_up = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields", [{"session": UUID(int=1)}, {"session": UUID(int=1), "joint": True, "room": 7}]
)
def test_a_fact_of_checked_values_has_all_its_fields_and_no_other(
    fields: dict[str, object],
) -> None:
    """Rule 1: what was forgotten, or is unknown, is a fault of the program and told at once."""
    with pytest.raises(TypeError, match="SessionTimeTaken"):
        checked(SessionTimeTaken)(**fields)  # type: ignore[arg-type]
