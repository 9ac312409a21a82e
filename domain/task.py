"""Tasks: what is done between or within sessions, for which goals or to what purpose.

Agreement on tasks is the second part of the alliance: a task is assented to by each party, tried,
reviewed, and retired. Entries about a task count in the order in which they happened.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from domain.clinic import EachOnce
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
from domain.goal import goals_of
from domain.ids import new_id
from domain.person import require_voice
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.told import Telling, ids


class Aim(Model):
    """Rule 27: a task names goals or a stated purpose."""

    goals: Annotated[tuple[UUID, ...], Field(max_length=50), EachOnce] = ()
    purpose: Text | None = None

    @model_validator(mode="after")
    def _is_stated(self) -> "Aim":
        if not self.goals and self.purpose is None:
            raise PydanticCustomError("aim_missing", "A task names goals or a stated purpose.")
        return self


class Done(StrEnum):
    """How far a task was carried out."""

    DONE = "done"
    PARTLY = "partly"
    NOT_DONE = "not_done"


Helpfulness = Annotated[int, Field(ge=0, le=10)]
"""From 0, no help at all, to 10."""


# --- What happened --------------------------------------------------------------------------


class TaskProposed(Event):
    """A task, and what it is for."""

    topic = "task.proposed"

    task: UUID
    description: Text
    aim: Aim
    by: UUID


class TaskAssented(Event):
    """A party agrees to a task."""

    topic = "task.assented"
    correctable = False

    task: UUID
    party: UUID


class TaskReviewed(Event):
    """How a task went, as somebody sees it."""

    topic = "task.reviewed"

    task: UUID
    by: UUID
    done: Done
    helpfulness: Helpfulness | None = None
    remark: Text | None = None

    def subject(self) -> UUID:
        return self.by


class TaskRetired(Event):
    """The task is over; it takes no more assents or reviews."""

    topic = "task.retired"

    task: UUID
    reason: Text


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its entries leave it."""

    id: UUID
    proposed: TaskProposed
    entry: RecordedEvent
    """The entry that proposed it."""
    assents: Mapping[UUID, RecordedEvent]
    """By party."""
    reviews: tuple[RecordedEvent, ...]
    retired: RecordedEvent | None


def tasks_of(history: History) -> Mapping[UUID, Task]:
    """Every task of a relationship by its id, in the order of proposal.

    What refers to a task that is erased or was entered in error is passed over.
    """
    return _TASKS.of(history)


def _task(entries: Entries, before: Task | None) -> Task:
    """One task from its own entries, in the order in which they happened."""
    first = before.entry if before else entries[0]
    assert isinstance(first.event, TaskProposed), "a task begins with its proposal"
    assents = {**before.assents} if before else {}
    reviews = [*before.reviews] if before else []
    retired = before.retired if before else None
    for entry in entries:
        match entry.event:
            # Nobody assented to what was set right only afterwards: everybody is asked again.
            case TaskAssented(party=party) if entry.position > (first.amended_at or 0):
                assents[party] = entry
            case TaskReviewed():
                reviews.append(entry)
            case TaskRetired():
                retired = entry
    return Task(first.event.task, first.event, first, assents, tuple(reviews), retired)


_TASKS = Telling("task", TaskProposed, TaskAssented, TaskReviewed, TaskRetired, come_to=_task)
_PROPOSED = ids("task", TaskProposed, ever=True)


# --- Refusals -------------------------------------------------------------------------------


class TaskExists(Refusal):
    says = "There is a task {task} already; choose another id."


class TaskNotYetProposed(Refusal):
    status = 422
    says = "Task {task} was proposed after that: look at occurred_at."


class TaskAssentedAlready(Refusal):
    says = "{party} has assented to task {task} already."


class TaskIsRetired(Refusal):
    says = "Task {task} is retired; propose it anew."


# --- Commands -------------------------------------------------------------------------------


class _TaskCommand(Command):
    relationship: UUID
    task: UUID

    def _found_active(self, given: Given) -> tuple[Relationship, Task]:
        """The relationship, and the task as it stood when this occurred."""
        history = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        task = _TASKS.by(history, self.task, given.at)
        if task is None:
            if self.task in tasks_of(history):
                raise TaskNotYetProposed(task=self.task)
            raise EntryUnknown(what="task")
        if task.retired is not None:
            raise TaskIsRetired(task=self.task)
        return relationship, task

    def _new(self, event: Event) -> New:
        return New(relationship_stream(self.relationship), event)


class ProposeTask(_TaskCommand):
    """Propose something to do, and say what for."""

    name = "propose-task"

    task: UUID = Field(default_factory=new_id)
    description: Text
    aim: Aim
    by: UUID

    def decide(self, given: Given) -> Iterator[New]:
        history = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        require_participant(relationship, self.by)
        # Also where the first proposal was entered in error: an id is used once.
        if self.task in history.folded(_PROPOSED):
            raise TaskExists(task=self.task)
        if not goals_of(history).keys() >= set(self.aim.goals):
            raise EntryUnknown(what="goal")
        yield self._new(
            TaskProposed(task=self.task, description=self.description, aim=self.aim, by=self.by)
        )


class AssentToTask(_TaskCommand):
    """Agree to a task."""

    name = "assent-to-task"

    party: UUID

    def decide(self, given: Given) -> Iterator[New]:
        relationship, task = self._found_active(given)
        require_participant(relationship, self.party)
        require_voice(self.party, given)
        if self.party in task.assents:
            raise TaskAssentedAlready(task=self.task, party=self.party)
        yield self._new(TaskAssented(task=self.task, party=self.party))


class ReviewTask(_TaskCommand):
    """Say how a task went."""

    name = "review-task"

    by: UUID
    done: Done
    helpfulness: Helpfulness | None = None
    remark: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        relationship, _ = self._found_active(given)
        require_participant(relationship, self.by)
        require_voice(self.by, given)
        yield self._new(
            TaskReviewed(
                task=self.task,
                by=self.by,
                done=self.done,
                helpfulness=self.helpfulness,
                remark=self.remark,
            )
        )


class RetireTask(_TaskCommand):
    """Say that a task is over, and why."""

    name = "retire-task"

    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        self._found_active(given)
        yield self._new(TaskRetired(task=self.task, reason=self.reason))
