"""The views of a bundle: the dossier folded from what the bundle holds, and from nothing else.

Whoever makes a bundle writes them, whoever checks it folds them again. Content that is withheld
reads as erased. Ratings are read by the keys that they name.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from domain.event import History, Stream
from infra.bundle import Disclosed, Manifest, Withheld, rendered
from projections.dossier import VIEWS, Dossier, dossier
from projections.view import PlainRow, Row, View

FORMAT = "rapport-bundle-view/1"


def told(manifest: Manifest, entries: Iterable[Disclosed]) -> Dossier:
    """The relationship as of the bundle's two times."""
    history = History(
        each.recorded() for each in entries if each.withheld is not Withheld.HAPPENED_LATER
    )
    return dossier(
        Stream("relationship", manifest.contents.relationship),
        history,
        known_at=manifest.known_at,
        happened_by=manifest.happened_by,
    )


def versions() -> dict[str, int]:
    """The version of this program's code for each view that a bundle holds."""
    return {view.name: view.version for view, _ in _parts(None)}


def snapshots(dossier: Dossier) -> dict[str, bytes]:
    """Each view's rows, canonical, every cell with the entry that established it."""
    return {view.name: _snapshot(view, rows) for view, rows in _parts(dossier)}


def _parts(of: Dossier | None) -> list[tuple[View[Any, Any], Mapping[int, Row]]]:
    case = {} if of is None or of.case is None else {0: of.case}
    return [
        (VIEWS.caseload, case),
        (VIEWS.consent_register, {} if of is None else of.consents),
        (VIEWS.goal_course, {} if of is None else of.goals),
        (VIEWS.alliance_course, {} if of is None else of.ratings),
        (VIEWS.timeline, {} if of is None else of.timeline),
    ]


def _snapshot(view: View[Any, Any], rows: Mapping[int, Row]) -> bytes:
    return rendered(
        {
            "format": FORMAT,
            "view": view.name,
            "version": view.version,
            "rows": [
                {"entry": entry, "cells": _cells(view.taken_apart(row))}
                for entry, row in sorted(rows.items())
            ],
        }
    )


def _cells(row: PlainRow) -> dict[str, list[object]]:
    """By name: position, version, amended_at and value; of an erased one there is no value."""
    cells: dict[str, list[object]] = {}
    for ref, gone, names in row.cited:
        for name in names:
            value = [] if gone else [row.columns[name]]
            cells[name] = [ref.position, ref.version, ref.amended_at, *value]
    for group in row.groups.values():
        cells.update({name: list(cell) for name, cell in group.items()})
    return cells
