"""The write side's one door: `history()` and `record()`.

Commands come in, entries go to the store. The store is a port: `infra/event_store.py` is what
stands behind it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from domain.clinic import DeclareImport, require_declared
from domain.event import (
    Command,
    Given,
    History,
    LateReasonMissing,
    New,
    OccursInTheFuture,
    Policy,
    Refusal,
    Source,
    Stream,
)
from domain.ids import new_id
from domain.making import maker

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Now, in UTC. The one place in this package that asks the machine."""
    return datetime.now(UTC)


class StaleVersion(Refusal):
    rule = 8
    status = 412
    says = "{stream} is at version {actual}, not {expected}: read it again, then decide again."


class CommandIdReused(Refusal):
    rule = 8
    status = 422
    says = "The command id {command_id} was used before with another body; use a new id."


class Proofs(Protocol):
    """What proves a receipt; written when it is asked for, and always the same."""

    @property
    def checkpoint(self) -> str: ...
    def of(self, position: int) -> str: ...


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """Where one entry of a command stands; `leaf_hash` is its RFC 6962 leaf hash in hex."""

    stream: Stream
    version: int
    position: int
    leaf_hash: str
    proofs: Proofs = field(repr=False, compare=False)

    @property
    def proof(self) -> str:
        """That the log contains it, for whoever holds the log's public key: a `.tlog-proof`."""
        return self.proofs.of(self.position)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an acknowledged command is answered with; the same id always gives the same receipt.

    `tree_size` and `root` (hex) are the clinic's log right after the commit that holds it.
    """

    command_id: UUID
    recorded_at: datetime
    tree_size: int
    root: str
    entries: tuple[ReceiptEntry, ...]

    @property
    def position(self) -> int:
        """The position of the last entry: what `?after=` waits for."""
        return self.entries[-1].position

    @property
    def checkpoint(self) -> str:
        """The log's head at `tree_size`, signed: the same that every proof here ends with."""
        return self.entries[-1].proofs.checkpoint


made_receipt_entry, made_receipt = maker(ReceiptEntry), maker(Receipt)

_given = maker(Given)


@dataclass(frozen=True, slots=True)
class Author:
    """Who records, and for whom."""

    actor: UUID
    on_behalf_of: UUID | None = None
    source: Source = Source.ENTERED
    import_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """One command on its way to the store."""

    command: Command
    author: Author
    command_id: UUID = field(default_factory=new_id)
    expected: Mapping[Stream, int] = field(default_factory=dict)

    def said(self) -> dict[str, object]:
        """What is compared when the same command id comes again: the command and its author.

        Only what was sent counts: an id that the command gave itself differs at each attempt.
        """
        return {
            "command": self.command.name,
            "body": self.command.model_dump(mode="json", exclude_unset=True),
            "actor": str(self.author.actor),
            "on_behalf_of": str(self.author.on_behalf_of),
        }

    def decide(
        self,
        clinic: UUID,
        now: datetime,
        history: Callable[[Stream], History],
        policy: Policy,
    ) -> list[New]:
        """The command's events with what every event carries: lateness, import, reports."""
        command, author = self.command, self.author
        at = command.effective_at() or now
        if at > now + policy.clock_tolerance:
            raise OccursInTheFuture
        late = now - at > policy.late_after
        if late and command.late_reason is None:
            raise LateReasonMissing(hours=int(policy.late_after.total_seconds() // 3600))
        given = _given(
            clinic,
            now,
            at,
            author.actor,
            history,
            author.on_behalf_of,
            author.source,
            author.import_id,
            policy,
        )
        for stream, expected in self.expected.items():
            actual = history(stream).version
            if actual != expected:
                raise StaleVersion(stream=str(stream), actual=actual, expected=expected)
        if not isinstance(command, DeclareImport):
            require_declared(given)
        news = list(command.decide(given))
        common = (command.late_reason if late else None, author.import_id, tuple(given.reported))
        return [
            New(stream, event.carrying(*common), occurred_at or at)
            for stream, event, occurred_at in news
        ]


_proposed = maker(Proposal)


class EventStore(Protocol):
    """The log of one clinic."""

    clinic: UUID

    def history(self, stream: Stream) -> History:
        """The stream as of now; empty if it does not exist."""
        ...

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal]:
        """Decides and appends each proposal; one verdict each, in order. Durable on return."""
        ...


class Records:
    """One clinic's record."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    @property
    def clinic(self) -> UUID:
        return self._store.clinic

    def history(self, stream: Stream) -> History:
        """The stream as of now; empty if it does not exist."""
        return self._store.history(stream)

    def record(
        self,
        command: Command,
        author: Author,
        *,
        command_id: UUID | None = None,
        expected: Mapping[Stream, int] | None = None,
    ) -> Receipt:
        """Records one command and answers with its receipt; raises its Refusal."""
        proposal = _proposed(command, author, command_id or new_id(), expected or {})
        verdict = self._store.append([proposal])[0]
        if isinstance(verdict, Refusal):
            raise verdict
        return verdict

    def record_all(self, proposals: Iterable[Proposal]) -> Sequence[Receipt | Refusal]:
        """Records many commands in as few commits as fit; one verdict each, in order."""
        return self._store.append(list(proposals))
