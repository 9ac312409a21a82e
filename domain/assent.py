"""Assent: what a minor says to what a guardian consents to, until the minor comes of age.

A guardian consents for a minor, and the minor is asked too. Without the minor's own assent nothing
is in force; a dissent blocks every use but treatment from its moment on, and is shown. Whoever is
too young to be asked is not, and a therapist says so (45 CFR 46.408(a)). At majority a guardian's
consents lapse, and the now adult is asked anew (rule 23).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from domain.clinic import Day, DocumentVersion, Scope
from domain.event import Command, Erased, Event, Given, Immediate, New, RecordedEvent, Refusal, Text
from domain.information import require_informed, require_newest, require_published
from domain.person import PersonRegistered, person_stream, require_voice
from domain.relationship import (
    NotAParticipant,
    Part,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)

# --- What happened --------------------------------------------------------------------------


class AssentGiven(Event):
    """A minor agrees to one scope, after having been told about it."""

    topic = "assent.given"
    # What a minor agreed to is never reworded: asked wrongly, the minor is asked again.
    correctable = False

    scope: Scope
    party: UUID
    document: UUID
    version: DocumentVersion

    def subject(self) -> UUID:
        return self.party


class AssentDissented(Event):
    """A minor does not, or no longer, agree to one scope, from that moment on."""

    topic = "assent.dissented"
    # As with a withdrawal nobody moves it, or explains it away: the minor assents again.
    correctable = False

    scope: Scope
    party: UUID
    reason: Text | None = None

    def subject(self) -> UUID:
        return self.party

    def outlives_closure(self) -> bool:
        """Closing a relationship does not take away the right to say no."""
        return True


class AssentWaived(Event):
    """A minor cannot be asked about one scope yet; it counts for as long as the minor is silent."""

    topic = "assent.waived"
    correctable = False

    scope: Scope
    party: UUID
    by: UUID
    reason: Text

    def subject(self) -> UUID:
        return self.party


class MajorityReached(Event):
    """A client has come of age: what a guardian consented to has lapsed."""

    topic = "assent.majority_reached"
    # The day follows from the birth date: corrected there, this is entered in error.
    correctable = False

    party: UUID
    on: Day

    def subject(self) -> UUID:
        return self.party

    def outlives_closure(self) -> bool:
        return True


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OwnSay:
    """What a minor has said to one scope: the entries that count for it."""

    scope: Scope
    said: tuple[RecordedEvent, ...] = ()
    """Assents, dissents, and that the minor cannot be asked."""

    def last(self, at: datetime) -> RecordedEvent | None:
        """What counts by then: what was said last; at one time, the dissent."""
        return max(
            (entry for entry in self.said if entry.occurred_at <= at),
            # Who has once spoken can be asked: no waiver stands in the place of that.
            key=lambda entry: (
                not isinstance(entry.event, AssentWaived),
                entry.occurred_at,
                isinstance(entry.event, AssentDissented),
            ),
            default=None,
        )

    def allows(self, at: datetime) -> bool:
        """Rule 23: the minor was asked and agreed; a dissent blocks all but treatment."""
        last = self.last(at)
        if last is None:
            return False
        return self.scope is Scope.TREATMENT or not isinstance(last.event, AssentDissented)


def own_say(entries: Iterable[RecordedEvent], party: UUID, scope: Scope) -> OwnSay:
    """What a minor has said to that scope, among these standing entries.

    A dissent from treatment is one from every use that treatment is the ground of.
    """

    def counts(event: Event | Erased) -> bool:
        match event:
            case AssentGiven() | AssentWaived():
                return (event.party, event.scope) == (party, scope)
            case AssentDissented():
                return event.party == party and event.scope in (scope, Scope.TREATMENT)
        return False

    return OwnSay(scope, tuple(entry for entry in entries if counts(entry.event)))


# --- Questions ------------------------------------------------------------------------------


def majority_day(given: Given, person: UUID) -> date | None:
    """The day on which a person comes of age in this clinic; None: the birth date is not known.

    Born on 29 February, somebody comes of age on 1 March where that year has no such day.
    """
    born = None
    for _, registered in given.history(person_stream(person)).of(PersonRegistered):
        born = registered.birth_date
    if born is None:
        return None
    year = born.year + given.policy.majority_age
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def is_minor(given: Given, person: UUID) -> bool:
    """Whether a person is known not to be of age yet, on the day that the command tells of."""
    of_age = majority_day(given, person)
    return of_age is not None and given.at.date() < of_age


# --- Refusals -------------------------------------------------------------------------------


class BirthDateUnknown(Refusal):
    rule = 23
    says = "The birth date of {person} is not registered: nobody can tell whether this is a minor."


class NotAMinor(Refusal):
    rule = 23
    says = "{person} is of age: an adult consents, or does not."


class MinorHasSpoken(Refusal):
    rule = 23
    says = "{party} has said what counts: ask again instead."


class NotOfAge(Refusal):
    rule = 23
    says = "{person} had not come of age by then."


class MajorityKnown(Refusal):
    rule = 23
    says = "That {person} has come of age is on record."


# --- Commands -------------------------------------------------------------------------------


class GiveAssent(Command):
    """Record that a minor agrees to what a guardian consents to."""

    name = "give-assent"

    relationship: UUID
    scope: Scope
    party: UUID
    document: UUID
    version: DocumentVersion
    """What the minor was told: often a wording of its own, for that age."""

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        require_participant(relationship, self.party)
        require_voice(self.party, given)
        _require_minor(given, self.party)
        require_published(given, self.document, self.version, scope=self.scope)
        require_newest(given, self.document, self.version)
        require_informed(given, history, self.party, self.document, self.version)
        yield New(
            stream,
            AssentGiven(
                scope=self.scope, party=self.party, document=self.document, version=self.version
            ),
        )


class WaiveAssent(Command):
    """Record that a minor is too young, or not able, to be asked about one scope."""

    name = "waive-assent"

    relationship: UUID
    scope: Scope
    party: UUID
    by: UUID
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        require_participant(relationship, self.party)
        if self.by not in relationship.therapists:
            raise NotAParticipant(person=self.by)
        require_voice(self.by, given)
        _require_minor(given, self.party)
        if own_say(history.standing, self.party, self.scope).said:
            raise MinorHasSpoken(party=self.party)
        yield New(
            stream,
            AssentWaived(scope=self.scope, party=self.party, by=self.by, reason=self.reason),
        )


def _require_minor(given: Given, person: UUID) -> None:
    if majority_day(given, person) is None:
        raise BirthDateUnknown(person=person)
    if not is_minor(given, person):
        raise NotAMinor(person=person)


class DissentAsMinor(Immediate):
    """Record that a minor says no to one scope: from now on, as with a withdrawal (rule 20).

    It needs no information before, and no reason.
    """

    name = "dissent-as-minor"

    relationship: UUID
    scope: Scope
    party: UUID
    reason: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        relationship = relationship_of(given.history(stream))
        if self.party not in relationship.ever(Part.CLIENT):
            raise NotAParticipant(person=self.party)
        require_voice(self.party, given)
        # Where the birth date is not known, a no counts.
        if majority_day(given, self.party) is not None and not is_minor(given, self.party):
            raise NotAMinor(person=self.party)
        yield New(stream, AssentDissented(scope=self.scope, party=self.party, reason=self.reason))


class RecordMajority(Command):
    """Record that a client has come of age; the clinic's policy says at which age."""

    name = "record-majority"

    relationship: UUID
    party: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        if self.party not in relationship_of(history).ever(Part.CLIENT):
            raise NotAParticipant(person=self.party)
        of_age = majority_day(given, self.party)
        if of_age is None:
            raise BirthDateUnknown(person=self.party)
        if given.at.date() < of_age:
            raise NotOfAge(person=self.party)
        if any(reached.party == self.party for _, reached in history.of(MajorityReached)):
            raise MajorityKnown(person=self.party)
        yield New(stream, MajorityReached(party=self.party, on=of_age))
