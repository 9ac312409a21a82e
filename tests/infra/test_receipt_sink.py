"""Receipts in other hands: a folder, an address, a mailbox; and when none of them takes one."""

import base64
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from infra.outward import AddressUnusable, Unanswered
from infra.receipt_sink import FolderSink, MailSink, parse_sink

RECEIPT = "c2sp.org/tlog-proof@v1\nindex 0\n\nrapport-record/log/00\n1\nAAAA\n\n— a AAAAAAA=\n"


def test_a_folder_keeps_each_receipt_under_its_name(tmp_path: Path) -> None:
    """Receipt sink: whole or not there, twice the same is once."""
    sink = parse_sink(tmp_path.as_uri())
    assert isinstance(sink, FolderSink)
    for _ in range(2):
        sink.deliver("log-1.tlog-proof", RECEIPT)
    assert [each.name for each in tmp_path.iterdir()] == ["log-1.tlog-proof"]
    assert (tmp_path / "log-1.tlog-proof").read_text() == RECEIPT
    with pytest.raises(Unanswered, match="another"):
        sink.deliver("log-1.tlog-proof", RECEIPT + "\n")
    assert (tmp_path / "log-1.tlog-proof").read_text() == RECEIPT


def test_a_folder_that_is_not_mounted_is_no_sink(tmp_path: Path) -> None:
    """Receipt sink: a missing disk must not be written beside."""
    with pytest.raises(Unanswered, match="no-folder"):
        parse_sink((tmp_path / "away").as_uri()).deliver("log-1.tlog-proof", RECEIPT)
    (tmp_path / "here").write_text("")
    with pytest.raises(Unanswered, match="no-folder"):
        parse_sink((tmp_path / "here").as_uri()).deliver("log-1.tlog-proof", RECEIPT)


# --- Over HTTP ------------------------------------------------------------------------------


@contextmanager
def listening(status: int, received: list[bytes]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with served(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


@contextmanager
def served(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_address_takes_a_receipt_by_post() -> None:
    """Receipt sink: any 2xx is a yes, all else is told by its number."""
    received: list[bytes] = []
    with listening(204, received) as port:
        parse_sink(f"http://127.0.0.1:{port}/receipts").deliver("log-1.tlog-proof", RECEIPT)
    assert received == [RECEIPT.encode()]
    with listening(503, received) as port, pytest.raises(Unanswered, match="status-503"):
        parse_sink(f"http://127.0.0.1:{port}/").deliver("log-1.tlog-proof", RECEIPT)
    with pytest.raises(Unanswered, match="unreachable"):
        parse_sink(f"http://127.0.0.1:{port}/").deliver("log-1.tlog-proof", RECEIPT)


# --- By mail --------------------------------------------------------------------------------


class Mailbox(socketserver.TCPServer):
    """As much of SMTP as a message needs, spoken by hand."""

    allow_reuse_address = True

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.messages: list[bytes] = []
        super().__init__(("127.0.0.1", 0), MailSession)


class MailSession(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            verb = line[:4].upper().strip()
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            if verb == b"DATA" and self.server.takes:
                self.wfile.write(b"354 go on\r\n")
                body = b""
                while not body.endswith(b"\r\n.\r\n"):
                    body += self.rfile.readline()
                self.server.messages.append(body)
            taken = self.server.takes or verb in {b"EHLO", b"RSET"}
            self.wfile.write(b"250 fine\r\n" if taken else b"550 no\r\n")


def attached(message: Message) -> str:
    (part,) = (each for each in message.walk() if each.get_filename())
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode().replace("\r\n", "\n")


def test_a_mailbox_gets_the_receipt_as_a_file() -> None:
    """Receipt sink: what was mailed can be held against the log as it is."""
    box = Mailbox()
    with served(box) as port:
        url = f"smtp://127.0.0.1:{port}/auditor@example.org?from=rapport@example.org"
        parse_sink(url).deliver("log-1.tlog-proof", RECEIPT)
    message = message_from_bytes(box.messages[0])
    assert (message["To"], message["From"]) == ("auditor@example.org", "rapport@example.org")
    assert attached(message) == RECEIPT


def test_a_mailbox_that_is_closed_says_so() -> None:
    """Receipt sink: each way to fail has its code."""
    with served(Mailbox(takes=False)) as port, pytest.raises(Unanswered, match="not-accepted"):
        parse_sink(f"smtp://127.0.0.1:{port}/a@example.org").deliver("x.tlog-proof", RECEIPT)
    with pytest.raises(Unanswered, match="unreachable"):
        parse_sink(f"smtp://127.0.0.1:{port}/a@example.org").deliver("x.tlog-proof", RECEIPT)


def test_a_password_is_never_sent_in_the_clear() -> None:
    """Secrets: without TLS there is no login, and no message shows one."""
    secret = base64.b64encode(b"secret").decode()
    with served(box := Mailbox()) as port:
        sink = parse_sink(f"smtp://user:{secret}@127.0.0.1:{port}/a@example.org")
        with pytest.raises(Unanswered, match="no-tls"):
            sink.deliver("x.tlog-proof", RECEIPT)
    assert not box.messages
    assert secret not in f"{sink!r} {sink.name}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "receipts",
        "file://host/receipts",
        "file:receipts",
        "ftp://example.org/",
        "http://example.org/",
        "https://user:pass@example.org/",
        "smtp://example.org/",
        "smtp:///a@example.org",
        "smtp://example.org/a@b@c",
        "smtp://example.org/a%0A@b",
        "smtp://example.org:x/a@b.example",
    ],
)
def test_what_is_no_sink(url: str) -> None:
    """Settings: told at the start, without repeating what may hold a password."""
    with pytest.raises(AddressUnusable) as refused:
        parse_sink(url)
    assert not url or url not in str(refused.value)


def test_ports_that_mail_is_handed_in_at() -> None:
    """RFC 6409, RFC 8314: submission on 587, over TLS from the start on 465."""
    plain, secure = parse_sink("smtp://m.example/a@b.c"), parse_sink("smtps://m.example/a@b.c")
    assert isinstance(plain, MailSink)
    assert isinstance(secure, MailSink)
    assert (plain.port, secure.port) == (587, 465)
