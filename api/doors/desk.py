"""Where a command is handed in: who may stands in api/access.py, what comes of it in domain/."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header

from api import access
from api.access import Principal
from api.doors.house import Entrance, House, TheHouse, Who, denials_noted, principal
from domain.event import Command
from domain.records import Author, Receipt

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
        relationship = about.id if about.category in access.OF_A_RELATIONSHIP else None
        with denials_noted(house, self.who, command.name, relationship):
            on_behalf_of = access.require_command(
                command, self.who, about, house.records.history, house.clock()
            )
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
        with denials_noted(house, who, self.door):
            access.admit(self.door, who)
        version = None if if_match is None else int(if_match.strip('"'))
        return Desk(house, who, idempotency_key, version)


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
