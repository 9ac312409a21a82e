"""Keys that are made together: all of them durable before one is used, one for each owner, and
nothing that was destroyed comes back. Each test runs with the ring in a file and in a database."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import ClassVar
from uuid import UUID, uuid4

import pytest

from domain.event import Given, New
from domain.person import PersonRegistered, RegisterPerson, person_stream
from domain.records import Author, Proposal, Receipt
from infra.keyring import REFRESH_SECONDS, KeyDestroyed, WrappedKeyring, open_keyring
from infra.pending import SubjectErased
from tests.conftest import Clinic
from tests.infra.rings import CLINIC, STREAM, Place, output

OWNERS = [(STREAM, f"access/{number}") for number in range(40)]


def wanted() -> dict[tuple[str, str], UUID]:
    return {owner: uuid4() for owner in OWNERS}


def test_keys_made_together_are_keys_like_any_other(place: Place) -> None:
    """Idea 4: under the ids that were asked for, for whoever asks in this process or another."""
    new = wanted()
    with place.open() as ring:
        assert ring.key_id_of(CLINIC, *OWNERS[0]) is None
        assert ring.make_keys(CLINIC, new)
        here = {owner: ring.key_for(CLINIC, *owner) for owner in OWNERS}
    with place.open() as ring:
        assert {owner: ring.key_for(CLINIC, *owner) for owner in OWNERS} == here
        assert {owner: ring.key_id_of(CLINIC, *owner) for owner in OWNERS} == new
        assert ring.verify() == len(OWNERS)
    assert len({key for _, key in here.values()}) == len(OWNERS)
    assert {owner: key_id for owner, (key_id, _) in here.items()} == new


def test_a_key_that_an_owner_has_stands(place: Place) -> None:
    """Idea 4: two keys for one owner would make erasure incomplete; the others are made."""
    with place.open() as other:
        first, _ = other.key_for(CLINIC, *OWNERS[7])
        with place.open() as ring:
            new = wanted()
            assert not ring.make_keys(CLINIC, new)
            for owner in OWNERS:
                expected = first if owner == OWNERS[7] else new[owner]
                assert ring.key_id_of(CLINIC, *owner, ask=False) == expected
            assert ring.verify() == len(OWNERS)
            assert not ring.make_keys(CLINIC, wanted())
            assert ring.verify() == len(OWNERS)


def test_a_destroyed_key_is_not_made_anew_among_others(ring: WrappedKeyring, place: Place) -> None:
    """Rule 9: the owner of a destroyed key gets none again, whichever way one is asked for."""
    key_id, _ = ring.key_for(CLINIC, *OWNERS[3])
    with place.open() as other:
        other.destroy(CLINIC, key_id)
    assert not ring.make_keys(CLINIC, wanted())
    for ask in (False, True):
        with pytest.raises(KeyDestroyed):
            ring.key_id_of(CLINIC, *OWNERS[3], ask=ask)
    with pytest.raises(KeyDestroyed):
        ring.key_for(CLINIC, *OWNERS[3])
    assert len(place.wrapped()) == len(OWNERS) - 1


def test_keys_made_together_are_forgotten_once_one_is_destroyed(
    ring: WrappedKeyring, place: Place
) -> None:
    """Rule 9: within a quarter of a second no process gives out a key that another destroyed."""
    new = wanted()
    ring.make_keys(CLINIC, new)
    with place.open() as other:
        other.destroy(CLINIC, new[OWNERS[0]])
    time.sleep(REFRESH_SECONDS)
    with pytest.raises(KeyDestroyed):
        ring.key_id_of(CLINIC, *OWNERS[0])
    assert ring.get(CLINIC, new[OWNERS[0]]) is None


def test_processes_that_make_the_same_keys_make_them_once(place: Place) -> None:
    """Idea 4: whoever was first made them, and the others find them."""
    code = """
