"""Recordings of sessions: begun with everybody's consent, ended, used for a purpose, destroyed.

Every client who is recorded consents to it for the whole span; whoever else is in the room agrees.
A withdrawal while it runs ends the recording there: what came after it was never recorded as far
as the record goes, and whoever says otherwise is refused (rule 22). The record holds that there
is a recording and what became of it; where the file is kept is the clinic's business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import Field

from domain.clinic import EachOnce, Scope
from domain.consent import Reliance, consenting, consents_of
from domain.event import (
    Command,
    Entries,
    Erased,
    Event,
    Given,
    History,
    Moment,
    New,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.hold import held, hold_stream
from domain.ids import new_id
from domain.person import require_voice
from domain.relationship import (
    NotAParticipant,
    People,
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
)
from domain.session import (
    LONGEST,
    Session,
    SessionSettled,
    SessionUnknown,
    Status,
    session_of,
    sessions_of,
)

Agreeing = Annotated[tuple[UUID, ...], Field(max_length=100), EachOnce]


class RecordingKind(StrEnum):
    AUDIO = "audio"
    VIDEO = "video"


class RecordingEnd(StrEnum):
    """Why a recording ended."""

    SESSION_OVER = "session_over"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    SOMEBODY_ASKED = "somebody_asked"
    FAILURE = "failure"


class RecordingPurpose(StrEnum):
    """What a recording is used for, and what the clients must have consented to."""

    SUPERVISION = "supervision"
    RECALL = "recall"
    RESEARCH = "research"
    TEACHING = "teaching"

    @property
    def scopes(self) -> tuple[Scope, ...]:
        match self:
            case RecordingPurpose.SUPERVISION:
                return (Scope.RECORDING, Scope.SUPERVISION_DISCLOSURE)
            case RecordingPurpose.RESEARCH:
                return (Scope.RECORDING, Scope.RESEARCH_PARTICIPATION)
            case RecordingPurpose.TEACHING:
                return (Scope.RECORDING, Scope.DATA_REUSE)
            case RecordingPurpose.RECALL:
                return (Scope.RECORDING,)


# --- What happened --------------------------------------------------------------------------


class RecordingStarted(Event):
    """A recording began. It occurred when it started."""

    topic = "recording.started"
    # Consents were looked at for this time and these people: another is another recording.
    correctable = False

    recording: UUID
    session: UUID
    kind: RecordingKind
    started_at: Moment
    clients: People
    """Who may be heard or seen, and consents."""
    agreed_by: Agreeing
    """Who else may be, and agrees: therapists, interpreters, observers."""
    relies_on: tuple[Reliance, ...]


class RecordingEnded(Event):
    """A recording ended. It occurred when it ended."""

    topic = "recording.ended"
    correctable = False

    recording: UUID
    ended_at: Moment
    why: RecordingEnd


class RecordingUsed(Event):
    """Somebody listened to a recording, or watched it, for a purpose."""

    topic = "recording.used"
    correctable = False

    recording: UUID
    purpose: RecordingPurpose
    by: UUID
    relies_on: tuple[Reliance, ...]

    def outlives_closure(self) -> bool:
        return True  # it is access, which a closure does not end


class RecordingDestroyed(Event):
    """There is no recording any more."""

    topic = "recording.destroyed"
    correctable = False

    recording: UUID
    by: UUID
    reason: Text

    def outlives_closure(self) -> bool:
        return True  # what was promised for after the end is kept after the end


_FILE = RecordingStarted | RecordingEnded | RecordingDestroyed
"""What tells of the recording itself, and of no use of it."""


# --- State ----------------------------------------------------------------------------------


class Lapse(NamedTuple):
    """From when on somebody no longer consents."""

    party: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class Recording:
    """What its entries come to."""

    id: UUID
    session: UUID
    kind: RecordingKind
    clients: tuple[UUID, ...]
    agreed_by: tuple[UUID, ...]
    entry: RecordedEvent
    """The entry that says it was started."""
    started_at: datetime
    ended_at: datetime | None
    """The earlier of its end and of the first withdrawal while it ran; None: it still runs."""
    is_ended: bool
    """Whether anybody has recorded its end."""
    lapse: Lapse | None
    """The first withdrawal while it ran."""
    uses: tuple[RecordedEvent, ...] = ()
    destroyed_at: datetime | None = None

    @property
    def seconds(self) -> int | None:
        """How long it is, in whole seconds; None: it still runs."""
        return (
            None
            if self.ended_at is None
            else int((self.ended_at - self.started_at).total_seconds())
        )


def recordings_of(history: History) -> dict[UUID, Recording]:
    """Every recording of a relationship by its id, in the order of recording."""
    found: dict[UUID, Recording] = {}
    ends = {ended.recording: ended.ended_at for _, ended in history.of(RecordingEnded)}
    for entry, started in history.of(RecordingStarted):
        said = ends.get(started.recording)
        lapse = _lapse(history, started.clients, started.started_at, said)
        found[started.recording] = Recording(
            id=started.recording,
            session=started.session,
            kind=started.kind,
            clients=started.clients,
            agreed_by=started.agreed_by,
            entry=entry,
            started_at=started.started_at,
            ended_at=lapse.at if lapse else said,
            is_ended=said is not None,
            lapse=lapse,
        )
    for entry in history.standing:
        match entry.event:
            case RecordingUsed(recording=id_) if id_ in found:
                found[id_] = replace(found[id_], uses=(*found[id_].uses, entry))
            case RecordingDestroyed(recording=id_) if id_ in found:
                found[id_] = replace(found[id_], destroyed_at=entry.occurred_at)
    return found


def _lapse(
    history: History, clients: Sequence[UUID], start: datetime, end: datetime | None
) -> Lapse | None:
    """Rule 22: the first moment after the start and before the end at which one of them, who had
    consented to be recorded, does so no longer: by a withdrawal, a dissent, or the end of its term.
    """
    last = start + LONGEST if end is None else end
    consented = consenting(history, Scope.RECORDING, start)
    turns = {entry.occurred_at for entry in history.standing}
    turns |= {at for consent in consents_of(history).values() if (at := consent.ends_at)}
    for at in sorted(turn for turn in turns if start < turn < last):
        consents = consenting(history, Scope.RECORDING, at)
        for client in clients:
            if client in consented and client not in consents:
                return Lapse(client, at)
    return None


# --- Questions ------------------------------------------------------------------------------


def recording_of(history: History, recording: UUID) -> Recording | None:
    """One recording of a relationship, as its entries read today."""
    return recordings_of(history).get(recording)


def require_recordings(before: Entries, after: Entries) -> None:
    """Rule 22, where an amendment changes how the standing entries of a relationship read: each
    recording still lies inside its session, and none of which others tell, by a use of it or a
    segment, reads as never made or never ended."""
    read, were = History(after), recordings_of(History(before))
    recordings, sessions = recordings_of(read), sessions_of(read)
    for id_, was in were.items():
        reads = recordings.get(id_)
        if reads is not None and reads.is_ended >= was.is_ended:
            continue
        for entry in after:
            if isinstance(entry.event, Erased | _FILE):
                continue
            if str(id_) in entry.event.model_dump_json():
                raise RecordingReliedOn(recording=id_, entry=entry.version)
    for recording in recordings.values():
        session = sessions.get(recording.session)
        if recording.is_ended and session is not None:
            _require_inside(session, recording.id, recording.started_at, recording.ended_at)


def _require_inside(
    session: Session, recording: UUID, start: datetime, end: datetime | None
) -> None:
    begins_in_it = session.started_at <= start < session.ended_at
    if not begins_in_it or (end is not None and session.ended_at < end):
        raise RecordingOutsideSession(recording=recording, session=session.id)


# --- Refusals -------------------------------------------------------------------------------


class RecordingUnknown(Refusal):
    status = 404
    says = "There is no recording {recording} in this relationship."


class RecordingExists(Refusal):
    says = "Recording {recording} exists; use a new id."


class RecordingNotConsented(Refusal):
    rule = 22
    says = "No consent of {party} to being recorded was in force when it started."


class RecordingNotAgreed(Refusal):
    rule = 22
    says = "{person} may be heard or seen on it, and has not agreed: agreed_by."


class RecordingOutlastsConsent(Refusal):
    rule = 22
    says = "The consent of {party} to being recorded ended at {ended_at}; so did the recording."


class RecordingOutsideSession(Refusal):
    rule = 22
    says = "Recording {recording} does not lie inside session {session}, as that was held."


class RecordingEndsFirst(Refusal):
    rule = 22
    status = 422
    says = "Recording {recording} starts at that time or later: it ends after it starts."


class RecordingEndedAlready(Refusal):
    rule = 22
    says = "Recording {recording} has ended: mark that entry as entered in error first."


class RecordingStillRuns(Refusal):
    rule = 22
    says = "Recording {recording} had not ended at that time: end it first."


class RecordingGone(Refusal):
    rule = 22
    says = "Recording {recording} was destroyed."


class UseNotConsented(Refusal):
    rule = 22
    says = "No consent of {party} to {scope} is in force at that time: it cannot be used for this."


class RecordingReliedOn(Refusal):
    rule = 22
    says = "Entry {entry} tells of recording {recording} as it was then: amend that one first."


class RecordingHeld(Refusal):
    rule = 9
    says = (
        "A legal hold stands on this relationship: nothing of it is destroyed until it is lifted."
    )


# --- Commands -------------------------------------------------------------------------------


class StartRecording(Command):
    """Record that a session is recorded from some moment on, also when that is told afterwards."""

    name = "start-recording"

    occurred_at: None = None
    """Stays out: a recording occurred when it started."""

    relationship: UUID
    recording: UUID = Field(default_factory=new_id)
    session: UUID
    kind: RecordingKind
    started_at: Moment
    agreed_by: Agreeing

    def effective_at(self) -> datetime:
        return self.started_at

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        recorded = (entry.event for entry in history)
        if any(isinstance(e, RecordingStarted) and e.recording == self.recording for e in recorded):
            raise RecordingExists(recording=self.recording)
        session = session_of(history, self.session)
        if session is None:
            raise SessionUnknown(session=self.session)
        if session.is_held:
            _require_inside(session, self.recording, self.started_at, None)
        elif session.status is not Status.SCHEDULED:
            raise SessionSettled(session=self.session, status=session.status)
        clients, others = _in_the_room(relationship.at(given.at), session)
        consents = consenting(history, Scope.RECORDING, given.at)
        for client in clients:
            if client not in consents:
                raise RecordingNotConsented(party=client)
        for person in others:
            if person not in self.agreed_by:
                raise RecordingNotAgreed(person=person)
        started = RecordingStarted(
            recording=self.recording,
            session=self.session,
            kind=self.kind,
            started_at=self.started_at,
            clients=clients,
            agreed_by=self.agreed_by,
            relies_on=tuple(consents[client] for client in clients),
        )
        yield New(stream, started)


class EndRecording(Command):
    """Record when a recording ended, once its session was held."""

    name = "end-recording"

    occurred_at: None = None
    """Stays out: its end occurred when it ended."""

    relationship: UUID
    recording: UUID
    ended_at: Moment
    why: RecordingEnd

    def effective_at(self) -> datetime:
        return self.ended_at

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        recording = _require_known(history, self.recording)
        if recording.is_ended:
            raise RecordingEndedAlready(recording=self.recording)
        if self.ended_at <= recording.started_at:
            raise RecordingEndsFirst(recording=self.recording)
        lapse = _lapse(history, recording.clients, recording.started_at, self.ended_at)
        if lapse is not None:
            raise RecordingOutlastsConsent(party=lapse.party, ended_at=lapse.at.isoformat())
        session = session_of(history, recording.session)
        if session is None or not session.is_held:
            raise RecordingOutsideSession(recording=self.recording, session=recording.session)
        _require_inside(session, self.recording, recording.started_at, self.ended_at)
        clients, others = _in_the_room(relationship.at(recording.started_at), session)
        for client in clients:
            if client not in recording.clients:
                raise RecordingNotConsented(party=client)
        for person in others:
            if person not in recording.agreed_by:
                raise RecordingNotAgreed(person=person)
        yield New(
            stream,
            RecordingEnded(recording=self.recording, ended_at=self.ended_at, why=self.why),
        )


class UseRecording(Command):
    """Record that a recording is listened to or watched, and what for."""

    name = "use-recording"

    relationship: UUID
    recording: UUID
    purpose: RecordingPurpose
    by: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given, follow_up=True)
        recording = _require_at_hand(history, self.recording, given.at)
        then = relationship.at(given.at)
        treating = (*then.therapists, then.supervisor)
        if self.purpose is RecordingPurpose.SUPERVISION and self.by not in treating:
            raise NotAParticipant(person=self.by)
        require_voice(self.by, given)
        relies_on: list[Reliance] = []
        for scope in self.purpose.scopes:
            consents = consenting(history, scope, given.at)
            for client in recording.clients:
                if client not in consents:
                    raise UseNotConsented(party=client, scope=scope)
                relies_on.append(consents[client])
        used = RecordingUsed(
            recording=self.recording,
            purpose=self.purpose,
            by=self.by,
            relies_on=tuple(relies_on),
        )
        yield New(stream, used)


class DestroyRecording(Command):
    """Record that a recording was destroyed; also after the end, as may have been promised."""

    name = "destroy-recording"

    relationship: UUID
    recording: UUID
    by: UUID
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        require_open(relationship_of(history), given, follow_up=True)
        recording = _require_at_hand(history, self.recording, given.at)
        if recording.destroyed_at is not None:
            raise RecordingGone(recording=self.recording)
        if held(given.history(hold_stream(self.relationship)), given.at):
            raise RecordingHeld
        for use in recording.uses:
            if given.at < use.occurred_at:
                raise RecordingReliedOn(recording=self.recording, entry=use.version)
        require_voice(self.by, given)
        yield New(
            stream, RecordingDestroyed(recording=self.recording, by=self.by, reason=self.reason)
        )


def _in_the_room(
    relationship: Relationship, session: Session
) -> tuple[tuple[UUID, ...], tuple[UUID, ...]]:
    """The clients on a recording, and who else: those present; before it was held, all of them."""
    present = session.present if session.is_held else relationship.participants
    clients = tuple(one for one in relationship.clients if one in present)
    return clients, tuple(one for one in present if one not in clients)


def _require_known(history: History, id_: UUID) -> Recording:
    recording = recording_of(history, id_)
    if recording is None:
        raise RecordingUnknown(recording=id_)
    return recording


def _require_at_hand(history: History, id_: UUID, at: datetime) -> Recording:
    """A recording that had ended by then, and was there."""
    recording = _require_known(history, id_)
    if recording.ended_at is None or at < recording.ended_at:
        raise RecordingStillRuns(recording=id_)
    if recording.destroyed_at is not None and recording.destroyed_at <= at:
        raise RecordingGone(recording=id_)
    return recording
