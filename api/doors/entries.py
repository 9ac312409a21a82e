"""Entries themselves: a stream about one relationship, as it was recorded or as it stands.

What a reader is not shown is withheld entry by entry: that it is there, when and by whom stays.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import Query

from api.doors.house import Entrance, TheHouse, Who
from api.doors.visit import (
    WITHHELD,
    After,
    Cursor,
    HappenedBy,
    KnownAt,
    Limit,
    Purpose,
    Visit,
    enter,
)
from domain.event import Erased, RecordedEvent, Stream

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
    stream = Stream(category, visit.relationship)
    whole = visit.house.records.history(stream)
    told = whole.as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    hidden = visit.hidden(stream) or (lambda version: False)
    return {
        entry.version: entry
        if isinstance(entry.event, Erased) or not hidden(entry.version)
        else replace(entry, event=WITHHELD)
        for entry in (told.standing if standing else told)
        if family is None or family in (entry.topic, entry.topic.partition(".")[0])
    }
