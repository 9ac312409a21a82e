"""Outcomes: the same rules as for every rating, at a door of their own."""

from typing import Any

import pytest

from domain.alliance import RateAlliance
from domain.clinic import Scope, clinic_stream
from domain.consent import ConsentMissing
from domain.event import Source
from domain.instrument import NotAQuestionnaire, catalogue, load
from domain.outcome import OutcomeRated, OutcomeSuperseded, RateOutcome
from domain.rating import (
    InstrumentMeasuresElse,
    RatedAlready,
    SupersedeRating,
    TextPackNotAdopted,
    ratings_of,
    score_of,
    series_of,
)
from domain.scoring import Flag
from domain.text_pack import TextPackAdopted
from tests.kit import (
    AN_HOUR_AGO,
    BEGINNING,
    CLIENT,
    CLINIC,
    NOW,
    OPENED,
    RELATIONSHIP,
    SESSION,
    THERAPIST,
    consent,
    given,
    held,
    informed,
    named,
    on,
)

SWLS = load("SWLS")
PACK = "ab" * 32
MEASURED = given(
    *OPENED, informed(), consent(), consent(Scope.OUTCOME_MEASURES), (held(), AN_HOUR_AGO)
)


def rate(**changes: Any) -> RateOutcome:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "rating": named("rating"),
        "instrument": "SWLS",
        "perspective": "client",
        "rater": CLIENT,
        "session": SESSION,
        "answers": [5, 5, None, 6, 7],
    }
    return RateOutcome.model_validate(fields | changes)


def test_an_outcome_is_raw_items_under_a_key() -> None:
    """Rule 28: what was answered is the fact; the score follows from the key that is named."""
    record = MEASURED.when(rate(answers=[5, 5, 5, 6, 7]), by=CLIENT).recorded()
    entry = record.relationship[-1]
    assert isinstance(entry.event, OutcomeRated)
    assert entry.event.items == (5, 5, 5, 6, 7)
    assert entry.event.key_hash == SWLS.key_hash
    score = score_of(entry)
    assert score is not None
    assert score.scales["total"].value == 28
    assert series_of(entry.event) is not None


@pytest.mark.parametrize("instrument", catalogue())
def test_every_instrument_has_one_door(instrument: str) -> None:
    """Rule 28: by what it measures, an instrument is rated as alliance or as outcome."""
    doors = [
        kind
        for kind in (RateAlliance, RateOutcome)
        if catalogue()[instrument].measures in kind.measures
    ]
    assert len(doors) == 1


@pytest.mark.parametrize("kind", [RateAlliance, RateOutcome])
@pytest.mark.parametrize("instrument", ["GAS", "GBO", "3RS", "IPR"])
def test_what_is_no_questionnaire_is_no_rating(
    kind: type[RateAlliance | RateOutcome], instrument: str
) -> None:
    """Rule 28: goals, coded segments and recall have entries of their own."""
    command = kind.model_validate(rate(instrument=instrument).model_dump())
    MEASURED.when(command, by=CLIENT).refuses(NotAQuestionnaire, instrument=instrument)


def test_an_alliance_measure_is_no_outcome() -> None:
    """Rule 28: neither as a new rating, nor by an import, nor under an alias."""
    for name in ("WAI-SR", "srs"):
        command = rate(instrument=name, answers=[1])
        MEASURED.when(command, by=CLIENT).refuses(InstrumentMeasuresElse, measures="alliance")
        MEASURED.when(command, imported=True).refuses(InstrumentMeasuresElse)


def test_an_outcome_is_superseded_as_one() -> None:
    """Rule 29: the better reading is of the same family, and both sets of items stay."""
    record = MEASURED.when(rate(), by=CLIENT).recorded()
    record.when(rate(rating=named("other")), by=CLIENT).refuses(RatedAlready)
    better = SupersedeRating(
        relationship=RELATIONSHIP,
        superseded=named("rating"),
        rating=named("better"),
        reason="Read from the wrong sheet.",
        answers=("5", "5", "2", "6", "7"),
    )
    after = record.when(better, by=CLIENT).recorded()
    assert isinstance(after.relationship[-1].event, OutcomeSuperseded)
    current = ratings_of(after.relationship)[named("better")]
    assert [e.event.items for e in current.earlier if isinstance(e.event, OutcomeRated)] == [
        (5, 5, None, 6, 7)
    ]
    again = better.model_copy(update={"superseded": named("better"), "rating": named("third")})
    assert isinstance(after.when(again, by=CLIENT).event, OutcomeSuperseded)


def test_a_client_is_asked_with_consent() -> None:
    """Rule 24: without consent to outcome measures nothing is asked of a client."""
    without = given(*OPENED, informed(), consent(), (held(), AN_HOUR_AGO))
    without.when(rate(), by=CLIENT).refuses(ConsentMissing, scope="outcome_measures")


def test_a_form_handed_in_with_gaps_shows_its_gaps() -> None:
    """Rules 30, 33 and 36: a form is handed in once, as a whole; the therapist sees what was left
    unanswered as such, and no score is made up for it."""
    record = MEASURED.when(rate(), by=CLIENT).recorded()
    entry = record.relationship[-1]
    assert isinstance(entry.event, OutcomeRated)
    assert entry.event.items[2] is None
    score = score_of(entry)
    assert score is not None
    assert {Flag.INCOMPLETE, Flag.PRORATED} & {*score.scales["total"].flags}
    assert ratings_of(record.relationship)[named("rating")].own_submission
    staff = MEASURED.when(rate(), by=THERAPIST, on_behalf_of=CLIENT).recorded()
    assert staff.relationship[-1].source is Source.ENTERED
    assert not ratings_of(staff.relationship)[named("rating")].own_submission


def test_the_clinics_own_words_are_named_by_their_hash() -> None:
    """Rule 34: a text pack is in use from its adoption on, for its own key."""
    adopted = TextPackAdopted(
        instrument="SWLS", key_hash=SWLS.key_hash, language="de", sha256=PACK, holder="E. Diener"
    )
    in_our_words = rate(text_pack=PACK)
    MEASURED.when(in_our_words, by=CLIENT).refuses(TextPackNotAdopted, instrument="SWLS")
    since = MEASURED.and_given(on(clinic_stream(CLINIC), adopted, NOW))
    event = since.when(in_our_words, by=CLIENT).event
    assert isinstance(event, OutcomeRated)
    assert event.text_pack == PACK
    before = in_our_words.model_copy(update={"occurred_at": AN_HOUR_AGO})
    since.when(before, by=CLIENT).refuses(TextPackNotAdopted)
    other_key = adopted.model_copy(update={"key_hash": "cd" * 32})
    MEASURED.and_given(on(clinic_stream(CLINIC), other_key, BEGINNING)).when(
        in_our_words, by=CLIENT
    ).refuses(TextPackNotAdopted)
