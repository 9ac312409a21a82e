"""The product on a PostgreSQL of the clinic's own, named by RAPPORT_DATABASE_URL alone.

Every PostgreSQL the machine has beside the wheel's is taken for such a server (`make test` gets
Debian's); where there is none, the wheel's own programs serve as one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from api.composition import Service, open_service
from infra import backup
from infra.clinics import pinned
from infra.cluster import Binaries
from infra.migrate import GROUP_ROLES
from infra.postgres import EmbeddedPostgres, open_database
from infra.settings import Settings
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from projections.rebuild import rebuild
from tests.api.conftest import SECRET, House, Practice, furnish
from tests.api.test_importer import folder, import_into
from tests.conftest import Clinic, Clock

__all__ = ["folder"]

SERVERS: dict[str, Binaries | None] = {
    f"PostgreSQL {path.parent.name}": Binaries(path)
    for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))
} or {"the wheel's": None}


@dataclass(frozen=True)
class Server:
    """Somebody else's server: it knows an owner who may make roles, and nothing of the product."""

    postgres: EmbeddedPostgres

    def empty_database(self) -> SecretStr:
        """The URL of a new database, for the owner."""
        superuser, name = conninfo_to_dict(self.postgres.superuser_dsn()), f"clinic_{uuid4().hex}"
        with psycopg.connect(self.postgres.superuser_dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER clinic_owner").format(sql.Identifier(name))
            )
        host = quote(str(superuser["host"]), safe="")
        port = superuser["port"]
        return SecretStr(f"postgresql://clinic_owner:secret@/{name}?host={host}&port={port}")


@pytest.fixture(scope="module", params=SERVERS)
def server_elsewhere(request: pytest.FixtureRequest) -> Iterator[Server]:
    with TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        postgres = EmbeddedPostgres(Path(name) / "home", binaries=SERVERS[request.param])
        with postgres:
            with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as connection:
                for role in GROUP_ROLES:
                    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
                connection.execute("CREATE ROLE clinic_owner LOGIN CREATEROLE PASSWORD 'secret'")
            yield Server(postgres)


@pytest.fixture
def furnished(
    server_elsewhere: Server,
    tmp_path: Path,
    clock: Clock,
    new_practice: Callable[[Clinic], Practice],
) -> Iterator[House]:
    """A practice whose record is on that server."""
    settings = Settings(home=tmp_path, database_url=server_elsewhere.empty_database())
    with open_service(settings, clock=clock) as service:
        clinic = _clinic(service, clock)
        yield furnish(new_practice(clinic))
        clinic.check_record()


def _clinic(service: Service, clock: Clock) -> Clinic:
    home = service.settings.home
    return Clinic(service.clinic, service.database, home, service.keyring, service.log, clock)


def test_a_first_week_is_recorded_shown_and_proven(furnished: House) -> None:
    """Settings: any PostgreSQL from 15 on, by the URL of its owner: migrate, append, view, verify,
    rebuild to equal digests."""
    practice, clinic = furnished.practice, furnished.practice.clinic
    practice.worker.catch_up()
    where = f"/relationships/{furnished.relationship}"
    (rating,) = practice.shown(furnished.therapist, f"{where}/alliance")["items"]
    assert rating["items"]["value"] == [85, 91, 70, 80]
    (goal,) = practice.shown(furnished.client, f"{where}/goals")["items"]
    assert SECRET in str(goal)
    assert clinic.check_record().size == clinic.log.head_size()
    practice.worker.catch_up()
    store = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    rebuilt = rebuild(VIEWS.all(), clinic.log, store)
    store.close()
    assert all(one.comparison and one.comparison.equal for one in rebuilt)


def test_an_import_needs_no_more_than_that(furnished: House, folder: Path) -> None:
    """Rule 45: an import runs as the roles that an owner who is no superuser can make."""
    report = import_into(furnished.practice.clinic, folder)
    assert (report.faults, report.imported["SRS-3 ratings"]) == ([], 3)


def test_the_log_is_closed_to_the_roles_it_is_used_by(furnished: House) -> None:
    """R29, R35: without the clinic no rows, and never an UPDATE, DELETE or TRUNCATE."""
    clinic = furnished.practice.clinic
    count = "SELECT count(*) FROM rapport.entries"

    def counted(dsn: str) -> int:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(count.encode()).fetchone()
        assert row is not None
        return int(row[0])

    app = clinic.database.dsn("app")
    assert counted(app) == 0
    assert counted(pinned(app, uuid4())) == 0
    assert counted(pinned(app, clinic.id)) == clinic.log.head_size()
    for statement in (
        b"UPDATE rapport.entries SET topic = 'other'",
        b"DELETE FROM rapport.entries",
        b"TRUNCATE rapport.entries",
    ):
        for dsn in (pinned(app, clinic.id), clinic.database.dsn("owner")):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                psycopg.connect(dsn) as connection,
            ):
                connection.execute(statement)


def test_its_backup_comes_back(furnished: House, server_elsewhere: Server, tmp_path: Path) -> None:
    """Backup: by the programs of the server's own version, under an owner of another name."""
    clinic = furnished.practice.clinic
    manifest = backup.back_up(
        clinic.database.dsn("owner"),
        clinic.keyring,
        tmp_path / "heads",
        tmp_path / "backup",
        now=clinic.clock.now,
    )
    settings = Settings(home=tmp_path, database_url=server_elsewhere.empty_database())
    with open_database(settings) as restored:
        backup.restore_database(tmp_path / "backup", manifest, restored.dsn("owner"))
    with open_service(settings, clock=clinic.clock) as service:
        assert _clinic(service, clinic.clock).check_record().root == manifest.logs[0].head.root
        assert service.log.read_log(0, 1000) == clinic.log.read_log(0, 1000)
