"""Early alliance: the mean of the ratings of sessions three to five.

The window is the one that alliance research usually means by *early*. What is missing in it is
said; nothing is put in its place.
"""

from fractions import Fraction

from domain.methods.card import Judgement, Method, Parameters, ParameterUnfit, Spec, Why, decline
from domain.methods.numbers import mean, plain, text
from domain.methods.series import Series


def _judge(series: Series, parameters: Parameters) -> Judgement:
    first, last = parameters.whole("first"), parameters.whole("last")
    if last < first:
        raise ParameterUnfit(
            method="early-alliance", parameter="last", expected=f"a whole number at least {first}"
        )
    window = range(first, last + 1)
    rated = {p.session: p.value for p in series.points if p.session is not None}
    there = [number for number in window if number in rated]
    missing = [number for number in window if number not in rated]
    without = f"session{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
    if not there:
        return decline(Why.NOT_ENOUGH_DATA, f"There is no rating of {without}.")
    average = mean([rated[number] for number in there])
    gap = f"; {without} {'are' if len(missing) > 1 else 'is'} missing" if missing else ""
    return Judgement(
        says=f"The mean of session{'s' * (len(there) > 1)} {', '.join(map(str, there))} is "
        f"{plain(average)}{gap}.",
        figures={"mean": text(average), "rated": str(len(there)), "missing": str(len(missing))},
        notes=("Its window is not complete.",) if missing else (),
    )


EARLY_ALLIANCE = Method[Series](
    name="early-alliance",
    version="1.0",
    title="Early alliance",
    asks="How high was the score early on, in sessions three to five?",
    sources=("The window of sessions 3 to 5, as usual in research on the early alliance",),
    judge=_judge,
    specs=(
        Spec(
            "first",
            Fraction(3),
            "the first session of the window",
            "usage",
            operator=">=",
            least=Fraction(1),
            whole=True,
        ),
        Spec(
            "last",
            Fraction(5),
            "the last session of the window",
            "usage",
            operator="<=",
            least=Fraction(1),
            whole=True,
        ),
    ),
    detects=False,
)
