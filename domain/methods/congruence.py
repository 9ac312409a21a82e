"""Congruence: how the therapist's ratings go with the client's, session by session.

    T − C     |T − C|     r within the dyad     (Tₜ − C̄) = b + τ · (Cₜ − C̄)

b is the bias: how much higher the therapist rates on average. τ is the tracking: how far the
therapist's ratings move with the client's (the truth-and-bias model, within one dyad). The two
views are set side by side and never averaged (rule 32). Fewer than three sessions that both rated
are not shown, fewer than eight are described only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

from domain.methods.card import Finding, Judgement, Kind, Method, Parameters, Spec, Why, decline
from domain.methods.numbers import (
    mean,
    over_root,
    plain,
    products,
    root,
    squares,
    students_t,
    text,
)
from domain.methods.series import Dyad

_NORMAL = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class TruthAndBias:
    """The model of one dyad, by least squares; intervals are of 95 %."""

    bias: Fraction
    tracking: Fraction
    unexplained: Fraction
    """The sum of squared residuals."""
    pairs: int
    spread: Fraction
    """Σ(C − C̄)², above 0."""

    @property
    def bias_margin(self) -> float:
        """Half the width of the interval of b."""
        return self._margin(Fraction(self.pairs))

    @property
    def tracking_margin(self) -> float:
        """Half the width of the interval of τ."""
        return self._margin(self.spread)

    def _margin(self, weight: Fraction) -> float:
        freedom = self.pairs - 2
        error = root(self.unexplained / freedom / weight)
        return students_t(0.975, freedom) * float(error)


def truth_and_bias(
    client: Sequence[Fraction], therapist: Sequence[Fraction]
) -> TruthAndBias | None:
    """The model over at least three pairs; None where the client's ratings do not differ."""
    spread = squares(client)
    if spread == 0:
        return None
    together = products(client, therapist)
    tracking = together / spread
    return TruthAndBias(
        bias=mean(therapist) - mean(client),
        tracking=tracking,
        unexplained=squares(therapist) - tracking * together,
        pairs=len(client),
        spread=spread,
    )


def _judge(dyad: Dyad, parameters: Parameters) -> Judgement:
    pairs, shown, modelled = dyad.pairs, parameters.whole("shown"), parameters.whole("modelled")
    if len(pairs) < shown:
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"{len(pairs)} sessions were rated by both: fewer than {shown} are not shown.",
        )
    client = [pair.client.value for pair in pairs]
    therapist = [pair.therapist.value for pair in pairs]
    gaps = [theirs - mine for mine, theirs in zip(client, therapist, strict=True)]
    apart = mean([abs(gap) for gap in gaps])
    figures = {
        "pairs": str(len(pairs)),
        "mean_difference": text(mean(gaps)),
        "mean_absolute_difference": text(apart),
    }
    notes: tuple[str, ...] = ()
    if len(pairs) < modelled:
        notes = (f"Fewer than {modelled} pairs: described only, no correlation and no model.",)
    else:
        more, notes = _model(client, therapist)
        figures |= more
    gap = mean(gaps)
    way = f"{plain(abs(gap))} {'higher' if gap > 0 else 'lower'}" if gap else "as high"
    return Judgement(
        says=f"Over {len(pairs)} sessions the therapist rates {way} on average; single sessions "
        f"differ by {plain(apart)}.",
        findings=_differences(dyad),
        figures=figures,
        notes=notes,
    )


def _model(
    client: Sequence[Fraction], therapist: Sequence[Fraction]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The figures of correlation and model, and what has to be said of them."""
    model = truth_and_bias(client, therapist)
    if model is None:
        return {}, (
            "The client's ratings do not differ, so nothing shows whether they are tracked.",
        )
    figures = {
        "bias": text(model.bias),
        "bias_95": _interval(float(model.bias), model.bias_margin),
        "tracking": text(model.tracking),
        "tracking_95": _interval(float(model.tracking), model.tracking_margin),
    }
    spread = squares(therapist)
    if spread == 0:
        return figures, ("The therapist's ratings do not differ, so there is no correlation.",)
    correlation = over_root(products(client, therapist), model.spread * spread)
    figures["r"] = text(correlation)
    if abs(correlation) < 1:
        figures["r_95"] = _of_correlation(float(correlation), len(client))
    return figures, ()


def _of_correlation(correlation: float, pairs: int) -> str:
    """The interval of a correlation, by Fisher's z."""
    z, half = math.atanh(correlation), _NORMAL / math.sqrt(pairs - 3)
    return f"{text(math.tanh(z - half))} to {text(math.tanh(z + half))}"


def _interval(centre: float, margin: float) -> str:
    return f"{text(centre - margin)} to {text(centre + margin)}"


def _differences(dyad: Dyad) -> tuple[Finding, ...]:
    """The difference of each session, at the client's point."""
    place = {point.session: at for at, point in enumerate(dyad.points[: len(dyad.client.points)])}
    after = len(dyad.client.points)
    other = {point.session: after + at for at, point in enumerate(dyad.therapist.points)}
    return tuple(
        Finding(
            place[client.session],
            Kind.DIFFERENCE,
            False,
            f"Client {plain(client.value)}, therapist {plain(therapist.value)}.",
            {"difference": text(therapist.value - client.value)},
            rests_on=(other[client.session],),
        )
        for client, therapist in dyad.pairs
    )


CONGRUENCE = Method[Dyad](
    name="congruence",
    version="1.0",
    title="Congruence of client and therapist",
    asks="How far apart do client and therapist rate, and does one follow the other?",
    sources=(
        "West & Kenny 2011, Psychological Review 118(2), 357-378: truth and bias, here within one "
        "dyad by least squares",
    ),
    judge=_judge,
    specs=(
        Spec(
            "shown",
            Fraction(3),
            "below how many pairs nothing is shown",
            "product",
            operator=">=",
            least=Fraction(3),
            whole=True,
        ),
        Spec(
            "modelled",
            Fraction(8),
            "below how many pairs there is no correlation and no model",
            "product",
            operator=">=",
            least=Fraction(8),
            whole=True,
        ),
    ),
    detects=False,
)
