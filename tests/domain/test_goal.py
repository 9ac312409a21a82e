"""Goals: agreed on one wording by everyone, rated only while agreed, reached and taken up again."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.correction import EnteredInError
from domain.event import Command, EntryUnknown, LateReasonMissing
from domain.goal import (
    AssentToGoal,
    Attainment,
    DissentFromGoal,
    Goal,
    GoalAssented,
    GoalDissented,
    GoalExists,
    GoalIsClosed,
    GoalIsOpen,
    GoalNotYetProposed,
    GoalProposed,
    GoalRated,
    GoalReached,
    GoalReopened,
    GoalRetired,
    GoalRevised,
    GoalScale,
    GoalStatus,
    Level,
    NotTheRevisionAtIssue,
    ProposeGoal,
    ReachGoal,
    ReopenGoal,
    RetireGoal,
    ReviseGoal,
    StanceUnchanged,
    goals_of,
)
from domain.goal_rating import GoalNotAgreed, LevelsNotDescribed, RateGoal
from domain.instrument import Perspective
from domain.person import NotInTheirName
from domain.relationship import (
    Constellation,
    Initiator,
    NotAParticipant,
    RelationshipClosed,
    RelationshipNotOpen,
)
from tests.kit import (
    CLIENT,
    DAY,
    FOUNDED,
    IMPORT_DECLARED,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    Record,
    given,
    named,
    opened,
)

GOAL = named("goal")
WORDING = "To ride the tram to work twice a week."
BETTER = "To ride the tram to work every day."
LEVELS = Attainment(weight=3, levels=("not at all", "once", "twice", "four times", "every day"))
GBO_SIX = Level(scale=GoalScale.GBO, value=6)
COUPLE = (*FOUNDED, opened(CLIENT, PARTNER, constellation=Constellation.COUPLE))
CLOSED = RelationshipClosed(
    reason="The work is done.",
    initiated_by=Initiator.CLIENT,
    goals="One reached.",
    open_goals=(),
    open_ruptures=(),
)


def proposed(attainment: Attainment | None = None) -> GoalProposed:
    return GoalProposed(goal=GOAL, statement=WORDING, by=CLIENT, attainment=attainment)


def revised(revision: int = 2) -> GoalRevised:
    return GoalRevised(goal=GOAL, revision=revision, statement=BETTER, by=THERAPIST)


def assented(party: UUID, revision: int = 1) -> GoalAssented:
    return GoalAssented(goal=GOAL, revision=revision, party=party)


def assent(party: UUID, revision: int = 1, **changes: Any) -> AssentToGoal:
    return AssentToGoal(
        relationship=RELATIONSHIP, goal=GOAL, revision=revision, party=party, **changes
    )


def dissent(party: UUID, revision: int = 1) -> DissentFromGoal:
    return DissentFromGoal(
        relationship=RELATIONSHIP, goal=GOAL, revision=revision, party=party, reason="Too much."
    )


def propose(by: UUID = CLIENT) -> ProposeGoal:
    return ProposeGoal(relationship=RELATIONSHIP, goal=GOAL, statement=WORDING, by=by)


def revise() -> ReviseGoal:
    return ReviseGoal(relationship=RELATIONSHIP, goal=GOAL, statement=BETTER, by=THERAPIST)


def rate(level: Level = GBO_SIX, revision: int = 1, **changes: Any) -> RateGoal:
    return RateGoal(
        relationship=RELATIONSHIP, goal=GOAL, revision=revision, by=CLIENT, level=level, **changes
    )


def reopen() -> ReopenGoal:
    return ReopenGoal(relationship=RELATIONSHIP, goal=GOAL, reason="It came back in winter.")


def retire() -> RetireGoal:
    return RetireGoal(relationship=RELATIONSHIP, goal=GOAL, reason="Another job.")


REACH = ReachGoal(relationship=RELATIONSHIP, goal=GOAL)
PROPOSED = given(*OPENED, proposed())
AGREED = PROPOSED.and_given(assented(CLIENT), assented(THERAPIST))


def goal_in(record: Record) -> Goal:
    return goals_of(record.relationship)[GOAL]


def is_agreed(record: Record, *parties: UUID) -> bool:
    return goal_in(record).current.agreed_by(parties or (CLIENT, THERAPIST))


# --- Rule 25 --------------------------------------------------------------------------------


def test_a_goal_is_agreed_once_everyone_has_assented_to_it() -> None:
    """Rule 25: a goal is agreed only when every required party assents to the same revision."""
    record = given(*OPENED).when(propose(), by=CLIENT).then(proposed())
    assert not is_agreed(record)
    record = record.when(assent(CLIENT), by=CLIENT).then(assented(CLIENT))
    assert not is_agreed(record)
    record = record.when(assent(THERAPIST), by=THERAPIST).then(assented(THERAPIST))
    assert is_agreed(record)


def test_both_partners_of_a_couple_must_assent() -> None:
    """Rule 25: the required parties are all clients and therapists, not just one of each."""
    record = given(*COUPLE, proposed(), assented(CLIENT), assented(THERAPIST))
    record.when(rate(), by=CLIENT).refuses(GoalNotAgreed, goal=GOAL, revision=1)
    record.and_given(assented(PARTNER)).when(rate(), by=CLIENT).recorded()


def test_another_wording_starts_without_assents_and_the_earlier_agreement_stays() -> None:
    """Rule 25: a revision voids assents; the earlier agreement stays in history."""
    record = AGREED.when(revise()).then(revised())
    assert not is_agreed(record)
    first, second = goal_in(record).revisions
    assert (first.statement, second.statement) == (WORDING, BETTER)
    assert first.agreed_by((CLIENT, THERAPIST))
    assert second.stances == {}


def test_nobody_assents_to_a_wording_that_is_not_in_force() -> None:
    """Rule 25: assent to an earlier revision, or to one that does not exist yet, is refused."""
    record = AGREED.and_given(revised())
    record.when(assent(CLIENT, 1), by=CLIENT).refuses(
        NotTheRevisionAtIssue, goal=GOAL, revision=1, current=2
    )
    record.when(assent(CLIENT, 3), by=CLIENT).refuses(NotTheRevisionAtIssue, revision=3)


def test_a_dissent_takes_an_assent_back() -> None:
    """Rule 25: who no longer agrees, no longer counts; the reason is under that person's key."""
    outcome = AGREED.when(dissent(CLIENT), by=CLIENT)
    dissented = GoalDissented(goal=GOAL, revision=1, party=CLIENT, reason="Too much.")
    record = outcome.then(dissented)
    assert dissented.subject() == CLIENT
    assert not is_agreed(record)
    assert is_agreed(record.when(assent(CLIENT), by=CLIENT).recorded())


