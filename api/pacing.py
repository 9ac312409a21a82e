"""How often the worker takes a step: where very many entries come, seldom, and many at once.

A step costs what it costs however little there is to do, and a row that is told of many entries is
written once for all that a step finds. Where the doors have work for every processor, the worker
would else take from them, with steps as small as it can make them, what it need not take.
"""

import math
from typing import Final

MANY_A_SECOND: Final = 1_000
"""With more entries than these the worker rests between two steps."""
STEP_SECONDS: Final = 0.3
"""So long at least is then from the beginning of one to that of the next."""
LOOKS_BACK_SECONDS: Final = 1.0
URGED_SECONDS: Final = 1.0
"""So long it does not rest after somebody has waited."""


class Pace:
    """How long one worker rests. Times are those of a clock that goes evenly, in seconds.

    How many entries come is told by those of the last second: what was held up for a moment
    and then comes at once is not taken for many.
    """

    def __init__(self) -> None:
        self._begun = 0.0
        self._position: int | None = None
        self._urged = -math.inf
        self._rate = 0.0
        """Entries a second; those longer ago count less."""

    def begins(self, now: float) -> None:
        """A step begins."""
        self._rate *= math.exp((self._begun - now) / LOOKS_BACK_SECONDS)
        self._begun = now

    def reached(self, position: int) -> None:
        """It has led the views to that position."""
        if self._position is not None:
            self._rate += max(0, position - self._position) / LOOKS_BACK_SECONDS
        self._position = position

    def urged(self, now: float) -> None:
        """Somebody waits for the views."""
        self._urged = now

    def rest(self, now: float) -> float:
        """The seconds until the next step may begin."""
        if self._rate < MANY_A_SECOND or now - self._urged < URGED_SECONDS:
            return 0.0
        return max(0.0, self._begun + STEP_SECONDS - now)
