"""Legal hold: placed, standing, lifted."""

import pytest
from pydantic import ValidationError

from domain.hold import (
    HoldExists,
    HoldLiftedAlready,
    HoldUnknown,
    LegalHoldLifted,
    LegalHoldPlaced,
    LiftLegalHold,
    PlaceLegalHold,
    held,
    hold_stream,
)
from domain.relationship import RelationshipErased, RelationshipUnknown
from tests.kit import CLIENT, DAY, NOW, OFFICE, OPENED, RELATIONSHIP, given, named, on

STREAM = hold_stream(RELATIONSHIP)
HOLD = named("hold")


def place(hold: str = "hold") -> PlaceLegalHold:
    return PlaceLegalHold(
        relationship=RELATIONSHIP, hold=named(hold), matter="3 O 114/26", authority="Court"
    )


def lift(hold: str = "hold") -> LiftLegalHold:
    return LiftLegalHold(relationship=RELATIONSHIP, hold=named(hold), reason="Settled.")


def test_a_hold_stands_until_it_is_lifted() -> None:
    """Rule 9: from when it is placed until when it is lifted; who did what is in the entry."""
    record = given(*OPENED).when(place(), by=OFFICE, at=NOW)
    placed = LegalHoldPlaced(hold=HOLD, matter="3 O 114/26", authority="Court", by=OFFICE)
    after = record.then(on(STREAM, placed))
    lifted = LegalHoldLifted(hold=HOLD, reason="Settled.", by=OFFICE)
    over = after.when(lift(), by=OFFICE, at=NOW + DAY).then(on(STREAM, lifted)).history(STREAM)
    assert held(over, NOW - DAY) == ()
    assert held(over, NOW) == held(over, NOW + DAY / 2) == (HOLD,)
    assert held(over, NOW + DAY) == ()


def test_one_matter_does_not_lift_the_other() -> None:
    """Rule 9: each hold stands for itself."""
    record = given(*OPENED, place(), place("other"), lift())
    assert held(record.history(STREAM), NOW) == (named("other"),)
    record.when(lift()).refuses(HoldLiftedAlready, hold=HOLD)
    record.when(lift("third")).refuses(HoldUnknown)
    record.when(place()).refuses(HoldExists, hold=HOLD)


def test_only_what_there_is_can_be_held() -> None:
    """Rule 9: an erased relationship cannot be held any more."""
    given().when(place()).refuses(RelationshipUnknown)
    given(*OPENED).erased(None).when(place()).refuses(RelationshipErased)


def test_a_hold_is_neither_placed_nor_lifted_in_the_past() -> None:
    """Rule 9: dated back, a lifting would make room for an erasure that was not allowed."""
    for command in (place(), lift()):
        with pytest.raises(ValidationError):
            type(command).model_validate(command.model_dump() | {"occurred_at": NOW - DAY})


def test_a_hold_outlives_whom_it_was_about() -> None:
    """Rule 9: under no person's key."""
    record = given(*OPENED, place()).erased(CLIENT)
    assert held(record.history(STREAM), NOW) == (HOLD,)
