"""Supervision of a case: consent, actions with owner and day, and what stays in it."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.clinic import Scope
from domain.consent import ConsentMissing, ConsentWithdrawn
from domain.correction import (
    CorrectEntry,
    IdentityChanged,
    MarkEnteredInError,
    NotCorrectable,
)
from domain.event import EntryUnknown, OccursInTheFuture
from domain.note import NoteExists
from domain.person import Activity, NotInTheirName, OutOfScope
from domain.phase import NotItsTherapist
from domain.relationship import (
    Constellation,
    Initiator,
    RelationshipClosed,
    RelationshipNotYetOpen,
    relationship_stream,
)
from domain.supervision import (
    ActionBeforeSupervision,
    ActionExists,
    ActionOutcome,
    ActionSettled,
    AgreeSupervisionAction,
    CountertransferenceNoted,
    DueInThePast,
    HoldSupervision,
    NoteCountertransference,
    NotTheirNote,
    NotTheSupervisor,
    OwnerElsewhere,
    ReviewBeforeAction,
    ReviewSupervisionAction,
    SupervisesOneself,
    SupervisionActionAgreed,
    SupervisionActionReviewed,
    SupervisionExists,
    actions_of,
    actions_open,
    actions_overdue,
    supervision_stream,
    supervisions_of,
)
from tests.kit import (
    AN_HOUR_AGO,
    BEGINNING,
    CLIENT,
    COTHERAPIST,
    DAY,
    FOUNDED,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    given,
    informed,
    named,
    opened,
    practising,
)

SUPERVISION, ACTION, NOTE = named("supervision"), named("action"), named("note")
STREAM = supervision_stream(RELATIONSHIP)
DISCLOSURE = consent(Scope.SUPERVISION_DISCLOSURE)
WITHDRAWN = ConsentWithdrawn(consent=DISCLOSURE.consent, party=CLIENT)
TODAY = NOW.date()
TEXT = "Ask what the silence was about."
CASE = given(*OPENED, informed(), DISCLOSURE)


def hold(**changes: Any) -> HoldSupervision:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "supervision": SUPERVISION,
        "supervisor": SUPERVISOR,
        "supervisees": (THERAPIST,),
        "started_at": AN_HOUR_AGO,
        "ended_at": AN_HOUR_AGO + timedelta(minutes=45),
    }
    return HoldSupervision(**fields | changes)


def agree(**changes: Any) -> AgreeSupervisionAction:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "supervision": SUPERVISION,
        "action": ACTION,
        "owner": THERAPIST,
        "due": TODAY + timedelta(days=14),
        "text": TEXT,
    }
    return AgreeSupervisionAction(**fields | changes)


def review(
    outcome: ActionOutcome = ActionOutcome.DONE, by: UUID = SUPERVISOR, **changes: Any
) -> ReviewSupervisionAction:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "action": ACTION, "by": by}
    return ReviewSupervisionAction(**fields | {"outcome": outcome} | changes)


def note(**changes: Any) -> NoteCountertransference:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "note": NOTE}
    return NoteCountertransference(**fields | {"text": "She reminds me of my sister."} | changes)


HELD = CASE.when(hold(), by=SUPERVISOR).recorded()
AGREED = HELD.when(agree(), by=SUPERVISOR).recorded()


def of(record: Record) -> Any:
    return record.history(STREAM)


# --- Supervision ----------------------------------------------------------------------------


def test_supervision_rests_on_the_clients_consent() -> None:
    """Rules 22, 24: every client's, in force when it was held; the entry cites it."""
    ((entry, event),) = supervisions_of(of(HELD)).values()
    assert [relied.consent for relied in event.relies_on] == [DISCLOSURE.consent]
    assert entry.occurred_at == AN_HOUR_AGO
    given(*OPENED).when(hold(), by=SUPERVISOR).refuses(ConsentMissing, party=CLIENT)
    report = given(*OPENED).when(hold(), by=OFFICE, imported=True)
    report.reports(ConsentMissing)


