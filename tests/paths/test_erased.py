"""After a key was destroyed the record goes on: proven, folded, shown and written to, without what
the key sealed."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.doors import SESSION_COOKIE
from api.erasing import carry_out, plan
from domain.alliance import AllianceRated
from domain.erasure import ErasureBasis
from domain.event import Erased, RecordedEvent
from domain.goal import AssentToGoal, ProposeGoal
from domain.information import GiveInformation
from domain.person import person_stream
from domain.relationship import RelationshipErased, relationship_stream
from domain.role import Role
from domain.session import Emergency
from infra.view_store import Comparison, ViewStore
from projections.dossier import VIEWS
from projections.rebuild import Rebuilt, rebuild
from tests.api.conftest import SECRET, SHA256, House, Practice, Somebody
from tests.api.everything import Year, tell_everything

Erase = Callable[[UUID | None], frozenset[UUID]]


@pytest.fixture
def where(house: House) -> str:
    house.practice.worker.catch_up()
    return f"/relationships/{house.relationship}"


@pytest.fixture
def erase(house: House) -> Erase:
    """Destroys every key that seals what one person gave; None: what is joint in the
    relationship. Gives the ids of the keys."""
    clinic = house.practice.clinic
    streams = (relationship_stream(house.relationship), person_stream(house.client.person))

    def destroy(subject: UUID | None) -> frozenset[UUID]:
        sealed = {
            entry.key_id
            for stream in streams
            for entry in clinic.log.history(stream)
            if not isinstance(entry.event, Erased) and entry.event.subject() == subject
        }
        for key_id in sealed:
            clinic.keyring.destroy(clinic.id, key_id)
        house.practice.later(minutes=1)
        return frozenset(sealed)

    return destroy


def history_of(house: House) -> list[RecordedEvent]:
    return list(house.practice.clinic.log.history(relationship_stream(house.relationship)))


def rebuilt(house: House) -> list[Rebuilt[Comparison]]:
    clinic = house.practice.clinic
    house.practice.worker.catch_up()
    store = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    try:
        return rebuild(VIEWS.all(), clinic.log, store)
    finally:
        store.close()


def erased_in(part: Any) -> int:
    """How many values of a document say that they were erased."""
    match part:
        case dict():
            return bool(part.get("erased")) + sum(map(erased_in, part.values()))
        case list():
            return sum(map(erased_in, part))
    return 0


def hand_in_emergency(house: House, by: Somebody) -> Any:
    now = house.practice.later(hours=1)
    emergency = Emergency(reason="Acute crisis.", review_by=(now + timedelta(days=1)).date())
    return house.practice.send(by, house.held().model_copy(update={"emergency": emergency}))


# --- One person ---------------------------------------------------------------------------------


def test_the_log_stays_proven_and_nothing_opens(house: House, erase: Erase) -> None:
    """Rule 9, R25: every entry, leaf and root stands; what the client gave is unreadable."""
    before = house.practice.clinic.check_record()
    keys = erase(house.client.person)
    assert len(keys) == 2, "in the relationship, and for the identity"
    assert house.practice.clinic.check_record() == before
    for entry in history_of(house):
        assert isinstance(entry.event, Erased) == (entry.key_id in keys)
    assert any(entry.topic == AllianceRated.topic for entry in history_of(house))
    (person,) = house.practice.clinic.log.history(person_stream(house.client.person))
    assert isinstance(person.event, Erased)


def test_views_forget_it_and_rebuild_to_equal_digests(
    house: House, where: str, erase: Erase
) -> None:
    """Rule 6, R25: at the same position and with the same keys a view is the same."""
    keys = erase(house.client.person)
    views = rebuilt(house)
    assert {view.view for view in views} == {view.name for view in VIEWS.all()}
    for view in views:
        assert view.comparison is not None
        assert view.comparison.equal, view.view
    assert keys
    again = rebuilt(house)
    macs = [(one.comparison and one.comparison.after.mac) for one in views]
    assert [(one.comparison and one.comparison.after.mac) for one in again] == macs


def test_every_door_shows_what_is_left(house: House, where: str, erase: Erase) -> None:
    """Rule 9: dossier, timeline, alliance, consents, goals and caseload show *erased*, and what
    the therapist gave."""
    practice, therapist = house.practice, house.therapist
    told = practice.shown(therapist, where)
    assert erased_in(told) == 0
    erase(house.client.person)
    practice.worker.catch_up()
    dossier = practice.shown(therapist, where)
    (rating,) = dossier["ratings"]
    assert (rating["items"]["erased"], rating["items"]["value"]) == (True, None)
    assert not rating["rated_at"]["erased"], "that it happened, and when, is proven still"
    assert all(row["scope"]["erased"] for row in dossier["consents"] if row["scope"])
    (line,) = (one for one in dossier["timeline"] if one["topic"]["value"] == "alliance.rated")
    assert line["late_reason"]["erased"]
    for door in ("timeline", "alliance", "consents"):
        page = practice.shown(therapist, f"{where}/{door}")
        assert (erased_in(page) > 0, page["parked"]) == (True, None), door
    goals = practice.shown(therapist, f"{where}/goals")
    assert SECRET in str(goals), "the goal is both theirs; it has the relationship's key"
    caseload = practice.shown(therapist, "/relationships")
    (case,) = caseload["items"]
    assert case["case"]["erased_entries"]["value"] >= 4
    assert caseload["parked"] == {}
    assert "8.5" not in str(dossier["ratings"])


def test_the_relationship_takes_further_entries(house: House, erase: Erase) -> None:
    """Rules 9 and 12: what needs the erased consent is refused, what does not is recorded, and
    nothing more is sealed for the person."""
    practice = house.practice
    erase(house.client.person)
    practice.later(hours=2)
    assert practice.send(house.therapist, house.held()).json()["code"] == "consent-missing"
    assert hand_in_emergency(house, house.therapist).status_code == 201
    goal = ProposeGoal(
        relationship=house.relationship,
        goal=uuid4(),
        statement="To end well.",
        by=house.therapist.person,
    )
    practice.recorded(house.therapist, goal)
    practice.recorded(
        house.therapist,
        AssentToGoal(
            relationship=house.relationship,
            goal=goal.goal,
            revision=1,
            party=house.therapist.person,
        ),
    )
    consent = practice.send(house.client, house.consenting(next(iter(house.consents))))
    assert (consent.status_code, consent.json()["code"]) == (409, "not-informed")
    assert all(one.comparison and one.comparison.equal for one in rebuilt(house))


def test_what_would_need_the_key_is_refused_as_such(house: House, erase: Erase) -> None:
    """Rule 9: an owner whose key is gone gets no new one, and the caller is told why."""
    erase(house.client.person)
    informing = GiveInformation(
        relationship=house.relationship,
        document=house.practice.document,
        version=1,
        sha256=SHA256,
        to=house.client.person,
        by=house.therapist.person,
    )
    refused = house.practice.send(house.therapist, informing)
    assert (refused.status_code, refused.json()["code"]) == (409, "subject-erased")
    assert refused.json()["rule"] == 9


# --- What is joint ------------------------------------------------------------------------------


def test_a_relationship_without_its_joint_key_stays_in_order(
    house: House, where: str, erase: Erase
) -> None:
    """Rule 9: even the opening is unreadable; the log is proven, views fold, and the compliance
    officer still sees that there was something, when and by whom."""
    before = house.practice.clinic.check_record()
    assert len(erase(None)) == 1
    assert house.practice.clinic.check_record() == before
    for view in rebuilt(house):
        assert view.comparison is not None
        assert view.comparison.equal, view.view
    practice, officer = house.practice, house.officer
    dossier = practice.shown(officer, where)
    assert len(dossier["timeline"]) == len(history_of(house))
    topics = [line["topic"]["value"] for line in dossier["timeline"]]
    assert "relationship.opened" in topics
    for door in ("timeline", "alliance", "consents", "goals"):
        assert practice.shown(officer, f"{where}/{door}")["parked"] is None
    assert practice.shown(officer, "/relationships")["parked"] == {}


def test_a_relationship_without_its_joint_key_takes_nothing(house: House, erase: Erase) -> None:
    """Rule 9: whose it was cannot be told any more, so nobody reaches it or adds to it."""
    erase(None)
    practice = house.practice
    practice.later(hours=2)
    for who in (house.therapist, house.client, house.supervisor):
        answer = practice.get(who, f"/relationships/{house.relationship}")
        assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")
    for command in (house.held(), house.rated(house.client)):
        answer = practice.send(house.therapist, command)
        assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")
        with pytest.raises(RelationshipErased):
            practice.clinic.record(command)


def test_the_other_relationships_notice_nothing(house: House, where: str, erase: Erase) -> None:
    """Rule 9: erasing one person leaves every other record as it was."""
    practice, path = house.practice, f"/relationships/{house.other}"
    before = practice.shown(house.other_therapist, path)
    erase(house.client.person)
    erase(None)
    practice.worker.catch_up()
    assert practice.shown(house.other_therapist, path) == before
    (case,) = practice.shown(house.other_therapist, "/relationships")["items"]
    assert case["relationship"] == str(house.other)


# --- Every door ---------------------------------------------------------------------------------


def read_doors(practice: Practice, relationship: str, versions: int) -> list[str]:
    """Every path that shows something of a relationship, or of all there are: API and pages; of
    single entries every seventh, or whoever is turned away from all of them must wait an hour."""
    app = cast(FastAPI, practice.client.app)
    paths = {
        str(route.path)
        for route in iter_route_contexts(app.routes)
        if "GET" in (route.methods or ())
    }
    found = []
    for path in sorted(path.replace("{relationship}", relationship) for path in paths):
        numbered = [path.replace("{version}", str(number)) for number in range(1, versions + 1, 7)]
        found += [each for each in (numbered if "{version}" in path else [path]) if "{" not in each]
    return found


def test_every_door_and_page_stands_after_an_erasure(practice: Practice) -> None:
    """Rules 6 and 9, R25: of a year in which everything happened, read by every role, through the
    API and the pages, entry by entry: first what the client gave is gone, then all of it."""
    year = Year(practice)
    tell_everything(year)
    practice.worker.catch_up()
    clinic, relationship = practice.clinic, year["relationship"]
    stream = relationship_stream(UUID(relationship))
    doors = read_doors(practice, relationship, clinic.log.history(stream).version)
    assert len(doors) > 50
    service, person = practice.service, UUID(year["client"])
    planned = plan(service, person, ErasureBasis.LEGAL_OBLIGATION, "x")
    own = [key for key, _, subject in clinic.keyring.live(clinic.id) if subject == str(person)]
    clinic.keyring.destroy_again(clinic.id, own)
    assert 0 < len(own) < len(planned.keys)
    read_by_everybody(year, doors, shown_to_therapist=True)
    rest = plan(service, person, ErasureBasis.LEGAL_OBLIGATION, "x")
    carry_out(service, rest, ErasureBasis.LEGAL_OBLIGATION, "x")
    read_by_everybody(year, doors, shown_to_therapist=False)


def read_by_everybody(year: Year, doors: list[str], *, shown_to_therapist: bool) -> None:
    """No fault anywhere: it is shown, or it is none of theirs."""
    practice = year.practice
    practice.later(minutes=1)
    practice.worker.catch_up()
    shown: Counter[Role] = Counter()
    for who in (year.therapist, year.client, year.supervisor, year.officer, year.office):
        practice.client.cookies.set(SESSION_COOKIE, who.token)
        for path in doors:
            answer = practice.client.get(path, headers=who.headers, follow_redirects=False)
            assert answer.status_code in (200, 303, 400, 403, 404, 422), (who.role, path)
            shown[who.role] += answer.status_code == 200 and year["relationship"] in path
    assert shown[year.officer.role] > 20
    assert (shown[year.therapist.role] > 20) == shown_to_therapist
