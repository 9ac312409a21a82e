"""Ruptures as people in one relationship noticed them: marked, repaired, resolved or left as is.

What was planted is mostly noticed, not by everybody and not always at once; and once somebody
marks what left no trace in the ratings. A method's finding is dismissed here and there, with a
reason.
"""

from datetime import timedelta

from api.demo import words
from api.demo.course import Kind as Way
from api.demo.course import Rupture
from api.demo.scene import Hour, Scene
from api.demo.stage import Find, Someone
from domain.instrument import Perspective
from domain.possible_rupture import DismissPossibleRupture
from domain.recording import RecordingPurpose, UseRecording
from domain.relationship import relationship_stream
from domain.rupture import (
    AttemptRepair,
    Construct,
    Kind,
    LeaveRuptureOpen,
    Marker,
    MarkRupture,
    Method,
    ResolveRupture,
    Segment,
    Strategy,
    View,
)
from projections.possible_ruptures import Possible, possible_ruptures

_MARKERS = {
    Way.WITHDRAWAL: (Marker.MINIMAL_RESPONSE, Marker.DEFERENTIAL_APPEASING),
    Way.CONFRONTATION: (Marker.REJECTS_INTERVENTION, Marker.COMPLAINT_ABOUT_ACTIVITIES),
}
_STRATEGIES = (
    (Strategy.INVITES_DISCUSSION_OF_FEELINGS, Strategy.ACKNOWLEDGES_OWN_CONTRIBUTION),
    (Strategy.CHANGES_TASKS_OR_GOALS, Strategy.ILLUSTRATES_TASK_OR_GIVES_RATIONALE),
    (Strategy.VALIDATES_DEFENSIVE_POSTURE, Strategy.LINKS_TO_IN_SESSION_PATTERNS),
)
UNSEEN_BY_RATINGS = 4
"""The relationship in which somebody marks what no rating shows, after that session."""
_UNSEEN_AT = 9
_DISMISSED_AT = 20


