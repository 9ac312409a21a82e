"""What a route or a page may ask for. Here everybody is recognised, let in, and noted.

Two ways lead in. `Desk` takes a command: who may hand it in stands in api/access.py, what comes of
it in domain/. `Visit` shows a part of the record, after that somebody reads it was recorded:
without the access entry there are no data, because there is no `Visit`.
"""

import hmac
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar, get_args, get_type_hints
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api import access
from api.access import DOORS, Principal, Reach
from api.problems import CrossSiteRequest, CursorInvalid, Fault, NotAuthenticated, NotThereYet
from domain.access import ReadRecord, RecordRead, Role, access_stream
from domain.event import Command, Erased, History, Line, Moment, RecordedEvent, Stream
from domain.person import (
    PersonRegistered,
    PractitionerRegistered,
    person_stream,
    practitioner_stream,
)
from domain.records import Author, Clock, Receipt, Records
from domain.relationship import relationship_of, relationship_stream
from projections.caseload import Case, Finding, missing
from projections.dossier import Dossier, Views, dossier
from projections.view import Cell, Number, Row, View, ViewReader, up_to
from projections.view import Reading as Rows

_log = logging.getLogger("rapport.access")

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R", bound=Row)

LONGEST_WAIT: Final = 2.0
"""Seconds that a reader waits for a view to cover a position."""

SESSION_COOKIE = "rapport_session"
_LOCAL_ADDRESSES = frozenset({"127.0.0.1", "::1"})
_LOCAL_NAMES = _LOCAL_ADDRESSES | {"localhost"}
_SIGNS_OF_A_PROXY = ("forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-real-ip")
_SAFE_METHODS = frozenset({"GET", "HEAD"})


# --- What stands behind the doors -----------------------------------------------------------


class Log(Protocol):
    """The clinic's log, as far as doors ask for it."""

    def read_log(self, after: int, limit: int) -> Sequence[RecordedEvent]: ...
    def head_size(self) -> int: ...
    def receipt(self, command_id: UUID) -> Receipt | None: ...
    def keyed_id(self, *natural_key: str) -> UUID: ...


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How far the log goes. `acknowledged`: (size, root) as remembered outside PostgreSQL."""

    size: int
    root: str
    recorded_at: datetime
    acknowledged: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that readiness depends on; `detail` is a code, a number or nothing."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody of the demonstration clinic, as whom one may look around."""

    role: Role
    name: str
    principal: UUID


@dataclass(frozen=True)
class House:
    """The parts behind the doors, as the composition joined them."""

    records: Records
    log: Log
    views: Views
    reader: ViewReader
    clock: Clock
    authenticate: Callable[[str], Principal | None]
    """The principal of a token's text; None if it is none in force."""
    log_status: Callable[[], LogStatus]
    readiness: Callable[[], Iterable[Check]]
    personas: Callable[[], Sequence[Persona]]
    """None but on the embedded default."""
    sign_in: Callable[[Persona], str]
    """A token for a persona."""
    sign_out: Callable[[str], None]
    """Ends the token of that text."""

    @property
    def clinic(self) -> UUID:
        return self.records.clinic

    def name_of(self, person: UUID) -> str | None:
        """What somebody is called; None where it was erased, or nobody was registered so."""
        for _, client in self.records.history(person_stream(person)).of(PersonRegistered):
            return client.name
        practitioners = self.records.history(practitioner_stream(person))
        for _, practitioner in practitioners.of(PractitionerRegistered):
            return practitioner.name
        return None


def house_of(request: Request) -> House:
    """The house that this app is the door of; from elsewhere, one without personas."""
    house: House = request.app.state.house
    return house if _is_local(request) else replace(house, personas=lambda: ())


def _is_local(request: Request) -> bool:
    """Whether somebody at this very machine asks for it by its own name.

    The name counts too: a page elsewhere may call itself by a name that leads here. What a proxy
    passes on is from elsewhere, though it comes from this machine.
    """
    asked, asking = request.url.hostname, request.client and request.client.host
    passed_on = any(name in request.headers for name in _SIGNS_OF_A_PROXY)
    return asked in _LOCAL_NAMES and asking in _LOCAL_ADDRESSES and not passed_on


