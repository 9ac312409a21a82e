"""`rapport replay`: a relationship as known at one time, of what had happened by another."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError

from api.cli.operator import who_asks
from api.cli.terminal import Format, FormatOption, say, settings_of_record, show
from api.composition import house, open_service
from api.doors import Visit, Withheld, enter
from api.routes.relationship import DossierDocument, dossier_shown
from domain.event import Erased, Line, Moment
from projections.alliance_course import RatingRow
from projections.caseload import Case
from projections.consent_register import ConsentRow
from projections.dossier import Dossier
from projections.goal_course import GoalRow, Kind
from projections.timeline import Line as TimelineLine
from projections.view import Cell

_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
_LINE: TypeAdapter[str] = TypeAdapter(Line)


def add_to(app: typer.Typer) -> None:
    app.command("replay")(replay)


def moment(text: str) -> datetime:
    """A date and time; without an offset in this machine's time zone, a bare date is its end."""
    try:
        day = date.fromisoformat(text)
        found = datetime.combine(day, time.max).astimezone()
    except ValueError:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter(
                "Give a date, or a date and time, as in 2026-03-01T14:00+01:00."
            ) from None
    try:
        return _MOMENT.validate_python(found.astimezone() if found.tzinfo is None else found)
    except (ValidationError, OverflowError):
        raise typer.BadParameter("The year must lie within 1900 and 2200.") from None


