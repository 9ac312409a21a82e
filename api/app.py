"""The application: every route, what surrounds them all, and the contract in /openapi.json.

`rapport serve` runs it: `uvicorn.run(create_app(service), access_log=False, server_header=False)`.
"""

import logging
import time
import traceback
from collections.abc import Iterator
from importlib import metadata
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import composition, pages, problems
from api.access import DOORS
from api.composition import Service
from api.doors import Entrance, Tray, recorded
from api.doors.around import BODY_LIMIT, HEADERS, Lines, fault_of_the_whole
from api.problems import BodyTooLarge, Problem, Unexpected
from api.routes import ROUTERS
from api.routes.command import STRAIGHT
from api.routes.straight import Straight
from domain.ids import new_id

_log = logging.getLogger("rapport.http")

OPEN: Final = frozenset(
    {"live", "ready", "openapi", "sign-in", "sign-out", "static", "log-checkpoint", "log-tile"}
)
"""The routes, by name, that need no entrance: they show nothing of the record, only how long it is
where that is configured."""


class DoorMissing(Exception):
    """A route has no entrance and is not open: the app does not start. Its text is the route."""


class _Application(FastAPI):
    """Surrounds what it answers, past all that the framework has around its routes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # FastAPI would ask at each request whether its measuring is on.
        kind = Starlette if scope["type"] == "http" else FastAPI
        await kind.__call__(self, scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        return Surroundings(super().build_middleware_stack())


def create_app(service: Service) -> FastAPI:
    """The web application of one clinic; raises DoorMissing."""
    app = _Application(
        title="Rapport",
        summary="A tamper-evident record of the therapeutic relationship.",
        version=metadata.version("rapport-record"),
        # Their pages fetch scripts from other sites.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # What is sent here is told to nobody else.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.house = composition.house(service)
    app.state.tray = Tray(recorded)
    app.state.straight = Straight(app, STRAIGHT)
    app.state.error_page = pages.error_page
    problems.install(app, composition.UNAVAILABLE, composition.DAMAGED)
    for router in ROUTERS:
        # Each states its own prefix and tags. Included, it would be looked through twice.
        app.router.routes.extend(router.routes)
    app.include_router(pages.router)
    require_doors(app)
    app.openapi = lambda: contract(app)  # type: ignore[method-assign]
    return app


# --- Deny by default ------------------------------------------------------------------------


def require_doors(app: FastAPI) -> None:
    """DoorMissing if a route has no entrance and is not on the list of those that are open."""
    for route in iter_route_contexts(app.routes):
        if route.name not in OPEN and not list(doors_of(route)):
            raise DoorMissing(f"{route.path} ({route.name})")


def doors_of(route: RouteContext) -> Iterator[str]:
    """The doors of api/access.py that a route leads through."""
    return _doors_of(getattr(route, "dependant", None))


def _doors_of(dependant: Dependant | None) -> Iterator[str]:
    if dependant is None:
        return
    if isinstance(dependant.call, Entrance):
        yield dependant.call.door
    for below in dependant.dependencies:
        yield from _doors_of(below)


# --- What surrounds every request -----------------------------------------------------------


class Surroundings:
    """Gives each request an id and a limit, each answer its headers, the log one line.

    The log knows paths by their templates, and people by their ids. What nobody foresaw is
    logged by where it happened, without its message: that may hold what somebody wrote.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._lines = Lines()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # What went straight, and is no receipt, is told here: api/routes/straight.py.
        state = scope.setdefault("state", {})
        request_id = state.setdefault("request_id", new_id())
        begun, told, status = state.get("begun", time.monotonic()), state.get("error"), 0
        identified = str(request_id)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                own = {name.lower() for name, _ in headers}
                more = [pair for pair in HEADERS if pair[0] not in own]
                message["headers"] = [*headers, *more, (b"x-request-id", identified.encode())]
            await send(message)

        try:
            fault = fault_of_the_whole(dict(scope["headers"]))
            if told is not None:
                await problems.of(Request(scope, receive), told)(scope, receive, answer)
            elif fault is None:
                await self._app(scope, _bounded(receive), answer)
            else:
                await problems.of_fault(Request(scope), fault)(scope, receive, answer)
        except Exception as error:  # whatever it is, the answer is a problem, and nothing leaks
            _log.error("request %s: %s", request_id, where(error))
            if not status:
                response = problems.of_fault(Request(scope), Unexpected())
                await response(scope, receive, answer)
        finally:
            path, who = getattr(scope.get("route"), "path", "-"), state.get("principal", "-")
            self._lines.write(scope["method"], path, status, begun, identified, who)


def _bounded(receive: Receive) -> Receive:
    """A body of `BODY_LIMIT` bytes, however it is sent; then BodyTooLarge."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > BODY_LIMIT:
            raise BodyTooLarge(limit=BODY_LIMIT)
        return message

    return counted


def where(error: BaseException) -> str:
    """An exception by its kind and the places it passed, without its message."""
    places = traceback.extract_tb(error.__traceback__)
    path = " < ".join(f"{place.name}:{place.lineno}" for place in reversed(places))
    return f"{type(error).__name__} at {path}"


# --- The contract ---------------------------------------------------------------------------

_PROBLEM: Final = {
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
}
_TITLES: Final = {
    400: "The body cannot be read, or the cursor is not of this question",
    401: "No token in force",
    403: "Not for this role",
    404: "Not there, or not within reach",
    409: "Against the state of the record",
    412: "The stream is at another version",
    413: "The body is too large",
    415: "The body is no JSON",
    422: "Something does not fit",
    429: "Turned away too often: not heard for an hour",
    425: "The position asked for is not covered yet: ask again",
    500: "A fault of ours",
    503: "Not now: ask again",
}


def contract(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: with who may use each route, and every problem it may answer with."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        schemas = document["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        problem = Problem.model_json_schema(
            mode="serialization", ref_template="#/components/schemas/{model}"
        )
        schemas |= {**problem.pop("$defs"), "Problem": problem}
        for route in iter_route_contexts(app.routes):
            path = str(route.path).replace(":path}", "}")
            for method in route.methods or ():
                operation = document["paths"].get(path, {}).get(method.lower())
                if operation is not None:
                    _complete(operation, list(doors_of(route)))
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], doors: list[str]) -> None:
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _never_null(parameter["schema"])
    operation["responses"].pop("422", None)
    for status in _statuses(operation, behind_a_door=bool(doors)):
        operation["responses"].setdefault(str(status), {"description": _TITLES[status], **_PROBLEM})
    for door in doors:
        who = ", ".join(f"{role} ({reach})" for role, reach in DOORS[door].who.items())
        operation["description"] = f"{operation.get('description', '')}\n\nFor: {who}.".strip()


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or is left out; there is no null in a header or a query."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    return {**options[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _statuses(operation: dict[str, Any], *, behind_a_door: bool) -> set[int]:
    """The problems that an operation may answer with."""
    if not behind_a_door:
        return {500, 503}
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    found = {401, 403, 429, 500, 503}
    if places:
        found |= {422}
    if "path" in places:
        found |= {404}
    if "cursor" in names:
        found |= {400}
    if "after" in names:
        found |= {425}
    if "requestBody" in operation:
        found |= {400, 404, 413, 415, 422}
    if "If-Match" in names:
        found |= {409, 412}
    return found
