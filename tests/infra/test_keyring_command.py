"""The master key from a program: asked of a key service, never kept on the host's disk; whatever
the program does instead is told by a code, and nothing of what it printed is."""

import os
import shlex
import sys
import time
import traceback
from pathlib import Path

import psutil
import pytest

from infra.keyring import KeyringError
from infra.keyrings import keyring_of
from infra.master_key import MasterCommand
from tests.infra.rings import CLINIC, STREAM, Place, file_place
from tests.infra.test_keyring import NewPlace
from tests.infra.users import wait_for

DIGITS = "5eed" * 16
LINE = f"rapport-master-key/1 {DIGITS}"

GARBLED = {
    "nothing": "",
    "a line of words": f"the key is {DIGITS}",
    "another format": f"rapport-master-key/2 {DIGITS}",
    "a key too short": LINE[:-2],
    "a key too long": LINE + "5e",
    "half a byte": LINE[:-1],
    "two lines": f"{LINE}\n{LINE}",
    "no digits": f"rapport-master-key/1 {'secret..' * 8}",
    "other letters": f"rapport-master-key/1 {'ß' * 64}",
    "too much": f"{LINE}\n" + DIGITS * 20,
}


def python(code: str) -> list[str]:
    """A program, as a command line has it."""
    return [sys.executable, "-I", "-c", code]


def printing(text: str) -> list[str]:
    return python(f"print({text!r})")


def refused(command: list[str], seconds: float = 20) -> str:
    """With which code no key comes of it; nothing of what it printed is in any message."""
    with pytest.raises(KeyringError) as error:
        MasterCommand(command, seconds=seconds).key()
    told = "".join(traceback.format_exception(error.value, chain=True))
    shown = (str(error.value), repr(error.value), told)
    assert not any(digits in text for text in shown for digits in ("5eed5eed", "secret."))
    assert "command" in str(error.value)
    return error.value.code


# --- It works -------------------------------------------------------------------------------


def test_a_ring_under_a_command_keeps_no_master_key_on_disk(
    new_place: NewPlace, tmp_path: Path
) -> None:
    """Idea 4: the key service alone has the master key; it is in no file, and opens the ring."""
    place: Place = new_place(master_key_command=shlex.join(printing(LINE)))
    with place.open() as ring:
        key_id, key = ring.key_for(CLINIC, STREAM, "joint")
        ring.backup(tmp_path / "copy.db")
    with place.open(first_use=False) as ring:
        assert ring.get(CLINIC, key_id) == key
        assert ring.verify() == 1
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("master.key" in path.name for path in held)
    secrets = (DIGITS.encode(), bytes.fromhex(DIGITS))
    assert not any(secret in path.read_bytes() for path in held for secret in secrets)
    assert not any(secret in place.stored() for secret in secrets)


def test_a_command_that_gives_another_key_opens_nothing(new_place: NewPlace) -> None:
    """Idea 4: a ring is not given another master key by a service that mixes keys up."""
    place: Place = new_place(master_key_command=shlex.join(printing(LINE)))
    place.open().close()
    other = shlex.join(printing(LINE.replace("5eed", "0bad")))
    with pytest.raises(KeyringError) as error:
        keyring_of(place.settings.model_copy(update={"master_key_command": other}))
    assert error.value.code == "master_key_wrong"
    place.open().close()


def test_a_command_that_fails_leaves_no_ring_behind(new_place: NewPlace) -> None:
    """Idea 4: a first use without a master key makes nothing that would stand in the way."""
    place: Place = new_place(master_key_command=shlex.join(python("raise SystemExit(3)")))
    assert place.refused() == "master_command_failed"
    working = shlex.join(printing(LINE))
    with keyring_of(place.settings.model_copy(update={"master_key_command": working})) as ring:
        assert ring.verify() == 0


def test_it_is_run_without_a_shell(tmp_path: Path) -> None:
    """Idea 4: what a shell would make of the words is not what they mean."""
    made = tmp_path / "made"
    words = [*printing(LINE), ";", "touch", str(made), f"$(touch {made})", "|", "true"]
    assert MasterCommand(words).key() == bytes.fromhex(DIGITS)
    assert not made.exists()


