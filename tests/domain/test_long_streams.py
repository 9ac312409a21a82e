"""Long streams: what is asked of them takes time in step with their length, whatever they hold."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.alliance import AllianceRated, RatingSuperseded
from domain.consent import consents_of
from domain.correction import EntryCorrected
from domain.event import Event, History, RecordedEvent
from domain.goal import (
    GoalAssented,
    GoalDissented,
    GoalProposed,
    GoalRated,
    GoalRevised,
    GoalScale,
    Level,
    goals_of,
)
from domain.instrument import Perspective
from domain.rating import Rating, ratings_of
from domain.session import Medium, SessionScheduled, schedule_stream, sessions_of
from domain.task import Aim, Done, TaskAssented, TaskProposed, TaskReviewed, tasks_of
from tests.kit import (
    BEGINNING,
    CLIENT,
    CONSENTED,
    HOUR,
    NOW,
    THERAPIST,
    Record,
    consent,
    given,
    held,
    hold_session,
    named,
    taken,
)

LENGTH = 20_000
SECONDS = 2.0
"""What is linear takes a twentieth of it; what is quadratic, ten times as long."""

GOAL = named("goal")
TASK = named("task")


def history_of(events: Iterable[Event]) -> History:
    """These events, a second apart, as the history of one stream."""
    (template,) = given(consent()).relationship

    def entry(version: int, event: Event) -> RecordedEvent:
        at = BEGINNING + timedelta(seconds=version)
        return replace(template, version=version, position=version, occurred_at=at, event=event)

    return History(entry(version, event) for version, event in enumerate(events, start=1))


def one_goal(step: Callable[[int], Event]) -> Iterable[Event]:
    yield GoalProposed(goal=GOAL, statement="To ride the tram.", by=CLIENT)
    yield from map(step, range(2, LENGTH))


def revised(number: int) -> Event:
    if number % 2:
        return GoalAssented(goal=GOAL, revision=number // 2 + 1, party=CLIENT)
    return GoalRevised(goal=GOAL, revision=number // 2 + 1, statement="Another.", by=CLIENT)


def turned(number: int) -> Event:
    if number % 2:
        return GoalDissented(goal=GOAL, revision=1, party=CLIENT, reason="Not so.")
    return GoalAssented(goal=GOAL, revision=1, party=CLIENT)


def rated(number: int) -> Event:
    return GoalRated(
        goal=GOAL,
        revision=1,
        by=CLIENT,
        perspective=Perspective.CLIENT,
        level=Level(scale=GoalScale.GBO, value=number % 11),
    )


def one_task() -> Iterable[Event]:
    yield TaskProposed(task=TASK, description="One stop.", aim=Aim(purpose="To try."), by=CLIENT)
    for number in range(LENGTH // 2):
        yield TaskAssented(task=TASK, party=UUID(int=number))
        yield TaskReviewed(task=TASK, by=CLIENT, done=Done.PARTLY)


def one_chain() -> Iterable[Event]:
    fields: dict[str, Any] = {
        "instrument": "SRS-3",
        "perspective": Perspective.CLIENT,
        "rater": CLIENT,
        "between_sessions": True,
        "items": (80, 80, 80, 80),
    }
    yield AllianceRated(rating=UUID(int=0), **fields)
    for number in range(1, LENGTH):
        before = UUID(int=number - 1)
        yield RatingSuperseded(
            rating=UUID(int=number), superseded=before, reason="Read again.", **fields
        )


def corrected_again_and_again() -> Iterable[Event]:
    yield held()
    for number in range(1, LENGTH):
        yield EntryCorrected(
            entry=1,
            reason="Another clock.",
            of_topic="session.held",
            of_schema_version=1,
            content=held(minutes=40 + number % 10).model_dump(exclude_none=True),
        )


def consented() -> Iterable[Event]:
    for number in range(LENGTH):
        yield consent().model_copy(update={"consent": UUID(int=number)})


@pytest.mark.parametrize(
    "events, ask",
    [
        (one_goal(revised), goals_of),
        (one_goal(turned), goals_of),
        (one_goal(rated), goals_of),
        (one_task(), tasks_of),
        (one_chain(), ratings_of),
        (corrected_again_and_again(), sessions_of),
        (consented(), consents_of),
    ],
    ids=["revisions", "stances", "goal ratings", "task", "ratings", "corrections", "consents"],
)
def test_state_is_folded_in_one_pass(
    events: Iterable[Event], ask: Callable[[History], dict[UUID, Any]]
) -> None:
    """Rule 6: a replay of many entries takes as long as they are many, and no longer."""
    history = history_of(events)
    begun = time.process_time()
    state = ask(history)
    assert time.process_time() - begun < SECONDS
    assert state


def test_the_last_of_a_long_chain_stands_in_place_of_all() -> None:
    """Rule 29: however often the same answers were read again, all readings are kept."""
    (current,) = ratings_of(history_of(one_chain())).values()
    assert isinstance(current.entry.event, Rating)
    assert current.rating.rating == UUID(int=LENGTH - 1)
    assert [entry.version for entry in current.earlier] == list(range(1, LENGTH))


def test_a_full_schedule_is_looked_through_once() -> None:
    """Rule 14: also where every hour of it would clash, and every session was cancelled since."""
    ids = [UUID(int=number) for number in range(1, LENGTH // 4)]
    planned = (
        SessionScheduled(session=id_, starts_at=NOW, ends_at=NOW + HOUR, medium=Medium.IN_PERSON)
        for id_ in ids
    )
    record = given(*CONSENTED)
    here, schedule = record.relationship, schedule_stream(THERAPIST)
    full = Record(
        (
            *record.entries,
            *(
                replace(entry, stream=here[0].stream, version=entry.version + here.version)
                for entry in history_of(planned)
            ),
            *(replace(entry, stream=schedule) for entry in history_of(map(taken, ids))),
        )
    )
    begun = time.process_time()
    full.when(hold_session(), at=NOW).recorded()
    assert time.process_time() - begun < SECONDS
