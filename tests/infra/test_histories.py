"""What is kept of histories in memory: never more than it may be, never other than the log says."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from benchmarks.invented import ENTRIES_EACH, Case, InventedClinic, told
from domain.access import access_stream
from domain.alliance import AllianceRated
from domain.clinic import Scope
from domain.consent import ConsentGiven
from domain.event import Entries, History, RecordedEvent, Refusal
from domain.records import Author, Proposal, Receipt, Records
from domain.withdrawal import WithdrawConsent
from infra import event_store
from infra.event_store import ClinicLog
from infra.histories import OpenedHistories, Recalled
from infra.recorder import LostRace
from tests.conftest import Clinic
from tests.domain.test_folding import CUTS, FOLDS, plain, streams
from tests.kit import Record, held

# --- A history at rest ------------------------------------------------------------------------


def never(*_: object) -> Entries:
    raise AssertionError("the entries were read again")


def ignored(*_: object) -> None:
    """Whoever hears of what leaves memory, and makes nothing of it."""


def at_rest(history: History, recall: Callable[[], Entries]) -> History:
    last = history.last
    assert last is not None
    return history.at_rest(Recalled(len(history), last, recall))


def grown_at_rest(entries: Entries, cuts: list[int]) -> Iterator[History]:
    """Histories of these entries, each the one before, rested once it was folded, and a few more.

    Every other time what is at rest already goes on without another rest.
    """
    history, size = History(entries[: cuts[0]]), cuts[0]
    for number, more in enumerate(cuts[1:]):
        for fold in FOLDS.values():
            history.folded(fold)
        if history and number % 2 == 0:
            history = at_rest(history, partial(_first, entries, len(history)))
        history = history.then(*entries[size : size + more])
        size = len(history)
        yield history


def _first(entries: Entries, length: int) -> Entries:
    return entries[:length]


@settings(max_examples=300)
@for_all(streams(), CUTS)
def test_a_rested_history_comes_to_what_a_fresh_one_comes_to(
    told_of: list[Entries], cuts: list[int]
) -> None:
    """Rules 1, 6, 8, 9: wherever it rested, with amendments, erased and late entries anywhere."""
    for entries in told_of:
        for history in grown_at_rest(entries, cuts):
            fresh = History(entries[: len(history)])
            assert (history.version, history.last) == (fresh.version, fresh.last)
            for name, fold in FOLDS.items():
                assert plain(history.folded(fold)) == plain(fold.of(fresh)), name
            assert list(history) == list(fresh)
            assert history[:] == fresh[:]
            assert list(history.awake()) == list(fresh)


@for_all(streams(), st.integers(0, 60))
def test_what_lasts_is_told_without_the_entries(told_of: list[Entries], size: int) -> None:
    """Performance: what a history at rest was folded to, its end and its size need no entry."""
    for entries in told_of:
        history = History(entries[:size])
        if not history:
            continue
        lasting = [fold for fold in FOLDS.values() if fold.lasts]
        states = {fold: plain(history.folded(fold)) for fold in lasting}
        rested = at_rest(at_rest(history, never), never)
        assert (len(rested), rested.version, rested.last) == (len(history), *_end(history))
        for fold in rested.lasting:
            assert plain(rested.folded(fold)) == states[fold]
        told_nothing = {fold for fold in lasting if history.folded(fold) is None}
        assert {*rested.lasting} == {*lasting} - told_nothing


def _end(history: History) -> tuple[int, RecordedEvent | None]:
    return history.version, history[-1]


# --- What is kept -----------------------------------------------------------------------------


def test_no_more_is_kept_than_may_be() -> None:
    """House rule: memory stays bounded; what was not used for longest goes first."""
    kept = OpenedHistories(limit=10, at_rest=30, generation=0, recall=never, keep=ignored)
    (entry,) = Record().and_given(held()).entries
    names = [access_stream(uuid4()) for _ in range(100)]
    for name in names:
        kept.put({name: History([entry])}, 0)
    opened = [name for name in names if kept.get(name) is not None]
    known = [name for name in names if kept.known(name) is not None]
    assert opened == names[-5:]
    assert known == names[-len(known) :]
    assert 5 < len(known) < 30


# --- In the log -------------------------------------------------------------------------------


@pytest.fixture
def log(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> ClinicLog:
    """A log that keeps the entries of the stream used last, and of no other."""
    monkeypatch.setattr(event_store, "_ENTRIES_HELD", 1)
    return clinic.open_log()


@pytest.fixture
def cases(log: ClinicLog) -> list[Case]:
    """Three whole relationships."""
    invented = InventedClinic()
    told(Records(log), list(invented.founding()))
    invented.fill(Records(log), 3 * ENTRIES_EACH)
    return invented.cases


def verdict(log: ClinicLog, proposal: Proposal) -> Receipt | str:
    """The receipt, or the code of the refusal."""
    (answer,) = log.append([proposal])
    return answer.code if isinstance(answer, Refusal) else answer


def test_a_rating_in_any_relationship_reads_no_entry_again(
    log: ClinicLog, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Performance: what was decided of a relationship before is decided over what is remembered."""
    read_again: list[str] = []
    scan = log._recorder.scan_stream

    def scanned(stream: str, after: int) -> Any:
        read_again.append(stream)
        return scan(stream, after)

    for case in cases:
        assert isinstance(verdict(log, case.rating()), Receipt)
        assert isinstance(verdict(log, case.goal_rating(case.goals[0])), Receipt)
    monkeypatch.setattr(log._recorder, "scan_stream", scanned)
    for _ in range(20):  # more than are kept beside what was folded
        for case in cases:
            assert isinstance(verdict(log, case.rating()), Receipt)
            assert isinstance(verdict(log, case.goal_rating(case.goals[0])), Receipt)
    assert [name for name in read_again if name.startswith("relationship-")] == []
    monkeypatch.undo()
    for case in cases:
        fresh = log.history(case.stream)
        assert [entry.version for entry in fresh] == [*range(1, fresh.version + 1)]
        known = log._cache.known(case.stream)
        assert known is not None
        for name, fold in FOLDS.items():
            assert plain(known.folded(fold)) == plain(fold.of(History(fresh))), name


