"""An import by several processes: the same entries, report and refusals as by one, whatever others
record meanwhile, and whoever is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing import Pipe, active_children
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from api.cli import importing_crew
from api.cli.importing_crew import ImportHandLost, ImportHands, import_hands, shares_of
from api.import_mapping import read_mapping
from api.importer import Importer, Report
from domain.clinic import DeclareImport
from domain.person import RegisterPerson, person_stream
from domain.records import Author, Receipt, Records
from infra.acknowledged import AcknowledgedHead
from infra.event_store import ClinicLog
from infra.keyring import open_keyring
from tests.api.test_import_equals import BLANK_FIRST, HEADERS, NAMES, NUMBERS, OPERATOR
from tests.api.test_import_equals import FILES as FEW
from tests.api.test_importer import MAPPING
from tests.conftest import Clinic

_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@contextmanager
def opened(dsn: str, clinic: UUID, home: Path) -> Iterator[ClinicLog]:
    """The log as a process beside another opens it."""
    with open_keyring(home / "keyring", first_use=False) as keyring:
        log = ClinicLog(dsn, clinic, keyring, AcknowledgedHead(home / "heads", clinic))
        try:
            yield log
        finally:
            log.close()


def opening(clinic: Clinic) -> Any:
    return partial(opened, clinic.database.dsn("app"), clinic.id, clinic.home)


@pytest.fixture(scope="module")
def hands() -> Iterator[ImportHands]:
    with import_hands(2) as hands:
        yield hands


@pytest.fixture
def clinics(new_clinic: Callable[[], Clinic]) -> tuple[Clinic, Clinic]:
    return new_clinic(), new_clinic()


def written(
    folder: Path, files: Mapping[str, Sequence[tuple[str, ...]]], origin: str = "a test"
) -> Path:
    """The files and their mapping."""
    folder.mkdir(exist_ok=True)
    (folder / "mapping.toml").write_text(MAPPING.replace("a test", origin))
    for name, header in HEADERS.items():
        lines = [header, *(",".join(row) for row in files[name])]
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def together(clinic: Clinic, hands: ImportHands, folder: Path) -> Report:
    with opening(clinic)() as log:
        mapping = read_mapping(folder / "mapping.toml")
        return hands.import_(log, opening(clinic), mapping, folder, OPERATOR)


def alone(clinic: Clinic, folder: Path) -> Report:
    with opening(clinic)() as log:
        return Importer(log, read_mapping(folder / "mapping.toml"), folder, OPERATOR).run()


class Names:
    """The ids that one clinic gives to what the files name, by those names."""

    def __init__(
        self,
        clinic: Clinic,
        origin: str,
        therapists: Sequence[str] = "ab",
        clients: Sequence[str] = "xyz",
        pairs: Sequence[str] = "1234",
        numbers: Sequence[str] = "123",
    ) -> None:
        self._names = {str(clinic.id): "the clinic", str(OPERATOR): "the operator"}
        keys = [("declaration",), ("command", "declare")]
        for kind, named in (("therapist", therapists), ("client", clients)):
            keys += [key for n in named for key in ((kind, n), ("command", "person", kind, n))]
        for pair in pairs:
            keys += [("relationship", pair), ("command", "relationship", pair)]
            for n in numbers:
                its_own = [("session", pair, n), ("rating", "srs.csv", pair, n)]
                keys += [*its_own, *(("command", *key) for key in its_own)]
        for key in keys:
            self._names[str(clinic.log.keyed_id("import", origin, *key))] = " ".join(key)

    def in_(self, text: str) -> str:
        return _ID.sub(lambda id_: self._names[id_.group()], text)


def told(clinic: Clinic, after: int, names: Names) -> dict[str, list[str]]:
    """What the log tells past a position, by stream; a key by the entry that it sealed first."""
    streams, keys = defaultdict(list), dict[UUID, str]()
    entries = clinic.log.read_log(after, 10_000)
    for entry in sorted(entries, key=lambda entry: names.in_(f"{entry.stream} {entry.version}")):
        stream = names.in_(str(entry.stream))
        key = keys.setdefault(entry.key_id, f"key of {stream} {entry.version}")
        when = "now" if entry.occurred_at == entry.recorded_at else entry.occurred_at
        streams[stream].append(
            names.in_(
                f"{entry.version} {entry.topic} {when} {entry.actor} {entry.source} "
                f"{entry.command_id} {entry.command_index} {entry.event!r}"
            )
            + key
        )
    return streams


def reported(report: Report, names: Names) -> dict[str, Any]:
    found = asdict(report)
    for fault in found["faults"]:
        fault["reason"] = names.in_(fault["reason"])
    return found


# Whoever fails ends the processes, so a failing example is not made smaller.
@settings(max_examples=15, phases=[Phase.explicit, Phase.generate])
@example(files=BLANK_FIRST, again=BLANK_FIRST)
@given(files=FEW, again=FEW)
def test_an_import_by_several_processes_is_that_of_one(
    clinics: tuple[Clinic, Clinic],
    hands: ImportHands,
    tmp_path: Path,
    files: dict[str, list[tuple[str, ...]]],
    again: dict[str, list[tuple[str, ...]]],
) -> None:
    """Rules 8 and 45: the same entries in each stream under the same ids and keys, the same
    refusals and differences in the same order; only streams come in another order."""
    first, second = clinics
    before = first.log.head_size()
    origin = f"a test {before}"  # another source each time: nothing of it is in the record
    of_first, of_second = Names(first, origin), Names(second, origin)
    for content in (files, again, files):
        folder = written(tmp_path / "source", content, origin)
        found, expected = together(first, hands, folder), alone(second, folder)
        assert reported(found, of_first) == reported(expected, of_second)
        assert told(first, before, of_first) == told(second, before, of_second)
        assert all(
            found.differences[at].line <= found.differences[at + 1].line
            for at in range(len(found.differences) - 1)
        )


@given(
    pairs=st.lists(st.tuples(NAMES, st.sampled_from("abc"), st.sampled_from("vwxyz"))),
    sessions=st.lists(st.tuples(NAMES, NUMBERS)),
    number=st.integers(1, 4),
)
def test_shares_have_nobody_in_common(
    tmp_path: Path,
    pairs: list[tuple[str, ...]],
    sessions: list[tuple[str, ...]],
    number: int,
) -> None:
    """Rule 14: whoever decides over a therapist's schedule decides over all of it."""
    content = {"pairs.csv": pairs, "sessions.csv": sessions, "srs.csv": []}
    folder = written(tmp_path / "source", content)
    shares = shares_of(read_mapping(folder / "mapping.toml"), folder, number)
    assert len(shares) <= 3 * number
    for column in range(3):
        names = {pair[column] for pair in pairs}
        for name in names:
            keys = [pair[0] for pair in pairs if pair[column] == name]
            assert len({share.number for share in shares for key in keys if share.holds(key)}) == 1
    for key in ("1", "2", "nobody"):
        assert sum(share.holds(key) for share in shares) == 1


