"""How the clients fare: a questionnaire of symptoms now and then, and what in it needs a look."""

from datetime import timedelta
from random import Random

from api.demo import words
from api.demo.course import answers
from api.demo.scene import Hour, Scene
from api.demo.stage import Someone
from domain.instrument import Perspective, load
from domain.outcome import RateOutcome
from domain.risk import ReviewRisk

EVERY = 6
_RISK_ITEM = {"PHQ-9": 9, "CORE-10": 6}
REVIEWED = {3: 12, 10: 6, 16: 18}
"""By relationship, the session after which an answer is raised as a risk, and reviewed."""
UNREVIEWED = 0
"""The relationship in which the newest such answer still waits."""
_LATELY = timedelta(days=40)


class Outcomes:
    """By the PHQ-9; every third relationship by the CORE-10."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._rng = Random(f"{scene.stage.seed}/outcomes/{scene.name}")
        self._measure = "CORE-10" if scene.plot.number % 3 == 2 else "PHQ-9"
        self._severity = self._rng.uniform(0.45, 0.7)
        self._waits = False

    def after(self, hour: Hour) -> None:
        scene, number = self._scene, self._scene.plot.number
        lately = number == UNREVIEWED and scene.stage.now - hour.ended_at < _LATELY
        waits = lately and not self._waits
        raised = REVIEWED.get(number) == hour.number
        if hour.number != 1 and hour.number % EVERY and not raised and not waits:
            return
        for client in scene.clients:
            self._rate(hour, client, at_risk=(raised or waits) and client == scene.client)
        if raised:
            self._review(hour)
        self._waits |= waits

    def _key(self, hour: Hour, client: Someone) -> str:
        return f"{self._measure}/{hour.number}/{client.id}"

    def _rate(self, hour: Hour, client: Someone, *, at_risk: bool) -> None:
        scene, definition = self._scene, load(self._measure)
        course = scene.plot.course
        along = min(1.0, hour.number / max(12, course.span))
        strained = 0.08 * any(rupture.dip(hour.number) > 0.1 for rupture in course.ruptures)
        quality = self._severity * (1 - 0.55 * along) + strained
        given = answers(definition, {"whole": quality}, self._rng)
        given[_RISK_ITEM[self._measure] - 1] = definition.response.shown(
            definition.response.low + definition.response.stride * at_risk
        )
        rate = RateOutcome(
            relationship=scene.relationship,
            rating=scene.id("rating", self._key(hour, client)),
            instrument=self._measure,
            perspective=Perspective.CLIENT,
            rater=client.id,
            session=hour.id,
            answers=tuple(given),
            occurred_at=hour.ended_at,
        )
        key = self._key(hour, client)
        if scene.act(hour.recorded_at, key, client, rate) and at_risk:
            scene.plant("risk_item", session=hour.id, key=key, detail=self._measure)

    def _review(self, hour: Hour) -> None:
        scene = self._scene
        review = ReviewRisk(
            relationship=scene.relationship,
            rating=scene.id("rating", self._key(hour, scene.client)),
            item=_RISK_ITEM[self._measure],
            by=scene.therapist.id,
            finding=words.RISK_FOUND,
            action=words.RISK_DONE,
        )
        at = hour.recorded_at + timedelta(minutes=45)
        if scene.act(at, f"risk/{hour.number}/reviewed", scene.therapist, review):
            scene.plant("risk_reviewed", session=hour.id, key=f"risk/{hour.number}/reviewed")
