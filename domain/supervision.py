"""Supervision of a case: that it was held, what was agreed in it, and what came of that.

It rests on every client's consent to the disclosure. Countertransference notes belong here too:
what the work stirs up in the therapist is for supervision, and never for a client-facing view.

Stream: `supervision-<relationship>`, under keys of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from domain.clinic import Day, Scope, in_order
from domain.consent import Reliance, require_consent
from domain.event import (
    Command,
    EntryUnknown,
    Event,
    Given,
    History,
    Moment,
    New,
    OccursInTheFuture,
    RecordedEvent,
    Refusal,
    Source,
    Stream,
    Text,
)
from domain.ids import new_id
from domain.note import NoteExists
from domain.person import Activity, require_scope, require_voice
from domain.phase import NotItsTherapist
from domain.relationship import People, relationship_of, relationship_stream, require_open
from domain.session import LONGEST, session_of


class ActionOutcome(StrEnum):
    """What a review of an action finds."""

    DONE = "done"
    CONTINUED = "continued"
    """It goes on, until another day."""
    DROPPED = "dropped"


# --- What happened --------------------------------------------------------------------------


class SupervisionHeld(Event):
    """The case was spoken of. It occurred when the supervision started."""

    topic = "supervision.held"
    # Consent and scope were judged at its time: held at another, it is recorded anew.
    correctable = False

    supervision: UUID
    supervisor: UUID
    supervisees: People
    started_at: Moment
    ended_at: Moment
    stands_in: Text | None = None
    """Why somebody other than the relationship's supervisor held it."""
    relies_on: tuple[Reliance, ...] = ()

    _times = in_order("started_at", "ended_at", within=LONGEST)


class SupervisionActionAgreed(Event):
    """Something is to be done, by somebody, by a day."""

    topic = "supervision.action_agreed"
    fixed = frozenset({"due"})  # it is put off by a review, which everybody sees

    action: UUID
    supervision: UUID
    owner: UUID
    due: Day
    text: Text


class SupervisionActionReviewed(Event):
    """What became of an action."""

    topic = "supervision.action_reviewed"
    correctable = False  # later reviews were judged by it, and by when it was

    action: UUID
    by: UUID
    outcome: ActionOutcome
    due: Day | None = None
    """By when, where it goes on."""
    remark: Text | None = None


class CountertransferenceNoted(Event):
    """What the work stirs up in a therapist."""

    topic = "supervision.countertransference_noted"

    note: UUID
    author: UUID
    session: UUID | None = None
    text: Text

    def subject(self) -> UUID:
        """It tells of the therapist."""
        return self.author


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    """An action as its reviews leave it."""

    agreed: SupervisionActionAgreed
    entry: RecordedEvent
    """The entry that agreed it."""
    reviews: tuple[RecordedEvent, ...]

    @property
    def last(self) -> SupervisionActionReviewed | None:
        review = self.reviews[-1].event if self.reviews else None
        return review if isinstance(review, SupervisionActionReviewed) else None

    @property
    def is_open(self) -> bool:
        return self.last is None or self.last.outcome is ActionOutcome.CONTINUED

    @property
    def due(self) -> date:
        """The day by which it is to be done, as of the last review."""
        last = self.last
        return self.agreed.due if last is None or last.due is None else last.due


def supervision_stream(relationship: UUID) -> Stream:
    return Stream("supervision", relationship)


def supervisions_of(history: History) -> dict[UUID, tuple[RecordedEvent, SupervisionHeld]]:
    """Every supervision of a case by its id."""
    return {held.supervision: (entry, held) for entry, held in history.of(SupervisionHeld)}


def actions_of(history: History) -> dict[UUID, Action]:
    """Every action agreed in supervision of a case, by its id; reviews in order of time."""
    reviews: dict[UUID, list[RecordedEvent]] = {}
    for entry, reviewed in history.of(SupervisionActionReviewed):
        reviews.setdefault(reviewed.action, []).append(entry)
    return {
        agreed.action: Action(
            agreed,
            entry,
            tuple(sorted(reviews.get(agreed.action, ()), key=lambda review: review.occurred_at)),
        )
        for entry, agreed in history.of(SupervisionActionAgreed)
    }


