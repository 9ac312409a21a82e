"""The checkout as the habits look at it."""

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("domain", "projections", "infra", "api")


def files() -> list[Path]:
    """Every file that is or would be committed, relative to the root."""
    # In CI another user than the owner of the checkout may ask.
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"}
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        env=os.environ | trust | {"GIT_CONFIG_VALUE_0": "*"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return sorted(Path(name) for name in names if name and (ROOT / name).is_file())


def modules(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file of the rooms: its name relative to the root, and its syntax."""
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))
