"""Sixteen writers in two processes, two workers in two more, one of which is killed: nothing is
lost, nothing is there twice, and the views are what a rebuild makes of the log."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.alliance import AllianceRated
from domain.goal import GoalProposed
from domain.relationship import relationship_stream
from infra.clinics import pinned
from infra.postgres import ROLES
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from projections.rebuild import rebuild
from tests.api.commandline import ROOT, running
from tests.api.conftest import House

PROCESSES, THREADS, RATINGS = 2, 8, 6
TWICE = tuple(uuid4() for _ in range(9))


@pytest.fixture
def environment(house: House) -> dict[str, str]:
    """What a process needs to serve the house's clinic."""
    database = house.practice.clinic.database
    urls = {f"RAPPORT_DATABASE_URL_{role.upper()}": database.dsn(role) for role in ROLES}
    urls["RAPPORT_DATABASE_URL"] = urls.pop("RAPPORT_DATABASE_URL_OWNER")
    return {"RAPPORT_HOME": str(house.practice.clinic.home), **urls}


def writer(house: House, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A process with eight writers, which waits for the word to begin."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.paths.writer"],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    task = {
        "relationship": str(house.relationship),
        "client": str(house.client.person),
        "threads": THREADS,
        "ratings": RATINGS,
        "twice": list(map(str, TWICE)),
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(task) + "\n")
    process.stdin.flush()
    return process


def receipts_of(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield from json.loads(line)
    process.stdout.close()
    assert process.wait(timeout=60) == 0


@pytest.fixture
def receipts(house: House, environment: dict[str, str]) -> list[dict[str, Any]]:
    """What the writers were answered while the workers ran, each after the last view is there."""
    with ExitStack() as opened:
        doomed, lasting = (opened.enter_context(running("work", **environment)) for _ in range(2))
        writers = [writer(house, environment) for _ in range(PROCESSES)]
        for process in writers:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in writers:
            assert process.stdin is not None
            process.stdin.write("begin\n")
            process.stdin.close()
        time.sleep(0.3)
        doomed.kill()
        receipts = [receipt for process in writers for receipt in receipts_of(process)]
        _wait_for_views(house, lasting)
    # The house's clock stood still since March; whoever writes after the others is behind them.
    house.practice.clinic.clock.now = datetime.now(UTC) + timedelta(seconds=1)
    return receipts


def _wait_for_views(house: House, worker: subprocess.Popen[str]) -> None:
    clinic = house.practice.clinic
    store = ViewStore(clinic.database.dsn("app"), clinic.id, clinic.keyring)
    try:
        tables = [view.table for view in VIEWS.all()]
        for _ in range(60):
            if store.wait_for(tables, clinic.log.head_size(), timeout=1):
                return
            assert worker.poll() is None, worker.communicate()
        pytest.fail("the views stand still")
    finally:
        store.close()


def test_sixteen_writers_and_two_workers(house: House, receipts: list[dict[str, Any]]) -> None:
    """Rules 2, 6 and 8: no gap, no loss, no double effect, views equal to a rebuild."""
    every_answer_stands_and_nothing_else_does(house, receipts)
    views_are_what_a_rebuild_makes_of_the_log(house, receipts)


def every_answer_stands_and_nothing_else_does(house: House, receipts: list[dict[str, Any]]) -> None:
    """Positions without a gap, one entry for each command, one receipt for a command sent sixteen
    times, and every receipt in the log at its place."""
    clinic = house.practice.clinic
    answered = {receipt["command"]: receipt for receipt in receipts}
    assert all(receipt == answered[receipt["command"]] for receipt in receipts)
    times_sent = Counter(receipt["command"] for receipt in receipts)
    assert [times_sent[str(id_)] for id_ in TWICE] == [PROCESSES * THREADS] * len(TWICE)
    writes = PROCESSES * THREADS * RATINGS
    assert len(answered) == writes + len(TWICE)

    entries = clinic.log.read_log(0, 10_000)
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
    by_command = Counter(str(entry.command_id) for entry in entries)
    assert {by_command[command] for command in answered} == {1}
    for receipt in answered.values():
        (position,) = receipt["positions"]
        assert str(entries[position - 1].command_id) == receipt["command"]
        assert position <= receipt["tree_size"] <= len(entries)
    history = clinic.log.history(relationship_stream(house.relationship))
    assert sum(1 for _ in history.of(AllianceRated)) == writes + 1
    assert sum(1 for _ in history.of(GoalProposed)) == len(TWICE) + 1
    assert clinic.check_record().size == len(entries)
    _roots_agree(house, answered)


def _roots_agree(house: House, answered: dict[str, dict[str, Any]]) -> None:
    """Each receipt's root is that of its commit; verification has proven each commit's root."""
    clinic = house.practice.clinic
    with psycopg.connect(pinned(clinic.database.dsn("read"), clinic.id)) as connection:
        rows = connection.execute("SELECT size, root FROM rapport.batches").fetchall()
    roots = {size: root.hex() for size, root in rows}
    assert all(roots[each["tree_size"]] == each["root"] for each in answered.values())


def views_are_what_a_rebuild_makes_of_the_log(house: House, receipts: list[dict[str, Any]]) -> None:
    """What two workers made together, one killed in the middle, has no row too many."""
    clinic, practice = house.practice.clinic, house.practice
    store = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    rebuilt = rebuild(VIEWS.all(), clinic.log, store)
    store.close()
    for view in rebuilt:
        assert view.comparison is not None
        assert (view.comparison.equal, view.comparison.differing) == (True, ()), view.view
    last = max(position for receipt in receipts for position in receipt["positions"])
    seen: list[int] = []
    cursor = None
    while cursor or not seen:
        asked = {"after": last, "limit": 50} | ({"cursor": cursor} if cursor else {})
        page = practice.shown(
            house.client, f"/relationships/{house.relationship}/alliance", **asked
        )
        seen += [row["rated_at"]["entry"]["position"] for row in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == PROCESSES * THREADS * RATINGS + 1
