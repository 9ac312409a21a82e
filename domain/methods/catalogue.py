"""The closed list of methods, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from domain.answers import quoted
from domain.event import Refusal
from domain.methods.absolute import ABSOLUTE
from domain.methods.card import Method
from domain.methods.change_point import CHANGE_POINT
from domain.methods.congruence import CONGRUENCE
from domain.methods.control_chart import CONTROL_CHART
from domain.methods.criterion_drop import CRITERION_DROP
from domain.methods.early_alliance import EARLY_ALLIANCE
from domain.methods.episode import EPISODE
from domain.methods.person_deviation import PERSON_DEVIATION
from domain.methods.reliable_change import RELIABLE_CHANGE
from domain.methods.reliable_drop import RELIABLE_DROP
from domain.methods.response_quality import RESPONSE_QUALITY
from domain.methods.series import Series
from domain.methods.shape import SHAPE


class MethodUnknown(Refusal):
    status = 404
    says = "There is no method {method}; there are {known}."


_OF_A_SERIES = (
    ABSOLUTE,
    CRITERION_DROP,
    RELIABLE_DROP,
    CONTROL_CHART,
    PERSON_DEVIATION,
    CHANGE_POINT,
    EPISODE,
    SHAPE,
    EARLY_ALLIANCE,
    RELIABLE_CHANGE,
)

OF_A_SERIES: Mapping[str, Method[Series]] = MappingProxyType(
    {one.name: one for one in _OF_A_SERIES}
)
"""The methods that look at one series; congruence takes a dyad, response quality takes forms."""

METHODS: Mapping[str, Method[Any]] = MappingProxyType(
    {**OF_A_SERIES, CONGRUENCE.name: CONGRUENCE, RESPONSE_QUALITY.name: RESPONSE_QUALITY}
)
"""All of them."""


def method(name: str) -> Method[Any]:
    """The method of that name; raises MethodUnknown."""
    found = METHODS.get(name)
    if found is None:
        raise MethodUnknown(method=quoted(name), known=", ".join(METHODS))
    return found
