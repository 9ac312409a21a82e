"""The clinic's log: how far it goes, and the envelopes of its entries."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends

from api.doors import Reading, ReadsClinic
from api.routes.command import concept
from domain.event import Model

router = concept("log")


class HeadDocument(Model):
    size: int
    root: str


class LogDocument(Model):
    """How far the log goes, and what of it was acknowledged outside the database."""

    size: int
    root: str
    """RFC 6962 root in hex."""
    recorded_at: datetime
    acknowledged: HeadDocument | None


@router.get("/log")
def log(reading: Annotated[Reading, Depends(ReadsClinic("log"))]) -> LogDocument:
    """The head of the log. The entry that notes this very reading is part of it."""
    status = reading.house.log_status()
    return LogDocument(
        size=status.size,
        root=status.root,
        recorded_at=status.recorded_at,
        acknowledged=status.acknowledged
        and HeadDocument(size=status.acknowledged[0], root=status.acknowledged[1]),
    )
