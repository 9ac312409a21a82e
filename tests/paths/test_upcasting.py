"""An entry of an earlier schema version, in a real log: read, corrected, gone on from, proven."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID, uuid4

from domain.closure import ReopenRelationship
from domain.correction import CorrectEntry, EntryCorrected
from domain.event import Command, Given, New, Text
from domain.records import Author, Proposal, Receipt
from domain.relationship import (
    Initiator,
    RelationshipClosed,
    Turn,
    relationship_of,
    relationship_stream,
)
from infra.event_store import ClinicLog
from projections.dossier import dossier
from tests.conftest import Clinic
from tests.paths.test_races import furnished


class ClosedWithACount(Turn):
    """A closing as the first schema version had it."""

    topic = "relationship.closed"
    schema_version: ClassVar[int] = 1

    reason: Text
    initiated_by: Initiator
    goals: Text
    open_ruptures: int


class CloseWithACount(Command):
    """What recorded one."""

    name = "close-with-a-count"

    relationship: UUID

    def decide(self, given: Given) -> Iterator[New]:
        closed = ClosedWithACount(
            reason="Moved away.", initiated_by=Initiator.CLIENT, goals="One.", open_ruptures=2
        )
        yield New(relationship_stream(self.relationship), closed)


def accepted(log: ClinicLog, command: Command) -> Receipt:
    (verdict,) = log.append([Proposal(command, Author(uuid4()))])
    assert isinstance(verdict, Receipt), verdict
    return verdict


def test_an_entry_of_the_first_version_lives_on(clinic: Clinic) -> None:
    """R17: what an older release stored is read in today's shape, and may be corrected; the bytes
    that were stored, and their proof, stay as they were."""
    world = furnished(clinic)
    relationship = world.relationships[0]
    stream = relationship_stream(relationship)
    receipt = accepted(clinic.log, CloseWithACount(relationship=relationship))
    at = receipt.entries[0].version

    today = clinic.open_log()
    history = today.history(stream)
    (entry, closed) = next(history.of(RelationshipClosed))
    assert (entry.version, entry.schema_version) == (at, 1)
    assert (closed.ruptures_counted, closed.open_ruptures) == (2, ())
    assert not relationship_of(history).is_open

    content: dict[str, Any] = closed.model_dump(mode="json", exclude_none=True)
    correct = CorrectEntry(
        stream=stream, entry=at, reason="Misheard.", content=content | {"reason": "Moved to Oslo."}
    )
    accepted(today, correct)
    accepted(today, ReopenRelationship(relationship=relationship, reason="Came back."))

    history = clinic.open_log().history(stream)
    (_, correction) = next((e, e.event) for e in history if isinstance(e.event, EntryCorrected))
    assert (correction.of_schema_version, correction.content["ruptures_counted"]) == (2, 2)
    (_, reads) = next(history.of(RelationshipClosed))
    assert (reads.reason, reads.ruptures_counted) == ("Moved to Oslo.", 2)
    assert relationship_of(history).is_open
    dossier(stream, history)
    leaf = next(e for e in receipt.entries).leaf_hash
    stored = clinic.log.receipt(receipt.command_id)
    assert stored is not None
    assert stored.entries[0].leaf_hash == leaf
    clinic.check_record()
