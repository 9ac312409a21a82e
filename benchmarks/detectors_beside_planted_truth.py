"""How often the methods are right where the truth was planted, and how often they decline.

Everything here is invented: the courses, the ruptures, the scatter of answers. What a method finds
in them says how it works, not how often it would be right about people.

    python -m benchmarks.detectors_beside_planted_truth [COURSES] [--write]

`--write` renews the tables and the picture of docs/detectors.md.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from statistics import NormalDist, correlation, mean, stdev

from benchmarks.detectors_planted import (
    SESSIONS,
    WAI,
    WAI_SR,
    WOBBLES,
    Planted,
    honest_form,
    srs,
    straight_form,
    wai,
)
from domain.methods.card import Choices, MethodCard, Outcome
from domain.methods.catalogue import METHODS
from domain.methods.congruence import CONGRUENCE
from domain.methods.episode import EPISODE
from domain.methods.reliable_change import Yardstick, change
from domain.methods.response_quality import RESPONSE_QUALITY
from domain.methods.series import Series
from domain.methods.shape import SHAPE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "detectors.md"
PICTURE = ROOT / "docs" / "images" / "detectors.png"
SEED = 20260105
IN_TIME = 2
"""A planted rupture is found if a session is flagged from its onset to so many sessions later."""
_Z = NormalDist().inv_cdf(0.975)


@dataclass(slots=True)
class Share:
    """How many of how many, with a 95 % interval (Wilson)."""

    hits: int = 0
    of: int = 0

    def add(self, hit: bool) -> None:
        self.hits += hit
        self.of += 1

    @property
    def interval(self) -> tuple[float, float]:
        share, spread = self.hits / self.of, _Z * _Z / self.of
        centre = (share + spread / 2) / (1 + spread)
        half = _Z * math.sqrt(share * (1 - share) / self.of + spread / self.of / 4) / (1 + spread)
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        if not self.of:
            return "–"
        low, high = self.interval
        return f"{_percent(self.hits / self.of)} ({_percent(low)}–{_percent(high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@dataclass(slots=True)
class Asked:
    """One method with its parameters, and how it did."""

    method: str
    how: str
    chosen: Choices
    repaired: Share = field(default_factory=Share)
    left_open: Share = field(default_factory=Share)
    quiet: Share = field(default_factory=Share)
    """Courses without a planted rupture in which nothing is flagged."""
    ratings: Share = field(default_factory=Share)
    """Ratings of such courses that are flagged."""

    @property
    def found(self) -> Share:
        """Planted ruptures found, however they ended."""
        both = self.repaired, self.left_open
        return Share(sum(one.hits for one in both), sum(one.of for one in both))

    @property
    def noisy(self) -> Share:
        """Courses without one in which something is flagged."""
        return Share(self.quiet.of - self.quiet.hits, self.quiet.of)

    def card(self, series: Series) -> MethodCard:
        return METHODS[self.method].card(series, self.chosen)

    def judge(self, planted: Planted, series: Series) -> None:
        card = self.card(series)
        flagged = {card.points[finding.at].session or 0 for finding in card.flagged}
        rupture = planted.rupture
        if rupture is None:
            self.quiet.add(not flagged)
            self.ratings.hits += len(flagged)
            self.ratings.of += len(card.points)
            return
        found = any(rupture.session <= one <= rupture.session + IN_TIME for one in flagged)
        (self.left_open if rupture.repaired is None else self.repaired).add(found)


# --- Detectors ------------------------------------------------------------------------------


def planted_courses(rng: Random, courses: int) -> Iterator[Planted]:
    """As many courses without a rupture, with one that is repaired, and with one left open."""
    for _ in range(courses):
        yield Planted.none(rng)
        yield Planted.with_rupture(rng, repaired=True)
        yield Planted.with_rupture(rng, repaired=False)


def norms(courses: int, wobble: float) -> tuple[Fraction, Fraction]:
    """SD between persons and reliability from one hour to the next, as a clinic would find them."""
    rng = Random(f"{SEED}/norms")
    lines = [srs(Planted.none(rng), rng, wobble) for _ in range(courses)]
    pairs = [(float(line.values[1]), float(line.values[2])) for line in lines]
    first, second = zip(*pairs, strict=True)
    spread = Fraction(round(stdev(first) * 10), 10)
    return spread, Fraction(round(correlation(first, second) * 100), 100)


def asked(courses: int, wobble: float) -> list[Asked]:
    """What is asked: the defaults, and the same by a norm where a method takes one."""
    sd, alpha = norms(courses, wobble)
    by_norm = f"norm: SD {float(sd)}"
    return [
        Asked("absolute", "SRS ≤ 36, items, drop of 1", {}),
        Asked("criterion-drop", "1 own SD", {}),
        Asked("criterion-drop", f"1 SD, {by_norm}", {"sd_ref": sd}),
        Asked("reliable-drop", f"{by_norm}, α {float(alpha)}", {"sd": sd, "alpha": alpha}),
        Asked("control-chart", "baseline 5", {}),
        Asked("person-deviation", "3 own SDs", {}),
        Asked("episode", "3 own SDs", {}),
        Asked("episode", f"1 SD, {by_norm}", {"sd_ref": sd}),
        Asked("change-point", "looking back", {}),
    ]


def detectors(courses: int, wobble: float) -> list[Asked]:
    """Every detector over the same courses."""
    questions = asked(courses, wobble)
    rng = Random(f"{SEED}/courses")
    for planted in planted_courses(rng, courses):
        series = srs(planted, rng, wobble)
        for one in questions:
            one.judge(planted, series)
    return questions


def table_of_detectors(questions: Iterable[Asked]) -> str:
    rows = [
        "| method | by | repaired ones found | open ones found | quiet where nothing was | "
        "false flags per 100 ratings |",
        "|---|---|---|---|---|---|",
    ]
    for one in questions:
        share = one.ratings.hits / one.ratings.of
        rows.append(
            f"| {one.method} | {one.how} | {one.repaired} | {one.left_open} | {one.quiet} | "
            f"{100 * share:.1f} |"
        )
    return "\n".join(rows)


def refusals(courses: int, wobble: float) -> str:
    """Where each detector declines: in short courses, and where every rating is the same."""
    rng = Random(f"{SEED}/refusals")
    lines = [srs(Planted.none(rng), rng, wobble) for _ in range(courses)]
    flat = [Series.of(replace(one, value=Fraction(40)) for one in line.points) for line in lines]
    lengths = (3, 5, 6, 8, 12)
    rows = [
        f"| method | by | {' | '.join(f'{n} ratings' for n in lengths)} | all at 40 |",
        "|---" * (len(lengths) + 3) + "|",
    ]
    for one in asked(courses, wobble):
        cells = [[Series.of(line.points[:n]) for line in lines] for n in lengths]
        shares = [_declined(one, some) for some in (*cells, flat)]
        rows.append(f"| {one.method} | {one.how} | {' | '.join(shares)} |")
    return "\n".join(rows)


def _declined(one: Asked, lines: Sequence[Series]) -> str:
    cards = [one.card(line) for line in lines]
    return _percent(sum(card.outcome is Outcome.REFUSED for card in cards) / len(cards))


# --- What became of it ----------------------------------------------------------------------


def endings(courses: int, wobble: float) -> str:
    """How the episodes that were found in time are told to have ended."""
    told: dict[str, Counter[str]] = {"repaired": Counter(), "left open": Counter()}
    rng = Random(f"{SEED}/endings")
    sd, _ = norms(courses, wobble)
    for planted in planted_courses(rng, courses):
        rupture = planted.rupture
        if rupture is None:
            continue
        card = EPISODE.card(srs(planted, rng, wobble), {"sd_ref": sd})
        ended = [one for one in card.findings if one.kind in ("possible-repair", "unresolved")]
        onset = next(
            (one for one in card.findings if _is_onset(card, one.at, rupture.session)), None
        )
        if onset is not None:
            after = next((str(one.kind) for one in ended if one.at > onset.at), "still open")
            told["left open" if rupture.repaired is None else "repaired"][after] += 1
    rows = ["| planted | possible repair | unresolved | still open |", "|---|---|---|---|"]
    for planted_as, counts in told.items():
        shares = [
            str(Share(counts[one], counts.total()))
            for one in ("possible-repair", "unresolved", "still open")
        ]
        rows.append(f"| {planted_as} | {' | '.join(shares)} |")
    return "\n".join(rows)


def _is_onset(card: MethodCard, at: int, session: int) -> bool:
    there = card.points[at].session or 0
    kinds = {one.kind for one in card.findings if one.at == at}
    return "possible-rupture" in kinds and session <= there <= session + IN_TIME


# --- Shapes, congruence, change, quality ----------------------------------------------------


def shapes(courses: int, wobble: float) -> str:
    """Which shape is named for which that was planted, without ruptures."""
    named: dict[str, Counter[str]] = {}
    rng = Random(f"{SEED}/shapes")
    for _ in range(courses):
        planted = Planted.none(rng)
        card = SHAPE.card(srs(planted, rng, wobble))
        named.setdefault(str(planted.course.shape), Counter())[card.figures["shape"]] += 1
    forms = ("level", "linear", "quadratic", "not-distinguishable")
    rows = [f"| planted | {' | '.join(forms)} |", "|---" * 5 + "|"]
    for shape in ("stable", "linear", "quadratic"):
        shares = [str(Share(named[shape][form], named[shape].total())) for form in forms]
        rows.append(f"| {shape} | {' | '.join(shares)} |")
    return "\n".join(rows)


def congruence(courses: int, wobble: float) -> str:
    """Whether planted bias and tracking lie in the intervals that are told."""
    rng = Random(f"{SEED}/congruence")
    inside = {"bias": Share(), "tracking": Share()}
    errors: dict[str, list[float]] = {"bias": [], "tracking": []}
    span = float(WAI.scales["total"].range[1] - WAI.scales["total"].range[0])
    for _ in range(courses):
        planted = Planted.none(rng)
        dyad = wai(planted, rng, wobble)
        figures = CONGRUENCE.card(dyad).figures
        # The therapist's line as planted, at the client's own mean: what b stands for here.
        course = planted.course
        centre = course.start + course.growth / 2
        felt = mean(float(one.value) for one in dyad.client.points) / span - 36 / span
        bias = course.bias - (1 - course.tracking) * (felt - centre)
        for name, truth in (("bias", bias * span), ("tracking", course.tracking)):
            low, high = map(float, figures[f"{name}_95"].split(" to "))
            inside[name].add(low <= truth <= high)
            errors[name].append(float(figures[name]) - truth)
    rows = ["| planted | in its 95 % interval | mean error |", "|---|---|---|"]
    rows += [f"| {name} | {share} | {mean(errors[name]):+.2f} |" for name, share in inside.items()]
    return "\n".join(rows)


def changes(pairs: int) -> str:
    """How often a change is called reliable, by the true change in units of S_diff."""
    rng = Random(f"{SEED}/changes")
    yardstick = Yardstick.of(sd_squared=Fraction(49), alpha=Fraction("0.85"))
    error = 7 * math.sqrt(1 - 0.85)
    rows = ["| true change | called reliable | called deteriorated |", "|---|---|---|"]
    for true in (0, 1, 2, 3):
        reliable, worse = Share(), Share()
        for _ in range(pairs):
            level = rng.gauss(50, 7)
            gain = true * error * math.sqrt(2)
            scores = (level + rng.gauss(0, error), level + gain + rng.gauss(0, error))
            pre, post = (Fraction(round(one * 10), 10) for one in scores)
            judged = change(pre, post, yardstick)
            reliable.add(judged.reliable)
            worse.add(judged.category == "deteriorated")
        rows.append(f"| {true} S_diff | {reliable} | {worse} |")
    return "\n".join(rows)


def quality(forms: int) -> str:
    """Straight-lined forms found, and forms in earnest taken for one."""
    rng = Random(f"{SEED}/quality")
    rows = ["| form | straight-lined ones found | earnest ones flagged |", "|---|---|---|"]
    for definition in (WAI_SR, WAI):
        found, taken = Share(), Share()
        for _ in range(forms):
            found.add(bool(RESPONSE_QUALITY.card(straight_form(rng, definition)).flagged))
            taken.add(bool(RESPONSE_QUALITY.card(honest_form(rng, definition)).flagged))
        rows.append(f"| {definition.id} | {found} | {taken} |")
    return "\n".join(rows)


# --- The page -------------------------------------------------------------------------------


def report(courses: int, *, draw: bool) -> dict[str, str]:
    """Every table, by the name of its place in docs/detectors.md."""
    tables: dict[str, str] = {}
    answers: dict[str, list[Asked]] = {}
    for name, wobble in WOBBLES.items():
        answers[name] = detectors(courses, wobble)
        tables[f"detectors-{name}"] = table_of_detectors(answers[name])
        tables[f"endings-{name}"] = endings(courses, wobble)
        tables[f"shapes-{name}"] = shapes(courses, wobble)
    calm = WOBBLES["calm"]
    tables["refusals"] = refusals(courses, calm)
    tables["congruence"] = congruence(courses, calm)
    tables["changes"] = changes(10 * courses)
    tables["quality"] = quality(courses)
    if draw:
        picture(answers)
    return tables


def picture(answers: dict[str, list[Asked]]) -> None:
    """Ruptures found, and flags where there was none, a row for each method."""
    import altair as alt  # noqa: PLC0415  only where a picture is drawn

    rows = [
        {
            "setting": setting,
            "method": f"{one.method}, {one.how.partition(':')[0]}",
            "what": what,
            "share": share.hits / share.of,
            "low": share.interval[0],
            "high": share.interval[1],
        }
        for setting, questions in answers.items()
        for one in questions
        for what, share in (
            ("planted ruptures found", one.found),
            ("courses without one in which something is flagged", one.noisy),
        )
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("method:N", title=None, sort=None, axis=alt.Axis(labelLimit=260)),
        color=alt.Color(
            "what:N",
            title=None,
            sort=None,
            scale=alt.Scale(range=["#1f5f8b", "#c2571a"]),
            legend=alt.Legend(orient="top", labelLimit=400),
        ),
    )
    share = alt.Axis(format="%")
    bars = base.mark_rule(strokeWidth=2, opacity=0.5).encode(
        x=alt.X("low:Q", title=None, axis=share, scale=alt.Scale(domain=[0, 1])), x2="high:Q"
    )
    points = base.mark_point(size=60, filled=True, opacity=1).encode(
        x=alt.X("share:Q", title=None, axis=share, scale=alt.Scale(domain=[0, 1]))
    )
    chart = alt.layer(bars, points).properties(width=300, height=230)
    chart.facet(column=alt.Column("setting:N", title=None)).save(str(PICTURE), scale_factor=1.5)


def write(tables: dict[str, str]) -> None:
    """Puts every table in its place, between its two marks."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{PAGE.name} has no place for {name}")
        page = f"{before}{begin}{table}\n{end}{after}"
    PAGE.write_text(page, encoding="utf-8")


def main(arguments: Sequence[str] = ()) -> None:
    """Prints every table; with `--write` docs/detectors.md gets them."""
    numbers = [int(one) for one in arguments if one.isdecimal()]
    courses = numbers[0] if numbers else 50
    tables = report(courses, draw="--write" in arguments)
    print(f"{3 * courses} planted courses of {SESSIONS} sessions; all of it is invented\n")
    for name, table in tables.items():
        print(f"{name}\n{table}\n")
    if "--write" in arguments:
        write(tables)
    print(json.dumps({"courses": courses, "seed": SEED}))


if __name__ == "__main__":
    main(sys.argv[1:])