def test_after_a_withdrawal_there_is_no_supervision() -> None:
    """Rule 20: from its time on; what was held before may still be recorded, late."""
    record = CASE.and_given((WITHDRAWN, NOW - 2 * HOUR))
    record.when(hold(), by=SUPERVISOR).refuses(ConsentMissing, party=CLIENT)
    earlier = NOW - 3 * HOUR
    before = hold(started_at=earlier, ended_at=earlier + HOUR)
    record.when(before, by=SUPERVISOR).recorded()


def test_of_a_couple_both_consent() -> None:
    """Rule 22: one partner's consent does not disclose the other."""
    couple = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.COUPLE, supervisor=SUPERVISOR),
        informed(),
        DISCLOSURE,
    )
    couple.when(hold(), by=SUPERVISOR).refuses(ConsentMissing, party=PARTNER)
    both = couple.and_given(informed(PARTNER), consent(Scope.SUPERVISION_DISCLOSURE, PARTNER))
    both.when(hold(), by=SUPERVISOR).recorded()


def test_whoever_supervises_is_the_supervisor_or_stands_in() -> None:
    """Rule 11: in scope of supervision, named in the relationship or with a stated reason."""
    stand_in = named("stand-in")
    record = CASE.and_given(practising(stand_in, Activity.SUPERVISION))
    ill = "The supervisor was ill."
    record.when(hold(supervisor=stand_in), by=stand_in).refuses(
        NotTheSupervisor, supervisor=stand_in
    )
    record.when(hold(supervisor=stand_in, stands_in=ill), by=stand_in).recorded()
    out = hold(supervisor=COTHERAPIST, stands_in=ill)
    record.when(out, by=COTHERAPIST).refuses(OutOfScope, practitioner=COTHERAPIST)


def test_supervisees_are_its_therapists() -> None:
    """Rule 10: neither a client, nor a stranger, nor the supervisor in person."""
    for person in (CLIENT, COTHERAPIST):
        CASE.when(hold(supervisees=(person,))).refuses(NotItsTherapist, person=person)
    CASE.when(hold(supervisees=(SUPERVISOR,))).refuses(SupervisesOneself, supervisor=SUPERVISOR)
    both = (THERAPIST, SUPERVISOR)
    CASE.when(hold(supervisees=both)).refuses(SupervisesOneself, supervisor=SUPERVISOR)


def test_a_supervision_has_its_id_and_its_time() -> None:
    """Rules 4, 8, 16: held once, not ahead, not before the opening."""
    HELD.when(hold()).refuses(SupervisionExists, supervision=SUPERVISION)
    CASE.when(hold(started_at=NOW - HOUR, ended_at=NOW + HOUR)).refuses(OccursInTheFuture)
    early = BEGINNING - DAY
    first = hold(started_at=early, ended_at=early + HOUR, late_reason="From my diary.")
    CASE.when(first).refuses(RelationshipNotYetOpen)
    with pytest.raises(ValidationError):
        hold(ended_at=AN_HOUR_AGO - HOUR)


def test_a_supervision_is_not_moved_to_another_time() -> None:
    """Rule 1, rule 20: consent was judged by it; struck, and its id is not used again."""
    ((_, event),) = supervisions_of(of(HELD)).values()
    content = event.model_dump(mode="json", exclude_none=True)
    correct = CorrectEntry(stream=STREAM, entry=1, reason="Another day.", content=content)
    HELD.when(correct).refuses(NotCorrectable, topic="supervision.held")
    struck = HELD.when(MarkEnteredInError(stream=STREAM, entry=1, reason="No.")).recorded()
    assert supervisions_of(of(struck)) == {}
    struck.when(hold()).refuses(SupervisionExists, supervision=SUPERVISION)


# --- Actions --------------------------------------------------------------------------------


