"""The master key, under which every key of a ring is wrapped: from a file, or from a program.

A file serves one host, or each of several a copy of it. A program (`RAPPORT_MASTER_KEY_COMMAND`)
asks a key management service; then no master key is kept on the host's disk. How either is
replaced, and what a crash on the way leaves: docs/formats/keyring.md, *Rotation*.
"""

import fcntl
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.keyring_errors import KeyringError, disk_told
from infra.settings import PREFIX

MASTER_FORMAT: Final = "rapport-master-key/1"
MASTER_FILE: Final = "master.key"
RING_FORMAT: Final = "rapport-keyring/1"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
COMMAND_SECONDS: Final = 30.0
"""How long the program that gives the master key may take."""

_LONGEST_OUTPUT: Final = 1024


class RingPlace(Protocol):
    """Where a ring is, or is to be."""

    def proof(self) -> bytes | None:
        """What opens under the ring's master key alone; None where there is no ring."""
        ...

    def create(self, proof: bytes) -> None:
        """Makes an empty ring, whole or not at all, durably; leaves one that is there alone."""
        ...


class MasterKey(Protocol):
    """Where a master key comes from. Everything may raise `KeyringError`."""

    def exists(self) -> bool:
        """Whether there is one, whatever it is worth."""
        ...

    def candidates(self) -> Iterator[bytes]:
        """The master keys that the ring may be under now, 32 bytes each; at least one."""
        ...

    def settle(self, place: RingPlace, *, first_use: bool, new_ring: bool) -> None:
        """Makes what may be made on first use, and ends what was cut short."""
        ...


