"""Where a command is handed in: who may stands in api/access.py, what comes of it in domain/."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, NoReturn
from uuid import UUID

from fastapi import Header, Request
from starlette.types import Scope

from api import access
from api.access import Bearer, Principal
from api.doors.house import (
    Entrance,
    House,
    Shown,
    TheHouse,
    Who,
    denials_noted,
    note_denial,
)
from api.doors.tray import Tray
from api.problems import Fault, NotAuthenticated
from domain.event import Command, History, New, Policy, Refusal, Stream
from domain.ids import new_id
from domain.records import Author, Proposal, Receipt

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

_Histories = Callable[[Stream], History]


class Denied(Refusal):
    """Who may not, told by the record's own way: it holds at the moment of the commit."""

    says = "Who hands this in may not."

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault


@dataclass(frozen=True, slots=True)
class HandedIn(Proposal):
    """A command whose giver is judged over the same histories that it is decided on."""

    judge: Callable[[_Histories, datetime], object] = field(kw_only=True)
    """Raises the Fault of who may not."""

    def decide(self, clinic: UUID, now: datetime, history: _Histories, policy: Policy) -> list[New]:
        try:
            self.judge(history, now)
        except Fault as fault:
            raise Denied(fault) from None
        return Proposal.decide(self, clinic, now, history, policy)


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
        (verdict,) = self.house.records.record_all([self.proposal(command)])
        if isinstance(verdict, Denied):
            self.deny(command, verdict.fault)
        if isinstance(verdict, Refusal):
            raise verdict
        return verdict

    def proposal(self, command: Command, bearer: Bearer | None = None) -> HandedIn:
        """The command as the record is asked to decide it; raises the Fault of who may not.

        `bearer`: whose role is judged with it; None: that was done.
        """
        house, about = self.house, access.concerns(command, self.house.clinic)
        try:
            on_behalf_of = access.spoken_for(
                command, self.who, about, house.records.history, house.clock()
            )
        except Fault as fault:
            self.deny(command, fault)

        def judge(history: _Histories, now: datetime) -> None:
            if bearer is not None:
                access.require_role(bearer, history)
            access.require_command(command, self.who, about, history, now)

        return HandedIn(
            command,
            Author(self.who.person, on_behalf_of),
            self.command_id or new_id(),
            {} if self.version is None else {about: self.version},
            judge=judge,
        )

    def deny(self, command: Command, fault: Fault) -> NoReturn:
        """Raises the fault, of which an entry is made unless nobody knows who it was."""
        if isinstance(fault, NotAuthenticated):
            raise fault
        about = access.concerns(command, self.house.clinic)
        relationship = about.id if about.category in access.OF_A_RELATIONSHIP else None
        note_denial(self.house, self.who, command.name, fault, relationship)
        raise fault


class HandsIn(Entrance):
    """Lets in whoever may hand in that command at all; the desk looks at what it is about."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Desk:
        with denials_noted(house, who, self.door):
            access.admit(self.door, who)
        return Desk(house, who, idempotency_key, stated(if_match))


def stated(if_match: str | None) -> int | None:
    """The version that an `If-Match` states."""
    return None if if_match is None else int(if_match.strip('"'))


# --- Recording together ---------------------------------------------------------------------


@dataclass(slots=True)
class Slip:
    """A command of somebody who is not recognised yet."""

    house: House
    token: str
    command: Command
    command_id: UUID | None = None
    version: int | None = None
    who: Bearer | None = None
    """Once recognised."""


@dataclass(frozen=True, slots=True)
class Blank:
    """A slip that is not filled in."""

    request: Request
    token: str
    command_id: UUID | None
    version: int | None

    async def record(self, command: Command) -> Receipt:
        """Records the command together with those that others hand in at the moment; raises its
        Refusal, or the Fault of who may not."""
        slip = Slip(self.request.app.state.house, self.token, command)
        slip.command_id, slip.version = self.command_id, self.version
        return await lay_down(self.request.scope, slip)


async def lay_down(scope: Scope, slip: Slip) -> Receipt:
    """Records what the slip says, as `Blank.record` does, for the request of that scope."""
    tray: Tray[Slip, Receipt] = scope["app"].state.tray
    try:
        return await tray.ask(slip)
    finally:
        if slip.who is not None:
            scope["state"]["principal"] = slip.who.person


class LaysDown(Entrance):
    """Takes in a command of whoever shows a token. The token is looked at when the command is:
    before that nothing of the record is told, not even that the command fits."""

    async def __call__(
        self,
        request: Request,
        token: Shown,
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Blank:
        return Blank(request, token, idempotency_key, stated(if_match))


def recorded(slips: Sequence[Slip]) -> list[Receipt | Exception]:
    """What comes of each slip: its receipt, its Refusal or Fault, or what kept it from being told.

    Tokens are looked at together, commands recorded together; each is judged alone.
    """
    house = slips[0].house
    verdicts: list[Receipt | Exception] = [NotAuthenticated()] * len(slips)
    handed: dict[int, tuple[Desk, HandedIn]] = {}
    for index, who in enumerate(house.authenticate_all([slip.token for slip in slips])):
        if who is None:
            continue
        slip = slips[index]
        slip.who = who
        desk = Desk(house, who, slip.command_id, slip.version)
        try:
            house.patience.require(who.person)
            _admit(desk, slip.command)
            handed[index] = desk, desk.proposal(slip.command, who)
        except Exception as error:  # of this one alone
            verdicts[index] = error
    found = _together(house, [proposal for _, proposal in handed.values()])
    for (index, (desk, _)), verdict in zip(handed.items(), found, strict=True):
        verdicts[index] = _told(desk, slips[index].command, verdict)
    return verdicts


def _admit(desk: Desk, command: Command) -> None:
    try:
        access.admit(command.name, desk.who)
    except Fault as denial:
        note_denial(desk.house, desk.who, command.name, denial)
        raise


def _told(desk: Desk, command: Command, verdict: Receipt | Exception) -> Receipt | Exception:
    """The verdict; of a denial the fault, after its entry was made."""
    if not isinstance(verdict, Denied):
        return verdict
    try:
        return desk.deny(command, verdict.fault)
    except Exception as error:  # the fault, or what kept its entry from being made
        return error


def _together(house: House, proposals: Sequence[HandedIn]) -> list[Receipt | Exception]:
    """One verdict each. An unexpected fault of one is not its neighbours' fault."""
    try:
        return list(house.records.record_all(proposals))
    except house.unavailable as error:
        return [error] * len(proposals)
    except Exception as error:
        if len(proposals) == 1:
            return [error]
        return [verdict for each in proposals for verdict in _together(house, [each])]


# --- Receipts -------------------------------------------------------------------------------


class ShowsReceipt(Entrance):
    """The receipt of a command: for whoever gave it, and for whom structure is."""

    def __call__(self, house: TheHouse, who: Who, command_id: UUID) -> Receipt:
        with denials_noted(house, who, self.door):
            reach = access.admit(self.door, who)
            receipt = house.log.receipt(command_id)
            if receipt is None:
                raise access.OutOfReach
            (first,) = house.log.read_log(receipt.entries[0].position - 1, 1)
            access.require_authored(reach, who, first.actor)
        return receipt
