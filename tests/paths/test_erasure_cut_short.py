"""An erasure that is killed at any point: before its entry nothing happened, after it the next
start carries it on, whoever starts."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from api.composition import open_service
from domain.erasure import destroyed_keys, erasure_stream
from domain.goal import ProposeGoal
from domain.person import Activity, Profession, RegisterPerson, RegisterPractitioner
from domain.process_note import WriteProcessNote
from domain.records import Author
from domain.relationship import OpenRelationship
from infra.certificate import checked
from infra.log_key import LogKey
from infra.postgres import EmbeddedPostgres
from infra.reach import Reach
from infra.settings import Settings
from projections.dossier import VIEWS
from tests.api.commandline import ROOT, rapport
from tests.paths.canaries import opened

BEFORE_ITS_ENTRY = (
    ("infra/verify.py", "verify", 400),
    ("infra/batch.py", "append_packed", 0),
)
AFTER_ITS_ENTRY = (
    ("api/opening.py", "destroy_again", 0),
    ("infra/cluster.py", "write_file", 0),
    ("infra/wrapped_keyring.py", "destroy_again", 12),
    ("infra/wrapped_keyring.py", "destroy_again", 30),
    ("api/worker.py", "_refold", 200),
    ("api/erasing.py", "certificate", 0),
)


@dataclass(frozen=True)
class Clinic:
    """A small clinic, its server kept running."""

    home: Path

    def client(self) -> tuple[UUID, UUID]:
        """A new client, and the relationship in which they said something."""
        person, relationship, therapist = uuid4(), uuid4(), uuid4()
        with open_service(Settings(home=self.home)) as service:
            for command in (
                RegisterPerson(person=person, full_name="Maria Beispiel"),
                RegisterPractitioner(
                    practitioner=therapist,
                    full_name="Dr. Jan Muster",
                    profession=Profession.THERAPIST,
                    scope=(Activity.THERAPY,),
                    valid_from=date(2020, 1, 1),
                ),
                OpenRelationship(
                    relationship=relationship,
                    clients=(person,),
                    therapists=(therapist,),
                    modality="systemic",
                    setting="outpatient",
                ),
                ProposeGoal(relationship=relationship, statement="To rest.", by=person),
                ProposeGoal(relationship=relationship, statement="To ask.", by=therapist),
                WriteProcessNote(relationship=relationship, text="I was impatient."),
            ):
                service.records.record(command, Author(therapist))
        return person, relationship

    def opening(self, relationship: UUID) -> list[str]:
        """What still opens of a relationship's record, after a start like any other."""
        with open_service(Settings(home=self.home)) as service:
            everything = opened(service.database, service.clinic, service.keyring)
            name = str(relationship)
            record = tuple(f"{kind}-{name} " for kind in ("relationship", "process", "supervision"))
            return [where for where, _ in everything if where.startswith(record)]


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    # Not under pytest's own folder: as root the server runs as another user, who must get there.
    with (
        tempfile.TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        patch.setenv("RAPPORT_HOME", str(home))
        with EmbeddedPostgres(home):
            assert rapport("migrate").status == 0
            yield Clinic(home)
            assert rapport("verify").status == 0


def killed(person: UUID, file: str, function: str, calls: int) -> None:
    """`rapport erase`, which dies there."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "tests.paths.erasure_child", file, function, str(calls)),
            *("erase", "--subject", str(person), "--basis", "legal_obligation"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL, ran


@pytest.mark.parametrize("point", BEFORE_ITS_ENTRY, ids=str)
def test_killed_before_its_entry_nothing_happened(
    clinic: Clinic, point: tuple[str, str, int]
) -> None:
    """Rule 9: no key goes that the log does not name; asked again, it is done."""
    person, relationship = clinic.client()
    before = clinic.opening(relationship)
    killed(person, *point)
    assert clinic.opening(relationship) == before
    assert before
    assert rapport("erasure", "certificate", str(person)).status == 1
    erase = ("erase", "--subject", str(person), "--basis", "legal_obligation")
    assert rapport(*erase).status == 0
    assert clinic.opening(relationship) == []


@pytest.mark.parametrize("point", AFTER_ITS_ENTRY, ids=str)
def test_killed_after_its_entry_the_next_start_carries_it_on(
    clinic: Clinic, point: tuple[str, str, int], tmp_path: Path
) -> None:
    """Rule 9, R25: any start destroys the keys before it serves; no row keeps what they sealed
    once the certificate is issued, and no worker runs."""
    person, relationship = clinic.client()
    assert rapport("rebuild").status == 0
    assert len(clinic.opening(relationship)) == 4
    killed(person, *point)
    assert clinic.opening(relationship) == []
    file = tmp_path / "erased.json"
    assert rapport("erasure", "certificate", str(person), file).status == 0
    with open_service(Settings(home=clinic.home)) as service:
        keys = destroyed_keys(service.log.history(erasure_stream(person)))
        assert keys <= service.keyring.destroyed(service.clinic)
        known = LogKey.of(service.keyring, service.clinic).verifiers
        assert checked(file.read_text(), known).keys == keys
        reach = Reach(service.database.dsn("app"), service.clinic)
        assert reach.rows_sealed_by([view.table for view in VIEWS.all()], keys) == {}
    assert "nothing of" in rapport("erase", "--subject", str(person), "--basis", "unlawful").err
