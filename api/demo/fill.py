"""Writes the demonstration through the real commands, by a clock that runs through its two years.

Three files tell of it, all 0600 and under `demo` in the home: `plan.json`, written first, so that
a fill that was cut short goes on where it stopped; then `ground-truth.json` and `personas.json`.
"""

import fcntl
import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

from api.demo.plot import plots
from api.demo.stage import Act, Stage
from api.demo.story import tell
from domain.access import Role
from domain.event import History, RecordedEvent, Refusal, Stream
from domain.records import Proposal, Receipt

SEED, RELATIONSHIPS = 1, 24
"""What is told where nobody asks for something else."""

_BATCH = timedelta(minutes=15)
"""What is recorded within that time of each other is committed at once."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, acts recorded, acts in all."""


class DemonstrationStuck(Exception):
    """The demonstration cannot be written here; the text says why and what to do."""


class RunningClock:
    """A clock that is set, and that never runs back behind the record's last entry."""

    def __init__(self) -> None:
        self.now = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Log(Protocol):
    """What is asked of the log; it must have been opened with the same RunningClock."""

    clinic: UUID

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal]: ...
    def receipt(self, command_id: UUID) -> Receipt | None: ...
    def read_log(self, after: int, limit: int) -> Sequence[RecordedEvent]: ...
    def history(self, stream: Stream) -> History: ...
    def keyed_id(self, *natural_key: str) -> UUID: ...
    def head_size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What came of it."""

    entries: int
    relationships: int
    ground_truth: Path
    personas: Path
    written: bool
    """False where it had been there already."""


def fill(
    log: Log,
    clock: RunningClock,
    folder: Path,
    *,
    seed: int | None = None,
    relationships: int | None = None,
    now: datetime,
    progress: Progress | None = None,
) -> Demonstration:
    """Fills an empty clinic, goes on where an earlier fill stopped, or finds it complete.

    `now` counts only for a fill that begins: nothing is recorded later than that. Without a seed
    or a number of relationships, as it was begun. Raises DemonstrationStuck where the record holds
    something else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        plan = _plan(log, folder, seed, relationships, now)
        truth, personas = folder / "ground-truth.json", folder / "personas.json"
        told = Demonstration(
            entries=log.head_size(),
            relationships=plan["relationships"],
            ground_truth=truth,
            personas=personas,
            written=False,
        )
        if truth.exists() and personas.exists():
            return told
        stage = _staged(log, plan)
        _record(log, clock, stage, progress)
        _write(personas, _personas(stage))
        _write(truth, _ground_truth(log, stage))
        return Demonstration(
            entries=log.head_size(),
            relationships=told.relationships,
            ground_truth=truth,
            personas=personas,
            written=True,
        )


def _plan(
    log: Log, folder: Path, seed: int | None, relationships: int | None, now: datetime
) -> dict[str, Any]:
    """What is to be told: as it was begun, or else as asked for."""
    path = folder / "plan.json"
    if path.exists():
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        asked = (str(log.clinic), seed or plan["seed"], relationships or plan["relationships"])
        if asked != (plan["clinic"], plan["seed"], plan["relationships"]):
            raise DemonstrationStuck(
                f"A demonstration was begun here with seed {plan['seed']} and "
                f"{plan['relationships']} relationships, in clinic {plan['clinic']}. Ask for that, "
                "or name an empty RAPPORT_HOME."
            )
        return plan
    if log.head_size():
        raise DemonstrationStuck(
            "The record holds entries already; the demonstration is written only into an empty "
            "one. Name an empty RAPPORT_HOME."
        )
    plan = {
        "clinic": str(log.clinic),
        "seed": seed or SEED,
        "relationships": relationships or RELATIONSHIPS,
        "now": now.astimezone(UTC).isoformat(),
    }
    _write(path, plan)
    return plan


def _staged(log: Log, plan: dict[str, Any]) -> Stage:
    """The whole demonstration as acts."""
    seed, now = plan["seed"], datetime.fromisoformat(plan["now"])
    stage = Stage(
        ids=lambda *key: log.keyed_id("demo", str(seed), *key),
        seed=seed,
        relationships=plan["relationships"],
        now=now,
    )
    for plot in plots(seed, plan["relationships"], stage.begin):
        tell(stage, plot)
    return stage


