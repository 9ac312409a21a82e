"""Possible ruptures: findings of a method, which people may dismiss and which mark nothing."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from domain.correction import CorrectEntry, IdentityChanged
from domain.event import EntryUnknown, Source
from domain.person import NotInTheirName
from domain.possible_rupture import (
    DismissedAlready,
    DismissPossibleRupture,
    JudgedByNobody,
    NeitherTreatsNorSupervises,
    Parameter,
    PossibleRupture,
    PossibleRuptureDismissed,
    dismissals_of,
)
from domain.records import Author, Proposal
from domain.relationship import relationship_stream
from domain.rupture import ruptures_of
from tests.kit import (
    CLIENT,
    CLINIC,
    COTHERAPIST,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    consent,
    given,
    informed,
)

FOUND = PossibleRupture(
    method="reliable-drop",
    method_version="1",
    parameters=(Parameter(name="z", value="1.96"), Parameter(name="alpha", value="0.9")),
    entries=(3, 2),
)
REASON = "She filled it in with a fever."
RECORD = given(*OPENED, informed(), consent())


def dismiss(by: UUID = THERAPIST, possible: PossibleRupture = FOUND) -> DismissPossibleRupture:
    return DismissPossibleRupture(
        relationship=RELATIONSHIP, possible=possible, by=by, reason=REASON
    )


def test_a_finding_is_dismissed_with_a_reason_and_changes_nothing() -> None:
    """Rule 37: the finding is named with method, parameters and inputs; nobody marked anything."""
    record = RECORD.when(dismiss(), by=THERAPIST).then(
        PossibleRuptureDismissed(possible=FOUND, by=THERAPIST, reason=REASON)
    )
    assert ruptures_of(record.relationship) == {}
    ((entry, dismissed),) = dismissals_of(record.relationship, FOUND)
    assert (entry.actor, dismissed.reason) == (THERAPIST, REASON)
    other = FOUND.model_copy(update={"method_version": "2"})
    assert dismissals_of(record.relationship, other) == ()


def test_a_finding_is_the_same_in_whatever_order_it_is_told() -> None:
    """Rule 37: entries and parameters have no order of their own."""
    turned = PossibleRupture(
        method="reliable-drop",
        method_version="1",
        parameters=tuple(reversed(FOUND.parameters)),
        entries=(2, 3),
    )
    assert turned == FOUND
    record = RECORD.when(dismiss(), by=THERAPIST).recorded()
    record.when(dismiss(possible=turned), by=THERAPIST).refuses(DismissedAlready, by=THERAPIST)
    record.when(dismiss(SUPERVISOR), by=SUPERVISOR).recorded()


@pytest.mark.parametrize("person", [CLIENT, COTHERAPIST, OFFICE])
def test_whoever_treats_or_supervises_dismisses(person: UUID) -> None:
    """Rule 37: it is a clinical judgement, in the own name."""
    RECORD.when(dismiss(person), by=person).refuses(NeitherTreatsNorSupervises, person=person)
    RECORD.when(dismiss(), by=person).refuses(NotInTheirName, person=THERAPIST)


def test_what_a_finding_was_computed_from_is_in_the_record() -> None:
    """Rule 37: a finding over entries that are not there cannot be computed again."""
    beyond = FOUND.model_copy(update={"entries": (2, 10_000)})
    RECORD.when(dismiss(possible=beyond), by=THERAPIST).refuses(EntryUnknown, what="entry")


@pytest.mark.parametrize("changes", [{"entries": ()}, {"entries": (2, 2)}, {"entries": (0,)}])
def test_a_finding_names_its_inputs(changes: dict[str, Any]) -> None:
    """Rule 37: at least one, each once, each a version of an entry."""
    with pytest.raises(ValidationError):
        PossibleRupture.model_validate(FOUND.model_dump() | changes)


def test_a_program_judges_nothing() -> None:
    """Rule 37: what no person says is neither marked nor dismissed."""
    machine = Author(actor=THERAPIST, source=Source.SYSTEM)
    proposal = Proposal(dismiss(), machine)
    with pytest.raises(JudgedByNobody):
        proposal.decide(CLINIC, NOW, RECORD.history, RECORD.policy)


def test_a_dismissal_stays_with_its_finding() -> None:
    """Rule 1: the reason can be corrected, what was dismissed cannot."""
    record = RECORD.when(dismiss(), by=THERAPIST).recorded()
    stream, entry = relationship_stream(RELATIONSHIP), record.relationship.version
    content = {"possible": FOUND.model_dump(mode="json"), "by": str(THERAPIST), "reason": "Ill."}
    correct = CorrectEntry(stream=stream, entry=entry, reason="Spelling.", content=content)
    record = record.when(correct, by=THERAPIST).recorded()
    assert [d.reason for _, d in dismissals_of(record.relationship, FOUND)] == ["Ill."]
    content["possible"] = FOUND.model_copy(update={"method": "shape"}).model_dump(mode="json")
    correct = CorrectEntry(stream=stream, entry=entry, reason="No.", content=content)
    record.when(correct, by=THERAPIST).refuses(IdentityChanged, field="possible")
