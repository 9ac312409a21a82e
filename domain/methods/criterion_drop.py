"""Criterion drop: a fall between two ratings of at least k reference standard deviations.

    d(t) = x(t) − x(t−1)     flagged where d(t) ≤ −k · SD_ref

(on a scale where lower is better: d(t) ≥ k · SD_ref). SD_ref is given, from the clinic or a
published norm; left out, it is the sample standard deviation of the client's own earlier ratings.
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
from domain.methods.numbers import plain, ratings, reaches, root, text, variance
from domain.methods.series import Series

OWN_NEEDS = 5
"""So many earlier ratings make an own standard deviation; of fewer it is too uncertain to use."""

SCATTER = (
    "Measured by the own standard deviation: of ratings that only scatter, a step of one SD to the "
    "worse is about one in four. docs/detectors.md says what that does."
)


def reference_variance(series: Series, before: int, sd: Fraction | None) -> Fraction | None:
    """SD_ref² for the point at that index: of the given SD, else of the points before it.

    None: there are too few of them.
    """
    if sd is not None:
        return sd * sd
    return variance(series.values[:before]) if before >= OWN_NEEDS else None


def _judge(series: Series, parameters: Parameters) -> Judgement:
    k, sd = parameters.number("k"), parameters.given("sd_ref")
    least = 2 if sd is not None else OWN_NEEDS + 1
    if len(series.points) < least:
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"{ratings(len(series.points))}: with {'a given' if sd is not None else 'its own'} "
            f"standard deviation a drop needs at least {least}.",
        )
    findings = tuple(_finding(series, at, k, sd) for at in range(1, len(series.points)))
    judged = [finding for finding in findings if finding.declined is None]
    if not judged:
        return decline(
            Why.NO_VARIANCE,
            "The ratings before each step do not differ, so there is no standard deviation to "
            "measure it by.",
            findings=findings,
        )
    flagged = sum(finding.flagged for finding in judged)
    word = series.worse_word
    return Judgement(
        says=f"{flagged} of {len(judged)} steps {'is a' if flagged == 1 else 'are'} {word}"
        f"{'s' * (flagged != 1)} of {plain(k)} SD or more.",
        findings=findings,
        notes=(SCATTER,) if sd is None else (),
    )


def _finding(series: Series, at: int, k: Fraction, sd: Fraction | None) -> Finding:
    before, now = series.values[at - 1], series.values[at]
    worse = series.worsening(before, now)
    square = reference_variance(series, at, sd)
    rests = (at - 1,) if sd is not None else tuple(range(at))
    figures = {"step": text(now - before)}
    if square is None or square == 0:
        declined = (
            Declined(Why.NOT_ENOUGH_DATA, f"{at} earlier: {OWN_NEEDS} are needed.")
            if square is None
            else Declined(Why.NO_VARIANCE, "The earlier ratings do not differ.")
        )
        return Finding(
            at, Kind.DROP, False, declined.says, figures, rests_on=rests, declined=declined
        )
    threshold = root(square * k * k)
    flagged = reaches(worse, square * k * k)
    word, relation = series.worse_word, "reaches" if flagged else "does not reach"
    return Finding(
        at,
        Kind.DROP,
        flagged,
        f"From {plain(before)} to {plain(now)}: {relation} a {word} of {plain(threshold)}.",
        {**figures, "sd_ref": text(root(square)), "threshold": text(threshold)},
        rests_on=rests,
    )


CRITERION_DROP = Method[Series](
    name="criterion-drop",
    version="1.0",
    title="Criterion drop",
    asks="Did the score fall from one rating to the next by at least k reference SDs?",
    sources=(
        "Drop criteria between sessions are usual in the study of ruptures; the size in SDs is a "
        "convention, and differs between studies.",
    ),
    judge=_judge,
    specs=(
        Spec(
            "k",
            Fraction(1),
            "how many reference standard deviations a drop must reach",
            "convention: one standard deviation",
            operator=">=",
            above=Fraction(0),
        ),
        Spec(
            "sd_ref",
            None,
            "the reference standard deviation, of the clinic or a published norm",
            "left out: the sample SD of the client's own earlier ratings",
            above=Fraction(0),
        ),
    ),
)
