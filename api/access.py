"""Who may use which door, and how far it reaches: one table for API, pages and command line.

What is not in the table is denied. Why it looks like this: docs/decisions/0008-access-table.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from api.problems import Fault, NotAuthenticated
from domain.access import Basis, Role, break_in_force
from domain.amendment import amendments_of
from domain.clinic import Scope, clinic_stream
from domain.consent import Reliance, consent_of, consenting, in_force
from domain.event import Command, History, Refusal, Stream
from domain.rating import Rating
from domain.relationship import Part, relationship_of, relationship_stream
from domain.restriction import Use, binding, covered
from domain.role import last_revoked, role_stream, roles_of


class Principal(Protocol):
    """Somebody who has shown who they are, and in what capacity they come."""

    @property
    def person(self) -> UUID: ...
    @property
    def role(self) -> Role: ...
    @property
    def purpose(self) -> str: ...


class Bearer(Principal, Protocol):
    """Somebody who has shown it by a token."""

    @property
    def issued_at(self) -> datetime: ...


class Reach(StrEnum):
    """How far somebody gets through a door."""

    OWN = "own record"
    """Relationships in which one is a client."""
    TREATED = "own clients"
    """Relationships in which one is a therapist."""
    SUPERVISED = "supervised, with the clients' consent"
    """Relationships that one supervises, while every client consents to that disclosure."""
    STRUCTURE = "structure only"
    """Every relationship: that, when and by whom; what was said, rated or written is withheld."""
    CLINIC = "the clinic's"
    """What is the clinic's as a whole, and no relationship."""
    AUTHORED = "own commands"
    """What one has recorded oneself."""
    SELF = "oneself"
    """What is asked for oneself."""
    EMERGENCY = "any, in an emergency"
    """Every relationship, for a short time, with a reason, and to be reviewed."""
    OPENING = "own and new"
    """A relationship that is not there yet, with oneself as a therapist."""
    ALL = "everything"
    """Whoever holds the machine, with its database and its keyring."""


# --- Whose words a command carries ----------------------------------------------------------

Voice = Callable[[Command, History], UUID | None]
"""The person whose words a command carries, given the stream that it is about; None: nobody's."""


@dataclass(frozen=True, slots=True)
class _Named:
    """The person whom the command names in that field; nobody without one."""

    field: str | None

    def __call__(self, command: Command, history: History | None = None) -> UUID | None:
        person: UUID | None = None if self.field is None else getattr(command, self.field)
        return person


_named, _nobody = _Named, _Named(None)


def _who_takes_back(command: Command, history: History) -> UUID | None:
    """Of a consent that is taken back: whoever does so, or else gave it."""
    by: UUID | None = command.by  # type: ignore[attr-defined]  # WithdrawConsent, NarrowConsent
    consent = consent_of(history, command.consent)  # type: ignore[attr-defined]
    return by or (None if consent is None else consent.signer)


def _rater_of_superseded(command: Command, history: History) -> UUID | None:
    for entry in history:
        rating = entry.event
        if isinstance(rating, Rating) and rating.rating == command.superseded:  # type: ignore[attr-defined]
            return rating.rater
    return None


def _party_of_amendment(command: Command, history: History) -> UUID | None:
    amending = amendments_of(history).get(command.amendment)  # type: ignore[attr-defined]
    return None if amending is None else amending.requested.party


def _author_of_amended(command: Command, history: History) -> UUID | None:
    """Of an entry that a client made or that was made for somebody: that person."""
    entry = history.entry(command.entry)  # type: ignore[attr-defined]  # both amendments
    if entry is None:
        return None
    clients = relationship_of(history).clients if entry.stream.category == "relationship" else ()
    return entry.on_behalf_of or (entry.actor if entry.actor in clients else None)


# --- The table ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Door:
    """One way in: who may use it with what reach, and whose words come in through it."""

    who: Mapping[Role, Reach]
    voice: Voice = _nobody


