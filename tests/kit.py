"""Given facts, when a command, then events or a refusal: pure decisions, no store.

    given(*OPENED, *consented()).when(hold_session()).then(held(), taken())
    given(*OPENED).when(hold_session()).refuses(ConsentMissing)

What is given are events (or commands, which are decided first). A fact stands in the stream its
topic belongs to; `on(stream, fact)` puts it elsewhere, `(fact, moment)` lets it occur at a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from domain.clinic import (
    ClinicFounded,
    ConsentDocumentPublished,
    ImportDeclared,
    Scope,
    clinic_stream,
)
from domain.consent import Capacity, ConsentGiven, Reliance, Sharing
from domain.consenting import GiveConsent
from domain.event import (
    ERASED,
    Command,
    Erased,
    Event,
    History,
    New,
    Policy,
    RecordedEvent,
    Refusal,
    Source,
    Stream,
)
from domain.information import InformationGiven
from domain.person import (
    Activity,
    PersonRegistered,
    PractitionerRegistered,
    Profession,
    RaterTrainingAttested,
    person_stream,
    practitioner_stream,
)
from domain.records import Author, Proposal
from domain.relationship import (
    Constellation,
    RelationshipOpened,
    relationship_stream,
)
from domain.session import (
    HoldSession,
    Medium,
    SessionHeld,
    SessionTimeTaken,
    schedule_stream,
)

# --- Who and what there is ------------------------------------------------------------------

CLINIC = UUID("c1c1c1c1-0000-4000-8000-000000000001")
RELATIONSHIP = UUID("a1a1a1a1-0000-4000-8000-000000000001")
CLIENT = UUID("b1b1b1b1-0000-4000-8000-000000000001")
PARTNER = UUID("b1b1b1b1-0000-4000-8000-000000000002")
GUARDIAN = UUID("b1b1b1b1-0000-4000-8000-000000000003")
THERAPIST = UUID("d1d1d1d1-0000-4000-8000-000000000001")
COTHERAPIST = UUID("d1d1d1d1-0000-4000-8000-000000000002")
COACH = UUID("d1d1d1d1-0000-4000-8000-000000000003")
SUPERVISOR = UUID("d1d1d1d1-0000-4000-8000-000000000004")
OFFICE = UUID("e1e1e1e1-0000-4000-8000-000000000001")
"""A member of the clinic's staff who treats nobody."""
SESSION = UUID("f1f1f1f1-0000-4000-8000-000000000001")
DOCUMENT = UUID("f2f2f2f2-0000-4000-8000-000000000001")
IMPORT = UUID("f3f3f3f3-0000-4000-8000-000000000001")
SHA256 = "5e" * 32

ZONE = timezone(timedelta(hours=1))
BEGINNING = datetime(2026, 1, 5, 9, 0, tzinfo=ZONE)
"""When the first given fact occurs; each further one a minute later."""
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=ZONE)
"""The clock of a command, unless it is told another."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
AN_HOUR_AGO = NOW - HOUR


def named(name: str) -> UUID:
    """The id that goes by this name: the same in every test."""
    return uuid5(RELATIONSHIP, name)


# --- Given, when, then ----------------------------------------------------------------------

Fact = Event | Command | New | tuple[Event, datetime]

_HOMES = {
    "clinic": clinic_stream(CLINIC),
    "consent_document": clinic_stream(CLINIC),
    "instrument_licence": clinic_stream(CLINIC),
    "text_pack": clinic_stream(CLINIC),
    "scoring_key": clinic_stream(CLINIC),
    "import": clinic_stream(CLINIC),
    "schedule": schedule_stream(THERAPIST),
    "record": Stream("access", RELATIONSHIP),
    "process_note": Stream("process", RELATIONSHIP),
    "supervision": Stream("supervision", RELATIONSHIP),
}


def home(event: Event) -> Stream:
    """The stream that a fact stands in when a test does not say another."""
    if isinstance(event, PersonRegistered):
        return person_stream(event.person)
    if isinstance(event, PractitionerRegistered | RaterTrainingAttested):
        return practitioner_stream(event.practitioner)
    return _HOMES.get(event.topic.partition(".")[0], relationship_stream(RELATIONSHIP))


def on(stream: Stream, event: Event, occurred_at: datetime | None = None) -> New:
    """A fact in a stream of the test's choice."""
    return New(stream, event, occurred_at)


