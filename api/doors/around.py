"""What surrounds every request, whichever way it is answered: its headers, its line in the log."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from threading import Lock
from typing import Final
from uuid import UUID

from api.problems import BodyTooLarge, Fault, HostInvalid

_log = logging.getLogger("rapport.http")

BODY_LIMIT: Final = 1 << 20
"""Bytes; no command needs a tenth of it."""

HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Sent with every answer that does not say otherwise itself."""

# What request.url is made of: anything else would make it raise.
_HOST: Final = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


class Lines:
    """What is logged of requests: lines of one turn of the loop are written together, after it.

    The log knows paths by their templates, and people by their ids.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # each loop has a thread of its own
        self._lines: list[str] = []

    def write(
        self, method: str, path: str, status: int, begun: float, request: str, who: UUID | str
    ) -> None:
        """A request that began then, by `time.monotonic`; of whom, `-`: nobody knows."""
        took = (time.monotonic() - begun) * 1000
        line = f"{method} {path} {status} {took:.1f} ms request {request} principal {who}"
        with self._lock:
            if not self._lines:
                asyncio.get_running_loop().call_soon(self._write)
            self._lines.append(line)

    def _write(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        _log.info("%s", "\n".join(lines))


def fault_of_the_whole(headers: Mapping[bytes, bytes]) -> Fault | None:
    """What is wrong with a host that is none, or a body that says that it is too long."""
    length = headers.get(b"content-length", b"0")
    if _HOST.fullmatch(headers.get(b"host", b"")) is None:
        return HostInvalid()
    if not length.isdigit() or len(length) > 18 or int(length) > BODY_LIMIT:
        return BodyTooLarge(limit=BODY_LIMIT)
    return None
