"""Closure: what it says of goals and ruptures, in its first schema version and its second."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from domain.closure import (
    CloseRelationship,
    OpenRupturesNotStated,
    RelationshipClosedAlready,
    TransferRelationship,
)
from domain.correction import CorrectEntry, IdentityChanged
from domain.event import Event
from domain.goal import GoalProposed, GoalReached
from domain.instrument import Perspective
from domain.relationship import (
    Initiator,
    RelationshipClosed,
    RelationshipOpened,
    TurnsOutOfOrder,
    relationship_of,
    relationship_stream,
)
from domain.rupture import RuptureMarked, RuptureResolved
from domain.topics import read
from tests.kit import (
    CLIENT,
    COTHERAPIST,
    DAY,
    HOUR,
    NOW,
    OPENED,
    RELATIONSHIP,
    SESSION,
    THERAPIST,
    given,
    held,
    named,
)

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
ELSEWHERE = named("the relationship that goes on")
GOAL, REACHED, RUPTURE = named("goal"), named("reached"), named("rupture")
SAID: dict[str, Any] = {
    "relationship": RELATIONSHIP,
    "reason": "She moves to another town.",
    "initiated_by": Initiator.CLIENT,
    "goals": "One reached, one left to the next therapist.",
}
LEFT = "Talked about in the last session; left as it is."


def close(**changes: object) -> CloseRelationship:
    return CloseRelationship.model_validate(SAID | changes)


def transfer(**changes: object) -> TransferRelationship:
    said = {"to": ELSEWHERE, "therapists": (COTHERAPIST,)}
    return TransferRelationship.model_validate(SAID | said | changes)


def closed(
    *, goals: tuple[UUID, ...] = (), open_: tuple[UUID, ...] = (), ruptures: str | None = None
) -> RelationshipClosed:
    return RelationshipClosed(
        reason=SAID["reason"],
        initiated_by=SAID["initiated_by"],
        goals=SAID["goals"],
        open_goals=goals,
        open_ruptures=open_,
        ruptures=ruptures,
    )


def proposed(goal: UUID) -> GoalProposed:
    return GoalProposed(goal=goal, statement="To ride the tram.", by=CLIENT)


def marked(**changes: object) -> RuptureMarked:
    content = json.loads((GOLDEN / "rupture.marked-1.json").read_text("utf-8"))
    mine = {
        "rupture": RUPTURE,
        "session": SESSION,
        "raised_by": THERAPIST,
        "perspective": Perspective.THERAPIST,
        "method": "clinical_impression",
        "segment": None,
        "prompted_by": None,
    }
    return RuptureMarked.model_validate(content | mine | changes)


def resolved() -> RuptureResolved:
    return RuptureResolved(
        rupture=RUPTURE, by=THERAPIST, perspective=Perspective.THERAPIST, basis="She laughed."
    )


RUPTURED = given(*OPENED, (held(), NOW - 9 * DAY), (marked(), NOW - 8 * DAY))


# --- What it names --------------------------------------------------------------------------


def test_a_closing_names_the_goals_that_are_open() -> None:
    """Rule 16: which they are is not asked, it is known; in words comes what that means."""
    record = given(*OPENED, proposed(GOAL), proposed(REACHED), GoalReached(goal=REACHED))
    record.when(close()).then(closed(goals=(GOAL,)))


@pytest.mark.parametrize("end", [close, transfer], ids=["close", "transfer"])
def test_open_ruptures_are_named_and_said_how_they_are_left(end: Any) -> None:
    """Rule 16: nobody closes over an open rupture without a word."""
    RUPTURED.when(end()).refuses(OpenRupturesNotStated, count=1)
    outcome = RUPTURED.when(end(ruptures=LEFT))
    closing = next(new.event for new in outcome.news if isinstance(new.event, RelationshipClosed))
    assert closing == closed(open_=(RUPTURE,), ruptures=LEFT)
    RUPTURED.and_given(resolved()).when(end()).recorded()


def test_what_is_open_is_told_as_of_the_closing() -> None:
    """Rules 5 and 16: a closing that is dated back names what was open on that day."""
    late = {"occurred_at": NOW - 5 * DAY, "late_reason": "Closed in the office."}
    record = RUPTURED.and_given(
        (proposed(GOAL), NOW - 7 * DAY), (GoalReached(goal=GOAL), NOW - 6 * DAY)
    )
    record.when(close(ruptures=LEFT, **late)).then(closed(open_=(RUPTURE,), ruptures=LEFT))
    earlier = late | {"occurred_at": NOW - 8 * DAY - HOUR}
    given(*OPENED, (held(), NOW - 9 * DAY)).when(close(**earlier)).then(closed())


def test_what_a_closing_names_is_not_corrected() -> None:
    """Rules 1 and 16: the words may be; goals and ruptures that were open then stay named."""
    record = RUPTURED.when(close(ruptures=LEFT)).recorded()

    def correct(event: RelationshipClosed) -> CorrectEntry:
        return CorrectEntry(
            stream=relationship_stream(RELATIONSHIP),
            entry=record.relationship.version,
            reason="Said better.",
            content=event.model_dump(mode="json", exclude_none=True),
        )

    record.when(correct(closed(open_=(RUPTURE,), ruptures="Left as it is."))).recorded()
    record.when(correct(closed(ruptures=LEFT))).refuses(IdentityChanged, field="open_ruptures")
    counted = closed(open_=(RUPTURE,), ruptures=LEFT).model_copy(update={"ruptures_counted": 4})
    record.when(correct(counted)).refuses(IdentityChanged, field="ruptures_counted")


# --- A transfer -----------------------------------------------------------------------------


def test_a_transfer_takes_along_the_clients_of_that_day() -> None:
    """Rule 10: those who take part when it is handed on; its turns keep their order."""
    outcome = given(*OPENED).when(transfer())
    begun = next(new for new in outcome.news if isinstance(new.event, RelationshipOpened))
    assert begun.stream == relationship_stream(ELSEWHERE)
    assert isinstance(begun.event, RelationshipOpened)
    assert begun.event.clients == (CLIENT,)
    early = transfer(occurred_at=NOW - 900 * DAY, late_reason="Found in the old books.")
    given(*OPENED).when(early).refuses(TurnsOutOfOrder)
    given(*OPENED, closed()).when(transfer()).refuses(RelationshipClosedAlready)


# --- Its first schema version ---------------------------------------------------------------


def stored(version: int) -> dict[str, Any]:
    file = GOLDEN / f"relationship.closed-{version}.json"
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content


def test_a_closing_of_the_first_version_still_reads() -> None:
    """R17: it counted open ruptures and did not name them; that is what it says to this day."""
    old = stored(1)
    event = read("relationship.closed", 1, old | {"open_ruptures": 3})
    assert isinstance(event, RelationshipClosed)
    assert (event.ruptures_counted, event.open_ruptures, event.open_goals) == (3, (), ())
    assert event.reason == old["reason"]
    record = given(*OPENED, event)
    assert not relationship_of(record.relationship).is_open


@pytest.mark.parametrize("gone", ["open_ruptures", "goals", "reason", "initiated_by"])
def test_a_closing_of_the_first_version_lacks_nothing(gone: str) -> None:
    """R3: old content is brought up to date, not made up."""
    content = {name: value for name, value in stored(1).items() if name != gone}
    with pytest.raises(ValidationError):
        read("relationship.closed", 1, content)


def test_an_old_correction_of_an_old_closing_still_reads() -> None:
    """R17, rule 1: what replaced a closing in its first version is brought up to date with it."""
    correction = {
        "entry": len(OPENED),
        "reason": "Wrong day.",
        "of_topic": "relationship.closed",
        "of_schema_version": 1,
        "content": stored(1) | {"open_ruptures": 2},
    }
    corrected = read("entry.corrected", 1, correction)
    assert isinstance(corrected, Event)
    record = given(*OPENED, closed())
    at = record.relationship.version
    record = record.and_given(corrected.model_copy(update={"entry": at}))
    (_, reads), *_ = record.relationship.of(RelationshipClosed)
    assert reads.ruptures_counted == 2
