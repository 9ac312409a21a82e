"""What people entrust to the record, and how it is looked for afterwards.

Every text that is written carries one marker, every rating one sequence of items, the client one
birth date. `spellings` says in which ways they could lie in a file.
"""

import base64
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection, sql
from psycopg.rows import DictRow, dict_row

from domain.appointment import CancelSession, ScheduleSession
from domain.clinic import AttestInstrumentLicence, Scope
from domain.closure import CloseRelationship
from domain.consenting import DeclineConsent
from domain.correction import CorrectEntry
from domain.event import Command
from domain.goal import DissentFromGoal, ProposeGoal
from domain.person import Activity, ExternalId, Profession, RegisterPerson, RegisterPractitioner
from domain.relationship import Initiator, relationship_stream
from domain.session import Emergency
from domain.task import Aim, ProposeTask
from domain.withdrawal import WithdrawConsent
from infra.canonical import encode
from infra.clinics import pinned
from infra.keyring import Keyring
from infra.postgres import Database
from infra.recorder import entry_of
from infra.sealing import Sealer, entry_aad
from infra.view_rows import Seals
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from projections.rebuild import rebuild
from tests.api.conftest import House

MARK = "Zq7Kanarienvogel"
"""In every text; no word of anything else."""
BORN = date(1953, 11, 27)
ANSWERS, ITEMS = ("8.7", "1.3", "4.9", "6.1"), (87, 13, 49, 61)


def spellings(text: str) -> Iterator[bytes]:
    """The ways in which a text could lie in a file."""
    plain = text.encode()
    yield from (plain, plain.hex().encode(), plain.hex().upper().encode())
    yield from (text.encode("utf-16-le"), text.encode("utf-16-be"))
    for shift in range(3):  # base64 reads otherwise at each of three places; its edges are cut
        yield base64.b64encode(b"\0" * shift + plain)[4:-4]


def spellings_of_numbers(numbers: tuple[int, ...], answers: tuple[str, ...]) -> Iterator[bytes]:
    """As JSON, as people write them, and as arrays of 16, 32 and 64 bits of either order."""
    for words in ([str(number) for number in numbers], answers, [f'"{each}"' for each in answers]):
        for between in (",", ", ", ";", " "):
            yield between.join(words).encode()
    for order in "<>":
        for size in "hiq":
            yield struct.pack(f"{order}{len(numbers)}{size}", *numbers)
    # An array in PostgreSQL's own binary form: each element behind its length.
    yield b"".join(struct.pack(">ii", 4, number) for number in numbers)


SECRETS: dict[str, list[bytes]] = {
    "a text": list(spellings(MARK)),
    "a birth date": list(spellings(BORN.isoformat())),
    "the items of a rating": list(spellings_of_numbers(ITEMS, ANSWERS)),
}

# The same in the clear, which must be found: other words, so as not to be taken for a leak.
CONTROL_MARK, CONTROL_BORN, CONTROL_ITEMS = "Zq7Kontrollvogel", date(1954, 10, 29), (71, 17, 93, 39)
CONTROLS: dict[str, list[bytes]] = {
    "a text": list(spellings(CONTROL_MARK)),
    "a birth date": list(spellings(CONTROL_BORN.isoformat())),
    "the items of a rating": list(spellings_of_numbers(CONTROL_ITEMS, ())),
}


def found(searched: Iterable[tuple[str, bytes]], patterns: list[bytes]) -> list[str]:
    """Where any of the patterns lies."""
    return [where for where, content in searched if any(p in content for p in patterns)]


def marked(what: str) -> str:
    return f"{MARK} {what}"


@dataclass
class Told:
    """Everything that is told to the record, and everything it answers."""

    house: House
    answers: list[str] = field(default_factory=list)
    log: StringIO = field(default_factory=StringIO)
    """What all our loggers say, down to the last detail."""

    def tell(self, who: Any, command: Command, status: int = 201) -> None:
        answer = self.house.practice.send(who, command)
        assert answer.status_code == status, answer.text
        self.answers.append(answer.text)

    def post(self, who: Any, name: str, body: object, status: int) -> None:
        path = f"/api/v1/commands/{name}"
        answer = self.house.practice.client.post(path, json=body, headers=who.headers)
        assert answer.status_code == status, answer.text
        self.answers.append(answer.text)


def entrust(told: Told) -> None:
    """Names, dates, items and free text, in every kind of field that takes them."""
    house, practice = told.house, told.house.practice
    office, therapist, client = house.administrator, house.therapist, house.client
    about = house.relationship
    told.tell(
        office,
        RegisterPerson(
            full_name=marked("name"),
            birth_date=BORN,
            contact=marked("contact"),
            external_ids=(ExternalId(system=marked("system"), value=marked("number")),),
        ),
    )
    told.tell(
        office,
        RegisterPractitioner(
            full_name=marked("practitioner"),
            profession=Profession.THERAPIST,
            scope=(Activity.THERAPY,),
            valid_from=date(2020, 1, 1),
        ),
    )
    told.tell(
        office,
        AttestInstrumentLicence(
            instrument="WAI-S", holder=marked("holder"), basis=marked("basis"), valid_from=BORN
        ),
    )
    now = practice.later(hours=2)
    emergency = Emergency(reason=marked("emergency"), review_by=(now + timedelta(days=1)).date())
    told.tell(therapist, house.held().model_copy(update={"emergency": emergency}))
    rated = {"rating": uuid4(), "session": None, "answers": ANSWERS}
    told.tell(client, house.rated(client).model_copy(update=rated))
    told.tell(
        therapist, ProposeGoal(relationship=about, statement=marked("goal"), by=therapist.person)
    )
    told.tell(
        client,
        DissentFromGoal(
            relationship=about,
            goal=house.goal,
            revision=1,
            party=client.person,
            reason=marked("dissent"),
        ),
    )
    told.tell(
        client,
        DeclineConsent(
            relationship=about,
            scope=Scope.RECORDING,
            party=client.person,
            document=practice.document,
            version=1,
        ),
    )
    told.tell(
        client,
        WithdrawConsent(
            relationship=about,
            consent=house.consents[Scope.SUPERVISION_DISCLOSURE],
            reason=marked("withdrawal"),
        ),
    )


