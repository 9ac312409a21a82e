"""Consent: informed, exact, given by the right person, relied on, withdrawn."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.clinic import Scope
from domain.consent import (
    Capacity,
    ConsentDeclined,
    ConsentGiven,
    ConsentMissing,
    ConsentUnknown,
    ConsentWithdrawn,
    ConsentWithdrawnAlready,
    Reliance,
    in_force,
)
from domain.consenting import (
    CapacityUnclear,
    ConsentExists,
    ConsentPeriodUnsound,
    DeclineConsent,
    GiveConsent,
    TherapistCannotConsent,
    WithdrawnSince,
)
from domain.correction import EnteredInError
from domain.event import Command, Refusal
from domain.information import (
    AddressQuestions,
    DocumentDiffers,
    DocumentUnknown,
    GiveInformation,
    InformationGiven,
    NotInformed,
    QuestionsAddressed,
    ScopeNotInDocument,
    TherapistNotInformedFirst,
)
from domain.person import PersonUnknown
from domain.relationship import Initiator, NotAParticipant, RelationshipClosed, RelationshipNotOpen
from domain.withdrawal import WithdrawalBackdated, WithdrawConsent
from tests.kit import (
    BEGINNING,
    CLIENT,
    CONSENTED,
    DAY,
    DOCUMENT,
    GUARDIAN,
    HOUR,
    NOW,
    OPENED,
    OPENED_FOR_A_MINOR,
    PARTNER,
    RELATIONSHIP,
    RELIANCE,
    SHA256,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    give_consent,
    given,
    held,
    hold_session,
    informed,
    named,
    published,
    taken,
)

ANOTHER_SHA256 = "0f" * 32
CLOSED = RelationshipClosed(
    reason="Moved away.",
    initiated_by=Initiator.CLIENT,
    goals="One of two.",
    open_goals=(),
    open_ruptures=(),
)

ASK = AddressQuestions(
    relationship=RELATIONSHIP, document=DOCUMENT, version=1, party=CLIENT, by=THERAPIST
)


def inform(to: UUID = CLIENT, *, version: int = 1, sha256: str = SHA256) -> GiveInformation:
    return GiveInformation(
        relationship=RELATIONSHIP,
        document=DOCUMENT,
        version=version,
        sha256=sha256,
        to=to,
        by=THERAPIST,
    )


def decline(scope: Scope = Scope.RECORDING, party: UUID = CLIENT) -> DeclineConsent:
    return DeclineConsent(
        relationship=RELATIONSHIP, scope=scope, party=party, document=DOCUMENT, version=1
    )


def withdraw(
    scope: Scope = Scope.TREATMENT,
    party: UUID = CLIENT,
    *,
    keep: tuple[Scope, ...] = (),
    occurred_at: datetime | None = None,
    late_reason: str | None = None,
) -> WithdrawConsent:
    return WithdrawConsent(
        relationship=RELATIONSHIP,
        consent=consent_id(scope, party),
        keep=keep,
        occurred_at=occurred_at,
        late_reason=late_reason,
    )


def withdrawn(scope: Scope, *also: Scope, party: UUID = CLIENT) -> ConsentWithdrawn:
    return ConsentWithdrawn(
        consent=consent_id(scope, party),
        party=party,
        also_ends=tuple(consent_id(other, party) for other in also),
    )


def holds(record: Record, scope: Scope, at: datetime, party: UUID = CLIENT) -> bool:
    return in_force(record.relationship, scope, party, at) is not None


# --- Informed -------------------------------------------------------------------------------


def test_consent_names_an_exact_document_after_information() -> None:
    """Rule 17: document, version and sha256 are those published; information came before."""
    record = given(*OPENED).when(inform()).then(informed())
    record.when(give_consent()).then(consent(valid_from=NOW + timedelta(minutes=1)))


def test_each_entry_is_sealed_for_the_person_it_is_about() -> None:
    """Rule 9: what somebody consented to can be erased with that person's key alone."""
    facts = [
        informed(PARTNER),
        QuestionsAddressed(document=DOCUMENT, version=1, party=PARTNER, by=THERAPIST),
        consent(party=PARTNER),
        ConsentDeclined(scope=Scope.RECORDING, party=PARTNER, document=DOCUMENT, version=1),
        withdrawn(Scope.TREATMENT, party=PARTNER),
    ]
    assert {fact.subject() for fact in facts} == {PARTNER}


