"""Entries themselves: a stream about one relationship, as it was recorded or as it stands.

What a reader is not shown is withheld entry by entry: that it is there, when and by whom stays.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated
from uuid import UUID

from fastapi import Query

from api.access import Reach
from api.doors.house import Entrance, TheHouse, Who
from api.doors.visit import (
    After,
    Cursor,
    HappenedBy,
    KnownAt,
    Limit,
    Purpose,
    Visit,
    enter,
)
from api.doors.withholding import WITHHELD
from domain.access import Basis
from domain.correction import EnteredInError, EntryCorrected
from domain.event import Erased, History, RecordedEvent, Stream
from domain.process_note import ProcessNoteShared, ProcessNoteWritten, process_notes_of

Family = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z_]{1,40}(\.[a-z_]{1,40})?$",
        description="Only topics that begin so: `goal`, `consent`, or one topic as a whole.",
    ),
]
Standing = Annotated[
    bool,
    Query(description="As they read today, corrections applied; false: each as it was recorded."),
]


class ReadsStream(Entrance):
    """Reads a stream about one relationship, as of two times (rule 5), page by page."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        after: After = None,
        known_at: KnownAt = None,
        happened_by: HappenedBy = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Visit:
        return enter(
            house,
            who,
            self.door,
            relationship=relationship,
            purpose=purpose,
            after=after,
            known_at=known_at,
            happened_by=happened_by,
            limit=limit,
            cursor=cursor,
        )


def entries_of(
    visit: Visit,
    category: str = "relationship",
    *,
    family: str | None = None,
    standing: bool = True,
) -> Mapping[int, RecordedEvent]:
    """The entries of that stream about the relationship, by version, as far as the visit reaches.

    Corrections are applied before anything is withheld, so that what stands hidden stays hidden,
    whatever it was corrected to.
    """
    assert visit.relationship is not None, "a clinic-wide visit is to no one relationship"
    visit.wait_for_log()
    whole = visit.house.records.history(Stream(category, visit.relationship))
    told = whole.as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    shows = _SHOWN_OF.get(category, _shown)(visit, whole)
    return {
        entry.version: shown
        for entry in (told.standing if standing else told)
        if family is None or family in (entry.topic, entry.topic.partition(".")[0])
        if (shown := shows(entry)) is not None
    }


# --- Whom what is shown ---------------------------------------------------------------------

Shows = Callable[[RecordedEvent], RecordedEvent | None]
"""The entry as this reader sees it; None: to this reader it is as if it were not there."""


def _shown(visit: Visit, history: History) -> Shows:
    """As far as the visit reaches: all of it, what is one's own or joint, or its structure."""
    hidden = visit.hidden(history[0].stream) if history else None
    return lambda entry: _withheld(entry) if hidden and hidden(entry.version) else entry


def _withheld(entry: RecordedEvent) -> RecordedEvent:
    return entry if isinstance(entry.event, Erased) else replace(entry, event=WITHHELD)


def _process_notes(visit: Visit, history: History) -> Shows:
    """Those that one wrote, or that their author shares with one; of others nothing is told."""
    about: dict[int, UUID] = {}
    for entry in history:
        if isinstance(told := entry.event, ProcessNoteWritten | ProcessNoteShared):
            about[entry.version] = told.note
        elif isinstance(told, EntryCorrected | EnteredInError) and told.entry in about:
            about[entry.version] = about[told.entry]
    readable = {
        id_
        for id_, note in process_notes_of(History(_first_written(history))).items()
        if note.is_readable_by(visit.who.person)
    }
    return lambda entry: entry if about.get(entry.version) in readable else None


def _first_written(history: History) -> Iterator[RecordedEvent]:
    """Without what amends: whose a note is does not change, also where it is struck."""
    return (entry for entry in history if entry.amends() is None)


def _supervision(visit: Visit, history: History) -> Shows:
    """All of it; countertransference notes for their author and the supervisor alone, and for
    nobody whom an emergency let in."""
    in_emergency = visit.basis is not None and visit.basis.basis is Basis.BREAK_GLASS
    supervises = visit.reach is Reach.SUPERVISED and not in_emergency

    def shows(entry: RecordedEvent) -> RecordedEvent | None:
        own = isinstance(entry.event, Erased) or entry.event.subject() in (None, visit.who.person)
        return entry if own or supervises else None

    return shows


def _holds(visit: Visit, history: History) -> Shows:
    """All of it: a hold tells of a legal matter, and nothing that was said or written in care."""
    return lambda entry: entry


_SHOWN_OF: Mapping[str, Callable[[Visit, History], Shows]] = MappingProxyType(
    {"process": _process_notes, "supervision": _supervision, "hold": _holds}
)
