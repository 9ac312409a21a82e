"""A new master key: all keys wrapped anew at once, whatever happens meanwhile; no entry changes."""

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from infra.keyring import REFRESH_SECONDS, KeyringError, WrappedKeyring
from infra.keyrings import NoNewMasterKey, keyring_of, restore_keyring, rotate
from infra.wrapped_keyring import _ASK_MASTER_AGAIN_SECONDS
from tests.infra.conftest import NewShared
from tests.infra.rings import CLINIC, STREAM, Place, output, shared_place

SUBJECTS = ("joint", "access/0", "mac/0")


def keys_of(ring: WrappedKeyring) -> list[tuple[UUID, bytes]]:
    return [ring.key_for(CLINIC, STREAM, subject) for subject in SUBJECTS]


def printing(path: Path) -> str:
    """A command that prints a file."""
    return shlex.join([sys.executable, "-c", f"print(open({str(path)!r}).read())"])


def written(path: Path, digit: str) -> Path:
    path.write_text(f"rapport-master-key/1 {digit * 64}\n")
    path.chmod(0o600)
    return path


# --- One process ----------------------------------------------------------------------------


def test_every_key_is_the_same_under_another_master_key(place: Place) -> None:
    """Idea 4: a rotation wraps keys anew; neither keys nor ids change, so no entry does."""
    with place.open() as ring:
        keys, before = keys_of(ring), place.wrapped()
        gone, _ = ring.key_for(CLINIC, STREAM, "hold/0")
        ring.destroy(CLINIC, gone)
        generation = ring.generation()
    old = place.master.read_bytes()
    done = rotate(place.settings)
    assert done.keys == len(SUBJECTS)
    assert done.kept is not None
    assert done.kept.read_bytes() == old
    assert place.master.read_bytes() != old
    with place.open() as ring:
        assert keys_of(ring) == keys
        assert ring.destroyed(CLINIC) == {gone}
        assert ring.generation() == generation
    after = place.wrapped()
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def test_nothing_of_the_old_wrapping_stays_in_the_ring(place: Place) -> None:
    """Idea 4: a ring that was rotated is of no use to whoever has the old master key."""
    with place.open() as ring:
        keys_of(ring)
    before = place.wrapped()
    rotate(place.settings)
    stored = place.stored()
    assert all(wrapped[12:28] in stored for wrapped in place.wrapped().values())
    assert not any(wrapped[12:28] in stored for wrapped in before.values())


def test_older_copies_need_the_older_master_key(place: Place, tmp_path: Path) -> None:
    """Idea 4: with the old key a copy is taken over as ever; without it, it is buried."""
    copy = tmp_path / "copy.db"
    with place.open() as ring:
        keys = keys_of(ring)
        ring.backup(copy)
    old = rotate(place.settings).kept
    place.lose()
    with pytest.raises(KeyringError) as refused:
        restore_keyring(place.settings, copy)
    assert refused.value.code == "master_key_wrong"
    assert place.refused() == "ring_missing"
    assert restore_keyring(place.settings, copy, under=old) == len(SUBJECTS)
    with place.open() as ring:
        assert keys_of(ring) == keys
        assert ring.verify() == len(SUBJECTS)
        with pytest.raises(KeyringError) as refused:
            ring.restore(copy, merge=True)
        assert refused.value.code == "master_key_wrong"


def test_a_damaged_key_stops_a_rotation_before_anything_is_changed(place: Place) -> None:
    """Idea 4: a key that does not open now would be lost for good under another master key."""
    with place.open() as ring:
        (key_id, _), *_ = keys_of(ring)
    master, before = place.master.read_bytes(), place.wrapped()
    place.execute("UPDATE keys SET wrapped = ? WHERE key_id = ?", b"short", str(key_id))
    with pytest.raises(KeyringError) as refused:
        rotate(place.settings)
    assert (refused.value.code, refused.value.key_id) == ("damaged", key_id)
    place.execute("UPDATE keys SET wrapped = ? WHERE key_id = ?", before[key_id], str(key_id))
    with place.open() as ring:
        assert ring.verify() == len(SUBJECTS)
    assert place.wrapped() == before
    assert place.master.read_bytes() == master
    assert {file.name for file in place.home.iterdir()} <= {"master.key", "keyring.db"}


# --- Several processes, and what kills them -------------------------------------------------

KILLED_AT_EVERY_LINE = """
FILES = ("master_key.py", "wrapped_keyring.py", "keyring.py", "keyring_shared.py", "keyrings.py")

def rotated_until(line):
    def trace(frame, event, _):
        nonlocal line
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "line":
            line -= 1
            if line == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    rotate(settings)
    sys.settrace(None)

settings, line, ended = load_settings(), 0, None
while ended != 0:
    line += int(sys.argv[1])
    pid = os.fork()
    if pid == 0:
        try:
            rotated_until(line)
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, -9), ended
    with opened() as ring:
        left = {file.name for file in home.glob("master.key*") if "before" not in file.name}
        assert left == {"master.key"}, left
        print(ring.verify(), *[ring.key_for(CLINIC, STREAM, s)[1].hex() for s in sys.argv[2:]])
"""


