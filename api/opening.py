"""Where a clinic's record is opened: settings → database → keyring → log.

For whoever records without a door or a view, such as an import; `api/composition.py` joins those.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from typing import Literal, NamedTuple
from uuid import UUID, uuid4

import psycopg

from domain.erasure import destroyed_keys
from domain.records import Clock, system_clock
from infra.acknowledged import AcknowledgedHead
from infra.clinics import clinic_in, found_clinic, holds_entries
from infra.erased_keys import ErasedKeys
from infra.event_store import ClinicLog
from infra.keyring import WrappedKeyring
from infra.keyrings import keyring_of
from infra.migrate import migrate
from infra.postgres import Database, open_database
from infra.settings import Settings
from infra.tiles import SubtreeFiller

Progress = Callable[[str], None]

# Advisory lock of whoever begins a clinic: the bytes of "founding" as a number.
_FOUNDING = int.from_bytes(b"founding", "big")

_LOOK_AGAIN_SECONDS = 5.0

_log = logging.getLogger("rapport.keyring")


class Opened(NamedTuple):
    """The opened parts of one clinic's record."""

    settings: Settings
    database: Database
    keyring: WrappedKeyring
    clinic: UUID
    log: ClinicLog


@contextmanager
def open_record(
    settings: Settings,
    *,
    role: Literal["app", "import", "read"] = "app",
    progress: Progress | None = None,
    clock: Clock = system_clock,
) -> Iterator[Opened]:
    """Opens what one process needs to record, and closes it again.

    Raises PostgresError, MigrationError, KeyringError, ClinicUnclear, LogDiverged; each message is
    for the person who runs the product.
    """
    with ExitStack() as opened:
        database = opened.enter_context(open_database(settings, progress))
        migrate(database.dsn("owner"))
        # A keyring begins with the log: made anew beside an old log it would bury a loss.
        first_use = not holds_entries(database.dsn("owner"))
        keyring = opened.enter_context(keyring_of(settings, first_use=first_use))
        clinic = begin_clinic(database, settings)
        with suppress(psycopg.Error):  # what is derived may be missing
            # Where no worker did it, after an import, each start would hash the whole log.
            SubtreeFiller(database.dsn("views"), clinic).fill_all()
        log = ClinicLog(
            database.dsn(role),
            clinic,
            keyring,
            AcknowledgedHead(settings.home / "heads", clinic),
            clock=clock,
        )
        opened.callback(log.close)
        log.make_clinic_keys()
        destroy_again(log, keyring, settings)
        opened.enter_context(keyring.watched())
        opened.enter_context(_destroying_again(log, keyring, settings))
        yield Opened(settings, database, keyring, clinic, log)


@contextmanager
def open_log(settings: Settings, clinic: UUID) -> Iterator[ClinicLog]:
    """The log alone, for a process beside one that opened the record."""
    with opened_beside(settings, clinic) as (log, _, __):
        yield log


@contextmanager
def opened_beside(
    settings: Settings, clinic: UUID
) -> Iterator[tuple[ClinicLog, Database, WrappedKeyring]]:
    """The log, with what it stands on."""
    with ExitStack() as opened:
        database = opened.enter_context(open_database(settings))
        keyring = opened.enter_context(keyring_of(settings, first_use=False))
        head = AcknowledgedHead(settings.home / "heads", clinic)
        log = ClinicLog(database.dsn("app"), clinic, keyring, head)
        opened.callback(log.close)
        opened.enter_context(keyring.watched())
        yield log, database, keyring


def destroy_again(log: ClinicLog, keyring: WrappedKeyring, settings: Settings) -> None:
    """Destroys every key that the log says is destroyed, before anything is served (rule 9).

    A keyring restored from a copy brings keys back; so does a start after an erasure that was
    noted and cut short. Where the log was restored too, the file beside the heads still knows.
    """
    erased = ErasedKeys(settings.home / "heads", log.clinic)
    erased.add(
        key for stream in log.streams("erasure") for key in destroyed_keys(log.history(stream))
    )
    missing = erased.read() - keyring.destroyed(log.clinic)
    if missing:
        keyring.destroy_again(log.clinic, missing)


@contextmanager
def _destroying_again(
    log: ClinicLog, keyring: WrappedKeyring, settings: Settings
) -> Iterator[None]:
    """Looks also while something is served: for an erasure that was noted by a process that did
    not live to carry it out, and for what a restore of the keyring brings back."""
    stop = Event()

    def look() -> None:
        settled: tuple[int, int] | None = None
        while not stop.wait(_LOOK_AGAIN_SECONDS):
            try:
                found = keyring.generation(), log.head_size()
                if found != settled:
                    destroy_again(log, keyring, settings)
                    settled = found
            except Exception as error:  # the next look may be luckier
                _log.warning("what is to be destroyed was not seen: %s", type(error).__name__)

    thread = Thread(target=look, name="destroying again", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def begin_clinic(database: Database, settings: Settings) -> UUID:
    """The clinic this process is for; on a new database it begins one.

    Processes that start together take turns, or each would begin its own.
    """
    owner = database.dsn("owner")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_FOUNDING,))
        known = clinic_in(database, settings)
        if known is None:
            known = settings.clinic or uuid4()
            found_clinic(owner, known)
        return known


def operator_id(log: ClinicLog) -> UUID:
    """The id of whoever runs this program: the same for the same account of this machine."""
    return log.keyed_id("operator", str(os.getuid()))
