"""The record's log of one clinic: decide, seal and append, many commands to a commit.

Callers queue; whoever holds the writer's lock decides for all that wait, in order, over the
pending state, and appends the batch in one statement (`infra/recorder.py`). An unchanged head
proves that everything read before it still holds: versions, read guards, command ids. A moved
head means: look again and decide again. Nothing is answered before its commit is known.
"""

import hmac
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from threading import Lock
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.utils import Environment

from domain.event import History, New, Policy, RecordedEvent, Refusal, Stream
from domain.records import (
    Clock,
    CommandIdReused,
    Proposal,
    Receipt,
    ReceiptEntry,
    system_clock,
)
from infra import canonical
from infra.acknowledged import AcknowledgedHead
from infra.bundle import Disclosed
from infra.histories import OpenedHistories
from infra.keyring import KeyDestroyed, Keyring
from infra.log_key import LogKey, LogKeyring
from infra.mapper import EntryMapper, KeyGone, Unsealed, owner_of, recorded, stream_named
from infra.merkle import leaf_hash
from infra.new_keys import NewKeys, Owner
from infra.promised import Promised, Proofs
from infra.recorder import (
    Appended,
    Batch,
    ClinicDatastore,
    CommandRow,
    CommandSeen,
    EntryFactory,
    EntryRecorder,
    Head,
    LostRace,
    StoreUnavailable,
)
from infra.scanned import scanned
from infra.sealing import Envelope, Sealer

_log = logging.getLogger("rapport.log")

_COMMANDS_PER_BATCH = 256
_ENTRIES_HELD = 50_000
_ATTEMPTS = 100
_NO_GENERATION = -1
_SKEW_ALARM = timedelta(seconds=5)
_SKEW_LIMIT = timedelta(seconds=60)


class ClockSkew(Refusal):
    rule = 2
    status = 503
    says = "This machine's clock is {seconds} s behind the record's last entry: set the clock."


class SubjectErased(Refusal):
    rule = 9
    says = "The content of {stream} was erased; nothing can be added to it."


class Contended(Refusal):
    status = 503
    says = "Other writers were first {attempts} times in a row; send the command again."


class RecordApplication(Application[str]):
    """The library's application with our recorder and mapper in it."""

    name = "rapport"
    recorder: EntryRecorder
    mapper: EntryMapper

    def __init__(self, datastore: ClinicDatastore, keyring: Keyring) -> None:
        self._datastore = datastore
        self._keyring = keyring
        super().__init__(env={"CREATE_TABLE": "n"})

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        return EntryFactory(env, self._datastore)

    def construct_mapper(self) -> EntryMapper:
        return EntryMapper(self._datastore.clinic, self._keyring)


_KeyIdFor = Callable[[Owner, bool], UUID]


@dataclass(eq=False)
class _Turn:
    """Proposals that one caller waits for."""

    proposals: Sequence[Proposal]
    verdicts: list[Receipt | Refusal | None] = field(default_factory=list)
    failure: BaseException | None = None
    leads: bool = False
    """Whether its caller is the one to write for all that wait."""
    called: Lock = field(default_factory=Lock)
    """Held until the turn is answered or leads."""

    def __post_init__(self) -> None:
        self.verdicts = [None] * len(self.proposals)
        self.called.acquire()

    @property
    def done(self) -> bool:
        return self.failure is not None or None not in self.verdicts


@dataclass(slots=True)
class _Decided:
    """One proposal whose entries stand in the pending batch."""

    turn: _Turn
    index: int
    proposal: Proposal
    row: CommandRow


class _Pending:
    """A batch in the making, on top of one head."""

    def __init__(
        self,
        head: Head,
        recorded_at: datetime,
        generation: int,
        key_id_for: _KeyIdFor,
        stored: Callable[[Stream], History],
    ) -> None:
        self.head = head
        self.recorded_at = recorded_at
        self.generation = generation
        self.key_id_for = key_id_for
        self._stored = stored
        self.unsealed: list[Unsealed] = []
        self.decided: dict[UUID, _Decided] = {}
        self.histories: dict[Stream, History] = {}

    def history(self, stream: Stream) -> History:
        """The stream with what the batch adds to it so far."""
        found = self.histories.get(stream)
        return self._stored(stream) if found is None else found


