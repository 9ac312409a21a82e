"""A relationship told through the real commands, for the tables of views."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID, uuid4

from domain.access import BreakGlass
from domain.alliance import RateAlliance
from domain.clinic import AttestInstrumentLicence, FoundClinic, PublishConsentDocument, Scope
from domain.consenting import GiveConsent
from domain.event import Command, Stream
from domain.goal import AssentToGoal, GoalScale, Level, ProposeGoal
from domain.goal_rating import RateGoal
from domain.information import GiveInformation
from domain.instrument import Perspective
from domain.person import Activity, Profession, RegisterPerson, RegisterPractitioner
from domain.records import Receipt
from domain.relationship import OpenRelationship, relationship_stream
from domain.rupture import Kind, MarkRupture, Method
from domain.session import Emergency, HoldSession
from domain.supervision import AgreeSupervisionAction, HoldSupervision
from domain.withdrawal import WithdrawConsent
from tests.conftest import Clinic

SHA256 = "5e" * 32
SECRET = "To be able to take the tram again, like in Lyon."
"""A goal in somebody's own words: it must not be found in the database."""


@dataclass
class House:
    """A clinic with a therapist, a consent document and the licences it needs."""

    clinic: Clinic
    therapist: UUID = field(default_factory=uuid4)
    supervisor: UUID = field(default_factory=uuid4)
    office: UUID = field(default_factory=uuid4)
    document: UUID = field(default_factory=uuid4)

    def __post_init__(self) -> None:
        self.tell(
            FoundClinic(clinic_name="Practice at the Park"),
            PublishConsentDocument(
                document=self.document,
                title="What we agree on",
                scopes=tuple(scope for scope in Scope if scope is not Scope.RESEARCH_PARTICIPATION),
                sha256=SHA256,
                language="en",
            ),
            *(
                AttestInstrumentLicence(
                    instrument=instrument,
                    holder="Practice at the Park",
                    basis="Group licence.",
                    valid_from=date(2020, 1, 1),
                )
                for instrument in ("SRS-3", "WAI-36")
            ),
            *(
                RegisterPractitioner(
                    practitioner=who,
                    full_name="Dr. Jan Muster",
                    profession=Profession.THERAPIST,
                    scope=(Activity.THERAPY, Activity.SUPERVISION),
                    valid_from=date(2020, 1, 1),
                )
                for who in (self.therapist, self.supervisor)
            ),
        )

    def tell(self, *commands: Command, by: UUID | None = None) -> Receipt:
        for command in commands:
            receipt = self.clinic.record(command, by=by or self.office)
        return receipt

    def open(self) -> "Told":
        """A new client in a relationship of treatment, with consent to it and to measures."""
        told = Told(self)
        stream = told.id
        self.tell(
            RegisterPerson(person=told.client, full_name="Maria Beispiel"),
            OpenRelationship(
                relationship=stream,
                clients=(told.client,),
                therapists=(self.therapist,),
                modality="cognitive behavioural therapy",
                setting="outpatient",
                supervisor=self.supervisor,
            ),
            GiveInformation(
                relationship=stream,
                document=self.document,
                version=1,
                sha256=SHA256,
                to=told.client,
                by=self.therapist,
            ),
        )
        for scope in (Scope.TREATMENT, Scope.OUTCOME_MEASURES):
            self.tell(told.consent_to(scope), by=told.client)
        return told


@dataclass
class Told:
    """One relationship."""

    house: House
    id: UUID = field(default_factory=uuid4)
    client: UUID = field(default_factory=uuid4)
    goal: UUID = field(default_factory=uuid4)
    consents: dict[Scope, UUID] = field(
        default_factory=lambda: {
            Scope.TREATMENT: uuid4(),
            Scope.OUTCOME_MEASURES: uuid4(),
        }
    )

    @property
    def stream(self) -> Stream:
        return relationship_stream(self.id)

    def session(self, emergency: Emergency | None = None) -> UUID:
        """An hour later, a session that lasted fifty minutes; the clock goes on."""
        clock, session = self.house.clinic.clock, uuid4()
        start = clock.advance(hours=1)
        ended = clock.advance(minutes=50)
        hold = HoldSession(
            relationship=self.id,
            session=session,
            present=(self.client, self.house.therapist),
            started_at=start,
            ended_at=ended,
            emergency=emergency,
        )
        self.house.tell(hold, by=self.house.therapist)
        return session

    def session_in_an_emergency(self) -> UUID:
        """One that needs no consent on record."""
        tomorrow = self.house.clinic.clock().date() + timedelta(days=1)
        return self.session(Emergency(reason="An acute crisis.", review_by=tomorrow))

    def rate(self, session: UUID, *answers: str, by_client: bool = True) -> UUID:
        """What the client (or the therapist) answered to the SRS."""
        rating, who = uuid4(), self.client if by_client else self.house.therapist
        self.house.tell(
            RateAlliance(
                relationship=self.id,
                rating=rating,
                instrument="SRS-3" if by_client else "WAI-36",
                perspective=Perspective.CLIENT if by_client else Perspective.THERAPIST,
                rater=who,
                session=session,
                answers=answers or ("8.8", "7", "9.2", "8"),
            ),
            by=who,
        )
        return rating

    def agree_on_a_goal(self) -> Receipt:
        """Proposed by the client, assented to by both, and rated by the client."""
        propose = ProposeGoal(
            relationship=self.id, goal=self.goal, statement=SECRET, by=self.client
        )
        self.house.tell(propose, by=self.client)
        for who in (self.client, self.house.therapist):
            assent = AssentToGoal(relationship=self.id, goal=self.goal, revision=1, party=who)
            self.house.tell(assent, by=who)
        rate = RateGoal(
            relationship=self.id,
            goal=self.goal,
            revision=1,
            by=self.client,
            level=Level(scale=GoalScale.GBO, value=3),
        )
        return self.house.tell(rate, by=self.client)

    def beside(self) -> Receipt:
        """What stands in rows of their own: a rupture, an action of supervision, an emergency."""
        house, clock = self.house, self.house.clinic.clock
        self.consents[Scope.SUPERVISION_DISCLOSURE] = uuid4()
        house.tell(self.consent_to(Scope.SUPERVISION_DISCLOSURE), by=self.client)
        mark = MarkRupture(
            relationship=self.id,
            raised_by=self.client,
            perspective=Perspective.CLIENT,
            method=Method.NAMED_IN_SESSION,
            kind=Kind.WITHDRAWAL,
            remark=SECRET,
        )
        house.tell(mark, by=self.client)
        supervision, start = uuid4(), clock.advance(hours=1)
        hold = HoldSupervision(
            relationship=self.id,
            supervision=supervision,
            supervisor=house.supervisor,
            supervisees=(house.therapist,),
            started_at=start,
            ended_at=clock.advance(minutes=50),
        )
        agree = AgreeSupervisionAction(
            relationship=self.id,
            supervision=supervision,
            owner=house.therapist,
            due=start.date() + timedelta(days=14),
            text=SECRET,
        )
        house.tell(hold, agree, by=house.supervisor)
        return house.tell(BreakGlass(relationship=self.id, reason=SECRET), by=house.office)

    def consent_to(self, scope: Scope) -> GiveConsent:
        return GiveConsent(
            relationship=self.id,
            consent=self.consents[scope],
            scope=scope,
            party=self.client,
            document=self.house.document,
            version=1,
            sha256=SHA256,
            signer=self.client,
        )

    def withdraw(self, scope: Scope) -> Receipt:
        withdraw = WithdrawConsent(relationship=self.id, consent=self.consents[scope])
        return self.house.tell(withdraw, by=self.client)