@pytest.mark.parametrize(
    "command, refusal",
    [
        (inform(version=2), DocumentUnknown),
        (inform(sha256=ANOTHER_SHA256), DocumentDiffers),
        (give_consent(document=named("never published")), DocumentUnknown),
        (give_consent(sha256=ANOTHER_SHA256), DocumentDiffers),
        (give_consent(party=THERAPIST), NotInformed),
    ],
    ids=["other version", "other wording", "no such document", "other wording", "not informed"],
)
def test_inexact_or_uninformed_consent_is_refused(command: Command, refusal: type[Refusal]) -> None:
    """Rules 17 and 45: only what was published and shown is consented to; an import reports."""
    record = given(*OPENED, informed())
    record.when(command).refuses(refusal)
    assert refusal.rule == 17
    assert refusal.code in record.when(command, imported=True).event.reported


def test_information_must_come_before_the_consent() -> None:
    """Rule 17: information given later informs no earlier consent."""
    early = give_consent(occurred_at=NOW - 2 * HOUR)
    given(*OPENED, (informed(), NOW - HOUR)).when(early).refuses(NotInformed, person=CLIENT)
    for informed_at in (NOW - 3 * HOUR, NOW - 2 * HOUR):
        given(*OPENED, (informed(), informed_at)).when(early).then(
            consent(valid_from=NOW - 2 * HOUR)
        )


def test_information_with_an_older_version_does_not_do() -> None:
    """Rule 17: the person was informed with the very version consented to."""
    record = given(*OPENED, published(version=2), informed(version=1))
    record.when(give_consent(version=2)).refuses(NotInformed, version=2)


def test_nobody_is_informed_with_what_was_published_only_later() -> None:
    """Rule 17: information, questions and consent name a document that was there by then."""
    record = given(*OPENED, (published(version=2), NOW - HOUR), (informed(version=2), NOW - HOUR))
    early: dict[str, Any] = {"occurred_at": NOW - 2 * HOUR}
    for command in (inform(version=2), ASK.model_copy(update={"version": 2})):
        record.when(command.model_copy(update=early)).refuses(DocumentUnknown, version=2)
    early_consent = give_consent(version=2, **early)
    record.when(early_consent).refuses(DocumentUnknown, version=2)
    record.when(early_consent, imported=True).reports(DocumentUnknown, NotInformed)


def test_a_document_covers_the_scopes_it_asks_for() -> None:
    """Rules 17 and 19: consent to recording needs a document that speaks of recording."""
    record = given(*OPENED, published(Scope.TREATMENT, version=2), informed(version=2))
    command = give_consent(Scope.RECORDING, version=2)
    record.when(command).refuses(ScopeNotInDocument, scope="recording", version=2)
    record.when(command, imported=True).reports(ScopeNotInDocument)


def test_questions_are_addressed() -> None:
    """Rule 17: that there was time for questions is on record, about an exact version."""
    given(*OPENED, informed()).when(ASK).then(
        QuestionsAddressed(document=DOCUMENT, version=1, party=CLIENT, by=THERAPIST)
    )
    given(*OPENED).when(ASK.model_copy(update={"version": 2})).refuses(DocumentUnknown, version=2)


# --- By whom --------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [THERAPIST, SUPERVISOR])
def test_a_therapist_cannot_consent_for_a_client(signer: UUID) -> None:
    """Rule 18: who treats or supervises signs for nobody else, in whatever capacity."""
    for capacity in Capacity:
        given(*CONSENTED, informed(signer)).when(
            give_consent(Scope.RECORDING, signer=signer, capacity=capacity)
        ).refuses(TherapistCannotConsent, signer=signer)