TheHouse = Annotated[House, Depends(house_of)]


# --- Who is there ---------------------------------------------------------------------------

_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token as `rapport token create` shows it."
)
_cookie = APIKeyCookie(
    name=SESSION_COOKIE,
    auto_error=False,
    scheme_name="session",
    description="The same token in a browser, after signing in; for this site's own pages.",
)


def principal(
    request: Request,
    house: TheHouse,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    cookie: Annotated[str | None, Security(_cookie)],
) -> Principal:
    """Whoever shows a token; NotAuthenticated, CrossSiteRequest."""
    if request.headers.get("authorization") is not None:
        text = bearer.credentials if bearer else ""
    elif cookie is not None:
        require_same_origin(request)
        text = cookie
    else:
        raise NotAuthenticated
    who = house.authenticate(text)
    if who is None:
        raise NotAuthenticated
    request.state.principal = who.person
    return who


def require_same_origin(request: Request) -> None:
    """Browsers send cookies along with what other sites make them ask for."""
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "").partition("://")[2]
    same = site == "same-origin" if site else origin == request.url.netloc
    if not same:
        raise CrossSiteRequest


Who = Annotated[Principal, Depends(principal)]


class Entrance:
    """A dependency that lets nobody through but those whom the table names.

    Every route has one, or is on the short list of those that are open (api/app.py); an app with
    a route that has neither does not start.
    """

    def __init__(self, door: str) -> None:
        if door not in DOORS:
            raise LookupError(f"api/access.py has no door {door}")
        self.door = door


class Admits(Entrance):
    """For what is no part of anybody's record: whoever has a role that uses this door."""

    def __call__(self, who: Who) -> Principal:
        try:
            access.admit(self.door, who)
        except Fault as denial:
            raise _denied(denial, who, self.door) from None
        return who


def _denied(denial: Fault, who: Principal, door: str, about: object = "-") -> Fault:
    """Notes a denial, by ids alone."""
    _log.warning("%s: %s %s at %s of %s", denial.code, who.role, who.person, door, about)
    return denial


# --- Recording ------------------------------------------------------------------------------

IdempotencyKey = Annotated[
    UUID | None,
    Header(
        alias="Idempotency-Key",
        description="The command's id. The same id again gives the same receipt.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        pattern=r'^"(0|[1-9][0-9]{0,14})"$',
        description="The version that the stream must have, as an ETag of a read gave it.",
    ),
]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where somebody hands in a command."""

    house: House
    who: Principal
    command_id: UUID | None = None
    version: int | None = None
    """What the stream must be at; None: whatever it is at."""

    def record(self, command: Command) -> Receipt:
        """Records the command; raises its Refusal, or the Fault of who may not."""
        house = self.house
        about = access.concerns(command, house.clinic)
        history = house.records.history(about)
        try:
            on_behalf_of = access.require_command(command, self.who, about, history, house.clock())
        except Fault as denial:
            raise _denied(denial, self.who, command.name, about) from None
        return house.records.record(
            command,
            Author(self.who.person, on_behalf_of),
            command_id=self.command_id,
            expected={} if self.version is None else {about: self.version},
        )


class HandsIn(Entrance):
    """Lets in whoever may hand in that command at all; the desk looks at what it is about."""

    def __call__(
        self,
        house: TheHouse,
        who: Annotated[Principal, Depends(principal)],
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Desk:
        try:
            access.admit(self.door, who)
        except Fault as denial:
            raise _denied(denial, who, self.door) from None
        version = None if if_match is None else int(if_match.strip('"'))
        return Desk(house, who, idempotency_key, version)


class ShowsReceipt(Entrance):
    """The receipt of a command: for whoever gave it, and for whom structure is."""

    def __call__(self, house: TheHouse, who: Who, command_id: UUID) -> Receipt:
        try:
            reach = access.admit(self.door, who)
            receipt = house.log.receipt(command_id)
            if receipt is None:
                raise access.OutOfReach
            (first,) = house.log.read_log(receipt.entries[0].position - 1, 1)
            access.require_authored(reach, who, first.actor)
        except Fault as denial:
            raise _denied(denial, who, self.door, command_id) from None
        return receipt


# --- Reading --------------------------------------------------------------------------------

Purpose = Annotated[
    Line | None,
    Header(description="For what this is read; left out: the purpose that the token is for."),
]
After = Annotated[
    int | None,
    Query(ge=0, lt=2**53, description="Read only once this position of the log is covered."),
]
Start = Annotated[int | None, Query(ge=0, lt=2**53, description="Only entries past this position.")]
KnownAt = Annotated[Moment | None, Query(description="As it was known at this time.")]
HappenedBy = Annotated[Moment | None, Query(description="As it had happened by this time.")]
Limit = Annotated[int, Query(ge=1, le=500, description="At most so many items.")]
Cursor = Annotated[
    str | None,
    Query(max_length=100, description="`next` of the page before, for this very question."),
]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items of a list, and the cursor of what follows; None: nothing does."""

    items: Sequence[T]
    next: str | None


