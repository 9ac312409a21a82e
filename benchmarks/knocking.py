"""A small HTTP client for measuring: so many connections, one request at a time on each.

It runs as a process of its own, so that its work is not the server's:
`python -m benchmarks.knocking` reads a `Load` as JSON and answers with what it met.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
import uvloop

from benchmarks.harness import ROOT, Measured


@dataclass(frozen=True, slots=True)
class Request:
    """What one connection asks again and again."""

    method: str
    path: str
    token: str = ""
    body: str = ""

    def rendered(self, host: str) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode("ascii")


@dataclass(frozen=True, slots=True)
class Load:
    """One connection for each request, for so many seconds."""

    host: str
    port: int
    seconds: float
    requests: Sequence[Request]


@dataclass(frozen=True, slots=True)
class Met:
    """What came back: latencies in seconds, and how many answers had which status."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)


def knock(load: Load, expected: int, *servers: psutil.Process) -> Measured:
    """Lets a process of its own ask; CPU is that of the servers. All answers must be `expected`."""
    used = _cpu_seconds(servers)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.knocking"],
        input=json.dumps(asdict(load)), capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    cpu = _cpu_seconds(servers) - used
    met = Met(**json.loads(done.stdout))
    if set(met.statuses) != {str(expected)}:
        raise AssertionError(f"answers were {met.statuses}, not {expected}")
    return Measured(len(met.latencies), load.seconds, met.latencies, cpu)


def _cpu_seconds(servers: Sequence[psutil.Process]) -> float:
    times = [server.cpu_times() for server in servers]
    return float(sum(one.user + one.system for one in times))


async def _ask(load: Load) -> Met:
    met = Met()
    until = asyncio.get_running_loop().time() + load.seconds
    await asyncio.gather(*(_connection(load, one, until, met) for one in load.requests))
    return met


async def _connection(load: Load, request: Request, until: float, met: Met) -> None:
    reader, writer = await asyncio.open_connection(load.host, load.port)
    sent, loop = request.rendered(f"{load.host}:{load.port}"), asyncio.get_running_loop()
    while loop.time() < until:
        began = time.perf_counter()
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        met.latencies.append(time.perf_counter() - began)
        status = head[9:12].decode()
        met.statuses[status] = met.statuses.get(status, 0) + 1
    writer.close()


def _main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    requests = [Request(**one) for one in asked.pop("requests")]
    met = uvloop.run(_ask(Load(**asked, requests=requests)))
    json.dump(asdict(met), sys.stdout)


if __name__ == "__main__":
    _main()
