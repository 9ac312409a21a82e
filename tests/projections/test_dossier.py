"""The dossier: told by all views together, it is what each of them tells by itself."""

from datetime import datetime

from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.event import Fold, History, Stream
from projections.dossier import VIEWS, Dossier, dossier
from tests.domain.test_records import wild_records
from tests.kit import Record


def told_one_by_one(
    stream: Stream, history: History, known_at: datetime | None, happened_by: datetime | None
) -> Dossier:
    """Each view folds by itself what was seen, in histories of its own."""
    seen = History(History(history).as_of(known_at=known_at, happened_by=happened_by))
    return Dossier(
        relationship=stream,
        known_at=known_at,
        happened_by=happened_by,
        position=seen[-1].position if seen else 0,
        view_versions={view.name: view.version for view in VIEWS.all()},
        timeline=VIEWS.timeline.of(stream, seen),
        ratings=VIEWS.alliance_course.of(stream, seen),
        consents=VIEWS.consent_register.of(stream, seen),
        goals=VIEWS.goal_course.of(stream, seen),
        case=next(iter(VIEWS.caseload.of(stream, seen).values()), None),
    )


@for_all(
    record=wild_records(),
    known=st.none() | st.integers(0, 40),
    happened=st.none() | st.integers(0, 40),
    cut=st.integers(0, 40),
)
def test_told_together_it_is_what_each_view_tells(
    record: Record, known: int | None, happened: int | None, cut: int
) -> None:
    """Rules 5 and 9: as of any two times, of a history that was folded before and has grown."""
    entries = [e for e in record.entries if e.stream.category == "relationship"]
    if not entries:
        return
    stream, earlier = entries[0].stream, cut % len(entries)

    def time_of(at: int | None) -> datetime | None:
        return None if at is None else entries[at % len(entries)].recorded_at

    history = History(entries[:earlier])
    dossier(stream, history)
    history = history.then(*entries[earlier:])
    known_at, happened_by = time_of(known), time_of(happened)
    told = told_one_by_one(stream, history, known_at, happened_by)
    for _ in range(2):
        assert dossier(stream, history, known_at=known_at, happened_by=happened_by) == told


@for_all(record=wild_records(), fold=st.just(Fold(len)))
def test_nothing_of_it_stays_with_the_history(record: Record, fold: Fold[int]) -> None:
    """Views: a history in memory weighs as much after it was shown; what decisions have folded
    of it stays theirs."""
    entries = [e for e in record.entries if e.stream.category == "relationship"]
    if not entries:
        return
    history = History(entries)
    history.folded(fold)
    history.as_of(known_at=entries[-1].recorded_at)
    kept = history._folded.keys() - {fold}
    dossier(entries[0].stream, history)
    assert history._folded.keys() == kept | {fold}
