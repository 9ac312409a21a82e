"""`rapport change`: reliable and clinically significant change, of a pair or a file of pairs."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.analysing import Direction, DirectionOption, as_number, number
from api.cli.terminal import Exit, Failed, Format, FormatOption, say, show
from api.import_mapping import MappingBroken
from api.import_rows import RowFault, read_rows
from domain import instrument as instruments
from domain.answers import quoted
from domain.definition import CutOff
from domain.methods.numbers import plain, root, text, variance
from domain.methods.reliable_change import (
    RELIABLE_CHANGE,
    Bound,
    Category,
    Change,
    Criterion,
    Population,
    Yardstick,
    change,
    figures_of,
    sentence,
    worse_operator,
    yardstick_figures,
)
from domain.methods.series import Better

_SHOWN = 20

_SD = "The measure's standard deviation. Left out with --csv: that of the pre column."
_CSV = "A CSV file in UTF-8 with a header, a case a row."
_CUT_OFF = "A published cut-off: 10, or with the side that is dysfunctional, as in '>=10'."
_CRITERION = "Which cut-off decides. Default: the given one, else c, else b, else a."
_INSTRUMENT = "Take direction, cut-off and, without SD and alpha, the published reliable change."
_POPULATION = "For whom, where the instrument's cut-offs hold for some people only."


def add_to(app: typer.Typer) -> None:
    app.command("change")(change_)


def change_(
    pre: Annotated[str, typer.Option(help="The score before; with --csv its column.")],
    post: Annotated[str, typer.Option(help="The score after; with --csv its column.")],
    sd: Annotated[str | None, typer.Option(help=_SD)] = None,
    alpha: Annotated[str | None, typer.Option(help="Its reliability, below 1.")] = None,
    file: Annotated[Path | None, typer.Option("--csv", help=_CSV)] = None,
    norm_mean: Annotated[str | None, typer.Option(help="Mean of the functional group.")] = None,
    norm_sd: Annotated[str | None, typer.Option(help="SD of the functional group.")] = None,
    dysfunctional_mean: Annotated[
        str | None, typer.Option(help="Mean of the dysfunctional group.")
    ] = None,
    dysfunctional_sd: Annotated[
        str | None, typer.Option(help="SD of the dysfunctional group.")
    ] = None,
    cutoff: Annotated[str | None, typer.Option(help=_CUT_OFF)] = None,
    criterion: Annotated[Criterion | None, typer.Option(help=_CRITERION)] = None,
    instrument: Annotated[str | None, typer.Option(help=_INSTRUMENT)] = None,
    population: Annotated[str | None, typer.Option(help=_POPULATION)] = None,
    direction: DirectionOption = None,
    z: Annotated[str, typer.Option(help="What |RC| must exceed.")] = "1.96",
    format_: FormatOption = Format.TEXT,
) -> None:
    """Judge changes by Jacobson and Truax: reliable, and across a cut-off or not.

    RC = (post - pre) / (SD * sqrt(2 * (1 - alpha))). Without norms and cut-off a change is
    improved, unchanged or deteriorated; with them it can also be recovered. Where the direction is
    left out and both means are known, the better side is that of the norm.

    \b
    Examples:
      rapport change --pre 32.5 --post 47.5 --sd 7.5 --alpha 0.80
      rapport change --pre 32.5 --post 47.5 --sd 7.5 --alpha 0.80 --norm-mean 60 --norm-sd 7.5 \\
        --dysfunctional-mean 40 --dysfunctional-sd 7.5 --format json
      rapport change --pre 21 --post 9 --sd 6.1 --alpha 0.89 --cutoff '>=10' \\
        --direction lower-better
      rapport change --pre 18 --post 9 --instrument PHQ-9
      rapport change --csv scores.csv --pre before --post after --sd 7.5 --alpha 0.80
    """
    functional = _population("norm", norm_mean, norm_sd)
    dysfunctional = _population("dysfunctional", dysfunctional_mean, dysfunctional_sd)
    cases = _pair(pre, post) if file is None else _cases(file, pre, post)
    published = None if instrument is None else _published(instrument, population)
    better = _better(direction, published, functional, dysfunctional)
    if published is not None:
        published.require_on_scale(cases)
    by_rc = alpha is not None or sd is not None or published is None
    yardstick = Yardstick.of(
        sd_squared=_spread(sd, file, cases) if by_rc else None,
        alpha=_reliability(alpha) if by_rc else None,
        published=None if by_rc or published is None else published.required(),
        z=_above_zero("--z", z),
        better=better,
        functional=functional,
        dysfunctional=dysfunctional,
        cutoff=_cutoff(cutoff, better) if cutoff is not None or not published else published.cutoff,
        criterion=criterion,
    )
    if criterion is not None and yardstick.cutoff is None:
        raise Failed(
            Exit.USAGE,
            f"--criterion {criterion} needs a cut-off that is not known.",
            "a needs the dysfunctional mean and SD, b those of the norm, c both, given --cutoff.",
        )
    if published is not None and yardstick.cutoff is None and published.cutoffs:
        say(f"{published.instrument} has no single cut-off here: {published.cutoffs}.")
    judged = [(case, case.judged(yardstick)) for case in cases]
    document = _document(judged, yardstick, published, from_file=sd is None)
    show(format_, document, lambda: "\n".join(_lines(judged, document, yardstick)))


# --- Cases ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """Two scores of one person; None: that one is missing. `line` counts from 1 as editors do."""

    line: int | None
    pre: Fraction | None
    post: Fraction | None

    def judged(self, yardstick: Yardstick) -> Change | None:
        """The change; None where a score is missing."""
        if self.pre is None or self.post is None:
            return None
        return change(self.pre, self.post, yardstick)


def _pair(pre: str, post: str) -> list[Case]:
    return [Case(None, number("--pre", pre), number("--post", post))]


def _cases(file: Path, pre: str, post: str) -> list[Case]:
    """The cases of a file; every cell that is no number is told, and then nothing is judged."""
    _require_columns(file, (pre, post))
    cases: list[Case] = []
    faults: list[str] = []
    try:
        for row in read_rows(file.parent, file.name, (pre, post)):
            if isinstance(row, RowFault):
                faults.append(f"{file.name} line {row.line}: {row.reason} ({row.code})")
                continue
            cells = {column: as_number(row[column]) for column in (pre, post)}
            faults += [
                f"{file.name} line {row.line}, column {column}: {quoted(row[column])} is no number"
                for column, exact in cells.items()
                if exact is None and row[column]
            ]
            cases.append(Case(row.line, *cells.values()))
    except MappingBroken as broken:
        raise Failed(Exit.USAGE, str(broken)) from None
    if faults:
        more = [f"… and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise Failed(
            Exit.FOUND,
            "\n".join([*faults[:_SHOWN], *more]),
            "Write numbers as in 7.5, leave a cell empty where there is no score, and give every"
            " row as many cells as the header has.",
        )
    return cases


def _require_columns(file: Path, columns: Sequence[str]) -> None:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), [])
    except (UnicodeDecodeError, csv.Error):
        raise Failed(Exit.USAGE, f"{file.name} is not CSV in UTF-8.", "Save it as such.") from None
    if columns[0] == columns[1]:
        raise Failed(Exit.USAGE, "--pre and --post name the same column.")
    for column in columns:
        if column not in header:
            raise Failed(
                Exit.USAGE,
                f"{file.name} has no column {quoted(column)}.",
                f"Its columns: {', '.join(map(quoted, header)) or 'none'}; a comma parts them.",
            )
        if header.count(column) > 1:
            raise Failed(
                Exit.USAGE,
                f"{file.name} has {header.count(column)} columns {quoted(column)}.",
                "Give each column a name of its own.",
            )


# --- The yardstick --------------------------------------------------------------------------


def _population(name: str, mean: str | None, sd: str | None) -> Population | None:
    if mean is None and sd is None:
        return None
    if mean is None or sd is None:
        raise Failed(
            Exit.USAGE, f"--{name}-mean and --{name}-sd belong together.", "Give both or neither."
        )
    return Population(number(f"--{name}-mean", mean), _above_zero(f"--{name}-sd", sd))


def _above_zero(option: str, given: str) -> Fraction:
    found = number(option, given)
    if found <= 0:
        raise Failed(Exit.USAGE, f"{option} must be above 0.")
    return found


def _reliability(given: str | None) -> Fraction:
    if given is None:
        raise Failed(
            Exit.USAGE,
            "Give --alpha, the reliability of the measure.",
            "Or --instrument, for one whose reliable change is published.",
        )
    alpha = number("--alpha", given)
    if not 0 <= alpha < 1:
        raise Failed(
            Exit.USAGE,
            "--alpha must be at least 0 and below 1.",
            "A reliability of 1 leaves no measurement error, and every change would be reliable.",
        )
    return alpha


def _spread(sd: str | None, file: Path | None, cases: Sequence[Case]) -> Fraction:
    """SD²: as given, else the sample variance of the file's first scores."""
    if sd is not None:
        return _above_zero("--sd", sd) ** 2
    if file is None:
        raise Failed(Exit.USAGE, "Give --sd, the standard deviation of the measure.")
    first = [case.pre for case in cases if case.pre is not None]
    if len(first) < 2 or len(set(first)) < 2:
        raise Failed(
            Exit.USAGE,
            "The pre column does not hold two different scores, so it has no standard deviation.",
            "Give --sd.",
        )
    return variance(first)


