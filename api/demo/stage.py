"""What every story of the demonstration shares: its people, its papers, its calendar, its acts."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from random import Random
from typing import Protocol
from uuid import UUID

from api.demo import words
from domain.clinic import AttestInstrumentLicence, FoundClinic, PublishConsentDocument, Scope
from domain.event import Command, History, RecordedEvent, Stream
from domain.person import (
    Activity,
    AttestRaterTraining,
    Profession,
    RegisterPerson,
    RegisterPractitioner,
)
from domain.records import Author
from domain.rupture import Method


class Find(Protocol):
    """What an act may look up when its turn comes."""

    def __call__(self, key: str) -> RecordedEvent:
        """The first entry of the act with that key."""
        ...

    def history(self, stream: Stream) -> History: ...


HOURS = (8, 9, 10, 11, 13, 14, 15, 16, 17, 18)
WEEKDAYS = 5


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody records something; `key` names it within the demonstration."""

    at: datetime
    key: str
    author: Author
    command: Command | Callable[[Find], Command]


@dataclass(frozen=True, slots=True)
class Planted:
    """Something put in on purpose, for the ground truth; `key` is that of the act, if it is one."""

    kind: str
    relationship: UUID
    session: UUID | None = None
    key: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Someone:
    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Paper:
    """A consent document in its current version."""

    id: UUID
    version: int
    sha256: str


