"""Minors: a guardian consents, the minor assents or dissents, and at majority is asked anew."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.assent import (
    AssentDissented,
    AssentGiven,
    AssentWaived,
    BirthDateUnknown,
    DissentAsMinor,
    GiveAssent,
    MajorityKnown,
    MajorityReached,
    MinorHasSpoken,
    NotAMinor,
    NotOfAge,
    RecordMajority,
    WaiveAssent,
)
from domain.clinic import Scope
from domain.consent import Capacity, ConsentGiven, ConsentMissing, Reliance, in_force, relied_on
from domain.consenting import (
    CapacityBasisMissing,
    CapacityNotAttested,
    CapacityUnfitForAge,
    GiveConsent,
)
from domain.correction import MarkEnteredInError, StaysAsRecorded
from domain.event import Policy
from domain.information import DocumentOutdated, DocumentUnknown, NotInformed, ScopeNotInDocument
from domain.person import NotInTheirName
from domain.relationship import (
    Constellation,
    Initiator,
    NotAParticipant,
    RelationshipClosed,
    RelationshipNotOpen,
    relationship_stream,
)
from domain.withdrawal import NotTheirsToWithdraw, WithdrawConsent
from tests.kit import (
    BORN_2012,
    CLIENT,
    DAY,
    DOCUMENT,
    FOUNDED,
    GUARDIAN,
    HOUR,
    NOW,
    OPENED,
    OPENED_FOR_A_MINOR,
    PARTNER,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent_id,
    give_consent,
    given,
    held,
    hold_session,
    informed,
    named,
    opened,
    published,
    registered,
    taken,
)

OF_AGE = datetime(2030, 9, 1, tzinfo=UTC)
CLOSED = RelationshipClosed(
    reason="Moved away.",
    initiated_by=Initiator.CLIENT,
    goals="One of two.",
    open_goals=(),
    open_ruptures=(),
)


def by_guardian(scope: Scope = Scope.TREATMENT, **changes: Any) -> GiveConsent:
    return give_consent(scope, signer=GUARDIAN, capacity=Capacity.GUARDIAN, **changes)


def assent(scope: Scope = Scope.TREATMENT, **changes: Any) -> GiveAssent:
    return GiveAssent(
        relationship=RELATIONSHIP, scope=scope, party=CLIENT, document=DOCUMENT, version=1
    ).model_copy(update=changes)


def assented(scope: Scope = Scope.TREATMENT) -> AssentGiven:
    return AssentGiven(scope=scope, party=CLIENT, document=DOCUMENT, version=1)


def dissent(scope: Scope = Scope.TREATMENT, party: UUID = CLIENT) -> DissentAsMinor:
    return DissentAsMinor(relationship=RELATIONSHIP, scope=scope, party=party)


def dissented(scope: Scope = Scope.TREATMENT) -> AssentDissented:
    return AssentDissented(scope=scope, party=CLIENT)


def holds(record: Record, scope: Scope, at: datetime = NOW) -> bool:
    return in_force(record.relationship, scope, CLIENT, at) is not None


MAJORITY = RecordMajority(relationship=RELATIONSHIP, party=CLIENT)
INFORMED = given(*OPENED_FOR_A_MINOR, informed(), informed(GUARDIAN))
GUARDED = INFORMED.and_given(by_guardian(), by_guardian(Scope.RECORDING))
AGREED = GUARDED.and_given(assented(), assented(Scope.RECORDING))


# --- Both are asked -------------------------------------------------------------------------


def test_a_guardian_alone_allows_nothing() -> None:
    """Rule 23: guardian's consent and own assent, in either order; one alone is none."""
    assert not holds(GUARDED, Scope.TREATMENT)
    GUARDED.when(hold_session()).refuses(ConsentMissing, party=CLIENT, scope="treatment")
    alone = INFORMED.and_given(assented())
    assert not holds(alone, Scope.TREATMENT)
    assert holds(GUARDED.and_given(assented()), Scope.TREATMENT)
    assert holds(alone.and_given(by_guardian()), Scope.TREATMENT)
    assert not holds(GUARDED.and_given(assented()), Scope.RECORDING)


