"""Ruptures: who marked them and how, what was done, and who sees them as resolved."""

from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.clinic import Scope
from domain.consent import ConsentWithdrawn
from domain.correction import CorrectEntry, EnteredInError, MarkEnteredInError, NotCorrectable
from domain.event import EntryUnknown, Source
from domain.instrument import Perspective, procedures
from domain.person import NotInTheirName, RaterNotTrained, RaterTrainingAttested
from domain.possible_rupture import JudgedByNobody, PossibleRupture
from domain.rating import NotTheirPerspective
from domain.recording import (
    RecordingEnd,
    RecordingEnded,
    RecordingKind,
    RecordingPurpose,
    RecordingStarted,
    RecordingUsed,
    UseNotConsented,
)
from domain.records import Author, Proposal
from domain.relationship import (
    Constellation,
    Initiator,
    NotAParticipant,
    RelationshipClosed,
    RelationshipNotOpen,
    relationship_stream,
)
from domain.rupture import (
    AttemptRepair,
    BeforeTheRupture,
    Construct,
    Kind,
    LeaveRuptureOpen,
    Marker,
    MarkRupture,
    Method,
    RecordingNotUsed,
    RepairAttempted,
    ResolveRupture,
    RuptureExists,
    RuptureLeftOpen,
    RuptureMarked,
    RuptureNotYetMarked,
    RuptureResolved,
    Segment,
    SegmentOutsideRecording,
    SessionNotBegun,
    Strategy,
    ViewUnchanged,
    open_ruptures,
    ruptures_of,
)
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    CLINIC,
    CONSENTED,
    COTHERAPIST,
    DAY,
    FOUNDED,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SESSION,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    given,
    held,
    named,
    opened,
    practising,
)

RUPTURE, EARLIER, RECORDING = named("rupture"), named("earlier session"), named("recording")
OBSERVER = named("observer")
SCHEDULED = named("scheduled")
MINUTE = timedelta(minutes=1)
A_WEEK_AGO = AN_HOUR_AGO - 7 * DAY
BASIS = "We could say it to each other."


def mark(by: UUID = CLIENT, view: Perspective = Perspective.CLIENT, **changes: Any) -> MarkRupture:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "rupture": RUPTURE,
        "raised_by": by,
        "perspective": view,
        "method": Method.NAMED_IN_SESSION,
        "kind": Kind.CONFRONTATION,
        "markers": (Marker.COMPLAINT_ABOUT_ACTIVITIES,),
        "concerns": Construct.TASKS,
        "session": SESSION,
        "significance": 3,
    }
    return MarkRupture(**fields | changes)


def code(by: UUID = OBSERVER, **changes: Any) -> MarkRupture:
    fields: dict[str, Any] = {
        "method": Method.CODED_3RS,
        "segment": Segment(recording=RECORDING, from_s=300, to_s=600),
    }
    return mark(by, Perspective.OBSERVER, **fields | changes)


def marked(by: UUID = CLIENT, view: Perspective = Perspective.CLIENT) -> RuptureMarked:
    said = mark(by, view).model_dump(exclude={"relationship", "occurred_at", "late_reason"})
    return RuptureMarked.model_validate(said)


def resolve(
    by: UUID = CLIENT, view: Perspective = Perspective.CLIENT, **changes: Any
) -> ResolveRupture:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "rupture": RUPTURE, "by": by}
    return ResolveRupture(**fields | {"perspective": view, "basis": BASIS} | changes)


def leave(by: UUID = CLIENT, view: Perspective = Perspective.CLIENT) -> LeaveRuptureOpen:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "rupture": RUPTURE, "by": by}
    return LeaveRuptureOpen(**fields | {"perspective": view, "reason": "Not now."})


def repair(session: UUID = SESSION, by: UUID = THERAPIST, **changes: Any) -> AttemptRepair:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "rupture": RUPTURE, "by": by}
    strategies = (Strategy.ACKNOWLEDGES_OWN_CONTRIBUTION,)
    return AttemptRepair(**fields | {"session": session, "strategies": strategies} | changes)


