"""What people entrusted to the record is in no byte that PostgreSQL, its log or we leave behind.

Afterwards every file is searched: PostgreSQL's data and write-ahead log, its own log (told to log
everything), the keyring, the heads; and what we logged and answered.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
import pytest

from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres
from tests.api.conftest import House
from tests.paths.canaries import (
    BORN,
    CONTROL_BORN,
    CONTROL_ITEMS,
    CONTROL_MARK,
    CONTROLS,
    ITEMS,
    MARK,
    SECRETS,
    Told,
    entrust,
    found,
    read_everything,
    stumble,
    tasks_and_endings,
)


@dataclass
class Machine:
    """A PostgreSQL of its own, and all that there is to be searched."""

    postgres: EmbeddedPostgres
    folder: Path
    searched: list[tuple[str, bytes]] = field(default_factory=list)

    def files(self, *folders: Path) -> Iterator[tuple[str, bytes]]:
        """Every file, by where it lies, as it is after a checkpoint."""
        with psycopg.connect(self.postgres.superuser_dsn(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        for folder in (self.folder, *folders):
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    yield str(path), path.read_bytes()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "home")
        with postgres:
            with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as connection:
                for setting in (
                    "wal_compression = off",  # or nothing could be found in it
                    "log_statement = 'all'",
                    "log_min_error_statement = 'error'",
                    "log_error_verbosity = 'verbose'",
                    "log_parameter_max_length = -1",
                    "log_parameter_max_length_on_error = -1",
                ):
                    connection.execute(f"ALTER SYSTEM SET {setting}".encode())
                connection.execute("SELECT pg_reload_conf()")
            yield Machine(postgres, folder)


@pytest.fixture
def database(machine: Machine) -> Database:
    """In place of the shared server's: the house stands on this machine."""
    database = machine.postgres.create_database(f"clinic_{uuid4().hex}")
    migrate(database.dsn("owner"))
    return database


@pytest.fixture
def told(house: House, caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    caplog.set_level(logging.DEBUG)
    told = Told(house)
    handler = logging.StreamHandler(told.log)
    logging.getLogger().addHandler(handler)
    entrust(told)
    stumble(told)
    tasks_and_endings(told)
    read_everything(house)
    yield told
    logging.getLogger().removeHandler(handler)


def test_nothing_entrusted_is_found_in_any_file(told: Told, machine: Machine) -> None:
    """R25, R27: not in tables, views, write-ahead log, server log, keyring or heads."""
    searched = list(machine.files(told.house.practice.clinic.home))
    names = {Path(where).parent.name for where, _ in searched}
    assert {"pg_wal", "log", "keyring", "heads"} <= names
    for secret, patterns in SECRETS.items():
        assert found(searched, patterns) == [], secret


def test_nothing_entrusted_is_in_our_log_or_answers(
    capfd: pytest.CaptureFixture[str], told: Told
) -> None:
    """R27, R36: log lines, receipts and problem documents carry codes and ids alone."""
    written = capfd.readouterr()
    spoken = [
        *(("an answer", answer.encode()) for answer in told.answers),
        ("our log", told.log.getvalue().encode()),
        ("the terminal", (written.out + written.err).encode()),
    ]
    for secret, patterns in SECRETS.items():
        assert found(spoken, patterns) == [], secret
    assert len(told.answers) > 20
    assert found(spoken, [b"POST /api/v1/commands/propose-goal 409"]) == ["our log"]
    assert "goal-exists" in str(told.answers)


def test_it_was_there_to_be_found(told: Told) -> None:
    """The other half of the proof: through the doors every one of them is read again."""
    practice, house = told.house.practice, told.house
    document = practice.shown(house.therapist, f"/relationships/{house.relationship}")
    text = json.dumps(document)
    assert MARK in text
    assert list(ITEMS) in [row["items"]["value"] for row in document["ratings"]]
    events = practice.clinic.log.read_log(0, 1000)
    assert sum(MARK in repr(entry.event) for entry in events) >= 10
    assert any(repr(BORN) in repr(entry.event) for entry in events)


def test_the_search_finds_what_is_in_the_clear(told: Told, machine: Machine) -> None:
    """The control: what may be seen is seen, in the table, the write-ahead log, the server's log
    and the views; and a text, items and a date that somebody puts there in the clear."""
    house, clinic = told.house, told.house.practice.clinic
    searched = list(machine.files(clinic.home))
    stream = found(searched, [f"relationship-{house.relationship}".encode()])
    assert {"base", "pg_wal"} <= {part for where in stream for part in Path(where).parts}
    assert any("/log/" in where for where in found(searched, [b"rapport.entries"]))
    with psycopg.connect(clinic.database.dsn("read")) as connection:
        row = connection.execute("SELECT pg_relation_filepath('views.caseload_v2')").fetchone()
    assert row is not None
    caseload = [(where, content) for where, content in searched if where.endswith(row[0])]
    assert found(caseload, [house.client.person.bytes]), "clear in the caseload"
    assert found(searched, [b"alliance.rated"])
    with psycopg.connect(machine.postgres.superuser_dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE control (text text, born date, items int[])")
        connection.execute(
            "INSERT INTO control VALUES (%s, %s, %s)",
            (f"{CONTROL_MARK} {CONTROL_BORN}", CONTROL_BORN, list(CONTROL_ITEMS)),
        )
    searched = list(machine.files())
    for secret, patterns in CONTROLS.items():
        places = {part for where in found(searched, patterns) for part in Path(where).parts}
        assert {"base", "pg_wal", "log"} <= places, secret
