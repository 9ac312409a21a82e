"""Persons and practitioners: who they are, and what they may do.

Identity stands here and nowhere else: every other entry knows people by their random ids.
Streams: `person-<person>`, `practitioner-<practitioner>`.
"""

from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.clinic import Day, EachOnce, in_order
from domain.event import (
    Command,
    Event,
    Given,
    History,
    Line,
    Model,
    New,
    Refusal,
    Source,
    Stream,
    Text,
)
from domain.ids import new_id


class ExternalId(Model):
    """What another system calls this person."""

    system: Line
    value: Line


class Profession(StrEnum):
    THERAPIST = "therapist"
    TRAINEE = "trainee"
    COUNSELLOR = "counsellor"
    COACH = "coach"
    SUPERVISOR = "supervisor"


class Activity(StrEnum):
    """What a practitioner may be allowed to do."""

    THERAPY = "therapy"
    COACHING = "coaching"
    SUPERVISION = "supervision"


Activities = Annotated[tuple[Activity, ...], Field(min_length=1), EachOnce]
ExternalIds = Annotated[tuple[ExternalId, ...], Field(max_length=50)]


# --- What happened --------------------------------------------------------------------------


class PersonRegistered(Event):
    """A person, as client or as somebody who signs for one."""

    topic = "person.registered"

    person: UUID
    name: Line
    birth_date: Day | None = None
    contact: Line | None = None
    external_ids: ExternalIds = ()

    def subject(self) -> UUID:
        return self.person


class PractitionerRegistered(Event):
    """Somebody who works with clients, and what they may do from when to when.

    Registered again, somebody has another scope from that day on: a trainee becomes a therapist.
    """

    topic = "practitioner.registered"

    practitioner: UUID
    name: Line
    profession: Profession
    scope: Activities
    valid_from: Day
    valid_to: Day | None = None
    """The last day on which the scope is in force; None: until further notice."""

    _period = in_order("valid_from", "valid_to")

    def subject(self) -> UUID:
        return self.practitioner


class RaterTrainingAttested(Event):
    """Somebody answers for a practitioner's training to reliability in a coding system."""

    topic = "practitioner.rater_training_attested"
    # Codings were taken on the strength of it: strike it, or attest anew.
    correctable = False

    practitioner: UUID
    system: Line
    """As `3RS`."""
    trained_by: Line
    """The trainer or the institute."""
    basis: Text
    """Which training, and with which agreement."""
    valid_from: Day
    valid_to: Day | None = None
    """The last day on which it counts; None: until further notice."""

    _period = in_order("valid_from", "valid_to")

    def subject(self) -> UUID:
        return self.practitioner


# --- Questions ------------------------------------------------------------------------------


def person_stream(person: UUID) -> Stream:
    return Stream("person", person)


def practitioner_stream(practitioner: UUID) -> Stream:
    return Stream("practitioner", practitioner)


def registration_at(history: History, at: datetime) -> PractitionerRegistered | None:
    """The last registration that had begun by the day of `at`, where it happens."""
    day = at.date()
    last = None
    for _, one in history.of(PractitionerRegistered):
        if one.valid_from <= day and (last is None or last.valid_from < one.valid_from):
            last = one
    return last


def in_scope(history: History, activity: Activity, at: datetime) -> bool:
    """Rule 11: whether the practitioner may do that, on the day of `at` where it happens."""
    last = registration_at(history, at)
    return (
        last is not None
        and activity in last.scope
        and (last.valid_to is None or at.date() <= last.valid_to)
    )


def require_scope(given: Given, practitioner: UUID, activity: Activity) -> None:
    """Rule 11, at the time the command tells of; an import reports instead."""
    if not in_scope(given.history(practitioner_stream(practitioner)), activity, given.at):
        given.unless_imported(OutOfScope, practitioner=practitioner, activity=activity)


def require_training(given: Given, practitioner: UUID, system: str) -> None:
    """Rule 39: a coding system is used by trained raters; at the time the command tells of."""
    day = given.at.date()
    if not any(
        training.system.casefold() == system.casefold()
        and training.valid_from <= day
        and (training.valid_to is None or day <= training.valid_to)
        for _, training in given.history(practitioner_stream(practitioner)).of(
            RaterTrainingAttested
        )
    ):
        raise RaterNotTrained(practitioner=practitioner, system=system)


