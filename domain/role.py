"""Roles: in what capacity somebody may use the record, since when, and by whose decision.

A token opens only while the role that it carries is granted, so a revocation holds from the next
request on. Stream: `role-<person>`, under a key of the clinic's: who could do what outlives the
erasure of whoever it was.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.event import Event, Given, History, Immediate, New, Refusal, Stream, Text


class Role(StrEnum):
    """In what capacity somebody uses the record."""

    THERAPIST = "therapist"
    CLIENT = "client"
    SUPERVISOR = "supervisor"
    COMPLIANCE_OFFICER = "compliance_officer"
    ADMINISTRATOR = "administrator"
    SYSTEM = "system"


Roles = Annotated[tuple[Role, ...], Field(max_length=len(Role))]


# --- What happened --------------------------------------------------------------------------


class RoleGranted(Event):
    """Somebody may use the record in one more capacity."""

    topic = "role.granted"
    # What somebody could do at a time is never reworded: what follows from it has happened.
    correctable = False

    person: UUID
    role: Role
    by: UUID
    reason: Text
    old: Roles
    """All roles before; `new`: all roles from now on."""
    new: Roles


class RoleRevoked(Event):
    """Somebody may no longer use the record in that capacity."""

    topic = "role.revoked"
    correctable = False

    person: UUID
    role: Role
    by: UUID
    reason: Text
    old: Roles
    new: Roles


# --- Questions ------------------------------------------------------------------------------


def role_stream(person: UUID) -> Stream:
    return Stream("role", person)


def roles_of(history: History) -> tuple[Role, ...]:
    """The roles that somebody has as of this history, in the order of `Role`."""
    roles: tuple[Role, ...] = ()
    for entry in history:
        if isinstance(entry.event, RoleGranted | RoleRevoked):
            roles = entry.event.new
    return roles


def is_revoked(history: History, role: Role) -> bool:
    """Whether somebody had that role, and has it no more."""
    return last_revoked(history, role) is not None and role not in roles_of(history)


def last_revoked(history: History, role: Role) -> datetime | None:
    """When somebody last lost that role; what let them in before then is over, also if they have
    it again."""
    lost = [entry.recorded_at for entry, end in history.of(RoleRevoked) if end.role is role]
    return max(lost, default=None)


# --- Refusals -------------------------------------------------------------------------------


class RoleHeld(Refusal):
    says = "{person} has the role {role} already."


class RoleNotHeld(Refusal):
    says = "{person} does not have the role {role}."


class RoleNotGrantable(Refusal):
    status = 422
    says = "The role {role} is that of whoever holds the machine; it is granted to nobody."


class GrantsOneself(Refusal):
    says = "Nobody widens what they may do themselves: let another administrator grant it."


# --- Commands -------------------------------------------------------------------------------


class GrantRole(Immediate):
    """Let somebody use the record in a capacity, and say why."""

    name = "grant-role"

    person: UUID
    role: Role
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        if self.role is Role.SYSTEM:
            raise RoleNotGrantable(role=self.role)
        if self.person == given.actor:
            raise GrantsOneself
        stream = role_stream(self.person)
        old = roles_of(given.history(stream))
        if self.role in old:
            raise RoleHeld(person=self.person, role=self.role)
        yield New(
            stream,
            RoleGranted(
                person=self.person,
                role=self.role,
                by=given.actor,
                reason=self.reason,
                old=old,
                new=tuple(role for role in Role if role in (*old, self.role)),
            ),
        )


class RevokeRole(Immediate):
    """Let somebody no longer use the record in a capacity, from the next request on."""

    name = "revoke-role"

    person: UUID
    role: Role
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = role_stream(self.person)
        old = roles_of(given.history(stream))
        if self.role not in old:
            raise RoleNotHeld(person=self.person, role=self.role)
        yield New(
            stream,
            RoleRevoked(
                person=self.person,
                role=self.role,
                by=given.actor,
                reason=self.reason,
                old=old,
                new=tuple(role for role in old if role is not self.role),
            ),
        )
