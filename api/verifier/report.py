"""`report.html`: what a bundle holds, for people; each statement cites the entry it stands on.

A function of the bundle's contents alone, so whoever checks a bundle writes the page again and
compares. It needs no script and nothing from elsewhere, and prints on paper.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from html import escape
from typing import Any, Final, TypeVar
from uuid import UUID

from domain.disclosure import REDISCLOSURE_NOTICE
from domain.event import Erased, Event, RecordedEvent
from infra.bundle import Contents, Disclosed, Manifest, Withheld
from projections.alliance_course import RatingRow
from projections.caseload import Case
from projections.consent_register import ConsentRow, Step
from projections.dossier import Dossier
from projections.goal_course import GoalRow, Kind
from projections.timeline import Line
from projections.view import Cell, known

VERSION: Final = 1
"""To be raised whenever the same contents would give another page."""

T = TypeVar("T")

WITHHELD: Final[Mapping[Withheld, str]] = {
    Withheld.ERASED: "Erased: its key was destroyed, and nobody can read it any more.",
    Withheld.READER: "Withheld: it is not for whom this copy was made.",
    Withheld.SELECTION: "Not among the entries chosen for this copy.",
    Withheld.HAPPENED_LATER: "It tells of a later time than this copy tells of.",
    Withheld.RECORDED_LATER: "Recorded after the time of this copy. It stands here because its "
    "number shows that no entry before it is missing.",
}


def report(manifest: Manifest, entries: Iterable[Disclosed], dossier: Dossier) -> bytes:
    """The page, in UTF-8. Of the manifest it reads the contents, without digests."""
    page = _Page(manifest, list(entries), dossier)
    return "\n".join(page.lines()).encode()


@dataclass(frozen=True)
class _Entry:
    """An entry, and why nothing of its content is here, where that is so."""

    recorded: RecordedEvent
    withheld: Withheld | None


class _Page:
    """The page of one bundle."""

    def __init__(self, manifest: Manifest, entries: list[Disclosed], dossier: Dossier) -> None:
        self._manifest = manifest
        self._contents: Contents = manifest.contents
        self._dossier = dossier
        self._entries = [_Entry(each.recorded(), each.withheld) for each in entries]
        self._people = dict(_parts(dossier.case))

    def lines(self) -> Iterator[str]:
        yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield (
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        )
        yield f"<title>Record of a therapeutic relationship</title>\n<style>{_STYLE}</style>"
        yield "</head>\n<body>\n<main>\n<h1>Record of a therapeutic relationship</h1>"
        yield from self._cover()
        yield from self._case()
        yield from self._consents()
        yield from self._goals()
        yield from self._ratings()
        yield from self._all_entries()
        yield "</main>\n</body>\n</html>"

    # --- What this is

    def _cover(self) -> Iterator[str]:
        contents = self._contents
        withheld = [each.withheld for each in self._entries if each.withheld]
        yield '<p class="lead">A copy of one relationship\'s record, as of two times. A number in '
        yield "brackets, like [4], is the entry that a statement stands on; all entries stand at "
        yield "the end.</p>"
        yield from _facts(
            ("Relationship", str(contents.relationship)),
            ("Clinic", str(contents.clinic)),
            ("As it was known at", _second(self._manifest.known_at)),
            ("Of what had happened by", _second(self._manifest.happened_by)),
            ("Purpose", contents.purpose),
            ("For", contents.recipient and _words(contents.recipient)),
            ("Entries", f"{len(self._entries)}, the content of {len(withheld)} is not here"),
            ("Made by", f"Rapport {contents.program}"),
        )
        yield '<aside class="note"><p><strong>This page proves nothing by itself.</strong> The '
        yield "bundle it comes in does: <code>rapport-verify</code> checks that every entry below "
        yield "stands in the clinic's log, that none is missing, and that this page says what they "
        yield f"say.</p><p>{escape(REDISCLOSURE_NOTICE)}</p></aside>"

    def _case(self) -> Iterator[str]:
        case = self._dossier.case
        yield '<section aria-labelledby="case">\n<h2 id="case">The relationship</h2>'
        if case is None:
            yield "<p>By then it had not been opened.</p>\n</section>"
            return
        said = _Said()
        yield from _cited(
            ("State", said(case.state, _words)),
            ("Opened", said(case.opened_at, _minute)),
            ("Constellation", said(case.constellation, _words)),
            ("Modality", said(case.modality)),
            ("Clients", said(case.clients, self._all_who)),
            ("Therapists", said(case.therapists, self._all_who)),
            ("Sessions held", said(case.sessions_held)),
            ("Last session", said(case.last_session_at, _minute)),
        )
        yield "</section>"

    # --- Tables

    def _consents(self) -> Iterator[str]:
        def row(consent: ConsentRow, said: _Said) -> tuple[str, ...]:
            ended = consent.withdrawn_at
            until = said(consent.valid_to, lambda at: _day(at) if at else "until withdrawn")
            return (
                said(consent.at, _day),
                said(consent.step, _step),
                said(consent.scope, _words),
                said(consent.party, self._who),
                f"withdrawn {said(ended, _day)}" if ended else until,
            )

        heads = ("Day", "Step", "Scope", "Who", "Until")
        yield from _table("Consents", heads, self._dossier.consents, row)

    def _goals(self) -> Iterator[str]:
        def row(goal: GoalRow, said: _Said) -> tuple[str, ...]:
            if known(goal.kind) is Kind.RATING:
                scale = said(goal.scale, lambda scale: str(scale.value).upper())
                level = f"{scale} {said(goal.level)}"
                return (said(goal.at, _day), "rated", level, said(goal.by, self._who))
            agreed = f"agreed by all {said(goal.agreed_at, _day)}" if goal.agreed_at else ""
            return (
                said(goal.at, _day),
                f"revision {said(goal.revision)}",
                said(goal.statement),
                "; ".join(filter(None, (agreed, said(goal.status, _words)))) or "not agreed by all",
            )

        heads = ("Day", "What", "Wording or level", "By whom, or where it stands")
        yield from _table("Goals", heads, self._dossier.goals, row)

    def _ratings(self) -> Iterator[str]:
        def row(rating: RatingRow, said: _Said) -> tuple[str, ...]:
            after = rating.superseded_by
            return (
                said(rating.rated_at, _day),
                said(rating.session_number) or "between",
                said(rating.instrument),
                said(rating.rater, self._who),
                said(rating.scales, _scores) + (f"; superseded {_cite(after)}" if after else ""),
            )

        heads = ("Day", "Session", "Instrument", "Rated by", "Scores")
        yield from _table("Ratings", heads, self._dossier.ratings, row)

    # --- Entries

    def _all_entries(self) -> Iterator[str]:
        yield '<section aria-labelledby="entries">\n<h2 id="entries">All entries</h2>'
        for entry in self._entries:
            yield from self._entry(entry, self._dossier.timeline.get(entry.recorded.version))
        yield "</section>"

    def _entry(self, entry: _Entry, line: Line | None) -> Iterator[str]:
        recorded = entry.recorded
        title = f"{recorded.version}. {_title(recorded.topic)}, {_minute(recorded.occurred_at)}"
        yield f'<article id="e{recorded.version}">\n<h3>{escape(title)}</h3>'
        behalf = recorded.on_behalf_of
        by = self._who(recorded.actor) + (f" for {self._who(behalf)}" if behalf else "")
        yield (
            f'<p class="soft">Recorded {escape(_second(recorded.recorded_at))} by {escape(by)}; '
            f"{escape(_words(recorded.source.value))}; position {recorded.position} of the log.</p>"
        )
        if line is not None:
            for said, cells in (
                ("Corrected by entry", line.corrected),
                ("Entered in error, by entry", (line.in_error,)),
                ("Superseded by entry", (line.superseded,)),
                ("Amends entry", (line.amends,)),
            ):
                for cell in filter(None, cells):
                    yield f"<p><strong>{said} {self._version(cell)}.</strong></p>"
        if isinstance(recorded.event, Event):
            yield from self._fields(recorded.event.model_dump(mode="json", exclude_none=True))
        elif entry.withheld:
            yield f'<p class="gone">{escape(WITHHELD[entry.withheld])}</p>'
        yield "</article>"

    def _version(self, cell: Cell[int]) -> str:
        version = known(cell)
        return "?" if version is None else f'<a href="#e{version}">{version}</a>'

    def _fields(self, content: Mapping[str, Any]) -> Iterator[str]:
        told = {name: value for name, value in content.items() if value not in ([], {}, "")}
        if not told:
            return
        yield "<dl>"
        for name, value in told.items():
            yield f"<dt>{escape(_words(name))}</dt><dd>{self._value(value)}</dd>"
        yield "</dl>"

    def _value(self, value: Any) -> str:
        match value:
            case dict():
                return "".join(self._fields(value))
            case list() if any(isinstance(part, dict) for part in value):
                return "".join(map(self._value, value))
            case list():
                return ", ".join(map(self._value, value))
            case bool():
                return "yes" if value else "no"
            case None:
                return "not answered"
        return escape(self._named(str(value)))

    # --- Words

    def _named(self, text: str) -> str:
        """A person's id with the part that the person takes, anything else as it is."""
        for person, part in self._people.items():
            if str(person) == text:
                return f"{part} ({text})"
        return text

    def _who(self, person: UUID) -> str:
        return self._people.get(person) or str(person)

    def _all_who(self, people: tuple[UUID, ...]) -> str:
        return ", ".join(f"{self._who(person)} ({person})" for person in people) or "nobody"


