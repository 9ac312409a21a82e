"""What holds for every command and every history, whatever they are about."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain.appointment import ScheduleSession
from domain.clinic import (
    ImportUndeclared,
    Scope,
    consent_document,
    import_declared,
    licence_in_force,
)
from domain.consent import ConsentMissing, consents_of, in_force
from domain.context import context_events
from domain.correction import EnteredInError, EntryCorrected
from domain.emergency import emergencies_unreviewed
from domain.event import (
    ERASED,
    Command,
    Event,
    History,
    Immediate,
    LateReasonMissing,
    New,
    OccursInTheFuture,
    Policy,
    RecordedEvent,
    Refusal,
    Source,
    Stream,
)
from domain.frame import frame_of
from domain.goal import goals_of
from domain.information import informed
from domain.note import notes_awaiting_cosign, unsigned_notes
from domain.person import Activity, in_scope
from domain.phase import phases_of
from domain.process_note import process_notes_of
from domain.rating import ratings_of, score_of, series_of
from domain.recall import moments_of, recalls_scheduled
from domain.recording import recordings_of
from domain.records import Author, Proposal, Receipt, ReceiptEntry, StaleVersion
from domain.relationship import (
    RelationshipErased,
    RelationshipUnknown,
    relationship_of,
    relationship_stream,
)
from domain.rupture import open_ruptures
from domain.session import schedule_stream, session_numbers
from domain.supervision import actions_overdue
from domain.task import Aim, ProposeTask, TaskProposed, TaskRetired, tasks_of
from domain.topics import COMMANDS, EVENTS, read
from infra.bodies import body_of
from tests.kit import (
    CLIENT,
    CLINIC,
    DAY,
    HOUR,
    IMPORT,
    IMPORT_DECLARED,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    SESSION,
    THERAPIST,
    Record,
    given,
    hold_session,
    named,
)

SECOND = timedelta(seconds=1)
DATA = Path(__file__).parents[1] / "data"


def propose(**changes: Any) -> ProposeTask:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "task": named("task"),
        "description": "One stop on the tram.",
        "aim": Aim(purpose="To find out what the fear does."),
        "by": THERAPIST,
    }
    return ProposeTask.model_validate(fields | changes)


OPEN = given(*OPENED)


# --- Rule 3: late entries -------------------------------------------------------------------


@for_all(st.timedeltas(min_value=timedelta(0), max_value=40 * DAY), st.booleans())
def test_what_is_recorded_late_says_why(delay: timedelta, reasoned: bool) -> None:
    """Rule 3: more than the policy's 24 h after it occurred: marked late, with a reason."""
    reason = "Written down on paper first." if reasoned else None
    outcome = OPEN.when(propose(occurred_at=NOW - delay, late_reason=reason), at=NOW)
    if delay > DAY and not reasoned:
        outcome.refuses(LateReasonMissing, hours=24)
        return
    entry = outcome.recorded().entries[-1]
    assert isinstance(entry.event, TaskProposed)
    assert entry.is_late(Policy()) == (delay > DAY)
    assert entry.event.late_reason == (reason if delay > DAY else None)
    assert entry.occurred_at == NOW - delay


def test_a_clinic_sets_its_own_delay() -> None:
    """Rule 3: the delay is the policy's, and so is the number of hours in the refusal."""
    strict = replace(OPEN, policy=Policy(late_after=2 * HOUR))
    strict.when(propose(occurred_at=NOW - 3 * HOUR), at=NOW).refuses(LateReasonMissing, hours=2)
    strict.when(propose(occurred_at=NOW - HOUR), at=NOW).recorded()


# --- Rule 4: nothing from the future --------------------------------------------------------


@for_all(st.timedeltas(min_value=-DAY, max_value=400 * DAY))
def test_nothing_occurs_in_the_future(ahead: timedelta) -> None:
    """Rule 4: beyond a minute that clocks may differ by, what has not happened is refused."""
    outcome = OPEN.when(propose(occurred_at=NOW + ahead), at=NOW)
    if ahead > 60 * SECOND:
        outcome.refuses(OccursInTheFuture)
    else:
        assert outcome.recorded().entries[-1].occurred_at == NOW + ahead


