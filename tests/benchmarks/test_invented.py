"""The invented clinic is what the benchmarks say it is, by the real rules."""

from collections.abc import Iterator

import pytest

from benchmarks.dossiers_as_of_a_time import told_in_time
from benchmarks.invented import ENTRIES_EACH, IN_ITS_STREAM, InventedClinic, told
from benchmarks.places import Place, Unsound, place


@pytest.fixture(scope="module")
def at() -> Iterator[Place]:
    """A place of its own, as benchmarks have it."""
    with place() as found:
        yield found


def test_a_case_has_as_many_entries_as_it_says(at: Place) -> None:
    """Performance: an invented relationship is accepted by every rule, and is 356 entries long."""
    clinic = InventedClinic()
    told(at.records, list(clinic.founding()))
    before, case = clinic.case()
    told(at.records, before)
    receipts = told(at.records, list(case.whole()))
    for receipt in receipts:
        at.note(receipt)
    assert sum(len(receipt.entries) for receipt in receipts) == ENTRIES_EACH
    assert len(at.records.history(case.stream)) == IN_ITS_STREAM
    at.require_sound()


def test_a_case_can_be_told_as_it_happens() -> None:
    """Performance: by a clock that runs, nothing of it is late."""
    with place() as at:
        case = told_in_time(at, InventedClinic())
        history = at.records.history(case.stream)
        assert len(history) == IN_ITS_STREAM
        assert not any(entry.is_late(at.service.log.policy) for entry in history)


def test_a_place_notices_what_was_lost(at: Place) -> None:
    """Performance: figures of a load that doubled a position count for nothing."""
    at.acknowledged.extend([1, 1])
    with pytest.raises(Unsound, match="acknowledged twice"):
        at.require_sound()
