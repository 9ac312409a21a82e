"""An invented clinic of any size, told by the real commands: what benchmarks read, fold and verify.

Each relationship has three agreed goals and 57 sessions; after each the client rates the alliance
and the goals. That is 356 entries, 298 of them in the relationship's own stream. A clinic takes its
old files over: everything is late, and says so; or it is told as it happens, by a clock that runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from random import Random
from typing import Any, Final, Protocol
from uuid import UUID

from domain.alliance import RateAlliance
from domain.clinic import AttestInstrumentLicence, FoundClinic, PublishConsentDocument, Scope
from domain.consenting import GiveConsent
from domain.event import Command, Refusal, Stream
from domain.goal import AssentToGoal, GoalScale, Level, ProposeGoal
from domain.goal_rating import RateGoal
from domain.information import GiveInformation
from domain.instrument import Perspective
from domain.person import Activity, Profession, RegisterPerson, RegisterPractitioner
from domain.records import Author, Proposal, Receipt
from domain.relationship import OpenRelationship, relationship_stream
from domain.session import HoldSession

BEGIN: Final = datetime(2025, 1, 6, 8, 0, tzinfo=UTC)
WEEKS: Final = 57
ENTRIES_EACH: Final = 356
IN_ITS_STREAM: Final = 298
TAKEN_OVER: Final = "Taken over from the clinic's earlier files."
_GOALS: Final = 3
_CASES_EACH: Final = 20
_SHA256: Final = "5e" * 32
_SCOPES: Final = (Scope.TREATMENT, Scope.OUTCOME_MEASURES)


class Recording(Protocol):
    """What takes many commands at once."""

    def record_all(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal]: ...


class Refused(AssertionError):
    """An invented command was refused; it must not be."""


def told(records: Recording, proposals: Sequence[Proposal]) -> list[Receipt]:
    """Records them all; their receipts."""
    receipts: list[Receipt] = []
    for proposal, verdict in zip(proposals, records.record_all(proposals), strict=True):
        if isinstance(verdict, Refusal):
            raise Refused(f"{proposal.command.name}: {verdict.detail}")
        receipts.append(verdict)
    return receipts


@dataclass(slots=True)
class Case:
    """One relationship, from its opening on; `late_reason` where it is told long afterwards."""

    clinic: "InventedClinic"
    number: int
    therapist: UUID
    late_reason: str | None
    id: UUID = field(init=False)
    client: UUID = field(init=False)
    goals: tuple[UUID, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.id, self.client, *goals = (self.clinic.new_id() for _ in range(2 + _GOALS))
        self.goals = tuple(goals)

    @property
    def stream(self) -> Stream:
        return relationship_stream(self.id)

    @property
    def slot(self) -> timedelta:
        """Its hour in the therapist's week."""
        day, hour = divmod(self.number % _CASES_EACH, 5)
        return timedelta(days=day, hours=hour)

    def begins(self, week: int) -> datetime:
        return BEGIN + self.slot + timedelta(weeks=week)

    def opening(self) -> Iterator[Proposal]:
        """A client, a relationship, consents and agreed goals: 14 entries."""
        at = self.begins(0) - timedelta(minutes=10)
        document = self.clinic.document
        yield self._by(
            self.therapist,
            RegisterPerson(
                person=self.client,
                full_name=f"Client {self.number}",
                birth_date=date(1980, 1, 1),
                **self._when(at),
            ),
        )
        yield self._by(
            self.therapist,
            OpenRelationship(
                relationship=self.id,
                clients=(self.client,),
                therapists=(self.therapist,),
                modality="cognitive behavioural therapy",
                setting="outpatient",
                **self._when(at),
            ),
        )
        yield self._by(
            self.therapist,
            GiveInformation(
                relationship=self.id,
                document=document,
                version=1,
                sha256=_SHA256,
                to=self.client,
                by=self.therapist,
                **self._when(at),
            ),
        )
        for scope in _SCOPES:
            consent = GiveConsent(
                relationship=self.id,
                consent=self.clinic.new_id(),
                scope=scope,
                party=self.client,
                document=document,
                version=1,
                sha256=_SHA256,
                signer=self.client,
                **self._when(at),
            )
            yield self._by(self.client, consent)
        for goal in self.goals:
            yield from self._agreed(goal, at)

    def _agreed(self, goal: UUID, at: datetime) -> Iterator[Proposal]:
        propose = ProposeGoal(
            relationship=self.id,
            goal=goal,
            statement="To take the tram again, alone, and to look forward to where it goes.",
            by=self.client,
            **self._when(at),
        )
        yield self._by(self.client, propose)
        for party in (self.client, self.therapist):
            assent = AssentToGoal(
                relationship=self.id, goal=goal, revision=1, party=party, **self._when(at)
            )
            yield self._by(party, assent)

    def session(self, week: int) -> Iterator[Proposal]:
        """One session and what the client rates after it: 5 commands, 6 entries."""
        session, starts = self.clinic.new_id(), self.begins(week)
        ends = starts + timedelta(minutes=50)
        hold = HoldSession(
            relationship=self.id,
            session=session,
            present=(self.client, self.therapist),
            started_at=starts,
            ended_at=ends,
            late_reason=self.late_reason,
        )
        yield self._by(self.therapist, hold)
        yield self.rating(ends, session)
        for goal in self.goals:
            yield self.goal_rating(goal, ends)

    def rating(self, at: datetime | None = None, session: UUID | None = None) -> Proposal:
        """The client's SRS; now and between sessions, if nothing else is said."""
        when = {} if at is None else self._when(at)
        rate = RateAlliance(
            relationship=self.id,
            rating=self.clinic.new_id(),
            instrument="SRS-3",
            perspective=Perspective.CLIENT,
            rater=self.client,
            session=session,
            answers=self.clinic.answers(),
            **when,
        )
        return self._by(self.client, rate)

    def goal_rating(self, goal: UUID, at: datetime | None = None) -> Proposal:
        """How far the client is with a goal; now, if nothing else is said."""
        level = Level(scale=GoalScale.GBO, value=self.clinic.rng.randrange(11))
        when = {} if at is None else self._when(at)
        rate = RateGoal(
            relationship=self.id, goal=goal, revision=1, by=self.client, level=level, **when
        )
        return self._by(self.client, rate)

    def whole(self) -> Iterator[Proposal]:
        """All of it."""
        return chain(self.opening(), *(self.session(week) for week in range(WEEKS)))

    def _when(self, at: datetime) -> dict[str, Any]:
        return {"occurred_at": at, "late_reason": self.late_reason}

    @staticmethod
    def _by(actor: UUID, command: Command) -> Proposal:
        return Proposal(command, Author(actor))


