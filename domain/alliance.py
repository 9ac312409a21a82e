"""The working alliance as client, therapist or others rate it, and the review of its beginning.

Bordin describes it by agreement on goals, agreement on tasks, and the bond. Client and therapist
see the same hour differently: each rates by themself, and nobody's view is averaged with another's
(rule 32). What every rating has in common stands in `domain/rating.py`.
"""

from domain.rating import Rate, Rating, Superseding

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


# --- Commands -------------------------------------------------------------------------------


class RateAlliance(Rate):
    """Record what somebody answered about the alliance, of a session or between sessions."""

    name = "rate-alliance"
    measures = frozenset({"alliance", "relationship", "real relationship", "rupture"})
    rated = AllianceRated
