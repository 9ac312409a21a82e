"""The rows of CSV files, each with its place there, and why one of them cannot be imported."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from api.import_mapping import MappingBroken
from domain.making import maker


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: `line` is where it begins, counted from 1 as editors do."""

    file: str
    line: int
    columns: Mapping[str, int]
    """Column → its place in every row of the file."""
    fields: Sequence[str]

    def __getitem__(self, column: str) -> str:
        return self.fields[self.columns[column]].strip()


_row = maker(Row)


@dataclass(frozen=True, slots=True)
class RowFault:
    """Why a row was not imported. `value` goes to the error file of whoever imports, only there."""

    file: str
    line: int
    field: str
    value: str
    code: str
    reason: str


class RowRefused(Exception):
    """One row that cannot be imported."""

    def __init__(self, row: Row, column: str, code: str, reason: str) -> None:
        value = row.fields[row.columns[column]] if column in row.columns else ""
        self.fault = RowFault(row.file, row.line, column, value, code, reason)
        super().__init__(code)


def read_rows(
    folder: Path, file: str, columns: Sequence[str], of: Callable[[str], bool] | None = None
) -> Iterator[Row | RowFault]:
    """The rows of a CSV file in UTF-8; MappingBroken for a file that is missing or lacks `columns`.

    `of`: only those of which the first of `columns` is so. Where the file stops being CSV it ends,
    with a fault.
    """
    before = 0
    try:
        with (folder / file).open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            header = next(reader, [])
            width, places = len(header), {name: place for place, name in enumerate(header)}
            missing = sorted(set(columns) - places.keys())
            if missing:
                raise MappingBroken(f"{file} has no column {missing[0]!r}; mend the mapping.")
            before, first = reader.line_num, places[columns[0]]
            for fields in reader:
                line, before = before + 1, reader.line_num
                if len(fields) == width:
                    if of is None or of(fields[first].strip()):
                        yield _row(file, line, places, fields)
                elif fields:  # a blank line is no row
                    reason = f"The row has not {width} columns."
                    yield RowFault(file, line, "", "", "columns-wrong", reason)
    except OSError as error:
        raise MappingBroken(f"{file}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        # From here on nobody can tell where a row begins: an unclosed quote, or other bytes.
        reason = (
            f"Not CSV in UTF-8 from here on ({type(error).__name__}); what follows is left out."
        )
        yield RowFault(file, before + 1, "", "", "not-csv", reason)


def rows_at_most(path: Path) -> int:
    """How many rows the file has at most, for showing how far it is."""
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 20), b""))
    except OSError:
        return 0  # whoever reads its rows says so
