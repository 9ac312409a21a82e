"""Backup and restore, tried: the record is written, its home is lost, and it is taken back.

The commands run as an operator runs them, on databases of the shared server; the last test does it
all once more with a database of its own, in processes of their own.
"""

import json
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from api.cli import terminal
from api.composition import Service, open_service
from domain.event import RecordedEvent
from domain.person import person_stream
from domain.records import Author
from infra import backup
from infra.acknowledged import LogDiverged
from infra.cluster import Binaries
from infra.keyring import open_keyring
from infra.postgres import ROLES, Database, EmbeddedPostgres
from infra.settings import load_settings
from tests.api.commandline import Ran, rapport, started
from tests.api.conftest import House, new_practice, practice
from tests.api.conftest import house as furnished
from tests.infra.logs import read

__all__ = ["furnished", "new_practice", "practice"]

OPERATOR = Author(UUID(int=7))


@dataclass(frozen=True)
class Place:
    """A home and a database: a machine on which the product is run."""

    home: Path
    database: Database
    patch: pytest.MonkeyPatch

    @contextmanager
    def _here(self) -> Iterator[None]:
        with self.patch.context() as patched:
            patched.setenv("RAPPORT_HOME", str(self.home))
            patched.setenv("RAPPORT_DATABASE_URL", self.database.dsn("owner"))
            for role in set(ROLES) - {"owner"}:
                patched.setenv(f"RAPPORT_DATABASE_URL_{role.upper()}", self.database.dsn(role))
            yield

    def run(self, *arguments: str | Path, binaries: Path | None = None) -> Ran:
        """Runs `rapport …` here."""
        with self._here(), self.patch.context() as patched:
            if binaries is not None:
                patched.setenv("RAPPORT_POSTGRES_BIN", str(binaries))
            return rapport(*arguments)

    def done(self, *arguments: str | Path) -> Ran:
        """Runs a command that succeeds."""
        said = self.run(*arguments)
        assert said.status == 0, said.err
        return said

    @contextmanager
    def service(self) -> Iterator[Service]:
        with self._here(), open_service(load_settings()) as service:
            yield service

    def append(self) -> int:
        """One more entry; its position."""
        with self.service() as service:
            return service.records.record(read(), OPERATOR).position

    def everything(self) -> Sequence[RecordedEvent]:
        """The whole log, opened."""
        with self.service() as service:
            return service.log.read_log(0, 10_000)

    def holds_nothing(self) -> bool:
        with psycopg.connect(self.database.dsn("owner")) as connection:
            row = connection.execute("SELECT to_regnamespace('rapport')").fetchone()
        return row == (None,)


NewPlace = Callable[..., Place]


@pytest.fixture
def new_place(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NewPlace]:
    """Makes machines on which nothing of the product ever was, but perhaps a master key."""
    names: list[str] = []

    def make(master_key_of: Place | None = None, home: Path | None = None) -> Place:
        names.append(f"restored_{len(names)}")
        new = home or tmp_path / names[-1]
        if master_key_of is not None:
            (new / "keyring").mkdir(mode=0o700, parents=True)
            shutil.copy2(master_key_of.home / "keyring" / "master.key", new / "keyring")
        return Place(new, server.create_database(names[-1]), monkeypatch)

    yield make
    for name in names:
        server.drop_database(name)