# --- Questions ------------------------------------------------------------------------------


def actions_open(history: History) -> tuple[Action, ...]:
    return tuple(action for action in actions_of(history).values() if action.is_open)


def actions_overdue(history: History, on: date) -> tuple[Action, ...]:
    """Rule 40: the actions still open after the day on which they were due."""
    return tuple(action for action in actions_open(history) if action.due < on)


# --- Refusals -------------------------------------------------------------------------------


class SupervisionExists(Refusal):
    says = "There is a supervision {supervision} already; choose another id."


class NotTheSupervisor(Refusal):
    rule = 11
    says = (
        "{supervisor} did not supervise this relationship at that time: say in `stands_in` why"
        " somebody else held it."
    )


class SupervisesOneself(Refusal):
    rule = 10
    status = 422
    says = "{supervisor} cannot be supervisee and supervisor at once."


class ActionExists(Refusal):
    rule = 40
    says = "There is an action {action} already; choose another id."


class ActionBeforeSupervision(Refusal):
    rule = 40
    status = 422
    says = "Supervision {supervision} began after that: what is agreed in it comes later."


class OwnerElsewhere(Refusal):
    rule = 40
    status = 422
    says = "{owner} was neither supervisee nor supervisor then: an action is one of theirs."


class DueInThePast(Refusal):
    rule = 40
    status = 422
    says = "An action is due on the day on which that is agreed, or later."


class ActionSettled(Refusal):
    rule = 40
    says = "Action {action} is {outcome}; agree on another."


class ReviewBeforeAction(Refusal):
    rule = 40
    status = 422
    says = "Action {action} was agreed or last reviewed after that: look at occurred_at."


class NotTheirNote(Refusal):
    rule = 40
    says = "What work stirs up in {author} is noted by {author} alone."


# --- Commands -------------------------------------------------------------------------------


class HoldSupervision(Command):
    """Records that a case was spoken of in supervision."""

    name = "hold-supervision"

    occurred_at: None = None
    """Stays out: a supervision occurred when it started."""

    relationship: UUID
    supervision: UUID = Field(default_factory=new_id)
    supervisor: UUID
    supervisees: People
    started_at: Moment
    ended_at: Moment
    stands_in: Text | None = None

    _times = in_order("started_at", "ended_at", within=LONGEST)

    def effective_at(self) -> datetime:
        return self.started_at

    def decide(self, given: Given) -> Iterator[New]:
        told = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(told)
        # A case is also spoken of after its end; the clients' consent still decides.
        require_open(relationship, given, follow_up=True)
        if self.ended_at > given.now + given.policy.clock_tolerance:
            raise OccursInTheFuture
        stream = supervision_stream(self.relationship)
        # Also where the first was entered in error: an id is used once.
        recorded = (entry.event for entry in given.history(stream))
        if any(
            isinstance(e, SupervisionHeld) and e.supervision == self.supervision for e in recorded
        ):
            raise SupervisionExists(supervision=self.supervision)
        then = relationship.at(given.at)
        for supervisee in self.supervisees:
            if supervisee == self.supervisor:
                raise SupervisesOneself(supervisor=self.supervisor)
            if supervisee not in then.therapists:
                raise NotItsTherapist(person=supervisee)
        if self.supervisor != then.supervisor and self.stands_in is None:
            raise NotTheSupervisor(supervisor=self.supervisor)
        require_scope(given, self.supervisor, Activity.SUPERVISION)
        yield New(
            stream,
            SupervisionHeld(
                supervision=self.supervision,
                supervisor=self.supervisor,
                supervisees=self.supervisees,
                started_at=self.started_at,
                ended_at=self.ended_at,
                stands_in=self.stands_in,
                relies_on=require_consent(given, told, Scope.SUPERVISION_DISCLOSURE, *then.clients),
            ),
        )


