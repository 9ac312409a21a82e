"""Base rates over the clinic, with small counts suppressed (rule 42)."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends

from api.doors import ReadsClinic, Visit
from api.doors.aggregates import rates_of
from api.routes.command import concept
from domain.event import Model

router = concept("aggregates")


class CountDocument(Model):
    """How many clients one answer holds for; null: suppressed."""

    answer: str
    clients: int | None


class TableDocument(Model):
    """One question; `total` is null where there are fewer than five clients."""

    question: str
    total: int | None
    counts: list[CountDocument]


class BaseRatesDocument(Model):
    """As of the end of the last quarter, from the log up to `position`."""

    at: datetime
    position: int
    tables: list[TableDocument]


@router.get("/aggregates")
def aggregates(visit: Annotated[Visit, Depends(ReadsClinic("aggregates"))]) -> BaseRatesDocument:
    """How the clinic's clients divide by a few questions; never by therapist."""
    rates = rates_of(visit.house)
    return BaseRatesDocument(
        at=rates.at,
        position=rates.position,
        tables=[
            TableDocument(
                question=table.question,
                total=table.total,
                counts=[
                    CountDocument(answer=cell.answer, clients=cell.clients) for cell in table.cells
                ],
            )
            for table in rates.tables
        ],
    )
