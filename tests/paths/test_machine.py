"""Anything in any order: whatever is handed in, the record stays whole and its rules hold.

A machine hands in commands that fit and commands that do not, by two writers, late, imported, on
behalf of others, and destroys keys on the way. After each step the log is read again, past every
cache, and held against what the writers believe.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from itertools import combinations, pairwise
from typing import Any
from uuid import UUID, uuid4

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from domain.clinic import AttestInstrumentLicence, DeclareImport, PublishConsentDocument, Scope
from domain.consent import consents_of
from domain.consenting import GiveConsent
from domain.event import Command, Erased, Event, History, RecordedEvent, Refusal, Source, Stream
from domain.frame import frame_of
from domain.goal import goals_of
from domain.information import GiveInformation
from domain.person import (
    Activity,
    Profession,
    RegisterPerson,
    RegisterPractitioner,
    person_stream,
    practitioner_stream,
)
from domain.rating import ratings_of
from domain.recording import RecordingStarted, recordings_of
from domain.records import Author, Proposal
from domain.relationship import (
    OpenRelationship,
    RelationshipErased,
    RelationshipUnknown,
    relationship_of,
    relationship_stream,
    require_sound,
)
from domain.session import (
    Session,
    SessionHeld,
    SessionsOverlap,
    schedule_stream,
    sessions_of,
)
from domain.task import tasks_of
from domain.topics import COMMANDS
from infra.event_store import ClinicLog
from projections.dossier import dossier
from tests.conftest import Clinic

SHA256 = "5e" * 32
LATE = "Found when filing."


@dataclass
class World:
    """Two relationships of one therapist, with what there may be in them."""

    clinic: Clinic
    therapist: UUID = field(default_factory=uuid4)
    clients: tuple[UUID, UUID] = field(default_factory=lambda: (uuid4(), uuid4()))
    relationships: tuple[UUID, UUID] = field(default_factory=lambda: (uuid4(), uuid4()))
    supervisors: tuple[UUID, UUID] = field(default_factory=lambda: (uuid4(), uuid4()))
    document: UUID = field(default_factory=uuid4)
    declaration: UUID = field(default_factory=uuid4)
    things: tuple[UUID, ...] = field(default_factory=lambda: tuple(uuid4() for _ in range(3)))
    """Ids that sessions, goals, tasks, ratings and consents share: each is tried as everything."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        return (
            *map(relationship_stream, self.relationships),
            schedule_stream(self.therapist),
            practitioner_stream(self.therapist),
            *map(person_stream, self.clients),
        )

    def founding(self) -> Sequence[Command]:
        """What stands before anything is tried."""
        commands: list[Command] = [
            DeclareImport(
                declaration=self.declaration,
                origin="A box of index cards",
                licence="none",
                declared_by_name="R. Kanzlei",
                legal_basis="Treatment contract.",
                time_rule="As written on the card.",
            ),
            PublishConsentDocument(
                document=self.document,
                title="What we agree on",
                scopes=tuple(Scope),
                sha256=SHA256,
                language="en",
            ),
            AttestInstrumentLicence(
                instrument="WAI-36",
                holder="Praxis am Park",
                basis="Asked and granted.",
                valid_from=date(2020, 1, 1),
            ),
            *(
                RegisterPractitioner(
                    practitioner=practitioner,
                    full_name="Dr. Jan Muster",
                    profession=Profession.THERAPIST,
                    scope=(Activity.THERAPY, Activity.SUPERVISION),
                    valid_from=date(2020, 1, 1),
                )
                for practitioner in (self.therapist, *self.supervisors)
            ),
        ]
        for client, relationship in zip(self.clients, self.relationships, strict=True):
            commands += [
                RegisterPerson(person=client, full_name="Maria Beispiel"),
                OpenRelationship(
                    relationship=relationship,
                    clients=(client,),
                    therapists=(self.therapist,),
                    modality="systemic",
                    setting="outpatient",
                ),
                *(self.information(relationship, to) for to in (self.therapist, client)),
                *(
                    self.consent(relationship, client, scope)
                    for scope in (Scope.TREATMENT, Scope.OUTCOME_MEASURES, Scope.RECORDING)
                ),
            ]
        return commands

    def information(self, relationship: UUID, to: UUID) -> Command:
        return GiveInformation(
            relationship=relationship,
            document=self.document,
            version=1,
            sha256=SHA256,
            to=to,
            by=self.therapist,
        )

    def consent(self, relationship: UUID, party: UUID, scope: Scope) -> Command:
        return GiveConsent(
            relationship=relationship,
            scope=scope,
            party=party,
            document=self.document,
            version=1,
            sha256=SHA256,
            signer=party,
        )


