"""Erasing: what it would reach, the act, and the certificate of it.

The order makes every crash harmless. The log is proven; the entry that names the keys comes first;
the keys are remembered beside the heads, then destroyed; then whatever still lies around goes.
Cut short after the entry, the next start destroys (`api/composition.py`), and `complete` does the
rest again: each of its steps may be repeated.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from api.composition import Service, by_machine
from api.opening import destroy_again
from api.worker import Worker
from domain.disclosure import ExportMade, RecordDisclosed, disclosure_stream, suspended
from domain.erasure import (
    RECORD,
    DestroyKeys,
    ErasureBasis,
    KeyDestroyed,
    LogProven,
    destroyed_keys,
    erasure_stream,
)
from domain.event import RecordedEvent, Refusal, Stream
from domain.records import Proposal, Receipt
from domain.relationship import Part, RelationshipErased, RelationshipUnknown, relationship_of
from domain.restriction import RecipientKind
from infra.canonical import time_text
from infra.certificate import Affected, Certificate, CopyMade, Counted, Destruction, Extent
from infra.keyring import REFRESH_SECONDS
from infra.log_key import LogKey
from infra.reach import Count, Reach
from infra.verify import Progress, Trusted, verify
from infra.view_store import ViewStore
from projections.dossier import VIEWS

_log = logging.getLogger("rapport.views")

_ACCOUNT: Final = ("access", "disclosure", "hold")
"""Streams of a relationship that tell what was done with its record, and outlive it."""
_NEAR_THE_SUBJECT: Final = frozenset(
    {RecipientKind.CLIENT, RecipientKind.FAMILY, RecipientKind.OTHER}
)
_OTHERS_LET_GO_WITHIN_SECONDS: Final = 60.0
_NAP_SECONDS: Final = 0.2

Advance = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


# --- What it would reach --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InTheWay:
    """A relationship of which something becomes unreadable, and what stands against that now."""

    relationship: UUID
    whole: bool
    """All of it: nobody else's record is in it."""
    blocked: Refusal | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure would destroy."""

    person: UUID
    keys: tuple[UUID, ...]
    affected: tuple[InTheWay, ...]

    @property
    def relationships(self) -> tuple[UUID, ...]:
        return tuple(each.relationship for each in self.affected)


@dataclass(frozen=True, slots=True)
class Reached:
    """What would be unreadable afterwards, and which copies there are that nothing reaches."""

    entries: Sequence[Count]
    views: dict[str, int]
    """Rows of each view."""
    copies: Sequence[CopyMade]


def plan(service: Service, person: UUID, basis: ErasureBasis, reason: str) -> Plan:
    """What erasing that person would destroy now, and what stands against it."""
    live = service.keyring.live(service.clinic)
    own = {key for key, _, subject in live if subject == str(person)}
    told_of = {
        Stream.parse(stream).id
        for _, stream, subject in live
        if subject == str(person) and Stream.parse(stream).category in RECORD
    }
    whole = {
        id_ for id_ in _relationships(service, person) if _is_theirs_alone(service, id_, person)
    }
    streams = {str(Stream(category, id_)) for id_ in whole for category in RECORD}
    keys = own | {key for key, stream, _ in live if stream in streams}
    affected = tuple(
        InTheWay(id_, id_ in whole, _against(service, person, id_, basis, reason))
        for id_ in sorted(told_of | whole)
    )
    return Plan(person, tuple(sorted(keys)), affected)


def reached(service: Service, planned: Plan) -> Reached:
    """What the plan's keys seal, and what was handed out of the relationships before."""
    reach = _reach(service)
    tables = [view.table for view in VIEWS.all()]
    return Reached(
        entries=reach.sealed_by(planned.keys),
        views=reach.rows_sealed_by(tables, planned.keys),
        copies=list(_copies(service, planned.person, planned.relationships)),
    )


def _relationships(service: Service, person: UUID) -> Iterator[UUID]:
    """Every relationship in which the person is or was a client."""
    for stream in service.log.streams("relationship"):
        try:
            relationship = relationship_of(service.log.history(stream))
        except (RelationshipErased, RelationshipUnknown):
            continue
        if person in relationship.ever(Part.CLIENT):
            yield stream.id


def _is_theirs_alone(service: Service, relationship: UUID, person: UUID) -> bool:
    """Whether every other client of the relationship was erased before."""
    others = relationship_of(service.log.history(Stream("relationship", relationship)))
    return all(
        destroyed_keys(service.log.history(erasure_stream(other)))
        for other in others.ever(Part.CLIENT) - {person}
    )


