"""How the application meets the network: by a parser that bounds what it reads, and not for ever.

A proxy in front does the same and more (docs/operate/install.md). But nobody who reaches the port
shall stop the service by merely holding connections open, or by headers without end.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from httptools import HttpParserUpgrade, HttpRequestParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

if TYPE_CHECKING:
    from api.routes.straight import Asked, Head, Straight

REQUEST_SECONDS: Final = 30.0
"""For a request to arrive as a whole, and for the next one to begin."""
CONNECTIONS: Final = 500
"""At once; far below the files that a process may open by default, which the database needs too."""
HEADER_BYTES: Final = 65_536
"""All of a request before its body."""


_STRAIGHT_BYTES: Final = 65_536
"""A body that is longer than that does not go straight."""
_KEPT_BYTES: Final = 4_096
"""A head that is longer than that is not kept."""
_NOBODY_WAITS: Final = asyncio.Event()
_OFFER: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})


class Ambiguous(Exception):
    """A request that two readers would read otherwise. The parser answers it with 400."""


class PromptProtocol(HttpToolsProtocol):
    """Reads strictly, and closes a connection on which a request comes drop by drop.

    The parser refuses two lengths, a length beside chunks, and what is no token or no line. Here it
    is told of what it lets pass: other codings, no Host or two, and headers without end.
    """

    seconds = REQUEST_SECONDS
    _timer: asyncio.TimerHandle | None = None
    _data = b""
    """What came last."""
    _is_whole = False
    _in_headers = False
    _waited_for = 0
    """Bytes that came while the headers of a request that had begun were not all here."""
    _body: bytes | None = None
    """Of a request that may go straight, as far as it has come."""
    _came_between = False
    """Whether what came last began where no request had begun."""
    _kept: "_Kept | None" = None

    def __init__(self, *args: Any, straight: "Straight | None" = None, **more: Any) -> None:
        """`straight`: who answers some requests without a task; the rest as the library takes."""
        super().__init__(*args, **more)
        self._straight = straight

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._kept is not None and self._goes_again(self._kept, data):
            return
        if self._in_headers:
            self._waited_for += len(data)
        self._data, self._came_between = data, self._is_whole
        super().data_received(data)
        if self._in_headers and self._waited_for > HEADER_BYTES:
            self.send_400_response("The headers are too large.")
        elif self._is_whole:
            self._rest()
        elif self._timer is None:
            self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_whole, self._in_headers, self._waited_for = False, True, 0

    def on_headers_complete(self) -> None:
        self._in_headers = False
        # Headers that came at once with no more than that are no larger.
        came_small = not self._waited_for and len(self._data) <= HEADER_BYTES
        if not _is_unambiguous(self.headers):
            raise Ambiguous
        if not came_small and _size(self.headers) > HEADER_BYTES:
            raise Ambiguous
        if self._may_go_straight():
            self._body = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._body is None:
            super().on_body(body)
        else:
            self._body += body
            if len(self._body) > _STRAIGHT_BYTES:
                self._hand_over()

    def on_message_complete(self) -> None:
        if self._body is not None:
            self._go_straight(self._body)
        if self._body is not None:
            self._hand_over()
        super().on_message_complete()
        self._is_whole = True

    # --- Straight ---------------------------------------------------------------------------

    def _may_go_straight(self) -> bool:
        """Whether nothing about the head of this request is unusual, and none is before it."""
        parser = self.parser
        return (
            self._straight is not None
            and self.url in self._straight
            and parser.get_method() == b"POST"
            and self._is_free()
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
        )

    def _is_free(self) -> bool:
        """Whether nothing is before a request that comes now, and the server can bear it."""
        most = self.limit_concurrency
        return (
            getattr(self.cycle, "response_complete", True)
            and not self.flow.write_paused
            and (most is None or max(len(self.connections), len(self.tasks)) < most)
        )

    def _hand_over(self) -> None:
        """Lets the application have what may have gone straight."""
        body, self._body = self._body or b"", None
        super().on_headers_complete()
        super().on_body(body)

    def _go_straight(self, body: bytes) -> None:
        headers = dict(self.headers)
        if self._straight is None or len(headers) < len(self.headers):
            return
        head = self._straight.head(self.url, headers)
        if head is not None and self._asks(head, self.url, self.scope, body):
            self._body = None
            self._keep(head, body)

    def _asks(self, head: "Head", url: bytes, scope: Any, body: bytes) -> bool:
        """Whether that request is on its way."""
        assert self._straight is not None, "it has read the head"
        try:
            asked = self._straight.ask(head, body)
        except Exception:  # the application will meet it too, and tells of it
            asked = None
        if asked is None:
            return False
        self.cycle = short = _Short(scope, url)  # type: ignore[assignment]
        asked.receipt.add_done_callback(lambda _: self._answer(short, asked))
        return True

    def _keep(self, head: "Head", body: bytes) -> None:
        """Keeps the head of a request that came at once and alone: the next may be the same."""
        end = self._data.find(b"\r\n\r\n") + 4
        at_once = self._came_between and not self._waited_for and self._data[end:] == body
        if at_once and end <= _KEPT_BYTES:
            self._kept = _Kept(self._data[:end], len(self._data), head, self.url, self.scope)

    def _goes_again(self, kept: "_Kept", data: bytes) -> bool:
        """Whether what came is a whole request with the very head that was kept, and on its way.

        The parser, which is between two requests, would read the same of the same bytes.
        """
        again = len(data) == kept.length and self._is_whole and data.startswith(kept.sent)
        if not again or not self._is_free():
            return False
        if not self._asks(kept.head, kept.url, kept.scope, data[len(kept.sent) :]):
            return False
        self._unset_keepalive_if_required()
        return True

    def _answer(self, short: "_Short", asked: "Asked") -> None:
        assert self._straight is not None, "it was asked"
        try:
            head, body = self._straight.answer(asked)
        except Exception as error:  # a refusal, a fault: the application tells of it
            self._tell(short, self._straight.told(asked, error))
            return
        if short.disconnected:
            return
        short.response_complete = True
        lines = [_line(*pair) for pair in self.server_state.default_headers]
        last = b"\r\n" if short.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[201], *lines, head, last, body)))
        if not short.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _tell(self, short: "_Short", told: dict[str, Any]) -> None:
        """The application's answer, as the library lets it answer."""
        path = {"path": short.url.decode("ascii"), "raw_path": short.url, "query_string": b""}
        scope: Any = {**short.scope, "method": "POST", **path, **told}
        cycle = RequestResponseCycle(
            scope, self.transport, self.flow, self.logger, self.access_logger, self.access_log,
            self.server_state.default_headers, asyncio.Event(), False, short.keep_alive,
            self.on_response_complete,
        )  # fmt: skip
        cycle.more_body, cycle.disconnected = False, short.disconnected
        cycle.message_event.set()  # its body was read
        if self.cycle is short:  # type: ignore[comparison-overlap]
            self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    # --- Other ways -------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        return True  # so that the parser hands the request over instead of leaving its body out

    def handle_websocket_upgrade(self) -> None:
        """Takes up no offer of another protocol: reads the request again without it."""
        interrupted = sys.exc_info()[1]
        method = self.parser.get_method()
        if not isinstance(interrupted, HttpParserUpgrade) or method == b"CONNECT":
            self.send_400_response("There is no tunnel here.")
            return
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % pair for pair in self.headers if pair[0] not in _OFFER]
        if any(b"close" in value.lower() for name, value in self.headers if name == b"connection"):
            lines.append(b"connection: close")
        rest: bytes = self._data[interrupted.args[0] :]
        self.parser = HttpRequestParser(self)
        super().data_received(b"\r\n".join([*lines, b"", rest]))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        async def answered(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, _Sending(cycle, send))

        super()._start_asgi_task(cycle, answered)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self.transport.close)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """The head of a request that went straight, by which the next one on the connection is known
    where it comes at once and has the same."""

    sent: bytes
    """As it was sent, to the end of the empty line."""
    length: int
    """Of the whole request."""
    head: "Head"
    url: bytes
    scope: Any


