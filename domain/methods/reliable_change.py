"""Reliable and clinically significant change (Jacobson & Truax 1991).

    S_E = SD · √(1 − α)     S_diff = √2 · S_E     RC = (post − pre) / S_diff

A change is reliable where |RC| exceeds z (1.96). It is clinically significant where it also crosses
a cut-off from the dysfunctional to the functional side:

    a   two SDs of the dysfunctional population beyond its mean, towards function
    b   two SDs of the functional population short of its mean
    c   between the two means, weighted by the SDs: (SD_f · M_d + SD_d · M_f) / (SD_f + SD_d)

Where a reliable change or a cut-off is published as it is (`>= 6`, `< 25`), it is taken with its
operator. Everything is decided exactly: what has a root in it is compared by squares.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from operator import ge, gt, le, lt
from typing import NamedTuple

from domain.event import Refusal
from domain.methods.card import (
    Finding,
    Judgement,
    Kind,
    Method,
    Parameters,
    Spec,
    Why,
    decline,
)
from domain.methods.numbers import exceeds, over_root, plain, ratings, root, text
from domain.methods.series import Better, Series


class NormsContradictDirection(Refusal):
    status = 422
    says = (
        "With {better} scores better, the functional population's mean must lie {side} the "
        "dysfunctional one's: look at the direction and at which mean is which."
    )


class Criterion(StrEnum):
    """Which cut-off decides."""

    A = "a"
    B = "b"
    C = "c"
    GIVEN = "given"
    """A published cut-off, given as it is."""


class Category(StrEnum):
    RECOVERED = "recovered"
    """Reliably better, and across the cut-off."""
    IMPROVED = "improved"
    """Reliably better, not across the cut-off, or no cut-off is known."""
    UNCHANGED = "unchanged"
    DETERIORATED = "deteriorated"


@dataclass(frozen=True, slots=True)
class Population:
    """Mean and standard deviation of a population's scores."""

    mean: Fraction
    sd: Fraction


_COMPARE: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}


def worse_operator(better: Better) -> str:
    """The operator of the worse side of a bound, the bound itself included."""
    return "<=" if better is Better.HIGHER else ">="


