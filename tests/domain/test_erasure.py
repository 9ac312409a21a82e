"""Erasure: asked for, refused, carried out; and what stands against it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.correction import MarkEnteredInError, StaysAsRecorded
from domain.erasure import (
    DestroyKeys,
    ErasureAskedAlready,
    ErasureBasis,
    ErasureRefused,
    ErasureRequested,
    KeyDestroyed,
    LegalHoldStands,
    NoErasureAsked,
    RefusalGround,
    RefuseErasure,
    RequestErasure,
    StillRetained,
    destroyed_keys,
    erasure_stream,
    is_asked,
    kept_until,
)
from domain.event import Policy, Stream
from domain.goal import ProposeGoal
from domain.hold import LiftLegalHold, PlaceLegalHold
from domain.person import PersonRegistered, person_stream
from tests.kit import (
    CLIENT,
    DAY,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    THERAPIST,
    Record,
    given,
    named,
    on,
    opened,
)

STREAM = erasure_stream(CLIENT)
YEARS = timedelta(days=366)


def ask() -> RequestErasure:
    return RequestErasure(person=CLIENT, reason="No trace.")


def refuse() -> RefuseErasure:
    return RefuseErasure(
        person=CLIENT, ground=RefusalGround.LEGAL_OBLIGATION, reason="Kept until 2032."
    )


def destroy(**changes: Any) -> DestroyKeys:
    fields: dict[str, Any] = {
        "person": CLIENT,
        "keys": (named("key"), named("joint")),
        "basis": ErasureBasis.NO_LONGER_NEEDED,
        "reason": "The years are over.",
        "relationships": (RELATIONSHIP,),
    }
    return DestroyKeys(**fields | changes)


def place() -> PlaceLegalHold:
    return PlaceLegalHold(
        relationship=RELATIONSHIP, hold=named("hold"), matter="3 O 114/26", authority="Court"
    )


# --- Asked and answered ---------------------------------------------------------------------


def test_an_erasure_is_asked_for_and_refused_on_a_ground() -> None:
    """R25: the refusal is recorded with its ground, and the person may ask again."""
    requested = ErasureRequested(person=CLIENT, reason="No trace.")
    record = given(*OPENED).when(ask(), by=CLIENT).then(on(STREAM, requested))
    assert is_asked(record.history(STREAM))
    record.when(ask(), by=CLIENT).refuses(ErasureAskedAlready, person=CLIENT)
    refused = ErasureRefused(
        person=CLIENT,
        ground=RefusalGround.LEGAL_OBLIGATION,
        reason="Kept until 2032.",
        by=OFFICE,
    )
    after = record.when(refuse(), by=OFFICE).then(on(STREAM, refused))
    after.when(refuse(), by=OFFICE).refuses(NoErasureAsked, person=CLIENT)
    after.when(ask(), by=CLIENT).recorded()


def test_an_erasure_is_an_entry_with_its_basis_and_keys() -> None:
    """Rule 9, R25: who, on what basis, which keys, of which relationships; it answers a request."""
    destroyed = KeyDestroyed(
        person=CLIENT,
        keys=(named("key"), named("joint")),
        basis=ErasureBasis.NO_LONGER_NEEDED,
        reason="The years are over.",
        relationships=(RELATIONSHIP,),
    )
    record = given(*OPENED, ask()).when(destroy(), by=OFFICE, at=NOW + 7 * YEARS)
    after = record.then(on(STREAM, destroyed))
    assert destroyed_keys(after.history(STREAM)) == {named("key"), named("joint")}
    assert not is_asked(after.history(STREAM))
    erased = after.erased(CLIENT)
    assert destroyed_keys(erased.history(STREAM)) == {named("key"), named("joint")}


def test_what_was_erased_is_not_undone_on_paper() -> None:
    """Rules 1 and 9: marked away, a restored keyring would keep the key."""
    record = given(*OPENED).when(destroy(), at=NOW + 7 * YEARS).recorded()
    wrong = MarkEnteredInError(stream=STREAM, entry=1, reason="A slip.")
    record.when(wrong).refuses(StaysAsRecorded)


# --- What stands against it -----------------------------------------------------------------


def test_a_legal_hold_blocks_an_erasure_until_it_is_lifted() -> None:
    """Rule 9, R25: whatever the basis, and however old the record is."""
    held = given(*OPENED, place())
    for basis in ErasureBasis:
        outcome = held.when(destroy(basis=basis), at=NOW + 20 * YEARS)
        outcome.refuses(LegalHoldStands, relationship=RELATIONSHIP, hold=named("hold"))
    lift = LiftLegalHold(relationship=RELATIONSHIP, hold=named("hold"), reason="Settled.")
    held.and_given(lift).when(destroy(), at=NOW + 20 * YEARS).recorded()


def test_a_record_is_kept_for_six_years_after_its_last_entry() -> None:
    """R5: not a day less, counted from when it was recorded."""
    record = given(*OPENED)
    last = record.relationship[-1].recorded_at
    end = last.replace(year=last.year + 6)
    refused = record.when(destroy(), at=end - timedelta(seconds=1))
    refused.refuses(StillRetained, relationship=RELATIONSHIP, until=end.date().isoformat())
    record.when(destroy(), at=end).recorded()


def test_what_was_dated_back_does_not_shorten_it() -> None:
    """R5: retention follows the log, not the times that entries tell of."""
    late = ProposeGoal(
        relationship=RELATIONSHIP,
        goal=named("goal"),
        statement="To sleep.",
        by=THERAPIST,
        occurred_at=NOW - 30 * DAY,
        late_reason="Found in the notes.",
    )
    record = given(*OPENED).when(late, at=NOW + 3 * YEARS).recorded()
    record.when(destroy(), at=NOW + 7 * YEARS).refuses(StillRetained)
    record.when(destroy(), at=NOW + 10 * YEARS).recorded()


@pytest.mark.parametrize("basis", ErasureBasis)
def test_some_grounds_go_before_the_duty_to_keep(basis: ErasureBasis) -> None:
    """R25: what should never have been recorded, and what the law wants erased."""
    outcome = given(*OPENED).when(destroy(basis=basis))
    if basis in (ErasureBasis.UNLAWFUL, ErasureBasis.LEGAL_OBLIGATION):
        outcome.recorded()
    else:
        outcome.refuses(StillRetained)


def minor(born: date) -> Record:
    registered = PersonRegistered(person=CLIENT, name="Kim Beispiel", birth_date=born)
    others = (fact for fact in OPENED[:-1] if getattr(fact, "person", None) != CLIENT)
    return given(*others, registered, opened())


def test_a_minors_record_is_kept_from_majority_on() -> None:
    """R6: eighteen years and six more, where that is later."""
    record = minor(date(2016, 5, 1))
    until = datetime(2040, 5, 1, tzinfo=UTC)
    record.when(destroy(), at=until - DAY).refuses(StillRetained)
    record.when(destroy(), at=until + DAY).recorded()
    minor(date(2000, 5, 1)).when(destroy(), at=NOW + 7 * YEARS).recorded()


@for_all(
    st.dates(date(1930, 1, 1), date(2025, 12, 31)),
    st.integers(0, 7300).map(lambda days: datetime(2010, 1, 1, tzinfo=UTC) + days * DAY),
)
def test_no_record_is_kept_for_less_than_its_time(born: date, last: datetime) -> None:
    """R5, R6: six years at least; of a minor until majority and six more; leap days included."""
    registered = PersonRegistered(person=CLIENT, name="Kim", birth_date=born)
    record = given((registered, last), (opened(), last))
    until = kept_until((record.relationship,), record.history(person_stream(CLIENT)), Policy())
    assert until is not None
    assert until >= last + timedelta(days=6 * 365)
    majority = date(born.year + 18, born.month, min(born.day, 28))
    if last.date() < majority:
        assert until.date() >= majority.replace(year=majority.year + 6)


def test_somebody_without_a_relationship_is_erased_at_any_time() -> None:
    """R25: there is no record that has to be kept."""
    given(*OPENED).when(destroy(relationships=())).recorded()
    assert kept_until((), given().relationship, Policy()) is None


@pytest.mark.parametrize("command", [ask(), refuse(), destroy()])
def test_an_erasure_is_not_dated_back(command: Any) -> None:
    """Rule 9: nor is what was asked and answered about it."""
    with pytest.raises(ValidationError):
        type(command).model_validate(command.model_dump() | {"occurred_at": NOW - DAY})


def test_keys_are_named_once_and_at_least_one() -> None:
    """Rule 9: an erasure of nothing is none."""
    for keys in ((), (named("key"), named("key"))):
        with pytest.raises(ValidationError):
            destroy(keys=keys)


def test_what_else_is_kept_of_a_relationship_counts_too() -> None:
    """R5: process notes and supervision are its record as much as its own stream."""
    process = Stream("process", RELATIONSHIP)
    entry = replace(given(*OPENED).relationship[0], stream=process, recorded_at=NOW + 3 * YEARS)
    record = given(*OPENED)
    record = replace(record, entries=(*record.entries, replace(entry, position=99)))
    record.when(destroy(), at=NOW + 7 * YEARS).refuses(StillRetained)
    record.when(destroy(), at=NOW + 10 * YEARS).recorded()