THERAPISTS: Final = Perspective.THERAPIST
MET = given(*OPENED, (held(EARLIER, start=A_WEEK_AGO), A_WEEK_AGO), (held(), AN_HOUR_AGO))
MARKED = MET.when(mark(), by=CLIENT).then(marked())


def rupture(record: Record) -> Any:
    return ruptures_of(record.relationship)[RUPTURE]


# --- Marking --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "by, view",
    [
        (CLIENT, Perspective.CLIENT),
        (THERAPIST, Perspective.THERAPIST),
        (SUPERVISOR, Perspective.SUPERVISOR),
    ],
)
def test_a_mark_says_who_raised_it_and_how(by: UUID, view: Perspective) -> None:
    """Rule 37: a person, from where that person looks, by a stated method."""
    record = MET.when(mark(by, view), by=by).then(marked(by, view))
    found = rupture(record)
    assert (found.marked.raised_by, found.marked.perspective) == (by, view)
    assert found.marked.subject() == (CLIENT if by == CLIENT else None)
    MET.when(mark(by, view), by=OFFICE).refuses(NotInTheirName, person=by)


def test_nobody_marks_from_where_somebody_else_stands() -> None:
    """Rule 37: no therapist as client, no client as observer, no stranger as either."""
    wrong = [
        (THERAPIST, Perspective.CLIENT),
        (CLIENT, Perspective.THERAPIST),
        (COTHERAPIST, Perspective.SUPERVISOR),
        (PARTNER, Perspective.CLIENT),
    ]
    for by, view in wrong:
        MET.when(mark(by, view), by=by).refuses(NotTheirPerspective, rater=by, perspective=view)


def test_an_algorithm_marks_nothing() -> None:
    """Rule 37: it may prompt a person, whose mark then names the finding; it is nobody itself."""
    found = PossibleRupture(method="reliable-drop", method_version="1", entries=(2, 3))
    record = MET.when(mark(prompted_by=found), by=CLIENT).recorded()
    assert rupture(record).marked.prompted_by == found
    beyond = found.model_copy(update={"entries": (10_000,)})
    MET.when(mark(prompted_by=beyond), by=CLIENT).refuses(EntryUnknown, what="entry")
    machine = Author(actor=CLIENT, source=Source.SYSTEM)
    for command in (mark(), resolve(), leave(), repair()):
        with pytest.raises(JudgedByNobody):
            Proposal(command, machine).decide(CLINIC, NOW, MARKED.history, MARKED.policy)


@for_all(st.sampled_from(Kind), st.lists(st.sampled_from(Marker), unique=True))
def test_markers_are_of_the_kind_of_the_rupture(kind: Kind, markers: list[Marker]) -> None:
    """Rule 39: withdrawal has markers of withdrawal, confrontation its own; mixed has any."""
    fits = kind is Kind.MIXED or {marker.kind for marker in markers} <= {kind}
    if fits:
        assert mark(kind=kind, markers=tuple(markers)).markers == tuple(markers)
        return
    with pytest.raises(ValidationError):
        mark(kind=kind, markers=tuple(markers))


def test_markers_and_strategies_are_those_of_the_coding_system() -> None:
    """Rule 39: term by term as the definition of the 3RS has them, in its order."""
    terms = procedures()["3RS"].terms
    by_kind = {
        kind: tuple(marker for marker in Marker if marker.kind is kind)
        for kind in (Kind.WITHDRAWAL, Kind.CONFRONTATION)
    }
    assert by_kind[Kind.WITHDRAWAL] == terms["withdrawal"].codes
    assert by_kind[Kind.CONFRONTATION] == terms["confrontation"].codes
    assert tuple(Strategy) == terms["resolution"].codes


@pytest.mark.parametrize("significance", [0, 6])
def test_significance_lies_between_one_and_five(significance: int) -> None:
    """Rule 30: a number outside its scale is not taken."""
    with pytest.raises(ValidationError):
        mark(significance=significance)


