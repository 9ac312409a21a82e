"""How the alliance of one invented relationship goes: a small latent model, and answers from it.

Quality runs from 0 to 1 per held session: where it begins, how it grows (not at all, in a line, or
in a curve), how deep ruptures cut and whether they are repaired within a few sessions. A therapist
sees the same hour with a bias and a weaker tracking of its changes (truth-and-bias). The model is a
toy with plausible sizes; it claims nothing about anybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from domain.instrument import Definition


class Shape(StrEnum):
    STABLE = "stable"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


class Kind(StrEnum):
    """How somebody moves in a rupture: away, or against."""

    WITHDRAWAL = "withdrawal"
    CONFRONTATION = "confrontation"


@dataclass(frozen=True, slots=True)
class Rupture:
    """A planted one, by numbers of held sessions."""

    session: int
    kind: Kind
    depth: float
    repaired: int | None
    """The session at which quality is back; None: left open."""

    def dip(self, session: int) -> float:
        """What it takes from the quality of that session."""
        if session < self.session:
            return 0.0
        if self.repaired is None:
            return self.depth * 0.85
        left = (self.repaired - session) / (self.repaired - self.session)
        return self.depth * max(0.0, left)


_FACETS: Mapping[Kind | None, Mapping[str, float]] = {
    None: {"bond": 1.0, "goal": 1.0, "task": 1.0},
    Kind.WITHDRAWAL: {"bond": 1.2, "goal": 0.8, "task": 1.0},
    Kind.CONFRONTATION: {"bond": 0.8, "goal": 1.2, "task": 1.1},
}
"""How much of a dip each part of the alliance takes."""


@dataclass(frozen=True, slots=True)
class Course:
    """One relationship's latent alliance."""

    shape: Shape
    start: float
    growth: float
    span: int
    """Over how many sessions the growth spreads."""
    bias: float
    tracking: float
    ruptures: tuple[Rupture, ...] = ()

    @classmethod
    def drawn(cls, rng: Random, span: int, ruptures: tuple[Rupture, ...]) -> "Course":
        shape = rng.choice((Shape.STABLE, Shape.LINEAR, Shape.LINEAR, Shape.QUADRATIC))
        return cls(
            shape=shape,
            start=rng.uniform(0.56, 0.74),
            growth=0.0 if shape is Shape.STABLE else rng.uniform(0.10, 0.22),
            span=span,
            bias=rng.uniform(-0.12, 0.02),
            tracking=rng.uniform(0.35, 0.8),
            ruptures=ruptures,
        )

    def level(self, session: int) -> float:
        """Without ruptures."""
        along = min(1.0, (session - 1) / max(1, self.span - 1))
        match self.shape:
            case Shape.STABLE:
                return self.start
            case Shape.LINEAR:
                return self.start + self.growth * along
        # High, low, high: a dip in the middle that is worked through.
        return self.start + self.growth * (4 * (along - 0.5) ** 2 - 0.3)

    def felt(self, session: int) -> dict[str, float]:
        """How the client feels each part of the alliance in that session."""
        level = self.level(session)
        parts = {"bond": level + 0.05, "goal": level, "task": level - 0.03}
        for rupture in self.ruptures:
            dip = rupture.dip(session)
            for part, weight in _FACETS[rupture.kind].items():
                parts[part] -= dip * weight
        return parts

    def seen(self, session: int) -> dict[str, float]:
        """How the therapist sees it."""
        mean = self.start + self.growth / 2
        return {
            part: mean + self.bias + self.tracking * (quality - mean)
            for part, quality in self.felt(session).items()
        }


# --- Answers --------------------------------------------------------------------------------

_SRS_PARTS = ("bond", "goal", "task", None)
_SRS_LIFT = 0.2
"""Most clients put their marks near the upper end of the SRS; its cut-off is 36 of 40 for that."""


def answers(
    definition: Definition, parts: Mapping[str, float], rng: Random, *, left_out: int = 0
) -> list[str | None]:
    """Answers to every item, in human units, for qualities per part; some left out."""
    whole = sum(parts.values()) / len(parts)
    given: list[str | None] = []
    for number, part in enumerate(_parts(definition), start=1):
        quality = whole if part is None else parts.get(part, whole)
        if definition.id == "SRS-3":
            quality += _SRS_LIFT
        given.append(_answer(definition, number, quality + rng.gauss(0, 0.07)))
    for position in rng.sample(range(len(given)), left_out):
        given[position] = None
    return given


def _parts(definition: Definition) -> Sequence[str | None]:
    """Which part of the alliance each item is about."""
    if definition.id == "SRS-3":
        return _SRS_PARTS
    about: list[str | None] = [None] * definition.items.count
    for part in ("bond", "goal", "task"):
        if part in definition.scales:
            for number in definition.scales[part].items:
                about[number - 1] = part
    return about


def _answer(definition: Definition, number: int, quality: float) -> str:
    response = definition.response
    if number in definition.reverse.items:
        quality = 1 - quality
    share = min(1.0, max(0.0, quality))
    low, steps = response.low, (response.high - response.low) // response.stride
    return response.shown(low + round(share * steps) * response.stride)
