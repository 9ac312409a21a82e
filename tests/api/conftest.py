"""A clinic behind its doors: the app on a real record, and everybody who knocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.composition import Service, issue_token
from api.worker import Worker
from domain.access import Role
from domain.alliance import RateAlliance
from domain.clinic import AttestInstrumentLicence, FoundClinic, PublishConsentDocument, Scope
from domain.consenting import GiveConsent
from domain.event import Command
from domain.goal import AssentToGoal, ProposeGoal
from domain.information import GiveInformation
from domain.instrument import Perspective
from domain.person import Activity, Profession, RegisterPerson, RegisterPractitioner
from domain.relationship import OpenRelationship
from domain.session import HoldSession
from infra.identity import Tokens
from infra.settings import Settings
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from tests.conftest import Clinic

SHA256 = "5e" * 32
SECRET = "She dreamt of the green door again."
"""Free text of a client: what must not be seen where it does not belong."""

HERE = "http://127.0.0.1:8000"

Response = Any
"""What the test client answers; its library's own type is known by two names."""


@dataclass(frozen=True)
class Somebody:
    """A person with a token."""

    person: UUID
    role: Role
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Practice:
    """One clinic's app, and how people in tests talk to it."""

    clinic: Clinic
    service: Service
    client: TestClient
    worker: Worker
    document: UUID = field(default_factory=uuid4)

    def somebody(self, role: Role, person: UUID | None = None) -> Somebody:
        """A person in that role, new unless named, with a token for a year."""
        person = person or uuid4()
        expires = self.clinic.clock.now + timedelta(days=365)
        text = issue_token(self.service, person, role, "care", expires, "Works here.")
        return Somebody(person, role, text)

    def send(self, who: Somebody, command: Command, **headers: str) -> Response:
        """The command handed in at its door."""
        body = command.model_dump(mode="json", exclude_unset=True)
        return self.client.post(
            f"/api/v1/commands/{command.name}", json=body, headers=who.headers | headers
        )

    def recorded(self, who: Somebody, command: Command, **headers: str) -> dict[str, Any]:
        """The receipt of a command that is accepted."""
        answer = self.send(who, command, **headers)
        assert answer.status_code == 201, answer.text
        receipt: dict[str, Any] = answer.json()
        return receipt

    def get(self, who: Somebody, path: str, **parameters: Any) -> Response:
        return self.client.get(f"/api/v1{path}", params=parameters, headers=who.headers)

    def shown(self, who: Somebody, path: str, **parameters: Any) -> Any:
        """What a read that succeeds shows."""
        answer = self.get(who, path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def later(self, **by: float) -> datetime:
        """Time passes."""
        return self.clinic.clock.advance(**by)


@dataclass
class House:
    """A furnished practice: two relationships, everything in the first that there can be."""

    practice: Practice
    administrator: Somebody
    officer: Somebody
    supervisor: Somebody
    therapist: Somebody
    client: Somebody
    other_therapist: Somebody
    other_client: Somebody
    relationship: UUID = field(default_factory=uuid4)
    other: UUID = field(default_factory=uuid4)
    session: UUID = field(default_factory=uuid4)
    goal: UUID = field(default_factory=uuid4)
    rating: UUID = field(default_factory=uuid4)
    consents: dict[Scope, UUID] = field(default_factory=dict)

    @property
    def everybody(self) -> dict[Role, Somebody]:
        people = (
            self.administrator,
            self.officer,
            self.supervisor,
            self.therapist,
            self.client,
        )
        return {each.role: each for each in people}

    def consent(self, scope: Scope, by: Somebody | None = None) -> dict[str, Any]:
        """The client of the first relationship consents to a scope."""
        self.consents[scope] = uuid4()
        return self.practice.recorded(by or self.client, self.consenting(scope))

    def consenting(self, scope: Scope) -> GiveConsent:
        return GiveConsent(
            relationship=self.relationship,
            consent=self.consents.setdefault(scope, uuid4()),
            scope=scope,
            party=self.client.person,
            document=self.practice.document,
            version=1,
            sha256=SHA256,
            signer=self.client.person,
        )

    def held(self, session: UUID | None = None) -> HoldSession:
        """A session of the first relationship that ended just now."""
        now = self.practice.clinic.clock.now
        return HoldSession(
            relationship=self.relationship,
            session=session or uuid4(),
            present=(self.client.person, self.therapist.person),
            started_at=now - timedelta(minutes=50),
            ended_at=now,
        )

    def rated(self, rater: Somebody, session: UUID | None = None) -> RateAlliance:
        """The client's SRS of a session."""
        return RateAlliance(
            relationship=self.relationship,
            rating=self.rating,
            instrument="SRS",
            perspective=Perspective.CLIENT,
            rater=rater.person,
            session=session or self.session,
            answers=("8.5", "9.1", "7", "8"),
        )


@pytest.fixture
def new_practice() -> Iterator[Callable[[Clinic], Practice]]:
    """Opens the doors of a clinic."""
    opened: list[Service] = []

    def open_doors(clinic: Clinic) -> Practice:
        service = Service(
            settings=Settings(home=clinic.home),
            database=clinic.database,
            keyring=clinic.keyring,
            clinic=clinic.id,
            log=clinic.log,
            tokens=Tokens(
                clinic.database.dsn("app"), clinic.id, clinic.keyring, clock=clinic.clock
            ),
            views=ViewStore(clinic.database.dsn("app"), clinic.id, clinic.keyring),
            clock=clinic.clock,
        )
        opened.append(service)
        written = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
        writers.append(written)
        worker = Worker(VIEWS.all(), clinic.log, written)
        client = TestClient(create_app(service), HERE, client=("127.0.0.1", 50_000))
        return Practice(clinic, service, client, worker)

    writers: list[ViewStore] = []
    yield open_doors
    for service in opened:
        service.tokens.close()
        service.views.close()
    for store in writers:
        store.close()


@pytest.fixture
def practice(clinic: Clinic, new_practice: Callable[[Clinic], Practice]) -> Practice:
    return new_practice(clinic)


@pytest.fixture
def house(practice: Practice) -> House:
    return furnish(practice)


def furnish(practice: Practice) -> House:
    """Everything that happens in a first week, through the doors."""
    house = House(
        practice,
        administrator=practice.somebody(Role.ADMINISTRATOR),
        officer=practice.somebody(Role.COMPLIANCE_OFFICER),
        supervisor=practice.somebody(Role.SUPERVISOR),
        therapist=practice.somebody(Role.THERAPIST),
        client=practice.somebody(Role.CLIENT),
        other_therapist=practice.somebody(Role.THERAPIST),
        other_client=practice.somebody(Role.CLIENT),
    )
    _register(house)
    _open(house)
    for scope in (Scope.TREATMENT, Scope.OUTCOME_MEASURES, Scope.SUPERVISION_DISCLOSURE):
        house.consent(scope)
    practice.later(hours=2)
    practice.recorded(house.therapist, house.held(house.session))
    practice.recorded(house.client, house.rated(house.client))
    practice.recorded(
        house.client,
        ProposeGoal(
            relationship=house.relationship,
            goal=house.goal,
            statement=SECRET,
            by=house.client.person,
        ),
    )
    practice.recorded(
        house.client,
        AssentToGoal(
            relationship=house.relationship,
            goal=house.goal,
            revision=1,
            party=house.client.person,
        ),
    )
    practice.later(hours=2)
    return house


def _register(house: House) -> None:
    practice, office = house.practice, house.administrator
    today = practice.clinic.clock.now.astimezone(UTC).date()
    practice.recorded(office, FoundClinic(clinic_name="The practice"))
    practice.recorded(
        office,
        PublishConsentDocument(
            document=practice.document,
            title="What we agree on",
            scopes=tuple(scope for scope in Scope if scope is not Scope.RESEARCH_PARTICIPATION),
            sha256=SHA256,
            language="en",
        ),
    )
    practice.recorded(
        office,
        AttestInstrumentLicence(
            instrument="SRS-3", holder="The practice", basis="licence", valid_from=today
        ),
    )
    for client in (house.client, house.other_client):
        practice.recorded(
            office,
            RegisterPerson(
                person=client.person, full_name="Maria Beispiel", birth_date=date(1984, 5, 17)
            ),
        )
    scopes = {
        house.therapist: Activity.THERAPY,
        house.other_therapist: Activity.THERAPY,
        house.supervisor: Activity.SUPERVISION,
    }
    for practitioner, activity in scopes.items():
        practice.recorded(
            office,
            RegisterPractitioner(
                practitioner=practitioner.person,
                full_name="Dr. Jan Muster",
                profession=Profession.THERAPIST,
                scope=(activity,),
                valid_from=date(2020, 1, 1),
            ),
        )


def _open(house: House) -> None:
    practice = house.practice
    practice.recorded(
        house.therapist,
        OpenRelationship(
            relationship=house.relationship,
            clients=(house.client.person,),
            therapists=(house.therapist.person,),
            modality="cognitive-behavioural",
            setting="outpatient",
            supervisor=house.supervisor.person,
        ),
    )
    practice.recorded(
        house.other_therapist,
        OpenRelationship(
            relationship=house.other,
            clients=(house.other_client.person,),
            therapists=(house.other_therapist.person,),
            modality="systemic",
            setting="outpatient",
        ),
    )
    practice.recorded(
        house.therapist,
        GiveInformation(
            relationship=house.relationship,
            document=practice.document,
            version=1,
            sha256=SHA256,
            to=house.client.person,
            by=house.therapist.person,
        ),
    )
