"""What every keyring of ours does, wherever it lies: keys wrapped under a master key.

A ring is two tables: `ring`, one row that says under which master key it is and how many
destructions it has seen, and `keys`. Where they lie, and how a transaction is begun and ended
there, is a subclass's: one SQLite file (`infra/keyring.py`) or a PostgreSQL of its own
(`infra/keyring_shared.py`). Statements are written once, for both.
"""

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, Self
from uuid import UUID, uuid4
from weakref import WeakMethod

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.canonical import time_text
from infra.keyring_errors import KeyDestroyed, KeyringError, KeyUnknown
from infra.master_key import KEY_BYTES, RING_FORMAT, MasterKey, new_proof, proves
from infra.ring_file import ROW, RingState, Row, read_ring, write_ring
from infra.wrapping import open_row, overwrite, rewrap_row, unwrap_key, wrap_key

REFRESH_SECONDS: Final = 0.25
"""How long a process may go on with what it knows before it asks the ring again."""
WATCH_SECONDS: Final = 0.5
"""How often `watched` looks, so that a process that nobody asks anything forgets too."""

_CACHE_LIMIT: Final = 100_000
_ASK_MASTER_AGAIN_SECONDS: Final = 5.0
_MISSING: Final = bytearray()

# Asked for them outright, SQLite reads all keys of the clinic instead of the owners' index.
_OF_OWNER: Final = (
    "SELECT key_id, wrapped FROM keys WHERE clinic = ? AND key_id IN"
    " (SELECT key_id FROM keys WHERE clinic = ? AND stream = ? AND subject = ?)"
    " ORDER BY wrapped IS NOT NULL, created_at, key_id LIMIT 1"
)

_INSERT_NEW: Final = (
    "INSERT INTO keys SELECT ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS"
    " (SELECT 1 FROM keys WHERE clinic = ? AND stream = ? AND subject = ?)"
)

_log = logging.getLogger("rapport.keyring")

_forks: Final = [0]
"""How many processes were forked on the way to this one. Asking the system whose process this is,
for each key, would cost more than the key."""


def _forked() -> None:
    _forks[0] += 1


os.register_at_fork(after_in_child=_forked)


class Keyring(Protocol):
    """What the rest of the program may ask of a keyring. Keys are 32 random bytes."""

    def key_for(self, clinic: UUID, stream: str, subject: str) -> tuple[UUID, bytes]:
        """The owner's key and its id, created durably if new; `KeyDestroyed` once destroyed."""
        ...

    def key_id_of(
        self, clinic: UUID, stream: str, subject: str, *, ask: bool = True
    ) -> UUID | None:
        """The id of the owner's key, None where it has none yet; `KeyDestroyed` once destroyed.

        Without `ask` only what is in memory is looked at: for owners that are most likely new.
        """
        ...

    def make_keys(self, clinic: UUID, wanted: Mapping[tuple[str, str], UUID]) -> bool:
        """Makes keys for owners (stream, subject) under new ids, durably, in one commit.

        False where one of them has a key already, which stands.
        """
        ...

    def get(self, clinic: UUID, key_id: UUID) -> bytes | None:
        """The key; None: destroyed; raises `KeyUnknown` where it was never in this ring."""
        ...

    def destroy(self, clinic: UUID, key_id: UUID) -> None:
        """Destroys the key for good. Repeating it is harmless; `KeyUnknown` as in `get`."""
        ...

    def destroy_again(self, clinic: UUID, key_ids: Iterable[UUID]) -> None:
        """Makes destroyed what the log says is destroyed, known to this ring or not."""
        ...

    def destroyed(self, clinic: UUID) -> frozenset[UUID]:
        """The ids of all destroyed keys."""
        ...

    def live(self, clinic: UUID) -> tuple[tuple[UUID, str, str], ...]:
        """Every key of the clinic that is not destroyed: its id, and whose it is."""
        ...

    def generation(self) -> int:
        """A number that moves whenever any process destroyed a key."""
        ...

    def on_destroyed(self, forget: Callable[[], object]) -> None:
        """Has a bound method called, while `watched`, whenever a key was destroyed anywhere.

        For what keeps keys, ciphers or opened content in memory. It is called in a thread of its
        own, and only as long as its object lives.
        """
        ...


def system_clock() -> datetime:
    return datetime.now(UTC)


