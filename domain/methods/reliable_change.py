"""Reliable and clinically significant change (Jacobson & Truax 1991).

    S_E = SD · √(1 − α)     S_diff = √2 · S_E     RC = (post − pre) / S_diff

A change is reliable where |RC| exceeds z (1.96). It is clinically significant where it also crosses
a cut-off from the dysfunctional to the functional side:

    a   two SDs of the dysfunctional population beyond its mean, towards function
    b   two SDs of the functional population short of its mean
    c   between the two means, weighted by the SDs: (SD_f · M_d + SD_d · M_f) / (SD_f + SD_d)

Everything is decided exactly: what has a root in it is compared by squares.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

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


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a change is measured by."""

    sd_squared: Fraction
    alpha: Fraction
    z: Fraction = Fraction("1.96")
    better: Better = Better.HIGHER
    criterion: Criterion | None = None
    cutoffs: tuple[tuple[Criterion, Fraction], ...] = ()
    """Every cut-off that can be had."""

    @classmethod
    def of(
        cls,
        *,
        sd_squared: Fraction,
        alpha: Fraction,
        z: Fraction = Fraction("1.96"),
        better: Better = Better.HIGHER,
        functional: Population | None = None,
        dysfunctional: Population | None = None,
        published: Fraction | None = None,
        criterion: Criterion | None = None,
    ) -> "Yardstick":
        """The yardstick with the cut-offs that those populations allow.

        Unless one is named, a published cut-off decides; else c, which needs both populations;
        else b or a. Raises NormsContradictDirection.
        """
        if functional and dysfunctional:
            gap = functional.mean - dysfunctional.mean
            if gap == 0 or (gap > 0) != (better is Better.HIGHER):
                side = "above" if better is Better.HIGHER else "below"
                raise NormsContradictDirection(better=better, side=side)
        known = _cutoffs(better, functional, dysfunctional, published)
        order = (Criterion.GIVEN, Criterion.C, Criterion.B, Criterion.A)
        found = next((one for one in order if one in known), None)
        return cls(sd_squared, alpha, z, better, criterion or found, tuple(known.items()))

    @property
    def difference_squared(self) -> Fraction:
        """S_diff², which is above 0 unless the reliability is 1."""
        return 2 * self.sd_squared * (1 - self.alpha)

    @property
    def cutoff(self) -> Fraction | None:
        """The cut-off that decides; None: none is known."""
        return dict(self.cutoffs).get(self.criterion) if self.criterion else None


def _cutoffs(
    better: Better,
    functional: Population | None,
    dysfunctional: Population | None,
    published: Fraction | None,
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
    if published is not None:
        known[Criterion.GIVEN] = published
    return known


@dataclass(frozen=True, slots=True)
class Change:
    """A change, judged."""

    pre: Fraction
    post: Fraction
    index: Decimal
    """RC, with the sign of post − pre."""
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

    The functional side is beyond the cut-off: a score on the cut-off itself is not yet across.
    """
    square = yardstick.difference_squared
    gain = post - pre if yardstick.better is Better.HIGHER else pre - post
    reliable = exceeds(abs(gain), square * yardstick.z * yardstick.z)
    cutoff, crossed = yardstick.cutoff, None
    if cutoff is not None:
        higher = yardstick.better is Better.HIGHER
        crossed = pre <= cutoff < post if higher else post < cutoff <= pre
    if not reliable:
        category = Category.UNCHANGED
    elif gain < 0:
        category = Category.DETERIORATED
    else:
        category = Category.RECOVERED if crossed else Category.IMPROVED
    return Change(pre, post, over_root(post - pre, square), reliable, crossed, category)


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
        published=parameters.given("cutoff"),
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


def _population(parameters: Parameters, which: str) -> Population | None:
    mean, sd = parameters.given(f"{which}_mean"), parameters.given(f"{which}_sd")
    return None if mean is None or sd is None else Population(mean, sd)


def sentence(judged: Change, yardstick: Yardstick) -> str:
    """The change in one plain sentence."""
    size = f"From {plain(judged.pre)} to {plain(judged.post)} (RC {plain(judged.index)})"
    bound = plain(root(yardstick.difference_squared * yardstick.z * yardstick.z))
    if not judged.reliable:
        return f"{size}: no more than the {bound} that measurement error may make."
    if judged.category is Category.DETERIORATED:
        return f"{size}: reliably worse, by more than {bound}."
    if judged.crossed is None:
        return f"{size}: reliably better, by more than {bound}; no cut-off is known."
    across = "across" if judged.crossed else "not across"
    assert yardstick.cutoff is not None, "whether it was crossed is known"
    return (
        f"{size}: reliably better, by more than {bound}, and {across} the cut-off "
        f"{plain(yardstick.cutoff)}."
    )


def figures_of(judged: Change) -> dict[str, str]:
    """The figures of one change, as decimal text and plain words."""
    crossed = {None: "unknown", True: "yes", False: "no"}[judged.crossed]
    return {
        "pre": text(judged.pre),
        "post": text(judged.post),
        "change": text(judged.size),
        "rc": text(judged.index),
        "reliable": "yes" if judged.reliable else "no",
        "crossed_cutoff": crossed,
        "category": judged.category.value,
    }


def yardstick_figures(yardstick: Yardstick) -> dict[str, str]:
    """The figures that every change of one measure shares."""
    error = yardstick.difference_squared
    figures = {
        "standard_error_of_measurement": text(root(error / 2)),
        "standard_error_of_difference": text(root(error)),
        "reliable_change": text(root(error * yardstick.z * yardstick.z)),
    }
    for criterion, cutoff in yardstick.cutoffs:
        figures[f"cutoff_{criterion}"] = text(cutoff)
    if yardstick.cutoff is not None and yardstick.criterion is not None:
        figures["criterion"] = yardstick.criterion.value
        figures["cutoff"] = text(yardstick.cutoff)
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
        Spec("cutoff", None, "a published cut-off", "none is known here", operator=">"),
        Spec(
            "criterion",
            None,
            "which cut-off decides; left out: given, else c, else b, else a",
            _PAPER,
            words=tuple(Criterion),
        ),
    ),
)
