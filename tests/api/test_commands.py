"""Commands at their doors: receipts, repeats, expected versions, refusals, and in whose name."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from api.access import INSIDE
from domain.access import Role
from domain.alliance import RateAlliance
from domain.appointment import CancelSession, ScheduleSession
from domain.clinic import Scope
from domain.correction import CorrectEntry, MarkEnteredInError
from domain.event import Command, Refusal, Stream
from domain.goal import AssentToGoal
from domain.goal_rating import RateGoal
from domain.person import RegisterPerson
from domain.rating import SupersedeRating
from domain.records import CommandIdReused, StaleVersion
from domain.relationship import OpenRelationship, RelationshipExists, relationship_stream
from domain.topics import COMMANDS
from domain.withdrawal import WithdrawConsent
from infra.merkle import leaf_hash
from tests.api.conftest import House, Practice, Response, Somebody

PROBLEM = "application/problem+json"


def refused(answer: Response, refusal: type[Refusal], **ids: object) -> None:
    """The answer is that refusal's problem: its status, code, rule and ids."""
    assert answer.headers["content-type"] == PROBLEM
    told = answer.json()
    assert answer.status_code == told["status"] == refusal.status, told
    assert (told["code"], told.get("rule")) == (refusal.code, refusal.rule)
    assert told["type"] == f"urn:rapport:problem:{refusal.code}"
    assert told.get("ids", {}) | {name: _told(value) for name, value in ids.items()} == told["ids"]


def _told(value: object) -> object:
    return value if isinstance(value, int) else str(value)


def register() -> RegisterPerson:
    return RegisterPerson(person=uuid4(), full_name="Maria Beispiel")


def test_a_receipt_says_where_the_entries_stand(house: House) -> None:
    """API: position, leaf hash, tree size and root, for every entry that a command made."""
    practice = house.practice
    receipt = practice.recorded(house.therapist, house.held())
    head = practice.clinic.log.head()
    assert receipt["tree_size"] == head.size
    assert receipt["root"] == head.frontier.root().hex()
    assert [entry["stream"] for entry in receipt["entries"]] == [
        f"relationship-{house.relationship}",
        f"schedule-{house.therapist.person}",
    ]
    assert [entry["position"] for entry in receipt["entries"]] == [head.size - 1, head.size]
    stored = practice.clinic.log.receipt(UUID(receipt["command_id"]))
    assert stored is not None
    assert [entry["leaf_hash"] for entry in receipt["entries"]] == [
        entry.leaf_hash for entry in stored.entries
    ]
    assert len(bytes.fromhex(receipt["entries"][0]["leaf_hash"])) == len(leaf_hash(b""))


def test_the_same_key_twice_makes_one_entry(practice: Practice) -> None:
    """Rule 8: the repeat is answered with the identical receipt, also at its own address."""
    office = practice.somebody(Role.ADMINISTRATOR)
    command, key = register(), str(uuid4())
    first = practice.send(office, command, **{"Idempotency-Key": key})
    size = practice.clinic.log.head_size()
    again = practice.send(office, command, **{"Idempotency-Key": key})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert practice.clinic.log.head_size() == size
    assert first.json()["command_id"] == key
    kept = practice.client.get(first.headers["location"], headers=office.headers)
    assert kept.json() == first.json()


def test_a_key_is_not_used_for_two_bodies(practice: Practice) -> None:
    """Rule 8: another body under a used id is refused."""
    office, key = practice.somebody(Role.ADMINISTRATOR), uuid4()
    practice.recorded(office, register(), **{"Idempotency-Key": str(key)})
    answer = practice.send(office, register(), **{"Idempotency-Key": str(key)})
    refused(answer, CommandIdReused, command_id=key)


def test_a_command_holds_for_the_version_it_was_decided_on(house: House) -> None:
    """Rule 8: a stale If-Match is refused, the current one is taken."""
    practice, stream = house.practice, relationship_stream(house.relationship)
    version = practice.clinic.log.history(stream).version
    command = house.held()
    stale = practice.send(house.therapist, command, **{"If-Match": f'"{version - 1}"'})
    refused(stale, StaleVersion, stream=stream, actual=version, expected=version - 1)
    practice.recorded(house.therapist, command, **{"If-Match": f'"{version}"'})


