"""What pages say about the alliance in general: reviewed sentences, each with its source (rule 44).

They stand in claims.toml and nowhere else.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

_FILE = Path(__file__).with_name("claims.toml")


class Claim(NamedTuple):
    """One sentence or a few, and where they come from."""

    says: str
    source: str


@cache
def _read() -> tuple[date, Mapping[str, Claim]]:
    told = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    reviewed = told.pop("reviewed")
    assert isinstance(reviewed, date), "claims.toml says when it was reviewed"
    return reviewed, MappingProxyType({name: Claim(**claim) for name, claim in told.items()})


def claims() -> Mapping[str, Claim]:
    """All of them by name."""
    return _read()[1]


def claim(name: str) -> Claim:
    """The claim of that name; LookupError if nobody has reviewed one."""
    return claims()[name]


def reviewed() -> date:
    """The day on which the file was last read through."""
    return _read()[0]
