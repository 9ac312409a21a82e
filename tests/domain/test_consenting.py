"""Giving consent: what a consent to share says, what is asked for alone, research, renewal."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from domain.clinic import Scope
from domain.consent import (
    Capacity,
    ConsentGiven,
    ConsentRenewed,
    ConsentUnknown,
    ConsentWithdrawnAlready,
    InformationReliedOn,
    Sharing,
    consenting,
    consents_of,
    in_force,
)
from domain.consenting import (
    ConsentExists,
    ConsentPeriodUnsound,
    NotAskedForAlone,
    RenewConsent,
    RenewedInOlderWords,
    SharingTermsUnfit,
    WithdrawnSince,
)
from domain.correction import EnteredInError, MarkEnteredInError
from domain.information import (
    GiveInformation,
    NotInformed,
    TherapistNotInformedFirst,
)
from domain.person import PersonUnknown
from domain.relationship import Constellation, relationship_stream
from domain.withdrawal import NarrowConsent, WithdrawConsent
from tests.kit import (
    CLIENT,
    CONSENTED,
    COTHERAPIST,
    DAY,
    DOCUMENT,
    FOUNDED,
    GUARDIAN,
    HOUR,
    NOW,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SHA256,
    SHARING,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    give_consent,
    given,
    informed,
    named,
    opened,
    published,
)

TREATMENT = consent_id(Scope.TREATMENT, CLIENT)
AGAIN = named("again")


def renew(**changes: Any) -> RenewConsent:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "renews": TREATMENT,
        "consent": AGAIN,
        "version": 1,
        "sha256": SHA256,
        "signer": CLIENT,
    }
    return RenewConsent(**fields | changes)


def holds(record: Record, scope: Scope = Scope.TREATMENT, days: int = 0) -> bool:
    return in_force(record.relationship, scope, CLIENT, NOW + DAY * days) is not None


# --- Sharing information --------------------------------------------------------------------


@pytest.mark.parametrize("element", Sharing.model_fields)
def test_consent_to_share_says_all_of_it(element: str) -> None:
    """Rule 19, R14: who shares what with whom, for what, how it is withdrawn and when it ends;
    the schema of the command takes none of these missing, empty or blank (42 CFR 2.31(a))."""
    whole = give_consent(Scope.INFORMATION_SHARING, sharing=SHARING).model_dump()
    without = {name: value for name, value in whole["sharing"].items() if name != element}
    empty: Any = () if element == "recipients" else " "
    for broken in (without, without | {element: empty}):
        with pytest.raises(ValidationError, match=element):
            type(give_consent()).model_validate(whole | {"sharing": broken})


def test_a_consent_holds_the_other_elements_itself() -> None:
    """Rule 19, R14: whose information it is, who signed in which capacity, and when."""
    event = (
        given(*OPENED, informed())
        .when(
            give_consent(Scope.INFORMATION_SHARING, sharing=SHARING, valid_to=NOW + 90 * DAY),
            at=NOW,
        )
        .event
    )
    assert isinstance(event, ConsentGiven)
    assert (event.party, event.signer, event.capacity) == (CLIENT, CLIENT, Capacity.OWN)
    assert (event.valid_from, event.valid_to) == (NOW, NOW + 90 * DAY)
    assert event.sharing == SHARING


def test_only_sharing_has_recipients() -> None:
    """Rule 19: consent to share without saying what and with whom is none; other scopes share
    nothing."""
    record = given(*OPENED, informed())
    record.when(give_consent(Scope.INFORMATION_SHARING)).refuses(SharingTermsUnfit)
    record.when(give_consent(Scope.RECORDING, sharing=SHARING)).refuses(SharingTermsUnfit)


def test_sharing_is_consented_to_recipient_by_recipient() -> None:
    """Rule 19: consent to share with one is not consent to share with another."""
    to_court = SHARING.model_copy(update={"recipients": ("Amtsgericht Mitte",)})
    record = given(
        *OPENED,
        informed(),
        give_consent(Scope.INFORMATION_SHARING, sharing=SHARING),
        give_consent(Scope.INFORMATION_SHARING, consent=AGAIN, sharing=to_court),
    )
    history = record.relationship
    cited = {
        recipient: [
            reliance.consent
            for reliance in consenting(
                history, Scope.INFORMATION_SHARING, NOW, recipient=recipient
            ).values()
        ]
        for recipient in ("DR. NOWAK", "Amtsgericht Mitte", "Dr. No")
    }
    assert cited == {
        "DR. NOWAK": [consent_id(Scope.INFORMATION_SHARING, CLIENT)],
        "Amtsgericht Mitte": [AGAIN],
        "Dr. No": [],
    }


def test_process_notes_are_asked_for_alone() -> None:
    """Rule 19, R15: no general consent opens notes that are kept apart, and none is given to them
    along with anything else (42 CFR 2.31(b), 45 CFR 164.508(b)(3)(ii))."""
    record = given(*OPENED, informed())
    record.when(give_consent(Scope.PROCESS_NOTES)).refuses(NotAskedForAlone, scope="process_notes")
    shared = record.and_given(give_consent(Scope.INFORMATION_SHARING, sharing=SHARING))
    assert not holds(shared, Scope.PROCESS_NOTES)
    alone = shared.and_given(published(Scope.PROCESS_NOTES, version=2), informed(version=2))
    assert holds(alone.and_given(give_consent(Scope.PROCESS_NOTES, version=2)), Scope.PROCESS_NOTES)


# --- Research -------------------------------------------------------------------------------


def test_every_therapist_knows_the_study_before_any_client() -> None:
    """Rule 18: one therapist of two is not enough, for any client and whoever else is told."""
    record = given(
        *FOUNDED,
        opened(
            CLIENT,
            PARTNER,
            therapists=(THERAPIST, COTHERAPIST),
            constellation=Constellation.COUPLE,
            supervisor=SUPERVISOR,
        ),
        published(Scope.RESEARCH_PARTICIPATION, version=2),
        informed(THERAPIST, version=2),
    )
    for person in (CLIENT, PARTNER, GUARDIAN, SUPERVISOR):
        inform = GiveInformation(
            relationship=RELATIONSHIP,
            document=DOCUMENT,
            version=2,
            sha256=SHA256,
            to=person,
            by=THERAPIST,
        )
        record.when(inform).refuses(TherapistNotInformedFirst, therapist=COTHERAPIST)
        record.and_given(informed(COTHERAPIST, version=2)).when(inform).recorded()
        earlier = inform.model_copy(
            update={"occurred_at": NOW - 2 * HOUR, "late_reason": "Found later."}
        )
        record.and_given((informed(COTHERAPIST, version=2), NOW - HOUR)).when(earlier).refuses(
            TherapistNotInformedFirst
        )


def test_consent_to_research_asks_again_who_was_informed() -> None:
    """Rule 18: where a therapist's information turns out to be an error, no client consents."""
    record = given(
        *OPENED,
        published(Scope.RESEARCH_PARTICIPATION, version=2),
        informed(THERAPIST, version=2),
    )
    told = EnteredInError(
        entry=record.relationship.version, reason="It was another study.", about=THERAPIST
    )
    ready = record.and_given(informed(version=2))
    agree = give_consent(Scope.RESEARCH_PARTICIPATION, version=2)
    ready.and_given(told).when(agree).refuses(TherapistNotInformedFirst, therapist=THERAPIST)
    ready.when(agree).recorded()


