"""Corrections: a new entry beside the old one, with a reason and an author."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.access import ReadRecord, Role
from domain.appointment import ScheduleSession
from domain.clinic import ConsentDocumentPublished, Scope, clinic_stream
from domain.consent import ConsentMissing, ConsentWithdrawn
from domain.correction import (
    AlreadyEnteredInError,
    AmendsAnAmendment,
    ContentErased,
    CorrectEntry,
    EnteredInError,
    EntryCorrected,
    IdentityChanged,
    MarkEnteredInError,
    NotCorrectable,
    NothingCorrected,
    ReplacementInvalid,
    StaysAsRecorded,
)
from domain.event import EntryUnknown, Event, OccursInTheFuture, Refusal, Stream
from domain.goal import GoalProposed
from domain.person import Activity, PersonRegistered, person_stream
from domain.rating import Rating
from domain.relationship import (
    Constellation,
    Initiator,
    OutsideTheRelationship,
    RelationshipClosed,
    RelationshipOpened,
    RelationshipReopened,
    TurnsOutOfOrder,
    relationship_stream,
)
from domain.session import (
    LocationUnconfirmed,
    Medium,
    MediumNotStated,
    SessionHeld,
    SessionScheduled,
    SessionsOverlap,
    schedule_stream,
    session_of,
)
from domain.task import Aim, TaskProposed, tasks_of
from domain.topics import EVENTS, read
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    CLINIC,
    CONSENTED,
    DAY,
    HOUR,
    IMPORT_DECLARED,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SESSION,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    given,
    hold_session,
    informed,
    named,
    opened,
    registered,
    taken,
)

HERE = relationship_stream(RELATIONSHIP)
TASK = named("task")
REASON = "Typed into the wrong field."
AIM = Aim(purpose="To find out what the fear does.")


def task(description: str = "One stop on the tram.", **changes: Any) -> TaskProposed:
    fields: dict[str, Any] = {"task": TASK, "description": description, "aim": AIM, "by": THERAPIST}
    return TaskProposed.model_validate(fields | changes)


def correct(
    event: Event, entry: int, stream: Stream = HERE, reason: str = REASON, **changes: Any
) -> CorrectEntry:
    return CorrectEntry(
        stream=stream,
        entry=entry,
        reason=reason,
        content=event.model_dump(mode="json", exclude_none=True) | changes.pop("content", {}),
        **changes,
    )


def mark(entry: int, stream: Stream = HERE) -> MarkEnteredInError:
    return MarkEnteredInError(stream=stream, entry=entry, reason=REASON)


def last(record: Record) -> int:
    return record.relationship.version


TASKED = given(*OPENED, task())
AT = last(TASKED)


# --- Rule 1 ---------------------------------------------------------------------------------


def test_a_correction_is_a_new_entry_and_the_old_one_stays() -> None:
    """Rule 1: it names the entry that it corrects, with reason and author; nothing is changed."""
    better = task("Two stops on the tram.")
    outcome = TASKED.when(correct(better, AT), by=THERAPIST)
    record = outcome.then(
        EntryCorrected(
            entry=AT,
            reason=REASON,
            of_topic="task.proposed",
            of_schema_version=1,
            content=better.model_dump(exclude_none=True, exclude={"reported"}),
        )
    )
    history = record.relationship
    assert history[:-1] == TASKED.relationship[:]
    assert history[-1].actor == THERAPIST
    (standing,) = history.of(TaskProposed)
    assert standing[1] == better
    assert standing[0].amended_at == history[-1].position
    assert tasks_of(history)[TASK].proposed == better


def test_a_correction_is_written_as_it_is_read() -> None:
    """Rule 6: its content is in the types of what is stored, before it is stored."""
    record = given(*CONSENTED).when(hold_session()).recorded()
    session = session_held(record)
    review = (NOW + DAY).date().isoformat()
    content = {
        "emergency": {"reason": "Acute crisis.", "review_by": review},
        "ended_at": session.ended_at + timedelta(minutes=5),
    }
    written = record.when(correct(session, last(record), content=content)).news[0].event
    assert isinstance(written, EntryCorrected)
    assert json.loads(json.dumps(written.content)) == written.content
    assert written.content["emergency"]["review_by"] == review
    assert written.content["ended_at"] == {"at": "2026-03-02T13:55:00.000000Z", "offset": "+01:00"}
    assert read(written.topic, 1, written.model_dump()) == written


def test_an_entry_made_in_error_reads_as_if_it_were_not_there() -> None:
    """Rule 1: it is left out of what stands; as recorded it is still there."""
    record = TASKED.when(mark(AT)).then(EnteredInError(entry=AT, reason=REASON))
    assert tasks_of(record.relationship) == {}
    assert record.relationship.entry(AT) == TASKED.relationship.entry(AT)
    record.when(mark(AT)).refuses(AlreadyEnteredInError, entry=AT)
    record.when(correct(task("Two stops."), AT)).refuses(AlreadyEnteredInError, entry=AT)


def test_a_correction_names_the_original_and_never_another_correction() -> None:
    """Rule 1: what is corrected twice names the same entry twice; the last word stands."""
    record = TASKED.when(correct(task("Two stops."), AT)).recorded()
    record.when(mark(last(record))).refuses(AmendsAnAmendment, entry=last(record))
    record.when(correct(task("Three."), last(record))).refuses(AmendsAnAmendment)
    record = record.when(correct(task("Three stops."), AT)).recorded()
    assert tasks_of(record.relationship)[TASK].proposed.description == "Three stops."


def test_a_correction_gives_a_reason() -> None:
    """Rule 1: a blank reason is none."""
    for reason in ("", "  "):
        with pytest.raises(ValidationError):
            correct(task("Two stops."), AT, reason=reason)


def test_a_correction_that_changes_nothing_is_refused() -> None:
    """Rule 1: against what stands today, not what was first written."""
    TASKED.when(correct(task(), AT)).refuses(NothingCorrected, entry=AT)
    record = TASKED.when(correct(task("Two stops."), AT)).recorded()
    record.when(correct(task("Two stops."), AT)).refuses(NothingCorrected, entry=AT)
    record.when(correct(task(), AT)).recorded()


def test_the_replacement_is_checked_like_the_original() -> None:
    """Rule 1: by the class of the original; the refusal names fields and never what was sent."""
    for content, fields in (
        ({"description": " "}, "description"),
        ({"aim": {}}, "aim"),
        ({"Maria Beispiel": 1}, "names of fields, and how they fit together"),
    ):
        command = correct(task(), AT, content=content)
        TASKED.when(command).refuses(ReplacementInvalid, topic="task.proposed", fields=fields)


@pytest.mark.parametrize("depth", [8, 400, 100_000])
def test_content_without_end_is_no_command(depth: int) -> None:
    """Rule 1: no entry nests that deep, and nobody is made to walk it."""
    content: dict[str, Any] = {}
    for _ in range(depth):
        content = {"a": [content]}
    with pytest.raises(ValidationError, match="nests that deep"):
        CorrectEntry(stream=HERE, entry=AT, reason=REASON, content=content)


def test_a_correction_keeps_every_id() -> None:
    """Rule 1: another thing, person or goal is another fact, under rules of its own."""
    for field, content in (
        ("task", {"task": str(uuid4())}),
        ("by", {"by": str(CLIENT)}),
        ("aim", {"aim": {"goals": [str(uuid4())]}}),
    ):
        command = correct(task(), AT, content=content)
        TASKED.when(command).refuses(IdentityChanged, field=field)
    for_a_goal = Aim(goals=(named("goal"),), purpose="To find out waht the fear does.")
    record = given(*OPENED, task(aim=for_a_goal))
    spelt = task(aim=for_a_goal.model_copy(update={"purpose": AIM.purpose}))
    record.when(correct(spelt, AT)).recorded()
    record.when(correct(task(), AT)).refuses(IdentityChanged, field="aim")


@pytest.mark.parametrize(
    "as_opened, fixed",
    [
        (opened(supervisor=SUPERVISOR, constellation=Constellation.COUPLE), "constellation"),
        (opened(supervisor=SUPERVISOR, activity=Activity.COACHING), "activity"),
    ],
    ids=["constellation", "activity"],
)
def test_what_a_relationship_is_for_is_not_corrected(
    as_opened: RelationshipOpened, fixed: str
) -> None:
    """Rules 10 and 11: who may meet in it was judged by these; by a correction, a coach would have
    held therapy."""
    given(*CONSENTED).when(correct(as_opened, 1)).refuses(IdentityChanged, field=fixed)
    setting = as_opened.model_copy(
        update={
            "constellation": Constellation.INDIVIDUAL,
            "activity": Activity.THERAPY,
            "setting": "day clinic",
        }
    )
    given(*CONSENTED).when(correct(setting, 1)).recorded()


def test_what_came_with_the_entry_stays_with_it() -> None:
    """Rule 3, rule 45: late reason, import and reports are not reworded by a correction."""
    original = task(late_reason="Found later.", import_id=uuid4(), reported=("consent-missing",))
    record = given(*OPENED, original)
    command = correct(task("Two stops."), AT)
    record = record.when(command).recorded()
    corrected = tasks_of(record.relationship)[TASK].proposed
    assert corrected == original.model_copy(update={"description": "Two stops."})


def test_only_what_is_there_is_corrected() -> None:
    """Rule 1: no entry of that version, no such stream, content that was erased."""
    TASKED.when(mark(AT + 1)).refuses(EntryUnknown, what="entry")
    elsewhere = relationship_stream(uuid4())
    TASKED.when(mark(1, elsewhere)).refuses(EntryUnknown, what="entry")
    erased = TASKED.erased(None)
    erased.when(mark(AT)).refuses(ContentErased, entry=AT)
    erased.when(correct(task("Two stops."), AT)).refuses(ContentErased, entry=AT)


def test_what_a_person_said_is_never_reworded() -> None:
    """Rules 17, 25, 26, 29: consents, wordings, assents and ratings are marked, not reworded."""
    goal = GoalProposed(goal=named("goal"), statement="To ride the tram.", by=CLIENT)
    record = given(*OPENED, goal)
    reworded = correct(goal, AT, content={"statement": "To drive."})
    record.when(reworded).refuses(NotCorrectable, topic="goal.proposed")
    record.when(mark(AT)).recorded()
    consented = given(*CONSENTED)
    of_consent = next(e.version for e in consented.relationship if e.topic == "consent.given")
    consented.when(correct(consent(valid_to=NOW), of_consent)).refuses(NotCorrectable)
    consented.when(mark(of_consent)).recorded()
    said = ("goal.", "consent.given", "alliance.")
    kept = {"goal.reached", "goal.retired", "goal.reopened"}
    for topic, kind in EVENTS.items():
        if topic.startswith(said) and topic not in kept:
            assert not kind.correctable, topic
    assert not Rating.correctable


def test_what_others_rest_on_stays_for_ever() -> None:
    """Rules 14, 17, 20, 41, 45: nobody marks away a document, a withdrawal or a trail."""
    withdrawn = ConsentWithdrawn(consent=consent_id(Scope.TREATMENT, CLIENT), party=CLIENT)
    record = given(*CONSENTED, withdrawn, IMPORT_DECLARED, taken())
    noted = ReadRecord(role=Role.THERAPIST, purpose="treatment", what="dossier")
    record = record.when(noted).recorded()
    for stream, kind in (
        (HERE, ConsentWithdrawn),
        (clinic_stream(CLINIC), ConsentDocumentPublished),
        (clinic_stream(CLINIC), type(IMPORT_DECLARED)),
        (schedule_stream(THERAPIST), type(taken())),
        (Stream("access", CLINIC), EVENTS["record.read"]),
    ):
        entry, _ = next(record.history(stream).of(kind))
        event = entry.event
        assert isinstance(event, Event)
        record.when(mark(entry.version, stream)).refuses(StaysAsRecorded, topic=kind.topic)
        record.when(correct(event, entry.version, stream)).refuses(StaysAsRecorded)


def test_a_name_is_set_right_under_the_persons_own_key() -> None:
    """R24: identity is rectified where it stands, sealed like the original (rule 9)."""
    record = given(*OPENED)
    stream = person_stream(CLIENT)
    better = registered().model_copy(update={"name": "Mária Beispiel"})
    outcome = record.when(correct(better, 1, stream))
    correction = outcome.event
    assert isinstance(correction, EntryCorrected)
    assert correction.subject() == CLIENT
    history = outcome.recorded().history(stream)
    assert next(history.of(PersonRegistered))[1] == better
    marked = record.when(mark(1, stream)).event
    assert marked.subject() == CLIENT


# --- Times ----------------------------------------------------------------------------------


def test_the_time_of_an_entry_is_set_right_too() -> None:
    """Rule 1, rule 5: from then on it counts as having happened then."""
    outcome = TASKED.when(correct(task(), AT, occurred=NOW - 2 * DAY))
    entry, _ = next(outcome.recorded().relationship.of(TaskProposed))
    assert entry.occurred_at == NOW - 2 * DAY
    TASKED.when(correct(task(), AT, occurred=NOW + HOUR)).refuses(OccursInTheFuture)


def test_a_correction_belongs_to_the_time_of_what_it_corrects() -> None:
    """Rule 5: as it happened by January, as known in March: with what was set right in March."""
    january, march = NOW - 45 * DAY, NOW
    record = given(*OPENED, (task(), january))
    record = record.when(correct(task("Two stops."), AT), at=march).recorded()

    def description(**times: Any) -> str:
        return tasks_of(record.relationship.as_of(**times))[TASK].proposed.description

    assert description(happened_by=january) == "Two stops."
    assert description(happened_by=january, known_at=march) == "Two stops."
    assert description(happened_by=january, known_at=march - DAY) == "One stop on the tram."
    marked = record.when(mark(AT), at=march + DAY).recorded()
    assert tasks_of(marked.relationship.as_of(happened_by=january)) == {}
    assert tasks_of(marked.relationship.as_of(happened_by=january, known_at=march)) != {}


def test_an_entry_moved_in_time_is_asked_for_where_it_now_stands() -> None:
    """Rule 5: what really happened in February does not count by January, and the other way."""
    january, february = NOW - 45 * DAY, NOW - 20 * DAY
    record = given(*OPENED, (task(), january))
    later = record.when(correct(task(), AT, occurred=february)).recorded().relationship
    assert tasks_of(later.as_of(happened_by=january)) == {}
    assert TASK in tasks_of(later.as_of(happened_by=february))
    assert TASK in tasks_of(later.as_of(happened_by=january, known_at=NOW - DAY))


CLOSED = RelationshipClosed(
    reason="Moved away.",
    initiated_by=Initiator.CLIENT,
    goals="One of two.",
    open_goals=(),
    open_ruptures=(),
)
REOPENED = RelationshipReopened(reason="Came back.")
TURNED = given(*OPENED, (task(), NOW - 9 * DAY), (CLOSED, NOW - 6 * DAY), (REOPENED, NOW - 3 * DAY))


@pytest.mark.parametrize(
    "event, entry, days_ago, refusal",
    [
        (CLOSED, AT + 1, 2, TurnsOutOfOrder),
        (CLOSED, AT + 1, 400, TurnsOutOfOrder),
        (REOPENED, AT + 2, 7, TurnsOutOfOrder),
        (CLOSED, AT + 1, 10, OutsideTheRelationship),
        (opened(supervisor=SUPERVISOR), 1, 8, OutsideTheRelationship),
        (task(), AT, 5, OutsideTheRelationship),
        (task(), AT, 400, OutsideTheRelationship),
        (CLOSED, AT + 1, 8, None),
        (REOPENED, AT + 2, 5, None),
        (opened(supervisor=SUPERVISOR), 1, 20, None),
        (opened(supervisor=SUPERVISOR), 1, 400, None),
        (task(), AT, 2, None),
    ],
)
def test_nothing_is_moved_out_of_its_relationship(
    event: Event, entry: int, days_ago: int, refusal: type[Refusal] | None
) -> None:
    """Rule 16: not by a correction either; openings and closings keep their order."""
    outcome = TURNED.when(correct(event, entry, occurred=NOW - days_ago * DAY))
    if refusal is None:
        outcome.recorded()
    else:
        outcome.refuses(refusal)


def test_no_turn_is_taken_from_under_what_it_carries() -> None:
    """Rule 16: what was held since a reopening, or an opening, is marked first."""
    held_since = TURNED.and_given((task(task=named("since")), NOW - 2 * DAY))
    held_since.when(mark(AT + 2)).refuses(OutsideTheRelationship, entry=AT + 3)
    held_since.when(mark(1)).refuses(OutsideTheRelationship, entry=AT)
    marked = held_since.when(mark(AT + 3)).recorded()
    marked.when(mark(AT + 2)).recorded()
    held_since.when(mark(AT + 1)).recorded()
    given(*OPENED).when(mark(1)).recorded()


def test_what_may_follow_a_closing_may_be_moved_there() -> None:
    """Rules 16 and 20: a closing is set right to before a withdrawal that came after it."""
    withdrawn = ConsentWithdrawn(consent=consent_id(Scope.TREATMENT, CLIENT), party=CLIENT)
    record = given(*CONSENTED, (withdrawn, NOW - 4 * DAY), (CLOSED, NOW - 3 * DAY))
    record.when(correct(CLOSED, last(record), occurred=NOW - 5 * DAY)).recorded()


# --- Sessions: a correction is decided like the session itself ------------------------------

SESSIONS = given(*CONSENTED).when(hold_session()).recorded()
HELD_AT = last(SESSIONS)


def session_held(record: Record = SESSIONS) -> SessionHeld:
    (entry,) = [entry for entry, _ in record.relationship.of(SessionHeld)]
    assert isinstance(entry.event, SessionHeld)
    return entry.event


def times(start: Any, minutes: int = 50) -> dict[str, Any]:
    return {"content": {"started_at": start, "ended_at": start + timedelta(minutes=minutes)}}


def test_a_sessions_times_are_set_right_in_the_schedule_too() -> None:
    """Rule 14: the corrected hour is taken, and the old one is free again."""
    earlier = AN_HOUR_AGO - 2 * HOUR
    outcome = SESSIONS.when(correct(session_held(), HELD_AT, **times(earlier)))
    moved = session_held().model_copy(
        update={"started_at": earlier, "ended_at": earlier + timedelta(minutes=50)}
    )
    record = outcome.then(
        EntryCorrected(
            entry=HELD_AT,
            reason=REASON,
            of_topic="session.held",
            of_schema_version=1,
            content=moved.model_dump(exclude_none=True, exclude={"reported"}),
            occurred=earlier,
        ),
        taken(start=earlier),
    )
    session = session_of(record.relationship, SESSION)
    assert session is not None
    assert (session.started_at, session.held) == (earlier, HELD_AT)
    other = hold_session(named("other"))
    record.when(other).recorded()
    SESSIONS.when(other).refuses(SessionsOverlap, therapist=THERAPIST)
    clashing = hold_session(named("other"), start=earlier)
    record.when(clashing).refuses(SessionsOverlap)


def test_a_session_is_not_moved_over_another() -> None:
    """Rule 14: nor by a correction."""
    record = SESSIONS.when(hold_session(named("other"), start=AN_HOUR_AGO - 2 * HOUR)).recorded()
    first = next(record.relationship.of(SessionHeld))[1]
    overlapping = correct(first, HELD_AT, **times(AN_HOUR_AGO - HOUR * 3 / 2))
    record.when(overlapping).refuses(SessionsOverlap, therapist=THERAPIST)


def test_a_session_is_not_moved_to_before_the_consent() -> None:
    """Rule 12, rule 24: it needs consent at its corrected start, and cites that."""
    record = given(*OPENED, informed(), consent(valid_from=NOW - DAY)).when(hold_session())
    before = times(AN_HOUR_AGO - 2 * DAY)
    moved = correct(session_held(record.recorded()), last(record.recorded()), **before)
    record.recorded().when(moved).refuses(ConsentMissing, party=CLIENT)


def test_a_session_is_not_made_telehealth_without_what_that_needs() -> None:
    """Rule 15: the agreement and the location confirmed, also when the medium is set right."""
    video = {"medium": "video", "location_confirmed": False}
    SESSIONS.when(correct(session_held(), HELD_AT, content=video)).refuses(LocationUnconfirmed)
    confirmed = video | {"location_confirmed": True}
    SESSIONS.when(correct(session_held(), HELD_AT, content=confirmed)).refuses(
        ConsentMissing, scope="telehealth"
    )
    agreed = SESSIONS.and_given((consent(Scope.TELEHEALTH), NOW - 9 * DAY))
    record = agreed.when(correct(session_held(), HELD_AT, content=confirmed)).recorded()
    corrected = session_held(record)
    assert corrected.medium is Medium.VIDEO
    assert len(corrected.relies_on) == 2


def test_an_appointment_is_not_made_one_of_no_medium() -> None:
    """Rule 45: what only an import may leave open is not left open by a correction."""
    planned = SessionScheduled(
        session=SESSION, starts_at=NOW, ends_at=NOW + HOUR, medium=Medium.VIDEO
    )
    record = given(*CONSENTED, planned)
    unstated = correct(planned, last(record), content={"medium": "not_stated"})
    record.when(unstated).refuses(MediumNotStated)
    imported = given(*CONSENTED).when(
        ScheduleSession(
            relationship=RELATIONSHIP, session=SESSION, starts_at=NOW, ends_at=NOW + HOUR
        ),
        imported=True,
    )
    imported.recorded().when(unstated).recorded()


def test_who_was_present_is_not_corrected_but_recorded_anew() -> None:
    """Rule 12: presence is why consent was needed; another room is another fact."""
    both = {"present": [str(CLIENT), str(PARTNER), str(THERAPIST)]}
    SESSIONS.when(correct(session_held(), HELD_AT, content=both)).refuses(
        IdentityChanged, field="present"
    )
    in_error = SESSIONS.when(mark(HELD_AT)).recorded()
    in_error.when(hold_session()).recorded()


def test_an_imported_session_is_set_right_as_an_import() -> None:
    """Rule 45: what an import only reports is no reason to keep its mistakes."""
    record = given(*OPENED, IMPORT_DECLARED)
    record = record.when(hold_session(), by=OFFICE, imported=True).reports(ConsentMissing)
    version = last(record)
    original = session_held(record)
    longer = correct(original, version, **times(AN_HOUR_AGO, 55))
    corrected = session_held(record.when(longer).recorded())
    assert corrected.ended_at - corrected.started_at == timedelta(minutes=55)
    assert (corrected.import_id, corrected.reported) == (original.import_id, ("consent-missing",))


# --- Names of streams -----------------------------------------------------------------------


@for_all(st.sampled_from(["relationship", "person", "clinic", "schedule"]), st.uuids())
def test_a_stream_is_named_in_text(category: str, id_: UUID) -> None:
    """Rule 1: the command names the stream as the record does, in JSON and back."""
    command = MarkEnteredInError(stream=Stream(category, id_), entry=1, reason=REASON)
    sent = command.model_dump(mode="json")
    assert sent["stream"] == f"{category}-{id_}"
    assert MarkEnteredInError.model_validate(sent) == command
    assert MarkEnteredInError.model_validate_json(command.model_dump_json()) == command


@pytest.mark.parametrize(
    "name",
    [
        "",
        "relationship",
        "relationship-1",
        f"-{CLIENT}",
        f"relationship-{CLIENT}".upper(),
        7,
        None,
        f"relationship-{CLIENT.hex}",
        ["relationship", str(CLIENT)],
        f"a b-{CLIENT}",
    ],
)
def test_what_is_no_streams_name_is_no_command(name: Any) -> None:
    """Rule 1: anything else is refused before it is looked for."""
    body = {"stream": name, "entry": 1, "reason": REASON}
    with pytest.raises(ValidationError, match="category-uuid"):
        MarkEnteredInError.model_validate(body)


@pytest.mark.parametrize("entry", [0, -1, 2**53, 2**64, "x"])
def test_versions_are_positive_and_small_enough_to_be_exact(entry: Any) -> None:
    """Rule 1: a version is counted from 1 and below 2^53."""
    with pytest.raises(ValidationError):
        MarkEnteredInError(stream=HERE, entry=entry, reason=REASON)
