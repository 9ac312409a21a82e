"""`rapport text-pack`: a clinic's own wording is checked before it is adopted by its hash."""

import hashlib
from pathlib import Path

import pytest

from domain.instrument import load
from tests.api.commandline import rapport

PACK = f"""\
format = "rapport-text/1"
instrument = "SRS-3"
key_hash = "{load("SRS-3").key_hash}"
language = "de"
credit = "Used by licence of Performance Metrics LLC."
items = ["Erstens", "Zweitens", "Drittens", "Viertens"]
"""


def test_a_sound_pack_tells_what_it_is_adopted_by(tmp_path: Path) -> None:
    """Rule 34: a clinic's own text pack is referred to by the hash of its bytes."""
    file = tmp_path / "srs.de.toml"
    file.write_text(PACK, "utf-8")
    document = rapport("text-pack", file, "--format", "json").document
    assert document["sha256"] == hashlib.sha256(PACK.encode()).hexdigest()
    assert (document["instrument"], document["language"], document["items"]) == ("SRS-3", "de", 4)
    told = rapport("text-pack", file)
    assert (told.status, told.err) == (0, "")
    assert told.out.startswith("SRS-3 in de: 4 items\n")
    assert "Erstens" not in told.out


@pytest.mark.parametrize(
    "content, says",
    [
        (PACK.replace(', "Viertens"', ""), "srs.de.toml, items: give 4 texts, one for each item"),
        (PACK.replace("rapport-text/1", "rapport-text/9"), "srs.de.toml, format:"),
        ("items = [", "srs.de.toml, the file: not TOML in UTF-8"),
        ("x" * (1024 * 1024 + 1), "is larger than any text pack, 1 MiB."),
    ],
)
def test_a_broken_pack_names_file_field_and_mend(tmp_path: Path, content: str, says: str) -> None:
    """Rule 34: what cannot be used says why, and nothing is printed as a result."""
    file = tmp_path / "srs.de.toml"
    file.write_text(content, "utf-8")
    ran = rapport("text-pack", file)
    assert says in ran.err
    assert ran.out == ""
    assert ran.status != 0


def test_a_pack_that_is_not_there_is_told(tmp_path: Path) -> None:
    """R36: a file that cannot be read is an answer for people, not a traceback."""
    ran = rapport("text-pack", tmp_path / "none.toml")
    assert (ran.status, ran.out) == (2, "")
    assert "cannot be read" in ran.err
