"""Phases: where therapist and client are in the course of their work."""

from domain.person import NotInTheirName
from domain.phase import DeclarePhase, NotItsTherapist, PhaseDeclared, phases_of
from domain.relationship import RelationshipNotYetOpen
from tests.kit import CLIENT, COTHERAPIST, DAY, NOW, OPENED, RELATIONSHIP, THERAPIST, given


def declare(phase: str, **changes: object) -> DeclarePhase:
    fields = {
        "relationship": RELATIONSHIP,
        "phase": phase,
        "by": THERAPIST,
        "rationale": "Sleep and safety come first.",
    }
    return DeclarePhase.model_validate(fields | changes)


def test_phases_follow_each_other_as_they_began() -> None:
    """Rule 5: a phase that is declared late takes its place by when it began."""
    record = given(*OPENED)
    record = record.when(declare("exposure"), at=NOW - 2 * DAY).then(
        PhaseDeclared(phase="exposure", by=THERAPIST, rationale="Sleep and safety come first.")
    )
    earlier = declare("stabilisation", occurred_at=NOW - 9 * DAY, late_reason="Not written down.")
    phases = phases_of(record.when(earlier).recorded().relationship)
    assert [phase.declared.phase for phase in phases] == ["stabilisation", "exposure"]
    assert phases_of(record.erased(None).relationship) == ()


def test_a_therapist_of_theirs_declares_a_phase() -> None:
    """Rule 10: it is the judgement of somebody who treats here, in that person's own name."""
    record = given(*OPENED)
    for outsider in (COTHERAPIST, CLIENT):
        record.when(declare("ending", by=outsider)).refuses(NotItsTherapist, person=outsider)
    record.when(declare("ending"), by=CLIENT).refuses(NotInTheirName, person=THERAPIST)
    long_ago = declare("ending", occurred_at=NOW - 900 * DAY, late_reason="Old books.")
    record.when(long_ago).refuses(RelationshipNotYetOpen)