class ClinicLog:
    """One clinic's log. Safe to share between threads; one per clinic and process."""

    def __init__(
        self,
        conninfo: str,
        clinic: UUID,
        keyring: LogKeyring,
        acknowledged: AcknowledgedHead,
        *,
        clock: Clock = system_clock,
        policy: Policy | None = None,
        pool_size: int = 4,
    ) -> None:
        """Opens the log; raises NoSuchClinic, LogDiverged (see `Promised.opened`), or KeyUnknown
        where the keyring is not the one that this log was written with."""
        self.clinic = clinic
        self.policy = policy or Policy()
        self._datastore = ClinicDatastore(conninfo, clinic, pool_size=pool_size)
        self._application = RecordApplication(self._datastore, keyring)
        self._recorder = self._application.recorder
        self._mapper = self._application.mapper
        self._keyring = keyring
        self._sealer = Sealer()
        self._clock = clock
        self._queueing = Lock()
        self._waiting: list[_Turn] = []
        self._led = False
        self._cache = OpenedHistories(_ENTRIES_HELD, keyring.generation())
        self._complete: dict[Stream, int] = {}
        keyring.on_destroyed(self.forget)
        self._promised = Promised(self._recorder, acknowledged, LogKey.of(keyring, clinic))
        try:
            self._head = self.check_acknowledged()
            for entry in self._recorder.select_positions(self._head.size - 1, 1):
                keyring.get(clinic, entry.envelope.key_id)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connections. Entries that were acknowledged are durable already."""
        self._application.close()
        self._promised.close()

    # --- Reading ---------------------------------------------------------------------------

    def history(self, stream: Stream) -> History:
        """The stream as of now: what is cached, and what came since."""
        generation = self._forget_erased()
        known = self._cache.get(stream) or History()
        news = tuple(self._application.events.get(str(stream), gt=known.version))
        history = History((*known, *news)) if news else known  # type: ignore[arg-type]
        self._cache.put(stream, history, generation)
        return history

    def read_log(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Up to `limit` entries past position `after`, in the order of the log."""
        self._forget_erased()
        entries = self._recorder.select_positions(after, limit)
        return [self._mapper.to_domain_event(entry) for entry in entries]

    def scan(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """The same for views: opened when asked, Unreadable where `read_log` would fail at all."""
        self._forget_erased()
        entries = self._recorder.scan_positions(after, limit)
        return [scanned(entry, self._mapper.content) for entry in entries]

    def scan_streams(self, streams: Sequence[Stream]) -> list[History]:
        """Whole streams for views, in the same way; in the order of `streams`."""
        self._forget_erased()
        found: dict[str, list[RecordedEvent]] = {str(stream): [] for stream in streams}
        for entry in self._recorder.scan_streams(list(found)):
            found[entry.envelope.stream].append(scanned(entry, self._mapper.content))
        return [History(entries) for entries in found.values()]

    def disclosed(self, stream: Stream) -> list[Disclosed]:
        """The stream as a bundle shows it: logged bytes, and content with the salt that proves it;
        LogDiverged."""
        self._forget_erased()
        self.check_acknowledged()
        stored = self._recorder.select_events(str(stream))
        return [self._mapper.disclosed(entry) for entry in stored]

    def streams(self, category: str) -> Iterator[Stream]:
        """Every stream of a category, by name."""
        return map(Stream.parse, self._recorder.stream_names(category))

    def head(self) -> Head:
        """The head as committed."""
        return self._recorder.head()

    def head_size(self) -> int:
        """The position of the last entry; 0 for an empty log."""
        return self._recorder.head().size

    def receipt(self, command_id: UUID) -> Receipt | None:
        """The receipt that a command was acknowledged with, if it is in the record."""
        row = self._recorder.command_rows([command_id]).get(command_id)
        return None if row is None else self._stored_receipt(row)

    def keyed_id(self, *natural_key: str) -> UUID:
        """An id for something that has one elsewhere (an import's source and row), always the same.

        Keyed, so that nobody can tell from the table what was imported by guessing at keys.
        """
        return UUID(bytes=self._mac("id", canonical.encode(list(natural_key)))[:16])

    def make_clinic_keys(self) -> None:
        """Makes the clinic-wide keys durable before they are needed."""
        self._mapper.make_clinic_keys(self._head.size)

    def check_acknowledged(self) -> Head:
        """The head, if what was acknowledged before stands in this log; or LogDiverged."""
        return self._promised.opened()

    @property
    def key(self) -> LogKey:
        """The key that signs this log, and the name of the log."""
        return self._promised.key

    @property
    def datastore(self) -> ClinicDatastore:
        """This log's connections, for whatever else is read of it; closed with it."""
        return self._datastore

    def checkpoint(self) -> str:
        """The signed head (c2sp.org/tlog-checkpoint) of what is committed now; or LogDiverged."""
        return self._promised.checkpoint()

    # --- Appending -------------------------------------------------------------------------

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal]:
        """Decides and appends each proposal; one verdict each, in order. Durable on return.

        Raises StoreUnavailable where the outcome cannot be told now; the same command ids may be
        sent again.
        """
        verdicts: list[Receipt | Refusal] = []
        for start in range(0, len(proposals), _COMMANDS_PER_BATCH):
            turn = _Turn(proposals[start : start + _COMMANDS_PER_BATCH])
            self._wait_or_lead(turn)
            if turn.failure is not None:
                raise turn.failure
            verdicts.extend(verdict for verdict in turn.verdicts if verdict is not None)
        return verdicts

    def _wait_or_lead(self, turn: _Turn) -> None:
        """Returns when `turn` is answered: by whoever leads, or by its caller, who leads then."""
        try:
            with self._queueing:
                self._waiting.append(turn)
                turn.leads, self._led = not self._led, True
            if not turn.leads:
                turn.called.acquire()
            while not turn.done:
                self._write_next(turn)
        finally:  # also where the caller is interrupted: somebody else leads then
            with self._queueing:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                self._hand_over(turn)

    def _write_next(self, leader: _Turn) -> None:
        turns = self._next_turns()
        try:
            self._write(turns)
        finally:
            with self._queueing:
                if leader.done:
                    self._hand_over(leader)
            for turn in turns:
                turn.called.release()

    def _hand_over(self, leader: _Turn) -> None:
        """Lets the first who waits lead, while the lock of the queue is held."""
        if not leader.leads:
            return
        leader.leads, self._led = False, bool(self._waiting)
        for first in self._waiting[:1]:
            first.leads = True
            first.called.release()

    def rehearse(self) -> "Rehearsal":
        """A place to decide without appending, over what is in the record now."""
        return Rehearsal(self, self._recorder.head())

    def _next_turns(self) -> list[_Turn]:
        with self._queueing:
            taken, commands = 0, 0
            for turn in self._waiting:
                commands += len(turn.proposals)
                if taken and commands > _COMMANDS_PER_BATCH:
                    break
                taken += 1
            turns, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return turns

    def _write(self, turns: list[_Turn]) -> None:
        """Answers every turn; what fails a batch for its content fails one caller alone."""
        try:
            self._write_together(turns)
        except StoreUnavailable as error:
            _log.warning("log of clinic %s unavailable: %s", self.clinic, error.__cause__)
        except Exception as error:
            if len(turns) > 1:
                for turn in turns:
                    self._write([turn])
            elif not turns[0].done:
                turns[0].failure = error
        finally:  # also where the writer is interrupted: nobody waits for ever for an answer
            for turn in turns:
                if not turn.done:
                    turn.failure = StoreUnavailable()

    def _write_together(self, turns: list[_Turn]) -> None:
        lost_connection = False
        for _ in range(_ATTEMPTS):
            try:
                if self._write_once(turns):
                    return
            except StoreUnavailable:
                # Perhaps the commit came through and only its answer was lost; perhaps the server
                # was started anew. Command ids tell the one, trying again the other.
                if lost_connection:
                    raise
                lost_connection = True
                self._look_again()
                self._settle_seen(turns)
        self._refuse_open(turns, Contended(attempts=_ATTEMPTS))

    def _write_once(self, turns: list[_Turn]) -> bool:
        """One attempt at all that is still open; False where it must be decided again."""
        generation = self._forget_erased()
        recorded_at = max(self._clock(), self._head.recorded_at)
        stored = partial(self._as_of_head, head=self._head)
        keys = NewKeys(self._keyring, self.clinic)
        pending = _Pending(self._head, recorded_at, generation, keys.id_for, stored)
        skew = pending.recorded_at - self._clock()
        if skew > _SKEW_LIMIT:
            self._refuse_open(turns, ClockSkew(seconds=int(skew.total_seconds())))
            return True
        if skew > _SKEW_ALARM:
            _log.error("clock is %d s behind the log's last entry", skew.total_seconds())
        refused: list[tuple[_Turn, int, Refusal]] = []
        try:
            self._decide_open(turns, pending, refused)
            if not keys.make():
                raise LostRace
            appended = self._commit(pending)
        except (LostRace, KeyGone):
            self._look_again()
            return False
        except CommandSeen:
            self._look_again()
            self._settle_seen(turns)
            return False
        if refused and not self._refusals_hold(turns, refused, moved=appended is not None):
            return False
        return all(turn.done for turn in turns)

    def _decide_open(
        self, turns: list[_Turn], pending: _Pending, refused: list[tuple[_Turn, int, Refusal]]
    ) -> None:
        for turn in turns:
            for index, proposal in enumerate(turn.proposals):
                # The same id twice in one batch waits for the first's receipt in the next round.
                if turn.verdicts[index] is not None or proposal.command_id in pending.decided:
                    continue
                try:
                    self._decide(pending, turn, index, proposal)
                except Refusal as refusal:
                    refused.append((turn, index, refusal))
                except (LostRace, StoreUnavailable):
                    raise
                except Exception as error:  # a fault of one command is not its neighbours' fault
                    turn.failure = error
                    break

    def _decide(self, pending: _Pending, turn: _Turn, index: int, proposal: Proposal) -> None:
        news = proposal.decide(self.clinic, pending.recorded_at, pending.history, self.policy)
        touched: dict[Stream, History] = {}
        unsealed: list[Unsealed] = []
        for command_index, new in enumerate(news):
            before = touched.get(new.stream) or pending.history(new.stream)
            position = pending.head.size + len(pending.unsealed) + len(unsealed) + 1
            version = before.version + 1
            placed = self._place(pending, proposal, new, version, position, command_index)
            unsealed.append(placed)
            touched[new.stream] = History((*before, recorded(placed.envelope, new.event)))
        assert unsealed, f"{proposal.command.name} decided on nothing"
        row = CommandRow(
            proposal.command_id,
            self._body_mac(proposal),
            first=len(pending.unsealed),
            entries=len(unsealed),
        )
        pending.unsealed.extend(unsealed)
        pending.histories.update(touched)
        pending.decided[proposal.command_id] = _Decided(turn, index, proposal, row)

    def _place(
        self,
        pending: _Pending,
        proposal: Proposal,
        new: New,
        version: int,
        position: int,
        command_index: int,
    ) -> Unsealed:
        try:
            owner = owner_of(self.clinic, new.stream, new.event, pending.head.size)
            key_id = pending.key_id_for(owner, version == 1)
        except KeyDestroyed:
            raise SubjectErased(stream=str(new.stream)) from None
        assert new.occurred_at is not None, "Proposal.decide gives every event its time"
        envelope = Envelope(
            clinic=self.clinic,
            stream=str(new.stream),
            stream_version=version,
            topic=new.event.topic,
            schema_version=new.event.schema_version,
            occurred_at=new.occurred_at,
            actor=proposal.author.actor,
            on_behalf_of=proposal.author.on_behalf_of,
            source=proposal.author.source.value,
            command_id=proposal.command_id,
            command_index=command_index,
            key_id=key_id,
            position=position,
            recorded_at=pending.recorded_at,
        )
        return Unsealed(envelope, new.event)

    def _commit(self, pending: _Pending) -> Appended | None:
        """Appends the batch and gives every decided proposal its receipt."""
        if not pending.decided:
            return None
        rows = [decided.row for decided in pending.decided.values()]
        outcome: list[Appended] = []
        self._application.save(
            *pending.unsealed,
            batch=Batch(pending.head, pending.recorded_at, rows),
            outcome=outcome,
        )
        appended = outcome[0]
        self._promised.remember(appended.head)
        self._head = appended.head
        proofs = Proofs.of_new(self.key, pending.head, appended.head, appended.leaf_hashes)
        for stream, decided_on in pending.histories.items():
            history = _committed(decided_on, pending.head.size, appended.commitments)
            self._cache.put(stream, history, pending.generation)
            self._complete[stream] = history.version
        for decided in pending.decided.values():
            first = decided.row.first
            placed = range(first, first + decided.row.entries)
            decided.turn.verdicts[decided.index] = Receipt(
                command_id=decided.proposal.command_id,
                recorded_at=pending.recorded_at,
                tree_size=appended.head.size,
                root=appended.head.root.hex(),
                entries=tuple(
                    ReceiptEntry(
                        stream=stream_named(pending.unsealed[at].envelope.stream),
                        version=pending.unsealed[at].envelope.stream_version,
                        position=pending.head.size + at + 1,
                        leaf_hash=appended.leaf_hashes[at].hex(),
                        proofs=proofs,
                    )
                    for at in placed
                ),
            )
        return appended

    # --- When others write too ---------------------------------------------------------------

    def _as_of_head(self, stream: Stream, head: Head) -> History:
        """The stream's history, complete as of `head`; LostRace where the log is past it."""
        known = self._cache.get(stream)
        if known is not None and known.version == self._complete.get(stream):
            return known
        history = self.history(stream)
        if history and history[-1].position > head.size:
            raise LostRace
        self._complete[stream] = history.version
        return history

    def _look_again(self) -> None:
        self._complete.clear()
        self._head = self._promised.followed(self._head)

    def _refusals_hold(
        self, turns: list[_Turn], refused: list[tuple[_Turn, int, Refusal]], *, moved: bool
    ) -> bool:
        """Gives refusals as verdicts if nothing they were decided on has changed meanwhile.

        A command that comes again with its id has its receipt, whatever it would be told now.
        """
        self._settle_seen(turns)
        if not moved and self._recorder.head().size != self._head.size:
            self._look_again()
            return False
        for turn, index, refusal in refused:
            if turn.verdicts[index] is None:
                turn.verdicts[index] = refusal
        return True

    def _settle_seen(self, turns: list[_Turn]) -> None:
        """Answers commands whose id is in the record already."""
        open_ = [
            (turn, index, proposal)
            for turn in turns
            for index, proposal in enumerate(turn.proposals)
            if turn.verdicts[index] is None
        ]
        rows = self._recorder.command_rows([proposal.command_id for _, _, proposal in open_])
        for turn, index, proposal in open_:
            row = rows.get(proposal.command_id)
            if row is None:
                continue
            if hmac.compare_digest(row["body_mac"], self._body_mac(proposal)):
                turn.verdicts[index] = self._stored_receipt(row)
            else:
                turn.verdicts[index] = CommandIdReused(command_id=proposal.command_id)

    def _stored_receipt(self, row: Any) -> Receipt:
        # Whoever committed it may have died before it remembered that; this acknowledges it.
        proofs = self._promised.proofs_at(row["tree_size"])
        entries = self._recorder.select_command(row["first_position"], row["entries"])
        return Receipt(
            command_id=row["command_id"],
            recorded_at=row["recorded_at"],
            tree_size=row["tree_size"],
            root=proofs.root.hex(),
            entries=tuple(
                ReceiptEntry(
                    stream=stream_named(entry.envelope.stream),
                    version=entry.envelope.stream_version,
                    position=entry.id,
                    leaf_hash=leaf_hash(entry.leaf_input).hex(),
                    proofs=proofs,
                )
                for entry in entries
            ),
        )

    @staticmethod
    def _refuse_open(turns: list[_Turn], refusal: Refusal) -> None:
        for turn in turns:
            turn.verdicts = [verdict or refusal for verdict in turn.verdicts]

    # --- Keys --------------------------------------------------------------------------------

    def _body_mac(self, proposal: Proposal) -> bytes:
        return self._mac("body", proposal.body())

    def _mac(self, purpose: str, message: bytes) -> bytes:
        _, key = self._keyring.key_for(self.clinic, f"clinic-{self.clinic}", "mac/0")
        return self._sealer.mac(key, f"mac/{purpose}", message)

    def forget(self) -> None:
        """Drops everything opened, and takes nothing in that was opened before this."""
        self._complete.clear()
        self._cache.clear(_NO_GENERATION)
        self._mapper.forget()
        self._sealer.forget()

    def _forget_erased(self) -> int:
        """Drops opened content from memory when any process destroyed a key."""
        generation = self._keyring.generation()
        if generation != self._cache.generation:
            self._complete.clear()
            self._cache.clear(generation)
            self._mapper.forget()
        return generation