PAIRS, SESSIONS = 40, 30
WHOLE = {
    "declarations": 1,
    "people": 2 * PAIRS,
    "relationships": PAIRS,
    "sessions": PAIRS * SESSIONS,
    "SRS-3 ratings": PAIRS * SESSIONS,
}


def whole(report: Report) -> dict[str, int]:
    """Rows that are in the record now, whoever brought them."""
    return {
        what: report.imported.get(what, 0) + report.present.get(what, 0)
        for what in {**report.imported, **report.present}
    }


@pytest.fixture
def many(tmp_path: Path) -> Path:
    pairs = [(str(n), f"anna{n}", f"x{n}") for n in range(PAIRS)]
    sessions = [(str(n), str(at + 1)) for at in range(SESSIONS) for n in range(PAIRS)]
    ratings = [(*held, "7", "7", "7", str(len(held[1])), "28") for held in sessions]
    return written(
        tmp_path / "many", {"pairs.csv": pairs, "sessions.csv": sessions, "srs.csv": ratings}
    )


@pytest.mark.parametrize("held, at_rest", [("300", "100000"), ("300", "300"), ("1", "1")])
def test_helpers_that_remember_little_decide_the_same(
    clinics: tuple[Clinic, Clinic], many: Path, held: str, at_rest: str
) -> None:
    """Rules 8 and 45: where they keep no entries, but what those came to, and where not even that:
    the same entries in each stream under the same ids and keys."""
    first, second = clinics
    given = [first.database.dsn("app"), str(first.id), str(first.home), str(many)]
    child = [sys.executable, "-m", "tests.api.import_together_child", *given, held, at_rest]
    subprocess.run(child, check=True, timeout=120)
    assert alone(second, many).imported == WHOLE

    def by_name(clinic: Clinic) -> dict[str, list[str]]:
        pairs, numbers = range(PAIRS), range(1, SESSIONS + 1)
        anna, x = ([f"{name}{n}" for n in pairs] for name in ("anna", "x"))
        names = Names(clinic, "a test", anna, x, [*map(str, pairs)], [*map(str, numbers)])
        return told(clinic, 0, names)

    assert by_name(first) == by_name(second)