@dataclass(slots=True)
class _Short:
    """Stands where the library has what it answers a request by, while one goes straight.

    So requests that come before the answer wait in the library's own queue, and who ends the
    server waits for the answer.
    """

    scope: Any
    url: bytes
    response_complete: bool = False
    disconnected: bool = False
    keep_alive: bool = True
    more_body: bool = False
    message_event: asyncio.Event = field(default_factory=lambda: _NOBODY_WAITS)


class _Gathering:
    """A transport that writes after a turn of the loop what that turn had for it.

    All that is answered in one turn goes out one answer close after the other: nobody is woken
    for one alone, to take the processor from whoever writes the next.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered and not self._transport.is_closing():
            self._transport.write(b"".join(gathered))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)  # everything else as ever


class _Sending:
    """Sends an answer that is whole by one write, and checks a header that is always the same once.

    Any other, and whatever does not fit, is left to the library.
    """

    def __init__(self, cycle: RequestResponseCycle, send: Send) -> None:
        self._cycle = cycle
        self._send = send
        self._start: Message | None = None
        """Put off until it is known what follows."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._cycle.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            answer = self._whole(start, message)
            if answer is not None:
                self._write(answer)
                return
            await self._send(start)
        await self._send(message)

    def _whole(self, start: Message, message: Message) -> bytes | None:
        """The bytes of the answer; None where they are more to come, or unusual."""
        cycle, body = self._cycle, message.get("body", b"")
        can_be = message["type"] == "http.response.body" and not message.get("more_body", False)
        headers = [*cycle.default_headers, *start["headers"]]
        length = (b"content-length", b"%d" % len(body))
        if not can_be or length not in headers or cycle.scope["method"] == "HEAD":
            return None
        lines = [_line(*pair) if pair[0] not in _VARYING else _checked(*pair) for pair in headers]
        if b"" in lines or cycle.disconnected or cycle.flow.write_paused:
            return None
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        return b"".join((STATUS_LINE[start["status"]], *lines, b"\r\n", body))

    def _write(self, answer: bytes) -> None:
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(answer)
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


_VARYING: Final = frozenset({b"location", b"set-cookie", b"x-request-id"})
"""Headers of which no two are alike, or that nobody is to keep."""
_ITS_OWN: Final = frozenset({b"connection", b"transfer-encoding"})
"""Headers that say how the answer is sent."""


def _checked(name: bytes, value: bytes) -> bytes:
    """The line of a header; nothing where the library has to look at it."""
    if name in _ITS_OWN or not name.islower() or HEADER_RE.search(name):
        return b""
    return b"" if HEADER_VALUE_RE.search(value) else b"%b: %b\r\n" % (name, value)


_line = lru_cache(1_024)(_checked)


def _is_unambiguous(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether it is told once to whom the request goes, and in at most one way how long it is."""
    names = [name for name, _ in headers]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    return names.count(b"host") == 1 and codings in ([], [b"chunked"])


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def config(app: ASGIApp, straight: "Straight | None" = None) -> uvicorn.Config:
    """What the server runs by. `straight`: who answers some requests at the connection."""
    return uvicorn.Config(
        app,
        http=partial(PromptProtocol, straight=straight),  # type: ignore[arg-type]
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=int(REQUEST_SECONDS),
        log_config=None,
        access_log=False,  # the application has a line for each request, without what was asked
        server_header=False,
        timeout_graceful_shutdown=10,
    )
