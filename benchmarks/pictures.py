"""The tables and pictures of docs/performance.md, from what the history holds.

    python -m benchmarks.pictures

Nothing is copied by hand: of each comparison the page shows the newest line.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.harness import ROOT, history

PAGE: Final = ROOT / "docs" / "performance.md"
IMAGES: Final = ROOT / "docs" / "images"
Line = Mapping[str, Any]

OLDEST: Final = "15"
"""The oldest PostgreSQL that the product runs on; what was measured on it has tables of its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of one figure: at least so much, or (`most`) at most."""

    says: str
    title: str
    """As in the history; a comparison whose title begins so."""
    callers: int
    contender: str
    figure: str
    wanted: float
    most: bool = False
    unit: str = ""

    def reached(self, lines: Sequence[Line]) -> float | None:
        """The newest figure."""
        for line in reversed(lines):
            if line["title"].startswith(self.title) and line["callers"] == self.callers:
                found = line["contenders"].get(self.contender, {}).get(self.figure)
                if found is not None:
                    return float(found)
        return None

    def row(self, lines: Sequence[Line]) -> str:
        sign = "at most" if self.most else "at least"
        found = self.reached(lines)
        said = "not measured yet" if found is None else f"{_number(found)}{self.unit}"
        return f"| {self.says} | {sign} {self.wanted:,}{self.unit} | {said} |"


_OVER, _P99, _MILLION = "ours_over_it", "p99_ms", "1,000,000 entries"
_MS, _MB, _RATE = (True, " ms"), (True, " MB"), (False, "/s")
_DURING, _REBUILD, _VERIFY = "append during", "growth: rebuild", "growth: verify"
STOCK, BARE = "stock eventsourcing", "bare INSERT"
TARGETS: Final = (
    Target("append, 1 caller, over stock", "append", 1, STOCK, _OVER, 2.5),
    Target("append, 1 caller, over bare", "append", 1, BARE, _OVER, 0.6),
    Target("append, 32 callers, over stock", "append", 32, STOCK, _OVER, 12),
    Target("append, 32 callers, over bare", "append", 32, BARE, _OVER, 1.2),
    Target("append, 32 callers, p99", "append", 32, "ours", _P99, 6, *_MS),
    Target("commands on hot streams, over stock", "commands", 32, STOCK, _OVER, 8),
    Target("bulk, over stock", "bulk", 1, "stock, 1000 to a save", _OVER, 1),
    Target("catch-up of a view, over stock", "catch-up", 1, "stock runner", _OVER, 30),
    Target("write to visible, p50", "write to", 16, "ours", "p50_ms", 3, *_MS),
    Target("write to visible, p99", "write to", 16, "ours", _P99, 15, *_MS),
    Target("HTTP, over the bare INSERT", "HTTP", 32, "bare INSERT endpoint", _OVER, 1),
    Target("verify", "verify", 1, "ours, in process", "per_second", 100_000, *_RATE),
    Target("dossier, p99", "dossier", 1, "from the database", _P99, 25, *_MS),
    Target("dossier over HTTP, p99", "dossier", 1, "over HTTP", _P99, 25, *_MS),
    Target("append, indexed meanwhile, p99", _DURING, 8, "ours, indexed", _P99, 20, *_MS),
    Target("append, vacuumed meanwhile, p99", _DURING, 8, "ours, vacuumed", _P99, 20, *_MS),
    Target("rebuild at 1 M entries", _REBUILD, 1, _MILLION, "per_second", 33_333, *_RATE),
    Target("rebuild, memory at 1 M", _REBUILD, 1, _MILLION, "memory_mb", 512, *_MB),
    Target("verify, memory at 1 M", _VERIFY, 1, _MILLION, "memory_mb", 512, *_MB),
)  # fmt: skip


# --- Tables ---------------------------------------------------------------------------------


def newest(lines: Iterable[Line]) -> list[Line]:
    """Of each comparison, by title and callers, the last; in the order of the first of each."""
    found: dict[tuple[str, int], Line] = {}
    for line in lines:
        found[line["title"], line["callers"]] = line
    return list(found.values())


def table(line: Line) -> str:
    """One comparison: a row for each contender, a column for whatever was measured."""
    contenders: Mapping[str, Mapping[str, float]] = line["contenders"]
    keys = dict.fromkeys(key for numbers in contenders.values() for key in numbers)
    columns = [key for key in keys if key not in ("slowest", "fastest", _OVER)]
    ratio = "ours is" if next(iter(contenders)).startswith("ours") else "first is"
    ratios = [] if line["title"] in _APART else [ratio]
    head = ["", *(_COLUMNS.get(key, key.replace("_", " ")) for key in columns), *ratios]
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, numbers in contenders.items():
        cells = [name]
        for key in columns:
            cells.append(_number(numbers[key]) if key in numbers else "–")
            if key == "per_second" and numbers["slowest"] != numbers["fastest"]:
                cells[-1] += f" ({_number(numbers['slowest'])}–{_number(numbers['fastest'])})"
        cells += [f"{_number(numbers[_OVER])} ×"] if ratios else []
        rows.append(f"| {' | '.join(cells)} |")
    callers = f"{line['callers']} caller{'s' * (line['callers'] != 1)}"
    made = (
        f"{line['title'][:1].upper()}{line['title'][1:]}, {callers}; commit {line['commit']}, "
        f"{line['at'][:10]}, PostgreSQL {line['postgresql']}, {line['cores']} cores, "
        f"load {line['load']:g}"
    )
    return f"{made}\n\n" + "\n".join(rows)


_APART: Final = {"limits"}
"""Whose rows are not to be compared."""
_COLUMNS: Final = {
    "per_second": "a second",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_us": "cpu µs",
    "postgres_us": "PostgreSQL µs",
    "memory_mb": "MB",
}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:g}"


def by_server(lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """What was measured on the oldest PostgreSQL, and what on a newer one."""
    known = [line for line in lines if "postgresql" in line]
    oldest = [line for line in known if line["postgresql"].split(".")[0] == OLDEST]
    return oldest, [line for line in known if line not in oldest]


def tables(lines: Sequence[Line]) -> dict[str, str]:
    """Every table, by the name of its place on the page."""
    oldest, current = by_server(lines)
    head = "| what | wanted | reached |\n|---|---|---|\n"
    found = {"targets": head + "\n".join(one.row(current) for one in TARGETS)}
    for place, titles in PLACES.items():
        fitting = [one for one in newest(current) if re.match(titles, one["title"])]
        found[place] = "\n\n".join(map(table, fitting)) or "Not measured yet."
    if any(curves(current)):
        found["growth"] = f"{_picture('growth')}\n\n{found['growth']}"
    if beside(current):
        found["targets"] = f"{_picture('beside')}\n\n{found['targets']}"
    found["oldest"] = "\n\n".join(map(table, newest(oldest))) or "Not measured yet."
    return found


def _picture(name: str) -> str:
    return f"![{_SHOWS[name]}](images/performance-{name}.png)"


_SHOWS: Final = {
    "beside": "Each figure as a share of what is wanted",
    "growth": "What grows with the log, and what does not",
}
PLACES: Final = {
    "limits": "limits",
    "append": "append$",
    "hot streams": "commands on hot streams",
    "bulk": "bulk",
    "catch-up": "catch-up",
    "rebuild": "rebuild",
    "visible": "write to visible",
    "http": "HTTP",
    "verify": "verify",
    "dossier": "dossier",
    "maintenance": "append during",
    "writers": "writers",
    "growth": "growth",
}


def write(found: Mapping[str, str]) -> None:
    """Puts every table in its place, between its two marks."""
    page = PAGE.read_text(encoding="utf-8")
    for name, text in found.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, opened, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise SystemExit(f"{PAGE.name} has no place for {name}")
        page = f"{before}{begin}{text}\n{end}{after}"
    PAGE.write_text(page, encoding="utf-8")


# --- Pictures -------------------------------------------------------------------------------


def beside(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Each target as a share of it: 1 is reached, more is better."""
    rows = []
    for target in TARGETS:
        found = target.reached(lines)
        if found:
            share = target.wanted / found if target.most else found / target.wanted
            rows.append({"what": target.says, "share": share})
    return rows


