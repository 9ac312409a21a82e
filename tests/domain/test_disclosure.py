"""Disclosure: what left the record, on what basis, past what; and the account of it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.amendment import AcceptAmendment, DenialGround, DenyAmendment, RequestAmendment
from domain.clinic import Scope
from domain.consent import ConsentMissing, Reliance
from domain.correction import CorrectEntry, MarkEnteredInError, StaysAsRecorded
from domain.disclosure import (
    REDISCLOSURE_NOTICE,
    AccountingSuspended,
    DiscloseRecord,
    DisclosureExists,
    DisclosureRestricted,
    DisclosureUnknown,
    ExportMade,
    InformRecipient,
    LegalBasis,
    NoteExport,
    NothingToInform,
    NoticeMissing,
    Recipient,
    RecipientInformed,
    RecordDisclosed,
    SuspendAccounting,
    SuspensionUnsound,
    ViewVersion,
    accounting,
    disclosure_stream,
    suspended,
    to_inform,
)
from domain.event import Command, EntryUnknown
from domain.participant import LeaveRelationship
from domain.relationship import (
    Constellation,
    RelationshipOpened,
    RelationshipUnknown,
    relationship_stream,
)
from domain.restriction import Against, AgreeRestriction, Purpose, RecipientKind
from domain.withdrawal import WithdrawConsent
from tests.kit import (
    BEGINNING,
    CLIENT,
    CONSENTED,
    DAY,
    FOUNDED,
    GUARDIAN,
    NOW,
    OFFICE,
    PARTNER,
    RELATIONSHIP,
    THERAPIST,
    Record,
    consent,
    consent_id,
    given,
    named,
    on,
    opened,
)

STREAM = disclosure_stream(RELATIONSHIP)
SHARING = consent_id(Scope.INFORMATION_SHARING, CLIENT)
SHARED = (*CONSENTED, consent(Scope.INFORMATION_SHARING))
PROVIDER = Recipient(kind=RecipientKind.PROVIDER, name="Dr. Nowak")
PAYER = Recipient(kind=RecipientKind.HEALTH_PLAN, name="Health plan")


def disclose(**changes: Any) -> DiscloseRecord:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "disclosure": named("disclosure"),
        "recipient": PROVIDER,
        "purpose": Purpose.TREATMENT,
        "legal_basis": LegalBasis.CONSENT,
        "basis": "Consent of January.",
        "what": "The last ten sessions.",
        "notice_given": True,
    }
    return DiscloseRecord(**fields | changes)


def restrict(**changes: Any) -> AgreeRestriction:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "restriction": named("restriction"),
        "client": CLIENT,
        "against": Against(recipient=RecipientKind.HEALTH_PLAN),
        "what": "Nothing to the health plan.",
    }
    return AgreeRestriction(**fields | changes)


# --- What is disclosed ----------------------------------------------------------------------


def test_a_disclosure_cites_the_consent_it_relies_on_and_the_notice() -> None:
    """Rule 24, R9, R16, R22: recipient, purpose, basis, what, the consent, the notice given."""
    disclosed = RecordDisclosed(
        disclosure=named("disclosure"),
        recipient=PROVIDER,
        purpose=Purpose.TREATMENT,
        legal_basis=LegalBasis.CONSENT,
        basis="Consent of January.",
        what="The last ten sessions.",
        relies_on=(Reliance(entry=4, consent=SHARING),),
        notice=REDISCLOSURE_NOTICE,
    )
    record = given(*SHARED).when(disclose(), by=THERAPIST).then(on(STREAM, disclosed))
    record.when(disclose()).refuses(DisclosureExists, disclosure=named("disclosure"))
    erased = record.erased(CLIENT)
    assert [d for _, d in erased.history(STREAM).of(RecordDisclosed)] == [disclosed]


def test_without_consent_nothing_is_disclosed_by_it() -> None:
    """Rule 41, R21: not before it is given, not after it is withdrawn."""
    given(*CONSENTED).when(disclose()).refuses(ConsentMissing, scope=Scope.INFORMATION_SHARING)
    withdraw = WithdrawConsent(relationship=RELATIONSHIP, consent=SHARING)
    given(*SHARED, withdraw).when(disclose()).refuses(ConsentMissing)
    given(*CONSENTED).when(disclose(legal_basis=LegalBasis.REQUIRED_BY_LAW)).recorded()


def test_consent_to_share_with_one_is_none_to_share_with_another() -> None:
    """Rules 19 and 41, R14: the consent that is relied on names this recipient."""
    to_another = Recipient(kind=RecipientKind.PROVIDER, name="Dr. Kowalska")
    record = given(*SHARED)
    record.when(disclose(recipient=to_another)).refuses(ConsentMissing, party=CLIENT)
    in_capitals = PROVIDER.model_copy(update={"name": "DR. NOWAK"})
    record.when(disclose(recipient=in_capitals)).recorded()


def test_what_is_joint_takes_the_consent_of_everybody_it_tells_of() -> None:
    """Rule 41, R14: of all who were ever there; of what is one's own, of that one alone."""
    people = (CLIENT, PARTNER, GUARDIAN)
    family = given(
        *FOUNDED,
        opened(*people, constellation=Constellation.FAMILY),
        *(consent(Scope.INFORMATION_SHARING, party) for party in (CLIENT, GUARDIAN)),
        LeaveRelationship(relationship=RELATIONSHIP, person=PARTNER, reason="Has left."),
    )
    family.when(disclose(entries=(2,))).recorded()
    for entries in ((), (1,), (1, 2)):
        family.when(disclose(entries=entries)).refuses(ConsentMissing, party=PARTNER)


