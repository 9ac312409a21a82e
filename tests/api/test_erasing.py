"""Erasure behind the doors: held, retained, carried out, carried on after a crash or a restore."""

from uuid import UUID, uuid4

import pytest

from api.erasing import carry_out, plan
from api.opening import destroy_again
from domain.access import Role
from domain.erasure import (
    RECORD,
    DestroyKeys,
    ErasureBasis,
    KeyDestroyed,
    LegalHoldStands,
    RequestErasure,
    StillRetained,
    destroyed_keys,
    erasure_stream,
)
from domain.event import Erased, Stream
from domain.hold import LiftLegalHold, PlaceLegalHold
from domain.person import person_stream
from domain.process_note import WriteProcessNote
from domain.records import Author, Records
from domain.relationship import Constellation, OpenRelationship, relationship_stream
from infra.acknowledged import AcknowledgedHeadBroken
from infra.keyring import open_keyring
from infra.settings import Settings
from tests.api.conftest import SECRET, House

LAWFUL = ErasureBasis.LEGAL_OBLIGATION
WHY = "By order of the court."


def gone(house: House, relationship: UUID | None = None) -> bool:
    """Whether nothing of the relationship can be read any more."""
    stream = relationship_stream(relationship or house.relationship)
    history = house.practice.clinic.log.history(stream)
    return bool(history) and all(isinstance(entry.event, Erased) for entry in history)


def erase(house: House, person: UUID, basis: ErasureBasis = LAWFUL) -> None:
    service = house.practice.service
    carry_out(service, plan(service, person, basis, WHY), basis, WHY)


def test_an_erasure_is_noted_and_nothing_can_be_read(house: House) -> None:
    """Rule 9, R25: the entry names every key; identity and record are gone, the log verifies."""
    practice, log = house.practice, house.practice.clinic.log
    practice.recorded(house.client, RequestErasure(person=house.client.person))
    size = log.head_size()
    erase(house, house.client.person)
    assert gone(house)
    (identity,) = log.history(person_stream(house.client.person))
    assert isinstance(identity.event, Erased)
    assert not gone(house, house.other)
    (entry,) = log.read_log(size, 10)
    assert isinstance(entry.event, KeyDestroyed)
    assert set(entry.event.keys) == practice.clinic.keyring.destroyed(practice.clinic.id)
    assert entry.event.relationships == (house.relationship,)
    for who in (house.client, house.therapist, house.supervisor):
        assert practice.get(who, f"/relationships/{house.relationship}").status_code == 404
    shown = practice.get(house.officer, f"/relationships/{house.relationship}/entries")
    assert shown.status_code == 200
    assert SECRET not in shown.text
    assert practice.clinic.check_record().size == log.head_size()


def test_a_legal_hold_blocks_it_through_the_door(house: House) -> None:
    """Rule 9: the officer places it, and no ground goes past it; lifted, the way is free."""
    hold = PlaceLegalHold(
        relationship=house.relationship, hold=uuid4(), matter="3 O 114/26", authority="Court"
    )
    house.practice.recorded(house.officer, hold)
    planned = plan(house.practice.service, house.client.person, LAWFUL, WHY)
    assert [type(each.blocked) for each in planned.affected] == [LegalHoldStands]
    with pytest.raises(LegalHoldStands):
        erase(house, house.client.person)
    assert not gone(house)
    lift = LiftLegalHold(relationship=house.relationship, hold=hold.hold, reason="Settled.")
    house.practice.recorded(house.officer, lift)
    erase(house, house.client.person)
    assert gone(house)


def test_a_hold_that_another_process_placed_just_now_counts(house: House) -> None:
    """Rule 9: the hold's stream is a read guard: who decided without knowing decides again."""
    clinic, service = house.practice.clinic, house.practice.service
    planned = plan(service, house.client.person, LAWFUL, WHY)
    assert [each.blocked for each in planned.affected] == [None]
    hold = PlaceLegalHold(relationship=house.relationship, matter="3 O 114/26", authority="Court")
    Records(clinic.open_log()).record(hold, Author(uuid4()))
    with pytest.raises(LegalHoldStands):
        carry_out(service, planned, LAWFUL, WHY)
    assert clinic.keyring.destroyed(clinic.id) == frozenset()


def test_a_record_within_its_time_is_kept(house: House) -> None:
    """R5: no longer needed is no ground within six years; after them it is."""
    basis = ErasureBasis.NO_LONGER_NEEDED
    planned = plan(house.practice.service, house.client.person, basis, WHY)
    assert [type(each.blocked) for each in planned.affected] == [StillRetained]
    with pytest.raises(StillRetained):
        erase(house, house.client.person, basis)
    assert house.practice.clinic.keyring.destroyed(house.practice.clinic.id) == frozenset()
    house.practice.later(days=7 * 366)
    erase(house, house.client.person, basis)
    assert gone(house)


def test_what_is_joint_stays_until_the_last_client_is_erased(house: House) -> None:
    """Rule 9: one partner's erasure takes what is theirs, not the other's record."""
    practice, couple = house.practice, uuid4()
    practice.recorded(
        house.therapist,
        OpenRelationship(
            relationship=couple,
            clients=(house.client.person, house.other_client.person),
            therapists=(house.therapist.person,),
            constellation=Constellation.COUPLE,
            modality="systemic",
            setting="outpatient",
        ),
    )
    erase(house, house.client.person)
    assert not gone(house, couple)
    planned = plan(practice.service, house.other_client.person, LAWFUL, WHY)
    assert {each.relationship: each.whole for each in planned.affected} == {
        couple: True,
        house.other: True,
    }
    erase(house, house.other_client.person)
    assert gone(house, couple)