def test_rules_hold_over_what_is_remembered(log: ClinicLog, cases: list[Case]) -> None:
    """Rules 20 and 29: an id is used once, a session rated once, a withdrawn consent is none."""
    for case in cases:
        first = case.rating()
        assert isinstance(verdict(log, first), Receipt)
    again = Proposal(first.command, first.author)
    assert verdict(log, again) == "rating-exists"
    rated = next(each for each in log.history(cases[0].stream).of(AllianceRated))[1]
    verdict(log, cases[1].rating())
    assert verdict(log, cases[0].rating(session=rated.session)) == "rated-already"
    withdrawn = _withdrawing(log, cases[0])
    for case in cases[1:]:
        verdict(log, case.rating())
    assert isinstance(verdict(log, withdrawn), Receipt)
    verdict(log, cases[1].rating())
    assert verdict(log, cases[0].rating()) == "consent-missing"


def test_what_another_process_added_is_seen(
    clinic: Clinic, log: ClinicLog, cases: list[Case]
) -> None:
    """Idea 3: what rests is held against the log before anything is decided over it."""
    for case in cases:
        verdict(log, case.rating())
    rating = cases[0].rating()
    assert isinstance(verdict(clinic.open_log(), rating), Receipt)
    assert verdict(log, Proposal(rating.command, rating.author)) == "rating-exists"


def test_nothing_rests_once_a_key_is_destroyed(
    clinic: Clinic, log: ClinicLog, cases: list[Case]
) -> None:
    """Rule 9: what was folded from content goes with it, and is never joined to what is read
    afterwards."""
    for case in cases:
        verdict(log, case.rating())
    (*_, entry) = log.history(cases[0].stream)
    log.history(cases[1].stream)
    generation, known = clinic.keyring.generation(), log._cache.known(cases[0].stream)
    assert known is not None
    assert known.resting is not None
    clinic.keyring.destroy(clinic.id, entry.key_id)
    with pytest.raises(LostRace):
        list(known)
    assert all(log._cache.known(case.stream) is None for case in cases[1:])
    assert clinic.keyring.generation() > generation
    assert verdict(log, cases[0].rating()) in ("subject-erased", "consent-missing")


def _withdrawing(log: ClinicLog, case: Case) -> Proposal:
    consents = log.history(case.stream).of(ConsentGiven)
    consent = next(given for _, given in consents if given.scope is Scope.OUTCOME_MEASURES)
    command = WithdrawConsent(relationship=case.id, consent=consent.consent)
    return Proposal(command, Author(case.client))
