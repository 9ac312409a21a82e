"""An import: whole, twice, interrupted, with bad rows, and never more than its source says."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from api.import_mapping import MappingBroken, read_mapping
from api.importer import Importer, Report
from domain.alliance import AllianceRated
from domain.clinic import ImportDeclared, clinic_stream
from domain.event import RecordedEvent, Source
from domain.outcome import OutcomeRated
from domain.session import Medium, SessionHeld
from tests.conftest import Clinic

MAPPING = """
format = "rapport-import/1"
[declaration]
origin = "a test"
licence = "CC0-1.0"
declared_by_name = "Test clinic"
legal_basis = "made up for this test"
[time]
says = "Weekly from 2025-01-06."
first = 2025-01-06T08:00:00+01:00
stagger_minutes = 60
[relationships]
file = "pairs.csv"
key = "pair"
therapist = "t"
client = "c"
modality = "unknown"
setting = "unknown"
[sessions]
file = "sessions.csv"
relationship = "pair"
number = "n"
[[ratings]]
file = "srs.csv"
instrument = "SRS-3"
perspective = "client"
relationship = "pair"
session = "n"
items = "i{1..4}"
claims = { total = "sum" }
"""

FILES = {
    "pairs.csv": "pair,t,c\n1,anna,x\n2,anna,y\n",
    "sessions.csv": "pair,n\n1,1\n1,2\n2,1\n",
    "srs.csv": "pair,n,i1,i2,i3,i4,sum\n1,1,7.0,2.5,3.0,3.5,16.0\n1,2,8,9,8,8.8,34.0\n"
    "2,1,9,9,,9,27\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "mapping.toml").write_text(MAPPING)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


OPERATOR = UUID(int=7)


def import_into(clinic: Clinic, folder: Path, *, dry_run: bool = False) -> Report:
    mapping = read_mapping(folder / "mapping.toml")
    return Importer(clinic.log, mapping, folder, OPERATOR).run(dry_run=dry_run)


def entries(clinic: Clinic) -> Iterator[RecordedEvent]:
    yield from clinic.log.read_log(0, 10_000)


def test_an_import_brings_every_row_and_states_its_basis(clinic: Clinic, folder: Path) -> None:
    """Rule 45: declared first, every imported entry refers to it, nothing is made up."""
    report = import_into(clinic, folder)
    assert report.faults == []
    assert report.imported == {
        "declarations": 1,
        "people": 3,
        "relationships": 2,
        "sessions": 3,
        "SRS-3 ratings": 3,
    }
    first, *others = entries(clinic)
    assert isinstance(first.event, ImportDeclared)
    assert all(entry.source is Source.IMPORT for entry in (first, *others))
    assert {entry.event.import_id for entry in others if hasattr(entry.event, "import_id")} == {
        first.event.declaration
    }
    held = [entry.event for entry in others if isinstance(entry.event, SessionHeld)]
    assert {event.medium for event in held} == {Medium.NOT_STATED}
    assert all("consent-missing" in event.reported for event in held)
    assert not any(entry.topic.startswith("consent.") for entry in others)
    assert clinic.log.history(clinic_stream(clinic.id)).version == 1


def test_scores_stand_beside_the_claims_of_the_file(clinic: Clinic, folder: Path) -> None:
    """A file's totals are claims: each row that differs is named, and by how much."""
    report = import_into(clinic, folder)
    assert report.compared == 3
    found = {(d.line, d.claimed, d.computed, d.difference) for d in report.differences}
    assert found == {(3, "34.0", "33.8", "-0.2"), (4, "27", "none", "not scored")}


def test_an_import_repeated_adds_nothing(clinic: Clinic, folder: Path) -> None:
    """Rule 8: the same rows under the same keyed ids are the same commands."""
    first = import_into(clinic, folder)
    size = clinic.log.head_size()
    again = import_into(clinic, folder)
    assert again.imported == {}
    assert again.present == first.imported
    assert again.faults == []
    assert clinic.log.head_size() == size


def test_a_dry_run_decides_everything_and_appends_nothing(clinic: Clinic, folder: Path) -> None:
    """A dry run tells what would be refused, and neither entry nor key is made."""
    (folder / "srs.csv").write_text("pair,n,i1,i2,i3,i4,sum\n1,9,1,1,1,1,4\n1,1,1,1,1,1,4\n")
    report = import_into(clinic, folder, dry_run=True)
    assert [fault.code for fault in report.faults] == ["session-unknown"]
    assert report.imported["SRS-3 ratings"] == 1
    assert clinic.log.head_size() == 0


