"""The two times of a page: chosen by a slider over the recorded moments, or typed.

Without a script the slider and the fields arrive together; whichever was moved counts, because the
form also says where the slider stood. The script, where it runs, writes the slider's moment into
the field, and the address then holds the times alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BeforeValidator

from api.doors import Entrance, TheHouse, Visit, Who, enter
from api.pages import words
from domain.event import Moment, RecordedEvent
from domain.relationship import relationship_stream


def _typed(value: Any) -> Any:
    """A form sends blanks for nothing, and times without offset: those are meant in UTC."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    bare = text[10:11] in ("T", " ") and not any(sign in text[10:] for sign in "Zz+-")
    return f"{text}Z" if bare else text or None


TypedMoment = Annotated[Moment | None, BeforeValidator(_typed), Query()]
StopNumber = Annotated[int | None, Query(ge=0, lt=2**31)]


@dataclass(frozen=True, slots=True)
class Stop:
    """A second in which something was recorded, and what was recorded last in it."""

    at: datetime
    said: str


def stops(history: Iterable[RecordedEvent]) -> list[Stop]:
    """Where the slider halts. Nothing is recorded before the last, so each keeps its number."""
    found: dict[datetime, str] = {}
    for entry in history:
        at = words.whole_second(entry.recorded_at)
        found[at] = f"{words.second(at)} · {words.topic(entry.topic)}, entry {entry.version}"
    return [Stop(at, said) for at, said in found.items()]


class OpensAsOf(Entrance):
    """Lets a person into one relationship's record as of the two times of the form (rule 5)."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        known_at: TypedMoment = None,
        happened_by: TypedMoment = None,
        moment: StopNumber = None,
        shown: StopNumber = None,
    ) -> Visit:
        if moment is not None and moment != shown:
            halts = stops(house.records.history(relationship_stream(relationship)))
            known_at = halts[min(moment, len(halts) - 1)].at if halts else None
        return enter(
            house,
            who,
            self.door,
            relationship=relationship,
            known_at=known_at,
            happened_by=happened_by,
        )


@dataclass(frozen=True, slots=True)
class AsOf:
    """The two times as the form shows them."""

    stops: list[Stop]
    stop: int
    """Where the slider stands."""
    known_at: datetime | None
    happened_by: datetime | None
    later: int
    """Entries recorded after `known_at`."""
    beyond: int
    """Entries of what happened after `happened_by`, among those known."""

    @property
    def is_past(self) -> bool:
        return self.known_at is not None or self.happened_by is not None


def as_of(visit: Visit) -> AsOf:
    """How the two times of a visit cut the whole history."""
    history = visit.history()
    known = history.as_of(known_at=visit.known_at)
    seen = history.as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    halts = stops(history)
    reached = [n for n, s in enumerate(halts) if visit.known_at is None or s.at <= visit.known_at]
    return AsOf(
        stops=halts,
        stop=max(reached, default=0),
        known_at=visit.known_at,
        happened_by=visit.happened_by,
        later=len(history) - len(known),
        beyond=len(known) - len(seen),
    )