class _Said:
    """Values in words, escaped; each cites its entry, unless that is the one of the whole row."""

    def __init__(self, row: int = 0) -> None:
        self._row = row

    def __call__(self, cell: Cell[T] | None, words: Callable[[T], str] = str) -> str:
        if cell is None:
            return ""
        gone = isinstance(cell.value, Erased)
        said = "not in this copy" if gone else words(cell.value)  # type: ignore[arg-type]
        cited = "" if cell.ref.version == self._row else f" {_cite(cell)}"
        return escape(said) + cited


def _parts(case: Case | None) -> Iterator[tuple[UUID, str]]:
    """What each person is in this relationship."""
    if case is None:
        return
    for part, people in (("client", known(case.clients)), ("therapist", known(case.therapists))):
        for number, person in enumerate(people or (), start=1):
            yield person, part if len(people or ()) == 1 else f"{part} {number}"
    if supervisor := known(case.supervisor):
        yield supervisor, "supervisor"


def _cite(cell: Cell[Any]) -> str:
    return _link(cell.ref.version)


def _link(version: int) -> str:
    return f'<a class="cite" href="#e{version}" aria-label="entry {version}">[{version}]</a>'


def _facts(*facts: tuple[str, str | None]) -> Iterator[str]:
    yield from _cited(*((name, said and escape(said)) for name, said in facts))


