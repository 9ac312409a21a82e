"""Who may use which door: one table, deny by default, every persona at the others' doors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from api.access import DOORS, INSIDE, SPEAK_FOR_OTHERS, Reach
from api.app import OPEN, DoorMissing, create_app, doors_of, require_doors
from api.doors import Entrance
from domain.access import AccessDenied, Role
from domain.appointment import ScheduleSession
from domain.clinic import Scope
from domain.closure import CloseRelationship
from domain.event import Command
from domain.goal import ProposeGoal
from domain.relationship import Initiator, OpenRelationship, relationship_stream
from domain.topics import COMMANDS
from tests.api.conftest import House, Practice, Response, Somebody, furnish
from tests.conftest import Clinic


def app_of(practice: Practice) -> FastAPI:
    app = practice.client.app
    assert isinstance(app, FastAPI)
    return app


def routes(practice: Practice) -> Iterator[tuple[str, RouteContext]]:
    """Each route of the API that leads through a door, by that door."""
    for route in iter_route_contexts(app_of(practice).routes):
        for door in doors_of(route):
            if str(route.path).startswith(("/api/", "/metrics")):
                yield door, route


def knock(practice: Practice, route: RouteContext, headers: dict[str, str]) -> Response:
    """A request at a route, with ids that are nobody's and a body that is empty."""
    address = str(route.path).format(relationship=uuid4(), command_id=uuid4(), position=1)
    (method,) = route.methods or {"GET"}
    body: dict[str, str] | None = {} if method == "POST" else None
    return practice.client.request(method, address, headers=headers, json=body)


# --- The table itself ------------------------------------------------------------------------


def test_every_command_and_no_other_has_a_row(practice: Practice) -> None:
    """API: the table knows every public command, and none that doors note by themselves."""
    doors = {door for door, _ in routes(practice)}
    assert doors == set(DOORS), "a row without a route, or a route without a row"
    assert set(COMMANDS) - set(DOORS) == INSIDE


def test_whose_words_a_command_carries_is_in_the_table() -> None:
    """Rule 33: a command that names who says something has that field as its voice."""
    names = {"rater", "signer", "party", "by"}
    speaking = {name for name, kind in COMMANDS.items() if names & kind.model_fields.keys()}
    nobody = DOORS["hold-session"].voice
    assert speaking
    # Coming of age is said by nobody: it happens.
    assert [n for n in sorted(speaking) if DOORS[n].voice is nobody] == ["record-majority"]


def test_only_the_machine_reaches_everything() -> None:
    """API: no role that a token can carry has more than its own reach."""
    boundless = {
        role for door in DOORS.values() for role, reach in door.who.items() if reach is Reach.ALL
    }
    assert boundless == {Role.SYSTEM}
    assert frozenset({Role.THERAPIST, Role.SYSTEM}) == SPEAK_FOR_OTHERS


def test_a_route_without_a_door_does_not_start(practice: Practice) -> None:
    """API, deny by default: an app in which somebody forgot the door is no app."""
    app = create_app(practice.service)
    forgotten = APIRouter()
    forgotten.add_api_route("/api/v1/secrets", lambda: "everything", methods=["GET"])
    app.include_router(forgotten)
    with pytest.raises(DoorMissing, match="/api/v1/secrets"):
        require_doors(app)
    with pytest.raises(LookupError):
        Entrance("secrets")
    names = {route.name for route in iter_route_contexts(create_app(practice.service).routes)}
    assert names >= OPEN - {"sign-in", "sign-out", "static"}


# --- Everybody at every door -----------------------------------------------------------------


