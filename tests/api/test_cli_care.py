"""Roles and erasure at the command line, on a record of their own."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra.postgres import EmbeddedPostgres
from tests.api.commandline import rapport


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A new clinic, its server kept running."""
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
            yield home
            assert rapport("verify").status == 0


def roles() -> dict[str, list[str]]:
    """Who has which roles now."""
    found: dict[str, list[str]] = rapport("role", "list", "--format", "json").document["roles"]
    return found


def test_a_token_comes_with_its_role_and_goes_with_it(home: Path, tmp_path: Path) -> None:
    """R31, R35: making a token grants its role; the role's end is the token's, whoever holds it."""
    made = rapport("token", "create", "--role", "compliance_officer", "--format", "json").document
    who, file = made["principal"], tmp_path / "token"
    file.write_text(made["token"])
    assert roles()[who] == ["compliance_officer"]
    read = ("replay", str(uuid4()), "--token-file", file)
    assert "out-of-reach" in rapport(*read).err
    revoked = rapport("role", "revoke", "--principal", who, "--role", "compliance_officer")
    assert revoked.status == 0
    assert "not in force" in rapport(*read).err
    assert roles()[who] == []
    again = rapport("role", "revoke", "--principal", who, "--role", "compliance_officer")
    assert (again.status, "does not have the role" in again.err) == (1, True)
    assert rapport("role", "grant", "--principal", who, "--role", "compliance_officer").status == 0
    assert "not in force" in rapport(*read).err  # the token ended with the role


def test_the_last_token_takes_the_role_along(home: Path) -> None:
    """R35: whoever revokes all tokens of somebody means the role too."""
    made = rapport("token", "create", "--role", "administrator", "--format", "json").document
    assert rapport("token", "revoke", "--principal", made["principal"]).status == 0
    assert roles()[made["principal"]] == []
    coming = ("--as", made["principal"], "--role", "administrator")
    found = rapport("record", "found-clinic", "--body", '{"clinic_name": "x"}', *coming)
    assert (found.status, "was revoked" in found.err) == (2, True)


def test_an_erasure_holds_also_after_an_older_keyring_came_back(home: Path) -> None:
    """Rule 9, R25: a dry run erases nothing; what was erased stays so at every start."""
    person = str(uuid4())
    body = json.dumps({"person": person, "full_name": "Maria Beispiel"})
    assert rapport("record", "register-person", "--body", body).status == 0
    erase = ("erase", "--subject", person, "--basis", "objected", "--format", "json")
    dry = rapport(*erase, "--dry-run")
    assert (dry.status, dry.document["keys"], dry.document["erased"]) == (0, 1, False)
    ring = home / "keyring" / "keyring.db"
    older = ring.read_bytes()
    assert rapport(*erase).document["erased"] is True
    live = rapport("keyring", "status", "--format", "json").document["live"]
    ring.write_bytes(older)
    assert rapport("keyring", "status", "--format", "json").document["live"] == live + 1
    assert "nothing of" in rapport(*erase).err
    assert rapport("keyring", "status", "--format", "json").document["live"] == live


def test_nobody_is_granted_the_machine(home: Path) -> None:
    """R31: the operator's role is no role of anybody's."""
    refused = rapport("role", "grant", "--principal", str(uuid4()), "--role", "system")
    assert (refused.status, "role-not-grantable" in refused.err) == (1, True)