def test_an_erasure_that_was_cut_short_is_completed_at_the_next_start(house: House) -> None:
    """Rule 9: the entry comes first; whoever starts next destroys what it names."""
    service, clinic = house.practice.service, house.practice.clinic
    planned = plan(service, house.client.person, LAWFUL, WHY)
    noted = DestroyKeys(
        person=planned.person,
        keys=planned.keys,
        basis=LAWFUL,
        reason=WHY,
        relationships=planned.relationships,
    )
    service.records.record(noted, Author(uuid4()))
    assert not gone(house)
    destroy_again(clinic.log, clinic.keyring, service.settings)
    house.practice.later(seconds=1)
    assert gone(house)
    assert erasure_stream(house.client.person) in set(clinic.log.streams("erasure"))


def test_a_restored_keyring_brings_nobody_back(house: House) -> None:
    """Rule 9, R25: an older keyring opens no erased content once something is served."""
    clinic, copy = house.practice.clinic, house.practice.clinic.home / "copy.db"
    clinic.log.make_clinic_keys()
    clinic.keyring.backup(copy)
    erase(house, house.client.person)
    older = clinic.home / "older"
    older.mkdir(mode=0o700)
    (older / "master.key").write_bytes((clinic.home / "keyring" / "master.key").read_bytes())
    (older / "master.key").chmod(0o600)
    with open_keyring(older, new_ring=True) as ring:
        ring.restore(copy)
        log = clinic.open_log(ring)
        stream = relationship_stream(house.relationship)
        assert not all(isinstance(entry.event, Erased) for entry in log.history(stream))
        destroy_again(log, ring, Settings(home=older))
        assert ring.destroyed(clinic.id) == clinic.keyring.destroyed(clinic.id)
        fresh = clinic.open_log(ring)
        assert all(isinstance(entry.event, Erased) for entry in fresh.history(stream))


def test_only_the_client_or_the_officer_asks_for_an_erasure(house: House) -> None:
    """R25: one's own, or what came on paper; nobody asks that somebody else be erased."""
    practice = house.practice
    theirs = RequestErasure(person=house.client.person)
    for who in (house.other_client, house.therapist, house.administrator):
        assert practice.send(who, theirs).status_code in (403, 404)
    practice.recorded(house.officer, theirs)
    assert practice.send(house.client, theirs).json()["code"] == "erasure-asked-already"
    stranger = practice.somebody(Role.CLIENT)
    practice.recorded(stranger, RequestErasure(person=stranger.person))


def test_what_is_sealed_while_an_erasure_is_prepared_goes_too(house: House) -> None:
    """Rule 9: a process note, written after the plan was made, has a key that the plan lacks."""
    service, clinic = house.practice.service, house.practice.clinic
    planned = plan(service, house.client.person, LAWFUL, WHY)
    house.practice.recorded(
        house.therapist, WriteProcessNote(relationship=house.relationship, text=SECRET)
    )
    carry_out(service, planned, LAWFUL, WHY)
    for category in RECORD:
        stream = Stream(category, house.relationship)
        assert all(isinstance(entry.event, Erased) for entry in clinic.log.history(stream))
    assert plan(service, house.client.person, LAWFUL, WHY).keys == ()
    noted = clinic.log.history(erasure_stream(house.client.person))
    assert destroyed_keys(noted) == clinic.keyring.destroyed(clinic.id)
    assert len(list(noted.of(KeyDestroyed))) == 2


def test_destroyed_keys_are_remembered_beside_the_heads(house: House) -> None:
    """Rule 9: ids alone, one a line; what an older version erased is added at the next start."""
    service, clinic = house.practice.service, house.practice.clinic
    file = clinic.home / "heads" / f"{clinic.id}.erased"
    erase(house, house.client.person)
    destroyed = clinic.keyring.destroyed(clinic.id)
    assert file.read_text() == "".join(f"{key}\n" for key in sorted(destroyed))
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    destroy_again(clinic.log, clinic.keyring, service.settings)
    assert len(file.read_text().splitlines()) == len(destroyed)


@pytest.mark.parametrize(
    "damage", ["\n", "no key\n", "\x00", str(UUID(int=7)), f"{UUID(int=7)}\n" * 2, "ä"]
)
def test_a_damaged_memory_stops_the_start(house: House, damage: str) -> None:
    """Rule 9: going on would bury that something was erased."""
    service, clinic = house.practice.service, house.practice.clinic
    (clinic.home / "heads" / f"{clinic.id}.erased").write_text(damage)
    with pytest.raises(AcknowledgedHeadBroken):
        destroy_again(clinic.log, clinic.keyring, service.settings)


def test_traces_of_faults_go_with_it(house: House) -> None:
    """R25, R27: a trace may hold what was being worked on; nothing else in the folder goes."""
    logs = house.practice.clinic.home / "logs"
    logs.mkdir()
    for name in ("error-0123456789ab.txt", "kept.txt"):
        (logs / name).write_text(SECRET)
    erase(house, house.client.person)
    assert [path.name for path in logs.iterdir()] == ["kept.txt"]
