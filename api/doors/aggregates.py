"""Base rates over the clinic: a reading of every relationship that shows none (rule 42)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.doors.house import House
from domain.event import Refusal, Stream
from domain.relationship import relationship_of
from projections.aggregates import Table, last_quarter
from projections.base_rates import Rows, base_rates
from projections.caseload import Case
from projections.view import known, up_to


@dataclass(frozen=True, slots=True)
class BaseRates:
    """The tables, and as of when they are."""

    at: datetime
    position: int
    """Of the last entry that they cover."""
    tables: tuple[Table, ...]


def rates_of(house: House) -> BaseRates:
    """As of the end of the last quarter; raises ViewNotBuilt."""
    at, views, read = last_quarter(house.clock()), house.views, house.reader.read
    position = _position(house, at)
    cases = read(views.caseload).rows
    rows = Rows(
        clients={
            stream: _clients(house, stream, case, position)
            for stream, found in cases.items()
            for case in found.values()
            if case.opened_at.ref.position <= position
        },
        ratings=read(views.alliance_course).rows,
        consents=read(views.consent_register).rows,
        goals=read(views.goal_course).rows,
        ruptures=read(views.ruptures).rows,
    )
    return BaseRates(at, position, tuple(base_rates(rows, position, at)))


def _clients(house: House, stream: Stream, case: Case, position: int) -> tuple[UUID, ...]:
    """Who was a client then; nobody where that is erased."""
    if case.clients.ref.position <= position:
        return known(case.clients) or ()
    try:
        return relationship_of(up_to(house.records.history(stream), position)).clients
    except Refusal:
        return ()


def _position(house: House, at: datetime) -> int:
    """Of the last entry recorded before that time: `recorded_at` never falls with the position."""
    low, high = 0, house.log.head_size()
    while low < high:
        middle = (low + high) // 2
        (entry,) = house.log.read_log(middle, 1)
        if entry.recorded_at < at:
            low = middle + 1
        else:
            high = middle
    return low