def test_an_action_has_an_owner_and_a_day() -> None:
    """Rule 40: without either it is none."""
    HELD.when(agree(), by=SUPERVISOR).then(
        SupervisionActionAgreed(
            action=ACTION,
            supervision=SUPERVISION,
            owner=THERAPIST,
            due=TODAY + timedelta(days=14),
            text=TEXT,
        )
    )
    for missing in ("owner", "due"):
        with pytest.raises(ValidationError):
            AgreeSupervisionAction.model_validate(agree().model_dump(exclude={missing}))
    HELD.when(agree(owner=CLIENT)).refuses(OwnerElsewhere, owner=CLIENT)
    HELD.when(agree(owner=COTHERAPIST)).refuses(OwnerElsewhere, owner=COTHERAPIST)
    HELD.when(agree(owner=SUPERVISOR)).recorded()


def test_an_action_comes_of_a_supervision() -> None:
    """Rule 40: of one that was held, after it began, under an id of its own."""
    CASE.when(agree()).refuses(EntryUnknown, what="supervision")
    early = agree(occurred_at=AN_HOUR_AGO - HOUR)
    HELD.when(early).refuses(ActionBeforeSupervision, supervision=SUPERVISION)
    AGREED.when(agree()).refuses(ActionExists, action=ACTION)
    HELD.when(agree(due=TODAY - timedelta(days=1))).refuses(DueInThePast)
    HELD.when(agree(due=TODAY)).recorded()


@for_all(st.integers(-5, 40))
def test_overdue_is_after_the_day(days: int) -> None:
    """Rule 40: on the day it is due an action is not overdue; on the next it is."""
    overdue = actions_overdue(of(AGREED), TODAY + timedelta(days=days))
    assert [action.agreed.action for action in overdue] == ([ACTION] if days > 14 else [])


def test_an_action_is_done_dropped_or_continued() -> None:
    """Rule 40: done or dropped it is settled; continued it is due on another day."""
    later = TODAY + timedelta(days=30)
    record = AGREED.when(review(), by=SUPERVISOR).then(
        SupervisionActionReviewed(action=ACTION, by=SUPERVISOR, outcome=ActionOutcome.DONE)
    )
    assert actions_overdue(of(record), date(2100, 1, 1)) == ()
    record.when(review(), by=SUPERVISOR).refuses(
        ActionSettled, action=ACTION, outcome=ActionOutcome.DONE
    )
    dropped = AGREED.when(review(ActionOutcome.DROPPED), by=SUPERVISOR).recorded()
    assert actions_open(of(dropped)) == ()
    goes_on = review(ActionOutcome.CONTINUED, THERAPIST, due=later)
    record = AGREED.when(goes_on, by=THERAPIST).recorded()
    (action,) = actions_open(of(record))
    assert action.due == later
    assert actions_overdue(of(record), later) == ()
    assert actions_overdue(of(record), later + timedelta(days=1)) == (action,)
    record.when(review(), by=SUPERVISOR).recorded()


def test_whatever_goes_on_has_another_day() -> None:
    """Rule 40: continued without a day it would never be overdue."""
    with pytest.raises(ValidationError):
        review(ActionOutcome.CONTINUED)
    with pytest.raises(ValidationError):
        review(ActionOutcome.DONE, due=TODAY)
    past = review(ActionOutcome.CONTINUED, due=TODAY - timedelta(days=1))
    AGREED.when(past, by=SUPERVISOR).refuses(DueInThePast)


def test_a_review_is_of_an_action_and_after_it() -> None:
    """Rule 40: by whoever has to do with the case, in the own name, in order of time."""
    HELD.when(review(), by=SUPERVISOR).refuses(EntryUnknown, what="action")
    AGREED.when(review(by=CLIENT), by=CLIENT).refuses(OwnerElsewhere, owner=CLIENT)
    AGREED.when(review(), by=THERAPIST).refuses(NotInTheirName, person=SUPERVISOR)
    early = review(occurred_at=AN_HOUR_AGO)
    AGREED.when(early, by=SUPERVISOR).refuses(ReviewBeforeAction, action=ACTION)


