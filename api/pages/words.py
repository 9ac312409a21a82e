"""The record's codes, times and ids in words for people."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from uuid import UUID

from api.doors import Withheld
from domain.access import Basis, Role
from domain.clinic import Scope
from domain.consent import ConsentDeclined, ConsentGiven
from domain.context import ContextEventRecorded
from domain.event import Erased, Event, Refusal
from domain.frame import FrameDepartureRecorded, FrameItemChanged
from domain.goal import GoalProposed, GoalRated, GoalRevised
from domain.instrument import load as load_instrument
from domain.note import NoteCosigned, NoteSigned, ProgressNoteWritten
from domain.phase import PhaseDeclared
from domain.possible_rupture import PossibleRuptureDismissed
from domain.rating import Rating
from domain.recording import RecordingStarted, RecordingUsed
from domain.relationship import ParticipantJoined
from domain.rupture import RepairAttempted, RuptureLeftOpen, RuptureMarked, RuptureResolved
from domain.scoring import Flag
from domain.series import SeriesId
from domain.session import SessionHeld
from domain.task import TaskProposed
from projections.caseload import Finding, Missing

# --- Codes ----------------------------------------------------------------------------------

TOPICS = {
    "relationship.opened": "Relationship opened",
    "relationship.participant_joined": "Somebody joined",
    "relationship.participant_left": "Somebody left",
    "relationship.paused": "Relationship paused",
    "relationship.resumed": "Relationship resumed",
    "phase.declared": "Phase began",
    "frame.agreed": "Frame agreed",
    "frame.item_changed": "Frame changed",
    "frame.departure_recorded": "Departure from the frame",
    "context.event_recorded": "From outside",
    "relationship.transferred": "Relationship transferred",
    "relationship.closed": "Relationship closed",
    "relationship.reopened": "Relationship reopened",
    "consent.information_given": "Information given",
    "consent.questions_addressed": "Questions addressed",
    "consent.given": "Consent given",
    "consent.declined": "Consent declined",
    "consent.renewed": "Consent renewed",
    "consent.scope_narrowed": "Consent narrowed",
    "consent.withdrawn": "Consent withdrawn",
    "assent.given": "Assent given",
    "assent.dissented": "Minor dissented",
    "assent.waived": "Minor not able to be asked",
    "assent.majority_reached": "Came of age",
    "session.scheduled": "Session scheduled",
    "session.rescheduled": "Session moved",
    "session.held": "Session held",
    "session.missed": "Session missed",
    "session.cancelled": "Session cancelled",
    "session.abandoned": "Session abandoned",
    "session.emergency_reviewed": "Emergency reviewed",
    "session.summary_shared": "Summary shared",
    "recording.started": "Recording started",
    "recording.ended": "Recording ended",
    "recording.used": "Recording used",
    "recording.destroyed": "Recording destroyed",
    "goal.proposed": "Goal proposed",
    "goal.revised": "Goal reworded",
    "goal.assented": "Goal assented to",
    "goal.dissented": "Goal dissented from",
    "goal.rated": "Goal rated",
    "goal.reached": "Goal reached",
    "goal.retired": "Goal retired",
    "goal.reopened": "Goal reopened",
    "task.proposed": "Task proposed",
    "task.assented": "Task assented to",
    "task.reviewed": "Task reviewed",
    "task.retired": "Task retired",
    "alliance.rated": "Rating",
    "alliance.rating_superseded": "Rating superseded by another",
    "alliance.early_reviewed": "Early alliance reviewed",
    "outcome.rated": "Outcome rated",
    "outcome.superseded": "Outcome rating superseded by another",
    "risk.item_raised": "Risk item raised",
    "risk.reviewed": "Risk item reviewed",
    "rupture.marked": "Rupture marked",
    "rupture.repair_attempted": "Repair attempted",
    "rupture.resolved": "Rupture seen as resolved",
    "rupture.left_open": "Rupture left open",
    "rupture.possible_dismissed": "Possible rupture dismissed",
    "restriction.agreed": "Restriction agreed",
    "restriction.lifted": "Restriction lifted",
    "amendment.requested": "Amendment asked for",
    "amendment.extended": "Amendment: more time taken",
    "amendment.accepted": "Amendment accepted",
    "amendment.denied": "Amendment denied",
    "amendment.disagreement_stated": "Disagreement with a denial",
    "amendment.disagreement_rebutted": "Disagreement answered",
    "note.written": "Note written",
    "note.addended": "Addendum to a note",
    "note.signed": "Note signed",
    "note.cosigned": "Note co-signed",
    "recall.scheduled": "Recall interview scheduled",
    "recall.interview_held": "Recall interview held",
    "recall.moment_marked": "Moment marked in recall",
    "entry.corrected": "Entry corrected",
    "entry.entered_in_error": "Entry marked as entered in error",
}
"""Every topic that stands in a relationship's stream."""

