"""The caseload: what is missing, by relationship."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from domain.alliance import AllianceRated
from domain.amendment import AmendmentDenied, AmendmentRequested, DenialGround
from domain.assent import AssentDissented, AssentGiven
from domain.clinic import Scope
from domain.consent import Capacity, ConsentWithdrawn
from domain.emergency import EmergencyReviewed
from domain.event import Event, Policy, RecordedEvent, Source, Stream
from domain.goal import GoalAssented, GoalProposed
from domain.instrument import Definition, Perspective, catalogue
from domain.note import (
    Meaning,
    NoteCosigned,
    NoteKind,
    NoteSigned,
    ProgressNoteWritten,
    Section,
)
from domain.rating import score_of
from domain.relationship import (
    Constellation,
    Initiator,
    Part,
    ParticipantJoined,
    ParticipantLeft,
    RelationshipClosed,
    RelationshipReopened,
)
from domain.risk import RiskItemRaised, RiskReviewed
from domain.rupture import Kind, Method, RuptureMarked, RuptureResolved
from domain.scoring import Score
from domain.session import Emergency, SessionHeld
from projections.caseload import Case, CaseState, Finding, Missing, flags_of_score, missing
from projections.dossier import VIEWS
from projections.triage import triage
from projections.view import cell, known
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    CONSENTED,
    COTHERAPIST,
    DAY,
    DOCUMENT,
    GUARDIAN,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    given,
    held,
    hold_session,
    informed,
    named,
    opened,
)

STREAM = Stream("relationship", RELATIONSHIP)
GOAL = named("goal")
AGREED: tuple[Event, ...] = (
    GoalProposed(goal=GOAL, statement="To take the tram again.", by=CLIENT),
    GoalAssented(goal=GOAL, revision=1, party=CLIENT),
    GoalAssented(goal=GOAL, revision=1, party=THERAPIST),
)


def case_of(record: Record) -> Case:
    (case,) = VIEWS.caseload.of(STREAM, record.relationship).values()
    return case


def what(findings: Iterable[Finding]) -> list[Missing]:
    return [finding.what for finding in findings]


def week(number: int) -> datetime:
    return AN_HOUR_AGO - (10 - number) * 7 * DAY


def sessions(*numbers: int) -> list[tuple[Event, datetime]]:
    return [
        (held(named(f"session {number}"), start=week(number)), week(number)) for number in numbers
    ]


def rating(number: int, perspective: Perspective = Perspective.CLIENT) -> AllianceRated:
    return AllianceRated(
        rating=named(f"{perspective} {number}"),
        instrument="Home-made",
        perspective=perspective,
        rater=CLIENT if perspective is Perspective.CLIENT else THERAPIST,
        session=named(f"session {number}"),
        items=(1,),
    )


def rating_of(session: SessionHeld) -> AllianceRated:
    return rating(1).model_copy(update={"session": session.session})


@pytest.mark.parametrize("definition", catalogue().values(), ids=lambda d: str(d.id))
@settings(max_examples=15, deadline=None)
@drawn(data=st.data())
def test_the_flags_alone_are_those_of_the_score(
    definition: Definition, data: st.DataObject
) -> None:
    """Rule 36: whatever is answered, left out or off the scale, whatever form and day."""
    scales = [definition.response_to(n) for n in range(1, definition.items.count + 1)]
    items = [data.draw(st.none() | st.integers(each.low, each.high)) for each in scales]
    if not data.draw(st.integers(0, 9)):
        items[-1] = 10**6
    if not data.draw(st.integers(0, 9)):
        del items[-1]
    rated = rating(1, data.draw(st.sampled_from(Perspective))).model_copy(
        update={"key_hash": definition.key_hash, "items": tuple(items)}
    )
    day = data.draw(st.dates(date(1990, 1, 1), date(2030, 1, 1)))
    entry = replace(
        given(*CONSENTED, rated).relationship[-1], occurred_at=datetime.combine(day, time(12), UTC)
    )

    def told(scoring: Callable[[RecordedEvent], object]) -> object:
        try:
            return scoring(entry)
        except Exception as refused:
            return type(refused), str(refused)

    whole = told(score_of)
    assert told(flags_of_score) == (whole.flags if isinstance(whole, Score) else whole)


def test_a_case_names_its_people() -> None:
    """Rule 10: who is treated, by whom, under whose supervision, and whether it is open."""
    case = case_of(given(*OPENED))
    assert case.clients.value == (CLIENT,)
    assert case.therapists.value == (THERAPIST,)
    assert case.supervisor.value == SUPERVISOR
    assert case.state.value is CaseState.OPEN
    assert (case.sessions_held, case.unrated_since) == (None, None)


def test_a_complete_case_has_nothing_missing() -> None:
    """Triage by missing information: consent, ratings and agreed goals are all there."""
    record = given(*CONSENTED, *AGREED, *sessions(1, 2), rating(1), rating(2))
    assert list(missing(case_of(record), NOW)) == []


def test_sessions_without_a_clients_rating_are_counted_from_the_last_one_rated() -> None:
    """Triage by missing information: a therapist's rating does not stand for the client's."""
    therapist = rating(3, Perspective.THERAPIST)
    record = given(*CONSENTED, *AGREED, *sessions(1, 2, 3, 4), rating(2), therapist)
    case = case_of(record)
    assert known(case.sessions_held) == 4
    assert known(case.unrated_sessions) == 2
    assert list(missing(case, NOW)) == [Finding(Missing.RATING, week(3))]
    late = case_of(record.and_given(rating(4)))
    assert what(missing(late, NOW)) == []


def test_goals_that_are_not_agreed_are_missing() -> None:
    """Rule 25: no goal at all, and goals that not everybody assented to, are told apart."""
    assert what(missing(case_of(given(*CONSENTED)), NOW)) == [Missing.GOALS]
    half = case_of(given(*CONSENTED, *AGREED[:2]))
    assert (known(half.goals_pursued), known(half.goals_not_agreed)) == (1, 1)
    assert what(missing(half, NOW)) == [Missing.AGREEMENT]


def test_consent_is_asked_for_at_the_moment_of_asking() -> None:
    """Rules 12, 20: missing, about to lapse, lapsed and withdrawn, as of a time."""
    never = case_of(given(*OPENED, *AGREED))
    assert list(missing(never, NOW)) == [
        Finding(Missing.TREATMENT_CONSENT, None, Scope.TREATMENT, CLIENT)
    ]
    end = NOW + 10 * DAY
    ending = case_of(given(*OPENED, informed(), consent(valid_to=end), *AGREED))
    assert list(missing(ending, NOW)) == [
        Finding(Missing.CONSENT_LAPSING, end, Scope.TREATMENT, CLIENT)
    ]
    assert what(missing(ending, NOW, timedelta(days=5))) == []
    assert what(missing(ending, end)) == [Missing.TREATMENT_CONSENT]
    withdrawn = ConsentWithdrawn(consent=consent_id(Scope.TREATMENT, CLIENT), party=CLIENT)
    record = given(*CONSENTED, *AGREED, (withdrawn, NOW - DAY))
    assert what(missing(case_of(record), NOW)) == [
        Missing.TREATMENT_CONSENT,
        Missing.CONSENT_WITHDRAWN,
    ]


def test_a_minor_is_asked_beside_the_guardian() -> None:
    """Rule 23: a guardian's consent alone is shown as lacking the minor's say; a dissent stays
    shown, and treatment goes on under it."""
    for_minor = [
        consent(scope).model_copy(update={"signer": GUARDIAN, "capacity": Capacity.GUARDIAN})
        for scope in (Scope.TREATMENT, Scope.RECORDING)
    ]
    record = given(*OPENED, *for_minor, *AGREED)
    assert what(missing(case_of(record), NOW)) == [
        Missing.TREATMENT_CONSENT,
        Missing.ASSENT,
        Missing.ASSENT,
    ]
    asked = [
        AssentGiven(scope=scope, party=CLIENT, document=DOCUMENT, version=1)
        for scope in (Scope.TREATMENT, Scope.RECORDING)
    ]
    agreeing = record.and_given(*asked)
    assert what(missing(case_of(agreeing), NOW)) == []
    dissenting = agreeing.and_given(AssentDissented(scope=Scope.TREATMENT, party=CLIENT))
    assert list(missing(case_of(dissenting), NOW)) == [
        Finding(Missing.ASSENT, None, Scope.RECORDING, CLIENT)
    ]


def test_each_client_of_a_couple_consents() -> None:
    """Rules 10, 12: one partner's consent is not the other's."""
    couple = opened(CLIENT, PARTNER, constellation=Constellation.COUPLE)
    case = case_of(given(*OPENED[:-1], couple, informed(), consent()))
    assert Finding(Missing.TREATMENT_CONSENT, None, Scope.TREATMENT, PARTNER) in list(
        missing(case, NOW)
    )
    assert {part.ref.key_id for part in case.consents} != {case.clients.ref.key_id}


def test_a_closed_case_asks_for_nothing() -> None:
    """Rule 16: after closure nothing is missing; reopened, it is."""
    closed = RelationshipClosed(
        reason="Moved away.",
        initiated_by=Initiator.CLIENT,
        goals="None.",
        open_goals=(),
        open_ruptures=(),
    )
    record = given(*OPENED, closed)
    case = case_of(record)
    assert case.state.value is CaseState.CLOSED
    assert case.state.ref.version == record.relationship.version
    assert list(missing(case, NOW)) == []
    reopened = case_of(record.and_given(RelationshipReopened(reason="Back again.")))
    assert reopened.state.value is CaseState.OPEN
    assert list(missing(reopened, NOW))


def marked(name: str = "rupture", by: UUID = CLIENT) -> RuptureMarked:
    return RuptureMarked(
        rupture=named(name),
        raised_by=by,
        perspective=Perspective.CLIENT if by == CLIENT else Perspective.THERAPIST,
        method=Method.CLINICAL_IMPRESSION,
        kind=Kind.WITHDRAWAL,
    )


def resolved(by: UUID = CLIENT) -> RuptureResolved:
    return RuptureResolved(
        rupture=named("rupture"),
        by=by,
        perspective=Perspective.CLIENT if by == CLIENT else Perspective.THERAPIST,
        basis="We talked it over.",
    )


def test_a_rupture_is_open_until_everybody_concerned_sees_it_resolved() -> None:
    """Rule 39: the therapist's view does not close what the client marked; a closing does."""
    whole = given(*CONSENTED, *AGREED, (marked(), NOW - DAY))
    one_sided = whole.and_given((resolved(by=THERAPIST), NOW))
    for record in (whole, one_sided):
        found = Finding(Missing.RUPTURE_OPEN, NOW - DAY)
        assert list(missing(case_of(record), NOW)) == [found]
    both = one_sided.and_given((resolved(), NOW))
    assert list(missing(case_of(both), NOW)) == []
    (end,) = case_of(whole).open_ends
    assert end.ref.version == whole.relationship.version, "sealed under the client's own key"
    closed = case_of(whole.erased(CLIENT))
    assert closed.open_ends == ()


