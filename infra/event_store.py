"""The record's log of one clinic: decide, seal and append, many commands to a commit.

Callers queue (`infra/turns.py`); whoever leads decides for all that wait, in order, over the
pending state (`infra/pending.py`), and appends the batch in one statement (`infra/batch.py`). While
it is on its way, the next leader decides on top of it. An unchanged head proves that everything
read before it still holds: versions, read guards, command ids. A moved head means: look again and
decide again. Nothing is answered before its commit is known.
"""

import hmac
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from threading import Lock
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.utils import Environment

from domain.cycles import search_put_off
from domain.event import Entries, History, Policy, Refusal, Stream
from domain.ids import id_of
from domain.records import (
    Clock,
    CommandIdReused,
    Proposal,
    Receipt,
    made_receipt,
    made_receipt_entry,
    system_clock,
)
from infra import canonical
from infra.acknowledged import AcknowledgedHead
from infra.batch import Batch, Head
from infra.begun import absent, begun_by
from infra.bundle import Disclosed
from infra.followed import Followed
from infra.histories import OpenedHistories
from infra.keyring import Keyring
from infra.log_key import LogKey
from infra.mapper import EntryMapper, KeyGone, stream_name, stream_named
from infra.new_keys import NewKeys
from infra.pending import Pending
from infra.promised import Promised, Proofs
from infra.reading import ReadableLog, by_stream
from infra.recorder import (
    ClinicDatastore,
    CommandSeen,
    EntryFactory,
    EntryRecorder,
    LostRace,
    StoreUnavailable,
)
from infra.rehearsal import Rehearsal, no_key
from infra.scanned import Scans
from infra.sealing import Mac, Sealer
from infra.snapshots import Snapshots
from infra.stored_receipts import StoredReceipts
from infra.turns import HandOver, Turn, Turns

_log = logging.getLogger("rapport.log")

_COMMANDS_PER_BATCH = 256
_ENTRIES_HELD = 100_000
"""Opened ones in memory: about 160 MB."""
_HELD_AT_REST = 200_000
"""What is known of streams without their entries, as what weighs as much as so many: 200 MB."""
_ATTEMPTS = 100
_NO_GENERATION = -1
_SKEW_ALARM = timedelta(seconds=5)
SKEW_LIMIT = timedelta(seconds=60)


class ClockSkew(Refusal):
    rule = 2
    status = 503
    says = "This machine's clock is {seconds} s behind the record's last entry: set the clock."


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


