"""Notes of one relationship: written after sessions, signed, co-signed, added to, or waiting."""

from datetime import datetime, timedelta

from api.demo import words
from api.demo.scene import Hour, Scene
from api.demo.stage import Find, Someone, workday
from domain.correction import MarkEnteredInError
from domain.note import AddToNote, CosignNote, NoteKind, Section, SignNote, WriteNote
from domain.process_note import ShareProcessNote, WriteProcessNote
from domain.relationship import relationship_stream
from domain.summary import ShareSessionSummary

ADDED_AT, STRUCK_AT, SHARED_AT = 9, 7, 11


class Notes:
    """The therapist's progress notes; process notes beside them, kept apart."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._often = scene.plot.number % 4 == 0
        """Of every session; others write of every third."""

    @property
    def _by_trainee(self) -> bool:
        return self._scene.therapist == self._scene.stage.trainee

    def after(self, hour: Hour) -> None:
        scene = self._scene
        if hour.number == 1 or self._often or hour.number % 3 == 0:
            self._write(hour)
        if scene.plot.number % 4 == 0 and hour.number in (4, SHARED_AT):
            self._process(hour)
        if hour.number == 3:
            shared = ShareSessionSummary(
                relationship=scene.relationship,
                session=hour.id,
                by=scene.therapist.id,
                agreed_by=(scene.client.id,),
                summary=words.SUMMARY,
            )
            scene.act(hour.recorded_at + timedelta(hours=1), "summary/3", scene.therapist, shared)

    def _write(self, hour: Hour) -> None:
        scene, name = self._scene, f"note/{hour.number}"
        first = hour.number == 1
        write = WriteNote(
            relationship=scene.relationship,
            note=scene.id(name),
            kind=NoteKind.INTAKE if first else NoteKind.SESSION,
            session=hour.id,
            sections=(
                Section(heading="Subjective", text=words.NOTES[hour.number % len(words.NOTES)]),
                Section(heading="Plan", text=words.PLANS[hour.number % len(words.PLANS)]),
            ),
            author=scene.therapist.id,
        )
        at = hour.recorded_at + timedelta(minutes=22)
        if not scene.act(at, name, scene.therapist, write):
            return
        waiting = scene.plot.number % 5 == 2 and scene.stage.now - at < timedelta(days=21)
        if not waiting:
            self._sign(at, name)
        if hour.number == ADDED_AT and scene.plot.number % 4 == 0:
            add = AddToNote(
                relationship=scene.relationship,
                note=scene.id(name),
                addendum=scene.id(name, "added"),
                text=words.ADDENDUM,
                author=scene.therapist.id,
            )
            added = at + timedelta(days=2)
            if scene.act(added, f"{name}/added", scene.therapist, add):
                self._sign(added, f"{name}/added", of=name)
        if hour.number == STRUCK_AT and scene.plot.number == 4:
            self._strike(at + timedelta(days=1, hours=2), name)

    def _sign(self, written: datetime, name: str, *, of: str | None = None) -> None:
        """By the author on the next morning; a trainee's is co-signed within the week."""
        scene = self._scene
        morning = written.replace(hour=8, minute=40) + timedelta(days=1)
        self._attest(morning, name, "signed", scene.therapist, SignNote, of)
        review = workday((written + timedelta(days=5)).date())
        later = written.replace(
            year=review.year, month=review.month, day=review.day, hour=17, minute=30
        )
        if self._by_trainee and scene.supervisor and scene.stage.now - written > timedelta(days=12):
            self._attest(later, name, "cosigned", scene.supervisor, CosignNote, of)

    def _attest(
        self,
        at: datetime,
        name: str,
        step: str,
        by: Someone,
        kind: type[SignNote | CosignNote],
        of: str | None,
    ) -> None:
        scene = self._scene

        def sign(find: Find) -> SignNote | CosignNote:
            return kind(
                relationship=scene.relationship,
                note=scene.id(of or name),
                addendum=None if of is None else scene.id(of, "added"),
                commitment=find(scene.key(name)).commitment,
            )

        scene.act(at, f"{name}/{step}", by, sign)

    def _strike(self, at: datetime, name: str) -> None:
        scene = self._scene

        def strike(find: Find) -> MarkEnteredInError:
            return MarkEnteredInError(
                stream=relationship_stream(scene.relationship),
                entry=find(scene.key(name)).version,
                reason=words.STRUCK,
            )

        if scene.act(at, f"{name}/struck", scene.therapist, strike):
            scene.plant("entered_in_error", key=f"{name}/struck", detail="note")

    def _process(self, hour: Hour) -> None:
        scene, name = self._scene, f"process/{hour.number}"
        write = WriteProcessNote(
            relationship=scene.relationship,
            note=scene.id(name),
            session=hour.id,
            text=words.PROCESS[hour.number % len(words.PROCESS)],
        )
        at = hour.recorded_at + timedelta(minutes=35)
        written = scene.act(at, name, scene.therapist, write)
        if written and hour.number == SHARED_AT and scene.supervisor and scene.plot.number == 0:
            share = ShareProcessNote(
                relationship=scene.relationship,
                note=scene.id(name),
                supervisor=scene.supervisor.id,
            )
            scene.act(at + timedelta(hours=1), f"{name}/shared", scene.therapist, share)
