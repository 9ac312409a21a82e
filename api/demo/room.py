"""What stands around the sessions: frame, phases, context, recordings, recall."""

from datetime import datetime, timedelta

from api.demo import words
from api.demo.plot import Ending, Twist
from api.demo.scene import Hour, Scene
from domain.context import ContextKind, Reaches, RecordContextEvent
from domain.frame import AgreeFrame, ChangeFrameItem, FrameItem, RecordFrameDeparture, Term
from domain.phase import DeclarePhase
from domain.recall import HoldRecallInterview, MarkMoment
from domain.recording import (
    DestroyRecording,
    EndRecording,
    RecordingEnd,
    RecordingKind,
    StartRecording,
)

RECORDED = (5, 15)
"""Sessions that are recorded where the client consents, beside those with a planted rupture."""
STOPPED_AT = 12
"""The session in which a client has the recording stopped."""
STOPPED_AFTER = timedelta(minutes=20)


class Room:
    """Told after each session, and once at the beginning."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @property
    def records(self) -> bool:
        """Whether sessions may be recorded here at all."""
        plot = self._scene.plot
        return self._scene.supervisor is not None and not plot.minor and plot.consents_to_recording

    def agree(self, at: datetime) -> None:
        """The frame, before the first session."""
        scene = self._scene
        agree = AgreeFrame(
            relationship=scene.relationship,
            items=tuple(Term(item=FrameItem(item), terms=terms) for item, terms in words.FRAME),
            agreed_by=tuple(one.id for one in scene.participants),
        )
        scene.act(at, "frame/agreed", scene.therapist, agree)

    def after(self, hour: Hour) -> None:
        number = self._scene.plot.number
        at = hour.recorded_at + timedelta(minutes=30)
        if hour.number == 14 and number % 4 == 0:
            self._change(at)
        if (hour.number, number % 4) in ((5, 1), (17, 0)):
            self._depart(hour, at)
        phases = words.PHASES if self._scene.plot.ending is Ending.PLANNED else words.PHASES[:2]
        for begins, phase, rationale in phases:
            if hour.number == begins:
                declare = DeclarePhase(
                    relationship=self._scene.relationship,
                    phase=phase,
                    by=self._scene.therapist.id,
                    rationale=rationale,
                )
                self._scene.act(at, f"phase/{begins}", self._scene.therapist, declare)
        for whose, when, kind, reaches, note in words.CONTEXTS:
            if (whose, when) == (number, hour.number):
                self._context(hour, ContextKind(kind), Reaches(reaches), note)

    def _change(self, at: datetime) -> None:
        scene, old = self._scene, dict(words.FRAME)["fee"]
        change = ChangeFrameItem(
            relationship=scene.relationship,
            item=FrameItem.FEE,
            old=old,
            new=words.NEW_FEE,
            reason=words.FEE_REASON,
            by=scene.therapist.id,
            agreed_by=tuple(one.id for one in scene.participants),
        )
        scene.act(at, "frame/fee", scene.therapist, change)

    def _depart(self, hour: Hour, at: datetime) -> None:
        scene = self._scene
        item = FrameItem.LENGTH if hour.number == 5 else FrameItem.CONTACT_BETWEEN_SESSIONS
        depart = RecordFrameDeparture(
            relationship=scene.relationship,
            item=item,
            session=hour.id if item is FrameItem.LENGTH else None,
            reason=words.DEPARTURES[item.value],
            by=scene.therapist.id,
        )
        if scene.act(at, f"frame/departure/{hour.number}", scene.therapist, depart):
            scene.plant("frame_departure", session=hour.id, detail=item)

    def _context(self, hour: Hour, kind: ContextKind, reaches: Reaches, note: str) -> None:
        scene = self._scene
        began = hour.started_at.date() - timedelta(days=24)
        event = RecordContextEvent(
            relationship=scene.relationship,
            context=scene.id("context", kind),
            kind=kind,
            scope=reaches,
            began=began,
            ended=None if reaches is Reaches.WORLD else began + timedelta(days=19),
            about=scene.client.id if reaches is Reaches.PERSON else None,
            note=note,
        )
        at = max(hour.recorded_at, hour.started_at) + timedelta(minutes=32)
        scene.act(at, f"context/{kind}", scene.therapist, event)

    # --- Recordings --------------------------------------------------------------------------

    def record(self, hour: Hour) -> str | None:
        """A recording of the session just held, told after it; its name, if there is one."""
        scene = self._scene
        strained = {rupture.session for rupture in scene.plot.course.ruptures}
        if not self.records or hour.number not in {*RECORDED, *strained}:
            return None
        if Twist.RECORDING_WITHDRAWN in scene.plot.twists and hour.number > STOPPED_AT:
            return None
        name = str(hour.number)
        start = self._start(name, hour)
        end = self._end(name, hour.ended_at - timedelta(minutes=1), RecordingEnd.SESSION_OVER)
        scene.act(hour.recorded_at, f"recording/{name}", scene.therapist, start)
        scene.act(hour.recorded_at, f"recording/{name}/ended", scene.therapist, end)
        return name

    def begin(self, hour: Hour) -> None:
        """A recording that runs when the client takes the consent back."""
        scene, name = self._scene, str(hour.number)
        start = self._start(name, hour)
        scene.act(start.started_at, f"recording/{name}", scene.therapist, start)

    def stopped(self, hour: Hour) -> None:
        """It ended with the consent; two days later it is destroyed."""
        scene, name = self._scene, str(hour.number)
        end = self._end(name, hour.started_at + STOPPED_AFTER, RecordingEnd.CONSENT_WITHDRAWN)
        scene.act(hour.recorded_at, f"recording/{name}/ended", scene.therapist, end)
        destroy = DestroyRecording(
            relationship=scene.relationship,
            recording=scene.id("recording", name),
            by=scene.therapist.id,
            reason=words.DESTROYED,
        )
        at = hour.recorded_at + timedelta(days=2)
        if scene.act(at, f"recording/{name}/destroyed", scene.therapist, destroy):
            scene.plant("recording_stopped", session=hour.id, key=f"recording/{name}/ended")

    def _start(self, name: str, hour: Hour) -> StartRecording:
        scene = self._scene
        return StartRecording(
            relationship=scene.relationship,
            recording=scene.id("recording", name),
            session=hour.id,
            kind=RecordingKind.AUDIO,
            started_at=hour.started_at + timedelta(minutes=1),
            agreed_by=tuple(therapist.id for therapist in scene.therapists),
        )

    def _end(self, name: str, at: datetime, why: RecordingEnd) -> EndRecording:
        return EndRecording(
            relationship=self._scene.relationship,
            recording=self._scene.id("recording", name),
            ended_at=at,
            why=why,
        )

    def recall(self, hour: Hour, recording: str) -> None:
        """Client and therapist each watch the session again, with somebody who was not there."""
        scene, inquirer = self._scene, self._scene.stage.supervisors[1]
        for day, (party, moments) in enumerate(
            ((scene.client, words.MOMENTS_CLIENT), (scene.therapist, words.MOMENTS_THERAPIST)), 4
        ):
            name = f"recall/{hour.number}/{party.id}"
            held_at = hour.recorded_at + timedelta(days=day)
            interview = HoldRecallInterview(
                relationship=scene.relationship,
                recall=scene.id(name),
                session=hour.id,
                party=party.id,
                inquirer=inquirer.id,
                recording=scene.id("recording", recording),
                held_at=held_at,
            )
            if not scene.act(held_at, name, inquirer, interview):
                return
            for second, what in moments:
                mark = MarkMoment(
                    relationship=scene.relationship,
                    recall=scene.id(name),
                    moment=scene.id(name, str(second)),
                    t_s=second,
                    party=party.id,
                    what=what,
                )
                at = held_at + timedelta(minutes=30)
                scene.act(at, f"{name}/{second}", party, mark)
