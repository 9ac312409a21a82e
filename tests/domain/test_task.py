"""Tasks: what they are for, who agrees to them, how they went."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.correction import CorrectEntry
from domain.event import Command, EntryUnknown
from domain.goal import GoalProposed
from domain.person import NotInTheirName
from domain.relationship import (
    Initiator,
    NotAParticipant,
    RelationshipClosed,
    RelationshipNotOpen,
    relationship_stream,
)
from domain.task import (
    Aim,
    AssentToTask,
    Done,
    ProposeTask,
    RetireTask,
    ReviewTask,
    TaskAssented,
    TaskAssentedAlready,
    TaskExists,
    TaskIsRetired,
    TaskNotYetProposed,
    TaskProposed,
    TaskRetired,
    TaskReviewed,
    tasks_of,
)
from tests.kit import (
    CLIENT,
    DAY,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    THERAPIST,
    given,
    named,
)

TASK = named("task")
GOAL = named("goal")
DESCRIPTION = "One stop on the tram each morning, with the counting."
FOR_ITSELF = Aim(purpose="To find out what the fear does after four minutes.")
GOAL_PROPOSED = GoalProposed(goal=GOAL, statement="To ride the tram.", by=CLIENT)


def proposed(aim: Aim = FOR_ITSELF) -> TaskProposed:
    return TaskProposed(task=TASK, description=DESCRIPTION, aim=aim, by=THERAPIST)


def propose(aim: Aim = FOR_ITSELF, by: UUID = THERAPIST) -> ProposeTask:
    return ProposeTask(
        relationship=RELATIONSHIP, task=TASK, description=DESCRIPTION, aim=aim, by=by
    )


def assent(party: UUID = CLIENT, **changes: Any) -> AssentToTask:
    return AssentToTask(relationship=RELATIONSHIP, task=TASK, party=party, **changes)


def review(by: UUID = CLIENT) -> ReviewTask:
    return ReviewTask(relationship=RELATIONSHIP, task=TASK, by=by, done=Done.PARTLY, helpfulness=7)


RETIRE = RetireTask(relationship=RELATIONSHIP, task=TASK, reason="It has done its work.")
RETIRED = TaskRetired(task=TASK, reason="It has done its work.")
PROPOSED = given(*OPENED, proposed())


@pytest.mark.parametrize(
    "aim",
    [FOR_ITSELF, Aim(goals=(GOAL,)), Aim(goals=(GOAL,), purpose="To practise.")],
    ids=["purpose", "goals", "both"],
)
def test_a_task_says_what_it_is_for(aim: Aim) -> None:
    """Rule 27: a task names goals or a stated purpose."""
    given(*OPENED, GOAL_PROPOSED).when(propose(aim)).then(proposed(aim))


@for_all(st.lists(st.uuids(), max_size=3), st.one_of(st.none(), st.sampled_from(["", " ", "Why"])))
def test_no_task_is_without_an_aim(goals: list[UUID], purpose: str | None) -> None:
    """Rule 27: neither as a command nor as an event; a blank purpose is none."""
    sound = len(set(goals)) == len(goals) and purpose not in ("", " ")
    if sound and (goals or purpose):
        assert Aim(goals=tuple(goals), purpose=purpose).purpose == purpose
    else:
        with pytest.raises(ValidationError):
            Aim(goals=tuple(goals), purpose=purpose)


def test_the_goals_of_a_task_are_those_of_the_relationship() -> None:
    """Rule 27: a goal that nobody has proposed here gives a task no aim."""
    given(*OPENED).when(propose(Aim(goals=(GOAL,)))).refuses(EntryUnknown, what="goal")


def test_a_task_is_assented_to_by_each_party_once() -> None:
    """Rule 27, rule 33: by the party, or visibly on that party's behalf."""
    record = PROPOSED.when(assent(), by=CLIENT).then(TaskAssented(task=TASK, party=CLIENT))
    record.when(assent(), by=CLIENT).refuses(TaskAssentedAlready, task=TASK, party=CLIENT)
    record = record.when(assent(THERAPIST), by=THERAPIST).recorded()
    assert tasks_of(record.relationship)[TASK].assents.keys() == {CLIENT, THERAPIST}
    PROPOSED.when(assent(), by=THERAPIST).refuses(NotInTheirName, person=CLIENT)
    PROPOSED.when(assent(), by=OFFICE, on_behalf_of=CLIENT).recorded()