@pytest.mark.parametrize(
    "file,row,field,code",
    [
        ("srs.csv", "1,1,7,11.2,3,3,1\n", "i2", "item-out-of-range"),
        ("srs.csv", "1,1,7,seven,3,3,1\n", "i2", "item-not-understood"),
        ("srs.csv", "1,1,7,7,3,3,many\n", "sum", "not-a-number"),
        ("srs.csv", "1,zero,7,7,3,3,20\n", "n", "not-a-session-number"),
        ("srs.csv", "1,99999999999999999999,7,7,3,3,20\n", "n", "not-a-session-number"),
        ("srs.csv", "3,1,7,7,3,3,20\n", "pair", "relationship-unknown"),
        ("srs.csv", "1,1,7,7,3\n", "", "columns-wrong"),
        ("srs.csv", "1,1,7,7,3,3,20,8\n", "", "columns-wrong"),
        ("pairs.csv", "1,anna,z\n", "pair", "named-twice"),
        ("pairs.csv", "3,,z\n", "t", "empty"),
        ("pairs.csv", "3,an\x00na,z\n", "t", "unstorable_text"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_imported(
    clinic: Clinic, folder: Path, file: str, row: str, field: str, code: str
) -> None:
    """Line, field, value and reason for each row that fails, the value apart from the reason, which
    is printed; the rest is imported."""
    whole = import_into(clinic, folder).imported
    with (folder / file).open("a") as lines:
        lines.write(row)
    report = import_into(clinic, folder)
    assert {(fault.file, fault.field, fault.code) for fault in report.faults} == {
        (file, field, code)
    }
    assert report.faults[0].line == FILES[file].count("\n") + 1
    assert not (value := report.faults[0].value) or value not in report.faults[0].reason
    assert sum(report.present.values()) >= sum(whole.values())


def test_a_changed_row_is_not_merged_into_what_was_imported(clinic: Clinic, folder: Path) -> None:
    """Rule 8: the id of a row is bound to its content."""
    import_into(clinic, folder)
    (folder / "srs.csv").write_text("pair,n,i1,i2,i3,i4,sum\n1,1,1,1,1,1,4\n")
    report = import_into(clinic, folder)
    assert [fault.code for fault in report.faults] == ["command-id-reused"]
    rated = [e.event for e in entries(clinic) if isinstance(e.event, AllianceRated)]
    assert rated[0].items == (70, 25, 30, 35)


def test_a_quoted_field_over_several_lines_keeps_line_numbers(clinic: Clinic, folder: Path) -> None:
    """The line that is reported is the one that an editor shows."""
    (folder / "pairs.csv").write_text('pair,t,c\n1,"an\nna",x\n2,,y\n')
    report = import_into(clinic, folder, dry_run=True)
    assert ("pairs.csv", 4, "t") in {(f.file, f.line, f.field) for f in report.faults}


def test_a_file_that_stops_being_csv_is_told_and_the_rest_goes_on(
    clinic: Clinic, folder: Path
) -> None:
    """A quote that is never closed swallows its own file, not the import."""
    (folder / "sessions.csv").write_text('pair,n\n1,1\n1,"2\n2,1\n')
    report = import_into(clinic, folder)
    assert (report.imported["sessions"], report.imported["SRS-3 ratings"]) == (1, 1)
    told = [(fault.file, fault.line, fault.code) for fault in report.faults]
    assert told[0] == ("sessions.csv", 3, "not-csv")
    assert {code for _, _, code in told[1:]} == {"session-unknown"}


@pytest.mark.parametrize(
    "old,new,says",
    [
        ('key = "pair"', 'key = "pairing"', "pairs.csv has no column 'pairing'"),
        ('file = "srs.csv"', 'file = "missing.csv"', "missing.csv: No such file"),
        ('[declaration]\norigin = "a test"', "[declaration]", "declaration.origin"),
        ('perspective = "client"', 'perspective = "dog"', "ratings.0.perspective"),
        ("[time]", "[time", "not TOML"),
        ('"SRS-3"', '"SRS-99"', "SRS-99"),
        ("total =", "sum =", "sum"),
    ],
)
def test_a_broken_mapping_names_file_field_and_mend(
    clinic: Clinic, folder: Path, old: str, new: str, says: str
) -> None:
    """A mapping that cannot be used is refused whole, before anything is appended."""
    (folder / "mapping.toml").write_text(MAPPING.replace(old, new))
    with pytest.raises(MappingBroken, match=says):
        import_into(clinic, folder)


@pytest.mark.parametrize("columns, fits", [(8, False), (9, True), (10, True), (11, False)])
def test_a_mapping_names_as_many_items_as_a_form_may_have(
    folder: Path, columns: int, fits: bool
) -> None:
    """Rule 30: the PHQ-9 has nine scored items and a tenth that may be asked beside them."""
    path = folder / "mapping.toml"
    text = MAPPING.replace("SRS-3", "PHQ-9").replace("{1..4}", f"{{1..{columns}}}")
    path.write_text(text)
    if fits:
        assert len(read_mapping(path).ratings[0].items) == columns
    else:
        with pytest.raises(MappingBroken, match=f"PHQ-9 has 9 or 10, not {columns}"):
            read_mapping(path)


def test_the_tenth_answer_of_a_file_is_kept(clinic: Clinic, folder: Path) -> None:
    """Rule 28: raw items are the fact, those that no scale sums among them."""
    text = MAPPING.replace("SRS-3", "PHQ-9").replace("{1..4}", "{1..10}")
    (folder / "mapping.toml").write_text(text)
    header = ",".join(f"i{number}" for number in range(1, 11))
    (folder / "srs.csv").write_text(f"pair,n,{header},sum\n1,1,1,1,1,1,1,1,1,1,0,2,8\n")
    report = import_into(clinic, folder)
    assert report.faults == []
    rated = [entry.event for entry in entries(clinic) if isinstance(entry.event, OutcomeRated)]
    assert [event.items for event in rated] == [(1, 1, 1, 1, 1, 1, 1, 1, 0, 2)]


def test_a_word_that_stands_for_zero_is_an_answer(clinic: Clinic, folder: Path) -> None:
    """Rule 30: zero is an answer, and what stands for nothing is none."""
    labels = 'labels = { never = 0, often = 10, "n/a" = "" }\nclaims'
    (folder / "mapping.toml").write_text(MAPPING.replace("claims", labels))
    (folder / "srs.csv").write_text("pair,n,i1,i2,i3,i4,sum\n1,1,never,often,n/a,7,17\n")
    assert import_into(clinic, folder).faults == []
    rated = [entry.event for entry in entries(clinic) if isinstance(entry.event, AllianceRated)]
    assert [event.items for event in rated] == [(0, 100, None, 70)]


def test_an_import_killed_in_the_middle_is_completed_by_the_next(
    clinic: Clinic, folder: Path
) -> None:
    """kill -9 at several moments: what was appended stays, the next run adds only what is missing,
    and in the end each row is there once."""
    pairs = range(1, 251)
    (folder / "pairs.csv").write_text("pair,t,c\n" + "".join(f"{n},anna{n},x{n}\n" for n in pairs))
    (folder / "sessions.csv").write_text("pair,n\n" + "".join(f"{n},1\n{n},2\n" for n in pairs))
    (folder / "srs.csv").write_text(
        "pair,n,i1,i2,i3,i4,sum\n" + "".join(f"{n},2,7,7,7,{n % 10},28\n" for n in pairs)
    )
    sizes = []
    for stop_at in (1, 400, 1_200):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.api.import_child", str(folder)],
            env={**os.environ, "CHILD": _child_settings(clinic)},
        )
        deadline = time.monotonic() + 60
        while clinic.log.head_size() < stop_at and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        sizes.append(clinic.log.head_size())
        clinic.check_record()
    report = import_into(clinic, folder)
    assert sizes == sorted(sizes)
    assert report.faults == []
    rows = {"declarations": 1, "people": 500, "relationships": 250, "sessions": 500}
    rows["SRS-3 ratings"] = 250
    added = {what: report.imported.get(what, 0) for what in rows}
    assert {what: report.present.get(what, 0) + added[what] for what in rows} == rows
    assert sum(report.present.values()) > 0
    told = Counter(entry.topic for entry in clinic.log.read_log(0, 10_000))
    commands = {entry.command_id for entry in clinic.log.read_log(0, 10_000)}
    assert len(commands) == sum(rows.values())
    assert told["relationship.opened"] == told["alliance.rated"] == 250
    assert told["session.held"] == told["schedule.session_time_taken"] == 500


def _child_settings(clinic: Clinic) -> str:
    return json.dumps(
        {
            "dsn": clinic.database.dsn("app"),
            "clinic": str(clinic.id),
            "home": str(clinic.home),
            "now": clinic.clock.now.isoformat(),
        }
    )


def test_two_clinics_give_the_same_source_different_ids(clinic: Clinic, folder: Path) -> None:
    """No deterministic id of what was imported: the ids are keyed by the clinic."""
    assert clinic.log.keyed_id("a", "b") == clinic.log.keyed_id("a", "b")
    assert clinic.log.keyed_id("a", "b") != clinic.log.keyed_id("ab")
    assert clinic.log.keyed_id("a") not in {UUID(int=0), uuid4()}
