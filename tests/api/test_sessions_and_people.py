"""The rules of sessions, recordings, participants, frames and closures, tried at their doors."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.access import Role
from domain.clinic import Scope
from domain.closure import CloseRelationship
from domain.consenting import GiveConsent
from domain.emergency import ReviewEmergency
from domain.event import Command
from domain.frame import AgreeFrame, FrameItem, RecordFrameDeparture, Term
from domain.information import GiveInformation
from domain.participant import JoinRelationship, LeaveRelationship
from domain.pause import PauseRelationship, ResumeRelationship
from domain.person import RegisterPerson
from domain.phase import DeclarePhase
from domain.recording import (
    DestroyRecording,
    EndRecording,
    RecordingEnd,
    RecordingKind,
    RecordingPurpose,
    StartRecording,
    UseRecording,
)
from domain.relationship import Constellation, Initiator, OpenRelationship, Part
from domain.session import AbandonSession, HoldSession
from domain.summary import ShareSessionSummary
from domain.withdrawal import WithdrawConsent
from tests.api.conftest import SHA256, House, Somebody

TAPE = uuid4()


def refused(house: House, who: Somebody, command: Command, status: int, code: str) -> Any:
    """What the door answers; nothing is recorded."""
    stream = f"relationship-{house.relationship}"
    before = house.practice.clinic.log.head_size()
    answer = house.practice.send(who, command)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    after = [*house.practice.clinic.log.read_log(before, 1000)]
    assert stream not in {str(entry.stream) for entry in after}
    return answer.json()


def start(house: House, held: HoldSession, **changes: Any) -> StartRecording:
    return StartRecording(
        relationship=house.relationship,
        recording=TAPE,
        session=held.session,
        kind=RecordingKind.AUDIO,
        started_at=changes.pop("started_at", held.started_at),
        agreed_by=(house.therapist.person,),
    )


def end(house: House, held: HoldSession) -> EndRecording:
    return EndRecording(
        relationship=house.relationship,
        recording=TAPE,
        ended_at=held.ended_at,
        why=RecordingEnd.SESSION_OVER,
    )


def use(house: House, purpose: RecordingPurpose, by: Somebody) -> UseRecording:
    return UseRecording(
        relationship=house.relationship, recording=TAPE, purpose=purpose, by=by.person
    )


def test_a_recording_across_a_withdrawal_is_refused_with_the_moment(house: House) -> None:
    """Rule 22: whoever says that it went on is told when the consent ended."""
    practice = house.practice
    house.consent(Scope.RECORDING)
    practice.later(minutes=20)
    moment = practice.clinic.clock.now
    withdraw = WithdrawConsent(
        relationship=house.relationship, consent=house.consents[Scope.RECORDING]
    )
    practice.recorded(house.client, withdraw)
    practice.later(minutes=25)
    held = house.held()
    practice.recorded(house.therapist, held)
    practice.recorded(house.therapist, start(house, held, started_at=moment - timedelta(minutes=9)))
    told = refused(house, house.therapist, end(house, held), 409, "recording-outlasts-consent")
    assert told["rule"] == 22
    assert told["ids"]["party"] == str(house.client.person)
    assert told["ids"]["ended_at"].startswith(f"{moment:%Y-%m-%dT%H:%M:%S}")


def test_a_recording_is_used_for_what_was_consented_to(house: House) -> None:
    """Rules 22 and 24: supervision is consented to here; research is not; and each speaks for
    themself."""
    practice = house.practice
    house.consent(Scope.RECORDING)
    practice.later(hours=1)
    held = house.held()
    practice.recorded(house.therapist, held)
    for step in (start(house, held), end(house, held)):
        refused(house, house.client, step, 403, "not-admitted")
        practice.recorded(house.therapist, step)
    practice.recorded(house.supervisor, use(house, RecordingPurpose.SUPERVISION, house.supervisor))
    research = use(house, RecordingPurpose.RESEARCH, house.therapist)
    refused(house, house.therapist, research, 409, "use-not-consented")
    speaking = use(house, RecordingPurpose.SUPERVISION, house.therapist)
    refused(house, house.supervisor, speaking, 403, "not-in-their-place")
    destroy = DestroyRecording(
        relationship=house.relationship,
        recording=TAPE,
        by=house.therapist.person,
        reason="As agreed.",
    )
    practice.recorded(house.therapist, destroy)
    gone = use(house, RecordingPurpose.SUPERVISION, house.supervisor)
    refused(house, house.supervisor, gone, 409, "recording-gone")


def test_nobody_meets_in_a_pause(house: House) -> None:
    """Rule 16: by no medium and broken off or not, until it is resumed."""
    practice = house.practice
    pause = PauseRelationship(
        relationship=house.relationship, reason="Away.", initiated_by=Initiator.CLIENT
    )
    refused(house, house.other_therapist, pause, 404, "out-of-reach")
    practice.recorded(house.therapist, pause)
    practice.later(hours=2)
    held = house.held()
    broken_off = AbandonSession(
        **held.model_dump(exclude_unset=True), who=house.client.person, why="Left."
    )
    for session in (held, broken_off):
        refused(house, house.therapist, session, 409, "relationship-is-paused")
    practice.recorded(house.therapist, ResumeRelationship(relationship=house.relationship))
    practice.later(hours=1)
    practice.recorded(house.therapist, house.held())


def test_a_supervisor_comes_and_goes_with_what_they_see(house: House) -> None:
    """Rules 10 and 41: whoever supervises now may look, and whoever did may not any more."""
    practice, path = house.practice, f"/relationships/{house.relationship}"
    leave = LeaveRelationship(
        relationship=house.relationship, person=house.supervisor.person, reason="On leave."
    )
    refused(house, house.client, leave, 403, "not-admitted")
    assert practice.get(house.supervisor, path).status_code == 200
    practice.recorded(house.therapist, leave)
    assert practice.get(house.supervisor, path).status_code == 404
    back = JoinRelationship(
        relationship=house.relationship,
        person=house.supervisor.person,
        part=Part.SUPERVISOR,
        reason="Back.",
    )
    practice.recorded(house.therapist, back)
    assert practice.get(house.supervisor, path).status_code == 200
    second = back.model_copy(update={"person": house.other_therapist.person})
    refused(house, house.therapist, second, 409, "supervised-already")
    client = back.model_copy(update={"person": house.other_client.person, "part": Part.CLIENT})
    refused(house, house.therapist, client, 422, "constellation-differs")


def test_each_tells_of_the_frame_in_their_own_name(house: House) -> None:
    """Rule 33: a client says what departed from it; nobody says so in the therapist's name."""
    both = (house.client.person, house.therapist.person)
    terms = (Term(item=FrameItem.LENGTH, terms="50 minutes."),)
    agree = AgreeFrame(relationship=house.relationship, items=terms, agreed_by=both)
    house.practice.recorded(house.therapist, agree)
    alone = agree.model_copy(update={"agreed_by": (house.therapist.person,)})
    refused(house, house.therapist, alone, 422, "frame-not-agreed-by-all")
    departed = RecordFrameDeparture(
        relationship=house.relationship,
        item=FrameItem.TIME,
        session=house.session,
        reason="Began late.",
        by=house.client.person,
    )
    house.practice.recorded(house.client, departed)
    in_their_name = departed.model_copy(update={"by": house.therapist.person})
    refused(house, house.client, in_their_name, 403, "not-in-their-place")