def _against(
    service: Service, person: UUID, relationship: UUID, basis: ErasureBasis, reason: str
) -> Refusal | None:
    """What the record itself would answer, for this relationship alone."""
    command = DestroyKeys(
        person=person,
        keys=(relationship,),  # any id: nothing is destroyed by a rehearsal
        basis=basis,
        reason=reason,
        relationships=(relationship,),
    )
    (verdict,) = service.log.rehearse().append([Proposal(command, by_machine(service))])
    return verdict if isinstance(verdict, Refusal) else None


# --- The act --------------------------------------------------------------------------------


def carry_out(
    service: Service,
    planned: Plan,
    basis: ErasureBasis,
    reason: str,
    advance: Advance | None = None,
) -> Receipt:
    """Proves the log, notes the erasure, destroys the keys and purges what was made of them.

    Raises LogBroken before anything is done, and the Refusal that stands against it.
    """
    proven = prove(service, "verified before", advance)
    receipt = service.records.record(
        DestroyKeys(
            person=planned.person,
            keys=planned.keys,
            basis=basis,
            reason=reason,
            relationships=planned.relationships,
            proven=proven,
        ),
        by_machine(service),
    )
    complete(service)
    late = _made_meanwhile(service, planned)
    if late:
        return carry_out(service, replace(planned, keys=late), basis, reason, advance)
    return receipt


def _made_meanwhile(service: Service, planned: Plan) -> tuple[UUID, ...]:
    """Keys under which something was sealed between the plan and its entry."""
    streams = {
        str(Stream(category, each.relationship))
        for each in planned.affected
        if each.whole
        for category in RECORD
    }
    return tuple(
        key
        for key, stream, subject in service.keyring.live(service.clinic)
        if subject == str(planned.person) or stream in streams
    )


def carry_out_again(
    service: Service, issued: Certificate, advance: Advance | None = None
) -> Receipt | None:
    """Notes again what a certificate says and this log, restored from before, does not; or None.

    Raises LogBroken, and the Refusal that stands against it.
    """
    last = issued.destructions[-1].event
    missing = issued.keys - destroyed_keys(service.log.history(erasure_stream(issued.subject)))
    if not missing:
        complete(service)
        return None
    again = Plan(
        issued.subject,
        tuple(sorted(missing)),
        tuple(
            InTheWay(each.relationship, each.extent is Extent.WHOLE, None)
            for each in issued.affected
        ),
    )
    return carry_out(service, again, last.basis, last.reason, advance)


def complete(service: Service) -> None:
    """Destroys whatever the log says is destroyed, and purges what was made of it."""
    destroy_again(service.log, service.keyring, service.settings)
    time.sleep(REFRESH_SECONDS)  # from here on no process answers with a destroyed key
    for trace in (service.settings.home / "logs").glob("error-*.txt"):
        trace.unlink(missing_ok=True)  # it may hold what was being worked on
    service.log.remove_snapshots()
    store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
    try:
        _settle(Worker(VIEWS.all(), service.log, store))
    finally:
        store.close()


def _settle(worker: Worker) -> None:
    """Folds anew what the keys had sealed, once whoever is moving the views lets go of them."""
    deadline = time.monotonic() + _OTHERS_LET_GO_WITHIN_SECONDS
    while not worker.settle():
        if time.monotonic() > deadline:
            # Until it is done they say that something was erased, but not yet by which entry.
            _log.warning("another worker holds the views, and will fold them anew itself")
            return
        time.sleep(_NAP_SECONDS)


def prove(
    service: Service, what: str, advance: Advance | None = None, *before: LogProven
) -> LogProven:
    """Reads and hashes the whole log again: it holds what it held before, and was acknowledged."""
    progress: Progress | None = None
    if advance is not None:
        told = advance

        def progress(done: int, total: int) -> None:
            told(what, done, total)

    source = "the log that was proven before the erasure"
    verified = verify(
        service.database.dsn("read"),
        service.clinic,
        trusted=[Trusted(each.size, bytes.fromhex(each.root), source) for each in before],
        acknowledged=service.acknowledged(),
        progress=progress,
    )
    return LogProven(size=verified.size, root=verified.root)


# --- The certificate ------------------------------------------------------------------------


class NothingErased(LookupError):
    """No key of that person was destroyed; its text is the person's id."""