_THERAPIST = {Role.THERAPIST: Reach.TREATED}
_CLIENT = {Role.CLIENT: Reach.OWN}
_SUPERVISOR = {Role.SUPERVISOR: Reach.SUPERVISED}
_OFFICER = {Role.COMPLIANCE_OFFICER: Reach.STRUCTURE}
_OFFICE = {Role.ADMINISTRATOR: Reach.CLINIC}
_MACHINE = {Role.SYSTEM: Reach.ALL}

_TAKING_PART = _THERAPIST | _CLIENT
_ANSWERING = _THERAPIST | _OFFICER
"""Who answers for the clinic to a client."""
_READERS = _THERAPIST | _CLIENT | _SUPERVISOR | _OFFICER
_EVERYBODY = dict.fromkeys(Role, Reach.CLINIC)

_READING: Mapping[str, Door] = {
    "caseload": Door(_READERS),
    "dossier": Door(_READERS | _MACHINE),
    "timeline": Door(_READERS),
    "entries": Door(_READERS | _MACHINE),
    "ruptures": Door(_TAKING_PART | _SUPERVISOR | _MACHINE),
    "analyses": Door(_THERAPIST | _SUPERVISOR | _MACHINE),
    "notes": Door(_TAKING_PART | _SUPERVISOR),
    "process-notes": Door(_THERAPIST | _SUPERVISOR),
    "supervision": Door(_THERAPIST | _SUPERVISOR),
    "holds": Door(_OFFICER | _MACHINE),
    "alliance": Door(_READERS),
    "consents": Door(_READERS),
    "goals": Door(_READERS),
    "readers": Door(_READERS),
    "incidents": Door(_READERS),
    "amendments": Door(_TAKING_PART | _OFFICER | _MACHINE),
    "disclosures": Door(_TAKING_PART | _OFFICER | _MACHINE),
    "export": Door(_TAKING_PART | _OFFICER | _MACHINE),
    "aggregates": Door(
        dict.fromkeys((Role.SUPERVISOR, Role.COMPLIANCE_OFFICER, Role.ADMINISTRATOR), Reach.CLINIC)
        | _MACHINE
    ),
    "log": Door({Role.COMPLIANCE_OFFICER: Reach.CLINIC} | _OFFICE | _MACHINE),
    "log-entries": Door({Role.COMPLIANCE_OFFICER: Reach.CLINIC} | _MACHINE),
    "log-proof": Door({Role.COMPLIANCE_OFFICER: Reach.CLINIC} | _MACHINE),
    "log-consistency": Door({Role.COMPLIANCE_OFFICER: Reach.CLINIC} | _MACHINE),
    "metrics": Door({Role.COMPLIANCE_OFFICER: Reach.CLINIC} | _OFFICE | _MACHINE),
    "receipt": Door(dict.fromkeys(Role, Reach.AUTHORED) | _OFFICER | _MACHINE),
    "instruments": Door(_EVERYBODY),
    "score": Door(_EVERYBODY),
}