def test_what_relies_on_a_guardian_cites_the_minors_assent_too() -> None:
    """Rules 23 and 24: an entry names the consent, and what the minor said beside it."""
    history = AGREED.relationship
    consent, assent_ = (
        next(e.version for e in history if e.topic == topic)
        for topic in ("consent.given", "assent.given")
    )
    reliance = Reliance(entry=consent, consent=consent_id(Scope.TREATMENT, CLIENT), assent=assent_)
    record = AGREED.when(hold_session()).then(held(relies_on=(reliance,)), taken())
    event = record.relationship[-1].event
    assert isinstance(event, type(held()))
    assert relied_on(event) == (consent, assent_)


def test_a_minor_is_told_before_being_asked() -> None:
    """Rules 17 and 23: assent is to the newest wording, which the minor was informed of."""
    GUARDED.when(assent(), by=CLIENT).then(assented())
    untold = given(*OPENED_FOR_A_MINOR)
    untold.when(assent(), by=CLIENT).refuses(NotInformed, person=CLIENT)
    newer = GUARDED.and_given(published(version=2))
    newer.when(assent(), by=CLIENT).refuses(DocumentOutdated, version=1, newest=2)
    newer.when(assent(version=2), by=CLIENT).refuses(NotInformed, version=2)
    newer.and_given(informed(version=2)).when(assent(version=2), by=CLIENT).recorded()
    GUARDED.when(assent(version=3), by=CLIENT).refuses(DocumentUnknown, version=3)
    narrow = given(*OPENED_FOR_A_MINOR, published(Scope.TREATMENT, document=named("for children")))
    narrow.and_given(informed(document=named("for children"))).when(
        assent(Scope.RECORDING, document=named("for children")), by=CLIENT
    ).refuses(ScopeNotInDocument, scope="recording")


def test_nobody_assents_in_a_minors_name() -> None:
    """Rule 23, rule 33: neither the guardian nor the therapist says yes or no for the minor."""
    for command in (assent(), dissent()):
        GUARDED.when(command, by=GUARDIAN).refuses(NotInTheirName, person=CLIENT)
        GUARDED.when(command, by=THERAPIST).refuses(NotInTheirName, person=CLIENT)
        GUARDED.when(command, by=THERAPIST, on_behalf_of=CLIENT).recorded()
    GUARDED.when(assent(party=PARTNER), by=PARTNER).refuses(NotAParticipant)
    GUARDED.when(dissent(party=PARTNER), by=PARTNER).refuses(NotAParticipant)


def waive(scope: Scope = Scope.TREATMENT, by: UUID = THERAPIST, **changes: Any) -> WaiveAssent:
    return WaiveAssent(
        relationship=RELATIONSHIP, scope=scope, party=CLIENT, by=by, reason="Two years old."
    ).model_copy(update=changes)


def test_who_is_too_young_is_not_asked() -> None:
    """Rule 23: a therapist says why, scope by scope; as soon as the minor speaks, that counts
    (45 CFR 46.408(a))."""
    waived = AssentWaived(
        scope=Scope.TREATMENT, party=CLIENT, by=THERAPIST, reason="Two years old."
    )
    assert waived.subject() == CLIENT
    record = GUARDED.when(waive()).then(waived)
    assert holds(record, Scope.TREATMENT, NOW + HOUR)
    assert not holds(record, Scope.RECORDING, NOW + HOUR)
    filmed = record.when(waive(Scope.RECORDING), at=NOW).recorded()
    assert holds(filmed, Scope.RECORDING, NOW + HOUR)
    refused = filmed.when(dissent(Scope.RECORDING), by=CLIENT, at=NOW + HOUR).recorded()
    assert not holds(refused, Scope.RECORDING, NOW + DAY)
    refused.when(waive(Scope.RECORDING), at=NOW + DAY).refuses(MinorHasSpoken, party=CLIENT)
    dissenting = GUARDED.when(dissent(), by=CLIENT).recorded()
    dissenting.when(waive(Scope.RECORDING)).refuses(MinorHasSpoken)