def _committed(history: History, size: int, commitments: Sequence[bytes]) -> History:
    """The history whose last entries, past `size`, were sealed with these commitments."""
    entries = list(history)
    at = len(entries) - 1
    while at >= 0 and entries[at].position > size:
        commitment = commitments[entries[at].position - size - 1].hex()
        entries[at] = replace(entries[at], commitment=commitment)
        at -= 1
    return History(entries)


class Rehearsal:
    """Decides commands one after the other, each over what the ones before it came to.

    Nothing is appended and no key is made; a dry run shows what an import would be refused for.
    """

    def __init__(self, log: ClinicLog, head: Head) -> None:
        self._log = log
        now = max(log._clock(), head.recorded_at)
        self._pending = _Pending(head, now, 0, _no_key, log.history)

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]:
        """For each proposal its earlier receipt, its refusal, or None: it would be recorded."""
        turn = _Turn(proposals)
        self._log._settle_seen([turn])
        for index, proposal in enumerate(proposals):
            if turn.verdicts[index] is None:
                try:
                    self._log._decide(self._pending, turn, index, proposal)
                except Refusal as refusal:
                    turn.verdicts[index] = refusal
        return turn.verdicts


def _no_key(owner: Owner, unused: bool) -> UUID:
    return UUID(int=0)