@pytest.mark.parametrize("basis", [LegalBasis.CONSENT, LegalBasis.EMERGENCY])
def test_the_notice_on_passing_it_on_goes_along(basis: LegalBasis) -> None:
    """R13, R16: by consent and in an emergency the recipient is told not to pass it on."""
    command = disclose(legal_basis=basis, notice_given=False)
    given(*SHARED).when(command).refuses(NoticeMissing)


def test_only_what_there_is_is_disclosed() -> None:
    """R9: the account names entries that there are, of a relationship that there is."""
    given(*SHARED).when(disclose(entries=(99,))).refuses(EntryUnknown)
    given().when(disclose()).refuses(RelationshipUnknown)


# --- Restrictions ---------------------------------------------------------------------------


def to_payer(**changes: Any) -> DiscloseRecord:
    return disclose(**{"recipient": PAYER, "purpose": Purpose.PAYMENT} | changes)


def test_a_restriction_binds_a_disclosure() -> None:
    """R13: to that recipient; whoever else receives it as before."""
    record = given(*SHARED, restrict())
    record.when(to_payer()).refuses(DisclosureRestricted, restriction=named("restriction"))
    record.when(disclose()).recorded()


def test_a_restriction_on_some_entries_leaves_the_others() -> None:
    """R13: refused where the two overlap, and for the whole record."""
    record = given(*SHARED, restrict(entries=(3,)))
    record.when(to_payer(entries=(1, 3))).refuses(DisclosureRestricted)
    record.when(to_payer()).refuses(DisclosureRestricted)
    record.when(to_payer(entries=(1, 2))).recorded()


@pytest.mark.parametrize("basis", LegalBasis)
def test_what_goes_past_a_restriction_says_so(basis: LegalBasis) -> None:
    """R13: an emergency and what the law requires; the entry names what was overridden."""
    outcome = given(*SHARED, restrict()).when(to_payer(legal_basis=basis))
    if basis in (
        LegalBasis.CONSENT,
        LegalBasis.CARE,
        LegalBasis.OWN_ACCESS,
        LegalBasis.PUBLIC_INTEREST,
    ):
        outcome.refuses(DisclosureRestricted)
    else:
        assert isinstance(outcome.event, RecordDisclosed)
        assert outcome.event.overridden == (named("restriction"),)


# --- Amendments travel along ----------------------------------------------------------------


