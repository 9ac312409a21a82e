"""What every keyring promises, wherever it lies: keys outlive crashes, destroyed keys stay
destroyed, a lost ring says so. Each test runs with the ring in a file and in a database."""

import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest

from infra.keyring import KeyDestroyed, KeyringError, KeyUnknown, WrappedKeyring
from tests.infra.rings import CLINIC, STREAM, Place, file_place, output

NewPlace = Callable[..., Place]


# --- Keys -----------------------------------------------------------------------------------


def test_an_owner_has_one_key_and_keeps_it(place: Place) -> None:
    """Idea 4: one data key per subject and stream, one for what is joint."""
    with place.open() as ring:
        person = str(uuid4())
        joint_id, joint = ring.key_for(CLINIC, STREAM, "joint")
        own_id, own = ring.key_for(CLINIC, STREAM, person)
        elsewhere = ring.key_for(uuid4(), STREAM, "joint")
    with place.open() as ring:
        assert ring.key_for(CLINIC, STREAM, "joint") == (joint_id, joint)
        assert ring.key_for(CLINIC, STREAM, person) == (own_id, own)
        assert ring.get(CLINIC, own_id) == own
        assert ring.verify() == 3
    assert len({joint, own, elsewhere[1]}) == len({joint_id, own_id, elsewhere[0]}) == 3
    assert len(joint) == 32
    assert joint_id.version == 4


def test_no_data_key_is_on_disk_unwrapped(ring: WrappedKeyring, place: Place) -> None:
    """Idea 4: a copy of the keyring without its master key is useless."""
    _, key = ring.key_for(CLINIC, STREAM, "joint")
    stored = place.stored()
    assert key not in stored
    assert key.hex().encode() not in stored


def test_threads_that_race_get_the_same_keys(ring: WrappedKeyring) -> None:
    """Idea 4: two keys for one owner would make erasure incomplete."""
    found: list[list[tuple[UUID, bytes]]] = []

    def work() -> None:
        found.append([ring.key_for(CLINIC, STREAM, f"access/{n}") for n in range(8)])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(keys == found[0] for keys in found)


def test_a_ring_is_not_carried_over_a_fork(place: Place) -> None:
    """Idea 4: a connection shared by a fork would lose keys silently."""
    code = """
ring = opened()
ring.key_for(CLINIC, STREAM, "joint")
pid = os.fork()
if pid == 0:
    try:
        ring.key_for(CLINIC, STREAM, "access/0")
    except KeyringError as error:
        os._exit(42 if error.code == "forked" else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert output(place.start(code)) == "42"


def test_processes_that_start_together_get_the_same_keys(place: Place) -> None:
    """Idea 4: first use and first key may happen in several processes at the same moment."""
    code = """
with opened() as ring:
    for subject in ("joint", "access/0", "access/1"):
        key_id, key = ring.key_for(CLINIC, STREAM, subject)
        print(key_id, key.hex())
"""
    outputs = [output(process) for process in [place.start(code) for _ in range(4)]]
    assert len(outputs[0].splitlines()) == 3
    assert outputs == [outputs[0]] * 4


# --- Erasure --------------------------------------------------------------------------------


def test_a_destroyed_key_is_gone_and_known_to_be_destroyed(ring: WrappedKeyring) -> None:
    """Rule 9: erasure destroys keys; that there was a key stays known."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    kept_id, kept = ring.key_for(CLINIC, STREAM, "access/0")
    before = ring.generation()
    ring.destroy(CLINIC, key_id)
    assert ring.get(CLINIC, key_id) is None
    assert ring.destroyed(CLINIC) == {key_id}
    assert ring.generation() != before
    assert ring.get(CLINIC, kept_id) == kept
    ring.destroy(CLINIC, key_id)
    with pytest.raises(KeyDestroyed) as refused:
        ring.key_for(CLINIC, STREAM, "joint")
    assert refused.value.code == "key_destroyed"
    assert ring.destroyed(uuid4()) == frozenset()