def given(*facts: Fact) -> "Record":
    """A clinic's record with these facts, each recorded when it occurred."""
    return Record().and_given(*facts)


@dataclass(frozen=True)
class Record:
    """All entries of a clinic, in order of position."""

    entries: tuple[RecordedEvent, ...] = ()
    policy: Policy = field(default_factory=Policy)

    def history(self, stream: Stream) -> History:
        return History(entry for entry in self.entries if entry.stream == stream)

    @property
    def relationship(self) -> History:
        """The history of the relationship that most tests are about."""
        return self.history(relationship_stream(RELATIONSHIP))

    @property
    def clock(self) -> datetime:
        """A minute after the last entry."""
        if not self.entries:
            return BEGINNING
        return self.entries[-1].recorded_at + timedelta(minutes=1)

    def and_given(self, *facts: Fact) -> "Record":
        record = self
        for fact in facts:
            match fact:
                case Command():
                    record = record.when(fact, at=record.clock).recorded()
                case New():
                    record = record._with([fact], record.clock)
                case (Event() as event, datetime() as occurred_at):
                    record = record._with([New(home(event), event, occurred_at)], occurred_at)
                case Event() as event:
                    record = record._with([New(home(event), event)], record.clock)
        return record

    def when(
        self,
        command: Command,
        *,
        by: UUID = THERAPIST,
        at: datetime | None = None,
        on_behalf_of: UUID | None = None,
        imported: bool = False,
        expected: Mapping[Stream, int] | None = None,
    ) -> "Outcome":
        """Decides the command at the clock `at`, as the write side does."""
        clock = at or max(NOW, self.clock)
        author = Author(
            actor=by,
            on_behalf_of=on_behalf_of,
            source=Source.IMPORT if imported else Source.ENTERED,
            import_id=IMPORT if imported else None,
        )
        proposal = Proposal(command, author, expected=expected or {})
        try:
            news = proposal.decide(CLINIC, clock.astimezone(UTC), self.history, self.policy)
        except Refusal as refusal:
            return Outcome(self, clock, author, refusal=refusal)
        return Outcome(self, clock, author, news=tuple(news))

    def erased(self, subject: UUID | None, stream: Stream | None = None) -> "Record":
        """The same record after a key was destroyed: that person's (None: what is joint) in all
        streams, or in one."""

        def read(entry: RecordedEvent) -> RecordedEvent:
            destroyed = entry.stream == (stream or entry.stream)
            if not destroyed or isinstance(entry.event, Erased) or entry.event.subject() != subject:
                return entry
            return replace(entry, event=ERASED)

        return replace(self, entries=tuple(map(read, self.entries)))

    def _with(
        self, news: Iterable[New], recorded_at: datetime, author: Author | None = None
    ) -> "Record":
        author = author or Author(OFFICE)
        entries = list(self.entries)
        command_id = uuid4()
        for index, new in enumerate(news):
            earlier = entries[-1].recorded_at if entries else recorded_at
            entries.append(
                RecordedEvent(
                    clinic=CLINIC,
                    position=len(entries) + 1,
                    stream=new.stream,
                    version=1 + sum(entry.stream == new.stream for entry in entries),
                    topic=new.event.topic,
                    schema_version=new.event.schema_version,
                    occurred_at=new.occurred_at or recorded_at,
                    recorded_at=max(earlier, recorded_at),
                    actor=author.actor,
                    on_behalf_of=author.on_behalf_of,
                    source=author.source,
                    command_id=command_id,
                    command_index=index,
                    key_id=uuid5(CLINIC, f"{new.stream} {new.event.subject()}"),
                    event=new.event,
                    commitment=sha256(f"{len(entries)} {new.event!r}".encode()).hexdigest(),
                )
            )
        return replace(self, entries=tuple(entries))


_COMMON: dict[str, Any] = {"late_reason": None, "import_id": None, "reported": ()}