def test_a_rupture_is_of_a_session_that_took_place() -> None:
    """Rule 39: of one that is there, was held, and had begun by then; or of none."""
    MET.when(mark(session=named("none")), by=CLIENT).refuses(EntryUnknown, what="session")
    early = mark(occurred_at=AN_HOUR_AGO - MINUTE)
    MET.when(early, by=CLIENT).refuses(SessionNotBegun, session=SESSION)
    MET.when(mark(session=None), by=CLIENT).recorded()
    MET.when(mark(occurred_at=AN_HOUR_AGO), by=CLIENT).recorded()


def test_a_mark_is_never_reworded_and_its_id_used_once() -> None:
    """Rules 1, 8: it is struck and marked anew under another id."""
    stream, entry = relationship_stream(RELATIONSHIP), MARKED.relationship.version
    content = marked().model_copy(update={"significance": 1}).model_dump(mode="json")
    correct = CorrectEntry(stream=stream, entry=entry, reason="Less.", content=content)
    MARKED.when(correct, by=CLIENT).refuses(NotCorrectable, topic="rupture.marked")
    struck = MARKED.and_given(EnteredInError(entry=entry, reason="No."))
    assert ruptures_of(struck.relationship) == {}
    for record in (MARKED, struck):
        record.when(mark(), by=CLIENT).refuses(RuptureExists, rupture=RUPTURE)


# --- An observer ----------------------------------------------------------------------------

TRAINED = RaterTrainingAttested(
    practitioner=OBSERVER,
    system="3RS",
    trained_by="Institute of Process Research",
    basis="ICC .85.",
    valid_from=date(2025, 1, 1),
)
RECORDED = (
    *CONSENTED,
    practising(OBSERVER),
    TRAINED,
    consent(Scope.RECORDING),
    consent(Scope.RESEARCH_PARTICIPATION),
    (held(), AN_HOUR_AGO),
    (
        RecordingStarted(
            recording=RECORDING,
            session=SESSION,
            kind=RecordingKind.VIDEO,
            started_at=AN_HOUR_AGO + 5 * MINUTE,
            clients=(CLIENT,),
            agreed_by=(THERAPIST,),
            relies_on=(),
        ),
        AN_HOUR_AGO + 5 * MINUTE,
    ),
)
ENDED = (
    RecordingEnded(
        recording=RECORDING, ended_at=AN_HOUR_AGO + 45 * MINUTE, why=RecordingEnd.SESSION_OVER
    ),
    AN_HOUR_AGO + 45 * MINUTE,
)
WATCHED = (
    RecordingUsed(
        recording=RECORDING, purpose=RecordingPurpose.RESEARCH, by=OBSERVER, relies_on=()
    ),
    AN_HOUR_AGO + 50 * MINUTE,
)
OBSERVED = given(*RECORDED, ENDED, WATCHED)


def withdrawn(scope: Scope, at: datetime) -> tuple[ConsentWithdrawn, datetime]:
    return ConsentWithdrawn(consent=consent_id(scope, CLIENT), party=CLIENT), at


def test_an_observer_codes_what_is_on_the_recording() -> None:
    """Rules 22, 24, 39: a trained rater, a segment inside it, and the consents that it cites."""
    record = OBSERVED.when(code(), by=OBSERVER).recorded()
    relied = [reliance.consent for reliance in rupture(record).marked.relies_on]
    assert relied == [
        consent_id(Scope.RECORDING, CLIENT),
        consent_id(Scope.RESEARCH_PARTICIPATION, CLIENT),
    ]


def test_an_observer_is_trained() -> None:
    """Rule 39: on the day of the coding, in that system."""
    untrained = given(*(fact for fact in (*RECORDED, ENDED, WATCHED) if fact != TRAINED))
    untrained.when(code(), by=OBSERVER).refuses(
        RaterNotTrained, practitioner=OBSERVER, system="3RS"
    )
    for changes in (
        {"system": "CIS"},
        {"valid_from": NOW.date() + DAY},
        {"valid_to": date(2025, 6, 1)},
    ):
        other = TRAINED.model_copy(update=changes)
        untrained.and_given(other).when(code(), by=OBSERVER).refuses(RaterNotTrained)


