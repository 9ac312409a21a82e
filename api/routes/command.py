"""Commands: the body *is* the command, the answer is its receipt."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from api.doors import Desk, HandsIn, ShowsReceipt
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


def concept(tag: str) -> APIRouter:
    """A router for the doors of one concept."""
    return APIRouter(prefix=PREFIX, tags=[tag], route_class=JsonRoute)


def accept(router: APIRouter, *kinds: type[Command]) -> None:
    """Opens a door for each kind of command: `POST /api/v1/commands/<name>`."""
    for kind in kinds:
        router.add_api_route(
            f"/commands/{kind.name}",
            _endpoint(kind),
            methods=["POST"],
            status_code=201,
            name=kind.name,
            summary=kind.name.replace("-", " ").capitalize(),
            description=kind.__doc__ if "__doc__" in kind.__dict__ else None,
            response_description="Recorded",
            openapi_extra=_shown(EXAMPLES[kind.name]),
        )


def _shown(example: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"example": dict(example)}}}}


def _endpoint(kind: type[Command]) -> Callable[..., ReceiptDocument]:
    def record(command: Command, desk: Desk, response: Response) -> ReceiptDocument:
        receipt = desk.record(command)
        response.headers["Location"] = f"{PREFIX}/commands/{receipt.command_id}/receipt"
        return ReceiptDocument.of(receipt)

    record.__annotations__ |= {
        "command": kind,
        "desk": Annotated[Desk, Depends(HandsIn(kind.name))],
    }
    return record


router = concept("commands")


@router.get("/commands/{command_id}/receipt", summary="The receipt of a command")
def receipt(found: Annotated[Receipt, Depends(ShowsReceipt("receipt"))]) -> ReceiptDocument:
    """What a command was acknowledged with: for whoever gave it, and for compliance officers."""
    return ReceiptDocument.of(found)