ROLES = {
    Role.THERAPIST: "Therapist",
    Role.CLIENT: "Client",
    Role.SUPERVISOR: "Supervisor",
    Role.COMPLIANCE_OFFICER: "Compliance officer",
    Role.ADMINISTRATOR: "Administrator",
    Role.SYSTEM: "System",
}

SEES = {
    Role.THERAPIST: "Sees the relationships with the own clients, whole.",
    Role.CLIENT: "Sees the own record, whole, and who has read it.",
    Role.SUPERVISOR: "Sees supervised relationships, while every client in them consents to that.",
    Role.COMPLIANCE_OFFICER: (
        "Sees of every relationship that something was recorded, when and by whom; not what."
        " Sees the log and its proofs."
    ),
    Role.ADMINISTRATOR: "Sees how far the clinic's log goes; no relationship.",
    Role.SYSTEM: "Holds the machine.",
}

BASES = {
    Basis.OWN: "own record",
    Basis.TREATING: "treating",
    Basis.CONSENT: "consent",
    Basis.BREAK_GLASS: "emergency",
    Basis.STRUCTURE: "structure only",
    Basis.OPERATION: "operation",
}

DOORS = {
    "caseload": "the list of relationships",
    "dossier": "the relationship",
    "notes": "the notes",
    "aggregates": "the base rates of the clinic",
    "entries": "its entries, word for word",
    "ruptures": "its ruptures, and what methods found",
    "analyses": "what methods make of its ratings",
    "process-notes": "process notes",
    "supervision": "supervision of the case",
    "holds": "legal holds",
    "timeline": "the timeline",
    "alliance": "the ratings",
    "consents": "the consents",
    "goals": "the goals",
    "readers": "who read it",
    "incidents": "emergencies and denials",
    "amendments": "amendments and what waits for them",
    "disclosures": "to whom it was disclosed",
    "export": "a copy of the record",
}

_FLAGS = {
    Flag.UNVERIFIED: "unverified key",
    Flag.INCOMPLETE: "no score: too many items not answered",
    Flag.PRORATED: "prorated",
    Flag.MISSING_RULE_PRODUCT_DEFAULT: "missing rule is this product's own",
    Flag.RAW_ITEMS_ONLY: "no key known, raw items only",
    Flag.NOT_ASKED: "follows an answer that was not given",
    Flag.CONTRADICTORY: "answered though not asked; not scored",
}

_MISSING = {
    Missing.CONTENT: "content erased",
    Missing.TREATMENT_CONSENT: "no consent to treatment in force",
    Missing.RISK_REVIEW: "risk item of {day} not reviewed",
    Missing.EMERGENCY_REVIEW: "session in an emergency, to be reviewed by {day}",
    Missing.ACCESS_REVIEW: "emergency access to be reviewed by {day}",
    Missing.ACTION_OVERDUE: "supervision action overdue since {day}",
    Missing.AMENDMENT: "request for amendment to be answered by {day}",
    Missing.NOTE_UNSIGNED: "note of {day} not signed",
    Missing.COSIGNATURE: "note of {day} awaits its co-signature",
    Missing.RUPTURE_OPEN: "rupture open, marked on {day}",
    Missing.ASSENT: "{scope}: the minor was not asked, or dissents",
    Missing.CONSENT_WITHDRAWN: "{scope} withdrawn on {day}",
    Missing.CONSENT_LAPSING: "{scope} lapses on {day}",
    Missing.RATING: "not rated by a client since {day}",
    Missing.GOALS: "no open goal",
    Missing.AGREEMENT: "goals not agreed by all",
}


def door(name: str) -> str:
    """What is behind a door; of one where something is recorded, its name."""
    return DOORS.get(name, plain(name))


def topic(code: str) -> str:
    """What kind of entry it is."""
    return TOPICS.get(code, code)


def plain(code: str) -> str:
    """A code as words: `goals_topics` → `goals topics`."""
    return code.replace("_", " ").replace("-", " ")


def scope(of: Scope) -> str:
    return plain(of.value)


def flag(of: Flag) -> str:
    return _FLAGS[of]


