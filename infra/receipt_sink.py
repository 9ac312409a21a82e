"""Where receipts go so that nobody who can change this host can change them too.

A receipt of the newest entry covers every entry before it, so one now and then is enough: what is
in other hands cannot be taken back (docs/operate/receipts.md). It goes to a folder (on another
machine, or written once only), to somebody's mailbox, or to an address that takes it by POST.
"""

import os
import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from infra.outward import Address, AddressUnusable, Unanswered, post

MEDIA_TYPE: Final = "text/plain; charset=utf-8"

_SECONDS: Final = 30.0
_ANSWER_BYTES: Final = 64 * 1024
_SUBMISSION: Final = 587
_SUBMISSIONS: Final = 465
_ACCEPTED: Final = range(200, 300)


class Sink(Protocol):
    """Somewhere receipts are handed to."""

    @property
    def name(self) -> str:
        """What it is called in messages: no password, no person's address."""
        ...

    def deliver(self, file: str, receipt: str) -> None:
        """Hands over a `.tlog-proof` under that file's name; raises `Unanswered` with a code.

        The same may come twice: one that was cut short comes again.
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderSink:
    """`file:///…`: a folder of this machine's file system, best one that is not on its disks."""

    folder: Path

    @property
    def name(self) -> str:
        return f"folder {self.folder}"

    def deliver(self, file: str, receipt: str) -> None:
        """Raises `Unanswered`: `no-folder`, `not-written`, or `another` where a file of that name
        holds something else."""
        if not self.folder.is_dir():  # a disk that is not mounted: its mount point is no sink
            raise Unanswered("no-folder")
        place = self.folder / file
        draft = self.folder / f".{file}.{os.getpid()}"
        try:
            if place.exists():
                self._require_same(place, receipt)
                return
            with draft.open("x", encoding="utf-8") as written:
                written.write(receipt)
                written.flush()
                os.fsync(written.fileno())
            draft.rename(place)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise Unanswered("not-written") from None

    @staticmethod
    def _require_same(place: Path, receipt: str) -> None:
        if place.read_bytes() != receipt.encode():
            raise Unanswered("another")


@dataclass(frozen=True, slots=True)
class HttpSink:
    """`https://…`: an address that answers a POST with any 2xx."""

    address: Address

    @property
    def name(self) -> str:
        return f"https {self.address.authority}"

    def deliver(self, file: str, receipt: str) -> None:
        """Raises `Unanswered`: the codes of `infra.outward`, or `status-<number>`."""
        answer = post(
            self.address, receipt.encode(), MEDIA_TYPE, seconds=_SECONDS, most=_ANSWER_BYTES
        )
        if answer.status not in _ACCEPTED:
            raise Unanswered(f"status-{answer.status}")


@dataclass(frozen=True, slots=True)
class MailSink:
    """`smtp://host[:port]/to@…?from=sender@…`, or `smtps://`: a mailbox that somebody else keeps.

    A user and password may stand before the host; they are sent over TLS only.
    """

    host: str
    port: int
    recipient: str = field(repr=False)
    sender: str = field(repr=False)
    implicit_tls: bool
    login: tuple[str, str] | None = field(repr=False)

    @property
    def name(self) -> str:
        return f"mail by {self.host}"

    def deliver(self, file: str, receipt: str) -> None:
        """Raises `Unanswered`: `unreachable`, `tls`, `no-tls`, or `not-accepted`."""
        message = EmailMessage()
        message["From"], message["To"] = self.sender, self.recipient
        message["Subject"] = f"Receipt {file}"
        message.set_content(
            "Keep this message. The attached receipt proves what the record contained when it was "
            "sent; `rapport verify --receipt` holds the record against it."
        )
        message.add_attachment(receipt, filename=file)
        try:
            with self._connected() as server:
                if self.login is not None:
                    server.login(*self.login)
                server.send_message(message)
        except ssl.SSLError:
            raise Unanswered("tls") from None
        except smtplib.SMTPException:
            raise Unanswered("not-accepted") from None
        except OSError:
            raise Unanswered("unreachable") from None

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.implicit_tls:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=_SECONDS, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=_SECONDS)
        try:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
            elif self.login is not None:
                raise Unanswered("no-tls")
        except BaseException:
            server.close()
            raise
        return server


def parse_sink(text: str) -> Sink:
    """The sink that a URL names; raises `AddressUnusable`, which does not repeat it."""
    parts = urlsplit(text)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        if parts.netloc or not folder.is_absolute():
            raise AddressUnusable("names no folder: write file:///path/of/folder")
        return FolderSink(folder)
    if parts.scheme in {"smtp", "smtps"}:
        return _mail(text)
    return HttpSink(Address.parse(text))


def _mail(text: str) -> MailSink:
    parts = urlsplit(text)
    recipient = unquote(parts.path.removeprefix("/"))
    sender = parse_qs(parts.query).get("from", [recipient])[0]
    try:
        port = parts.port
    except ValueError:
        raise AddressUnusable("is no valid URL") from None
    for address in (recipient, sender):
        if address.count("@") != 1 or not address.isprintable() or " " in address:
            raise AddressUnusable("names no mailbox: write smtp://host/to@example.org")
    if not parts.hostname:
        raise AddressUnusable("names no mail server")
    secure = parts.scheme == "smtps"
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return MailSink(
        parts.hostname,
        port or (_SUBMISSIONS if secure else _SUBMISSION),
        recipient,
        sender,
        secure,
        login,
    )
