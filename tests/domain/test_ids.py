"""Random ids: what RFC 9562 asks of them, and that nobody draws the same twice."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from domain.ids import new_id


def test_each_is_a_random_uuid_of_version_4() -> None:
    """RFC 9562, section 5.4: version 4, the variant of the RFC, and every other bit is random."""
    ids = [new_id() for _ in range(5_000)]
    assert {(id_.version, id_.variant) for id_ in ids} == {(4, RFC_4122)}
    ever, always = 0, 2**128 - 1
    for id_ in ids:
        ever |= id_.int
        always &= id_.int
    assert ever == 2**128 - 1 - (0xB << 76) - (0x1 << 62)
    assert always == 0x4 << 76 | 0x2 << 62


def test_threads_never_draw_the_same() -> None:
    """Each id names one thing: eight threads that draw at once never meet."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            drawn = pool.map(lambda _: [new_id() for _ in range(2_000)], range(8))
            ids = [id_ for some in drawn for id_ in some]
    finally:
        sys.setswitchinterval(usual)
    assert len(set(ids)) == len(ids)


def test_a_process_that_was_copied_draws_its_own() -> None:
    """Each id names one thing: bytes that were fetched before a fork are drawn on one side only."""
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(new_id().bytes for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 1_600)
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 1_600
    its_ids = {UUID(bytes=theirs[at : at + 16]) for at in range(0, 1_600, 16)}
    assert its_ids.isdisjoint(new_id() for _ in range(300))
