"""How far others vouch for the log: read from what is kept, and verified again.

PostgreSQL is the suspect here too: a cosignature or a token that does not verify counts for
nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.checkpoint import NoteBroken, SignedNote
from infra.checkpoint_store import AUTHORITY, Alarm, CheckpointStore, Cosigned, State
from infra.log_key import LogKey
from infra.notary import Plan, called, says, sink_source
from infra.receipt_sink import Sink
from infra.timestamp import Authority, TimestampBroken, verified
from infra.witness import Witness


@dataclass(frozen=True, slots=True)
class Voucher:
    """Somebody outside who vouches for the log, and how far."""

    name: str
    size: int
    """Entries; 0: none yet."""
    at: datetime | None
    """When, by their clock."""
    failures: int
    """In a row, since it last answered as it should."""
    failure: str
    """The code of the last one."""


@dataclass(frozen=True, slots=True)
class StandingAlarm:
    """An alarm that nobody cleared."""

    source: str
    """What it is about: a witness by its name, or the log."""
    code: str
    says: str
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class Vouching:
    """How far the log is signed and vouched for, and what stands against it."""

    origin: str
    verifier: str
    """The log's public key, as witnesses and readers are told it."""
    size: int
    """Entries that the last checkpoint is for; 0: none was signed yet."""
    signed_at: datetime | None
    witnesses: Sequence[Voucher]
    authority: Voucher | None
    sinks: Sequence[Voucher]
    """Who was handed receipts, and up to which entry."""
    alarms: Sequence[StandingAlarm]


def vouching(store: CheckpointStore, plan: Plan, key: LogKey) -> Vouching:
    """As of now, for those whom the plan names. Raises StoreUnavailable."""
    latest = store.latest(key.origin)
    states, cosigned = store.states(key.origin), store.last_cosigned(key.origin)
    return Vouching(
        key.origin,
        str(key.verifier),
        latest.size if latest else 0,
        latest.signed_at if latest else None,
        [_witness(store, key, each, cosigned, states) for each in plan.witnesses],
        _authority(store, key, plan.authority, states) if plan.authority else None,
        [_sink(each, states) for each in plan.sinks],
        [_alarm(each) for each in store.alarms()],
    )


def _witness(
    store: CheckpointStore,
    key: LogKey,
    witness: Witness,
    cosigned: Mapping[str, Cosigned],
    states: Mapping[str, State],
) -> Voucher:
    source = str(witness.key)
    state, last = states.get(source, State()), cosigned.get(source)
    size, at = 0, None
    if last is not None:
        kept = store.at_size(key.origin, last.size)
        try:
            note = kept.note if kept else ""
            key.verified(note)
            at = SignedNote.parse(note + last.line).verified_by(witness.key)
            size = last.size
        except NoteBroken:
            state = State(failures=1, failure="kept-broken")
    return Voucher(witness.name, size, at, state.failures, state.failure)


def _authority(
    store: CheckpointStore, key: LogKey, authority: Authority, states: Mapping[str, State]
) -> Voucher:
    state, last = states.get(AUTHORITY, State()), store.stamped(key.origin)
    size, at = 0, None
    if last is not None:
        kept = store.at_size(key.origin, last.size)
        try:
            note = kept.note if kept else ""
            key.verified(note)
            at = verified(last.token, note.encode(), authority.roots)
            size = last.size
        except (NoteBroken, TimestampBroken):
            state = State(failures=1, failure="kept-broken")
    return Voucher(AUTHORITY, size, at, state.failures, state.failure)


def _sink(sink: Sink, states: Mapping[str, State]) -> Voucher:
    state = states.get(sink_source(sink), State())
    return Voucher(sink.name, state.size, None, state.failures, state.failure)


def _alarm(alarm: Alarm) -> StandingAlarm:
    what = says(alarm.source, alarm.code, alarm.size, alarm.told)
    return StandingAlarm(called(alarm.source), alarm.code, what, alarm.raised_at)
