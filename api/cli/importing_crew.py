"""An import by several processes: each reads, decides and seals shares of it, this one appends.

The shares have no stream in common; whoever is done with one takes the next. The processes are
begun before this one has threads, so that they need not load the program again (elsewhere than on
Linux they do), and hold the only other end of a pipe: without this one each ends by itself. One
that is killed ends the import, not what was imported; the next goes on from there.
"""

import os
import signal
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from api.hands import hands, portable
from api.import_mapping import ImportMapping, Ratings, Sessions
from api.import_rows import Row, read_rows, rows_at_most
from api.importer import Importer, Progress, Report, Share
from domain.cycles import searched_seldom
from infra.apart import LogApart
from infra.event_store import ClinicLog
from infra.placing import Placing

_WORTH_IT = 2_000
_ON_THEIR_WAY = 2_000_000
"""Bytes, of three batches."""
_KEPT = 0.2
_LEAST = 250
"""So much of the rows is kept for whoever is done first, in shares of no fewer rows than that."""

Opening = Callable[[], AbstractContextManager[ClinicLog]]
"""Opens the log, in whichever process; it can be pickled."""


class ImportHandLost(Exception):
    """A process that imported was ended from outside. The next import goes on where it was."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What one process is told to do."""

    opening: Opening
    mapping: ImportMapping
    folder: Path
    actor: UUID
    before: int
    share: Share
    """The first; each further one is sent by itself, and in the end None."""


class _Done(NamedTuple):
    """A share was imported: a report for each stage."""

    reports: list[Report]


class _Progress(NamedTuple):
    share: int
    what: str
    done: int
    rows: int


@contextmanager
def hands_for(mapping: ImportMapping, folder: Path) -> Iterator["ImportHands | None"]:
    """A process for each processor, where there are rows enough; else None: this one alone."""
    files = {mapping.sessions.file, *(ratings.file for ratings in mapping.ratings)}
    processors = os.cpu_count() or 1
    if processors == 1 or sum(rows_at_most(folder / file) for file in files) < _WORTH_IT:
        yield None
        return
    with import_hands(processors) as importing:
        yield importing


@contextmanager
def import_hands(number: int) -> Iterator["ImportHands"]:
    """So many processes that import, until the end of the block."""
    # A thread would not be there in a process that was forked, what it holds locked would stay so.
    forks = sys.platform == "linux" and threading.active_count() == 1
    context: Any = get_context("fork" if forks else "spawn")
    # One that is forked has the ends of this process too, and lets go of them.
    with hands(context, number, _serve, lambda ends: (ends if forks else [],)) as ends:
        yield ImportHands(ends)


class ImportHands:
    """Processes that import shares."""

    def __init__(self, ends: Sequence[Connection]) -> None:
        self._ends = ends

    def import_(
        self,
        log: ClinicLog,
        opening: Opening,
        mapping: ImportMapping,
        folder: Path,
        actor: UUID,
        progress: Progress | None = None,
    ) -> Report:
        """As `Importer.run`, by all of them. Raises what a process raised, or ImportHandLost."""
        before = log.head_size()
        declared = Importer(log, mapping, folder, actor).declare()
        shares = deque(shares_of(mapping, folder, len(self._ends)))
        ends = self._ends[: len(shares)]
        done: list[list[Report]] = []
        told: dict[str, dict[int, int]] = {}

        def heard(end: Connection, message: Any) -> bool:
            match message:
                case _Progress(share, what, rows, rows_in_all):
                    of_each = told.setdefault(what, {})
                    of_each[share] = rows
                    if progress is not None:
                        progress(what, sum(of_each.values()), rows_in_all)
                    return False
                case _Done(reports):
                    done.append(reports)
                    further = shares.popleft() if shares else None
                    end.send(further)
                    return further is None
            raise message

        try:
            for end in ends:
                end.send(_Task(opening, mapping, folder, actor, before, shares.popleft()))
            Placing(log, ends, heard).run()
        except BaseException as error:
            for end in self._ends:  # whatever they are about, they end
                end.close()
            if isinstance(error, EOFError | ConnectionError):
                raise ImportHandLost from None
            raise
        return Report.of([[declared], *zip(*done, strict=True)])


