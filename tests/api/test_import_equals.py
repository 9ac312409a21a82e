"""However an import is cut into pieces, its log and its report are those of row after row."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api import importer
from api.import_mapping import read_mapping
from api.importer import Importer, Rehearsal, Report
from domain.event import Refusal, Stream
from domain.records import Proposal, Receipt
from infra.event_store import ClinicLog
from tests.api.test_importer import MAPPING
from tests.conftest import Clinic

OPERATOR = UUID(int=7)
_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

NAMES = st.sampled_from(["1", "2", "3", "", "4"])
NUMBERS = st.sampled_from(["1", "2", "3", "zero"])
ANSWERS = st.sampled_from(["7", "8.8", "0", "", "11", "seven", "10.0", "07"])
CLAIMS = st.sampled_from(["28", "16.0", "many", ""])
FILES = st.fixed_dictionaries(
    {
        "pairs.csv": st.lists(st.tuples(NAMES, st.sampled_from("ab"), st.sampled_from("xyz"))),
        "sessions.csv": st.lists(st.tuples(NAMES, NUMBERS), max_size=12),
        "srs.csv": st.lists(
            st.tuples(NAMES, NUMBERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, CLAIMS), max_size=12
        ),
    }
)
HEADERS = {"pairs.csv": "pair,t,c", "sessions.csv": "pair,n", "srs.csv": "pair,n,i1,i2,i3,i4,sum"}


class OneByOne:
    """The log with each command appended by itself, and nothing read or asked for beforehand."""

    def __init__(self, log: ClinicLog) -> None:
        self._log = log

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal]:
        return [self._log.append([proposal])[0] for proposal in proposals]

    def seen(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]:
        return [None] * len(proposals)

    def read_together(self, streams: Collection[Stream]) -> None:
        """Whatever is needed is read when it is needed."""

    def rehearse(self) -> Rehearsal:
        return self._log.rehearse()

    def keyed_id(self, *natural_key: str) -> UUID:
        return self._log.keyed_id(*natural_key)

    def head_size(self) -> int:
        return self._log.head_size()


def told(clinic: Clinic, after: int) -> list[str]:
    """What the log tells past a position, its ids named by the order in which they come."""
    names: dict[str, str] = {str(clinic.id): "clinic"}
    return [
        _ID.sub(
            lambda id_: names.setdefault(id_.group(), f"id {len(names)}"),
            f"{entry.position} {entry.stream} {entry.version} {entry.topic} "
            f"{'now' if entry.occurred_at == entry.recorded_at else entry.occurred_at} "
            f"{entry.actor} {entry.source} {entry.command_id} {entry.command_index} "
            f"{entry.key_id} {entry.event!r}",
        )
        for entry in clinic.log.read_log(after, 10_000)
    ]


def reported(report: Report) -> dict[str, Any]:
    """The report, without the ids that refusals name."""
    found = asdict(report)
    for fault in found["faults"]:
        fault["reason"] = _ID.sub("id", fault["reason"])
    return found


@pytest.fixture
def clinics(new_clinic: Callable[[], Clinic]) -> tuple[Clinic, Clinic]:
    return new_clinic(), new_clinic()


BLANK_FIRST = {
    "pairs.csv": [("1", "a", "x")],
    "sessions.csv": [("1", "1")],
    "srs.csv": [("1", "1", "", "", "", "", "28"), ("1", "1", "7", "7", "7", "7", "28")],
}


@settings(max_examples=20)
@example(files=BLANK_FIRST, again=BLANK_FIRST, rows=4096)
@given(files=FILES, again=FILES, rows=st.sampled_from([1, 2, 5, 4096]))
def test_an_import_in_pieces_is_the_import_row_by_row(
    clinics: tuple[Clinic, Clinic],
    tmp_path: Path,
    files: dict[str, list[tuple[str, ...]]],
    again: dict[str, list[tuple[str, ...]]],
    rows: int,
) -> None:
    """Rules 8 and 45: entries, keys, refusals and differences, also where rows are faulty, where
    they come twice, and where a second import brings some of them with other content."""
    at_once, one_by_one = clinics
    before = at_once.log.head_size()
    # Each example is a source of its own, so that it meets nothing of the one before.
    (tmp_path / "mapping.toml").write_text(MAPPING.replace("a test", f"a test {before}"))
    mapping = read_mapping(tmp_path / "mapping.toml")
    for content in (files, again, files):
        for name, header in HEADERS.items():
            lines = [header, *(",".join(row) for row in content[name])]
            (tmp_path / name).write_text("\n".join(lines) + "\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importer, "ROWS_PER_STEP", rows)
            rehearsed = Importer(at_once.log, mapping, tmp_path, OPERATOR).run(dry_run=True)
            found = Importer(at_once.log, mapping, tmp_path, OPERATOR).run()
        expected = Importer(OneByOne(one_by_one.log), mapping, tmp_path, OPERATOR).run()
        assert reported(found) == reported(expected)
        assert {**reported(rehearsed), "dry_run": False} == reported(expected)
        assert told(at_once, before) == told(one_by_one, before)