class InventedClinic:
    """A clinic of as many cases as wanted; the same seed gives the same clinic."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = Random(seed)
        self.office, self.document = self.new_id(), self.new_id()
        self.cases: list[Case] = []
        self._therapist = self.office

    def new_id(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)

    def answers(self) -> tuple[str, ...]:
        """Of the SRS: four lines of ten centimetres."""
        return tuple(f"{self.rng.randrange(60, 101) / 10}" for _ in range(4))

    def founding(self) -> Iterator[Proposal]:
        """What every relationship needs before it can be opened."""
        first = BEGIN - timedelta(days=30)
        late: dict[str, Any] = {"occurred_at": first, "late_reason": TAKEN_OVER}
        commands: tuple[Command, ...] = (
            FoundClinic(clinic_name="Practice at the Park", **late),
            PublishConsentDocument(
                document=self.document,
                title="What we agree on",
                scopes=_SCOPES,
                sha256=_SHA256,
                language="en",
                **late,
            ),
            AttestInstrumentLicence(
                instrument="SRS-3",
                holder="Practice at the Park",
                basis="Group licence.",
                valid_from=date(2020, 1, 1),
                **late,
            ),
        )
        for command in commands:
            yield Proposal(command, Author(self.office))

    def case(self, late_reason: str | None = TAKEN_OVER) -> tuple[list[Proposal], Case]:
        """The next case, and what is to be recorded before it: its therapist, if new."""
        number, before = len(self.cases), []
        if number % _CASES_EACH == 0:
            self._therapist = self.new_id()
            register = RegisterPractitioner(
                practitioner=self._therapist,
                full_name="Dr. Jan Muster",
                profession=Profession.THERAPIST,
                scope=(Activity.THERAPY,),
                valid_from=date(2020, 1, 1),
            )
            before.append(Proposal(register, Author(self.office)))
        self.cases.append(Case(self, number, self._therapist, late_reason))
        return before, self.cases[-1]

    def proposals(self, entries: int) -> Iterator[Proposal]:
        """Whole cases, one after the other, until they make at least so many entries."""
        for _ in range(-(-entries // ENTRIES_EACH)):
            before, case = self.case()
            yield from before
            yield from case.whole()

    def fill(self, records: Recording, entries: int, at_once: int = 20_000) -> int:
        """Records the founding, where it was not yet, and at least so many entries; how many."""
        made, proposals = 0, self.proposals(entries)
        while some := list(islice(proposals, at_once)):
            made += sum(len(receipt.entries) for receipt in told(records, some))
        return made
