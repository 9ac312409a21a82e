"""The server at its socket: what is no request, too much of one, or one that never ends."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.cli import web

HOST = b"Host: 127.0.0.1\r\n"
LIVE = b"GET / HTTP/1.1\r\n" + HOST


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body to its end and says how long it was."""
    if scope["type"] != "http":
        return
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    said = str(length).encode()
    headers = [(b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server as `rapport serve` runs it, less patient and for fewer."""
    monkeypatch.setattr(web.PromptProtocol, "seconds", 1.0)
    config = web.config(app)
    config.limit_concurrency = 20
    with running(config) as port:
        yield port


@contextmanager
def running(config: uvicorn.Config) -> Iterator[int]:
    """The port of a server that runs while the block lasts."""
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def answer(port: int, *parts: bytes) -> bytes:
    """What comes back until the server closes."""
    with connected(port) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was told enough
        return rest(connection)


def rest(connection: socket.socket) -> bytes:
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


def test_a_request_is_answered(port: int) -> None:
    """API: and the server says nothing about itself."""
    said = answer(port, LIVE + b"Connection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert b"server:" not in said.lower()
    sent = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 200000\r\nConnection: close\r\n\r\n"
    assert answer(port, sent, b"x" * 200_000).endswith(b"\r\n\r\n200000")


@pytest.mark.parametrize(
    "ambiguous",
    [
        LIVE + b"Host: evil.example\r\n\r\n",
        LIVE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        LIVE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        LIVE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        LIVE + b"Content-Length : 5\r\n\r\nabcde",
        LIVE + b"Content-Length: +5\r\n\r\nabcde",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET\x00 / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
    ],
)
def test_what_two_readers_would_read_otherwise_is_refused(port: int, ambiguous: bytes) -> None:
    """R35: no request hides in another one, behind a proxy or not."""
    assert answer(port, ambiguous).startswith(b"HTTP/1.1 400")


def test_who_offers_another_protocol_is_answered_in_this_one(port: int) -> None:
    """RFC 9110, 7.8: an upgrade that is not taken up changes nothing, the body least of all."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n"
    sent = b"POST / HTTP/1.1\r\n" + HOST + offer + b"Content-Length: 5\r\n\r\nabcde"
    with connected(port) as connection:
        for _ in range(2):
            connection.sendall(sent)
            assert connection.recv(65536).endswith(b"\r\n\r\n5")
    begun = sent[:-40], sent[-40:-3], sent[-3:]
    assert answer(port, *begun, LIVE + b"Connection: close\r\n\r\n").count(b" 200 ") == 2
    tunnel = b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n"
    assert answer(port, tunnel).startswith(b"HTTP/1.1 400")


def test_a_large_body_and_the_next_request_may_come_at_once(port: int) -> None:
    """RFC 9112, 9.3.2: only headers are counted as headers."""
    sent = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000
    said = answer(port, sent + sent + LIVE + b"X: a\r\nConnection: close\r\n\r\n")
    assert said.count(b"HTTP/1.1 200") == 3


def test_a_length_and_chunks_are_one_request(port: int) -> None:
    """RFC 9112, 6.1: chunks count, and nothing after them is taken for a second request."""
    both = b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    said = answer(port, LIVE + both + b"0\r\n\r\n" + LIVE + b"\r\n")
    assert said.count(b"HTTP/1.1") == 1


def test_headers_without_end_are_refused(port: int) -> None:
    """ASVS: memory is not filled by whoever reaches the port."""
    said = answer(port, LIVE + b"X: ", *([b"a" * 65536] * 64))
    assert said == b"" or said.startswith(b"HTTP/1.1 400")
    said = answer(port, LIVE, *([b"X: a\r\n" * 10_000] * 10))
    assert said == b"" or said.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /a",
        LIVE + b"X: a",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99\r\n\r\nabc",
        LIVE + b"\r\n" + LIVE,
    ],
    ids=["nothing", "a line", "headers", "a body", "a second one"],
)
def test_a_request_that_never_ends_is_ended(port: int, begun: bytes) -> None:
    """ASVS: a connection is not held by sending a byte now and then."""
    with connected(port) as connection:
        connection.sendall(begun)
        before = time.monotonic()
        dripping = threading.Event()

        def drip() -> None:
            while begun and not dripping.wait(0.2):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        rest(connection)
        lasted = time.monotonic() - before
        dripping.set()
        thread.join()
    assert 0.5 < lasted < 5


