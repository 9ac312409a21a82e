"""The keyring in a file: who may read it, what a damaged one says, a disk that is full."""

import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra import keyring_errors
from infra.keyring import REFRESH_SECONDS, FileKeyring, KeyringError, open_keyring
from tests.infra.rings import CLINIC, ROOT, STREAM, FilePlace, file_place, output


@pytest.fixture
def host(tmp_path: Path) -> FilePlace:
    return file_place(tmp_path)


@pytest.fixture
def home(host: FilePlace) -> Path:
    return host.home


@pytest.fixture
def ring(home: Path) -> Iterator[FileKeyring]:
    with open_keyring(home) as ring:
        yield ring


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_on_disk_is_the_owners_alone(ring: FileKeyring, home: Path) -> None:
    """Idea 4: the keyring is no one's to read but the service's."""
    ring.key_for(CLINIC, STREAM, "joint")
    assert mode(home) == 0o700
    assert {file.name: mode(file) for file in home.iterdir()} == {
        "keyring.db": 0o600,
        "master.key": 0o600,
    }


def test_processes_that_start_and_race_make_one_ring(home: Path, host: FilePlace) -> None:
    """Idea 4: first use and first key may happen in several processes at the same moment."""
    code = """
go = float(sys.argv[1])
for n in range(12):
    while time.time() < go + n * 0.05:
        pass
    with open_keyring(home / str(n)) as ring:
        for subject in ("joint", "access/0"):
            key_id, key = ring.key_for(CLINIC, STREAM, subject)
            print(key_id, key.hex())
"""
    home.mkdir(mode=0o700, parents=True)
    go = str(time.time() + 0.8)
    outputs = [output(process) for process in [host.start(code, go) for _ in range(3)]]
    assert len(outputs[0].splitlines()) == 24
    assert outputs == [outputs[0]] * 3


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


@pytest.mark.parametrize("kept", [0, 1, 20, 21, 40, 83])
def test_a_truncated_master_key_is_said_so(home: Path, host: FilePlace, kept: int) -> None:
    """Idea 4: a damaged master key is never taken for a new one."""
    open_keyring(home).close()
    text = (home / "master.key").read_bytes()
    assert len(text) == 86
    (home / "master.key").write_bytes(text[:kept])
    assert host.refused() == "master_key_damaged"
    (home / "master.key").write_bytes(text)
    open_keyring(home).close()


@pytest.mark.parametrize("name", [".", "master.key", "keyring.db"])
@pytest.mark.parametrize("open_to", [0o040, 0o020, 0o004, 0o001])
def test_files_that_others_may_use_are_refused(
    home: Path, host: FilePlace, name: str, open_to: int
) -> None:
    """Idea 4: the keyring refuses to work where its secrets lie open."""
    open_keyring(home).close()
    path = home / name
    path.chmod(mode(path) | open_to)
    assert host.refused() == "permissions"


@pytest.mark.parametrize("kept", [0, 100, 4096, 6000])
def test_a_truncated_ring_is_said_so(home: Path, host: FilePlace, kept: int) -> None:
    """Idea 4: a damaged ring is never taken for an empty one."""
    with open_keyring(home) as ring:
        for n in range(60):
            ring.key_for(CLINIC, STREAM, f"access/{n}")
    os.truncate(home / "keyring.db", kept)
    assert host.refused() == "damaged"


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


def test_a_full_database_gives_none_of_the_keys_that_are_made_together(ring: FileKeyring) -> None:
    """Idea 4: all of them or none, in the file and in memory; later it works."""
    (pages,) = ring._db.execute("PRAGMA page_count").fetchone()
    ring._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    wanted = {(STREAM, f"access/{number}"): uuid4() for number in range(200)}
    with pytest.raises(KeyringError) as refused:
        ring.make_keys(CLINIC, wanted)
    assert refused.value.code == "disk_full"
    assert ring.verify() == 0
    assert {ring.key_id_of(CLINIC, *owner) for owner in wanted} == {None}
    ring._db.execute("PRAGMA max_page_count = 1000000")
    assert ring.make_keys(CLINIC, wanted)
    assert ring.verify() == len(wanted)


def test_a_disk_that_takes_no_more_bytes_gives_no_key(host: FilePlace) -> None:
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
    assert output(host.start(code)).split() == ["unwritable", "unwritable", "1", "2"]


def test_a_ring_that_was_moved_away_is_not_written_to(ring: FileKeyring, home: Path) -> None:
    """Idea 4: a key in a file that is no longer the ring would be lost with the process."""
    (home / "keyring.db").rename(home / "moved.db")
    with pytest.raises(KeyringError) as refused:
        ring.key_for(CLINIC, STREAM, "joint")
    assert refused.value.code == "replaced"


def test_the_file_is_as_its_document_says(ring: FileKeyring, home: Path, host: FilePlace) -> None:
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
    wrapped = host.wrapped()[key_id]
    canonical = json.dumps(aad, separators=(",", ":")).encode()
    assert name == "rapport-master-key/1"
    assert len(wrapped) == 60
    assert cipher.decrypt(wrapped[:12], wrapped[12:], canonical) == key


def test_the_document_names_every_fault() -> None:
    """Idea 4: each code that an operator may meet is explained."""
    document = (ROOT / "docs/formats/keyring.md").read_text()
    faults = document.partition("## Faults")[2]
    assert re.findall(r"^\| `(\w+)` \|", faults, re.MULTILINE) == sorted(keyring_errors.SAYS)


def test_a_ring_put_back_under_a_running_process_is_not_used(
    ring: FileKeyring, host: FilePlace
) -> None:
    """R25: an older file copied over the ring does not know of every erasure; start again."""
    key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
    older = host.ring.read_bytes()
    ring.destroy(CLINIC, key_id)
    host.ring.write_bytes(older)  # the same file, as cp leaves it
    time.sleep(REFRESH_SECONDS)
    for _ in range(2):
        with pytest.raises(KeyringError) as refused:
            ring.get(CLINIC, key_id)
        assert refused.value.code == "replaced"