class WrappedKeyring(ABC):
    """A keyring, every key wrapped under a master key kept elsewhere.

    Safe to share between threads and to open in several processes.
    """

    place: str
    """Where the ring is, for people; no secret is in it."""

    def __init__(self, master: MasterKey, clock: Callable[[], datetime]) -> None:
        """A subclass opens its place, then calls `_open`."""
        self._master = master
        self._clock = clock
        self._lock = threading.RLock()
        self._forks = _forks[0]
        self._keys: dict[tuple[UUID, UUID], bytearray | None] = {}
        self._owners: dict[tuple[UUID, str, str], tuple[UUID, bytearray | None]] = {}
        self._forgetting: list[WeakMethod[Callable[[], object]]] = []
        self._fresh_until = 0.0
        self._closed = False
        self._replaced = False
        self._state: RingState | None = None
        self._wrap: AESGCM
        self._refused: tuple[bytes, float] = (b"", 0.0)

    def close(self) -> None:
        """Lets go of the ring and forgets every key."""
        with self._lock:
            self._closed = True
            self._fresh_until = 0.0
            self._forget()
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Asking ---------------------------------------------------------------------------

    def key_for(self, clinic: UUID, stream: str, subject: str) -> tuple[UUID, bytes]:
        """The owner's key and its id; durable before this returns. `KeyDestroyed` once destroyed.

        Processes that race get the same key. Subject: a person's id, "joint", or, in a clinic's
        own stream, a purpose and its generation ("access/0").
        """
        self._refresh()
        owned = self._owned(clinic, stream, subject)
        if owned is not None:
            return owned
        with self._lock:
            with self._transaction(write=True):
                key_id, key = self._found_or_created(clinic, stream, subject)
            # Only now is it durable; and only under the lock can no destruction have been
            # noticed, and the key forgotten, since it was read.
            self._remember(clinic, key_id, key)
            self._owners[clinic, stream, subject] = key_id, key
            return key_id, bytes(key)

    def key_id_of(
        self, clinic: UUID, stream: str, subject: str, *, ask: bool = True
    ) -> UUID | None:
        """The id of the owner's key; None where none was made; `KeyDestroyed` once destroyed.

        Without `ask` only what is in memory is looked at: for owners that are most likely new.
        """
        self._refresh()
        owned = self._owned(clinic, stream, subject)
        if owned is not None:
            return owned[0]
        if ask:
            with self._lock, self._transaction():
                self._learn(clinic, stream, subject)
            owned = self._owned(clinic, stream, subject)
        return None if owned is None else owned[0]

    def make_keys(self, clinic: UUID, wanted: Mapping[tuple[str, str], UUID]) -> bool:
        """Makes a key for each owner (stream, subject) under that id: durably, in one commit.

        False where one of them has a key already: that one stands, and `key_id_of` gives its id.
        """
        if not wanted:
            return True
        keys = {owner: bytearray(os.urandom(KEY_BYTES)) for owner in wanted}
        with self._lock:
            with self._transaction(write=True):
                rows = [
                    (*self._new_row(clinic, key_id, *owner, keys[owner]), str(clinic), *owner)
                    for owner, key_id in wanted.items()
                ]
                alone = self._execute_many(_INSERT_NEW, rows) == len(rows)
            # Only now are they durable, as in `key_for`.
            if alone:
                for owner, key_id in wanted.items():
                    self._remember(clinic, key_id, keys[owner])
                    self._owners[(clinic, *owner)] = key_id, keys[owner]
            else:
                with self._transaction():
                    for owner in wanted:
                        self._learn(clinic, *owner)
        return alone

    def get(self, clinic: UUID, key_id: UUID) -> bytes | None:
        """The key; None: destroyed; raises `KeyUnknown` where it was never in this ring."""
        self._refresh()
        keys = self._keys
        known = keys.get((clinic, key_id), _MISSING)
        if known is not _MISSING:
            held = None if known is None else bytes(known)
            # What is forgotten leaves its table first, for a new one, and is overwritten then: if
            # the table is still the same, the key was whole when it was copied.
            if keys is self._keys:
                return held
        with self._lock, self._transaction():
            rows = self._execute(
                "SELECT stream, subject, wrapped FROM keys WHERE clinic = ? AND key_id = ?",
                str(clinic),
                str(key_id),
            )
            if not rows:
                raise KeyUnknown(clinic, key_id)
            stream, subject, wrapped = rows[0]
            key = unwrap_key(self._wrap, clinic, key_id, stream, subject, wrapped)
            self._remember(clinic, key_id, key)
            return None if key is None else bytes(key)

    def destroyed(self, clinic: UUID) -> frozenset[UUID]:
        """The ids of all destroyed keys of the clinic."""
        query = "SELECT key_id FROM keys WHERE clinic = ? AND wrapped IS NULL"
        with self._transaction():
            return frozenset(UUID(key_id) for (key_id,) in self._execute(query, str(clinic)))

    def live(self, clinic: UUID) -> tuple[tuple[UUID, str, str], ...]:
        """Every key of the clinic that is not destroyed: its id, and whose it is."""
        query = (
            "SELECT key_id, stream, subject FROM keys"
            " WHERE clinic = ? AND wrapped IS NOT NULL ORDER BY stream, subject, key_id"
        )
        with self._transaction():
            rows = self._execute(query, str(clinic))
        return tuple((UUID(key_id), stream, subject) for key_id, stream, subject in rows)

    def generation(self) -> int:
        """A number that moves whenever any process destroyed a key, seen within 0.25 s."""
        self._refresh()
        assert self._state is not None, "it was opened"
        return self._state.generation

    def verify(self) -> int:
        """Reads the whole ring and opens every key; the number of live keys, or `KeyringError`."""
        with self._transaction():
            self._check_whole()
            return sum(overwrite(open_row(self._wrap, row)) for row in self._rows())

    # --- Destroying -----------------------------------------------------------------------

    def destroy(self, clinic: UUID, key_id: UUID) -> None:
        """Destroys the key for good: its bytes leave the ring, its id stays as destroyed.

        Repeating it is harmless. Backups of the ring still hold the key: docs/formats/keyring.md.
        """
        self.get(clinic, key_id)
        self.destroy_again(clinic, [key_id])

    def destroy_again(self, clinic: UUID, key_ids: Iterable[UUID]) -> None:
        """Makes destroyed what the log says is destroyed, known to this ring or not.

        For starts and restores: an older ring brings a key back, or never knew it.
        """
        now = time_text(self._clock())
        with self._transaction(write=True):
            buried = [
                self._entomb(Row(str(clinic), str(key_id), None, None, None, None, now))
                for key_id in key_ids
            ]
        if buried:
            self._refresh()
            # Also where nothing changed: whoever destroyed them may have been cut short here.
            self._scrub()

    def _entomb(self, row: Row) -> bool:
        """Whether that changed anything: the key was live, or it was not known whose it is."""
        changed = self._execute(
            "INSERT INTO keys (clinic, key_id, stream, subject, destroyed_at)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (clinic, key_id) DO UPDATE SET wrapped = NULL,"
            " destroyed_at = coalesce(keys.destroyed_at, excluded.destroyed_at),"
            " stream = coalesce(keys.stream, excluded.stream),"
            " subject = coalesce(keys.subject, excluded.subject)"
            " WHERE keys.wrapped IS NOT NULL"
            " OR (keys.stream IS NULL AND excluded.stream IS NOT NULL) RETURNING key_id",
            row.clinic,
            row.key_id,
            row.stream,
            row.subject,
            row.destroyed_at,
        )
        if changed:
            self._execute("UPDATE ring SET generation = generation + 1")
        return bool(changed)

    # --- Forgetting -----------------------------------------------------------------------

    def on_destroyed(self, forget: Callable[[], object]) -> None:
        """Has a bound method called, while `watched`, whenever a key was destroyed anywhere."""
        with self._lock:
            alive = [known for known in self._forgetting if known() is not None]
            self._forgetting = [*alive, WeakMethod(forget)]

    def forget_everywhere(self) -> None:
        """Drops every key, cipher and opened content that this process keeps ready."""
        with self._lock:
            self._forget()
            known = [forget() for forget in self._forgetting]
        for forget in known:
            if forget is not None:
                forget()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Meanwhile a thread looks every 0.5 s, and everything is forgotten once a key is gone.

        Also where the ring does not answer: nobody could say then what must be forgotten.
        """
        stop = threading.Event()
        watch = threading.Thread(target=self._watch, args=(stop,), name="keyring")
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            stop.set()
            watch.join()

    def _watch(self, stop: threading.Event) -> None:
        seen: int | None = None
        moved, said = True, ""
        while not stop.wait(WATCH_SECONDS):
            trouble = ""
            try:
                generation = self.generation()
                # Once more half a second later: for what was being opened at that moment.
                if moved or generation != seen:
                    self.forget_everywhere()
                moved, seen = generation != seen, generation
            except KeyringError as error:
                self.forget_everywhere()
                trouble = error.code
                if trouble != said:
                    _log.warning("the keyring does not answer: %s", trouble)
            said = trouble

    def _refresh(self) -> None:
        """Forgets every opened key if, as of 0.25 s ago at the latest, one was destroyed."""
        self._require_own()
        if time.monotonic() < self._fresh_until:
            return
        with self._lock:
            if time.monotonic() < self._fresh_until:
                return  # another thread was first
            try:
                with self._transaction():
                    pass
            except KeyringError:
                self._forget()
                raise

    def _owned(self, clinic: UUID, stream: str, subject: str) -> tuple[UUID, bytes] | None:
        """The owner's key, if it is kept in memory, and its id; `KeyDestroyed`."""
        owners = self._owners
        known = owners.get((clinic, stream, subject))
        if known is None:
            return None
        key_id, key = known
        if key is None:
            raise KeyDestroyed(clinic, stream, subject)
        held = bytes(key)
        return (key_id, held) if owners is self._owners else None  # as in `get`

    def _remember(self, clinic: UUID, key_id: UUID, key: bytearray | None) -> None:
        if len(self._keys) >= _CACHE_LIMIT:
            self._forget()
        self._keys[clinic, key_id] = key

    def _forget(self) -> None:
        with self._lock:
            forgotten, self._keys, self._owners = self._keys, {}, {}
            for key in forgotten.values():
                overwrite(key)

    # --- Another master key -----------------------------------------------------------------

    def rotate(self, master: bytes) -> int:
        """Wraps every key anew under `master`, in one transaction; how many there were.

        Nothing else changes: neither keys nor ids, so no entry is touched.
        """
        wrap, proof = AESGCM(master), new_proof(master)
        with self._lock:
            with self._transaction(write=True):
                assert self._state is not None
                if proves(self._state.proof, wrap):
                    raise KeyringError("master_key_same")
                rows = [row for row in self._rows() if row.wrapped is not None]
                for row in rows:
                    self._execute(
                        "UPDATE keys SET wrapped = ? WHERE clinic = ? AND key_id = ?",
                        rewrap_row(row, self._wrap, wrap).wrapped,
                        row.clinic,
                        row.key_id,
                    )
                self._execute("UPDATE ring SET proof = ?", proof)
            self._wrap, self._state = wrap, self._state._replace(proof=proof)
        self._scrub()
        return len(rows)

    def _adopt(self, proof: bytes) -> None:
        """Takes the master key that the ring is under now, or says that it is not to be had."""
        refused, until = self._refused
        if refused != proof or time.monotonic() >= until:
            for master in self._master.candidates():
                wrap = AESGCM(master)
                if proves(proof, wrap):
                    self._wrap = wrap
                    return
            # A program is not started again for everybody who asks.
            self._refused = (proof, time.monotonic() + _ASK_MASTER_AGAIN_SECONDS)
        raise KeyringError("master_key_wrong" if self._state is None else "master_key_rotated")

    # --- Backup and restore ---------------------------------------------------------------

    def backup(self, dest: Path) -> None:
        """Writes a copy (0600) that is whole or not there. Useless without the master key."""
        if dest.exists():
            raise KeyringError("exists")
        with self._transaction():
            assert self._state is not None
            state, rows = self._state, self._rows()
        write_ring(dest, state, rows)

    def restore(self, src: Path, *, merge: bool = False, master: bytes | None = None) -> int:
        """Takes over the keys of a backup; how many were new.

        `master`: the key that it was made under, if that is not the ring's. A ring that holds keys
        refuses (`not_empty`) unless `merge` is asked for; the outcome is the union, and a key
        destroyed on either side stays destroyed.
        """
        state, rows = read_ring(src)
        with self._transaction(write=True):
            wrap = self._wrap if master is None else AESGCM(master)
            if not proves(state.proof, wrap):
                raise KeyringError("master_key_wrong")
            ((held,),) = self._execute("SELECT count(*) FROM keys")
            if held and not merge:
                raise KeyringError("not_empty")
            ours = [rewrap_row(row, wrap, self._wrap) for row in rows]
            taken = sum(self._took_over(row) for row in ours)
            if taken:  # whoever serves looks whether the log says of one that it is destroyed
                self._execute("UPDATE ring SET generation = generation + 1")
        self._refresh()
        self._scrub()
        return taken

    def _took_over(self, row: Row) -> bool:
        """Whether the row brought a key; if not, what it knows of a destroyed one is kept."""
        known = self._execute(
            "SELECT destroyed_at FROM keys WHERE clinic = ? AND key_id = ?", row.clinic, row.key_id
        )
        if not known and row.wrapped is not None:
            self._insert(row)
            return True
        buried_at = row.destroyed_at or (known[0][0] if known else None)
        if buried_at is not None:  # on either side; the other may know whose key it was
            self._entomb(row._replace(destroyed_at=buried_at))
        return False

    # --- Inside ---------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, *, write: bool) -> None:
        """Begins a transaction: one snapshot, or alone among all processes."""

    @abstractmethod
    def _commit(self) -> None:
        """Ends it; what was written is durable when this returns."""

    @abstractmethod
    def _undo(self) -> None:
        """Ends it, whatever state it is in, as if it had not been."""

    @abstractmethod
    def _execute(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """The rows of one statement, with ? for its values."""

    @abstractmethod
    def _execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """Runs one statement for each of `rows`; how many rows of the table it made."""

    @abstractmethod
    def _told(self) -> AbstractContextManager[None]:
        """Turns what the place raises into a `KeyringError`."""

    @abstractmethod
    def _require_place(self) -> None:
        """`replaced` where the place is not the one that was opened."""

    @abstractmethod
    def _check_whole(self) -> None:
        """`damaged` where the place itself is."""

    @abstractmethod
    def _scrub(self) -> None:
        """Does what can be done that no bytes stay of what was overwritten."""

    @abstractmethod
    def _let_go(self) -> None:
        """Closes the place."""

    def _open(self) -> None:
        """Looks at the ring for the first time; closes the place where that is refused."""
        try:
            with self._transaction():
                pass
        except BaseException:
            self._let_go()
            raise

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[None]:
        """One transaction, which begins by looking what became of the ring meanwhile."""
        self._require_own()
        with self._lock, self._told():
            if self._closed:
                raise KeyringError("closed")
            if self._replaced:
                raise KeyringError("replaced")
            self._require_place()
            started = time.monotonic()
            try:
                self._begin(write=write)
                self._look()
                yield
                self._commit()
            except BaseException:
                self._undo()
                raise
            self._fresh_until = 0.0 if write else started + REFRESH_SECONDS

    def _require_own(self) -> None:
        # Before the lock is taken: it may have been copied while another thread held it.
        if self._forks != _forks[0]:
            raise KeyringError("forked")

    def _look(self) -> None:
        """Forgets every key where one was destroyed; takes the new master key where it changed."""
        rows = self._execute("SELECT format, proof, generation FROM ring")
        if len(rows) != 1 or rows[0][0] != RING_FORMAT:
            raise KeyringError("damaged")
        before, found = self._state, RingState(*rows[0][1:])
        if before is None or found.proof != before.proof:
            self._adopt(found.proof)
        if before is not None and found.generation < before.generation:
            # An older state of the ring, which does not know of every destruction.
            self._replaced = True
            raise KeyringError("replaced")
        if before is None or found.generation != before.generation:
            self._forget()
        self._state = found

    def _found(
        self, clinic: UUID, stream: str, subject: str
    ) -> tuple[UUID, bytearray | None] | None:
        """The owner's key, as it is in the ring, and its id; one without a key was destroyed."""
        rows = self._execute(_OF_OWNER, str(clinic), str(clinic), stream, subject)
        if not rows:
            return None
        key_id, wrapped = UUID(rows[0][0]), rows[0][1]
        return key_id, unwrap_key(self._wrap, clinic, key_id, stream, subject, wrapped)

    def _learn(self, clinic: UUID, stream: str, subject: str) -> None:
        """Keeps in memory what the ring says of the owner's key; within a transaction."""
        found = self._found(clinic, stream, subject)
        if found is not None:
            self._remember(clinic, *found)
            self._owners[clinic, stream, subject] = found

    def _found_or_created(self, clinic: UUID, stream: str, subject: str) -> tuple[UUID, bytearray]:
        found = self._found(clinic, stream, subject)
        if found is not None:
            key_id, known = found
            if known is None:
                raise KeyDestroyed(clinic, stream, subject)
            return key_id, known
        key_id, key = uuid4(), bytearray(os.urandom(KEY_BYTES))
        self._insert(self._new_row(clinic, key_id, stream, subject, key))
        return key_id, key

    def _new_row(
        self, clinic: UUID, key_id: UUID, stream: str, subject: str, key: bytearray
    ) -> Row:
        wrapped = wrap_key(self._wrap, clinic, key_id, stream, subject, key)
        now = time_text(self._clock())
        return Row(str(clinic), str(key_id), stream, subject, wrapped, now, None)

    def _insert(self, row: Row) -> None:
        self._execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", *row)

    def _rows(self) -> list[Row]:
        return [Row(*row) for row in self._execute(f"SELECT {ROW} FROM keys")]  # noqa: S608