def test_nobody_unknown_is_informed() -> None:
    """Rule 17: information goes to a participant, or to somebody who is registered."""
    inform = GiveInformation(
        relationship=RELATIONSHIP,
        document=DOCUMENT,
        version=1,
        sha256=SHA256,
        to=named("nobody"),
        by=THERAPIST,
    )
    given(*OPENED).when(inform).refuses(PersonUnknown, person=named("nobody"))
    given(*OPENED).when(inform.model_copy(update={"to": GUARDIAN})).then(informed(GUARDIAN))


def test_information_that_consent_rests_on_stays() -> None:
    """Rules 17 and 18: it is marked as entered in error only after the consent given on it; in
    research also what the therapists were told. Whom nothing rests on is free to go."""
    stream = relationship_stream(RELATIONSHIP)
    record = given(
        *OPENED,
        published(Scope.RESEARCH_PARTICIPATION, version=2),
        informed(THERAPIST, version=2),
        informed(version=2),
        informed(THERAPIST, version=1),
        give_consent(Scope.RESEARCH_PARTICIPATION, version=2),
    )
    agreed = record.relationship.version
    for version in (2, 3):
        error = MarkEnteredInError(stream=stream, entry=version, reason="Of another client.")
        record.when(error).refuses(InformationReliedOn, entry=agreed)
        not_given = EnteredInError(entry=agreed, reason="Not signed.", about=CLIENT)
        record.and_given(not_given).when(error).recorded()
    record.when(MarkEnteredInError(stream=stream, entry=4, reason="Twice.")).recorded()


