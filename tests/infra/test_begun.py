"""Streams that commands say to begin: looked for together, and decided as if each came alone."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.invented import Case, InventedClinic, told
from domain.event import Command, Refusal, Stream
from domain.person import RegisterPerson, person_stream
from domain.records import Author, Proposal, Receipt
from domain.relationship import OpenRelationship, relationship_stream
from infra.begun import absent, begun_by
from tests.conftest import Clinic

KINDS = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=8)
"""For each command: whether it registers somebody or opens a relationship, and by which id."""


@pytest.fixture
def cases(clinic: Clinic) -> list[Case]:
    """A person and a relationship of each, which are in the record."""
    invented = InventedClinic()
    told(clinic.records, list(invented.founding()))
    found = []
    for _ in range(2):
        before, case = invented.case()
        told(clinic.records, [*before, *case.opening()])
        found.append(case)
    return found


def saying(case: Case, person: bool, id_: UUID) -> Command:
    """That command of a case, now, by another id."""
    kind = RegisterPerson if person else OpenRelationship
    command = next(each.command for each in case.opening() if isinstance(each.command, kind))
    other: dict[str, Any] = {"person" if person else "relationship": id_}
    return command.model_copy(update={**other, "occurred_at": None, "late_reason": None})


def kind(verdict: Receipt | Refusal) -> str:
    return verdict.code if isinstance(verdict, Refusal) else "recorded"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=KINDS)
def test_what_is_begun_together_is_decided_as_if_it_came_alone(
    clinic: Clinic, cases: list[Case], kinds: list[tuple[bool, int]]
) -> None:
    """Rule 8: also where it is there already, by this process or another, or comes twice."""
    elsewhere = clinic.open_log()

    def proposals() -> list[Proposal]:
        news = [uuid4() for _ in range(3)]
        told_elsewhere = [saying(cases[0], person, news[0]) for person in (True, False)]
        author = Author(cases[0].therapist)
        elsewhere.append([Proposal(command, author) for command in told_elsewhere])
        ids = {True: [case.client for case in cases], False: [case.id for case in cases]}
        return [
            Proposal(saying(cases[0], person, [*ids[person], *news][number]), author)
            for person, number in kinds
        ]

    together = clinic.log.append(proposals())
    alone = [verdict for each in proposals() for verdict in clinic.log.append([each])]
    assert list(map(kind, together)) == list(map(kind, alone))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=st.sets(st.integers(0, 3)), new=st.integers(0, 3))
def test_those_are_absent_that_have_no_entry(
    clinic: Clinic, cases: list[Case], there: set[int], new: int
) -> None:
    """Streams: of several, however many of them are there; of one alone nobody asks."""
    recorded = [*(relationship_stream(case.id) for case in cases)]
    recorded += [person_stream(case.client) for case in cases]
    asked: list[Stream] = [person_stream(uuid4()) for _ in range(new)]
    expected = list(asked) if new + len(there) > 1 else []
    asked += [recorded[number] for number in there]
    assert absent(clinic.log._recorder, asked) == expected


def test_commands_say_what_they_begin(cases: list[Case]) -> None:
    """Streams: whoever opens or registers names it; others begin none of their own."""
    commands = [proposal.command for proposal in cases[0].opening()]
    assert list(begun_by(commands)) == [
        person_stream(cases[0].client),
        relationship_stream(cases[0].id),
    ]
