"""Recall interviews: somebody watches a recorded session again and says what went on inside.

Interpersonal Process Recall (IPR): client and therapist are interviewed separately, each by
somebody else, and stop the recording at the moments that mattered to them. Their moments stay
separate too. It is a use of the recording, and rests on the consents to that.
Stream: the relationship's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.consent import Reliance
from domain.event import (
    Command,
    EntryUnknown,
    Event,
    Given,
    History,
    Moment,
    New,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.ids import new_id
from domain.person import (
    PractitionerUnknown,
    practitioner_stream,
    registration_at,
    require_voice,
)
from domain.recording import RecordingPurpose, RecordingUsed, UseRecording, recording_of
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.session import Session, session_of

Second = Annotated[int, Field(ge=0, le=86_400)]
"""Whole seconds from the beginning of a recording."""


# --- What happened --------------------------------------------------------------------------


class RecallScheduled(Event):
    """Somebody is to be interviewed about a session."""

    topic = "recall.scheduled"

    recall: UUID
    session: UUID
    party: UUID
    starts_at: Moment

    def subject(self) -> UUID:
        return self.party


class RecallInterviewHeld(Event):
    """A party watched the recording with an inquirer, and said what went on."""

    topic = "recall.interview_held"
    # Consent and recording were looked at for its time: held at another, it is recorded anew.
    correctable = False

    recall: UUID
    session: UUID
    party: UUID
    inquirer: UUID
    recording: UUID
    held_at: Moment
    relies_on: tuple[Reliance, ...] = ()

    def subject(self) -> UUID:
        return self.party


class MomentMarked(Event):
    """A moment at which the party stopped the recording, and what went on inside."""

    topic = "recall.moment_marked"
    # It was looked for inside the recording.
    fixed = frozenset({"t_s"})

    moment: UUID
    recall: UUID
    t_s: Second
    party: UUID
    what: Text

    def subject(self) -> UUID:
        return self.party


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recall:
    """An interview that was held, and its moments in the order of the recording."""

    held: RecallInterviewHeld
    entry: RecordedEvent
    moments: tuple[tuple[RecordedEvent, MomentMarked], ...]


def recalls_of(history: History) -> dict[UUID, Recall]:
    """Every interview that was held, by its id; moments of what is erased are passed over."""
    moments: dict[UUID, list[tuple[RecordedEvent, MomentMarked]]] = {}
    for entry, marked in history.of(MomentMarked):
        moments.setdefault(marked.recall, []).append((entry, marked))
    return {
        held.recall: Recall(
            held,
            entry,
            tuple(sorted(moments.get(held.recall, ()), key=lambda found: found[1].t_s)),
        )
        for entry, held in history.of(RecallInterviewHeld)
    }


# --- Questions ------------------------------------------------------------------------------


def recalls_scheduled(history: History) -> dict[UUID, RecallScheduled]:
    """The interviews that are scheduled and were not held, by their ids."""
    held = recalls_of(history)
    return {s.recall: s for _, s in history.of(RecallScheduled) if s.recall not in held}


def moments_of(history: History, session: UUID) -> Mapping[UUID, tuple[MomentMarked, ...]]:
    """By party, the moments of a session; nobody's are mixed with anybody else's."""
    moments: dict[UUID, list[MomentMarked]] = {}
    for recall in recalls_of(history).values():
        if recall.held.session == session:
            own = moments.setdefault(recall.held.party, [])
            own.extend(moment for _, moment in recall.moments)
    return {party: tuple(own) for party, own in moments.items()}


# --- Refusals -------------------------------------------------------------------------------


class RecallExists(Refusal):
    says = "There is a recall interview {recall} already; choose another id."


class RecallDiffers(Refusal):
    status = 422
    says = "Recall interview {recall} was scheduled with somebody else or of another session."


class RecallBeforeSession(Refusal):
    status = 422
    says = "Session {session} had not been held by then: there is nothing to recall."


class NotAtTheSession(Refusal):
    says = "{party} was not at session {session}, and cannot recall it."


class InquiresIntoOneself(Refusal):
    status = 422
    says = "{party} recalls; somebody else inquires."


class InquirerConcerned(Refusal):
    says = "{inquirer} was at the session: a client is not interviewed by whoever was there."


class MomentExists(Refusal):
    says = "There is a moment {moment} already; choose another id."


class MomentBeforeInterview(Refusal):
    status = 422
    says = "Recall interview {recall} was held after that: look at occurred_at."


class MomentOutsideRecording(Refusal):
    status = 422
    says = "The moment does not lie inside recording {recording}, as that was made."


class NotTheirRecall(Refusal):
    says = "{party} was not interviewed in recall interview {recall}."


# --- Commands -------------------------------------------------------------------------------


class _RecallCommand(Command):
    relationship: UUID
    recall: UUID

    def _told(self, given: Given) -> tuple[Relationship, History]:
        history = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(history)
        require_open(relationship, given)
        return relationship.at(given.at), history

    def _new(self, event: Event) -> New:
        return New(relationship_stream(self.relationship), event)


def _require_unused(history: History, recall: UUID, *kinds: type[Event]) -> None:
    """Also where the first was entered in error: an id is used once."""
    for entry in history:
        if isinstance(entry.event, kinds) and getattr(entry.event, "recall", None) == recall:
            raise RecallExists(recall=recall)


def _attended(history: History, id_: UUID, party: UUID, given: Given) -> Session:
    """The session, if it was held by then and the party was there."""
    session = session_of(history, id_)
    if session is None:
        raise EntryUnknown(what="session")
    if not session.is_held or given.at < session.ended_at:
        raise RecallBeforeSession(session=id_)
    if party not in session.present:
        raise NotAtTheSession(party=party, session=id_)
    return session


class ScheduleRecall(_RecallCommand):
    """Arrange that somebody is interviewed about a session."""

    name = "schedule-recall"

    recall: UUID = Field(default_factory=new_id)
    session: UUID
    party: UUID
    starts_at: Moment

    def decide(self, given: Given) -> Iterator[New]:
        relationship, history = self._told(given)
        require_participant(relationship, self.party)
        _require_unused(history, self.recall, RecallScheduled, RecallInterviewHeld)
        _attended(history, self.session, self.party, given)
        yield self._new(
            RecallScheduled(
                recall=self.recall,
                session=self.session,
                party=self.party,
                starts_at=self.starts_at,
            )
        )


class HoldRecallInterview(_RecallCommand):
    """Record that a recall interview was held. It is a use of the recording."""

    name = "hold-recall-interview"

    occurred_at: None = None
    """Stays out: an interview occurred when it was held."""

    recall: UUID = Field(default_factory=new_id)
    session: UUID
    party: UUID
    inquirer: UUID
    recording: UUID
    held_at: Moment

    def effective_at(self) -> datetime:
        return self.held_at

    def decide(self, given: Given) -> Iterator[New]:
        relationship, history = self._told(given)
        require_participant(relationship, self.party)
        _require_unused(history, self.recall, RecallInterviewHeld)
        scheduled = recalls_scheduled(history).get(self.recall)
        if scheduled and (scheduled.session, scheduled.party) != (self.session, self.party):
            raise RecallDiffers(recall=self.recall)
        session = _attended(history, self.session, self.party, given)
        self._require_inquirer(given, relationship, session)
        recording = recording_of(history, self.recording)
        if recording is None or recording.session != self.session:
            raise EntryUnknown(what="recording of that session")
        (use,) = UseRecording(
            relationship=self.relationship,
            recording=self.recording,
            purpose=RecordingPurpose.RECALL,
            by=self.inquirer,
        ).decide(given)
        assert isinstance(use.event, RecordingUsed)
        yield self._new(
            RecallInterviewHeld(
                recall=self.recall,
                session=self.session,
                party=self.party,
                inquirer=self.inquirer,
                recording=self.recording,
                held_at=self.held_at,
                relies_on=use.event.relies_on,
            )
        )
        yield use

    def _require_inquirer(self, given: Given, relationship: Relationship, session: Session) -> None:
        """A practitioner, who is somebody else; for a client, one who was not there."""
        if self.inquirer == self.party:
            raise InquiresIntoOneself(party=self.party)
        if registration_at(given.history(practitioner_stream(self.inquirer)), given.at) is None:
            raise PractitionerUnknown(practitioner=self.inquirer)
        if self.party in relationship.clients and self.inquirer in session.present:
            raise InquirerConcerned(inquirer=self.inquirer)


class MarkMoment(_RecallCommand):
    """Record a moment at which the party stopped the recording, in the party's own words."""

    name = "mark-moment"

    moment: UUID = Field(default_factory=new_id)
    t_s: Second
    party: UUID
    what: Text

    def decide(self, given: Given) -> Iterator[New]:
        _, history = self._told(given)
        recall = recalls_of(history).get(self.recall)
        if recall is None:
            raise EntryUnknown(what="recall interview")
        if self.party != recall.held.party:
            raise NotTheirRecall(party=self.party, recall=self.recall)
        require_voice(self.party, given)
        if given.at < recall.held.held_at:
            raise MomentBeforeInterview(recall=self.recall)
        recorded = (entry.event for entry in history)
        if any(isinstance(e, MomentMarked) and e.moment == self.moment for e in recorded):
            raise MomentExists(moment=self.moment)
        recording = recording_of(history, recall.held.recording)
        if recording is None or recording.seconds is None or self.t_s > recording.seconds:
            raise MomentOutsideRecording(recording=recall.held.recording)
        yield self._new(
            MomentMarked(
                moment=self.moment,
                recall=self.recall,
                t_s=self.t_s,
                party=self.party,
                what=self.what,
            )
        )