def test_a_risk_presses_until_somebody_reviewed_it() -> None:
    """Rule 35: it comes before all that is merely missing, also once the relationship is closed."""
    raised = RiskItemRaised(
        rating=named("rating"), instrument="PHQ-9", key_hash="5e", item=9, about=CLIENT
    )
    record = given(*CONSENTED, *AGREED, (raised, NOW - DAY))
    found = Finding(Missing.RISK_REVIEW, NOW - DAY)
    assert list(missing(case_of(record), NOW)) == [found]
    closed = replace(case_of(record), state=cell(record.entries[-1], CaseState.CLOSED))
    assert list(missing(closed, NOW)) == [found]
    worse = case_of(given(*CONSENTED))
    at_risk, lacking = Stream("relationship", named("risk")), Stream("relationship", named("lacks"))
    assert len(what(missing(worse, NOW))) == 1
    first, *_ = triage({lacking: worse, at_risk: case_of(record)}, NOW)
    assert first.relationship == at_risk
    reviewed = RiskReviewed(
        rating=named("rating"),
        item=9,
        by=THERAPIST,
        finding="Spoken about.",
        action="A plan.",
        about=CLIENT,
    )
    assert list(missing(case_of(record.and_given(reviewed)), NOW)) == []


def note(by_trainee: bool = False) -> ProgressNoteWritten:
    return ProgressNoteWritten(
        note=named("note"),
        kind=NoteKind.CONTACT,
        sections=(Section(text="A call."),),
        author=THERAPIST,
        by_trainee=by_trainee,
    )


