"""Every deed of the catalogue is done, and every check says what the table says of it."""

from collections.abc import Callable

import pytest

from tests.tamper.catalogue import CASES, Case, Group
from tests.tamper.conftest import Written
from tests.tamper.outside import CHECKS, NOTHING


def test_nothing_is_found_in_a_log_that_nobody_touched(write: Callable[[], Written]) -> None:
    """Tamper catalogue: no check cries wolf."""
    log, outside = write()
    assert {check(log, outside) for check in CHECKS.values()} == {NOTHING}


@pytest.mark.parametrize(
    "group,case", CASES, ids=[f"{group.title}: {case.what}" for group, case in CASES]
)
def test_what_finds_it_and_what_it_names(
    group: Group, case: Case, write: Callable[[], Written]
) -> None:
    """Tamper catalogue: for each deed which checks find it, what they name, and which do not."""
    log, outside = write()
    case.do(log)
    assert {name: check(log, outside) for name, check in CHECKS.items()} == case.found
