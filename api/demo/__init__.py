"""The demonstration clinic: invented, plausible, and written through the real commands.

Two years of it are told as acts (`stage.py`, `plot.py`, `story.py`), then recorded by a clock that
runs through those years (`fill.py`). The same seed and day give the same contents.
"""

from api.demo.fill import RELATIONSHIPS, SEED, Demonstration, DemonstrationStuck, RunningClock, fill

__all__ = [
    "RELATIONSHIPS",
    "SEED",
    "Demonstration",
    "DemonstrationStuck",
    "RunningClock",
    "fill",
]