def contested() -> Record:
    """The opening was disclosed, then contested, and the amendment denied: entries 5 and 6."""
    request = RequestAmendment(
        relationship=RELATIONSHIP,
        amendment=named("amendment"),
        entry=1,
        party=CLIENT,
        wants="x",
        reason="y",
    )
    record = given(*SHARED).when(disclose(entries=(1,)), by=THERAPIST).recorded()
    return record.when(request, by=CLIENT).recorded()


def deny() -> DenyAmendment:
    return DenyAmendment(
        relationship=RELATIONSHIP,
        amendment=named("amendment"),
        ground=DenialGround.NOT_OURS,
        reason="z",
    )


@pytest.mark.parametrize("entries, travel", [((), True), ((1, 2), True), ((2, 3), False)])
def test_what_is_contested_goes_with_its_amendment(entries: tuple[int, ...], travel: bool) -> None:
    """R8: request and denial accompany every later disclosure of that entry."""
    record = contested().when(deny()).recorded()
    again = record.when(disclose(disclosure=named("b"), entries=entries))
    assert isinstance(again.event, RecordDisclosed)
    assert again.event.accompanied_by == ((5, 6) if travel else ())


def test_earlier_recipients_are_told_of_an_amendment() -> None:
    """R24: everybody who had received the entry, until it is noted that they were told."""
    record = contested()
    relationship = record.relationship
    assert to_inform(relationship, record.history(STREAM)) == ()
    opening = relationship.entry(1)
    assert opening is not None
    assert isinstance(opening.event, RelationshipOpened)
    correct = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=1,
        reason="As it was.",
        content={**opening.event.model_dump(exclude_none=True), "setting": "day clinic"},
    )
    accept = AcceptAmendment(relationship=RELATIONSHIP, amendment=named("amendment"), correction=6)
    record = record.when(correct).recorded().when(accept).recorded()
    (waiting,) = to_inform(record.relationship, record.history(STREAM))
    assert (waiting.disclosure, waiting.recipient) == (named("disclosure"), PROVIDER)
    inform = InformRecipient(
        relationship=RELATIONSHIP,
        disclosure=named("disclosure"),
        amendment=named("amendment"),
    )
    told = RecipientInformed(
        disclosure=named("disclosure"), amendment=named("amendment"), by=OFFICE
    )
    after = record.when(inform, by=OFFICE).then(on(STREAM, told))
    assert to_inform(after.relationship, after.history(STREAM)) == ()
    after.when(inform).refuses(NothingToInform, amendment=named("amendment"))
    unknown = inform.model_copy(update={"disclosure": named("b")})
    after.when(unknown).refuses(DisclosureUnknown)


# --- The account ----------------------------------------------------------------------------


def suspend(**changes: Any) -> SuspendAccounting:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "suspension": named("suspension"),
        "recipient": RecipientKind.HEALTH_OVERSIGHT,
        "agency": "Inspectorate",
        "in_writing": True,
        "until": NOW + 90 * DAY,
    }
    return SuspendAccounting(**fields | changes)


OVERSEER = Recipient(kind=RecipientKind.HEALTH_OVERSIGHT, name="Inspectorate")


def test_a_suspension_hides_from_the_client_for_its_time_and_then_restores() -> None:
    """R9: disclosures to an authority that asked for it; nobody else's, and not from others."""
    record = given(
        *SHARED,
        disclose(),
        disclose(disclosure=named("b"), recipient=OVERSEER, legal_basis=LegalBasis.OVERSIGHT),
    )
    said = AccountingSuspended(
        suspension=named("suspension"),
        recipient=RecipientKind.HEALTH_OVERSIGHT,
        agency="Inspectorate",
        in_writing=True,
        until=NOW + 90 * DAY,
    )
    history = record.when(suspend(), at=NOW).then(on(STREAM, said)).history(STREAM)
    assert suspended(history, NOW + DAY) == {RecipientKind.HEALTH_OVERSIGHT}
    assert suspended(history, NOW + 90 * DAY) == frozenset()
    told = frozenset(RecipientKind) - suspended(history, NOW + DAY)
    assert len(accounting(history, recipients=told)) == 1
    assert len(accounting(history)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"recipient": RecipientKind.EMPLOYER},
        {"until": NOW - DAY},
        {"until": NOW},
        {"in_writing": False, "until": NOW + 31 * DAY},
    ],
)
def test_a_suspension_is_for_authorities_and_for_a_time(changes: dict[str, Any]) -> None:
    """R9: 45 CFR 164.528(a)(2): oversight and law enforcement; asked for orally, 30 days."""
    given(*SHARED).when(suspend(**changes), at=NOW).refuses(SuspensionUnsound)
    given(*SHARED).when(suspend(in_writing=False, until=NOW + 30 * DAY), at=NOW).recorded()


