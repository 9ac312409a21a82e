"""Notes, ruptures, recall and supervision attacked through the doors, on a real log."""

from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from domain.clinic import Scope
from domain.consent import ConsentMissing
from domain.correction import CorrectEntry, MarkEnteredInError, NotCorrectable, StaysAsRecorded
from domain.event import Command, Refusal
from domain.instrument import Perspective
from domain.note import (
    CosignNote,
    NoteKind,
    NotSignedYet,
    OwnCosignature,
    Section,
    SignatureDoesNotFit,
    SignNote,
    WriteNote,
    notes_of,
)
from domain.person import AttestRaterTraining, RaterNotTrained
from domain.process_note import WriteProcessNote, process_stream
from domain.rating import NotTheirPerspective
from domain.recall import HoldRecallInterview, InquirerConcerned, MarkMoment
from domain.recording import (
    EndRecording,
    RecordingEnd,
    RecordingKind,
    RecordingPurpose,
    StartRecording,
    UseNotConsented,
    UseRecording,
)
from domain.relationship import relationship_stream
from domain.rupture import (
    Kind,
    Marker,
    MarkRupture,
    Method,
    ResolveRupture,
    Segment,
    SegmentOutsideRecording,
    open_ruptures,
)
from domain.supervision import HoldSupervision
from domain.withdrawal import WithdrawConsent
from tests.api.conftest import House, Somebody
from tests.api.test_commands import refused

WORDS = "I was bored, and wonder why."


def log(house: House) -> Any:
    return house.practice.clinic.log.history(relationship_stream(house.relationship))


def tell(house: House, who: Somebody, command: Command) -> dict[str, Any]:
    return house.practice.recorded(who, command)


def refuse(house: House, who: Somebody, command: Command, refusal: type[Refusal]) -> None:
    refused(house.practice.send(who, command), refusal)


def note(house: House, **changes: Any) -> UUID:
    """A note of the session, by its therapist."""
    id_ = uuid4()
    fields: dict[str, Any] = {
        "relationship": house.relationship,
        "note": id_,
        "kind": NoteKind.SESSION,
        "session": house.session,
        "sections": (Section(text="A calm hour."),),
        "author": house.therapist.person,
    }
    tell(house, house.therapist, WriteNote(**fields | changes))
    return id_


def sign(house: House, id_: UUID, of: UUID | None = None) -> SignNote:
    """A signature under a note; with another's commitment if told so."""
    commitment = notes_of(log(house))[of or id_].body.entry.commitment
    return SignNote(relationship=house.relationship, note=id_, commitment=commitment)


def cosign(house: House, id_: UUID) -> CosignNote:
    signed = sign(house, id_)
    return CosignNote(relationship=house.relationship, note=id_, commitment=signed.commitment)


def withdraw(house: House, scope: Scope) -> WithdrawConsent:
    return WithdrawConsent(relationship=house.relationship, consent=house.consents[scope])


# --- Signatures -----------------------------------------------------------------------------


def test_a_signature_is_made_by_the_author_alone(house: House) -> None:
    """R20: no other role, no other therapist, and no supervisor in the author's place."""
    command = sign(house, note(house))
    for who in (house.client, house.officer, house.administrator, house.supervisor):
        answer = house.practice.send(who, command)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-admitted")
    assert house.practice.send(house.other_therapist, command).status_code == 404
    receipt = tell(house, house.therapist, command)
    entry = log(house).entry(receipt["entries"][0]["version"])
    assert (entry.actor, entry.on_behalf_of) == (house.therapist.person, None)


def test_two_notes_of_the_same_words_have_two_commitments(house: House) -> None:
    """R20: the salt is each entry's own, so that a signature cannot be moved to its twin."""
    first, second = note(house), note(house)
    refuse(house, house.therapist, sign(house, first, of=second), SignatureDoesNotFit)
    tell(house, house.therapist, sign(house, first))
    notes = notes_of(log(house))
    assert [notes[id_].body.is_signed for id_ in (first, second)] == [True, False]


