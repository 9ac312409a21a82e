"""The tree as tiles and as what proofs begin from: against RFC 6962 as it is written, and against
a database that lies.

Entries of these tests are rows with leaf inputs and nothing else that counts. tests/api/
test_tiles.py looks at a real log, through the doors.
"""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.postgres import Database, EmbeddedPostgres
from infra.proof import consistency_proof, inclusion_proof
from infra.tiles import (
    PathRefused,
    TiledHashes,
    TilePath,
    tiles_of,
)
from tests.infra.trees import (
    CT_LEAVES,
    CT_ROOTS,
    Stored,
    audit_path,
    mth,
    numbered,
    spec_tile,
    subproof,
)

MOST = 700
TWO_LEVELS = 256 * 256 + 300
LEVELS = "SELECT level, count(*) FROM rapport.subtrees WHERE clinic = %(clinic)s GROUP BY 1"


@pytest.fixture(scope="module")
def database(new_database: Callable[[], Database]) -> Database:
    return new_database()


@pytest.fixture
def stored(server: EmbeddedPostgres, database: Database) -> Iterator[Stored]:
    """A tree without leaves."""
    tree = Stored(server, database)
    yield tree
    tree.close()


@pytest.fixture(scope="module")
def grown(server: EmbeddedPostgres, database: Database) -> Iterator[Stored]:
    """A tree of several tiles, of which the first is kept. It is not changed."""
    tree = Stored(server, database)
    tree.grow(*numbered(MOST))
    tree.filler.fill(300)
    yield tree
    tree.close()


@pytest.fixture(scope="module")
def tall(server: EmbeddedPostgres, database: Database) -> Iterator[Stored]:
    """A tree of three levels of tiles."""
    tree = Stored(server, database)
    tree.grow(*numbered(TWO_LEVELS))
    tree.fill()
    yield tree
    tree.close()


# --- Paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tile/0/000", TilePath(0, 0)),
        ("tile/0/x001/x234/067", TilePath(0, 1_234_067)),
        ("tile/63/999.p/1", TilePath(63, 999, 1)),
        ("tile/2/x001/000.p/255", TilePath(2, 1000, 255)),
        ("tile/entries/007", TilePath(None, 7)),
        ("tile/entries/x001/x000/007.p/10", TilePath(None, 1_000_007, 10)),
    ],
)
def test_a_path_is_written_and_read_as_the_specification_says(text: str, path: TilePath) -> None:
    """tlog-tiles: levels 0 to 63, three digits a part, `x` before all but the last."""
    assert str(path) == text
    assert TilePath.parse(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/64/000",
        "tile/00/000", "tile/01/000", "tile/-1/000", "tile/0/x000/000", "tile/0/x001", "tile/0/001/000",
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p",
        "tile/0/000/", "/tile/0/000", "tile/0/000\n", "tile/0/٠٠٠", "tile/entries/x1/000",
        "tile/data/000", "tile/0/X001/000", "tile/0/000.p/1.p/1", "tile/0/../000",
    ],
)  # fmt: skip
def test_another_spelling_is_no_path(text: str) -> None:
    """tlog-tiles: one tile has one path, and what is not written so is refused."""
    with pytest.raises(PathRefused):
        TilePath.parse(text)


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_every_path_is_read_as_it_was_written(level: int | None, index: int, width: int) -> None:
    """tlog-tiles: writing and reading a path are each other's inverse."""
    path = TilePath(level, index, width)
    assert TilePath.parse(str(path)) == path


def test_a_tree_has_the_tiles_that_the_specification_counts() -> None:
    """tlog-tiles, «Partial Tiles»: its examples of 70,000 and of 256 leaves."""
    tiles = list(tiles_of(70_000))
    assert tiles.count(TilePath(0, 273, 112)) == 1
    assert [path for path in tiles if path.level == 0 and path.width == 256] == [
        TilePath(0, index) for index in range(273)
    ]
    assert [path for path in tiles if path.level != 0] == [
        TilePath(1, 0), TilePath(1, 1, 17), TilePath(2, 0, 1),
    ]  # fmt: skip
    assert list(tiles_of(256)) == [TilePath(0, 0), TilePath(1, 0, 1)]
    assert list(tiles_of(0)) == []


