"""The page on threats shows the catalogue as it is."""

from tests.tamper.catalogue import CASES
from tests.tamper.outside import CHECKS, NOTHING
from tests.tamper.page import PAGE, with_table


def test_the_page_shows_the_catalogue() -> None:
    """Tamper catalogue: what people read is what the tests hold the product to."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "Write it anew: python -m tests.tamper.page"


def test_the_page_names_every_deed() -> None:
    """Tamper catalogue: deeds that are found alike share a row, and none is left out."""
    page = PAGE.read_text(encoding="utf-8")
    assert [case.what for _, case in CASES if case.what not in page] == []


def test_each_check_has_its_column() -> None:
    """Tamper catalogue: every deed tells of the same checks, in the order of the columns."""
    assert {tuple(case.found) for _, case in CASES} == {tuple(CHECKS)}


def test_what_nothing_finds_is_told() -> None:
    """Tamper catalogue: the deeds that no check finds are the two that the page speaks of."""
    unfound = [case.what for _, case in CASES if set(case.found.values()) == {NOTHING}]
    assert unfound == ["appended, with the keyring", "a command's MAC, which no leaf holds"]
