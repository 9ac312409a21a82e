"""What is tried in the machine of `test_machine.py`: a small world, and any command in it.

A few commands have bodies of their own, so that they fit often; of every other one its example is
told, about the people and things of this world. So a new command is tried as soon as it is there.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from domain.assent import GiveAssent
from domain.clinic import AttestInstrumentLicence, DeclareImport, PublishConsentDocument, Scope
from domain.consent import Capacity, consents_of
from domain.consenting import GiveConsent
from domain.event import Command, Event, History, Immediate, RecordedEvent, Source, Stream
from domain.information import GiveInformation
from domain.instrument import load
from domain.note import ProgressNoteWritten
from domain.person import (
    Activity,
    AttestRaterTraining,
    Profession,
    RegisterPerson,
    RegisterPractitioner,
    person_stream,
    practitioner_stream,
)
from domain.process_note import process_stream
from domain.records import Author
from domain.relationship import OpenRelationship, relationship_stream
from domain.session import schedule_stream, sessions_of
from domain.supervision import supervision_stream
from domain.topics import COMMANDS
from tests.conftest import Clinic
from tests.habits.source import ROOT

SHA256 = "5e" * 32
LATE = "Found when filing."


@dataclass
class World:
    """Two relationships of one therapist, one with an adult, one with a minor, and what there may
    be in them."""

    clinic: Clinic
    therapist: UUID = field(default_factory=uuid4)
    clients: tuple[UUID, UUID] = field(default_factory=lambda: (uuid4(), uuid4()))
    relationships: tuple[UUID, UUID] = field(default_factory=lambda: (uuid4(), uuid4()))
    guardian: UUID = field(default_factory=uuid4)
    supervisors: tuple[UUID, UUID] = field(default_factory=lambda: (uuid4(), uuid4()))
    document: UUID = field(default_factory=uuid4)
    declaration: UUID = field(default_factory=uuid4)
    things: tuple[UUID, ...] = field(default_factory=lambda: tuple(uuid4() for _ in range(3)))
    """Ids that sessions, goals, tasks, ratings and consents share: each is tried as everything."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        return (
            *map(relationship_stream, self.relationships),
            *map(process_stream, self.relationships),
            *map(supervision_stream, self.relationships),
            schedule_stream(self.therapist),
            practitioner_stream(self.therapist),
            *map(person_stream, self.clients),
            *(Stream(trail, id_) for trail in _TRAILS for id_ in self.relationships),
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
            *(
                AttestInstrumentLicence(
                    instrument=instrument,
                    holder="Praxis am Park",
                    basis="Asked and granted.",
                    valid_from=date(2020, 1, 1),
                )
                for instrument in ("WAI-36", "PHQ-9", "SRS-3")
            ),
            RegisterPerson(person=self.guardian, full_name="Jan Beispiel"),
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
        commands += [
            AttestRaterTraining(
                practitioner=supervisor,
                system="3RS",
                trained_by="Institute of Process Research",
                basis="Two days of training.",
                valid_from=date(2025, 1, 1),
            )
            for supervisor in self.supervisors
        ]
        for where in (0, 1):
            commands += self._beginning(where)
        return commands

    def _beginning(self, where: int) -> Sequence[Command]:
        """Of one relationship: who it is with, that it was opened, and what was consented to."""
        relationship, client = self.relationships[where], self.clients[where]
        signer = self.signer(client)
        return [
            RegisterPerson(
                person=client,
                full_name="Maria Beispiel",
                birth_date=(date(1984, 5, 17), date(2009, 4, 15))[where],
            ),
            OpenRelationship(
                relationship=relationship,
                clients=(client,),
                therapists=(self.therapist,),
                modality="systemic",
                setting="outpatient",
                supervisor=self.supervisors[0],
            ),
            *(
                self.information(relationship, to)
                for to in {self.therapist: 0, client: 0, signer: 0}
            ),
            *(self.consent(relationship, client, scope) for scope in _ASKED),
            *(self.assent(relationship, client, scope) for scope in _ASKED if signer != client),
        ]

    def signer(self, party: UUID) -> UUID:
        """Who consents for somebody: themself, or a guardian for the minor."""
        return self.guardian if party == self.clients[1] else party

    def assent(self, relationship: UUID, party: UUID, scope: Scope) -> Command:
        return GiveAssent(
            relationship=relationship, scope=scope, party=party, document=self.document, version=1
        )

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
            signer=self.signer(party),
            capacity=Capacity.OWN if self.signer(party) == party else Capacity.GUARDIAN,
        )


