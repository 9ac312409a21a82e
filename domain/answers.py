"""Answers as people write them: numbers, decimal text, words; and how they are quoted back."""

import re
from contextlib import suppress
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from domain.event import Line

MOST_ITEMS = 500

_DECIMAL = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)


def exact_number(answer: object) -> Decimal | None:
    """The exact value of a number or of plain decimal text; None for anything else."""
    if isinstance(answer, str) and _DECIMAL.fullmatch(answer.strip()):
        return Decimal(answer.strip())
    if isinstance(answer, bool) or not isinstance(answer, int | float | Decimal):
        return None
    exact = Decimal(repr(answer)) if isinstance(answer, float) else Decimal(answer)
    return exact if exact.is_finite() else None


def is_blank(answer: object) -> bool:
    """Whether nothing was answered: None, or text without a character in it."""
    return answer is None or (isinstance(answer, str) and not answer.strip())


def normal_name(name: str) -> str:
    """The name of an instrument as it is compared: in any case, `PHQ_9` and `phq 9` as `phq-9`.

    Its hyphens stay: WAI-SR is an alliance inventory, and WAIS-R a test of intelligence.
    """
    return re.sub(r"[\s_]+", "-", name.strip()).casefold()


def normal_word(label: str) -> str:
    """A word of a scale as it is compared: in any case, with any spaces."""
    return " ".join(label.casefold().split())


def quoted(sent: object, length: int = 40) -> str:
    """What was sent, short and with nothing in it that a log or a terminal would obey."""
    if isinstance(sent, str):
        return ascii(sent[:length]) + ("..." if len(sent) > length else "")
    if isinstance(sent, bool | float | Decimal) or sent is None:
        return cut_short(str(sent).lower())
    return "a list" if isinstance(sent, list | tuple) else "an object"


def cut_short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."


# --- In a command ---------------------------------------------------------------------------


def _as_written(answer: object) -> object:
    """A number as the decimal text it was written as: nothing here is ever a float."""
    if isinstance(answer, str) and not answer.strip():
        return None
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return answer
    return repr(answer)


Answer = Annotated[
    Line | None,
    BeforeValidator(_as_written),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]}),
]
"""An answer as people give it: a number in the instrument's own units, or a word of its scale."""

_FIGURES = re.compile(r"[-+.0-9]{1,200}")  # a Line in whatever order, unless it is empty


def _all_at_once(answers: Any, one_by_one: ValidatorFunctionWrapHandler) -> tuple[str | None, ...]:
    """Answers all in figures, as on most forms, are what they should be: no look at each."""
    if type(answers) in (list, tuple) and len(answers) <= MOST_ITEMS and all(answers):
        with suppress(TypeError):  # not all of them are text
            if _FIGURES.fullmatch("".join(answers)):
                return tuple(answers)
    return one_by_one(answers)  # type: ignore[no-any-return]


Answers = Annotated[
    tuple[Answer, ...], Field(min_length=1, max_length=MOST_ITEMS), WrapValidator(_all_at_once)
]
