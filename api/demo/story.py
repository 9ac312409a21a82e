"""One relationship told day by day: from the first consent to the last session."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from api.demo import words
from api.demo.agreements import Goals, Tasks
from api.demo.noting import Notes
from api.demo.office import Office
from api.demo.outcomes import Outcomes
from api.demo.plot import Ending, Plot, Twist
from api.demo.ratings import Ratings
from api.demo.room import RECORDED, STOPPED_AFTER, Room
from api.demo.scene import Hour, Scene
from api.demo.stage import Find, Someone, Stage, holidays, wall_clock, workday
from api.demo.strains import Strains
from api.demo.supervising import Supervising
from domain.access import ReadRecord, Role
from domain.appointment import CancelSession, MissSession, ScheduleSession
from domain.assent import DissentAsMinor, GiveAssent
from domain.clinic import Scope
from domain.closure import CloseRelationship, ReopenRelationship, TransferRelationship
from domain.consent import Capacity
from domain.consenting import DeclineConsent, GiveConsent
from domain.correction import CorrectEntry
from domain.information import AddressQuestions, GiveInformation
from domain.person import Activity
from domain.relationship import (
    Constellation,
    Initiator,
    OpenRelationship,
    relationship_stream,
)
from domain.session import HoldSession, Medium
from domain.withdrawal import WithdrawConsent

LENGTH = timedelta(minutes=50)
LATE_SESSIONS = (6, 17, 23)
"""Held sessions that may be recorded days later, because nothing else hangs on them."""
CORRECTED_SESSION = 7
WITHDRAWN_AFTER = 12
"""After which session a scope other than treatment is withdrawn."""


def tell(stage: Stage, plot: Plot) -> None:
    """Everything that happens in one relationship, and in the one it is transferred to."""
    rng = Random(f"{stage.seed}/story/{plot.number}")
    number = plot.number
    coached = plot.activity is Activity.COACHING
    pair = plot.constellation is Constellation.COUPLE
    both = plot.constellation is Constellation.CO_THERAPY
    staff = stage.therapists
    first, second = staff[number % len(staff)], staff[(number + 1) % len(staff)]
    clients = [stage.someone("client", str(number), str(n)) for n in range(2 if pair else 1)]
    scene = Scene(
        stage=stage,
        plot=plot,
        rng=rng,
        name=str(number),
        clients=tuple(clients),
        therapists=(stage.coach,) if coached else (first, second) if both else (first,),
        supervisor=None if coached else stage.supervisors[number % 2],
        guardian=stage.someone("guardian", str(number)) if plot.minor else None,
    )
    story = Story(scene)
    begins = workday(plot.begins)
    for client in clients:
        stage.register(wall_clock(begins, 9), client, rng, minor=plot.minor)
    if scene.guardian is not None:
        stage.register(wall_clock(begins, 9, 5), scene.guardian, rng)
    story.open(wall_clock(begins, 10))
    story.intake(wall_clock(begins, 10, 20))
    ended = story.go_on(begins + timedelta(days=5))
    if ended is None:
        return
    match plot.ending:
        case Ending.TRANSFERRED:
            story.transfer(ended, second)
        case Ending.REOPENED:
            story.reopen(ended)
        case Ending.WITHDRAWN:
            story.withdraw_treatment(ended)
        case _:
            story.close(ended)


class Story:
    """Tells one relationship; stops by itself where the present is reached."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._goals = Goals(scene)
        self._tasks = Tasks(scene, self._goals)
        self._ratings = Ratings(scene)
        self._outcomes = Outcomes(scene)
        self._notes = Notes(scene)
        self._room = Room(scene)
        self._strains = Strains(scene)
        self._supervising = Supervising(scene)
        self._office = Office(scene)
        self._slot = scene.stage.slot(*(therapist.id for therapist in scene.therapists))
        self._appointments = 0
        self._held = 0
        self._until = scene.plot.sessions
        self._contact = wall_clock(scene.plot.begins, 9)
        """When somebody was last in touch: what comes next is agreed then."""
        self._supervised = False
        self._counts = {"held": 0, "missed": 0, "cancelled": 0}
        self._facts: dict[str, object] = {}
        scene.stage.told.append(self._facts)
        self._describe()

    # --- Beginning ---------------------------------------------------------------------------

    def open(self, at: datetime) -> None:
        scene = self._scene
        opening = OpenRelationship(
            relationship=scene.relationship,
            clients=tuple(client.id for client in scene.clients),
            therapists=tuple(therapist.id for therapist in scene.therapists),
            constellation=scene.plot.constellation,
            activity=scene.plot.activity,
            modality="coaching"
            if scene.plot.activity is Activity.COACHING
            else scene.rng.choice(words.MODALITIES),
            setting="outpatient practice",
            supervisor=scene.supervisor.id if scene.supervisor else None,
        )
        scene.act(at, "opened", scene.therapist, opening)

    def intake(self, at: datetime) -> None:
        """Information, questions, consents; then a first look at how life is."""
        twists, number = self._scene.plot.twists, self._scene.plot.number
        for client in self._scene.clients:
            self._inform(at, client, "treatment")
            for scope in (Scope.TREATMENT, Scope.OUTCOME_MEASURES):
                self._consent(at, client, "treatment", scope)
            if self._scene.supervisor is not None:
                self._inform(at, client, "supervision")
                keeps = Twist.SUPERVISION_WITHDRAWN in twists or number % 6 != 5
                records = Twist.RECORDING_WITHDRAWN in twists or number % 3 == 0
                for scope, agrees in (
                    (Scope.SUPERVISION_DISCLOSURE, keeps),
                    (Scope.RECORDING, records),
                ):
                    if agrees:
                        self._consent(at, client, "supervision", scope)
                    else:
                        self._decline(at, client, "supervision", scope)
                self._supervised = keeps
            if self._scene.plot.telehealth:
                self._inform(at, client, "telehealth")
                self._consent(at, client, "telehealth", Scope.TELEHEALTH)
        self._room.agree(at + timedelta(minutes=20))
        self._ratings.before_the_first(at + timedelta(minutes=30))
        self._contact = at + timedelta(minutes=35)

    def _inform(self, at: datetime, client: Someone, paper: str) -> None:
        """The client; for a minor the guardian too, who will sign."""
        guardian = self._scene.guardian
        for whom in (client,) if guardian is None else (client, guardian):
            self._inform_one(at, whom, paper)

    def _inform_one(self, at: datetime, client: Someone, paper: str) -> None:
        scene, document = self._scene, self._scene.stage.paper(paper, at)
        scene.act(
            at,
            f"informed/{paper}/{client.id}",
            scene.therapist,
            GiveInformation(
                relationship=scene.relationship,
                document=document.id,
                version=document.version,
                sha256=document.sha256,
                to=client.id,
                by=scene.therapist.id,
            ),
        )
        scene.act(
            at,
            f"questions/{paper}/{client.id}",
            scene.therapist,
            AddressQuestions(
                relationship=scene.relationship,
                document=document.id,
                version=document.version,
                party=client.id,
                by=scene.therapist.id,
            ),
        )

    def _consent(self, at: datetime, client: Someone, paper: str, scope: Scope) -> None:
        scene, document = self._scene, self._scene.stage.paper(paper, at)
        give = GiveConsent(
            relationship=scene.relationship,
            consent=self._consent_id(scope, client),
            scope=scope,
            party=client.id,
            document=document.id,
            version=document.version,
            sha256=document.sha256,
            signer=(scene.guardian or client).id,
            capacity=Capacity.GUARDIAN if scene.guardian else Capacity.OWN,
        )
        key = f"consent/{scope}/{client.id}"
        if scene.guardian is None:
            scene.act(at, key, client, give)
            return
        # That a guardian may sign is recorded by who treats.
        scene.act(at, key, scene.therapist, give, on_behalf_of=scene.guardian)
        self._own_say(at, client, paper, scope)

    def _own_say(self, at: datetime, client: Someone, paper: str, scope: Scope) -> None:
        """A minor is asked too, and says no to being recorded."""
        scene, document = self._scene, self._scene.stage.paper(paper, at)
        about: dict[str, Any] = {
            "relationship": scene.relationship,
            "scope": scope,
            "party": client.id,
        }
        says = (
            DissentAsMinor(reason=words.MINOR_SAYS_NO, **about)
            if scope is Scope.RECORDING
            else GiveAssent(document=document.id, version=document.version, **about)
        )
        if scene.act(at, f"own-say/{scope}/{client.id}", client, says):
            kind = "dissent_of_a_minor" if scope is Scope.RECORDING else "assent"
            scene.plant(kind, key=f"own-say/{scope}/{client.id}", detail=scope)

    def _decline(self, at: datetime, client: Someone, paper: str, scope: Scope) -> None:
        scene, document = self._scene, self._scene.stage.paper(paper, at)
        decline = DeclineConsent(
            relationship=scene.relationship,
            scope=scope,
            party=client.id,
            document=document.id,
            version=document.version,
        )
        if scene.act(at, f"declined/{scope}/{client.id}", client, decline):
            scene.plant("declined_consent", key=f"declined/{scope}/{client.id}", detail=scope)

    def _consent_id(self, scope: Scope, client: Someone) -> UUID:
        return self._scene.id("consent", scope, str(client.id))

    # --- Sessions ----------------------------------------------------------------------------

    def go_on(self, after: date) -> datetime | None:
        """Session after session; when the last one was recorded, or None: it still goes on."""
        weekday, hour = self._slot
        day = after + timedelta(days=(weekday - after.weekday()) % 7)
        while self._held < self._until:
            if not holidays(day) and not self._appointment(wall_clock(day, hour)):
                self._describe()
                return None
            day += timedelta(days=14 if self._held >= 30 else 7)
        self._describe()
        return self._contact

    def _appointment(self, start: datetime) -> bool:
        """Makes an appointment and tells what became of it; False where that is not yet known."""
        scene = self._scene
        self._appointments += 1
        name = f"session/{self._appointments}"
        session = scene.id(name)
        medium = Medium.VIDEO if scene.plot.telehealth and self._held % 3 == 2 else Medium.IN_PERSON
        schedule = ScheduleSession(
            relationship=scene.relationship,
            session=session,
            starts_at=start,
            ends_at=start + LENGTH,
            medium=medium,
        )
        if not scene.act(self._contact, f"{name}/scheduled", scene.therapist, schedule):
            return False
        if start + timedelta(hours=2) > scene.stage.now:
            return False
        fate = scene.rng.random() if self._held >= 2 else 1.0
        if fate < 0.05:
            self._missed(name, session, start)
        elif fate < 0.12:
            self._cancelled(name, session, start)
        else:
            self._hold(name, session, start, medium)
        return True

    def _missed(self, name: str, session: UUID, start: datetime) -> None:
        scene = self._scene
        miss = MissSession(
            relationship=scene.relationship,
            session=session,
            who=scene.client.id,
            why=scene.rng.choice(words.ABSENCES),
            occurred_at=start + timedelta(minutes=25),
        )
        self._contact = start + timedelta(minutes=40)
        scene.act(self._contact, f"{name}/missed", scene.therapist, miss)
        self._counts["missed"] += 1

    def _cancelled(self, name: str, session: UUID, start: datetime) -> None:
        scene = self._scene
        why = scene.rng.choice(words.CANCELLATIONS)
        who = scene.therapist if "therapist" in why else scene.client
        at = max(start - timedelta(hours=scene.rng.randint(3, 60)), self._contact)
        cancel = CancelSession(
            relationship=scene.relationship, session=session, who=who.id, why=why
        )
        self._contact = at + timedelta(minutes=5)
        scene.act(at, f"{name}/cancelled", who, cancel)
        self._counts["cancelled"] += 1

    def _hold(self, name: str, session: UUID, start: datetime, medium: Medium) -> None:
        scene = self._scene
        self._held += 1
        self._contact = start + LENGTH + timedelta(minutes=scene.rng.randint(4, 14))
        hour = Hour(self._held, session, start, start + LENGTH, self._contact)
        if self._held in LATE_SESSIONS and self._comes_late():
            days = timedelta(days=scene.rng.randint(2, 5))
            hour = replace(
                hour,
                recorded_at=self._contact + days,
                late_reason=scene.rng.choice(words.LATE_REASONS),
            )
        stopped = Twist.RECORDING_WITHDRAWN in scene.plot.twists and self._held == WITHDRAWN_AFTER
        if stopped:
            self._room.begin(hour)
            self._withdraw(hour.started_at + STOPPED_AFTER, Scope.RECORDING)
        hold = HoldSession(
            relationship=scene.relationship,
            session=session,
            medium=medium,
            present=tuple(one.id for one in scene.participants),
            started_at=hour.started_at,
            ended_at=hour.ended_at,
            location_confirmed=medium.is_telehealth,
            late_reason=hour.late_reason,
        )
        if not scene.act(hour.recorded_at, f"{name}/held", scene.therapist, hold):
            return
        self._counts["held"] += 1
        if hour.late_reason:
            scene.plant("late_entry", session=session, key=f"{name}/held")
        if stopped:
            self._room.stopped(hour)
        self._ratings.after(hour)
        self._goals.after(hour)
        self._tasks.after(hour)
        self._beside(hour)
        self._look_back(name, hour, hold)

    def _beside(self, hour: Hour) -> None:
        """What else is noted, rated, recorded and seen after a session that came in on time."""
        if hour.late_reason:
            return
        self._outcomes.after(hour)
        self._notes.after(hour)
        self._room.after(hour)
        self._strains.after(hour)
        self._office.after(hour)
        if self._supervised:
            self._supervising.after(hour)
        recording = self._room.record(hour)
        if recording is None or self._scene.supervisor is None:
            return
        if self._supervised:
            self._strains.observe(hour, recording, self._scene.supervisor)
        if self._scene.name == "0" and hour.number != RECORDED[0]:
            self._room.recall(hour, recording)

    def _comes_late(self) -> bool:
        return Twist.LATE in self._scene.plot.twists or self._scene.rng.random() < 0.15

    def _look_back(self, name: str, hour: Hour, hold: HoldSession) -> None:
        """What is read, set right and taken back between this session and the next."""
        scene, twists = self._scene, self._scene.plot.twists
        if hour.number % 5 == 0:
            self._read(hour.started_at - timedelta(minutes=20), scene.therapist, Role.THERAPIST)
        if scene.supervisor and self._supervised and hour.number % 4 == 0:
            at = hour.recorded_at + timedelta(days=2, hours=1)
            self._read(at, scene.supervisor, Role.SUPERVISOR)
        if Twist.TIMES_CORRECTED in twists and hour.number == CORRECTED_SESSION:
            self._correct_times(name, hour, hold)
        if hour.number == WITHDRAWN_AFTER and Twist.SUPERVISION_WITHDRAWN in twists:
            after = hour.recorded_at + timedelta(days=3)
            self._withdraw(after, Scope.SUPERVISION_DISCLOSURE)
            self._supervised = False

    def _read(self, at: datetime, reader: Someone, role: Role) -> None:
        scene = self._scene
        read = ReadRecord(
            role=role, purpose="care", what="alliance", relationship=scene.relationship
        )
        scene.act(at, f"read/{role}/{at.isoformat()}", reader, read)

    def _correct_times(self, name: str, hour: Hour, hold: HoldSession) -> None:
        scene, at = self._scene, hour.recorded_at + timedelta(days=1, hours=2)
        content = hold.model_dump(
            mode="json", exclude={"relationship", "occurred_at", "late_reason"}, exclude_none=True
        )
        content["ended_at"] = (hour.ended_at + timedelta(minutes=10)).isoformat()

        def correct(find: Find) -> CorrectEntry:
            return CorrectEntry(
                stream=relationship_stream(scene.relationship),
                entry=find(scene.key(f"{name}/held")).version,
                reason=words.TIMES_REASON,
                content=content,
            )

        if scene.act(at, f"{name}/corrected", scene.therapist, correct):
            scene.plant("correction", session=hour.id, key=f"{name}/corrected", detail="ended_at")

    def _withdraw(self, at: datetime, scope: Scope) -> None:
        scene = self._scene
        for client in scene.clients:
            withdraw = WithdrawConsent(
                relationship=scene.relationship, consent=self._consent_id(scope, client)
            )
            key = f"withdrawn/{scope}/{client.id}"
            if scene.act(at, key, client, withdraw):
                scene.plant("withdrawn_consent", key=key, detail=scope)

    # --- Ends --------------------------------------------------------------------------------

    def close(self, at: datetime) -> None:
        """As planned, or because the client stayed away; a planned end is followed up."""
        fled = self._scene.plot.ending is Ending.DROPPED_OUT
        if fled:
            at = at + timedelta(days=40)
            reason, initiator = words.DROPPED_OUT, Initiator.CLIENT
        else:
            at = at + timedelta(minutes=30)
            reason, initiator = self._scene.rng.choice(words.CLOSINGS), Initiator.BOTH
        if self._close(at, reason, initiator) and not fled:
            self._ratings.follow_up(at + timedelta(days=90))

    def withdraw_treatment(self, at: datetime) -> None:
        scene, at = self._scene, at + timedelta(days=2)
        for client in scene.clients:
            withdraw = WithdrawConsent(
                relationship=scene.relationship,
                consent=self._consent_id(Scope.TREATMENT, client),
                reason=words.WITHDRAWAL_REASON,
            )
            key = f"withdrawn/treatment/{client.id}"
            if scene.act(at, key, client, withdraw):
                scene.plant("withdrawn_consent", key=key, detail=Scope.TREATMENT)
        self._close(at + timedelta(days=1), words.WITHDRAWAL_REASON, Initiator.CLIENT)

    def reopen(self, at: datetime) -> None:
        self._close(at + timedelta(minutes=30), words.CLOSINGS[0], Initiator.BOTH)
        again = wall_clock(workday(at.date() + timedelta(days=90)), 12, 30)
        scene = self._scene
        reopening = ReopenRelationship(
            relationship=scene.relationship, reason=words.REOPENING_REASON
        )
        if scene.act(again, "reopened", scene.therapist, reopening):
            scene.plant("reopening", key="reopened")
            self._facts["closed_at"] = None
            self._contact = again
            self._until = self._held + 8
            ended = self.go_on(again.date() + timedelta(days=3))
            if ended is not None:
                self._close(ended + timedelta(minutes=30), words.CLOSINGS[1], Initiator.BOTH, 2)

    def transfer(self, at: datetime, to: Someone) -> None:
        """The same client goes on with another therapist, in a relationship of its own."""
        scene, at = self._scene, at + timedelta(days=1)
        goes_on = replace(scene, name=f"{scene.name}-on", therapists=(to,))
        transfer = TransferRelationship(
            relationship=scene.relationship,
            to=goes_on.relationship,
            therapists=(to.id,),
            supervisor=scene.supervisor.id if scene.supervisor else None,
            reason=words.TRANSFER_REASON,
            initiated_by=Initiator.THERAPIST,
            goals=self._goals_in_words(),
            ruptures=self._ruptures_in_words(),
        )
        if not scene.act(at, "transferred", scene.therapist, transfer):
            return
        scene.plant("transfer", key="transferred", detail=str(goes_on.relationship))
        self._facts["closed_at"] = at.isoformat()
        plot = replace(scene.plot, ending=Ending.ONGOING, sessions=500, twists=frozenset[Twist]())
        story = Story(replace(goes_on, plot=plot))
        begins = workday(at.date() + timedelta(days=6))
        story.intake(wall_clock(begins, 10, 20))
        story.go_on(begins + timedelta(days=5))

    def _close(self, at: datetime, reason: str, initiator: Initiator, time: int = 1) -> bool:
        scene = self._scene
        closing = CloseRelationship(
            relationship=scene.relationship,
            reason=reason,
            initiated_by=initiator,
            goals=self._goals_in_words(),
            ruptures=self._ruptures_in_words(),
        )
        closed = scene.act(at, f"closed/{time}", scene.therapist, closing)
        if closed:
            scene.plant("closure", key=f"closed/{time}", detail=initiator)
            self._facts["closed_at"] = at.isoformat()
        return closed

    def _goals_in_words(self) -> str:
        left = len(self._goals.open)
        return f"{left} still open." if left else "None is open."

    def _ruptures_in_words(self) -> str | None:
        left = self._strains.open
        return f"{left} talked about, and left." if left else None

    # --- Ground truth ------------------------------------------------------------------------

    def _describe(self) -> None:
        """What was planted here, in words and numbers of sessions that were really held."""
        scene, course = self._scene, self._scene.plot.course
        self._facts |= {
            "relationship": str(scene.relationship),
            "name": scene.name,
            "constellation": scene.plot.constellation.value,
            "measure": scene.plot.measure or None,
            "ending": scene.plot.ending.value,
            "clients": [str(client.id) for client in scene.clients],
            "therapists": [str(therapist.id) for therapist in scene.therapists],
            "supervisor": scene.supervisor and str(scene.supervisor.id),
            "sessions": dict(self._counts),
            "shape": course.shape.value,
            "start": f"{course.start:.3f}",
            "growth": f"{course.growth:.3f}",
            "therapist_bias": f"{course.bias:.3f}",
            "therapist_tracking": f"{course.tracking:.3f}",
            "ruptures": [
                {
                    "session_number": rupture.session,
                    "kind": rupture.kind.value,
                    "depth": f"{rupture.depth:.3f}",
                    "repaired_at_session_number": rupture.repaired
                    if rupture.repaired and rupture.repaired <= self._held
                    else None,
                }
                for rupture in course.ruptures
                if rupture.session <= self._held
            ],
        }
        self._facts.setdefault("closed_at", None)