def gist(event: Event | Erased) -> str:
    """What an entry is about, in a few words; empty where its kind says all."""
    match event:
        case ConsentGiven(scope=of) | ConsentDeclined(scope=of):
            return scope(of)
        case Rating(instrument=instrument, perspective=perspective):
            return f"{instrument}, {perspective}"
        case GoalProposed(statement=text) | GoalRevised(statement=text):
            return shortened(text, 60)
        case GoalRated(level=level, perspective=perspective):
            return f"{level.scale.upper()} {level.value}, {perspective}"
        case TaskProposed(description=text):
            return shortened(text, 60)
        case SessionHeld(medium=medium):
            return plain(medium)
        case ParticipantJoined(part=part):
            return plain(part)
        case PhaseDeclared(phase=phase):
            return phase
        case FrameItemChanged(item=item) | FrameDepartureRecorded(item=item):
            return plain(item)
        case RecordingUsed(purpose=purpose):
            return plain(purpose)
        case ContextEventRecorded(kind=kind) | RecordingStarted(kind=kind):
            return plain(kind)
        case ProgressNoteWritten(kind=kind):
            return plain(kind)
        case NoteSigned(name=name, meaning=meaning) | NoteCosigned(name=name, meaning=meaning):
            return f"{name}, {meaning}"
        case RuptureMarked(kind=kind, perspective=perspective):
            return f"{kind}, {perspective}"
        case RuptureResolved(perspective=perspective) | RuptureLeftOpen(perspective=perspective):
            return perspective
        case RepairAttempted(strategies=strategies):
            return ", ".join(map(plain, strategies))
        case PossibleRuptureDismissed(possible=possible):
            return plain(possible.method)
    return ""


def finding(found: Finding) -> str:
    """One thing that is missing."""
    return _MISSING[found.what].format(
        scope="" if found.scope is None else f"consent to {scope(found.scope)}",
        day="" if found.at is None else day(found.at),
    )


@cache
def _rules() -> Mapping[str, int]:
    """The number of the rule behind each refusal's code."""
    kinds: list[type[Refusal]] = [Refusal]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.code: kind.rule for kind in kinds[1:] if kind.rule is not None}


def reported(code: str) -> str:
    """A refusal that an import reported: `consent missing (rule 12)`."""
    rule = _rules().get(code)
    return plain(code) if rule is None else f"{plain(code)} (rule {rule})"


def reported_rules(codes: Iterable[str]) -> str:
    """All that an import reported, by the numbers of the rules; empty if it reported nothing."""
    rules = sorted({rule for code in codes if (rule := _rules().get(code)) is not None})
    kind = "rule" if len(rules) == 1 else "rules"
    return f"import reported: {kind} {', '.join(map(str, rules))}" if rules else ""


def series(of: SeriesId) -> str:
    """What may share an axis, apart from the form (rule 32)."""
    name = load_instrument(of.instrument).name
    metric = {"sum": "sums of items", "mean": "means of items"}.get(of.metric, of.metric)
    return f"{of.instrument} · {name} · {metric} · key {of.key_major}"


# --- Times ----------------------------------------------------------------------------------


def day(at: date) -> str:
    """The day where it happened: `3 Mar 2026`."""
    return f"{at.day} {at:%b %Y}"


def minute(at: datetime) -> str:
    """Day and time with the offset: `3 Mar 2026, 14:00 +01:00`."""
    return f"{day(at)}, {at:%H:%M} {_offset(at)}"


def second(at: datetime) -> str:
    """The second by which it had happened, in UTC: how the record's own times are shown.

    Rounded up, so that whatever is asked as of a time read here includes what stood beside it.
    """
    utc = whole_second(at)
    return f"{day(utc)}, {utc:%H:%M:%S} UTC"


def _offset(at: datetime) -> str:
    offset = at.utcoffset()
    return "UTC" if not offset else at.isoformat()[-6:]


def whole_second(at: datetime) -> datetime:
    """The first whole second, in UTC, at which it had happened."""
    utc = at.astimezone(UTC)
    return utc.replace(microsecond=0) + timedelta(seconds=1 if utc.microsecond else 0)


def field(at: datetime) -> str:
    """The value of a form's field for date and time, in UTC, to the second."""
    return f"{whole_second(at):%Y-%m-%dT%H:%M:%S}"


# --- Ids and content ------------------------------------------------------------------------


def short(id_: UUID) -> str:
    """Enough of an id to tell it from its neighbours."""
    return str(id_)[:8]


def unseen(content: object) -> str:
    """Why content is not shown: `erased` or `withheld`; empty where it is."""
    match content:
        case Withheld():
            return "withheld"
        case Erased():
            return "erased"
    return ""


def shortened(text: str, letters: int) -> str:
    """The text on one line, cut at a word where it is too long."""
    line = " ".join(text.split())
    if len(line) <= letters:
        return line
    return line[: letters - 1].rsplit(" ", 1)[0].rstrip(",.;:") + "…"