def test_notes_wait_for_signatures() -> None:
    """Triage by missing information: unsigned, then, of a trainee's, not co-signed; a signature
    that does not fit the note counts for nothing."""
    record = given(*CONSENTED, *AGREED, (note(by_trainee=True), NOW - DAY))
    assert what(missing(case_of(record), NOW)) == [Missing.NOTE_UNSIGNED]
    written = record.relationship[-1]

    def signed(kind: type[NoteSigned | NoteCosigned], signer: UUID, commitment: str) -> Event:
        return kind(
            note=named("note"),
            entry=written.version,
            commitment=commitment,
            signer=signer,
            name="Dr. Jan Muster",
            meaning=Meaning.AUTHORSHIP,
        )

    moved = record.and_given(signed(NoteSigned, THERAPIST, "0" * 64))
    assert what(missing(case_of(moved), NOW)) == [Missing.NOTE_UNSIGNED]
    own = record.and_given(signed(NoteSigned, THERAPIST, written.commitment))
    assert what(missing(case_of(own), NOW)) == [Missing.COSIGNATURE]
    both = own.and_given(signed(NoteCosigned, SUPERVISOR, written.commitment))
    assert what(missing(case_of(both), NOW)) == []


def test_a_request_for_amendment_waits_until_it_is_answered() -> None:
    """Rule 1, R7: by the day on which the clinic's time for an answer ends."""
    asked = AmendmentRequested(
        amendment=named("amendment"), party=CLIENT, entry=1, wants="Other words.", reason="Wrong."
    )
    record = given(*CONSENTED, *AGREED, (asked, NOW - DAY))
    due = NOW - DAY + Policy().amend_within
    assert list(missing(case_of(record), NOW)) == [Finding(Missing.AMENDMENT, due)]
    denied = AmendmentDenied(
        amendment=named("amendment"),
        party=CLIENT,
        ground=DenialGround.ACCURATE_AND_COMPLETE,
        reason="It says what was said.",
    )
    assert list(missing(case_of(record.and_given(denied)), NOW)) == []


