"""Possible ruptures: what a method finds is derived, cited whole, and left to people to judge."""

from datetime import datetime
from itertools import islice

from domain.alliance import AllianceRated
from domain.event import Event
from domain.instrument import Perspective, load
from domain.methods.card import Outcome
from domain.possible_rupture import DismissPossibleRupture
from domain.rupture import Kind, Method, RuptureMarked, RuptureResolved
from projections.possible_ruptures import cards, lines, possible_ruptures
from tests.kit import (
    CLIENT,
    CONSENTED,
    DAY,
    NOW,
    RELATIONSHIP,
    THERAPIST,
    Record,
    given,
    held,
    named,
)

STEADY = (310, 330, 305, 325, 315, 328)
"""Totals of an SRS in tenths, none far from the one before."""
FALLEN = (*STEADY, 120, 140)


def week(number: int) -> datetime:
    return NOW - (20 - number) * 7 * DAY


def rated(number: int, total: int) -> tuple[Event, datetime]:
    key = load("SRS-3")
    parts = (total // 4, total // 4, total // 4, total - 3 * (total // 4))
    return (
        AllianceRated(
            rating=named(f"rating {number}"),
            instrument=key.id,
            instrument_version=key.version,
            key_hash=key.key_hash,
            perspective=Perspective.CLIENT,
            rater=CLIENT,
            session=named(f"session {number}"),
            items=parts,
        ),
        week(number),
    )


def story(*totals: int) -> Record:
    facts = [
        fact
        for number, total in enumerate(totals, start=1)
        for fact in (
            (held(named(f"session {number}"), start=week(number)), week(number)),
            rated(number, total),
        )
    ]
    return given(*CONSENTED, *facts)


def test_a_fall_is_found_and_says_from_what() -> None:
    """Rule 37: a possible rupture names method, version, parameters and the ratings it is from."""
    record = story(*FALLEN)
    onsets = possible_ruptures(record.relationship)
    assert onsets[-1].point.session == 7
    cited = onsets[-1].cited
    assert (cited.method, cited.method_version) == (onsets[-1].card.method, onsets[-1].card.version)
    ratings = {e.version for e in record.relationship if isinstance(e.event, AllianceRated)}
    assert set(cited.entries) <= ratings
    assert onsets[-1].point.entry in cited.entries
    assert {one.name for one in cited.parameters} >= {"k", "margin", "within"}


def test_too_few_ratings_are_declined_on_a_card() -> None:
    """Rule 38: where the data cannot support an answer, the card says so."""
    (card,) = cards(lines(story(*STEADY[:2]).relationship))
    assert card.outcome is Outcome.REFUSED
    assert possible_ruptures(story(*STEADY[:2]).relationship) == []


def test_what_comes_later_changes_no_finding() -> None:
    """Rule 38: as known after each rating, what was found before stands as it was cited."""
    record = story(*FALLEN, 150, 320)
    earlier: list[object] = []
    for version in islice((e.version for e in record.relationship), 3, None):
        known_at = record.relationship[version - 1].recorded_at
        found = possible_ruptures(record.relationship.as_of(known_at=known_at))
        assert [each.cited for each in found][: len(earlier)] == earlier
        earlier = [each.cited for each in found]
    assert earlier


def test_a_dismissal_is_of_exactly_that_finding() -> None:
    """Rule 37: a person's reason stands beside the finding; the finding is not taken back."""
    record = story(*FALLEN)
    *others, fall = possible_ruptures(record.relationship)
    dismiss = DismissPossibleRupture(
        relationship=RELATIONSHIP, possible=fall.cited, by=THERAPIST, reason="A day without sleep."
    )
    record = record.when(dismiss, by=THERAPIST).recorded()
    *still, dismissed = possible_ruptures(record.relationship)
    assert dismissed.cited == fall.cited
    assert [event.reason for _, event in dismissed.dismissed] == ["A day without sleep."]
    assert all(not each.dismissed for each in still)
    assert len(still) == len(others)


def test_a_resolution_that_a_person_recorded_ends_it() -> None:
    """Rules 37, 39: what people say counts for a possible rupture, and never the other way."""
    record = story(*FALLEN, 125)
    assert possible_ruptures(record.relationship)[-1].ends is None
    marked = RuptureMarked(
        rupture=named("rupture"),
        raised_by=CLIENT,
        perspective=Perspective.CLIENT,
        method=Method.NAMED_IN_SESSION,
        kind=Kind.WITHDRAWAL,
        session=named("session 7"),
    )
    resolved = RuptureResolved(
        rupture=named("rupture"), by=CLIENT, perspective=Perspective.CLIENT, basis="Said so."
    )
    after = record.and_given((marked, week(7)), (resolved, week(8) + DAY))
    assert possible_ruptures(after.relationship)[-1].ends is not None