@pytest.mark.parametrize("what", ["phase", "summary", "review"])
def test_a_client_does_not_speak_as_a_therapist(house: House, what: str) -> None:
    """Rules 12 and 33: phases, summaries and reviews are the words of those who treat."""
    relationship, by = house.relationship, house.therapist.person
    commands: dict[str, Command] = {
        "phase": DeclarePhase(relationship=relationship, phase="ending", by=by, rationale="Well."),
        "summary": ShareSessionSummary(
            relationship=relationship, session=house.session, by=by, summary="One stop."
        ),
        "review": ReviewEmergency(
            relationship=relationship, session=house.session, by=by, outcome="Right."
        ),
    }
    refused(house, house.client, commands[what], 403, "not-admitted")
    refused(house, house.other_therapist, commands[what], 404, "out-of-reach")
    if what == "review":
        refused(house, house.therapist, commands[what], 409, "no-emergency")
    else:
        house.practice.recorded(house.therapist, commands[what])


def test_a_closing_asks_for_no_number(house: House) -> None:
    """Rule 16: open ruptures are known, and not counted by hand."""
    body = CloseRelationship(
        relationship=house.relationship,
        reason="Done.",
        initiated_by=Initiator.BOTH,
        goals="One is open.",
    ).model_dump(mode="json", exclude_unset=True)
    door, headers = "/api/v1/commands/close-relationship", house.therapist.headers
    counted = house.practice.client.post(door, json=body | {"open_ruptures": 0}, headers=headers)
    assert counted.status_code == 422
    assert house.practice.client.post(door, json=body, headers=headers).status_code == 201