class ClinicLog(ReadableLog):
    """One clinic's log. Safe to share between threads; one per clinic and process."""

    def __init__(
        self,
        conninfo: str,
        clinic: UUID,
        keyring: Keyring,
        acknowledged: AcknowledgedHead,
        *,
        clock: Clock = system_clock,
        policy: Policy | None = None,
        pool_size: int = 4,
    ) -> None:
        """Opens the log; raises NoSuchClinic, LogDiverged (see `Promised.opened`), or KeyUnknown
        where the keyring is not the one that this log was written with."""
        self.clinic = clinic
        self._clinic_name = f"clinic-{clinic}"
        self.policy = policy or Policy()
        self._datastore = ClinicDatastore(conninfo, clinic, pool_size=pool_size)
        self._application = RecordApplication(self._datastore, keyring)
        self._recorder = self._application.recorder
        self._mapper = self._application.mapper
        self._keyring = keyring
        self._sealer = Sealer()
        self._scans = Scans(clinic, keyring)
        self._clock = clock
        self._turns = Turns(self._write, _COMMANDS_PER_BATCH)
        self._committing = Lock()
        self._last: Pending | None = None
        """The last batch that was sent. What its streams came to is found there and nowhere else,
        until the next one is on its way."""
        self._snapshots = Snapshots(clinic, self._recorder, keyring, self._scans, self._recalled)
        self._cache = OpenedHistories(
            _ENTRIES_HELD,
            _HELD_AT_REST,
            keyring.generation(),
            self._recalled,
            self._snapshots.offer,
        )
        self._promised = Promised(self._recorder, acknowledged, LogKey.of(keyring, clinic))
        try:
            self._followed = Followed(self._recorder, self._promised)
            for entry in self._recorder.select_positions(self._followed.head.size - 1, 1):
                keyring.get(clinic, entry.envelope.key_id)
        except BaseException:
            self.close()
            raise
        self._stored = StoredReceipts(self._recorder, self._promised)
        keyring.on_destroyed(self.forget)

    def close(self) -> None:
        """Closes the connections. Entries that were acknowledged are durable already."""
        self._keep_last()
        self._snapshots.close(self._cache.leaving())
        self._application.close()
        self._promised.close()

    # --- Reading ---------------------------------------------------------------------------

    def history(self, stream: Stream) -> History:
        """The stream as of now: what is cached, and what came since."""
        return self._brought_up(stream, self._cache.get)

    def _brought_up(self, stream: Stream, known_of: Callable[[Stream], History | None]) -> History:
        generation, last = self._forget_erased(), self._last
        if last is not None and last.after is self._followed.head and stream in last.histories:
            self._cache.put({stream: last.histories[stream]}, last.generation)
        known = known_of(stream) or History()
        rows = self._recorder.scan_stream(stream_name(stream), known.version)
        with search_put_off():
            history = known.then(*self._scans.opened(rows))
        self._cache.put({stream: history}, generation)
        return history

    def _recalled(self, stream: Stream, length: int, generation: int) -> Entries:
        """The first entries of a history that rested; LostRace where a key was destroyed since, so
        that nothing is decided over what was folded before and what is read after that."""
        history = self.history(stream)
        if self._cache.generation != generation or len(history) < length:
            raise LostRace
        return history[:length]

    def read_together(self, streams: Collection[Stream]) -> None:
        """Reads streams at once that commands are about to look at: one round trip, not one each.

        They stay in memory as long as others do that were looked at.
        """
        with self._committing:
            self._keep_last()
            generation, head = self._forget_erased(), self._followed.head
            complete = self._followed.complete
            wanted: dict[str, Stream] = {}
            for stream in streams:
                known = self._cache.known(stream)
                if known is None or known.version != complete.get(stream):
                    wanted[stream_name(stream)] = stream
            if not wanted:
                return
            entries = self._scans.opened(self._recorder.scan_streams(list(wanted)))
            histories = {
                wanted[name]: history
                for name, history in by_stream(wanted, entries).items()
                if not history or history[-1].position <= head.size
            }
            self._cache.put(histories, generation)
            complete.update((stream, history.version) for stream, history in histories.items())

    def disclosed(self, stream: Stream) -> list[Disclosed]:
        """The stream as a bundle shows it: logged bytes, and content with the salt that proves it;
        LogDiverged."""
        self._forget_erased()
        self.check_acknowledged()
        stored = self._recorder.select_events(str(stream))
        return [self._mapper.disclosed(entry) for entry in stored]

    def receipt(self, command_id: UUID) -> Receipt | None:
        """The receipt that a command was acknowledged with, if it is in the record."""
        stored = self._stored.of([command_id]).get(command_id)
        return None if stored is None else stored.receipt

    def seen(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]:
        """What each is answered because its command id is in the record; None where it is not."""
        turn = Turn(proposals)
        self._settle_seen([turn])
        return turn.verdicts

    def keyed_id(self, *natural_key: str) -> UUID:
        """An id for something that has one elsewhere (an import's source and row), always the same.

        Keyed, so that nobody can tell from the table what was imported by guessing at keys.
        """
        return id_of(self._mac("id")(canonical.encode(list(natural_key))))

    def make_clinic_keys(self) -> None:
        """Makes the clinic-wide keys durable before they are needed."""
        self._mapper.make_clinic_keys(self._followed.head.size)

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
        for turn in self._turns.settled(proposals):
            if turn.failure is not None:
                raise turn.failure
            verdicts.extend(verdict for verdict in turn.verdicts if verdict is not None)
        return verdicts

    def rehearse(self) -> Rehearsal:
        """A place to decide without appending, over what is in the record now."""
        head = self._recorder.head()
        now = max(self._clock(), head.recorded_at)
        # Each stream is read once: nothing that is recorded meanwhile is looked at.
        pending = Pending(self.clinic, head, now, 0, no_key, cache(self.history))
        return Rehearsal(pending, self.policy, self._settle_seen, self._mac("body"))

    def _write(self, turns: Sequence[Turn], hand_over: HandOver) -> None:
        """Answers every turn; what fails a batch for its content fails one caller alone."""
        try:
            self._write_together(turns, hand_over)
        except StoreUnavailable as error:
            _log.warning("log of clinic %s unavailable: %s", self.clinic, error.__cause__)
        except Exception as error:
            if len(turns) > 1:
                for turn in turns:
                    self._write([turn], hand_over)
            elif not turns[0].done:
                turns[0].failure = error
        finally:  # also where the writer is interrupted: nobody waits for ever for an answer
            for turn in turns:
                if not turn.done:
                    turn.failure = StoreUnavailable()

    def _write_together(self, turns: Sequence[Turn], hand_over: HandOver) -> None:
        # Where others write too, what is decided before their entries are read is soon outrun.
        ahead = None if self._followed.others_write() else self._decided_ahead(turns)
        with self._committing:
            going_on = [turn for turn in turns if not turn.given_up()]
            if len(going_on) < len(turns):
                turns, ahead = going_on, None
            lost_connection = False
            for _ in range(_ATTEMPTS):
                try:
                    if self._followed.others_write():
                        with self._recorder.alone():
                            self._look_again()
                            done = self._write_once(turns, None, hand_over)
                    else:
                        done = self._write_once(turns, ahead, hand_over)
                    if done:
                        return
                except StoreUnavailable:
                    # Perhaps the commit came through and only its answer was lost; perhaps the
                    # server was started anew. Command ids tell the one, trying again the other.
                    if lost_connection:
                        raise
                    lost_connection = True
                    self._look_again()
                    self._settle_seen(turns)
                ahead = None
            self._refuse_open(turns, Contended(attempts=_ATTEMPTS))

    def _write_once(
        self, turns: Sequence[Turn], ahead: Pending | None, hand_over: HandOver
    ) -> bool:
        """One attempt at all that is still open; False where it must be decided again."""
        if self._refused_for_skew(turns):
            return True
        try:
            # What was decided ahead holds if the batch before it did become the log's end.
            if ahead is not None and ahead.head is self._followed.head:
                pending = ahead
            else:
                pending = self._decided(turns)
            if pending.decided:
                self._commit(pending, hand_over)
        except (LostRace, KeyGone):
            self._look_again()
            return False
        except CommandSeen:
            self._look_again()
            self._settle_seen(turns)
            return False
        for turn, error in pending.failed:
            turn.failure = error
        if pending.refused and not self._refusals_hold(turns, pending):
            return False
        return all(turn.done for turn in turns)

    def _decided_ahead(self, turns: Sequence[Turn]) -> Pending | None:
        """What the turns come to if the batch that is on its way is committed; None: unknown."""
        try:
            return self._decided(turns)
        except (LostRace, KeyGone, StoreUnavailable):
            return None

    def _decided(self, turns: Sequence[Turn]) -> Pending:
        """What is still open, decided and sealed on top of the last batch."""
        generation = self._forget_erased()
        self._followed.forget_if_many()
        last, complete = self._last, self._followed.complete  # in this order: see `_drop_opened`
        head = self._followed.head if last is None else last.after
        histories = {} if last is None else last.histories.copy()

        def before(stream: Stream) -> History:
            # The same each time: what it is folded to meanwhile is remembered with what is added.
            known = histories.get(stream)
            if known is None:
                known = histories[stream] = self._as_of_head(stream, head, complete)
            return known

        keys = NewKeys(self._keyring, self.clinic)
        recorded_at = max(self._clock(), head.recorded_at)
        pending = Pending(self.clinic, head, recorded_at, generation, keys.id_for, before)
        with search_put_off():
            self._look_for_begun(turns, histories, generation, complete)
            self._decide_open(turns, pending)
            if not keys.make():
                raise LostRace
            pending.seal(self._mapper)
            pending.hash_leaves()
        return pending

    def _look_for_begun(
        self,
        turns: Sequence[Turn],
        histories: Mapping[Stream, History],
        generation: int,
        complete: dict[Stream, int],
    ) -> None:
        """Notes which of the streams that are said to begin are not there, by one look for all."""
        commands = (proposal.command for turn in turns for proposal in turn.proposals)
        unknown = (
            stream
            for stream in begun_by(commands)
            if stream not in histories and stream not in complete
        )
        for stream in absent(self._recorder, unknown):
            if self._cache.known(stream) is None:
                self._cache.put({stream: History()}, generation)
                complete[stream] = 0

    def _decide_open(self, turns: Sequence[Turn], pending: Pending) -> None:
        mac = self._mac("body")
        for turn in turns:
            for index, proposal in enumerate(turn.proposals):
                # The same id twice in one batch waits for the first's receipt in the next round.
                if turn.verdicts[index] is not None or proposal.command_id in pending.decided:
                    continue
                try:
                    pending.decide(turn, index, self.policy, mac)
                except Refusal as refusal:
                    # Told where it arose, it would hold this batch, which holds it.
                    refusal.__context__ = None
                    pending.refused.append((turn, index, refusal.with_traceback(None)))
                except (LostRace, StoreUnavailable):
                    raise
                except Exception as error:  # a fault of one command is not its neighbours' fault
                    pending.failed.append((turn, error))
                    break

    def _commit(self, pending: Pending, hand_over: HandOver) -> None:
        """Appends the batch and gives every decided proposal its receipt.

        While PostgreSQL works, all is done that nobody waits for, the receipts are written, and
        whoever takes the lead decides the next batch on top of this one.
        """
        receipts: list[Receipt] = []
        before = self._last

        def meanwhile() -> None:
            self._keep(before)
            pending.lead_on()
            hand_over()
            receipts.extend(self._receipts(pending))

        rows = [decided.row for decided in pending.decided.values()]
        batch = Batch(pending.head, pending.after, rows)
        self._last = pending
        try:
            self._recorder.append(batch, pending.rows, meanwhile)
            self._promised.remember(pending.after)
        except BaseException:
            self._keep(before)
            self._last = None
            raise
        self._followed.head = pending.after
        if self._last is not pending:  # it was forgotten meanwhile
            self._followed.forget()
        for (turn, index, _), receipt in zip(pending.decided.values(), receipts, strict=True):
            turn.verdicts[index] = receipt

    def _keep(self, last: Pending | None) -> None:
        """Remembers what the streams of a batch came to, if that is what the log ends with."""
        if last is not None and last.after is self._followed.head:
            self._cache.put(last.histories, last.generation)
            self._followed.note(last.histories)

    def _keep_last(self) -> None:
        """The same of the last one, while none is on its way."""
        self._keep(self._last)
        self._last = None

    def _receipts(self, pending: Pending) -> Iterator[Receipt]:
        """What each decided proposal is answered once the batch is committed, in order."""
        head, after, hashes = pending.head, pending.after, pending.leaf_hashes
        proofs = Proofs.of_new(self.key, head, after, hashes)
        root, recorded_at, envelopes = after.root.hex(), pending.recorded_at, pending.envelopes
        for _, _, (command_id, _, first, count) in pending.decided.values():
            entries = [
                made_receipt_entry(
                    stream_named(envelopes[at].stream),
                    envelopes[at].stream_version,
                    head.size + at + 1,
                    hashes[at].hex(),
                    proofs,
                )
                for at in range(first, first + count)
            ]
            yield made_receipt(command_id, recorded_at, after.size, root, tuple(entries))

    def _refused_for_skew(self, turns: Sequence[Turn]) -> bool:
        """Rule 2: a machine whose clock is far behind the log appends nothing."""
        skew = self._followed.head.recorded_at - self._clock()
        if skew > SKEW_LIMIT:
            self._refuse_open(turns, ClockSkew(seconds=int(skew.total_seconds())))
            return True
        if skew > _SKEW_ALARM:
            _log.error("clock is %d s behind the log's last entry", skew.total_seconds())
        return False

    # --- When others write too ---------------------------------------------------------------

    def _as_of_head(self, stream: Stream, head: Head, complete: dict[Stream, int]) -> History:
        """The stream's history, complete as of `head`; LostRace where the log is past it."""
        known = self._cache.known(stream)
        if known is not None and known.version == complete.get(stream):
            return known
        if known is None:
            generation = self._forget_erased()
            with search_put_off():
                history = self._snapshots.read(stream, generation)
            self._cache.put({stream: history}, generation)
        else:
            history = self._brought_up(stream, self._cache.known)
        if history.last is not None and history.last.position > head.size:
            raise LostRace
        complete[stream] = history.version
        return history

    def _look_again(self) -> None:
        """Follows the log to its end."""
        self._keep_last()
        self._followed.look_again()

    def _refusals_hold(self, turns: Sequence[Turn], pending: Pending) -> bool:
        """Gives refusals as verdicts if nothing they were decided on has changed meanwhile.

        A command that comes again with its id has its receipt, whatever it would be told now; one
        that came first keeps its refusal, though another has taken its id in the same batch.
        """
        for turn, index, refusal in pending.refused:
            if turn.proposals[index].command_id in pending.decided:
                turn.verdicts[index] = refusal
        self._settle_seen(turns)
        if not pending.decided and self._recorder.head().size != self._followed.head.size:
            self._look_again()
            return False
        for turn, index, refusal in pending.refused:
            if turn.verdicts[index] is None:
                turn.verdicts[index] = refusal
        return True

    def _settle_seen(self, turns: Sequence[Turn]) -> None:
        """Answers commands whose id is in the record already."""
        open_ = [
            (turn, index, proposal.command_id)
            for turn in turns
            for index, proposal in enumerate(turn.proposals)
            if turn.verdicts[index] is None
        ]
        stored = self._stored.of([command_id for _, _, command_id in open_])
        mac = self._mac("body")
        for turn, index, command_id in open_:
            known = stored.get(command_id)
            if known is None:
                continue
            if hmac.compare_digest(known.body_mac, mac(turn.bodies[index])):
                turn.verdicts[index] = known.receipt
            else:
                turn.verdicts[index] = CommandIdReused(command_id=command_id)

    @staticmethod
    def _refuse_open(turns: Sequence[Turn], refusal: Refusal) -> None:
        for turn in turns:
            turn.verdicts = [verdict or refusal for verdict in turn.verdicts]

    # --- Keys --------------------------------------------------------------------------------

    def _mac(self, purpose: str) -> Mac:
        """The keyed digest for that purpose; whoever makes many looks for the key once."""
        _, key = self._keyring.key_for(self.clinic, self._clinic_name, "mac/0")
        return self._sealer.macs(key, f"mac/{purpose}")

    def forget(self) -> None:
        """Drops everything opened, and takes nothing in that was opened before this."""
        self._drop_opened(_NO_GENERATION)
        self._sealer.forget()

    def fill_snapshots(self) -> bool:
        """Writes a snapshot that is missing; whether there may be more. See `Snapshots.fill`."""
        self._forget_erased()
        with search_put_off():
            return self._snapshots.fill()

    def remove_snapshots(self) -> None:
        """Removes every snapshot that a destroyed key took part in; nobody can open them."""
        self._snapshots.remove()

    def _forget_erased(self) -> int:
        """Drops opened content from memory when any process destroyed a key."""
        generation = self._keyring.generation()
        if generation != self._cache.generation:
            self._drop_opened(generation)
        return generation

    def _drop_opened(self, generation: int) -> None:
        # Whoever decides looks at the last batch first: without it, nothing counts as complete.
        self._followed.forget()
        self._last = None
        self._cache.clear(generation)
        self._snapshots.sweep()
        self._mapper.forget()
        self._scans.forget()
