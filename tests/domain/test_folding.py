"""A history that grew is folded on, and comes to what it would come to folded anew."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

import domain
from domain.event import Fold, History, Immediate, Policy, RecordedEvent, Refusal, Stream
from domain.records import Author, Proposal
from domain.told import Telling
from domain.topics import COMMANDS, EVENTS
from tests.domain.test_records import (
    _CLIENT,
    _THERAPIST,
    COMMAND_BODIES,
    OTHERS,
    moved,
    wild_records,
)
from tests.kit import CLINIC, DAY, NOW, OFFICE, Record, held

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


CUTS = st.lists(st.integers(0, 4), min_size=1, max_size=30)


FAMILIES = sorted({topic.partition(".")[0] for topic in EVENTS} - {"clinic", "entry"})
TALES = st.sets(st.sampled_from(FAMILIES), min_size=1, max_size=3).flatmap(
    lambda families: wild_records([t for t in EVENTS if t.partition(".")[0] in families])
)
"""Wild records of few kinds, whose entries have much to do with each other."""


@settings(max_examples=300)
@for_all(TALES | wild_records(), CUTS)
def test_a_grown_history_comes_to_what_a_fresh_one_comes_to(
    record: Record, cuts: list[int]
) -> None:
    """Rules 1, 6, 9: by every fold, however it grew, with amendments, erased and late entries
    anywhere; and what it grew from stays what it was."""
    for stream in streams_of(record):
        expected: dict[History, Any] = {}
        for history in grown(tuple(record.history(stream)), cuts):
            fresh = History(history)
            expected[history] = {name: plain(fold.of(fresh)) for name, fold in FOLDS.items()}
            for name, state in expected[history].items():
                assert plain(history.folded(FOLDS[name])) == state, name
        for history, states in expected.items():
            for name, state in states.items():
                assert plain(history.folded(FOLDS[name])) == state, name


@for_all(TALES | wild_records(), CUTS)
def test_entries_of_a_kind_are_those_that_stand(record: Record, cuts: list[int]) -> None:
    """Rule 1: `of` gives what stands of a kind, in a history that grew as in any other."""
    for stream in streams_of(record):
        for history in grown(tuple(record.history(stream)), cuts):
            standing = History(history).standing
            for kind in EVENTS.values():
                found = [(entry, entry.event) for entry in standing if type(entry.event) is kind]
                assert list(history.of(kind)) == found


@for_all(wild_records(), CUTS, st.integers(-1, 61), st.integers(-1, 61))
def test_what_was_known_of_a_time_does_not_hang_on_how_it_grew(
    record: Record, cuts: list[int], known: int, happened: int
) -> None:
    """Rule 5: any moment can be asked for, also of a history that is folded already."""
    times = {"known_at": NOW - known * DAY, "happened_by": NOW - happened * DAY}
    for stream in streams_of(record):
        for history in grown(tuple(record.history(stream)), cuts):
            seen = history.as_of(**times)
            assert list(seen) == list(History(history).as_of(**times))
            assert seen.standing == tuple(
                entry
                for entry in history.as_of(known_at=times["known_at"]).standing
                if entry.occurred_at <= times["happened_by"]
            )


@settings(max_examples=300)
@for_all(
    TALES | wild_records(),
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
    kind = COMMANDS[name]
    body = moved(COMMAND_BODIES[name], others)
    if not issubclass(kind, Immediate):
        body["late_reason"] = "Found later."
        is_dated = kind.model_fields["occurred_at"].annotation is not type(None)
        if days_ago is not None and is_dated:
            body["occurred_at"] = (NOW - days_ago * DAY).isoformat()
    proposal = Proposal(kind.model_validate(body), Author(by, on_behalf_of=_CLIENT))
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


def test_a_history_goes_to_another_process_without_what_it_was_folded_to() -> None:
    """Rule 6: a state can always be made anew from the entries, and so it is."""
    history = History([_entry(1), _entry(2)])
    assert history.standing
    sent = pickle.dumps(history)
    assert pickle.loads(sent).standing == history.standing  # noqa: S301  written here


def _entry(version: int) -> RecordedEvent:
    (entry,) = Record().and_given(held()).entries
    return replace(entry, version=version, position=version)
