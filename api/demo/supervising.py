"""Supervision of one relationship: held with the clients' consent, with actions that come due."""

from datetime import datetime, timedelta

from api.demo import words
from api.demo.scene import Hour, Scene
from api.demo.stage import wall_clock, workday
from domain.supervision import (
    ActionOutcome,
    AgreeSupervisionAction,
    HoldSupervision,
    NoteCountertransference,
    ReviewSupervisionAction,
)

EVERY = 8
LENGTH = timedelta(minutes=45)
_LATELY = timedelta(days=120)


class Supervising:
    """After every eighth session, as long as every client consents to it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def after(self, hour: Hour) -> None:
        scene = self._scene
        if hour.number % EVERY or scene.supervisor is None:
            return
        day = workday((hour.recorded_at + timedelta(days=1)).date())
        start = wall_clock(day, 19, 5)
        name = f"supervision/{hour.number}"
        hold = HoldSupervision(
            relationship=scene.relationship,
            supervision=scene.id(name),
            supervisor=scene.supervisor.id,
            supervisees=tuple(therapist.id for therapist in scene.therapists),
            started_at=start,
            ended_at=start + LENGTH,
        )
        at = start + LENGTH + timedelta(minutes=5)
        if not scene.act(at, name, scene.supervisor, hold):
            return
        self._agree(hour, name, at + timedelta(minutes=1))
        if hour.number == 2 * EVERY and scene.plot.number % 4 == 0:
            note = NoteCountertransference(
                relationship=scene.relationship,
                note=scene.id(name, "stirred"),
                session=hour.id,
                text=words.STIRRED,
            )
            scene.act(at + timedelta(minutes=3), f"{name}/stirred", scene.therapist, note)

    def _agree(self, hour: Hour, name: str, at: datetime) -> None:
        scene = self._scene
        assert scene.supervisor is not None, "there is no supervision without one"
        due = workday(at.date() + timedelta(days=14))
        agree = AgreeSupervisionAction(
            relationship=scene.relationship,
            supervision=scene.id(name),
            action=scene.id(name, "action"),
            owner=scene.therapist.id,
            due=due,
            text=words.ACTIONS[(scene.plot.number + hour.number // EVERY) % len(words.ACTIONS)],
        )
        if not scene.act(at, f"{name}/action", scene.supervisor, agree):
            return
        # Here and there nobody comes back to it: it is overdue, and stays so.
        if scene.plot.number % 4 == 0 and scene.stage.now - at < _LATELY:
            scene.plant("action_overdue", key=f"{name}/action")
            return
        goes_on = hour.number == 2 * EVERY
        review = ReviewSupervisionAction(
            relationship=scene.relationship,
            action=scene.id(name, "action"),
            by=scene.supervisor.id,
            outcome=ActionOutcome.CONTINUED if goes_on else ActionOutcome.DONE,
            due=due + timedelta(days=21) if goes_on else None,
            remark=words.ACTION_REMARKS[goes_on],
        )
        when = wall_clock(due, 18, 30)
        scene.act(when, f"{name}/reviewed", scene.supervisor, review)
        if goes_on:
            done = review.model_copy(
                update={
                    "outcome": ActionOutcome.DONE,
                    "due": None,
                    "remark": words.ACTION_REMARKS[0],
                }
            )
            again = wall_clock(workday(due + timedelta(days=18)), 18, 45)
            scene.act(again, f"{name}/reviewed/again", scene.supervisor, done)
