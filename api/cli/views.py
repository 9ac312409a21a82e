"""`rapport rebuild`: the views anew from the log, compared with what they were."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from api.cli.terminal import (
    Exit,
    Failed,
    Format,
    FormatOption,
    progress_bar,
    say,
    settings_of_record,
    show,
)
from api.composition import open_service
from infra.view_store import Comparison, RebuildRunning, ViewStore
from projections.dossier import VIEWS
from projections.rebuild import Rebuilt
from projections.rebuild import rebuild as rebuild_views
from projections.view import View

_KNOWN = {view.name: view for view in VIEWS.all()}
_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    app.command("rebuild")(rebuild)


def rebuild(
    views: Annotated[
        list[str] | None, typer.Argument(help=f"Which of {', '.join(_KNOWN)}. Default: all.")
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Build views anew from the log beside the old ones, compare both by digest, and swap.

    Readers are not kept waiting. Exit status 1 where a view was not what the log says; it is then.

    \b
    Examples:
      rapport rebuild
      rapport rebuild timeline caseload --format json
    """
    wanted = _named(views or list(_KNOWN))
    with open_service(settings_of_record(), progress=say) as service, progress_bar() as advance:
        store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
        try:
            categories = {view.category for view in wanted}
            total = sum(1 for one in categories for _ in service.log.streams(one))
            rebuilt = rebuild_views(
                wanted,
                service.log,
                store,
                progress=lambda folded: advance("streams", folded, total),
            )
        except RebuildRunning as running:
            raise Failed(
                Exit.UNAVAILABLE,
                f"Another process is rebuilding {running}.",
                "Wait until it is done.",
            ) from None
        finally:
            store.close()
    document = {"ok": all(map(_is_same, rebuilt)), "views": list(map(_rendered, rebuilt))}
    show(format_, document, lambda: "\n".join(map(_line, rebuilt)))
    differing = [one.view for one in rebuilt if not _is_same(one)]
    if differing:
        raise Failed(
            Exit.FOUND,
            f"Not what the log says, until now: {', '.join(differing)}.",
            "They are rebuilt. Somebody or something had changed their tables.",
        )


def _named(names: Sequence[str]) -> list[View[Any, Any]]:
    for name in names:
        if name not in _KNOWN:
            raise Failed(
                Exit.USAGE, f"There is no view {name!a}.", f"There are {', '.join(_KNOWN)}."
            )
    return [_KNOWN[name] for name in dict.fromkeys(names)]


def _is_same(rebuilt: Rebuilt[Comparison]) -> bool:
    return rebuilt.comparison is None or rebuilt.comparison.equal


def _rendered(rebuilt: Rebuilt[Comparison]) -> dict[str, Any]:
    found = rebuilt.comparison
    return {
        "view": rebuilt.view,
        "version": rebuilt.version,
        "position": rebuilt.position,
        "compared": found is not None,
        "equal": found.equal if found else None,
        "digest_before": found.before.mac if found else None,
        "digest": found.after.mac if found else None,
        "differences": found.differences if found else 0,
        "differing": [list(place) for place in found.differing] if found else [],
    }


def _line(rebuilt: Rebuilt[Comparison]) -> str:
    found = rebuilt.comparison
    head = f"{rebuilt.view:<18} version {rebuilt.version}, position {rebuilt.position}: "
    if found is None:
        return f"{head}built"
    if found.equal:
        return f"{head}equal, digest {found.after.mac}"
    places = [f"  {stream} entry {entry}" for stream, entry in found.differing[:_SHOWN]]
    return "\n".join([f"{head}{found.differences} rows differed", *places])