# --- Against RFC 6962 -----------------------------------------------------------------------


def test_known_leaves_have_their_known_roots(stored: Stored) -> None:
    """RFC 6962: the test data of Certificate Transparency, from rows of the database."""
    stored.grow(*CT_LEAVES)
    for size, root in enumerate(CT_ROOTS, 1):
        assert mth(CT_LEAVES[:size]).hex() == root
        tree = stored.tree(size)
        for index in range(size):
            assert tree.inclusion(index) == tuple(audit_path(index, CT_LEAVES[:size]))


@settings(max_examples=40)
@given(st.data())
def test_proofs_are_those_of_the_definition(grown: Stored, data: st.DataObject) -> None:
    """RFC 6962 sections 2.1.1 and 2.1.2: path and consistency proof, at every size."""
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    leaves = grown.leaves[:size]
    assert grown.tree(size).inclusion(index) == tuple(audit_path(index, leaves))
    assert grown.tree(size).consistency(old, mth(leaves[:old])) == tuple(subproof(old, leaves))


@settings(max_examples=30)
@given(st.data())
def test_tiles_are_those_of_the_definition(grown: Stored, data: st.DataObject) -> None:
    """tlog-tiles: each tile of a tree of any size, and each width that it had on the way."""
    size = data.draw(st.integers(1, MOST))
    whole = data.draw(st.sampled_from(list(tiles_of(size))))
    assert whole.level is not None
    width = data.draw(st.integers(1, whole.width))
    path = TilePath(whole.level, whole.index, width)
    tree = grown.tree(size)
    assert tree.holds(path)
    assert tree.tile(path) == spec_tile(whole.level, whole.index, width, grown.leaves)


def test_what_is_past_the_signed_size_is_not_held(grown: Stored) -> None:
    """tlog-tiles: no empty tile, and none that the checkpoint does not reach."""
    tree = grown.tree(300)
    beyond = [
        TilePath(0, 1, 45), TilePath(0, 1), TilePath(0, 2, 1), TilePath(1, 0, 2), TilePath(1, 1, 1),
        TilePath(2, 0, 1), TilePath(63, 0), TilePath(None, 1, 45),
    ]  # fmt: skip
    assert [path for path in beyond if tree.holds(path)] == []
    assert not grown.tree(0).holds(TilePath(0, 0, 1))
    assert all(tree.holds(path) for path in tiles_of(300))
    assert tree.holds(TilePath(0, 1, 3))


def test_a_bundle_holds_each_leaf_input_after_its_length(grown: Stored) -> None:
    """tlog-tiles, «Log entries»: big-endian lengths of 16 bits."""
    bundle = grown.tree(300).entries(TilePath(None, 1, 44))
    told = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        told.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    assert told == grown.leaves[256:300]


def test_a_tree_of_three_levels_gives_the_same(tall: Stored) -> None:
    """RFC 6962: with rows of two levels kept, and with none at all."""
    assert dict(tall.run(LEVELS)) == {1: TWO_LEVELS // 256, 2: 1}  # type: ignore[arg-type]
    tree = tall.tree()
    for path in (TilePath(2, 0, 1), TilePath(1, 1, 1), TilePath(1, 0), TilePath(0, 257, 44)):
        assert path.level is not None
        assert tree.tile(path) == spec_tile(path.level, path.index, path.width, tall.leaves)
    for index in (0, 65_535, 65_536, TWO_LEVELS - 1):
        assert tree.inclusion(index) == tuple(audit_path(index, tall.leaves))
    assert tree.consistency(65_000) == tuple(subproof(65_000, tall.leaves))
    alone = TiledHashes(tall.datastore, tiles_held=2)
    assert inclusion_proof(70, TWO_LEVELS, alone) == tree.inclusion(70)
    assert consistency_proof(257, TWO_LEVELS, alone) == tree.consistency(257)
