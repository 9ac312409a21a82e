"""How often the worker takes a step, told by a clock that stands in the test."""

from hypothesis import given
from hypothesis import strategies as st

from api.pacing import LOOKS_BACK_SECONDS, MANY_A_SECOND, STEP_SECONDS, URGED_SECONDS, Pace


def paced(pace: Pace, rate: float, steps: list[float], now: float = 0.0) -> tuple[float, float]:
    """The longest rest, and when it is over, where entries come evenly and steps take so long."""
    longest = 0.0
    for took in steps:
        pace.begins(now)
        now += took
        pace.reached(int(now * rate))
        rest = pace.rest(now)
        longest = max(longest, rest)
        now += rest
    return longest, now


@given(
    st.floats(0, 900), st.lists(st.sampled_from([0.001, 0.002, 0.01, 0.05, 0.3, 1.0]), max_size=200)
)
def test_with_few_entries_it_never_rests(rate: float, steps: list[float]) -> None:
    """Views: at 900 entries a second each is shown at once, whatever holds a step up for a second
    at a time."""
    pace = Pace()
    pace.reached(0)
    assert paced(pace, rate, steps)[0] == 0


@given(st.floats(2 * MANY_A_SECOND, 20 * MANY_A_SECOND), st.floats(0.001, 2 * STEP_SECONDS))
def test_with_many_entries_steps_are_few(rate: float, took: float) -> None:
    """Views: then a step begins no sooner than so long after the last, and no later than that or
    than the last takes."""
    pace = Pace()
    pace.reached(0)
    _, now = paced(pace, rate, [took] * int(LOOKS_BACK_SECONDS / took + 1))
    pace.begins(now)
    rest = pace.rest(now + took)
    assert abs(rest - max(0.0, STEP_SECONDS - took)) < 1e-6
    pace.urged(now)
    assert pace.rest(now + took) == 0  # somebody waits
    assert pace.rest(now + URGED_SECONDS) == 0  # the step's time is long over


def test_a_log_that_was_there_before_is_not_many() -> None:
    """Views: a worker that starts at the end of a long log does not rest for it."""
    pace = Pace()
    assert paced(pace, 10.0, [0.001] * 5, now=100_000.0)[0] == 0
