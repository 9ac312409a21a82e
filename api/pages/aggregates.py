"""The clinic's base rates: counts that tell of nobody."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.doors import ReadsClinic, Visit
from api.doors.aggregates import rates_of
from api.pages.site import page
from projections.aggregates import FEWEST

router = APIRouter(include_in_schema=False)


@router.get("/base-rates", name="base-rates-page")
def base_rates(
    request: Request, visit: Annotated[Visit, Depends(ReadsClinic("aggregates"))]
) -> Response:
    """Every table, as of the end of the last quarter."""
    return page(request, "base_rates.html", visit.who, rates=rates_of(visit.house), fewest=FEWEST)