def curves(lines: Sequence[Line]) -> Iterator[dict[str, Any]]:
    """What grows with the log: each figure by its size."""
    for line in newest(lines):
        if not line["title"].startswith("growth: "):
            continue
        for size, numbers in line["contenders"].items():
            for figure, shown in _GROWING.items():
                if figure in numbers:
                    title = line["title"].removeprefix("growth: ")
                    entries = int(size.split()[0].replace(",", ""))
                    yield {
                        "what": f"{title}, {shown}",
                        "entries": entries,
                        "value": numbers[figure],
                    }


_GROWING: Final = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "memory_mb": "MB"}


def draw(lines: Sequence[Line]) -> None:
    """Both pictures; one of which there is nothing yet is left as it is."""
    import altair as alt  # noqa: PLC0415  only where a picture is drawn

    rows, points = beside(lines), list(curves(lines))
    if rows:
        base = alt.Chart(alt.InlineData(values=rows)).encode(
            y=alt.Y("what:N", title=None, sort=None, axis=alt.Axis(labelLimit=300))
        )
        share = alt.X(
            "share:Q",
            title="share of what is wanted (1 is reached)",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(values=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20], format="~g"),
        )
        bars = base.mark_point(size=70, filled=True, color="#1f5f8b", opacity=1).encode(x=share)
        wanted = alt.Chart(alt.InlineData(values=[{"share": 1}]))
        rule = wanted.mark_rule(color="#c2571a").encode(x="share:Q")
        chart = alt.layer(bars, rule).properties(width=420, height=22 * len(rows))
        chart.save(str(IMAGES / "performance-beside.png"), scale_factor=1.5)
    if points:
        chart = (
            alt.Chart(alt.InlineData(values=points))
            .mark_line(point=True, color="#1f5f8b")
            .encode(
                x=alt.X("entries:Q", scale=alt.Scale(type="log"), title="entries in the log"),
                y=alt.Y("value:Q", title=None, scale=alt.Scale(domainMin=0)),
            )
            .properties(width=210, height=130)
            .facet(facet=alt.Facet("what:N", title=None, sort=None), columns=3)
            .resolve_scale(y="independent")
        )
        chart.save(str(IMAGES / "performance-growth.png"), scale_factor=1.5)


def main() -> None:
    """Renews the page and its pictures."""
    lines = history()
    write(tables(lines))
    draw(by_server(lines)[1])


if __name__ == "__main__":
    main()
