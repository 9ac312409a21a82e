"""`rapport export` and `rapport-verify`, one after the other, as an operator types them."""

import stat
from pathlib import Path
from uuid import UUID, uuid4

from api.verifier.command import main as rapport_verify
from tests.api.commandline import rapport
from tests.api.test_cli_record import home, relationship

__all__ = ["home", "relationship"]


def test_what_is_exported_is_verified(
    relationship: tuple[UUID, UUID, UUID], tmp_path: Path
) -> None:
    """Evidence bundle: one command makes it, for its owner's eyes alone; another one checks it,
    by the key that the first one said."""
    bundle = tmp_path / "case.zip"
    ran = rapport("export", str(relationship[0]), "-o", bundle, "--format", "json")
    assert (ran.status, ran.document["withheld"]) == (0, 0), ran
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [bundle]
    assert rapport_verify([str(bundle), "--key", ran.document["log"]]) == 0


def test_it_says_how_to_check_it(relationship: tuple[UUID, UUID, UUID], tmp_path: Path) -> None:
    """Evidence bundle: in words, with the key to compare with."""
    bundle = tmp_path / "case.zip"
    said = rapport("export", str(relationship[0]), "-o", bundle, "--purpose", "own access").out
    *words, key = said.split()
    assert words[-3:] == ["rapport-verify", "case.zip", "--key"]
    assert rapport_verify([str(bundle), "--key", key]) == 0


def test_what_cannot_be_exported_leaves_no_file(
    relationship: tuple[UUID, UUID, UUID], tmp_path: Path
) -> None:
    """Evidence bundle: whole or not there; wrong use is told before anything is recorded."""
    bundle, id_ = tmp_path / "case.zip", str(relationship[0])
    assert rapport("export", id_, "-o", tmp_path / "absent" / "case.zip").status == 2
    assert rapport("export", id_, "-o", tmp_path).status == 2
    ahead = rapport("export", id_, "-o", bundle, "--known-at", "2150-01-01")
    assert (ahead.status, "has not come" in ahead.err) == (2, True)
    chosen = rapport("export", id_, "-o", bundle, "--only", "99999")
    assert (chosen.status, "99999" in chosen.err) == (2, True)
    assert rapport("export", str(uuid4()), "-o", bundle).status == 1
    assert list(tmp_path.iterdir()) == []
