"""What stands behind the doors, who knocks, and who is let in at all."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Annotated, Any, Final, NamedTuple, Protocol
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api import access
from api.access import DOORS, Bearer, Principal
from api.doors.vouching import Vouching
from api.problems import CrossSiteRequest, Fault, NotAuthenticated, TooManyDenials
from domain.access import NoteDenial, Role
from domain.event import Policy, RecordedEvent
from domain.person import (
    PersonRegistered,
    PractitionerRegistered,
    person_stream,
    practitioner_stream,
)
from domain.records import Author, Clock, Receipt, Records
from domain.relationship import relationship_stream
from projections.dossier import Views
from projections.view import ViewReader

_log = logging.getLogger("rapport.access")

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


class Continuation(Protocol):
    """That a log of `new` entries continues one of `old`."""

    @property
    def old(self) -> int: ...
    @property
    def old_root(self) -> bytes: ...
    @property
    def new(self) -> int: ...
    @property
    def new_root(self) -> bytes: ...
    @property
    def path(self) -> Sequence[bytes]: ...


class Published(Protocol):
    """The clinic's log, as far as it is given out. None: there is no such thing in it."""

    @property
    def log_id(self) -> str: ...
    def checkpoint(self) -> str: ...
    def tile(self, name: str) -> bytes | None: ...
    def entries(self, name: str) -> bytes | None: ...
    def proof(self, position: int) -> str | None: ...
    def consistency(self, old: int, new: int) -> Continuation | None: ...


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How far the log goes. `acknowledged`: (size, root) as remembered outside PostgreSQL."""

    size: int
    root: str
    recorded_at: datetime
    acknowledged: tuple[int, str] | None


class Commitment(NamedTuple):
    """A salted commitment to content (docs/formats/entry.md), both in hex."""

    salt: str
    commitment: str


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
    policy: Policy
    authenticate: Callable[[str], Principal | None]
    """The principal of a token's text; None if it is none in force, or its role is revoked."""
    authenticate_all: Callable[[Sequence[str]], Sequence[Bearer | None]]
    """The bearers of many tokens, by one look; whether each holds the role is not judged yet."""
    unavailable: tuple[type[Exception], ...]
    """What is raised while the record cannot be reached."""
    commit: Callable[[Any], Commitment]
    """Commits to a document of plain JSON."""
    log_status: Callable[[], LogStatus]
    readiness: Callable[[], Iterable[Check]]
    personas: Callable[[], Sequence[Persona]]
    """None but on the embedded default."""
    sign_in: Callable[[Persona], str]
    """A token for a persona."""
    sign_out: Callable[[str], None]
    """Ends the token of that text."""
    patience: "Patience"
    published: Published
    """The log as it is given out, a tile or a proof at a time."""
    serves_log: bool
    """Whether its tiles and checkpoints are served to whoever asks."""
    vouching: Callable[[], Vouching]
    """How far others vouch for the log, and what stands against it."""
    view_positions: Callable[[], Mapping[str, int]]
    """How far each view that was built has come."""

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


async def _house(request: Request) -> House:
    return house_of(request)  # for such a trifle a thread would cost more


TheHouse = Annotated[House, Depends(_house)]


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


async def token(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    cookie: Annotated[str | None, Security(_cookie)],
) -> str:
    """The text of the token that is shown; NotAuthenticated, CrossSiteRequest."""
    if request.headers.get("authorization") is not None:
        return bearer.credentials if bearer else ""
    if cookie is None:
        raise NotAuthenticated
    require_same_origin(request)
    return cookie


Shown = Annotated[str, Depends(token)]


def principal(request: Request, house: TheHouse, shown: Shown) -> Principal:
    """Whoever shows a token; NotAuthenticated, TooManyDenials."""
    who = house.authenticate(shown)
    if who is None:
        raise NotAuthenticated
    request.state.principal = who.person
    house.patience.require(who.person)
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


async def require_admitted(request: Request, door: str) -> None:
    """Passes for whoever shows a token and uses that door; NotAuthenticated, CrossSiteRequest,
    TooManyDenials, NotAdmitted."""
    shown = await token(request, await _bearer(request), await _cookie(request))

    def admit() -> None:
        house = house_of(request)
        who = principal(request, house, shown)
        with denials_noted(house, who, door):
            access.admit(door, who)

    await run_in_threadpool(admit)


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

    def __call__(self, house: TheHouse, who: Who) -> Principal:
        with denials_noted(house, who, self.door):
            access.admit(self.door, who)
        return who


# --- Who is turned away ---------------------------------------------------------------------


class Patience:
    """How often somebody was turned away of late; safe to share between threads.

    Each denial is an entry, so somebody who asks without end would fill the log. Whoever was
    turned away `MOST` times within an hour is not heard until that hour is over: nothing is
    judged then, so nothing is denied, and every denial there is has its entry.
    """

    MOST: Final = 300
    WITHIN: Final = timedelta(hours=1)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._denials: dict[UUID, deque[datetime]] = {}

    def note(self, person: UUID) -> None:
        """One more denial."""
        with self._lock:
            self._denials.setdefault(person, deque(maxlen=self.MOST)).append(self._clock())

    def require(self, person: UUID) -> None:
        """TooManyDenials where it is at an end."""
        with self._lock:
            denials = self._denials.get(person)
            if denials is None:
                return
            now = self._clock()
            while denials and denials[0] <= now - self.WITHIN:
                denials.popleft()
            if not denials:
                del self._denials[person]
            elif len(denials) == self.MOST:
                raise TooManyDenials


@contextmanager
def denials_noted(
    house: House, who: Principal, door: str, relationship: UUID | None = None
) -> Iterator[None]:
    """Makes an entry of every denial within, as `note_denial` does, and lets it pass on."""
    try:
        yield
    except Fault as denial:
        note_denial(house, who, door, denial, relationship)
        raise


def note_denial(
    house: House, who: Principal, door: str, denial: Fault, relationship: UUID | None = None
) -> None:
    """Makes an entry of a denial, by ids alone, before it is answered (R36).

    Where there is such a relationship it stands in its access stream, for its clients to see;
    else in the clinic's. Without the entry there is an error, and still nothing is shown.
    """
    about = relationship or "-"
    _log.warning("%s: %s %s at %s of %s", denial.code, who.role, who.person, door, about)
    is_there = relationship and house.records.history(relationship_stream(relationship)).version
    noted = NoteDenial(
        role=who.role,
        door=door,
        code=denial.code,
        relationship=relationship if is_there else None,
    )
    house.patience.note(who.person)
    house.records.record(noted, Author(who.person))
