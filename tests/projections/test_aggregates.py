"""Aggregates: nothing that is told allows anybody to work out what is not."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID, uuid5

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.aggregates import FEWEST, Table, last_quarter, tabulate, united

ANSWERS = ("repaired", "left open", "none", "not known")
SPACE = UUID("a0a0a0a0-0000-4000-8000-000000000001")

counts = st.fixed_dictionaries(dict.fromkeys(ANSWERS, st.integers(0, 12)))


def clients(counted: dict[str, int]) -> dict[UUID, str]:
    """As many clients with each answer."""
    return {
        uuid5(SPACE, f"{answer} {number}"): answer
        for answer, count in counted.items()
        for number in range(count)
    }


def told(**counted: int) -> dict[str, int | None]:
    table = tabulate("?", tuple(counted), clients(counted))
    return {cell.answer: cell.clients for cell in table.cells}


def possible(table: Table) -> dict[str, set[int]]:
    """Every count that each suppressed cell may have, for somebody who sees the table."""
    assert table.total is not None
    hidden = [cell.answer for cell in table.cells if cell.clients is None]
    rest = table.total - sum(cell.clients or 0 for cell in table.cells)
    found: dict[str, set[int]] = {}
    for answer in hidden:
        found[answer] = {rest} if len(hidden) == 1 else set(range(rest + 1))
    return found


def test_fewer_than_five_clients_are_never_told() -> None:
    """Rule 42: a small count is suppressed, and so is what it would follow from."""
    assert told(yes=4, no=30) == {"yes": None, "no": None}
    assert told(yes=5, no=30) == {"yes": 5, "no": 30}
    assert told(yes=0, no=30) == {"yes": None, "no": None}
    assert told(yes=4, no=30, unknown=9) == {"yes": None, "no": 30, "unknown": None}
    assert told(yes=1, no=30, unknown=2, other=7) == {
        "yes": None, "no": 30, "unknown": None, "other": None,
    }  # fmt: skip


def test_of_fewer_than_five_clients_in_all_nothing_is_told() -> None:
    """Rule 42: not even how many they are."""
    table = tabulate("?", ANSWERS, clients({"repaired": 3, "none": 1}))
    assert table.total is None
    assert {cell.clients for cell in table.cells} == {None}
    assert table.suppressed


@settings(max_examples=200)
@given(counts)
def test_no_suppressed_count_follows_from_the_others(counted: dict[str, int]) -> None:
    """Rule 42: whoever subtracts what is told from the total learns of no fewer than five."""
    table = tabulate("?", ANSWERS, clients(counted))
    if table.total is None:
        assert sum(counted.values()) < FEWEST
        return
    shown = [cell.clients for cell in table.cells if cell.clients is not None]
    assert all(count >= FEWEST for count in shown)
    hidden = possible(table)
    if hidden:
        assert len(hidden) >= 2
        assert table.total - sum(shown) >= FEWEST
        assert all(len(options) > 1 for options in hidden.values())


@given(counts)
def test_every_client_counts_once(counted: dict[str, int]) -> None:
    """Rule 42: a client with two relationships is one client, with the first of two answers."""
    once = clients(counted)
    twice = [*once.items(), *((client, ANSWERS[-1]) for client in once)]
    united_answers = united(twice, ANSWERS)
    assert united_answers == once
    assert Counter(united_answers.values()) == Counter({k: v for k, v in counted.items() if v})


def test_tables_stand_still_between_quarters() -> None:
    """Rule 42: two tables of one quarter are the same, so their difference tells of nobody."""
    assert last_quarter(datetime(2026, 11, 23, tzinfo=UTC)) == datetime(2026, 10, 1, tzinfo=UTC)
    assert last_quarter(datetime(2026, 10, 1, tzinfo=UTC)) == datetime(2026, 10, 1, tzinfo=UTC)
    assert last_quarter(datetime(2026, 3, 31, 23, tzinfo=UTC)) == datetime(2026, 1, 1, tzinfo=UTC)
