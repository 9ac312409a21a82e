"""Ratings of one relationship: who rates what after which session, what is missing or mended."""

from datetime import datetime, timedelta
from uuid import UUID

from api.demo import words
from api.demo.course import answers
from api.demo.plot import Twist
from api.demo.scene import Hour, Scene
from api.demo.stage import Find, Someone
from domain.alliance import RateAlliance
from domain.correction import MarkEnteredInError
from domain.instrument import Perspective, load
from domain.outcome import RateOutcome
from domain.rating import SupersedeRating
from domain.relationship import relationship_stream

EARLY = (3, 4, 5)
MISFILED_SESSION = 8
SUPERSEDED_SESSION = 9


class Ratings:
    """The SRS by every client after each session; the longer measure now and then."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def before_the_first(self, at: datetime) -> None:
        for client in self._scene.clients:
            self._life(at, client, "before", quality=0.42)

    def after(self, hour: Hour) -> None:
        for client in self._scene.clients:
            self._short(hour, client)
            if self._is_due(hour.number):
                self._long(hour, client, Perspective.CLIENT)
            if hour.number % 10 == 0:
                at = hour.recorded_at + timedelta(minutes=4)
                self._life(at, client, str(hour.number), quality=0.45 + 0.006 * hour.number)
        if self._scene.plot.measure == "WAI-36" and self._is_due(hour.number):
            for therapist in self._scene.therapists:
                self._long(hour, therapist, Perspective.THERAPIST)

    def follow_up(self, at: datetime) -> None:
        """Months after the end: how things went on."""
        for client in self._scene.clients:
            if self._life(at, client, "follow-up", quality=0.66, follow_up=True):
                self._scene.plant("follow_up", key=f"SWLS/follow-up/{client.id}")

    def _is_due(self, number: int) -> bool:
        match self._scene.plot.measure:
            case "WAI-36":
                return number == 1 or number in EARLY or number % 2 == 0
            case "WAI-SR":
                return number in EARLY or number % 4 == 0
        return False

    def _short(self, hour: Hour, client: Someone) -> None:
        scene, twists = self._scene, self._scene.plot.twists
        misfiled = Twist.MISFILED in twists and hour.number == MISFILED_SESSION
        superseded = Twist.SUPERSEDED in twists and hour.number == SUPERSEDED_SESSION
        if not (misfiled or superseded) and scene.rng.random() < 0.07:
            scene.plant("missing_rating", session=hour.id, detail="SRS-3")
            return
        given = self._answers("SRS-3", hour, Perspective.CLIENT, gaps=0.04)
        on_paper = misfiled or superseded or bool(hour.late_reason) or scene.rng.random() < 0.12
        key = f"SRS-3/{hour.number}/{client.id}"
        # What was put down wrongly is another session's, or two answers in each other's place.
        wrong = (
            self._answers("SRS-3", hour, Perspective.CLIENT)
            if misfiled
            else [given[1], given[0], *given[2:]]
        )
        first = wrong if misfiled or superseded else given
        self._rate(hour, key, "SRS-3", Perspective.CLIENT, client, first, on_paper=on_paper)
        if misfiled:
            self._refile(hour, key, client, given)
        if superseded:
            self._supersede(hour, key, client, given)

    def _long(self, hour: Hour, rater: Someone, perspective: Perspective) -> None:
        measure, scene = self._scene.plot.measure, self._scene
        if scene.rng.random() < 0.05:
            scene.plant("missing_rating", session=hour.id, detail=f"{measure} {perspective}")
            return
        given = self._answers(measure, hour, perspective, gaps=0.03)
        key = f"{measure}/{hour.number}/{rater.id}"
        on_paper = bool(hour.late_reason) and perspective is Perspective.CLIENT
        self._rate(hour, key, measure, perspective, rater, given, on_paper=on_paper)

    def _answers(
        self, measure: str, hour: Hour, perspective: Perspective, *, gaps: float = 0.0
    ) -> list[str | None]:
        course, rng = self._scene.plot.course, self._scene.rng
        by_client = perspective is Perspective.CLIENT
        parts = course.felt(hour.number) if by_client else course.seen(hour.number)
        left_out = 1 if rng.random() < gaps else 0
        return answers(load(measure), parts, rng, left_out=left_out)

    def _rate(
        self,
        hour: Hour,
        key: str,
        measure: str,
        perspective: Perspective,
        rater: Someone,
        given: list[str | None],
        *,
        on_paper: bool,
    ) -> None:
        scene = self._scene
        rate = RateAlliance(
            relationship=scene.relationship,
            rating=self._id(key),
            instrument=measure,
            perspective=perspective,
            rater=rater.id,
            session=hour.id,
            answers=tuple(given),
            occurred_at=hour.ended_at,
            late_reason=hour.late_reason,
        )
        if on_paper:
            scene.act(hour.recorded_at, key, scene.therapist, rate, on_behalf_of=rater)
        else:
            scene.act(hour.recorded_at, key, rater, rate)

    def _refile(self, hour: Hour, key: str, client: Someone, given: list[str | None]) -> None:
        """It was entered for the wrong session: taken out, and the right one put in."""
        scene, at = self._scene, hour.recorded_at + timedelta(hours=20)

        def mark(find: Find) -> MarkEnteredInError:
            return MarkEnteredInError(
                stream=relationship_stream(scene.relationship),
                entry=find(scene.key(key)).version,
                reason=words.MISFILED_REASON,
            )

        if scene.act(at, f"{key}/error", scene.therapist, mark, on_behalf_of=client):
            scene.plant("entered_in_error", session=hour.id, key=f"{key}/error", detail="SRS-3")
        again = Hour(hour.number, hour.id, hour.started_at, hour.ended_at, at)
        right = f"{key}/right"
        self._rate(again, right, "SRS-3", Perspective.CLIENT, client, given, on_paper=True)

    def _supersede(self, hour: Hour, key: str, client: Someone, given: list[str | None]) -> None:
        scene = self._scene
        supersede = SupersedeRating(
            relationship=scene.relationship,
            superseded=self._id(key),
            rating=self._id(f"{key}/better"),
            reason=words.SUPERSEDING_REASON,
            answers=tuple(given),
        )
        at = hour.recorded_at + timedelta(days=2)
        if scene.act(at, f"{key}/better", scene.therapist, supersede, on_behalf_of=client):
            scene.plant("supersession", session=hour.id, key=f"{key}/better", detail="SRS-3")

    def _life(
        self, at: datetime, client: Someone, when: str, *, quality: float, follow_up: bool = False
    ) -> bool:
        """Satisfaction with life, between sessions."""
        scene = self._scene
        given = answers(load("SWLS"), {"whole": quality}, scene.rng)
        rate = RateOutcome(
            relationship=scene.relationship,
            rating=self._id(f"SWLS/{when}/{client.id}"),
            instrument="SWLS",
            perspective=Perspective.CLIENT,
            rater=client.id,
            answers=tuple(given),
            follow_up=follow_up,
            occurred_at=at,
        )
        return scene.act(at, f"SWLS/{when}/{client.id}", client, rate)

    def _id(self, key: str) -> UUID:
        return self._scene.id("rating", key)