def certificate(service: Service, person: UUID, advance: Advance | None = None) -> Certificate:
    """What was destroyed of that person, proven from the log as it stands now.

    Reads the whole log again. Raises NothingErased, LogBroken.
    """
    noted = list(service.log.history(erasure_stream(person)).of(KeyDestroyed))
    if not noted:
        raise NothingErased(str(person))
    before = [event.proven for _, event in noted if event.proven is not None]
    proven = prove(service, "verified after", advance, *before)
    keys = {key for _, event in noted for key in event.keys}
    relationships = {id_ for _, event in noted for id_ in event.relationships}
    account = {
        str(stream)
        for stream in (
            erasure_stream(person),
            Stream("role", person),
            *(Stream(category, id_) for id_ in relationships for category in _ACCOUNT),
        )
    }
    reach = _reach(service)
    return Certificate(
        clinic=service.clinic,
        log=LogKey.of(service.keyring, service.clinic).origin,
        subject=person,
        issued_at=time_text(service.clock()),
        destructions=tuple(_destructions(service, reach, noted)),
        unreadable=_by_category(reach.sealed_by(keys)),
        remaining=_by_category(reach.within(account)),
        copies=tuple(_copies(service, person, relationships)),
        proven=proven,
    )


def _destructions(
    service: Service, reach: Reach, noted: Sequence[tuple[RecordedEvent, KeyDestroyed]]
) -> Iterator[Destruction]:
    """Each of the entries as the table holds it, opened, with its proof."""
    stored = service.log.disclosed(noted[0][0].stream)
    erasures = [
        (entry.position, event)
        for stream in service.log.streams("erasure")
        for entry, event in service.log.history(stream).of(KeyDestroyed)
    ]
    for entry, event in noted:
        gone = {key for at, each in erasures if at <= entry.position for key in each.keys}
        shown = stored[entry.version - 1]
        assert shown.content is not None, "the clinic's own keys are never destroyed"
        assert shown.salt is not None, "content is never shown without it"
        receipt = service.log.receipt(entry.command_id)
        assert receipt is not None, "it is in the log, so its command is"
        (placed,) = (each for each in receipt.entries if each.position == entry.position)
        yield Destruction(
            leaf_input=shown.leaf_input.decode(),
            content=shown.content.decode(),
            salt=shown.salt.hex(),
            proof=placed.proof,
            affected=tuple(
                Affected(relationship=id_, extent=_extent(reach, id_, entry.position, gone))
                for id_ in event.relationships
            ),
        )


def _extent(reach: Reach, relationship: UUID, before: int, gone: set[UUID]) -> Extent:
    """Whether any entry of the record from before still had its key then."""
    streams = [str(Stream(category, relationship)) for category in RECORD]
    used = reach.keys_within(streams, before).values()
    return Extent.WHOLE if all(keys <= gone for keys in used) else Extent.PART


def _by_category(counts: Iterable[Count]) -> tuple[Counted, ...]:
    totals: Counter[tuple[str, str]] = Counter()
    for count in counts:
        totals[Stream.parse(count.stream).category, count.topic] += count.entries
    return tuple(
        Counted(category=category, topic=topic, entries=entries)
        for (category, topic), entries in sorted(totals.items())
    )


def _copies(service: Service, person: UUID, relationships: Iterable[UUID]) -> Iterator[CopyMade]:
    """What was handed out, but for what an authority asked not to be told of for a time."""
    for relationship in sorted(relationships):
        history = service.log.history(disclosure_stream(relationship))
        untold = suspended(history, service.clock())
        for entry in history:
            match entry.event:
                case RecordDisclosed() as disclosed if disclosed.recipient.kind not in untold:
                    yield _disclosed(entry, disclosed, relationship, person)
                case ExportMade() as export if export.recipient not in untold:
                    yield _exported(entry, export, relationship)


def _disclosed(
    entry: RecordedEvent, disclosed: RecordDisclosed, relationship: UUID, person: UUID
) -> CopyMade:
    recipient = disclosed.recipient
    near = recipient.kind in _NEAR_THE_SUBJECT or recipient.person == person
    return CopyMade(
        kind="disclosure",
        id=disclosed.disclosure,
        relationship=relationship,
        position=entry.position,
        made_at=time_text(entry.occurred_at),
        recipient_kind=recipient.kind,
        recipient=None if near else recipient.name,
        person=recipient.person,
        what=None,
        entries=disclosed.entries,
    )


def _exported(entry: RecordedEvent, export: ExportMade, relationship: UUID) -> CopyMade:
    return CopyMade(
        kind="export",
        id=export.export,
        relationship=relationship,
        position=entry.position,
        made_at=time_text(entry.occurred_at),
        recipient_kind=export.recipient,
        recipient=None,
        person=export.to,
        what=export.what,
        entries=(),
    )


def _reach(service: Service) -> Reach:
    return Reach(service.database.dsn("app"), service.clinic)
