"""What stands below the chart of a relationship: consents, goals, tasks, sessions, ratings.

Every statement names the entry that establishes it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from api.doors import Visit
from api.pages import around, course, ruptures, words
from api.pages.around import Around
from api.pages.people import People
from api.pages.ruptures import Ruptures
from api.pages.said import Said
from domain.clinic import Scope
from domain.event import History
from domain.goal import GoalStatus
from domain.methods.card import MethodCard
from domain.session import (
    SessionAbandoned,
    SessionCancelled,
    SessionHeld,
    SessionMissed,
    SessionRescheduled,
    SessionScheduled,
    session_numbers,
    sessions_of,
)
from domain.task import Task, TaskRetired, TaskReviewed, tasks_of
from projections.caseload import Finding, missing
from projections.consent_register import ConsentRow, Step, unanswered
from projections.dossier import Dossier
from projections.goal_course import GoalRow, Kind, series
from projections.possible_ruptures import Possible
from projections.view import known


@dataclass(frozen=True, slots=True)
class Consent:
    """Where one person stands on one scope."""

    scope: str
    party: str
    state: str
    tone: str
    """Of the badge: good, alarm or none."""
    detail: str
    said: tuple[Said, ...]
    reported: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal in the wording in force, who stands where on it, and how it was rated."""

    number: int
    statement: str
    state: str
    tone: str
    worded: Said
    stances: tuple[Said, ...]
    earlier: tuple[Said, ...]
    rated: tuple[tuple[str, tuple[Said, ...]], ...]
    """By scale and perspective, in order of time."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task, what it is for, and how it went."""

    description: str
    aim: str
    state: str
    proposed: Said
    assents: tuple[Said, ...]
    reviews: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Meeting:
    """A session, and how it came out."""

    number: str
    at: datetime
    state: str
    detail: str
    notes: tuple[str, ...]
    version: int
    """Of the entry that says so."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Entries of which nothing can be shown, and why."""

    why: str
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What stands below the chart."""

    missing: tuple[str, ...] = ()
    ratings: Mapping[course.Axis | None, list[course.Rated]] = field(default_factory=dict)
    unseen: tuple[Unseen, ...] = ()
    """Ratings whose content is erased, or withheld from this reader."""
    consents: tuple[Consent, ...] = ()
    unseen_consents: tuple[Unseen, ...] = ()
    goals: tuple[Goal, ...] = ()
    tasks: tuple[Assignment, ...] = ()
    sessions: tuple[Meeting, ...] = ()
    ruptures: Ruptures = field(default_factory=Ruptures)
    around: Around = field(default_factory=Around)


def told(
    visit: Visit,
    dossier: Dossier,
    history: History,
    people: People,
    cards: Sequence[MethodCard] | None,
    found: Sequence[Possible] | None,
) -> Told:
    """All of it, as of the two times of the visit."""
    now = visit.known_at or visit.house.clock()
    case = dossier.case
    lacks: Iterable[Finding] = ()
    if case is not None and visit.findings(case) is not None:
        waits = visit.beside().get(visit.stream.id, ()) if visit.known_at is None else ()
        lacks = (*waits, *missing(case, now))
    return Told(
        missing=tuple(map(words.finding, lacks)),
        ratings=course.ratings(dossier, people),
        unseen=tuple(_unseen({v: row.items.value for v, row in dossier.ratings.items()})),
        consents=tuple(_consents(dossier.consents, people, now)),
        unseen_consents=tuple(_unseen({v: row.party.value for v, row in dossier.consents.items()})),
        goals=tuple(_goals(dossier, people)),
        tasks=tuple(_tasks(history, dossier, people)),
        sessions=tuple(_sessions(history, people)),
        ruptures=ruptures.ruptures(history, cards, found, people, visit.who.person),
        around=around.around(history, people, visit),
    )


def _unseen(contents: Mapping[int, object]) -> Iterator[Unseen]:
    """What of these is erased, and what is withheld."""
    for why in ("erased", "withheld"):
        versions = [v for v, content in sorted(contents.items()) if words.unseen(content) == why]
        if versions:
            yield Unseen(why, tuple(versions))


# Consents -----------------------------------------------------------------------------------


def _consents(rows: Mapping[int, ConsentRow], people: People, now: datetime) -> Iterator[Consent]:
    """The newest answer of each person to each scope, then what is not answered or not readable.

    What a minor says to a scope is an answer beside the guardian's.
    """
    newest: dict[tuple[Scope, UUID, bool], tuple[int, ConsentRow]] = {}
    for version, row in sorted(rows.items()):
        scope, party = known(row.scope), known(row.party)
        if scope is not None and party is not None:
            by_minor = known(row.step) in (Step.ASSENTED, Step.DISSENTED, Step.WAIVED)
            newest[scope, party, by_minor] = (version, row)
    order = list(Scope)
    for (scope, party, by_minor), (version, row) in sorted(
        newest.items(), key=lambda item: (order.index(item[0][0]), people.name(item[0][1]))
    ):
        state, tone, detail = _standing(row, now)
        answer = "said by" if by_minor else "given by" if row.consent else "declined by"
        said = [Said(answer, version)]
        if row.withdrawn_at is not None:
            ended = row.withdrawn_at.ref.version
            said.append(Said("withdrawn by", ended))
        yield Consent(
            words.scope(scope).capitalize(),
            people.who(party),
            state,
            tone,
            detail,
            tuple(said),
            tuple(map(words.reported, known(row.reported) or ())),
        )
    for row in unanswered(rows):
        yield _unanswered(row, people)


def _standing(row: ConsentRow, now: datetime) -> tuple[str, str, str]:
    """State, tone and detail of one answer at that time."""
    document = f"version {known(row.document_version)} of the document"
    at, step = known(row.at), known(row.step)
    on = "" if at is None else words.day(at)
    if step is Step.DECLINED:
        return "declined", "", f"{document}, {on}"
    if step is Step.ASSENTED:
        return "the minor assents", "good", f"{document}, {on}"
    if step in (Step.DISSENTED, Step.WAIVED):
        dissents, reason = step is Step.DISSENTED, known(row.reason)
        state = "the minor dissents" if dissents else "the minor cannot be asked yet"
        return state, "alarm" if dissents else "", on + (f": {reason}" if reason else "")
    begins, ends, withdrawn = known(row.valid_from), row.ends_at, known(row.withdrawn_at)
    since = "" if begins is None else f"since {words.day(begins)}"
    if withdrawn is not None and withdrawn <= now:
        reason = known(row.withdrawal_reason)
        return (
            "withdrawn",
            "alarm",
            f"{since} until {words.day(withdrawn)}" + (f": {reason}" if reason else ""),
        )
    if ends is not None and ends <= now:
        return "lapsed", "alarm", f"{since} until {words.day(ends)}"
    if begins is not None and begins > now:
        return "not yet", "", f"from {words.day(begins)}; {document}"
    until = "until withdrawn" if ends is None else f"until {words.day(ends)}"
    left_out = "".join(f"; without: {known(part)}" for part in row.excludes)
    detail = f"{since}, {until}; {document}{left_out}"
    if not row.holds(now):
        return "waits for the minor's assent", "alarm", detail
    return "in force", "good", detail


def _unanswered(row: ConsentRow, people: People) -> Consent:
    party, at, version = known(row.party), known(row.at), row.step.ref.version
    return Consent(
        "Informed, not answered",
        "" if party is None else people.who(party),
        "open",
        "",
        f"version {known(row.document_version)} of a document"
        + ("" if at is None else f", {words.day(at)}"),
        (Said("informed by", version),),
        (),
    )


# Goals and tasks ----------------------------------------------------------------------------


def _goals(dossier: Dossier, people: People) -> Iterator[Goal]:
    worded: dict[UUID, list[tuple[int, GoalRow]]] = {}
    for version, row in sorted(dossier.goals.items()):
        goal = known(row.goal)
        if goal is not None and known(row.kind) is Kind.WORDING:
            worded.setdefault(goal, []).append((version, row))
    ratings = series(dossier.goals)
    for number, (goal, wordings) in enumerate(worded.items(), start=1):
        version, row = wordings[-1]
        rated: dict[str, tuple[Said, ...]] = {}
        for (of, scale, perspective, by), rows in ratings.items():
            for one in rows if of == goal else ():
                voice = perspective.value if by is None else people.part(by) or perspective.value
                level = Said(str(known(one.level)).replace("-", "−"), one.by.ref.version)
                line = f"{scale.upper()}, {voice}"
                rated[line] = (*rated.get(line, ()), level)
        state, tone = _state(row)
        yield Goal(
            number=number,
            statement=known(row.statement) or "Content erased.",
            state=state,
            tone=tone,
            worded=Said(f"revision {known(row.revision)}", version),
            stances=tuple(_stances(row, people)),
            earlier=tuple(
                Said(f"revision {known(old.revision)}: {known(old.statement)}", at)
                for at, old in wordings[:-1]
            ),
            rated=tuple(rated.items()),
        )


def _state(row: GoalRow) -> tuple[str, str]:
    """Where a goal stands, and the tone of its badge."""
    status, agreed = known(row.status), known(row.agreed_at)
    if status is GoalStatus.REACHED:
        return "reached", "good"
    if status is GoalStatus.RETIRED:
        return "retired", ""
    if agreed is None:
        return "not agreed by all", "alarm"
    return f"agreed by all on {words.day(agreed)}", "good"


def _stances(row: GoalRow, people: People) -> Iterator[Said]:
    """Everybody whose assent counts, and where they stand on this wording."""
    assents = {known(cell): cell.ref.version for cell in row.assents}
    dissents = {
        said.party: (said.reason, cell.ref.version)
        for cell in row.dissents
        if (said := known(cell)) is not None
    }
    hidden = [why for cell in row.dissents if (why := words.unseen(cell.value))]
    for party in (*people.clients, *people.therapists):
        if party in assents:
            yield Said(f"{people.who(party)} agrees", assents[party])
        elif party in dissents:
            reason, version = dissents[party]
            yield Said(f"{people.who(party)} does not agree: {reason}", version)
        elif hidden:
            yield Said(f"{people.who(party)}: answer {hidden[0]}, if there is one", 0)
        else:
            yield Said(f"{people.who(party)} has not answered", 0)


def _tasks(history: History, dossier: Dossier, people: People) -> Iterator[Assignment]:
    numbers = {
        goal: number
        for number, goal in enumerate(
            dict.fromkeys(
                known(row.goal)
                for _, row in sorted(dossier.goals.items())
                if known(row.kind) is Kind.WORDING
            ),
            start=1,
        )
    }
    for task in tasks_of(history).values():
        aims = [f"goal {numbers[g]}" for g in task.proposed.aim.goals if g in numbers]
        if task.proposed.aim.purpose:
            aims.append(task.proposed.aim.purpose)
        retired = task.retired and task.retired.event
        yield Assignment(
            description=task.proposed.description,
            aim=", ".join(aims),
            state=f"over: {retired.reason}" if isinstance(retired, TaskRetired) else "",
            proposed=Said(
                f"proposed by {people.who(task.proposed.by)}, {words.day(task.entry.occurred_at)}",
                task.entry.version,
            ),
            assents=tuple(
                Said(f"{people.who(party)} agrees", entry.version)
                for party, entry in task.assents.items()
            ),
            reviews=tuple(_reviews(task, people)),
        )


def _reviews(task: Task, people: People) -> Iterator[Said]:
    for entry in task.reviews:
        review = entry.event
        if isinstance(review, TaskReviewed):
            parts = [f"{words.day(entry.occurred_at)}, {people.who(review.by)}: "]
            parts.append(words.plain(review.done))
            if review.helpfulness is not None:
                parts.append(f", helpfulness {review.helpfulness} of 10")
            if review.remark:
                parts.append(f". {review.remark}")
            yield Said("".join(parts), entry.version)


# Sessions -----------------------------------------------------------------------------------


def _sessions(history: History, people: People) -> Iterator[Meeting]:
    """Every session in order of its start, by the last entry about it."""
    numbers = session_numbers(history)
    last = {}
    for entry in history.standing:
        match entry.event:
            case (
                SessionScheduled()
                | SessionRescheduled()
                | SessionHeld()
                | SessionMissed()
                | SessionCancelled() as event
            ):
                last[event.session] = (entry, event)
    for session in sorted(sessions_of(history).values(), key=lambda session: session.started_at):
        entry, event = last[session.id]
        notes = [f"import reported: {words.reported(code)}" for code in event.reported]
        if entry.amended_at is not None:
            notes.append("corrected")
        detail = ""
        match event:
            case SessionAbandoned():
                detail = f"{words.plain(event.medium)}; {people.who(event.who)}: {event.why}"
            case SessionHeld(emergency=emergency):
                detail = words.plain(event.medium)
                if emergency is not None:
                    notes.append(f"emergency, reviewed by {emergency.review_by}")
            case SessionMissed() | SessionCancelled() | SessionRescheduled():
                detail = f"{people.who(event.who)}: {event.why}"
        yield Meeting(
            number=str(numbers.get(session.id, "")),
            at=session.started_at,
            state=session.status,
            detail=detail,
            notes=tuple(notes),
            version=entry.version,
        )