class Bound(NamedTuple):
    """A value and the operator by which something is compared with it."""

    operator: str
    value: Fraction

    def met(self, score: Fraction) -> bool:
        return _COMPARE[self.operator](score, self.value)

    def on_the_worse_side(self, better: Better) -> "Bound":
        """The same bound, met by what is worse: `< 11` where lower is better becomes `>= 11`."""
        return Bound(better.on_the_worse_side(self.operator), self.value)

    def __str__(self) -> str:
        return f"{self.operator} {plain(self.value)}"


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a change is measured by: an SD and a reliability, or a published reliable change."""

    sd_squared: Fraction | None = None
    alpha: Fraction | None = None
    published: Bound | None = None
    """What the size of a change must meet, in place of RC."""
    z: Fraction = Fraction("1.96")
    better: Better = Better.HIGHER
    criterion: Criterion | None = None
    cutoffs: tuple[tuple[Criterion, Bound], ...] = ()
    """Every cut-off that can be had; each is met on the dysfunctional side."""

    @classmethod
    def of(
        cls,
        *,
        sd_squared: Fraction | None = None,
        alpha: Fraction | None = None,
        published: Bound | None = None,
        z: Fraction = Fraction("1.96"),
        better: Better = Better.HIGHER,
        functional: Population | None = None,
        dysfunctional: Population | None = None,
        cutoff: Bound | None = None,
        criterion: Criterion | None = None,
    ) -> "Yardstick":
        """The yardstick with the cut-offs that those populations allow.

        Unless one is named, a given cut-off decides; else c, which needs both populations; else b
        or a. Raises NormsContradictDirection.
        """
        if functional and dysfunctional:
            gap = functional.mean - dysfunctional.mean
            if gap == 0 or (gap > 0) != (better is Better.HIGHER):
                side = "above" if better is Better.HIGHER else "below"
                raise NormsContradictDirection(better=better, side=side)
        worse = worse_operator(better)
        known = {
            one: Bound(worse, value)
            for one, value in _cutoffs(better, functional, dysfunctional).items()
        }
        if cutoff is not None:
            known[Criterion.GIVEN] = cutoff.on_the_worse_side(better)
        order = (Criterion.GIVEN, Criterion.C, Criterion.B, Criterion.A)
        decides = criterion or next((one for one in order if one in known), None)
        return cls(sd_squared, alpha, published, z, better, decides, tuple(known.items()))

    @property
    def difference_squared(self) -> Fraction | None:
        """S_diff², above 0 unless the reliability is 1; None: a published change decides."""
        if self.published is not None or self.sd_squared is None or self.alpha is None:
            return None
        return 2 * self.sd_squared * (1 - self.alpha)

    def is_reliable(self, size: Fraction) -> bool:
        """Whether a change of that size, regardless of its sign, counts as reliable."""
        square = self.difference_squared
        if square is not None:
            return exceeds(size, square * self.z * self.z)
        return self.published is not None and self.published.met(size)

    @property
    def bar(self) -> str:
        """What a reliable change takes, in words."""
        square = self.difference_squared
        if square is not None:
            return f"more than {plain(root(square * self.z * self.z))}"
        assert self.published is not None, "one of the two is given"
        amount = plain(self.published.value)
        return f"more than {amount}" if self.published.operator == ">" else f"{amount} or more"

    @property
    def cutoff(self) -> Bound | None:
        """The cut-off that decides; None: none is known."""
        return dict(self.cutoffs).get(self.criterion) if self.criterion else None


def _cutoffs(
    better: Better, functional: Population | None, dysfunctional: Population | None
) -> dict[Criterion, Fraction]:
    towards = 1 if better is Better.HIGHER else -1
    known: dict[Criterion, Fraction] = {}
    if dysfunctional:
        known[Criterion.A] = dysfunctional.mean + towards * 2 * dysfunctional.sd
    if functional:
        known[Criterion.B] = functional.mean - towards * 2 * functional.sd
    if functional and dysfunctional:
        known[Criterion.C] = (
            functional.sd * dysfunctional.mean + dysfunctional.sd * functional.mean
        ) / (functional.sd + dysfunctional.sd)
    return known


@dataclass(frozen=True, slots=True)
class Change:
    """A change, judged."""

    pre: Fraction
    post: Fraction
    index: Decimal | None
    """RC, with the sign of post − pre; None: a published change decided."""
    reliable: bool
    crossed: bool | None
    """Whether it went from the dysfunctional side of the cut-off to the functional one; None: no
    cut-off is known."""
    category: Category

    @property
    def size(self) -> Fraction:
        return self.post - self.pre


def change(pre: Fraction, post: Fraction, yardstick: Yardstick) -> Change:
    """The change from pre to post; the yardstick's reliability is below 1.

    Unless the cut-off says otherwise, a score on it is still on the dysfunctional side.
    """
    square = yardstick.difference_squared
    gain = post - pre if yardstick.better is Better.HIGHER else pre - post
    reliable = yardstick.is_reliable(abs(gain))
    cutoff = yardstick.cutoff
    crossed = None if cutoff is None else cutoff.met(pre) and not cutoff.met(post)
    if not reliable:
        category = Category.UNCHANGED
    elif gain < 0:
        category = Category.DETERIORATED
    else:
        category = Category.RECOVERED if crossed else Category.IMPROVED
    index = None if square is None else over_root(post - pre, square)
    return Change(pre, post, index, reliable, crossed, category)


# --- As a method ----------------------------------------------------------------------------


def _judge(series: Series, parameters: Parameters) -> Judgement:
    sd, alpha = parameters.given("sd"), parameters.given("alpha")
    if sd is None or alpha is None:
        return decline(
            Why.PARAMETER_NEEDED,
            "The measure's standard deviation and reliability are not known here: give sd and "
            "alpha, with their source.",
        )
    if len(series.points) < 2:
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"{ratings(len(series.points))}: a change needs a first and a last.",
        )
    if alpha == 1:
        return decline(
            Why.LIMITS_UNINFORMATIVE,
            "A reliability of 1 leaves no measurement error: every change would exceed it.",
        )
    yardstick = Yardstick.of(
        sd_squared=sd * sd,
        alpha=alpha,
        z=parameters.number("z"),
        better=series.better,
        functional=_population(parameters, "functional"),
        dysfunctional=_population(parameters, "dysfunctional"),
        cutoff=None if (given := parameters.given("cutoff")) is None else _bound(series, given),
        criterion=Criterion(chosen) if (chosen := parameters.word("criterion")) else None,
    )
    if yardstick.criterion is not None and yardstick.cutoff is None:
        return decline(
            Why.PARAMETER_NEEDED,
            f"Cut-off {yardstick.criterion} needs the mean and SD of its population.",
        )
    findings = tuple(_finding(series, at, yardstick) for at in range(1, len(series.points)))
    return Judgement(
        says=findings[-1].says, findings=findings, figures=yardstick_figures(yardstick)
    )


def _finding(series: Series, at: int, yardstick: Yardstick) -> Finding:
    """The change from the first rating to that one."""
    judged = change(series.values[0], series.values[at], yardstick)
    return Finding(
        at,
        Kind.CHANGE,
        judged.category is Category.DETERIORATED,
        sentence(judged, yardstick),
        figures_of(judged),
        rests_on=(0,),
    )


def _bound(series: Series, cutoff: Fraction) -> Bound:
    return Bound(worse_operator(series.better), cutoff)


def _population(parameters: Parameters, which: str) -> Population | None:
    mean, sd = parameters.given(f"{which}_mean"), parameters.given(f"{which}_sd")
    return None if mean is None or sd is None else Population(mean, sd)


def sentence(judged: Change, yardstick: Yardstick) -> str:
    """The change in one plain sentence."""
    index = "" if judged.index is None else f" (RC {plain(judged.index)})"
    size = f"From {plain(judged.pre)} to {plain(judged.post)}{index}"
    if not judged.reliable:
        return f"{size}: not reliable, which takes {yardstick.bar}."
    if judged.category is Category.DETERIORATED:
        return f"{size}: reliably worse, by {yardstick.bar}."
    cutoff = yardstick.cutoff
    if cutoff is None:
        return f"{size}: reliably better, by {yardstick.bar}; no cut-off is known."
    across = "across" if judged.crossed else "not across"
    return (
        f"{size}: reliably better, by {yardstick.bar}, and {across} the cut-off "
        f"{plain(cutoff.value)}."
    )


def figures_of(judged: Change) -> dict[str, str]:
    """The figures of one change, as decimal text and plain words."""
    crossed = {None: "unknown", True: "yes", False: "no"}[judged.crossed]
    figures = {"pre": text(judged.pre), "post": text(judged.post), "change": text(judged.size)}
    if judged.index is not None:
        figures["rc"] = text(judged.index)
    return {
        **figures,
        "reliable": "yes" if judged.reliable else "no",
        "crossed_cutoff": crossed,
        "category": judged.category.value,
    }


def yardstick_figures(yardstick: Yardstick) -> dict[str, str]:
    """The figures that every change of one measure shares; cut-offs are met by what is worse."""
    error, figures = yardstick.difference_squared, {}
    if error is not None:
        figures = {
            "standard_error_of_measurement": text(root(error / 2)),
            "standard_error_of_difference": text(root(error)),
            "reliable_change": text(root(error * yardstick.z * yardstick.z)),
            "reliable_change_operator": ">",
        }
    elif yardstick.published is not None:
        operator, value = yardstick.published
        figures = {"reliable_change": text(value), "reliable_change_operator": operator}
    for criterion, cutoff in yardstick.cutoffs:
        figures[f"cutoff_{criterion}"] = text(cutoff.value)
    if yardstick.cutoff is not None and yardstick.criterion is not None:
        figures["criterion"] = yardstick.criterion.value
        figures["cutoff"] = text(yardstick.cutoff.value)
        figures["cutoff_operator"] = yardstick.cutoff.operator
    return figures


_PAPER = "Jacobson & Truax 1991"

RELIABLE_CHANGE = Method[Series](
    name="reliable-change",
    version="1.0",
    title="Reliable and clinically significant change",
    asks="From the first rating on: is the change more than error, and to which side?",
    sources=("Jacobson & Truax 1991, Journal of Consulting and Clinical Psychology 59(1), 12-19",),
    judge=_judge,
    specs=(
        Spec(
            "z",
            Fraction("1.96"),
            "the size of RC that a reliable change must exceed",
            _PAPER,
            operator=">",
            above=Fraction(0),
        ),
        Spec(
            "sd",
            None,
            "the standard deviation of the measure",
            "none is known here",
            above=Fraction(0),
        ),
        Spec(
            "alpha",
            None,
            "the reliability of the measure",
            "none is known here",
            least=Fraction(0),
            most=Fraction(1),
        ),
        Spec("functional_mean", None, "the functional population's mean", "none is known here"),
        Spec(
            "functional_sd",
            None,
            "the functional population's SD",
            "none is known here",
            above=Fraction(0),
        ),
        Spec(
            "dysfunctional_mean", None, "the dysfunctional population's mean", "none is known here"
        ),
        Spec(
            "dysfunctional_sd",
            None,
            "the dysfunctional population's SD",
            "none is known here",
            above=Fraction(0),
        ),
        Spec("cutoff", None, "a published cut-off", "none is known here"),
        Spec(
            "criterion",
            None,
            "which cut-off decides; left out: given, else c, else b, else a",
            _PAPER,
            words=tuple(Criterion),
        ),
    ),
)