def _cited(*facts: tuple[str, str | None]) -> Iterator[str]:
    yield "<dl>"
    yield from (f"<dt>{escape(name)}</dt><dd>{said}</dd>" for name, said in facts if said)
    yield "</dl>"


def _table(
    title: str,
    heads: tuple[str, ...],
    rows: Mapping[int, T],
    told: Callable[[T, _Said], tuple[str, ...]],
) -> Iterator[str]:
    """A row for each entry that opened one; what another entry established cites that."""
    if not rows:
        return
    name = title.lower()
    yield f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>'
    yield f'<div class="wide" role="region" tabindex="0" aria-labelledby="{name}">\n<table>'
    yield "<thead><tr>" + "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    yield '<th scope="col">Entry</th></tr></thead>\n<tbody>'
    for version, row in sorted(rows.items()):
        cells = (*told(row, _Said(version)), _link(version))
        yield "<tr>" + "".join(f"<td>{said}</td>" for said in cells) + "</tr>"
    yield "</tbody>\n</table>\n</div>\n</section>"


def _scores(scales: Mapping[str, Any]) -> str:
    if not scales:
        return "no key known, raw items only"
    return ", ".join(f"{_words(name)} {one.text or 'none'}" for name, one in scales.items())


def _step(step: Step) -> str:
    return _words(step.value)


def _title(topic: str) -> str:
    """`consent.withdrawn` as a heading: `Consent withdrawn`."""
    return _words(topic.replace(".", " ")).capitalize()


def _words(code: str) -> str:
    return code.replace("_", " ").replace("-", " ")


def _day(at: datetime) -> str:
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def _minute(at: datetime) -> str:
    offset = at.utcoffset() or timedelta(0)
    return f"{_day(at)}, {at:%H:%M} {timezone(offset) if offset else 'UTC'}"


def _second(at: datetime) -> str:
    utc = at.astimezone(UTC)
    return f"{_day(utc)}, {utc:%H:%M:%S}{f'.{utc:%f}' if utc.microsecond else ''} UTC"


# Not by strftime: a page must not read otherwise where the machine's language is another.
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)

_STYLE: Final = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1c2430; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; padding-bottom: .2rem;
  border-bottom: 2px solid #0a6885; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .35rem 0; }
.lead { max-width: 65ch; }
.soft, dt { color: #566072; }
.gone { color: #566072; font-style: italic; }
dl { display: grid; grid-template-columns: minmax(8rem, 13rem) 1fr; gap: .15rem 1rem;
  margin: .5rem 0; }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
dd, td { unicode-bidi: isolate; }
dd > dl { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0;
  border-bottom: 1px solid #e3e1da; }
td:first-child, td:last-child { white-space: nowrap; }
.wide { overflow-x: auto; }
article { padding: .75rem 0; border-bottom: 1px solid #e3e1da; break-inside: avoid; }
article:target { background: #e9f2f4; }
a { color: #0a6885; }
.cite { font-size: .85em; text-decoration: none; white-space: nowrap; }
:focus-visible { outline: 3px solid #0a6885; outline-offset: 2px; }
.note { border-left: 4px solid #0a6885; background: #e9f2f4; padding: .5rem 1rem;
  margin: 1rem 0; }
@media (max-width: 36rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .35rem; }
}
@media print {
  .wide { overflow: visible; }
  @page { margin: 18mm 16mm; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  a { color: inherit; }
  h2, h3 { break-after: avoid; }
  tr, .note { break-inside: avoid; }
  thead { display: table-header-group; }
}
"""
