"""The command line on a real record: what it answers, how it ends, what it never shows."""

import json
import os
import pty
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from os import close, read
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import typer

from api.cli import command_line, terminal
from domain.access import RecordRead, Role, access_stream
from infra.identity import NotAuthentic
from infra.keyring import open_keyring
from infra.log_key import LogKey
from infra.postgres import EmbeddedPostgres
from projections.dossier import VIEWS
from tests.api.commandline import PROGRAM, ROOT, Ran, rapport
from tests.api.test_cli_wording import PACK

RELATIONSHIP_IN_EXAMPLES = "5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55"


@dataclass(frozen=True)
class Record:
    """A home with a small demonstration in it, its server kept running."""

    home: Path
    postgres: EmbeddedPostgres

    @property
    def truth(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "demo/ground-truth.json").read_text())
        return found

    @property
    def relationship(self) -> str:
        return str(self.truth["relationships"][0]["relationship"])

    def as_superuser(self, *statements: str) -> None:
        """What a hostile administrator of the database might do."""
        with psycopg.connect(self.postgres.superuser_dsn(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture(scope="module")
def record() -> Iterator[Record]:
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
            assert rapport("demo", "--relationships", "2").status == 0
            yield Record(home, postgres)
            assert rapport("verify").status == 0


# --- Examples -------------------------------------------------------------------------------


def commands() -> dict[str, str]:
    """The help text of every command, by its words, in the order of the help."""
    return dict(_leaves(typer.main.get_command(command_line()), ()))


def _leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(words), command.help
        return
    for name, child in children.items():
        yield from _leaves(child, (*words, name))


def examples(help_text: str) -> list[str]:
    """The commands that a help text shows, continued lines joined."""
    shown = help_text.partition("Examples:")[2].replace("\\\n", " ")
    return [line.strip() for line in shown.splitlines() if line.strip()]


def test_every_command_has_examples() -> None:
    """Requirement: each command is documented with examples in its help."""
    found = commands()
    assert {"serve", "work", "verify", "keyring backup", "token create"} <= found.keys()
    for words, help_text in found.items():
        assert examples(help_text), words
        assert all(one.startswith(f"rapport {words}") for one in examples(help_text)), words


def test_the_help_says_of_each_command_what_the_command_says() -> None:
    """Requirement: what is listed without being loaded is what there is, in its own words."""

    def said(asked: str | None) -> dict[str, str]:
        group: Any = typer.main.get_command(command_line(asked))
        return {name: one.help.partition("\n\n")[0] for name, one in group.commands.items()}

    assert said("--help") == said(None)


@pytest.mark.parametrize(
    "words, status, shown",
    [
        (["--help"], 0, "rebuild"),
        ([], 2, "rebuild"),
        (["--version"], 0, "rapport "),
        (["scroe"], 2, "Did you mean 'score'"),
        (["--", "score", "--help"], 0, "--items"),
    ],
)
def test_what_needs_no_record_loads_nothing_of_it(
    words: list[str], status: int, shown: str
) -> None:
    """Requirement: what people type first is answered at once, and nothing asked for is missed."""
    program = "import sys; from api.cli.main import _called; from api.cli import terminal\n"
    program += "status = terminal.run(_called); print('psycopg' in sys.modules); sys.exit(status)"
    ran = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert ran.returncode == status
    assert shown in ran.stdout + ran.stderr
    assert ran.stdout.endswith("False\n")


def test_the_guide_shows_examples_that_run() -> None:
    """Requirement: docs are executed; the guide shows nothing but examples of the help."""
    known = {one for text in commands().values() for one in examples(text)}
    guide = (ROOT / "docs/guide/command-line.md").read_text(encoding="utf-8")
    shown = {line for line in guide.splitlines() if line.startswith("rapport ")}
    assert shown
    assert shown <= known
    listed = set(re.findall(r"^\| `([a-z-]+)`(?:, `([a-z-]+)`)? \|", guide, flags=re.MULTILINE))
    assert {name for pair in listed for name in pair if name} == {
        words.partition(" ")[0] for words in commands()
    }


STAYING_OR_SHOWN_ELSEWHERE = ("serve", "work", "backup", "restore", "demo")
ENDS_OTHERWISE = {
    "rapport keyring restore keys-monday.db": 3,  # a ring that holds keys asks for --merge
    "rapport keyring restore keys-monday.db --merge --master-key master.key.before-monday": 2,
    "rapport token revoke 0b0e2f6c-3a0c-4d0f-9a54-3f1c58b0a0c1": 1,  # nobody's token
    "rapport erase --subject 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --basis objected --dry-run": 1,
    "rapport erase --subject 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --basis unlawful": 1,
    "rapport erasure certificate 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55": 1,  # nothing was erased
    "rapport erasure certificate 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 again.json": 1,
    "rapport erasure check erased.json": 2,  # no such file
    "rapport erasure again erased.json": 2,
}


def test_the_examples_run(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: what the help shows works as it stands."""
    monkeypatch.chdir(tmp_path)
    _write_source(tmp_path)
    (tmp_path / "srs.de.toml").write_text(PACK, "utf-8")
    body = '{"full_name": "Maria Beispiel"}'
    answer = rapport("record", "register-person", "--body", body, "--format", "json")
    (tmp_path / "receipt.json").write_text(answer.out)
    (tmp_path / "entry-42.tlog-proof").write_text(answer.document["entries"][0]["proof"])
    therapist = str(uuid4())
    assert rapport("token", "create", "--role", "therapist", "--principal", therapist).status == 0
    known = {
        "rapport replay": record.relationship,
        "rapport read": record.relationship,
        "rapport export": record.relationship,
        "rapport token": therapist,
    }
    ended_otherwise = []
    for words, help_text in commands().items():
        if words in STAYING_OR_SHOWN_ELSEWHERE:
            continue
        for example in examples(help_text):
            line = example
            for start, real in known.items():
                if example.startswith(start):
                    line = example.replace(RELATIONSHIP_IN_EXAMPLES, real)
            ran = rapport(*_split(line)[1:])
            if ran.status != ENDS_OTHERWISE.get(example, 0):
                ended_otherwise.append((line, ran))
            elif "--format json" in line:
                assert isinstance(ran.document, dict), line
    assert not ended_otherwise


def _split(line: str) -> list[str]:
    return [bare or quoted for quoted, bare in re.findall(r"'([^']*)'|(\S+)", line)]


def _write_source(folder: Path) -> None:
    """The smallest source that can be imported, where the examples look for it."""
    (folder / "data").mkdir()
    (folder / "data" / "pairs.csv").write_text("pair,helper,helped\n1,ann,bob\n")
    (folder / "data" / "sessions.csv").write_text("pair,number\n1,1\n1,2\n")
    (folder / "mapping.toml").write_text(MAPPING)
    (folder / "person.json").write_text('{"full_name": "Maria Beispiel"}')
    (folder / "practitioner.json").write_text(PRACTITIONER)
    (folder / "scores.csv").write_text("case,before,after\n1,32.5,47.5\n2,40,\n")


PRACTITIONER = """
{"full_name": "Dr. Jan Muster", "profession": "therapist", "scope": ["therapy"],
 "valid_from": "2020-01-01"}
"""

MAPPING = """
format = "rapport-import/1"
[declaration]
origin = "a test"
licence = "CC0-1.0"
declared_by_name = "Somebody"
legal_basis = "Invented."
[time]
says = "One session a week."
first = 2025-01-06T08:00:00+00:00
[relationships]
file = "pairs.csv"
key = "pair"
therapist = "helper"
client = "helped"
modality = "none stated"
setting = "none stated"
[sessions]
file = "sessions.csv"
relationship = "pair"
number = "number"
"""


# --- verify ---------------------------------------------------------------------------------


def test_verify_names_the_first_entry_that_was_altered(record: Record) -> None:
    """R3: a byte changed as database superuser is found, and which entry it is."""
    alter = (
        "ALTER TABLE rapport.entries DISABLE TRIGGER ALL",
        "UPDATE rapport.entries SET ciphertext = set_byte(ciphertext, 20, "
        "get_byte(ciphertext, 20) # 1) WHERE position = 17",
        "ALTER TABLE rapport.entries ENABLE TRIGGER ALL",
    )
    record.as_superuser(*alter)
    told, written = rapport("verify"), rapport("verify", "--format", "json")
    record.as_superuser(*alter)
    assert told.status == written.status == terminal.Exit.FOUND
    assert told.out == ""
    assert "Entry 17: its column ciphertext differs" in told.err
    found = written.document
    assert (found["ok"], found["first"], found["column"]) == (False, 17, "ciphertext")
    assert rapport("verify").status == 0


def test_verify_finds_a_deleted_entry(record: Record) -> None:
    """R3: an entry deleted as database superuser is missed."""
    record.as_superuser(
        "ALTER TABLE rapport.entries DISABLE TRIGGER ALL",
        "CREATE TABLE public.kept AS SELECT * FROM rapport.entries WHERE position = 30",
        "DELETE FROM rapport.entries WHERE position = 30",
    )
    ran = rapport("verify", "--format", "json")
    record.as_superuser(
        "INSERT INTO rapport.entries SELECT * FROM public.kept",
        "DROP TABLE public.kept",
        "ALTER TABLE rapport.entries ENABLE TRIGGER ALL",
    )
    assert ran.status == 1
    assert (ran.document["code"], ran.document["first"]) == ("missing", 30)


def test_a_log_that_is_gone_as_a_whole_is_missed(record: Record) -> None:
    """R3: without its head a log must not pass for a new database, nor another be begun on it."""
    record.as_superuser(
        "ALTER TABLE rapport.heads DISABLE TRIGGER ALL",
        "CREATE TABLE public.kept AS SELECT * FROM rapport.heads",
        "DELETE FROM rapport.heads",
    )
    looked, begun = rapport("verify"), rapport("migrate")
    record.as_superuser(
        "INSERT INTO rapport.heads SELECT * FROM public.kept",
        "DROP TABLE public.kept",
        "ALTER TABLE rapport.heads ENABLE TRIGGER ALL",
    )
    assert looked.status == begun.status == terminal.Exit.FOUND
    assert f"The log of clinic {record.truth['clinic']} has 0 entries" in looked.err
    assert rapport("verify").status == 0


def test_verify_says_what_it_proved(record: Record) -> None:
    """R3: size and root of what was read and hashed again."""
    document = rapport("verify", "--format", "json").document
    clinic = rapport("clinic", "--format", "json").document
    assert document["ok"] is True
    assert document["clinic"] == clinic["clinic"] == record.truth["clinic"]
    assert {"size": document["size"], "root": document["root"]} == clinic["head"]
    assert clinic["acknowledged"] == clinic["head"]
    assert set(clinic["views"]) >= {"timeline", "caseload"}


def test_verify_holds_the_log_against_kept_receipts(record: Record, tmp_path: Path) -> None:
    """Receipts: the answer to a command, its proof, and a checkpoint, kept by whoever has them."""
    body = '{"full_name": "Maria Beispiel"}'
    answer = rapport("record", "register-person", "--body", body, "--format", "json").document
    kept = {
        "answer.json": json.dumps(answer),
        "entry.tlog-proof": answer["entries"][0]["proof"],
        "checkpoint": answer["checkpoint"],
    }
    options: list[str | Path] = []
    for name, text in kept.items():
        (tmp_path / name).write_text(text)
        options += ["--receipt", tmp_path / name]
    ran = rapport("verify", *options, "--format", "json")
    assert ran.status == 0
    assert {f"receipt {name}" for name in kept} <= {
        each["source"] for each in ran.document["trusted"]
    }
    with open_keyring(record.home / "keyring") as keyring:
        key = LogKey.of(keyring, UUID(record.truth["clinic"]))
    assert rapport("verify", *options, "--key", str(key.verifier)).status == 0
    promised = tmp_path / "promised"
    promised.write_text(str(key.sign(answer["tree_size"] + 5, bytes(32))))
    cut = rapport("verify", "--receipt", promised)
    assert cut.status == terminal.Exit.FOUND
    assert "are not in this log: receipt promised is for" in cut.err
    promised.write_text(str(key.sign(answer["tree_size"], bytes(32))))
    other = rapport("verify", "--receipt", promised)
    assert "are not those that receipt promised is for" in other.err


def test_verify_refuses_what_promises_nothing_of_this_log(record: Record, tmp_path: Path) -> None:
    """Receipts: another log's, an altered one, and none at all."""
    file, stranger = tmp_path / "kept", LogKey([bytes(32)])
    file.write_text(str(stranger.sign(1, bytes(32))))
    for options, said in (
        ((), "was not signed by this log"),
        (("--key", str(stranger.verifier)), "are not those that receipt kept is for"),
        (("--key", "nonsense"), "is no public key"),
    ):
        ran = rapport("verify", "--receipt", file, *options)
        assert ran.status in {terminal.Exit.FOUND, terminal.Exit.USAGE}
        assert said in ran.err
    file.write_text(file.read_text().replace("\n1\n", "\n2\n"))
    ran = rapport("verify", "--receipt", file, "--key", str(stranger.verifier))
    assert "it was altered" in ran.err
    assert "cannot be read" in rapport("verify", "--receipt", tmp_path / "nowhere").err


# --- replay ---------------------------------------------------------------------------------


def test_replay_is_recorded_before_it_is_shown(record: Record) -> None:
    """Architecture, idea 8: reading is an entry too, with who, in what capacity and why."""
    before = int(rapport("clinic", "--format", "json").document["head"]["size"])
    ran = rapport(
        "replay", record.relationship, "--known-at", "2026-01-01", "--purpose", "an inquiry"
    )
    assert ran.status == 0
    assert rapport("clinic", "--format", "json").document["head"]["size"] == before + 1
    entry = _last_reading(record)
    assert (entry.role, entry.purpose, entry.what) == (Role.SYSTEM, "an inquiry", "dossier")
    assert entry.known_at is not None
    assert entry.relationship == UUID(record.relationship)


def _last_reading(record: Record) -> RecordRead:
    from api.composition import open_service
    from infra.settings import load_settings

    with open_service(load_settings()) as service:
        history = service.log.history(access_stream(UUID(record.relationship)))
        assert isinstance(history[-1].event, RecordRead)
        return history[-1].event


def test_no_access_entry_no_data(record: Record) -> None:
    """Architecture, idea 8: where the reading cannot be recorded, nothing is shown."""
    record.as_superuser("REVOKE INSERT ON rapport.entries FROM rapport_app")
    ran = rapport("replay", record.relationship)
    record.as_superuser("GRANT INSERT ON rapport.entries TO rapport_app")
    assert ran.status == terminal.Exit.UNAVAILABLE
    assert ran.out == ""


def test_replay_knows_a_correction_from_when_it_was_made(record: Record) -> None:
    """Rule 5: as it was known before and after a correction of the same session."""
    planted = next(
        one
        for one in record.truth["planted"]
        if one["kind"] == "correction" and one["detail"] == "ended_at"
    )
    now = rapport("replay", planted["relationship"], "--format", "json").document
    line = next(one for one in now["timeline"] if one["version"] == planted["version"])
    corrected_at = line["recorded_at"]["value"]
    amended = line["amends"]["value"]

    def marks(known_at: str) -> list[int]:
        seen = rapport(
            "replay", planted["relationship"], "--known-at", known_at, "--format", "json"
        ).document
        found = next(one for one in seen["timeline"] if one["version"] == amended)
        return [cell["value"] for cell in found["corrected"]]

    before = corrected_at.replace("Z", "+00:00")
    earlier = re.sub(r"T\d\d", "T00", before)
    assert marks(before) == [planted["version"]]
    assert marks(earlier) == []


def test_an_officer_sees_structure_and_a_stranger_nothing(record: Record, tmp_path: Path) -> None:
    """Rule 41, R35: the command line uses the same table of doors as the API."""

    def token(role: str) -> Path:
        whose = ("--principal", str(uuid4()))
        made = rapport("token", "create", "--role", role, *whose, "--format", "json").document
        file = tmp_path / role
        file.write_text(made["token"])
        return file

    officer = rapport("replay", record.relationship, "--token-file", token("compliance_officer"))
    assert officer.status == 0
    assert "(withheld)" in officer.out
    assert "session.held" in officer.out
    client = record.truth["relationships"][0]["clients"][0]
    name = next(
        one["name"]
        for one in json.loads((record.home / "demo/personas.json").read_text())
        if one["principal"] == client
    )
    assert name not in officer.out
    assert name in rapport("replay", record.relationship).out
    stranger = rapport("replay", record.relationship, "--token-file", token("therapist"))
    assert (stranger.status, stranger.out) == (1, "")
    assert "out-of-reach" in stranger.err


@pytest.mark.parametrize("when", ["yesterday", "0000-01-01", "2026-13-01", "9999-12-31", "1e9"])
def test_a_time_that_is_none_is_told(record: Record, when: str) -> None:
    """Requirement: bad input is answered by what mends it."""
    ran = rapport("replay", record.relationship, "--known-at", when)
    assert ran.status == terminal.Exit.USAGE
    assert "--known-at" in ran.err


# --- rebuild --------------------------------------------------------------------------------


def test_views_rebuild_to_the_same(record: Record) -> None:
    """Rule 6: replaying all entries gives equal views, by digest."""
    rapport("rebuild")
    ran = rapport("rebuild", "--format", "json")
    assert ran.status == 0
    assert len(ran.document["views"]) == len(VIEWS.all())
    for view in ran.document["views"]:
        assert view["equal"] is True
        assert view["digest"] == view["digest_before"]


def test_processes_of_their_own_rebuild_the_same(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 6: so do processes that open log, keyring and tables by the settings of this one."""
    rapport("rebuild")
    monkeypatch.setattr("api.rebuilding._WORTH_IT", 0)
    ran = rapport("rebuild", "--afresh", "--format", "json")
    assert ran.status == 0, ran.err
    assert all(view["equal"] is True for view in ran.document["views"])


def test_a_view_that_was_tampered_with_is_told_and_mended(record: Record) -> None:
    """Rule 6: a row that the log does not give is found by the digest, and named."""
    rapport("rebuild")
    record.as_superuser(
        "UPDATE views.timeline_v1 SET clear = replace(clear, 'session.held', 'session.missed')",
        "DELETE FROM views.caseload_v2",
    )
    ran = rapport("rebuild", "--format", "json")
    assert ran.status == 1
    views = {view["view"]: view for view in ran.document["views"]}
    assert [name for name, view in views.items() if not view["equal"]] == ["timeline", "caseload"]
    assert views["timeline"]["unreadable"] is True
    assert views["caseload"]["differences"] >= len(record.truth["relationships"])
    assert rapport("rebuild").status == 0


# --- Tokens and keys ------------------------------------------------------------------------


def test_a_token_opens_until_it_is_revoked(record: Record) -> None:
    """R35: a revocation holds from the next request on; a token's secret is not kept."""
    from api.composition import open_service
    from infra.settings import load_settings

    made = rapport("token", "create", "--role", "administrator", "--format", "json").document
    with open_service(load_settings()) as service:
        who = service.tokens.authenticate(made["token"])
        assert (str(who.person), who.role) == (made["principal"], Role.ADMINISTRATOR)
        assert rapport("token", "revoke", made["id"]).status == 0
        with pytest.raises(NotAuthentic):
            service.tokens.authenticate(made["token"])
    listed = rapport("token", "list").out
    assert made["id"] in listed
    assert made["token"] not in listed
    assert rapport("token", "revoke", made["id"]).status == 1
    assert rapport("token", "revoke").status == terminal.Exit.USAGE


def test_a_keyring_is_backed_up_once_and_taken_back(record: Record, tmp_path: Path) -> None:
    """Architecture, idea 4: keys live apart from the database, and are backed up apart."""
    copy = tmp_path / "keys.db"
    assert rapport("keyring", "backup", copy).status == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert rapport("keyring", "backup", copy).status == terminal.Exit.UNAVAILABLE
    merged = rapport("keyring", "restore", copy, "--merge")
    assert "Took over 0 keys" in merged.err
    assert rapport("keyring", "verify", "--format", "json").document["missing"] == []


def test_a_lost_keyring_is_missed_and_restored(record: Record, tmp_path: Path) -> None:
    """Architecture, idea 4: a lost key is no erasure; a backup brings it back."""
    copy, ring = tmp_path / "keys.db", record.home / "keyring" / "keyring.db"
    assert rapport("keyring", "backup", copy).status == 0
    ring.rename(tmp_path / "lost.db")
    gone = rapport("keyring", "status")
    assert gone.status == terminal.Exit.UNAVAILABLE
    assert "restore a backup" in gone.err
    assert rapport("keyring", "restore", copy).status == 0
    assert rapport("keyring", "verify").status == 0


# --- import ---------------------------------------------------------------------------------


def test_faulty_rows_are_named_and_their_values_kept_apart(record: Record, tmp_path: Path) -> None:
    """Requirement: line, field, value and reason of each row that fails, in a file of mode 0600."""
    _write_source(tmp_path)
    (tmp_path / "data" / "sessions.csv").write_text("pair,number\n1,3\n1,seventeenth\n9,1\n")
    errors = tmp_path / "faulty.csv"
    ran = rapport(
        "import", tmp_path / "mapping.toml", tmp_path / "data",
        "--errors", errors, "--format", "json",
    )  # fmt: skip
    assert ran.status == 1
    assert [(one["line"], one["field"]) for one in ran.document["faults"]] == [
        (3, "number"),
        (4, "pair"),
    ]
    assert "seventeenth" not in ran.out + ran.err
    assert "seventeenth" in errors.read_text()
    assert stat.S_IMODE(errors.stat().st_mode) == 0o600


# --- How it ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        (("score", "SRS-3", "--items", "[85, 9, 7.2, 8]"), 1, "item 1: 85 is outside"),
        (("score", "SRS-3", "--items", "[8.5, 9, 7.2]"), 1, "has 4 items, not 3"),
        (("score", "nothing", "--items", "[1]"), 1, "There is no instrument"),
        (("score", "SRS-3", "--items", "[8.5"), 2, "--items is no JSON"),
        (("score", "SRS-3", "--items", "{}"), 2, "--items is no list"),
        (("score", "SRS-3", "--items", "[NaN, 1, 1, 1]"), 1, "item 1"),
        (("score", "SRS-3", "--items", "[1e999999999, 1, 1, 1]"), 1, "item 1"),
        (("score",), 2, "Missing argument"),
        (("replay", "no-uuid"), 2, "relationship"),
        (("replay", str(UUID(int=7))), 1, "There is no such record here"),
        (("rebuild", "nonsense"), 2, "There is no view"),
        (("import", "nowhere.toml", "."), 2, "nowhere.toml"),
        (("keyring", "restore", "nowhere.db"), 2, "There is no file"),
        (("token", "create", "--role", "emperor"), 2, "emperor"),
        (("token", "create", "--role", "therapist"), 2, "--principal"),
        (("conquer",), 2, "conquer"),
        (("demo", "--seed", "9"), 2, "name an empty RAPPORT_HOME"),
    ],
)
def test_errors_say_what_is_wrong(
    record: Record, arguments: tuple[str, ...], status: int, says: str
) -> None:
    """Requirement: clear errors on stderr, nothing on stdout, sensible exit codes."""
    ran = rapport(*arguments)
    assert (ran.status, ran.out) == (status, ""), ran.err
    assert says in " ".join(ran.err.replace("│", " ").split())


def test_what_cannot_be_reached_is_told_as_such(
    record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Requirement: exit status 3 where the database or the keyring is not available."""
    monkeypatch.setenv("RAPPORT_DATABASE_URL", "postgresql://u:secret@127.0.0.1:9/none")
    unreachable = rapport("verify")
    assert unreachable.status == terminal.Exit.UNAVAILABLE
    assert "secret" not in unreachable.err
    monkeypatch.setenv("RAPPORT_DATABASE_URL", "nonsense")
    assert rapport("verify").status == terminal.Exit.UNAVAILABLE
    monkeypatch.delenv("RAPPORT_DATABASE_URL")
    monkeypatch.setenv("RAPPORT_KEYRING_DIR", str(tmp_path / "nowhere"))
    assert rapport("keyring", "status").status == terminal.Exit.UNAVAILABLE
    assert rapport("replay", record.relationship).status == terminal.Exit.UNAVAILABLE


def test_looking_begins_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: a mistyped home is told, and nothing is made there."""
    home = tmp_path / "nowhere"
    monkeypatch.setenv("RAPPORT_HOME", str(home))
    for command in (("verify",), ("clinic",), ("rebuild",), ("replay", str(uuid4()))):
        ran = rapport(*command)
        assert ran.status == terminal.Exit.USAGE
        assert f"There is no record at {home}" in ran.err
    assert not home.exists()


def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: which variable, and what would do."""
    monkeypatch.setenv("RAPPORT_PORT", "none")
    ran = rapport("verify")
    assert ran.status == terminal.Exit.USAGE
    assert "RAPPORT_PORT" in ran.err


def test_a_fault_of_ours_is_kept_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requirement: never a traceback; the trace goes to a file of mode 0600."""
    monkeypatch.setenv("RAPPORT_HOME", str(tmp_path))

    def fault() -> None:
        raise RuntimeError("a patient's words")

    assert terminal.run(fault) == terminal.Exit.UNEXPECTED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "a patient's words" not in shown.err
    (trace,) = (tmp_path / "logs").iterdir()
    assert trace.stem.removeprefix("error-") in shown.err
    assert "a patient's words" in trace.read_text()
    assert stat.S_IMODE(trace.stat().st_mode) == 0o600


def test_an_interrupted_command_says_so_by_its_status() -> None:
    """Requirement: exit status 130 on Ctrl-C."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert terminal.run(interrupted) == terminal.Exit.INTERRUPTED


def test_bars_are_for_terminals(record: Record) -> None:
    """Requirement: progress bars on long work, and only where somebody watches."""
    assert rapport("verify").err == ""
    terminal_end, process_end = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "verify"], cwd=ROOT, stdout=subprocess.PIPE, stderr=process_end
    )
    out, _ = process.communicate(timeout=60)
    close(process_end)
    seen = read(terminal_end, 65_536).decode()
    close(terminal_end)
    assert process.returncode == 0
    assert "verified" in seen
    assert out.startswith(b"Nothing was changed")


def test_score_says_the_same_in_words_and_in_json() -> None:
    """Rule 28: a score is computed by a named key, and says which."""
    arguments = ("score", "SRS-3", "--items", "[8.5, 9, 7.2, 8]", "--perspective", "client")
    words: Ran = rapport(*arguments)
    document = rapport(*arguments, "--format", "json").document
    assert document["scales"]["total"]["value"] == "32.7"
    assert "32.7" in words.out
    assert document["key_hash"] in words.out
