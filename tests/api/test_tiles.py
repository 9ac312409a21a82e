"""The log through its doors: read by somebody who knows the specifications alone, from a service
that really runs; and who may not, and what is not given out."""

import gzip
import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.app import create_app
from api.composition import open_service
from api.worker import Worker
from domain.access import RecordRead, Role, access_stream
from domain.records import Author, Proposal
from infra.checkpoint import ED25519, Checkpoint, NoteSigner
from infra.checkpoint_store import CheckpointStore, Cosigned, KeptCheckpoint
from infra.clinics import pinned
from infra.postgres import EmbeddedPostgres
from infra.settings import Settings
from infra.tiles import SubtreeFiller
from infra.view_store import ViewStore
from tests.api import tile_reader
from tests.api.commandline import answer, rapport, running
from tests.api.conftest import HERE, Practice, Response
from tests.api.test_cli_serving import free_port
from tests.conftest import Clinic
from tests.infra.logs import read

LOG = "rapport-record/log/"

# --- A stranger and a running service -------------------------------------------------------


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with a demonstration of some hundred entries."""
    # Not under pytest's own folder: as root the server runs as another user, who must get there.
    with (
        tempfile.TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)
        patch.setenv("RAPPORT_HOME", str(Path(folder) / "home"))
        with EmbeddedPostgres(Path(folder) / "home"):
            assert rapport("demo", "--relationships", "2").status == 0
            yield Path(folder) / "home"


@contextmanager
def served(token: str = "", **environment: str) -> Iterator[tuple[str, tile_reader.Fetch]]:
    """The address of a service, and who fetches from below an address, with a token or without."""
    port = str(free_port())
    address = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def fetch(path: str) -> bytes:
        request = urllib.request.Request(f"{address}/{path}", headers=headers)  # noqa: S310  ours
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
            found: bytes = response.read()
            return found

    with running("serve", "--port", port, **environment) as server:
        answer(f"{address}/health/live", server)
        yield address, fetch


def test_a_stranger_verifies_the_log_that_is_served(home: Path) -> None:
    """Tiles: with the key alone, from signature to every leaf, and every entry for who may."""
    vkey = rapport("log", "key").out.strip()
    log_id = json.loads(rapport("log", "key", "--format", "json").out)["log_id"]
    token = rapport("token", "create", "--role", "compliance_officer", "--format", "json").document
    with served(token["token"], RAPPORT_SERVE_LOG="true") as (_, fetch):
        head = tile_reader.opened(fetch(f"log/{log_id}/checkpoint").decode(), vkey)
        assert head.origin == f"rapport-record/log/{log_id}"
        assert head.size > 512
        leaves = tile_reader.leaves_of(lambda path: fetch(f"log/{log_id}/{path}"), head)
        entries = tile_reader.entries_of(lambda path: fetch(f"log/{log_id}/{path}"), head)
        proof = fetch("api/v1/log/entries/300/proof").decode()
    assert len(leaves) == len(entries) == head.size
    told = [json.loads(entry) for entry in entries]
    assert [entry["position"] for entry in told] == list(range(1, head.size + 1))
    assert tile_reader.proven(proof, leaves[299], vkey) == 299


# --- A folder and its key -------------------------------------------------------------------


def test_an_exported_folder_is_checked_where_there_is_no_record(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline: `log check` needs folder and key; a stranger reads the same files."""
    folder, key, monday = tmp_path / "tiles", tmp_path / "log.vkey", tmp_path / "monday"
    assert rapport("log", "key", "-o", key).status == 0
    assert rapport("log", "checkpoint", "-o", monday).status == 0
    assert rapport("log", "export", folder, "--entries").status == 0
    vkey = key.read_text().strip()
    before = tile_reader.opened(monday.read_text(), vkey)
    head = tile_reader.opened((folder / "checkpoint").read_text(), vkey)
    assert head.size == before.size + 1, "that entries were read is an entry"
    tile_reader.entries_of(lambda path: (folder / path).read_bytes(), head)

    monkeypatch.setenv("RAPPORT_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("RAPPORT_PORT", "no port")
    told = rapport("log", "check", folder, "--key", vkey, "--against", monday, "--format", "json")
    assert told.document == {
        "ok": True,
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "entries": True,
        "against": before.size,
    }
    assert (
        f"continues the {before.size} entries"
        in rapport("log", "check", folder, "--key", key, "--against", monday).out
    )


def test_a_folder_that_was_changed_is_told_with_its_file(home: Path, tmp_path: Path) -> None:
    """Offline: exit status 1 and the first file that does not fit; 2 for what is no key."""
    folder, key = tmp_path / "tiles", tmp_path / "log.vkey"
    assert rapport("log", "key", "-o", key).status == 0
    assert rapport("log", "export", folder).status == 0
    tile = bytearray((folder / "tile/0/001").read_bytes())
    tile[77] ^= 4
    (folder / "tile/0/001").write_bytes(tile)
    ran = rapport("log", "check", folder, "--key", key)
    assert (ran.status, "tile/0/001 does not fit" in ran.err) == (1, True)
    ran = rapport("log", "check", folder, "--key", key, "--format", "json")
    assert (ran.status, ran.document["file"]) == (1, "tile/0/001")
    other = str(NoteSigner(LOG + "another", bytes(32)).verifier)
    assert rapport("log", "check", folder, "--key", other).status == 1
    shutil.rmtree(folder / "tile")
    assert "tile/1/000.p" in rapport("log", "check", folder, "--key", key).err
    for text in ("", "nobody+00000000+AAAA", str(tmp_path / "no-file"), str(folder)):
        assert rapport("log", "check", folder, "--key", text).status == 2
    (tmp_path / "other").write_text("no checkpoint")
    assert (
        rapport("log", "check", folder, "--key", key, "--against", tmp_path / "other").status == 2
    )


def test_proofs_on_the_command_line(home: Path, tmp_path: Path) -> None:
    """tlog-proof: written byte for byte; consistency of any two sizes; nothing past the end."""
    vkey = rapport("log", "key").out.strip()
    file = tmp_path / "entry.tlog-proof"
    assert rapport("log", "proof", "9", "-o", file).status == 0
    assert rapport("log", "proof", "9", "--format", "json").document["proof"] == file.read_text()
    folder = tmp_path / "tiles"
    assert rapport("log", "export", folder).status == 0
    ninth = (folder / "tile/0/000").read_bytes()[8 * 32 : 9 * 32]
    assert tile_reader.proven(file.read_text(), ninth, vkey) == 8
    told = rapport("log", "consistency", "256", "512", "--format", "json").document
    above = (folder / "tile/1" / "000.p").glob("*")
    hashes = next(above).read_bytes()
    assert told["old_root"] == hashes[:32].hex()
    assert told["path"] == [hashes[32:64].hex()]
    assert told["new_root"] == tile_reader.node(hashes[:32], hashes[32:64]).hex()
    assert rapport("log", "proof", "999999").status == 1
    assert rapport("log", "consistency", "9", "8").status == 1
    assert rapport("log", "consistency", "0", "999999").status == 1


# --- At the doors ---------------------------------------------------------------------------


@dataclass
class Open:
    """A practice whose log is served."""

    practice: Practice
    client: TestClient

    @property
    def name(self) -> str:
        return self.practice.clinic.log.key.log_id

    @property
    def vkey(self) -> str:
        return str(self.practice.clinic.log.key.verifier)

    def get(self, path: str, **headers: str) -> Response:
        return self.client.get(f"/log/{self.name}/{path}", headers=headers)

    def head(self) -> tile_reader.Head:
        return tile_reader.opened(self.get("checkpoint").text, self.vkey)

    def grow(self, entries: int) -> None:
        for _ in range(entries):
            self.practice.clinic.record(read())


@pytest.fixture
def open_(practice: Practice) -> Open:
    settings = Settings(home=practice.clinic.home, serve_log=True)
    app = create_app(replace(practice.service, settings=settings))
    return Open(practice, TestClient(app, HERE, client=("192.0.2.7", 50_000)))


def test_a_log_that_is_not_served_is_as_if_it_were_not_there(open_: Open) -> None:
    """Served only when configured, under its own name alone: each time the very same 404."""
    practice = open_.practice
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    missing = practice.client.get("/no-such-path").json()
    wrong = open_.name[:-1] + ("0" if open_.name[-1] != "0" else "1")
    for path in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"):
        for headers in ({}, officer.headers):
            for client, name in (
                (practice.client, open_.name),
                (practice.client, wrong),
                (open_.client, wrong),
                (open_.client, "é"),
                (open_.client, ""),
            ):
                answer = client.get(f"/log/{name}/{path}", headers=headers)
                assert answer.status_code == 404
                told = answer.json()
                assert told | {"request_id": missing["request_id"]} == missing
    assert practice.clinic.log.history(access_stream(practice.clinic.id)).version == 0


def test_answers_are_kept_as_long_as_they_hold(open_: Open) -> None:
    """tlog-tiles: content types; tiles for ever, the checkpoint never, entries by nobody."""
    open_.grow(3)
    checkpoint, tile = open_.get("checkpoint"), open_.get("tile/0/000.p/3")
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-cache"
    assert tile.headers["content-type"] == "application/octet-stream"
    assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
    officer = open_.practice.somebody(Role.COMPLIANCE_OFFICER)
    bundle = open_.get("tile/entries/000.p/3", **officer.headers)
    assert bundle.headers["content-type"] == "application/octet-stream"
    assert bundle.headers["cache-control"] == "no-store"
    assert bundle.headers["vary"] == "Accept-Encoding"


def test_only_what_the_checkpoint_reaches_is_given_out(open_: Open) -> None:
    """tlog-tiles: partial tiles up to the signed size, none beyond it, and one spelling of each."""
    open_.grow(258)
    whole = open_.get("tile/0/000")
    assert len(whole.content) == 8_192
    assert open_.get("tile/0/000.p/7").content == whole.content[: 7 * 32]
    assert open_.get("tile/0/001.p/2").status_code == 200
    assert len(open_.get("tile/1/000.p/1").content) == 32
    missing = (
        "tile/0/001.p/3", "tile/0/001", "tile/0/002.p/1", "tile/1/000.p/2", "tile/1/000",
        "tile/2/000.p/1", "tile/63/000", "tile/64/000", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/0", "tile/0/x000/000", "tile/0/000/", "tile/00/000", "tile/data/000", "tile/0",
        "tile/entries%2f000", "tile//0/000", "tile/0/x999/x999/x999/x999/x999/999",
    )  # fmt: skip
    for path in missing:
        assert open_.get(path).status_code in (401, 404), path
    officer = open_.practice.somebody(Role.COMPLIANCE_OFFICER)
    for path in ("tile/entries/009", "tile/entries/0", "tile/entries/000.p/256"):
        assert open_.get(path, **officer.headers).status_code == 404, path


def test_entries_are_for_compliance_and_each_reading_is_recorded(open_: Open) -> None:
    """R36, access table: no token, another role, the officer; the reading is an entry first."""
    open_.grow(5)
    practice = open_.practice
    path = "tile/entries/000.p/5"
    assert open_.get(path).json()["code"] == "not-authenticated"
    therapist = practice.somebody(Role.THERAPIST)
    assert open_.get(path, **therapist.headers).json()["code"] == "not-admitted"
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    plain = open_.get(path, **officer.headers, **{"Accept-Encoding": "identity"})
    packed = open_.get(path, **officer.headers, **{"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content
    assert len(gzip.compress(plain.content)) < len(plain.content)
    reads = practice.clinic.log.history(access_stream(practice.clinic.id)).of(RecordRead)
    assert [told.what for _, told in reads][-2:] == ["log-entries"] * 2


def test_one_head_is_published_until_the_next_is_kept(open_: Open) -> None:
    """Coherence: the newest checkpoint that was kept, cosigned, and no tile past it."""
    open_.grow(10)
    clinic = open_.practice.clinic
    note = clinic.log.checkpoint()
    origin, at = clinic.log.key.origin, datetime(2026, 3, 2, tzinfo=UTC)
    store = CheckpointStore(clinic.log.datastore)
    assert store.keep(origin, KeptCheckpoint(10, note, at))
    witness = NoteSigner("witness.example", bytes(32))
    assert witness.verifier.algorithm == ED25519
    line = str(witness.sign(note.partition("\n\n")[0] + "\n").signatures[0])
    store.cosign(origin, Cosigned(str(witness.verifier), 10, f"{line}\n", at), at)
    open_.grow(5)
    assert open_.get("checkpoint").text == note + f"{line}\n"
    assert open_.head().size == 10
    assert open_.get("tile/0/000.p/10").status_code == 200
    assert open_.get("tile/0/000.p/11").status_code == 404
    officer = open_.practice.somebody(Role.COMPLIANCE_OFFICER)
    proof = open_.practice.get(officer, "/log/entries/4/proof").text
    assert proof.endswith(note + f"{line}\n")
    newer = open_.practice.get(officer, "/log/entries/12/proof").text
    assert Checkpoint.parse(newer.split("\n\n")[1] + "\n").size > 12


def test_whoever_keeps_the_views_keeps_the_hashes_of_full_tiles(open_: Open) -> None:
    """Derived data: the worker fills it behind the appends, once, as its own role."""
    open_.grow(520)
    clinic = open_.practice.clinic
    filler = SubtreeFiller(clinic.database.dsn("views"), clinic.id)
    store = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    try:
        Worker([], clinic.log, store, subtrees=filler).catch_up()
    finally:
        store.close()
    query = b"SELECT level, index FROM rapport.subtrees ORDER BY level, index"
    with psycopg.connect(pinned(clinic.database.dsn("read"), clinic.id)) as connection:
        assert connection.execute(query).fetchall() == [(1, 0), (1, 1)]
    assert SubtreeFiller(clinic.database.dsn("views"), clinic.id).fill_all() == 0


def test_a_start_keeps_the_hashes_that_the_next_one_begins_from(clinic: Clinic) -> None:
    """Derived data: where no worker is, after an import, one start hashes the whole log, not
    each."""
    settings = Settings(
        home=clinic.home,
        database_url=SecretStr(clinic.database.dsn("owner")),
        database_url_views=SecretStr(clinic.database.dsn("views")),
        database_url_app=SecretStr(clinic.database.dsn("app")),
        clinic=clinic.id,
    )
    with open_service(settings) as service:
        service.records.record_all([Proposal(read(), Author(uuid4())) for _ in range(300)])
    with open_service(settings):
        query = b"SELECT level, index FROM rapport.subtrees"
        with psycopg.connect(pinned(clinic.database.dsn("read"), clinic.id)) as connection:
            assert connection.execute(query).fetchall() == [(1, 0)]


def test_proofs_have_a_door(open_: Open) -> None:
    """Proofs: any entry, any two sizes; what there is not is 404, what is no number 422."""
    open_.grow(9)
    practice = open_.practice
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    text = practice.get(officer, "/log/entries/9/proof").text
    ninth = open_.get("tile/0/000.p/9").content[8 * 32 :]
    assert tile_reader.proven(text, ninth, open_.vkey) == 8
    told = practice.shown(officer, "/log/consistency", old=3, new=7)
    leaves = tile_reader.hashes_in(open_.get("tile/0/000.p/7").content, 7)
    assert told["old_root"] == tile_reader.tree(leaves[:3]).hex()
    assert told["new_root"] == tile_reader.tree(leaves).hex()
    assert told["path"] == [
        each.hex()
        for each in (
            leaves[2], leaves[3], tile_reader.tree(leaves[:2]), tile_reader.tree(leaves[4:]),
        )
    ]  # fmt: skip
    sizes = {"old": 3, "new": 999}
    assert practice.get(officer, "/log/entries/999/proof").status_code == 404
    assert practice.get(officer, "/log/consistency", **sizes).status_code == 404
    assert practice.get(officer, "/log/consistency", old=3).status_code == 422
    for position in ("0", "x", "9007199254740992"):
        assert practice.get(officer, f"/log/entries/{position}/proof").status_code == 422


@pytest.mark.parametrize(
    "table, column, where, code",
    [
        ("subtrees", "hash", "level = 1", "damaged"),
        # Before a tile is looked at: no head of such a log is signed.
        ("entries", "leaf_input", "position = 290", "record-unavailable"),
    ],
)
def test_nothing_that_was_changed_leaves_the_house(
    open_: Open, server: EmbeddedPostgres, table: str, column: str, where: str, code: str
) -> None:
    """The database is the suspect: a changed hash or entry is an error, not another answer."""
    open_.grow(300)
    clinic = open_.practice.clinic
    assert SubtreeFiller(clinic.database.dsn("views"), clinic.id).fill(300) == 1
    name = str(conninfo_to_dict(clinic.database.dsn("owner"))["dbname"])
    update = f"UPDATE rapport.{table} SET {column} = %s WHERE {where}"  # noqa: S608  from above
    kept = f"SELECT {column} FROM rapport.{table} WHERE {where}"  # noqa: S608  from above
    with psycopg.connect(server.superuser_dsn(name), autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        (value,) = superuser.execute(kept.encode()).fetchone() or (b"",)
        assert superuser.execute(update.encode(), (bytes(32),)).rowcount == 1
        try:
            found = open_.get("tile/0/001.p/44")
            assert found.json()["code"] == code
            assert found.headers["cache-control"] == "no-store"
        finally:
            superuser.execute(update.encode(), (value,))
    assert len(open_.get("tile/0/001.p/44").content) == 44 * 32
