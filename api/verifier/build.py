"""Puts `rapport-verify` into one file: `python -m api.verifier.build rapport-verify.pyz`.

The file holds exactly the modules that the command stands on, found by following its imports, the
kinds of entries, and the instruments. It runs wherever Python 3.11 has pydantic and cryptography.
The same source always gives the same bytes.
"""

import ast
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from domain import topics

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = "api.verifier.command"
OURS: Final = ("api", "domain", "infra", "projections")
DATA: Final = "domain/instruments"

_MADE_AT: Final = (1980, 1, 1, 0, 0, 0)
_SHEBANG: Final = b"#!/usr/bin/env python3\n"
_MAIN: Final = b'''\
"""Starts rapport-verify, or says what it lacks."""

import sys

if sys.version_info < (3, 11):
    sys.exit("rapport-verify needs Python 3.11 or newer.")
try:
    import cryptography  # noqa: F401
    import pydantic  # noqa: F401
except ImportError as missing:
    sys.exit(f"rapport-verify needs {missing.name}: python3 -m pip install pydantic cryptography")

from api.verifier.command import run

run()
'''


def modules(command: str = COMMAND) -> dict[str, Path]:
    """Every module of ours that the command imports, directly or not, or asks for by its name."""
    found: dict[str, Path] = {}
    waiting = [command, *sorted(topics.MODULES)]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting.extend(_imported(path))
        waiting.append(name.rpartition(".")[0])
    return found


def files() -> dict[str, bytes]:
    """What goes into the file, by path; every folder of modules becomes a package."""
    inside = {"__main__.py": _MAIN}
    for path in modules().values():
        inside[path.relative_to(ROOT).as_posix()] = path.read_bytes()
        for folder in path.relative_to(ROOT).parents[:-1]:
            inside.setdefault(f"{folder.as_posix()}/__init__.py", b"")
    for data in (ROOT / DATA).glob("*.toml"):
        inside[data.relative_to(ROOT).as_posix()] = data.read_bytes()
    return inside


def build(target: Path) -> None:
    """Writes the file, which can be run as it is."""
    with target.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(files().items()):
                told = zipfile.ZipInfo(name, _MADE_AT)
                told.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(told, data)
    target.chmod(0o755)


def _source(name: str) -> Path | None:
    """The file of a module of ours; None: it is not ours, or no module."""
    if name.partition(".")[0] not in OURS:
        return None
    path = ROOT.joinpath(*name.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
