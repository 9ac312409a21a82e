"""Context: what happened outside and reached into the room."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from domain.context import (
    ContextEventExists,
    ContextEventRecorded,
    ContextKind,
    Reaches,
    RecordContextEvent,
    context_events,
)
from domain.correction import CorrectEntry, IdentityChanged
from domain.event import Erased, OccursInTheFuture
from domain.relationship import NotAParticipant, RelationshipNotYetOpen, relationship_stream
from tests.kit import CLIENT, DAY, NOW, OPENED, PARTNER, RELATIONSHIP, given, named

BEREAVEMENT: dict[str, Any] = {
    "context": named("bereavement"),
    "kind": ContextKind.BEREAVEMENT,
    "scope": Reaches.PERSON,
    "began": date(2026, 2, 20),
    "about": CLIENT,
    "note": "The grandmother died.",
}
WAR: dict[str, Any] = {
    "context": named("war"),
    "kind": ContextKind.WAR,
    "scope": Reaches.WORLD,
    "began": date(2022, 2, 24),
    "note": "The family of the client lives there.",
}


def record_of(told: dict[str, Any], **changes: Any) -> RecordContextEvent:
    return RecordContextEvent.model_validate({"relationship": RELATIONSHIP, **told, **changes})


def test_what_reached_into_the_room_is_told_by_when_it_began() -> None:
    """Rule 5: also what began long before the relationship did."""
    record = given(*OPENED)
    record = record.when(record_of(BEREAVEMENT)).then(ContextEventRecorded(**BEREAVEMENT))
    record = record.when(record_of(WAR)).then(ContextEventRecorded(**WAR))
    told = [event.kind for _, event in context_events(record.relationship)]
    assert told == [ContextKind.WAR, ContextKind.BEREAVEMENT]


def test_what_is_about_one_person_is_sealed_under_that_persons_key() -> None:
    """Rule 9: erased with the person whom it is about; what is everybody's stays."""
    record = given(*OPENED, ContextEventRecorded(**BEREAVEMENT), ContextEventRecorded(**WAR))
    erased = record.erased(CLIENT).relationship
    assert [event.kind for _, event in context_events(erased)] == [ContextKind.WAR]
    assert sum(isinstance(entry.event, Erased) for entry in erased) == 1


def test_it_is_about_one_person_or_about_nobody_in_particular() -> None:
    """Rule 10: a person who takes part, where it reaches into one life."""
    for told in ({**BEREAVEMENT, "about": None}, {**WAR, "about": CLIENT}):
        with pytest.raises(ValidationError, match="whom it is about"):
            record_of(told)
    given(*OPENED).when(record_of(BEREAVEMENT, about=PARTNER)).refuses(
        NotAParticipant, person=PARTNER
    )


def test_nothing_is_told_of_days_to_come() -> None:
    """Rule 4: it began, and ended, by the day on which it is recorded."""
    record = given(*OPENED)
    for days in ({"began": NOW.date() + 2 * DAY}, {"ended": NOW.date() + 2 * DAY}):
        record.when(record_of(BEREAVEMENT, **days)).refuses(OccursInTheFuture)
    record.when(record_of(BEREAVEMENT, ended=NOW.date())).recorded()
    with pytest.raises(ValidationError, match="ended lies before began"):
        record_of(WAR, ended=date(2021, 1, 1))
    before = {"occurred_at": NOW - 900 * DAY, "late_reason": "Old books."}
    record.when(record_of(WAR, **before)).refuses(RelationshipNotYetOpen)


def test_one_id_is_one_event_and_one_person() -> None:
    """Rule 1: what has ended since is said by a correction, about the same person."""
    record = given(*OPENED, ContextEventRecorded(**BEREAVEMENT))
    record.when(record_of(BEREAVEMENT)).refuses(ContextEventExists, context=named("bereavement"))

    def correct(**changes: Any) -> CorrectEntry:
        event = ContextEventRecorded.model_validate(BEREAVEMENT | changes)
        return CorrectEntry(
            stream=relationship_stream(RELATIONSHIP),
            entry=record.relationship.version,
            reason="Asked again.",
            content=event.model_dump(mode="json", exclude_none=True),
        )

    outcome = record.when(correct(ended=date(2026, 2, 28)))
    assert outcome.event.subject() == CLIENT
    record.when(correct(about=PARTNER)).refuses(IdentityChanged, field="about")
