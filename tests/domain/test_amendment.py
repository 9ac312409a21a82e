"""Amendment: asked for, extended, accepted or denied, disagreed with; and what travels along."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.amendment import (
    AcceptAmendment,
    AmendmentAccepted,
    AmendmentAnswered,
    AmendmentDenied,
    AmendmentExists,
    AmendmentExtended,
    AmendmentNotDenied,
    AmendmentRequested,
    AmendmentUnknown,
    DenialGround,
    DenyAmendment,
    DisagreementMissing,
    DisagreementRebutted,
    DisagreementStated,
    ExtendAmendment,
    ExtendedAlready,
    NotSetRight,
    RebutDisagreement,
    RequestAmendment,
    StatedAlready,
    StateDisagreement,
    amendments_due,
    amendments_of,
    linked,
)
from domain.correction import CorrectEntry, MarkEnteredInError, StaysAsRecorded
from domain.event import EntryUnknown, LateReasonMissing
from domain.goal import ProposeGoal
from domain.person import NotInTheirName
from domain.relationship import (
    Constellation,
    RelationshipNotYetOpen,
    RelationshipOpened,
    relationship_stream,
)
from domain.restriction import NotTheirRecord
from tests.kit import (
    BEGINNING,
    CLIENT,
    DAY,
    FOUNDED,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    THERAPIST,
    Record,
    consent,
    given,
    informed,
    named,
    opened,
)

AMENDMENT = named("amendment")


def goal() -> ProposeGoal:
    return ProposeGoal(
        relationship=RELATIONSHIP, goal=named("goal"), statement="To sleep.", by=THERAPIST
    )


GIVEN = (*OPENED, goal())
CONTESTED = 1
"""The opening: where they met."""


def request(entry: int = CONTESTED, **changes: Any) -> RequestAmendment:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "amendment": AMENDMENT,
        "entry": entry,
        "party": CLIENT,
        "wants": "It was the day clinic.",
        "reason": "I was there every day.",
    }
    return RequestAmendment(**fields | changes)


def deny(amendment: UUID = AMENDMENT) -> DenyAmendment:
    return DenyAmendment(
        relationship=RELATIONSHIP,
        amendment=amendment,
        ground=DenialGround.ACCURATE_AND_COMPLETE,
        reason="It was read aloud then.",
    )


def accept(**changes: Any) -> AcceptAmendment:
    return AcceptAmendment(relationship=RELATIONSHIP, amendment=AMENDMENT, **changes)


def extend() -> ExtendAmendment:
    return ExtendAmendment(relationship=RELATIONSHIP, amendment=AMENDMENT, reason="She is ill.")


def disagree() -> StateDisagreement:
    return StateDisagreement(relationship=RELATIONSHIP, amendment=AMENDMENT, text="It was not.")


def rebut() -> RebutDisagreement:
    return RebutDisagreement(relationship=RELATIONSHIP, amendment=AMENDMENT, text="It was.")


def corrected(record: Record) -> Record:
    """The contested entry set right, as its therapist does it: version 4."""
    entry = record.relationship.entry(CONTESTED)
    assert entry is not None
    assert isinstance(entry.event, RelationshipOpened)
    correct = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=CONTESTED,
        reason="As it was.",
        content={**entry.event.model_dump(exclude_none=True), "setting": "day clinic"},
    )
    return record.when(correct, by=THERAPIST).recorded()


def asked(*facts: Any) -> Record:
    """The client asked just now, and this happened since."""
    record = given(*GIVEN).when(request(), by=CLIENT, at=NOW).recorded()
    for fact in facts:
        by = CLIENT if isinstance(fact, StateDisagreement) else OFFICE
        record = record.when(fact, by=by).recorded()
    return record


# --- Asking ---------------------------------------------------------------------------------


def test_a_client_asks_for_an_amendment() -> None:
    """R7: which entry, what it should say, and why; the entry itself stays as it is."""
    requested = AmendmentRequested(
        amendment=AMENDMENT,
        party=CLIENT,
        entry=CONTESTED,
        wants="It was the day clinic.",
        reason="I was there every day.",
    )
    record = given(*GIVEN).when(request(), by=CLIENT).then(requested)
    assert linked(record.relationship) == {CONTESTED: (3,)}
    assert requested.subject() == CLIENT
    assert requested.outlives_closure()


def test_what_came_on_paper_is_recorded_for_the_client() -> None:
    """Rules 3 and 33, R7: late with a reason, for the client, and the time runs from then."""
    record, then = given(*GIVEN), NOW - 5 * DAY
    record.when(request(occurred_at=then), by=CLIENT).refuses(LateReasonMissing)
    late = request(occurred_at=then, late_reason="The letter came on Monday.")
    record.when(late, by=OFFICE).refuses(NotInTheirName, person=CLIENT)
    after = record.when(late, by=OFFICE, on_behalf_of=CLIENT).recorded()
    (due,) = amendments_due(after.relationship, NOW)
    assert due.due == then + timedelta(days=60)
    before = request(occurred_at=BEGINNING - DAY, late_reason="Found.")
    record.when(before, by=CLIENT).refuses(RelationshipNotYetOpen)


def test_only_a_client_asks_and_only_about_what_is_theirs_to_see() -> None:
    """R7: not a therapist, not of an entry that is not there, not of another client's own."""
    record = asked()
    record.when(request(), by=CLIENT).refuses(AmendmentExists, amendment=AMENDMENT)
    second: dict[str, Any] = {"amendment": named("second")}
    record.when(request(99, **second), by=CLIENT).refuses(EntryUnknown)
    record.when(request(3, **second), by=CLIENT).refuses(EntryUnknown)
    record.when(request(party=THERAPIST, **second), by=THERAPIST).refuses(NotTheirRecord)
    couple = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.COUPLE),
        informed(PARTNER),
        consent(party=PARTNER),
    )
    couple.when(request(3), by=CLIENT).refuses(EntryUnknown)
    couple.when(request(3, party=PARTNER), by=PARTNER).recorded()
    erased = record.erased(CLIENT)
    assert amendments_of(erased.relationship) == {}


