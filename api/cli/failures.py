"""What the errors of every room mean to the person at the terminal."""

from pathlib import Path

import psycopg

from api.cli.importing_crew import ImportHandLost
from api.cli.terminal import Exit, Failed
from api.demo import DemonstrationStuck
from api.import_mapping import MappingBroken
from api.problems import Fault
from infra.acknowledged import AcknowledgedHeadBroken, LogDiverged
from infra.backup import BackupUnusable, PlaceTaken, ProgramFailed
from infra.checkpoint import NoteBroken
from infra.clinics import ClinicUnclear, NoSuchClinic
from infra.keyring import KeyringError
from infra.migrate import MigrationError
from infra.postgres import PostgresError
from infra.recorder import StoreUnavailable
from infra.sealing import SealBroken
from infra.settings import SettingsInvalid
from infra.tiles import TilesBroken
from infra.verify import LogBroken

_RUN_VERIFY = "Run `rapport verify`; docs/operate/backup.md says how to restore."


def explain(error: Exception) -> Failed | None:
    """What a known error means, and what mends it; None: it is a fault of ours."""
    match error:
        case Fault():
            return Failed(Exit.FOUND, f"{error.detail} ({error.code})")
        case LogBroken() | LogDiverged() | TilesBroken():
            return Failed(Exit.FOUND, str(error))
        case NoteBroken():
            return Failed(Exit.FOUND, "A checkpoint that is kept was not signed by this log.")
        case AcknowledgedHeadBroken():
            return Failed(Exit.FOUND, f"The file {error} of heads is not whole.", _RUN_VERIFY)
        case SealBroken():
            return Failed(Exit.FOUND, f"An entry cannot be opened: {error}", _RUN_VERIFY)
        case SettingsInvalid() | ClinicUnclear() | MappingBroken() | DemonstrationStuck():
            return Failed(Exit.USAGE, str(error))
        case NoSuchClinic():
            return Failed(Exit.USAGE, f"There is no clinic {error} in this database.")
        case PlaceTaken():
            return Failed(Exit.USAGE, str(error))
        case BackupUnusable():
            return Failed(Exit.FOUND, str(error))
        case PostgresError() | MigrationError() | KeyringError() | ProgramFailed():
            return Failed(Exit.UNAVAILABLE, str(error))
        case StoreUnavailable() | psycopg.OperationalError() | psycopg.InterfaceError():
            return Failed(
                Exit.UNAVAILABLE, "The database went away or did not answer.", "Try it again."
            )
        case ImportHandLost():
            return Failed(
                Exit.UNAVAILABLE,
                "A process that imported was ended from outside.",
                "Import again: it goes on where this one was.",
            )
        case psycopg.errors.InsufficientPrivilege():
            return Failed(
                Exit.UNAVAILABLE,
                "The database refuses this role what it needs.",
                "Look at RAPPORT_DATABASE_URL and that of the role; then `rapport migrate`.",
            )
        case OSError(filename=str() | Path()):
            return Failed(Exit.UNAVAILABLE, f"{error.filename}: {error.strerror}.")
    return None