def test_only_a_therapist_waives_and_only_for_a_minor() -> None:
    """Rule 23: not the guardian, not the supervisor, and nobody in a therapist's name."""
    for by in (GUARDIAN, CLIENT, SUPERVISOR):
        GUARDED.when(waive(by=by), by=by).refuses(NotAParticipant, person=by)
    GUARDED.when(waive(), by=GUARDIAN).refuses(NotInTheirName, person=THERAPIST)
    given(*OPENED).when(waive()).refuses(NotAMinor)
    GUARDED.and_given((CLOSED, NOW - HOUR)).when(waive()).refuses(RelationshipNotOpen)
    GUARDED.when(waive(party=PARTNER)).refuses(NotAParticipant, person=PARTNER)


# --- Who signs at which age -----------------------------------------------------------------


@pytest.mark.parametrize(
    "capacity, signer",
    [(Capacity.OWN, CLIENT), (Capacity.LEGAL_REPRESENTATIVE, GUARDIAN)],
)
def test_a_minor_does_not_sign_as_an_adult_would(capacity: Capacity, signer: UUID) -> None:
    """Rule 23: an own consent, or one without assent beside it, is not to be had for a minor."""
    command = give_consent(signer=signer, capacity=capacity, capacity_basis="Said so.")
    INFORMED.when(command).refuses(CapacityUnfitForAge, party=CLIENT, capacity=capacity)
    INFORMED.when(command, imported=True).refuses(CapacityUnfitForAge)


@pytest.mark.parametrize(
    "capacity, signer", [(Capacity.GUARDIAN, GUARDIAN), (Capacity.MATURE_MINOR, CLIENT)]
)
def test_nobody_signs_for_an_adult_as_for_a_minor(capacity: Capacity, signer: UUID) -> None:
    """Rule 23: from the day of majority on a guardian's consent is refused."""
    command = give_consent(signer=signer, capacity=capacity, capacity_basis="Said so.")
    adult = given(*OPENED, informed(), informed(GUARDIAN))
    adult.when(command).refuses(CapacityUnfitForAge, capacity=capacity)
    for days, refused in ((-1, False), (0, True)):
        outcome = INFORMED.when(command, at=OF_AGE + DAY * days + HOUR)
        if refused:
            outcome.refuses(CapacityUnfitForAge)
        else:
            outcome.recorded()
    represented = give_consent(signer=GUARDIAN, capacity=Capacity.LEGAL_REPRESENTATIVE)
    adult.when(represented).refuses(CapacityBasisMissing, party=CLIENT)
    appointed = represented.model_copy(update={"capacity_basis": "Appointed by court in 2024."})
    adult.when(appointed).recorded()


def test_without_a_birth_date_nobody_is_a_minor() -> None:
    """Rule 23: a guardian's consent ends on a known day; an adult needs no birth date."""
    unknown = given(
        *(registered(CLIENT, None) if fact == registered(CLIENT) else fact for fact in OPENED),
        informed(),
        informed(GUARDIAN),
    )
    unknown.when(by_guardian()).refuses(BirthDateUnknown, person=CLIENT)
    unknown.when(assent(), by=CLIENT).refuses(BirthDateUnknown)
    unknown.when(MAJORITY).refuses(BirthDateUnknown)
    unknown.when(give_consent()).recorded()
    unknown.when(dissent(), by=CLIENT).then(dissented())


def test_a_mature_minor_consents_alone_on_a_stated_basis() -> None:
    """Rule 23: somebody found the minor mature, and says how; then no guardian is needed."""
    mature = give_consent(capacity=Capacity.MATURE_MINOR)
    INFORMED.when(mature).refuses(CapacityBasisMissing, party=CLIENT)
    found = mature.model_copy(update={"capacity_basis": "Weighs both sides in her own words."})
    record = INFORMED.when(found, at=NOW).recorded()
    assert holds(record, Scope.TREATMENT)
    assert holds(record, Scope.TREATMENT, OF_AGE + DAY)


def test_nobody_attests_the_own_capacity() -> None:
    """Rules 19 and 23: a therapist records that somebody is a guardian, represents, or is mature;
    neither the minor, nor a partner who claims to speak for the other, records that alone."""
    mature = give_consent(capacity=Capacity.MATURE_MINOR, capacity_basis="I am.")
    INFORMED.when(mature, by=CLIENT).refuses(CapacityNotAttested, signer=CLIENT)
    INFORMED.when(by_guardian(), by=GUARDIAN).refuses(CapacityNotAttested, signer=GUARDIAN)
    INFORMED.when(by_guardian(), by=THERAPIST, on_behalf_of=GUARDIAN).recorded()
    couple = given(
        *FOUNDED, opened(CLIENT, PARTNER, constellation=Constellation.COUPLE), informed(PARTNER)
    )
    claims = give_consent(
        signer=PARTNER, capacity=Capacity.LEGAL_REPRESENTATIVE, capacity_basis="I am her husband."
    )
    couple.when(claims, by=PARTNER).refuses(CapacityNotAttested, signer=PARTNER)


