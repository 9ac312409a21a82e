"""Random ids: what RFC 9562 asks of them, and that nobody draws the same twice."""

import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.ids import id_of, new_id


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


@for_all(st.binary(min_size=16, max_size=64))
def test_an_id_of_a_digest_is_the_one_that_its_class_makes(digest: bytes) -> None:
    """Rule 1: equal, of the same hash and text, and as little to be changed; also when copied."""
    id_, expected = id_of(digest), UUID(bytes=digest[:16])
    assert type(id_) is UUID
    assert id_ == expected
    assert (hash(id_), str(id_), id_.is_safe) == (hash(expected), str(expected), expected.is_safe)
    assert pickle.loads(pickle.dumps(id_)) == copy(id_) == expected  # noqa: S301  our own
    with pytest.raises(TypeError, match="immutable"):
        id_.int = 7  # type: ignore[misc]


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