def test_whoever_is_done_first_takes_another_share(
    clinics: tuple[Clinic, Clinic],
    hands: ImportHands,
    many: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rules 8 and 45: of more shares than processes, the same entries in each stream under the same
    ids, and one report of them all."""
    monkeypatch.setattr(importing_crew, "_LEAST", 10)
    shares = shares_of(read_mapping(many / "mapping.toml"), many, 2)
    assert len(shares) == 6
    assert sum(share.holds(str(pair)) for share in shares for pair in range(PAIRS)) == PAIRS
    first, second = clinics
    found, expected = together(first, hands, many), alone(second, many)
    assert found.imported == expected.imported == WHOLE
    pairs, numbers = [*map(str, range(PAIRS))], [str(n) for n in range(1, SESSIONS + 1)]
    anna, x = ([f"{name}{n}" for n in pairs] for name in ("anna", "x"))
    of_first, of_second = (Names(one, "a test", anna, x, pairs, numbers) for one in clinics)
    assert told(first, 0, of_first) == told(second, 0, of_second)
    again = together(first, hands, many)
    assert again.present == WHOLE
    assert again.imported == {}


def test_keys_are_destroyed_meanwhile(clinic: Clinic, many: Path) -> None:
    """Rule 9: what was opened before is forgotten, also what streams came to; whatever was being
    decided on that is decided anew, and nothing is lost."""
    people = [uuid4() for _ in range(6)]
    for person in people:
        clinic.record(RegisterPerson(person=person, full_name="Somebody"))
    keys = [clinic.log.history(person_stream(person))[0].key_id for person in people]
    given = [clinic.database.dsn("app"), str(clinic.id), str(clinic.home), str(many)]
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.api.import_together_child", *given, "1", "1000"]
    )
    deadline, begun = time.monotonic() + 120, clinic.log.head_size()
    for number, key in enumerate(keys):
        while clinic.log.head_size() < begun + 500 * (1 + number) and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        clinic.keyring.destroy(clinic.id, key)
    assert child.wait(timeout=120) == 0
    clinic.check_record()
    entries = clinic.log.read_log(begun, 10_000)
    assert len({entry.command_id for entry in entries}) == sum(WHOLE.values())


def test_others_record_meanwhile(clinic: Clinic, hands: ImportHands, many: Path) -> None:
    """Rule 8: what was decided before others added to what it stands on is decided again; nothing
    is lost, refused or recorded twice, and times never go back."""
    done, recorded = Event(), list[Receipt]()

    def others() -> None:
        with opening(clinic)() as log:
            while not done.is_set():
                # To a stream of its own, and to one that every rating looks at.
                person = RegisterPerson(person=uuid4(), full_name="Somebody")
                declared = DeclareImport(
                    declaration=uuid4(), origin="another", licence="CC0-1.0",
                    declared_by_name="Somebody", legal_basis="a test", time_rule="none",
                )  # fmt: skip
                for command in (person, declared):
                    recorded.append(Records(log).record(command, Author(uuid4())))
                done.wait(0.02)

    writer = Thread(target=others)
    writer.start()
    try:
        report = together(clinic, hands, many)
    finally:
        done.set()
        writer.join()
    assert report.faults == []
    assert report.imported == WHOLE
    assert len(recorded) > 4
    entries = list(clinic.log.read_log(0, 10_000))
    assert len({entry.command_id for entry in entries}) == sum(WHOLE.values()) + len(recorded)
    times = [entry.recorded_at for entry in entries]
    assert times == sorted(times)


def test_a_killed_helper_ends_the_import_and_the_next_completes_it(
    clinic: Clinic, many: Path
) -> None:
    """kill -9 of one process: who imports is told, the others end, and nothing is lost or twice."""
    before = set(active_children())
    with import_hands(2) as hands:
        helpers = [one for one in active_children() if one not in before]

        def kill() -> None:
            while clinic.log.head_size() < 500:
                time.sleep(0.005)
            helpers[0].kill()

        killer = Thread(target=kill)
        killer.start()
        with pytest.raises(ImportHandLost):
            together(clinic, hands, many)
        killer.join()
    assert not any(helper.is_alive() for helper in helpers)
    assert 0 < clinic.check_record().size < 5_000
    report = alone(clinic, many)
    assert report.faults == []
    assert whole(report) == WHOLE
    # One of them may not have begun when 500 entries of the other stood there.
    assert report.present["people"] >= PAIRS


@pytest.mark.parametrize("stop_at", [1, 300, 1_500])
def test_an_import_killed_in_the_middle_leaves_nobody_behind(
    clinic: Clinic, hands: ImportHands, many: Path, stop_at: int
) -> None:
    """kill -9 of who appends: its helpers end by themselves, and the next import adds only what is
    missing."""
    given = [clinic.database.dsn("app"), str(clinic.id), str(clinic.home), str(many)]
    child = subprocess.Popen([sys.executable, "-m", "tests.api.import_together_child", *given])
    deadline = time.monotonic() + 60
    while clinic.log.head_size() < stop_at:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    helpers = psutil.Process(child.pid).children()
    assert len(helpers) == 2
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert psutil.wait_procs(helpers, timeout=20)[1] == []
    clinic.check_record()
    report = together(clinic, hands, many)
    assert report.faults == []
    assert whole(report) == WHOLE
    entries = clinic.log.read_log(0, 10_000)
    assert len({entry.command_id for entry in entries}) == sum(WHOLE.values())


def test_a_pipe_holds_a_batch_that_nobody_reads_yet() -> None:
    """Bulk: whoever hands a batch in goes on deciding, as far as the system lets a pipe hold it."""
    ours, theirs = Pipe()

    def held() -> int:
        with socket.socket(fileno=os.dup(theirs.fileno())) as pipe:
            return pipe.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    with ours, theirs:
        before = held()
        importing_crew._widen(theirs)
        assert held() > before
        theirs.send_bytes(b"x" * (held() // 4))
        assert ours.poll(0)
        assert ours.recv_bytes() == b"x" * (held() // 4)
