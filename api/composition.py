"""Where the parts are joined: settings → database → keyring → one clinic's log and views.

Doors receive what stands here; only this module, the command line and the worker know `infra`.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal
from uuid import UUID

import psycopg

from api.access import holds_role
from api.doors import Check, Commitment, House, LogStatus, Patience, Persona
from api.opening import Progress, open_record, operator_id
from domain.event import Source
from domain.instrument import catalogue
from domain.records import Author, Clock, Records, system_clock
from domain.role import (
    GrantRole,
    RevokeRole,
    Role,
    RoleHeld,
    RoleNotHeld,
    is_revoked,
    role_stream,
    roles_of,
)
from infra import canonical
from infra.acknowledged import AcknowledgedHead, LogDiverged
from infra.canonical import CanonicalError
from infra.checkpoint import NoteBroken
from infra.checkpoint_store import CheckpointStore
from infra.clinics import acknowledged_head
from infra.event_store import ClinicLog
from infra.identity import NotAuthentic, NotForTokens, Principal, Tokens
from infra.keyring import KeyringError, WrappedKeyring
from infra.migrate import MigrationError, pending
from infra.notary import Plan
from infra.postgres import Database
from infra.published import PublishedLog
from infra.recorder import StoreUnavailable
from infra.sealing import SealBroken, commitment
from infra.settings import Settings
from infra.tiles import TilesBroken
from infra.view_store import ViewStore
from infra.vouching import Voucher, Vouching, vouching
from projections.dossier import VIEWS, Views
from projections.view import ViewReader


@dataclass(frozen=True)
class Service:
    """The opened parts of one clinic's service."""

    settings: Settings
    database: Database
    keyring: WrappedKeyring
    clinic: UUID
    log: ClinicLog
    tokens: Tokens
    views: ViewStore
    """To be read; the worker opens its own, under the role that writes them."""
    clock: Clock

    @property
    def records(self) -> Records:
        return Records(self.log)

    @cached_property
    def plan(self) -> Plan:
        """Who is asked to vouch for the log; SettingsInvalid where what is set is of no use."""
        return Plan.of(self.settings)

    def vouching(self) -> Vouching:
        """How far others vouch for the log, and what stands against it."""
        return vouching(CheckpointStore(self.log.datastore), self.plan, self.log.key)

    def acknowledged(self) -> tuple[int, bytes] | None:
        """(size, root) of the last head acknowledged to anybody, kept outside PostgreSQL."""
        return acknowledged_head(self.settings, self.clinic)

    @contextmanager
    def log_with(self, clock: Clock) -> Iterator[ClinicLog]:
        """Another writer on the same log, by a clock of its own."""
        log = ClinicLog(
            self.database.dsn("app"),
            self.clinic,
            self.keyring,
            AcknowledgedHead(self.settings.home / "heads", self.clinic),
            clock=clock,
        )
        try:
            yield log
        finally:
            log.close()


@contextmanager
def open_service(
    settings: Settings,
    *,
    role: Literal["app", "import", "read"] = "app",
    progress: Progress | None = None,
    clock: Clock = system_clock,
) -> Iterator[Service]:
    """Opens everything one process needs, and closes it again.

    Raises PostgresError, MigrationError, KeyringError, ClinicUnclear, LogDiverged; each message is
    for the person who runs the product.
    """
    with (
        open_record(settings, role=role, progress=progress, clock=clock) as record,
        ExitStack() as opened,
    ):
        tokens = Tokens(record.database.dsn("app"), record.clinic, record.keyring, clock=clock)
        opened.callback(tokens.close)
        views = ViewStore(record.database.dsn("app"), record.clinic, record.keyring)
        opened.callback(views.close)
        yield Service(*record, tokens, views, clock)


def prepare(service: Service) -> None:
    """Does beforehand what whoever asks first would wait for: before anything else uses the log.

    Where something cannot be reached, whoever asks for it is told.
    """
    catalogue()  # every questionnaire is read
    with suppress(*UNAVAILABLE):
        service.tokens.connect()
        with service.log.datastore.writer():
            pass  # it is connected


# --- What the doors receive -----------------------------------------------------------------

UNAVAILABLE: tuple[type[Exception], ...] = (
    StoreUnavailable,
    LogDiverged,
    KeyringError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)
"""What the parts raise while they cannot be reached."""

DAMAGED: tuple[type[Exception], ...] = (SealBroken, CanonicalError, TilesBroken, NoteBroken)
"""What the parts raise where stored bytes do not open to what was stored."""

_NOT_READY: tuple[type[Exception], ...] = (*UNAVAILABLE, *DAMAGED, MigrationError)

_PERSONA_STAYS = timedelta(hours=12)


def house(service: Service) -> House:
    """The parts of a service as the doors know them."""
    return House(
        records=service.records,
        log=service.log,
        views=Views.under(service.log.policy),
        reader=ViewReader(service.views),
        clock=service.clock,
        policy=service.log.policy,
        authenticate=lambda text: authenticated(service, text),
        authenticate_all=service.tokens.authenticate_all,
        unavailable=UNAVAILABLE,
        commit=committed,
        log_status=lambda: _log_status(service),
        readiness=lambda: _readiness(service),
        personas=lambda: personas(service),
        sign_in=lambda persona: sign_in(service, persona),
        sign_out=lambda text: sign_out(service, text),
        patience=Patience(service.clock),
        published=PublishedLog(service.log),
        serves_log=service.settings.serve_log,
        vouching=service.vouching,
        view_positions=lambda: _view_positions(service),
    )


