"""The receipts of commands that are in the record: the same that they were acknowledged with."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from domain.records import Receipt, ReceiptEntry
from infra.mapper import stream_named
from infra.merkle import leaf_hash
from infra.promised import Promised
from infra.recorder import EntryRecorder


class Stored(NamedTuple):
    """What the record holds of a command."""

    receipt: Receipt
    body_mac: bytes
    """Of its body: another command with the same id has another one."""


class StoredReceipts:
    """The receipts of one clinic's log."""

    def __init__(self, recorder: EntryRecorder, promised: Promised) -> None:
        self._recorder = recorder
        self._promised = promised

    def of(self, command_ids: Sequence[UUID]) -> dict[UUID, Stored]:
        """Those of the commands that are in the record."""
        rows = self._recorder.command_rows(command_ids)
        # Whoever committed it may have died before it remembered that; this acknowledges it.
        sizes = {row["tree_size"] for row in rows.values()}
        proofs = {size: self._promised.proofs_at(size) for size in sizes}
        placed = self._recorder.places(
            [row["first_position"] + n for row in rows.values() for n in range(row["entries"])]
        )
        found = {}
        for command_id, row in rows.items():
            proven = proofs[row["tree_size"]]
            entries = tuple(
                ReceiptEntry(
                    stream=stream_named(entry.stream),
                    version=entry.version,
                    position=entry.position,
                    leaf_hash=leaf_hash(entry.leaf_input).hex(),
                    proofs=proven,
                )
                for n in range(row["entries"])
                if (entry := placed.get(row["first_position"] + n)) is not None
            )
            receipt = Receipt(
                command_id, row["recorded_at"], row["tree_size"], proven.root.hex(), entries
            )
            found[command_id] = Stored(receipt, row["body_mac"])
        return found