def test_saying_the_same_twice_is_refused() -> None:
    """Rule 25: one stance a person and revision; repeating it adds nothing."""
    AGREED.when(assent(CLIENT), by=CLIENT).refuses(
        StanceUnchanged, party=CLIENT, revision=1, goal=GOAL
    )
    disagreed = AGREED.when(dissent(THERAPIST)).recorded()
    disagreed.when(dissent(THERAPIST)).refuses(StanceUnchanged, party=THERAPIST)


def test_nobody_assents_in_the_name_of_another() -> None:
    """Rule 25, rule 33: another's assent is entered only visibly on that person's behalf."""
    PROPOSED.when(assent(CLIENT), by=THERAPIST).refuses(NotInTheirName, person=CLIENT)
    PROPOSED.when(dissent(THERAPIST), by=CLIENT).refuses(NotInTheirName, person=THERAPIST)
    AGREED.when(rate(), by=THERAPIST).refuses(NotInTheirName, person=CLIENT)
    record = PROPOSED.when(assent(CLIENT), by=OFFICE, on_behalf_of=CLIENT).then(assented(CLIENT))
    entry = record.entries[-1]
    assert (entry.actor, entry.on_behalf_of) == (OFFICE, CLIENT)


def test_an_import_relates_what_was_said_elsewhere() -> None:
    """Rule 45: an import speaks for nobody; its entries are marked by their source."""
    record = PROPOSED.and_given(IMPORT_DECLARED)
    record.when(assent(CLIENT), by=OFFICE, imported=True).then(assented(CLIENT))