@dataclass(frozen=True)
class Try:
    """What one step is about: one relationship, things of it, a time, a number."""

    world: World
    where: int
    one: UUID
    other: UUID
    party: UUID
    at: datetime
    number: int

    @property
    def relationship(self) -> UUID:
        return self.world.relationships[self.where]

    @property
    def client(self) -> UUID:
        return self.world.clients[self.where]

    @property
    def stream(self) -> Stream:
        return relationship_stream(self.relationship)

    @property
    def history(self) -> History:
        return self.world.clinic.log.history(self.stream)

    @property
    def entry(self) -> RecordedEvent | None:
        return self.history.entry(self.number)


Body = Mapping[str, Any]


def _amending(what: Try) -> Body:
    return {"stream": str(what.stream), "entry": what.number, "reason": "Mistyped."}


def _corrected(what: Try) -> Body:
    """The entry's own content, half an hour later, in other words."""
    entry, content = what.entry, dict[str, Any]()
    if entry is not None and isinstance(entry.event, Event):
        content = entry.event.model_dump(mode="json", exclude_none=True)
        later = entry.event.model_dump(include={"started_at", "ended_at"})
        content |= {name: at + timedelta(minutes=30) for name, at in later.items()}
        content |= {name: "In other words." for name in ("reason", "why") if name in content}
    moved = {"occurred": what.at} if what.number % 2 else {}
    return {**_amending(what), "content": content, **moved}


def _closing(what: Try) -> Body:
    said = {"goals": "Reached.", "ruptures": "None known."}
    return {"reason": "Done.", "initiated_by": "both", **said}


def _document(what: Try) -> Body:
    return {"document": what.world.document, "version": 1}


def _consent(what: Try) -> Body:
    scopes = (Scope.TREATMENT, Scope.OUTCOME_MEASURES, Scope.RECORDING, Scope.TELEHEALTH)
    return {
        **_document(what),
        "consent": what.one,
        "scope": scopes[what.number % 4],
        "party": what.party,
        "signer": what.party,
        "sha256": SHA256,
    }


def _hour(what: Try) -> Body:
    return {
        "session": what.one,
        "present": [what.client, what.world.therapist],
        "started_at": what.at,
        "ended_at": what.at + timedelta(minutes=50),
        "joint": what.number % 5 == 0,
    }


def _rating(what: Try) -> Body:
    by_client = what.party == what.client
    return {
        "rating": what.other,
        "instrument": "WAI-36",
        "perspective": "client" if by_client else "therapist",
        "rater": what.party,
        "session": what.one if what.number % 3 else None,
        "follow_up": what.number % 7 == 0,
        "answers": [1 + what.number % 7] * 36,
    }


def _outcome(what: Try) -> Body:
    return {
        **_rating(what),
        "instrument": "SWLS",
        "perspective": "client",
        "rater": what.client,
        "answers": [1 + what.number % 7] * 5,
    }


def _in_the_session(what: Try) -> datetime:
    """When the session that is tried began, if it did."""
    session = sessions_of(what.history).get(what.one)
    return what.at if session is None else session.started_at


def _taking_part(what: Try) -> Body:
    who = what.world.supervisors[what.number % 2]
    return {"person": who, "part": "supervisor", "reason": "On leave."}


def _frame(what: Try) -> Body:
    return {"agreed_by": [what.client, what.world.therapist]}