@dataclass(frozen=True)
class Outcome:
    """What a command came to: events or a refusal."""

    record: Record
    clock: datetime
    author: Author
    news: tuple[New, ...] = ()
    refusal: Refusal | None = None

    def then(self, *expected: Event | New) -> Record:
        """Exactly these events follow, each in its stream. Gives the record with them in it."""
        recorded = self.recorded()
        wanted = [
            (fact.stream, fact.event) if isinstance(fact, New) else (home(fact), fact)
            for fact in expected
        ]
        # Lateness and what an import reports have questions of their own below.
        actual = [(new.stream, new.event.model_copy(update=_COMMON)) for new in self.news]
        assert actual == wanted
        return recorded

    def refuses(self, refusal: type[Refusal], **ids: UUID | int | str) -> None:
        """Exactly this refusal follows, naming at least these ids, in a readable sentence."""
        assert self.refusal is not None, f"accepted: {self.news}"
        assert type(self.refusal) is refusal, self.refusal
        assert self.refusal.ids | ids == self.refusal.ids
        assert "{" not in self.refusal.detail

    def reports(self, *refusals: type[Refusal]) -> Record:
        """It is accepted, and every entry carries these refusals as reported (rule 45)."""
        recorded = self.recorded()
        codes = tuple(refusal.code for refusal in refusals)
        for new in self.news:
            assert new.event.reported == codes
        return recorded

    def recorded(self) -> Record:
        """The record with what follows in it; fails if the command was refused."""
        if self.refusal is not None:
            pytest.fail(f"refused: {self.refusal}")
        assert self.news, "a command that is accepted records something"
        return self.record._with(self.news, self.clock, self.author)

    @property
    def event(self) -> Event:
        """The one event that follows."""
        self.recorded()
        (new,) = self.news
        return new.event


# --- Facts and commands that most tests need ------------------------------------------------


def registered(
    person: UUID = CLIENT, birth_date: date | None = date(1984, 5, 17)
) -> PersonRegistered:
    return PersonRegistered(person=person, name="Maria Beispiel", birth_date=birth_date)


def practising(
    practitioner: UUID = THERAPIST,
    *scope: Activity,
    valid_from: date = date(2020, 1, 1),
    valid_to: date | None = None,
) -> PractitionerRegistered:
    return PractitionerRegistered(
        practitioner=practitioner,
        name="Dr. Jan Muster",
        profession=Profession.THERAPIST,
        scope=scope or (Activity.THERAPY,),
        valid_from=valid_from,
        valid_to=valid_to,
    )


def published(
    *scopes: Scope, document: UUID = DOCUMENT, version: int = 1, sha256: str = SHA256
) -> ConsentDocumentPublished:
    """A consent document; unless told other scopes, for everything but research (rule 18)."""
    return ConsentDocumentPublished(
        document=document,
        version=version,
        title="What we agree on",
        scopes=scopes or tuple(scope for scope in Scope if scope != Scope.RESEARCH_PARTICIPATION),
        sha256=sha256,
        language="en",
    )


def opened(
    *clients: UUID,
    therapists: tuple[UUID, ...] = (THERAPIST,),
    constellation: Constellation = Constellation.INDIVIDUAL,
    activity: Activity = Activity.THERAPY,
    supervisor: UUID | None = None,
    transferred_from: UUID | None = None,
) -> RelationshipOpened:
    return RelationshipOpened(
        clients=clients or (CLIENT,),
        therapists=therapists,
        constellation=constellation,
        activity=activity,
        modality="cognitive behavioural therapy",
        setting="outpatient",
        supervisor=supervisor,
        transferred_from=transferred_from,
    )


def informed(to: UUID = CLIENT, *, document: UUID = DOCUMENT, version: int = 1) -> InformationGiven:
    return InformationGiven(document=document, version=version, sha256=SHA256, to=to, by=THERAPIST)


SHARING = Sharing(
    discloser="Practice at the Park",
    recipients=("Dr. Nowak", "Health plan"),
    description="Diagnosis and course of treatment; no notes.",
    purpose="To agree on medication.",
    revocation="At any time, in writing or by word of mouth.",
    expires="When the treatment ends.",
)


