"""What this log has promised, and so what may be signed: nothing but what continues it.

A clinic must never sign two logs that contradict each other, also after a failover or a restore.
So a head is signed only once its commit is known durable, and only after its tree was hashed here,
from the last head that was acknowledged to anybody (kept outside PostgreSQL, `AcknowledgedHead`),
or from the last that this process checked itself. PostgreSQL is the suspect: no root is signed
because a row says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from typing import Final, Self

from infra.acknowledged import AcknowledgedHead, LogDiverged
from infra.batch import Head
from infra.log_key import LogKey
from infra.merkle import Frontier
from infra.proof import Inclusion, NewLeaves, TlogProof, root_between
from infra.recorder import EntryRecorder
from infra.tiles import SignedTree, TiledHashes, TilesBroken

_LEAVES_AT_ONCE: Final = 5_000


@dataclass(frozen=True)
class Proofs:
    """The proofs of the entries below one head: written when asked for, and always the same."""

    key: LogKey
    size: int
    root: bytes
    path: Callable[[int], tuple[bytes, ...]] = field(repr=False)
    """From the leaf of that index to the root."""

    @classmethod
    def of_new(cls, key: LogKey, before: Head, after: Head, leaf_hashes: Sequence[bytes]) -> Self:
        """Of what was just appended, with nothing to be read again."""
        new = NewLeaves(before.frontier, leaf_hashes)
        return cls(key, after.size, after.root, Inclusion(after.size, new).path)

    @cached_property
    def checkpoint(self) -> str:
        """The signed head (c2sp.org/tlog-checkpoint)."""
        return str(self.key.sign(self.size, self.root))

    def of(self, position: int) -> str:
        """The `.tlog-proof` of the entry at that position (c2sp.org/tlog-proof)."""
        index = position - 1
        return str(TlogProof(index, self.path(index), self.checkpoint))


class Promised:
    """The heads of one clinic's log, as far as they are known to be the log's."""

    def __init__(
        self, recorder: EntryRecorder, acknowledged: AcknowledgedHead, key: LogKey
    ) -> None:
        self.key = key
        self._clinic = recorder.datastore.clinic
        self._recorder = recorder
        self._acknowledged = acknowledged
        self._hashes = TiledHashes(recorder.datastore)
        self._following = Lock()
        self._known = Head(Frontier(), datetime.min.replace(tzinfo=UTC))

    def opened(self) -> Head:
        """The head as committed, if what was acknowledged stands in it; or LogDiverged."""
        # What was acknowledged first: others may move both while this looks.
        known = self._acknowledged.read()
        head = self._recorder.head()
        if known is not None:
            size, root = known
            if size > head.size:
                raise LogDiverged(self._clinic, size, head.size)
            self._require_continued(size, root, head)
        with self._following:
            self._known = max(self._known, head, key=lambda each: each.size)
        return head

    def followed(self, known: Head | None = None) -> Head:
        """The head as committed, its tree hashed on from `known`, or from the last one seen here.

        Whoever looks anew after a lost race, or before signing, must not take PostgreSQL's word.
        """
        with self._following:
            known = known or self._known
            head = self._recorder.head()
            grown = known.frontier
            while grown.size < head.size:
                end = min(head.size, grown.size + _LEAVES_AT_ONCE)
                hashes = self._recorder.leaf_hashes(grown.size, end)
                if len(hashes) != end - grown.size:
                    break
                grown = grown.append(hashes)
            if grown != head.frontier:
                raise LogDiverged(self._clinic, known.size, head.size)
            self._known = max(self._known, head, key=lambda each: each.size)
            return head

    def remember(self, head: Head) -> None:
        """Notes what is durable, before anybody is told."""
        self._acknowledged.advance(head.size, head.root)

    def checkpoint(self) -> str:
        """The signed head of what is committed now."""
        head = self.followed()
        self.remember(head)
        return str(self.key.sign(head.size, head.root))

    def proofs_at(self, size: int) -> Proofs:
        """Proofs under the head that the log had at an earlier size.

        Its root is hashed here and led to the head that this process knows; or LogDiverged.
        """
        head = self.followed()
        self.remember(head)
        root = root_between(0, size, self._hashes)
        self._require_continued(size, root, head)
        return Proofs(self.key, size, root, SignedTree(self._hashes, size, root).inclusion)

    def close(self) -> None:
        """Lets go of the file of acknowledged heads."""
        self._acknowledged.close()

    def _require_continued(self, size: int, root: bytes, head: Head) -> None:
        try:
            SignedTree(self._hashes, head.size, head.root).consistency(size, root)
        except TilesBroken as broken:
            if broken.code == "subtree":  # what is derived was changed, not the log
                raise
            raise LogDiverged(self._clinic, size, head.size) from None
