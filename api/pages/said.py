"""Something that somebody said or did, and the entry that says so."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    version: int