@pytest.mark.parametrize(
    "tag", ["7", "*", 'W/"7"', '"x"', '"-1"', '"1", "2"', '"9999999999999999"']
)
def test_if_match_is_one_strong_version(practice: Practice, tag: str) -> None:
    """API: what is no version of ours is not guessed at."""
    office = practice.somebody(Role.ADMINISTRATOR)
    answer = practice.send(office, register(), **{"If-Match": tag})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["in"] == "header"


def test_a_refusal_is_a_problem_with_its_code_rule_and_ids(house: House) -> None:
    """API: each refusal maps to its status; the sentence names ids, and no content."""
    practice = house.practice
    again = OpenRelationship(
        relationship=house.relationship,
        clients=(house.client.person,),
        therapists=(house.therapist.person,),
        modality="x",
        setting="y",
    )
    answer = practice.send(house.therapist, again)
    refused(answer, RelationshipExists, relationship=house.relationship)
    assert str(house.relationship) in answer.json()["detail"]


def test_every_refusal_has_a_status_that_http_knows() -> None:
    """API: a refusal's own status is what the caller sees, so it must be an error's."""
    statuses = {kind.__name__: kind.status for kind in _below(Refusal)}
    assert statuses
    assert set(statuses.values()) <= {404, 409, 412, 422, 503}


def _below(kind: type[Refusal]) -> set[type[Refusal]]:
    return {kind}.union(*(map(_below, kind.__subclasses__())))


# --- In whose name (rule 33) -----------------------------------------------------------------


def on_behalf_of(house: House, receipt: dict[str, object]) -> UUID | None:
    """On whose behalf the first entry of a receipt was recorded."""
    entries = receipt["entries"]
    assert isinstance(entries, list)
    (entry,) = house.practice.clinic.log.read_log(entries[0]["position"] - 1, 1)
    return entry.on_behalf_of


def assent(house: House, party: Somebody) -> AssentToGoal:
    return AssentToGoal(
        relationship=house.relationship, goal=house.goal, revision=1, party=party.person
    )


def test_what_people_say_themselves_is_their_own(house: House) -> None:
    """Rule 33: the client's own submission is nobody's on behalf of anybody."""
    history = house.practice.clinic.log.history(relationship_stream(house.relationship))
    rated = next(entry for entry in history if entry.topic == "alliance.rated")
    assert (rated.actor, rated.on_behalf_of) == (house.client.person, None)
    own = house.practice.recorded(house.therapist, assent(house, house.therapist))
    assert on_behalf_of(house, own) is None


def test_what_staff_enter_says_for_whom(house: House) -> None:
    """Rule 33: a therapist records the client's answers on the client's behalf."""
    practice, session = house.practice, uuid4()
    practice.recorded(house.therapist, house.held(session))
    rating = house.rated(house.client, session).model_copy(update={"rating": uuid4()})
    receipt = practice.recorded(house.therapist, rating)
    assert on_behalf_of(house, receipt) == house.client.person
    better = SupersedeRating(
        relationship=house.relationship,
        superseded=rating.rating,
        reason="Two boxes were swapped.",
        answers=("8", "9", "7", "8"),
        late_reason="Seen today.",
    )
    assert on_behalf_of(house, practice.recorded(house.therapist, better)) == house.client.person


def test_withdrawing_for_somebody_says_so(house: House) -> None:
    """Rules 20 and 33: whose consent it is stands in the record, not in the request."""
    withdraw = WithdrawConsent(
        relationship=house.relationship, consent=house.consents[Scope.OUTCOME_MEASURES]
    )
    receipt = house.practice.recorded(house.therapist, withdraw)
    assert on_behalf_of(house, receipt) == house.client.person


def test_correcting_somebodys_words_says_whose_they_are(house: House) -> None:
    """Rules 1 and 33: a correction of what the client entered is on the client's behalf."""
    practice, stream = house.practice, relationship_stream(house.relationship)
    history = practice.clinic.log.history(stream)
    consent = next(entry for entry in history if entry.topic == "consent.given")
    wrong = MarkEnteredInError(stream=stream, entry=consent.version, reason="Twice.")
    receipt = practice.recorded(house.therapist, wrong)
    assert on_behalf_of(house, receipt) == house.client.person


