"""Ruptures of the alliance, attempts at repair, and whether somebody sees one as resolved.

A rupture is a strain in the alliance, as a person noticed it: by withdrawal, by confrontation, or
by both. Who noticed it, and how, is part of the fact. Client and therapist may see its end
differently, and both views stay. What a method finds in ratings is only a *possible* rupture
(`possible_rupture.py`), which may prompt a person to look.

Markers and strategies are those of the Rupture Resolution Rating System (3RS; Eubanks, Muran and
Safran 2015). All of it stands in the relationship's stream.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from domain.clinic import EachOnce
from domain.consent import Reliance, consenting
from domain.event import (
    Command,
    Entries,
    EntryUnknown,
    Event,
    Given,
    History,
    Model,
    New,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.ids import new_id
from domain.instrument import Perspective
from domain.person import require_training, require_voice
from domain.possible_rupture import PossibleRupture, require_entries, require_human
from domain.rating import require_perspective
from domain.recording import RecordingUsed, UseNotConsented, recording_of
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.session import Session, session_of
from domain.told import Telling, ids

View = Literal[
    Perspective.CLIENT, Perspective.THERAPIST, Perspective.SUPERVISOR, Perspective.OBSERVER
]
"""From where somebody looks at a rupture."""


class Kind(StrEnum):
    """How the strain shows: moving away, moving against, or both."""

    WITHDRAWAL = "withdrawal"
    CONFRONTATION = "confrontation"
    MIXED = "mixed"


class Marker(StrEnum):
    """What is seen in the client where an alliance is strained (3RS)."""

    DENIAL = "denial"
    MINIMAL_RESPONSE = "minimal_response"
    ABSTRACT_COMMUNICATION = "abstract_communication"
    AVOIDANT_STORYTELLING_OR_TOPIC_SHIFT = "avoidant_storytelling_or_topic_shift"
    DEFERENTIAL_APPEASING = "deferential_appeasing"
    CONTENT_AFFECT_SPLIT = "content_affect_split"
    SELF_CRITICISM_HOPELESSNESS = "self_criticism_hopelessness"
    COMPLAINT_ABOUT_THERAPIST = "complaint_about_therapist"
    REJECTS_INTERVENTION = "rejects_intervention"
    COMPLAINT_ABOUT_ACTIVITIES = "complaint_about_activities"
    COMPLAINT_ABOUT_PARAMETERS = "complaint_about_parameters"
    COMPLAINT_ABOUT_PROGRESS = "complaint_about_progress"
    DEFENDS_SELF_AGAINST_THERAPIST = "defends_self_against_therapist"
    EFFORTS_TO_CONTROL_OR_PRESSURE = "efforts_to_control_or_pressure"

    @property
    def kind(self) -> Kind:
        """The first seven are markers of withdrawal, the last seven of confrontation."""
        first_of_confrontation = [*Marker].index(Marker.COMPLAINT_ABOUT_THERAPIST)
        withdrawn = [*Marker].index(self) < first_of_confrontation
        return Kind.WITHDRAWAL if withdrawn else Kind.CONFRONTATION


class Construct(StrEnum):
    """Which part of the alliance is strained: Bordin's three, or the real relationship."""

    GOALS = "goals"
    TASKS = "tasks"
    BOND = "bond"
    REAL_RELATIONSHIP = "real_relationship"


class Method(StrEnum):
    """How a rupture was noticed (rule 37)."""

    NAMED_IN_SESSION = "named_in_session"
    CLINICAL_IMPRESSION = "clinical_impression"
    POST_SESSION_QUESTIONNAIRE = "post_session_questionnaire"
    RECALL_INTERVIEW = "recall_interview"
    CODED_3RS = "3RS"
    """A trained rater's coding of a segment of a recording."""


class Strategy(StrEnum):
    """What is done to repair a rupture (3RS)."""

    CLARIFIES_MISUNDERSTANDING = "clarifies_misunderstanding"
    CHANGES_TASKS_OR_GOALS = "changes_tasks_or_goals"
    ILLUSTRATES_TASK_OR_GIVES_RATIONALE = "illustrates_task_or_gives_rationale"
    INVITES_DISCUSSION_OF_FEELINGS = "invites_discussion_of_feelings_about_therapist"
    ACKNOWLEDGES_OWN_CONTRIBUTION = "acknowledges_own_contribution"
    DISCLOSES_INTERNAL_EXPERIENCE = "discloses_internal_experience"
    LINKS_TO_IN_SESSION_PATTERNS = "links_rupture_to_in_session_patterns"
    LINKS_TO_OTHER_RELATIONSHIPS = "links_rupture_to_other_relationships"
    VALIDATES_DEFENSIVE_POSTURE = "validates_defensive_posture"
    REDIRECTS_OR_REFOCUSES = "redirects_or_refocuses"


