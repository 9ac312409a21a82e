"""Episodes: a possible rupture from its onset to a possible repair, as ratings tell it.

    none → open (onset, nadir) → repaired | unresolved

It opens where a rating falls by at least k · SD from the one before. It is repaired where a rating
is back within a quarter SD of the one before the onset, at most five sessions after it, or where a
person recorded a resolution; otherwise it is unresolved at the fifth session. A score that falls
and rises is no rupture and no repair: both are *possible*, until people say so (rules 37 and 44).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from domain.methods.card import (
    Finding,
    Judgement,
    Kind,
    Method,
    Parameter,
    Parameters,
    Spec,
    Why,
    decline,
)
from domain.methods.criterion_drop import OWN_NEEDS, reference_variance
from domain.methods.numbers import exceeds, plain, ratings, reaches, root, text
from domain.methods.series import Resolution, Series

_ONE_SD = "convention: one standard deviation"


class Status(StrEnum):
    OPEN = "open"
    REPAIRED = "repaired"
    UNRESOLVED = "unresolved"


class By(StrEnum):
    """What counts as a repair, and what one was told by."""

    EITHER = "either"
    SCORE = "score"
    PERSON = "person"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Episode:
    """One possible rupture, by indices into the points of its series."""

    onset: int
    nadir: int
    sd_squared: Fraction
    """SD_ref², as it was known at the onset."""
    status: Status = Status.OPEN
    end: int | None = None
    """The point at which it was repaired or found unresolved; None: still open, or resolved by a
    person after the last rating."""
    resolution: Resolution | None = None
    """The resolution that a person recorded, where that ended it."""

    @property
    def before(self) -> int:
        """The last point before the onset, whose level it is measured by."""
        return self.onset - 1


@dataclass(frozen=True, slots=True)
class Rules:
    """The parameters of the machine."""

    k: Fraction
    sd: Fraction | None
    margin: Fraction
    within: int
    repaired_by: By


def episodes(series: Series, rules: Rules) -> tuple[Episode, ...]:
    """The episodes of a series, in order; only the last may be open."""
    return tuple(step for step, last in _steps(series, rules) if last)


def _steps(series: Series, rules: Rules) -> Iterator[tuple[Episode, bool]]:
    """Every episode as it opens and as it ends; `True` with the last word on it."""
    current: Episode | None = None
    marks = series.resolutions
    for at in range(1, len(series.points)):
        if current is not None:
            moved = _moved(series, current, at, rules, marks)
            if moved.status is Status.OPEN:
                current = moved
                continue
            yield moved, True
            current = None
            if moved.status is not Status.REPAIRED or moved.resolution is None:
                continue  # this rating has had its say; after a person's word it may fall again
            marks = marks[marks.index(moved.resolution) + 1 :]  # each word ends one episode
        current = _opened(series, at, rules)
        if current is not None:
            yield current, False
    if current is not None:
        mark = _recorded(series, current, None, marks)
        ends = mark is not None and rules.repaired_by in (By.EITHER, By.PERSON)
        yield (
            replace(current, status=Status.REPAIRED, resolution=mark) if ends else current,
            True,
        )


def _opened(series: Series, at: int, rules: Rules) -> Episode | None:
    square = reference_variance(series, at, rules.sd)
    worse = series.worsening(series.values[at - 1], series.values[at])
    if not square or not reaches(worse, square * rules.k * rules.k):
        return None
    return Episode(onset=at, nadir=at, sd_squared=square)


def _moved(
    series: Series, episode: Episode, at: int, rules: Rules, marks: Sequence[Resolution]
) -> Episode:
    """The episode after the rating at that index."""
    values = series.values
    if series.worsening(values[episode.nadir], values[at]) > 0:
        episode = replace(episode, nadir=at)
    short = series.worsening(values[episode.before], values[at])
    passed = sessions_between(series, episode.onset, at)
    margin = rules.margin * rules.margin * episode.sd_squared
    back = not exceeds(short, margin) and passed <= rules.within
    mark = _recorded(series, episode, at, marks)
    said = mark is not None
    ended = {
        By.EITHER: back or said,
        By.SCORE: back,
        By.PERSON: said,
        By.BOTH: back and said,
    }[rules.repaired_by]
    if ended:
        by_person = mark if rules.repaired_by in (By.PERSON, By.BOTH) or not back else None
        return replace(episode, status=Status.REPAIRED, end=at, resolution=by_person)
    if passed >= rules.within:
        return replace(episode, status=Status.UNRESOLVED, end=at)
    return episode


def _recorded(
    series: Series, episode: Episode, at: int | None, marks: Sequence[Resolution]
) -> Resolution | None:
    """The first of those resolutions since the onset, and by the point at that index."""
    onset = series.points[episode.onset].occurred_at
    until = None if at is None else series.points[at].occurred_at
    for mark in marks:
        if mark.occurred_at >= onset and (until is None or mark.occurred_at <= until):
            return mark
    return None


def sessions_between(series: Series, first: int, later: int) -> int:
    """How many sessions lie from one point to another; by ratings where numbers are missing."""
    one, other = series.points[first].session, series.points[later].session
    return later - first if one is None or other is None else other - one


def _judge(series: Series, parameters: Parameters) -> Judgement:
    sd, k = parameters.given("sd_ref"), parameters.given("k")
    used: tuple[Parameter, ...] = ()
    if k is None:
        k = Fraction(3 if sd is None else 1)
        source = "product, by planted courses: docs/detectors.md" if sd is None else _ONE_SD
        used = (replace(parameters["k"], value=k, source=source),)
    rules = Rules(
        k=k,
        sd=sd,
        margin=parameters.number("margin"),
        within=parameters.whole("within"),
        repaired_by=By(parameters.word("repaired_by")),
    )
    missing = _too_little(series, sd)
    if missing is not None:
        return replace(missing, used=used)
    found = episodes(series, rules)
    findings = [
        finding for step, _ in _steps(series, rules) for finding in _findings(series, step, rules)
    ]
    told = {(finding.at, finding.kind): finding for finding in findings}
    return Judgement(
        says=_summary(found),
        findings=tuple(told[key] for key in sorted(told)),
        figures={status: str(_count(found, status)) for status in Status},
        used=used,
        notes=(
            "A fall of a score is no rupture, and its return no repair, until a person says so.",
        )
        if found
        else (),
    )


def _too_little(series: Series, sd: Fraction | None) -> Judgement | None:
    """Why there is nothing to measure by; None: there is."""
    least = 2 if sd is not None else OWN_NEEDS + 1
    if len(series.points) < least:
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"{ratings(len(series.points))}: with {'its own' if sd is None else 'a given'} "
            f"standard deviation an episode needs at least {least}.",
        )
    if sd is None and len(set(series.values[:-1])) == 1:
        return decline(
            Why.NO_VARIANCE,
            "The earlier ratings do not differ, so there is no standard deviation to measure by.",
        )
    return None


def _count(found: Sequence[Episode], status: Status) -> int:
    return sum(episode.status is status for episode in found)


def _summary(found: Sequence[Episode]) -> str:
    if not found:
        return "No possible rupture."
    parts = [f"{_count(found, status)} {status}" for status in Status if _count(found, status)]
    return f"{len(found)} possible rupture{'s' * (len(found) > 1)}: {', '.join(parts)}."


def _findings(series: Series, episode: Episode, rules: Rules) -> Iterator[Finding]:
    """What stands at the points of one step of an episode."""
    values, sd = series.values, root(episode.sd_squared)
    before, fell = values[episode.before], values[episode.onset]
    rests = (
        (episode.before,) if rules.sd is not None else tuple(range(episode.onset))
    )  # own SD: all before
    yield Finding(
        episode.onset,
        Kind.POSSIBLE_RUPTURE,
        True,
        f"A {series.worse_word} from {plain(before)} to {plain(fell)}, {plain(rules.k)} SD "
        f"({plain(root(episode.sd_squared * rules.k * rules.k))}) or more: possible rupture.",
        {"before": text(before), "sd_ref": text(sd)},
        rests_on=rests,
    )
    if episode.end is None:
        return
    figures = {
        "before": text(before),
        "nadir": text(values[episode.nadir]),
        "sessions": str(sessions_between(series, episode.onset, episode.end)),
    }
    span = tuple(range(episode.before, episode.end))
    now = plain(values[episode.end])
    if episode.status is Status.UNRESOLVED:
        yield Finding(
            episode.end,
            Kind.UNRESOLVED,
            True,
            f"{now} is not back at {plain(before)} within {rules.within} sessions of the "
            f"{series.worse_word}, and no resolution is recorded.",
            figures,
            rests_on=span,
        )
        return
    how = (
        f"{now} is back at {plain(before)}, within {plain(rules.margin)} SD"
        if episode.resolution is None
        else "a person recorded a resolution"
    )
    yield Finding(
        episode.end,
        Kind.POSSIBLE_REPAIR,
        False,
        f"Possible repair: {how}.",
        figures,
        rests_on=span,
    )


EPISODE = Method[Series](
    name="episode",
    version="1.0",
    title="Episodes of possible rupture and repair",
    asks="Did the score fall from one rating to the next, and did it come back in time?",
    sources=(
        "The V shape between sessions (a drop of one SD, a return to within a quarter of one) is "
        "usual in studies of rupture and repair; its sizes and its window differ between them.",
    ),
    judge=_judge,
    specs=(
        Spec(
            "k",
            None,
            "how many reference standard deviations a drop must reach",
            "left out: 1 by a given SD, 3 by the client's own",
            operator=">=",
            above=Fraction(0),
        ),
        Spec(
            "sd_ref",
            None,
            "the reference standard deviation, of the clinic or a published norm",
            "left out: the sample SD of the client's own ratings before the onset",
            above=Fraction(0),
        ),
        Spec(
            "margin",
            Fraction(1, 4),
            "how many reference SDs may be missing from the level before the onset",
            "convention: a quarter of a standard deviation",
            operator="<=",
            least=Fraction(0),
        ),
        Spec(
            "within",
            Fraction(5),
            "in how many sessions after the onset it must be back",
            "convention: three to five sessions",
            operator="<=",
            least=Fraction(1),
            whole=True,
        ),
        Spec(
            "repaired_by",
            By.EITHER,
            "what ends an episode: the score, a resolution that a person recorded, either, or both",
            "product",
            words=tuple(By),
        ),
    ),
)
