"""Authenticated commands through `rapport serve` beside FastAPI endpoints that do next to nothing.

One server process each, 32 connections, one client process that asks all of them alike. Ours is a
client's rating of the alliance: a token is looked up, a role, the door, every rule, and the answer
is the signed receipt. The worker keeps the views in the same process meanwhile.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psutil

from benchmarks.harness import ROOT, Contender, Effort, asked, compare
from benchmarks.invented import Case, InventedClinic, told
from benchmarks.knocking import Load, Request, knock
from benchmarks.places import Place, place
from benchmarks.stock import PAYLOAD
from domain.access import Role

CONNECTIONS = 32


def ratings(at: Place, port: int, server: psutil.Process, cases: list[Case]) -> Contender:
    """Each connection is that of another client."""
    requests = [
        Request(
            "POST",
            "/api/v1/commands/rate-alliance",
            at.token(case.client, Role.CLIENT),
            case.rating().command.model_dump_json(exclude_unset=True, exclude={"rating"}),
        )
        for case in cases
    ]

    return lambda callers, seconds: knock(
        Load("127.0.0.1", port, seconds, requests[:callers]), 201, server
    )


@contextmanager
def bare(dsn: str) -> Iterator[tuple[int, psutil.Process]]:
    """The bare endpoints in a process of their own: its port, and the process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [
            sys.executable, "-m", "uvicorn", "benchmarks.bare_endpoints:app",
            "--port", str(port), "--no-access-log", "--log-level", "warning",
        ],
        env={**os.environ, "BARE_DSN": dsn}, cwd=ROOT,
    ) as process:  # fmt: skip
        try:
            _until_it_listens(port)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def _until_it_listens(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def endpoint(port: int, server: psutil.Process, path: str) -> Contender:
    """One of the bare endpoints, with a body as long as ours."""
    body = f'{{"stream":"{uuid4()}","text":"{PAYLOAD}"}}'
    request = Request("POST", path, body=body)
    return lambda callers, seconds: knock(
        Load("127.0.0.1", port, seconds, [request] * callers), 201, server
    )


def opened_cases(at: Place, number: int) -> list[Case]:
    """Relationships in which a session was held and consents were given."""
    clinic = InventedClinic()
    told(at.records, list(clinic.founding()))
    cases = []
    for _ in range(number):
        before, case = clinic.case()
        told(at.records, [*before, *case.opening(), *case.session(0)])
        cases.append(case)
    return cases


def main(effort: Effort) -> None:
    """Prints the comparison for 1 and for 32 connections."""
    with place() as at:
        cases = opened_cases(at, CONNECTIONS)
        with at.serving() as (port, server), bare(at.dsn()) as (bare_port, bare_server):
            contenders = {
                "ours": ratings(at, port, server, cases),
                "bare INSERT endpoint": endpoint(bare_port, bare_server, "/insert"),
                "empty endpoint": endpoint(bare_port, bare_server, "/empty"),
            }
            for callers in (1, CONNECTIONS):
                compare(
                    "HTTP", contenders, at, callers,
                    rounds=effort.rounds, seconds=effort.seconds,
                )  # fmt: skip
        at.require_sound()


if __name__ == "__main__":
    main(asked())
