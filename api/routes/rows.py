"""Rows of views as documents: every value with the entry that established it.

A document's shape is made from the row's own fields, so that the contract cannot say anything else
than the view does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from itertools import islice
from operator import itemgetter
from types import GenericAlias
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

import orjson
from fastapi import Response
from pydantic import BaseModel, Field, create_model
from pydantic_core import to_jsonable_python

from api.doors import Visit, Withheld
from domain.event import Erased, Model
from projections.alliance_course import Scored
from projections.view import Cell, Reading, Ref, Row, Together

T = TypeVar("T")
R = TypeVar("R", bound=Row)


class EntryDocument(Model):
    """The entry that established a value."""

    position: int
    version: int
    amended_at: Annotated[
        int | None, Field(description="Position of the correction through which it reads so.")
    ] = None


class CellDocument(Model, Generic[T]):
    """A value, or why there is none to see."""

    value: T | None
    erased: bool = False
    """Its key was destroyed."""
    withheld: bool = False
    """It is there, and not for this reader."""
    entry: EntryDocument


class Parked(Model):
    """This relationship could not be folded: the view goes on without it."""

    position: int
    code: str


class ViewDocument(Model):
    """What is told of every view that is shown."""

    view: str
    view_version: int
    position: int
    """Of the last entry of the log that it covers (rule 7)."""
    next: str | None
    """The cursor of the next page."""


@cache
def document_of(kind: Any) -> type[BaseModel]:
    """The model of a row's document."""
    hints = get_type_hints(kind, include_extras=True)
    shape: dict[str, Any] = {name: _field(hints[name]) for name in _names(kind)}
    return create_model(
        f"{kind.__name__}Document",
        __base__=Model,
        __doc__=kind.__doc__,
        version=(int, Field(description="Of the entry that opened the row, in its stream.")),
        **shape,
    )


@cache
def page_document_of(kind: Any) -> type[BaseModel]:
    """The model of a page of rows of one relationship."""
    return create_model(
        f"{kind.__name__}PageDocument",
        __base__=ViewDocument,
        items=(listed(document_of(kind)), ...),
        parked=(Parked | None, None),
    )


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def optional(kind: Any) -> Any:
    """What is known only at run time, or nothing."""
    return kind | None


def listed(kind: Any) -> Any:
    """A list of what is known only at run time."""
    return GenericAlias(list, (kind,))


def _field(hint: Any) -> Any:
    """A field of the document for a cell, for a cell that may be missing, or for several cells."""
    document: Any = CellDocument.__class_getitem__(get_args(_cell_in(hint))[0])
    if get_origin(hint) is tuple:
        return (listed(document), Field(default_factory=list))
    if get_origin(hint) is Cell:
        return (document, ...)
    return (document | None, None)


def _cell_in(hint: Any) -> Any:
    """The `Cell[…]` of an optional cell, or of a tuple of them."""
    if get_origin(hint) is Cell:
        return hint
    return next(found for part in get_args(hint) if (found := _cell_in(part)) is not None)


def shown(version: int, row: Row) -> dict[str, Any]:
    """A row's document."""
    kind: Any = type(row)
    document: dict[str, Any] = {"version": version}
    ref, entry = None, None
    for name in _names(kind):
        content = getattr(row, name)
        if content is None:
            document[name] = None
        elif content.__class__ is Cell:
            if content.ref is not ref:  # most of a row is of one entry
                ref, entry = content.ref, _entry(content.ref)
            value = content.value
            if isinstance(value, Erased):
                document[name] = _cell(value, entry)
            else:  # as there: a call for each of ten thousand cells would take as long again
                document[name] = {
                    "value": value, "erased": False, "withheld": False, "entry": entry
                }  # fmt: skip
        else:
            document[name] = [_cell(part.value, _entry(part.ref)) for part in content]
    return document


def _entry(ref: Ref) -> dict[str, int | None]:
    return {"position": ref.position, "version": ref.version, "amended_at": ref.amended_at}


def _cell(value: object, entry: dict[str, int | None] | None) -> dict[str, Any]:
    if isinstance(value, Erased):
        withheld = isinstance(value, Withheld)
        return {"value": None, "erased": not withheld, "withheld": withheld, "entry": entry}
    return {"value": value, "erased": False, "withheld": False, "entry": entry}


def written(document: Mapping[str, Any]) -> bytes:
    """A document of rows, as its model would write it.

    A model takes ten times as long: it looks at each of ten thousand cells once more.
    """
    return _dumped(document)


def _dumped(value: object) -> bytes:
    return orjson.dumps(value, default=_plainly, option=orjson.OPT_UTC_Z)


def _plainly(value: object) -> Any:
    return _written_score(value) if isinstance(value, Scored) else to_jsonable_python(value)