def test_a_key_never_held_is_unknown_not_erased(ring: WrappedKeyring) -> None:
    """Rule 9: a lost keyring must never pass for an erasure."""
    for ask in (ring.get, ring.destroy):
        with pytest.raises(KeyUnknown) as refused:
            ask(CLINIC, uuid4())
        assert refused.value.code == "key_unknown"
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    with pytest.raises(KeyUnknown):
        ring.get(uuid4(), key_id)


def test_the_bytes_of_destroyed_keys_leave_the_file(ring: WrappedKeyring, place: Place) -> None:
    """R25: after an erasure the key is nowhere in the file, whatever pages it wandered through."""
    for _ in range(400):
        ring.key_for(CLINIC, f"relationship-{uuid4()}", "joint")
    wrapped = place.wrapped()
    gone = Random(7).sample(sorted(wrapped), 150)  # noqa: S311 (a sample, not a secret)
    ring.destroy_again(CLINIC, gone)
    stored = place.stored()
    left = [key_id for key_id in wrapped if wrapped[key_id][12:28] in stored]
    assert set(left) == set(wrapped) - set(gone)
    assert ring.verify() == 250


def test_every_process_notices_a_destroyed_key_within_a_second(
    ring: WrappedKeyring, place: Place
) -> None:
    """Rule 9: erasure holds in every process, not only in the one that did it."""
    key_id, key = ring.key_for(CLINIC, STREAM, "joint")
    assert ring.get(CLINIC, key_id) == key
    process = place.start("opened().destroy(CLINIC, UUID(sys.argv[1]))", str(key_id))
    while process.poll() is None:
        ring.get(CLINIC, key_id)  # keeps it warm
        time.sleep(0.01)
    ended = time.monotonic()
    output(process)
    while ring.get(CLINIC, key_id) is not None:
        assert time.monotonic() - ended < 1
        time.sleep(0.01)
    with pytest.raises(KeyDestroyed):
        ring.key_for(CLINIC, STREAM, "joint")


def test_what_the_log_says_is_destroyed_is_destroyed_again(ring: WrappedKeyring) -> None:
    """R25: a restored ring that never knew of the key must answer erased, not lost."""
    known_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    unknown_id = uuid4()
    ring.destroy_again(CLINIC, [known_id, unknown_id])
    assert ring.get(CLINIC, known_id) is None
    assert ring.get(CLINIC, unknown_id) is None
    generation = ring.generation()
    ring.destroy_again(CLINIC, [known_id, unknown_id])
    assert ring.generation() == generation


# --- Backup and restore ---------------------------------------------------------------------


