"""Summaries: what a session came to, shared with the client."""

from typing import Any

from domain.appointment import CancelSession, ScheduleSession
from domain.correction import CorrectEntry, NotCorrectable
from domain.person import NotInTheirName
from domain.phase import NotItsTherapist
from domain.relationship import NotAParticipant, relationship_stream
from domain.session import SessionUnknown
from domain.summary import NothingToSumUp, SessionSummaryShared, ShareSessionSummary
from tests.kit import (
    CLIENT,
    CONSENTED,
    COTHERAPIST,
    HOUR,
    NOW,
    PARTNER,
    RELATIONSHIP,
    SESSION,
    THERAPIST,
    given,
    hold_session,
    named,
)

SUMMARY = "What the fear does on the tram; one stop each morning."
HELD = given(*CONSENTED).when(hold_session()).recorded()


def share(**changes: Any) -> ShareSessionSummary:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "session": SESSION,
        "by": THERAPIST,
        "agreed_by": (CLIENT,),
        "summary": SUMMARY,
    }
    return ShareSessionSummary.model_validate(fields | changes)


def test_a_therapist_shares_what_a_session_came_to() -> None:
    """Rule 33: in the therapist's own name; who agreed to the words is named."""
    shared = SessionSummaryShared(
        session=SESSION, by=THERAPIST, agreed_by=(CLIENT,), summary=SUMMARY
    )
    record = HELD.when(share()).then(shared)
    HELD.when(share(agreed_by=())).recorded()
    HELD.when(share(), by=CLIENT).refuses(NotInTheirName, person=THERAPIST)
    HELD.when(share(by=COTHERAPIST)).refuses(NotItsTherapist, person=COTHERAPIST)
    HELD.when(share(agreed_by=(PARTNER,))).refuses(NotAParticipant, person=PARTNER)
    reworded = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=record.relationship.version,
        reason="Nicer.",
        content=shared.model_dump(mode="json", exclude_none=True) | {"summary": "All is well."},
    )
    record.when(reworded).refuses(NotCorrectable)


def test_only_a_session_that_was_held_is_summed_up() -> None:
    """Rule 13: not one that is planned or was called off, and not before it began."""
    HELD.when(share(session=named("no session"))).refuses(SessionUnknown)
    early = share(occurred_at=NOW - 2 * HOUR)
    HELD.when(early).refuses(NothingToSumUp, session=SESSION, status="held")
    planned = given(
        *CONSENTED,
        ScheduleSession(
            relationship=RELATIONSHIP, session=SESSION, starts_at=NOW, ends_at=NOW + HOUR
        ),
    )
    planned.when(share()).refuses(NothingToSumUp, status="scheduled")
    cancel = CancelSession(relationship=RELATIONSHIP, session=SESSION, who=CLIENT, why="Ill.")
    planned.and_given(cancel).when(share()).refuses(NothingToSumUp, status="cancelled")
