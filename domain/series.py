"""Series: scores that may share an axis, and be compared with each other (rule 32)."""

from functools import lru_cache
from typing import NamedTuple

from domain.definition import Definition


class SeriesId(NamedTuple):
    """Scores share a series or an axis only if all four agree (rule 32)."""

    instrument: str
    form: str
    metric: str
    key_major: int

    def __str__(self) -> str:
        return f"{self.instrument}/{self.form}/{self.metric}/{self.key_major}"


@lru_cache(1024)
def series_id(definition: Definition, perspective: str) -> SeriesId:
    """The series to which scores of that form belong; PerspectiveUnknown if there is none."""
    form = definition.forms[definition.perspective(perspective)]
    return SeriesId(definition.id, form, definition.metric, definition.release[0])