def test_the_order_of_signatures_is_enforced(house: House) -> None:
    """R19: no co-signature before the author's, none by the author, none by a client."""
    id_ = note(house)
    refuse(house, house.supervisor, cosign(house, id_), NotSignedYet)
    refuse(house, house.therapist, cosign(house, id_), OwnCosignature)
    assert house.practice.send(house.client, cosign(house, id_)).status_code == 403
    tell(house, house.therapist, sign(house, id_))
    tell(house, house.supervisor, cosign(house, id_))
    assert notes_of(log(house))[id_].body.is_cosigned


def test_without_disclosure_the_supervisor_reads_and_signs_nothing(house: House) -> None:
    """Rules 20, 41: after a withdrawal the record is out of the supervisor's reach."""
    id_ = note(house)
    tell(house, house.therapist, sign(house, id_))
    command = cosign(house, id_)
    tell(house, house.client, withdraw(house, Scope.SUPERVISION_DISCLOSURE))
    assert house.practice.send(house.supervisor, command).status_code == 404


def test_nothing_signed_is_reworded_or_unsigned(house: House) -> None:
    """Rule 1, R17: neither the note nor the signature; a struck note keeps its signature."""
    id_ = note(house)
    receipt = tell(house, house.therapist, sign(house, id_))
    stream = relationship_stream(house.relationship)
    body = notes_of(log(house))[id_].body
    content = body.written.model_dump(mode="json", exclude_none=True)
    reworded = CorrectEntry(
        stream=stream, entry=body.entry.version, reason="Nicer.", content=content
    )
    refuse(house, house.therapist, reworded, NotCorrectable)
    version = receipt["entries"][0]["version"]
    unsigned = MarkEnteredInError(stream=stream, entry=version, reason="Too early.")
    refuse(house, house.therapist, unsigned, StaysAsRecorded)
    strike = MarkEnteredInError(stream=stream, entry=body.entry.version, reason="Another client.")
    tell(house, house.therapist, strike)
    struck = notes_of(log(house))[id_].body
    assert (struck.struck, struck.is_signed) == (True, True)


# --- What is kept apart ---------------------------------------------------------------------


def test_nobody_else_mends_a_process_note(house: House) -> None:
    """R12: to a supervisor, a client or another therapist there is no such entry."""
    written = WriteProcessNote(relationship=house.relationship, note=uuid4(), text=WORDS)
    tell(house, house.therapist, written)
    stream = process_stream(house.relationship)
    strike = MarkEnteredInError(stream=stream, entry=1, reason="No.")
    everybody = (house.supervisor, house.client, house.officer, house.other_therapist)
    for who in (*everybody, house.administrator):
        answer = house.practice.send(who, strike)
        assert answer.status_code in (403, 404), (who.role, answer.text)
        assert house.practice.send(who, written).status_code in (403, 404)
    tell(house, house.therapist, strike)


def test_supervision_is_not_held_over_a_withdrawal(house: House) -> None:
    """Rules 20, 22: what was held before may be recorded late; nothing after it."""
    practice = house.practice
    tell(house, house.client, withdraw(house, Scope.SUPERVISION_DISCLOSURE))
    now = practice.clinic.clock.now

    def held(start: timedelta) -> HoldSupervision:
        return HoldSupervision(
            relationship=house.relationship,
            supervisor=house.supervisor.person,
            supervisees=(house.therapist.person,),
            started_at=now + start,
            ended_at=now + start + timedelta(minutes=30),
        )

    practice.later(hours=1)
    refuse(house, house.therapist, held(timedelta(minutes=5)), ConsentMissing)
    tell(house, house.therapist, held(-timedelta(hours=1)))
    assert practice.send(house.supervisor, held(-timedelta(hours=1))).status_code == 404


# --- Ruptures -------------------------------------------------------------------------------


def mark(house: House, by: Somebody, view: Perspective, **changes: Any) -> MarkRupture:
    fields: dict[str, Any] = {
        "relationship": house.relationship,
        "rupture": uuid4(),
        "raised_by": by.person,
        "perspective": view,
        "method": Method.NAMED_IN_SESSION,
        "kind": Kind.WITHDRAWAL,
        "markers": (Marker.MINIMAL_RESPONSE,),
        "session": house.session,
    }
    return MarkRupture(**fields | changes)


