"""Ratings of the alliance; and their course, perspective by perspective."""

from typing import Annotated

from fastapi import Depends, Response

from api.doors import Reads, Visit
from api.routes.command import accept, concept
from api.routes.rows import page_document_of, page_of
from domain.alliance import RateAlliance, ReviewEarlyAlliance
from domain.rating import SupersedeRating
from projections.alliance_course import RatingRow

router = concept("alliance")
accept(router, RateAlliance, SupersedeRating, ReviewEarlyAlliance)


@router.get("/relationships/{relationship}/alliance", response_model=page_document_of(RatingRow))
def alliance(visit: Annotated[Visit, Depends(Reads("alliance"))]) -> Response:
    """Every rating with its raw items and the scores its key gives; series never mix (rule 32)."""
    return page_of(visit, visit.ratings())