_MADE = st.tuples(st.sampled_from(RecipientKind), st.sampled_from(Purpose), st.integers(0, 59))


@for_all(st.lists(_MADE, max_size=12), st.integers(0, 59), st.integers(0, 59))
def test_the_account_is_what_was_disclosed_in_that_time(
    made: list[tuple[RecipientKind, Purpose, int]], first: int, last: int
) -> None:
    """R9, R10: from disclosures alone, by period, recipient and purpose, equal to what happened."""

    def at(day: int) -> datetime:
        return BEGINNING + timedelta(days=day, hours=1)

    record = given(*SHARED)
    for number, (kind, purpose, day) in enumerate(made):
        command = disclose(
            disclosure=named(str(number)),
            recipient=Recipient(kind=kind, name=PROVIDER.name),
            purpose=purpose,
            occurred_at=at(day),
            late_reason="Noted later.",
        )
        record = record.when(command, at=NOW + 9 * DAY).recorded()
    wanted = [
        (day, kind)
        for kind, purpose, day in made
        if first <= day <= last and purpose is not Purpose.PAYMENT and kind is not PAYER.kind
    ]
    found = accounting(
        record.history(STREAM),
        at(first),
        at(last),
        recipients=frozenset(RecipientKind) - {PAYER.kind},
        purposes=frozenset(Purpose) - {Purpose.PAYMENT},
    )
    kinds = [each.event.recipient.kind for each in found if isinstance(each.event, RecordDisclosed)]
    assert sorted(kinds) == sorted(kind for _, kind in wanted)
    assert [*found] == sorted(found, key=lambda entry: entry.occurred_at)


# --- Copies ---------------------------------------------------------------------------------


def test_a_copy_states_both_times_its_views_and_its_commitment() -> None:
    """Rule 43: as known at and as happened by, also where nobody asked for another time."""
    note = NoteExport(
        relationship=RELATIONSHIP,
        export=named("export"),
        what="export",
        purpose="own access",
        position=7,
        views=(ViewVersion(view="timeline", version=1),),
        filters=("process notes left out",),
        commitment="5e" * 32,
    )
    made = ExportMade(
        export=named("export"),
        what="export",
        to=CLIENT,
        purpose="own access",
        known_at=NOW,
        happened_by=NOW,
        position=7,
        views=(ViewVersion(view="timeline", version=1),),
        filters=("process notes left out",),
        commitment="5e" * 32,
    )
    given(*SHARED).when(note, by=CLIENT, at=NOW).then(on(STREAM, made))


@pytest.mark.parametrize("kind", [SuspendAccounting, NoteExport, InformRecipient])
def test_nothing_here_is_dated_back(kind: type[Command]) -> None:
    """R9: copies, suspensions and what recipients were told count from when they are noted."""
    with pytest.raises(ValidationError, match="occurred_at"):
        kind.model_validate({"occurred_at": NOW})


def test_the_account_is_nobodys_to_mend() -> None:
    """Rule 1, R9: neither corrected nor marked away."""
    record = given(*SHARED, disclose())
    wrong = MarkEnteredInError(stream=STREAM, entry=1, reason="Never happened.")
    record.when(wrong).refuses(StaysAsRecorded)
    correct = CorrectEntry(stream=STREAM, entry=1, reason="Less.", content={})
    record.when(correct).refuses(StaysAsRecorded)
