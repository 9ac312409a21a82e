"""Reads: entries of their own, beside the record and never in its way."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.access import (
    AccessDenied,
    AccessReviewed,
    Basis,
    BreakGlass,
    BreakGlassUsed,
    EmergencyExists,
    Finding,
    GlassBroken,
    NoteDenial,
    ReadRecord,
    RecordRead,
    ReviewAccess,
    ReviewedAlready,
    ReviewsOneself,
    Role,
    TooLongOpen,
    access_stream,
    break_in_force,
    breaks_unreviewed,
)
from domain.consent import Reliance
from domain.correction import MarkEnteredInError, StaysAsRecorded
from domain.event import Command, EntryUnknown, Given, Policy, Stream
from domain.relationship import RelationshipErased, RelationshipUnknown
from tests.kit import (
    BEGINNING,
    CLIENT,
    CLINIC,
    COTHERAPIST,
    DAY,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    SUPERVISOR,
    given,
    on,
)


def read(**changes: Any) -> ReadRecord:
    fields: dict[str, Any] = {
        "role": "supervisor",
        "purpose": "supervision of the case",
        "what": "dossier",
        "relationship": RELATIONSHIP,
    }
    return ReadRecord.model_validate(fields | changes)


def test_a_read_says_who_read_what_and_why() -> None:
    """R33: reader, role, purpose, what, of whom, and as of which two times."""
    as_of = {"known_at": NOW - DAY, "happened_by": BEGINNING}
    record = given(*OPENED)
    after = record.when(read(**as_of), by=SUPERVISOR).then(
        RecordRead(
            reader=SUPERVISOR,
            role=Role.SUPERVISOR,
            purpose="supervision of the case",
            what="dossier",
            relationship=RELATIONSHIP,
            known_at=NOW - DAY,
            happened_by=BEGINNING,
        )
    )
    assert after.entries[-1].actor == SUPERVISOR
    assert after.entries[-1].stream == access_stream(RELATIONSHIP)


def test_a_read_never_moves_what_is_read() -> None:
    """R1: reads stand in a stream of their own: the relationship's version stays."""
    record = given(*OPENED)
    after = record
    for _ in range(3):
        after = after.when(read(), by=SUPERVISOR).recorded()
    assert after.relationship.version == record.relationship.version
    assert after.history(access_stream(RELATIONSHIP)).version == 3


@for_all(
    st.fixed_dictionaries(
        {"role": st.sampled_from(Role)},
        optional={
            "relationship": st.none() | st.uuids(),
            "known_at": st.none() | st.timedeltas(-400 * DAY, 400 * DAY).map(NOW.__add__),
            "basis": st.none() | st.sampled_from(Basis),
            "consents": st.lists(
                st.builds(Reliance, entry=st.integers(1, 9), consent=st.uuids()), max_size=3
            ).map(tuple),
            "break_glass": st.none() | st.uuids(),
        },
    )
)
def test_what_is_noted_of_a_read_is_what_checking_it_again_would_give(sent: dict[str, Any]) -> None:
    """Rule 1: what was read is made of values that the command was checked for."""
    command = read(**sent)
    asked = Given(CLINIC, NOW, NOW, SUPERVISOR, given().history)
    ((_, fact, _),) = command.decide(asked)
    told = {name: value for name, value in command if name in RecordRead.model_fields}
    expected = RecordRead(reader=SUPERVISOR, **told)
    assert type(fact) is RecordRead
    assert fact == expected
    assert (repr(fact), fact.model_dump_json()) == (repr(expected), expected.model_dump_json())


def test_a_read_looks_at_nothing() -> None:
    """R1: it is decided without reading the record, so that no other entry can get in its way."""

    def history(stream: Stream) -> Any:
        raise AssertionError(stream)

    asked = Given(clinic=CLINIC, now=NOW, at=NOW, actor=CLIENT, history=history)
    (new,) = read().decide(asked)
    assert new.stream == access_stream(RELATIONSHIP)


def test_a_read_of_the_whole_clinic_stands_in_the_clinics_own_trail() -> None:
    """R1: a caseload or the log's status is about no single relationship."""
    caseload = read(relationship=None, what="caseload")
    expected = RecordRead(
        reader=CLIENT, role=Role.SUPERVISOR, purpose="supervision of the case", what="caseload"
    )
    given(*OPENED).when(caseload, by=CLIENT).then(on(access_stream(CLINIC), expected))


@for_all(st.timedeltas(min_value=-400 * DAY, max_value=400 * DAY))
def test_a_read_happens_now(shift: Any) -> None:
    """Rule 4, R1: nobody reads in the past or the future, whatever the command says."""
    record = given(*OPENED).when(read(occurred_at=NOW + shift), by=SUPERVISOR, at=NOW).recorded()
    assert record.entries[-1].occurred_at == NOW


@pytest.mark.parametrize(
    "changes", [{"purpose": ""}, {"purpose": " "}, {"what": ""}, {"role": "visitor"}]
)
def test_a_read_without_a_purpose_is_none(changes: dict[str, str]) -> None:
    """Rule 41: no purpose, no read; and only in a role that there is."""
    with pytest.raises(ValidationError):
        read(**changes)


def test_the_trail_is_under_no_persons_key() -> None:
    """Rule 9: erasing a person leaves who read the record."""
    record = given(*OPENED).when(read(), by=SUPERVISOR).recorded()
    assert record.entries[-1].topic == "record.read"
    erased = record.erased(SUPERVISOR).erased(CLIENT)
    assert erased.history(access_stream(RELATIONSHIP))[0] == record.entries[-1]


