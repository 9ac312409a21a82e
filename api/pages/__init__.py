"""The pages: what a person with a browser sees. Plain HTML; nothing needs a script.

`router` holds them all; `error_page` is how they show a problem.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.pages import (
    aggregates,
    caseload,
    charts,
    forms,
    log,
    methods,
    notes,
    readers,
    relationship,
    signing,
    supervision,
    timeline,
)
from api.pages.site import STATIC, error_page

__all__ = ["error_page", "router"]

_log = logging.getLogger("rapport.http")


@asynccontextmanager
async def _warmed(app: FastAPI) -> AsyncIterator[None]:
    """Loads what draws before anybody is answered: meanwhile nothing else in the process runs.

    In a thread as requests have one: the first of those takes long as well. What cannot draw now
    is told when a chart is asked for; it keeps nobody from the record.
    """
    try:
        await run_in_threadpool(charts.warm)
    except Exception as error:
        _log.warning("charts cannot be drawn: %s", type(error).__name__)
    yield


router = APIRouter(include_in_schema=False, lifespan=_warmed)

_PARTS = (
    signing,
    caseload,
    relationship,
    notes,
    methods,
    supervision,
    timeline,
    readers,
    aggregates,
    log,
    forms,
)
for part in _PARTS:
    router.include_router(part.router)


@router.get("/static/{name}", name="static")
def static(name: str) -> Response:
    """Style sheet, script and icon."""
    if name not in STATIC:
        raise HTTPException(404)
    content, media_type = STATIC[name]
    return Response(content, media_type=media_type, headers={"cache-control": "max-age=300"})