class Strains:
    """What people say of ruptures, session by session."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.open = 0
        """How many stand open by what was said."""
        self._coded = False
        """Whether a rater has coded the planted one."""

    def after(self, hour: Hour) -> None:
        number = self._scene.plot.number
        for rupture in self._scene.plot.course.ruptures:
            self._follow(hour, rupture)
        if number == UNSEEN_BY_RATINGS and hour.number == _UNSEEN_AT:
            self._mark(hour, self._scene.therapist, "unseen", Way.WITHDRAWAL, minutes=15)
        if self._scene.plot.course.ruptures and hour.number == _DISMISSED_AT:
            self._dismiss(hour)

    def _follow(self, hour: Hour, rupture: Rupture) -> None:
        """From the session in which it happens to how each sees it in the end."""
        scene, since = self._scene, hour.number - rupture.session
        seen_by = self._noticed()
        if since == 0:
            for by in seen_by:
                self._mark(hour, by, str(by.id), rupture.kind, minutes=12)
        if since in (1, 2):
            self._repair(hour, str(seen_by[0].id), since)
        if rupture.repaired is None:
            if since == 4:
                self._leave(hour, seen_by)
            return
        if hour.number == rupture.repaired:
            for by in dict.fromkeys((*seen_by, scene.client)):
                for whose in seen_by:
                    self._resolve(hour, str(whose.id), by)
            if self._coded:
                self._resolve(hour, "observed", scene.therapist)
            self.open -= len(seen_by) + self._coded

    def _noticed(self) -> tuple[Someone, ...]:
        """The client, the therapist, or both."""
        scene = self._scene
        return {
            0: (scene.client, scene.therapist),
            1: (scene.therapist,),
            2: (scene.client,),
        }[scene.plot.number % 3]

    def _perspective(self, one: Someone) -> View:
        return Perspective.CLIENT if one in self._scene.clients else Perspective.THERAPIST

    def _mark(self, hour: Hour, by: Someone, name: str, way: Way, *, minutes: int) -> None:
        scene = self._scene
        by_client = by in scene.clients
        mark = MarkRupture(
            relationship=scene.relationship,
            rupture=scene.id("rupture", name),
            raised_by=by.id,
            perspective=Perspective.CLIENT if by_client else Perspective.THERAPIST,
            method=Method.POST_SESSION_QUESTIONNAIRE if by_client else Method.CLINICAL_IMPRESSION,
            kind=Kind(way.value),
            markers=() if by_client else _MARKERS[way],
            concerns=Construct.TASKS if way is Way.CONFRONTATION else Construct.BOND,
            session=hour.id,
            significance=4 if by_client else 3,
            remark=words.STRAINED[way.value] if by_client else None,
        )
        at = hour.recorded_at + timedelta(minutes=minutes + (0 if by_client else 6))
        if scene.act(at, f"rupture/{name}/marked", by, mark):
            self.open += 1
            scene.plant("rupture_marked", session=hour.id, key=f"rupture/{name}/marked")

    def _repair(self, hour: Hour, name: str, time: int) -> None:
        scene = self._scene
        repair = AttemptRepair(
            relationship=scene.relationship,
            rupture=scene.id("rupture", name),
            session=hour.id,
            strategies=_STRATEGIES[(scene.plot.number + time) % len(_STRATEGIES)],
            by=scene.therapist.id,
        )
        at = hour.recorded_at + timedelta(minutes=14)
        scene.act(at, f"rupture/{name}/repair/{time}", scene.therapist, repair)

    def _resolve(self, hour: Hour, name: str, by: Someone) -> None:
        scene = self._scene
        resolve = ResolveRupture(
            relationship=scene.relationship,
            rupture=scene.id("rupture", name),
            by=by.id,
            perspective=self._perspective(by),
            basis=words.RESOLVED[self._perspective(by).value],
            session=hour.id,
        )
        at = hour.recorded_at + timedelta(minutes=16)
        scene.act(at, f"rupture/{name}/resolved/{by.id}", by, resolve)

    def _leave(self, hour: Hour, seen_by: tuple[Someone, ...]) -> None:
        """The therapist sees it as resolved, the client does not: both views stay."""
        scene, at = self._scene, hour.recorded_at + timedelta(minutes=18)
        for whose in seen_by:
            name = str(whose.id)
            if whose == scene.client:
                self._resolve(hour, name, scene.therapist)
            leave = LeaveRuptureOpen(
                relationship=scene.relationship,
                rupture=scene.id("rupture", name),
                by=whose.id,
                perspective=self._perspective(whose),
                reason=words.LEFT_OPEN,
            )
            scene.act(at, f"rupture/{name}/left", whose, leave)

    def _dismiss(self, hour: Hour) -> None:
        scene = self._scene
        planted = {rupture.session for rupture in scene.plot.course.ruptures}

        def dismiss(find: Find) -> DismissPossibleRupture:
            found = possible_ruptures(find.history(relationship_stream(scene.relationship)))
            other = [one for one in found if one.point.session not in planted]
            chosen: Possible = (other or found)[-1]
            return DismissPossibleRupture(
                relationship=scene.relationship,
                possible=chosen.cited,
                by=scene.therapist.id,
                reason=words.DISMISSED,
            )

        at = hour.recorded_at + timedelta(days=1)
        if scene.act(at, "possible/dismissed", scene.therapist, dismiss):
            scene.plant("possible_rupture_dismissed", key="possible/dismissed")

    # --- From outside the room ---------------------------------------------------------------

    def observe(self, hour: Hour, recording: str, rater: Someone) -> None:
        """A trained rater codes a stretch of the recording of a planted rupture."""
        scene = self._scene
        for rupture in scene.plot.course.ruptures:
            if rupture.session != hour.number:
                continue
            at = hour.recorded_at + timedelta(days=6, hours=3)
            use = UseRecording(
                relationship=scene.relationship,
                recording=scene.id("recording", recording),
                purpose=RecordingPurpose.SUPERVISION,
                by=rater.id,
            )
            scene.act(at, f"recording/{recording}/coded", rater, use)
            mark = MarkRupture(
                relationship=scene.relationship,
                rupture=scene.id("rupture", "observed"),
                raised_by=rater.id,
                perspective=Perspective.OBSERVER,
                method=Method.CODED_3RS,
                kind=Kind(rupture.kind.value),
                markers=_MARKERS[rupture.kind],
                session=hour.id,
                segment=Segment(
                    recording=scene.id("recording", recording), from_s=1_260, to_s=1_560
                ),
                significance=3,
            )
            coded = at + timedelta(minutes=40)
            if scene.act(coded, "rupture/observed/marked", rater, mark):
                self._coded = True
                self.open += 1
                scene.plant("rupture_coded", session=hour.id, key="rupture/observed/marked")
