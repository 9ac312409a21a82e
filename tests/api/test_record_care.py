"""The care of a record through its doors: emergencies, restrictions, roles, copies, the account."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from api.composition import committed, revoke_role
from api.doors.house import Patience
from domain.access import (
    AccessDenied,
    Basis,
    BreakGlass,
    Finding,
    RecordRead,
    ReviewAccess,
    Role,
    access_stream,
)
from domain.amendment import (
    AcceptAmendment,
    DenialGround,
    DenyAmendment,
    RebutDisagreement,
    RequestAmendment,
    StateDisagreement,
)
from domain.correction import CorrectEntry
from domain.disclosure import (
    DiscloseRecord,
    ExportMade,
    LegalBasis,
    Recipient,
    SuspendAccounting,
    disclosure_stream,
)
from domain.goal import ProposeGoal
from domain.participant import LeaveRelationship
from domain.person import RegisterPerson
from domain.process_note import WriteProcessNote
from domain.relationship import (
    Constellation,
    OpenRelationship,
    RelationshipOpened,
    relationship_stream,
)
from domain.restriction import (
    Against,
    AgreeRestriction,
    LiftRestriction,
    Purpose,
    RecipientKind,
)
from domain.role import GrantRole, RevokeRole, RoleNotHeld
from infra import canonical
from infra.sealing import commitment
from tests.api.conftest import SECRET, House, Practice, Response, Somebody
from tests.conftest import Clinic


def path(house: House, door: str = "") -> str:
    return f"/relationships/{house.relationship}{door}"


def code(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def reads(house: House) -> list[RecordRead]:
    history = house.practice.clinic.log.history(access_stream(house.relationship))
    return [read for _, read in history.of(RecordRead)]


# --- On what basis --------------------------------------------------------------------------


def test_every_reading_says_what_entitles_to_it(house: House) -> None:
    """Rule 41, R22: own, treating, by a consent that is cited, or structure alone."""
    for who in (house.client, house.therapist, house.supervisor, house.officer):
        house.practice.shown(who, path(house))
    client, therapist, supervisor, officer = reads(house)
    assert [client.basis, therapist.basis, supervisor.basis, officer.basis] == [
        Basis.OWN,
        Basis.TREATING,
        Basis.CONSENT,
        Basis.STRUCTURE,
    ]
    assert supervisor.consents is not None
    (cited,) = supervisor.consents
    history = house.practice.clinic.log.history(relationship_stream(house.relationship))
    consent = history.entry(cited.entry)
    assert consent is not None
    assert consent.topic == "consent.given"


# --- Emergencies ----------------------------------------------------------------------------


def break_glass(house: House, **changes: Any) -> BreakGlass:
    fields = {"relationship": house.relationship, "reason": "She is not safe tonight."}
    return BreakGlass.model_validate(fields | changes)


def test_an_emergency_opens_the_record_and_every_reading_says_so(house: House) -> None:
    """Rule 41, R4: closed before, open for its time, closed again; reads name the emergency."""
    practice, other = house.practice, house.other_therapist
    assert code(practice.get(other, path(house))) == (404, "out-of-reach")
    practice.recorded(other, break_glass(house, minutes=30))
    assert SECRET in practice.get(other, path(house)).text
    read = reads(house)[-1]
    assert (read.reader, read.basis) == (other.person, Basis.BREAK_GLASS)
    used = practice.shown(house.officer, path(house, "/access/incidents"))["items"]
    assert [entry["topic"] for entry in used] == ["access.denied", "break_glass.used"]
    assert str(read.break_glass) == used[1]["content"]["use"]
    assert practice.send(other, house.held()).status_code == 404  # it is for reading alone
    practice.later(minutes=31)
    assert code(practice.get(other, path(house))) == (404, "out-of-reach")


def test_an_emergency_is_nobody_elses_and_no_way_in_for_clients(house: House) -> None:
    """Rule 41: it opens for whoever gave the reason; clients and offices have none to give."""
    practice = house.practice
    practice.recorded(house.other_therapist, break_glass(house))
    stranger = practice.somebody(Role.THERAPIST)
    assert practice.get(stranger, path(house)).status_code == 404
    for who in (house.other_client, house.officer, house.administrator):
        assert code(practice.send(who, break_glass(house))) == (403, "not-admitted")
    nowhere = break_glass(house, relationship=uuid4())
    assert code(practice.send(stranger, nowhere)) == (404, "out-of-reach")


def test_an_emergency_is_reviewed_by_somebody_else(house: House) -> None:
    """Rule 41, R2: the officer says whether it was right; the client sees both."""
    practice = house.practice
    receipt = practice.recorded(house.other_therapist, break_glass(house))
    review = ReviewAccess(
        relationship=house.relationship,
        entry=receipt["entries"][0]["version"],
        finding=Finding.JUSTIFIED,
    )
    assert practice.send(house.other_therapist, review).status_code == 403
    practice.recorded(house.officer, review)
    seen = practice.shown(house.client, path(house, "/access/incidents"))["items"]
    assert [entry["topic"] for entry in seen] == ["break_glass.used", "access.reviewed"]
    assert seen[1]["content"]["finding"] == "justified"


# --- Restrictions ---------------------------------------------------------------------------


def restrict(house: House, **changes: Any) -> AgreeRestriction:
    fields: dict[str, Any] = {
        "relationship": house.relationship,
        "restriction": uuid4(),
        "client": house.client.person,
        "against": Against(person=house.supervisor.person),
        "what": "Not for supervision.",
    }
    return AgreeRestriction(**fields | changes)


def test_a_restriction_keeps_the_whole_record_from_whom_it_is_against(house: House) -> None:
    """R13, R26: from when it is agreed until it is lifted; everybody else reads as before."""
    practice = house.practice
    practice.worker.catch_up()
    assert practice.get(house.supervisor, path(house)).status_code == 200
    agreed = restrict(house)
    practice.recorded(house.therapist, agreed)
    practice.worker.catch_up()
    assert code(practice.get(house.supervisor, path(house))) == (403, "reading-restricted")
    assert practice.shown(house.supervisor, "/relationships")["items"] == []
    for who in (house.client, house.therapist, house.officer):
        assert practice.get(who, path(house)).status_code == 200
    practice.recorded(
        house.therapist,
        LiftRestriction(
            relationship=house.relationship,
            restriction=agreed.restriction,
            client_agreed=True,
            reason="She asked for it.",
        ),
    )
    assert practice.get(house.supervisor, path(house)).status_code == 200


def test_an_emergency_goes_past_a_restriction(house: House) -> None:
    """R13: emergency treatment is not prevented; the reading says on what it rests."""
    practice = house.practice
    practice.recorded(house.therapist, restrict(house))
    practice.recorded(house.supervisor, break_glass(house))
    assert practice.get(house.supervisor, path(house)).status_code == 200
    assert reads(house)[-1].basis is Basis.BREAK_GLASS


def test_restricted_entries_are_withheld_and_the_rest_is_shown(house: House) -> None:
    """R13, R26: in every view and word for word, also what a correction would tell of them."""
    practice = house.practice
    practice.worker.catch_up()
    log = practice.clinic.log
    history = log.history(relationship_stream(house.relationship))
    (goal,) = [entry.version for entry in history if entry.topic == "goal.proposed"]
    practice.recorded(house.therapist, restrict(house, entries=(goal,), against=Against()))
    practice.worker.catch_up()
    doors = ("", "/timeline", "/goals", "/entries")
    for who in (house.therapist, house.supervisor):
        for door in doors:
            answer = practice.get(who, path(house, door))
            assert answer.status_code == 200
            assert SECRET not in answer.text, door
    assert SECRET in practice.get(house.client, path(house)).text


def test_a_purpose_that_is_restricted_is_refused(house: House) -> None:
    """R13: the same reader, for something else, reads."""
    practice = house.practice
    practice.recorded(house.therapist, restrict(house, against=Against(purpose=Purpose.RESEARCH)))
    for purpose, status in (("research", 403), ("Research ", 403), ("care", 200)):
        headers = house.therapist.headers | {"Purpose": purpose}
        answer = practice.client.get(f"/api/v1{path(house)}", headers=headers)
        assert answer.status_code == status, purpose


# --- Denials --------------------------------------------------------------------------------


def test_a_client_sees_who_was_turned_away(house: House) -> None:
    """R23, R36: who, at which door, with which answer; the reading itself is recorded too."""
    practice = house.practice
    practice.get(house.other_therapist, path(house, "/goals"))
    (denied,) = practice.shown(house.client, path(house, "/access/incidents"))["items"]
    assert denied["content"] == {
        "person": str(house.other_therapist.person),
        "role": "therapist",
        "door": "goals",
        "code": "out-of-reach",
        "reported": [],
    }
    assert practice.get(house.other_client, path(house, "/access/incidents")).status_code == 404


def test_what_nobody_has_is_denied_in_the_clinics_own_trail(house: House) -> None:
    """R36: an id that is nobody's makes no stream of its own."""
    practice, nobody = house.practice, uuid4()
    practice.get(house.therapist, f"/relationships/{nobody}")
    log = practice.clinic.log
    assert not log.history(access_stream(nobody))
    last = log.history(access_stream(practice.clinic.id))[-1]
    assert isinstance(last.event, AccessDenied)
    assert last.actor == house.therapist.person


