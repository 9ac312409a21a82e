"""A person is erased who gave something through every door there is: nothing of it opens any more.

A year in which every command is handed in, with a marker in every text about the client, and items
and a birth date that nothing else has. It is read, exported, backed up; then `rapport erase` runs
beside a server that knows it all. Afterwards everything is searched that somebody could take away
who has the machine, the database, the keyring *and* the master key: what they can open, and every
byte of every file. The same search finds the marker before the erasure, in the copy handed out,
and in what the backup can still open: so it would find it here too.
"""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from api.composition import Service, open_service
from api.verifier.command import verified
from api.worker import Worker
from domain.role import Role
from infra.certificate import checked
from infra.checkpoint import Checkpoint, VerifierKey
from infra.keyring import FileKeyring, open_keyring
from infra.log_key import LogKey
from infra.postgres import EmbeddedPostgres, open_database
from infra.proof import TlogProof, verify_inclusion
from infra.settings import Settings
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from tests.api.commandline import PROGRAM, ROOT, answer, rapport
from tests.api.conftest import HERE, Practice, Response, Somebody
from tests.api.everything import Year, tell_everything
from tests.conftest import Clinic, Clock
from tests.paths.canaries import (
    ANSWERS,
    BORN,
    CONTROL_MARK,
    CONTROLS,
    ITEMS,
    found,
    opened,
    spellings,
    spellings_of_numbers,
)

GONE = "Zq7Abschiedsvogel"
"""In every text about the client whom this is about, and nowhere else."""
SECRETS = {
    "a text": list(spellings(GONE)),
    "a birth date": list(spellings(BORN.isoformat())),
    "the items of a rating": list(spellings_of_numbers(ITEMS, ANSWERS)),
}
STAYS = b"Maria Beispiel"
"""The name of another client, whom nobody erases."""

_OF_THE_ACCOUNT = frozenset(
    {
        "break-glass", "disclose-record", "inform-recipient", "lift-legal-hold",
        "place-legal-hold", "review-access", "suspend-accounting",
    }
)  # fmt: skip
"""What is told of the record, not to it: it stays, and tells nothing that is to be forgotten."""
_NAMES_INSTITUTIONS = frozenset({"recipients", "discloser"})


@dataclass
class Confiding(Year):
    """A year in which the client's every text carries the marker."""

    def _send(self, who: Somebody, name: str, body: dict[str, Any]) -> Response:
        about = str(body.get("relationship", body.get("stream", "")))
        if name == "register-person" and body["person"] == self["client"]:
            body |= {
                "full_name": f"{GONE} name",
                "birth_date": BORN.isoformat(),
                "contact": f"{GONE} contact",
                "external_ids": [{"system": f"{GONE} system", "value": f"{GONE} number"}],
            }
        elif self["relationship"] in about and name not in _OF_THE_ACCOUNT:
            body = {key: _marked(key, value) for key, value in body.items()}
        if name == "rate-alliance":
            body = {**body, "answers": list(ANSWERS)}
        return super()._send(who, name, body)


def _marked(name: str, value: Any) -> Any:
    """Every text that somebody wrote, at any depth; ids, codes and times have no space in them."""
    match value:
        case str() if " " in value and GONE not in value and name not in _NAMES_INSTITUTIONS:
            return f"{GONE} {value}"
        case dict():
            return {key: _marked(key, each) for key, each in value.items()}
        case list():
            return [_marked(name, each) for each in value]
    return value


# --- The story ------------------------------------------------------------------------------


