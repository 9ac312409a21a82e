"""Commands that are plainly whole go straight to the tray.

The framework's way through routes and dependencies costs more than to record a command. Whatever
has anything unusual about it takes that way, and is told there what does not fit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.doors import Slip, lay_down, stated
from api.problems import MalformedJson
from api.routes.body import parse
from api.routes.command import location, written
from domain.event import Command

_BEARER: Final = re.compile(rb"Bearer (rpt_[0-9A-Za-z_-]+)")
_ID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VERSION: Final = re.compile(rb'"(0|[1-9][0-9]{0,14})"')


@dataclass(frozen=True, slots=True)
class Straight:
    """Answers what goes straight; hands everything else on to `app`."""

    app: ASGIApp
    routes: Mapping[str, tuple[APIRoute, type[Command]]]
    """By their paths."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.routes.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        scope["route"], kind = found
        try:
            first = await receive()
            slip = _slip(scope, first, kind)
            receipt = None if slip is None else await lay_down(scope, slip)
        except Exception as error:
            await problems.of(Request(scope, receive), error)(scope, receive, send)
            return
        if receipt is None:
            await self.app(scope, _again(first, receive), send)
            return
        body = written(receipt)
        headers = [
            (b"location", location(receipt).encode()),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _again(first: Message, receive: Receive) -> Receive:
    """What was received already, and then what is to come."""
    received = [first]

    async def again() -> Message:
        return received.pop() if received else await receive()

    return again


def _slip(scope: Scope, message: Message, kind: type[Command]) -> Slip | None:
    """The command as it was sent; None where there is anything unusual about it."""
    headers = dict(scope["headers"])
    bearer = _BEARER.fullmatch(headers.get(b"authorization", b""))
    id_, version = headers.get(b"idempotency-key"), headers.get(b"if-match")
    usual = (
        message["type"] == "http.request"
        and not message.get("more_body", False)
        and len(headers) == len(scope["headers"])
        and headers.get(b"content-type") == b"application/json"
        and (id_ is None or _ID.fullmatch(id_))
        and (version is None or _VERSION.fullmatch(version))
    )
    if bearer is None or not usual:
        return None
    try:
        command = kind.model_validate(parse(message["body"]))
    except (MalformedJson, ValidationError):
        return None
    return Slip(
        scope["app"].state.house,
        bearer[1].decode(),
        command,
        None if id_ is None else UUID(id_.decode()),
        None if version is None else stated(version.decode()),
    )
