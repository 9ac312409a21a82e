"""What is to happen in each relationship of the demonstration, before it is told day by day."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from random import Random

from api.demo.course import Course, Kind, Rupture
from domain.person import Activity
from domain.relationship import Constellation

DAYS = 730
MINOR = 9
LAST_BEGIN = 600


class Ending(StrEnum):
    ONGOING = "ongoing"
    PLANNED = "planned"
    DROPPED_OUT = "dropped_out"
    TRANSFERRED = "transferred"
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"


class Twist(StrEnum):
    """What is set right, comes late or is taken back."""

    TIMES_CORRECTED = "times_corrected"
    WORDING_CORRECTED = "wording_corrected"
    MISFILED = "misfiled"
    SUPERSEDED = "superseded"
    LATE = "late"
    SUPERVISION_WITHDRAWN = "supervision_withdrawn"
    RECORDING_WITHDRAWN = "recording_withdrawn"


@dataclass(frozen=True, slots=True)
class Plot:
    """One relationship, as planned."""

    number: int
    begins: date
    constellation: Constellation
    activity: Activity
    measure: str
    """The alliance measure beside the SRS: WAI-36 by both, WAI-SR by the client, or none."""
    ending: Ending
    sessions: int
    """How many are held before it ends; for an ongoing one a number it does not reach."""
    telehealth: bool
    twists: frozenset[Twist]
    course: Course

    @property
    def minor(self) -> bool:
        """The client is fifteen, and comes with a guardian."""
        return self.number % 24 == MINOR

    @property
    def consents_to_recording(self) -> bool:
        return Twist.RECORDING_WITHDRAWN in self.twists or self.number % 3 == 0


_CYCLE: tuple[tuple[str, Ending, frozenset[Twist]], ...] = (
    (
        "WAI-36",
        Ending.ONGOING,
        frozenset({Twist.TIMES_CORRECTED, Twist.SUPERSEDED, Twist.LATE, Twist.WORDING_CORRECTED}),
    ),
    ("WAI-SR", Ending.DROPPED_OUT, frozenset({Twist.MISFILED})),
    ("WAI-SR", Ending.ONGOING, frozenset({Twist.LATE})),
    ("WAI-36", Ending.TRANSFERRED, frozenset({Twist.SUPERSEDED})),
    ("WAI-36", Ending.REOPENED, frozenset({Twist.WORDING_CORRECTED})),
    ("WAI-SR", Ending.WITHDRAWN, frozenset({Twist.LATE})),
    ("WAI-36", Ending.ONGOING, frozenset({Twist.TIMES_CORRECTED})),
    ("", Ending.PLANNED, frozenset()),
    ("WAI-36", Ending.ONGOING, frozenset({Twist.SUPERVISION_WITHDRAWN})),
    ("WAI-SR", Ending.PLANNED, frozenset({Twist.LATE, Twist.MISFILED})),
    ("WAI-SR", Ending.ONGOING, frozenset({Twist.RECORDING_WITHDRAWN})),
    ("WAI-36", Ending.PLANNED, frozenset()),
)

# Of 24 about as many as one study of 605 patients found: 11 % left open, 15 % repaired.
_REPAIRED = frozenset({0, 6, 9, 12})
_LEFT_OPEN = frozenset({1, 8, 13})

_LENGTHS = {
    Ending.ONGOING: (500, 500),
    Ending.PLANNED: (20, 32),
    Ending.TRANSFERRED: (12, 18),
    Ending.REOPENED: (14, 20),
    Ending.WITHDRAWN: (10, 15),
}


def plots(seed: int, relationships: int, begin: date) -> list[Plot]:
    """The plots of as many relationships; the same for the same seed and day."""
    return [
        _plot(Random(f"{seed}/plot/{n}"), n, relationships, begin) for n in range(relationships)
    ]


def _plot(rng: Random, number: int, relationships: int, begin: date) -> Plot:
    turn = number % len(_CYCLE)
    measure, ending, twists = _CYCLE[turn]
    ruptures = _ruptures(rng, number % 24)
    if ending is Ending.DROPPED_OUT:
        fled = ruptures[0].session + 4 if ruptures else rng.randint(9, 14)
        sessions = fled
    else:
        sessions = rng.randint(*_LENGTHS[ending])
    constellations = {2: Constellation.COUPLE, 6: Constellation.CO_THERAPY}
    span = 40 if ending is Ending.ONGOING else sessions
    return Plot(
        number=number,
        begins=begin + timedelta(days=10 + number * (LAST_BEGIN - 10) // relationships),
        constellation=constellations.get(turn, Constellation.INDIVIDUAL),
        activity=Activity.COACHING if turn == 7 else Activity.THERAPY,
        measure=measure,
        ending=ending,
        sessions=sessions,
        telehealth=turn == 10,
        twists=twists,
        course=Course.drawn(rng, span, ruptures),
    )


def _ruptures(rng: Random, place: int) -> tuple[Rupture, ...]:
    """The planted rupture of the n-th of 24 relationships, where it has one."""
    if place not in _REPAIRED | _LEFT_OPEN:
        return ()
    session = rng.randint(8, 12)
    repaired = session + rng.randint(2, 5) if place in _REPAIRED else None
    kind = rng.choice((Kind.WITHDRAWAL, Kind.CONFRONTATION))
    return (Rupture(session, kind, rng.uniform(0.26, 0.38), repaired),)
