"""Two clinics, and two therapists of one: what one of them can learn of the other. Nothing."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.access import Role
from domain.event import Command
from domain.goal import ProposeGoal
from domain.person import RegisterPerson
from tests.api.conftest import House, Practice, Response, Somebody, furnish
from tests.conftest import Clinic

READS = ("", "/timeline", "/alliance", "/consents", "/goals", "/access")
PAGES = ("", "/timeline", "/readers", "/entries/1")


@pytest.fixture
def two(
    new_clinic: Callable[[], Clinic], new_practice: Callable[[Clinic], Practice]
) -> tuple[House, House]:
    """Two clinics in one database, with one keyring; their views are built."""
    houses = furnish(new_practice(new_clinic())), furnish(new_practice(new_clinic()))
    for house in houses:
        house.practice.worker.catch_up()
    return houses


def register() -> RegisterPerson:
    return RegisterPerson(person=uuid4(), full_name="Maria Beispiel")


# --- Between clinics -------------------------------------------------------------------------


def test_a_cursor_of_one_clinic_is_none_in_another(two: tuple[House, House]) -> None:
    """R35: the same person at the same door of both, and still the cursor tells the other
    nothing."""
    here, there = two
    officer = here.officer
    guest = there.practice.somebody(officer.role, officer.person)
    cursor = here.practice.shown(officer, "/log/entries", limit=2)["next"]
    assert here.practice.get(officer, "/log/entries", limit=2, cursor=cursor).status_code == 200
    answer = there.practice.get(guest, "/log/entries", limit=2, cursor=cursor)
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor-invalid")


def test_a_command_of_one_clinic_is_unknown_in_another(two: tuple[House, House]) -> None:
    """R35: neither its receipt is there, nor is its id taken."""
    here, there = two
    key, command = str(uuid4()), register()
    first = here.practice.recorded(here.administrator, command, **{"Idempotency-Key": key})
    guests = [
        there.officer,
        there.administrator,
        there.practice.somebody(Role.ADMINISTRATOR, here.administrator.person),
    ]
    for guest in guests:
        answer = there.practice.get(guest, f"/commands/{key}/receipt")
        assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")
    second = there.practice.recorded(there.administrator, register(), **{"Idempotency-Key": key})
    assert second["root"] != first["root"]
    assert here.practice.shown(here.administrator, f"/commands/{key}/receipt") == first


def test_what_is_registered_in_one_clinic_is_not_in_another(two: tuple[House, House]) -> None:
    """R35: the same person is registered in both, and neither is told of the other."""
    here, there = two
    command = register()
    here.practice.recorded(here.administrator, command)
    there.practice.recorded(there.administrator, command)
    again = there.practice.send(there.administrator, command)
    assert again.status_code == 409


# --- Within a clinic -------------------------------------------------------------------------


def told(answer: Response, relationship: UUID) -> tuple[int, str]:
    """An answer without what differs from request to request anyway."""
    text = answer.text.replace(str(relationship), "…")
    request_id = answer.headers["x-request-id"]
    return answer.status_code, text.replace(request_id, "…")


def questions(house: House, relationship: UUID, who: Somebody) -> Iterator[Response]:
    """Everything that can be asked about a relationship."""
    practice = house.practice
    for read in READS:
        yield practice.get(who, f"/relationships/{relationship}{read}")
    yield practice.get(who, f"/relationships/{relationship}", known_at="2026-03-02T10:00:00Z")
    yield practice.get(who, f"/relationships/{relationship}/timeline", cursor=f"1.{'0' * 32}")
    for page in PAGES:
        yield practice.client.get(
            f"/relationships/{relationship}{page}", headers=who.headers | {"Accept": "text/html"}
        )
    for headers in ({}, {"If-Match": '"0"'}, {"If-Match": '"1"'}, {"If-Match": '"999"'}):
        for command in commands(relationship, who):
            yield practice.send(who, command, **headers)


def commands(relationship: UUID, who: Somebody) -> list[Command]:
    return [ProposeGoal(relationship=relationship, statement="x", by=who.person)]


def test_what_is_out_of_reach_is_as_if_it_were_not_there(house: House) -> None:
    """R35: no answer tells a relationship of others from one that there is not: not its status,
    its text, a version asked for, a cursor made up."""
    house.practice.worker.catch_up()
    for who in (house.other_therapist, house.other_client):
        nowhere = uuid4()
        theirs = [told(a, house.relationship) for a in questions(house, house.relationship, who)]
        none = [told(answer, nowhere) for answer in questions(house, nowhere, who)]
        assert theirs == none
        assert {status for status, _ in theirs} == {404}


def test_a_command_id_gives_nobody_elses_receipt(house: House) -> None:
    """R35, rule 8: the same command under the same id, by somebody else, is another one."""
    practice, key = house.practice, str(uuid4())
    command = ProposeGoal(relationship=house.relationship, statement="x", by=house.client.person)
    headers: dict[str, Any] = {"Idempotency-Key": key}
    practice.recorded(house.client, command, **headers)
    answer = practice.send(house.therapist, command, **headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "command-id-reused")
    assert "root" not in answer.text


def test_a_revoked_token_opens_no_door_from_the_next_request_on(house: House) -> None:
    """R35: reading, recording, pages and the session in a browser end together."""
    practice = house.practice
    practice.worker.catch_up()
    path = f"/relationships/{house.relationship}"
    browser = practice.client
    browser.cookies.set("rapport_session", house.therapist.token)
    assert practice.get(house.therapist, path).status_code == 200
    assert browser.get(path, headers={"Accept": "text/html"}).status_code == 200
    tokens = practice.service.tokens
    assert tokens.revoke(tokens.authenticate(house.therapist.token).token)
    assert practice.get(house.therapist, path).status_code == 401
    assert practice.send(house.therapist, house.held()).status_code == 401
    page = browser.get(path, headers={"Accept": "text/html"}, follow_redirects=False)
    assert page.headers["location"].startswith("/sign-in?next=")
