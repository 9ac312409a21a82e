"""Person deviation: how far a rating lies from the client's own earlier ones, in their SDs.

    z(t) = (x(t) − mean of x(1 … t−1)) / SD of x(1 … t−1)     flagged where z(t) ≤ −z

(on a scale where lower is better: z(t) ≥ z). Past sessions alone count, at least three of them.
"""

from fractions import Fraction

from domain.methods.card import (
    Declined,
    Finding,
    Judgement,
    Kind,
    Method,
    Parameters,
    Spec,
    Why,
    decline,
)
from domain.methods.numbers import mean, over_root, plain, ratings, reaches, text, variance
from domain.methods.series import Series


def _judge(series: Series, parameters: Parameters) -> Judgement:
    past, z = parameters.whole("past"), parameters.number("z")
    if len(series.points) <= past:
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"{ratings(len(series.points))}: the first {past} are the past of the next one.",
        )
    findings = tuple(_finding(series, at, z) for at in range(past, len(series.points)))
    judged = [finding for finding in findings if finding.declined is None]
    if not judged:
        return decline(
            Why.NO_VARIANCE,
            "The earlier ratings never differ, so there is no standard deviation to measure by.",
            findings=findings,
        )
    flagged = sum(finding.flagged for finding in judged)
    return Judgement(
        says=f"{flagged} of {ratings(len(judged))} {'lies' if flagged == 1 else 'lie'} {plain(z)} "
        "or more own standard deviations on the worse side of those before.",
        findings=findings,
        notes=(
            "A standard deviation of few ratings is itself uncertain: after three, chance alone "
            "reaches 3 about once in sixteen.",
        ),
    )


def _finding(series: Series, at: int, z: Fraction) -> Finding:
    past, now = series.values[:at], series.values[at]
    centre, square = mean(past), variance(past)
    rests = tuple(range(at))
    if square == 0:
        declined = Declined(Why.NO_VARIANCE, "The earlier ratings do not differ.")
        return Finding(at, Kind.DEVIATION, False, declined.says, rests_on=rests, declined=declined)
    deviation = over_root(now - centre, square)
    flagged = reaches(series.worsening(centre, now), square * z * z)
    return Finding(
        at,
        Kind.DEVIATION,
        flagged,
        f"{plain(now)} lies {plain(abs(deviation))} own standard deviations "
        f"{'below' if now < centre else 'above'} the mean of the {at} ratings before.",
        {"z": text(deviation), "mean": text(centre)},
        rests_on=rests,
    )


PERSON_DEVIATION = Method[Series](
    name="person-deviation",
    version="1.0",
    title="Deviation from the own past",
    asks="Does a rating lie far from the client's own earlier ones?",
    sources=("The standard score by the person's own past mean and sample standard deviation",),
    judge=_judge,
    specs=(
        Spec(
            "z",
            Fraction(3),
            "how many own standard deviations to the worse side are flagged",
            "product, by planted courses: docs/detectors.md",
            operator=">=",
            above=Fraction(0),
        ),
        Spec(
            "past",
            Fraction(3),
            "how many earlier ratings are needed",
            "product: the fewest that are accepted",
            least=Fraction(3),
            whole=True,
        ),
    ),
)
