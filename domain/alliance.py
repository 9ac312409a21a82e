"""The working alliance as client, therapist or others rate it, and the review of its beginning.

Bordin describes it by agreement on goals, agreement on tasks, and the bond. Client and therapist
see the same hour differently: each rates by themself, and nobody's view is averaged with another's
(rule 32). What every rating has in common stands in `domain/rating.py`.
"""

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.clinic import EachOnce
from domain.event import Command, Entries, Event, Given, History, New, Refusal, Text
from domain.person import require_voice
from domain.rating import Rate, RatedBeforeSession, Rating, SessionNotHeld, Superseding
from domain.relationship import relationship_of, relationship_stream, require_open
from domain.session import SessionUnknown, session_numbers, session_of, sessions_of

EARLY = range(3, 6)
"""The early alliance is that of the third to the fifth session held."""

EarlySessions = Annotated[tuple[UUID, ...], Field(min_length=1, max_length=len(EARLY)), EachOnce]


# --- What happened --------------------------------------------------------------------------


class AllianceRated(Rating):
    """Somebody rated the alliance, at that time."""

    topic = "alliance.rated"

    def superseding(self) -> type[Superseding]:
        return RatingSuperseded


class RatingSuperseded(Superseding):
    """A better reading of the answers of a rating of the alliance."""

    topic = "alliance.rating_superseded"

    def superseding(self) -> type[Superseding]:
        return RatingSuperseded


class EarlyAllianceReviewed(Event):
    """A therapist or the supervisor looked at how the alliance began, and what follows from it."""

    topic = "alliance.early_reviewed"
    # Another judgement is another review, beside this one.
    correctable = False

    by: UUID
    sessions: EarlySessions
    remark: Text


# --- Questions ------------------------------------------------------------------------------


def require_rated_afterwards(before: Entries, after: Entries) -> None:
    """Rule 28, where an amendment changes how the standing entries of a relationship read: no
    session comes to begin after the alliance in it was rated."""
    for _, session in sorted(_too_early(after) - _too_early(before)):
        raise RatedBeforeSession(session=session)


def _too_early(entries: Entries) -> set[tuple[int, UUID]]:
    """Ratings of the alliance, by version, of a session that began after them."""
    history = History(entries)
    sessions = sessions_of(history)
    return {
        (entry.version, session.id)
        for kind in (AllianceRated, RatingSuperseded)
        for entry, rating in history.of(kind)
        for session in sessions.values()
        if session.id == rating.session and entry.occurred_at < session.started_at
    }


# --- Refusals -------------------------------------------------------------------------------


class NotAnEarlySession(Refusal):
    status = 422
    says = "Session {session} is number {number}: the early alliance is that of sessions 3 to 5."


class ReviewedByOther(Refusal):
    says = "{by} neither treats nor supervises here, and does not review the alliance."


# --- Commands -------------------------------------------------------------------------------


class RateAlliance(Rate):
    """Record what somebody answered about the alliance, of a session or between sessions."""

    name = "rate-alliance"
    measures = frozenset({"alliance", "relationship", "real relationship", "rupture"})
    rated = AllianceRated


class ReviewEarlyAlliance(Command):
    """Record that the alliance of the first sessions was looked at."""

    name = "review-early-alliance"

    relationship: UUID
    by: UUID
    sessions: EarlySessions
    remark: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        require_voice(self.by, given)
        if self.by not in (*relationship.therapists, relationship.supervisor):
            raise ReviewedByOther(by=self.by)
        # By what had happened by then: a session held later is not reviewed yet.
        told = history.as_of(happened_by=given.at)
        numbers = session_numbers(told)
        for id_ in self.sessions:
            session = session_of(told, id_)
            if session is None:
                raise SessionUnknown(session=id_)
            if not session.is_held:
                raise SessionNotHeld(session=id_, status=session.status)
            if numbers[id_] not in EARLY:
                raise NotAnEarlySession(session=id_, number=numbers[id_])
        yield New(
            stream, EarlyAllianceReviewed(by=self.by, sessions=self.sessions, remark=self.remark)
        )
