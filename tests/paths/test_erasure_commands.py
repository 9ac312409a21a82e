"""`rapport erase` and `rapport erasure` at the terminal: what they write, say and refuse."""

import json
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from infra.keyring import open_keyring
from infra.log_key import LogKey
from infra.postgres import EmbeddedPostgres
from tests.api.commandline import Ran, rapport

NAME = "Zq7Namenlos"


@dataclass(frozen=True)
class Clinic:
    """A record, its server kept running."""

    home: Path
    postgres: EmbeddedPostgres

    def person(self) -> str:
        """Somebody new, of whom nothing is kept but who they are."""
        person = str(uuid4())
        body = json.dumps({"person": person, "full_name": NAME})
        assert rapport("record", "register-person", "--body", body).status == 0
        return person

    @property
    def key(self) -> str:
        """The log's public key, as the clinic gives it to others."""
        clinic = rapport("clinic", "--format", "json").document["clinic"]
        with open_keyring(self.home / "keyring", first_use=False) as ring:
            return str(LogKey.of(ring, clinic).verifier)


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
        postgres = EmbeddedPostgres(home)
        with postgres:
            assert rapport("migrate").status == 0
            yield Clinic(home, postgres)
            assert rapport("verify").status == 0


def erase(person: str, *more: str | Path) -> Ran:
    return rapport("erase", "--subject", person, "--basis", "objected", *more, "--format", "json")


def test_the_certificate_is_kept_where_nobody_else_reads_it(clinic: Clinic) -> None:
    """R25: unless told another place, in the home; what it says is told by its path too."""
    person = clinic.person()
    dry = erase(person, "--dry-run").document
    assert (dry["erased"], dry["certificate"]) == (False, None)
    assert [(each["topic"], each["entries"]) for each in dry["entries"]] == [
        ("person.registered", 1)
    ]
    done = erase(person).document
    file = Path(done["certificate"])
    assert file.parent == clinic.home / "certificates"
    assert file.name == f"erasure-{person}-{done['position']}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert done["entries"] == dry["entries"]


def test_it_is_checked_without_a_record(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3, R25: by a stranger who has the file and the log's public key; a changed one is named."""
    person, file, page = clinic.person(), tmp_path / "erased.json", tmp_path / "erased.html"
    assert erase(person, "--certificate", file, "--html", page).status == 0
    assert rapport("erasure", "check", file).status == 0, "by the keyring of the record"
    key = clinic.key
    monkeypatch.setenv("RAPPORT_HOME", str(tmp_path / "nowhere"))
    found = rapport("erasure", "check", file, "--key", key)
    assert (found.status, found.out.strip().endswith("All of it holds.")) == (0, True), found.err
    assert not (tmp_path / "nowhere").exists()
    assert (
        rapport("erasure", "check", file, "--key", key, "--format", "json").document["subject"]
        == person
    )
    assert NAME not in found.out + file.read_text() + page.read_text()
    file.write_text(file.read_text().replace("objected", "unlawful"))
    changed = rapport("erasure", "check", file, "--key", key)
    assert (changed.status, "(not_authentic)" in changed.err) == (1, True)
    wrong = rapport("erasure", "check", file, "--key", "a key")
    assert (wrong.status, "no public key" in wrong.err) == (2, True)
    other = "rapport-record/log/0+" + key.partition("+")[2]
    assert rapport("erasure", "check", file, "--key", other).status == 2


def test_what_is_no_certificate_erases_nothing(clinic: Clinic, tmp_path: Path) -> None:
    """Rule 9: handed in after a restore, only what the log's own key signed is believed."""
    person, file = clinic.person(), tmp_path / "erased.json"
    assert erase(person, "--certificate", file).status == 0
    assert "erased, as the log says" in rapport("erasure", "again", file).out
    victim = clinic.person()
    file.write_text(file.read_text().replace(person, victim))
    forged = rapport("erasure", "again", file)
    assert (forged.status, "(not_authentic)" in forged.err) == (1, True)
    assert erase(victim, "--dry-run").document["keys"] == 1
    file.write_bytes(b"\xff\xfe")
    assert "(malformed)" in rapport("erasure", "again", file).err


def test_a_log_that_was_changed_is_told_and_nothing_goes(clinic: Clinic) -> None:
    """Rule 9, R3: a topic rewritten as superuser stops the erasure before its entry."""
    person = clinic.person()

    with psycopg.connect(clinic.postgres.superuser_dsn(), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # past the triggers
        change = "UPDATE rapport.entries SET topic = reverse(topic) WHERE position = 1"
        connection.execute(change)
        told = erase(person)
        connection.execute(change)
    assert (told.status, "Nothing was erased." in told.err) == (1, True)
    assert erase(person).document["erased"] is True


def test_nothing_is_certified_of_whom_nothing_was_erased(clinic: Clinic) -> None:
    """R25: neither of somebody who is here, nor of nobody."""
    for person in (clinic.person(), str(uuid4())):
        ran = rapport("erasure", "certificate", person)
        assert (ran.status, "was erased" in ran.err) == (1, True)
