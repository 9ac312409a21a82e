"""Replay: what is told of a past moment is what was known then, of what had happened by then.

The yardstick is what people were shown at the time: the dossier is kept as it was after each thing
that was entered, and every replay is held against it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.clinic import Scope
from domain.correction import CorrectEntry, MarkEnteredInError
from domain.event import RecordedEvent
from domain.goal import GoalProposed, ReviseGoal
from domain.rating import SupersedeRating
from domain.relationship import relationship_stream
from domain.session import SessionHeld
from domain.withdrawal import WithdrawConsent
from infra.canonical import time_text
from tests.api.conftest import SECRET, House

ASKED = frozenset({"known_at", "happened_by"})


@dataclass
class Story:
    """What was entered into one relationship, and what was shown after each entry."""

    house: House
    shown: dict[str, tuple[datetime, dict[str, Any]]] = field(default_factory=dict)

    def told(self, **times: datetime) -> dict[str, Any]:
        """The dossier as of two times, without the times themselves."""
        asked = {name: time_text(time) for name, time in times.items()}
        path = f"/relationships/{self.house.relationship}"
        document = self.house.practice.shown(self.house.therapist, path, **asked)
        return {name: value for name, value in document.items() if name not in ASKED}

    def after(self, what: str, record: Callable[[], object]) -> None:
        """Time passes, something is entered, and the therapist looks."""
        self.house.practice.later(days=3)
        record()
        self.shown[what] = self.house.practice.later(seconds=1), self.told()

    def entries(self) -> list[RecordedEvent]:
        history = self.house.practice.clinic.log.history(
            relationship_stream(self.house.relationship)
        )
        return list(history)


@pytest.fixture
def story(house: House) -> Story:
    """Six weeks with a late entry, a correction, an error, a better reading, a withdrawal."""
    story, practice, therapist = Story(house), house.practice, house.therapist

    def two_weeks_late() -> None:
        held = house.held()
        shift = timedelta(days=14)
        late = held.model_copy(
            update={
                "started_at": held.started_at - shift,
                "ended_at": held.ended_at - shift,
                "late_reason": "The calendar was on paper.",
            }
        )
        practice.recorded(therapist, late)

    def corrected() -> None:
        first = next(entry for entry in story.entries() if isinstance(entry.event, SessionHeld))
        assert isinstance(first.event, SessionHeld)
        longer = first.event.model_copy(
            update={"ended_at": first.event.ended_at - timedelta(minutes=10)}
        )
        content = longer.model_dump(mode="json", exclude_none=True)
        stream = relationship_stream(house.relationship)
        practice.recorded(
            therapist,
            CorrectEntry(stream=stream, entry=first.version, reason="Shorter.", content=content),
        )

    def in_error() -> None:
        held = practice.recorded(therapist, house.held())
        stream, version = held["entries"][0]["stream"], held["entries"][0]["version"]
        practice.recorded(
            therapist, MarkEnteredInError(stream=stream, entry=version, reason="Another client.")
        )

    def read_better() -> None:
        better = SupersedeRating(
            relationship=house.relationship,
            superseded=house.rating,
            rating=uuid4(),
            reason="The second line was read as 9.1.",
            late_reason="Seen when the sheets were filed.",
            answers=("8.5", "9.7", "7", "8"),
        )
        practice.recorded(house.client, better)

    def reworded() -> None:
        revised = ReviseGoal(
            relationship=house.relationship,
            goal=house.goal,
            statement="Another wording.",
            by=house.client.person,
        )
        practice.recorded(house.client, revised)

    def withdrawn() -> None:
        consent = house.consents[Scope.OUTCOME_MEASURES]
        practice.recorded(
            house.client, WithdrawConsent(relationship=house.relationship, consent=consent)
        )

    practice.later(days=16)
    for record in (two_weeks_late, corrected, in_error, read_better, reworded, withdrawn):
        story.after(record.__name__, record)
    return story


def test_every_replay_shows_what_was_shown_then(story: Story) -> None:
    """Rules 5 and 6: as it was known at each of six moments, to the last field."""
    for what, (moment, shown) in story.shown.items():
        assert story.told(known_at=moment) == shown, what


def test_what_came_late_belongs_to_when_it_happened(story: Story) -> None:
    """Rules 3 and 5: the two times differ after a late entry, and only then."""
    moment, shown = story.shown["two_weeks_late"]
    (late,) = (line for line in shown["timeline"] if line["late"]["value"])
    happened = datetime.fromisoformat(late["occurred_at"]["value"])
    assert moment - happened > timedelta(days=14)
    just_after = happened + timedelta(minutes=1)

    def sessions(**times: datetime) -> int:
        case = story.told(**times)["case"]
        return int((case["sessions_held"] or {"value": 0})["value"])

    assert sessions(happened_by=just_after, known_at=moment) == 2
    assert sessions(happened_by=just_after, known_at=just_after) == 1
    assert sessions(known_at=just_after) == 1
    assert sessions(happened_by=happened - timedelta(minutes=1), known_at=moment) == 1


def test_what_was_set_right_later_was_wrong_until_then(story: Story) -> None:
    """Rules 1 and 5: a correction is known from when it was entered, of when it happened."""
    before, _ = story.shown["two_weeks_late"]
    after, _ = story.shown["corrected"]

    def line(moment: datetime) -> dict[str, Any]:
        lines: list[dict[str, Any]] = story.told(known_at=moment)["timeline"]
        return next(line for line in lines if line["topic"]["value"] == "session.held")

    assert line(before)["corrected"] == []
    (mark,) = line(after)["corrected"]
    (entry,) = (e for e in story.entries() if e.version == mark["value"])
    assert before < entry.recorded_at < after
    assert mark["entry"]["position"] == entry.position


def test_ratings_and_goals_read_as_they_did(story: Story) -> None:
    """Rules 25 and 29: the old reading and the old wording stand for the time in which they did."""
    before, _ = story.shown["in_error"]
    now = story.told()
    past = story.told(known_at=before)
    assert [row["items"]["value"] for row in past["ratings"]] == [[85, 91, 70, 80]]
    assert past["ratings"][0]["superseded_by"] is None
    assert [row["items"]["value"] for row in now["ratings"]] == [[85, 91, 70, 80], [85, 97, 70, 80]]
    assert [row["statement"]["value"] for row in past["goals"]] == [SECRET]
    assert [row["statement"]["value"] for row in now["goals"]] == [SECRET, "Another wording."]


def test_before_anything_was_known_nothing_is_told(story: Story) -> None:
    """Rule 5: a replay to before the opening is empty, and no error."""
    told = story.told(known_at=story.entries()[0].recorded_at - timedelta(seconds=1))
    assert (told["position"], told["case"], told["timeline"]) == (0, None, [])


def test_every_value_names_an_entry_that_was_known(story: Story) -> None:
    """Rule 7: what a replay cites was recorded by then, and says what it is cited for."""
    by_position = {entry.position: entry for entry in story.entries()}
    for moment, _ in story.shown.values():
        told = story.told(known_at=moment)
        cited = list(_cited(told))
        assert cited
        assert all(by_position[position].recorded_at <= moment for position in cited)
    (wording, *_) = told["goals"]
    goal = by_position[wording["statement"]["entry"]["position"]].event
    assert isinstance(goal, GoalProposed)
    assert goal.statement == wording["statement"]["value"]


def _cited(part: Any) -> list[int]:
    """The positions of all entries that a document cites."""
    match part:
        case {"entry": {"position": int(position)}}:
            return [position]
        case dict():
            return [position for inner in part.values() for position in _cited(inner)]
        case list():
            return [position for inner in part for position in _cited(inner)]
    return []
