"""A process that imports with others; tests/api/test_import_together.py starts it, and may say how
little its helpers remember. It has no threads when it begins, so its helpers are forked."""

import sys
from functools import partial
from pathlib import Path
from uuid import UUID

from api.cli.importing_crew import import_hands
from api.import_mapping import read_mapping
from infra import apart
from tests.api.test_import_equals import OPERATOR
from tests.api.test_import_together import opened


def main() -> None:
    dsn, clinic, home, folder = sys.argv[1], UUID(sys.argv[2]), *map(Path, sys.argv[3:5])
    for limit, held in zip(("_ENTRIES_HELD", "_HELD_AT_REST"), sys.argv[5:], strict=False):
        setattr(apart, limit, int(held))
    opening = partial(opened, dsn, clinic, home)
    mapping = read_mapping(folder / "mapping.toml")
    with import_hands(2) as hands, opening() as log:
        hands.import_(log, opening, mapping, folder, OPERATOR)


if __name__ == "__main__":
    main()