def test_only_what_is_scheduled_lies_ahead() -> None:
    """Rule 4: a session is scheduled now, for later; holding one tomorrow is refused."""
    tomorrow = NOW + DAY
    scheduled = ScheduleSession(
        relationship=RELATIONSHIP, session=SESSION, starts_at=tomorrow, ends_at=tomorrow + HOUR
    )
    entry = OPEN.when(scheduled, at=NOW).recorded().entries[-1]
    assert entry.occurred_at == NOW
    OPEN.when(hold_session(start=tomorrow), at=NOW).refuses(OccursInTheFuture)


# --- Rule 5: two times ----------------------------------------------------------------------

OFFSETS = st.integers(0, 30)


@for_all(st.lists(st.tuples(OFFSETS, OFFSETS), max_size=12), OFFSETS, OFFSETS)
def test_a_history_is_asked_by_two_times(
    days: list[tuple[int, int]], known: int, happened: int
) -> None:
    """Rule 5: exactly what was recorded by the one and had occurred by the other, in order."""
    start = NOW - 40 * DAY
    recorded = sorted(start + max(pair) * DAY for pair in days)
    record = OPEN
    for number, (when, pair) in enumerate(zip(recorded, days, strict=True)):
        fact = TaskRetired(task=named(f"task {number}"), reason="Done.")
        new = New(relationship_stream(RELATIONSHIP), fact, start + min(pair) * DAY)
        record = record._with([new], when)
    known_at, happened_by = start + known * DAY, start + happened * DAY
    history = record.relationship
    expected = [
        entry
        for entry in history
        if entry.recorded_at <= known_at and entry.occurred_at <= happened_by
    ]
    assert list(history.as_of(known_at=known_at, happened_by=happened_by)) == expected
    assert list(history.as_of()) == list(history)


def test_the_two_times_differ_after_a_late_entry() -> None:
    """Rule 5: it had happened by Monday, and on Monday nobody knew."""
    monday, tuesday = NOW - 5 * DAY, NOW - 4 * DAY
    late = propose(occurred_at=monday, late_reason="Written down on paper first.")
    history = OPEN.when(late).recorded().relationship
    assert tasks_of(history.as_of(happened_by=tuesday))
    assert not tasks_of(history.as_of(known_at=tuesday, happened_by=tuesday))
    assert tasks_of(history.as_of(known_at=NOW + DAY, happened_by=tuesday))


# --- Rule 8: expected versions and command ids ----------------------------------------------


@for_all(st.integers(0, 12))
def test_a_stale_version_is_refused(expected: int) -> None:
    """Rule 8: whoever decided on another version is told, and nothing is merged."""
    stream = relationship_stream(RELATIONSHIP)
    actual = OPEN.relationship.version
    outcome = OPEN.when(propose(), expected={stream: expected})
    if expected == actual:
        outcome.recorded()
    else:
        outcome.refuses(StaleVersion, stream=str(stream), actual=actual, expected=expected)


def test_every_expected_version_must_hold() -> None:
    """Rule 8: also that of a stream which the command does not write to, or that is not there."""
    fresh = relationship_stream(uuid4())
    OPEN.when(propose(), expected={fresh: 0}).recorded()
    right = {relationship_stream(RELATIONSHIP): OPEN.relationship.version}
    OPEN.when(propose(), expected={**right, fresh: 1}).refuses(StaleVersion, actual=0, expected=1)


def test_the_same_body_is_told_from_another() -> None:
    """Rule 8: what was sent counts, by whom and for whom; an id the command made up does not."""
    sent = json.loads(propose().model_dump_json(exclude_unset=True))
    del sent["task"]

    def body(by: UUID = OFFICE, on_behalf_of: UUID | None = None, **changes: Any) -> bytes:
        command = ProposeTask.model_validate(sent | changes)
        return body_of(Proposal(command, Author(by, on_behalf_of)))

    assert body() == body()
    assert body() != body(description="Two stops on the tram.")
    assert body() != body(task=str(named("task")))
    assert body() != body(THERAPIST)
    assert body() != body(on_behalf_of=CLIENT)


class Told:
    """Proofs in words."""

    checkpoint = "42 entries"

    def of(self, position: int) -> str:
        return f"{position} of {self.checkpoint}"


