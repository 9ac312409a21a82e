"""Commands that are plainly whole are answered at the connection, past all that an application has.

The framework's way through tasks, layers, routes and dependencies costs more than to record a
command. Whatever has anything unusual about it takes that way, and is told there what does not
fit; whatever comes of a command but its receipt is told there too.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import ValidationError

from api.doors import House, Slip, Tray, stated
from api.doors.around import HEADERS, Lines, fault_of_the_whole
from api.problems import MalformedJson
from api.routes.body import parse
from api.routes.command import location, written
from domain.event import Command
from domain.ids import new_id
from domain.records import Receipt

_BEARER: Final = re.compile(rb"Bearer (rpt_[0-9A-Za-z_-]+)")
_ID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VERSION: Final = re.compile(rb'"(0|[1-9][0-9]{0,14})"')
_ALWAYS: Final = b"".join(b"%b: %b\r\n" % pair for pair in HEADERS)


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a request for a command says."""

    route: APIRoute
    kind: type[Command]
    token: str
    command_id: UUID | None
    version: int | None


@dataclass(slots=True)
class Asked:
    """A command that is being recorded."""

    route: APIRoute
    slip: Slip
    receipt: "asyncio.Future[Receipt]"
    request_id: UUID
    begun: float
    """By `time.monotonic`."""


class Straight:
    """Takes in what goes straight, and writes the answer to it."""

    def __init__(self, app: FastAPI, routes: Mapping[str, tuple[APIRoute, type[Command]]]) -> None:
        """`routes`: by their paths."""
        self._house: House = app.state.house
        self._tray: Tray[Slip, Receipt] = app.state.tray
        self._routes = {path.encode(): found for path, found in routes.items()}
        self._lines = Lines()

    def __contains__(self, url: object) -> bool:
        return url in self._routes

    def head(self, url: bytes, headers: Mapping[bytes, bytes]) -> Head | None:
        """What the head of a request says that is posted there; None where it is unusual.

        `headers`: by their names in small letters, each of which came once.
        """
        bearer = _BEARER.fullmatch(headers.get(b"authorization", b""))
        id_, version = headers.get(b"idempotency-key"), headers.get(b"if-match")
        usual = (
            headers.get(b"content-type") == b"application/json"
            and (id_ is None or _ID.fullmatch(id_))
            and (version is None or _VERSION.fullmatch(version))
        )
        if bearer is None or not usual or fault_of_the_whole(headers):
            return None
        return Head(
            *self._routes[url],
            bearer[1].decode(),
            None if id_ is None else UUID(id_.decode()),
            None if version is None else stated(version.decode()),
        )

    def ask(self, head: Head, body: bytes) -> Asked | None:
        """The command of that body, on its way; None where anything about it is unusual."""
        begun = time.monotonic()
        try:
            command = head.kind.model_validate(parse(body))
        except (MalformedJson, ValidationError):
            return None
        slip = Slip(self._house, head.token, command, head.command_id, head.version)
        return Asked(head.route, slip, self._tray.lay(slip), new_id(), begun)

    def answer(self, asked: Asked) -> tuple[bytes, bytes]:
        """The lines of the answer's headers, and its body; raises what there is but a receipt."""
        receipt = asked.receipt.result()
        body, request = written(receipt), str(asked.request_id)
        head = (
            b"location: %b\r\ncontent-length: %d\r\ncontent-type: application/json\r\n"
            b"%bx-request-id: %b\r\n"
            % (location(receipt).encode(), len(body), _ALWAYS, request.encode())
        )
        path, who = asked.route.path, asked.slip.who
        self._lines.write(
            "POST", path, 201, asked.begun, request, "-" if who is None else who.person
        )
        return head, body

    def told(self, asked: Asked, error: Exception) -> dict[str, Any]:
        """What the application finds in its scope, to answer with what came of the command."""
        state = {"request_id": asked.request_id, "begun": asked.begun, "error": error}
        if asked.slip.who is not None:
            state["principal"] = asked.slip.who.person
        return {"route": asked.route, "state": state}