# --- Dissent --------------------------------------------------------------------------------


def test_a_dissent_blocks_from_its_moment() -> None:
    """Rule 23: every use but treatment is refused from then on; what was before stays lawful."""
    record = AGREED.when(dissent(Scope.RECORDING), by=CLIENT, at=NOW).then(
        dissented(Scope.RECORDING)
    )
    assert holds(record, Scope.RECORDING, NOW - HOUR)
    assert not holds(record, Scope.RECORDING, NOW)
    assert holds(record, Scope.TREATMENT, NOW)


def test_a_dissent_from_treatment_leaves_treatment_alone() -> None:
    """Rule 23: treatment goes on with the guardian's consent; every other use stops, and it is
    shown. Asked and refused is asked: the minor was heard."""
    record = AGREED.when(dissent(), by=CLIENT, at=NOW).then(dissented())
    assert holds(record, Scope.TREATMENT)
    assert not holds(record, Scope.RECORDING)
    never_agreed = GUARDED.when(dissent(), by=CLIENT, at=NOW).recorded()
    assert holds(never_agreed, Scope.TREATMENT)
    again = record.and_given((assented(Scope.RECORDING), NOW + HOUR))
    assert holds(again, Scope.RECORDING, NOW + HOUR)


def test_an_assent_dated_back_does_not_undo_a_dissent() -> None:
    """Rule 23: of an assent and a dissent at one time, the dissent counts."""
    dissenting = AGREED.when(dissent(Scope.RECORDING), by=CLIENT, at=NOW).recorded()
    for moment, allowed in ((NOW - HOUR, False), (NOW, False), (NOW + timedelta(seconds=1), True)):
        record = dissenting.when(
            assent(Scope.RECORDING, occurred_at=moment), by=CLIENT, at=NOW + HOUR
        ).recorded()
        assert holds(record, Scope.RECORDING, NOW + HOUR) == allowed


def test_a_dissent_is_made_now_and_stays() -> None:
    """Rules 20 and 23: it is as easy as a withdrawal, never dated back, never explained away."""
    with pytest.raises(ValidationError):
        DissentAsMinor.model_validate(dissent().model_dump() | {"occurred_at": NOW - DAY})
    required = {n for n, field in DissentAsMinor.model_fields.items() if field.is_required()}
    assert required == {"relationship", "scope", "party"}
    assert not AssentDissented.correctable
    record = AGREED.when(dissent(Scope.RECORDING), by=CLIENT, at=NOW).recorded()
    in_error = MarkEnteredInError(
        stream=relationship_stream(RELATIONSHIP),
        entry=record.relationship.version,
        reason="She did not mean it.",
    )
    record.when(in_error).refuses(StaysAsRecorded, topic="assent.dissented")
    closed = AGREED.and_given((CLOSED, NOW - HOUR))
    closed.when(dissent(), by=CLIENT).then(dissented())
    closed.when(assent(), by=CLIENT).refuses(RelationshipNotOpen)


def test_an_adult_neither_assents_nor_dissents() -> None:
    """Rule 23: whoever is of age consents, declines or withdraws."""
    adult = given(*OPENED, informed())
    for command in (assent(), dissent()):
        adult.when(command, by=CLIENT).refuses(NotAMinor, person=CLIENT)
    GUARDED.when(dissent(), by=CLIENT, at=OF_AGE + HOUR).refuses(NotAMinor)


def test_a_guardian_withdraws_and_the_minor_dissents() -> None:
    """Rules 20 and 23: the minor does not end the treatment that a guardian consented to."""
    command = WithdrawConsent(
        relationship=RELATIONSHIP, consent=consent_id(Scope.TREATMENT, CLIENT)
    )
    for by in (CLIENT, PARTNER, THERAPIST):
        AGREED.when(command.model_copy(update={"by": by})).refuses(NotTheirsToWithdraw, by=by)
    for by_whom in (None, GUARDIAN):
        record = AGREED.when(command.model_copy(update={"by": by_whom}), at=NOW).recorded()
        assert not holds(record, Scope.TREATMENT)
        assert not holds(record, Scope.RECORDING)