def test_kill_9_at_any_line_of_a_rotation_loses_no_key(place: Place) -> None:
    """Idea 4: killed wherever it stands, the next start goes on under the old key or the new."""
    with place.open() as ring:
        keys = [key.hex() for _, key in keys_of(ring)[:2]]
        place.execute("DELETE FROM keys WHERE subject = 'mac/0'")
    stride = "1" if place.settings.keyring_url is None else "7"
    said = output(place.start(KILLED_AT_EVERY_LINE, stride, *SUBJECTS[:2])).splitlines()
    assert len(said) > 40
    assert set(said) == {" ".join(["2", *keys])}
    masters = {file.read_bytes() for file in place.home.glob("master.key*")}
    assert len(masters) > 2


def test_a_running_process_goes_on_under_the_new_key(ring: WrappedKeyring, place: Place) -> None:
    """Idea 4: who finds the new master key where it found the old one notices nothing."""
    keys = keys_of(ring)
    rotate(place.settings)
    # At once, before it looked: a key wrapped under the old master key now would be lost.
    new_id, new = ring.key_for(CLINIC, STREAM, "hold/0")
    rotate(place.settings)
    ring.forget_everywhere()
    assert keys_of(ring) == keys
    assert ring.get(CLINIC, new_id) == new
    with place.open() as again:
        assert again.verify() == len(SUBJECTS) + 1
        assert again.get(CLINIC, new_id) == new


def test_keys_made_while_others_rotate_are_never_lost(place: Place) -> None:
    """Idea 4: every key given out opens under the key that the ring is under in the end."""
    code = """
ring = opened()
for n in range(100_000):
    key_id, key = ring.key_for(CLINIC, STREAM, f"access/{os.getpid()}-{n}")
    print(key_id, key.hex(), flush=True)
    time.sleep(0.01)  # a ring in a file lets in whoever comes at the right moment
"""
    place.open().close()
    writers = [place.start(code) for _ in range(2)]
    lines = []
    for turn in range(6):
        if turn:
            rotate(place.settings)
        for writer in writers:  # each makes one, however long it has to wait for the ring
            assert writer.stdout is not None
            lines.append(writer.stdout.readline().split())
    for writer in writers:
        assert writer.poll() is None
        writer.kill()
        assert writer.stdout is not None
        with writer:
            *whole, _ = writer.stdout.read().split("\n")
        lines += [line.split() for line in whole]
    with place.open() as ring:
        for key_id, key in lines:
            assert ring.get(CLINIC, UUID(key_id)) == bytes.fromhex(key)
        assert ring.verify() >= len(lines)


def test_another_host_says_that_it_needs_the_new_key(new_shared: NewShared, tmp_path: Path) -> None:
    """Idea 4: a process that cannot get the new master key says so, and goes on once it can."""
    here = new_shared(tmp_path / "here")
    with here.open() as ring:
        keys = keys_of(ring)
    there = shared_place(tmp_path / "there", here.url, here.superuser)
    assert there.refused() == "master_key_missing"
    there.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy2(here.master, there.master)
    with there.open() as ring:
        assert keys_of(ring) == keys
        rotate(here.settings)
        time.sleep(REFRESH_SECONDS)
        for _ in range(2):
            with pytest.raises(KeyringError) as refused:
                keys_of(ring)
            assert refused.value.code == "master_key_rotated"
        shutil.copy2(here.master, there.master)
        time.sleep(_ASK_MASTER_AGAIN_SECONDS)
        assert keys_of(ring) == keys


# --- From a command to another --------------------------------------------------------------


def test_a_rotation_from_the_file_to_a_key_service(place: Place, tmp_path: Path) -> None:
    """Idea 4: afterwards the master key comes from the command, and the file is put aside."""
    with place.open() as ring:
        keys = keys_of(ring)
    old, command = place.master.read_bytes(), printing(written(tmp_path / "service", "a"))
    done = rotate(place.settings, command)
    assert (done.keys, place.master.exists()) == (len(SUBJECTS), False)
    assert done.kept is not None
    assert done.kept.read_bytes() == old
    assert place.refused(first_use=False) == "master_key_missing"
    settings = place.settings.model_copy(update={"master_key_command": command})
    with keyring_of(settings) as ring:
        assert keys_of(ring) == keys


def test_a_rotation_from_one_command_to_another(
    new_place: Callable[..., Place], tmp_path: Path
) -> None:
    """Idea 4: the new key comes from a second command, which has to be named."""
    first, second = (printing(written(tmp_path / name, name[0])) for name in ("a.key", "b.key"))
    place = new_place(master_key_command=first)
    with place.open() as ring:
        keys = keys_of(ring)
        with pytest.raises(NoNewMasterKey):
            rotate(place.settings)
        with pytest.raises(KeyringError) as refused:
            rotate(place.settings, first)
        assert refused.value.code == "master_key_same"
        assert rotate(place.settings, second) == (len(SUBJECTS), None)
        time.sleep(REFRESH_SECONDS)
        with pytest.raises(KeyringError) as refused:
            keys_of(ring)
        assert refused.value.code == "master_key_rotated"
    assert place.refused() == "master_key_wrong"
    with keyring_of(place.settings.model_copy(update={"master_key_command": second})) as ring:
        assert keys_of(ring) == keys


def test_a_command_that_gives_the_new_key_is_asked_again(
    new_place: Callable[..., Place], tmp_path: Path
) -> None:
    """Idea 4: where the service itself moves on to the new key, running processes follow."""
    service, next_ = written(tmp_path / "service", "a"), written(tmp_path / "next", "b")
    place = new_place(master_key_command=printing(service))
    with place.open() as ring:
        keys = keys_of(ring)
        rotate(place.settings, printing(next_))
        next_.replace(service)
        ring.forget_everywhere()
        time.sleep(REFRESH_SECONDS)
        assert keys_of(ring) == keys
