"""The processes that stay: up soon, down cleanly, one per port, whole again after a kill."""

import json
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from api.cli import terminal
from infra.postmaster import find_postmaster
from tests.api.commandline import answer, rapport, running, started

DEMO = ("demo", "--relationships", "6")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home, where the embedded server's own user can get too."""
    with tempfile.TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        monkeypatch.setenv("RAPPORT_HOME", str(home))
        yield home


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_views(url: str, server: subprocess.Popen[str]) -> None:
    """Until every view stands at the end of the log."""
    deadline = time.monotonic() + 30
    while True:
        checks = answer(f"{url}/health/ready", server)["checks"]
        if {"name": "views", "passed": True, "detail": "0 entries behind"} in checks:
            return
        assert time.monotonic() < deadline, checks
        time.sleep(0.2)


def test_the_demonstration_is_served_again_within_seconds(home: Path) -> None:
    """Requirement: filled once, a second start is up in under 5 s, SIGTERM stops everything.

    Seconds of the processor: those on the wall depend on what else the machine does.
    """
    assert rapport(*DEMO).status == 0
    size = rapport("clinic", "--format", "json").document["head"]["size"]
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for _ in range(2):
        with running("serve", "--demo", "--port", str(port)) as server:
            assert answer(f"{url}/health/live", server)["status"] == "alive"
            used = psutil.Process(server.pid).cpu_times()
            assert used.user + used.system < 5
            wait_for_views(url, server)
            server.send_signal(signal.SIGTERM)
            out, err = server.communicate(timeout=30)
            assert server.returncode == 0, err
        assert url in out
        assert "Sign in" in out
        names = [one["name"] for one in json.loads((home / "demo/personas.json").read_text())]
        assert all(name in out for name in names)
        assert "Traceback" not in err
        assert find_postmaster(home / "postgres/data") is None
    assert rapport("clinic", "--format", "json").document["head"]["size"] == size
    assert rapport("verify").status == 0


def test_a_taken_port_is_told(home: Path) -> None:
    """Requirement: a port in use is a clear message, before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = rapport("serve", "--port", port)
    assert ran.status == terminal.Exit.UNAVAILABLE
    assert f"port {port}" in ran.err
    assert "--port" in ran.err
    assert not home.exists()


def test_two_that_start_at_once_serve_one_clinic(home: Path) -> None:
    """Requirement: processes that start together on an empty home begin one clinic, not two."""
    ports = [free_port(), free_port()]
    with (
        running("serve", "--port", str(ports[0])) as one,
        running("serve", "--port", str(ports[1])) as other,
    ):
        for port, server in zip(ports, (one, other), strict=True):
            assert answer(f"http://127.0.0.1:{port}/health/ready", server)["status"] == "ready"
        for server in (one, other):
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
            assert server.returncode == 0
    assert rapport("verify").status == 0


def test_a_demonstration_that_was_killed_is_completed(home: Path) -> None:
    """Rule 8: after kill -9 in the middle, the same command completes what it began."""
    with running(*DEMO) as process:
        plan = home / "demo" / "plan.json"
        deadline = time.monotonic() + 60
        while not plan.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.4)
        process.kill()
        process.communicate()
    assert not (home / "demo" / "personas.json").exists()
    before = rapport("clinic", "--format", "json").document["head"]["size"]
    done = rapport(*DEMO, "--format", "json").document
    assert done["written"] is True
    assert done["entries"] > before
    assert rapport(*DEMO, "--format", "json").document["written"] is False
    assert rapport("verify").status == 0


def test_a_worker_shows_that_it_is_well_and_stops(home: Path) -> None:
    """Requirement: `worker.alive` is touched at least once a minute; SIGTERM ends the worker."""
    assert rapport("migrate").status == 0
    with running("work") as worker:
        alive = home / "worker.alive"
        deadline = time.monotonic() + 30
        while not alive.exists():
            assert worker.poll() is None, worker.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first = alive.stat().st_mtime_ns
        while alive.stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate(timeout=30)
        assert worker.returncode == 0, err
    assert "Traceback" not in err


def the_worker(server: subprocess.Popen[str]) -> psutil.Process:
    """The process that keeps the views of these doors, once it is there."""
    deadline = time.monotonic() + 30
    while True:
        for process in psutil.Process(server.pid).children():
            if "spawn_main" in " ".join(process.cmdline()):
                return process
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_views_are_kept_beside_the_doors(home: Path) -> None:
    """Requirement: a worker that is killed is told of, and another one takes its place."""
    port = str(free_port())
    with running("serve", "--port", port) as server:
        url = f"http://127.0.0.1:{port}"
        wait_for_views(url, server)
        killed = the_worker(server)
        killed.kill()
        psutil.wait_procs([killed], timeout=30)
        assert answer(f"{url}/health/live", server)["status"] == "alive"
        assert the_worker(server).pid != killed.pid
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=30)
    assert server.returncode == 0, err
    assert "The views stand still." in err
    assert "Traceback" not in err


def test_no_worker_outlives_the_doors(home: Path) -> None:
    """Requirement: after kill -9 of the doors their worker ends, and the database with it."""
    port = str(free_port())
    with running("serve", "--port", port) as server:
        wait_for_views(f"http://127.0.0.1:{port}", server)
        worker = the_worker(server)
        server.kill()
        gone, left = psutil.wait_procs([worker], timeout=30)
        assert (gone, left) == ([worker], [])
    deadline = time.monotonic() + 30
    while find_postmaster(home / "postgres/data") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_start_that_is_stopped_leaves_nothing_running(home: Path) -> None:
    """Requirement: stopped at any moment of its start, the database goes with it."""
    process = started("serve", "--port", "0")
    deadline = time.monotonic() + 30
    while find_postmaster(home / "postgres/data") is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    deadline = time.monotonic() + 30
    while find_postmaster(home / "postgres/data") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_demonstration_is_for_the_embedded_database(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirement: `serve --demo` never fills a database that RAPPORT_DATABASE_URL names."""
    monkeypatch.setenv("RAPPORT_DATABASE_URL", "postgresql://127.0.0.1:9/none")
    ran = rapport("serve", "--demo", "--port", "0")
    assert ran.status == terminal.Exit.USAGE
    assert "embedded" in ran.err
    assert not home.exists()
