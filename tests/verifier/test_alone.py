"""`rapport-verify.pyz`, as it is given to somebody who has nothing else of ours."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from api.verifier import build
from tests.verifier.forging import GOLDEN, KEYS, LOG_KEY, Handed

NEEDED = ("pydantic", "cryptography")
"""The only packages that its user installs."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one file."""
    target = tmp_path_factory.mktemp("verifier") / "rapport-verify.pyz"
    build.build(target)
    return target


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of somebody who has installed these packages and nothing more."""
    place = tmp_path_factory.mktemp("site")
    for name in _with_all_below(*NEEDED):
        for part in _parts_of(name):
            (place / part.name).symlink_to(part)
    return place


def _with_all_below(*names: str) -> set[str]:
    """These distributions, and what they require here and now."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower()
        if name in found:
            continue
        found.add(name)
        for required in distribution(name).requires or ():
            if ";" not in required or "extra ==" not in required:
                below = required.partition(";")[0].split("[")[0].strip()
                below = below.split(">")[0].split("=")[0].split("<")[0].split("!")[0].strip()
                if _is_here(below):
                    waiting.append(below)
    return found


def _is_here(name: str) -> bool:
    try:
        distribution(name)
    except ImportError:
        return False
    return True


def _parts_of(name: str) -> set[Path]:
    site = Path(sysconfig.get_paths()["purelib"])
    tops = {file.parts[0] for file in distribution(name).files or () if file.parts[0] != ".."}
    return {site / top for top in tops if (site / top).exists() and top != "__pycache__"}


def run(program: Path, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a Python without site-packages of its own, in a folder without our source."""
    return subprocess.run(
        [sys.executable, "-S", "-W", "error", str(program), *arguments],
        capture_output=True,
        text=True,
        cwd=program.parent,
        env={"PYTHONPATH": str(site), "PATH": os.environ["PATH"]},
        timeout=60,
        check=False,
    )


def test_it_runs_where_only_two_packages_are(program: Path, bare: Path) -> None:
    """Evidence bundle: no database, no server code, few dependencies; given a real bundle it says
    all that it says here."""
    done = run(program, bare, str(GOLDEN), "--key", KEYS["log"], "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["ok"], document["log"]) == (True, str(LOG_KEY))
    assert {"signer", "views", "report", "complete"} <= {p["code"] for p in document["proven"]}
    assert "timestamp" in {point["code"] for point in document["not_proven"]}


def test_it_finds_what_does_not_fit_there_too(program: Path, bare: Path, tmp_path: Path) -> None:
    """Evidence bundle: the first thing that does not fit, by file and entry; exit status 1."""
    handed = Handed()
    handed.files["entries/000000000019.content.json"] += b" "
    altered = tmp_path / "altered.zip"
    altered.write_bytes(handed.put_together())
    done = run(program, bare, str(altered))
    assert done.returncode == 1
    assert "entries/000000000019.content.json" in done.stdout
    assert "position 19 of the log" in done.stdout


def test_without_the_library_it_says_that_a_timestamp_is_not_checked(
    program: Path, bare: Path, tmp_path: Path
) -> None:
    """Evidence bundle: what cannot be checked is never passed over in silence."""
    roots = tmp_path / "roots.crt"
    roots.write_text(KEYS["timestamp_roots"])
    done = run(program, bare, str(GOLDEN), "--timestamp-roots", str(roots))
    assert done.returncode == 2
    assert "rfc3161_client" in done.stderr


def test_it_says_what_it_lacks(program: Path, tmp_path: Path) -> None:
    """Evidence bundle: without its two packages there is one sentence, no traceback."""
    done = run(program, tmp_path, str(GOLDEN))
    assert done.returncode == 1
    assert done.stderr.startswith("rapport-verify needs ")
    assert done.stderr.count("\n") == 1


def test_it_holds_exactly_what_it_stands_on(program: Path) -> None:
    """Evidence bundle: no server code and no database in it, nor anything that is not asked for
    by an import; the same source gives the same bytes."""
    modules = build.modules()
    rooms = {name.partition(".")[0] for name in modules}
    assert rooms == {"api", "domain", "infra", "projections"}
    assert {name for name in modules if name.startswith("api.")} == {
        "api.verifier",
        *(
            f"api.verifier.{name}"
            for name in ("checks", "command", "outside", "report", "telling", "views")
        ),
    }
    assert {name for name in modules if name.startswith("infra.")} == {
        f"infra.{name}"
        for name in ("bundle", "checkpoint", "merkle", "outward", "proof", "timestamp")
    }
    assert {
        top
        for path in modules.values()
        for top in _tops(ast.parse(path.read_bytes()))
        if top not in rooms and top not in sys.stdlib_module_names
    } == {"cryptography", "h11", "pydantic", "pydantic_core", "rfc3161_client"}
    with zipfile.ZipFile(program) as archive:
        held = set(archive.namelist())
    assert {name for name in held if name.endswith(".toml")}
    assert not {name for name in held if "keyring" in name or "composition" in name}
    again = program.with_name("again.pyz")
    build.build(again)
    assert again.read_bytes() == program.read_bytes()


def _tops(tree: ast.AST) -> set[str]:
    named = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in named}