def test_an_action_is_put_off_by_a_review_and_by_nothing_else() -> None:
    """Rules 1, 40: neither its day nor what a review found is corrected away."""
    content = agree(text="Ask about it.", due=TODAY + timedelta(days=60)).model_dump(
        mode="json", include={"action", "supervision", "owner", "due", "text"}
    )
    correct = CorrectEntry(stream=STREAM, entry=2, reason="Later.", content=content)
    AGREED.when(correct, by=SUPERVISOR).refuses(IdentityChanged, field="due")
    same_day = content | {"due": str(TODAY + timedelta(days=14))}
    mended = correct.model_copy(update={"content": same_day})
    record = AGREED.when(mended, by=SUPERVISOR).recorded()
    assert actions_of(of(record))[ACTION].agreed.text == "Ask about it."
    record = AGREED.when(review(remark="Dome."), by=SUPERVISOR).recorded()
    said = {"action": str(ACTION), "by": str(SUPERVISOR), "outcome": "dropped"}
    undone = CorrectEntry(stream=STREAM, entry=3, reason="No.", content=said)
    record.when(undone, by=SUPERVISOR).refuses(NotCorrectable, topic="supervision.action_reviewed")


# --- Countertransference --------------------------------------------------------------------


def test_countertransference_stays_in_supervision() -> None:
    """Rule 40: in the supervision's stream, under the author's key; the record shows none of it."""
    record = CASE.when(note(), by=THERAPIST).then(
        CountertransferenceNoted(note=NOTE, author=THERAPIST, text="She reminds me of my sister.")
    )
    ((_, event),) = of(record).of(CountertransferenceNoted)
    assert event.subject() == THERAPIST
    assert "sister" not in repr(list(record.history(relationship_stream(RELATIONSHIP))))
    record.when(note(), by=THERAPIST).refuses(NoteExists, note=NOTE)


def test_nobody_notes_what_work_stirs_up_in_another() -> None:
    """Rule 40: the therapist alone, of a session that there is."""
    for person in (CLIENT, SUPERVISOR, OFFICE):
        CASE.when(note(), by=person).refuses(NotItsTherapist, person=person)
    CASE.when(note(), by=OFFICE, on_behalf_of=THERAPIST).refuses(NotTheirNote, author=THERAPIST)
    CASE.when(note(), by=THERAPIST, imported=True).refuses(NotTheirNote)
    CASE.when(note(session=named("none")), by=THERAPIST).refuses(EntryUnknown, what="session")


def test_only_its_author_mends_it() -> None:
    """Rules 1, 40: to anybody else there is no such entry."""
    record = CASE.when(note(), by=THERAPIST).recorded()
    strike = MarkEnteredInError(stream=STREAM, entry=1, reason="No.")
    record.when(strike, by=SUPERVISOR).refuses(EntryUnknown, what="entry")
    record.when(strike, by=THERAPIST).recorded()


def test_the_supervision_of_a_closed_case_still_needs_consent() -> None:
    """Rules 16, 20: a case may be spoken of after its end, while its client consents."""
    closed = RelationshipClosed(
        reason="Done.",
        initiated_by=Initiator.BOTH,
        goals="Reached.",
        open_goals=(),
        open_ruptures=(),
    )
    over = CASE.and_given((closed, NOW - DAY))
    record = over.when(hold(), by=SUPERVISOR).recorded()
    record = record.when(agree(), by=SUPERVISOR).recorded()
    record = record.when(note(), by=THERAPIST).recorded()
    record.when(review(), by=SUPERVISOR).recorded()
    over.and_given((WITHDRAWN, NOW - 2 * HOUR)).when(hold(), by=SUPERVISOR).refuses(ConsentMissing)
