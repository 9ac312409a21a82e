"""What can be done on a page: a form hands in one command, by the desk that the API's doors use.

Whoever is signed in speaks for themself. A form carries the id of its command, so that sending it
twice records it once (rule 8); it is taken from this site's own pages only (api/doors).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from api.access import DOORS, Principal
from api.doors import Desk, HandsIn, Visit
from domain.access import ReviewAccess
from domain.event import Command
from domain.note import CosignNote, SignNote
from domain.possible_rupture import DismissPossibleRupture
from domain.risk import ReviewRisk
from domain.rupture import LeaveRuptureOpen, ResolveRupture
from domain.supervision import ReviewSupervisionAction

router = APIRouter(include_in_schema=False)

_ID: Final = "command_id"
_NESTED: Final = frozenset({"possible"})
"""Fields that a form carries as JSON, because they are more than a line."""

_FORMS: Mapping[type[Command], str] = {
    DismissPossibleRupture: "#ruptures",
    ResolveRupture: "#ruptures",
    LeaveRuptureOpen: "#ruptures",
    ReviewRisk: "#risk",
    SignNote: "/notes",
    CosignNote: "/notes",
    ReviewSupervisionAction: "/supervision",
    ReviewAccess: "/readers",
}
"""What has a form, and the part of the relationship's pages that shows what came of it."""


def offered(visit: Visit) -> frozenset[str]:
    """The forms this reader is shown: by the access table, and only of today's record."""
    if visit.known_at is not None or visit.happened_by is not None:
        return frozenset()
    return frozenset(kind.name for kind in _FORMS if visit.who.role in DOORS[kind.name].who)


async def _sent(request: Request) -> dict[str, str]:
    """The fields of the form that say something."""
    async with request.form(max_files=0, max_fields=30) as form:
        return {
            name: value for name, value in form.items() if isinstance(value, str) and value.strip()
        }


Sent = Annotated[dict[str, str], Depends(_sent)]


def _add(kind: type[Command], back: str) -> None:
    def hand_in(relationship: UUID, desk: Desk, sent: dict[str, str]) -> Response:
        command_id = _id(sent.pop(_ID, ""))
        command = _command(kind, sent, relationship, desk.who)
        replace(desk, command_id=command_id).record(command)
        return RedirectResponse(f"/relationships/{relationship}{back}", 303)

    hand_in.__annotations__ |= {
        "desk": Annotated[Desk, Depends(HandsIn(kind.name))],
        "sent": Sent,
    }
    router.add_api_route(
        f"/relationships/{{relationship}}/{kind.name}",
        hand_in,
        methods=["POST"],
        name=f"{kind.name}-form",
    )


for _kind, _back in _FORMS.items():
    _add(_kind, _back)


def _command(
    kind: type[Command], sent: Mapping[str, str], relationship: UUID, who: Principal
) -> Command:
    """The command that the form tells; RequestValidationError where something does not fit."""
    told: dict[str, Any] = {**sent, "relationship": relationship}
    if "by" in kind.model_fields:
        told["by"] = who.person
    for name in _NESTED & told.keys():
        told[name] = _read(told[name])
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        raise _unfit(error) from None


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None  # which fits no field


def _unfit(error: ValidationError) -> RequestValidationError:
    return RequestValidationError(
        [
            {**part, "loc": ("body", *part["loc"])}
            for part in error.errors(include_url=False, include_input=False)
        ]
    )


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