def _better(
    direction: Direction | None,
    published: "Published | None",
    functional: Population | None,
    dysfunctional: Population | None,
) -> Better:
    if direction is not None:
        return direction.better
    if published is not None:
        return published.better
    if functional and dysfunctional and functional.mean < dysfunctional.mean:
        return Better.LOWER
    return Better.HIGHER


def _cutoff(given: str | None, better: Better) -> Bound | None:
    """`10`, on whose worse side a score on it lies; or `<25`, with the side that it means."""
    if given is None:
        return None
    operator, value = _BOUND.fullmatch(given.strip()).groups()  # type: ignore[union-attr]
    return Bound(operator or worse_operator(better), number("--cutoff", value))


_BOUND = re.compile(r"(<=|>=|<|>|)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Published:
    """What an instrument's definition says of change on its total."""

    instrument: str
    better: Better
    low: Fraction
    high: Fraction
    reliable: Bound | None
    cutoff: Bound | None
    cutoffs: str
    """All that are published, in words; empty: none."""
    verified: bool
    """Whether every fact that was taken was read or recomputed (rule 36)."""
    sources: tuple[str, ...]

    def required(self) -> Bound:
        """The published reliable change, where there has to be one."""
        if self.reliable is None:
            raise Failed(
                Exit.USAGE,
                f"No reliable change of {self.instrument} is known here.",
                "Give --sd and --alpha.",
            )
        return self.reliable

    def require_on_scale(self, cases: Sequence["Case"]) -> None:
        """Rule 30: every score lies on the scale."""
        for case in cases:
            for name, score in (("pre", case.pre), ("post", case.post)):
                if score is not None and not self.low <= score <= self.high:
                    where = "" if case.line is None else f"line {case.line}, "
                    raise Failed(
                        Exit.FOUND,
                        f"{where}{name}: {text(score)} is outside {text(self.low)} to "
                        f"{text(self.high)}, the range of {self.instrument} (value-off-scale; "
                        "rule 30)",
                    )


def _published(instrument: str, population: str | None) -> Published:
    """What is published on change, with the cut-off where there is exactly one for those people."""
    definition = instruments.load(instrument)
    scale = "total"
    if scale not in definition.scales:
        raise Failed(Exit.USAGE, f"{definition.id} has no total.", "Give --sd and --alpha alone.")
    changes = [
        one
        for one in definition.changes
        if one.kind == "reliable" and one.scale == scale and one.in_force(None)
    ]
    lower = definition.scoring is not None and definition.scoring.direction == "lower-better"
    cutoffs = [
        cut
        for cut in definition.cutoffs
        if cut.scale == scale and cut.in_force(None) and cut.population in (None, population)
    ]
    if population is not None and population not in {cut.population for cut in definition.cutoffs}:
        known = sorted({cut.population for cut in definition.cutoffs if cut.population})
        raise Failed(
            Exit.USAGE,
            f"{definition.id} has no cut-off for {quoted(population)}.",
            f"It has them for: {'; '.join(known) or 'everybody alike'}.",
        )
    own = [cut for cut in cutoffs if cut.population is not None] or cutoffs
    every = "; ".join(
        f"{cut.operator} {cut.value} {_meaning(cut)}"
        for cut in definition.cutoffs
        if cut.scale == scale
    )
    taken = (*changes[-1:], *(own if len(own) == 1 else ()))
    bounds = [Bound(one.operator, Fraction(one.value)) for one in taken]
    return Published(
        instrument=f"{definition.id} {definition.version}",
        better=Better.LOWER if lower else Better.HIGHER,
        low=Fraction(definition.scales[scale].range[0]),
        high=Fraction(definition.scales[scale].range[1]),
        reliable=bounds[0] if changes else None,
        cutoff=bounds[-1] if len(own) == 1 else None,
        cutoffs=every,
        verified=all(one.confidence.verified for one in taken),
        sources=tuple(definition.sources.get(code, code) for one in taken for code in one.source),
    )


def _meaning(cut: CutOff) -> str:
    return f"({cut.meaning}{f', {cut.population}' if cut.population else ''})"


# --- The answer -----------------------------------------------------------------------------

Judged = Sequence[tuple[Case, Change | None]]


def _document(
    judged: Judged, yardstick: Yardstick, published: Published | None, *, from_file: bool
) -> dict[str, Any]:
    counts = Counter(None if one is None else one.category for _, one in judged)
    measured: dict[str, Any] = {}
    if yardstick.sd_squared is not None and yardstick.alpha is not None:
        measured = {
            "sd": text(root(yardstick.sd_squared)),
            "sd_source": "the sample SD of the pre column" if from_file else "given",
            "alpha": text(yardstick.alpha),
            "z": text(yardstick.z),
        }
    return {
        "method": RELIABLE_CHANGE.name,
        "version": RELIABLE_CHANGE.version,
        "yardstick": {
            "instrument": published and published.instrument,
            "verified": published and published.verified,
            **measured,
            "direction": f"{yardstick.better}-better",
            "criterion": None,
            "cutoff": None,
            **yardstick_figures(yardstick),
        },
        "changes": [_row(case, one, yardstick) for case, one in judged],
        "counts": {
            **{category.value: counts[category] for category in Category},
            "missing": counts[None],
        },
        "sources": [
            *RELIABLE_CHANGE.sources,
            *dict.fromkeys(published.sources if published is not None else ()),
        ],
    }


def _row(case: Case, judged: Change | None, yardstick: Yardstick) -> dict[str, Any]:
    line = {} if case.line is None else {"line": case.line}
    if judged is None:
        scores = {
            name: None if score is None else text(score)
            for name, score in (("pre", case.pre), ("post", case.post))
        }
        return {**line, **scores, "category": "missing"}
    figures: dict[str, Any] = {
        **figures_of(judged),
        "reliable": judged.reliable,
        "crossed_cutoff": judged.crossed,
        "says": sentence(judged, yardstick),
    }
    return {**line, **figures}


def _lines(judged: Judged, document: Mapping[str, Any], yardstick: Yardstick) -> Iterator[str]:
    for case, one in judged:
        where = "" if case.line is None else f"line {case.line}: "
        if one is None:
            yield f"{where}missing: a score is not there"
        else:
            yield f"{where}{one.category}: {sentence(one, yardstick)}"
    if len(judged) != 1 or judged[0][0].line is not None:
        counts = document["counts"].items()
        yield ""
        yield ", ".join(f"{count} {name}" for name, count in counts if count) or "no cases"
    yield ""
    error, alpha = yardstick.difference_squared, yardstick.alpha
    better = f"{yardstick.better} scores are better"
    if error is None or alpha is None or yardstick.sd_squared is None:
        yield f"{document['yardstick']['instrument']}, {better}; reliable: {yardstick.bar}"
    else:
        yield (
            f"SD {plain(root(yardstick.sd_squared))}, reliability {text(alpha)}, {better}: "
            f"S_E {plain(root(error / 2))}, S_diff {plain(root(error))}; "
            f"|RC| must exceed {text(yardstick.z)}"
        )
    if document["yardstick"]["verified"] is False:
        yield "unverified: what is published was neither read nor recomputed here"
    for name, bound in yardstick.cutoffs:
        decides = " (decides)" if name is yardstick.criterion else ""
        yield f"cut-off {name}: dysfunctional {bound}{decides}"
    yield from document["sources"]
