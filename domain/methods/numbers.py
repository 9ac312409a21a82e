"""Exact arithmetic for the methods: fractions as far as a formula is rational, then 40 digits.

A threshold with a root in it is compared by its square, so that *must exceed, not equal* holds to
the last digit. Nothing here is stored; what leaves is decimal text.
"""

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction

_DIGITS = Context(prec=40)
PLACES = 6
"""How many decimals a figure is told with, trailing zeros left out."""


def mean(values: Sequence[Fraction]) -> Fraction:
    """The arithmetic mean; there is at least one value."""
    return sum(values, Fraction(0)) / len(values)


def variance(values: Sequence[Fraction]) -> Fraction:
    """The sample variance, by n − 1; there are at least two values."""
    return squares(values) / (len(values) - 1)


def squares(values: Sequence[Fraction]) -> Fraction:
    """The sum of squared deviations from the mean."""
    centre = mean(values)
    return sum(((value - centre) ** 2 for value in values), Fraction(0))


def products(one: Sequence[Fraction], other: Sequence[Fraction]) -> Fraction:
    """The sum of products of deviations from the means of two equally long sequences."""
    centre = mean(other)
    return sum(((a * (b - centre)) for a, b in zip(one, other, strict=True)), Fraction(0))


def root(square: Fraction) -> Decimal:
    """The square root to 40 digits."""
    return _DIGITS.divide(
        _DIGITS.sqrt(Decimal(square.numerator * square.denominator)), Decimal(square.denominator)
    )


def over_root(numerator: Fraction, square: Fraction) -> Decimal:
    """The numerator over the square root of `square`, which is above 0."""
    size = root(numerator * numerator / square)
    return -size if numerator < 0 else size


def exceeds(value: Fraction, square: Fraction) -> bool:
    """Whether the value is above the positive root of `square`, exactly."""
    return value > 0 and value * value > square


def reaches(value: Fraction, square: Fraction) -> bool:
    """Whether the value is the positive root of `square` or above it, exactly."""
    return value >= 0 and value * value >= square


def text(value: Fraction | Decimal | float, places: int = PLACES) -> str:
    """The value as plain decimal text, rounded half to even to that many places."""
    exact = Fraction(value)
    rounded = Decimal(round(exact * 10**places)).scaleb(-places, Context(prec=400))
    shown = f"{rounded:f}"
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return "0" if shown in ("-0", "") else shown


def plain(value: Fraction | Decimal | float) -> str:
    """The value for a sentence: two decimals at most."""
    return text(value, 2)


def ratings(count: int) -> str:
    """`1 rating`, `3 ratings`."""
    return f"{count} rating{'s' * (count != 1)}"


def students_t(share: float, freedom: int) -> float:
    """The quantile of Student's t: below it lies that share (above one half), whole degrees.

    The distribution has a closed form for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and
    26.7.4); it is inverted by halving.
    """
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < share:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if _t_below(middle, freedom) < share:
            low = middle
        else:
            high = middle
    return high


def _t_below(t: float, freedom: int) -> float:
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    even = freedom % 2 == 0
    term, total = (1.0, 1.0) if even else (cosine, cosine)
    for step in range(2 if even else 3, freedom, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    if even:
        return 0.5 + sine * total / 2
    return 0.5 + (angle + (sine * total if freedom > 1 else 0.0)) / math.pi
