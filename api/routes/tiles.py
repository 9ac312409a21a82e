"""The log for whoever verifies it: c2sp.org/tlog-tiles, and proofs of single entries.

Checkpoints and hash tiles need no token: every leaf is salted, so they hold nothing to guess at.
They are served only where that is configured, under the log's opaque id. docs/formats/log.md.
"""

import gzip
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.doors import ReadsClinic, Visit
from api.doors.published import ReadsBundle, Served, served, there
from api.problems import MEDIA_TYPE
from api.routes.command import concept
from domain.event import Model

router = APIRouter()
_tiles = APIRouter(prefix="/log/{log_id}", tags=["log"])
_proofs = concept("log")

TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_BY_THE_SECOND: Final = {"Cache-Control": "no-cache"}
_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
"""A tile never changes, not even one that a later tile has outgrown."""
_OPEN_TO_PROGRAMS: Final = {"Cross-Origin-Resource-Policy": "cross-origin"}


def _answers(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {media_type: {"schema": {"type": "string"}}}, "description": description},
        404: {
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "description": "No such log is served here, or there is no such thing in it",
        },
    }


@_tiles.get(
    "/checkpoint",
    name="log-checkpoint",
    response_class=Response,
    responses=_answers("text/plain", "A signed note"),
)
def checkpoint(log: Served) -> Response:
    """The signed head of the log (c2sp.org/tlog-checkpoint), with its witnesses' cosignatures."""
    headers = _BY_THE_SECOND | _OPEN_TO_PROGRAMS
    return Response(log.checkpoint(), media_type=TEXT, headers=headers)


@_tiles.get(
    "/tile/entries/{path:path}",
    name="log-bundle",
    dependencies=[Depends(served)],
    response_class=Response,
    responses=_answers(_BYTES, "Leaf inputs, each after its length in two bytes"),
)
def bundle(
    request: Request,
    path: Annotated[str, Path(description="`<N>[.p/<W>]` of c2sp.org/tlog-tiles.")],
    visit: Annotated[Visit, Depends(ReadsBundle("log-entries"))],
) -> Response:
    """Leaf inputs of up to 256 entries (c2sp.org/tlog-tiles): envelopes, never content.

    Each reading is an entry of the log, so an answer is not to be kept by caches.
    """
    found = there(visit.house.published.entries(f"tile/entries/{path}"))
    return _compressed(found, request.headers.get("accept-encoding", ""))


def _compressed(data: bytes, accepted: str) -> Response:
    """Compressed for whoever accepts it: envelopes say much the same again and again."""
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in accepted:
        data, headers["Content-Encoding"] = gzip.compress(data, mtime=0), "gzip"
    return Response(data, media_type=_BYTES, headers=headers)


@_tiles.get(
    "/tile/{path:path}",
    name="log-tile",
    response_class=Response,
    responses=_answers(_BYTES, "Up to 256 hashes of 32 bytes"),
)
def tile(
    log: Served,
    path: Annotated[str, Path(description="`<L>/<N>[.p/<W>]` of c2sp.org/tlog-tiles.")],
) -> Response:
    """Hashes of the Merkle tree (c2sp.org/tlog-tiles), as far as the checkpoint reaches."""
    found = there(log.tile(f"tile/{path}"))
    return Response(found, media_type=_BYTES, headers=_FOR_EVER | _OPEN_TO_PROGRAMS)


# --- Single proofs --------------------------------------------------------------------------

Position = Annotated[int, Path(ge=1, lt=2**53, description="The entry's position in the log.")]
Size = Annotated[int, Query(ge=0, lt=2**53, description="Entries.")]


class ConsistencyDocument(Model):
    """That the first `new` entries of the log begin with the first `old`. Hashes are in hex."""

    old: int
    old_root: str
    new: int
    new_root: str
    path: list[str]
    """The proof of RFC 6962, section 2.1.2."""


@_proofs.get(
    "/log/entries/{position}/proof",
    response_class=Response,
    responses=_answers("text/plain", "A `.tlog-proof`"),
)
def proof(
    position: Position, visit: Annotated[Visit, Depends(ReadsClinic("log-proof"))]
) -> Response:
    """That the log contains the entry (c2sp.org/tlog-proof); whoever has the log's key can check it
    without us."""
    return Response(there(visit.house.published.proof(position)), media_type=TEXT)


@_proofs.get("/log/consistency")
def consistency(
    old: Size, new: Size, visit: Annotated[Visit, Depends(ReadsClinic("log-consistency"))]
) -> ConsistencyDocument:
    """That the log only grew between two sizes."""
    found = there(visit.house.published.consistency(old, new))
    return ConsistencyDocument(
        old=found.old,
        old_root=found.old_root.hex(),
        new=found.new,
        new_root=found.new_root.hex(),
        path=[each.hex() for each in found.path],
    )


router.include_router(_tiles)
router.include_router(_proofs)
