"""One POST to somebody outside who need not be trusted: a witness, a timestamp authority, a sink.

Whatever answers may be slow, endless, or speak nonsense. So one deadline holds for the whole
exchange, an answer has a size that it must not exceed, TLS is checked against the machine's
authorities, and no answer sends us elsewhere: there are no redirects, cookies or proxies.
"""

import socket
import ssl
from dataclasses import dataclass
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import h11

_HEADER_BYTES: Final = 16 << 10
_READ_BYTES: Final = 64 << 10
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class AddressUnusable(ValueError):
    """An address that is not to be sent to. The text says why; it does not repeat the address."""


class Unanswered(Exception):
    """Nothing usable came back. The text is a code, and never what the other side said."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to send to. `parse` is the one way to make it."""

    url: str
    secure: bool
    host: str
    port: int
    target: str
    """Path and query, as they stand in a request."""

    @classmethod
    def parse(cls, url: str, *, plain: bool = False) -> "Address":
        """An https address, or one of this machine; with `plain` any http address too.

        Raises AddressUnusable. A name or password in a URL is refused: it would stand in places
        where secrets do not belong.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise AddressUnusable("is no valid URL") from None
        host = parts.hostname
        if not url.isascii() or not url.isprintable() or " " in url:
            raise AddressUnusable("holds characters that no URL has")
        if parts.scheme not in ("http", "https") or not host:
            raise AddressUnusable("is no http or https URL")
        if "@" in parts.netloc or parts.fragment:
            raise AddressUnusable("must hold neither a password nor a fragment")
        secure = parts.scheme == "https"
        if not (secure or plain or host in _LOCAL):
            raise AddressUnusable("must begin with https://")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(url, secure, host, port or (443 if secure else 80), target)

    def below(self, name: str) -> "Address":
        """The address of `name` under this prefix."""
        return Address.parse(f"{self.url.rstrip('/')}/{name}", plain=True)

    @property
    def authority(self) -> str:
        """Host and port for the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole and no longer than was allowed."""

    status: int
    content_type: str
    """As sent, without parameters, in lower case."""
    body: bytes


def post(address: Address, body: bytes, content_type: str, *, seconds: float, most: int) -> Answer:
    """Sends `body` and reads the answer, of at most `most` bytes, within `seconds` in all.

    Raises Unanswered, with the code `unreachable`, `tls`, `too-slow`, `too-long` or `not-http`.
    """
    deadline = monotonic() + seconds
    try:
        with socket.create_connection((address.host, address.port), timeout=seconds) as plain:
            plain.settimeout(_left(deadline))
            if not address.secure:
                return _exchange(plain, address, body, content_type, deadline, most)
            context = ssl.create_default_context()
            with context.wrap_socket(plain, server_hostname=address.host) as secured:
                return _exchange(secured, address, body, content_type, deadline, most)
    except TimeoutError:
        raise Unanswered("too-slow") from None
    except ssl.SSLError:
        raise Unanswered("tls") from None
    except OSError:
        raise Unanswered("unreachable") from None
    except h11.RemoteProtocolError:
        raise Unanswered("not-http") from None


def _exchange(
    sock: socket.socket,
    address: Address,
    body: bytes,
    content_type: str,
    deadline: float,
    most: int,
) -> Answer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES)
    request = h11.Request(
        method="POST",
        target=address.target,
        headers=[
            ("Host", address.authority),
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("User-Agent", "rapport"),
            ("Connection", "close"),
        ],
    )
    sent = (request, h11.Data(data=body), h11.EndOfMessage())
    sock.settimeout(_left(deadline))
    sock.sendall(b"".join(connection.send(event) or b"" for event in sent))
    head: h11.Response | None = None
    received = bytearray()
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                sock.settimeout(_left(deadline))
                connection.receive_data(sock.recv(_READ_BYTES))
            case h11.InformationalResponse():
                continue
            case h11.Response() as response:
                head = response
            case h11.Data(data=data):
                received += data
                if len(received) > most:
                    raise Unanswered("too-long")
            case h11.EndOfMessage() if head is not None:
                return Answer(head.status_code, _content_type(head), bytes(received))
            case _:
                raise Unanswered("not-http")


def _content_type(head: h11.Response) -> str:
    value = next((value for name, value in head.headers if name == b"content-type"), b"")
    return value.split(b";")[0].strip().decode("latin-1").lower()


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
