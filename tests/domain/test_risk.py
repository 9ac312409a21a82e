"""Risk items: raised with the rating, never averaged away, open until somebody has looked."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.clinic import Scope
from domain.correction import (
    CorrectEntry,
    EnteredInError,
    MarkEnteredInError,
    NotCorrectable,
    StaysAsRecorded,
)
from domain.event import EntryUnknown, Event, History, New
from domain.instrument import catalogue, load
from domain.outcome import OutcomeRated, RateOutcome
from domain.rating import SupersedeRating
from domain.relationship import Initiator, RelationshipClosed, relationship_stream
from domain.risk import (
    ReviewBeforeRisk,
    ReviewRisk,
    RiskItemRaised,
    RiskReviewed,
    RiskReviewedByOther,
    risks_of,
    risks_unreviewed,
)
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    COTHERAPIST,
    DAY,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    SESSION,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    given,
    held,
    informed,
    named,
)

PHQ = load("PHQ-9")
RATING = named("rating")
SAFE = (0, 1, 2, 3, 0, 1, 2, 3, 0)
AT_RISK = (0, 0, 0, 0, 0, 0, 0, 0, 1)
MEASURED = given(
    *OPENED, informed(), consent(), consent(Scope.OUTCOME_MEASURES), (held(), AN_HOUR_AGO)
)
CLOSED = RelationshipClosed(
    reason="Moved away.",
    initiated_by=Initiator.CLIENT,
    goals="One of two.",
    open_goals=(),
    open_ruptures=(),
)


def rate(answers: tuple[int | str | None, ...] = AT_RISK, **changes: Any) -> RateOutcome:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "rating": RATING,
        "instrument": "PHQ-9",
        "perspective": "client",
        "rater": CLIENT,
        "session": SESSION,
        "answers": answers,
    }
    return RateOutcome.model_validate(fields | changes)


def supersede(answers: tuple[int | None, ...]) -> SupersedeRating:
    return SupersedeRating.model_validate(
        {
            "relationship": RELATIONSHIP,
            "superseded": RATING,
            "rating": named("better"),
            "reason": "Read from the wrong sheet.",
            "answers": answers,
        }
    )


def raised(rating: UUID = RATING, item: int = 9) -> RiskItemRaised:
    return RiskItemRaised(
        rating=rating, instrument="PHQ-9", key_hash=PHQ.key_hash, item=item, about=CLIENT
    )


def review(by: UUID = THERAPIST, **changes: Any) -> ReviewRisk:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "rating": RATING,
        "item": 9,
        "by": by,
        "finding": "Passive thoughts, no plan.",
        "action": "A safety plan, and a call on Thursday.",
    }
    return ReviewRisk(**fields | changes)


def open_risks(record: Record) -> list[tuple[UUID, int]]:
    return [
        (risk.raised.rating, risk.raised.item) for risk in risks_unreviewed(record.relationship)
    ]


RAISED = MEASURED.when(rate(), by=CLIENT, at=NOW).recorded()


# --- Raised in the same decision ------------------------------------------------------------


def test_a_risk_item_is_raised_with_its_rating() -> None:
    """Rule 35: in the same decision, also where the sum of the answers says nothing."""
    outcome = MEASURED.when(rate(), by=CLIENT)
    kinds = [type(new.event) for new in outcome.news]
    assert kinds == [OutcomeRated, RiskItemRaised]
    assert outcome.news[1].event == raised()
    assert open_risks(outcome.recorded()) == [(RATING, 9)]
    assert not risks_of(MEASURED.when(rate(SAFE), by=CLIENT).recorded().relationship)


def _news(answers: tuple[int | None, ...]) -> tuple[New, ...]:
    return MEASURED.when(rate(answers), by=CLIENT).news


@for_all(st.tuples(*[st.none() | st.integers(0, 3)] * 9).filter(any))
def test_only_the_item_itself_decides(answers: tuple[int | None, ...]) -> None:
    """Rule 35: whatever else was answered, an answer of at least 1 to item 9 is raised, and
    nothing else is; one that was not given is not an answer of 0."""
    raised_items = [n.event.item for n in _news(answers) if isinstance(n.event, RiskItemRaised)]
    assert raised_items == ([9] if answers[8] else [])


@pytest.mark.parametrize(
    "instrument", [name for name, definition in catalogue().items() if definition.risk_items]
)
def test_each_risk_item_of_each_instrument_is_raised(instrument: str) -> None:
    """Rule 35: with the highest answer to every item, each item with a threshold is raised."""
    definition = load(instrument)
    highest = tuple(
        definition.response_to(item).shown(definition.response_to(item).high)
        for item in range(1, definition.items.count + 1)
    )
    outcome = MEASURED.when(rate(highest, instrument=instrument), by=CLIENT)
    found = {new.event.item for new in outcome.news if isinstance(new.event, RiskItemRaised)}
    assert found
    assert found <= {risk.item for risk in definition.risk_items}


def test_an_import_raises_what_it_brings() -> None:
    """Rules 35 and 45: an old answer is looked at as well; no review is brought along."""
    outcome = MEASURED.when(rate(), imported=True)
    assert isinstance(outcome.news[1].event, RiskItemRaised)
    RAISED.when(review(), imported=True).refuses(RiskReviewedByOther)


def test_a_better_reading_raises_and_leaves_the_earlier_risk() -> None:
    """Rule 35: superseding the answer away settles nothing; superseding it in raises it."""
    away = RAISED.when(supersede(SAFE), by=CLIENT).recorded()
    assert open_risks(away) == [(RATING, 9)]
    safe = MEASURED.when(rate(SAFE), by=CLIENT).recorded()
    came = safe.when(supersede(AT_RISK), by=CLIENT)
    assert [type(new.event) for new in came.news][1:] == [RiskItemRaised]
    assert open_risks(came.recorded()) == [(named("better"), 9)]


def test_nothing_but_a_review_settles_a_risk() -> None:
    """Rules 1 and 35: neither a correction, nor an error in it or in its rating, nor closure."""
    version = RAISED.relationship.version
    stream = relationship_stream(RELATIONSHIP)
    RAISED.when(
        CorrectEntry(stream=stream, entry=version, reason="No.", content={"item": 1})
    ).refuses(StaysAsRecorded)
    RAISED.when(MarkEnteredInError(stream=stream, entry=version, reason="No.")).refuses(
        StaysAsRecorded, topic="risk.item_raised"
    )
    wrong_form = EnteredInError(entry=version - 1, reason="Another client's.", about=CLIENT)
    record = RAISED.and_given(wrong_form, (CLOSED, NOW + HOUR))
    assert open_risks(record) == [(RATING, 9)]
    closed_since = record.when(review(), at=NOW + DAY).recorded()
    assert open_risks(closed_since) == []


# --- Reviewed by a person -------------------------------------------------------------------


@pytest.mark.parametrize("by", [THERAPIST, SUPERVISOR])
def test_a_practitioner_reviews_it(by: UUID) -> None:
    """Rule 35: a therapist or the supervisor says what was found and what was done."""
    record = RAISED.when(review(by), by=by).then(
        RiskReviewed(
            rating=RATING,
            item=9,
            by=by,
            finding="Passive thoughts, no plan.",
            action="A safety plan, and a call on Thursday.",
            about=CLIENT,
        )
    )
    assert open_risks(record) == []
    assert [risk.is_reviewed for risk in risks_of(record.relationship).values()] == [True]
    again = record.when(review(SUPERVISOR), by=SUPERVISOR).recorded()
    assert len(risks_of(again.relationship)[RATING, 9].reviews) == 2


@pytest.mark.parametrize(
    "by, recorder",
    [
        (CLIENT, CLIENT),
        (OFFICE, OFFICE),
        (COTHERAPIST, COTHERAPIST),
        (THERAPIST, CLIENT),
        (THERAPIST, OFFICE),
        (SUPERVISOR, THERAPIST),
    ],
)
def test_nobody_else_reviews_it(by: UUID, recorder: UUID) -> None:
    """Rule 35: not the client, not a stranger, and nobody in a practitioner's name."""
    RAISED.when(review(by), by=recorder).refuses(RiskReviewedByOther)
    RAISED.when(review(by), by=recorder, on_behalf_of=by).refuses(RiskReviewedByOther)


