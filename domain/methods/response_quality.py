"""Response quality: signs in the raw items that a form may not have been read.

Straight-lining: one answer given to so many items in a row. Runs of maxima: form after form with
every item at its best end, so that a series has no room left to show anything. Attention items: an
item that asks for one answer, and got another. Each is a reason to ask, not a verdict: on a short
or one-sided scale a straight line may be just what somebody means.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import groupby

from domain.answers import exact_number
from domain.methods.card import (
    Finding,
    Judgement,
    Kind,
    Method,
    Parameters,
    ParameterUnfit,
    Spec,
    Why,
    decline,
)
from domain.methods.numbers import plain
from domain.methods.series import Forms

_NAME = "response-quality"
Items = Sequence[Fraction | None]


def longest_run(items: Items) -> int:
    """How many answered items in a row got the same answer; what was left out is passed over."""
    answered = [item for item in items if item is not None]
    return max((len(list(run)) for _, run in groupby(answered)), default=0)


def _judge(forms: Forms, parameters: Parameters) -> Judgement:
    attention = _attention(parameters.word("attention"))
    if not forms.points:
        return decline(Why.NOT_ENOUGH_DATA, "There are no answered forms.")
    findings = tuple(_findings(forms, parameters, attention))
    if not findings:
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"No form has {plain(parameters.number('items'))} answered items, no "
            f"{plain(parameters.number('forms'))} forms follow each other, and no attention item "
            "is named.",
        )
    flagged = sorted({finding.at for finding in findings if finding.flagged})
    count = len(forms.points)
    known = None not in (forms.lowest, forms.highest)
    return Judgement(
        says=f"{len(flagged)} of {count} form{'s' * (count != 1)} "
        f"{'gives' if len(flagged) == 1 else 'give'} a reason to ask how it was filled in.",
        findings=findings,
        notes=() if known else ("The ends of the scale are not known: no runs of maxima.",),
    )


def _attention(named: str) -> Mapping[int, Fraction]:
    """`7=3, 20=1`: the answer that each attention item asks for."""
    wanted: dict[int, Fraction] = {}
    for part in filter(None, (part.strip() for part in named.split(","))):
        item, _, answer = part.partition("=")
        exact = exact_number(answer)
        if not item.strip().isdecimal() or exact is None:
            raise ParameterUnfit(
                method=_NAME, parameter="attention", expected="pairs such as 7=3, 20=1"
            )
        wanted[int(item)] = Fraction(exact)
    return wanted


def _findings(
    forms: Forms, parameters: Parameters, attention: Mapping[int, Fraction]
) -> Iterator[Finding]:
    share, least = parameters.number("share"), parameters.whole("items")
    needed, row = parameters.whole("forms"), 0
    for at, point in enumerate(forms.points):
        answered = [item for item in point.items if item is not None]
        if len(answered) >= least:
            yield _straight_line(at, point.items, len(answered), share)
        row = row + 1 if answered and _all_at_best(forms, point.items) else 0
        if at + 1 >= needed and None not in (forms.lowest, forms.highest):
            yield Finding(
                at,
                Kind.RUN_OF_MAXIMA,
                row >= needed,
                f"{row} form{'s' * (row != 1)} in a row with every answer at the best end.",
                {"forms": str(row)},
                rests_on=tuple(range(at - row + 1, at)) if row else (),
            )
        yield from _attended(at, point.items, attention)


def _straight_line(at: int, items: Items, answered: int, share: Fraction) -> Finding:
    run = longest_run(items)
    return Finding(
        at,
        Kind.STRAIGHT_LINE,
        run >= share * answered,
        f"{run} of {answered} answers in a row are the same.",
        {"longest_run": str(run), "answered": str(answered)},
    )


def _all_at_best(forms: Forms, items: Items) -> bool:
    """Whether every answer is the best there is; reversed items have theirs at the low end."""
    return all(
        item == (forms.lowest if number in forms.reversed_items else forms.highest)
        for number, item in enumerate(items, 1)
        if item is not None
    )


def _attended(at: int, items: Items, attention: Mapping[int, Fraction]) -> Iterator[Finding]:
    for number, wanted in attention.items():
        answer = items[number - 1] if 0 < number <= len(items) else None
        if answer is not None:
            fits = answer == wanted
            yield Finding(
                at,
                Kind.ATTENTION_ITEM,
                not fits,
                f"Item {number} asks for {plain(wanted)} and got {plain(answer)}.",
                {"item": str(number), "answer": plain(answer)},
            )


RESPONSE_QUALITY = Method[Forms](
    name=_NAME,
    version="1.0",
    title="Response quality",
    asks="Do the raw answers show that a form may not have been read?",
    sources=(
        "Curran 2016, Journal of Experimental Social Psychology 66, 4-19: long strings of one "
        "answer (half of the items as a first threshold), attention items",
    ),
    judge=_judge,
    specs=(
        Spec(
            "share",
            Fraction(1),
            "what share of the answers a run of one answer must reach",
            "product: one answer throughout; short one-sided scales reach half of it in earnest",
            operator=">=",
            above=Fraction(0),
            most=Fraction(1),
        ),
        Spec(
            "items",
            Fraction(6),
            "how many answered items a form needs before a run means anything",
            "product",
            operator=">=",
            least=Fraction(2),
            whole=True,
        ),
        Spec(
            "forms",
            Fraction(3),
            "how many forms in a row must be all at the best end",
            "product",
            operator=">=",
            least=Fraction(2),
            whole=True,
        ),
        Spec(
            "attention",
            "",
            "attention items and the answers they ask for, such as 7=3, 20=1",
            "the instrument's form",
            free=True,
        ),
    ),
    of_scores=False,
)