def test_only_participants_have_a_say() -> None:
    """Rule 10, rule 25: clients and therapists of the relationship, nobody else."""
    PROPOSED.when(assent(SUPERVISOR), by=SUPERVISOR).refuses(NotAParticipant, person=SUPERVISOR)
    AGREED.when(
        RateGoal(relationship=RELATIONSHIP, goal=GOAL, revision=1, by=SUPERVISOR, level=GBO_SIX),
        by=SUPERVISOR,
    ).refuses(NotAParticipant, person=SUPERVISOR)
    given(*OPENED).when(propose(by=PARTNER)).refuses(NotAParticipant, person=PARTNER)
    by_partner = ReviseGoal(relationship=RELATIONSHIP, goal=GOAL, statement=BETTER, by=PARTNER)
    PROPOSED.when(by_partner).refuses(NotAParticipant, person=PARTNER)


PARTIES = (CLIENT, PARTNER, THERAPIST)
STEPS = st.one_of(
    st.tuples(st.just("assent"), st.sampled_from(PARTIES), st.integers(1, 3)),
    st.tuples(st.just("dissent"), st.sampled_from(PARTIES), st.integers(1, 3)),
    st.tuples(st.just("revise"), st.just(THERAPIST), st.just(0)),
)


@for_all(st.lists(STEPS, max_size=12))
def test_whatever_is_said_in_whatever_order(steps: list[tuple[str, UUID, int]]) -> None:
    """Rule 25: over any sequence, agreed = all hold an assent to the current revision."""
    record = given(*COUPLE, proposed())
    current, standing = 1, dict[UUID, str]()
    for step, party, revision in steps:
        if step == "revise":
            record = record.when(revise()).then(revised(current + 1))
            current, standing = current + 1, {}
            continue
        command = assent(party, revision) if step == "assent" else dissent(party, revision)
        outcome = record.when(command, by=party)
        if revision != current:
            outcome.refuses(NotTheRevisionAtIssue, current=current)
        elif standing.get(party) == step:
            outcome.refuses(StanceUnchanged, party=party)
        else:
            record = outcome.recorded()
            standing[party] = step
    assert goal_in(record).current.number == current
    everyone = all(standing.get(party) == "assent" for party in PARTIES)
    assert is_agreed(record, *PARTIES) == everyone


def test_a_revision_number_is_never_given_twice() -> None:
    """Rule 25: even if a revision was entered in error: no assent changes what it is about."""
    record = PROPOSED.and_given(revised())
    version = record.relationship.version
    in_error = record.and_given(EnteredInError(entry=version, reason="Of another client."))
    assert goal_in(in_error).current.number == 1
    in_error.when(revise()).then(revised(3))


# --- Rule 26 --------------------------------------------------------------------------------


def test_an_agreed_goal_is_rated() -> None:
    """Rule 26: a goal rating names an agreed revision; a client's is under the client's own key."""
    rated = GoalRated(
        goal=GOAL, revision=1, by=CLIENT, perspective=Perspective.CLIENT, level=GBO_SIX
    )
    record = AGREED.when(rate(), by=CLIENT).then(rated)
    assert rated.subject() == CLIENT
    assert [entry.event for entry in goal_in(record).ratings] == [rated]
    by_therapist = RateGoal(
        relationship=RELATIONSHIP, goal=GOAL, revision=1, by=THERAPIST, level=GBO_SIX
    )
    seen_by_therapist = AGREED.when(by_therapist, by=THERAPIST).event
    assert isinstance(seen_by_therapist, GoalRated)
    assert seen_by_therapist.perspective is Perspective.THERAPIST
    assert seen_by_therapist.subject() is None