def test_a_client_speaks_for_nobody_else(house: House) -> None:
    """API: own ratings, own consents; not the therapist's assent."""
    answer = house.practice.send(house.client, assent(house, house.therapist))
    assert answer.status_code == 403
    assert answer.json()["code"] == "not-in-their-place"
    scheduled = ScheduleSession(
        relationship=house.relationship,
        session=(session := uuid4()),
        starts_at=(starts := house.practice.clinic.clock.now + timedelta(days=1)),
        ends_at=starts + timedelta(hours=1),
    )
    house.practice.recorded(house.therapist, scheduled)
    cancel = CancelSession(
        relationship=house.relationship, session=session, who=house.client.person, why="Ill."
    )
    blaming = cancel.model_copy(update={"who": house.therapist.person})
    assert house.practice.send(house.client, blaming).status_code == 403
    house.practice.recorded(house.client, cancel)


def test_a_supervisor_rates_as_supervisor_only(house: House) -> None:
    """API: no role but the therapist's records what others say."""
    rating = house.rated(house.client).model_copy(update={"rating": uuid4()})
    answer = house.practice.send(house.supervisor, rating)
    assert (answer.status_code, answer.json()["code"]) == (403, "not-in-their-place")


# --- What a command is about -----------------------------------------------------------------


def test_an_administrator_corrects_what_is_the_clinics_and_nothing_else(house: House) -> None:
    """API: an administrator keeps persons and documents, and touches no clinical content."""
    practice = house.practice
    person = Stream("person", house.client.person)
    entry = practice.clinic.log.history(person)[0]
    correction = CorrectEntry(
        stream=person,
        entry=1,
        reason="Married.",
        content=entry.event.model_dump(mode="json", exclude={"reported"}, exclude_none=True)  # type: ignore[union-attr]
        | {"name": "Maria Muster"},
    )
    practice.recorded(house.administrator, correction)
    answer = practice.send(
        house.administrator,
        MarkEnteredInError(
            stream=relationship_stream(house.relationship), entry=1, reason="Let me."
        ),
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")
    answer = practice.send(house.therapist, correction)
    assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")


def test_a_therapist_opens_only_what_they_take_part_in(house: House) -> None:
    """API: a therapist cannot open a relationship for a colleague."""
    command = OpenRelationship(
        clients=(house.client.person,),
        therapists=(house.other_therapist.person,),
        modality="x",
        setting="y",
    )
    answer = house.practice.send(house.therapist, command)
    assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")


def test_a_receipt_is_for_whoever_gave_the_command(house: House) -> None:
    """API: others are not told that the command exists; the compliance officer is."""
    practice = house.practice
    command_id = practice.recorded(house.therapist, house.held())["command_id"]
    path = f"/commands/{command_id}/receipt"
    assert practice.get(house.therapist, path).status_code == 200
    assert practice.get(house.officer, path).status_code == 200
    assert practice.get(house.client, path).status_code == 404
    assert practice.get(house.therapist, f"/commands/{uuid4()}/receipt").status_code == 404


def test_every_command_has_its_own_door(practice: Practice) -> None:
    """API: each command stands in the contract with its path and schema, doors' notes none."""
    paths = practice.client.get("/openapi.json").json()["paths"]
    doors = {path.rpartition("/")[2] for path in paths if path.startswith("/api/v1/commands/")}
    assert doors - {"receipt"} == set(COMMANDS) - INSIDE
    for name, kind in COMMANDS.items():
        if name not in INSIDE:
            body = paths[f"/api/v1/commands/{name}"]["post"]["requestBody"]
            schema = body["content"]["application/json"]["schema"]
            assert schema == {"$ref": f"#/components/schemas/{kind.__name__}"}


def test_a_rating_of_a_goal_that_is_not_agreed_is_refused(house: House) -> None:
    """Rule 26 through the door: the domain decides, the route only carries."""
    rate = RateGoal.model_validate(
        {
            "relationship": house.relationship,
            "goal": house.goal,
            "revision": 1,
            "by": house.client.person,
            "level": {"scale": "gbo", "value": 3},
        }
    )
    answer = house.practice.send(house.client, rate)
    assert (answer.status_code, answer.json()["rule"]) == (409, 26)


def test_late_entries_need_a_reason_through_the_door_too(house: House) -> None:
    """Rule 3: what happened days ago is taken with a reason only."""
    late: Command = RateAlliance.model_validate(
        house.rated(house.client).model_dump(exclude_unset=True)
        | {
            "rating": uuid4(),
            "session": None,
            "occurred_at": house.practice.clinic.clock.now - timedelta(days=2),
        }
    )
    answer = house.practice.send(house.client, late)
    assert (answer.status_code, answer.json()["code"]) == (422, "late-reason-missing")
