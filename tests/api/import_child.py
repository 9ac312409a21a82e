"""A process that imports until it is killed; tests/api/test_importer.py starts it."""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from uuid import UUID

from api.import_mapping import read_mapping
from api.importer import Importer
from infra.acknowledged import AcknowledgedHead
from infra.event_store import ClinicLog
from infra.keyring import open_keyring


def main() -> None:
    given = json.loads(os.environ["CHILD"])
    home, folder, clinic = Path(given["home"]), Path(sys.argv[1]), UUID(given["clinic"])
    now = datetime.fromisoformat(given["now"])
    acknowledged = AcknowledgedHead(home / "heads", clinic)
    keyring = open_keyring(home / "keyring")
    log = ClinicLog(given["dsn"], clinic, keyring, acknowledged, clock=lambda: now)
    Importer(log, read_mapping(folder / "mapping.toml"), folder, UUID(int=7)).run()


if __name__ == "__main__":
    main()