def test_a_goal_that_is_not_agreed_takes_no_rating() -> None:
    """Rule 26: neither before the last assent nor after another wording."""
    record = PROPOSED.and_given(assented(CLIENT))
    record.when(rate(), by=CLIENT).refuses(GoalNotAgreed, goal=GOAL, revision=1)
    reworded = AGREED.and_given(revised())
    reworded.when(rate(), by=CLIENT).refuses(NotTheRevisionAtIssue, revision=1, current=2)
    reworded.when(rate(revision=2), by=CLIENT).refuses(GoalNotAgreed, revision=2)


def test_attainment_scaling_needs_its_levels_first() -> None:
    """Rule 26: GAS: all levels and the weight are part of the agreed revision before any rating."""
    expected = Level(scale=GoalScale.GAS, value=0)
    AGREED.when(rate(expected), by=CLIENT).refuses(LevelsNotDescribed, goal=GOAL, revision=1)
    described = given(*OPENED, proposed(LEVELS), assented(CLIENT), assented(THERAPIST))
    assert goal_in(described).current.attainment == LEVELS
    described.when(rate(expected), by=CLIENT).recorded()


@pytest.mark.parametrize("levels", [4, 6])
def test_there_are_five_levels(levels: int) -> None:
    """Rule 26: −2 … +2, each of them described."""
    with pytest.raises(ValidationError):
        Attainment.model_validate({"weight": 1, "levels": ["as it is"] * levels})


@for_all(st.sampled_from(GoalScale), st.integers(-20, 20))
def test_a_level_lies_on_its_scale(scale: GoalScale, value: int) -> None:
    """Rule 26: GAS −2 … +2, GBO 0 … 10; a number without its scale cannot be given."""
    low, high = (-2, 2) if scale is GoalScale.GAS else (0, 10)
    if low <= value <= high:
        assert Level(scale=scale, value=value).value == value
    else:
        with pytest.raises(ValidationError, match="GAS runs from -2 to 2, GBO from 0 to 10"):
            Level(scale=scale, value=value)


@pytest.mark.parametrize(
    "end, status",
    [
        (GoalReached(goal=GOAL), GoalStatus.REACHED),
        (GoalRetired(goal=GOAL, reason="Another job."), GoalStatus.RETIRED),
    ],
)
def test_a_reached_or_retired_goal_is_at_rest_until_reopened(
    end: GoalReached | GoalRetired, status: GoalStatus
) -> None:
    """Rule 26: no rating, assent or wording; reopening is an entry, with a reason."""
    closed = AGREED.and_given(end)
    assert goal_in(closed).status is status
    commands: tuple[Command, ...] = (
        rate(),
        assent(CLIENT),
        dissent(CLIENT),
        revise(),
        REACH,
        retire(),
    )
    for command in commands:
        closed.when(command, by=CLIENT).refuses(GoalIsClosed, goal=GOAL, status=status)
    again = closed.when(reopen()).then(GoalReopened(goal=GOAL, reason="It came back in winter."))
    assert goal_in(again).status is GoalStatus.OPEN
    again.when(rate(), by=CLIENT).recorded()


def test_goals_are_reached_and_retired() -> None:
    """Rule 26: each is an entry; an open goal has nothing to reopen."""
    AGREED.when(REACH).then(GoalReached(goal=GOAL))
    AGREED.when(retire()).then(GoalRetired(goal=GOAL, reason="Another job."))
    AGREED.when(reopen()).refuses(GoalIsOpen, goal=GOAL)


def test_a_late_rating_is_judged_by_its_own_day() -> None:
    """Rule 3, rule 26: a rating from before the goal was reached may be recorded afterwards."""
    reached = AGREED.and_given((GoalReached(goal=GOAL), NOW - 2 * DAY))
    before = NOW - 3 * DAY
    reached.when(rate(occurred_at=before), by=CLIENT).refuses(LateReasonMissing)
    late = rate(occurred_at=before, late_reason="The sheet lay in the tray.")
    record = reached.when(late, by=CLIENT).recorded()
    assert goal_in(record).status is GoalStatus.REACHED
    after = rate(occurred_at=NOW - DAY)
    reached.when(after, by=CLIENT).refuses(GoalIsClosed, status="reached")