def test_a_receipt_says_from_where_on_a_write_is_seen() -> None:
    """Rule 8: the position of the last of its entries."""
    entries = tuple(
        ReceiptEntry(relationship_stream(RELATIONSHIP), n, 40 + n, leaf_hash="00", proofs=Told())
        for n in (1, 2)
    )
    receipt = Receipt(uuid4(), NOW, 42, "00", entries)
    assert receipt.position == 42
    assert receipt.checkpoint == "42 entries"
    assert [entry.proof for entry in receipt.entries] == ["41 of 42 entries", "42 of 42 entries"]


# --- Rule 45: imports -----------------------------------------------------------------------


def test_an_import_stands_on_its_declaration() -> None:
    """Rule 45: undeclared, nothing is imported; declared, every entry refers to it."""
    undeclared = given(*(fact for fact in OPENED if fact != IMPORT_DECLARED))
    undeclared.when(propose(), by=OFFICE, imported=True).refuses(ImportUndeclared)
    declared = undeclared.and_given(IMPORT_DECLARED)
    outcome = declared.when(hold_session(), by=OFFICE, imported=True)
    record = outcome.reports(ConsentMissing)
    imported = record.entries[-len(outcome.news) :]
    assert len(imported) == 2
    for entry in imported:
        assert entry.source is Source.IMPORT
        assert isinstance(entry.event, Event)
        assert entry.event.import_id == IMPORT
    declared.when(hold_session(), by=THERAPIST).refuses(ConsentMissing)


def test_an_entry_made_here_claims_no_import() -> None:
    """Rule 45: the source tells imported entries from those that were entered."""
    entry = OPEN.and_given(IMPORT_DECLARED).when(propose()).recorded().entries[-1]
    assert isinstance(entry.event, Event)
    assert (entry.source, entry.event.import_id, entry.event.reported) == (
        Source.ENTERED,
        None,
        (),
    )


# --- Every history can be read, every command decided ---------------------------------------

# The golden entries speak of the same people, goals and sessions; moved to other ids at random
# they contradict, repeat and miss each other in every way that a damaged record could.

_ID = re.compile("7d1f3a52-6c0e-4b8e-9a41-[0-9]{12}")
_REL, _CLIENT, _THERAPIST, _GOLDEN_IMPORT = (
    UUID(f"7d1f3a52-6c0e-4b8e-9a41-{number:012}") for number in (5, 1, 3, 14)
)
_FIXED = {str(_REL), str(_CLIENT), str(_THERAPIST)}
HOMES = {
    "clinic": Stream("clinic", CLINIC),
    "consent_document": Stream("clinic", CLINIC),
    "instrument_licence": Stream("clinic", CLINIC),
    "import": Stream("clinic", CLINIC),
    "text_pack": Stream("clinic", CLINIC),
    "scoring_key": Stream("clinic", CLINIC),
    "person": Stream("person", _CLIENT),
    "practitioner": Stream("practitioner", _THERAPIST),
    "schedule": schedule_stream(_THERAPIST),
    "record": Stream("access", _REL),
    "process_note": Stream("process", _REL),
    "supervision": Stream("supervision", _REL),
}
GOLDEN = {
    topic: json.loads((DATA / "golden" / f"{topic}-{kind.schema_version}.json").read_text())
    for topic, kind in EVENTS.items()
}
EXAMPLES = DATA.parents[1] / "api" / "routes" / "examples.json"
COMMAND_BODIES: dict[str, Any] = json.loads(EXAMPLES.read_text(encoding="utf-8"))


def moved(value: Any, others: set[str]) -> Any:
    """The same content with some of its ids moved to another thing or person."""
    text = json.dumps(value)
    for id_ in set(_ID.findall(text)) & others:
        text = text.replace(id_, id_.replace("-9a41-0", "-9a41-9"))
    return json.loads(text)


ALL_IDS = sorted(set(_ID.findall(json.dumps([GOLDEN, COMMAND_BODIES]))) - _FIXED)
OTHERS = st.sets(st.sampled_from(ALL_IDS), max_size=2)


FOUNDING = (
    "import.declared",
    "consent_document.published",
    "person.registered",
    "practitioner.registered",
    "relationship.opened",
    "consent.information_given",
    "goal.proposed",
    "task.proposed",
    "session.scheduled",
)
LATER = sorted(
    topic for topic in {*EVENTS} - {*FOUNDING} if not topic.startswith(("entry.", "clinic."))
)


