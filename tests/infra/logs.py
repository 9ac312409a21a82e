"""A clinic's log outside the `clinic` fixture: in other processes, or to be broken."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from uuid import UUID

import pytest

from domain.access import ReadRecord, Role
from domain.records import Clock
from infra.acknowledged import AcknowledgedHead
from infra.event_store import ClinicLog
from infra.keyring import open_keyring

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def read(about: UUID | None = None, what: str = "dossier") -> ReadRecord:
    """The simplest command there is; it appends to the access stream of `about`."""
    return ReadRecord(role=Role.SUPERVISOR, purpose="supervision", what=what, relationship=about)


def clock_from(begin: datetime = BEGIN) -> Clock:
    """A clock that shows `begin` now and goes on as time does."""
    started = monotonic()
    return lambda: begin + timedelta(seconds=monotonic() - started)


@contextmanager
def open_log(
    conninfo: str, clinic: UUID, home: Path, clock: Clock | None = None
) -> Iterator[ClinicLog]:
    """The log as a process of its own opens it: with its own keyring and acknowledged head."""
    with open_keyring(home / "keyring") as keyring:
        head = AcknowledgedHead(home / "heads", clinic)
        log = ClinicLog(conninfo, clinic, keyring, head, clock=clock or clock_from())
        try:
            yield log
        finally:
            log.close()


def acknowledged(clinic: UUID, home: Path) -> tuple[int, bytes] | None:
    """(size, root) as remembered outside PostgreSQL."""
    head = AcknowledgedHead(home / "heads", clinic)
    try:
        return head.read()
    finally:
        head.close()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for something that another thread or process brings about."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, "it did not happen in time"
        sleep(0.005)


class Interrupted(Exception):
    """What a signal raises in the main thread."""


@contextmanager
def interrupted(when: Callable[[], object]) -> Iterator[None]:
    """Interrupts the main thread in this block once `when` returns."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    assert main is not None

    def soon() -> None:
        when()
        signal.pthread_kill(main, signal.SIGUSR1)

    thread = threading.Thread(target=soon)
    thread.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