def consent_id(scope: Scope, party: UUID) -> UUID:
    return named(f"{scope} {party}")


def consent(
    scope: Scope = Scope.TREATMENT,
    party: UUID = CLIENT,
    *,
    valid_from: datetime = BEGINNING,
    valid_to: datetime | None = None,
) -> ConsentGiven:
    """Consent as a fact; its id follows from scope and party."""
    return ConsentGiven(
        consent=consent_id(scope, party),
        scope=scope,
        party=party,
        document=DOCUMENT,
        version=1,
        sha256=SHA256,
        signer=party,
        capacity=Capacity.OWN,
        sharing=SHARING if scope is Scope.INFORMATION_SHARING else None,
        valid_from=valid_from,
        valid_to=valid_to,
    )


def give_consent(
    scope: Scope = Scope.TREATMENT, party: UUID = CLIENT, **changes: Any
) -> GiveConsent:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "consent": consent_id(scope, party),
        "scope": scope,
        "party": party,
        "document": DOCUMENT,
        "version": 1,
        "sha256": SHA256,
        "signer": party,
    }
    return GiveConsent(**fields | changes)


def held(
    session: UUID = SESSION,
    *present: UUID,
    start: datetime = AN_HOUR_AGO,
    minutes: int = 50,
    **changes: Any,
) -> SessionHeld:
    return SessionHeld(
        session=session,
        medium=changes.pop("medium", Medium.IN_PERSON),
        present=present or (CLIENT, THERAPIST),
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
        **changes,
    )


def taken(
    session: UUID = SESSION,
    *,
    relationship: UUID = RELATIONSHIP,
    start: datetime = AN_HOUR_AGO,
    minutes: int = 50,
    joint: bool = False,
) -> SessionTimeTaken:
    """The hour of a held session, in the therapist's schedule."""
    return SessionTimeTaken(
        session=session,
        relationship=relationship,
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
        joint=joint,
    )


def hold_session(
    session: UUID = SESSION,
    *present: UUID,
    relationship: UUID = RELATIONSHIP,
    start: datetime = AN_HOUR_AGO,
    minutes: int = 50,
    **changes: Any,
) -> HoldSession:
    return HoldSession(
        relationship=relationship,
        session=session,
        present=present or (CLIENT, THERAPIST),
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
        **changes,
    )


IMPORT_DECLARED = ImportDeclared(
    declaration=IMPORT,
    origin="A published archive of session ratings",
    licence="Apache-2.0",
    declared_by_name="R. Kanzlei",
    legal_basis="Published under its licence; no living person is identified.",
    time_rule="One session a week from the first Monday on.",
)

FOUNDED: tuple[Fact, ...] = (
    ClinicFounded(name="Practice at the Park"),
    published(),
    IMPORT_DECLARED,
    registered(CLIENT),
    registered(PARTNER),
    registered(GUARDIAN),
    practising(THERAPIST),
    practising(COTHERAPIST),
    practising(COACH, Activity.COACHING),
    practising(SUPERVISOR, Activity.SUPERVISION, Activity.THERAPY),
)
"""A clinic: a consent document, a declared import, two clients, a guardian, four
practitioners."""

OPENED: tuple[Fact, ...] = (*FOUNDED, opened(supervisor=SUPERVISOR))
"""And an open relationship of one client and one therapist, under supervision."""

BORN_2012 = date(2012, 9, 1)
"""A birthday: 13 years old now, of age on 1 September 2030."""

OPENED_FOR_A_MINOR: tuple[Fact, ...] = tuple(
    registered(CLIENT, BORN_2012) if fact == registered(CLIENT) else fact for fact in OPENED
)
"""The same relationship, where the client is 13 years old."""

CONSENTED: tuple[Fact, ...] = (*OPENED, informed(), consent())
"""And the client's consent to treatment."""

RELIANCE = Reliance(entry=3, consent=consent_id(Scope.TREATMENT, CLIENT))
"""What a session in such a relationship cites: opened, informed, consented."""