def test_who_takes_long_to_answer_is_not_cut_off(port: int) -> None:
    """API: only what is still to be sent is waited for in vain, not the answer's reader."""
    with connected(port) as connection:
        for _ in range(3):
            connection.sendall(LIVE + b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.7)


def test_more_connections_than_it_can_bear_are_told_so(port: int) -> None:
    """ASVS: who holds many connections does not take the files that the database needs."""
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(25)]
    time.sleep(0.2)
    assert b" 503 " in answer(port, LIVE + b"Connection: close\r\n\r\n")
    for connection in held:
        connection.close()
    time.sleep(0.2)
    assert b" 200 " in answer(port, LIVE + b"Connection: close\r\n\r\n")


# --- Whole answers --------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What an app answers with."""

    status: int
    headers: list[tuple[bytes, bytes]]
    parts: list[bytes]
    fails_after: int
    """How many messages it sends before it fails."""

    def app(self) -> ASGIApp:
        async def answers(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return
            messages: list[dict[str, Any]] = [
                {"type": "http.response.start", "status": self.status, "headers": self.headers}
            ]
            for part in self.parts:
                messages.append({"type": "http.response.body", "body": part, "more_body": True})
            messages[-1].pop("more_body", None)
            for message in messages[: self.fails_after]:
                await send(message)
            if self.fails_after < len(messages):
                raise ZeroDivisionError

        return answers


NAMES = st.sampled_from(
    b"content-length content-type Content-Length location x-request-id connection "
    b"transfer-encoding set-cookie cache-control bad\tname".split(b" ")
)
VALUES = st.sampled_from([b"3", b"0", b"4", b"close", b"chunked", b"a\r\nb: c", b"text/html", b""])


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Answers of all kinds; most of them whole, and as long as they say."""
    parts = draw(st.lists(st.sampled_from([b"", b"abc", b"abcd"]), min_size=1, max_size=3))
    headers = draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))
    if draw(st.integers(0, 2)):
        headers.append((b"content-length", b"%d" % len(b"".join(parts))))
    return Plan(
        draw(st.sampled_from([200, 201, 204, 304, 404])),
        headers,
        parts,
        draw(st.sampled_from([9, 9, 9, 0, 2])),
    )


class Switched:
    """An app that is another one for each example."""

    def __init__(self) -> None:
        self.now: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.now(scope, receive, send)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Switched, int, int]]:
    """An app behind our way of sending, and behind the library's own: it, and their ports."""
    switched = Switched()
    theirs = web.config(switched)
    theirs.http = HttpToolsProtocol
    with running(web.config(switched)) as ours, running(theirs) as its:
        yield switched, ours, its


REQUESTS = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + HOST + b"\r\n",
        (LIVE + b"\r\n") * 2 + LIVE + b"Connection: close\r\n\r\n",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans(), request=REQUESTS)
def test_what_is_sent_at_once_is_what_the_library_would_send(
    both: tuple[Switched, int, int], plan: Plan, request: bytes
) -> None:
    """API: to the byte, whatever an app answers with; only the time may have gone on."""
    switched, ours, its = both
    switched.now = plan.app()
    sent = [re.sub(rb"date: [^\r]*", b"", answer(port, request)) for port in (ours, its)]
    assert sent[0] == sent[1]


