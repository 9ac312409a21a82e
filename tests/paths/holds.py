"""What holds in every record, whatever was handed in: the rules, asked of what stands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from uuid import UUID

from domain.access import BreakGlassUsed
from domain.clinic import Scope
from domain.consent import Reliance, consenting, consents_of, relied_on
from domain.erasure import KeyDestroyed
from domain.event import Erased, Event, History, Policy, RecordedEvent, Source, Stream
from domain.goal import GoalAssented, GoalRated, GoalStatus, goals_of
from domain.hold import held
from domain.instrument import load_key
from domain.note import NoteCosigned, NoteSigned, notes_of
from domain.rating import Rating, ratings_of
from domain.recording import RecordingStarted, RecordingUsed, recordings_of
from domain.relationship import (
    RelationshipErased,
    RelationshipUnknown,
    relationship_of,
    require_sound,
)
from domain.risk import RiskItemRaised, at_risk
from domain.rupture import RepairAttempted, RuptureLeftOpen, RuptureResolved, ruptures_of
from domain.session import Session, SessionHeld, SessionsOverlap, sessions_of
from domain.supervision import SupervisionHeld, actions_of

POLICY = Policy()


def nothing_lies_outside(history: History) -> None:
    """Rule 16: before the opening or after a closing stands only what may."""
    with suppress(RelationshipUnknown, RelationshipErased):
        relationship = relationship_of(history)
        since = {closure.since for closure in relationship.closures}
        outside = filter(relationship.is_outside, history.standing)
        assert [entry for entry in outside if entry.occurred_at not in since] == []


def people_fit(history: History) -> None:
    """Rule 10: at any time one client, one therapist and at most one supervisor."""
    with suppress(RelationshipUnknown, RelationshipErased):
        require_sound(relationship_of(history))


def late_is_said(history: History) -> None:
    """Rules 3 and 4: what is late has a reason, and nothing lies ahead."""
    for entry in history:
        assert entry.occurred_at <= entry.recorded_at + POLICY.clock_tolerance
        if isinstance(entry.event, Event) and entry.is_late(POLICY):
            assert entry.event.late_reason or isinstance(entry.event, Rating | RiskItemRaised)


def sessions_are_consented_to(history: History) -> None:
    """Rule 12: at the start of each, by everybody; or it says why not, and by when it is reviewed.

    Where a consent that it cites was never given, or is erased, the entry says no more than that.
    """
    standing = {e.version for e in history.standing if not isinstance(e.event, Erased)}
    with suppress(RelationshipUnknown, RelationshipErased):
        relationship = relationship_of(history)
        for entry, session in history.of(SessionHeld):
            if session.emergency is not None:
                assert session.emergency.review_by >= session.started_at.date()
                continue
            if session.reported or not standing.issuperset(relied_on(session)):
                continue
            found = consenting(history, Scope.TREATMENT, session.started_at)
            for client in relationship.at(session.started_at).clients:
                assert client in found or client not in session.present, entry.version


def what_was_held_stays_held(history: History) -> None:
    """Rule 13: nothing later makes it missed or cancelled."""
    sessions = sessions_of(history)
    for _, session in history.of(SessionHeld):
        assert sessions[session.session].is_held


def nothing_relies_on_what_was_withdrawn(history: History, *beside: History) -> None:
    """Rules 20 and 24: from a withdrawal on, no entry cites that consent."""
    consents = consents_of(history)
    for stream in (history, *beside):
        for entry in stream.standing:
            cited: tuple[Reliance, ...] = getattr(entry.event, "relies_on", ())
            for reliance in cited:
                consent = consents.get(reliance.consent)
                if consent is not None and consent.withdrawn_at is not None:
                    assert entry.occurred_at < consent.withdrawn_at, entry.version


def recordings_are_consented_to(history: History) -> None:
    """Rule 22: none lasts longer than the consent it rests on, lies outside its session, or is
    used before its end."""
    sessions, consents = sessions_of(history), consents_of(history)
    for recording in recordings_of(history).values():
        if recording.ended_at is None:
            continue
        started = recording.entry.event
        assert isinstance(started, RecordingStarted)
        for reliance in started.relies_on:
            consent = consents.get(reliance.consent)
            if consent is not None and consent.withdrawn_at is not None:
                assert recording.ended_at <= consent.withdrawn_at
        session = sessions.get(recording.session)
        if session is not None and session.is_held and recording.is_ended:
            assert session.started_at <= recording.started_at
            assert recording.ended_at <= session.ended_at
        for use in recording.uses:
            assert isinstance(use.event, RecordingUsed)
            assert recording.ended_at <= use.occurred_at


def what_was_rated_was_agreed(history: History) -> None:
    """Rules 25 and 26: each rating is of the wording in force, agreed by all; each assent of one
    that was in force. What is erased may have changed that, and can be asked no more."""
    if any(isinstance(entry.event, Erased) for entry in history):
        return
    relationship, today = relationship_of(history), goals_of(history)
    for entry in history.standing:
        event = entry.event
        if not isinstance(event, GoalRated | GoalAssented) or event.goal not in today:
            continue
        goal = goals_of(_before(history, entry)).get(event.goal)
        assert goal is not None
        if today[event.goal].revision(event.revision) is not None:
            assert goal.current.number == event.revision
        if isinstance(event, GoalRated):
            assert goal.status is GoalStatus.OPEN
            assert goal.current.agreed_by(relationship.at(entry.occurred_at).participants)


def _before(history: History, entry: RecordedEvent) -> History:
    """What stands that had happened before an entry."""
    at = (entry.occurred_at, entry.version)
    return History(one for one in history.standing if (one.occurred_at, one.version) < at)


def ratings_are_one_each(history: History) -> None:
    """Rules 28 and 29: one current rating of a held session, form, perspective and rater."""
    sessions = sessions_of(history)
    current = [one for one in ratings_of(history).values() if one.rating.session is not None]
    places = [
        (one.rating.session, one.rating.instrument, one.rating.perspective, one.rating.rater)
        for one in current
    ]
    assert len(set(places)) == len(places)
    erased = any(isinstance(entry.event, Erased) for entry in history)
    for session, *_ in places:
        assert session is not None
        assert erased or sessions[session].is_held


def risks_are_raised(history: History) -> None:
    """Rule 35: with each rating, in the same commit, exactly what its answers raise; and it
    stands, whatever became of the rating."""
    raised: dict[UUID, set[tuple[UUID, int]]] = {}
    standing = {entry.version for entry in history.standing}
    for entry in history:
        if isinstance(entry.event, RiskItemRaised):
            assert entry.version in standing
            raised.setdefault(entry.command_id, set()).add((entry.event.rating, entry.event.item))
    for entry in history:
        rating = entry.event
        if isinstance(rating, Rating) and rating.key_hash is not None:
            items = at_risk(load_key(rating.key_hash), rating.items, entry.occurred_at)
            assert raised.get(entry.command_id, set()) == {(rating.rating, item) for item in items}


def resolutions_have_ruptures(history: History) -> None:
    """Rule 39: no view or repair before its rupture, and no coding outside its recording."""
    ruptures, recordings = ruptures_of(history), recordings_of(history)
    for entry in history.standing:
        if isinstance(entry.event, RuptureResolved | RuptureLeftOpen | RepairAttempted):
            rupture = ruptures.get(entry.event.rupture)
            assert rupture is None or rupture.entry.occurred_at <= entry.occurred_at
    for rupture in ruptures.values():
        segment = rupture.marked.segment
        recording = None if segment is None else recordings.get(segment.recording)
        if segment is not None and recording is not None and recording.seconds is not None:
            assert segment.to_s <= recording.seconds


def signatures_fit(history: History) -> None:
    """Rule 1: each is of the entry it names, the author's own, and countersigned after that."""
    for note in notes_of(history).values():
        for writing in (note.body, *note.addenda):
            for signature in writing.signatures:
                signed = signature.signed
                assert signature.fits
                assert signature.entry.actor == signed.signer
                own = signed.signer == writing.written.author
                assert own == isinstance(signed, NoteSigned) != isinstance(signed, NoteCosigned)
                assert own or writing.is_signed


