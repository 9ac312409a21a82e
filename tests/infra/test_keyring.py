"""The keyring: keys outlive crashes, destroyed keys stay destroyed, a lost ring says so."""

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra import keyring_errors
from infra.keyring import FileKeyring, KeyDestroyed, KeyringError, KeyUnknown, open_keyring

ROOT = Path(__file__).parents[2]
CLINIC = UUID("11111111-1111-4111-8111-111111111111")
STREAM = "relationship-22222222-2222-4222-8222-222222222222"
PROLOGUE = """
import os, resource, signal, sys, time
from pathlib import Path
from uuid import UUID
from infra.keyring import *
CLINIC = UUID("11111111-1111-4111-8111-111111111111")
STREAM = "relationship-22222222-2222-4222-8222-222222222222"
home = Path(sys.argv[1])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "keyring"


@pytest.fixture
def ring(home: Path) -> Iterator[FileKeyring]:
    with open_keyring(home) as ring:
        yield ring


def start(home: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process with the keyring's names at hand and its directory as `home`."""
    return subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + code, str(home), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str], status: int = 0) -> str:
    text, _ = process.communicate(timeout=60)
    assert process.returncode == status
    return text.strip()


def refusal(home: Path) -> str:
    """The code with which opening the keyring is refused."""
    with pytest.raises(KeyringError) as refused:
        open_keyring(home)
    assert str(refused.value)
    return refused.value.code


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def wrapped_keys(home: Path) -> dict[UUID, bytes]:
    db = sqlite3.connect(home / "keyring.db")
    rows = db.execute("SELECT key_id, wrapped FROM keys WHERE wrapped IS NOT NULL").fetchall()
    db.close()
    return {UUID(key_id): wrapped for key_id, wrapped in rows}