def test_nobody_comes_in_without_a_token(practice: Practice) -> None:
    """API: every route of the record answers 401 to whoever shows nothing, or nothing in force."""
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    wrong = officer.token[:-1] + ("A" if officer.token[-1] != "A" else "B")
    for text in (None, "", "Bearer", "Bearer x", f"Basic {officer.token}", f"Bearer {wrong}"):
        headers = {} if text is None else {"Authorization": text}
        for _, route in routes(practice):
            answer = knock(practice, route, headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_every_role_at_every_door(practice: Practice) -> None:
    """API: whoever the table does not name is denied before anything of the request is judged."""
    checked = 0
    for role in set(Role) - {Role.SYSTEM}:
        somebody = practice.somebody(role)
        for door, route in routes(practice):
            answer = knock(practice, route, somebody.headers)
            denied = answer.status_code == 403 and answer.json()["code"] == "not-admitted"
            assert denied == (role not in DOORS[door].who), (role, door, answer.text)
            checked += 1
    assert checked == len(DOORS) * 5


READS = ("", "/timeline", "/alliance", "/consents", "/goals", "/access")


@pytest.mark.parametrize("role", [Role.CLIENT, Role.THERAPIST, Role.SUPERVISOR])
def test_each_persona_at_the_others_records(house: House, role: Role) -> None:
    """API: with the right role and another's relationship, nothing is there."""
    practice = house.practice
    practice.worker.catch_up()
    strangers = [practice.somebody(role)]
    if role is Role.CLIENT:
        strangers += [house.other_client, practice.somebody(role, house.therapist.person)]
    if role is Role.THERAPIST:
        strangers += [house.other_therapist, practice.somebody(role, house.client.person)]
    if role is Role.SUPERVISOR:
        strangers += [practice.somebody(role, house.therapist.person)]
    for stranger in strangers:
        for read in READS:
            answer = practice.get(stranger, f"/relationships/{house.relationship}{read}")
            assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")
        assert practice.shown(stranger, "/relationships")["items"] == [] or stranger in (
            house.other_client,
            house.other_therapist,
        )


def commands_about(house: House) -> list[Command]:
    """Commands about the first relationship that are sound but for who gives them."""
    now = house.practice.clinic.clock.now
    return [
        house.held(),
        house.rated(house.client),
        house.consenting(Scope.RECORDING),
        ScheduleSession(
            relationship=house.relationship, starts_at=now, ends_at=now + timedelta(minutes=50)
        ),
        ProposeGoal(relationship=house.relationship, statement="x", by=house.client.person),
        CloseRelationship(
            relationship=house.relationship,
            reason="x",
            initiated_by=Initiator.CLINIC,
            goals="x",
        ),
    ]


def test_nobody_writes_into_anothers_record(house: House) -> None:
    """API: a command about a relationship out of reach finds none, whoever it names."""
    practice, log = house.practice, house.practice.clinic.log
    size, stream = log.head_size(), relationship_stream(house.relationship)
    version = log.history(stream).version
    strangers = (house.other_therapist, house.other_client, house.officer, house.administrator)
    for stranger in strangers:
        for command in commands_about(house):
            answer = practice.send(stranger, command)
            assert answer.status_code in (403, 404), (stranger.role, command.name, answer.text)
    assert log.history(stream).version == version
    assert {entry.topic for entry in log.read_log(size, 500)} == {AccessDenied.topic}


def test_a_role_is_the_tokens_and_not_the_persons(house: House) -> None:
    """API: a therapist who is also an administrator reads nothing as administrator."""
    both = house.practice.somebody(Role.ADMINISTRATOR, house.therapist.person)
    answer = house.practice.get(both, f"/relationships/{house.relationship}")
    assert (answer.status_code, answer.json()["code"]) == (403, "not-admitted")


def test_a_denial_is_logged_by_ids(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """API: who, in what role, at which door, of what; nothing else."""
    house.practice.get(house.other_therapist, f"/relationships/{house.relationship}")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "rapport.access"]
    assert line == (
        f"out-of-reach: therapist {house.other_therapist.person} at dossier of {house.relationship}"
    )


# --- Two clinics in one database -------------------------------------------------------------


@contextmanager
def unchanged(*clinics: Clinic) -> Iterator[None]:
    before = [clinic.log.head_size() for clinic in clinics]
    yield
    assert [clinic.log.head_size() for clinic in clinics] == before


def test_a_token_of_one_clinic_opens_no_door_of_another(
    new_clinic: Callable[[], Clinic], new_practice: Callable[[Clinic], Practice]
) -> None:
    """ARCHITECTURE, idea 9: the same database, two clinics: everybody of one at all doors of the
    other, and again with the other clinic's id written into the token."""
    here, there = furnish(new_practice(new_clinic())), furnish(new_practice(new_clinic()))
    for house in (here, there):
        house.practice.worker.catch_up()
    with unchanged(there.practice.clinic):
        for stranger in everybody(here):
            forged = stranger.token.replace(
                here.practice.clinic.id.hex, there.practice.clinic.id.hex
            )
            for token in (stranger.token, forged):
                for _, route in routes(there.practice):
                    headers = {"Authorization": f"Bearer {token}"}
                    assert knock(there.practice, route, headers).status_code == 401


def everybody(house: House) -> list[Somebody]:
    return [*house.everybody.values(), house.other_therapist, house.other_client]


def test_what_one_clinic_holds_is_not_there_for_another(
    new_clinic: Callable[[], Clinic], new_practice: Callable[[Clinic], Practice]
) -> None:
    """ARCHITECTURE, idea 9: people with tokens of both clinics see each only where it is."""
    here, there = furnish(new_practice(new_clinic())), furnish(new_practice(new_clinic()))
    for house in (here, there):
        house.practice.worker.catch_up()
    for who in everybody(here):
        guest = there.practice.somebody(who.role, who.person)
        for read in READS:
            answer = there.practice.get(guest, f"/relationships/{here.relationship}{read}")
            assert answer.status_code in (403, 404)
    officer = there.practice.somebody(Role.COMPLIANCE_OFFICER)
    items = there.practice.shown(officer, "/relationships")["items"]
    assert {UUID(item["relationship"]) for item in items} == {there.relationship, there.other}
    streams = {
        entry["stream"]
        for entry in there.practice.shown(officer, "/log/entries", limit=500)["items"]
    }
    assert not any(str(here.relationship) in stream for stream in streams)
    opened: dict[str, Any] = there.practice.recorded(
        there.therapist,
        OpenRelationship(
            relationship=here.relationship,
            clients=(there.client.person,),
            therapists=(there.therapist.person,),
            modality="x",
            setting="y",
        ),
    )
    assert opened["entries"][0]["version"] == 1, "the id is free here: nothing tells it is taken"
