"""The limits that nothing on this machine can pass: commits to disk, round trips, hashes, ciphers.

They are measured with the parts the product is made of, one at a time and nothing around them.
"""

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import orjson
import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.harness import Contender, Effort, Measured, asked, compare
from benchmarks.invented import InventedClinic
from benchmarks.places import place

_BYTES = 363
_AT_ONCE = 1_000


def each(once: Callable[[], object], operations: int = 1) -> Contender:
    """`once` again and again; it counts for so many operations."""

    def contender(_: int, seconds: float) -> Measured:
        used, began, times = time.process_time(), time.perf_counter(), 0
        until = began + seconds
        while time.perf_counter() < until:
            once()
            times += 1
        took = time.perf_counter() - began
        return Measured(times * operations, took, (), time.process_time() - used)

    return contender


def many(once: Callable[[], object]) -> Contender:
    """`once`, a thousand at a time, so that looking at the clock costs nothing."""

    def thousand() -> None:
        for _ in range(_AT_ONCE):
            once()

    return each(thousand, _AT_ONCE)


@contextmanager
def synced(folder: Path) -> Iterator[Contender]:
    """A page written and synced, as every commit must at least once."""
    page = os.urandom(8192)
    file = os.open(folder / "synced", os.O_RDWR | os.O_CREAT)

    def once() -> None:
        os.pwrite(file, page, 0)
        os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)

    try:
        yield each(once)
    finally:
        os.close(file)


@contextmanager
def handed_over() -> Iterator[Contender]:
    """A byte to another thread and back over a socket: what waiting for anybody costs."""
    near, far = socket.socketpair()

    def answer() -> None:
        while said := far.recv(1):
            far.send(said)

    thread = threading.Thread(target=answer)
    thread.start()

    def once() -> None:
        near.send(b"x")
        near.recv(1)

    try:
        yield each(once)
    finally:
        near.shutdown(socket.SHUT_RDWR)
        thread.join()
        near.close()
        far.close()


def main(effort: Effort) -> None:
    """Prints the limits, each a second or so."""
    text, key = os.urandom(_BYTES), AESGCM(AESGCM.generate_key(256))
    rating = next(iter(InventedClinic().founding())).command
    document = json.loads(rating.model_dump_json())
    validate, nonce = type(rating).model_validate, os.urandom(12)
    with (
        place() as at,
        tempfile.TemporaryDirectory(dir=at.home) as folder,
        synced(Path(folder)) as fsync,
        handed_over() as thread,
        psycopg.connect(at.dsn(), autocommit=True) as conn,
    ):
        conn.execute("CREATE TABLE limits (id uuid PRIMARY KEY, state bytea)")
        insert = "INSERT INTO limits VALUES (%s, %s)"
        contenders = {
            "page written and synced": fsync,
            "thread and back": thread,
            "SELECT 1": each(lambda: conn.execute("SELECT 1", prepare=True).fetchone()),
            "INSERT and commit": each(lambda: conn.execute(insert, (uuid4(), text), prepare=True)),
            "SHA-256": many(lambda: sha256(text).digest()),
            "AES-256-GCM": many(lambda: key.encrypt(nonce, text, None)),
            "model validated": many(lambda: validate(document)),
            "document as JSON": many(lambda: orjson.dumps(document)),
        }
        compare("limits", contenders, at, rounds=effort.rounds, seconds=effort.seconds / 4)


if __name__ == "__main__":
    main(asked())
