"""Narrowing a consent, and whose it is to take one back."""

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.clinic import Scope
from domain.consent import (
    Capacity,
    ConsentScopeNarrowed,
    ConsentUnknown,
    ConsentWithdrawn,
    ConsentWithdrawnAlready,
    consents_of,
    in_force,
)
from domain.correction import MarkEnteredInError, StaysAsRecorded
from domain.relationship import Initiator, RelationshipClosed, relationship_stream
from domain.withdrawal import (
    NarrowConsent,
    NothingNarrowed,
    NotTheirsToWithdraw,
    WithdrawConsent,
)
from tests.kit import (
    CLIENT,
    CONSENTED,
    DAY,
    GUARDIAN,
    NOW,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SHARING,
    THERAPIST,
    Record,
    consent,
    consent_id,
    give_consent,
    given,
    informed,
    named,
    published,
)

TREATMENT = consent_id(Scope.TREATMENT, CLIENT)
CLOSED = RelationshipClosed(
    reason="Moved away.",
    initiated_by=Initiator.CLIENT,
    goals="One of two.",
    open_goals=(),
    open_ruptures=(),
)


def narrow(**changes: Any) -> NarrowConsent:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "consent": TREATMENT,
        "excludes": "No groups.",
    }
    return NarrowConsent(**fields | changes)


def narrowed(**changes: Any) -> ConsentScopeNarrowed:
    fields: dict[str, Any] = {"consent": TREATMENT, "party": CLIENT, "excludes": "No groups."}
    return ConsentScopeNarrowed(**fields | changes)


def holds(record: Record, days: int = 0) -> bool:
    return in_force(record.relationship, Scope.TREATMENT, CLIENT, NOW + DAY * days) is not None


def test_a_part_is_taken_back_in_words() -> None:
    """Rules 19 and 20: the rest goes on, and what is left out stands beside it."""
    record = given(*CONSENTED).when(narrow()).then(narrowed())
    assert holds(record)
    assert consents_of(record.relationship)[TREATMENT].excludes == ("No groups.",)
    again = record.when(narrow(excludes="No students.")).recorded()
    assert consents_of(again.relationship)[TREATMENT].excludes == ("No groups.", "No students.")


@for_all(st.none() | st.integers(1, 60), st.integers(-5, 60), st.integers(-5, 70))
def test_narrowing_only_ever_shortens(end: int | None, narrowed_to: int, day: int) -> None:
    """Rule 20: whatever end is said, a consent holds at no moment at which it did not before, and
    what had been until now stays as it was."""
    valid_to = None if end is None else NOW + DAY * end
    record = given(*OPENED, informed(), consent(valid_to=valid_to))
    outcome = record.when(narrow(valid_to=NOW + DAY * narrowed_to), at=NOW)
    if narrowed_to <= 0 or (end is not None and narrowed_to >= end):
        outcome.refuses(NothingNarrowed, consent=TREATMENT)
        return
    after = outcome.recorded()
    assert holds(after, day) == (holds(record, day) and day < narrowed_to)


def test_no_other_consent_is_fallen_back_on() -> None:
    """Rule 20: who narrows a consent has narrowed whatever else would do in its place."""
    record = given(*CONSENTED, give_consent(consent=named("again")))
    after = record.when(narrow(valid_to=NOW + DAY)).then(
        narrowed(also_narrows=(named("again"),), valid_to=NOW + DAY)
    )
    assert holds(after)
    assert not holds(after, days=2)


def test_sharing_with_somebody_else_goes_on() -> None:
    """Rule 20: who takes back consent to share with the doctor still shares with the school; any
    other consent that names the doctor ends as well, whatever its document."""
    school = SHARING.model_copy(update={"recipients": ("School",)})
    doctor_too = SHARING.model_copy(update={"recipients": ("dr. nowak", "Court")})
    record = given(
        *OPENED,
        published(Scope.INFORMATION_SHARING, document=named("other form")),
        informed(),
        informed(document=named("other form")),
        give_consent(Scope.INFORMATION_SHARING, consent=named("doctor"), sharing=SHARING),
        give_consent(Scope.INFORMATION_SHARING, consent=named("school"), sharing=school),
        give_consent(
            Scope.INFORMATION_SHARING,
            consent=named("court"),
            sharing=doctor_too,
            document=named("other form"),
        ),
    )
    withdraw = WithdrawConsent(relationship=RELATIONSHIP, consent=named("doctor"))
    ended = record.when(withdraw).event
    assert isinstance(ended, ConsentWithdrawn)
    assert ended.also_ends == (named("court"),)
    narrowing = record.when(narrow(consent=named("school"))).event
    assert isinstance(narrowing, ConsentScopeNarrowed)
    assert narrowing.also_narrows == ()


def test_narrowing_is_as_easy_as_withdrawing() -> None:
    """Rule 20: no reason, no information before, never dated back; also after closure."""
    required = {name for name, field in NarrowConsent.model_fields.items() if field.is_required()}
    assert required == {"relationship", "consent", "excludes"}
    with pytest.raises(ValidationError):
        narrow(occurred_at=NOW - DAY)
    given(*CONSENTED, (CLOSED, NOW - DAY)).when(narrow()).then(narrowed())
    assert not ConsentScopeNarrowed.correctable


def test_what_was_narrowed_is_not_widened_by_an_amendment() -> None:
    """Rules 1 and 20: a narrowing is never said to have been an error; consent is given anew."""
    record = given(*CONSENTED).when(narrow()).recorded()
    in_error = MarkEnteredInError(
        stream=relationship_stream(RELATIONSHIP),
        entry=record.relationship.version,
        reason="She meant another group.",
    )
    record.when(in_error).refuses(StaysAsRecorded, topic="consent.scope_narrowed")
    anew = record.when(give_consent(consent=named("anew"))).recorded()
    assert consents_of(anew.relationship)[named("anew")].excludes == ()


def test_what_is_over_or_unknown_is_not_narrowed() -> None:
    """Rule 20: after a withdrawal there is nothing left to narrow."""
    record = given(*CONSENTED)
    record.when(narrow(consent=named("unknown"))).refuses(ConsentUnknown)
    ended = record.when(WithdrawConsent(relationship=RELATIONSHIP, consent=TREATMENT)).recorded()
    ended.when(narrow()).refuses(ConsentWithdrawnAlready)


def test_nobody_else_takes_a_consent_back() -> None:
    """Rule 20: neither the partner nor the therapist, nor a guardian from years ago; whoever
    represents the party by law may."""
    record = given(*CONSENTED)
    for command in (
        WithdrawConsent(relationship=RELATIONSHIP, consent=TREATMENT),
        narrow(),
    ):
        for by in (PARTNER, THERAPIST, GUARDIAN):
            record.when(command.model_copy(update={"by": by})).refuses(
                NotTheirsToWithdraw, by=by, consent=TREATMENT
            )
        record.when(command.model_copy(update={"by": CLIENT})).recorded()
    represented = record.and_given(
        informed(GUARDIAN),
        give_consent(
            Scope.RECORDING,
            signer=GUARDIAN,
            capacity=Capacity.LEGAL_REPRESENTATIVE,
            capacity_basis="Appointed by court.",
        ),
    )
    by_representative = WithdrawConsent(relationship=RELATIONSHIP, consent=TREATMENT, by=GUARDIAN)
    assert not holds(represented.when(by_representative, at=NOW + DAY).recorded(), days=2)
