"""`rapport demo`: a clinic of invented people, to look around in."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import (
    Format,
    FormatOption,
    progress_bar,
    say,
    settings,
    show,
    write_private,
)
from api.composition import Service, open_service
from api.demo import RELATIONSHIPS, SEED, Demonstration, RunningClock, fill


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    seed: Annotated[
        int | None, typer.Option(min=1, help=f"The same seed, the same clinic. Default: {SEED}.")
    ] = None,
    relationships: Annotated[
        int | None,
        typer.Option(min=1, max=2000, help=f"How many there are. Default: {RELATIONSHIPS}."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the ground truth as well (mode 0600).")
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Fill an empty clinic with two invented years, through the real commands.

    What was planted in it (ruptures, repairs, late entries, corrections, withdrawn consents,
    missing ratings) stands in a ground truth beside it. A fill that was cut short goes on.

    \b
    Examples:
      rapport demo
      rapport demo --seed 7 --relationships 3 --out truth.json
    """
    with open_service(settings(), progress=say) as service:
        done = filled(service, seed=seed, relationships=relationships)
    if out is not None:
        write_private(out, done.ground_truth.read_text(encoding="utf-8"))
    document = {
        "written": done.written,
        "entries": done.entries,
        "relationships": done.relationships,
        "ground_truth": str(out or done.ground_truth),
        "personas": str(done.personas),
    }
    what = "Wrote the demonstration" if done.written else "The demonstration is there already"
    show(
        format_,
        document,
        f"{what}: {done.relationships} relationships, {done.entries} entries in the log.\n"
        f"ground truth  {out or done.ground_truth}\npersonas      {done.personas}",
    )


def filled(
    service: Service, *, seed: int | None = None, relationships: int | None = None
) -> Demonstration:
    """The demonstration in this service's clinic, written now or before."""
    clock = RunningClock()
    with service.log_with(clock) as log, progress_bar() as advance:
        return fill(
            log,
            clock,
            service.settings.home / "demo",
            seed=seed,
            relationships=relationships,
            now=service.clock(),
            progress=advance,
        )
