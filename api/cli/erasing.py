"""`rapport erase`: destroying the keys of what one person gave, or showing what stands against it.

The entry comes first, then the keys go. Cut short between the two, the next start destroys what
the entry names (`api/composition.py`), before anything is served.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import TypeAdapter

from api.cli.terminal import Exit, Failed, Format, FormatOption, say, settings_of_record, show
from api.composition import Service, by_machine, open_service
from domain.erasure import (
    RECORD,
    DestroyKeys,
    ErasureBasis,
    KeyDestroyed,
    destroyed_keys,
    erasure_stream,
)
from domain.event import Refusal, Stream, Text
from domain.records import Proposal, Receipt
from domain.relationship import Part, RelationshipErased, RelationshipUnknown, relationship_of

_TEXT: TypeAdapter[str] = TypeAdapter(Text)


def add_to(app: typer.Typer) -> None:
    app.command("erase")(erase)


@dataclass(frozen=True, slots=True)
class Affected:
    """A relationship of which something becomes unreadable."""

    relationship: UUID
    whole: bool
    """All of it: nobody else's record is in it."""
    blocked: Refusal | None
    """What stands against it now."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure would destroy."""

    person: UUID
    keys: tuple[UUID, ...]
    affected: tuple[Affected, ...]

    @property
    def relationships(self) -> tuple[UUID, ...]:
        return tuple(each.relationship for each in self.affected)


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
        Affected(id_, id_ in whole, _against(service, person, id_, basis, reason))
        for id_ in sorted(told_of | whole)
    )
    return Plan(person, tuple(sorted(keys)), affected)


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


def carry_out(service: Service, planned: Plan, basis: ErasureBasis, reason: str) -> Receipt:
    """Notes the erasure, then destroys the keys; raises the Refusal that stands against it."""
    receipt = service.records.record(
        DestroyKeys(
            person=planned.person,
            keys=planned.keys,
            basis=basis,
            reason=reason,
            relationships=planned.relationships,
        ),
        by_machine(service),
    )
    for _, noted in service.log.history(erasure_stream(planned.person)).of(KeyDestroyed):
        service.keyring.destroy_again(service.clinic, noted.keys)
    return receipt


def erase(
    subject: Annotated[UUID, typer.Option(help="Whose content: a person or practitioner by id.")],
    basis: Annotated[ErasureBasis, typer.Option(help="On what legal ground (GDPR 17(1)).")],
    reason: Annotated[
        str, typer.Option(help="The same in words; it stands in the record for good.")
    ] = "As asked for.",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go, and what stands against it.")
    ] = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Destroy the keys of what one person gave, for good. The entries stay, and prove they existed.

    Refused while a legal hold stands on any relationship of theirs, and while it has to be kept,
    unless the ground goes before that duty. What is joint with somebody else stays readable.
    Backups of the keyring still hold the keys: docs/formats/keyring.md says what to do with them.

    \b
    Examples:
      rapport erase --subject 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --basis objected --dry-run
      rapport erase --subject 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --basis unlawful
    """
    _TEXT.validate_python(reason)
    with open_service(settings_of_record(), progress=say) as service:
        planned = plan(service, subject, basis, reason)
        if not planned.keys:
            raise Failed(Exit.FOUND, f"There is nothing of {subject} that is not erased already.")
        receipt = None if dry_run else carry_out(service, planned, basis, reason)
    document: dict[str, Any] = {
        "subject": str(subject),
        "keys": len(planned.keys),
        "relationships": [_rendered(each) for each in planned.affected],
        "erased": receipt is not None,
        "position": receipt and receipt.position,
    }
    show(format_, document, lambda: "\n".join(_lines(planned, receipt)))
    if dry_run and any(each.blocked for each in planned.affected):
        raise Failed(Exit.FOUND, "Something stands against it: nothing would be erased.")


def _rendered(each: Affected) -> dict[str, Any]:
    return {
        "relationship": str(each.relationship),
        "whole": each.whole,
        "blocked": each.blocked and {"code": each.blocked.code, "says": each.blocked.detail},
    }


def _lines(planned: Plan, receipt: Receipt | None) -> Iterator[str]:
    done = "were destroyed" if receipt else "would be destroyed"
    yield f"{len(planned.keys)} keys of {planned.person} {done}"
    for each in planned.affected:
        part = "the whole record" if each.whole else "what is theirs alone"
        blocked = f"; {each.blocked.detail}" if each.blocked else ""
        yield f"  relationship {each.relationship}: {part}{blocked}"
    if receipt:
        yield f"noted at position {receipt.position}"