@st.composite
def wild_records(draw: st.DrawFn, later: Sequence[str] = LATER) -> Record:
    """Entries of every kind in any order, times and number, corrected and erased anywhere."""
    record = Record()
    missing = draw(st.sets(st.sampled_from(FOUNDING), max_size=2))
    founding = [topic for topic in FOUNDING if topic not in missing]
    topics = [*founding, *draw(st.lists(st.sampled_from(later), max_size=20))]
    for index, topic in enumerate(topics):
        early = index < len(founding)
        content = GOLDEN[topic] if early else moved(GOLDEN[topic], draw(OTHERS))
        days_ago = 60 if early else draw(st.integers(0, 60))
        home = HOMES.get(topic.partition(".")[0], relationship_stream(_REL))
        new = New(home, read_current(topic, content), NOW - days_ago * DAY)
        record = record._with([new], record.clock)
        if draw(st.integers(0, 9)) == 9:
            record = record._with([amendment(draw, record)], record.clock)
    erased = draw(st.sets(st.integers(0, 30), max_size=2))
    entries = tuple(
        replace(entry, event=ERASED) if index in erased else entry
        for index, entry in enumerate(record.entries)
    )
    return replace(record, entries=entries)


def amendment(draw: st.DrawFn, record: Record) -> New:
    """A correction of any entry, also of one that is a correction, or is not there."""
    entry = draw(st.sampled_from(record.entries))
    version = entry.version
    assert isinstance(entry.event, Event)
    if draw(st.booleans()) or isinstance(entry.event, EntryCorrected | EnteredInError):
        missing = draw(st.sampled_from([0, 0, 1000]))
        return New(entry.stream, EnteredInError(entry=version + missing, reason="No."), NOW)
    corrected = EntryCorrected(
        entry=version,
        reason="Other.",
        of_topic=entry.topic,
        of_schema_version=entry.schema_version,
        content=moved(GOLDEN[entry.topic], draw(OTHERS)),
        occurred=NOW - draw(st.integers(0, 60)) * DAY,
    )
    return New(entry.stream, corrected, NOW)


def _score_everything(history: History) -> None:
    for current in ratings_of(history).values():
        assert current.score == score_of(current.entry)
        series_of(current.rating)


FOLDS: Sequence[Callable[[History], object]] = (
    goals_of,
    tasks_of,
    session_numbers,
    phases_of,
    frame_of,
    context_events,
    recordings_of,
    lambda history: emergencies_unreviewed(history, NOW),
    consents_of,
    _score_everything,
    lambda history: [goal.current.agreed_by([_CLIENT]) for goal in goals_of(history).values()],
    lambda history: [in_force(history, scope, _CLIENT, NOW) for scope in Scope],
    lambda history: informed(history, _CLIENT, uuid4(), 1, NOW),
    lambda history: consent_document(history, uuid4(), 1),
    lambda history: licence_in_force(history, NOW.date(), "SRS-3"),
    lambda history: import_declared(history, uuid4()),
    lambda history: in_scope(history, Activity.THERAPY, NOW),
    unsigned_notes,
    notes_awaiting_cosign,
    process_notes_of,
    open_ruptures,
    recalls_scheduled,
    lambda history: moments_of(history, uuid4()),
    lambda history: actions_overdue(history, NOW.date()),
)


def read_current(topic: str, content: Mapping[str, Any]) -> Event:
    return read(topic, EVENTS[topic].schema_version, content)


def fold_all(record: Record) -> None:
    for stream in {entry.stream for entry in record.entries}:
        whole = record.history(stream)
        for history in (whole, whole.as_of(known_at=NOW), whole.as_of(happened_by=NOW - 30 * DAY)):
            for fold in FOLDS:
                fold(history)
            with suppress(RelationshipUnknown, RelationshipErased):
                relationship_of(history)


@for_all(wild_records())
def test_every_history_can_be_read(record: Record) -> None:
    """Rules 1, 9: whatever is corrected, in error, missing or erased, reading never fails."""
    fold_all(record)