def test_a_therapist_consents_for_the_own_part() -> None:
    """Rule 18: a recording shows the therapist too, who consents as a party."""
    record = given(*OPENED, informed(THERAPIST))
    record.when(give_consent(Scope.RECORDING, THERAPIST)).then(
        consent(Scope.RECORDING, THERAPIST, valid_from=NOW)
    )


def test_in_research_therapists_are_informed_first() -> None:
    """Rule 18: information to the therapist precedes information to the client."""
    study = published(Scope.RESEARCH_PARTICIPATION, version=2)
    record = given(*OPENED, study)
    record.when(inform(version=2)).refuses(TherapistNotInformedFirst, therapist=THERAPIST)
    ready = record.when(inform(THERAPIST, version=2)).then(informed(THERAPIST, version=2))
    ready.when(inform(version=2)).then(informed(version=2))
    given(*OPENED, published(Scope.TREATMENT, version=2)).when(inform(version=2)).then(
        informed(version=2)
    )


def test_in_research_therapists_are_informed_before_whoever_signs_for_a_client() -> None:
    """Rule 18: a guardian is asked in the client's place, and not before the therapist either."""
    record = given(*OPENED, published(Scope.RESEARCH_PARTICIPATION, version=2))
    record.when(inform(GUARDIAN, version=2)).refuses(TherapistNotInformedFirst)


def test_consent_has_a_capacity_basis() -> None:
    """Rule 19: whoever signs for somebody else says on what basis, and was informed."""
    by_guardian = give_consent(signer=GUARDIAN, capacity=Capacity.GUARDIAN)
    record = given(*OPENED, informed(CLIENT))
    record.when(give_consent(signer=GUARDIAN)).refuses(CapacityUnclear, party=CLIENT)
    record.when(give_consent(capacity=Capacity.GUARDIAN)).refuses(CapacityUnclear)
    for_the_therapist = {"party": THERAPIST, "signer": GUARDIAN, "capacity": Capacity.GUARDIAN}
    record.and_given(informed(GUARDIAN)).when(
        give_consent(Scope.RECORDING).model_copy(update=for_the_therapist)
    ).refuses(CapacityUnclear, party=THERAPIST)
    minor = given(*OPENED_FOR_A_MINOR, informed(CLIENT))
    minor.when(by_guardian).refuses(NotInformed, person=GUARDIAN)
    signed = minor.and_given(informed(GUARDIAN)).when(by_guardian).event
    assert isinstance(signed, ConsentGiven)
    assert (signed.signer, signed.capacity) == (GUARDIAN, Capacity.GUARDIAN)


def test_whoever_signs_for_another_is_known() -> None:
    """Rule 19: a guardian nobody has registered is nobody; an import invents none either."""
    nobody = named("nobody")
    by_nobody = give_consent(signer=nobody, capacity=Capacity.GUARDIAN)
    record = given(*OPENED_FOR_A_MINOR, informed(nobody))
    record.when(by_nobody).refuses(PersonUnknown, person=nobody)
    record.when(by_nobody, imported=True).refuses(PersonUnknown)


def test_only_participants_consent_or_decline() -> None:
    """Rule 10: a party is a client or a therapist of the relationship."""
    record = given(*OPENED, informed(PARTNER))
    record.when(give_consent(party=PARTNER)).refuses(NotAParticipant, person=PARTNER)
    record.when(decline(party=PARTNER)).refuses(NotAParticipant)


# --- Scope and period -----------------------------------------------------------------------


def test_a_consent_holds_for_its_scope_and_party_alone() -> None:
    """Rule 19: consent to one thing is consent to nothing else, and to nobody else's part."""
    record = given(*CONSENTED)
    in_force_now = [
        (scope, party)
        for scope in Scope
        for party in (CLIENT, PARTNER, THERAPIST)
        if holds(record, scope, NOW, party)
    ]
    assert in_force_now == [(Scope.TREATMENT, CLIENT)]