@dataclass
class Erased:
    """What there was before, what was said meanwhile, and where everything lies."""

    home: Path
    postgres: EmbeddedPostgres
    clinic: UUID
    ids: dict[str, str]
    doors: tuple[str, ...]
    opened_before: list[tuple[str, bytes]] = field(default_factory=list)
    keys: dict[UUID, tuple[bytes, bytes]] = field(default_factory=dict)
    """Of each key that was live: itself, and as the ring held it."""
    proofs: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    """Leaf hash and `.tlog-proof` of every entry, as given out before."""
    told: dict[str, Any] = field(default_factory=dict)
    """What `rapport erase` answered."""
    shown_before: list[str] = field(default_factory=list)
    shown_after: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def person(self) -> str:
        return self.ids["client"]

    def outside(self, name: str) -> Path:
        """A place that is not the home."""
        return self.home.parent / name

    def files(self) -> list[tuple[str, bytes]]:
        """Every file of the home, as it is after a checkpoint."""
        with psycopg.connect(self.postgres.superuser_dsn(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        paths = [path for path in sorted(self.home.rglob("*")) if path.is_file()]
        return [(str(path), path.read_bytes()) for path in paths]


@pytest.fixture(scope="module")
def story() -> Iterator[Erased]:
    # Not under pytest's own folder: as root the server runs as another user, who must get there.
    with (
        TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        patch.setenv("RAPPORT_HOME", str(home))
        postgres = EmbeddedPostgres(home)
        with postgres:
            with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET wal_compression = off")  # or nothing is found
                connection.execute("SELECT pg_reload_conf()")
            erased = confided(home, postgres)
            erase(erased)
            yield erased


def confided(home: Path, postgres: EmbeddedPostgres) -> Erased:
    """The year, told through the doors, read by the views; and all that was given out of it."""
    clock = Clock(datetime(2026, 3, 2, 9, 0, tzinfo=UTC))
    with open_service(Settings(home=home), clock=clock) as service, worked(service) as worker:
        assert isinstance(service.keyring, FileKeyring)
        clinic = Clinic(service.clinic, service.database, home, service.keyring, service.log, clock)
        app = create_app(service)
        client = TestClient(app, HERE, client=("127.0.0.1", 50_000))
        year = Confiding(Practice(clinic, service, client, worker))
        tell_everything(year)
        worker.catch_up()
        doors = read_doors(app, year["relationship"])
        erased = Erased(home, postgres, service.clinic, year.ids, doors)
        erased.opened_before = list(opened(service.database, service.clinic, service.keyring))
        erased.keys = live_keys(service)
        erased.proofs = {
            placed.position: (bytes.fromhex(placed.leaf_hash), placed.proof)
            for command in {each.command_id for each in service.log.read_log(0, 10_000)}
            if (receipt := service.log.receipt(command))
            for placed in receipt.entries
        }
    return erased


@contextmanager
def worked(service: Service) -> Iterator[Worker]:
    store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
    try:
        yield Worker(VIEWS.all(), service.log, store)
    finally:
        store.close()


def live_keys(service: Service) -> dict[UUID, tuple[bytes, bytes]]:
    with sqlite3.connect(service.settings.keyring / "keyring.db") as ring:
        rows = dict(ring.execute("SELECT key_id, wrapped FROM keys WHERE wrapped IS NOT NULL"))
    ring.close()
    keys = {UUID(key_id): wrapped for key_id, wrapped in rows.items()}
    return {
        key_id: (service.keyring.get(service.clinic, key_id) or b"", wrapped)
        for key_id, wrapped in keys.items()
    }


def erase(erased: Erased) -> None:
    """A backup, a copy and a server that has seen it all; then the erasure, and what is shown."""
    relationship = erased.ids["relationship"]
    assert rapport("backup", erased.outside("backup")).status == 0
    copy = ("export-dossier", relationship, erased.outside("copy.json"), "--purpose", "own access")
    assert rapport(*copy).status == 0
    bundle = ("export", relationship, "-o", erased.outside("case.zip"), "--purpose", "own access")
    assert rapport(*bundle).status == 0
    tokens = {role: token(role, erased.ids[name]) for role, name in READERS.items()}
    with serving(erased) as address:
        for role in READERS:
            erased.shown_before += [shown(address + path, tokens[role])[1] for path in erased.doors]
        ran = rapport(
            *("erase", "--subject", erased.person, "--basis", "legal_obligation"),
            *(
                "--certificate",
                erased.outside("erased.json"),
                "--html",
                erased.outside("erased.html"),
            ),
            *("--format", "json"),
        )
        assert ran.status == 0, ran.err
        erased.told = ran.document
        for role in READERS:
            for path in erased.doors:
                erased.shown_after[f"{role} {path}"] = shown(address + path, tokens[role])


READERS = {
    Role.THERAPIST: "therapist",
    Role.CLIENT: "client",
    Role.SUPERVISOR: "supervisor",
    Role.COMPLIANCE_OFFICER: "officer",
    Role.ADMINISTRATOR: "office",
}


def read_doors(app: FastAPI, relationship: str) -> tuple[str, ...]:
    """Every path that can be read of a relationship, or of all there are."""
    paths = (
        path.replace("{relationship}", relationship)
        for path, methods in app.openapi()["paths"].items()
        if "get" in methods and path.startswith("/api/")
    )
    return tuple(path for path in paths if "{" not in path)


def token(role: Role, person: str) -> str:
    ran = rapport("token", "create", "--role", role, "--principal", person, "--format", "json")
    assert ran.status == 0, ran.err
    return str(ran.document["token"])


@contextmanager
def serving(erased: Erased) -> Iterator[str]:
    """A server with a worker, as a process of its own; what it says goes to a file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with erased.outside("serve.log").open("wb") as log:
        process: subprocess.Popen[str] = subprocess.Popen(
            [*PROGRAM, "serve", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "RAPPORT_LOG_LEVEL": "debug"},
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            answer(f"http://127.0.0.1:{port}/health/live", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def shown(url: str, token: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  our own
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


# --- Before: the search finds what it looks for ---------------------------------------------


def test_the_search_finds_everything_before_the_erasure(story: Erased) -> None:
    """The control: whoever has the keys opens each of the secrets, in the log and in the views."""
    for secret, patterns in SECRETS.items():
        places = found(story.opened_before, patterns)
        assert places, secret
        assert (
            any(where.startswith("relationship-") for where in places) or secret == "a birth date"
        )
    texts = {where.split()[-1] for where in found(story.opened_before, SECRETS["a text"])}
    assert len(texts) > 40, "topics and views that hold one"
    assert {"person.registered", "note.written", "process_note.written", "goal.proposed"} <= texts
    assert any(GONE in page for page in story.shown_before)


def test_what_left_the_house_still_holds_it(story: Erased) -> None:
    """The control, and no promise: a copy is out of reach, and the certificate says so."""
    copy = story.outside("copy.json").read_bytes()
    assert found([("the copy", copy)], SECRETS["a text"]) == ["the copy"]
    issued = checked(story.outside("erased.json").read_text(), keys_of_log(story))
    exports = [one.id for one in issued.copies if one.kind == "export"]
    assert exports[0] == UUID(json.loads(copy)["export"])
    assert len(exports) == 2 + sum('"salt":' in page for page in story.shown_before)


# --- Afterwards -----------------------------------------------------------------------------


def test_nothing_of_the_person_opens_any_more(story: Erased) -> None:
    """Rule 9, R25: with database, keyring and master key in hand; others' content still opens."""
    nothing_opens(story.home)


def test_no_byte_of_any_file_tells_it(story: Erased) -> None:
    """R25, R27: data files, write-ahead log, server log, keyring, heads, certificates, our log."""
    with psycopg.connect(story.postgres.superuser_dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE control (text text)")
        connection.execute("INSERT INTO control VALUES (%s)", (CONTROL_MARK,))
    searched = [*story.files(), *outside(story, "serve.log", "erased.json", "erased.html")]
    places = {part for where, _ in searched for part in Path(where).parts}
    assert {"base", "pg_wal", "keyring", "heads", "serve.log"} <= places
    for secret, patterns in SECRETS.items():
        assert found(searched, patterns) == [], secret
    control = found(searched, CONTROLS["a text"])
    assert {"base", "pg_wal"} <= {part for where in control for part in Path(where).parts}


def test_the_keys_are_in_no_byte_of_any_file(story: Erased) -> None:
    """Rule 9: neither the key nor what wraps it; the ring's own file was overwritten in place."""
    issued = checked(story.outside("erased.json").read_text(), keys_of_log(story))
    assert issued.keys <= story.keys.keys()
    searched = story.files()
    for key_id, (key, wrapped) in story.keys.items():
        forms = [key, key.hex().encode(), wrapped, wrapped.hex().encode()]
        where = {Path(each).name for each in found(searched, forms)}
        assert where == (set() if key_id in issued.keys else {"keyring.db"}), key_id


def test_a_server_that_ran_on_shows_it_no_more(story: Erased) -> None:
    """Rule 9, R25: beside the erasure, through every door and role: no fault, and nothing of it."""
    assert len(story.shown_after) > 80
    statuses = {status for status, _ in story.shown_after.values()}
    assert statuses <= {200, 400, 403, 404, 422}, story.shown_after
    for where, (_, page) in story.shown_after.items():
        for secret, patterns in SECRETS.items():
            assert found([(where, page.encode())], patterns) == [], (where, secret)
    path = f"/api/v1/relationships/{story.ids['relationship']}/entries"
    status, page = story.shown_after[f"{Role.COMPLIANCE_OFFICER} {path}"]
    assert status == 200
    assert '"erased":true' in page.replace(" ", "")


def test_every_proof_that_was_given_out_still_holds(story: Erased) -> None:
    """R3, R25: each entry's proof in its old checkpoint, and that checkpoint in today's log."""
    keys = {key.name: key for key in keys_of_log(story)}
    assert len(story.proofs) > 150
    for position, (leaf, text) in story.proofs.items():
        proof = TlogProof.parse(text)
        origin = proof.checkpoint.partition("\n")[0]
        checkpoint = Checkpoint.verified(proof.checkpoint, keys[origin])
        verify_inclusion(leaf, position - 1, checkpoint.size, proof.path, checkpoint.root)
    with open_service(Settings(home=story.home)) as service:
        for entry in service.log.read_log(0, 10_000):
            if entry.position in story.proofs:
                stored = service.log.receipt(entry.command_id)
                assert stored is not None
                hashes = {each.position: each.leaf_hash for each in stored.entries}
                assert hashes[entry.position] == story.proofs[entry.position][0].hex()
    receipt = story.outside("receipt.tlog-proof")
    receipt.write_text(story.proofs[max(story.proofs)][1])
    assert rapport("verify", "--receipt", receipt).status == 0


def test_a_bundle_that_was_handed_out_still_verifies(story: Erased) -> None:
    """R3, R25: by the program for those who have nothing else; it holds what it held."""
    bundle = story.outside("case.zip").read_bytes()
    assert found([("the bundle", bundle)], SECRETS["a text"])
    verified(bundle, keys=keys_of_log(story))


# --- A backup from before -------------------------------------------------------------------


def restored(story: Erased, name: str, *, heads: bool) -> Path:
    """Database and keyring from before the erasure in a new home; `heads`: also what was kept
    beside them."""
    home = story.outside(name)
    (home / "keyring").mkdir(mode=0o700, parents=True)
    home.chmod(0o755)
    shutil.copy2(story.home / "keyring" / "master.key", home / "keyring")
    if heads:
        shutil.copytree(story.home / "heads", home / "heads")
    return home


def test_a_database_from_before_brings_nobody_back(
    story: Erased, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 9, R25: beside today's keyring the old entries and views stay shut."""
    home = restored(story, "database", heads=False)
    shutil.copy2(story.home / "keyring" / "keyring.db", home / "keyring")
    backup = shutil.copytree(story.outside("backup"), story.outside("backup of the database"))
    (backup / "keyring.db").unlink()
    monkeypatch.setenv("RAPPORT_HOME", str(home))
    with EmbeddedPostgres(home):
        assert rapport("restore", backup).status == 0
        nothing_opens(home)


def test_a_keyring_from_before_brings_nobody_back(story: Erased) -> None:
    """Rule 9, R25: it would open everything; the start that serves with it destroys first."""
    ring = story.home / "keyring" / "keyring.db"
    ring.unlink()
    shutil.copy2(story.outside("backup") / "keyring.db", ring)
    settings = Settings(home=story.home)
    with open_keyring(ring.parent, first_use=False) as older, open_database(settings) as database:
        everything = list(opened(database, story.clinic, older))
    assert found(everything, SECRETS["a text"]), "the control"
    nothing_opens(story.home)


def nothing_opens(home: Path) -> None:
    """Whoever starts there, and takes everything that can be opened then."""
    with open_service(Settings(home=home)) as service:
        opening = list(opened(service.database, service.clinic, service.keyring))
    for secret, patterns in SECRETS.items():
        assert found(opening, patterns) == [], secret
    assert found(opening, [STAYS])


def test_a_backup_from_before_brings_nobody_back(
    story: Erased, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 9, R25: log and keyring both forgot the erasure; the file beside the heads did not, and
    is heard before anything is served."""
    home = restored(story, "restored", heads=True)
    monkeypatch.setenv("RAPPORT_HOME", str(home))
    with EmbeddedPostgres(home):
        assert "acknowledged" in rapport("restore", story.outside("backup")).err
        assert rapport("restore", story.outside("backup"), "--accept-loss").status == 0
        nothing_opens(home)
        again = rapport("erasure", "again", story.outside("erased.json"))
        assert "noted at position" in again.out, again.err
        assert rapport("verify").status == 0


def test_with_nothing_but_a_backup_the_certificate_erases_again(
    story: Erased, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 9, R25: where the heads are lost too, nobody here can know: the control. Whoever kept
    the certificate hands it in, and the erasure stands in the log once more."""
    home = restored(story, "bare", heads=False)
    monkeypatch.setenv("RAPPORT_HOME", str(home))
    with EmbeddedPostgres(home):
        assert rapport("restore", story.outside("backup")).status == 0
        with open_service(Settings(home=home)) as service:
            opening = list(opened(service.database, service.clinic, service.keyring))
        assert found(opening, SECRETS["a text"]), "a backup of the keyring still opens it"
        again = rapport("erasure", "again", story.outside("erased.json"), "--format", "json")
        assert again.document["erased"][story.person] is not None
        nothing_opens(home)
        with open_service(Settings(home=home)) as service:
            keys = LogKey.of(service.keyring, service.clinic).verifiers
        anew = story.outside("anew.json")
        assert rapport("erasure", "certificate", story.person, anew).status == 0
        before = checked(story.outside("erased.json").read_text(), keys)
        assert checked(anew.read_text(), keys).keys == before.keys
        assert "All of it holds" in rapport("erasure", "check", anew).out


def keys_of_log(story: Erased) -> tuple[VerifierKey, ...]:
    with open_keyring(story.home / "keyring", first_use=False) as ring:
        return LogKey.of(ring, story.clinic).verifiers


def outside(story: Erased, *names: str) -> Iterator[tuple[str, bytes]]:
    for name in names:
        yield name, story.outside(name).read_bytes()