class Withheld(Erased):
    """Content that this reader is not shown. Whoever knows of erased content knows what to do."""


WITHHELD = Withheld()


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who was let in to read, and whose reading is in the record already."""

    house: House
    who: Principal
    door: str
    reach: Reach
    relationship: UUID | None = None
    known_at: datetime | None = None
    happened_by: datetime | None = None
    after: int | None = None
    limit: int = 100
    cursor: str | None = None

    @property
    def withholds(self) -> bool:
        """Whether only structure is shown: that, when and by whom, not what."""
        return self.reach is Reach.STRUCTURE

    @property
    def stream(self) -> Stream:
        assert self.relationship is not None, "a clinic-wide visit is to no one relationship"
        return relationship_stream(self.relationship)

    # --- What there is to see

    def history(self) -> History:
        """The relationship's entries; the content that this reader is not shown is withheld."""
        whole, hidden = self.house.records.history(self.stream), self._hidden(self.stream)
        if hidden is None:
            return whole
        return History(
            replace(entry, event=WITHHELD)
            if hidden(entry.version) and not isinstance(entry.event, Erased)
            else entry
            for entry in whole
        )

    def dossier(self) -> Dossier:
        """The relationship as of the two times, from the log itself."""
        self._wait_for_log()
        views = self.house.views
        told = dossier(
            self.stream,
            self.house.records.history(self.stream),
            known_at=self.known_at,
            happened_by=self.happened_by,
            views=views,
        )
        return replace(
            told,
            timeline=self._shown(views.timeline, self.stream, told.timeline),
            ratings=self._shown(views.alliance_course, self.stream, told.ratings),
            consents=self._shown(views.consent_register, self.stream, told.consents),
            goals=self._shown(views.goal_course, self.stream, told.goals),
            case=told.case and self._shown(views.caseload, self.stream, {0: told.case})[0],
        )

    def rows(self, view: View[S, R]) -> Rows[R]:
        """The relationship's rows of a view, one page of them and one more."""
        self._wait_for(view)
        found = self.house.reader.read(view, self.stream, after=self._start(), limit=self.limit + 1)
        shown = self._shown(view, self.stream, found.of(self.stream))
        return replace(found, rows={self.stream: shown})

    def cases(self) -> Rows[Case]:
        """Every case within reach. Whether clients consent to supervision is asked now."""
        view = self.house.views.caseload
        self._wait_for(view)
        found = self.house.reader.read(view, where=access.columns(self.reach, self.who))
        kept = {
            stream: self._shown(view, stream, cases)
            for stream, cases in found.rows.items()
            if self.reach is not Reach.SUPERVISED or self._reaches(stream)
        }
        parked = {stream: why for stream, why in found.parked.items() if self._reaches(stream)}
        return replace(found, rows=kept, parked=parked)

    def readers(self) -> Mapping[int, tuple[RecordedEvent, RecordRead]]:
        """Who read this relationship's record, by version in the access stream."""
        assert self.relationship is not None
        history = self.house.records.history(access_stream(self.relationship))
        return {entry.version: (entry, read) for entry, read in history.of(RecordRead)}

    def log_entries(self) -> Mapping[int, RecordedEvent]:
        """Entries of the log by position, one page of them and one more."""
        start = max(self.after or 0, self._start())
        return {entry.position: entry for entry in self.house.log.read_log(start, self.limit + 1)}

    def findings(self, case: Case) -> tuple[Finding, ...] | None:
        """What is missing in a case; None for whom not all is shown that it is told from."""
        if self.reach not in (Reach.TREATED, Reach.SUPERVISED):
            return None
        return tuple(missing(case, self.house.clock()))

    def name_of(self, person: UUID) -> str | None:
        """What somebody is called; None where that is withheld, erased or not known."""
        return None if self.withholds else self.house.name_of(person)

    def etag(self, position: int) -> str | None:
        """The version that a command may be conditioned on, of what is shown as of `position`;
        None for a view of the past."""
        if self.known_at is not None or self.happened_by is not None:
            return None
        return f'"{up_to(self.house.records.history(self.stream), position).version}"'

    # --- Page by page

    def page(self, items: Mapping[int, T]) -> Page[T]:
        """The items past the cursor, by their keys in rising order."""
        start = self._start()
        keys = sorted(key for key in items if key > start)
        here = keys[: self.limit]
        following = self._cursor(here[-1]) if len(keys) > len(here) else None
        return Page([items[key] for key in here], following)

    def _start(self) -> int:
        """The key that the cursor stands at; CursorInvalid if it is not of this question."""
        if self.cursor is None:
            return 0
        digits = self.cursor.partition(".")[0]
        key = int(digits) if digits.isdecimal() else 0
        if not hmac.compare_digest(self._cursor(key).encode(), self.cursor.encode()):
            raise CursorInvalid
        return key

    def _cursor(self, key: int) -> str:
        """The key with a keyed check of what it belongs to: door, reader, relationship."""
        of = (self.door, str(self.who.person), str(self.relationship), str(key))
        return f"{key}.{self.house.log.keyed_id('cursor', *of).hex}"

    # --- Inside

    def _reaches(self, stream: Stream) -> bool:
        house = self.house
        return access.within(self.reach, self.who, house.records.history(stream), house.clock())

    def _shown(self, view: View[S, R], stream: Stream, rows: Mapping[int, R]) -> Mapping[int, R]:
        """The rows without what this reader is not shown."""
        hidden = self._hidden(stream)
        if hidden is None:
            return rows
        return {key: withhold(view, row, hidden) for key, row in rows.items()}

    def _hidden(self, stream: Stream) -> Callable[[int], bool] | None:
        """Whether an entry, by its version, is one whose content this reader is not shown; None:
        there is none."""
        match self.reach:
            case Reach.STRUCTURE:
                return lambda version: True
            case Reach.OWN:
                others = self._about_others(stream)
                return others.__contains__ if others else None
        return None

    def _about_others(self, stream: Stream) -> frozenset[int]:
        """The entries of a couple, family or group that are another client's own.

        They are sealed under that person's key: what one partner rated or consented to is not
        the other's to read. What is joint is everybody's.
        """
        history = self.house.records.history(stream)
        others = frozenset(relationship_of(history).clients) - {self.who.person}
        return frozenset(
            entry.version
            for entry in history
            if others and not isinstance(entry.event, Erased) and entry.event.subject() in others
        )

    def _wait_for_log(self) -> None:
        if self.after is not None and self.after > self.house.log.head_size():
            raise NotThereYet(after=self.after)

    def _wait_for(self, view: View[S, R]) -> None:
        self._wait_for_log()
        if self.after is not None:
            self.house.reader.wait_for([view], self.after, LONGEST_WAIT)