def family(house: House) -> tuple[UUID, Somebody]:
    """A family of two clients, and somebody who may join them."""
    practice, relationship = house.practice, uuid4()
    newcomer = practice.somebody(Role.CLIENT)
    practice.recorded(
        house.administrator, RegisterPerson(person=newcomer.person, full_name="Ada Beispiel")
    )
    practice.recorded(
        house.therapist,
        OpenRelationship(
            relationship=relationship,
            clients=(house.client.person, house.other_client.person),
            therapists=(house.therapist.person,),
            constellation=Constellation.FAMILY,
            modality="systemic",
            setting="outpatient",
            supervisor=house.supervisor.person,
        ),
    )
    return relationship, newcomer


def test_nobody_reads_of_a_time_when_they_were_not_there(house: House) -> None:
    """Rules 10 and 41: who joins a family does not read what was said before, nor who has left
    what is said since; what is told of their own time they both read."""
    practice = house.practice
    relationship, newcomer = family(house)

    def declare(phase: str) -> None:
        practice.later(hours=1)
        by = house.therapist.person
        said = DeclarePhase(relationship=relationship, phase=phase, by=by, rationale="Seen.")
        practice.recorded(house.therapist, said)

    def phases(reader: Somebody) -> list[str | None]:
        items = practice.shown(reader, f"/relationships/{relationship}/entries")["items"]
        declared = [entry for entry in items if entry["topic"] == "phase.declared"]
        return [entry["content"] and entry["content"]["phase"] for entry in declared]

    declare("first")
    assert practice.get(newcomer, f"/relationships/{relationship}/entries").status_code == 404
    join = JoinRelationship(
        relationship=relationship, person=newcomer.person, part=Part.CLIENT, reason="Asked to."
    )
    practice.recorded(house.therapist, join)
    declare("second")
    leave = LeaveRelationship(
        relationship=relationship, person=house.other_client.person, reason="Moved away."
    )
    practice.recorded(house.therapist, leave)
    declare("third")
    assert phases(house.client) == phases(house.therapist) == ["first", "second", "third"]
    assert phases(newcomer) == [None, "second", "third"]
    assert phases(house.other_client) == ["first", "second", None]


def test_a_supervisor_needs_the_consent_of_who_has_left_too(house: House) -> None:
    """Rules 22 and 41: the record still tells of somebody who never agreed to supervision."""
    practice = house.practice
    relationship, newcomer = family(house)
    practice.recorded(
        house.therapist,
        JoinRelationship(
            relationship=relationship, person=newcomer.person, part=Part.CLIENT, reason="Asked to."
        ),
    )
    for client in (house.client, newcomer):
        informed = GiveInformation(
            relationship=relationship,
            document=practice.document,
            version=1,
            sha256=SHA256,
            to=client.person,
            by=house.therapist.person,
        )
        practice.recorded(house.therapist, informed)
        agreed = GiveConsent(
            relationship=relationship,
            scope=Scope.SUPERVISION_DISCLOSURE,
            party=client.person,
            document=practice.document,
            version=1,
            sha256=SHA256,
            signer=client.person,
        )
        practice.recorded(client, agreed)
    practice.later(hours=1)
    leave = LeaveRelationship(
        relationship=relationship, person=house.other_client.person, reason="Moved away."
    )
    practice.recorded(house.therapist, leave)
    practice.later(hours=1)
    path = f"/relationships/{relationship}/entries"
    assert practice.get(house.supervisor, path).status_code == 404
    assert practice.get(house.therapist, path).status_code == 200
