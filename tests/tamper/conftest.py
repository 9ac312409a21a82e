"""Logs to be tampered with: many in one database, each with its outside."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict

from infra.clinics import found_clinic
from infra.keyring import open_keyring
from infra.postgres import Database, EmbeddedPostgres
from infra.witness import witnesses_of
from tests.infra.logs import acknowledged, open_log
from tests.infra.outside import serving
from tests.infra.witnessing import LocalWitness
from tests.tamper.forger import Forger
from tests.tamper.outside import Outside
from tests.tamper.record import commits

Written = tuple[Forger, Outside]


@pytest.fixture(scope="package")
def write(
    server: EmbeddedPostgres,
    new_database: Callable[[], Database],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Written]]:
    """Writes a log, keeps its first two commits as a dump would, and everything left the house."""
    database, home = new_database(), tmp_path_factory.mktemp("home")
    superuser = server.superuser_dsn(str(conninfo_to_dict(database.dsn("owner"))["dbname"]))
    local = LocalWitness(home / "witness.json", {})

    def written() -> Written:
        clinic = uuid4()
        found_clinic(database.dsn("owner"), clinic)
        suspect = Forger(clinic, superuser, database.dsn("read"), home, home / f"{clinic}.ring")
        receipts = []
        with (
            open_keyring(home / "keyring") as keyring,
            open_log(database.dsn("app"), clinic, home) as log,
        ):
            for number, receipt in enumerate(commits(log, keyring)):
                if number < 2:
                    path = home / f"{clinic}-{number}.tlog-proof"
                    path.write_text(receipt.entries[-1].proof)
                    receipts.append(path)
                if number == 1:
                    suspect.keep()
                    suspect.keep_ring()
            local.logs[log.key.origin] = log.key.verifier.public
            witness.add_checkpoint(0, (), log.checkpoint(), datetime.now(UTC))
        known = acknowledged(clinic, home)
        assert known is not None
        return suspect, Outside(known, tuple(receipts), witness)

    with serving(local.answer) as outsider:
        (witness,) = witnesses_of(f"{local.vkey} {outsider.url}/")
        yield written
