"""How the application meets the network: by a parser that bounds what it reads, and not for ever.

A proxy in front does the same and more (docs/operate/install.md). But nobody who reaches the port
shall stop the service by merely holding connections open, or by headers without end.
"""

import asyncio
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS: Final = 30.0
"""For a request to arrive as a whole."""
CONNECTIONS: Final = 500
"""At once; far below the files that a process may open by default, which the database needs too."""


class PromptProtocol(H11Protocol):
    """Closes a connection on which a request comes drop by drop."""

    seconds = REQUEST_SECONDS
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._rest()
        elif self._timer is None:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self.transport.close)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def config(app: ASGIApp) -> uvicorn.Config:
    """What the server runs by."""
    return uvicorn.Config(
        app,
        # In Python, and strict: no headers beyond 64 KiB, no second Host, no second length.
        http=PromptProtocol,
        ws="none",
        limit_concurrency=CONNECTIONS,
        log_config=None,
        access_log=False,  # the application has a line for each request, without what was asked
        server_header=False,
        timeout_graceful_shutdown=10,
    )