@pytest.mark.parametrize(
    "from_s, to_s, fits",
    [(0, 1, True), (2399, 2400, True), (2399, 2401, False), (2400, 2700, False)],
)
def test_a_segment_lies_inside_the_recording(from_s: int, to_s: int, *, fits: bool) -> None:
    """Rule 39: forty minutes were recorded, whatever the session's length."""
    segment = Segment(recording=RECORDING, from_s=from_s, to_s=to_s)
    outcome = OBSERVED.when(code(segment=segment), by=OBSERVER)
    if fits:
        outcome.recorded()
    else:
        outcome.refuses(SegmentOutsideRecording, recording=RECORDING)


def test_a_withdrawal_in_mid_session_ends_what_can_be_coded() -> None:
    """Rules 22, 39: after the withdrawal there is no recording, and for research no more use."""
    at = AN_HOUR_AGO + 8 * MINUTE  # three minutes into it
    record = given(*RECORDED, withdrawn(Scope.RECORDING, at), WATCHED)
    record.when(code(), by=OBSERVER).refuses(SegmentOutsideRecording, recording=RECORDING)
    inside = code(segment=Segment(recording=RECORDING, from_s=0, to_s=60))
    record.when(inside, by=OBSERVER).refuses(UseNotConsented, scope=Scope.RECORDING)


def test_a_recording_that_still_runs_has_no_segment_yet() -> None:
    """Rule 39: what has no end has no inside."""
    record = given(*RECORDED, WATCHED)
    record.when(code(), by=OBSERVER).refuses(SegmentOutsideRecording, recording=RECORDING)


def test_what_was_consented_to_is_looked_at_when_it_is_coded() -> None:
    """Rule 20: a later use is refused, though the recording was watched before."""
    for scope in (Scope.RECORDING, Scope.RESEARCH_PARTICIPATION):
        record = OBSERVED.and_given(withdrawn(scope, NOW - 5 * MINUTE))
        record.when(code(), by=OBSERVER).refuses(UseNotConsented, party=CLIENT, scope=scope)


def test_only_who_watched_it_codes_it() -> None:
    """Rule 22: each use of a recording is an entry; no coding without one, at that time."""
    unwatched = given(*RECORDED, ENDED)
    unwatched.when(code(), by=OBSERVER).refuses(
        RecordingNotUsed, person=OBSERVER, recording=RECORDING
    )
    early = code(occurred_at=AN_HOUR_AGO + 46 * MINUTE)
    OBSERVED.when(early, by=OBSERVER).refuses(RecordingNotUsed)
    other = code(segment=Segment(recording=named("none"), from_s=0, to_s=60))
    OBSERVED.when(other, by=OBSERVER).refuses(EntryUnknown, what="recording of that session")


@pytest.mark.parametrize(
    "changes",
    [
        {"segment": None},
        {"markers": ()},
        {"session": None},
        {"method": Method.CLINICAL_IMPRESSION},
    ],
)
def test_a_coding_is_whole(changes: dict[str, Any]) -> None:
    """Rule 39: an observer codes by the 3RS, with markers, in a segment of a session."""
    with pytest.raises(ValidationError):
        code(**changes)
    with pytest.raises(ValidationError):
        Segment(recording=RECORDING, from_s=60, to_s=60)


def test_whoever_takes_part_does_not_observe() -> None:
    """Rule 39: neither client nor therapist looks on from outside."""
    for person in (CLIENT, THERAPIST):
        OBSERVED.when(code(person), by=person).refuses(NotTheirPerspective, rater=person)


def test_coding_goes_on_after_the_end() -> None:
    """Rule 16: it is a measure; what those concerned would mark, they cannot any more."""
    closed = OBSERVED.and_given((CLOSED, NOW - 5 * MINUTE))
    record = closed.when(code(), by=OBSERVER).recorded()
    seen = resolve(OBSERVER, Perspective.OBSERVER)
    record.when(seen, by=OBSERVER).recorded()
    untrained = resolve(SUPERVISOR, Perspective.OBSERVER)
    record.when(untrained, by=SUPERVISOR).refuses(RaterNotTrained, practitioner=SUPERVISOR)
    closed.when(mark(), by=CLIENT).refuses(RelationshipNotOpen)


