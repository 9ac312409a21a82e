"""Base rates: what each client is counted as, as it was known at some position of the log."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from domain.alliance import AllianceRated
from domain.clinic import Scope
from domain.consent import ConsentDeclined, ConsentWithdrawn
from domain.event import Event, Stream
from domain.goal import GoalAssented, GoalProposed
from domain.instrument import Perspective, load
from domain.rupture import Kind, Method, RuptureMarked, RuptureResolved
from projections.base_rates import GOALS, POSSIBLE, RATED, RUPTURES, SUPERVISION, Rows, base_rates
from projections.dossier import VIEWS
from tests.kit import (
    DAY,
    DOCUMENT,
    NOW,
    RELATIONSHIP,
    THERAPIST,
    consent,
    consent_id,
    given,
    held,
    named,
    opened,
)

STREAM = Stream("relationship", RELATIONSHIP)
EACH = 6
"""As many clients with each story: enough to be counted."""
EVERYTHING = 1_000_000
STEADY = (310, 330, 305, 325, 315, 328)
FALLEN = (*STEADY, 120, 140, 130, 120, 140, 130)
"""Totals of an SRS in tenths, steady, then far below and not back in time."""
BACK = (*STEADY, 120, 330)

Fact = Event | tuple[Event, datetime]
Story = Callable[[UUID], Iterable[Fact]]


def nothing(client: UUID) -> Iterable[Fact]:
    return ()


def rated(*totals: int, weeks_ago: int = 0) -> Story:
    """The SRS after each of as many sessions, the last of them so many weeks ago."""

    def facts(client: UUID) -> Iterable[Fact]:
        key = load("SRS-3")
        for number, total in enumerate(totals, start=1):
            at = NOW - (len(totals) - number + weeks_ago) * 7 * DAY
            session = named(f"session {number}")
            part = total // 4
            yield held(session, client, THERAPIST, start=at), at
            yield (
                AllianceRated(
                    rating=named(f"rating {number}"),
                    instrument=key.id,
                    instrument_version=key.version,
                    key_hash=key.key_hash,
                    perspective=Perspective.CLIENT,
                    rater=client,
                    session=session,
                    items=(part, part, part, total - 3 * part),
                ),
                at,
            )

    return facts


def marked(client: UUID) -> Iterable[Fact]:
    yield RuptureMarked(
        rupture=named("rupture"),
        raised_by=client,
        perspective=Perspective.CLIENT,
        method=Method.NAMED_IN_SESSION,
        kind=Kind.WITHDRAWAL,
    )


def resolved(client: UUID) -> Iterable[Fact]:
    yield from marked(client)
    yield RuptureResolved(
        rupture=named("rupture"), by=client, perspective=Perspective.CLIENT, basis="Said so."
    )


def agreed_to_supervision(client: UUID) -> Iterable[Fact]:
    yield consent(Scope.SUPERVISION_DISCLOSURE, client)


def took_it_back(client: UUID) -> Iterable[Fact]:
    yield from agreed_to_supervision(client)
    id_ = consent_id(Scope.SUPERVISION_DISCLOSURE, client)
    yield ConsentWithdrawn(consent=id_, party=client)


def declined(client: UUID) -> Iterable[Fact]:
    yield ConsentDeclined(
        scope=Scope.SUPERVISION_DISCLOSURE, party=client, document=DOCUMENT, version=1
    )


def proposed(client: UUID) -> Iterable[Fact]:
    yield GoalProposed(goal=named("goal"), statement="To take the tram.", by=client)


def agreed(client: UUID) -> Iterable[Fact]:
    yield from proposed(client)
    for party in (client, THERAPIST):
        yield GoalAssented(goal=named("goal"), revision=1, party=party)


def counted(*stories: Story, position: int = EVERYTHING) -> list[dict[str, int | None]]:
    """The tables over six clients with each of these stories."""
    records = {
        client: given(opened(client), *story(client))
        for number, story in enumerate(stories)
        for client in (named(f"client {number} {n}") for n in range(EACH))
    }

    def of(view: Any) -> dict[Stream, Any]:
        return {
            Stream("relationship", client): view.of(STREAM, record.relationship)
            for client, record in records.items()
        }

    rows = Rows(
        clients={Stream("relationship", client): (client,) for client in records},
        ratings=of(VIEWS.alliance_course),
        consents=of(VIEWS.consent_register),
        goals=of(VIEWS.goal_course),
        ruptures=of(VIEWS.ruptures),
    )
    return [
        {cell.answer: cell.clients for cell in table.cells}
        for table in base_rates(rows, position, NOW + DAY)
    ]


@pytest.mark.parametrize(
    "table, answers, stories",
    [
        (0, RUPTURES, (marked, resolved, nothing)),
        (1, POSSIBLE, (rated(*FALLEN), rated(*BACK), rated(*STEADY), rated(*STEADY[:2]))),
        (2, SUPERVISION, (agreed_to_supervision, took_it_back, declined, nothing)),
        (3, GOALS, (agreed, proposed, nothing)),
        (4, RATED, (rated(310), rated(310, weeks_ago=30), nothing)),
    ],
)
def test_every_client_is_counted_under_one_answer(
    table: int, answers: tuple[str, ...], stories: tuple[Story, ...]
) -> None:
    """Rule 42: ruptures people marked, what a method finds, consents, goals and ratings."""
    assert counted(*stories)[table] == dict.fromkeys(answers, EACH)


def test_what_was_recorded_later_is_not_counted() -> None:
    """Rule 42: as of the end of a quarter a rupture that was resolved since is open, and one that
    was marked since is none."""
    stories = (marked, resolved, nothing)
    at_the_mark = counted(*stories, position=2)[0]
    assert at_the_mark == {"left open": 2 * EACH, "resolved": None, "none marked": None}
    assert counted(*stories, position=1)[0] == dict.fromkeys(RUPTURES)


def test_what_all_answer_alike_is_not_told() -> None:
    """Rule 42: a table in which everybody gives one answer tells of each of them."""
    for table in counted(nothing):
        assert set(table.values()) == {None}