def supervision_is_consented_to(history: History, supervision: History) -> None:
    """Rules 20 and 40: no case is spoken of without consent; each action is due on a day that
    lay ahead."""
    consents = consents_of(history)
    for entry, spoken in supervision.of(SupervisionHeld):
        assert spoken.relies_on or spoken.reported
        for reliance in spoken.relies_on:
            consent = consents.get(reliance.consent)
            assert consent is None or consent.given.valid_from <= entry.occurred_at
    for action in actions_of(supervision).values():
        assert action.due >= action.entry.occurred_at.date()


def emergencies_are_short(accesses: History) -> None:
    """Rule 41: an opened record closes by itself."""
    for entry, used in accesses.of(BreakGlassUsed):
        assert entry.occurred_at < used.until <= entry.occurred_at + POLICY.break_glass


def nothing_held_is_erased(erasures: History, holds: Mapping[UUID, History]) -> None:
    """Rule 9: at the time of each erasure no hold stood on what it was of."""
    for entry, destroyed in erasures.of(KeyDestroyed):
        for relationship in destroyed.relationships:
            known = holds[relationship].as_of(known_at=entry.recorded_at)
            assert held(known, entry.recorded_at) == ()


def imports_say_so(history: History) -> None:
    """Rule 45: what is imported names its basis, and nothing else reports instead of refusing."""
    for entry in history:
        if isinstance(entry.event, Event):
            imported = entry.source is Source.IMPORT
            assert imported == (entry.event.import_id is not None)
            assert imported or not _reports(entry.event)