def test_a_session_without_consent_waits_for_its_review() -> None:
    """Rule 12: from the session on, with the day by which somebody looks at it."""
    review_by = (NOW + DAY).date()
    urgent = held(emergency=Emergency(reason="An acute crisis.", review_by=review_by))
    record = given(*CONSENTED, *AGREED, (urgent, AN_HOUR_AGO), rating_of(urgent))
    due = datetime.combine(review_by, time(), UTC)
    assert list(missing(case_of(record), NOW)) == [Finding(Missing.EMERGENCY_REVIEW, due)]
    review = EmergencyReviewed(session=urgent.session, by=THERAPIST, outcome="It was right.")
    assert list(missing(case_of(record.and_given(review)), NOW)) == []


def test_who_takes_part_is_as_of_the_last_coming_or_going() -> None:
    """Rule 10: a new supervisor's caseload holds the case, the former one's does not."""
    left = ParticipantLeft(person=SUPERVISOR, reason="Retires.")
    joined = ParticipantJoined(person=COTHERAPIST, part=Part.SUPERVISOR, reason="Takes over.")
    case = case_of(given(*OPENED, left, joined))
    assert case.supervisor.value == COTHERAPIST
    assert case.supervisor.ref.version == 3
    assert case_of(given(*OPENED, left)).supervisor.value is None


def test_late_and_imported_entries_are_counted() -> None:
    """Rules 3, 45: how many were late or imported, and the codes an import reported."""
    record = given(*OPENED)
    hold = hold_session(start=AN_HOUR_AGO - 5 * DAY).model_copy(
        update={"late_reason": "From an archive."}
    )
    record = record.when(hold, by=OFFICE, imported=True).recorded()
    case = case_of(record)
    assert (known(case.late_entries), known(case.imported_entries)) == (1, 1)
    assert [known(code) for code in case.reported] == ["consent-missing"]
    assert record.relationship[-1].source is Source.IMPORT


def test_what_lacks_most_comes_first() -> None:
    """Triage: by the number of findings, then by the longest since a session; nobody is ranked."""
    streams = [Stream("relationship", named(name)) for name in ("whole", "idle", "busy", "none")]
    whole = case_of(given(*CONSENTED, *AGREED))
    idle = case_of(given(*CONSENTED, *AGREED, *sessions(1)))
    busy = case_of(given(*CONSENTED, *AGREED, *sessions(8)))
    none = case_of(given(*OPENED))
    cases = dict(zip(streams, (whole, idle, busy, none), strict=True))
    assert [found.relationship for found in triage(cases, NOW)] == [
        streams[3],
        streams[1],
        streams[2],
        streams[0],
    ]


def test_an_erased_opening_leaves_a_case_that_says_so() -> None:
    """Rule 9: the row stays, with its counts and without its people."""
    record = given(*CONSENTED, *sessions(1)).erased(None)
    case = case_of(record)
    assert known(case.clients) is None
    assert known(case.erased_entries) == 2
    assert what(missing(case, NOW)) == [Missing.CONTENT]