# --- In time --------------------------------------------------------------------------------


def test_an_answer_is_due_in_sixty_days_and_once_thirty_more() -> None:
    """R7: 60 days, and 30 with a reason given before they are over; the alert says which."""
    record = asked()
    (due,) = amendments_due(record.relationship, NOW + 59 * DAY)
    assert (due.entry, due.overdue) == (CONTESTED, False)
    assert amendments_due(record.relationship, NOW + 61 * DAY)[0].overdue
    record.when(extend(), at=NOW + 61 * DAY).refuses(ExtendedAlready)
    step = AmendmentExtended(amendment=AMENDMENT, party=CLIENT, reason="She is ill.")
    longer = record.when(extend(), at=NOW + 59 * DAY).then(step)
    (due,) = amendments_due(longer.relationship, NOW + 61 * DAY)
    assert (due.due, due.overdue) == (NOW + 90 * DAY, False)
    longer.when(extend(), at=NOW + 60 * DAY).refuses(ExtendedAlready)
    answered = longer.when(deny(), at=NOW + 80 * DAY).recorded()
    assert amendments_due(answered.relationship, NOW + 99 * DAY) == ()


# --- Accepted -------------------------------------------------------------------------------


def test_accepted_it_names_what_set_the_entry_right() -> None:
    """R7: the correction of that very entry, made since; the first wording stays readable."""
    record = corrected(asked())
    accepted = AmendmentAccepted(
        amendment=AMENDMENT, party=CLIENT, correction=4, informs=("Dr. Nowak",)
    )
    after = record.when(accept(correction=4, informs=("Dr. Nowak",)), by=OFFICE).then(accepted)
    assert linked(after.relationship) == {CONTESTED: (3, 5, 4)}
    first = after.relationship.entry(CONTESTED)
    assert first is not None
    assert first.event == record.relationship.entry(CONTESTED).event  # type: ignore[union-attr]
    after.when(deny()).refuses(AmendmentAnswered, amendment=AMENDMENT)
    after.when(extend()).refuses(AmendmentAnswered)


@pytest.mark.parametrize(
    "named_as_answer",
    [
        {},
        {"correction": 4, "addendum": 4},
        {"correction": 2},
        {"correction": 3},
        {"correction": 99},
        {"addendum": 4},
        {"addendum": 1},
        {"addendum": 3},
    ],
)
def test_nothing_else_counts_as_setting_right(named_as_answer: dict[str, int]) -> None:
    """R7: nothing, both, an entry of before, another entry's, none that there is."""
    record = corrected(asked())
    record.when(accept(**named_as_answer), by=OFFICE).refuses(NotSetRight, entry=CONTESTED)


def test_the_correction_of_another_entry_does_not_answer() -> None:
    """R7: it has to amend what was contested."""
    wrong = MarkEnteredInError(
        stream=relationship_stream(RELATIONSHIP), entry=2, reason="Meant for somebody else."
    )
    record = asked().when(wrong, by=THERAPIST).recorded()
    record.when(accept(correction=4), by=OFFICE).refuses(NotSetRight)