class Segment(Model):
    """A stretch of a recording, in whole seconds from its beginning."""

    recording: UUID
    from_s: Annotated[int, Field(ge=0, le=86_400)]
    to_s: Annotated[int, Field(ge=1, le=86_400)]

    @model_validator(mode="after")
    def _has_length(self) -> "Segment":
        if self.to_s <= self.from_s:
            raise PydanticCustomError("no_length", "to_s lies after from_s.")
        return self


class Mark(Model):
    """What somebody says who marks a rupture."""

    rupture: UUID
    raised_by: UUID
    perspective: View
    method: Method
    kind: Kind
    markers: Annotated[tuple[Marker, ...], EachOnce] = ()
    concerns: Construct | None = None
    session: UUID | None = None
    """None: between sessions."""
    segment: Segment | None = None
    significance: Annotated[int, Field(ge=1, le=5)] | None = None
    """How much it weighs on the alliance, from 1, not at all, to 5, very much (3RS)."""
    remark: Text | None = None
    prompted_by: PossibleRupture | None = None

    @model_validator(mode="after")
    def _markers_fit(self) -> "Mark":
        if self.kind is not Kind.MIXED and any(m.kind is not self.kind for m in self.markers):
            raise PydanticCustomError("marker_of_another_kind", "A marker is of the other kind.")
        return self

    @model_validator(mode="after")
    def _coding_is_whole(self) -> "Mark":
        coded = self.method is Method.CODED_3RS
        if self.perspective is Perspective.OBSERVER and not coded:
            raise PydanticCustomError("observer_codes", "An observer's mark is coded by the 3RS.")
        if coded != (self.segment is not None) or (coded and not (self.markers and self.session)):
            raise PydanticCustomError(
                "coding_incomplete",
                "A mark coded by the 3RS, and only such a one, has a segment; it has markers and a"
                " session too.",
            )
        return self


# --- What happened --------------------------------------------------------------------------


class RuptureMarked(Mark, Event):
    """Somebody noticed a rupture: who, from which perspective, and how."""

    topic = "rupture.marked"
    # What somebody noticed is never reworded, and training, recording and consent were looked at
    # for its time: strike it and mark it anew.
    correctable = False

    relies_on: tuple[Reliance, ...] = ()
    """Of a coded mark: the consents to what the recording was used for."""

    def subject(self) -> UUID | None:
        return self.raised_by if self.perspective is Perspective.CLIENT else None

    def outlives_closure(self) -> bool:
        """An observer's coding is a measure, and often made after the end."""
        return self.perspective is Perspective.OBSERVER


class RepairAttempted(Event):
    """Something was done to repair a rupture."""

    topic = "rupture.repair_attempted"
    # Told of another time it would come before its rupture: strike it and record it anew.
    correctable = False

    rupture: UUID
    session: UUID
    strategies: Annotated[tuple[Strategy, ...], Field(min_length=1), EachOnce]
    by: UUID
    remark: Text | None = None


class _ViewTaken(Event):
    """How somebody sees a rupture at an end: that person's view, and nobody else's."""

    correctable = False  # as with a repair; and whoever sees it otherwise takes another view

    rupture: UUID
    by: UUID
    perspective: View

    def subject(self) -> UUID | None:
        return self.by if self.perspective is Perspective.CLIENT else None

    def outlives_closure(self) -> bool:
        return self.perspective is Perspective.OBSERVER


class RuptureResolved(_ViewTaken):
    """Somebody sees a rupture as resolved."""

    topic = "rupture.resolved"

    basis: Text
    """By what it is seen."""
    session: UUID | None = None


