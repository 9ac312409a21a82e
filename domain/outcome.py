"""Outcomes: how the client fares, as it is rated on questionnaires of symptoms and wellbeing.

What every rating has in common stands in `domain/rating.py`.
"""

from domain.rating import Rate, Rating, Superseding

# --- What happened --------------------------------------------------------------------------


class OutcomeRated(Rating):
    """Somebody rated how the client fares, at that time."""

    topic = "outcome.rated"

    def superseding(self) -> type[Superseding]:
        return OutcomeSuperseded


class OutcomeSuperseded(Superseding):
    """A better reading of the answers of a rating of outcome."""

    topic = "outcome.superseded"

    def superseding(self) -> type[Superseding]:
        return OutcomeSuperseded


# --- Commands -------------------------------------------------------------------------------


class RateOutcome(Rate):
    """Record what somebody answered about how the client fares."""

    name = "rate-outcome"
    measures = frozenset({"outcome", "wellbeing"})
    rated = OutcomeRated
    beforehand = True
