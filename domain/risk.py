"""Risk: an answer that a person has to look at, whatever the score says.

Some items ask about harm to oneself or to others. Where an answer to one reaches the threshold of
the instrument's definition, that is raised in the same decision as the rating, stands by itself,
and is never averaged away; it stays open until a practitioner has reviewed it (rule 35). What was
answered stands in the rating alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.definition import Definition
from domain.event import (
    Command,
    EntryUnknown,
    Event,
    Given,
    History,
    Line,
    New,
    RecordedEvent,
    Refusal,
    Source,
    Text,
)
from domain.relationship import relationship_of, relationship_stream

ItemNumber = Annotated[int, Field(ge=1, le=500)]
"""Which item of the instrument, counted from 1."""


# --- What happened --------------------------------------------------------------------------


class RiskItemRaised(Event):
    """An answer of a rating reached the threshold of a risk item."""

    topic = "risk.item_raised"
    # It follows from the raw items: nobody rewords it, and only a review settles it.
    correctable = False

    rating: UUID
    instrument: Line
    key_hash: Line
    """The key whose threshold was reached."""
    item: ItemNumber
    about: UUID | None = None
    """The rater whose key seals the rating: the same key seals what is raised by it."""

    def subject(self) -> UUID | None:
        return self.about

    def outlives_closure(self) -> bool:
        """It stands where its rating stands, which may be a follow-up."""
        return True


class RiskReviewed(Event):
    """A practitioner looked into it: what was found, and what was done."""

    topic = "risk.reviewed"
    # What somebody decided on a risk is not reworded afterwards: it is reviewed again.
    correctable = False

    rating: UUID
    item: ItemNumber
    by: UUID
    finding: Text
    action: Text
    about: UUID | None = None

    def subject(self) -> UUID | None:
        return self.about

    def outlives_closure(self) -> bool:
        """Closing a relationship settles no risk."""
        return True


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Risk:
    """One risk item of one rating, and who has reviewed it."""

    entry: RecordedEvent
    raised: RiskItemRaised
    reviews: tuple[RecordedEvent, ...] = ()

    @property
    def is_reviewed(self) -> bool:
        return bool(self.reviews)


def risks_of(history: History) -> dict[tuple[UUID, int], Risk]:
    """Every risk item that was raised, by rating and item, in the order of recording.

    It stands also where its rating was superseded or entered in error: a reviewer says so.
    """
    reviews: dict[tuple[UUID, int], list[RecordedEvent]] = {}
    for entry, review in history.of(RiskReviewed):
        reviews.setdefault((review.rating, review.item), []).append(entry)
    return {
        (raised.rating, raised.item): Risk(
            entry, raised, tuple(reviews.get((raised.rating, raised.item), ()))
        )
        for entry, raised in history.of(RiskItemRaised)
    }


# --- Questions ------------------------------------------------------------------------------


def risks_unreviewed(history: History) -> tuple[Risk, ...]:
    """Rule 35: what was raised and no practitioner has reviewed yet."""
    return tuple(risk for risk in risks_of(history).values() if not risk.is_reviewed)


def at_risk(definition: Definition, items: Sequence[int | None], at: datetime) -> tuple[int, ...]:
    """Rule 35: the items whose answer reaches a threshold that was in force at that time."""
    if not definition.risk_items:
        return ()
    raised = definition.risk_items_raised(items, at.date())
    return tuple(sorted({risk.item for risk in raised}))


# --- Refusals -------------------------------------------------------------------------------


class RiskReviewedByOther(Refusal):
    rule = 35
    says = "A risk is reviewed by a therapist or the supervisor of the relationship, in person."


class ReviewBeforeRisk(Refusal):
    rule = 35
    status = 422
    says = "Item {item} of rating {rating} was raised after that: look at occurred_at."


# --- Commands -------------------------------------------------------------------------------


class ReviewRisk(Command):
    """Say what was found about a risk item that was raised, and what was done."""

    name = "review-risk"

    relationship: UUID
    rating: UUID
    item: ItemNumber
    by: UUID
    finding: Text
    action: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        # Whoever answers for it records it: no import, no system, no colleague in their name.
        in_person = given.source is Source.ENTERED and given.actor == self.by
        if not in_person or self.by not in (*relationship.therapists, relationship.supervisor):
            raise RiskReviewedByOther
        risk = risks_of(history).get((self.rating, self.item))
        if risk is None:
            raise EntryUnknown(what="risk item")
        if given.at < risk.entry.occurred_at:
            raise ReviewBeforeRisk(rating=self.rating, item=self.item)
        yield New(
            stream,
            RiskReviewed(
                rating=self.rating,
                item=self.item,
                by=self.by,
                finding=self.finding,
                action=self.action,
                about=risk.raised.about,
            ),
        )