_RECORDING: Mapping[str, Door] = {
    # The clinic
    "attest-rater-training": Door(_OFFICE | _MACHINE),
    "found-clinic": Door(_OFFICE | _MACHINE),
    "publish-consent-document": Door(_OFFICE | _MACHINE),
    "attest-instrument-licence": Door(_OFFICE | _MACHINE),
    "declare-import": Door(_OFFICE | _MACHINE),
    "adopt-text-pack": Door(_OFFICE | _MACHINE),
    "adopt-scoring-key": Door(_OFFICE | _MACHINE),
    "register-person": Door(_OFFICE | _MACHINE),
    "register-practitioner": Door(_OFFICE | _MACHINE),
    # The relationship
    "open-relationship": Door({Role.THERAPIST: Reach.OPENING} | _MACHINE),
    "join-relationship": Door(_THERAPIST),
    "leave-relationship": Door(_THERAPIST),
    "pause-relationship": Door(_THERAPIST),
    "resume-relationship": Door(_THERAPIST),
    "declare-phase": Door(_THERAPIST, _named("by")),
    "agree-frame": Door(_THERAPIST),
    "change-frame-item": Door(_THERAPIST, _named("by")),
    "record-frame-departure": Door(_TAKING_PART, _named("by")),
    "record-context-event": Door(_TAKING_PART, _named("about")),
    "transfer-relationship": Door(_THERAPIST),
    "close-relationship": Door(_THERAPIST),
    "reopen-relationship": Door(_THERAPIST),
    # Consent
    "give-information": Door(_THERAPIST, _named("by")),
    "address-questions": Door(_THERAPIST, _named("by")),
    "give-consent": Door(_TAKING_PART, _named("signer")),
    "renew-consent": Door(_TAKING_PART, _named("signer")),
    "decline-consent": Door(_TAKING_PART, _named("party")),
    "narrow-consent": Door(_TAKING_PART, _who_takes_back),
    "withdraw-consent": Door(_TAKING_PART, _who_takes_back),
    "give-assent": Door(_TAKING_PART, _named("party")),
    "dissent-as-minor": Door(_TAKING_PART, _named("party")),
    "waive-assent": Door(_THERAPIST, _named("by")),
    "record-majority": Door(_THERAPIST | _MACHINE),
    # Sessions
    "schedule-session": Door(_THERAPIST),
    "reschedule-session": Door(_TAKING_PART, _named("who")),
    "hold-session": Door(_THERAPIST | _MACHINE),
    "abandon-session": Door(_THERAPIST | _MACHINE),
    "miss-session": Door(_THERAPIST),
    "cancel-session": Door(_TAKING_PART, _named("who")),
    "review-emergency": Door(_THERAPIST | _SUPERVISOR, _named("by")),
    "share-session-summary": Door(_THERAPIST, _named("by")),
    # Recordings
    "start-recording": Door(_THERAPIST),
    "end-recording": Door(_THERAPIST),
    "use-recording": Door(_THERAPIST | _SUPERVISOR, _named("by")),
    "destroy-recording": Door(_THERAPIST, _named("by")),
    # Goals
    "propose-goal": Door(_TAKING_PART, _named("by")),
    "revise-goal": Door(_TAKING_PART, _named("by")),
    "assent-to-goal": Door(_TAKING_PART, _named("party")),
    "dissent-from-goal": Door(_TAKING_PART, _named("party")),
    "rate-goal": Door(_TAKING_PART, _named("by")),
    "reach-goal": Door(_THERAPIST),
    "retire-goal": Door(_THERAPIST),
    "reopen-goal": Door(_THERAPIST),
    # Tasks
    "propose-task": Door(_TAKING_PART, _named("by")),
    "assent-to-task": Door(_TAKING_PART, _named("party")),
    "review-task": Door(_TAKING_PART, _named("by")),
    "retire-task": Door(_THERAPIST),
    # Ratings
    "rate-alliance": Door(_TAKING_PART | _SUPERVISOR | _MACHINE, _named("rater")),
    "review-early-alliance": Door(_THERAPIST | _SUPERVISOR, _named("by")),
    "rate-outcome": Door(_TAKING_PART | _SUPERVISOR | _MACHINE, _named("rater")),
    "supersede-rating": Door(_TAKING_PART | _SUPERVISOR, _rater_of_superseded),
    "review-risk": Door(_THERAPIST | _SUPERVISOR, _named("by")),
    # Ruptures
    "mark-rupture": Door(_TAKING_PART | _SUPERVISOR, _named("raised_by")),
    "attempt-repair": Door(_TAKING_PART, _named("by")),
    "resolve-rupture": Door(_TAKING_PART | _SUPERVISOR, _named("by")),
    "leave-rupture-open": Door(_TAKING_PART | _SUPERVISOR, _named("by")),
    "dismiss-possible-rupture": Door(_THERAPIST | _SUPERVISOR, _named("by")),
    # Care of the record
    "request-amendment": Door(_TAKING_PART, _named("party")),
    "extend-amendment": Door(_ANSWERING),
    "accept-amendment": Door(_ANSWERING),
    "deny-amendment": Door(_ANSWERING),
    "state-disagreement": Door(_TAKING_PART, _party_of_amendment),
    "rebut-disagreement": Door(_ANSWERING),
    "agree-restriction": Door(_ANSWERING),
    "lift-restriction": Door(_ANSWERING),
    "disclose-record": Door(_ANSWERING),
    "inform-recipient": Door(_ANSWERING),
    "suspend-accounting": Door(_OFFICER),
    "place-legal-hold": Door(_OFFICER | _MACHINE),
    "lift-legal-hold": Door(_OFFICER | _MACHINE),
    "request-erasure": Door({Role.CLIENT: Reach.SELF, Role.COMPLIANCE_OFFICER: Reach.CLINIC}),
    "refuse-erasure": Door({Role.COMPLIANCE_OFFICER: Reach.CLINIC} | _MACHINE),
    # Access
    "break-glass": Door({Role.THERAPIST: Reach.EMERGENCY, Role.SUPERVISOR: Reach.EMERGENCY}),
    "review-access": Door(_OFFICER),
    "grant-role": Door(_OFFICE | _MACHINE),
    "revoke-role": Door(_OFFICE | _MACHINE),
    # Notes
    "write-note": Door(_THERAPIST, _named("author")),
    "add-to-note": Door(_THERAPIST, _named("author")),
    "sign-note": Door(_THERAPIST),
    "cosign-note": Door(_THERAPIST | _SUPERVISOR),
    "write-process-note": Door(_THERAPIST),
    "share-process-note": Door(_THERAPIST),
    # Supervision
    "hold-supervision": Door(_THERAPIST | _SUPERVISOR),
    "agree-supervision-action": Door(_THERAPIST | _SUPERVISOR),
    "review-supervision-action": Door(_THERAPIST | _SUPERVISOR, _named("by")),
    "note-countertransference": Door(_THERAPIST),
    # Recall
    "schedule-recall": Door(_TAKING_PART, _named("party")),
    "hold-recall-interview": Door(_THERAPIST | _SUPERVISOR, _named("inquirer")),
    "mark-moment": Door(_TAKING_PART, _named("party")),
    # Corrections
    "correct-entry": Door(_THERAPIST | _SUPERVISOR | _OFFICE, _author_of_amended),
    "mark-entered-in-error": Door(_THERAPIST | _SUPERVISOR | _OFFICE, _author_of_amended),
}