def test_who_fails_before_the_first_byte_is_told_to_have_failed(
    both: tuple[Switched, int, int],
) -> None:
    """API: no half of an answer where nothing of it was sent yet."""
    switched, ours, _ = both
    switched.now = Plan(200, [(b"content-length", b"3")], [b"abc"], fails_after=1).app()
    assert answer(ours, LIVE + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 500 ")


# --- Straight -------------------------------------------------------------------------------


class Slow:
    """Answers posts to one place straight, with what was sent, each when it is let go."""

    def __init__(self) -> None:
        self.asked: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[bytes], bytes]] = []

    def __contains__(self, url: object) -> bool:
        return url == b"/straight"

    def head(self, url: bytes, headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        return headers

    def ask(self, head: Mapping[bytes, bytes], body: bytes) -> SimpleNamespace | None:
        if body.startswith(b"unusual"):
            return None
        loop = asyncio.get_running_loop()
        receipt = loop.create_future()
        self.asked.append((loop, receipt, body))
        return SimpleNamespace(receipt=receipt)

    def answer(self, asked: SimpleNamespace) -> tuple[bytes, bytes]:
        body = asked.receipt.result()
        return b"content-length: %d\r\n" % len(body), body

    def told(self, asked: SimpleNamespace, error: Exception) -> dict[str, Any]:
        return {"state": {"error": error}}

    def let_go(self, number: int, error: Exception | None = None) -> None:
        """Answers the request of that number, once it is there."""
        while len(self.asked) <= number:
            time.sleep(0.01)
        loop, receipt, body = self.asked[number]
        if error is None:
            loop.call_soon_threadsafe(receipt.set_result, body)
        else:
            loop.call_soon_threadsafe(receipt.set_exception, error)


POST = b"POST /straight HTTP/1.1\r\n" + HOST


def posted(body: bytes, *more: bytes) -> bytes:
    return POST + b"".join(more) + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def straight_port(slow: Slow) -> Iterator[int]:
    with running(web.config(app, slow)) as port:  # type: ignore[arg-type]
        yield port


def bodies(said: bytes) -> list[bytes]:
    """Of several answers, each with its length."""
    found = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        match = re.search(rb"content-length: (\d+)", head)
        assert match is not None
        length = int(match[1])
        found.append(said[:length])
        said = said[length:]
    return found


def test_answers_come_in_the_order_of_the_requests(slow: Slow, straight_port: int) -> None:
    """API: whichever way each goes, and however many come before the first is answered."""
    with connected(straight_port) as connection:
        connection.sendall(posted(b"first") + posted(b"second") + LIVE + b"\r\n")
        connection.sendall(posted(b"last", b"Connection: close\r\n"))
        slow.let_go(0)
        # Those that came meanwhile wait in the library's queue: the application answers them.
        assert bodies(rest(connection)) == [b"first", b"6", b"0", b"4"]
    assert [body for _, _, body in slow.asked] == [b"first"]


def test_one_after_the_other_goes_straight(slow: Slow, straight_port: int) -> None:
    """API: on one connection, in whatever parts each comes."""
    with connected(straight_port) as connection:
        for number, body in enumerate((b"one", b"", b"x" * 60_000)):
            sent = posted(body)
            connection.sendall(sent[:70])
            time.sleep(0.05)
            connection.sendall(sent[70:])
            slow.let_go(number)
            said = b""
            while len(said.partition(b"\r\n\r\n")[2]) < len(body) or b"\r\n\r\n" not in said:
                said += connection.recv(65536)
            assert bodies(said) == [body]


@pytest.mark.parametrize(
    "sent, length",
    [
        (posted(b"unusual"), b"7"),
        (posted(b"x" * 70_000), b"70000"),
        (posted(b"abc").replace(b"/straight", b"/straight?a=b"), b"3"),
        (posted(b"abc").replace(b"POST", b"PUT"), b"3"),
        (posted(b"abc", b"A: 1\r\na: 2\r\n"), b"3"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nunu\r\n4\r\nsual\r\n0\r\n\r\n", b"7"),
        (posted(b"abc", b"Connection: close\r\n"), b"3"),
        (posted(b"abc").replace(b"HTTP/1.1", b"HTTP/1.0"), b"3"),
    ],
)
def test_what_is_unusual_is_the_applications(
    slow: Slow, straight_port: int, sent: bytes, length: bytes
) -> None:
    """API: whole, and answered there."""
    said = answer(straight_port, sent, LIVE + b"Connection: close\r\n\r\n")
    assert bodies(said)[0] == length
    assert not slow.asked


def test_what_is_no_receipt_is_told_by_the_application(slow: Slow) -> None:
    """API: it finds in its scope what came of the request, which it has no body of any more."""
    told: list[tuple[str, object]] = []

    async def tells(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            told.append((scope["path"], scope["state"].get("error")))
        await app(scope, receive, send)

    error = ValueError()
    with (
        running(web.config(tells, slow)) as port,  # type: ignore[arg-type]
        connected(port) as connection,
    ):
        connection.sendall(posted(b"abc") + LIVE + b"Connection: close\r\n\r\n")
        slow.let_go(0, error)
        assert bodies(rest(connection)) == [b"0", b"0"]
    assert told == [("/straight", error), ("/", None)]


class Prompt(Slow):
    """Answers at once."""

    def ask(self, head: Mapping[bytes, bytes], body: bytes) -> SimpleNamespace | None:
        asked = super().ask(head, body)
        if asked is not None:
            asked.receipt.set_result(body)
        return asked


class Forgetful(web.PromptProtocol):
    """Keeps no head of a request: the parser reads each."""

    def _keep(self, head: Any, body: bytes) -> None:
        pass


@dataclass
class Kept:
    """A server that keeps heads and one that does not, and what went straight at each."""

    ports: tuple[int, int]
    straight: tuple[Prompt, Prompt]


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    straight = Prompt(), Prompt()
    forgetful = web.config(app)
    forgetful.http = partial(Forgetful, straight=straight[1])  # type: ignore[arg-type,assignment]
    with (
        running(web.config(app, straight[0])) as keeps,  # type: ignore[arg-type]
        running(forgetful) as forgets,
    ):
        yield Kept((keeps, forgets), straight)


WITHIN = posted(posted(b"abc"))
"""A request whose body is another one."""

SENT = st.sampled_from(
    [
        posted(b"abc"),
        posted(b"abd"),
        posted(b"abcdefgh"),
        posted(b""),
        POST + b"\r\n",
        posted(b"unusual"),
        posted(b"a\r\n\r\nb"),
        WITHIN,
        posted(b"abc", b"A: 1\r\n"),
        posted(b"abc", b"A: 2\r\n"),
        posted(b"abc", b"A: 1\r\na: 2\r\n"),
        b"\r\n" + posted(b"abc"),
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        LIVE + b"\r\n",
    ]
)
GROUPS = st.lists(
    st.tuples(st.lists(SENT, min_size=1, max_size=3), st.none() | st.integers(1, 80)),
    min_size=1,
    max_size=10,
)
"""What is sent at once, and where it is cut in two, if it is."""


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=GROUPS)
@example(groups=[([posted(b"abc")], None)] * 3 + [([WITHIN], len(WITHIN) - len(posted(b"abc")))])
@example(groups=[([posted(b"abc")], None)] * 4)
@example(
    groups=[([posted(b"abc")], None)] * 3 + [([posted(b"abd")] * 2, 60), ([LIVE + b"\r\n"], 1)]
)
def test_a_head_that_comes_again_is_read_as_the_parser_reads_it(
    kept: Kept, groups: list[tuple[list[bytes], int | None]]
) -> None:
    """API: whatever comes before and after it, at once or in parts; the same go straight."""
    answers = [told_in_groups(port, groups) for port in kept.ports]
    assert answers[0] == answers[1]
    went = [[body for _, _, body in straight.asked] for straight in kept.straight]
    assert went[0] == went[1]


def told_in_groups(port: int, groups: list[tuple[list[bytes], int | None]]) -> list[list[bytes]]:
    found = []
    with connected(port) as connection:
        for sent, cut in groups:
            at_once, said = b"".join(sent), b""
            for part in (at_once[:cut], at_once[cut:]) if cut else (at_once,):
                connection.sendall(part)
                time.sleep(0.002 if cut else 0)  # mostly they come apart; both are to be the same
            while len(whole(said)) < len(sent):
                said += connection.recv(65536)
            found.append(bodies(said))
    return found


def whole(said: bytes) -> list[bytes]:
    """The heads of those answers that are whole."""
    heads = []
    while b"\r\n\r\n" in said:
        head, _, said = said.partition(b"\r\n\r\n")
        match = re.search(rb"content-length: (\d+)", head)
        assert match is not None
        if len(said) < int(match[1]):
            break
        heads.append(head)
        said = said[int(match[1]) :]
    return heads


def test_who_is_gone_is_not_answered_and_others_are(slow: Slow, straight_port: int) -> None:
    """API: a connection that was closed before its answer harms nobody."""
    for number, error in enumerate((None, ValueError())):
        with connected(straight_port) as gone:
            gone.sendall(posted(b"abc"))
            while len(slow.asked) <= number:
                time.sleep(0.01)
        time.sleep(0.05)
        slow.let_go(number, error)
    assert answer(straight_port, LIVE + b"Connection: close\r\n\r\n").endswith(b"0")


def test_the_end_waits_for_what_is_being_answered(slow: Slow) -> None:
    """API: a server that is to end answers first, and says that it closes."""
    server = uvicorn.Server(web.config(app, slow))  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        with connected(listener.getsockname()[1]) as connection:
            connection.sendall(posted(b"abc"))
            while not slow.asked:
                time.sleep(0.01)
            server.should_exit = True
            time.sleep(0.5)  # until it has begun to end; the outcome does not depend on it
            slow.let_go(0)
            said = rest(connection)
        thread.join(20)
    assert not thread.is_alive()
    assert bodies(said) == [b"abc"]
    assert b"connection: close" in said