class RuptureLeftOpen(_ViewTaken):
    """Somebody sees a rupture as left as it is."""

    topic = "rupture.left_open"

    reason: Text


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rupture:
    """A rupture as its entries leave it."""

    id: UUID
    marked: RuptureMarked
    entry: RecordedEvent
    """The entry that marked it."""
    repairs: tuple[RecordedEvent, ...]
    views: Mapping[UUID, RecordedEvent]
    """By person, the entry of the last view taken of how it stands."""

    def is_resolved_for(self, person: UUID) -> bool:
        """Rule 39: whether that person sees it as resolved; one view does not change another."""
        view = self.views.get(person)
        return view is not None and isinstance(view.event, RuptureResolved)

    @property
    def is_open(self) -> bool:
        """Nobody sees it as resolved, or somebody who marked or judged it does not.

        Whoever marks from outside the room is not waited for: one view of resolution is enough.
        """
        concerned = set(self.views)
        if self.marked.perspective in (Perspective.CLIENT, Perspective.THERAPIST):
            concerned.add(self.marked.raised_by)
        return not (concerned and all(map(self.is_resolved_for, concerned)))


def ruptures_of(history: History) -> Mapping[UUID, Rupture]:
    """Every rupture of a relationship by its id, in the order in which they were marked.

    What refers to a mark that is erased or was entered in error is passed over.
    """
    return _RUPTURES.of(history)


def _rupture(entries: Entries, before: Rupture | None) -> Rupture:
    """One rupture from its own entries, in the order in which they happened."""
    first = before.entry if before else entries[0]
    assert isinstance(first.event, RuptureMarked), "a rupture begins with its mark"
    repairs = before.repairs if before else ()
    repairs += tuple(entry for entry in entries if isinstance(entry.event, RepairAttempted))
    views = {entry.event.by: entry for entry in entries if isinstance(entry.event, _ViewTaken)}
    said = {**before.views, **views} if before else views
    return Rupture(first.event.rupture, first.event, first, repairs, said)


_RUPTURES = Telling("rupture", RuptureMarked, RepairAttempted, _ViewTaken, come_to=_rupture)
_MARKED = ids("rupture", RuptureMarked, ever=True)


# --- Questions ------------------------------------------------------------------------------


def open_ruptures(history: History) -> tuple[UUID, ...]:
    """The ruptures that somebody concerned does not see as resolved."""
    return tuple(id_ for id_, rupture in ruptures_of(history).items() if rupture.is_open)


# --- Refusals -------------------------------------------------------------------------------


class RuptureExists(Refusal):
    says = "There is a rupture {rupture} already; choose another id."


class RuptureNotYetMarked(Refusal):
    rule = 39
    status = 422
    says = "Rupture {rupture} was marked after that: look at occurred_at."


class BeforeTheRupture(Refusal):
    rule = 39
    status = 422
    says = "Session {session} began before the one in which rupture {rupture} was marked."


class SessionNotBegun(Refusal):
    rule = 39
    status = 422
    says = "Session {session} had not taken place by then."


class SegmentOutsideRecording(Refusal):
    rule = 39
    status = 422
    says = "The segment does not lie inside recording {recording}, as that was made."


class RecordingNotUsed(Refusal):
    rule = 22
    says = "{person} has used recording {recording} for nothing yet: record that use first."


class ViewUnchanged(Refusal):
    rule = 39
    says = "{by} sees rupture {rupture} like this already."


# --- Commands -------------------------------------------------------------------------------


class _RuptureCommand(Command):
    relationship: UUID

    def _open(self, given: Given, perspective: Perspective) -> tuple[Relationship, History]:
        history = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(history)
        require_open(relationship, given, follow_up=perspective is Perspective.OBSERVER)
        require_human(given)
        return relationship.at(given.at), history

    def _new(self, event: Event) -> New:
        return New(relationship_stream(self.relationship), event)


class MarkRupture(Mark, _RuptureCommand):
    """Say that there was a rupture, who noticed it, and how."""

    name = "mark-rupture"

    rupture: UUID = Field(default_factory=new_id)

    def decide(self, given: Given) -> Iterator[New]:
        relationship, history = self._open(given, self.perspective)
        require_perspective(relationship, self.raised_by, self.perspective)
        require_voice(self.raised_by, given)
        # Also where the first mark was entered in error: an id is used once.
        if self.rupture in history.folded(_MARKED):
            raise RuptureExists(rupture=self.rupture)
        if self.session is not None:
            _took_place(history, self.session, given)
        if self.prompted_by is not None:
            require_entries(history, self.prompted_by)
        relies_on: tuple[Reliance, ...] = ()
        if self.segment is not None:
            require_training(given, self.raised_by, Method.CODED_3RS)
            relies_on = self._require_recording(given, history, self.segment)
        said = {name: getattr(self, name) for name in Mark.model_fields}
        yield self._new(RuptureMarked.model_validate({**said, "relies_on": relies_on}))

    def _require_recording(
        self, given: Given, history: History, segment: Segment
    ) -> tuple[Reliance, ...]:
        """Rules 22 and 39: a segment inside a recording of that session, which the rater has used
        for a purpose that every client on it consents to at that time."""
        recording = recording_of(history, segment.recording)
        if recording is None or recording.session != self.session:
            raise EntryUnknown(what="recording of that session")
        # A withdrawal while it ran has ended it.
        if recording.seconds is None or segment.to_s > recording.seconds:
            raise SegmentOutsideRecording(recording=recording.id)
        used = [
            use.event
            for use in recording.uses
            if isinstance(use.event, RecordingUsed)
            and use.event.by == self.raised_by
            and use.occurred_at <= given.at
        ]
        if not used:
            raise RecordingNotUsed(person=self.raised_by, recording=recording.id)
        relies_on = []
        for scope in used[-1].purpose.scopes:
            consents = consenting(history, scope, given.at)
            for client in recording.clients:
                if client not in consents:
                    raise UseNotConsented(party=client, scope=scope)
                relies_on.append(consents[client])
        return tuple(relies_on)