# --- Recording ------------------------------------------------------------------------------


def _record(log: Log, clock: RunningClock, stage: Stage, progress: Progress | None) -> None:
    acts = sorted(stage.acts, key=lambda act: act.at)
    batches = _batches(acts)

    find = _Find(log, stage)

    def is_recorded(batch: Sequence[Act]) -> bool:
        return log.receipt(_command_id(stage, batch[-1].key)) is not None

    done = bisect_left(batches, True, key=lambda batch: not is_recorded(batch))
    count = sum(map(len, batches[:done]))
    for batch in batches[done:]:
        # Never behind an entry of this very fill, which an earlier run may have recorded.
        clock.now = max(clock.now, batch[-1].at.astimezone(UTC))
        proposals = [
            Proposal(
                act.command(find) if callable(act.command) else act.command,
                act.author,
                _command_id(stage, act.key),
            )
            for act in batch
        ]
        for act, verdict in zip(batch, log.append(proposals), strict=True):
            if isinstance(verdict, Refusal):
                raise DemonstrationStuck(
                    f"{act.key} was refused ({verdict.code}). If the record was used before the "
                    "demonstration was complete, it cannot be completed: name an empty "
                    "RAPPORT_HOME."
                )
        count += len(batch)
        if progress is not None:
            progress("demonstration", count, len(acts))


class _Find:
    """Looks up what was recorded in earlier batches."""

    def __init__(self, log: Log, stage: Stage) -> None:
        self._log, self._stage = log, stage

    def __call__(self, key: str) -> RecordedEvent:
        receipt = self._log.receipt(_command_id(self._stage, key))
        assert receipt is not None, f"{key} comes before what refers to it"
        (entry,) = self._log.read_log(receipt.entries[0].position - 1, 1)
        return entry

    def history(self, stream: Stream) -> History:
        return self._log.history(stream)


def _batches(acts: Sequence[Act]) -> list[list[Act]]:
    """Acts that are recorded shortly after each other, and do not refer to each other.

    What refers to earlier acts stands in batches with its like: those acts are recorded by then.
    """
    batches: list[list[Act]] = []
    for act in acts:
        refers = callable(act.command)
        alike = batches and refers is callable(batches[-1][0].command)
        if alike and act.at - batches[-1][0].at <= _BATCH:
            batches[-1].append(act)
        else:
            batches.append([act])
    return batches


def _command_id(stage: Stage, key: str) -> UUID:
    return stage.ids("command", key)


# --- What is told of it ---------------------------------------------------------------------


def _personas(stage: Stage) -> list[dict[str, str]]:
    """Somebody of each role to look around as; therapist, client and supervisor are of one
    relationship."""
    first = stage.told[0]
    names = {str(one.id): one.name for one in stage.known}
    shown = (
        (Role.THERAPIST, _ids(first["therapists"])[0]),
        (Role.CLIENT, _ids(first["clients"])[0]),
        (Role.SUPERVISOR, str(first["supervisor"])),
        (Role.COMPLIANCE_OFFICER, str(stage.officer.id)),
        (Role.ADMINISTRATOR, str(stage.administrator.id)),
    )
    return [
        {"role": role.value, "name": names[principal], "principal": principal}
        for role, principal in shown
    ]


def _ids(value: object) -> list[str]:
    assert isinstance(value, list)
    return value


def _ground_truth(log: Log, stage: Stage) -> dict[str, Any]:
    planted = []
    for one in stage.planted:
        receipt = one.key and log.receipt(_command_id(stage, one.key))
        entry = receipt.entries[0] if receipt else None
        planted.append(
            {
                "kind": one.kind,
                "relationship": str(one.relationship),
                "session": one.session and str(one.session),
                "detail": one.detail,
                "stream": entry and str(entry.stream),
                "version": entry and entry.version,
                "position": entry and entry.position,
            }
        )
    return {
        "clinic": str(log.clinic),
        "seed": stage.seed,
        "now": stage.now.isoformat(),
        "acts": len(stage.acts),
        "relationships": stage.told,
        "planted": planted,
    }


def _write(path: Path, document: object) -> None:
    """Writes a file (0600) that is whole or not there."""
    draft = path.with_name(f"{path.name}.{uuid4().hex}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of the lock if the process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