@for_all(st.integers(-30, 90), st.integers(0, 60), st.none() | st.integers(0, 60))
def test_a_consent_holds_within_its_period(day: int, first: int, length: int | None) -> None:
    """Rule 19: from valid_from on, and before valid_to where there is one."""
    valid_from = BEGINNING + DAY * first
    valid_to = None if length is None else valid_from + DAY * length
    record = given(*OPENED, consent(valid_from=valid_from, valid_to=valid_to))
    at = BEGINNING + DAY * day
    assert holds(record, Scope.TREATMENT, at) == (
        valid_from <= at and (valid_to is None or at < valid_to)
    )


@pytest.mark.parametrize(
    "period",
    [
        {"valid_from": NOW - DAY},
        {"valid_to": NOW},
        {"valid_from": NOW + DAY, "valid_to": NOW + DAY},
        {"valid_from": NOW + DAY, "valid_to": NOW + HOUR},
    ],
)
def test_consent_covers_nothing_before_it_was_given(period: dict[str, Any]) -> None:
    """Rule 19: a period begins when consent is given, or later, and has a length."""
    given(*OPENED, informed()).when(give_consent(**period)).refuses(ConsentPeriodUnsound)


def test_a_consent_may_begin_later_and_end() -> None:
    """Rule 19: a period is kept as it was said."""
    period: dict[str, Any] = {"valid_from": NOW + DAY, "valid_to": NOW + 30 * DAY}
    given(*OPENED, informed()).when(give_consent(**period)).then(consent(**period))
    with pytest.raises(ValidationError, match="valid_to lies before valid_from"):
        consent(valid_from=NOW, valid_to=NOW - DAY)


def test_a_consent_id_is_used_once() -> None:
    """Rule 24: what is cited by its id means one consent."""
    record = given(*CONSENTED)
    in_error = EnteredInError(entry=record.relationship.version, reason="Not signed.", about=CLIENT)
    for used in (record, record.and_given(in_error)):
        used.when(give_consent()).refuses(
            ConsentExists, consent=consent_id(Scope.TREATMENT, CLIENT)
        )


def test_the_newest_consent_in_force_is_the_one_relied_on() -> None:
    """Rule 24: reliance names one entry and its version, after a renewal the renewed one."""
    renewed = consent().model_copy(update={"consent": named("renewed"), "valid_from": NOW})
    record = given(*CONSENTED, renewed)
    assert in_force(record.relationship, Scope.TREATMENT, CLIENT, NOW - HOUR) == RELIANCE
    assert in_force(record.relationship, Scope.TREATMENT, CLIENT, NOW) == Reliance(
        entry=4, consent=named("renewed")
    )


def test_declining_is_known_and_ends_nothing() -> None:
    """Rule 19: a no to one scope is on record, needs no reason, and touches no other consent."""
    record = (
        given(*CONSENTED)
        .when(decline())
        .then(ConsentDeclined(scope=Scope.RECORDING, party=CLIENT, document=DOCUMENT, version=1))
    )
    assert holds(record, Scope.TREATMENT, NOW)
    assert not holds(record, Scope.RECORDING, NOW)


# --- Withdrawal -----------------------------------------------------------------------------


def test_a_withdrawal_takes_effect_from_its_time() -> None:
    """Rule 20: later use is refused, earlier use stays lawful and cites the consent (R21)."""
    record = given(*CONSENTED).when(withdraw(), at=NOW).then(withdrawn(Scope.TREATMENT))
    assert holds(record, Scope.TREATMENT, NOW - timedelta(seconds=1))
    assert not holds(record, Scope.TREATMENT, NOW)
    later = NOW + 2 * HOUR
    record.when(hold_session(start=NOW + HOUR), at=later).refuses(ConsentMissing, party=CLIENT)
    before = NOW - HOUR
    record.when(hold_session(start=before), at=later).then(
        held(start=before, relies_on=(RELIANCE,)), taken(start=before)
    )