def test_an_erased_entry_leaves_a_gap_and_nothing_else() -> None:
    """Rule 9: each golden entry in turn is erased; the others stay, and can be read."""
    record = Record()
    versions: dict[str, int] = {}
    for topic, content in sorted(GOLDEN.items(), key=lambda item: item[0].startswith("entry.")):
        home = HOMES.get(topic.partition(".")[0], relationship_stream(_REL))
        amended = {"entry.corrected": "session.held", "entry.entered_in_error": "task.retired"}
        target = {"entry": versions[amended[topic]]} if topic in amended else {}
        record = record._with([New(home, read_current(topic, content | target))], record.clock)
        versions[topic] = record.entries[-1].version
    for index, entry in enumerate(record.entries):
        erased = replace(
            record,
            entries=(
                *record.entries[:index],
                replace(entry, event=ERASED),
                *record.entries[index + 1 :],
            ),
        )
        fold_all(erased)
        assert len(erased.history(entry.stream)) == len(record.history(entry.stream))


def test_standing_has_what_was_not_amended_away() -> None:
    """Rules 1, 9: an amendment of an erased entry, or an erased amendment, changes nothing."""
    task = TaskProposed(
        task=named("task"), description="One.", aim=Aim(purpose="To see."), by=THERAPIST
    )
    record = given(*OPENED, task)
    version = record.relationship.version
    record = record.and_given(EnteredInError(entry=version, reason="No."))
    original, amending = record.relationship[-2:]

    def standing(*entries: RecordedEvent) -> list[int]:
        return [entry.version for entry in History(entries).standing]

    assert standing(original, amending) == []
    assert standing(replace(original, event=ERASED), amending) == [version]
    assert standing(original, replace(amending, event=ERASED)) == [version, version + 1]


@pytest.mark.parametrize("name", sorted(COMMANDS))
@settings(max_examples=10)
@for_all(st.text('aé €"\\/\n\u2028😀', max_size=20), st.none() | st.uuids())
def test_the_bytes_of_a_body_stay_what_they_are(
    name: str, late: str, on_behalf_of: UUID | None
) -> None:
    """Rule 8: their keyed digest is stored, and compared with that of what comes again."""
    late_reason = {} if issubclass(COMMANDS[name], Immediate) else {"late_reason": f"So: {late}"}
    command: Command = COMMANDS[name].model_validate(COMMAND_BODIES[name] | late_reason)
    said = {
        "actor": str(OFFICE),
        "body": json.loads(command.model_dump_json(exclude_unset=True)),
        "command": name,
        "on_behalf_of": str(on_behalf_of),
    }
    body = body_of(Proposal(command, Author(OFFICE, on_behalf_of)))
    assert body == json.dumps(said, sort_keys=True, separators=(",", ":")).encode("ascii")


def test_there_is_an_example_of_every_command() -> None:
    """R32: api/routes/examples.json holds one body for each command there is."""
    assert COMMAND_BODIES.keys() == COMMANDS.keys()


@for_all(
    wild_records(),
    st.sampled_from(sorted(COMMANDS)),
    OTHERS,
    st.sampled_from([_CLIENT, _THERAPIST, OFFICE]),
    st.booleans(),
)
def test_every_command_is_decided(
    record: Record, name: str, others: set[str], by: UUID, imported: bool
) -> None:
    """R19: over any history a command gives entries or a refusal, and never anything else."""
    late = {} if issubclass(COMMANDS[name], Immediate) else {"late_reason": "Found later."}
    command: Command = COMMANDS[name].model_validate(moved(COMMAND_BODIES[name], others) | late)
    source, import_id = (Source.IMPORT, _GOLDEN_IMPORT) if imported else (Source.ENTERED, None)
    author = Author(by, on_behalf_of=_CLIENT, source=source, import_id=import_id)
    now = datetime(2026, 4, 1, tzinfo=UTC)
    decided = decision(Proposal(command, author), now, record)
    if isinstance(decided, Refusal):
        assert "{" not in decided.detail
        assert decided.status in (404, 409, 412, 422)
        return
    assert decided
    for new in decided:
        assert EVENTS[new.event.topic] is type(new.event)
    fold_all(record._with(decided, now, author))


def decision(proposal: Proposal, now: datetime, record: Record) -> list[New] | Refusal:
    try:
        return proposal.decide(CLINIC, now, record.history, Policy())
    except Refusal as refusal:
        return refusal