DOORS: Mapping[str, Door] = MappingProxyType({**_READING, **_RECORDING})
"""Every door there is, by the name of what is read or of the command."""

INSIDE = frozenset({"read-record", "note-denial", "note-export", "destroy-keys"})
"""Commands without a door: doors and the operator's tools give them themselves."""

SPEAK_FOR_OTHERS = frozenset({Role.THERAPIST, Role.SYSTEM})
"""Who may record what somebody else said; the entry then says on whose behalf (rule 33)."""


# --- Denials --------------------------------------------------------------------------------


class NotAdmitted(Fault):
    status = 403
    says = "The role {role} does not use this door."


class NotInTheirPlace(Fault):
    status = 403
    says = "You can record what you say yourself, not what {person} does."


class OutOfReach(Fault):
    """The same answer whether it is not there or not theirs to know of."""

    status = 404
    says = "There is no such record here."


class ReadingRestricted(Fault):
    status = 403
    says = "A restriction that was agreed with the client is against this reading."


# --- Questions ------------------------------------------------------------------------------


def admit(door: str, who: Principal) -> Reach:
    """How far the principal gets through that door; NotAdmitted."""
    reach = DOORS[door].who.get(who.role)
    if reach is None:
        raise NotAdmitted(role=who.role)
    return reach