def test_a_withdrawal_is_never_backdated() -> None:
    """Rule 20: it is effective when it is made; the clock's tolerance is all the leeway."""
    record = given(*CONSENTED)
    record.when(withdraw(occurred_at=NOW - timedelta(seconds=60)), at=NOW).then(
        withdrawn(Scope.TREATMENT)
    )
    for days in (1, 30):
        early = withdraw(occurred_at=NOW - DAY * days, late_reason="It was said on the phone.")
        record.when(early).refuses(WithdrawalBackdated)
        record.when(early, imported=True).refuses(WithdrawalBackdated)
    assert not ConsentWithdrawn.correctable


def test_withdrawing_is_as_easy_as_giving() -> None:
    """Rule 20, R21: one command, fewer things to say, no reason asked, no information before."""

    def required(command: type[Command]) -> set[str]:
        return {name for name, field in command.model_fields.items() if field.is_required()}

    assert required(WithdrawConsent) == {"relationship", "consent"}
    assert len(required(WithdrawConsent)) < len(required(GiveConsent))


def test_a_closed_relationship_takes_a_withdrawal_but_no_consent() -> None:
    """Rules 16 and 20: closing a relationship does not take away the right to withdraw."""
    record = given(*CONSENTED, (CLOSED, NOW - DAY))
    record.when(give_consent(Scope.RECONTACT)).refuses(RelationshipNotOpen)
    record.when(inform()).refuses(RelationshipNotOpen)
    record.when(decline()).refuses(RelationshipNotOpen)
    record.when(ASK).refuses(RelationshipNotOpen)
    record.when(withdraw()).then(withdrawn(Scope.TREATMENT))


def test_a_consent_is_withdrawn_once_and_may_be_given_anew() -> None:
    """Rule 20: after a withdrawal only a new consent allows anything again."""
    record = given(*CONSENTED, withdrawn(Scope.TREATMENT))
    record.when(withdraw()).refuses(ConsentWithdrawnAlready)
    record.when(withdraw(Scope.QUOTATION)).refuses(ConsentUnknown)
    anew = record.when(give_consent(consent=named("anew"))).recorded()
    assert in_force(anew.relationship, Scope.TREATMENT, CLIENT, NOW) == Reliance(
        entry=5, consent=named("anew")
    )


RENEWED = named("renewed")


@pytest.mark.parametrize("first", [consent_id(Scope.TREATMENT, CLIENT), RENEWED])
@pytest.mark.parametrize("version", [1, 2], ids=["same wording", "next wording"])
def test_no_older_consent_is_fallen_back_on(first: UUID, version: int) -> None:
    """Rule 20: who withdraws has withdrawn, however often the same was consented to."""
    renewed = consent().model_copy(update={"consent": RENEWED, "version": version})
    record = given(*CONSENTED, renewed)
    command = WithdrawConsent(relationship=RELATIONSHIP, consent=first)
    ended = record.when(command, at=NOW).recorded()
    assert not holds(ended, Scope.TREATMENT, NOW)
    assert holds(ended, Scope.TREATMENT, NOW - HOUR)
    ended.when(hold_session(start=NOW + HOUR), at=NOW + 2 * HOUR).refuses(ConsentMissing)


def test_another_study_goes_on() -> None:
    """Rule 20: consent to the same scope in another document is another consent; treatment, whose
    end ends all of it, excepted."""
    study, treatment = (
        consent(scope).model_copy(update={"consent": named(scope), "document": named("other")})
        for scope in (Scope.RESEARCH_PARTICIPATION, Scope.TREATMENT)
    )
    record = given(*CONSENTED, consent(Scope.RESEARCH_PARTICIPATION), study, treatment)
    record.when(withdraw(Scope.RESEARCH_PARTICIPATION)).then(
        withdrawn(Scope.RESEARCH_PARTICIPATION)
    )
    none_left = record.when(withdraw(), at=NOW).recorded()
    assert not any(holds(none_left, scope, NOW) for scope in Scope)