_BODIES: Mapping[str, Callable[[Try], Body]] = {
    "give-information": lambda w: {
        **_document(w),
        "sha256": SHA256,
        "to": w.party,
        "by": w.world.therapist,
    },
    "give-consent": _consent,
    "decline-consent": lambda w: {**_document(w), "scope": "recording", "party": w.party},
    "withdraw-consent": lambda w: {"consent": w.one},
    "schedule-session": lambda w: {
        "session": w.one,
        "starts_at": w.at,
        "ends_at": w.at + timedelta(minutes=50),
    },
    "hold-session": _hour,
    "abandon-session": lambda w: {**_hour(w), "who": w.client, "why": "Left early."},
    "reschedule-session": lambda w: {
        "session": w.one,
        "starts_at": w.at + timedelta(hours=1),
        "ends_at": w.at + timedelta(hours=2),
        "who": w.party,
        "why": "A child is ill.",
    },
    "start-recording": lambda w: {
        "recording": w.other,
        "session": w.one,
        "kind": "audio",
        "started_at": _in_the_session(w) + timedelta(minutes=w.number % 5),
        "agreed_by": [w.world.therapist],
    },
    "end-recording": lambda w: {
        "recording": w.other,
        "ended_at": _in_the_session(w) + timedelta(minutes=10 + 2 * w.number),
        "why": "session_over",
    },
    "use-recording": lambda w: {
        "recording": w.other,
        "purpose": "recall",
        "by": w.world.therapist,
    },
    "miss-session": lambda w: {"session": w.one, "who": w.party, "why": "Overslept."},
    "cancel-session": lambda w: {"session": w.one, "who": w.party, "why": "Ill."},
    "propose-goal": lambda w: {"goal": w.one, "statement": "To ride the tram.", "by": w.party},
    "revise-goal": lambda w: {"goal": w.one, "statement": "To ride it alone.", "by": w.party},
    "assent-to-goal": lambda w: {"goal": w.one, "revision": 1 + w.number % 2, "party": w.party},
    "dissent-from-goal": lambda w: {
        "goal": w.one,
        "revision": 1 + w.number % 2,
        "party": w.party,
        "reason": "Not like this.",
    },
    "rate-goal": lambda w: {
        "goal": w.one,
        "revision": 1 + w.number % 2,
        "by": w.party,
        "level": {"scale": "gbo", "value": w.number % 11},
    },
    "reach-goal": lambda w: {"goal": w.one},
    "retire-goal": lambda w: {"goal": w.one, "reason": "No longer wanted."},
    "reopen-goal": lambda w: {"goal": w.one, "reason": "Wanted again."},
    "propose-task": lambda w: {
        "task": w.one,
        "description": "One stop.",
        "aim": {"goals": [w.other], "purpose": "To try."},
        "by": w.party,
    },
    "assent-to-task": lambda w: {"task": w.one, "party": w.party},
    "review-task": lambda w: {"task": w.one, "by": w.party, "done": "partly"},
    "retire-task": lambda w: {"task": w.one, "reason": "Done with."},
    "rate-alliance": _rating,
    "rate-outcome": _outcome,
    "supersede-rating": lambda w: {
        "superseded": w.one,
        "rating": w.other,
        "reason": "Read again.",
        "answers": [1 + w.number % 7] * (5 if w.number % 2 else 36),
    },
    "join-relationship": _taking_part,
    "leave-relationship": lambda w: {"person": _taking_part(w)["person"], "reason": "Back."},
    "pause-relationship": lambda w: {"reason": "Away for work.", "initiated_by": "client"},
    "resume-relationship": lambda w: {},
    "agree-frame": lambda w: {
        **_frame(w),
        "items": [{"item": "length", "terms": "50 minutes."}],
    },
    "change-frame-item": lambda w: {
        **_frame(w),
        "item": "length",
        "old": "50 minutes.",
        "new": f"{50 + w.number} minutes.",
        "reason": "Longer.",
        "by": w.party,
    },
    "close-relationship": _closing,
    "reopen-relationship": lambda w: {"reason": "Came back."},
    "transfer-relationship": lambda w: {
        **_closing(w),
        "to": w.one,
        "therapists": [w.world.therapist],
    },
    "correct-entry": _corrected,
    "mark-entered-in-error": _amending,
}
_OF_NO_TIME = {
    "hold-session",
    "abandon-session",
    "start-recording",
    "end-recording",
    "supersede-rating",
    "withdraw-consent",
    "correct-entry",
}
_OFTEN = (
    "hold-session",
    "start-recording",
    "end-recording",
    "rate-alliance",
    "supersede-rating",
    "correct-entry",
    "give-consent",
)
_BEGINNING = (
    "hold-session",
    "rate-alliance",
    "propose-goal",
    "assent-to-goal",
    "propose-task",
)