# --- Majority -------------------------------------------------------------------------------


def test_a_guardians_consent_ends_at_majority() -> None:
    """Rule 23: it is stored with that end, however long it was meant to hold."""
    for valid_to, stored in (
        (None, OF_AGE),
        (OF_AGE + 100 * DAY, OF_AGE),
        (NOW + 100 * DAY, NOW + 100 * DAY),
    ):
        event = INFORMED.when(by_guardian(valid_to=valid_to)).event
        assert isinstance(event, ConsentGiven)
        assert event.valid_to == stored
    assert holds(AGREED, Scope.TREATMENT, OF_AGE - timedelta(seconds=1))
    assert not holds(AGREED, Scope.TREATMENT, OF_AGE)


def test_majority_lapses_what_a_guardian_consented_to() -> None:
    """Rule 23: consents lapse to review, those without an end as well; the adult consents anew."""
    endless = ConsentGiven.model_validate(
        dict(INFORMED.when(by_guardian()).event) | {"valid_to": None, "reported": ()}
    )
    record = INFORMED.and_given(endless, assented())
    assert holds(record, Scope.TREATMENT, OF_AGE + DAY)
    record.when(MAJORITY, at=OF_AGE - DAY).refuses(NotOfAge, person=CLIENT)
    reached = record.when(MAJORITY, at=OF_AGE + DAY).then(
        MajorityReached(party=CLIENT, on=date(2030, 9, 1))
    )
    assert not holds(reached, Scope.TREATMENT, OF_AGE)
    assert holds(reached, Scope.TREATMENT, OF_AGE - HOUR)
    reached.when(MAJORITY, at=OF_AGE + 2 * DAY).refuses(MajorityKnown)
    reached.when(by_guardian(consent=named("again")), at=OF_AGE + 2 * DAY).refuses(
        CapacityUnfitForAge
    )
    anew = reached.when(give_consent(consent=named("own")), at=OF_AGE + 2 * DAY).recorded()
    assert holds(anew, Scope.TREATMENT, OF_AGE + 3 * DAY)
    record.when(RecordMajority(relationship=RELATIONSHIP, party=PARTNER)).refuses(NotAParticipant)


@for_all(st.dates(date(2009, 1, 1), date(2025, 12, 31)), st.integers(14, 21))
def test_majority_is_a_birthday(born: date, age: int) -> None:
    """Rule 23: the clinic's policy says at which age; born on 29 February, it is 1 March where
    there is no such day. A guardian signs until then, and nobody's consent holds beyond it."""
    facts = (registered(CLIENT, born) if f == registered(CLIENT) else f for f in OPENED)
    minor = given(*facts, informed(), informed(GUARDIAN))
    record = Record(minor.entries, Policy(majority_age=age))
    birthday = (born.month, born.day)
    leap = (born.year + age) % 4 == 0
    day = date(born.year + age, *(birthday if birthday != (2, 29) or leap else (3, 1)))
    outcome = record.when(by_guardian())
    if NOW.date() >= day:
        outcome.refuses(CapacityUnfitForAge)
        return
    event = outcome.event
    assert isinstance(event, ConsentGiven)
    assert event.valid_to is not None
    assert event.valid_to.date() == day


# --- Erasure --------------------------------------------------------------------------------


def test_with_the_minors_key_gone_nothing_is_in_force() -> None:
    """Rule 9: assent, dissent and the guardian's consent are sealed under the minor's key."""
    facts = (assented(), dissented(), MajorityReached(party=CLIENT, on=BORN_2012))
    assert {fact.subject() for fact in facts} == {CLIENT}
    record = AGREED.and_given(dissented(Scope.RECORDING)).erased(CLIENT)
    assert not any(holds(record, scope) for scope in Scope)
    only_identity = AGREED.erased(CLIENT, next(iter(AGREED.entries)).stream)
    assert holds(only_identity, Scope.TREATMENT)
