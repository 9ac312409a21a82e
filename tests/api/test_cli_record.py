"""`rapport record` and `rapport read`: every command without a browser, by the same doors."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.access import DOORS
from api.routes.command import EXAMPLES
from domain.access import Role
from domain.topics import COMMANDS
from infra.postgres import EmbeddedPostgres
from tests.api.commandline import Ran, rapport

PUBLIC = [name for name in COMMANDS if name in DOORS]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """An empty record, its server kept running."""
    # Not under pytest's own folder: as root the server runs as another user, who must get there.
    with (
        tempfile.TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)
        place = Path(folder) / "home"
        patch.setenv("RAPPORT_HOME", str(place))
        with EmbeddedPostgres(place):
            assert rapport("migrate").status == 0
            yield place
            assert rapport("verify").status == 0


def record(name: str, body: object, *more: str) -> Ran:
    return rapport("record", name, "--body", json.dumps(body), "--format", "json", *more)


def recorded(name: str, body: object, *more: str) -> dict[str, Any]:
    """The receipt of a command that is accepted."""
    ran = record(name, body, *more)
    assert ran.status == 0, ran
    receipt: dict[str, Any] = ran.document
    return receipt


def coming_as(person: UUID, role: Role) -> tuple[str, ...]:
    return ("--as", str(person), "--role", role.value)


@pytest.fixture(scope="module")
def relationship(home: Path) -> tuple[UUID, UUID, UUID]:
    """A relationship that was opened by commands alone: its id, client and therapist."""
    id_, client, therapist = uuid4(), uuid4(), uuid4()
    recorded("register-person", {"person": str(client), "full_name": "Maria Beispiel"})
    registered = {
        "practitioner": str(therapist),
        "full_name": "Dr. Jan Muster",
        "profession": "therapist",
        "scope": ["therapy"],
        "valid_from": "2020-01-01",
    }
    recorded("register-practitioner", registered)
    opened = {
        "relationship": str(id_),
        "clients": [str(client)],
        "therapists": [str(therapist)],
        "modality": "systemic",
        "setting": "outpatient",
    }
    recorded("open-relationship", opened, *coming_as(therapist, Role.THERAPIST))
    return id_, client, therapist


# --- What there is ---------------------------------------------------------------------------


def test_every_command_is_listed_with_who_hands_it_in(home: Path) -> None:
    """R32: the list holds every public command, what it is for, and the roles of its door."""
    listed = {
        one["command"]: one
        for one in rapport("record", "--list", "--format", "json").document["commands"]
    }
    assert list(listed) == PUBLIC
    for name, one in listed.items():
        assert one["says"], name
        assert one["who"].keys() == {role.value for role in DOORS[name].who}
        assert set(one["required"]) <= set(one["fields"])
    text = rapport("record", "--list").out
    assert all(f"{name} " in text for name in PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_command_shows_an_example_that_fits(name: str) -> None:
    """R32: the body that `--example` shows is one that the command takes."""
    ran = rapport("record", name, "--example")
    assert ran.status == 0, ran
    COMMANDS[name].model_validate(ran.document)


def test_there_is_an_example_of_each_command_and_no_other() -> None:
    """R32: no example outlives its command; what only doors record has one too."""
    assert EXAMPLES.keys() == COMMANDS.keys()


# --- Recording -------------------------------------------------------------------------------


def test_a_command_is_answered_with_its_receipt(home: Path) -> None:
    """Rule 8: the same id again gives the same receipt, from a file or from the command line."""
    id_, body = str(uuid4()), {"person": str(uuid4()), "full_name": "Zoë Ångström"}
    first = recorded("register-person", body, "--id", id_)
    assert first["command_id"] == id_
    (entry,) = first["entries"]
    assert entry["stream"] == f"person-{body['person']}"
    file = home.parent / "body.json"
    file.write_text(json.dumps(body), encoding="utf-8")
    again = rapport("record", "register-person", "--file", file, "--id", id_, "--format", "json")
    assert again.document == first
    said = rapport("record", "register-person", "--body", '{"full_name": "Jo Muster"}').out
    assert "version 1, position" in said
    assert "root " in said


def test_a_stale_version_is_refused(relationship: tuple[UUID, UUID, UUID]) -> None:
    """Rule 8: only if the stream is at the version that one has read."""
    id_, _, therapist = relationship
    body = {"relationship": str(id_), "phase": "beginning", "by": str(therapist), "rationale": "x"}
    ran = record("declare-phase", body, "--version", "99", *coming_as(therapist, Role.THERAPIST))
    assert (ran.status, ran.document["code"], ran.document["rule"]) == (1, "stale-version", 8)


def test_a_person_comes_by_a_token_for_one_command(relationship: tuple[UUID, UUID, UUID]) -> None:
    """R31: what the operator records as a person is recorded as theirs, by a token that ends."""
    id_, _, therapist = relationship
    shown = rapport("read", str(id_), "--format", "json").document
    assert shown["items"][0]["actor"] == str(therapist)
    tokens = rapport("token", "list", "--format", "json").document["tokens"]
    made = [token for token in tokens if token["principal"] == str(therapist)]
    assert made
    assert all(token["revoked_at"] for token in tokens)


def test_the_doors_are_the_same_as_over_http(relationship: tuple[UUID, UUID, UUID]) -> None:
    """R35: a role that the table does not name, and a person out of reach, are turned away."""
    id_, client, _ = relationship
    paused = {"relationship": str(id_), "reason": "x", "initiated_by": "clinic"}
    denied = record("pause-relationship", paused, *coming_as(client, Role.CLIENT))
    assert (denied.status, denied.document["code"]) == (1, "not-admitted")
    stranger = record("pause-relationship", paused, *coming_as(uuid4(), Role.THERAPIST))
    assert (stranger.status, stranger.document["code"]) == (1, "out-of-reach")
    operator = record("pause-relationship", paused)
    assert (operator.status, operator.document["code"]) == (1, "not-admitted")
    read = rapport("read", str(id_), *coming_as(uuid4(), Role.CLIENT))
    assert (read.status, read.out) == (1, "")


def test_a_refusal_says_which_rule(relationship: tuple[UUID, UUID, UUID]) -> None:
    """Rule 12: the same problem document as over HTTP on stdout, the sentence on stderr."""
    id_, client, therapist = relationship
    held = {
        "relationship": str(id_),
        "present": [str(client), str(therapist)],
        "started_at": "2026-01-05T14:00:00+01:00",
        "ended_at": "2026-01-05T14:50:00+01:00",
        "late_reason": "Written down late.",
    }
    ran = record("hold-session", held, *coming_as(therapist, Role.THERAPIST))
    assert ran.status == 1
    problem = ran.document
    assert problem["type"] == f"urn:rapport:problem:{problem['code']}"
    assert problem["status"] == 409
    assert f"({problem['code']}; rule {problem['rule']})" in ran.err


def test_fields_that_do_not_fit_are_named_with_what_mends_them(home: Path) -> None:
    """API: the field by its place, what it was if that is a word, what would fit; no free text."""
    body = {"starts_at": "tomorrow", "medium": "pigeon", "ends_at": 5, "unheard": "Secret words."}
    ran = rapport("record", "schedule-session", "--body", json.dumps(body))
    assert (ran.status, ran.out) == (2, "")
    for part in (
        "/relationship: Field required",
        "/starts_at: ",
        "not 'tomorrow'",
        "not 'pigeon'",
        "'in_person', 'video'",
        "/unheard: Extra inputs are not permitted",
        "rapport record schedule-session --example",
    ):
        assert part in ran.err
    assert "Secret words" not in ran.err
    document = record("schedule-session", body).document
    assert (document["status"], document["code"]) == (422, "invalid")
    assert {"/relationship", "/medium"} <= {error["pointer"] for error in document["errors"]}


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        ((), 2, "Which command?"),
        (("hold-sesion",), 2, "Did you mean hold-session"),
        (("read-record",), 2, "There is no command 'read-record'"),
        (("register-person",), 2, "Give the command's body"),
        (("register-person", "--body", "{}", "--file", "x"), 2, "Give the command's body"),
        (("register-person", "--body", "{"), 1, "malformed-json"),
        (("register-person", "--body", '{"full_name":"a","full_name":"b"}'), 1, "a name twice"),
        (("register-person", "--body", "[]"), 2, "the body: "),
        (("register-person", "--file", "/nowhere.json"), 3, "/nowhere.json: No such file"),
        (("register-person", "--body", "{}", "--role", "client"), 2, "full_name"),
    ],
)
def test_what_is_used_wrongly_is_told(
    home: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    """Requirement: an error says what is wrong and what mends it, with its exit status."""
    ran = rapport("record", *arguments)
    assert ran.status == status, ran
    assert says in ran.err


# --- Reading ---------------------------------------------------------------------------------


def test_reading_tells_entries_word_for_word(relationship: tuple[UUID, UUID, UUID]) -> None:
    """Rule 41: within reach, with its purpose on record, as text and as the document of the API."""
    id_, client, therapist = relationship
    told = rapport("read", str(id_), "--purpose", "audit", *coming_as(client, Role.CLIENT))
    assert told.status == 0, told
    assert "relationship.opened" in told.out
    assert "modality: systemic" in told.out
    officer = rapport(
        "read", str(id_), *coming_as(uuid4(), Role.COMPLIANCE_OFFICER), "--format", "json"
    ).document
    assert all(entry["withheld"] for entry in officer["items"])
    assert "systemic" not in json.dumps(officer)
    access = rapport("replay", str(id_), "--format", "json")
    assert access.status == 0
    nothing = rapport("read", str(id_), "--known-at", "2020-01-01", "--format", "json").document
    assert nothing["items"] == []
    for what in ("ruptures", "analyses", "supervision", "process-notes"):
        assert rapport("read", str(id_), what, *coming_as(therapist, Role.THERAPIST)).status == 0
    assert rapport("read", str(id_), "holds").status == 0
    assert rapport("read", str(id_), "process-notes").status == 1, "not even the operator"
