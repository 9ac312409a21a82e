"""Reliable drop: a fall between two ratings that exceeds what measurement error would explain.

    x(t−1) − x(t) > z · √2 · SD · √(1 − α)

It must exceed the threshold, not equal it. Both sides are compared by their squares, exactly.
"""

from fractions import Fraction

from domain.methods.card import Finding, Judgement, Kind, Method, Parameters, Spec, Why, decline
from domain.methods.numbers import exceeds, plain, ratings, root, text
from domain.methods.series import Series


def threshold_squared(z: Fraction, sd_squared: Fraction, alpha: Fraction) -> Fraction:
    """(z · √2 · SD · √(1 − α))², a rational number."""
    return z * z * 2 * sd_squared * (1 - alpha)


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
            Why.NOT_ENOUGH_DATA, f"{ratings(len(series.points))}: a drop needs at least 2."
        )
    if alpha == 1:
        return decline(
            Why.LIMITS_UNINFORMATIVE,
            "A reliability of 1 leaves no measurement error: every step would exceed it.",
        )
    square = threshold_squared(parameters.number("z"), sd * sd, alpha)
    findings = tuple(_finding(series, at, square) for at in range(1, len(series.points)))
    flagged = sum(finding.flagged for finding in findings)
    return Judgement(
        says=f"{flagged} of {len(findings)} steps {'is a' if flagged == 1 else 'are'} "
        f"{series.worse_word}{'s' * (flagged != 1)} of more than {plain(root(square))}.",
        findings=findings,
        figures={"threshold": text(root(square))},
    )


def _finding(series: Series, at: int, square: Fraction) -> Finding:
    before, now = series.values[at - 1], series.values[at]
    flagged = exceeds(series.worsening(before, now), square)
    relation = "exceeds" if flagged else "does not exceed"
    return Finding(
        at,
        Kind.DROP,
        flagged,
        f"From {plain(before)} to {plain(now)}: {relation} a {series.worse_word} of "
        f"{plain(root(square))}.",
        {"step": text(now - before), "threshold": text(root(square))},
        rests_on=(at - 1,),
    )


RELIABLE_DROP = Method[Series](
    name="reliable-drop",
    version="1.0",
    title="Reliable drop",
    asks="Did the score fall from one rating to the next by more than measurement error explains?",
    sources=(
        "Jacobson & Truax 1991, Journal of Consulting and Clinical Psychology 59(1), 12-19: the "
        "standard error of a difference, applied to neighbouring ratings",
    ),
    judge=_judge,
    specs=(
        Spec(
            "z",
            Fraction("1.96"),
            "how many standard errors of a difference the drop must exceed",
            "two-sided 5 % of the normal distribution",
            operator=">",
            above=Fraction(0),
        ),
        Spec(
            "sd",
            None,
            "the standard deviation of the measure in a stated population",
            "none is known here",
            above=Fraction(0),
        ),
        Spec(
            "alpha",
            None,
            "the reliability of the measure in that population",
            "none is known here",
            least=Fraction(0),
            most=Fraction(1),
        ),
    ),
)