def withhold(view: View[S, R], row: R, hidden: Callable[[int], bool]) -> R:
    """The row without what the hidden entries established, but for its structure.

    Of everything else it is shown that it is there, and which entry established it.
    """
    veiled = {name: _veiled(getattr(row, name), hidden) for name in _beyond_structure(view)}
    return replace(row, **veiled)  # type: ignore[type-var]  # every row is a dataclass


@cache
def _beyond_structure(view: View[Any, Any]) -> tuple[str, ...]:
    """The fields that no table keeps in the clear, and that are no positions or counts."""
    hints = get_type_hints(view.row, include_extras=True)
    return tuple(
        field.name
        for field in fields(view.row)
        if field.name not in view.clear and not _is_number(hints[field.name])
    )


def _is_number(hint: object) -> bool:
    return hint == Number or any(map(_is_number, get_args(hint)))


def _veiled(content: Any, hidden: Callable[[int], bool]) -> Any:
    match content:
        case tuple():
            return tuple(_veiled(part, hidden) for part in content)
        case Cell(value=value, ref=ref) if hidden(ref.version) and not isinstance(value, Erased):
            return replace(content, value=WITHHELD)
    return content


def enter(
    house: House,
    who: Principal,
    door: str,
    *,
    relationship: UUID | None = None,
    purpose: str | None = None,
    known_at: datetime | None = None,
    happened_by: datetime | None = None,
    after: int | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Visit:
    """Lets somebody in to read, after recording that they do: the one place where this happens.

    Raises NotAdmitted, OutOfReach, CursorInvalid, or whatever keeps the access entry from being
    made: then there is no Visit, and nothing to show.
    """
    try:
        reach = access.admit(door, who)
        if relationship is not None:
            history = house.records.history(relationship_stream(relationship))
            access.require_within(reach, who, history, house.clock())
    except Fault as denial:
        raise _denied(denial, who, door, relationship or "-") from None
    visit = Visit(
        house, who, door, reach, relationship, known_at, happened_by, after, limit, cursor
    )
    visit.page({})  # a cursor that is not of this question is refused before anything is read
    noted = ReadRecord(
        role=who.role,
        purpose=purpose or who.purpose,
        what=door,
        relationship=relationship,
        known_at=known_at,
        happened_by=happened_by,
    )
    house.records.record(noted, Author(who.person))
    return visit


class Reads(Entrance):
    """Reads one relationship's record, page by page."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        after: After = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Visit:
        return enter(
            house,
            who,
            self.door,
            relationship=relationship,
            purpose=purpose,
            after=after,
            limit=limit,
            cursor=cursor,
        )


class ReadsAsOf(Entrance):
    """Reads one relationship's record as of two times (rule 5)."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        after: After = None,
        known_at: KnownAt = None,
        happened_by: HappenedBy = None,
    ) -> Visit:
        return enter(
            house,
            who,
            self.door,
            relationship=relationship,
            purpose=purpose,
            after=after,
            known_at=known_at,
            happened_by=happened_by,
        )


class ReadsClinic(Entrance):
    """Reads what is about the clinic as a whole."""

    def __call__(self, house: TheHouse, who: Who, purpose: Purpose = None) -> Visit:
        return enter(house, who, self.door, purpose=purpose)


class ReadsList(Entrance):
    """Reads a list over the clinic's relationships, page by page."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        purpose: Purpose = None,
        after: After = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Visit:
        return enter(
            house, who, self.door, purpose=purpose, after=after, limit=limit, cursor=cursor
        )


class ReadsEntries(Entrance):
    """Reads entries of the log, page by page."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        purpose: Purpose = None,
        after: Start = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Visit:
        return enter(
            house, who, self.door, purpose=purpose, after=after, limit=limit, cursor=cursor
        )