def test_a_backup_brings_back_every_key_of_a_lost_ring(place: Place, tmp_path: Path) -> None:
    """Idea 4: backup and restore of the keyring, with the master key kept apart from it."""
    copy = tmp_path / "copy.db"
    with place.open() as ring:
        key_id, key = ring.key_for(CLINIC, STREAM, "joint")
        gone_id, _ = ring.key_for(CLINIC, STREAM, "access/0")
        ring.destroy(CLINIC, gone_id)
        ring.backup(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    place.lose()
    assert place.refused() == "ring_missing"
    with place.open(new_ring=True) as ring:
        with pytest.raises(KeyUnknown):
            ring.get(CLINIC, key_id)
        assert ring.restore(copy) == 1
        assert ring.key_for(CLINIC, STREAM, "joint") == (key_id, key)
        assert ring.get(CLINIC, gone_id) is None
        assert ring.destroyed(CLINIC) == {gone_id}
        assert ring.verify() == 1


def test_a_restore_makes_no_master_key(place: Place) -> None:
    """Idea 4: a backup opens under its own master key only; a new one would stand in its way."""
    for _ in range(2):
        with pytest.raises(KeyringError) as refused:
            place.open(new_ring=True)
        assert refused.value.code == "master_key_missing"
    assert list(place.home.iterdir()) == []
    place.open().close()


def test_a_backup_is_never_overwritten(ring: WrappedKeyring, tmp_path: Path) -> None:
    """Idea 4: the last good copy of the keys is not lost to a mistyped command."""
    ring.backup(tmp_path / "copy.db")
    with pytest.raises(KeyringError) as refused:
        ring.backup(tmp_path / "copy.db")
    assert refused.value.code == "exists"


def test_a_backup_holds_nothing_of_a_key_destroyed_before(
    ring: WrappedKeyring, place: Place, tmp_path: Path
) -> None:
    """R25: no erased key in a copy made after the erasure."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    wrapped = place.wrapped()[key_id]
    ring.backup(tmp_path / "before.db")
    ring.destroy(CLINIC, key_id)
    ring.backup(tmp_path / "after.db")
    assert wrapped in (tmp_path / "before.db").read_bytes()
    assert wrapped not in (tmp_path / "after.db").read_bytes()


def test_a_ring_with_keys_is_not_overwritten_but_merged_on_request(
    ring: WrappedKeyring, tmp_path: Path
) -> None:
    """Idea 4: a restore never loses a key that the present ring holds."""
    old = ring.key_for(CLINIC, STREAM, "joint")
    ring.backup(tmp_path / "copy.db")
    new = ring.key_for(CLINIC, STREAM, "access/0")
    with pytest.raises(KeyringError) as refused:
        ring.restore(tmp_path / "copy.db")
    assert refused.value.code == "not_empty"
    assert ring.restore(tmp_path / "copy.db", merge=True) == 0
    assert ring.key_for(CLINIC, STREAM, "joint") == old
    assert ring.key_for(CLINIC, STREAM, "access/0") == new


def test_a_restore_does_not_bring_back_an_erased_person(
    ring: WrappedKeyring, tmp_path: Path
) -> None:
    """R25: a backup made before the erasure loses against the present ring's tombstones."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    ring.backup(tmp_path / "copy.db")
    ring.destroy(CLINIC, key_id)
    assert ring.restore(tmp_path / "copy.db", merge=True) == 0
    assert ring.get(CLINIC, key_id) is None
    assert ring.verify() == 0


def test_a_restore_takes_over_the_tombstones_of_the_backup(
    place: Place, ring: WrappedKeyring, tmp_path: Path
) -> None:
    """R25: destroyed on either side is destroyed, and its bytes leave this file too."""
    key_id, key = ring.key_for(CLINIC, STREAM, "joint")
    wrapped = place.wrapped()[key_id]
    ring.backup(tmp_path / "before.db")
    ring.destroy(CLINIC, key_id)
    ring.backup(tmp_path / "after.db")
    place.lose()
    with place.open(new_ring=True) as older:
        assert older.restore(tmp_path / "before.db") == 1
        assert older.get(CLINIC, key_id) == key
        assert older.restore(tmp_path / "after.db", merge=True) == 0
        assert older.get(CLINIC, key_id) is None
        assert wrapped not in place.stored()


def test_a_restore_learns_whose_an_erased_key_was(
    ring: WrappedKeyring, place: Place, new_place: NewPlace, tmp_path: Path
) -> None:
    """Rule 9: no new key for an owner whose key was destroyed, also after log then backup."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    ring.backup(tmp_path / "copy.db")
    elsewhere = new_place("other")
    elsewhere.home.mkdir(mode=0o700, parents=True)
    shutil.copy2(place.master, elsewhere.master)
    with elsewhere.open(new_ring=True) as other:
        other.destroy_again(CLINIC, [key_id])
        assert other.restore(tmp_path / "copy.db", merge=True) == 0
        with pytest.raises(KeyDestroyed):
            other.key_for(CLINIC, STREAM, "joint")


def test_a_backup_under_another_master_key_is_refused(ring: WrappedKeyring, tmp_path: Path) -> None:
    """Idea 4: keys that would never open are not taken over."""
    with file_place(tmp_path / "other").open() as other:
        other.key_for(CLINIC, STREAM, "joint")
        other.backup(tmp_path / "copy.db")
    with pytest.raises(KeyringError) as refused:
        ring.restore(tmp_path / "copy.db")
    assert refused.value.code == "master_key_wrong"
    assert ring.verify() == 0


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_backup_is_refused(
    ring: WrappedKeyring, tmp_path: Path, content: bytes
) -> None:
    """Idea 4: a restore from the wrong file says so and changes nothing."""
    (tmp_path / "copy.db").write_bytes(content)
    with pytest.raises(KeyringError) as refused:
        ring.restore(tmp_path / "copy.db")
    assert refused.value.code == "damaged"
    with pytest.raises(KeyringError) as refused:
        ring.restore(tmp_path / "nowhere.db")
    assert refused.value.code == "unwritable"


# --- Faults ---------------------------------------------------------------------------------


def test_a_key_survives_kill_9_right_after_it_was_given_out(place: Place) -> None:
    """Idea 4: a new key is durable before the first entry under it."""
    code = """
key_id, key = opened().key_for(CLINIC, STREAM, "joint")
print(key_id, key.hex(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    key_id, key = output(place.start(code), status=-9).split()
    with place.open() as ring:
        assert ring.key_for(CLINIC, STREAM, "joint") == (UUID(key_id), bytes.fromhex(key))


def test_kill_9_at_any_moment_of_creating_keys_leaves_a_ring_that_opens(place: Place) -> None:
    """Idea 4: every key that was given out before the kill is there after it."""
    code = """
ring = opened()
for n in range(100_000):
    print(ring.key_for(CLINIC, STREAM, f"access/{time.time_ns()}")[0], flush=True)
"""
    given: set[UUID] = set()
    for delay in (0.3, 0.32, 0.35, 0.4):
        process = place.start(code)
        time.sleep(delay)
        process.kill()
        lines = process.communicate()[0].splitlines(keepends=True)
        given |= {UUID(line.strip()) for line in lines if line.endswith("\n")}
    with place.open() as ring:
        assert given <= set(place.wrapped())
        assert ring.verify() >= len(given)


def test_a_lost_or_foreign_master_key_is_said_so(place: Place, tmp_path: Path) -> None:
    """Idea 4: a ring is never given a new master key behind the clinic's back."""
    place.open().close()
    text = place.master.read_bytes()
    place.master.unlink()
    assert place.refused() == "master_key_missing"
    other = file_place(tmp_path / "other")
    other.open().close()
    other.master.rename(place.master)
    assert place.refused() == "master_key_wrong"
    place.master.write_bytes(text)
    place.open().close()


def test_wrapped_keys_are_bound_to_their_owner(ring: WrappedKeyring, place: Place) -> None:
    """Idea 4: whoever can write the file cannot pass one person's key off as another's."""
    first, _ = ring.key_for(CLINIC, STREAM, "joint")
    second, _ = ring.key_for(CLINIC, STREAM, "access/0")
    wrapped = place.wrapped()
    place.execute("UPDATE keys SET wrapped = ? WHERE key_id = ?", wrapped[first], str(second))
    with pytest.raises(KeyringError) as refused:
        ring.verify()
    assert (refused.value.code, refused.value.key_id) == ("damaged", second)
    place.execute("UPDATE keys SET wrapped = ? WHERE key_id = ?", b"short", str(second))
    with place.open() as again, pytest.raises(KeyringError) as refused:
        again.get(CLINIC, second)
    assert refused.value.code == "damaged"
    place.execute("UPDATE keys SET wrapped = ? WHERE key_id = ?", wrapped[second], str(second))
    place.execute("UPDATE keys SET subject = 'other' WHERE key_id = ?", str(second))
    with place.open() as again, pytest.raises(KeyringError):
        again.get(CLINIC, second)


def test_a_closed_ring_says_so(place: Place) -> None:
    """Idea 4: after close no key is held or given."""
    ring = place.open()
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    ring.close()
    with pytest.raises(KeyringError) as refused:
        ring.get(CLINIC, key_id)
    assert refused.value.code == "closed"


def test_messages_name_ids_only(ring: WrappedKeyring) -> None:
    """R27: what a keyring says can be logged."""
    unknown = uuid4()
    with pytest.raises(KeyUnknown) as refused:
        ring.get(CLINIC, unknown)
    assert str(unknown) in str(refused.value)
    assert "restored" in str(refused.value)
