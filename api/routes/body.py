"""Bodies, read strictly: what JSON allows and a record cannot keep is turned away here."""

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.problems import MalformedJson, NotJson

DEEPEST = 32
"""Levels of nesting; no command needs five."""


class JsonRoute(APIRoute):
    """A route whose body, where it takes one, is strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            body = await request.body() if self.body_field is not None else b""
            if body:
                _require_json(request.headers.get("content-type", ""))
                # What Request.json() would find itself, but strictly.
                request._json = parse(body)
            return await handle(request)

        return handler


def _require_json(content_type: str) -> None:
    kind, _, parameters = content_type.lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if kind.strip() != "application/json" or charset not in ("", "charset=utf-8"):
        raise NotJson


def parse(body: bytes) -> object:
    """The value of a JSON text; MalformedJson also for what another reader would read otherwise.

    Such are: a name twice in one object, NaN, numbers beyond 64 bits, lone surrogates, and more
    than `DEEPEST` levels.
    """
    try:
        value: object = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse("it is not UTF-8")
    except json.JSONDecodeError as error:
        _refuse(f"it breaks off or errs at line {error.lineno}, column {error.colno}")
    except RecursionError:
        _refuse("it is nested too deeply")
    # Seldom is there an escape that may stand for half a character, or so much that may be deep.
    if b"\\u" in body or body.count(b"[") + body.count(b"{") >= DEEPEST:
        _look_through(value)
    return value


def _refuse(reason: str) -> NoReturn:
    raise MalformedJson(reason=reason) from None


def _each_name_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse("an object has a name twice")
    return found


def _whole(digits: str) -> int:
    # The length first: turning a million digits into a number takes minutes.
    if len(digits) > 20 or not -(2**63) <= (number := int(digits)) < 2**63:
        _refuse("a whole number is beyond 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse("a number is too large")
    return number


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_each_name_once,
    parse_constant=lambda _: _refuse("NaN and Infinity are no numbers"),
    parse_int=_whole,
    parse_float=_finite,
)


def _look_through(value: object) -> None:
    """Level by level, so that depth costs no recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            _refuse("it is nested too deeply")
        below: list[object] = []
        for part in level:
            if isinstance(part, dict):
                below += part.keys()
                below += part.values()
            elif isinstance(part, list):
                below += part
            elif isinstance(part, str) and not part.isascii():
                _require_whole_characters(part)
        level = below


def _require_whole_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        _refuse("a text holds half a character (a lone surrogate)")