def test_a_late_assent_counts_for_the_wording_of_its_day() -> None:
    """Rule 5, rule 25: agreed as it happened; as it was known then, it was not yet."""
    monday, wednesday = NOW - 5 * DAY, NOW - 3 * DAY
    record = PROPOSED.and_given((assented(THERAPIST), monday), (revised(), wednesday))
    late = assent(CLIENT, 1, occurred_at=monday, late_reason="Given on paper.")
    record = record.when(late, by=CLIENT).recorded()
    first, second = goal_in(record).revisions
    assert first.agreed_by((CLIENT, THERAPIST))
    assert not second.agreed_by((CLIENT, THERAPIST))
    then = record.relationship.as_of(known_at=NOW - DAY, happened_by=monday)
    assert not goals_of(then)[GOAL].current.agreed_by((CLIENT, THERAPIST))
    now = record.relationship.as_of(known_at=NOW, happened_by=monday)
    assert goals_of(now)[GOAL].current.agreed_by((CLIENT, THERAPIST))


ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            [assent(CLIENT), assent(THERAPIST), dissent(CLIENT), revise(), REACH, reopen(), rate()]
        ),
        st.integers(0, 20),
        st.integers(1, 3),
    ),
    max_size=14,
)


@for_all(ACTS)
def test_every_rating_was_agreed_when_it_was_made(acts: list[tuple[Any, int, int]]) -> None:
    """Rule 26: late or not, each rating names a revision agreed then, as it was known then."""
    record = given(*OPENED, proposed())
    for act, days_ago, revision in acts:
        changes = {"occurred_at": NOW - days_ago * DAY, "late_reason": "Found later."}
        if "revision" in type(act).model_fields:
            changes["revision"] = revision
        by = getattr(act, "party", None) or (CLIENT if isinstance(act, RateGoal) else THERAPIST)
        outcome = record.when(act.model_copy(update=changes), by=by)
        record = record if outcome.refusal else outcome.recorded()
    history = record.relationship
    for entry, rated in history.of(GoalRated):
        before = [other for other in history if other.version < entry.version]
        then = type(history)(before).as_of(happened_by=entry.occurred_at)
        goal = goals_of(then)[GOAL]
        assert goal.status is GoalStatus.OPEN
        assert goal.current.number == rated.revision
        assert goal.current.agreed_by((CLIENT, THERAPIST))


# --- What holds for every goal --------------------------------------------------------------


def test_an_id_names_one_goal() -> None:
    """Rule 8: a goal's id is used once, also when its proposal was entered in error."""
    PROPOSED.when(propose(), by=CLIENT).refuses(GoalExists, goal=GOAL)
    version = PROPOSED.relationship.version
    in_error = PROPOSED.and_given(EnteredInError(entry=version, reason="Of another client."))
    assert GOAL not in goals_of(in_error.relationship)
    in_error.when(propose(), by=CLIENT).refuses(GoalExists, goal=GOAL)


def test_a_goal_must_be_there_at_the_time() -> None:
    """Rule 26: what was never proposed, or only later, takes no entry."""
    given(*OPENED).when(assent(CLIENT), by=CLIENT).refuses(EntryUnknown, what="goal")
    at_the_opening = PROPOSED.relationship[0].occurred_at
    late = assent(CLIENT, occurred_at=at_the_opening, late_reason="Given on paper.")
    PROPOSED.when(late, by=CLIENT).refuses(GoalNotYetProposed, goal=GOAL)


@pytest.mark.parametrize("command", [propose(), revise(), assent(CLIENT), rate(), REACH, reopen()])
def test_a_closed_relationship_takes_no_goals(command: Any) -> None:
    """Rule 16: after closure nothing new; what happened before may still be recorded."""
    closed = PROPOSED.and_given((CLOSED, NOW - DAY))
    closed.when(command, by=CLIENT).refuses(RelationshipNotOpen, relationship=RELATIONSHIP)
    earlier = assent(CLIENT, occurred_at=NOW - 2 * DAY, late_reason="Given on paper.")
    closed.when(earlier, by=CLIENT).recorded()