CLOSED = RelationshipClosed(
    reason="Done.", initiated_by=Initiator.BOTH, goals="Reached.", open_goals=(), open_ruptures=()
)


# --- Repair and resolution ------------------------------------------------------------------


def test_a_repair_is_attempted_in_a_session() -> None:
    """Rule 39: by somebody who takes part, by stated strategies, after the rupture."""
    record = MARKED.when(repair(), by=THERAPIST).then(
        RepairAttempted(
            rupture=RUPTURE,
            session=SESSION,
            strategies=(Strategy.ACKNOWLEDGES_OWN_CONTRIBUTION,),
            by=THERAPIST,
        )
    )
    assert len(rupture(record).repairs) == 1
    assert rupture(record).is_open
    MARKED.when(repair(EARLIER), by=THERAPIST).refuses(
        BeforeTheRupture, rupture=RUPTURE, session=EARLIER
    )
    MARKED.when(repair(by=SUPERVISOR), by=SUPERVISOR).refuses(NotAParticipant, person=SUPERVISOR)
    MARKED.when(repair(named("none")), by=THERAPIST).refuses(EntryUnknown, what="session")


def test_a_resolution_needs_an_earlier_rupture() -> None:
    """Rule 39: one that is there, was marked by then, and in no later session."""
    MET.when(resolve(), by=CLIENT).refuses(EntryUnknown, what="rupture")
    early = resolve(occurred_at=AN_HOUR_AGO)
    MARKED.when(early, by=CLIENT).refuses(RuptureNotYetMarked, rupture=RUPTURE)
    MARKED.when(resolve(session=EARLIER), by=CLIENT).refuses(BeforeTheRupture, session=EARLIER)
    MARKED.when(resolve(session=SESSION), by=CLIENT).recorded()
    late = resolve(occurred_at=AN_HOUR_AGO - 2 * DAY, late_reason="From my diary.")
    MARKED.when(late, by=CLIENT).refuses(RuptureNotYetMarked)


def test_one_view_does_not_close_the_others() -> None:
    """Rule 39: the therapist's resolution leaves the client's view as it is, and the reverse."""
    record = MARKED.when(resolve(THERAPIST, THERAPISTS), by=THERAPIST).then(
        RuptureResolved(rupture=RUPTURE, by=THERAPIST, perspective=THERAPISTS, basis=BASIS)
    )
    found = rupture(record)
    assert (found.is_resolved_for(THERAPIST), found.is_resolved_for(CLIENT)) == (True, False)
    assert open_ruptures(record.relationship) == (RUPTURE,)
    record = record.when(resolve(), by=CLIENT).recorded()
    assert open_ruptures(record.relationship) == ()
    record = record.when(leave(), by=CLIENT).then(
        RuptureLeftOpen(
            rupture=RUPTURE, by=CLIENT, perspective=Perspective.CLIENT, reason="Not now."
        )
    )
    assert open_ruptures(record.relationship) == (RUPTURE,)
    assert rupture(record).is_resolved_for(THERAPIST)


def test_a_view_is_taken_by_whoever_has_it() -> None:
    """Rule 39: once until it changes, in the own name and from the own place."""
    record = MARKED.when(resolve(), by=CLIENT).recorded()
    record.when(resolve(), by=CLIENT).refuses(ViewUnchanged, by=CLIENT, rupture=RUPTURE)
    MARKED.when(resolve(), by=THERAPIST).refuses(NotInTheirName, person=CLIENT)
    MARKED.when(resolve(THERAPIST), by=THERAPIST).refuses(NotTheirPerspective)
    MARKED.when(leave(PARTNER), by=PARTNER).refuses(NotTheirPerspective)