def test_somebody_who_asks_without_end_is_not_heard(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R36: each denial is an entry, so there is an end to them: then nothing is judged."""
    monkeypatch.setattr(Patience, "MOST", 5)
    practice = house.practice
    stranger, log = practice.somebody(Role.THERAPIST), practice.clinic.log
    size = log.head_size()
    answers = [code(practice.get(stranger, path(house))) for _ in range(8)]
    assert answers == [(404, "out-of-reach")] * 5 + [(429, "too-many-denials")] * 3
    assert log.head_size() == size + 5
    assert practice.get(house.therapist, path(house)).status_code == 200
    practice.later(minutes=61)
    assert code(practice.get(stranger, path(house))) == (404, "out-of-reach")


def test_patience_forgets_what_is_over() -> None:
    """R36: what lies an hour back does not count, and nothing is kept of it."""
    times = [datetime(2026, 3, 2, tzinfo=UTC) + timedelta(minutes=13 * n) for n in range(2_000)]
    clock = iter(times)
    patience, person = Patience(lambda: next(clock)), uuid4()
    for _ in range(Patience.MOST * 2):
        patience.note(person)
        patience.require(person)


# --- Roles ----------------------------------------------------------------------------------


def test_a_revoked_role_opens_nothing_from_the_next_request_on(
    house: House, new_practice: Callable[[Clinic], Practice]
) -> None:
    """R31, R35: in this process and in another, without waiting; another role stays."""
    practice = house.practice
    elsewhere = new_practice(practice.clinic)
    person = house.therapist.person
    practice.recorded(
        house.administrator, GrantRole(person=person, role=Role.SUPERVISOR, reason="Supervises.")
    )
    supervising = practice.somebody(Role.SUPERVISOR, person)
    assert practice.get(house.therapist, path(house)).status_code == 200
    revoke = RevokeRole(person=person, role=Role.THERAPIST, reason="Has left.")
    practice.recorded(house.administrator, revoke)
    for process in (practice, elsewhere):
        answer = process.get(house.therapist, path(house))
        assert code(answer) == (401, "not-authenticated")
        assert process.get(supervising, "/instruments").status_code == 200
    assert code(practice.send(house.administrator, revoke)) == (409, RoleNotHeld.code)


def test_revoking_at_the_machine_ends_the_tokens_too(house: House) -> None:
    """R35: granted anew, an old token does not come back."""
    practice, person = house.practice, house.therapist.person
    assert revoke_role(practice.service, person, Role.THERAPIST, "Has left.")
    assert not revoke_role(practice.service, person, Role.THERAPIST, "Has left.")
    back = practice.somebody(Role.THERAPIST, person)
    assert practice.get(house.therapist, path(house)).status_code == 401
    assert practice.get(back, path(house)).status_code == 200


def test_a_role_that_comes_back_brings_no_old_token_back(house: House) -> None:
    """R35: also where nobody ended the token itself; a new one is asked for and made."""
    practice, person = house.practice, house.therapist.person
    change = {"person": person, "role": Role.THERAPIST, "reason": "A leave."}
    practice.recorded(house.administrator, RevokeRole.model_validate(change))
    practice.recorded(house.administrator, GrantRole.model_validate(change))
    assert practice.get(house.therapist, path(house)).status_code == 401
    back = practice.somebody(Role.THERAPIST, person)
    assert practice.get(back, path(house)).status_code == 200


def test_only_an_administrator_changes_roles_and_not_their_own(house: House) -> None:
    """R31: nobody lets themself in."""
    practice = house.practice
    grant = GrantRole(person=uuid4(), role=Role.THERAPIST, reason="Friend.")
    for who in (house.therapist, house.client, house.supervisor, house.officer):
        assert code(practice.send(who, grant)) == (403, "not-admitted")
    own = GrantRole(person=house.administrator.person, role=Role.THERAPIST, reason="Why not.")
    assert code(practice.send(house.administrator, own)) == (409, "grants-oneself")


# --- Copies ---------------------------------------------------------------------------------


def exports(house: House) -> list[ExportMade]:
    history = house.practice.clinic.log.history(disclosure_stream(house.relationship))
    return [made for _, made in history.of(ExportMade)]


def test_a_copy_commits_to_what_it_holds(house: House) -> None:
    """Rule 43, R18: both times, views, filters; the record proves what was handed out."""
    copy = house.practice.shown(house.client, path(house, "/export"))
    (made,) = exports(house)
    content = canonical.encode(copy["content"])
    assert commitment(bytes.fromhex(copy["salt"]), content).hex() == copy["commitment"]
    assert made.commitment == copy["commitment"]
    assert str(made.export) == copy["export"]
    assert made.to == house.client.person
    assert {view.view for view in made.views} == {*copy["content"]["dossier"]["view_versions"]}
    assert made.known_at == made.happened_by
    assert copy["filters"]
    assert SECRET in str(copy["content"])
    assert committed(copy["content"]) != committed(copy["content"])  # the salt is fresh each time


def test_a_copy_is_as_of_the_times_it_states(house: House) -> None:
    """Rules 5 and 43: nothing in it was recorded later."""
    then = house.practice.clinic.clock.now - timedelta(hours=1)
    house.practice.recorded(house.therapist, house.held())
    copy = house.practice.shown(house.officer, path(house, "/export"), known_at=then.isoformat())
    assert copy["known_at"] == copy["happened_by"]
    assert copy["position"] < house.practice.clinic.log.head_size() - 1
    assert all(entry["position"] <= copy["position"] for entry in copy["content"]["entries"])


def test_a_copy_for_the_client_holds_no_process_notes(house: House) -> None:
    """R11: not one word of them, whoever asks."""
    practice, canary = house.practice, "The heron stood on one leg."
    practice.recorded(
        house.therapist, WriteProcessNote(relationship=house.relationship, text=canary)
    )
    for who in (house.client, house.therapist, house.officer):
        answer = practice.get(who, path(house, "/export"))
        assert answer.status_code == 200
        assert canary not in answer.text


def test_a_copy_holds_a_denial_and_what_was_said_of_it(house: House) -> None:
    """R8: request, denial, statement and rebuttal, linked to what they contest."""
    practice, amendment = house.practice, uuid4()
    about: dict[str, Any] = {"relationship": house.relationship, "amendment": amendment}
    party = house.client.person
    practice.recorded(
        house.client,
        RequestAmendment(**about, entry=1, party=party, wants="Day clinic.", reason="I know."),
    )
    practice.recorded(
        house.therapist, DenyAmendment(**about, ground=DenialGround.NOT_OURS, reason="No.")
    )
    practice.recorded(house.client, StateDisagreement(**about, text="It is so."))
    practice.recorded(house.therapist, RebutDisagreement(**about, text="It is not."))
    copy = practice.shown(house.client, path(house, "/export"))["content"]
    (linked,) = copy["amendments"]
    assert (linked["entry"], linked["denied"], len(linked["steps"])) == (1, "not_ours", 4)
    told = {entry["version"]: entry["content"] for entry in copy["entries"]}
    assert [told[step].get("text") or told[step]["reason"] for step in linked["steps"]] == [
        "I know.",
        "No.",
        "It is so.",
        "It is not.",
    ]


def test_a_restriction_blocks_a_copy_for_a_payer(house: House) -> None:
    """R13: whoever makes it, the officer and the machine too; one's own copy is free."""
    practice = house.practice
    against = Against(recipient=RecipientKind.HEALTH_PLAN)
    practice.recorded(house.therapist, restrict(house, against=against))
    for who in (house.therapist, house.officer):
        answer = practice.get(who, path(house, "/export"), recipient="health_plan")
        assert code(answer) == (403, "reading-restricted")
        assert practice.get(who, path(house, "/export"), recipient="provider").status_code == 200
    assert practice.get(house.client, path(house, "/export")).status_code == 200
    assert len(exports(house)) == 3


# --- The account ----------------------------------------------------------------------------


def disclosed(house: House, kind: RecipientKind) -> DiscloseRecord:
    return DiscloseRecord(
        relationship=house.relationship,
        recipient=Recipient(kind=kind, name="Inspectorate"),
        purpose=Purpose.OVERSIGHT,
        legal_basis=LegalBasis.REQUIRED_BY_LAW,
        basis="By law.",
        what="Attendance.",
    )


def recipients(house: House, who: Somebody, **asked: Any) -> list[str]:
    shown = house.practice.shown(who, path(house, "/disclosures"), **asked)["items"]
    return [entry["content"]["recipient"]["kind"] for entry in shown]


def test_a_client_is_told_who_received_what(house: House) -> None:
    """R9, R23: all of it, but for what is suspended, and that again when its time is over."""
    practice = house.practice
    practice.recorded(house.officer, disclosed(house, RecipientKind.PROVIDER))
    practice.recorded(house.officer, disclosed(house, RecipientKind.HEALTH_OVERSIGHT))
    assert recipients(house, house.client) == ["provider", "health_oversight"]
    assert recipients(house, house.client, recipients="provider") == ["provider"]
    assert recipients(house, house.client, purposes="research") == []
    assert recipients(house, house.client, end="2020-01-01T00:00:00Z") == []
    suspend = SuspendAccounting(
        relationship=house.relationship,
        recipient=RecipientKind.HEALTH_OVERSIGHT,
        agency="Inspectorate",
        in_writing=True,
        until=practice.clinic.clock.now + timedelta(days=10),
    )
    assert code(practice.send(house.therapist, suspend)) == (403, "not-admitted")
    practice.recorded(house.officer, suspend)
    assert recipients(house, house.client) == ["provider"]
    assert recipients(house, house.officer) == ["provider", "health_oversight"]
    practice.later(days=11)
    assert recipients(house, house.client) == ["provider", "health_oversight"]
    other = practice.get(house.other_client, path(house, "/disclosures"))
    assert code(other) == (404, "out-of-reach")


def test_the_page_of_readers_tells_it_all_in_words(house: House) -> None:
    """R23: readings with their basis, emergencies, denials, disclosures; a supervisor sees no
    account of what left the record."""
    practice = house.practice
    practice.get(house.other_therapist, path(house))
    practice.recorded(house.other_therapist, break_glass(house))
    practice.get(house.other_therapist, path(house))
    practice.recorded(house.officer, disclosed(house, RecipientKind.PROVIDER))

    def page(who: Somebody) -> str:
        accepts = {"Accept": "text/html"}
        answer = practice.client.get(path(house, "/readers"), headers=who.headers | accepts)
        assert answer.status_code == 200
        text: str = answer.text
        return text

    told = page(house.client)
    for words in (
        "was turned away at the relationship: out of reach",
        "She is not safe tonight.",
        "emergency</td>",
        "disclosed to Inspectorate, for oversight: Attendance.",
    ):
        assert words in told
    assert "What left the record" not in page(house.supervisor)


# --- Amendments that wait -------------------------------------------------------------------


def test_what_waits_for_an_answer_is_shown_with_its_time(house: House) -> None:
    """R7, R24: until when it is due, that it is overdue, and who is still to be told of it."""
    practice, amendment = house.practice, uuid4()
    about: dict[str, Any] = {"relationship": house.relationship, "amendment": amendment}
    practice.recorded(house.officer, disclosed(house, RecipientKind.PROVIDER))
    party = house.client.person
    practice.recorded(
        house.client,
        RequestAmendment(**about, entry=1, party=party, wants="Day clinic.", reason="I know."),
    )
    for who in (house.client, house.therapist, house.officer):
        told = practice.shown(who, path(house, "/amendments"))
        (due,) = told["due"]
        assert (due["amendment"], due["overdue"]) == (str(amendment), False)
    practice.later(days=61)
    (due,) = practice.shown(house.officer, path(house, "/amendments"))["due"]
    assert due["overdue"]
    log = practice.clinic.log
    opening = log.history(relationship_stream(house.relationship))[0].event
    assert isinstance(opening, RelationshipOpened)
    correct = CorrectEntry(
        stream=relationship_stream(house.relationship),
        entry=1,
        reason="As it was.",
        content=opening.model_dump(mode="json", exclude={"reported"}, exclude_none=True)
        | {"setting": "day clinic"},
    )
    version = practice.recorded(house.therapist, correct)["entries"][0]["version"]
    practice.recorded(house.therapist, AcceptAmendment(**about, correction=version))
    told = practice.shown(house.officer, path(house, "/amendments"))
    assert told["due"] == []
    assert [each["recipient"] for each in told["to_inform"]] == ["Inspectorate"]
    assert practice.shown(house.client, path(house, "/amendments"))["to_inform"] == []


# --- Who has left ---------------------------------------------------------------------------


def test_who_has_left_a_group_reads_what_was_until_then(house: House) -> None:
    """R23: it stays their record, as far as it tells of the time in which they were there."""
    practice, group = house.practice, uuid4()
    others = [practice.somebody(Role.CLIENT) for _ in range(2)]
    for other in others:
        register = RegisterPerson(person=other.person, full_name="Kim Beispiel")
        practice.recorded(house.administrator, register)
    practice.recorded(
        house.therapist,
        OpenRelationship(
            relationship=group,
            clients=(house.client.person, *(other.person for other in others)),
            therapists=(house.therapist.person,),
            constellation=Constellation.GROUP,
            modality="group analysis",
            setting="outpatient",
        ),
    )

    def agree_on(statement: str) -> None:
        goal = ProposeGoal(relationship=group, statement=statement, by=house.therapist.person)
        practice.recorded(house.therapist, goal)

    agree_on("While she was there.")
    practice.later(hours=1)
    leave = LeaveRelationship(relationship=group, person=house.client.person, reason="Moves away.")
    practice.recorded(house.therapist, leave)
    practice.later(hours=1)
    agree_on("After she had left.")
    for door in ("", "/entries"):
        left = practice.get(house.client, f"/relationships/{group}{door}").text
        assert "While she was there." in left
        assert "After she had left." not in left
        assert (
            "After she had left." in practice.get(others[0], f"/relationships/{group}{door}").text
        )