# --- Renewal --------------------------------------------------------------------------------


def test_a_renewal_names_what_it_renews() -> None:
    """Rules 19 and 24: another period, the same scope and document; what relies on it cites it."""
    record = given(*CONSENTED)
    renewed = record.when(renew(valid_to=NOW + 365 * DAY), at=NOW).recorded()
    event = renewed.relationship[-1].event
    assert isinstance(event, ConsentRenewed)
    assert (event.renews, event.scope, event.party) == (TREATMENT, Scope.TREATMENT, CLIENT)
    assert (event.valid_from, event.valid_to) == (NOW, NOW + 365 * DAY)
    reliance = in_force(renewed.relationship, Scope.TREATMENT, CLIENT, NOW)
    assert reliance is not None
    assert reliance.consent == AGAIN


def test_a_lapsed_consent_is_renewed_from_now_on() -> None:
    """Rule 19: a renewal closes no gap behind it."""
    record = given(*OPENED, informed(), consent(valid_to=NOW - 2 * DAY))
    assert not holds(record)
    renewed = record.when(renew(), at=NOW).recorded()
    assert holds(renewed)
    assert not holds(renewed, days=-1)
    record.when(renew(valid_from=NOW - DAY), at=NOW).refuses(ConsentPeriodUnsound)


def test_a_renewal_keeps_to_the_wording_or_takes_a_newer_one() -> None:
    """Rule 17: never an older one, and never one that the signer was not informed of."""
    record = given(*CONSENTED, published(version=2))
    record.when(renew(version=2)).refuses(NotInformed, version=2)
    newer = record.and_given(informed(version=2)).when(renew(version=2)).recorded()
    newer.when(renew(renews=AGAIN, consent=named("third"))).refuses(
        RenewedInOlderWords, consent=AGAIN
    )


def test_what_is_over_or_unknown_is_not_renewed() -> None:
    """Rule 20: after a withdrawal consent is given anew; and an id is used once."""
    record = given(*CONSENTED)
    record.when(renew(renews=named("unknown"))).refuses(ConsentUnknown)
    record.when(renew(consent=TREATMENT)).refuses(ConsentExists)
    withdraw = WithdrawConsent(relationship=RELATIONSHIP, consent=TREATMENT)
    record.when(withdraw).recorded().when(renew()).refuses(ConsentWithdrawnAlready)


def test_a_renewal_does_not_widen_what_was_narrowed() -> None:
    """Rule 20: what was left out stays out, through any number of renewals."""
    record = given(*OPENED, informed(), give_consent(Scope.INFORMATION_SHARING, sharing=SHARING))
    shared = consent_id(Scope.INFORMATION_SHARING, CLIENT)
    narrow = NarrowConsent(relationship=RELATIONSHIP, consent=shared, excludes="No diagnosis.")
    once = record.when(narrow).recorded().when(renew(renews=shared)).recorded()
    twice = once.when(renew(renews=AGAIN, consent=named("third"))).recorded()
    third = consents_of(twice.relationship)[named("third")]
    assert third.excludes == ("No diagnosis.",)
    assert third.given.sharing == SHARING


def test_a_withdrawal_is_remembered_though_the_consent_was_an_error() -> None:
    """Rule 20: marking the withdrawn consent as an error does not open the time before."""
    record = given(*CONSENTED)
    ended = record.when(
        WithdrawConsent(relationship=RELATIONSHIP, consent=TREATMENT), at=NOW
    ).recorded()
    in_error = EnteredInError(entry=3, reason="Not signed.", about=CLIENT)
    late = give_consent(consent=AGAIN, occurred_at=NOW - HOUR)
    ended.and_given(in_error).when(late, at=NOW + HOUR).refuses(WithdrawnSince, party=CLIENT)
    narrowed = record.when(
        NarrowConsent(relationship=RELATIONSHIP, consent=TREATMENT, excludes="No groups."), at=NOW
    ).recorded()
    narrowed.when(late, at=NOW + HOUR).refuses(WithdrawnSince, scope="treatment")
    narrowed.when(
        late.model_copy(update={"occurred_at": NOW + timedelta(minutes=1)}), at=NOW + HOUR
    ).recorded()
