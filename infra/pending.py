"""A batch in the making: what its commands decided, placed on top of one head and sealed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from domain.event import History, New, Policy, RecordedEvent, Refusal, Stream
from infra.batch import CommandRow, Head
from infra.keyring import KeyDestroyed
from infra.log_rows import packed_entry
from infra.mapper import EntryMapper, Unsealed, owner_of, recorded, stream_name
from infra.merkle import leaf_hash
from infra.new_keys import Owner
from infra.sealing import Envelope, Mac
from infra.turns import Turn

KeyIdFor = Callable[[Owner, bool], UUID]


class SubjectErased(Refusal):
    rule = 9
    says = "The content of {stream} was erased; nothing can be added to it."


class Decided(NamedTuple):
    """One proposal whose entries stand in the batch."""

    turn: Turn
    at: int
    """Which of the turn's proposals it is."""
    row: CommandRow


@dataclass(slots=True)
class _Growing:
    """A stream that the batch adds to."""

    name: str
    base: History
    """As it was before."""
    version: int
    """With what was added."""
    added: list[int] = field(default_factory=list)
    """Where in the batch its new entries stand."""
    seen: History | None = None
    """With what was added when it was last looked at."""
    keys: dict[UUID | None, UUID] = field(default_factory=dict)
    """The keys that it is sealed by, by whom the content is about."""


class Pending:
    """A batch while it is decided; it changes no more once it is sealed."""

    def __init__(
        self,
        clinic: UUID,
        head: Head,
        recorded_at: datetime,
        generation: int,
        key_id_for: KeyIdFor,
        before: Callable[[Stream], History],
    ) -> None:
        """`before`: a stream as it is at `head`."""
        self.head = head
        self.recorded_at = recorded_at
        self.generation = generation
        """Of the keyring when it was begun."""
        self.decided: dict[UUID, Decided] = {}
        self.refused: list[tuple[Turn, int, Refusal]] = []
        self.failed: list[tuple[Turn, Exception]] = []
        self.envelopes: Sequence[Envelope] = ()
        """Of its entries, in order."""
        self.rows: Sequence[bytes] = ()
        """Its entries, packed for their table."""
        self.leaves: Sequence[bytes] = ()
        self.leaf_hashes: Sequence[bytes] = ()
        self.after = head
        """The head once the batch is committed."""
        self._clinic = clinic
        self._size = head.size
        self._key_id_for = key_id_for
        self._before = before
        self._unsealed: list[Unsealed] = []
        self._commitments: Sequence[bytes] = ()
        self._growing: dict[Stream, _Growing] = {}
        self._histories: dict[Stream, History] = {}

    @property
    def histories(self) -> dict[Stream, History]:
        """The streams that it adds to, as they are once the batch is committed."""
        if self._growing:
            self.lead_on()
        return self._histories

    def history(self, stream: Stream) -> History:
        """The stream with what the batch adds to it so far."""
        growing = self._growing.get(stream)
        if growing is None:
            return self._before(stream)
        history = growing.seen
        if history is None:
            history = growing.base
        if history.version != growing.version:
            news = growing.added[history.version - growing.base.version :]
            history = growing.seen = history.then(*map(self._recorded, news))
        return history

    def decide(self, turn: Turn, index: int, policy: Policy, mac: Mac) -> None:
        """Takes in what a proposal comes to over what was decided before it; or its Refusal."""
        proposal = turn.proposals[index]
        news = proposal.decide(self._clinic, self.recorded_at, self.history, policy)
        assert news, f"{proposal.command.name} decided on nothing"
        self.add(turn, index, mac(turn.bodies[index]), news)

    def add(self, turn: Turn, index: int, body_mac: bytes, news: Sequence[New]) -> None:
        """Takes in what a proposal decided: all of it, or nothing where it raises SubjectErased."""
        proposal, unsealed = turn.proposals[index], self._unsealed
        author, command_id, first = proposal.author, proposal.command_id, len(unsealed)
        source = str(author.source)
        places = [self._place(new) for new in news]
        for command_index, (new, (growing, key_id)) in enumerate(zip(news, places, strict=True)):
            assert new.occurred_at is not None, "Proposal.decide gives every event its time"
            growing.version += 1
            growing.added.append(len(unsealed))
            envelope = Envelope(
                self._clinic,
                growing.name,
                growing.version,
                new.event.topic,
                new.event.schema_version,
                new.occurred_at,
                author.actor,
                author.on_behalf_of,
                source,
                command_id,
                command_index,
                key_id,
                self._size + len(unsealed) + 1,
                self.recorded_at,
            )
            unsealed.append(Unsealed(envelope, new.event))
        row = CommandRow(command_id, body_mac, first, len(news))
        self.decided[command_id] = Decided(turn, index, row)

    def seal(self, mapper: EntryMapper) -> None:
        """Seals what was decided; KeyGone."""
        unsealed, written = self._unsealed, mapper.written(self._unsealed)
        self.envelopes = [envelope for envelope, _ in unsealed]
        self.rows = list(map(packed_entry, self.envelopes, written))
        self.leaves = [leaf for _, _, leaf in written]
        self._commitments = [commitment for _, commitment, _ in written]

    def hash_leaves(self) -> None:
        """Leads the head on to what was sealed."""
        self.leaf_hashes = list(map(leaf_hash, self.leaves))
        self.after = Head(self.head.frontier.append(self.leaf_hashes), self.recorded_at)

    def lead_on(self) -> None:
        """Leads the streams on as well, once it is sealed; they need not be known to send it.

        From then on it holds on to nothing that was before it.
        """
        unsealed, commitments = self._unsealed, self._commitments
        for stream, growing in self._growing.items():
            news = [recorded(*unsealed[at], commitments[at].hex()) for at in growing.added]
            self._histories[stream] = growing.base.then(*news)
        self._growing, self._unsealed, self._before = {}, [], self._histories.__getitem__

    def _place(self, new: New) -> tuple[_Growing, UUID]:
        """The stream that it is added to, and the key that seals it."""
        growing = self._growing.get(new.stream)
        if growing is None:
            base = self._before(new.stream)
            growing = _Growing(stream_name(new.stream), base, base.version)
            self._growing[new.stream] = growing
        subject = new.event.subject()
        key_id = growing.keys.get(subject)
        if key_id is None:
            owner = owner_of(self._clinic, new.stream, new.event, self._size)
            try:
                key_id = growing.keys[subject] = self._key_id_for(owner, growing.version == 0)
            except KeyDestroyed:
                raise SubjectErased(stream=growing.name) from None
        return growing, key_id

    def _recorded(self, at: int) -> RecordedEvent:
        return recorded(*self._unsealed[at])
