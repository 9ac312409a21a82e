"""`rapport rebuild`: the views anew from the log, compared with what they were."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from api.rebuilding import HandLost, hands_for
from domain.cycles import searched_seldom
from infra.sealing import SealBroken
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
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Begin anew, whatever an interrupted rebuild left.")
    ] = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Build views anew from the log beside the old ones, compare both by digest, and swap.

    Readers are not kept waiting. Exit status 1 where a view was not what the log says; it is then.
    A process for each processor takes part. One that was interrupted goes on where it was.

    \b
    Examples:
      rapport rebuild
      rapport rebuild timeline caseload --format json
      rapport rebuild --afresh
    """
    wanted = _named(views or list(_KNOWN))
    with open_service(settings_of_record(), progress=say) as service, progress_bar() as advance:
        store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
        categories = {view.category for view in wanted}
        total = sum(1 for one in categories for _ in service.log.streams(one))

        def build(views: Sequence[View[Any, Any]], *, compare: bool = True) -> list[_Rebuilt]:
            entries = service.log.head_size()
            crew = hands_for(service.settings, service.clinic, entries, views)
            with searched_seldom(), crew as hands:
                return rebuild_views(
                    views,
                    service.log,
                    store,
                    compare=compare,
                    afresh=afresh,
                    hands=hands,
                    progress=lambda folded: advance("streams", folded, total),
                )

        try:
            outcomes = _outcomes(wanted, build)
        except RebuildRunning as running:
            raise Failed(
                Exit.UNAVAILABLE,
                f"Another process is rebuilding {running}.",
                "Wait until it is done.",
            ) from None
        except HandLost:
            raise Failed(
                Exit.UNAVAILABLE,
                "A process that folded was ended from outside.",
                "`rapport rebuild` goes on where this one was.",
            ) from None
        finally:
            store.close()
    differing = [outcome.rebuilt.view for outcome in outcomes if not outcome.is_same]
    document = {"ok": not differing, "views": [outcome.rendered() for outcome in outcomes]}
    show(format_, document, lambda: "\n".join(map(str, outcomes)))
    if differing:
        raise Failed(
            Exit.FOUND,
            f"Not what the log says, until now: {', '.join(differing)}.",
            "They are rebuilt. Somebody or something had changed their tables.",
        )


_Rebuilt = Rebuilt[Comparison]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one view."""

    rebuilt: _Rebuilt
    unreadable: bool = False
    """Whether rows were changed so that they open no more: then nothing could be compared."""

    @property
    def is_same(self) -> bool:
        found = self.rebuilt.comparison
        return not self.unreadable and (found is None or found.equal)

    def rendered(self) -> dict[str, Any]:
        found = self.rebuilt.comparison
        return {
            "view": self.rebuilt.view,
            "version": self.rebuilt.version,
            "position": self.rebuilt.position,
            "equal": None if found is None and not self.unreadable else self.is_same,
            "unreadable": self.unreadable,
            "digest_before": found.before.mac if found else None,
            "digest": found.after.mac if found else None,
            "differences": found.differences if found else 0,
            "differing": [list(place) for place in found.differing] if found else [],
        }

    def __str__(self) -> str:
        rebuilt, found = self.rebuilt, self.rebuilt.comparison
        head = f"{rebuilt.view:<18} version {rebuilt.version}, position {rebuilt.position}: "
        if self.unreadable:
            return f"{head}rows had been changed so that they open no more; built anew"
        if found is None:
            return f"{head}built"
        if found.equal:
            return f"{head}equal, digest {found.after.mac}"
        places = [f"  {stream} entry {entry}" for stream, entry in found.differing[:_SHOWN]]
        return "\n".join([f"{head}{found.differences} rows differed", *places])


def _outcomes(
    wanted: Sequence[View[Any, Any]], build: Callable[..., list[_Rebuilt]]
) -> list[_Outcome]:
    """All views at once; where rows of one cannot even be opened, each by itself."""
    try:
        return [_Outcome(rebuilt) for rebuilt in build(wanted)]
    except SealBroken:
        return [_outcome(view, build) for view in wanted]


def _outcome(view: View[Any, Any], build: Callable[..., list[_Rebuilt]]) -> _Outcome:
    try:
        (rebuilt,) = build([view])
        return _Outcome(rebuilt)
    except SealBroken:
        (rebuilt,) = build([view], compare=False)
        return _Outcome(rebuilt, unreadable=True)


def _named(names: Sequence[str]) -> list[View[Any, Any]]:
    for name in names:
        if name not in _KNOWN:
            raise Failed(
                Exit.USAGE, f"There is no view {name!a}.", f"There are {', '.join(_KNOWN)}."
            )
    return [_KNOWN[name] for name in dict.fromkeys(names)]