def test_a_review_is_of_one_risk_and_comes_after_it() -> None:
    """Rule 35: of an item that was raised, not before it; an error in it opens the risk again."""
    RAISED.when(review(item=8)).refuses(EntryUnknown, what="risk item")
    RAISED.when(review(rating=named("other"))).refuses(EntryUnknown)
    RAISED.when(review(occurred_at=AN_HOUR_AGO), at=NOW + HOUR).refuses(ReviewBeforeRisk, item=9)
    reviewed = RAISED.when(review()).recorded()
    in_error = EnteredInError(
        entry=reviewed.relationship.version, reason="Of another client.", about=CLIENT
    )
    assert open_risks(reviewed.and_given(in_error)) == [(RATING, 9)]
    reword = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=reviewed.relationship.version,
        reason="Milder.",
        content={"finding": "Nothing."},
    )
    reviewed.when(reword).refuses(NotCorrectable, topic="risk.reviewed")


# --- Sealed, erased -------------------------------------------------------------------------


def test_a_risk_is_sealed_with_its_rating() -> None:
    """Rules 9 and 35: the same key, no answer repeated; what is erased neither shows nor breaks."""
    reviewed = RAISED.when(review()).recorded()
    for entry in reviewed.relationship[-3:]:
        assert isinstance(entry.event, Event)
        assert entry.event.subject() == CLIENT
    assert not {"items", "answer", "value"} & RiskItemRaised.model_fields.keys()
    erased = reviewed.erased(CLIENT)
    assert risks_of(erased.relationship) == {}
    assert risks_unreviewed(History()) == ()
