"""Supervision of one case: what was agreed, whether it is done, and what the next rating showed.

For the therapist and the supervisor; nothing of it stands on a page that a client sees (rule 40).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.doors import Reads, Visit
from api.doors.entries import entries_of
from api.pages import forms, words
from api.pages.people import People
from api.pages.site import page
from domain.event import History
from domain.session import session_numbers
from domain.supervision import (
    Action,
    ActionOutcome,
    CountertransferenceNoted,
    SupervisionActionReviewed,
    actions_of,
    supervisions_of,
)
from projections.alliance_course import Family, RatingRow, current
from projections.view import known

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Before:
    """One line of ratings around a supervision: the last score before it, and the next one."""

    line: str
    last: str
    following: str


@dataclass(frozen=True, slots=True)
class ActionShown:
    id: UUID
    number: int
    text: str
    owner: str
    due: date
    state: str
    tone: str
    reviews: tuple[str, ...]
    around: tuple[Before, ...]
    open: bool


@dataclass(frozen=True, slots=True)
class Hour:
    """One supervision, and what was agreed in it."""

    at: datetime
    supervisor: str
    supervisees: str
    stands_in: str
    relies_on: int
    """How many consents it rests on."""
    actions: tuple[ActionShown, ...]


@dataclass(frozen=True, slots=True)
class Stirred:
    """A countertransference note; never client-facing."""

    author: str
    at: datetime
    session: str
    text: str


@dataclass(frozen=True, slots=True)
class _Rated:
    """One score of one line; both in words."""

    line: str
    at: datetime
    said: str


@router.get("/relationships/{relationship}/supervision", name="supervision-page")
def supervision(
    request: Request, visit: Annotated[Visit, Depends(Reads("supervision"))]
) -> Response:
    """Every supervision of the case, the newest first."""
    dossier = visit.dossier()
    people = People(visit, dossier.case)
    told = History(entries_of(visit, "supervision").values())
    today = visit.house.clock().date()
    rated = list(_lines(dossier.ratings, people))
    hours = [
        Hour(
            at=held.started_at,
            supervisor=people.name(held.supervisor),
            supervisees=", ".join(map(people.name, held.supervisees)),
            stands_in=held.stands_in or "",
            relies_on=len(held.relies_on),
            actions=tuple(
                _action(number, action, people, today, rated)
                for number, action in enumerate(actions_of(told).values(), start=1)
                if action.agreed.supervision == id_
            ),
        )
        for id_, (_, held) in supervisions_of(told).items()
    ]
    return page(
        request,
        "supervision.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        hours=sorted(hours, key=lambda hour: hour.at, reverse=True),
        stirred=list(_stirred(told, visit, people)),
        outcomes=tuple(ActionOutcome),
        offers=forms.offered(visit),
    )


def _action(
    number: int, action: Action, people: People, today: date, rated: Sequence[_Rated]
) -> ActionShown:
    state, tone = _state(action, today)
    return ActionShown(
        id=action.agreed.action,
        number=number,
        text=action.agreed.text,
        owner=people.name(action.agreed.owner),
        due=action.due,
        state=state,
        tone=tone,
        reviews=tuple(
            f"{words.day(entry.occurred_at)}, {people.name(review.by)}: {review.outcome}"
            + (f", now due {words.day(review.due)}" if review.due else "")
            + (f". {review.remark}" if review.remark else "")
            for entry in action.reviews
            if isinstance(review := entry.event, SupervisionActionReviewed)
        ),
        around=tuple(_around(action.entry.occurred_at, rated)),
        open=action.is_open,
    )


def _state(action: Action, today: date) -> tuple[str, str]:
    if not action.is_open and action.last is not None:
        return str(action.last.outcome), "good" if action.last.outcome == "done" else ""
    if action.due < today:
        return f"overdue since {words.day(action.due)}", "alarm"
    return f"due {words.day(action.due)}", ""


# --- What the next rating showed ------------------------------------------------------------


def _lines(rows: Mapping[int, RatingRow], people: People) -> Iterator[_Rated]:
    """The whole scores by which the alliance was rated, in order of time."""
    for row in current(rows):
        total = (known(row.scales) or {}).get("total")
        perspective, rater, at = known(row.perspective), known(row.rater), row.at
        if known(row.family) is not Family.ALLIANCE or total is None or total.text is None:
            continue
        if perspective is None or rater is None or at is None:
            continue
        voice, _, _ = people.voice(perspective, rater)
        number = known(row.session_number)
        where = "between sessions" if number is None else f"session {number}"
        yield _Rated(f"{known(row.instrument)}, {voice}", at, f"{total.text} ({where})")


def _around(at: datetime, rated: Sequence[_Rated]) -> Iterator[Before]:
    for line in dict.fromkeys(one.line for one in rated):
        mine = [one for one in rated if one.line == line]
        earlier = [one.said for one in mine if one.at <= at]
        later = [one.said for one in mine if one.at > at]
        if earlier or later:
            last = earlier[-1] if earlier else "none"
            yield Before(line, last, later[0] if later else "not yet rated")


def _stirred(told: History, visit: Visit, people: People) -> Iterator[Stirred]:
    numbers = session_numbers(visit.history())
    for entry, noted in told.of(CountertransferenceNoted):
        session = numbers.get(noted.session) if noted.session else None
        yield Stirred(
            author=people.name(noted.author),
            at=entry.occurred_at,
            session="" if session is None else f"session {session}",
            text=noted.text,
        )