def test_views_of_a_rupture_come_in_by_their_own_doors(house: House) -> None:
    """Rules 33, 39: a client's word is recorded by the client or visibly for the client."""
    client: Final = Perspective.CLIENT
    marked = mark(house, house.client, client)
    tell(house, house.client, marked)
    resolve = ResolveRupture(
        relationship=house.relationship,
        rupture=marked.rupture,
        by=house.client.person,
        perspective=client,
        basis="We could say it.",
    )
    answer = house.practice.send(house.supervisor, resolve)
    assert (answer.status_code, answer.json()["code"]) == (403, "not-in-their-place")
    theirs = resolve.model_copy(update={"by": house.therapist.person})
    refuse(house, house.therapist, theirs, NotTheirPerspective)
    own = theirs.model_copy(update={"perspective": Perspective.THERAPIST})
    tell(house, house.therapist, own)
    assert open_ruptures(log(house)) == (marked.rupture,)
    receipt = tell(house, house.therapist, resolve)
    entry = log(house).entry(receipt["entries"][0]["version"])
    assert (entry.actor, entry.on_behalf_of) == (house.therapist.person, house.client.person)
    assert open_ruptures(log(house)) == ()


def record(house: House) -> UUID:
    """Ten minutes of the session, on a recording to which the client consents."""
    recording = uuid4()
    house.consent(Scope.RECORDING)
    house.practice.later(hours=2)
    house.session = uuid4()
    held = house.held(house.session)
    start = held.started_at + timedelta(minutes=20)
    tell(house, house.therapist, held)
    tell(
        house,
        house.therapist,
        StartRecording(
            relationship=house.relationship,
            recording=recording,
            session=house.session,
            kind=RecordingKind.VIDEO,
            started_at=start,
            agreed_by=(house.therapist.person,),
        ),
    )
    end = EndRecording(
        relationship=house.relationship,
        recording=recording,
        ended_at=start + timedelta(minutes=10),
        why=RecordingEnd.SOMEBODY_ASKED,
    )
    tell(house, house.therapist, end)
    house.practice.later(minutes=5)
    return recording


def coding(house: House, recording: UUID, to_s: int = 300) -> MarkRupture:
    return mark(
        house,
        house.supervisor,
        Perspective.OBSERVER,
        method=Method.CODED_3RS,
        segment=Segment(recording=recording, from_s=0, to_s=to_s),
    )


def test_an_observer_codes_as_trained_inside_and_while_it_is_consented(house: House) -> None:
    """Rules 22, 39: each of these taken away, and the coding is refused."""
    recording = record(house)
    use = UseRecording(
        relationship=house.relationship,
        recording=recording,
        purpose=RecordingPurpose.SUPERVISION,
        by=house.supervisor.person,
    )
    tell(house, house.supervisor, use)
    refuse(house, house.supervisor, coding(house, recording), RaterNotTrained)
    attested = AttestRaterTraining(
        practitioner=house.supervisor.person,
        system="3RS",
        trained_by="Institute of Process Research",
        basis="ICC .85.",
        valid_from=date(2020, 1, 1),
    )
    for who in (house.supervisor, house.therapist, house.client):
        assert house.practice.send(who, attested).status_code == 403
    tell(house, house.administrator, attested)
    refuse(house, house.supervisor, coding(house, recording, 601), SegmentOutsideRecording)
    tell(house, house.supervisor, coding(house, recording, 600))
    tell(house, house.client, withdraw(house, Scope.RECORDING))
    refuse(house, house.supervisor, coding(house, recording), UseNotConsented)


def test_a_client_recalls_with_somebody_who_was_not_there(house: House) -> None:
    """IPR, rule 33: the therapist of the hour does not inquire; the words are the client's."""
    recording = record(house)
    interview = HoldRecallInterview(
        relationship=house.relationship,
        recall=uuid4(),
        session=house.session,
        party=house.client.person,
        inquirer=house.therapist.person,
        recording=recording,
        held_at=house.practice.clinic.clock.now,
    )
    refuse(house, house.therapist, interview, InquirerConcerned)
    own = interview.model_copy(update={"inquirer": house.supervisor.person})
    tell(house, house.supervisor, own)
    moment = MarkMoment(
        relationship=house.relationship,
        recall=own.recall,
        t_s=128,
        party=house.client.person,
        what="Here I wanted to leave.",
    )
    assert house.practice.send(house.supervisor, moment).status_code == 403
    tell(house, house.client, moment)
