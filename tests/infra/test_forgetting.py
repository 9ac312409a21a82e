"""What a process keeps ready in memory is forgotten when a key is destroyed, though nobody asks."""

import subprocess
import time

from tests.infra.rings import CLINIC, STREAM, Place

IDLE = """
class Cache:
    def __init__(self, held):
        self.held = held

    def forget(self):
        overwritten = self.held == bytes(32) and not any(ring._keys.values())
        print(time.monotonic(), overwritten, flush=True)

key_id = UUID(sys.argv[1])
with opened() as ring, ring.watched():
    time.sleep(1.6)  # it forgets twice when it begins
    cache = Cache(None) if ring.get(CLINIC, key_id) is None else Cache(ring._keys[CLINIC, key_id])
    ring.on_destroyed(cache.forget)
    print("holds", cache.held != bytes(32), flush=True)
    sys.stdin.read()
"""
"""Holds a key, and asks the ring nothing more; says when it was told, and what became of it."""


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_idle_processes_forget_within_a_second(place: Place) -> None:
    """Rule 9: nobody asks them anything, and yet the key's bytes leave their memory."""
    with place.open() as ring:
        key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
        idle = [place.start(IDLE, str(key_id)) for _ in range(2)]
        try:
            assert [said(process) for process in idle] == [["holds", "True"]] * 2
            ring.destroy(CLINIC, key_id)
            ended = time.monotonic()
            for told, overwritten in map(said, idle):
                assert overwritten == "True"
                assert float(told) - ended < 1
        finally:
            for process in idle:
                process.kill()
                process.communicate()