def require_person(given: Given, person: UUID) -> None:
    """A person is known by being registered, also when the identity was erased since."""
    if not given.history(person_stream(person)).version:
        raise PersonUnknown(person=person)


def require_voice(person: UUID, given: Given) -> None:
    """What a person says is recorded by that person, or visibly on that person's behalf.

    An import only relates what was said elsewhere, and is marked as such.
    """
    if given.source is Source.ENTERED and person not in (given.actor, given.on_behalf_of):
        raise NotInTheirName(person=person)


# --- Refusals -------------------------------------------------------------------------------


class RegisteredAlready(Refusal):
    says = "{id} is registered; correct that entry instead."


class ScopeNotLater(Refusal):
    rule = 11
    says = "{practitioner} is registered as of that day or a later one; correct that entry instead."


class PersonUnknown(Refusal):
    status = 404
    says = "There is no person {person}; register the person first."


class OutOfScope(Refusal):
    rule = 11
    says = "{activity} is not within what {practitioner} may do at that time."


class NotInTheirName(Refusal):
    rule = 33
    says = "Only {person} can say that, or somebody who records it on behalf of {person}."


class RaterNotTrained(Refusal):
    rule = 39
    says = "No training of {practitioner} in {system} is attested that counts on that day."


class PractitionerUnknown(Refusal):
    status = 404
    says = "There is no practitioner {practitioner}; register the practitioner first."


class TrainingSelfAttested(Refusal):
    rule = 39
    status = 422
    says = "{practitioner} cannot answer for the own training."


# --- Commands -------------------------------------------------------------------------------


class RegisterPerson(Command):
    """Register a person; every other entry uses the id alone."""

    name = "register-person"

    person: UUID = Field(default_factory=new_id)
    full_name: Line
    birth_date: Day | None = None
    contact: Line | None = None
    external_ids: ExternalIds = ()

    def decide(self, given: Given) -> Iterator[New]:
        stream = person_stream(self.person)
        if given.history(stream).version:
            raise RegisteredAlready(id=self.person)
        yield New(
            stream,
            PersonRegistered(
                person=self.person,
                name=self.full_name,
                birth_date=self.birth_date,
                contact=self.contact,
                external_ids=self.external_ids,
            ),
        )


class RegisterPractitioner(Command):
    """Register a practitioner with the scope of practice; again, where it becomes another."""

    name = "register-practitioner"

    practitioner: UUID = Field(default_factory=new_id)
    full_name: Line
    profession: Profession
    scope: Activities
    valid_from: Day
    valid_to: Day | None = None

    _period = in_order("valid_from", "valid_to")

    def decide(self, given: Given) -> Iterator[New]:
        stream = practitioner_stream(self.practitioner)
        history = given.history(stream)
        if history.version:
            begins = (registered.valid_from for _, registered in history.of(PractitionerRegistered))
            if self.valid_from <= max(begins, default=date.max):
                raise ScopeNotLater(practitioner=self.practitioner)
        yield New(
            stream,
            PractitionerRegistered(
                practitioner=self.practitioner,
                name=self.full_name,
                profession=self.profession,
                scope=self.scope,
                valid_from=self.valid_from,
                valid_to=self.valid_to,
            ),
        )


class AttestRaterTraining(Command):
    """Answer for a practitioner's training in a coding system."""

    name = "attest-rater-training"

    practitioner: UUID
    system: Line
    trained_by: Line
    basis: Text
    valid_from: Day
    valid_to: Day | None = None

    _period = in_order("valid_from", "valid_to")

    def decide(self, given: Given) -> Iterator[New]:
        stream = practitioner_stream(self.practitioner)
        if not given.history(stream).version:
            raise PractitionerUnknown(practitioner=self.practitioner)
        if self.practitioner == given.actor:
            raise TrainingSelfAttested(practitioner=self.practitioner)
        yield New(
            stream,
            RaterTrainingAttested(
                practitioner=self.practitioner,
                system=self.system,
                trained_by=self.trained_by,
                basis=self.basis,
                valid_from=self.valid_from,
                valid_to=self.valid_to,
            ),
        )