@pytest.fixture
def place(furnished: House, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine that holds a record: persons, consents, a session, a rating, a goal."""
    clinic = furnished.practice.clinic
    return Place(clinic.home, clinic.database, monkeypatch)


@pytest.fixture
def folder(place: Place, tmp_path: Path) -> Path:
    """A backup of it."""
    place.done("backup", tmp_path / "backup")
    return tmp_path / "backup"


# --- What is in it ------------------------------------------------------------------------------


def test_everything_comes_back(
    place: Place, furnished: House, tmp_path: Path, new_place: NewPlace
) -> None:
    """Backup: on an empty machine, with master.key put back, the same record stands again."""
    written = place.done("backup", tmp_path / "backup", "--format", "json").document
    restored = new_place(master_key_of=place)
    found = restored.done("restore", tmp_path / "backup", "--format", "json").document
    assert found["logs"] == written["logs"]
    assert [log["size"] for log in found["logs"]] == [place.everything()[-1].position]
    assert restored.everything() == place.everything()
    assert "Nothing was changed" in restored.done("verify").out
    assert all(view["equal"] for view in _rebuilt(restored))
    with restored.service() as service:
        (person,) = service.log.history(person_stream(furnished.client.person))
        assert getattr(person.event, "name", None) == "Maria Beispiel"
    assert restored.append() == place.everything()[-1].position + 1


def _rebuilt(place: Place) -> list[dict[str, Any]]:
    views: list[dict[str, Any]] = place.done("rebuild", "--format", "json").document["views"]
    assert views
    return views


def test_a_backup_is_for_its_owner_alone(folder: Path) -> None:
    """Backup: mode 0700 and 0600, whatever the umask."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("manifest.json", "database.dump", "keyring.db"), 0o600)


def test_the_master_key_is_never_in_it(place: Place, tmp_path: Path) -> None:
    """Backup: what opens it lies elsewhere, and the person who makes it is told so."""
    said = place.done("backup", tmp_path / "backup")
    assert f"{place.home / 'keyring' / 'master.key'} is not in it" in said.err
    key = (place.home / "keyring" / "master.key").read_text().split()[1]
    for path in (tmp_path / "backup").iterdir():
        content = path.read_bytes()
        assert key.encode() not in content
        assert bytes.fromhex(key) not in content


def test_views_are_left_out(folder: Path, furnished: House) -> None:
    """ARCHITECTURE: views are disposable; their tables and how far they had come stay behind."""
    furnished.practice.worker.catch_up()
    pg_restore = Binaries.of_wheel().program("pg_restore")
    listed = subprocess.run(
        [pg_restore, "--list", folder / "database.dump"], check=True, capture_output=True, text=True
    ).stdout
    assert "SCHEMA - views" in listed
    data = [line.split("TABLE DATA ")[1] for line in listed.splitlines() if "TABLE DATA" in line]
    assert {name.split()[1] for name in data if name.startswith("rapport")} == {
        "alarms", "batches", "checkpoints", "commands", "cosignatures", "entries", "heads",
        "migrations", "subtrees", "timestamps", "tokens", "witness_states",
    }  # fmt: skip
    assert " timeline_v1 " not in listed


def test_it_is_of_one_moment_while_others_write(
    place: Place, furnished: House, tmp_path: Path, new_place: NewPlace
) -> None:
    """Backup: beside writers it holds a whole log, with every key that its entries need."""
    stop, failed = threading.Event(), []

    def write() -> None:
        clinic = furnished.practice.clinic
        try:
            while not stop.is_set():
                clinic.records.record(read(about=UUID(int=clinic.log.head_size())), OPERATOR)
        except Exception as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        place.done("backup", tmp_path / "backup")
    finally:
        stop.set()
        writer.join()
    assert failed == []
    restored = new_place(master_key_of=place)
    (log,) = restored.done("restore", tmp_path / "backup", "--format", "json").document["logs"]
    assert log["size"] < place.everything()[-1].position
    assert restored.everything() == place.everything()[: log["size"]]


def test_a_partitioned_database_comes_back_too(
    tmp_path: Path, new_place: NewPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ARCHITECTURE, schema rules: what runs on partitions is backed up from partitions."""
    from infra.migrate import migrate

    place = new_place()
    migrate(place.database.dsn("owner"), partitions=3)
    place.append()
    place.done("backup", tmp_path / "backup")
    restored = new_place(master_key_of=place)
    restored.done("restore", tmp_path / "backup")
    assert restored.everything() == place.everything()
    assert restored.append() == 2


# --- Older than what was acknowledged ------------------------------------------------------------


def test_an_older_backup_is_not_restored_beside_a_newer_head(
    place: Place, folder: Path, new_place: NewPlace
) -> None:
    """R3: what was acknowledged is not silently rolled back; nothing is touched before it is
    said which positions would be lost."""
    before = place.everything()[-1].position
    place.append()
    last = place.append()
    rebuilt = new_place(home=place.home)
    said = rebuilt.run("restore", folder)
    assert said.status == terminal.Exit.FOUND
    assert f"positions {before + 1} to {last}" in said.err
    assert rebuilt.holds_nothing()


def test_a_loss_is_accepted_deliberately_and_leaves_a_trace(
    place: Place, folder: Path, new_place: NewPlace
) -> None:
    """Backup: --accept-loss says which positions are lost and keeps the larger head aside."""
    before = place.everything()[-1].position
    last = place.append()
    kept = (place.home / "heads" / _head_file(place)).read_bytes()
    rebuilt = new_place(home=place.home)
    said = rebuilt.done("restore", folder, "--accept-loss")
    assert f"Lost: positions {before + 1} to {last}" in said.err
    (aside,) = (place.home / "heads").glob("*.head.before-*")
    assert aside.read_bytes() == kept
    assert rebuilt.append() == last
    assert "Nothing was changed" in rebuilt.done("verify").out
    # The fixtures of the lost machine look at its heads once more.
    aside.replace(place.home / "heads" / _head_file(place))


def _head_file(place: Place) -> str:
    (head,) = (place.home / "heads").glob("*.head")
    return head.name


def test_a_log_that_was_rolled_back_by_other_means_takes_no_entry(
    place: Place, folder: Path, new_place: NewPlace
) -> None:
    """Idea 5: a database restored past us refuses to append, until the loss is accepted."""
    place.append()
    rolled_back = new_place(home=place.home)
    backup.restore_database(folder, backup.read_manifest(folder), rolled_back.database.dsn("owner"))
    with pytest.raises(LogDiverged, match=r"docs/operate/backup\.md"):
        rolled_back.append()
    assert rolled_back.run("verify").status == terminal.Exit.FOUND
    said = rolled_back.done("restore", "--accept-loss")
    assert "Lost: positions" in said.err
    rolled_back.append()
    again = rolled_back.run("restore", "--accept-loss")
    assert (again.status, "nothing to accept" in again.err) == (terminal.Exit.USAGE, True)
    (aside,) = (place.home / "heads").glob("*.head.before-*")
    aside.replace(place.home / "heads" / _head_file(place))


# --- Keys ---------------------------------------------------------------------------------------


def test_without_the_master_key_nothing_is_begun(folder: Path, new_place: NewPlace) -> None:
    """Backup: who has lost master.key is told what that means, and no new one is made."""
    empty = new_place()
    said = empty.run("restore", folder)
    assert said.status == terminal.Exit.UNAVAILABLE
    assert "No backup holds it, and no backup can be read without it" in said.err
    assert "If there is none left, nobody can read this record any more" in said.err
    assert empty.holds_nothing()
    assert not (empty.home / "keyring" / "master.key").exists()


def test_the_wrong_master_key_stands_in_nobodys_way(
    place: Place, folder: Path, new_place: NewPlace
) -> None:
    """Backup: another ring's master key is refused, and the right one is taken afterwards."""
    wrong = new_place()
    open_keyring(wrong.home / "keyring").close()
    (wrong.home / "keyring" / "keyring.db").unlink()
    said = wrong.run("restore", folder)
    assert (said.status, "not the one this keyring was made under" in said.err) == (3, True)
    assert wrong.holds_nothing()
    shutil.copy2(place.home / "keyring" / "master.key", wrong.home / "keyring")
    wrong.done("restore", folder)
    assert wrong.everything() == place.everything()


def test_who_was_erased_stays_erased(
    place: Place, folder: Path, furnished: House, new_place: NewPlace
) -> None:
    """Rule 9: a backup from before an erasure does not bring the person back."""
    clinic = furnished.practice.clinic
    stream = person_stream(furnished.client.person)
    clinic.keyring.destroy(clinic.id, clinic.log.history(stream)[0].key_id)
    rebuilt = new_place(home=place.home)
    rebuilt.done("restore", folder)
    with rebuilt.service() as service:
        assert "Erased" in repr(service.log.history(stream)[0].event)


def test_a_key_that_is_missing_is_missed(
    place: Place, folder: Path, furnished: House, tmp_path: Path, new_place: NewPlace
) -> None:
    """Keyring: entries whose key no ring holds are named; that must not pass for an erasure."""
    clinic = furnished.practice.clinic
    with open_keyring(tmp_path / "other") as other:
        other.key_for(clinic.id, "person-x", "joint")
    (folder / "keyring.db").unlink()
    lacking = new_place(master_key_of=place)
    assert lacking.run("restore", folder).status == terminal.Exit.UNAVAILABLE
    with open_keyring(lacking.home / "keyring", new_ring=True):
        said = lacking.run("restore", folder)
    assert (said.status, "keys that it names are not in the keyring" in said.err) == (1, True)
    lacking.run("keyring", "restore", place.home / "keyring" / "keyring.db", "--merge")
    lacking.done("keyring", "verify")


# --- What is refused ----------------------------------------------------------------------------


def test_nothing_is_restored_over_a_record(place: Place, folder: Path) -> None:
    """Backup: a database that holds a record is refused, and so is a folder that exists."""
    before = place.everything()
    said = place.run("restore", folder)
    assert (said.status, "holds a record already" in said.err) == (terminal.Exit.USAGE, True)
    assert place.run("backup", folder).status == terminal.Exit.USAGE
    assert place.everything() == before


def test_a_damaged_backup_is_told_before_anything_happens(
    place: Place, folder: Path, new_place: NewPlace
) -> None:
    """Backup: a dump that was cut short or changed, no manifest, one of another time."""
    empty = new_place(master_key_of=place)

    def refuses(words: str) -> None:
        said = empty.run("restore", folder)
        assert (said.status, words in said.err) == (terminal.Exit.FOUND, True), said.err
        assert empty.holds_nothing()

    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace("rapport-backup/1", "rapport-backup/2"))
    refuses("written by a newer version")
    migrations = f'"migrations": {json.loads(manifest)["migrations"]}'
    (folder / "manifest.json").write_text(manifest.replace(migrations, '"migrations": 9999'))
    refuses("is at migration 9999")
    version = f'"postgresql": {json.loads(manifest)["postgresql"]}'
    (folder / "manifest.json").write_text(manifest.replace(version, '"postgresql": 99'))
    refuses("made from PostgreSQL 99")
    (folder / "manifest.json").write_text(manifest)
    dump = (folder / "database.dump").read_bytes()
    (folder / "database.dump").write_bytes(dump[:-1])
    refuses("take another copy of it")
    (folder / "database.dump").write_bytes(dump[:-1] + bytes([dump[-1] ^ 1]))
    refuses("take another copy of it")
    (folder / "manifest.json").unlink()
    refuses("is no backup")


def test_a_backup_that_fails_leaves_nothing(place: Place, tmp_path: Path) -> None:
    """Backup: whole or not there; what is missing is named."""
    (tmp_path / "nothing").mkdir()
    said = place.run("backup", tmp_path / "backup", binaries=tmp_path / "nothing")
    assert said.status == terminal.Exit.UNAVAILABLE
    assert "set RAPPORT_POSTGRES_BIN" in said.err
    assert list(tmp_path.glob("backup*")) == []


def test_a_backup_of_a_log_that_lost_entries_says_so(
    place: Place, folder: Path, new_place: NewPlace, tmp_path: Path
) -> None:
    """R3: a backup of what was rolled back is made, and is not called a good one."""
    place.append()
    rolled_back = new_place(home=place.home)
    backup.restore_database(folder, backup.read_manifest(folder), rolled_back.database.dsn("owner"))
    said = rolled_back.run("backup", tmp_path / "later")
    assert (said.status, "Keep older backups" in said.err) == (terminal.Exit.FOUND, True)
    assert (tmp_path / "later" / "manifest.json").exists()


def test_the_password_is_on_no_command_line(place: Place, tmp_path: Path) -> None:
    """Security: whoever may list processes does not learn the owner's password."""
    binaries = tmp_path / "binaries"
    binaries.mkdir()
    pg_dump = binaries / "pg_dump"
    pg_dump.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/seen\n'
        f'exec {Binaries.of_wheel().program("pg_dump")} "$@"\n'
    )
    pg_dump.chmod(0o755)
    assert place.run("backup", tmp_path / "backup", binaries=binaries).status == 0
    password = conninfo_to_dict(place.database.dsn("owner"))["password"]
    seen = (tmp_path / "seen").read_text()
    assert "--snapshot" in seen
    assert str(password) not in seen


# --- Once more, with nothing shared ---------------------------------------------------------------


def test_a_home_that_is_gone_is_taken_back() -> None:
    """Backup: with the embedded database, from one home into another, command by command."""
    with tempfile.TemporaryDirectory(prefix="rapport-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        lost, found = folder / "lost", folder / "found"
        _rapport(lost, "migrate")
        _rapport(lost, "backup", str(folder / "backup"))
        master = (lost / "keyring" / "master.key").read_bytes()
        shutil.rmtree(lost)
        (found / "keyring").mkdir(mode=0o700, parents=True)
        (found / "keyring" / "master.key").write_bytes(master)
        (found / "keyring" / "master.key").chmod(0o600)
        restored = json.loads(_rapport(found, "restore", str(folder / "backup"), "--format=json"))
        assert [log["size"] for log in restored["logs"]] == [0]


def _rapport(home: Path, *arguments: str) -> str:
    process = started(*arguments, RAPPORT_HOME=str(home))
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out
