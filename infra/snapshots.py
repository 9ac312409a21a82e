"""Snapshots: what long streams came to up to one of their entries, sealed in PostgreSQL.

Whoever decides over a stream for the first time would read and open all of it. With a snapshot it
reads that row, the entry that the row stops at, and what came since. A snapshot is a cache and
proves nothing: one that is missing or of no use means that the stream is read whole.

- It is sealed under all the keys of the entries that it comes from: one of them destroyed, and
  nobody opens it any more. A stream with erased entries has none.
- Its seal is bound to the clinic, the stream, the code that folds, and the entry it stops at: by
  version, position and salted commitment. Where the log holds another entry there, it is of no use.
  One that is older than another one is no worse: what came after it is read and folded.
- It is written apart from commands, by a thread of its own.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import chain, islice
from threading import Condition, Thread
from time import monotonic, sleep
from typing import Final, NamedTuple
from uuid import UUID

from domain.event import History, RecordedEvent, Stream
from infra import canonical
from infra.histories import Recall, Recalled, keys_of
from infra.keyring import Keyring, KeyringError
from infra.mapper import stream_name, stream_named
from infra.recorder import EntryRecorder, ScannedRow, SnapshotRow, StoreUnavailable
from infra.scanned import Scans
from infra.sealing import SealBroken, Sealer
from infra.states import code, fold_all, opened, stored

_log = logging.getLogger("rapport.snapshots")

FORMAT: Final = "rapport-snapshot/1"
_PURPOSE: Final = "snapshot/states"
SHORTEST: Final = 32
"""A stream of fewer entries is read sooner than a snapshot of it."""
FURTHER: Final = 16
"""So many entries later it is worth another one."""

_FILLED: Final = "relationship"
"""The category of which missing ones are filled in."""
_LOOK_SECONDS: Final = 600.0
"""So long after none was missing it is looked again."""

_WAITING: Final = 256
_AT_ONCE: Final = 64
_AT_THE_END: Final = 8
_KNOWN: Final = 65_536
_SETTLES_SECONDS: Final = 0.5
"""So long a history waits that was just read: until it is known what is asked of it."""
_SHARE: Final = 4
"""So many times as long as it worked the thread rests."""
_LAST_SECONDS: Final = 1.0
"""How long whoever closes the log writes what was not written yet."""


class Kept(NamedTuple):
    """A history that may be worth a snapshot."""

    stream: Stream
    history: History


class Snapshots:
    """The snapshots of one clinic. Safe to share between threads."""

    def __init__(
        self, clinic: UUID, recorder: EntryRecorder, keyring: Keyring, scans: Scans, recall: Recall
    ) -> None:
        self._clinic = clinic
        self._recorder = recorder
        self._keyring = keyring
        self._scans = scans
        self._recall = recall
        self._sealer = Sealer()
        self._format = f"{FORMAT}+{code()}"
        self._moved = Condition()
        self._waiting: OrderedDict[Stream, History] = OrderedDict()
        self._written: dict[Stream, int] = {}
        """How far a stream's snapshot goes, where that is known."""
        self._missing: list[str] = []
        self._past = ""
        self._look_at = 0.0
        self._to_remove = False
        self._thread: Thread | None = None
        self._closed = False

    # --- Reading ------------------------------------------------------------------------------

    def read(self, stream: Stream, generation: int) -> History:
        """The stream as of now, to be decided over: at rest, where a snapshot is of use."""
        rows, row = self._recorder.scan_from_snapshot(stream_name(stream), self._format)
        if row is not None:
            history = self._at_rest(stream, rows, row, generation)
            if history is not None:
                return history
            rows = self._recorder.scan_stream(stream_name(stream), 0)
        history = History(self._scans.opened(rows))
        self.offer(stream, history)
        return history

    def _at_rest(
        self, stream: Stream, rows: Sequence[ScannedRow], row: SnapshotRow, generation: int
    ) -> History | None:
        """What the snapshot and the entries since come to; None where it is of no use.

        Raises what opening those entries does.
        """
        if not rows:  # the log does not go as far
            return None
        last, *news = self._scans.opened(rows)
        data = self._opened(last, row)
        # A key destroyed meanwhile: what is in the snapshot and what was read do not fit together.
        if data is None or self._keyring.generation() != generation:
            return None
        recall, length, states = self._recall, last.version, opened(data)
        entries = Recalled(
            length, last, lambda: recall(stream, length, generation), keys=frozenset(row.keys)
        )
        self._note(stream, length)
        return History.of_stored(entries, length, states).then(*news)

    def _opened(self, last: RecordedEvent, row: SnapshotRow) -> bytes | None:
        try:
            if (key := self._key(row.keys)) is not None:
                return self._sealer.open(key, _PURPOSE, self._aad(last, row.keys), row.sealed)
        except (KeyringError, SealBroken) as error:
            _log.warning("snapshot of %s is of no use: %s", stream_name(last.stream), error)
        return None

    # --- Writing ------------------------------------------------------------------------------

    def offer(self, stream: Stream, history: History) -> None:
        """Has it written soon, if it is worth it. Takes no time."""
        if not self._is_worth(stream, history):
            return
        with self._moved:
            self._waiting[stream] = history
            self._waiting.move_to_end(stream)
            if len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
            self._work()

    def sweep(self) -> None:
        """Has those removed of which a key was destroyed; drops what waits to be written."""
        self._sealer.forget()
        with self._moved:
            self._waiting.clear()
            self._written.clear()
            self._to_remove = True
            self._work()

    def remove(self) -> None:
        """Removes at once those of which a key was destroyed; raises what the parts do."""
        if destroyed := self._keyring.destroyed(self._clinic):
            self._recorder.delete_snapshots(list(destroyed))

    def close(self, histories: Iterable[tuple[Stream, History]]) -> None:
        """Writes what waits, and of these what is worth it, as far as a second goes."""
        with self._moved:
            self._closed = True
            thread, self._thread = self._thread, None
            self._moved.notify_all()
        if thread is not None:
            thread.join()
        until = monotonic() + _LAST_SECONDS
        left = chain(self._waiting.copy().items(), histories)
        worth = (Kept(*one) for one in left if self._is_worth(*one))
        while monotonic() < until and (some := list(islice(worth, _AT_THE_END))):
            self._step(some)
        if self._to_remove:
            self._step([])

    def fill(self) -> bool:
        """Writes one that is missing, of a relationship; whether there may be more.

        For whoever has nothing else to do: it takes some ten milliseconds. Raises StoreUnavailable
        and KeyringError; a stream that cannot be read has none.
        """
        if not self._missing:
            if monotonic() < self._look_at:
                return False
            self._missing = self._recorder.without_snapshot(
                _FILLED, self._format, SHORTEST, self._past, _AT_ONCE
            )
            self._past = self._missing[-1] if self._missing else ""
            if not self._missing:
                self._look_at = monotonic() + _LOOK_SECONDS
                return False
        name = self._missing.pop(0)
        try:
            history = History(self._scans.opened(self._recorder.scan_stream(name, 0)))
            fold_all(history)
            self._write([Kept(stream_named(name), history)])
        except (StoreUnavailable, KeyringError):
            raise
        except Exception as error:  # whoever decides over it is told, and the next one may do
            _log.warning("no snapshot of %s: %s", name, type(error).__name__)
        return True

    def _is_worth(self, stream: Stream, history: History) -> bool:
        if history.version < SHORTEST or history.version != len(history):
            return False
        return history.version >= self._written.get(stream, 0) + FURTHER

    def _work(self) -> None:
        if self._closed:
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, name="snapshots", daemon=True)
            self._thread.start()
        self._moved.notify_all()

    def _run(self) -> None:
        while True:
            with self._moved:
                self._moved.wait_for(self._has_work)
                self._moved.wait_for(lambda: self._closed, _SETTLES_SECONDS)
                if self._closed:
                    return
                some = list(islice(self._waiting.items(), _AT_ONCE))
                for stream, _ in some:
                    del self._waiting[stream]
            for one in some:
                began = monotonic()
                self._step([Kept(*one)])
                sleep(min(_SHARE * (monotonic() - began), _SETTLES_SECONDS))
            if self._to_remove:
                self._step([])

    def _has_work(self) -> bool:
        return self._closed or self._to_remove or bool(self._waiting)

    def _step(self, some: Sequence[Kept]) -> None:
        """Removes what is to go and writes these; what cannot be done is left."""
        try:
            self._remove()
            self._write(some)
        except Exception as error:  # nothing depends on it, and the thread goes on
            _log.warning("snapshots are not written: %s", type(error).__name__)

    def _remove(self) -> None:
        if not self._to_remove:
            return
        self._to_remove = False
        try:
            self.remove()
        except BaseException:
            self._to_remove = True
            raise

    def _write(self, some: Iterable[Kept]) -> None:
        rows = [(one, row) for one in some if (row := self._row(*one)) is not None]
        if rows:
            self._recorder.write_snapshots(self._format, [row for _, row in rows])
        for (stream, history), _ in rows:
            self._note(stream, history.version)

    def _row(self, stream: Stream, history: History) -> SnapshotRow | None:
        """The sealed row; None where there is nothing to keep, or it may have none."""
        last, keys = history.last, keys_of(history)
        if last is None or not last.commitment or keys is None or not history.lasting:
            return None
        if history.resting is None:
            fold_all(history)
        in_order = sorted(keys)
        key = self._key(in_order)
        if key is None:
            return None
        sealed = self._sealer.seal(key, _PURPOSE, self._aad(last, in_order), stored(history))
        return SnapshotRow(stream_name(stream), history.version, in_order, sealed)

    def _note(self, stream: Stream, version: int) -> None:
        if len(self._written) >= _KNOWN:
            self._written.clear()
        self._written[stream] = version

    # --- Sealing ------------------------------------------------------------------------------

    def _key(self, keys: Sequence[UUID]) -> bytes | None:
        """What takes all of these keys to make; None where one of them was destroyed."""
        together = sha256(FORMAT.encode())
        for key_id in keys:
            key = self._keyring.get(self._clinic, key_id)
            if key is None:
                return None
            together.update(key)
        return together.digest()

    def _aad(self, last: RecordedEvent, keys: Sequence[UUID]) -> bytes:
        return canonical.encode(
            {
                "clinic": self._clinic,
                "commitment": last.commitment,
                "format": self._format,
                "keys": list(keys),
                "position": last.position,
                "stream": stream_name(last.stream),
                "version": last.version,
            }
        )