# --- Shares -----------------------------------------------------------------------------------


def shares_of(mapping: ImportMapping, folder: Path, number: int) -> list[Share]:
    """The source cut into shares that have no person in common, and so no stream, for so many
    processes: one for each, and what is kept for those that are done first. MappingBroken."""
    named, groups = mapping.relationships, _Groups()
    columns = (named.key, named.therapist, named.client)
    for row in read_rows(folder, named.file, columns):
        if isinstance(row, Row):
            key = "relationship", row[named.key]
            groups.join(key, ("therapist", row[named.therapist]))
            groups.join(key, ("client", row[named.client]))
    rows: Counter[str] = Counter()
    sources: tuple[Sessions | Ratings, ...] = (mapping.sessions, *mapping.ratings)
    for source in sources:
        for row in read_rows(folder, source.file, (source.relationship,)):
            if isinstance(row, Row):
                rows[row[source.relationship]] += 1
    sizes: Counter[_Name] = Counter()
    for name in groups.names("relationship"):
        sizes[groups.first_of(name)] += 1 + rows[name[1]]
    room, of = _rooms(sizes.total(), number), dict[_Name, int]()
    for group, size in sizes.most_common():
        of[group] = widest = room.index(max(room))
        room[widest] -= size
    found = {name[1]: of[groups.first_of(name)] for name in groups.names("relationship")}
    return [Share(found, n) for n in sorted({0, *of.values()})]


def _rooms(rows: int, number: int) -> list[float]:
    """How many rows each share is to have: where there are enough, a fifth is kept in small ones,
    as each means to read the files once more."""
    kept = _KEPT if number > 1 and rows * _KEPT >= 2 * number * _LEAST else 0
    small = [rows * kept / (2 * number)] * (2 * number) if kept else []
    return [rows * (1 - kept) / number] * number + small


_Name = tuple[str, str]


class _Groups:
    """Names that belong together because each is joined to another of them."""

    def __init__(self) -> None:
        self._joined: dict[_Name, _Name] = {}

    def join(self, one: _Name, other: _Name) -> None:
        self._joined[self.first_of(one)] = self.first_of(other)

    def first_of(self, name: _Name) -> _Name:
        """The name that stands for the group."""
        while (above := self._joined.setdefault(name, name)) != name:
            # What was looked up is found sooner the next time.
            self._joined[name] = name = self._joined[above]
        return name

    def names(self, kind: str) -> list[_Name]:
        return [name for name in self._joined if name[0] == kind]


# --- In each process --------------------------------------------------------------------------


def _serve(end: Connection, not_its_own: Sequence[Connection]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first one says when
    _widen(end)
    for connection in not_its_own:
        connection.close()  # else a process would keep itself, and others, from noticing the end
    try:
        with searched_seldom():  # not never: of rows that are refused something is in cycles
            while True:
                _import_shares(end, end.recv())
    except (EOFError, ConnectionError):
        return  # nobody is there any more
    except Exception as error:
        with suppress(ConnectionError):
            end.send(portable(error))


def _widen(end: Connection) -> None:
    """Has the pipe hold several batches, as far as the system lets it. Else whoever hands one in
    waits until it is read, and whoever reads it, in the middle, for the rest."""
    with suppress(OSError), socket.socket(fileno=os.dup(end.fileno())) as pipe:
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THEIR_WAY)


def _import_shares(end: Connection, task: _Task) -> None:
    with task.opening() as log:
        apart, share = LogApart(log, end), task.share
        while share is not None:
            importer = Importer(apart, task.mapping, task.folder, task.actor, share)
            told = partial(_tell, end, share.number)
            end.send(_Done(importer.run_share(task.before, told)))
            share = end.recv()


def _tell(end: Connection, share: int, what: str, done: int, rows: int) -> None:
    end.send(_Progress(share, what, done, rows))
