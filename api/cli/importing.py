"""`rapport import`: sessions and ratings from CSV files, by a mapping."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.importing_crew import hands_for
from api.cli.terminal import (
    Exit,
    Failed,
    Format,
    FormatOption,
    progress_bar,
    say,
    settings,
    show,
    write_private,
)
from api.import_mapping import read_mapping
from api.import_rows import RowFault
from api.importer import Importer, Report
from api.opening import open_log, open_record, operator_id
from domain.cycles import searched_seldom

_SHOWN = 20
"""How many faults and differences stand on the screen; all of them stand in the JSON document."""


def add_to(app: typer.Typer) -> None:
    app.command("import")(import_)


def import_(
    mapping: Annotated[
        Path, typer.Argument(help="What the columns mean, in TOML: docs/formats/import-mapping.md.")
    ],
    folder: Annotated[Path, typer.Argument(help="The folder of the CSV files it names.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide everything, record nothing.")
    ] = False,
    errors: Annotated[
        Path | None,
        typer.Option(help="Where to write the faulty rows with their values: CSV, mode 0600."),
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Import sessions and ratings. A row that does not fit is reported, the others are imported.

    The basis of the import is declared first. Imported twice, or again after it was killed, nothing
    is recorded twice. Exit status 1 where rows were left out.

    \b
    Examples:
      rapport import mapping.toml data --dry-run
      rapport import mapping.toml data --errors faulty.csv
      rapport import mapping.toml data --format json
    """
    read = read_mapping(mapping)
    if not folder.is_dir():
        raise Failed(Exit.USAGE, f"There is no folder {folder}.")
    chosen = settings()
    with (
        hands_for(read, folder) if not dry_run else nullcontext() as hands,
        open_record(chosen, progress=say) as record,
        progress_bar() as advance,
        searched_seldom(),
    ):
        actor = operator_id(record.log)
        if hands is None:
            importer = Importer(record.log, read, folder, actor)
            report = importer.run(dry_run=dry_run, progress=advance)
        else:
            opening = partial(open_log, chosen, record.clinic)
            report = hands.import_(record.log, opening, read, folder, actor, advance)
    if errors is not None:
        write_private(errors, _as_csv(report.faults))
    show(format_, _document(report), lambda: "\n".join(_lines(report)))
    if report.faults:
        raise Failed(
            Exit.FOUND,
            f"{len(report.faults)} rows were left out.",
            f"{errors} has them with their values."
            if errors
            else "Repeat it with --errors FILE to have them with their values.",
        )


def _document(report: Report) -> dict[str, Any]:
    """The report without the values of faulty rows: those are for the error file alone."""
    document = asdict(report)
    for fault in document["faults"]:
        del fault["value"]
    return {"ok": not report.faults, **document}


def _lines(report: Report) -> Iterator[str]:
    done = "would be imported" if report.dry_run else "imported"
    for what in {**report.imported, **report.present}:
        line = f"{what:<20}{report.imported.get(what, 0):>7} {done}"
        there = report.present.get(what, 0)
        yield f"{line}, {there} there already" if there else line
    if report.compared:
        yield (
            f"\n{report.compared} ratings compared with the file's own scores: "
            f"{len(report.differences)} differences"
        )
    for one in report.differences[:_SHOWN]:
        yield (
            f"  {one.file} line {one.line}, relationship {one.relationship}, session "
            f"{one.session}: {one.instrument} {one.scale} {one.claimed} in the file, "
            f"{one.computed} computed ({one.difference})"
        )
    yield from _left_out(report.differences)
    if report.faults:
        yield f"\n{len(report.faults)} rows left out:"
    for fault in report.faults[:_SHOWN]:
        field = f", {fault.field}" if fault.field else ""
        yield f"  {fault.file} line {fault.line}{field}: {fault.reason} ({fault.code})"
    yield from _left_out(report.faults)


def _left_out(rows: Sequence[object]) -> Iterator[str]:
    if len(rows) > _SHOWN:
        yield f"  … and {len(rows) - _SHOWN} more; --format json names them all"


def _as_csv(faults: Sequence[RowFault]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["file", "line", "field", "value", "code", "reason"])
    writer.writerows(
        (fault.file, fault.line, fault.field, fault.value, fault.code, fault.reason)
        for fault in faults
    )
    return text.getvalue()