def within(reach: Reach, who: Principal, history: History, now: datetime) -> bool:
    """Whether that reach covers the relationship of this history, for this principal, now."""
    if reach in (Reach.STRUCTURE, Reach.ALL):
        return history.version > 0
    try:
        relationship = relationship_of(history)
    except Refusal:  # not there, or erased: nobody can tell any more whose it was
        return False
    match reach:
        case Reach.OWN:  # also who has left: it stays their record as far as it tells of them
            return who.person in relationship.ever(Part.CLIENT)
        case Reach.TREATED:
            return who.person in relationship.therapists
        case Reach.SUPERVISED:
            return who.person == relationship.supervisor and all(
                in_force(history, Scope.SUPERVISION_DISCLOSURE, client, now)
                for client in relationship.ever(Part.CLIENT)  # what is told of who left is told too
            )
    return False


def require_within(reach: Reach, who: Principal, history: History, now: datetime) -> None:
    """OutOfReach unless the reach covers the relationship of this history."""
    if not within(reach, who, history, now):
        raise OutOfReach


BASES: Mapping[Reach, Basis] = MappingProxyType(
    {
        Reach.OWN: Basis.OWN,
        Reach.TREATED: Basis.TREATING,
        Reach.SUPERVISED: Basis.CONSENT,
        Reach.STRUCTURE: Basis.STRUCTURE,
        Reach.ALL: Basis.OPERATION,
    }
)
"""What entitles to read a relationship that lies within a reach (rule 41)."""


@dataclass(frozen=True, slots=True)
class Entitled:
    """What entitles somebody to read a relationship."""

    basis: Basis
    consents: tuple[Reliance, ...] | None = None
    break_glass: UUID | None = None


def entitled(
    reach: Reach, who: Principal, history: History, accesses: History, now: datetime
) -> Entitled:
    """What entitles the principal to read the relationship; OutOfReach if nothing does (rule 41).

    An emergency counts before everything else: what is read under it says so.
    """
    broken = break_in_force(accesses, who.person, now)
    if broken is not None and reach in (Reach.TREATED, Reach.SUPERVISED) and _is_there(history):
        return Entitled(Basis.BREAK_GLASS, break_glass=broken.use)
    require_within(reach, who, history, now)
    if reach is Reach.SUPERVISED:
        consents = consenting(history, Scope.SUPERVISION_DISCLOSURE, now)
        clients = relationship_of(history).ever(Part.CLIENT)
        cited = tuple(reliance for client, reliance in consents.items() if client in clients)
        return Entitled(Basis.CONSENT, cited)
    return Entitled(BASES[reach])


def restricted(entitlement: Entitled, use: Use, history: History, now: datetime) -> frozenset[int]:
    """The entries that restrictions keep from this use, by version; ReadingRestricted where they
    cover the whole record.

    An emergency goes past them. Structure and operation are below them, but for a copy that is
    made for somebody.
    """
    below = use.recipient is None and entitlement.basis in (Basis.STRUCTURE, Basis.OPERATION)
    if below or entitlement.basis is Basis.BREAK_GLASS:
        return frozenset()
    entries = covered(binding(history, use, now))
    if entries is None:
        raise ReadingRestricted
    return entries


def _is_there(history: History) -> bool:
    """Whether there is a relationship, and something of it to read."""
    try:
        relationship_of(history)
    except Refusal:
        return False
    return True


def columns(reach: Reach, who: Principal) -> Mapping[str, UUID]:
    """What the clear columns of a case must hold to lie within reach."""
    match reach:
        case Reach.OWN:
            return {"clients": who.person}
        case Reach.TREATED:
            return {"therapists": who.person}
        case Reach.SUPERVISED:
            return {"supervisor": who.person}
        case Reach.STRUCTURE | Reach.ALL:
            return {}
    raise OutOfReach