@dataclass
class Stage:
    """Collects acts up to now; what would come later is not recorded yet."""

    ids: Callable[..., UUID]
    seed: int
    relationships: int
    now: datetime
    acts: list[Act] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    told: list[dict[str, object]] = field(default_factory=list)
    """One description per relationship."""

    def __post_init__(self) -> None:
        self.begin = (self.now - timedelta(days=730)).date()
        self.known: list[Someone] = []
        self._taken: dict[UUID, int] = {}
        rng = Random(f"{self.seed}/names")
        self._given = rng.sample(words.GIVEN_NAMES, len(words.GIVEN_NAMES))
        self._family = rng.sample(words.FAMILY_NAMES, len(words.FAMILY_NAMES))
        self.administrator = self.someone("administrator")
        self.officer = self.someone("compliance-officer")
        self.supervisors = [self.someone("supervisor", str(n)) for n in range(2)]
        self.coach = self.someone("coach")
        count = max(6, -(-self.relationships // 16))
        self.therapists = [self.someone("therapist", str(n)) for n in range(count)]
        self.trainee = self.therapists[3]
        self._reworded = wall_clock(self.begin + timedelta(days=365), 8)
        self._found()

    def act(
        self, at: datetime, key: str, author: Author, command: Command | Callable[[Find], Command]
    ) -> bool:
        """Whether it has happened by now."""
        if at <= self.now:
            self.acts.append(Act(at, key, author, command))
        return at <= self.now

    def plant(
        self,
        kind: str,
        relationship: UUID,
        session: UUID | None = None,
        key: str | None = None,
        detail: str = "",
    ) -> None:
        self.planted.append(Planted(kind, relationship, session, key, detail))

    def someone(self, *key: str) -> Someone:
        """The next invented person."""
        n, count = len(self.known), len(self._family)
        given, family = (
            self._given[n % len(self._given)],
            self._family[(n * 7 + n // count) % count],
        )
        self.known.append(Someone(self.ids("person", *key), f"{given} {family}"))
        return self.known[-1]

    def slot(self, *therapists: UUID) -> tuple[int, int]:
        """A weekday and an hour that none of these therapists has given away yet."""
        index = max(self._taken.get(therapist, 0) for therapist in therapists)
        for therapist in therapists:
            self._taken[therapist] = index + 1
        return index % WEEKDAYS, HOURS[index // WEEKDAYS]

    # --- The clinic itself -------------------------------------------------------------------

    def _found(self) -> None:
        office = Author(self.administrator.id)
        at = wall_clock(self.begin, 8)
        self.act(at, "found", office, FoundClinic(clinic_name="Practice at the Old Mill"))
        for name in words.DOCUMENTS:
            for version, when in ((1, at + timedelta(minutes=2)), (2, self._reworded)):
                key = f"paper/{name}/{version}"
                self.act(when, key, office, self._publish(name, version))
        holder = "Practice at the Old Mill"
        for instrument in ("WAI-SR", "WAI-36", "SRS-3", "SWLS"):
            licence = AttestInstrumentLicence(
                instrument=instrument,
                holder=holder,
                basis="Permission for the demonstration clinic. Invented, and valid nowhere else.",
                valid_from=self.begin,
            )
            self.act(at + timedelta(minutes=5), f"licence/{instrument}", office, licence)
        staff: list[tuple[Someone, Profession, tuple[Activity, ...]]] = [
            *((one, self._profession(one), (Activity.THERAPY,)) for one in self.therapists),
            *(
                (one, Profession.SUPERVISOR, (Activity.SUPERVISION, Activity.THERAPY))
                for one in self.supervisors
            ),
            (self.coach, Profession.COACH, (Activity.COACHING,)),
        ]
        for one, profession, scope in staff:
            registered = RegisterPractitioner(
                practitioner=one.id,
                full_name=one.name,
                profession=profession,
                scope=scope,
                valid_from=self.begin,
            )
            self.act(at + timedelta(minutes=9), f"staff/{one.id}", office, registered)
        for rater in self.supervisors:
            trained = AttestRaterTraining(
                practitioner=rater.id,
                system=Method.CODED_3RS,
                trained_by="Rater training of the institute, four days and twelve coded sessions",
                basis="Agreement with the reference codings, as the institute certifies.",
                valid_from=self.begin,
            )
            self.act(at + timedelta(minutes=12), f"trained/{rater.id}", office, trained)

    def _profession(self, one: Someone) -> Profession:
        return Profession.TRAINEE if one == self.trainee else Profession.THERAPIST

    def register(self, at: datetime, one: Someone, rng: Random, *, minor: bool = False) -> None:
        """A client, or whoever answers for one, is registered at the desk."""
        age = 15 if minor else rng.randint(19, 74)
        born = date(self.begin.year - age, rng.randint(1, 12), rng.randint(1, 28))
        command = RegisterPerson(
            person=one.id,
            full_name=one.name,
            birth_date=born,
            contact=f"client{one.id.hex[:6]}@mill.example",
        )
        self.act(at, f"person/{one.id}", Author(self.administrator.id), command)

    def paper(self, name: str, at: datetime) -> Paper:
        """A consent document in the version that is current at that time."""
        return self._paper(name, 2 if at >= self._reworded else 1)

    def _paper(self, name: str, version: int) -> Paper:
        text = f"{words.DOCUMENTS[name]}. Version {version}."
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return Paper(self.ids("paper", name), version, sha256)

    def _publish(self, name: str, version: int) -> PublishConsentDocument:
        paper = self._paper(name, version)
        return PublishConsentDocument(
            document=paper.id,
            version=paper.version,
            title=words.DOCUMENTS[name],
            scopes=SCOPES[name],
            sha256=paper.sha256,
            language="en",
        )


SCOPES: dict[str, tuple[Scope, ...]] = {
    "treatment": (Scope.TREATMENT, Scope.OUTCOME_MEASURES),
    "supervision": (Scope.SUPERVISION_DISCLOSURE, Scope.RECORDING),
    "telehealth": (Scope.TELEHEALTH,),
}


# --- The calendar ---------------------------------------------------------------------------


def wall_clock(day: date, hour: int, minute: int = 0) -> datetime:
    """A time on the clinic's wall: central European, with its summer time."""
    summer = _last_sunday(day.year, 3) <= day < _last_sunday(day.year, 10)
    return datetime.combine(day, time(hour, minute), timezone(timedelta(hours=2 if summer else 1)))


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)


def holidays(day: date) -> bool:
    """The weeks in which nobody works."""
    return (
        (day.month == 8 and day.day <= 14)
        or (day.month == 12 and day.day >= 23)
        or (day.month == 1 and day.day <= 2)
    )


def workday(day: date) -> date:
    """That day, or the Monday after it."""
    return day + timedelta(days=7 - day.weekday()) if day.weekday() >= WEEKDAYS else day
