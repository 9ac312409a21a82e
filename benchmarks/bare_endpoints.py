"""What FastAPI does with nothing behind it: an empty endpoint, and one with a single INSERT.

`uvicorn benchmarks.bare_endpoints:app`, with the connection string in BARE_DSN. Neither knows who
asks, decides, seals or proves anything.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

_pool = AsyncConnectionPool(
    os.environ["BARE_DSN"], min_size=8, max_size=8, open=False, kwargs={"autocommit": True}
)


@asynccontextmanager
async def _opened(_: FastAPI) -> AsyncIterator[None]:
    async with _pool, _pool.connection() as conn:
        await conn.execute(
            "CREATE TABLE IF NOT EXISTS endpoint (stream uuid, version bigint, topic text, "
            "state bytea, position bigserial, PRIMARY KEY (stream, version))"
        )
        yield


app = FastAPI(lifespan=_opened)


class Said(BaseModel):
    """A body as long as an event of ours."""

    stream: UUID
    text: str


@app.post("/insert", status_code=201)
async def insert(said: Said) -> dict[str, str]:
    """One row and commit."""
    key = uuid4()
    async with _pool.connection() as conn:
        await conn.execute(
            "INSERT INTO endpoint (stream, version, topic, state) VALUES (%s, 1, 'noted', %s)",
            (key, said.text.encode()),
            prepare=True,
        )
    return {"stream": str(key)}


@app.post("/empty", status_code=201)
async def empty(said: Said) -> dict[str, str]:
    """Nothing but the framework."""
    return {"stream": str(said.stream)}