def concerns(command: Command, clinic: UUID) -> Stream:
    """The stream a command is about: its relationship's, the one it names, or the clinic's."""
    relationship = getattr(command, "relationship", None)
    if relationship is not None:
        return relationship_stream(relationship)
    stream: Stream = getattr(command, "stream", clinic_stream(clinic))
    return stream


def require_command(
    command: Command,
    who: Principal,
    about: Stream,
    history: Callable[[Stream], History],
    now: datetime,
) -> UUID | None:
    """On whose behalf the principal records that command; None: for themself.

    Raises NotAdmitted, OutOfReach, or NotInTheirPlace.
    """
    door = DOORS[command.name]
    reach = admit(command.name, who)
    if not _covers(reach, command, who, about, history, now):
        raise OutOfReach
    voice = door.voice
    person = voice(command) if isinstance(voice, _Named) else voice(command, history(about))
    if person is None or person == who.person:
        return None
    if who.role not in SPEAK_FOR_OTHERS:
        raise NotInTheirPlace(person=person)
    return person


def spoken_for(
    command: Command,
    who: Principal,
    about: Stream,
    history: Callable[[Stream], History],
    now: datetime,
) -> UUID | None:
    """What `require_command` answers with, told without the record where the command names whose
    words it carries. Then nothing is judged yet, and nothing raised but NotAdmitted."""
    voice = DOORS[command.name].voice
    if not isinstance(voice, _Named):
        return require_command(command, who, about, history, now)
    admit(command.name, who)
    person = voice(command)
    return None if person == who.person else person


def holds_role(who: Bearer, history: Callable[[Stream], History]) -> bool:
    """Whether the role that the token carries is granted, and was since the token was issued."""
    roles = history(role_stream(who.person))
    lost = last_revoked(roles, who.role)
    return who.role in roles_of(roles) and (lost is None or lost < who.issued_at)


def require_role(who: Bearer, history: Callable[[Stream], History]) -> None:
    """NotAuthenticated unless the role that the token carries is still held."""
    if not holds_role(who, history):
        raise NotAuthenticated


def require_authored(reach: Reach, who: Principal, author: UUID) -> None:
    """OutOfReach for what somebody else recorded, where the reach is one's own commands."""
    if reach is Reach.AUTHORED and who.person != author:
        raise OutOfReach


_CLINIC_STREAMS = frozenset({"clinic", "person", "practitioner"})

OF_A_RELATIONSHIP = frozenset({"relationship", "process", "supervision"})
"""Streams that go by the id of a relationship and are told of to those in it."""

_OWN_WORDS = frozenset({"process", "supervision"})
"""Streams beside a relationship whose entries only their author amends."""


def _covers(
    reach: Reach,
    command: Command,
    who: Principal,
    about: Stream,
    history: Callable[[Stream], History],
    now: datetime,
) -> bool:
    match reach:
        case Reach.ALL:
            return True
        case Reach.CLINIC:
            return about.category in _CLINIC_STREAMS
        case Reach.OPENING:
            return who.person in getattr(command, "therapists", ())
        case Reach.SELF:
            return who.person == getattr(command, "person", None)
        case Reach.EMERGENCY:
            return about.category == "relationship" and _is_there(history(about))
    if about.category in _OWN_WORDS:
        amended = history(about).entry(getattr(command, "entry", 0))
        if amended is None or who.person not in (amended.actor, amended.on_behalf_of):
            return False
    elif about.category != "relationship" or _amends_as_supervisor(command, who):
        return False
    return within(reach, who, history(relationship_stream(about.id)), now)


def _amends_as_supervisor(command: Command, who: Principal) -> bool:
    """A supervisor amends what stands under supervision, never the relationship itself."""
    return who.role is Role.SUPERVISOR and command.name in (
        "correct-entry",
        "mark-entered-in-error",
    )