def _reports(event: Event) -> bool:
    """Whether it reports by itself; what supersedes or corrects carries on what was reported."""
    return bool(event.reported) and not isinstance(event, Rating)


def no_hour_is_given_twice(histories: Sequence[History]) -> None:
    """Rule 14: unless joint, or imported, which says so."""
    reported = {
        event.session
        for history in histories
        for _, event in history.of(SessionHeld)
        if SessionsOverlap.code in event.reported
    }
    held: list[Session] = [
        session
        for history in histories
        for session in sessions_of(history).values()
        if session.is_held and session.id not in reported
    ]
    for one, two in combinations(held, 2):
        apart = one.ended_at <= two.started_at or two.ended_at <= one.started_at
        assert apart or (one.joint and two.joint)


RULES: Sequence[Callable[[History], None]] = (
    nothing_lies_outside,
    people_fit,
    late_is_said,
    sessions_are_consented_to,
    what_was_held_stays_held,
    recordings_are_consented_to,
    what_was_rated_was_agreed,
    ratings_are_one_each,
    risks_are_raised,
    resolutions_have_ruptures,
    signatures_fit,
    imports_say_so,
)
"""What holds in the stream of one relationship by itself."""


def everything_holds(
    read: Callable[[Stream], History], relationships: Sequence[UUID], people: Sequence[UUID]
) -> None:
    """Every rule, in all that these relationships and people are told of."""

    def streams(category: str, ids: Sequence[UUID]) -> Iterator[History]:
        return (read(Stream(category, id_)) for id_ in ids)

    told = [*streams("relationship", relationships)]
    for history, id_ in zip(told, relationships, strict=True):
        for holds in RULES:
            holds(history)
        process, supervision, disclosures = (
            read(Stream(category, id_)) for category in ("process", "supervision", "disclosure")
        )
        nothing_relies_on_what_was_withdrawn(history, process, supervision, disclosures)
        supervision_is_consented_to(history, supervision)
        emergencies_are_short(read(Stream("access", id_)))
    holds_on = dict(zip(relationships, streams("hold", relationships), strict=True))
    for erasures in streams("erasure", people):
        nothing_held_is_erased(erasures, holds_on)
    if not any(isinstance(entry.event, Erased) for history in told for entry in history):
        no_hour_is_given_twice(told)