def execute(home: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(home / "keyring.db")
    with db:
        db.execute(statement, values)
    db.close()


# --- Keys -----------------------------------------------------------------------------------


def test_an_owner_has_one_key_and_keeps_it(home: Path) -> None:
    """Idea 4: one data key per subject and stream, one for what is joint."""
    with open_keyring(home) as ring:
        person = str(uuid4())
        joint_id, joint = ring.key_for(CLINIC, STREAM, "joint")
        own_id, own = ring.key_for(CLINIC, STREAM, person)
        elsewhere = ring.key_for(uuid4(), STREAM, "joint")
    with open_keyring(home) as ring:
        assert ring.key_for(CLINIC, STREAM, "joint") == (joint_id, joint)
        assert ring.key_for(CLINIC, STREAM, person) == (own_id, own)
        assert ring.get(CLINIC, own_id) == own
        assert ring.verify() == 3
    assert len({joint, own, elsewhere[1]}) == len({joint_id, own_id, elsewhere[0]}) == 3
    assert len(joint) == 32
    assert joint_id.version == 4


def test_everything_on_disk_is_the_owners_alone(ring: FileKeyring, home: Path) -> None:
    """Idea 4: the keyring is no one's to read but the service's."""
    ring.key_for(CLINIC, STREAM, "joint")
    assert mode(home) == 0o700
    assert {file.name: mode(file) for file in home.iterdir()} == {
        "keyring.db": 0o600,
        "master.key": 0o600,
    }


def test_no_data_key_is_on_disk_unwrapped(ring: FileKeyring, home: Path) -> None:
    """Idea 4: a copy of the keyring without its master key is useless."""
    _, key = ring.key_for(CLINIC, STREAM, "joint")
    stored = b"".join(file.read_bytes() for file in home.iterdir())
    assert key not in stored
    assert key.hex().encode() not in stored


def test_threads_that_race_get_the_same_keys(ring: FileKeyring) -> None:
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


def test_processes_that_start_and_race_get_the_same_keys(home: Path) -> None:
    """Idea 4: first use and first key may happen in several processes at the same moment."""
    code = """
go = float(sys.argv[2])
for n in range(12):
    while time.time() < go + n * 0.05:
        pass
    with open_keyring(home / str(n)) as ring:
        for subject in ("joint", "access/0"):
            key_id, key = ring.key_for(CLINIC, STREAM, subject)
            print(key_id, key.hex())
"""
    home.mkdir(mode=0o700)
    go = str(time.time() + 0.8)
    outputs = [output(process) for process in [start(home, code, go) for _ in range(3)]]
    assert len(outputs[0].splitlines()) == 24
    assert outputs == [outputs[0]] * 3


def test_a_ring_is_not_carried_over_a_fork(home: Path) -> None:
    """Idea 4: a connection shared by a fork would lose keys silently."""
    code = """
ring = open_keyring(home)
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
    assert output(start(home, code)) == "42"


# --- Erasure --------------------------------------------------------------------------------


def test_a_destroyed_key_is_gone_and_known_to_be_destroyed(ring: FileKeyring) -> None:
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


def test_a_key_never_held_is_unknown_not_erased(ring: FileKeyring) -> None:
    """Rule 9: a lost keyring must never pass for an erasure."""
    for ask in (ring.get, ring.destroy):
        with pytest.raises(KeyUnknown) as refused:
            ask(CLINIC, uuid4())
        assert refused.value.code == "key_unknown"
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    with pytest.raises(KeyUnknown):
        ring.get(uuid4(), key_id)


def test_the_bytes_of_destroyed_keys_leave_the_file(ring: FileKeyring, home: Path) -> None:
    """R25: after an erasure the key is nowhere in the file, whatever pages it wandered through."""
    for _ in range(400):
        ring.key_for(CLINIC, f"relationship-{uuid4()}", "joint")
    wrapped = wrapped_keys(home)
    gone = Random(7).sample(sorted(wrapped), 150)  # noqa: S311 (a sample, not a secret)
    ring.destroy_again(CLINIC, gone)
    stored = b"".join(file.read_bytes() for file in home.iterdir())
    left = [key_id for key_id in wrapped if wrapped[key_id][12:28] in stored]
    assert set(left) == set(wrapped) - set(gone)
    assert ring.verify() == 250


def test_every_process_notices_a_destroyed_key_within_a_second(
    ring: FileKeyring, home: Path
) -> None:
    """Rule 9: erasure holds in every process, not only in the one that did it."""
    key_id, key = ring.key_for(CLINIC, STREAM, "joint")
    assert ring.get(CLINIC, key_id) == key
    process = start(home, "open_keyring(home).destroy(CLINIC, UUID(sys.argv[2]))", str(key_id))
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


def test_what_the_log_says_is_destroyed_is_destroyed_again(ring: FileKeyring) -> None:
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


def test_a_backup_brings_back_every_key_of_a_lost_ring(home: Path, tmp_path: Path) -> None:
    """Idea 4: backup and restore of the keyring, with the master key kept apart from it."""
    copy = tmp_path / "copy.db"
    with open_keyring(home) as ring:
        key_id, key = ring.key_for(CLINIC, STREAM, "joint")
        gone_id, _ = ring.key_for(CLINIC, STREAM, "access/0")
        ring.destroy(CLINIC, gone_id)
        ring.backup(copy)
    assert mode(copy) == 0o600
    (home / "keyring.db").unlink()
    assert refusal(home) == "ring_missing"
    with open_keyring(home, new_ring=True) as ring:
        with pytest.raises(KeyUnknown):
            ring.get(CLINIC, key_id)
        assert ring.restore(copy) == 1
        assert ring.key_for(CLINIC, STREAM, "joint") == (key_id, key)
        assert ring.get(CLINIC, gone_id) is None
        assert ring.destroyed(CLINIC) == {gone_id}
        assert ring.verify() == 1


def test_a_restore_makes_no_master_key(home: Path) -> None:
    """Idea 4: a backup opens under its own master key only; a new one would stand in its way."""
    for _ in range(2):
        with pytest.raises(KeyringError) as refused:
            open_keyring(home, new_ring=True)
        assert refused.value.code == "master_key_missing"
    assert list(home.iterdir()) == []
    open_keyring(home).close()


def test_a_backup_is_never_overwritten(ring: FileKeyring, tmp_path: Path) -> None:
    """Idea 4: the last good copy of the keys is not lost to a mistyped command."""
    ring.backup(tmp_path / "copy.db")
    with pytest.raises(KeyringError) as refused:
        ring.backup(tmp_path / "copy.db")
    assert refused.value.code == "exists"


def test_a_backup_holds_nothing_of_a_key_destroyed_before(
    ring: FileKeyring, home: Path, tmp_path: Path
) -> None:
    """R25: no erased key in a copy made after the erasure."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    wrapped = wrapped_keys(home)[key_id]
    ring.backup(tmp_path / "before.db")
    ring.destroy(CLINIC, key_id)
    ring.backup(tmp_path / "after.db")
    assert wrapped in (tmp_path / "before.db").read_bytes()
    assert wrapped not in (tmp_path / "after.db").read_bytes()


def test_a_ring_with_keys_is_not_overwritten_but_merged_on_request(
    ring: FileKeyring, tmp_path: Path
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


def test_a_restore_does_not_bring_back_an_erased_person(ring: FileKeyring, tmp_path: Path) -> None:
    """R25: a backup made before the erasure loses against the present ring's tombstones."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    ring.backup(tmp_path / "copy.db")
    ring.destroy(CLINIC, key_id)
    assert ring.restore(tmp_path / "copy.db", merge=True) == 0
    assert ring.get(CLINIC, key_id) is None
    assert ring.verify() == 0


def test_a_restore_takes_over_the_tombstones_of_the_backup(
    home: Path, ring: FileKeyring, tmp_path: Path
) -> None:
    """R25: destroyed on either side is destroyed, and its bytes leave this file too."""
    key_id, key = ring.key_for(CLINIC, STREAM, "joint")
    wrapped = wrapped_keys(home)[key_id]
    ring.backup(tmp_path / "before.db")
    ring.destroy(CLINIC, key_id)
    ring.backup(tmp_path / "after.db")
    (home / "keyring.db").unlink()
    with open_keyring(home, new_ring=True) as older:
        assert older.restore(tmp_path / "before.db") == 1
        assert older.get(CLINIC, key_id) == key
        assert older.restore(tmp_path / "after.db", merge=True) == 0
        assert older.get(CLINIC, key_id) is None
    assert wrapped not in (home / "keyring.db").read_bytes()


def test_a_restore_learns_whose_an_erased_key_was(ring: FileKeyring, tmp_path: Path) -> None:
    """Rule 9: no new key for an owner whose key was destroyed, also after log then backup."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    ring.backup(tmp_path / "copy.db")
    home = tmp_path / "other"
    home.mkdir(mode=0o700)
    master = (tmp_path / "keyring" / "master.key").read_bytes()
    (home / "master.key").touch(0o600)
    (home / "master.key").write_bytes(master)
    with open_keyring(home, new_ring=True) as other:
        other.destroy_again(CLINIC, [key_id])
        assert other.restore(tmp_path / "copy.db", merge=True) == 0
        with pytest.raises(KeyDestroyed):
            other.key_for(CLINIC, STREAM, "joint")


def test_a_backup_under_another_master_key_is_refused(ring: FileKeyring, tmp_path: Path) -> None:
    """Idea 4: keys that would never open are not taken over."""
    with open_keyring(tmp_path / "other") as other:
        other.key_for(CLINIC, STREAM, "joint")
        other.backup(tmp_path / "copy.db")
    with pytest.raises(KeyringError) as refused:
        ring.restore(tmp_path / "copy.db")
    assert refused.value.code == "master_key_wrong"
    assert ring.verify() == 0


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_backup_is_refused(
    ring: FileKeyring, tmp_path: Path, content: bytes
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


def test_a_key_survives_kill_9_right_after_it_was_given_out(home: Path) -> None:
    """Idea 4: a new key is durable before the first entry under it."""
    code = """
key_id, key = open_keyring(home).key_for(CLINIC, STREAM, "joint")
print(key_id, key.hex(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    key_id, key = output(start(home, code), status=-9).split()
    with open_keyring(home) as ring:
        assert ring.key_for(CLINIC, STREAM, "joint") == (UUID(key_id), bytes.fromhex(key))


def test_a_first_use_that_was_killed_is_completed(home: Path) -> None:
    """Idea 4: kill -9 at each step of the first use; the next start completes it."""
    open_keyring(home).close()
    master, ring = home / "master.key", home / "keyring.db"
    text = master.read_bytes()
    master.rename(home / "master.key.new")  # killed before the master key took its place
    open_keyring(home).close()
    assert master.read_bytes() == text
    master.rename(home / "master.key.new")  # killed while the ring was a draft
    ring.rename(home / "keyring.db.new")
    (home / "keyring.db.new-journal").write_bytes(b"left behind")
    open_keyring(home).close()
    assert {file.name for file in home.iterdir()} == {"master.key", "keyring.db"}
    ring.unlink()
    master.write_bytes(b"")  # killed while the master key was written
    master.rename(home / "master.key.new")
    with open_keyring(home) as fresh:
        assert fresh.key_for(CLINIC, STREAM, "joint")


def test_kill_9_at_any_moment_of_creating_keys_leaves_a_ring_that_opens(home: Path) -> None:
    """Idea 4: every key that was given out before the kill is there after it."""
    code = """
ring = open_keyring(home)
for n in range(100_000):
    print(ring.key_for(CLINIC, STREAM, f"access/{time.time_ns()}")[0], flush=True)
"""
    given: set[UUID] = set()
    for delay in (0.3, 0.32, 0.35, 0.4):
        process = start(home, code)
        time.sleep(delay)
        process.kill()
        lines = process.communicate()[0].splitlines(keepends=True)
        given |= {UUID(line.strip()) for line in lines if line.endswith("\n")}
    with open_keyring(home) as ring:
        assert given <= set(wrapped_keys(home))
        assert ring.verify() >= len(given)


@pytest.mark.parametrize("kept", [0, 1, 20, 21, 40, 83])
def test_a_truncated_master_key_is_said_so(home: Path, kept: int) -> None:
    """Idea 4: a damaged master key is never taken for a new one."""
    open_keyring(home).close()
    text = (home / "master.key").read_bytes()
    assert len(text) == 86
    (home / "master.key").write_bytes(text[:kept])
    assert refusal(home) == "master_key_damaged"
    (home / "master.key").write_bytes(text)
    open_keyring(home).close()


def test_a_lost_or_foreign_master_key_is_said_so(home: Path, tmp_path: Path) -> None:
    """Idea 4: a ring is never given a new master key behind the clinic's back."""
    open_keyring(home).close()
    text = (home / "master.key").read_bytes()
    (home / "master.key").unlink()
    assert refusal(home) == "master_key_missing"
    open_keyring(tmp_path / "other").close()
    (tmp_path / "other" / "master.key").rename(home / "master.key")
    assert refusal(home) == "master_key_wrong"
    (home / "master.key").write_bytes(text)
    open_keyring(home).close()


@pytest.mark.parametrize("name", [".", "master.key", "keyring.db"])
@pytest.mark.parametrize("open_to", [0o040, 0o020, 0o004, 0o001])
def test_files_that_others_may_use_are_refused(home: Path, name: str, open_to: int) -> None:
    """Idea 4: the keyring refuses to work where its secrets lie open."""
    open_keyring(home).close()
    path = home / name
    path.chmod(mode(path) | open_to)
    assert refusal(home) == "permissions"


@pytest.mark.parametrize("kept", [0, 100, 4096, 6000])
def test_a_truncated_ring_is_said_so(home: Path, kept: int) -> None:
    """Idea 4: a damaged ring is never taken for an empty one."""
    with open_keyring(home) as ring:
        for n in range(60):
            ring.key_for(CLINIC, STREAM, f"access/{n}")
    os.truncate(home / "keyring.db", kept)
    assert refusal(home) == "damaged"


def test_wrapped_keys_are_bound_to_their_owner(ring: FileKeyring, home: Path) -> None:
    """Idea 4: whoever can write the file cannot pass one person's key off as another's."""
    first, _ = ring.key_for(CLINIC, STREAM, "joint")
    second, _ = ring.key_for(CLINIC, STREAM, "access/0")
    wrapped = wrapped_keys(home)
    execute(home, "UPDATE keys SET wrapped = ? WHERE key_id = ?", wrapped[first], str(second))
    with pytest.raises(KeyringError) as refused:
        ring.verify()
    assert (refused.value.code, refused.value.key_id) == ("damaged", second)
    execute(home, "UPDATE keys SET wrapped = ? WHERE key_id = ?", b"short", str(second))
    with open_keyring(home) as again, pytest.raises(KeyringError) as refused:
        again.get(CLINIC, second)
    assert refused.value.code == "damaged"
    execute(home, "UPDATE keys SET wrapped = ? WHERE key_id = ?", wrapped[second], str(second))
    execute(home, "UPDATE keys SET subject = 'other' WHERE key_id = ?", str(second))
    with open_keyring(home) as again, pytest.raises(KeyringError):
        again.get(CLINIC, second)


def test_a_full_database_gives_no_key(ring: FileKeyring) -> None:
    """Idea 4: disk full at key creation: no key, so no entry; later it works."""
    (pages,) = ring._db.execute("PRAGMA page_count").fetchone()
    ring._db.execute(f"PRAGMA max_page_count = {pages}")
    subjects = [f"access/{n}" for n in range(100)]
    created = 0
    with pytest.raises(KeyringError) as refused:  # noqa: PT012 (somewhere along the way)
        for subject in subjects:
            ring.key_for(CLINIC, STREAM, subject)
            created += 1
    assert refused.value.code == "disk_full"
    assert ring.verify() == created
    ring._db.execute("PRAGMA max_page_count = 1000000")
    key_id, key = ring.key_for(CLINIC, STREAM, subjects[created])
    assert ring.get(CLINIC, key_id) == key


def test_a_disk_that_takes_no_more_bytes_gives_no_key(home: Path) -> None:
    """Idea 4: the file system refuses to write: no key, nothing kept in memory, ring unharmed."""
    code = """
ring = open_keyring(home)
ring.key_for(CLINIC, STREAM, "joint")
resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        ring.key_for(CLINIC, STREAM, "access/0")
    except KeyringError as error:
        print(error.code)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(ring.verify())
ring.key_for(CLINIC, STREAM, "access/0")
print(ring.verify())
"""
    assert output(start(home, code)).split() == ["unwritable", "unwritable", "1", "2"]


def test_a_ring_that_was_moved_away_is_not_written_to(ring: FileKeyring, home: Path) -> None:
    """Idea 4: a key in a file that is no longer the ring would be lost with the process."""
    (home / "keyring.db").rename(home / "moved.db")
    with pytest.raises(KeyringError) as refused:
        ring.key_for(CLINIC, STREAM, "joint")
    assert refused.value.code == "replaced"


def test_a_closed_ring_says_so(home: Path) -> None:
    """Idea 4: after close no key is held or given."""
    ring = open_keyring(home)
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    ring.close()
    with pytest.raises(KeyringError) as refused:
        ring.get(CLINIC, key_id)
    assert refused.value.code == "closed"


def test_the_file_is_as_its_document_says(ring: FileKeyring, home: Path) -> None:
    """Idea 4: whoever has both files and the document gets the keys out, without this program."""
    key_id, key = ring.key_for(CLINIC, STREAM, "joint")
    name, master = (home / "master.key").read_text().split()
    cipher = AESGCM(bytes.fromhex(master))
    aad = {
        "clinic": str(CLINIC),
        "format": "rapport-keyring/1",
        "key_id": str(key_id),
        "stream": STREAM,
        "subject": "joint",
    }
    wrapped = wrapped_keys(home)[key_id]
    canonical = json.dumps(aad, separators=(",", ":")).encode()
    assert name == "rapport-master-key/1"
    assert len(wrapped) == 60
    assert cipher.decrypt(wrapped[:12], wrapped[12:], canonical) == key


def test_the_document_names_every_fault() -> None:
    """Idea 4: each code that an operator may meet is explained."""
    document = (ROOT / "docs/formats/keyring.md").read_text()
    faults = document.partition("## Faults")[2]
    assert re.findall(r"^\| `(\w+)` \|", faults, re.MULTILINE) == sorted(keyring_errors.SAYS)


def test_messages_name_ids_only(ring: FileKeyring) -> None:
    """R27: what a keyring says can be logged."""
    unknown = uuid4()
    with pytest.raises(KeyUnknown) as refused:
        ring.get(CLINIC, unknown)
    assert str(unknown) in str(refused.value)
    assert "restored" in str(refused.value)