class AgreeSupervisionAction(Command):
    """Agree in supervision that somebody does something by a day."""

    name = "agree-supervision-action"

    relationship: UUID
    supervision: UUID
    action: UUID = Field(default_factory=new_id)
    owner: UUID
    due: Day
    text: Text

    def decide(self, given: Given) -> Iterator[New]:
        relationship = relationship_of(given.history(relationship_stream(self.relationship)))
        require_open(relationship, given, follow_up=True)
        stream = supervision_stream(self.relationship)
        history = given.history(stream)
        found = supervisions_of(history).get(self.supervision)
        if found is None:
            raise EntryUnknown(what="supervision")
        _, held = found
        if given.at < held.started_at:
            raise ActionBeforeSupervision(supervision=self.supervision)
        agreed = (entry.event for entry in history)
        if any(isinstance(e, SupervisionActionAgreed) and e.action == self.action for e in agreed):
            raise ActionExists(action=self.action)
        if self.owner not in (held.supervisor, *held.supervisees):
            raise OwnerElsewhere(owner=self.owner)
        if self.due < given.at.date():
            raise DueInThePast
        yield New(
            stream,
            SupervisionActionAgreed(
                action=self.action,
                supervision=self.supervision,
                owner=self.owner,
                due=self.due,
                text=self.text,
            ),
        )


class ReviewSupervisionAction(Command):
    """Say what became of an action: done, continued until another day, or dropped."""

    name = "review-supervision-action"

    relationship: UUID
    action: UUID
    by: UUID
    outcome: ActionOutcome
    due: Day | None = None
    remark: Text | None = None

    @model_validator(mode="after")
    def _continues_until(self) -> "ReviewSupervisionAction":
        if (self.outcome is ActionOutcome.CONTINUED) != (self.due is not None):
            raise PydanticCustomError("due_day", "An action that goes on, and only one, has a due.")
        return self

    def decide(self, given: Given) -> Iterator[New]:
        relationship = relationship_of(given.history(relationship_stream(self.relationship)))
        require_open(relationship, given, follow_up=True)
        stream = supervision_stream(self.relationship)
        action = actions_of(given.history(stream)).get(self.action)
        if action is None:
            raise EntryUnknown(what="action")
        then = relationship.at(given.at)
        if self.by not in (action.agreed.owner, *then.therapists, then.supervisor):
            raise OwnerElsewhere(owner=self.by)
        require_voice(self.by, given)
        if action.last is not None and not action.is_open:
            raise ActionSettled(action=self.action, outcome=action.last.outcome)
        if given.at < (action.reviews[-1] if action.reviews else action.entry).occurred_at:
            raise ReviewBeforeAction(action=self.action)
        if self.due is not None and self.due < given.at.date():
            raise DueInThePast
        yield New(
            stream,
            SupervisionActionReviewed(
                action=self.action,
                by=self.by,
                outcome=self.outcome,
                due=self.due,
                remark=self.remark,
            ),
        )


class NoteCountertransference(Command):
    """Note for supervision what the work stirs up in oneself."""

    name = "note-countertransference"

    relationship: UUID
    note: UUID = Field(default_factory=new_id)
    session: UUID | None = None
    text: Text

    def decide(self, given: Given) -> Iterator[New]:
        told = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(told)
        require_open(relationship, given, follow_up=True)
        if given.on_behalf_of is not None or given.source is not Source.ENTERED:
            raise NotTheirNote(author=given.on_behalf_of or given.actor)
        if given.actor not in relationship.at(given.at).therapists:
            raise NotItsTherapist(person=given.actor)
        if self.session is not None and session_of(told, self.session) is None:
            raise EntryUnknown(what="session")
        stream = supervision_stream(self.relationship)
        noted = (entry.event for entry in given.history(stream))
        if any(isinstance(e, CountertransferenceNoted) and e.note == self.note for e in noted):
            raise NoteExists(note=self.note)
        yield New(
            stream,
            CountertransferenceNoted(
                note=self.note, author=given.actor, session=self.session, text=self.text
            ),
        )
