"""What a route or a page may ask for. Here everybody is recognised, let in, and noted.

Two ways lead in. `Desk` takes a command: who may hand it in stands in api/access.py, what comes of
it in domain/. `Reading` gives a part of the record, after that somebody reads it was recorded:
without the access entry there are no data, because there is no `Reading`.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api import access
from api.access import DOORS, Principal, Reach
from api.problems import CrossSiteRequest, Fault, NotAuthenticated
from domain.access import ReadRecord, Role
from domain.event import Command, History, Line, Moment, RecordedEvent
from domain.records import Author, Clock, Receipt, Records
from domain.relationship import relationship_stream

_log = logging.getLogger("rapport.access")

SESSION_COOKIE = "rapport_session"
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

    def history(self, relationship: UUID) -> History:
        return self.records.history(relationship_stream(relationship))


def house_of(request: Request) -> House:
    """The house that this app is the door of."""
    house: House = request.app.state.house
    return house


TheHouse = Annotated[House, Depends(house_of)]


# --- Who is there ---------------------------------------------------------------------------

_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token as `rapport token issue` gives it."
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
        _require_same_origin(request)
        text = cookie
    else:
        raise NotAuthenticated
    who = house.authenticate(text)
    if who is None:
        raise NotAuthenticated
    request.state.principal = who.person
    return who


def _require_same_origin(request: Request) -> None:
    """Browsers send cookies along with what other sites make them ask for."""
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    same = site == "same-origin" if site else bool(origin) and origin == request.url.netloc
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
    Query(ge=0, lt=2**53, description="Wait until this position of the log is covered."),
]
KnownAt = Annotated[Moment | None, Query(description="As it was known at this time.")]
HappenedBy = Annotated[Moment | None, Query(description="As it had happened by this time.")]


@dataclass(frozen=True, slots=True)
class Reading:
    """A part of the record that somebody was let in to read, and whose reading is recorded."""

    house: House
    who: Principal
    door: str
    reach: Reach
    relationship: UUID | None
    purpose: str
    known_at: datetime | None = None
    happened_by: datetime | None = None

    @property
    def withheld(self) -> bool:
        """Whether only structure may be shown: that, when and by whom, not what."""
        return self.reach is Reach.STRUCTURE

    @property
    def history(self) -> History:
        """The relationship's stream as of the two times."""
        assert self.relationship is not None, "a clinic-wide reading has no one history"
        whole = self.house.history(self.relationship)
        return whole.as_of(known_at=self.known_at, happened_by=self.happened_by)

    def reaches(self, relationship: UUID) -> bool:
        """Whether one row of a clinic-wide list is within reach."""
        now = self.house.clock()
        return access.within(self.reach, self.who, self.house.history(relationship), now)


def read(
    house: House,
    who: Principal,
    door: str,
    relationship: UUID | None,
    *,
    purpose: str | None = None,
    known_at: datetime | None = None,
    happened_by: datetime | None = None,
) -> Reading:
    """Lets somebody read, after recording that they do; the one place where this happens.

    Raises NotAdmitted, OutOfReach, or whatever keeps the access entry from being made: then there
    is no Reading, and nothing to show.
    """
    try:
        reach = access.admit(door, who)
        if relationship is not None and not access.within(
            reach, who, house.history(relationship), house.clock()
        ):
            raise access.OutOfReach
    except Fault as denial:
        raise _denied(denial, who, door, relationship or "-") from None
    reading = Reading(
        house, who, door, reach, relationship, purpose or who.purpose, known_at, happened_by
    )
    noted = ReadRecord(
        role=who.role,
        purpose=reading.purpose,
        what=door,
        relationship=relationship,
        known_at=known_at,
        happened_by=happened_by,
    )
    house.records.record(noted, Author(who.person))
    return reading


class Reads(Entrance):
    """Reads one relationship's record through a door, as it is now."""

    def __call__(
        self, house: TheHouse, who: Who, relationship: UUID, purpose: Purpose = None
    ) -> Reading:
        return read(house, who, self.door, relationship, purpose=purpose)


class ReadsAsOf(Entrance):
    """Reads one relationship's record through a door, as of two times (rule 5)."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        known_at: KnownAt = None,
        happened_by: HappenedBy = None,
    ) -> Reading:
        return read(
            house,
            who,
            self.door,
            relationship,
            purpose=purpose,
            known_at=known_at,
            happened_by=happened_by,
        )


class ReadsClinic(Entrance):
    """Reads what is about the clinic as a whole, or a list over its relationships."""

    def __call__(self, house: TheHouse, who: Who, purpose: Purpose = None) -> Reading:
        return read(house, who, self.door, None, purpose=purpose)
