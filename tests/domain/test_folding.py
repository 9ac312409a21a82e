"""A history that grew is folded on, and comes to what it would come to folded anew."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pkgutil import iter_modules
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

import domain
from domain.clinic import Scope
from domain.consent import consenting, consents_of, in_force
from domain.correction import EnteredInError, EntryCorrected
from domain.event import (
    ERASED,
    Erased,
    Event,
    Fold,
    History,
    Immediate,
    Policy,
    RecordedEvent,
    Refusal,
    Stream,
)
from domain.goal import GoalAssented, goals_of, goals_worded
from domain.records import Author, Proposal
from domain.relationship import Part, Turn, relationship_in
from domain.session import SessionTimeTaken, taken_about
from domain.told import Growing, Telling
from domain.topics import COMMANDS, EVENTS
from tests.domain.test_records import (
    _CLIENT,
    _THERAPIST,
    COMMAND_BODIES,
    GOLDEN,
    OTHERS,
    moved,
    read_current,
    wild_records,
)
from tests.kit import BEGINNING, CLIENT, CLINIC, DAY, HOUR, NOW, OFFICE, Record, held, taken

CLOCK = datetime(2026, 4, 1, tzinfo=UTC)


def _folds() -> Iterator[tuple[str, Any]]:
    for found in iter_modules(domain.__path__, "domain."):
        for name, value in vars(import_module(found.name)).items():
            if isinstance(value, Telling):
                yield f"{found.name}{name}", value.fold
            elif isinstance(value, Fold):
                yield f"{found.name}{name}", value


FOLDS: Mapping[str, Fold[Any]] = dict(_folds())


def streams_of(record: Record) -> list[Stream]:
    return list(dict.fromkeys(entry.stream for entry in record.entries))


def plain(state: Any) -> Any:
    """A state in which the order of everything is compared too."""
    if isinstance(state, Mapping):
        return [(plain(key), plain(value)) for key, value in state.items()]
    if isinstance(state, list | tuple):
        return [plain(value) for value in state]
    if is_dataclass(state) and not isinstance(state, RecordedEvent):
        return [plain(getattr(state, field.name)) for field in fields(state)]
    return state


def grown(entries: tuple[RecordedEvent, ...], cuts: list[int]) -> Iterator[History]:
    """Histories of these entries, each the one before and a few more."""
    history = History(entries[: cuts[0]])
    yield history
    for size in cuts[1:]:
        history = history.then(*entries[len(history) : len(history) + size])
        yield history


CUTS = st.just([1] * 10) | st.lists(st.integers(0, 3), min_size=4, max_size=12)


# --- Entries that have much to do with each other --------------------------------------------

FAMILIES: Mapping[str, Sequence[str]] = {
    prefix: [topic for topic in EVENTS if topic.partition(".")[0] in prefix.split()]
    for prefix in (
        *("goal", "task", "rupture", "note", "session", "alliance outcome", "consent assent"),
        *("relationship", "context", "schedule", "recording consent session", "recall", "frame"),
        "instrument_licence consent_document",
    )
}
_IDS = tuple(str(UUID(int=number)) for number in (1, 2))
_NAMED = {
    *("goal", "task", "rupture", "note", "addendum", "session", "rating", "superseded"),
    *("consent", "context", "recording", "recall", "moment", "party", "person"),
}
MOST = 10


@st.composite
def dense_streams(draw: st.DrawFn, topics: Sequence[str]) -> tuple[RecordedEvent, ...]:
    """A stream about one or two things of a kind, told in any order of time and often amended."""
    chance = Random(draw(st.integers(0, 2**32)))  # noqa: S311  evenly, which draws are not
    topics = chance.sample(topics, chance.randint(1, len(topics)))
    told: list[RecordedEvent] = []
    for version in range(1, chance.randint(2, MOST) + 1):
        amends = told and chance.random() < 0.1
        event = _amending(chance, told) if amends else _telling(chance, topics)
        told.append(_numbered(version, event, chance.randint(0, 4)))
    return tuple(told)


def _telling(chance: Random, topics: Sequence[str]) -> Event | Erased:
    topic = chance.choice(topics)
    content = {
        name: chance.choice(_IDS) if name in _NAMED and value else value
        for name, value in GOLDEN[topic].items()
    }
    if "revision" in content:
        content["revision"] = chance.randint(1, 2)
    if "commitment" in content:
        content["entry"] = chance.randint(1, MOST)
        content["commitment"] = f"{chance.choice([content['entry'], 0]):064x}"
    return ERASED if chance.random() < 0.05 else read_current(topic, content)


def _amending(chance: Random, told: list[RecordedEvent]) -> Event:
    entry = chance.choice(told)
    if isinstance(entry.event, Erased) or entry.amends() or chance.random() < 0.5:
        return EnteredInError(entry=entry.version, reason="No.")
    return EntryCorrected(
        entry=entry.version,
        reason="Another day.",
        of_topic=entry.topic,
        of_schema_version=entry.event.schema_version,
        content=entry.event.model_dump(exclude_none=True),
        occurred=NOW - chance.randint(0, 4) * DAY,
    )


def _numbered(version: int, event: Event | Erased, days_ago: int) -> RecordedEvent:
    (template,) = Record().and_given(held()).entries
    return replace(
        template,
        version=version,
        position=version,
        topic="note.written" if isinstance(event, Erased) else event.topic,
        occurred_at=NOW - days_ago * DAY,
        event=event,
        commitment=f"{version:064x}",
    )


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[RecordedEvent, ...]]:
    """A dense stream, or those of a wild record."""
    if draw(st.booleans()):
        return [draw(dense_streams(draw(st.sampled_from([*FAMILIES.values()]))))]
    record = draw(wild_records())
    return [tuple(record.history(stream)) for stream in streams_of(record)]


# --- Properties -----------------------------------------------------------------------------


def require_alike(entries: tuple[RecordedEvent, ...], cuts: list[int]) -> None:
    """By every fold a grown history comes to what a fresh one does; those before it stay so."""
    expected: dict[History, Any] = {}
    for history in grown(entries, cuts):
        fresh = History(history)
        expected[history] = {name: plain(fold.of(fresh)) for name, fold in FOLDS.items()}
        for name, state in expected[history].items():
            assert plain(history.folded(FOLDS[name])) == state, name
    for history, states in expected.items():
        for name, state in states.items():
            assert plain(history.folded(FOLDS[name])) == state, name


@pytest.mark.parametrize("topics", FAMILIES.values(), ids=FAMILIES.keys())
@settings(max_examples=400)
@for_all(st.data(), CUTS)
def test_a_grown_history_comes_to_what_a_fresh_one_comes_to(
    topics: Sequence[str], data: st.DataObject, cuts: list[int]
) -> None:
    """Rules 1, 6, 9: however it grew, with amendments, erased and late entries anywhere."""
    require_alike(data.draw(dense_streams(topics)), cuts)


@for_all(wild_records(), CUTS)
def test_so_does_one_that_nobody_could_have_written(record: Record, cuts: list[int]) -> None:
    """Rules 1, 6, 9: also where entries of every kind contradict and miss each other."""
    for stream in streams_of(record):
        require_alike(tuple(record.history(stream)), cuts)


@for_all(streams(), CUTS)
def test_entries_of_a_kind_are_those_that_stand(
    told: list[tuple[RecordedEvent, ...]], cuts: list[int]
) -> None:
    """Rule 1: `of` gives what stands of a kind, in a history that grew as in any other."""
    for entries in told:
        for history in grown(entries, cuts):
            standing = History(history).standing
            for kind in EVENTS.values():
                found = [(e, e.event) for e in standing if isinstance(e.event, kind)]
                assert list(history.of(kind)) == found


@settings(max_examples=200)
@for_all(streams(), CUTS, st.sets(st.sampled_from([*EVENTS.values(), Event, Turn, Erased])))
def test_so_are_those_of_several_kinds(
    told: list[tuple[RecordedEvent, ...]], cuts: list[int], kinds: set[type]
) -> None:
    """Rule 1: in their order; `ever`: as they were recorded."""
    for entries in told:
        for history in grown(entries, cuts):
            its = kinds | {type(entry.event) for entry in list(history)[::2]}
            standing = History(history).standing
            for asked in (its, kinds):
                found = tuple(e for e in standing if isinstance(e.event, tuple(asked)))
                assert history.among(*asked) == found
                ever = tuple(e for e in history if isinstance(e.event, tuple(asked)))
                assert history.among(*asked, ever=True) == ever


@settings(max_examples=200)
@for_all(streams())
def test_what_stands_is_what_nothing_amends_as_it_was_recorded(
    told: list[tuple[RecordedEvent, ...]],
) -> None:
    """Rule 1: and of what is amended the last that was said; amendments themselves do not stand."""
    for entries in told:
        amended = {its.version for entry in entries if (its := entry.amends()) is not None}
        standing = History(entries).standing
        untouched = [e for e in entries if e.amends() is None and e.version not in amended]
        assert [e for e in standing if e.version not in amended] == untouched
        assert all(entry.amends() is None for entry in standing)
        versions = [entry.version for entry in standing]
        assert versions == sorted(set(versions))


@settings(max_examples=200)
@for_all(dense_streams(FAMILIES["goal"]), CUTS)
def test_goals_without_ratings_are_the_goals_less_their_ratings(
    told: tuple[RecordedEvent, ...], cuts: list[int]
) -> None:
    """Rule 25: how a goal is worded hangs on no rating."""
    for history in grown(told, cuts):
        bare = {id_: replace(goal, ratings=()) for id_, goal in goals_of(history).items()}
        assert plain(goals_worded(history)) == plain(bare)


@settings(max_examples=200)
@for_all(dense_streams(FAMILIES["consent assent"]), CUTS, st.integers(-1, 5))
def test_whoever_consents_is_found_by_what_is_consented_to(
    told: tuple[RecordedEvent, ...], cuts: list[int], days_ago: int
) -> None:
    """Rules 12 and 20: the newest consent of each party that holds, as among all there are."""
    at = NOW - days_ago * DAY
    for history in grown(told, cuts):
        consents = consents_of(history).values()
        for scope in Scope:
            hold = [one for one in consents if one.given.scope is scope and one.holds(at)]
            newest = {one.given.party: one.reliance(at) for one in hold}
            assert consenting(history, scope, at) == newest
            for party in {one.given.party for one in consents}:
                assert in_force(history, scope, party, at) == newest.get(party)


@settings(max_examples=200)
@for_all(dense_streams(FAMILIES["relationship"]), st.integers(-1, 5))
def test_those_who_take_part_then_are_those_whose_time_it_was(
    told: tuple[RecordedEvent, ...], days_ago: int
) -> None:
    """Rule 10: also where nobody ever left, which is seen at once."""
    relationship = relationship_in(History(told).standing)
    if relationship is None:
        return
    at = NOW - days_ago * DAY
    then = relationship.at(at)
    there = [(one.person, one.part) for one in relationship.participations if one.span.covers(at)]
    assert [(one.person, one.part) for one in then.participations] == there
    for part, people in ((Part.CLIENT, then.clients), (Part.THERAPIST, then.therapists)):
        assert people == tuple(person for person, its in there if its is part)
    assert then.participants == (*then.clients, *then.therapists)


@settings(max_examples=200)
@for_all(dense_streams(FAMILIES["goal"]), st.sets(st.sampled_from([*map(UUID, _IDS), CLIENT])))
def test_a_wording_is_agreed_by_those_who_all_assent(
    told: tuple[RecordedEvent, ...], required: set[UUID]
) -> None:
    """Rule 25: an agreement of nobody is none."""
    for goal in goals_of(History(told)).values():
        for wording in goal.revisions:
            stances = wording.stances.items()
            assent = {party for party, said in stances if isinstance(said.event, GoalAssented)}
            assert wording.agreed_by(required) == (bool(required) and required <= assent)


@settings(max_examples=200)
@for_all(streams(), CUTS, st.integers(-1, 61), st.integers(-1, 5) | st.integers(6, 61))
def test_what_was_known_of_a_time_does_not_hang_on_how_it_grew(
    told: list[tuple[RecordedEvent, ...]], cuts: list[int], known: int, happened: int
) -> None:
    """Rule 5: any moment can be asked for, also of a history that is folded already."""
    times = {"known_at": NOW - known * DAY, "happened_by": NOW - happened * DAY}
    for entries in told:
        for history in grown(entries, cuts):
            seen = history.as_of(**times)
            assert list(seen) == list(History(history).as_of(**times))
            assert seen.standing == tuple(
                entry
                for entry in history.as_of(known_at=times["known_at"]).standing
                if entry.occurred_at <= times["happened_by"]
            )


def proposed(name: str, others: set[str], by: Any, days_ago: int | None) -> Proposal:
    """That command, about others or not, now or found later."""
    kind = COMMANDS[name]
    body = moved(COMMAND_BODIES[name], others)
    if not issubclass(kind, Immediate):
        body["late_reason"] = "Found later."
        is_dated = kind.model_fields["occurred_at"].annotation is not type(None)
        if days_ago is not None and is_dated:
            body["occurred_at"] = (NOW - days_ago * DAY).isoformat()
    return Proposal(kind.model_validate(body), Author(by, on_behalf_of=_CLIENT))


@settings(max_examples=300)
@for_all(
    wild_records(),
    st.sampled_from(sorted(COMMANDS)),
    OTHERS,
    st.sampled_from([_CLIENT, _THERAPIST, OFFICE]),
    st.none() | st.integers(0, 60),
    CUTS,
)
def test_a_command_is_decided_alike_over_a_history_that_grew(
    record: Record, name: str, others: set[str], by: Any, days_ago: int | None, cuts: list[int]
) -> None:
    """Rule 8: the same given gives the same decision, whatever was folded for others before."""
    proposal = proposed(name, others, by, days_ago)
    warm: dict[Stream, History] = {}
    for stream in streams_of(record):
        for history in grown(tuple(record.history(stream)), cuts):
            for fold in FOLDS.values():
                history.folded(fold)
        warm[stream] = history.then(*record.history(stream)[len(history) :])
    assert decided(proposal, lambda stream: warm.get(stream, History())) == decided(
        proposal, record.history
    )


def decided(proposal: Proposal, history: Any) -> Any:
    try:
        return proposal.decide(CLINIC, CLOCK, history, Policy())
    except Refusal as refusal:
        return type(refusal), refusal.ids


def test_what_an_entry_is_of_is_looked_at_once() -> None:
    """A state is taken from where it was folded first, and goes on to whoever grows from there."""
    asked: list[int] = []

    def count(history: History) -> int:
        asked.append(len(history))
        return len(history)

    fold = Fold(count, object, then=lambda length, news: length + len(news))
    entry = _entry(1)
    history = History([entry])
    assert [history.folded(fold), history.folded(fold)] == [1, 1]
    assert history.then(_entry(2)).then(_entry(3)).folded(fold) == 3
    assert asked == [1]


def _entry(version: int) -> RecordedEvent:
    return _numbered(version, held(), days_ago=0)


@for_all(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 24)), max_size=12),
    st.tuples(st.integers(0, 60), st.integers(1, 24)),
)
def test_no_hour_is_missed_that_another_would_clash_with(
    hours: list[tuple[int, int]], new: tuple[int, int]
) -> None:
    """Rule 14: of a full schedule only what may overlap is looked at, and all that does."""

    def hour(number: int, start: int, length: int) -> SessionTimeTaken:
        start_at = BEGINNING + start * HOUR
        return taken(UUID(int=number), start=start_at, minutes=60 * length)

    told = [hour(number, *times) for number, times in enumerate(hours)]
    history = History(_numbered(n, event, 0) for n, event in enumerate(told, 1))
    wanted = hour(99, *new)
    found = list(taken_about(history, wanted))
    clashing = {
        one.session
        for one in told
        if wanted.started_at < one.ended_at and one.started_at < wanted.ended_at
    }
    assert clashing <= {one.session for one in found} <= {one.session for one in told}


@for_all(st.lists(st.dictionaries(st.integers(0, 40), st.integers(), max_size=6), max_size=20))
def test_a_growing_mapping_reads_like_one_that_was_copied(further: list[dict[int, int]]) -> None:
    """However it came together: the same keys in the same order, and what was there stays."""
    copied: dict[int, int] = {}
    growing: Growing[int, int] = Growing()
    for more in further:
        before, was = growing, {**copied}
        copied, growing = {**copied, **more}, growing.having(more)
        assert list(growing.items()) == list(copied.items())
        assert [*growing] == [*copied]
        assert [*growing.values()] == [*copied.values()]
        assert len(growing) == len(copied)
        assert [growing.get(key) for key in range(41)] == [copied.get(key) for key in range(41)]
        assert [key in growing for key in range(41)] == [key in copied for key in range(41)]
        assert list(before.items()) == list(was.items())