# --- Emergencies, denials, reviews ----------------------------------------------------------

TRAIL = access_stream(RELATIONSHIP)


def break_glass(**changes: Any) -> BreakGlass:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "reason": "She is not safe tonight."}
    return BreakGlass(**fields | changes)


def review(entry: int = 1) -> ReviewAccess:
    return ReviewAccess(relationship=RELATIONSHIP, entry=entry, finding=Finding.JUSTIFIED)


def test_an_emergency_opens_a_record_for_a_short_time_with_a_reason() -> None:
    """Rule 41, R4: an hour where nobody asks for less; for one person, and not before."""
    record = given(*OPENED).when(break_glass(), by=COTHERAPIST, at=NOW)
    assert isinstance(record.event, BreakGlassUsed)
    assert (record.event.person, record.event.until) == (COTHERAPIST, NOW + HOUR)
    history = record.recorded().history(TRAIL)
    assert break_in_force(history, COTHERAPIST, NOW) == record.event
    assert break_in_force(history, COTHERAPIST, NOW + HOUR) is None
    assert break_in_force(history, COTHERAPIST, NOW - HOUR) is None
    assert break_in_force(history, SUPERVISOR, NOW) is None


def test_an_emergency_is_no_way_to_stay() -> None:
    """Rule 41: not longer than the clinic allows, not again while it lasts; after it, anew."""
    record = given(*OPENED)
    for minutes in (0, -1, 61):
        record.when(break_glass(minutes=minutes)).refuses(TooLongOpen, minutes=60)
    open_ = record.when(break_glass(minutes=30), by=COTHERAPIST, at=NOW).recorded()
    open_.when(break_glass(), by=COTHERAPIST, at=NOW + HOUR / 4).refuses(GlassBroken)
    open_.when(break_glass(), by=COTHERAPIST, at=NOW + HOUR / 2).recorded()
    (used,) = (used for _, used in open_.history(TRAIL).of(BreakGlassUsed))
    open_.when(break_glass(use=used.use), by=OFFICE, at=NOW).refuses(EmergencyExists, use=used.use)
    strict = replace(record, policy=Policy(break_glass=HOUR / 4))
    strict.when(break_glass(minutes=16)).refuses(TooLongOpen, minutes=15)


def test_only_what_there_is_is_opened() -> None:
    """Rule 41: no relationship, no emergency; an erased one holds nothing to read."""
    given().when(break_glass()).refuses(RelationshipUnknown)
    given(*OPENED).erased(None).when(break_glass()).refuses(RelationshipErased)
    with pytest.raises(ValidationError):
        break_glass(reason=" ")
    with pytest.raises(ValidationError):
        break_glass(occurred_at=NOW - HOUR)


def test_an_emergency_waits_for_its_review() -> None:
    """Rule 41, R2: flagged until somebody else has looked, overdue after three days."""
    record = given(*OPENED).when(break_glass(), by=COTHERAPIST, at=NOW).recorded()
    (waiting,) = breaks_unreviewed(record.history(TRAIL), NOW + DAY)
    assert (waiting.entry.version, waiting.due, waiting.overdue) == (1, NOW + HOUR + 3 * DAY, False)
    (waiting,) = breaks_unreviewed(record.history(TRAIL), NOW + 4 * DAY)
    assert waiting.overdue
    record.when(review(), by=COTHERAPIST).refuses(ReviewsOneself)
    said = AccessReviewed(entry=1, by=OFFICE, finding=Finding.JUSTIFIED)
    after = record.when(review(), by=OFFICE).then(on(TRAIL, said))
    assert breaks_unreviewed(after.history(TRAIL), NOW + 4 * DAY) == ()
    after.when(review(), by=OFFICE).refuses(ReviewedAlready, entry=1)
    after.when(review(2), by=OFFICE).refuses(EntryUnknown)
    after.when(review(9), by=OFFICE).refuses(EntryUnknown)


def test_a_denial_is_an_entry_where_it_belongs() -> None:
    """R36: by ids and codes of our own, in the trail of what was asked for."""
    note = NoteDenial(
        role=Role.THERAPIST, door="dossier", code="out-of-reach", relationship=RELATIONSHIP
    )
    denied = AccessDenied(
        person=COTHERAPIST, role=Role.THERAPIST, door="dossier", code="out-of-reach"
    )
    given(*OPENED).when(note, by=COTHERAPIST).then(on(TRAIL, denied))
    nowhere = note.model_copy(update={"relationship": None})
    given(*OPENED).when(nowhere, by=COTHERAPIST).then(on(access_stream(CLINIC), denied))
    for text in ("She dreamt", "a\nb", "", "Dossier"):
        with pytest.raises(ValidationError):
            NoteDenial(role=Role.THERAPIST, door=text, code="out-of-reach")


@pytest.mark.parametrize("command", [break_glass(), review()])
def test_the_trail_is_nobodys_to_mend(command: Command) -> None:
    """Rules 1 and 41: an emergency and its review are never marked away."""
    record = given(*OPENED).when(break_glass(), by=COTHERAPIST).recorded()
    record = record.when(review(), by=OFFICE).recorded()
    entry = 1 if isinstance(command, BreakGlass) else 2
    wrong = MarkEnteredInError(stream=TRAIL, entry=entry, reason="A slip.")
    record.when(wrong, by=OFFICE).refuses(StaysAsRecorded)
