"""The register of consent: what was told, said and taken back, and what holds when."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.assent import AssentDissented, AssentGiven, AssentWaived
from domain.clinic import Scope
from domain.consent import (
    Capacity,
    ConsentDeclined,
    ConsentGiven,
    ConsentScopeNarrowed,
    in_force,
)
from domain.consenting import GiveConsent
from domain.event import ERASED, Event, History, Stream
from domain.information import QuestionsAddressed
from domain.withdrawal import WithdrawConsent
from projections.consent_register import ConsentRow, Step, lapsing, unanswered
from projections.consent_register import in_force as in_force_by_register
from projections.dossier import VIEWS
from projections.view import known
from tests.domain.test_records import wild_records
from tests.kit import (
    BEGINNING,
    CLIENT,
    CONSENTED,
    DAY,
    DOCUMENT,
    GUARDIAN,
    NOW,
    OPENED,
    OPENED_FOR_A_MINOR,
    RELATIONSHIP,
    SHA256,
    THERAPIST,
    Record,
    consent,
    consent_id,
    give_consent,
    given,
    informed,
    named,
)

STREAM = Stream("relationship", RELATIONSHIP)


def rows_of(record: Record) -> Mapping[int, ConsentRow]:
    return VIEWS.consent_register.of(STREAM, record.relationship)


def last(record: Record) -> ConsentRow:
    rows = rows_of(record)
    return rows[max(rows)]


def test_a_consent_stands_with_what_it_rests_on() -> None:
    """Rules 17, 19: exact document, when the signer was informed and asked, period, capacity."""
    asked = QuestionsAddressed(document=DOCUMENT, version=1, party=CLIENT, by=THERAPIST)
    record = given(*OPENED, informed(), asked).when(give_consent(), by=CLIENT, at=NOW).recorded()
    row = last(record)
    information, questions = record.relationship[-3:-1]
    assert row.step.value is Step.GIVEN
    assert known(row.sha256) == SHA256
    assert known(row.capacity) is Capacity.OWN
    assert known(row.informed_at) == information.occurred_at
    assert row.informed_at is not None
    assert row.informed_at.ref.version == information.version
    assert known(row.questions_at) == questions.occurred_at
    assert (known(row.valid_from), known(row.valid_to)) == (NOW, None)


def test_a_guardian_is_the_one_who_was_informed() -> None:
    """Rule 18: where somebody signs for a client, it counts when that person was informed."""
    signed = GiveConsent(
        relationship=RELATIONSHIP,
        consent=named("by guardian"),
        scope=Scope.TREATMENT,
        party=CLIENT,
        document=DOCUMENT,
        version=1,
        sha256=SHA256,
        signer=GUARDIAN,
        capacity=Capacity.GUARDIAN,
    )
    record = given(*OPENED_FOR_A_MINOR, informed(GUARDIAN), informed())
    row = last(record.when(signed, at=NOW).recorded())
    assert row.informed_at is not None
    assert row.informed_at.ref.version == record.relationship[-2].version


def test_a_withdrawal_counts_from_its_own_time() -> None:
    """Rule 20: before it the consent held and still did; from it on it does not."""
    withdraw = WithdrawConsent(
        relationship=RELATIONSHIP, consent=consent_id(Scope.TREATMENT, CLIENT)
    )
    record = given(*CONSENTED).when(withdraw, by=CLIENT, at=NOW).recorded()
    row = last(record)
    assert known(row.withdrawn_at) == NOW
    assert row.withdrawn_at is not None
    assert row.withdrawn_at.ref.position == record.entries[-1].position
    assert row.holds(NOW - timedelta(seconds=1))
    assert not row.holds(NOW)


@for_all(wild_records(), st.timedeltas(-70 * DAY, 30 * DAY))
def test_the_register_and_the_rules_agree(record: Record, ahead: timedelta) -> None:
    """Rule 24: what the register shows as in force is exactly what an entry may rely on."""
    history = History(e for e in record.entries if e.stream.category == "relationship")
    rows = VIEWS.consent_register.of(STREAM, history)
    for given_ in (event for _, event in history.of(ConsentGiven)):
        about = (given_.scope, given_.party, NOW + ahead)
        reliance, row = in_force(history, *about), in_force_by_register(rows, *about)
        assert (row and known(row.consent)) == (reliance and reliance.consent)


def test_treatment_takes_recording_along() -> None:
    """Rule 21: consents that end with another show the same withdrawal."""
    record = given(*CONSENTED, consent(Scope.RECORDING))
    withdraw = WithdrawConsent(
        relationship=RELATIONSHIP, consent=consent_id(Scope.TREATMENT, CLIENT)
    )
    record = record.when(withdraw, by=CLIENT, at=NOW).recorded()
    ended = [row for row in rows_of(record).values() if row.withdrawn_at]
    assert {known(row.scope) for row in ended} == {Scope.TREATMENT, Scope.RECORDING}
    assert {row.withdrawn_at.ref.version for row in ended if row.withdrawn_at} == {
        record.relationship.version
    }


def test_a_consent_about_to_lapse_is_named_unless_another_follows() -> None:
    """Rule 19: a period that ends soon is seen before it does."""
    end = NOW + 10 * DAY
    record = given(*OPENED, informed(), consent(valid_to=end))
    assert [known(r.valid_to) for r in lapsing(rows_of(record), NOW, 30 * DAY)] == [end]
    assert list(lapsing(rows_of(record), NOW, 5 * DAY)) == []
    assert list(lapsing(rows_of(record), end, 30 * DAY)) == []
    follows = consent(valid_from=end).model_copy(update={"consent": named("renewed")})
    assert list(lapsing(rows_of(record.and_given(follows)), NOW, 30 * DAY)) == []


def test_a_refusal_is_an_answer_and_silence_is_not() -> None:
    """Rules 17, 19: who was informed and said nothing yet is told from who declined."""
    record = given(*OPENED, informed())
    (waiting,) = unanswered(rows_of(record))
    assert known(waiting.party) == CLIENT
    declined = ConsentDeclined(scope=Scope.RECORDING, party=CLIENT, document=DOCUMENT, version=1)
    record = record.and_given(declined)
    assert list(unanswered(rows_of(record))) == []
    assert last(record).step.value is Step.DECLINED
    assert not last(record).holds(NOW)


def test_of_an_erased_consent_the_step_is_left() -> None:
    """Rule 9: that something was consented to stays visible; by whom and to what does not."""
    rows = rows_of(given(*CONSENTED).erased(CLIENT))
    assert [row.step.value for row in rows.values()] == [Step.INFORMED, Step.GIVEN]
    assert all(row.party.value == ERASED for row in rows.values())
    assert not any(row.holds(BEGINNING + DAY) for row in rows.values())
    assert list(unanswered(rows)) == []


def _said(kind: str, scope: Scope, day: int) -> tuple[Event, datetime]:
    at = BEGINNING + DAY * (1 + day)
    match kind:
        case "assent":
            return AssentGiven(scope=scope, party=CLIENT, document=DOCUMENT, version=1), at
        case "dissent":
            return AssentDissented(scope=scope, party=CLIENT), at
        case "waiver":
            waived = AssentWaived(scope=scope, party=CLIENT, by=THERAPIST, reason="Two years old.")
            return waived, at
    narrowed = ConsentScopeNarrowed(
        consent=consent_id(scope, CLIENT),
        party=CLIENT,
        excludes="No groups.",
        valid_to=at + 5 * DAY,
    )
    return narrowed, at


SAYINGS = st.lists(
    st.tuples(
        st.sampled_from(["assent", "dissent", "narrowed"]),
        st.sampled_from([Scope.TREATMENT, Scope.RECORDING]),
        st.integers(0, 9),
    ),
    max_size=8,
)


@for_all(st.lists(st.sampled_from([Scope.TREATMENT, Scope.RECORDING]), max_size=2), SAYINGS)
def test_what_a_minor_says_reads_alike_everywhere(
    waived: list[Scope], sayings: list[tuple[str, Scope, int]]
) -> None:
    """Rules 20 and 23: over any sayings the register and the rules agree on every day, and under
    a dissent nothing but treatment is in force."""
    signed = [
        consent(scope).model_copy(update={"signer": GUARDIAN, "capacity": Capacity.GUARDIAN})
        for scope in (Scope.TREATMENT, Scope.RECORDING)
    ]
    facts = [*(_said("waiver", scope, 0) for scope in waived), *(_said(*one) for one in sayings)]
    history = given(*OPENED, *signed, *facts).relationship
    rows = VIEWS.consent_register.of(STREAM, history)
    for day in range(18):
        at = BEGINNING + DAY * day
        for scope in (Scope.TREATMENT, Scope.RECORDING):
            reliance = in_force(history, scope, CLIENT, at)
            row = in_force_by_register(rows, scope, CLIENT, at)
            assert (row and known(row.consent)) == (reliance and reliance.consent)
        said = [
            (when, isinstance(event, AssentDissented))
            for event, when in facts
            if when <= at
            and (
                isinstance(event, AssentDissented)
                or (isinstance(event, AssentGiven) and event.scope is Scope.RECORDING)
            )
        ]
        if said and max(said)[1]:
            assert in_force(history, Scope.RECORDING, CLIENT, at) is None
