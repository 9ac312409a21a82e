"""The closed list of methods, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from domain.event import Refusal
from domain.instrument import quoted
from domain.methods.card import Method
from domain.methods.control_chart import CONTROL_CHART
from domain.methods.criterion_drop import CRITERION_DROP
from domain.methods.reliable_drop import RELIABLE_DROP
from domain.methods.series import Series


class MethodUnknown(Refusal):
    status = 404
    says = "There is no method {method}; there are {known}."


OF_A_SERIES: Mapping[str, Method[Series]] = MappingProxyType(
    {
        method.name: method
        for method in (
            CRITERION_DROP,
            RELIABLE_DROP,
            CONTROL_CHART,
        )
    }
)
"""Methods that look at one series."""

METHODS: Mapping[str, Method[Any]] = MappingProxyType({**OF_A_SERIES})
"""All of them."""


def method(name: str) -> Method[Any]:
    """The method of that name; raises MethodUnknown."""
    found = METHODS.get(name)
    if found is None:
        raise MethodUnknown(method=quoted(name), known=", ".join(METHODS))
    return found
