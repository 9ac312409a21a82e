"""What integration tests share: a real PostgreSQL for each worker, a database for each test.

Every test that uses `clinic` ends in a check of the whole record: everything stored is read again,
hashed again and compared with the head and with what was acknowledged.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from domain.event import Command
from domain.records import Author, Receipt, Records
from infra.acknowledged import AcknowledgedHead
from infra.clinics import found_clinic
from infra.event_store import ClinicLog
from infra.keyring import WrappedKeyring, open_keyring
from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres
from infra.verify import Verified, verify

# Its assertions explain themselves like those of a test module.
pytest.register_assert_rewrite("tests.kit")

settings.register_profile(
    "rapport",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("rapport")

TEMPLATE = "rapport_template"


class Clock:
    """A clock that goes on by a millisecond at each look, and by more when told to."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@dataclass
class Clinic:
    """A clinic with a log of its own in a database of its own."""

    id: UUID
    database: Database
    home: Path
    keyring: WrappedKeyring
    log: ClinicLog
    clock: Clock
    others: list[ClinicLog] = field(default_factory=list)

    @property
    def records(self) -> Records:
        return Records(self.log)

    def record(self, command: Command, by: UUID | None = None) -> Receipt:
        return self.records.record(command, Author(by or uuid4()))

    def acknowledged(self) -> tuple[int, bytes] | None:
        head = AcknowledgedHead(self.home / "heads", self.id)
        try:
            return head.read()
        finally:
            head.close()

    def open_log(self, keyring: WrappedKeyring | None = None) -> ClinicLog:
        """Another writer on the same clinic, as a second process would have one."""
        acknowledged = AcknowledgedHead(self.home / "heads", self.id)
        dsn, keyring = self.database.dsn("app"), keyring or self.keyring
        log = ClinicLog(dsn, self.id, keyring, acknowledged, clock=self.clock)
        self.others.append(log)
        return log

    def check_record(self) -> Verified:
        return verify(self.database.dsn("read"), self.id, acknowledged=self.acknowledged())


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """An embedded PostgreSQL for this worker, with a migrated template database in it."""
    # Not under pytest's own folder: as root the server runs as another user, who must get there.
    with tempfile.TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        postgres = EmbeddedPostgres(home / "home")
        with postgres:
            # Tests kill processes, not machines; durability itself is shown in test_postgres.py.
            with psycopg.connect(postgres.superuser_dsn("postgres"), autocommit=True) as conn:
                conn.execute("ALTER SYSTEM SET fsync = off")
                conn.execute("SELECT pg_reload_conf()")
            migrate(postgres.create_database(TEMPLATE).dsn("owner"))
            yield postgres


@pytest.fixture(scope="session")
def new_database(server: EmbeddedPostgres) -> Callable[[], Database]:
    names = (f"test_{number}" for number in itertools.count(1))
    return lambda: server.create_database(next(names), template=TEMPLATE)


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """A migrated, empty database."""
    return new_database()


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 3, 2, 9, 0, tzinfo=UTC))


@pytest.fixture
def new_clinic(database: Database, tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Clinic]]:
    """Makes clinics in one database; each log is verified when the test is over."""
    made: list[Clinic] = []
    keyring = open_keyring(tmp_path / "keyring")

    def make() -> Clinic:
        id_ = uuid4()
        found_clinic(database.dsn("owner"), id_)
        acknowledged = AcknowledgedHead(tmp_path / "heads", id_)
        log = ClinicLog(database.dsn("app"), id_, keyring, acknowledged, clock=clock)
        made.append(Clinic(id_, database, tmp_path, keyring, log, clock))
        return made[-1]

    yield make
    for clinic in made:
        for log in (clinic.log, *clinic.others):
            log.close()
        clinic.check_record()
    keyring.close()


@pytest.fixture
def clinic(new_clinic: Callable[[], Clinic]) -> Clinic:
    return new_clinic()
