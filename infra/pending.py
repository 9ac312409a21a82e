"""A batch in the making: what its commands decided, placed on top of one head and sealed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.event import History, New, RecordedEvent, Refusal, Stream
from domain.records import Proposal
from infra.batch import CommandRow, Head
from infra.keyring import KeyDestroyed
from infra.mapper import EntryMapper, SealedEntry, Unsealed, owner_of, recorded, stream_name
from infra.merkle import leaf_hash
from infra.new_keys import Owner
from infra.sealing import Envelope
from infra.turns import Turn

KeyIdFor = Callable[[Owner, bool], UUID]


class SubjectErased(Refusal):
    rule = 9
    says = "The content of {stream} was erased; nothing can be added to it."


@dataclass(frozen=True, slots=True)
class Decided:
    """One proposal whose entries stand in the batch."""

    turn: Turn
    index: int
    row: CommandRow


@dataclass(slots=True)
class _Growing:
    """A stream that the batch adds to."""

    base: History
    """As it was before."""
    added: list[int] = field(default_factory=list)
    """Where in the batch its new entries stand."""
    seen: History | None = None
    """With what was added when it was last looked at."""

    @property
    def version(self) -> int:
        return self.base.version + len(self.added)


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
        self.entries: Sequence[SealedEntry] = ()
        self.leaf_hashes: Sequence[bytes] = ()
        self.after = head
        """The head once the batch is committed."""
        self.histories: dict[Stream, History] = {}
        """The streams that it adds to, as they are then."""
        self._clinic = clinic
        self._key_id_for = key_id_for
        self._before = before
        self._unsealed: list[Unsealed] = []
        self._growing: dict[Stream, _Growing] = {}

    def history(self, stream: Stream) -> History:
        """The stream with what the batch adds to it so far."""
        growing = self._growing.get(stream)
        if growing is None:
            return self._before(stream)
        history = growing.seen or growing.base
        news = growing.added[history.version - growing.base.version :]
        if news:
            history = growing.seen = history.then(*map(self._recorded, news))
        return history

    def add(self, turn: Turn, index: int, body_mac: bytes, news: Sequence[New]) -> None:
        """Takes in what a proposal decided: all of it, or nothing where it raises SubjectErased."""
        proposal, first = turn.proposals[index], len(self._unsealed)
        key_ids = [self._key_id(new) for new in news]
        for command_index, (new, key_id) in enumerate(zip(news, key_ids, strict=True)):
            growing = self._grown(new.stream)
            growing.added.append(len(self._unsealed))
            envelope = self._envelope(proposal, new, growing.version, command_index, key_id)
            self._unsealed.append(Unsealed(envelope, new.event))
        row = CommandRow(proposal.command_id, body_mac, first, len(news))
        self.decided[proposal.command_id] = Decided(turn, index, row)

    def seal(self, mapper: EntryMapper) -> None:
        """Seals what was decided, and leads streams and head on to it; KeyGone.

        From then on it holds on to nothing that was before it.
        """
        self.entries = mapper.sealed(self._unsealed)
        self.leaf_hashes = [leaf_hash(entry.leaf_input) for entry in self.entries]
        self.after = Head(self.head.frontier.append(self.leaf_hashes), self.recorded_at)
        for stream, growing in self._growing.items():
            news = [self._recorded(at, self.entries[at].commitment) for at in growing.added]
            self.histories[stream] = growing.base.then(*news)
        self._growing, self._unsealed, self._before = {}, [], self.histories.__getitem__

    def _grown(self, stream: Stream) -> _Growing:
        growing = self._growing.get(stream)
        if growing is None:
            growing = self._growing[stream] = _Growing(self._before(stream))
        return growing

    def _key_id(self, new: New) -> UUID:
        owner = owner_of(self._clinic, new.stream, new.event, self.head.size)
        try:
            return self._key_id_for(owner, self._grown(new.stream).version == 0)
        except KeyDestroyed:
            raise SubjectErased(stream=str(new.stream)) from None

    def _recorded(self, at: int, commitment: bytes = b"") -> RecordedEvent:
        envelope, event = self._unsealed[at]
        return recorded(envelope, event, commitment.hex())

    def _envelope(
        self, proposal: Proposal, new: New, version: int, command_index: int, key_id: UUID
    ) -> Envelope:
        assert new.occurred_at is not None, "Proposal.decide gives every event its time"
        author = proposal.author
        return Envelope(
            clinic=self._clinic,
            stream=stream_name(new.stream),
            stream_version=version,
            topic=new.event.topic,
            schema_version=new.event.schema_version,
            occurred_at=new.occurred_at,
            actor=author.actor,
            on_behalf_of=author.on_behalf_of,
            source=author.source.value,
            command_id=proposal.command_id,
            command_index=command_index,
            key_id=key_id,
            position=self.head.size + len(self._unsealed) + 1,
            recorded_at=self.recorded_at,
        )