def goal_of_another() -> ProposeGoal:
    return ProposeGoal(
        relationship=RELATIONSHIP, goal=named("other"), statement="To eat.", by=THERAPIST
    )


def test_an_addendum_completes_an_entry() -> None:
    """R7: where nothing was wrong but something is missing, a later entry is the answer."""
    record = asked().and_given(goal_of_another())
    record.when(accept(addendum=4), by=OFFICE).recorded()


# --- Denied ---------------------------------------------------------------------------------


def test_a_denial_a_disagreement_and_a_rebuttal_stand_with_the_entry() -> None:
    """R8: all four travel with what they contest from then on."""
    denied = AmendmentDenied(
        amendment=AMENDMENT,
        party=CLIENT,
        ground=DenialGround.ACCURATE_AND_COMPLETE,
        reason="It was read aloud then.",
    )
    record = asked().when(deny(), by=OFFICE).then(denied)
    stated = DisagreementStated(amendment=AMENDMENT, party=CLIENT, text="It was not.")
    record = record.when(disagree(), by=CLIENT).then(stated)
    answer = DisagreementRebutted(amendment=AMENDMENT, party=CLIENT, text="It was.", by=OFFICE)
    record = record.when(rebut(), by=OFFICE).then(answer)
    assert linked(record.relationship) == {CONTESTED: (3, 4, 5, 6)}
    state = amendments_of(record.relationship)[AMENDMENT]
    assert (state.disagreement, state.rebuttal) == (5, 6)
    record.when(disagree(), by=CLIENT).refuses(StatedAlready)
    record.when(rebut(), by=OFFICE).refuses(StatedAlready)


def test_the_steps_have_their_order() -> None:
    """R8, R19: no disagreement before a denial, no rebuttal before a disagreement."""
    asked().when(disagree(), by=CLIENT).refuses(AmendmentNotDenied, amendment=AMENDMENT)
    asked(deny()).when(rebut(), by=OFFICE).refuses(DisagreementMissing, amendment=AMENDMENT)
    asked(deny()).when(deny(), by=OFFICE).refuses(AmendmentAnswered)
    given(*GIVEN).when(deny(), by=OFFICE).refuses(AmendmentUnknown, amendment=AMENDMENT)


def test_nobody_states_a_clients_disagreement_but_the_client() -> None:
    """R8, rule 33: or somebody visibly on the client's behalf."""
    record = asked(deny())
    record.when(disagree(), by=THERAPIST).refuses(NotInTheirName, person=CLIENT)
    record.when(disagree(), by=THERAPIST, on_behalf_of=CLIENT).recorded()


@pytest.mark.parametrize("entry", [3, 4])
def test_what_was_asked_and_answered_is_not_reworded(entry: int) -> None:
    """Rule 1, R8: neither corrected nor marked away; each side answered exactly those words."""
    record = asked(deny())
    stream = relationship_stream(RELATIONSHIP)
    wrong = MarkEnteredInError(stream=stream, entry=entry, reason="Never mind.")
    record.when(wrong, by=CLIENT).refuses(StaysAsRecorded)
    correct = CorrectEntry(stream=stream, entry=entry, reason="Milder.", content={})
    record.when(correct, by=CLIENT).refuses(StaysAsRecorded)


@pytest.mark.parametrize("command", [deny(), extend(), accept(correction=4), disagree(), rebut()])
def test_an_answer_is_not_dated_back(command: Any) -> None:
    """R7: a deadline that was missed stays missed."""
    with pytest.raises(ValidationError):
        type(command).model_validate(command.model_dump() | {"occurred_at": NOW - 30 * DAY})


_STEPS = [extend(), deny(), disagree(), rebut(), accept(correction=4)]


@for_all(st.lists(st.sampled_from(_STEPS), max_size=8), st.integers(0, 100))
def test_in_any_order_an_amendment_is_answered_once(steps: list[Any], days: int) -> None:
    """R7, R8: accepted or denied, never both; it waits exactly while it is neither."""
    record, now = corrected(asked()), NOW + days * DAY
    for step in steps:
        now = max(now, record.clock) + DAY
        by = CLIENT if isinstance(step, StateDisagreement) else OFFICE
        outcome = record.when(step, by=by, at=now)
        if outcome.refusal is None:
            record = outcome.recorded()
    state = amendments_of(record.relationship)[AMENDMENT]
    assert not (state.accepted and state.denied)
    assert state.is_open == bool(amendments_due(record.relationship, NOW))
    assert not (state.rebuttal and not state.disagreement)
