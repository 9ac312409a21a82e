"""What is committed speaks of the project alone, and lies where one looks for it."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.habits.source import ROOT, files

# Brackets keep these patterns from finding themselves.
MACHINE_PATH = r"(?<![\w.$}])/(?:[h]ome|[r]oot|[t]mp|[U]sers|[w]ork)/\w"
REGISTRY_HOST = r"\b(?:[p]ypi|[p]ythonhosted|[n]pmjs|[d]ebian|[d]ocker)\.(?:com|org)\b"
UNFINISHED = r"\b(?:[F]IXME|[T]ODO|[X]XX)\b"

TOP_LEVEL = {
    ".ci", ".dockerignore", ".editorconfig", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md",
    "Dockerfile", "LICENSE", "Makefile", "README.md", "SECURITY.md", "api", "benchmarks",
    "docker-compose.yml", "docs", "domain", "infra", "projections", "pyproject.toml",
    "requirements", "tests",
}  # fmt: skip


def test_no_file_names_a_machine() -> None:
    """House rule: a path that exists on one machine only helps nobody else."""
    assert list(_found(MACHINE_PATH)) == []


def test_no_file_names_a_registry() -> None:
    """House rule: where packages come from is the installer's choice; hashes say which they are."""
    assert list(_found(REGISTRY_HOST)) == []


def test_nothing_is_left_to_do_in_a_comment() -> None:
    """House rule: unfinished work is an issue, not a comment."""
    assert list(_found(UNFINISHED)) == []


def test_the_top_level_holds_what_it_always_held() -> None:
    """ARCHITECTURE, rooms: a new room is a decision, not a leftover."""
    assert {file.parts[0] for file in files()} - TOP_LEVEL == set()


def test_every_decision_is_in_the_index() -> None:
    """House style: docs/decisions/README.md lists each decision record, in order."""
    decisions = ROOT / "docs" / "decisions"
    index = (decisions / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[.*\]\((\d{4}-[\w-]+\.md)\)$", index, flags=re.MULTILINE)
    assert listed == sorted(path.name for path in decisions.glob("[0-9]*.md"))


def test_the_locks_agree() -> None:
    """House rule: what is tested is what is shipped, version by version."""
    run, build, dev = (_pins(ROOT / "requirements" / f"{n}.txt") for n in ("run", "build", "dev"))
    assert run
    assert run.items() <= dev.items()
    assert {name: build[name] for name in build.keys() & dev.keys()}.items() <= dev.items()


def _found(pattern: str) -> Iterator[str]:
    """Every place where the pattern stands, pictures and dumps of bytes left out."""
    for file in files():
        text = (ROOT / file).read_bytes()
        if b"\0" in text:
            continue
        for number, line in enumerate(text.decode("utf-8").splitlines(), start=1):
            if match := re.search(pattern, line):
                yield f"{file}:{number}: {match[0]}"


def _pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), flags=re.M))