def new_proof(master: bytes) -> bytes:
    """Nonce ‖ AES-256-GCM(master, nonce, nothing, AAD = the ring's format)."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(master).encrypt(nonce, b"", RING_FORMAT.encode())


def proves(proof: bytes | None, wrap: AESGCM) -> bool:
    """Whether that proof was made under that master key."""
    try:
        nonce, tag = (proof or b"")[:NONCE_BYTES], (proof or b"")[NONCE_BYTES:]
        wrap.decrypt(nonce, tag, RING_FORMAT.encode())
    except (InvalidTag, ValueError):  # ValueError: too short to be one at all
        return False
    return True


def settle(master: MasterKey, place: RingPlace, *, new_ring: bool, first_use: bool) -> None:
    """Before a ring is opened: makes what may be made, refuses where keys would be buried."""
    if not (first_use or new_ring or master.exists()) and place.proof() is None:
        raise KeyringError("keyring_missing")
    master.settle(place, first_use=first_use, new_ring=new_ring)


# --- From a file ----------------------------------------------------------------------------


class MasterFile:
    """`master.key` in a directory (0700) that may hold the ring's file too.

    While it is first made it is called `master.key.new`, while it is replaced its successor is
    called `master.key.next`; whoever opens the ring next ends what was cut short.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.path = directory / MASTER_FILE
        self._draft = directory / f"{MASTER_FILE}.new"
        self._next = directory / f"{MASTER_FILE}.next"

    def exists(self) -> bool:
        return self.path.exists() or self._next.exists()

    def candidates(self) -> Iterator[bytes]:
        """That in the file; first the one that a rotation is about to put there."""
        with suppress(KeyringError, FileNotFoundError):
            yield read_master(self._next)
        with disk_told():
            try:
                yield read_master(self.path)
            except FileNotFoundError:
                raise KeyringError("master_key_missing") from None

    def settle(self, place: RingPlace, *, first_use: bool, new_ring: bool) -> None:
        with self._alone():
            proof = place.proof()
            if self._next.exists() and proof is not None:
                self._end_rotation(proof)
            elif self.path.exists():
                if proof is None and new_ring:
                    place.create(new_proof(read_master(self.path)))
            else:
                self._end_first_use(place, proof, first_use=first_use and not new_ring)

    def replaced(self, rotate: Callable[[bytes], int]) -> tuple[int, Path]:
        """Has `rotate` wrap the ring anew under a new key, and puts that in the file.

        What `rotate` answers, and where the old master key is kept.
        """
        with self._alone():
            _write_master(self._next)
            _sync(self._directory)
            wrapped = rotate(read_master(self._next))
            return wrapped, self._put_next_in_place()

    def put_aside(self) -> Path:
        """Renames the file to `master.key.before-<time>`: the ring is under another key now."""
        with self._alone():
            return self._put_aside()

    def _end_first_use(self, place: RingPlace, proof: bytes | None, *, first_use: bool) -> None:
        # The ring takes its place before the master key does. So a master key alone always tells
        # of a lost ring, and a ring beside a draft of a first use that was cut short.
        if proof is None and first_use:
            _write_master(self._draft)
            place.create(new_proof(read_master(self._draft)))
            proof = place.proof()
        elif proof is None and not first_use:
            raise KeyringError("master_key_missing")
        if not self._draft.exists() or not proves(proof, AESGCM(read_master(self._draft))):
            raise KeyringError("master_key_missing")
        self._draft.rename(self.path)
        _sync(self._directory)

    def _end_rotation(self, proof: bytes) -> None:
        """The ring itself says whether the rotation came to its commit."""
        for path, end in ((self._next, self._put_next_in_place), (self.path, self._next.unlink)):
            with suppress(KeyringError, FileNotFoundError):  # a file that was cut short
                master = read_master(path)
                if proves(proof, AESGCM(master)):
                    end()
                    return
        raise KeyringError("master_key_wrong" if self.path.exists() else "master_key_missing")

    def _put_next_in_place(self) -> Path:
        kept = self._put_aside()
        self._next.rename(self.path)
        _sync(self._directory)
        return kept

    def _put_aside(self) -> Path:
        kept = self.path.with_name(f"{MASTER_FILE}.before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        with suppress(FileNotFoundError):  # put aside by a rotation that was cut short here
            self.path.rename(kept)
            _sync(self._directory)
        return kept

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; the kernel lets go of the lock if the process dies."""
        with disk_told():
            make_private(self._directory)
            handle = os.open(self._directory, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)


def make_private(directory: Path) -> None:
    """The directory, made (0700) if it is missing; `permissions` where others may use it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_open_to_others(directory)


def refuse_open_to_others(path: Path) -> None:
    """`permissions` where group or others have any right."""
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyringError("permissions")


def read_master(path: Path) -> bytes:
    """The master key in that file, of mode 0600; FileNotFoundError where there is none."""
    refuse_open_to_others(path)
    master = _parsed(path.read_bytes())
    if master is None:
        raise KeyringError("master_key_damaged")
    return master


def _write_master(path: Path) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{MASTER_FORMAT} {os.urandom(KEY_BYTES).hex()}\n")
        file.flush()
        os.fsync(file.fileno())


def _parsed(text: bytes) -> bytes | None:
    """The 32 bytes that a line of the format holds; None for anything else."""
    try:
        name, _, digits = text.decode("ascii").strip().partition(" ")
        master = bytes.fromhex(digits)
    except ValueError:
        return None
    return master if name == MASTER_FORMAT and len(master) == KEY_BYTES else None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- From a program -------------------------------------------------------------------------


class MasterCommand:
    """A program and its arguments, run without a shell, that prints the master key.

    It gets the environment without the product's own variables, no input, and 30 seconds. What it
    prints is neither kept nor told to anybody, its errors included.
    """

    def __init__(self, command: Sequence[str], *, seconds: float = COMMAND_SECONDS) -> None:
        self._command = list(command)
        self._seconds = seconds

    def exists(self) -> bool:
        return True

    def candidates(self) -> Iterator[bytes]:
        yield self.key()

    def settle(self, place: RingPlace, *, first_use: bool, new_ring: bool) -> None:
        if (first_use or new_ring) and place.proof() is None:
            place.create(new_proof(self.key()))

    def key(self) -> bytes:
        """The master key that it prints; `master_command_…` where it does not."""
        try:
            process = subprocess.Popen(
                self._command,
                env={name: v for name, v in os.environ.items() if not name.startswith(PREFIX)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError):  # ValueError: a null byte in its name
            raise KeyringError("master_command_failed") from None
        with process:
            try:
                said = _heard(process, time.monotonic() + self._seconds)
            except BaseException:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # with all that it started
                raise
        master = _parsed(said)
        if process.returncode != 0:
            raise KeyringError("master_command_failed")
        if master is None:
            raise KeyringError("master_command_garbled")
        return master


def _heard(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What it prints until it ends; told at once where that is too much, or takes too long."""
    assert process.stdout is not None
    said = b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while waiting.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(process.stdout.fileno(), _LONGEST_OUTPUT)
            said += piece
            if len(said) > _LONGEST_OUTPUT:
                raise KeyringError("master_command_garbled")
            if not piece:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                    return said
                break
    raise KeyringError("master_command_hung")
