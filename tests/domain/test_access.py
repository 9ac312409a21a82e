"""Reads: entries of their own, beside the record and never in its way."""

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.access import ReadRecord, RecordRead, Role, access_stream
from domain.event import Given, Stream
from tests.kit import (
    BEGINNING,
    CLIENT,
    CLINIC,
    DAY,
    NOW,
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