owners = [(STREAM, f"access/{n}") for n in range(200)]
with opened() as ring:
    alone = ring.make_keys(CLINIC, {owner: UUID(bytes=os.urandom(16)) for owner in owners})
    print(alone, *(ring.key_id_of(CLINIC, *owner) for owner in owners))
"""
    outputs = [output(process).split() for process in [place.start(code) for _ in range(4)]]
    assert sorted(alone for alone, *_ in outputs) == ["False", "False", "False", "True"]
    assert all(ids == outputs[0][1:] for _, *ids in outputs)
    assert {UUID(id_) for id_ in outputs[0][1:]} == set(place.wrapped())


def test_kill_9_right_after_keys_were_made_loses_none(place: Place) -> None:
    """Idea 4: all are durable before an entry is sealed under the first of them."""
    code = """
owners = [(STREAM, f"access/{n}") for n in range(200)]
opened().make_keys(CLINIC, {owner: UUID(int=n) for n, owner in enumerate(owners)})
os.kill(os.getpid(), signal.SIGKILL)
"""
    output(place.start(code), status=-9)
    with place.open() as ring:
        assert set(place.wrapped()) == {UUID(int=number) for number in range(200)}
        assert ring.verify() == 200


# --- For a batch ----------------------------------------------------------------------------


def ring_commits(clinic: Clinic) -> int:
    """How many commits the ring's file has seen, by SQLite's own counter in its header."""
    return int.from_bytes((clinic.home / "keyring" / "keyring.db").read_bytes()[24:28], "big")


def test_a_batch_makes_its_keys_in_one_commit_of_the_ring(clinic: Clinic) -> None:
    """Idea 4: as many new people as a commit takes cost the ring one commit, not one each."""
    people = [RegisterPerson(full_name=f"Person {number}") for number in range(100)]
    clinic.record(people[0])
    before = ring_commits(clinic)
    verdicts = clinic.log.append([Proposal(one, Author(uuid4())) for one in people[1:]])
    assert all(isinstance(verdict, Receipt) for verdict in verdicts)
    assert ring_commits(clinic) == before + 1
    assert len({entry.key_id for entry in clinic.log.read_log(0, 1000)}) == 100


class RegisteredElsewhere(RegisterPerson):
    """Registers a person while another process makes the key for it, or has it destroyed."""

    ring: ClassVar[WrappedKeyring]
    destroy: ClassVar[bool] = False

    def decide(self, given: Given) -> Iterator[New]:
        news = list(super().decide(given))
        with suppress(KeyDestroyed):  # the second time
            key_id, _ = self.ring.key_for(given.clinic, str(news[0].stream), str(self.person))
            if self.destroy:
                self.ring.destroy(given.clinic, key_id)
        yield from news


def test_a_key_that_another_process_makes_meanwhile_is_the_one_that_seals(clinic: Clinic) -> None:
    """Idea 4: what was decided on an id that is not the owner's key is decided again."""
    with open_keyring(clinic.home / "keyring") as other:
        RegisteredElsewhere.ring = other
        command = RegisteredElsewhere(full_name="Person")
        stream = person_stream(command.person)
        clinic.record(command)
        (entry,) = clinic.open_log().history(stream)
        assert other.key_id_of(clinic.id, str(stream), str(command.person)) == entry.key_id
        assert isinstance(entry.event, PersonRegistered)


def test_a_key_that_another_process_destroys_meanwhile_seals_nothing(clinic: Clinic) -> None:
    """Rule 9: whoever was erased while it was decided is refused, and no neighbour with them."""
    with open_keyring(clinic.home / "keyring") as other:
        RegisteredElsewhere.ring = other
        erased = type("Erased", (RegisteredElsewhere,), {"destroy": True})
        commands = [RegisterPerson(full_name="One"), erased(full_name="Two")]
        verdicts = clinic.log.append([Proposal(one, Author(uuid4())) for one in commands])
    assert [type(verdict) for verdict in verdicts] == [Receipt, SubjectErased]
    assert clinic.log.head_size() == 1