def tasks_and_endings(told: Told) -> None:
    house, practice, therapist = told.house, told.house.practice, told.house.therapist
    about = house.relationship
    told.tell(
        therapist,
        ProposeTask(
            relationship=about,
            description=marked("task"),
            aim=Aim(purpose=marked("purpose")),
            by=therapist.person,
        ),
    )
    session, tomorrow = uuid4(), practice.later(hours=1) + timedelta(days=1)
    told.tell(
        therapist,
        ScheduleSession(
            relationship=about,
            session=session,
            starts_at=tomorrow,
            ends_at=tomorrow + timedelta(hours=1),
        ),
    )
    told.tell(
        therapist,
        CancelSession(
            relationship=about, session=session, who=therapist.person, why=marked("cancelled")
        ),
    )
    cancelled = next(
        entry
        for entry in practice.clinic.log.history(relationship_stream(house.relationship))
        if entry.topic == "session.cancelled"
    )
    content = {"session": str(session), "who": str(therapist.person), "why": marked("corrected")}
    told.tell(
        therapist,
        CorrectEntry(
            stream=cancelled.stream, entry=cancelled.version, reason=marked("why"), content=content
        ),
    )
    told.tell(
        therapist,
        CloseRelationship(
            relationship=about,
            reason=marked("closing"),
            initiated_by=Initiator.BOTH,
            goals=marked("goals"),
        ),
    )


def stumble(told: Told) -> None:
    """What does not fit, of every kind, so that every kind of answer is seen."""
    house = told.house
    client, therapist = house.client, house.therapist
    of = {"relationship": str(house.relationship)}
    told.post(client, "propose-goal", {**of, "statement": [marked("list")], "by": 1}, 422)
    told.post(client, "propose-goal", {**of, "statement": marked("x" * 30_000)}, 422)
    told.post(client, "propose-goal", marked("no object"), 422)
    rating = {**of, "instrument": "SRS", "perspective": "client", "answers": ANSWERS}
    wrong = [*ANSWERS[:3], marked("six")]
    told.post(client, "rate-alliance", {**rating, "answers": wrong, "rater": BORN.year}, 422)
    told.post(client, "rate-alliance", {**rating, "rater": str(uuid4())}, 403)
    again = {**of, "goal": str(house.goal), "statement": marked("x"), "by": str(client.person)}
    told.post(client, "propose-goal", again, 409)
    told.post(therapist, "register-person", {"full_name": marked("not allowed")}, 403)
    person = {"full_name": marked("\x00"), "birth_date": "0000-11-27"}
    told.post(house.administrator, "register-person", person, 422)
    # Names of what there is not, a field or an instrument, are told back to whoever sent them; they
    # stand in no log either.
    rating |= {"instrument": marked("WAI"), "rater": str(client.person)}
    told.post(client, "rate-alliance", rating, 404)
    told.post(client, "propose-goal", {**of, marked("field"): marked("value")}, 422)
    assert all(MARK in answer for answer in told.answers[-2:])
    del told.answers[-2:]


def read_everything(house: House) -> None:
    """All views, built twice, and everything read by everybody who may."""
    practice, clinic = house.practice, house.practice.clinic
    practice.worker.catch_up()
    store = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    rebuild(VIEWS.all(), clinic.log, store)
    store.close()
    for who in (house.therapist, house.client, house.officer):
        for door in ("", "/timeline", "/alliance", "/consents", "/goals", "/access"):
            practice.shown(who, f"/relationships/{house.relationship}{door}")
        practice.shown(who, "/relationships")


# --- What opens -----------------------------------------------------------------------------


def opened(database: Database, clinic: UUID, ring: Keyring) -> Iterator[tuple[str, bytes]]:
    """Everything that somebody with database, keyring and master key can open: each entry and each
    group of a view's row, by where it stands."""
    with psycopg.connect(database.dsn("owner"), row_factory=dict_row) as connection:
        for row in connection.execute("SELECT * FROM rapport.entries WHERE clinic = %s", (clinic,)):
            entry = entry_of(row)
            key = ring.get(clinic, entry.envelope.key_id)
            if key is not None:
                content = Sealer().open_entry(key, entry_aad(entry.envelope), entry.sealed)
                yield f"{row['stream']} {row['topic']}", content
    seals = Seals(clinic, ring)
    views = pinned(database.dsn("views"), clinic)
    with psycopg.connect(views, row_factory=dict_row) as connection:
        for (table,) in _tables_of_views(connection):
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(_view(table)))
            for row in rows:
                yield f"{table} {row['stream']}", row["clear"].encode()
                for told in seals.opened(table.rpartition("_v")[0], table, row):
                    yield f"{table} {told.stream}", repr(told.columns).encode()
                    for group in told.groups.values():
                        yield f"{table} {told.stream}", encode(group)


def _tables_of_views(connection: Connection[DictRow]) -> list[tuple[str]]:
    found = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'views' ORDER BY tablename"
    )
    return [(row["tablename"],) for row in found]


def _view(table: str) -> sql.Identifier:
    return sql.Identifier("views", table)