def authenticated(service: Service, text: str) -> Principal | None:
    """The principal of a token in force whose role is granted, and was since; None if it is none.

    The log is asked each time, so a revocation holds from the next request on, in every process.
    """
    try:
        who = service.tokens.authenticate(text)
    except NotAuthentic:
        return None
    return who if holds_role(who, service.log.history) else None


def issue_token(
    service: Service, person: UUID, role: Role, purpose: str, expires: datetime, reason: str
) -> str:
    """A new token; its role is granted first where it is not, with that reason.

    Raises NotForTokens, or pydantic's ValidationError for a purpose that no entry can hold.
    """
    if role is Role.SYSTEM:
        raise NotForTokens(role.value)
    if role not in roles_of(service.log.history(role_stream(person))):
        grant = GrantRole(person=person, role=role, reason=reason)
        with suppress(RoleHeld):  # somebody else was first
            service.records.record(grant, by_machine(service))
    return service.tokens.issue(person, role, purpose, expires)


def revoke_role(service: Service, person: UUID, role: Role, reason: str) -> bool:
    """Revokes a role, and ends all tokens that carry it; whether it was granted at all."""
    try:
        revoke = RevokeRole(person=person, role=role, reason=reason)
        service.records.record(revoke, by_machine(service))
    except RoleNotHeld:
        return False
    for token in service.tokens.known():
        if (token.principal, token.role) == (person, role) and token.revoked_at is None:
            service.tokens.revoke(token.id)
    return True


def by_machine(service: Service) -> Author:
    """The author of what the product itself records, for whoever runs it."""
    return Author(operator_id(service.log), source=Source.SYSTEM)


def committed(content: object) -> Commitment:
    """A fresh salted commitment to content that is plain JSON; CanonicalError if it is not."""
    salt = secrets.token_bytes(32)
    return Commitment(salt.hex(), commitment(salt, canonical.encode(content)).hex())


def _log_status(service: Service) -> LogStatus:
    head = service.log.head()
    known = service.acknowledged()
    return LogStatus(
        size=head.size,
        root=head.root.hex(),
        recorded_at=head.recorded_at,
        acknowledged=known and (known[0], known[1].hex()),
    )


def _readiness(service: Service) -> Iterator[Check]:
    """What must hold for this process to serve, up to the first that does not."""
    checks: dict[str, Callable[[], object]] = {
        "database": service.log.head_size,
        "migrations": lambda: _require_current(service),
        "acknowledged head": service.log.check_acknowledged,
    }
    for name, check in checks.items():
        try:
            check()
        except _NOT_READY as error:
            yield Check(name, passed=False, detail=type(error).__name__)
            return  # the others would only wait for the same thing
        yield Check(name, passed=True)
    yield Check("views", passed=True, detail=_lag(service))
    now = service.vouching()
    yield Check("witnesses", passed=True, detail=_vouched(now))
    if now.authority is not None:
        yield Check("timestamps", passed=True, detail=_reached(now.size, now.authority))
    for sink in now.sinks:
        yield Check("receipts", passed=True, detail=_reached(now.size, sink))


def _lag(service: Service) -> str:
    """How far the slowest view is behind; that is the worker's to mend, and no reason to stop."""
    positions = _view_positions(service)
    if len(positions) < len(VIEWS.all()):
        return "not built yet"
    return f"{max(0, service.log.head_size() - min(positions.values()))} entries behind"


def _view_positions(service: Service) -> dict[str, int]:
    tracked = service.views.tracked([view.table for view in VIEWS.all()])
    return {name: place.position for name, place in tracked.items()}


def _vouched(now: Vouching) -> str:
    """Alarms first. They do not stop the service: no outsider may close the clinic's record."""
    if now.alarms:
        return "ALARM: " + ", ".join(sorted({alarm.code for alarm in now.alarms}))
    if not now.witnesses:
        return "none configured"
    current = sum(each.size == now.size for each in now.witnesses)
    return f"{current} of {len(now.witnesses)} cosigned the last checkpoint"


def _reached(size: int, voucher: Voucher) -> str:
    """How far somebody outside is behind the last checkpoint, and how they fail, if they do."""
    behind = f"{max(0, size - voucher.size)} entries behind"
    return f"{behind}, {voucher.failure}" if voucher.failures else behind


def _require_current(service: Service) -> None:
    missing = pending(service.database.dsn("owner"))
    if missing:
        raise MigrationError(f"{len(missing)} migrations are not applied")


# --- Personas: looking around in the demonstration clinic -----------------------------------


def personas(service: Service) -> Sequence[Persona]:
    """Whom one may sign in as without a token: on the embedded database, once `rapport demo` has
    filled it; nobody anywhere else."""
    if service.settings.database_url is not None:
        return []
    try:
        found = json.loads((service.settings.home / "demo" / "personas.json").read_bytes())
    except FileNotFoundError:
        return []
    return [
        Persona(Role(each["role"]), str(each["name"]), UUID(each["principal"])) for each in found
    ]


def sign_in(service: Service, persona: Persona) -> str:
    """A token for a persona, for half a day; LookupError if there is no such persona here."""
    if persona not in personas(service):
        raise LookupError("no such persona")
    if is_revoked(service.log.history(role_stream(persona.principal)), persona.role):
        raise LookupError("the persona's role was revoked")
    expires = service.clock() + _PERSONA_STAYS
    purpose = "demonstration"
    return issue_token(service, persona.principal, persona.role, purpose, expires, purpose)


def sign_out(service: Service, text: str) -> None:
    """Ends the token of that text, if it is in force."""
    try:
        service.tokens.revoke(service.tokens.authenticate(text).token)
    except NotAuthentic:
        return
