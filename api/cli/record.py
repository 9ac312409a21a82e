"""Commands over the whole record: `migrate`, `clinic`."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
import typer

from api.cli.terminal import Format, FormatOption, say, settings, show
from api.cli.verifying import existing_record
from api.composition import open_service
from infra.clinics import NoSuchClinic, acknowledged_head, pinned
from infra.migrate import pending
from infra.postgres import Database, open_database
from projections.dossier import VIEWS


def add_to(app: typer.Typer) -> None:
    app.command("migrate")(migrate)
    app.command("clinic")(clinic)


def migrate(format_: FormatOption = Format.TEXT) -> None:
    """Bring the database to this version: schema, keyring, and on a new one the clinic's log.

    Every other command that writes does the same first; services that start together want it done
    before.

    \b
    Examples:
      rapport migrate
      rapport migrate --format json
    """
    loaded = settings()
    with open_database(loaded, progress=say) as database:
        missing = pending(database.dsn("owner"))
        with open_service(loaded) as service:
            names = [f"{migration.version:04}_{migration.name}" for migration in missing]
            document = {
                "database": database.description,
                "clinic": str(service.clinic),
                "applied": names,
            }
    applied = "\n".join([f"applied {name}" for name in names] or ["nothing to apply"])
    show(format_, document, f"{applied}\nclinic {service.clinic} in {database.description}")


def clinic(format_: FormatOption = Format.TEXT) -> None:
    """Show which clinic is served, the head of its log, and how far its views are.

    The head stands twice: as committed, and as acknowledged and remembered outside the database.

    \b
    Examples:
      rapport clinic
      rapport clinic --format json
    """
    with existing_record() as (loaded, database, id_):
        head = _head(database, id_)
        known = acknowledged_head(loaded, id_)
        views = _views(database, id_)
        document: dict[str, Any] = {
            "clinic": str(id_),
            "database": database.description,
            "keyring": str(loaded.keyring),
            "home": str(loaded.home),
            "head": head,
            "acknowledged": known and {"size": known[0], "root": known[1].hex()},
            "views": views,
        }
        acknowledged = f"{known[0]} entries, root {known[1].hex()}" if known else "none yet"
        lines = (
            f"clinic        {id_}",
            f"database      {database.description}",
            f"keyring       {loaded.keyring}",
            f"log           {head['size']} entries, root {head['root']}",
            f"acknowledged  {acknowledged}",
            f"views         {', '.join(_reached(views)) or 'none'}",
        )
        show(format_, document, "\n".join(lines))


def _head(database: Database, clinic: UUID) -> dict[str, Any]:
    query = "SELECT size, root FROM rapport.heads WHERE clinic = %s"
    with psycopg.connect(pinned(database.dsn("read"), clinic)) as connection:
        row = connection.execute(query, (clinic,)).fetchone()
    if row is None:
        raise NoSuchClinic(str(clinic))
    return {"size": row[0], "root": bytes(row[1]).hex()}


def _views(database: Database, clinic: UUID) -> dict[str, int | None]:
    """The position that each view has reached; None: it was never built."""
    query = "SELECT view, position FROM rapport.tracking WHERE clinic = %s"
    with psycopg.connect(pinned(database.dsn("views"), clinic)) as connection:
        reached: dict[str, int] = dict(connection.execute(query, (clinic,)).fetchall())
    return {view.name: reached.get(view.table) for view in VIEWS.all()}


def _reached(views: Mapping[str, int | None]) -> Iterator[str]:
    for name, position in views.items():
        yield f"{name} not built" if position is None else f"{name} at {position}"
