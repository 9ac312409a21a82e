"""The notary: signs how far the log is, and has others vouch for it.

Each round signs a checkpoint of what is committed, if the log moved, has the witnesses cosign it
and now and then a timestamp authority stamp it. It runs beside the views in a thread of its own: a
slow witness delays nobody. Of several processes one at a time has its turn.

A checkpoint leaves this house only after it was shown to continue the last one that is kept here.
What contradicts that, here or in a witness's answer, is what a rollback or a rewritten log looks
like: it raises an alarm, which stands until an operator clears it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import SystemRandom
from threading import Event
from time import monotonic
from typing import Final, Protocol

import psycopg

from infra.acknowledged import LogDiverged
from infra.batch import Head
from infra.checkpoint import Checkpoint, NoteBroken
from infra.checkpoint_store import (
    AUTHORITY,
    LOG,
    CheckpointStore,
    Cosigned,
    KeptCheckpoint,
    State,
)
from infra.log_key import LogKey
from infra.outward import Address, AddressUnusable, Unanswered
from infra.proof import TlogProof
from infra.receipt_sink import Sink, parse_sink
from infra.recorder import StoreUnavailable
from infra.settings import PREFIX, Settings, SettingsInvalid
from infra.tiles import SignedTree, TiledHashes, TilesBroken
from infra.timestamp import Authority, RootsUnusable, TimestampBroken, trusted_roots
from infra.witness import (
    Witness,
    WitnessElsewhere,
    WitnessesUnusable,
    WitnessRefuses,
    witnesses_of,
)

Clock = Callable[[], datetime]

_LOOK_SECONDS: Final = 1.0
_MANY_ENTRIES: Final = 10_000
"""A log that grew by that many is signed before the round is due."""
_FIRST_PAUSE: Final = timedelta(seconds=30)
_LONGEST_PAUSE: Final = timedelta(hours=1)

_log = logging.getLogger("rapport.notary")
_dice = SystemRandom()

_SAYS: Final = {
    "ahead": "{who} cosigned {told} entries of this log, which now has {size}",
    "not-an-extension": "{who} finds that these {size} entries do not continue what it cosigned",
    "another-root": "{who} knows another log of the same length as this one of {size} entries",
    "shorter": "a checkpoint for {told} entries was signed, and the log now has {size}",
    "rewritten": "these {size} entries do not continue the {told} that a checkpoint was signed for",
    "unproven": "that these {size} entries continue the first {told} cannot be shown any more",
    "foreign-note": "the checkpoint that is kept for {told} entries was never signed by this log",
    "diverged": "these {size} entries do not continue what was acknowledged",
    "two-notes": "another checkpoint was kept for the same {size} entries",
}


class NotaryLog(Protocol):
    """The clinic's log, as far as the notary needs it (`infra.event_store.ClinicLog`)."""

    @property
    def key(self) -> LogKey: ...
    def head(self) -> Head: ...
    def checkpoint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is asked, and how often."""

    witnesses: tuple[Witness, ...] = ()
    authority: Authority | None = None
    every: timedelta = timedelta(minutes=1)
    stamp_every: timedelta = timedelta(hours=1)
    sinks: tuple[Sink, ...] = ()
    deliver_every: timedelta = timedelta(hours=1)

    @classmethod
    def of(cls, settings: Settings) -> "Plan":
        """What the settings ask for. Raises SettingsInvalid, which names the variable."""
        try:
            witnesses = witnesses_of(settings.witnesses or "")
        except WitnessesUnusable as error:
            raise SettingsInvalid(f"{PREFIX}WITNESSES: {error}") from None
        return cls(
            witnesses,
            _authority(settings),
            timedelta(seconds=settings.checkpoint_interval),
            timedelta(seconds=settings.timestamp_interval),
            _sinks(settings),
            timedelta(seconds=settings.receipt_interval),
        )


def _sinks(settings: Settings) -> tuple[Sink, ...]:
    named = settings.receipt_sinks.get_secret_value() if settings.receipt_sinks else ""
    try:
        return tuple(map(parse_sink, named.split()))
    except AddressUnusable as error:
        raise SettingsInvalid(f"{PREFIX}RECEIPT_SINKS: one of them {error}") from None


def _authority(settings: Settings) -> Authority | None:
    if settings.timestamp_url is None:
        return None
    try:
        address = Address.parse(settings.timestamp_url, plain=True)
    except AddressUnusable as error:
        raise SettingsInvalid(f"{PREFIX}TIMESTAMP_URL: {error}") from None
    if settings.timestamp_roots is None:
        raise SettingsInvalid(f"{PREFIX}TIMESTAMP_URL needs {PREFIX}TIMESTAMP_ROOTS")
    try:
        return Authority(address, trusted_roots(settings.timestamp_roots))
    except RootsUnusable as error:
        raise SettingsInvalid(f"{PREFIX}TIMESTAMP_ROOTS: {error}") from None


class _Alarmed(Exception):
    """This log contradicts what it signed; nothing more leaves the house."""


class Notary:
    """Signs one clinic's log and asks outsiders to vouch for it."""

    def __init__(
        self,
        log: NotaryLog,
        hashes: TiledHashes,
        store: CheckpointStore,
        plan: Plan,
        clock: Clock,
    ) -> None:
        self._log = log
        self._hashes = hashes
        self._store = store
        self._plan = plan
        self._clock = clock

    def run(self, stop: Event) -> None:
        """Works until `stop` is set; outlives lost connections and whatever outsiders answer."""
        for alarm in self._alarms_at_start():
            _log.critical("ALARM stands: %s", alarm)
        due, size = monotonic(), 0
        while not stop.wait(_LOOK_SECONDS):
            try:
                head = self._log.head().size
                if monotonic() >= due or head - size >= _MANY_ENTRIES:
                    due, size = monotonic() + self._plan.every.total_seconds(), head
                    self.round()
            except (StoreUnavailable, psycopg.Error) as error:
                _log.warning("checkpoints wait: %s", type(error).__name__)
                due = monotonic() + min(60.0, self._plan.every.total_seconds())

    def round(self) -> None:
        """Signs what is new, and asks everybody whose time it is. Does nothing out of turn."""
        with self._store.turn() as mine:
            if not mine:
                return
            try:
                kept = self._signed()
                if kept is None:
                    return
                tree = self._tree(kept)
                for witness in self._plan.witnesses:
                    self._ask(witness, kept, tree)
                for sink in self._plan.sinks:
                    self._deliver(sink, kept, tree)
            except _Alarmed:
                return
            self._stamp(kept)

    # --- Signing ----------------------------------------------------------------------------

    @property
    def _origin(self) -> str:
        return self._log.key.origin

    def _signed(self) -> KeptCheckpoint | None:
        """The checkpoint of what is committed, kept; None for an empty log."""
        if any(alarm.source == LOG for alarm in self._store.alarms()):
            raise _Alarmed
        last = self._store.latest(self._origin)
        head = self._log.head()
        if last is None:
            return self._sign(None) if head.size else None
        try:
            known = self._checkpoint(last.note)
        except NoteBroken:
            raise self._alarmed("foreign-note", head.size, last.size) from None
        if head.size < known.size:
            raise self._alarmed("shorter", head.size, known.size)
        if (head.size, head.root) == (known.size, known.root):
            return last
        return self._sign(known)

    def _sign(self, last: Checkpoint | None) -> KeptCheckpoint:
        """A new checkpoint, which never leaves this method unless it continues the last one."""
        try:
            note = self._log.checkpoint()
        except LogDiverged as diverged:
            raise self._alarmed("diverged", diverged.found, diverged.acknowledged) from None
        checkpoint = self._checkpoint(note)
        kept = KeptCheckpoint(checkpoint.size, note, self._clock())
        if last is not None:
            if checkpoint.size < last.size:
                raise self._alarmed("shorter", checkpoint.size, last.size)
            self._consistency(self._tree(kept), last.size, last.root)
        if not self._store.keep(self._origin, kept):
            raise self._alarmed("two-notes", kept.size, None)
        return kept

    def _consistency(
        self, tree: SignedTree, old: int, old_root: bytes | None = None
    ) -> tuple[bytes, ...]:
        try:
            return tree.consistency(old, old_root)
        except TilesBroken as broken:
            _log.error("%s", broken)
            code = "rewritten" if broken.code == "diverged" else "unproven"
            raise self._alarmed(code, tree.size, old) from None

    def _checkpoint(self, note: str) -> Checkpoint:
        return self._log.key.verified(note)

    def _tree(self, kept: KeptCheckpoint) -> SignedTree:
        checkpoint = self._checkpoint(kept.note)
        return SignedTree(self._hashes, checkpoint.size, checkpoint.root)

    # --- Witnesses --------------------------------------------------------------------------

    def _ask(self, witness: Witness, kept: KeptCheckpoint, tree: SignedTree) -> None:
        """Has a witness cosign, if it has not and its time has come."""
        source = str(witness.key)
        if any(alarm.source == source for alarm in self._store.alarms()):
            return
        state = self._store.states(self._origin).get(source, State())
        cosigned = self._store.last_cosigned(self._origin).get(source)
        if not self._is_due(state) or (cosigned is not None and cosigned.size >= kept.size):
            return
        try:
            self._cosigned_from(state.size, witness, kept, tree)
        except WitnessElsewhere as elsewhere:
            if elsewhere.size > self._log.head().size:
                self._alarm(source, "ahead", kept.size, elsewhere.size)
            else:  # somebody else brought it there meanwhile
                self._failed(source, replace(state, size=elsewhere.size), "moved")
        except WitnessRefuses as refusal:
            self._alarm(source, refusal.code, kept.size, state.size)
        except Unanswered as unanswered:
            self._failed(source, state, unanswered.code)

    def _cosigned_from(
        self, old: int, witness: Witness, kept: KeptCheckpoint, tree: SignedTree
    ) -> None:
        """Asks for a cosignature, going on from where the witness says it stands.

        Once: a witness that then names a third size is asked again another time.
        """
        try:
            self._cosign(old, witness, kept, tree)
        except WitnessElsewhere as elsewhere:
            if elsewhere.size > kept.size:
                raise
            _log.info("witness %s is at %d, not at %d", witness.name, elsewhere.size, old)
            self._cosign(elsewhere.size, witness, kept, tree)

    def _cosign(self, old: int, witness: Witness, kept: KeptCheckpoint, tree: SignedTree) -> None:
        if old > kept.size:
            raise WitnessElsewhere(old)
        proof = self._consistency(tree, old)
        now = self._clock()
        signature, at = witness.add_checkpoint(old, proof, kept.note, now)
        source = str(witness.key)
        self._store.cosign(
            self._origin, Cosigned(source, kept.size, f"{signature}\n", at), self._clock()
        )
        self._store.remember(self._origin, source, State(size=kept.size), now)

    # --- Receipts ---------------------------------------------------------------------------

    def _deliver(self, sink: Sink, kept: KeptCheckpoint, tree: SignedTree) -> None:
        """Hands out the newest entry's receipt, which covers all entries before it."""
        source = sink_source(sink)
        state = self._store.states(self._origin).get(source, State())
        if state.size >= kept.size or not self._is_due(state):
            return
        try:
            path = tree.inclusion(kept.size - 1)
        except TilesBroken as broken:
            _log.error("%s", broken)
            raise self._alarmed("unproven", kept.size, kept.size) from None
        receipt = str(TlogProof(kept.size - 1, path, kept.note))
        try:
            sink.deliver(f"{self._log.key.log_id}-{kept.size}.tlog-proof", receipt)
        except Unanswered as unanswered:
            self._failed(source, state, unanswered.code)
        else:
            now = self._clock()
            later = State(size=kept.size, retry_at=now + self._plan.deliver_every)
            self._store.remember(self._origin, source, later, now)

    # --- Time -------------------------------------------------------------------------------

    def _stamp(self, kept: KeptCheckpoint) -> None:
        """Has the authority stamp the checkpoint, if its time has come."""
        authority = self._plan.authority
        if authority is None:
            return
        last, now = self._store.stamped(self._origin), self._clock()
        state = self._store.states(self._origin).get(AUTHORITY, State())
        recent = last is not None and last.received_at > now - self._plan.stamp_every
        if recent or not self._is_due(state) or (last is not None and last.size >= kept.size):
            return
        try:
            stamp = authority.stamp(kept.note.encode())
        except Unanswered as unanswered:
            self._failed(AUTHORITY, state, unanswered.code)
        except TimestampBroken as broken:
            self._failed(AUTHORITY, state, f"token-{broken.code}")
        else:
            self._store.stamp(self._origin, kept.size, stamp, self._clock())
            self._store.remember(self._origin, AUTHORITY, State(size=kept.size), now)

    # --- Failures and alarms ----------------------------------------------------------------

    def _is_due(self, state: State) -> bool:
        # A time further off than any pause was set by another clock.
        left = (state.retry_at or self._clock()) - self._clock()
        return left <= timedelta(0) or left > max(_LONGEST_PAUSE, self._plan.deliver_every)

    def _failed(self, source: str, state: State, code: str) -> None:
        """Waits twice as long as after the last failure, give or take: not all at one time."""
        failures = state.failures + 1
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures - 1, 16))
        now = self._clock()
        later = State(state.size, failures, code, now + longest * _dice.uniform(0.5, 1.0))
        self._store.remember(self._origin, source, later, now)
        _log.warning("%s: %s, %d times in a row", _who(source), code, failures)

    def _alarmed(self, code: str, size: int, told: int | None) -> _Alarmed:
        self._alarm(LOG, code, size, told)
        return _Alarmed()

    def _alarm(self, source: str, code: str, size: int, told: int | None) -> None:
        now = self._clock()
        if self._store.raise_alarm(self._origin, source, code, size, told, now):
            _log.critical("ALARM: %s. %s", says(source, code, size, told), _WHAT_TO_DO)

    def _alarms_at_start(self) -> list[str]:
        try:
            standing = self._store.alarms()
        except (StoreUnavailable, psycopg.Error):
            return []
        return [says(each.source, each.code, each.size, each.told) for each in standing]


_SINK: Final = "sink "

_WHAT_TO_DO: Final = (
    "The log was rolled back or rewritten, or the witness is wrong. Keep everything as it is, run "
    "`rapport verify`, and see docs/operate/witnesses.md."
)


def says(source: str, code: str, size: int, told: int | None) -> str:
    """What an alarm means, for people."""
    return _SAYS[code].format(who=_who(source), size=size, told=told)


def called(source: str) -> str:
    """Of whom an alarm or a state is: a witness's name, or what it is called itself."""
    return source if source.startswith(_SINK) else source.partition("+")[0]


def sink_source(sink: Sink) -> str:
    """What the state of a sink is kept under."""
    return _SINK + sink.name


def _who(source: str) -> str:
    return f"the {source}" if called(source) == source else f"witness {called(source)}"
