"""The tree as tiles and as what proofs begin from: against RFC 6962 as it is written, and against
a database that lies.

Entries of these tests are rows with leaf inputs and nothing else that counts. tests/api/
test_tiles.py looks at a real log, through the doors.
"""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege

from infra.clinics import pinned
from infra.postgres import Database, EmbeddedPostgres, Role
from infra.proof import consistency_proof, inclusion_proof
from infra.tiles import (
    PathRefused,
    SignedTree,
    SubtreeFiller,
    TiledHashes,
    TilePath,
    TilesBroken,
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
    "text, path",
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
        "tile/00/000", "tile/01/000", "tile/-1/000", "tile/0/x000/000", "tile/0/x001",
        "tile/0/001/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
        "tile/0/000.p/", "tile/0/000.p",
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


# --- Rows that are kept ---------------------------------------------------------------------


def test_what_is_kept_is_filled_once_whoever_comes(stored: Stored) -> None:
    """Derived data: four fill at once, a fifth continues, and every row is there once."""
    stored.grow(*numbered(1_000))
    racing = [SubtreeFiller(stored.database.dsn("views"), stored.clinic) for _ in range(4)]
    threads = [threading.Thread(target=each.fill, args=(1_000,)) for each in racing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored.run(LEVELS) == [(1, 3)]
    assert stored.fill() == 0
    stored.grow(*numbered(100))
    assert (stored.fill(), stored.fill()) == (1, 0)
    assert stored.tree().inclusion(1_050) == tuple(audit_path(1_050, stored.leaves))


def test_rows_that_were_deleted_are_computed_and_filled_again(stored: Stored) -> None:
    """Derived data: the owner may delete it; proofs hold meanwhile, and a new process fills it."""
    stored.grow(*numbered(1_000))
    stored.fill()
    stored.run("DELETE FROM rapport.subtrees WHERE clinic = %(clinic)s AND index = 1")
    stored.hashes.forget()
    assert stored.tree().inclusion(900) == tuple(audit_path(900, stored.leaves))
    assert SubtreeFiller(stored.database.dsn("views"), stored.clinic).fill(1_000) == 1
    assert stored.run(LEVELS) == [(1, 3)]


def test_entries_that_are_missing_have_no_row(stored: Stored) -> None:
    """Derived data: nothing is kept over a hole, and what lies past it is."""
    stored.grow(*numbered(600))
    stored.run("DELETE FROM rapport.entries WHERE clinic = %(clinic)s AND position = 7")
    assert stored.fill() == 1
    with pytest.raises(TilesBroken) as broken:
        stored.tree().inclusion(300)
    assert (broken.value.code, broken.value.first, broken.value.last) == ("missing", 1, 256)


@pytest.mark.parametrize("role", ["app", "import", "read"])
def test_only_whoever_keeps_the_views_adds_rows(stored: Stored, role: Role) -> None:
    """Grants: other roles read what is kept and write nothing."""
    stored.grow(*numbered(256))
    with pytest.raises(InsufficientPrivilege):
        SubtreeFiller(stored.database.dsn(role), stored.clinic).fill(256)


@pytest.mark.parametrize(
    "statement", ["UPDATE rapport.subtrees SET index = 9", "DELETE FROM rapport.subtrees"]
)
def test_whoever_adds_rows_changes_none(stored: Stored, statement: str) -> None:
    """Grants: rapport_views inserts; deleting is the owner's."""
    with (
        psycopg.connect(pinned(stored.database.dsn("views"), stored.clinic)) as conn,
        pytest.raises(InsufficientPrivilege),
    ):
        conn.execute(statement.encode())


def test_rows_of_another_clinic_are_out_of_sight(stored: Stored, grown: Stored) -> None:
    """R35: row-level security stands under the clinic of each query."""
    everything = b"SELECT count(*) FROM rapport.subtrees"
    with psycopg.connect(pinned(stored.database.dsn("read"), stored.clinic)) as conn:
        assert conn.execute(everything).fetchone() == (0,)
    assert grown.run(LEVELS) == [(1, 1)]


# --- A database that lies -------------------------------------------------------------------

SPOIL = {
    "row": "UPDATE rapport.subtrees SET hash = sha256(hash) "
    "WHERE clinic = %(clinic)s AND level = 1 AND index = 1",
    "rows": "UPDATE rapport.subtrees SET hash = other.hash FROM rapport.subtrees AS other "
    "WHERE subtrees.clinic = %(clinic)s AND other.clinic = subtrees.clinic "
    "AND subtrees.level = 1 AND other.level = 1 AND subtrees.index + other.index = 1",
    "early": "UPDATE rapport.entries SET leaf_input = 'another' "
    "WHERE clinic = %(clinic)s AND position = 300",
    "late": "UPDATE rapport.entries SET leaf_input = 'another' "
    "WHERE clinic = %(clinic)s AND position = 590",
    "gone": "DELETE FROM rapport.entries WHERE clinic = %(clinic)s AND position = 590",
}
"""A kept root, two kept roots changed about, an entry below a kept root, one past all, a hole."""

ASK: dict[str, Callable[[SignedTree], object]] = {
    "early path": lambda tree: tree.inclusion(299),
    "late path": lambda tree: tree.inclusion(580),
    "early tile": lambda tree: tree.tile(TilePath(0, 1)),
    "late tile": lambda tree: tree.tile(TilePath(0, 2, 88)),
    "upper tile": lambda tree: tree.tile(TilePath(1, 0, 2)),
    "early bundle": lambda tree: tree.entries(TilePath(None, 1, 44)),
    "late bundle": lambda tree: tree.entries(TilePath(None, 2, 88)),
    "consistency": lambda tree: tree.consistency(555),
}
FOUND = {
    ("row", "late path"): ("subtree", 257, 512),
    ("row", "late tile"): ("subtree", 257, 512),
    ("row", "upper tile"): ("subtree", 257, 512),
    ("row", "late bundle"): ("subtree", 257, 512),
    ("row", "consistency"): ("subtree", 257, 512),
    ("rows", "late path"): ("subtree", 1, 256),
    ("rows", "early path"): ("subtree", 1, 256),
    ("rows", "upper tile"): ("subtree", 1, 256),
    ("early", "early path"): ("subtree", 257, 512),
    ("early", "early tile"): ("subtree", 257, 512),
    ("early", "early bundle"): ("subtree", 257, 512),
    ("late", "early path"): ("root", 1, 600),
    ("late", "late path"): ("root", 1, 600),
    ("late", "late tile"): ("root", 1, 600),
    ("late", "upper tile"): ("root", 1, 600),
    ("late", "late bundle"): ("root", 1, 600),
    ("late", "consistency"): ("root", 1, 600),
    ("gone", "late tile"): ("missing", 513, 600),
    ("gone", "late bundle"): ("missing", 513, 600),
    ("gone", "consistency"): ("missing", 513, 592),
}


@pytest.mark.parametrize("asked", ASK)
@pytest.mark.parametrize("spoilt", SPOIL)
def test_nothing_that_was_changed_is_given_out(stored: Stored, spoilt: str, asked: str) -> None:
    """The database is the suspect: the same answer as before, or an error that names the range."""
    stored.grow(*numbered(600))
    stored.fill()
    tree = stored.tree()
    answer = ASK[asked](tree)
    stored.run(SPOIL[spoilt])
    stored.hashes.forget()
    try:
        assert ASK[asked](tree) == answer
        found = None
    except TilesBroken as broken:
        found = broken.code, broken.first, broken.last
    if (spoilt, asked) in FOUND:
        assert found == FOUND[spoilt, asked]


def test_a_row_of_the_level_above_is_held_against_those_below(
    server: EmbeddedPostgres, database: Database
) -> None:
    """The database is the suspect: a wrong root over 65,536 entries is named as that."""
    tree = Stored(server, database)
    tree.grow(*numbered(TWO_LEVELS))
    tree.fill()
    tree.run(
        "UPDATE rapport.subtrees SET hash = sha256(hash) WHERE clinic = %(clinic)s AND level = 2"
    )
    with pytest.raises(TilesBroken) as broken:
        tree.tree().inclusion(TWO_LEVELS - 1)
    tree.close()
    assert (broken.value.code, broken.value.first, broken.value.last) == ("subtree", 1, 65_536)


def test_a_log_that_was_rewritten_continues_nothing(stored: Stored) -> None:
    """Consistency: another root was signed for before, so no proof leads from it."""
    stored.grow(*numbered(40))
    with pytest.raises(TilesBroken) as broken:
        stored.tree().consistency(30, mth([b"another", *stored.leaves[1:30]]))
    assert (broken.value.code, broken.value.first, broken.value.last) == ("diverged", 1, 30)