def _written_score(score: Scored) -> orjson.Fragment:
    """A score as it is written, whoever's it is: the very same come again and again, and to compare
    equal ones would take longer than to write one."""
    kept = _SCORES.get(id(score))
    if kept is None:
        if len(_SCORES) >= _SCORES_KEPT:
            _SCORES.clear()
        kept = score, orjson.Fragment(orjson.dumps(to_jsonable_python(score)))
        _SCORES[id(score)] = kept
    return kept[1]


_SCORES: Final[dict[int, tuple[Scored, orjson.Fragment]]] = {}
"""By their ids, which are theirs as long as they are kept here."""
_SCORES_KEPT: Final = 16_384


# --- Rows that one entry tells --------------------------------------------------------------


class _Form:
    """How rows are written of which one entry establishes some fields, and others those beside."""

    def __init__(self, kind: Any, together: Together, beside: tuple[str, ...]) -> None:
        values = (*together.names, *beside)
        known = [name for name in _names(kind) if name in values]
        empty = {each.name: b"[]" if each.default == () else b"null" for each in fields(kind)}
        parts = (
            b'"%b":{"value":%%b,%b' % (name.encode(), _BY)
            if name in together.names
            else b'"%b":%b' % (name.encode(), b"%b" if name in beside else empty[name])
            for name in _names(kind)
        )
        self.in_order = itemgetter(*map(values.index, known))
        self.count = len(known)
        self._text = b'{"version":%%b,%b}' % b",".join(parts)

    def filled(self, version: int, ref: Ref, values: Iterable[bytes]) -> bytes:
        """The row of that version, of its values as they are written, in its fields' order."""
        amended = b"null" if ref.amended_at is None else b"%d" % ref.amended_at
        entry = _ENTRY % (ref.position, ref.version, amended)
        return self._text.replace(_BY, entry) % (b"%d" % version, *values)


_BY: Final = b"\n"
"""Stands in a form for the entry: no name holds it."""
_ENTRY: Final = (
    b'"erased":false,"withheld":false,"entry":{"position":%d,"version":%d,"amended_at":%b}}'
)
_BETWEEN: Final = orjson.Fragment(b"\n")
"""Stands between two values: no value that is written holds it."""

_form = lru_cache(256)(_Form)


def written_rows(rows: Mapping[int, Row]) -> orjson.Fragment:
    """The rows in their order, as `written` would write what is `shown` of each.

    Of a row that one entry tells, no cell and no document is made: there are ten thousand.
    """
    values: list[object] = []
    parts: list[bytes | tuple[_Form, int, Ref]] = []
    for version, row in sorted(rows.items()):
        told = getattr(row, "_told", None)
        if told is None:
            parts.append(written(shown(version, row)))
            continue
        ref, together, its_own, beside = told
        kind: Any = type(row)
        form = _form(kind, together, tuple(beside))
        values += form.in_order((*its_own, *map(_content, beside.values())))
        parts.append((form, version, ref))
    texts = iter(_texts(values))

    def text(part: bytes | tuple[_Form, int, Ref]) -> bytes:
        if isinstance(part, bytes):
            return part
        form, version, ref = part
        return form.filled(version, ref, islice(texts, form.count))

    return orjson.Fragment(b"[%b]" % b",".join(map(text, parts)))


def _texts(values: Sequence[object]) -> Sequence[bytes]:
    """Each value as it is written, all by one call."""
    if not values:
        return ()
    parts: list[object] = [_BETWEEN] * (2 * len(values) - 1)
    parts[::2] = values
    return _dumped(parts)[1:-1].split(b",\n,")


def _content(content: Any) -> Any:
    """A field's document: of a cell, of one that is missing, or of several."""
    if isinstance(content, tuple):
        return [_cell(part.value, _entry(part.ref)) for part in content]
    return None if content is None else _cell(content.value, _entry(content.ref))


def plain(document: Mapping[str, Any]) -> Any:
    """The same in plain JSON."""
    return orjson.loads(written(document))


def answered(document: Mapping[str, Any], etag: str | None) -> Response:
    """A document of rows as an answer; `etag`: the version that a command may be conditioned on."""
    headers = None if etag is None else {"ETag": etag}
    return Response(written(document), media_type="application/json", headers=headers)


def page_of(visit: Visit, rows: Reading[R]) -> Response:
    """One page of a view's rows of the relationship, with its ETag."""
    page = visit.page({version: (version, row) for version, row in rows.of(visit.stream).items()})
    document = {
        "view": rows.view,
        "view_version": rows.version,
        "position": rows.position,
        "next": page.next,
        "items": [shown(version, row) for version, row in page.items],
        "parked": parked(rows.parked.get(visit.stream)),
    }
    return answered(document, visit.etag(rows.position))


def parked(why: tuple[int, str] | None) -> Parked | None:
    """Why a relationship is missing in a view."""
    return None if why is None else Parked(position=why[0], code=why[1])


def tag(response: Response, etag: str | None) -> None:
    """The version that a command may be conditioned on."""
    if etag is not None:
        response.headers["ETag"] = etag
