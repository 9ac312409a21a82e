"""Goals and tasks of one relationship: worded, agreed, reworded, rated, reached."""

from datetime import timedelta
from uuid import UUID

from api.demo import words
from api.demo.plot import Twist
from api.demo.scene import Hour, Scene
from api.demo.stage import Find, Someone
from domain.correction import CorrectEntry
from domain.goal import (
    AssentToGoal,
    Attainment,
    DissentFromGoal,
    GoalScale,
    Level,
    ProposeGoal,
    ReachGoal,
    RetireGoal,
    ReviseGoal,
)
from domain.goal_rating import RateGoal
from domain.relationship import relationship_stream
from domain.task import Aim, AssentToTask, Done, ProposeTask, RetireTask, ReviewTask, TaskProposed

FIRST, SECOND = "first", "second"


class Goals:
    """The first goal is reworded and rated by GBO, the second scaled and rated by GAS."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._wording = dict(zip((FIRST, SECOND), scene.rng.sample(words.GOALS, 2), strict=True))
        self._revision = {FIRST: 1, SECOND: 1}
        self._disputed = scene.plot.number % 3 == 1
        self.open: list[str] = []

    def id(self, goal: str) -> UUID:
        return self._scene.id("goal", goal)

    def after(self, hour: Hour) -> None:
        """What is said about goals towards the end of a session."""
        match hour.number:
            case 2:
                self._propose(hour, FIRST, self._scene.client)
            case 4:
                self._propose(hour, SECOND, self._scene.therapist)
            case 10 if FIRST in self.open:
                self._revise(hour, self._scene.therapist, disputed=self._disputed)
            case 11 if FIRST in self.open and self._disputed:
                self._revise(hour, self._scene.client, disputed=False)
            case 22 if FIRST in self.open:
                reach = ReachGoal(
                    relationship=self._scene.relationship,
                    goal=self.id(FIRST),
                    occurred_at=hour.ended_at,
                )
                self._scene.act(
                    hour.recorded_at, "goal/first/reached", self._scene.therapist, reach
                )
                self.open.remove(FIRST)
            case 26 if SECOND in self.open and self._scene.plot.number % 4 == 2:
                retire = RetireGoal(
                    relationship=self._scene.relationship,
                    goal=self.id(SECOND),
                    reason="No longer what matters most.",
                    occurred_at=hour.ended_at,
                )
                self._scene.act(
                    hour.recorded_at, "goal/second/retired", self._scene.therapist, retire
                )
                self.open.remove(SECOND)
        if hour.number % 5 == 0 and not (hour.number == 10 and self._disputed):
            self._rate(hour)

    def _propose(self, hour: Hour, goal: str, by: Someone) -> None:
        scene = self._scene
        propose = ProposeGoal(
            relationship=scene.relationship,
            goal=self.id(goal),
            statement=self._wording[goal],
            by=by.id,
            attainment=Attainment(weight=20, levels=words.LEVELS) if goal == SECOND else None,
            occurred_at=hour.ended_at - timedelta(minutes=20),
        )
        scene.act(hour.recorded_at, f"goal/{goal}/proposed", by, propose)
        self._assent(hour, goal)
        self.open.append(goal)

    def _assent(self, hour: Hour, goal: str, *, but: Someone | None = None) -> None:
        """Everybody agrees to the current wording, but one."""
        scene, revision = self._scene, self._revision[goal]
        for party in scene.participants:
            assent = AssentToGoal(
                relationship=scene.relationship,
                goal=self.id(goal),
                revision=revision,
                party=party.id,
                occurred_at=hour.ended_at - timedelta(minutes=10),
            )
            stance = (
                assent
                if party != but
                else DissentFromGoal(
                    reason="This is what others want of me, not what I want.",
                    **assent.model_dump(exclude_unset=True),
                )
            )
            key = f"goal/{goal}/{revision}/{party.id}"
            scene.act(hour.recorded_at, key, party, stance)
            if party == but:
                scene.plant("dissent", key=key)

    def _revise(self, hour: Hour, by: Someone, *, disputed: bool) -> None:
        scene = self._scene
        self._revision[FIRST] += 1
        statement = words.REWORDED.format(goal=self._wording[FIRST])
        revise = ReviseGoal(
            relationship=scene.relationship,
            goal=self.id(FIRST),
            statement=statement if disputed else f"{statement} One step at a time.",
            by=by.id,
            occurred_at=hour.ended_at - timedelta(minutes=15),
        )
        scene.act(hour.recorded_at, f"goal/first/revised/{self._revision[FIRST]}", by, revise)
        self._assent(hour, FIRST, but=scene.client if disputed else None)

    def _rate(self, hour: Hour) -> None:
        """Client and therapist say how far each open goal is attained."""
        scene = self._scene
        along = min(1.0, hour.number / max(12, scene.plot.course.span))
        for goal in self.open:
            for by, shift in ((scene.client, 0.0), (scene.therapist, -0.05)):
                share = min(1.0, max(0.0, along + shift + scene.rng.gauss(0, 0.08)))
                level = (
                    Level(scale=GoalScale.GBO, value=round(10 * share))
                    if goal == FIRST
                    else Level(scale=GoalScale.GAS, value=round(4 * share) - 2)
                )
                rate = RateGoal(
                    relationship=scene.relationship,
                    goal=self.id(goal),
                    revision=self._revision[goal],
                    by=by.id,
                    level=level,
                    occurred_at=hour.ended_at,
                )
                scene.act(hour.recorded_at, f"goal/{goal}/rated/{hour.number}/{by.id}", by, rate)


class Tasks:
    """Something to do until the next session, looked back on then."""

    PROPOSED = (3, 7, 13, 19)

    def __init__(self, scene: Scene, goals: Goals) -> None:
        self._scene, self._goals = scene, goals

    def after(self, hour: Hour) -> None:
        if hour.number in self.PROPOSED:
            self._propose(hour)
        if hour.number - 1 in self.PROPOSED:
            self._review(hour, f"task/{hour.number - 1}")
        if hour.number - 7 in self.PROPOSED:
            retire = RetireTask(
                relationship=self._scene.relationship,
                task=self._scene.id(f"task/{hour.number - 7}"),
                reason="It has become a habit.",
                occurred_at=hour.ended_at,
            )
            key = f"task/{hour.number - 7}/retired"
            self._scene.act(hour.recorded_at, key, self._scene.therapist, retire)

    def _propose(self, hour: Hour) -> None:
        scene, name = self._scene, f"task/{hour.number}"
        aim = (
            Aim(goals=(self._goals.id(FIRST),))
            if FIRST in self._goals.open
            else Aim(purpose="To bring something of the session into the week.")
        )
        task = TaskProposed(
            task=scene.id(name),
            description=scene.rng.choice(words.TASKS),
            aim=aim,
            by=scene.therapist.id,
        )
        mistyped = Twist.WORDING_CORRECTED in scene.plot.twists and hour.number == self.PROPOSED[0]
        typed = task.description.replace("e", "", 1) if mistyped else task.description
        propose = ProposeTask(
            relationship=scene.relationship,
            task=task.task,
            description=typed,
            aim=task.aim,
            by=task.by,
            occurred_at=hour.ended_at - timedelta(minutes=8),
        )
        scene.act(hour.recorded_at, f"{name}/proposed", scene.therapist, propose)
        if mistyped:
            self._correct(hour, name, task)
        for party in (scene.client, scene.therapist):
            assent = AssentToTask(
                relationship=scene.relationship,
                task=scene.id(name),
                party=party.id,
                occurred_at=hour.ended_at - timedelta(minutes=6),
            )
            scene.act(hour.recorded_at, f"{name}/assented/{party.id}", party, assent)

    def _review(self, hour: Hour, name: str) -> None:
        scene = self._scene
        done = scene.rng.choice((Done.DONE, Done.DONE, Done.PARTLY, Done.NOT_DONE))
        review = ReviewTask(
            relationship=scene.relationship,
            task=scene.id(name),
            by=scene.client.id,
            done=done,
            helpfulness=None if done is Done.NOT_DONE else scene.rng.randint(3, 9),
            remark=scene.rng.choice(words.REMARKS) if scene.rng.random() < 0.5 else None,
            occurred_at=hour.started_at + timedelta(minutes=10),
        )
        scene.act(hour.recorded_at, f"{name}/reviewed", scene.client, review)

    def _correct(self, hour: Hour, name: str, task: TaskProposed) -> None:
        scene, key = self._scene, f"{name}/corrected"

        def correct(find: Find) -> CorrectEntry:
            return CorrectEntry(
                stream=relationship_stream(scene.relationship),
                entry=find(scene.key(f"{name}/proposed")).version,
                reason=words.WORDING_REASON,
                content=task.model_dump(mode="json", exclude_none=True),
            )

        if scene.act(hour.recorded_at + timedelta(days=3), key, scene.therapist, correct):
            scene.plant("correction", key=key, detail="wording of a task")