def test_it_learns_nothing_of_the_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idea 4: the program gets no URL with a password, and no input to wait for."""
    seen = tmp_path / "seen"
    monkeypatch.setenv("RAPPORT_DATABASE_URL", "postgresql://rapport:secret.@db/rapport")
    monkeypatch.setenv("RAPPORT_SOMETHING_LATER", "secret.")
    monkeypatch.setenv("KEY_SERVICE", "https://keys.example")
    code = (
        f"import os, sys; print({LINE!r}); file = open({str(seen)!r}, 'w');"
        " print(sys.stdin.read(), *os.environ, *os.environ.values(), sep=chr(10), file=file)"
    )
    assert MasterCommand(python(code)).key() == bytes.fromhex(DIGITS)
    words = seen.read_text()
    assert "https://keys.example" in words
    assert os.environ["PATH"] in words
    assert "RAPPORT_" not in words
    assert "secret." not in words


# --- It does something else ------------------------------------------------------------------


@pytest.mark.parametrize("text", GARBLED.values(), ids=GARBLED)
def test_what_is_no_master_key_is_refused(text: str) -> None:
    """Idea 4: half a key, or a message of the key service, is never taken for a key."""
    assert refused(printing(text)) == "master_command_garbled"


def test_endless_output_is_not_read_to_its_end() -> None:
    """Idea 4: a program gone wild does not fill the memory, nor hold up the start."""
    started = time.monotonic()
    endless = python(f"while True: print({LINE!r})")
    assert refused(endless) == "master_command_garbled"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "code",
    [
        f"print({LINE!r}); raise SystemExit(1)",
        f"import os, sys; print({LINE!r}, file=sys.stderr); os._exit(9)",
        f"import os; print({LINE!r}, flush=True); os.kill(os.getpid(), 9)",
    ],
    ids=["status", "stderr", "killed"],
)
def test_a_program_that_failed_gave_no_key(code: str) -> None:
    """Idea 4: its exit status is heard, whatever it printed."""
    assert refused(python(code)) == "master_command_failed"


@pytest.mark.parametrize("name", ["/nowhere/secret.", "nowhere-secret.", "null\0secret.", "/"])
def test_a_program_that_cannot_be_started_is_told(name: str) -> None:
    """Idea 4: a mistyped command is told as such, and not repeated: it may hold a password."""
    assert refused([name, "5eed5eed"]) == "master_command_failed"


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(600)",
        f"import time; print({LINE!r}, flush=True); time.sleep(600)",
        f"import os, time; print({LINE!r}, flush=True); os.close(1); time.sleep(600)",
        "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)",
    ],
    ids=["silent", "printed", "closed", "stubborn"],
)
def test_a_program_that_hangs_is_ended(code: str) -> None:
    """Idea 4: a key service that does not answer does not hold up the start for ever."""
    started = time.monotonic()
    assert refused(python(code), seconds=0.5) == "master_command_hung"
    assert time.monotonic() - started < 10


def test_what_a_hanging_program_started_is_ended_with_it(tmp_path: Path) -> None:
    """Idea 4: nothing that might hold the master key is left running."""
    pid = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {shlex.quote(str(pid))}; wait"
    assert refused(["/bin/sh", "-c", script], seconds=1) == "master_command_hung"
    child = int(pid.read_text())
    wait_for(lambda: not _runs(child), "the end of the child")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_running_process_says_the_same(tmp_path: Path) -> None:
    """Idea 4: the whole way, from the variable to the message, keeps the output to itself."""
    command = shlex.join(printing(GARBLED["too much"]))
    place = file_place(tmp_path / "home", master_key_command=command)
    code = """
try:
    opened()
except KeyringError as error:
    print(error.code, error)
"""
    with place.start(code) as process:
        said, _ = process.communicate(timeout=60)
    assert said.startswith("master_command_garbled ")
    assert DIGITS not in said
    assert not (place.home / "keyring.db").exists()