def _took_place(history: History, session: UUID, given: Given) -> Session:
    """The session, if it was held and had begun by then."""
    found = session_of(history, session)
    if found is None:
        raise EntryUnknown(what="session")
    if not found.is_held or given.at < found.started_at:
        raise SessionNotBegun(session=session)
    return found


def _require_after(history: History, rupture: Rupture, session: Session) -> None:
    """Rule 39: what repairs or resolves a rupture does not come before it."""
    began = rupture.marked.session and session_of(history, rupture.marked.session)
    if began and session.started_at < began.started_at:
        raise BeforeTheRupture(rupture=rupture.id, session=session.id)


def _marked(history: History, rupture: UUID, given: Given) -> Rupture:
    """Rule 39: the rupture as it stood when this occurred."""
    found = _RUPTURES.by(history, rupture, given.at)
    if found is None:
        if rupture in ruptures_of(history):
            raise RuptureNotYetMarked(rupture=rupture)
        raise EntryUnknown(what="rupture")
    return found


class AttemptRepair(_RuptureCommand):
    """Record what was done in a session to repair a rupture."""

    name = "attempt-repair"

    rupture: UUID
    session: UUID
    strategies: Annotated[tuple[Strategy, ...], Field(min_length=1), EachOnce]
    by: UUID
    remark: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        relationship, history = self._open(given, Perspective.THERAPIST)
        require_participant(relationship, self.by)
        require_voice(self.by, given)
        rupture = _marked(history, self.rupture, given)
        _require_after(history, rupture, _took_place(history, self.session, given))
        yield self._new(
            RepairAttempted(
                rupture=self.rupture,
                session=self.session,
                strategies=self.strategies,
                by=self.by,
                remark=self.remark,
            )
        )


class _TakeView(_RuptureCommand):
    rupture: UUID
    by: UUID
    perspective: View

    def _require_view(self, given: Given, kind: type[_ViewTaken]) -> tuple[History, Rupture]:
        relationship, history = self._open(given, self.perspective)
        require_perspective(relationship, self.by, self.perspective)
        require_voice(self.by, given)
        rupture = _marked(history, self.rupture, given)
        if self.perspective is Perspective.OBSERVER:
            require_training(given, self.by, Method.CODED_3RS)
        view = rupture.views.get(self.by)
        if view is not None and isinstance(view.event, kind):
            raise ViewUnchanged(by=self.by, rupture=self.rupture)
        return history, rupture


class ResolveRupture(_TakeView):
    """Say that one sees a rupture as resolved, and by what."""

    name = "resolve-rupture"

    basis: Text
    session: UUID | None = None

    def decide(self, given: Given) -> Iterator[New]:
        history, rupture = self._require_view(given, RuptureResolved)
        if self.session is not None:
            _require_after(history, rupture, _took_place(history, self.session, given))
        yield self._new(
            RuptureResolved(
                rupture=self.rupture,
                by=self.by,
                perspective=self.perspective,
                basis=self.basis,
                session=self.session,
            )
        )


class LeaveRuptureOpen(_TakeView):
    """Say that one sees a rupture as left as it is, and why."""

    name = "leave-rupture-open"

    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        self._require_view(given, RuptureLeftOpen)
        yield self._new(
            RuptureLeftOpen(
                rupture=self.rupture,
                by=self.by,
                perspective=self.perspective,
                reason=self.reason,
            )
        )