def test_of_a_couple_each_has_an_own_view_under_an_own_key() -> None:
    """Rule 39: one partner's resolution closes nothing for the other, nor is it theirs to read."""
    couple = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.COUPLE),
        (held(SESSION, CLIENT, PARTNER, THERAPIST), AN_HOUR_AGO),
    )
    record = couple.when(mark(), by=CLIENT).recorded()
    record = record.when(resolve(PARTNER), by=PARTNER).recorded()
    assert open_ruptures(record.relationship) == (RUPTURE,)
    assert [e.event.subject() for e in record.entries[-2:]] == [CLIENT, PARTNER]  # type: ignore[union-attr]


def test_what_is_seen_from_outside_waits_for_nobody_in_particular() -> None:
    """Rule 39: a supervisor's mark is settled by whoever sees it as resolved."""
    view = Perspective.SUPERVISOR
    record = MET.when(mark(SUPERVISOR, view), by=SUPERVISOR).recorded()
    assert open_ruptures(record.relationship) == (RUPTURE,)
    resolved = record.when(resolve(THERAPIST, THERAPISTS), by=THERAPIST).recorded()
    assert open_ruptures(resolved.relationship) == ()
    record = resolved.when(leave(SUPERVISOR, view), by=SUPERVISOR).recorded()
    assert open_ruptures(record.relationship) == (RUPTURE,)


def test_no_correction_moves_a_resolution_before_its_rupture() -> None:
    """Rules 1, 39: a view or a repair is struck and told anew; then it is looked at again."""
    stream = relationship_stream(RELATIONSHIP)
    record = MARKED.when(repair(), by=THERAPIST).recorded()
    record = record.when(resolve(), by=CLIENT).recorded()
    for entry, topic in ((-2, "rupture.repair_attempted"), (-1, "rupture.resolved")):
        version = record.relationship[entry].version
        moved = CorrectEntry(
            stream=stream, entry=version, reason="Earlier.", content={}, occurred=AN_HOUR_AGO
        )
        record.when(moved, by=CLIENT).refuses(NotCorrectable, topic=topic)
    strike = MarkEnteredInError(stream=stream, entry=record.relationship.version, reason="No.")
    record = record.when(strike, by=CLIENT).recorded()
    assert rupture(record).is_open
    record.when(resolve(), by=CLIENT).recorded()


@for_all(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=6))
def test_each_view_is_the_last_that_was_taken(steps: list[tuple[bool, bool]]) -> None:
    """Rule 39: whatever the order, the two views are independent of each other."""
    record, last = MARKED, {CLIENT: False, THERAPIST: False}
    spoken = set()
    for by_client, resolved in steps:
        by = CLIENT if by_client else THERAPIST
        view = Perspective.CLIENT if by_client else THERAPISTS
        command = resolve(by, view) if resolved else leave(by, view)
        outcome = record.when(command, by=by)
        if by in spoken and last[by] == resolved:
            outcome.refuses(ViewUnchanged)
            continue
        record = outcome.recorded()
        last[by] = resolved
        spoken.add(by)
    found = rupture(record)
    assert {person: found.is_resolved_for(person) for person in last} == last
    assert found.is_open == (not (last[CLIENT] and (last[THERAPIST] or THERAPIST not in spoken)))


def test_what_refers_to_an_erased_mark_is_passed_over() -> None:
    """Rule 9: nothing is told of a rupture that nobody can read any more."""
    record = MARKED.when(repair(), by=THERAPIST).recorded()
    record = record.when(resolve(THERAPIST, THERAPISTS), by=THERAPIST).recorded()
    assert ruptures_of(record.erased(CLIENT).relationship) == {}


@pytest.mark.parametrize("command", [mark(rupture=named("new")), repair(), resolve(), leave()])
def test_a_closed_relationship_takes_no_ruptures(command: Any) -> None:
    """Rule 16: nothing new about ruptures after closure, but what an observer codes."""
    closed = MARKED.and_given((CLOSED, NOW + HOUR))
    closed.when(command, by=CLIENT).refuses(RelationshipNotOpen)
