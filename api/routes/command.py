"""Commands: the body *is* the command, the answer is its receipt."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Self
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api.doors import Blank, LaysDown, ShowsReceipt, require_admitted
from api.routes.body import JsonRoute
from domain.event import Command, Model
from domain.records import Receipt

PREFIX = "/api/v1"

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    json.loads(Path(__file__).with_name("examples.json").read_text(encoding="utf-8"))
)
"""A whole body of each command, as the contract and `rapport record --example` show it."""


class EntryReceipt(Model):
    """Where one entry stands."""

    stream: str
    version: int
    position: int
    leaf_hash: str
    """RFC 6962 leaf hash in hex."""
    proof: str
    """That the log contains it, as a `.tlog-proof` (c2sp.org/tlog-proof)."""


class ReceiptDocument(Model):
    """What an acknowledged command is answered with; the same id gives the same again."""

    command_id: UUID
    recorded_at: datetime
    entries: list[EntryReceipt]
    tree_size: int
    root: str
    """Root of the clinic's log, in hex, at `tree_size`."""
    checkpoint: str
    """The same, signed by the log's key (c2sp.org/tlog-checkpoint)."""

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        return cls(
            command_id=receipt.command_id,
            recorded_at=receipt.recorded_at,
            entries=[
                EntryReceipt(
                    stream=str(entry.stream),
                    version=entry.version,
                    position=entry.position,
                    leaf_hash=entry.leaf_hash,
                    proof=entry.proof,
                )
                for entry in receipt.entries
            ],
            tree_size=receipt.tree_size,
            root=receipt.root,
            checkpoint=receipt.checkpoint,
        )


def written(receipt: Receipt) -> bytes:
    """Its `ReceiptDocument` in JSON, without making that first."""
    document = {
        "command_id": receipt.command_id,
        "recorded_at": receipt.recorded_at,
        "entries": [
            {
                "stream": str(entry.stream),
                "version": entry.version,
                "position": entry.position,
                "leaf_hash": entry.leaf_hash,
                "proof": entry.proof,
            }
            for entry in receipt.entries
        ],
        "tree_size": receipt.tree_size,
        "root": receipt.root,
        "checkpoint": receipt.checkpoint,
    }
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def location(receipt: Receipt) -> str:
    """Where the receipt is found again."""
    return f"{PREFIX}/commands/{receipt.command_id}/receipt"


def acknowledged(receipt: Receipt) -> Response:
    """The answer to a command that was recorded."""
    return Response(written(receipt), 201, {"Location": location(receipt)}, "application/json")


class CommandRoute(JsonRoute):
    """The route of one kind of command, by whose name it goes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                # The token is looked at with the command; what does not fit is none. Whoever may
                # not use this door is not told so much.
                await require_admitted(request, self.name)
                raise

        return handler


def concept(tag: str) -> APIRouter:
    """A router for the doors of one concept."""
    return APIRouter(prefix=PREFIX, tags=[tag], route_class=JsonRoute)


STRAIGHT: Final[dict[str, tuple[APIRoute, type[Command]]]] = {}
"""The route of each kind of command, by its path."""


def accept(router: APIRouter, *kinds: type[Command]) -> None:
    """Opens a door for each kind of command: `POST /api/v1/commands/<name>`."""
    for kind in kinds:
        router.add_api_route(
            f"/commands/{kind.name}",
            _endpoint(kind),
            methods=["POST"],
            route_class_override=CommandRoute,
            response_model=ReceiptDocument,
            status_code=201,
            name=kind.name,
            summary=kind.name.replace("-", " ").capitalize(),
            description=kind.__doc__ if "__doc__" in kind.__dict__ else None,
            response_description="Recorded",
            openapi_extra=_shown(EXAMPLES[kind.name]),
        )
        route = router.routes[-1]
        assert isinstance(route, CommandRoute), "it was added just now"
        STRAIGHT[route.path] = (route, kind)


def _shown(example: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"example": dict(example)}}}}


def _endpoint(kind: type[Command]) -> Callable[..., Awaitable[Response]]:
    async def record(command: Command, blank: Blank) -> Response:
        return acknowledged(await blank.record(command))

    record.__annotations__ |= {
        "command": kind,
        "blank": Annotated[Blank, Depends(LaysDown(kind.name))],
    }
    return record


router = concept("commands")


@router.get("/commands/{command_id}/receipt", summary="The receipt of a command")
def receipt(found: Annotated[Receipt, Depends(ShowsReceipt("receipt"))]) -> ReceiptDocument:
    """What a command was acknowledged with: for whoever gave it, and for compliance officers."""
    return ReceiptDocument.of(found)
