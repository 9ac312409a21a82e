"""Possible ruptures: what the episode method finds in the ratings of the alliance, as it is known.

Computed whenever somebody asks, never stored, and never a fact about anybody: with the method card
that says why, and with what people have said to it (rules 37, 38). The method looks at whole scales
alone: those called `total`, or all scales of an instrument that has none.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from domain.event import History, RecordedEvent
from domain.instrument import load
from domain.methods.card import Finding, Kind, MethodCard
from domain.methods.episode import EPISODE
from domain.methods.series import Point, Resolution, Series
from domain.possible_rupture import (
    Parameter,
    PossibleRupture,
    PossibleRuptureDismissed,
    dismissals_of,
)
from domain.rupture import RuptureResolved, ruptures_of
from projections.trajectory import Trajectories, trajectories

WHOLE = "total"


@dataclass(frozen=True, slots=True)
class Possible:
    """One finding, by what it can be cited and computed again, and who has dismissed it."""

    card: MethodCard
    onset: Finding
    ends: Finding | None
    """The possible repair, or that there was none in time; None: not yet known."""
    cited: PossibleRupture
    dismissed: tuple[tuple[RecordedEvent, PossibleRuptureDismissed], ...]

    @property
    def point(self) -> Point:
        """The rating at which it opens."""
        return self.card.points[self.onset.at]


def lines(history: History) -> Trajectories:
    """The lines of a relationship, with the resolutions that people recorded."""
    return trajectories(history, _resolutions(history))


def cards(found: Trajectories) -> list[MethodCard]:
    """The episode method's card of each line of the alliance, also where it declines."""
    return [EPISODE.card(series) for series in of_the_alliance(found)]


def of_the_alliance(found: Trajectories) -> Iterator[Series]:
    """Each whole scale by which somebody rated the alliance."""
    axes = list(found.series)
    for axis, series in found.series.items():
        has_whole = any(
            (one.instrument, one.form, one.scale) == (axis.instrument, axis.form, WHOLE)
            for one in axes
        )
        if load(axis.instrument).measures == "alliance" and axis.scale in (
            {WHOLE} if has_whole else {axis.scale}
        ):
            yield series


def possible_ruptures(history: History, told: Iterable[MethodCard] | None = None) -> list[Possible]:
    """What the method finds in a history as it is known, in order of time."""
    found = [
        _possible(history, card, onset)
        for card in (cards(lines(history)) if told is None else told)
        for onset in card.findings
        if onset.kind is Kind.POSSIBLE_RUPTURE
    ]
    return sorted(found, key=lambda each: (each.point.occurred_at, str(each.point.axis)))


def cited(card: MethodCard, finding: Finding) -> PossibleRupture:
    """A finding as an entry names it: method, version, parameters, and the ratings it is from."""
    places = (finding.at, *finding.rests_on)
    return PossibleRupture(
        method=card.method,
        method_version=card.version,
        parameters=tuple(
            Parameter(name=parameter.name, value=parameter.text)
            for parameter in card.parameters
            if parameter.text is not None
        ),
        entries=tuple(
            dict.fromkeys(
                entry for place in places if (entry := card.points[place].entry) is not None
            )
        ),
    )


def _possible(history: History, card: MethodCard, onset: Finding) -> Possible:
    following = (
        finding
        for finding in card.findings
        if finding.at > onset.at and finding.kind in (Kind.POSSIBLE_REPAIR, Kind.UNRESOLVED)
    )
    named = cited(card, onset)
    return Possible(
        card=card,
        onset=onset,
        ends=next(following, None),
        cited=named,
        dismissed=dismissals_of(history, named),
    )


def _resolutions(history: History) -> Iterator[Resolution]:
    """Every time that somebody saw a rupture as resolved."""
    for rupture in ruptures_of(history).values():
        for view in rupture.views.values():
            if isinstance(view.event, RuptureResolved):
                yield Resolution(view.occurred_at, view.recorded_at, view.version)