def test_a_task_that_is_set_right_is_assented_to_anew() -> None:
    """Rules 1 and 27: nobody has agreed to words that an entry was given only afterwards."""
    record = PROPOSED.and_given(TaskAssented(task=TASK, party=CLIENT))
    reads = proposed().model_copy(update={"description": "Two stops on the tram each morning."})
    correct = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=record.relationship.version - 1,
        reason="Misheard.",
        content=reads.model_dump(mode="json", exclude_none=True, exclude={"reported"}),
    )
    corrected = record.when(correct).recorded()
    assert tasks_of(record.relationship)[TASK].assents.keys() == {CLIENT}
    assert tasks_of(corrected.relationship)[TASK].assents.keys() == set()
    again = corrected.when(assent(), by=CLIENT).recorded()
    assert tasks_of(again.relationship)[TASK].assents.keys() == {CLIENT}


def test_a_review_says_how_a_task_went() -> None:
    """Rule 27: in the reviewer's own words and under the reviewer's own key, as often as wanted."""
    reviewed = TaskReviewed(task=TASK, by=CLIENT, done=Done.PARTLY, helpfulness=7)
    assert reviewed.subject() == CLIENT
    record = PROPOSED.when(review(), by=CLIENT).then(reviewed)
    record = record.when(review(), by=CLIENT).recorded()
    assert [entry.event for entry in tasks_of(record.relationship)[TASK].reviews] == [reviewed] * 2
    PROPOSED.when(review(), by=THERAPIST).refuses(NotInTheirName, person=CLIENT)


@pytest.mark.parametrize("helpfulness", [-1, 11])
def test_helpfulness_lies_between_nought_and_ten(helpfulness: int) -> None:
    """Rule 30: a number outside its scale is not taken."""
    with pytest.raises(ValidationError):
        ReviewTask(
            relationship=RELATIONSHIP,
            task=TASK,
            by=CLIENT,
            done=Done.DONE,
            helpfulness=helpfulness,
        )


def test_a_retired_task_is_over() -> None:
    """Rule 27: it takes no assent, no review and no second end."""
    record = PROPOSED.when(RETIRE).then(RETIRED)
    commands: tuple[Command, ...] = (assent(), review(), RETIRE)
    for command in commands:
        record.when(command, by=CLIENT).refuses(TaskIsRetired, task=TASK)


def test_a_late_assent_from_before_the_end_is_taken() -> None:
    """Rule 3, rule 5: what happened while the task was on is judged by its own day."""
    record = PROPOSED.and_given((RETIRED, NOW - DAY))
    earlier = assent(occurred_at=NOW - 2 * DAY, late_reason="Given on paper.")
    record = record.when(earlier, by=CLIENT).recorded()
    task = tasks_of(record.relationship)[TASK]
    assert CLIENT in task.assents
    assert task.retired is not None


def test_only_participants_have_to_do_with_tasks() -> None:
    """Rule 10: nobody from outside proposes, assents or reviews."""
    given(*OPENED).when(propose(by=PARTNER)).refuses(NotAParticipant, person=PARTNER)
    PROPOSED.when(assent(PARTNER), by=PARTNER).refuses(NotAParticipant, person=PARTNER)
    PROPOSED.when(review(PARTNER), by=PARTNER).refuses(NotAParticipant, person=PARTNER)


def test_a_task_has_its_own_id_and_its_time() -> None:
    """Rule 8: an id is used once; what refers to a task cannot come before it."""
    PROPOSED.when(propose()).refuses(TaskExists, task=TASK)
    given(*OPENED).when(review(), by=CLIENT).refuses(EntryUnknown, what="task")
    at_the_opening = PROPOSED.relationship[0].occurred_at
    early = assent(occurred_at=at_the_opening, late_reason="Given on paper.")
    PROPOSED.when(early, by=CLIENT).refuses(TaskNotYetProposed, task=TASK)


@pytest.mark.parametrize("command", [propose(), assent(), review(), RETIRE])
def test_a_closed_relationship_takes_no_tasks(command: Command) -> None:
    """Rule 16: nothing new about tasks after closure."""
    closed = RelationshipClosed(
        reason="Done.",
        initiated_by=Initiator.BOTH,
        goals="Reached.",
        open_goals=(),
        open_ruptures=(),
    )
    PROPOSED.and_given((closed, NOW - DAY)).when(command, by=CLIENT).refuses(RelationshipNotOpen)
