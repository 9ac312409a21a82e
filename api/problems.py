"""Every error as a document: `application/problem+json` (RFC 9457).

A problem says what is wrong and what mends it, with a code for programs and the ids it is about.
It never repeats what was sent: neither text nor values.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from domain.event import Refusal
from projections.view import ViewBehind, ViewNotBuilt

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger("rapport.http")

_RETRY_AFTER_SECONDS = "1"

INVALID = "invalid"
DOES_NOT_FIT = "Something in the request does not fit; errors says what and where."


class FieldError(BaseModel):
    """One thing that does not fit, where it stands, and what would."""

    model_config = ConfigDict(populate_by_name=True)

    place: str = Field(alias="in", examples=["body"])
    """`body`, `query`, `path` or `header`."""
    pointer: str = Field(examples=["/started_at"])
    """JSON pointer (RFC 6901) within that place."""
    code: str = Field(examples=["missing"])
    message: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["urn:rapport:problem:consent-missing"])
    title: str = Field(examples=["Consent missing"])
    status: int = Field(ge=400, le=599)
    detail: str
    code: str = Field(examples=["consent-missing"])
    rule: int | None = Field(default=None, description="The number of the rule that refused.")
    ids: dict[str, str | int] = Field(default_factory=dict)
    errors: list[FieldError] = Field(default_factory=list)
    request_id: UUID


class Fault(Exception):
    """A request that is turned away at the door. Its text holds a code and ids, never content."""

    status: ClassVar[int]
    code: ClassVar[str]
    """The class name in kebab-case."""
    says: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, **ids: UUID | int | str) -> None:
        self.ids = ids
        super().__init__(self.code, ids)

    @property
    def detail(self) -> str:
        """The sentence with its ids filled in."""
        return self.says.format(**self.ids)


class NotAuthenticated(Fault):
    status = 401
    says = "Show a token that is in force: Authorization: Bearer rpt_…"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="rapport"'}


class CrossSiteRequest(Fault):
    status = 403
    says = "A session in a browser is used from this site's own pages only; programs use a token."


class HostInvalid(Fault):
    status = 400
    says = "The Host header names no host."


class BodyTooLarge(Fault):
    status = 413
    says = "The body is larger than {limit} bytes."


class NotJson(Fault):
    status = 415
    says = "Send the body as application/json, in UTF-8."


class MalformedJson(Fault):
    """`reason` is one of a few phrases of our own."""

    status = 400
    says = "The body is no JSON that can be kept: {reason}."


class CursorInvalid(Fault):
    status = 400
    says = "The cursor does not belong to this question: start again without one."


class NotThereYet(Fault):
    """A position that the reader asks to be covered is not, after a short wait.

    No fault of the server's, so none of the 500s: whoever asks may name any position.
    """

    status = 425
    says = "Position {after} is not covered yet: ask again."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": _RETRY_AFTER_SECONDS}


class TooManyDenials(Fault):
    status = 429
    says = "You were turned away too often: nothing is looked at before an hour is over."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "3600"}


class RecordUnavailable(Fault):
    status = 503
    says = "The record cannot be reached at the moment. Nothing was lost: send the request again."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": _RETRY_AFTER_SECONDS}


class ViewInTheMaking(Fault):
    status = 503
    says = "The view {view} is being built from the log for the first time: ask again."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": _RETRY_AFTER_SECONDS}


class Damaged(Fault):
    """What is stored does not open under its key: it was changed behind the product's back."""

    status = 500
    says = "What is stored here was damaged. Those who run this: `rapport verify`, then `rebuild`."


class Unexpected(Fault):
    status = 500
    says = "Something went wrong here. The people who run this find it by the request_id."


ErrorPage = Callable[[Request, Problem, Mapping[str, str]], Response]
"""How pages show a problem to a person: the request, the problem and the headers to send."""


def problem(
    request_id: UUID,
    status: int,
    code: str,
    detail: str,
    *,
    rule: int | None = None,
    ids: Mapping[str, object] | None = None,
    errors: Sequence[FieldError] = (),
) -> Problem:
    """What went wrong, told the same over HTTP and on the command line."""
    told = {name: id_ if isinstance(id_, int) else str(id_) for name, id_ in (ids or {}).items()}
    return Problem(
        type=f"urn:rapport:problem:{code}",
        title=code.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        rule=rule,
        ids=told,
        errors=list(errors),
        request_id=request_id,
    )


def answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    rule: int | None = None,
    ids: Mapping[str, object] | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem as a document, or as a page where a person with a browser asked for one."""
    told = problem(request_id_of(request), status, code, detail, rule=rule, ids=ids, errors=errors)
    page: ErrorPage | None = request.app.state.error_page
    if page is not None and _is_person(request):
        return page(request, told, headers or {})
    return JSONResponse(document(told), status, dict(headers or {}), media_type=MEDIA_TYPE)


def document(told: Problem) -> dict[str, Any]:
    """The problem in JSON, without what it says nothing of."""
    return told.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _is_person(request: Request) -> bool:
    """Somebody who opened one of the pages, and not a program at the API."""
    accepts_pages = "text/html" in request.headers.get("accept", "")
    return accepts_pages and not request.scope["path"].startswith("/api/")


def of_fault(request: Request, fault: Fault) -> Response:
    """The answer to a fault."""
    return answer(
        request, fault.status, fault.code, fault.detail, ids=fault.ids, headers=fault.headers
    )


def of_refusal(request: Request, refusal: Refusal) -> Response:
    """The answer to a refusal: its own status, code, rule and ids."""
    retry = {"Retry-After": _RETRY_AFTER_SECONDS} if refusal.status == 503 else {}
    return answer(
        request,
        refusal.status,
        refusal.code,
        refusal.detail,
        rule=refusal.rule,
        ids=refusal.ids,
        headers=retry,
    )


def of(request: Request, error: Exception) -> Response:
    """The answer to an exception that `install` knows by its kind; any other is raised again."""
    for kind in type(error).__mro__[: -len(Exception.__mro__)]:
        handler: Callable[[Request, Exception], Response] | None
        handler = request.app.exception_handlers.get(kind)
        if handler is not None:
            return handler(request, error)
    raise error


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Validation errors without what was sent."""
    return [
        FieldError(
            place=str(error["loc"][0]),
            pointer="".join(f"/{_escaped(part)}" for part in error["loc"][1:]),
            code=str(error["type"]),
            message=_as_json(_without_value(str(error["type"]), str(error["msg"]))),
        )
        for error in errors
    ]


def _escaped(part: object) -> str:
    return str(part)[:200].replace("~", "~0").replace("/", "~1")


_JSON_WORDS = {
    "valid dictionary or object to extract fields from": "JSON object",
    "valid dictionary": "JSON object",
    "valid tuple": "JSON list",
    "Tuple": "The list",
}
"""What pydantic calls by Python's names, as the sender knows it."""


def _as_json(message: str) -> str:
    for python, json in _JSON_WORDS.items():
        message = message.replace(python, json)
    return message


def _without_value(code: str, message: str) -> str:
    """Messages of parsers end in what they stumbled over; that part is left out."""
    return message.split(", ", maxsplit=1)[0] if code.endswith(("_parsing", "_type")) else message


def request_id_of(request: Request) -> UUID:
    """The id under which this request stands in the log."""
    request_id: UUID = request.state.request_id
    return request_id


def install(
    app: FastAPI,
    unavailable: Sequence[type[Exception]],
    damaged: Sequence[type[Exception]],
) -> None:
    """Turns every exception that is answered into its problem.

    `unavailable`: what the parts behind the doors raise while they cannot be reached; `damaged`:
    what they raise where stored bytes are no longer what they were.
    """

    def fault(request: Request, error: Exception) -> Response:
        assert isinstance(error, Fault)
        return of_fault(request, error)

    def refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return of_refusal(request, error)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, 422, INVALID, DOES_NOT_FIT, errors=field_errors(error.errors()))

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "-")
        detail = f"{phrase}. What there is stands in /openapi.json."
        return answer(request, error.status_code, code, detail, headers=error.headers)

    def behind(request: Request, error: Exception) -> Response:
        assert isinstance(error, ViewBehind)
        return of_fault(request, NotThereYet(after=error.position))

    def building(request: Request, error: Exception) -> Response:
        return of_fault(request, ViewInTheMaking(view=str(error)))

    def broken(request: Request, error: Exception) -> Response:
        _log.error("sealed content does not open: %s", type(error).__name__)
        return of_fault(request, Damaged())

    def gone(request: Request, error: Exception) -> Response:
        return of_fault(request, RecordUnavailable())

    async def unexpected(request: Request, error: Exception) -> Response:
        return of_fault(request, Unexpected())  # it is raised again, and logged by where it was

    app.add_exception_handler(Fault, fault)
    app.add_exception_handler(Refusal, refusal)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ViewBehind, behind)
    app.add_exception_handler(ViewNotBuilt, building)
    app.add_exception_handler(Exception, unexpected)
    for kind in unavailable:
        app.add_exception_handler(kind, gone)
    for kind in damaged:
        app.add_exception_handler(kind, broken)