_ASKED = (
    Scope.TREATMENT,
    Scope.OUTCOME_MEASURES,
    Scope.RECORDING,
    Scope.SUPERVISION_DISCLOSURE,
)
_TRAILS = ("hold", "disclosure", "access")


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
    signer = what.world.signer(what.party)
    return {
        **_document(what),
        "consent": what.one,
        "scope": (*_ASKED, Scope.TELEHEALTH)[what.number % 5],
        "party": what.party,
        "signer": signer,
        "capacity": "own" if signer == what.party else "guardian",
        "sha256": SHA256,
    }


def _some_consent(what: Try) -> UUID:
    consents = [*consents_of(what.history)]
    return consents[what.number % len(consents)] if consents else what.one


def _hour(what: Try) -> Body:
    return {
        "session": what.one,
        "present": [what.client, what.world.therapist],
        "started_at": what.at,
        "ended_at": what.at + timedelta(minutes=50),
        "joint": what.number % 5 == 0,
        "medium": "video" if what.number % 11 == 0 else "in_person",
        "location_confirmed": True,
        "emergency": {"reason": "In distress.", "review_by": what.at.date()}
        if what.number % 6 == 0
        else None,
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
    own = {**_rating(what), "perspective": "client", "rater": what.client}
    if what.number % 2:
        return {**own, "instrument": "PHQ-9", "answers": [what.number % 4] * 9}
    return {**own, "instrument": "SWLS", "answers": [1 + what.number % 7] * 5}


def _view(what: Try) -> Body:
    """A rupture as client, therapist or an observer sees it."""
    perspective = "client" if what.party == what.client else "therapist"
    return {"rupture": what.other, "by": what.party, "perspective": perspective}


def _mark(what: Try) -> Body:
    seen = _view(what)
    mark = {"rupture": seen["rupture"], "raised_by": seen["by"], "kind": "withdrawal"}
    if what.number % 3:
        named = {"perspective": seen["perspective"], "method": "named_in_session"}
        return {**mark, **named, "session": what.one if what.number % 2 else None}
    coded = {"perspective": "observer", "method": "3RS", "markers": ["denial"]}
    segment = {"recording": what.other, "from_s": 0, "to_s": 60 * what.number}
    rater = {"raised_by": what.world.supervisors[0]}
    return {**mark, **coded, **rater, "session": what.one, "segment": segment}


def _signing(what: Try) -> Body:
    """Mostly the commitment of the note that is signed."""
    commitments = [
        entry.commitment
        for entry in what.history
        if isinstance(entry.event, ProgressNoteWritten) and entry.event.note == what.other
    ]
    other = not commitments or what.number % 7 == 0
    return {"note": what.other, "commitment": "9c" * 32 if other else commitments[0]}


def _in_the_session(what: Try) -> datetime:
    """When the session that is tried began, if it did."""
    session = sessions_of(what.history).get(what.one)
    return what.at if session is None else session.started_at


def _taking_part(what: Try) -> Body:
    who = what.world.supervisors[what.number % 2]
    return {"person": who, "part": "supervisor", "reason": "On leave."}


def _frame(what: Try) -> Body:
    return {"agreed_by": [what.client, what.world.therapist]}


_EXAMPLES = json.loads((ROOT / "api" / "routes" / "examples.json").read_text(encoding="utf-8"))
_EXAMPLE_ID = re.compile("7d1f3a52-6c0e-4b8e-9a41-0000000000([0-9]{2})")
_ONES = frozenset({7, 9, 10, 11, 56, 59, 61, 63})


def _as_in_the_examples(name: str, what: Try) -> Body:
    """The example of a command, about the people and things of this world, at this time."""
    people = {
        1: what.party,
        2: what.client,
        3: what.world.therapist,
        4: what.world.supervisors[0],
        5: what.relationship,
        8: what.world.document,
        54: what.world.supervisors[0],
    }

    def told(value: Any) -> Any:
        match value:
            case dict():
                return {key: told(part) for key, part in value.items()}
            case list():
                return [told(part) for part in value]
            case int() if not isinstance(value, bool) and value > 1:
                return 1 + (value + what.number) % 20
            case str() if found := _EXAMPLE_ID.search(value):
                thing = what.one if int(found[1]) in _ONES else what.other
                return value.replace(found[0], str(people.get(int(found[1]), thing)))
            case str() if re.match("[0-9]{4}-[0-9]{2}-[0-9]{2}T", value):
                return (what.at + timedelta(days=1)).isoformat()
            case str() if re.fullmatch("[0-9a-f]{64}", value):
                return SHA256
        return value

    body: Body = told(_EXAMPLES[name])
    return {**body, "version": 1} if "version" in body else body


_BODIES: dict[str, Callable[[Try], Body]] = {
    "give-information": lambda w: {
        **_document(w),
        "sha256": SHA256,
        "to": w.party,
        "by": w.world.therapist,
    },
    "give-consent": _consent,
    "decline-consent": lambda w: {**_document(w), "scope": "recording", "party": w.party},
    "withdraw-consent": lambda w: {"consent": _some_consent(w)},
    "narrow-consent": lambda w: {"consent": _some_consent(w), "excludes": "No groups."},
    "renew-consent": lambda w: {
        "version": 1,
        "sha256": SHA256,
        "renews": _some_consent(w),
        "consent": w.other,
        "signer": w.world.signer(w.client),
        "capacity": "own" if w.where == 0 else "guardian",
    },
    "publish-consent-document": lambda w: {
        **_document(w),
        "version": 1 + w.number,
        "title": "What we agree on",
        "scopes": _ASKED,
        "sha256": SHA256,
        "language": "en",
    },
    "register-practitioner": lambda w: {
        "practitioner": w.world.therapist,
        "full_name": "Dr. Jan Muster",
        "profession": "therapist",
        "scope": ["therapy", "supervision"],
        "valid_from": w.at.date(),
    },
    "disclose-record": lambda w: {
        "disclosure": w.other,
        "recipient": {"kind": "provider", "name": "Dr. Nowak"},
        "purpose": "treatment",
        "legal_basis": "care",
        "basis": "Further treatment.",
        "what": "The last sessions.",
        "entries": [w.number],
    },
    "adopt-text-pack": lambda w: {
        "instrument": "SRS-3",
        "key_hash": load("SRS-3").key_hash,
        "language": "de",
        "sha256": f"{w.number:064x}",
        "holder": "Praxis am Park",
    },
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
    "mark-rupture": _mark,
    "resolve-rupture": lambda w: {**_view(w), "basis": "We said it.", "session": None},
    "leave-rupture-open": lambda w: {**_view(w), "reason": "Not now."},
    "attempt-repair": lambda w: {
        "rupture": w.other,
        "session": w.one,
        "strategies": ["acknowledges_own_contribution"],
        "by": w.party,
    },
    "sign-note": _signing,
    "cosign-note": _signing,
    "hold-supervision": lambda w: {
        "supervision": w.other,
        "supervisor": w.world.supervisors[0],
        "supervisees": [w.world.therapist],
        "started_at": w.at,
        "ended_at": w.at + timedelta(minutes=45),
    },
    "agree-supervision-action": lambda w: {
        "supervision": w.other,
        "action": w.one,
        "owner": w.world.therapist,
        "due": w.world.clinic.clock.now.date() + timedelta(days=w.number),
        "text": "Ask what the silence was about.",
    },
    "hold-recall-interview": lambda w: {
        "recall": w.one,
        "session": w.one,
        "party": w.client,
        "inquirer": w.world.supervisors[0],
        "recording": w.other,
        "held_at": w.at,
    },
    "mark-moment": lambda w: {
        "moment": w.other,
        "recall": w.one,
        "t_s": 60 * w.number,
        "party": w.client,
        "what": "Here I wanted to leave.",
    },
    "give-assent": lambda w: {**_document(w), "scope": _ASKED[w.number % 4], "party": w.client},
    "dissent-as-minor": lambda w: {"scope": _ASKED[w.number % 4], "party": w.client},
    "waive-assent": lambda w: {
        "scope": _ASKED[w.number % 4],
        "party": w.client,
        "by": w.world.therapist,
        "reason": "Cannot be asked.",
    },
    "request-amendment": lambda w: {
        "amendment": w.one,
        "entry": w.number,
        "party": w.client,
        "wants": "Leave it out.",
        "reason": "I never said that.",
    },
    "review-risk": lambda w: {
        "rating": w.other,
        "item": 9,
        "by": w.world.therapist,
        "finding": "No plan.",
        "action": "A safety plan.",
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
for _name in COMMANDS.keys() - _BODIES.keys():
    _BODIES[_name] = partial(_as_in_the_examples, _name)

_OF_NO_TIME = {
    "hold-session",
    "abandon-session",
    "start-recording",
    "end-recording",
    "supersede-rating",
    "correct-entry",
    "hold-supervision",
    "hold-recall-interview",
} | {name for name, kind in COMMANDS.items() if issubclass(kind, Immediate)}
_OFTEN = (
    "hold-session",
    "start-recording",
    "end-recording",
    "rate-alliance",
    "supersede-rating",
    "correct-entry",
    "give-consent",
    "mark-rupture",
    "use-recording",
    "mark-entered-in-error",
)


class Hand(StrEnum):
    """Whose hand a command is handed in by."""

    ON_BEHALF = "the therapist's, for whom it is about"
    FOR_CLIENT = "the therapist's, for the client"
    THERAPIST = "the therapist's own"
    SUPERVISOR = "the supervisor's own"
    CLIENT = "the client's own"
    IMPORT = "an importer's"

    def author(self, what: Try) -> Author:
        world = what.world
        match self:
            case Hand.ON_BEHALF:
                return Author(world.therapist, on_behalf_of=what.party)
            case Hand.FOR_CLIENT:
                return Author(world.therapist, on_behalf_of=what.client)
            case Hand.THERAPIST:
                return Author(world.therapist)
            case Hand.SUPERVISOR:
                return Author(world.supervisors[0])
            case Hand.CLIENT:
                return Author(what.client)
            case Hand.IMPORT:
                return Author(world.therapist, None, Source.IMPORT, world.declaration)


BEGINNING: Sequence[tuple[str, Hand]] = (
    ("hold-session", Hand.THERAPIST),
    ("rate-alliance", Hand.ON_BEHALF),
    ("propose-goal", Hand.ON_BEHALF),
    ("assent-to-goal", Hand.FOR_CLIENT),
    ("assent-to-goal", Hand.THERAPIST),
    ("propose-task", Hand.ON_BEHALF),
    ("agree-frame", Hand.THERAPIST),
    ("start-recording", Hand.THERAPIST),
    ("end-recording", Hand.THERAPIST),
    ("write-note", Hand.THERAPIST),
    ("write-process-note", Hand.THERAPIST),
    ("mark-rupture", Hand.ON_BEHALF),
    ("hold-supervision", Hand.SUPERVISOR),
    ("agree-supervision-action", Hand.SUPERVISOR),
    ("agree-restriction", Hand.FOR_CLIENT),
    ("break-glass", Hand.SUPERVISOR),
)
"""What there is already when trying begins, and whose hand it was handed in by."""

_ENDINGS = (
    "close-relationship",
    "transfer-relationship",
    "pause-relationship",
    "leave-relationship",
    "withdraw-consent",
    "dissent-as-minor",
    "place-legal-hold",
)
"""After these much is refused: so they come up seldom."""

_NAMES = [*sorted(_BODIES.keys() - _ENDINGS), *_OFTEN] * 6 + [*_ENDINGS]


@dataclass(frozen=True)
class Step:
    """What comes up next: a command, whose hand it is in, at which writer, and what it is about."""

    name: str
    hand: Hand
    writer: int
    about: Mapping[str, int]

    @classmethod
    def by(cls, chance: Random) -> "Step":
        """Mostly of the last hours and of the first thing, so that much fits together."""
        halves = chance.choice([(1, 4), (2, 8), (-2, 100)])
        return cls(
            name=chance.choice(_NAMES),
            hand=chance.choice([*Hand]),
            writer=chance.randrange(2),
            about={
                "where": chance.randrange(2),
                "one": chance.choice([0, 0, 0, 0, 1, 2]),
                "other": chance.choice([0, 0, 0, 1, 2]),
                "by_client": chance.randrange(2),
                "halves": chance.randint(*halves),
                "number": chance.randint(1, 25),
            },
        )


def command_of(name: str, what: Try) -> Command | None:
    """The command of that name, about what is tried; None: no such one can be said."""
    kind = COMMANDS[name]
    body = {"late_reason": LATE, **_BODIES[name](what)}
    if "relationship" in kind.model_fields:
        body["relationship"] = what.relationship
    if issubclass(kind, Immediate):
        body.pop("late_reason")
    if name not in _OF_NO_TIME and what.number % 4:
        body["occurred_at"] = what.at
    try:
        return kind.model_validate(body)
    except ValidationError:  # of what can never be, such as an end before its beginning
        return None