STEPS = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*_BODIES, *_OFTEN, *_OFTEN]),
        "where": st.integers(0, 1),
        "one": st.integers(0, 2),
        "other": st.integers(0, 2),
        "by_client": st.booleans(),
        "halves": st.integers(1, 8) | st.integers(-2, 100),
        "number": st.integers(1, 25),
        "imported": st.sampled_from([False, False, False, True]),
        "writer": st.integers(0, 1),
    }
)


def command_of(name: str, what: Try) -> Command:
    """The command of that name, about what is tried."""
    kind = COMMANDS[name]
    body = {"late_reason": LATE, **_BODIES[name](what)}
    if "relationship" in kind.model_fields:
        body["relationship"] = what.relationship
    if name not in _OF_NO_TIME and what.number % 4:
        body["occurred_at"] = what.at
    return kind.model_validate(body)


FOLDS: Sequence[Callable[[History], object]] = (
    goals_of,
    tasks_of,
    ratings_of,
    consents_of,
    sessions_of,
    recordings_of,
    frame_of,
)


class Machine(RuleBasedStateMachine):
    """Hands in whatever comes up, and looks what became of it."""

    def __init__(self, clinic: Clinic, writers: Sequence[ClinicLog]) -> None:
        super().__init__()
        self.clinic, self.writers = clinic, writers
        self.world = World(clinic)
        self.begun = clinic.log.head_size()
        for command in self.world.founding():
            clinic.record(command, by=self.world.therapist)
        for where in (0, 1):
            clinic.clock.advance(hours=2)
            for name in _BEGINNING:
                clinic.record(command_of(name, self.what(where)), by=self.world.therapist)

    def what(
        self,
        where: int,
        *,
        by_client: bool = False,
        one: int = 0,
        other: int = 0,
        halves: int = 2,
        number: int = 4,
    ) -> Try:
        world = self.world
        party = world.clients[where] if by_client else world.therapist
        at = self.clinic.clock.now - halves * timedelta(minutes=30)
        return Try(world, where, world.things[one], world.things[other], party, at, number)

    @rule(hours=st.integers(1, 40))
    def time_passes(self, hours: int) -> None:
        self.clinic.clock.advance(hours=hours)

    @rule(steps=st.lists(STEPS, min_size=1, max_size=8))
    def somebody_hands_in(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            name, imported, writer = (step.pop(key) for key in ("name", "imported", "writer"))
            what = self.what(**step)
            author = Author(self.world.therapist, on_behalf_of=what.party)
            if imported:
                author = Author(self.world.therapist, None, Source.IMPORT, self.world.declaration)
            self.hand_in(Proposal(command_of(name, what), author), writer)

    def hand_in(self, proposal: Proposal, writer: int) -> None:
        log = self.writers[writer]
        before = log.head_size()
        (verdict,) = log.append([proposal])
        if isinstance(verdict, Refusal):
            assert log.head_size() == before, "what is refused leaves nothing behind"
            assert "{" not in verdict.detail
            return
        positions = [entry.position for entry in verdict.entries]
        assert positions == list(range(before + 1, log.head_size() + 1))
        assert list(self.writers[1 - writer].append([proposal])) == [verdict], "once is enough"

    @rule(which=st.integers(0, 5), of_one=st.booleans(), seldom=st.integers(0, 3))
    def a_key_is_destroyed(self, which: int, of_one: bool, seldom: int) -> None:
        if seldom:  # much is refused afterwards
            return
        stream = self.world.streams[which]
        for entry in self.clinic.log.history(stream):
            event = entry.event
            if isinstance(event, Event) and (event.subject() is not None) == of_one:
                self.clinic.keyring.destroy(self.clinic.id, entry.key_id)
                return

    @invariant()
    def the_log_has_no_gap_and_every_writer_knows_it(self) -> None:
        size = self.clinic.log.head_size()
        entries = list(self.clinic.log.read_log(self.begun, size))
        assert [entry.position for entry in entries] == list(range(self.begun + 1, size + 1))
        assert all(one.recorded_at <= two.recorded_at for one, two in pairwise(entries))
        for stream in self.world.streams:
            stored = [entry for entry in entries if entry.stream == stream]
            assert [entry.version for entry in stored] == list(range(1, len(stored) + 1))
            for writer in self.writers:
                assert list(writer.history(stream)) == stored

    @invariant()
    def every_history_can_be_folded(self) -> None:
        for relationship in self.world.relationships:
            stream = relationship_stream(relationship)
            history = self.clinic.log.history(stream)
            for fold in FOLDS:
                fold(history)
            noon = self.clinic.clock.now - timedelta(hours=12)
            dossier(stream, history, known_at=noon)
            dossier(stream, history, happened_by=noon)

    @invariant()
    def the_rules_hold(self) -> None:
        histories = [
            self.clinic.log.history(relationship_stream(relationship))
            for relationship in self.world.relationships
        ]
        for history in histories:
            nothing_lies_outside(history)
            people_fit(history)
            recordings_are_consented_to(history)
            ratings_are_one_each(history)
        if not any(isinstance(e.event, Erased) for history in histories for e in history):
            no_hour_is_given_twice(histories)


def nothing_lies_outside(history: History) -> None:
    """Rule 16: before the opening or after a closing stands only what may."""
    with suppress(RelationshipUnknown, RelationshipErased):
        relationship = relationship_of(history)
        since = {closure.since for closure in relationship.closures}
        outside = filter(relationship.is_outside, history.standing)
        assert [entry for entry in outside if entry.occurred_at not in since] == []


def people_fit(history: History) -> None:
    """Rule 10: at any time one client, one therapist and at most one supervisor."""
    with suppress(RelationshipUnknown, RelationshipErased):
        require_sound(relationship_of(history))


def recordings_are_consented_to(history: History) -> None:
    """Rule 22: none lasts longer than the consent it rests on, or lies outside its session."""
    sessions, consents = sessions_of(history), consents_of(history)
    for recording in recordings_of(history).values():
        if recording.ended_at is None:
            continue
        started = recording.entry.event
        assert isinstance(started, RecordingStarted)
        for reliance in started.relies_on:
            consent = consents.get(reliance.consent)
            if consent is not None and consent.withdrawn_at is not None:
                assert recording.ended_at <= consent.withdrawn_at
        session = sessions.get(recording.session)
        if session is not None and session.is_held and recording.is_ended:
            assert session.started_at <= recording.started_at
            assert recording.ended_at <= session.ended_at


def ratings_are_one_each(history: History) -> None:
    """Rule 29: one current rating of a session, form, perspective and rater."""
    places = [
        (one.rating.session, one.rating.instrument, one.rating.perspective, one.rating.rater)
        for one in ratings_of(history).values()
        if one.rating.session is not None
    ]
    assert len(set(places)) == len(places)


def no_hour_is_given_twice(histories: Sequence[History]) -> None:
    """Rule 14: unless joint, or imported, which says so."""
    reported = {
        event.session
        for history in histories
        for _, event in history.of(SessionHeld)
        if SessionsOverlap.code in event.reported
    }
    held: list[Session] = [
        session
        for history in histories
        for session in sessions_of(history).values()
        if session.is_held and session.id not in reported
    ]
    for one, two in combinations(held, 2):
        apart = one.ended_at <= two.started_at or two.ended_at <= one.started_at
        assert apart or (one.joint and two.joint)


def test_whatever_is_handed_in_the_record_stays_whole(clinic: Clinic) -> None:
    """Rules 1, 2, 6, 8, 9, 14, 16, 29: gapless, equal when replayed, folded without fail, and
    without an entry of what was refused."""
    writers = (clinic.log, clinic.open_log())
    machine = partial(Machine, clinic, writers)
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # whatever makes a machine will do
        # What was appended stays for the next example, so nothing would be the same when shrunk.
        settings=settings(max_examples=18, stateful_step_count=40, phases=[Phase.generate]),
    )
    fresh = clinic.open_log()
    for category in ("relationship", "schedule", "person", "practitioner", "clinic"):
        for stream in fresh.streams(category):
            assert list(fresh.history(stream)) == list(clinic.log.history(stream))