def replay(
    relationship: Annotated[UUID, typer.Argument(help="The relationship's id.")],
    known_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="As it was known then. Default: now."),
    ] = None,
    happened_by: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Of what had happened by then."),
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="For what it is read; it goes into the access trail.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Read as the bearer of this token, not as the operator.")
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Show one relationship as of two times, told from the log itself. The reading is recorded.

    A late entry or a correction is where the two times differ. A date alone means its end; a time
    without an offset is this machine's.

    \b
    Examples:
      rapport replay 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55
      rapport replay 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --known-at 2026-03-01
      rapport replay 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 \\
        --known-at 2026-03-01T14:00+01:00 --happened-by 2026-02-01 --format json
    """
    why = None if purpose is None else _LINE.validate_python(purpose)
    with open_service(settings_of_record(), progress=say) as service:
        visit = enter(
            house(service),
            who_asks(service, token_file, why),
            "dossier",
            relationship=relationship,
            purpose=why,
            known_at=known_at,
            happened_by=happened_by,
        )
        if format_ is Format.JSON:
            document = DossierDocument.model_validate(dossier_shown(visit.dossier()))
            show(format_, document.model_dump(mode="json"), "")
        else:
            show(format_, {}, "\n".join(_Told(visit, visit.dossier()).lines()))


# --- In words -------------------------------------------------------------------------------

T = TypeVar("T")


@dataclass(frozen=True)
class _Told:
    """A dossier as text: a line per row, each with the version of the entry that opened it."""

    visit: Visit
    dossier: Dossier

    def lines(self) -> Iterator[str]:
        dossier = self.dossier
        known, happened = dossier.known_at, dossier.happened_by
        yield f"Relationship {dossier.relationship.id}"
        yield (
            f"as known {f'at {_time(known)}' if known else 'now'}, of what had happened by "
            f"{_time(happened) if happened else 'then'}; up to position {dossier.position}"
        )
        if dossier.case is None:
            yield "It had not been opened."
            return
        yield from self._case(dossier.case)
        for title, rows, line in (
            ("Consents", dossier.consents, self._consent),
            ("Goals", dossier.goals, self._goal),
            ("Ratings", dossier.ratings, self._rating),
            ("Timeline", dossier.timeline, self._entry),
        ):
            yield from _section(title, rows, line)  # type: ignore[arg-type]

    def _case(self, case: Case) -> Iterator[str]:
        yield (
            f"{self._said(case.state)} since {self._said(case.opened_at, _time)}, "
            f"{self._said(case.constellation)}, {self._said(case.modality)}"
        )
        yield f"clients      {self._said(case.clients, self._names)}"
        yield f"therapists   {self._said(case.therapists, self._names)}"
        yield f"supervisor   {self._said(case.supervisor, self._name)}"
        yield (
            f"sessions     {self._said(case.sessions_held, none='0')} held, the last "
            f"{self._said(case.last_session_at, _time, none='never')}"
        )

    def _consent(self, row: ConsentRow) -> str:
        parts = [
            f"{_time(row.at.known)} {self._said(row.step)}",
            self._said(row.scope, none=""),
            f"by {self._said(row.party, self._name)}",
            f"(document {self._said(row.document)}, version {self._said(row.document_version)})",
        ]
        if row.withdrawn_at is not None:
            parts.append(
                f"withdrawn {self._said(row.withdrawn_at, _time)}{_entry(row.withdrawn_at)}"
            )
        return " ".join(filter(None, parts))

    def _goal(self, row: GoalRow) -> str:
        head = (
            f"{_time(row.at.known)} {self._said(row.kind)} of revision {self._said(row.revision)}"
        )
        if row.kind.known is Kind.RATING:
            scale = self._said(row.scale, lambda scale: scale.value.upper())
            return f"{head}: {scale} {self._said(row.level)} by {self._said(row.by, self._name)}"
        agreed = (
            f"agreed {self._said(row.agreed_at, _time)}{_entry(row.agreed_at)}"
            if row.agreed_at
            else "not agreed"
        )
        status = f", {self._said(row.status)}{_entry(row.status)}" if row.status else ""
        return f"{head}: {self._said(row.statement)} ({agreed}{status})"

    def _rating(self, row: RatingRow) -> str:
        number = f"session {self._said(row.session_number)}" if row.session_number else "between"
        head = (
            f"{_time(row.rated_at.known)} {number}: {self._said(row.instrument)} "
            f"{self._said(row.perspective)}"
        )
        scores = self._said(row.scales, _scores)
        after = f", superseded{_entry(row.superseded_by)}" if row.superseded_by else ""
        return f"{head} {scores}{after}"

    def _entry(self, line: TimelineLine) -> str:
        at, offset = line.occurred_at.known, line.occurred_offset.known
        zone = timezone(timedelta(minutes=offset or 0))
        marks = [
            f"late: {self._said(line.late_reason)}" if line.late.known else "",
            *(f"corrected by entry {cell.known}" for cell in line.corrected),
            f"corrects entry {line.amends.known}" if line.amends else "",
            f"in error by entry {line.in_error.known}" if line.in_error else "",
            f"superseded by entry {line.superseded.known}" if line.superseded else "",
            "imported" if line.import_id.known else "",
        ]
        said = "; ".join(filter(None, marks))
        return (
            f"{_time(at and at.astimezone(zone))} {line.topic.known} by "
            f"{self._said(line.actor, self._name)}, recorded {_time(line.recorded_at.known)}"
            f"{f' [{said}]' if said else ''}"
        )

    def _name(self, person: UUID | None) -> str:
        return "nobody" if person is None else self.visit.name_of(person) or str(person)

    def _names(self, people: tuple[UUID, ...]) -> str:
        return ", ".join(map(self._name, people))

    def _said(
        self, cell: Cell[T] | None, words: Callable[[T], str] = str, none: str = "not known"
    ) -> str:
        """A value in words, or why there is none."""
        if cell is None:
            return none
        if isinstance(cell.value, Withheld):
            return "(withheld)"
        if isinstance(cell.value, Erased):
            return "(erased)"
        return words(cell.value)


def _section(title: str, rows: Mapping[int, T], line: Callable[[T], str]) -> Iterator[str]:
    if rows:
        yield f"\n{title}"
    for version, row in rows.items():
        yield f"  {version:>5}  {line(row)}"


def _entry(cell: Cell[Any] | None) -> str:
    """By which entry a value came about that its row's own entry does not have."""
    return f" by entry {cell.ref.version}" if cell else ""


def _scores(scales: Mapping[str, Any]) -> str:
    if not scales:
        return "no key known, raw items only"
    flags = sorted({flag for scored in scales.values() for flag in scored.flags})
    said = ", ".join(f"{name} {scored.text or 'none'}" for name, scored in scales.items())
    return said + (f" [{', '.join(flags)}]" if flags else "")


def _time(at: datetime | None) -> str:
    return "?" if at is None else at.strftime("%Y-%m-%d %H:%M:%S %z")