@pytest.mark.parametrize("scope", [Scope.TREATMENT, Scope.RECORDING])
def test_a_consent_dated_back_does_not_undo_a_withdrawal(scope: Scope) -> None:
    """Rules 20 and 21: what was withdrawn is given anew, from then on; an import brings no other
    past. A paper from before a withdrawal is found too late."""
    record = given(*CONSENTED).when(withdraw(), at=NOW).recorded()
    paper = give_consent(scope, consent=named("paper"), occurred_at=NOW - HOUR)
    for imported in (False, True):
        outcome = record.when(paper, at=NOW + HOUR, imported=imported)
        outcome.refuses(WithdrawnSince, party=CLIENT, scope="treatment")
    record.when(paper.model_copy(update={"occurred_at": NOW}), at=NOW + HOUR).recorded()
    other = give_consent(Scope.QUOTATION, occurred_at=NOW - HOUR)
    record.when(other, at=NOW + HOUR).recorded()


TREATED_RECORDED_STUDIED = (
    *CONSENTED,
    consent(Scope.RECORDING),
    consent(Scope.RESEARCH_PARTICIPATION),
    consent(Scope.OUTCOME_MEASURES),
    consent(Scope.RECORDING, THERAPIST),
)


@pytest.mark.parametrize(
    "keep, also_ends",
    [
        ((), (Scope.RECORDING, Scope.RESEARCH_PARTICIPATION)),
        ((Scope.RECORDING,), (Scope.RESEARCH_PARTICIPATION,)),
        ((Scope.RECORDING, Scope.RESEARCH_PARTICIPATION), ()),
    ],
)
def test_without_treatment_no_recording_and_no_research(
    keep: tuple[Scope, ...], also_ends: tuple[Scope, ...]
) -> None:
    """Rule 21: withdrawing treatment ends recording and research unless stated otherwise."""
    record = (
        given(*TREATED_RECORDED_STUDIED)
        .when(withdraw(keep=keep), at=NOW)
        .then(withdrawn(Scope.TREATMENT, *also_ends))
    )
    lost = {scope for scope in Scope if not holds(record, scope, NOW)}
    had = {scope for scope in Scope if holds(record, scope, NOW - HOUR)}
    assert had & lost == {Scope.TREATMENT, *also_ends}
    assert holds(record, Scope.RECORDING, NOW, THERAPIST)


def test_what_ended_before_does_not_end_again() -> None:
    """Rule 21: a consent withdrawn earlier is not named again; other scopes end nothing else."""
    given(*TREATED_RECORDED_STUDIED, withdrawn(Scope.RECORDING)).when(withdraw()).then(
        withdrawn(Scope.TREATMENT, Scope.RESEARCH_PARTICIPATION)
    )
    given(*TREATED_RECORDED_STUDIED).when(withdraw(Scope.RECORDING)).then(
        withdrawn(Scope.RECORDING)
    )


# --- Errors and erasure ---------------------------------------------------------------------


def test_a_consent_entered_in_error_was_never_given() -> None:
    """Rule 1: marked as entered in error, a consent is in force at no time; it is not reworded."""
    record = given(*CONSENTED, EnteredInError(entry=3, reason="Wrong person.", about=CLIENT))
    assert not holds(record, Scope.TREATMENT, NOW)
    record.when(withdraw()).refuses(ConsentUnknown)


def test_no_step_to_consent_is_reworded() -> None:
    """Rules 1 and 17: what was shown, asked and answered is recorded anew, under its own rules."""
    steps = (InformationGiven, QuestionsAddressed, ConsentGiven, ConsentDeclined, ConsentWithdrawn)
    assert not any(step.correctable for step in steps)


def test_an_erased_consent_allows_nothing_and_breaks_nothing() -> None:
    """Rule 9: with the client's key destroyed nothing is in force; another person's stays."""
    record = given(*TREATED_RECORDED_STUDIED, withdrawn(Scope.RECORDING)).erased(CLIENT)
    assert not any(holds(record, scope, NOW) for scope in Scope)
    assert holds(record, Scope.RECORDING, NOW, THERAPIST)
    record.when(hold_session()).refuses(ConsentMissing, scope="treatment", party=CLIENT)
    record.when(withdraw()).refuses(ConsentUnknown)
    record.when(inform()).then(informed())
