"""A clinic's log as others read it: signed heads, tiles, bundles of entries, proofs.

What is published is the newest checkpoint that was kept, with what witnesses said of it, so that
readers at one time see one head; where none was kept yet, the head is signed now. Whatever is
given out leads to a signed root, or `TilesBroken` is raised (`infra.tiles.SignedTree`).
"""

from dataclasses import dataclass
from typing import Protocol

from infra.checkpoint import Signature, SignedNote
from infra.checkpoint_store import CheckpointStore, KeptCheckpoint
from infra.log_key import LogKey
from infra.proof import TlogProof, root_between
from infra.recorder import ClinicDatastore
from infra.tiles import PathRefused, SignedTree, TiledHashes, TilePath


class SignedLog(Protocol):
    """The clinic's log (`infra.event_store.ClinicLog`), as far as it is published."""

    @property
    def key(self) -> LogKey: ...
    @property
    def datastore(self) -> ClinicDatastore: ...
    def checkpoint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Continuation:
    """That a log of `new` entries continues one of `old`."""

    old: int
    old_root: bytes
    new: int
    new_root: bytes
    path: tuple[bytes, ...]
    """The consistency proof of RFC 6962, section 2.1.2."""


class PublishedLog:
    """One clinic's log for its readers. Safe to share between threads.

    Every method may raise StoreUnavailable, LogDiverged, TilesBroken, and NoteBroken where a
    checkpoint that is kept was not signed by this log.
    """

    def __init__(self, log: SignedLog) -> None:
        self._log = log
        self._hashes = TiledHashes(log.datastore)
        self._store = CheckpointStore(log.datastore)

    @property
    def log_id(self) -> str:
        """32 hex digits; they tell nobody whose log it is."""
        return self._log.key.log_id

    @property
    def key(self) -> LogKey:
        return self._log.key

    def checkpoint(self) -> str:
        """The published head: a signed note, cosigned as far as witnesses did."""
        kept = self._store.latest(self._log.key.origin)
        return self.head() if kept is None else self._cosigned(kept)

    def head(self) -> str:
        """What is committed now, signed now; with cosignatures if there are any of it."""
        note = self._log.checkpoint()
        size = self._log.key.verified(note).size
        kept = self._store.at_size(self._log.key.origin, size)
        return note if kept is None else self._cosigned(kept)

    def tree(self, note: str) -> SignedTree:
        """What may be given out under that checkpoint of this log."""
        checkpoint = self._log.key.verified(note)
        return SignedTree(self._hashes, checkpoint.size, checkpoint.root)

    def tile(self, name: str) -> bytes | None:
        """The hash tile at `tile/<L>/<N>[.p/<W>]`; None where the published tree has none."""
        path = _path(name)
        if path is None or path.level is None:
            return None
        tree = self.tree(self.checkpoint())
        return tree.tile(path) if tree.holds(path) else None

    def entries(self, name: str) -> bytes | None:
        """The bundle at `tile/entries/<N>[.p/<W>]`; None where the published tree has none."""
        path = _path(name)
        if path is None or path.level is not None:
            return None
        tree = self.tree(self.checkpoint())
        return tree.entries(path) if tree.holds(path) else None

    def proof(self, position: int) -> str | None:
        """The `.tlog-proof` of the entry at that position, under the checkpoint that covers it and
        has most cosignatures; None where there is no such entry."""
        kept = self._store.best(self._log.key.origin, position)
        note = self.head() if kept is None else self._cosigned(kept)
        tree = self.tree(note)
        if not 1 <= position <= tree.size:
            return None
        return str(TlogProof(position - 1, tree.inclusion(position - 1), note))

    def consistency(self, old: int, new: int) -> Continuation | None:
        """That the first `new` entries continue the first `old`; None where there are fewer."""
        head = self.tree(self._log.checkpoint())
        if not 0 <= old <= new <= head.size:
            return None
        old_root, new_root = (root_between(0, size, self._hashes) for size in (old, new))
        head.consistency(new, new_root)
        path = SignedTree(self._hashes, new, new_root).consistency(old, old_root)
        return Continuation(old, old_root, new, new_root, path)

    def _cosigned(self, kept: KeptCheckpoint) -> str:
        origin = self._log.key.origin
        lines = [each.line for each in self._store.cosignatures(origin, kept.size)]
        signatures = [Signature.parse(line.removesuffix("\n")) for line in lines]
        note = str(SignedNote.parse(kept.note).with_signatures(*signatures))
        self._log.key.verified(note)
        return note


def _path(name: str) -> TilePath | None:
    try:
        return TilePath.parse(name)
    except PathRefused:
        return None
