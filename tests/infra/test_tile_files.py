"""A folder of tiles: written whole or not at all, grown step by step, checked by its key alone."""

# ruff: noqa: S311  chosen bytes are no secret

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.checkpoint import Checkpoint, NoteSigner
from infra.postgres import Database, EmbeddedPostgres
from infra.tile_files import FolderBroken, ReadTile, check, export, reader_of, verify_tiles
from infra.tiles import TilePath, TilesBroken, tile_root, tiles_of
from tests.infra.trees import Stored, mth, numbered, spec_tile

SIGNER = NoteSigner("rapport-record/log/of-a-test", bytes(range(32)))
KEY = SIGNER.verifier
SIZE = 256 * 256 + 300
"""Two full tiles of level 1, below a partial one of level 2, beside partial ones of 1 and 0."""


def head(size: int, root: bytes) -> Checkpoint:
    return Checkpoint(KEY.name, size, root)


def signed(size: int, root: bytes) -> str:
    return str(SIGNER.sign(head(size, root).body()))


@pytest.fixture
def stored(server: EmbeddedPostgres, new_database: Callable[[], Database]) -> Iterator[Stored]:
    tree = Stored(server, new_database())
    yield tree
    tree.close()


def exported(
    stored: Stored, folder: Path, size: int | None = None, *, entries: bool = False
) -> int:
    """Writes what a tree of that size holds; how many files are new."""
    tree = stored.tree(size)
    return export(folder, signed(tree.size, tree.root), tree, KEY, entries=entries).written


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


# --- Writing --------------------------------------------------------------------------------


def test_a_folder_holds_what_the_specification_lays_out(stored: Stored, tmp_path: Path) -> None:
    """tlog-tiles: a file for each tile and bundle, and the checkpoint, byte for byte."""
    stored.grow(*numbered(600))
    exported(stored, tmp_path, entries=True)
    assert files(tmp_path) == {
        "checkpoint", "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2",
        "tile/entries/000", "tile/entries/001", "tile/entries/002.p/88",
    }  # fmt: skip
    assert (tmp_path / "checkpoint").read_text() == signed(600, mth(stored.leaves))
    assert (tmp_path / "tile/0/001").read_bytes() == spec_tile(0, 1, 256, stored.leaves)
    assert (tmp_path / "tile/1/000.p/2").read_bytes() == spec_tile(1, 0, 2, stored.leaves)
    bundle = (tmp_path / "tile/entries/002.p/88").read_bytes()
    assert bundle[:10] == b"\x00\x08leaf 512"
    assert check(tmp_path, KEY).entries


def test_entries_are_for_their_owner_alone(stored: Stored, tmp_path: Path) -> None:
    """Entry bundles hold envelopes: nobody else on the machine reads them; hashes anybody may."""
    stored.grow(*numbered(300))
    exported(stored, tmp_path, entries=True)
    assert (tmp_path / "tile/entries").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "tile/entries/000").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tile/0/000").stat().st_mode & 0o777 == 0o644


def test_a_later_export_adds_what_is_new(stored: Stored, tmp_path: Path) -> None:
    """Incremental: full tiles stay as they are, outgrown partial ones go."""
    stored.grow(*numbered(1_000))
    exported(stored, tmp_path, 500)
    kept = (tmp_path / "tile/0/000").stat()
    assert exported(stored, tmp_path, 500) == 0
    assert exported(stored, tmp_path, 510) == 1
    assert files(tmp_path) >= {"tile/0/001.p/244", "tile/0/001.p/254"}
    assert exported(stored, tmp_path, 1_000) == 4
    assert (tmp_path / "tile/0/000").stat() == kept
    assert not (tmp_path / "tile/0/001.p").exists()
    assert (
        check(tmp_path, KEY, against=head(510, mth(stored.leaves[:510]))).checkpoint.size == 1_000
    )


def test_a_log_that_grows_meanwhile_is_exported_as_it_was_signed(
    stored: Stored, tmp_path: Path
) -> None:
    """Growth while exporting: the folder is the signed tree, whatever comes behind it."""
    stored.grow(*numbered(400))
    tree = stored.tree()

    def grow(done: int, total: int) -> None:
        stored.grow(*numbered(200))

    export(tmp_path, signed(400, tree.root), tree, KEY, progress=grow)
    assert len(stored.leaves) == 800
    assert check(tmp_path, KEY).checkpoint.size == 400


def test_an_export_that_is_cut_short_leaves_no_half_file(stored: Stored, tmp_path: Path) -> None:
    """Whole or not at all: the old checkpoint stands on whole tiles until the new one is there."""
    stored.grow(*numbered(1_000))
    exported(stored, tmp_path, 300)

    class Cut(Exception):
        """The disk is full, or the process was told to stop."""

    def stop(done: int, total: int) -> None:
        if done > 700:
            raise Cut

    tree = stored.tree()
    with pytest.raises(Cut):
        export(tmp_path, signed(1_000, tree.root), tree, KEY, progress=stop)
    assert check(tmp_path, KEY).checkpoint.size == 300
    assert all(int(file.stat().st_size) % 32 == 0 for file in tmp_path.glob("tile/*/*"))
    exported(stored, tmp_path)
    assert check(tmp_path, KEY).checkpoint.size == 1_000


def test_a_folder_is_continued_by_its_own_log_alone(stored: Stored, tmp_path: Path) -> None:
    """An exported folder is a witness: a log that was cut or rewritten is not written over it."""
    stored.grow(*numbered(500))
    exported(stored, tmp_path, 400)
    with pytest.raises(FolderBroken, match="fewer entries"):
        exported(stored, tmp_path, 300)
    before = files(tmp_path)
    stored.run(
        "UPDATE rapport.entries SET leaf_input = 'x' WHERE clinic = %(clinic)s AND position = 9"
    )
    stored.leaves[8] = b"x"
    stored.hashes.forget()
    with pytest.raises(TilesBroken) as broken:
        exported(stored, tmp_path, 500)
    assert (broken.value.code, broken.value.last) == ("diverged", 400)
    other = NoteSigner("rapport-record/log/another", bytes(32)).verifier
    tree = stored.tree()
    with pytest.raises(FolderBroken, match="no checkpoint that this key has signed"):
        export(tmp_path, signed(500, tree.root), tree, other)
    assert files(tmp_path) == before


# --- Checking -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as anybody could have written it, of three levels of tiles, with its entries."""
    folder = tmp_path_factory.mktemp("log")
    leaves = numbered(SIZE)
    levels = {0: b"".join(mth([leaf]) for leaf in leaves)}
    for level in (1, 2):
        below = levels[level - 1]
        whole = range(0, len(below) - len(below) % 8192, 8192)
        levels[level] = b"".join(tile_root(below[at : at + 8192]) for at in whole)
    for path in tiles_of(SIZE):
        assert path.level is not None
        at = path.index * 8192
        write(folder, path, levels[path.level][at : at + path.width * 32])
        if path.level == 0:
            told = leaves[path.first : path.end]
            bundle = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in told)
            write(folder, TilePath(None, path.index, path.width), bundle)
    (folder / "checkpoint").write_text(signed(SIZE, mth(leaves)))
    return folder


def write(folder: Path, path: TilePath, data: bytes) -> None:
    file = folder / str(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def found(folder: Path, path: TilePath, data: bytes | None) -> tuple[str, str]:
    """What a check finds where one file holds something else, or is gone; code and file."""

    def read(asked: TilePath) -> bytes:
        if asked != path:
            return reader_of(folder)(asked)
        if data is None:
            raise FolderBroken("absent", path)
        return data

    root = Checkpoint.verified((folder / "checkpoint").read_text(), KEY).root
    with pytest.raises(FolderBroken) as broken:
        verify_tiles(read, SIZE, root, entries=True)
    return broken.value.code, broken.value.path


def test_every_file_that_was_changed_is_named(folder: Path) -> None:
    """Tiles: one byte of any one file, at any place, is found and the file is named."""
    check(folder, KEY)
    chosen = random.Random(7)
    paths = [*tiles_of(SIZE), *(TilePath(None, index) for index in (0, 100, 256))]
    edges = [path for path in paths if path.width < 256 or path.level != 0]
    for path in [*edges, *chosen.sample(paths, 12)]:
        spoilt = bytearray((folder / str(path)).read_bytes())
        spoilt[chosen.randrange(len(spoilt))] ^= 1 << chosen.randrange(8)
        code, name = found(folder, path, bytes(spoilt))
        assert name == str(path)
        assert code in ({"tile"} if path.level is not None else {"entries", "length"})


def test_a_file_that_is_cut_or_gone_is_named(folder: Path) -> None:
    """Tiles: absent, too short, too long, and a bundle that ends in the middle of an entry."""
    for path in (TilePath(2, 0, 1), TilePath(1, 1, 1), TilePath(0, 257, 44), TilePath(0, 3)):
        whole = (folder / str(path)).read_bytes()
        assert found(folder, path, None) == ("absent", str(path))
        assert found(folder, path, whole[:-1]) == ("length", str(path))
        assert found(folder, path, whole + bytes(32)) == ("length", str(path))
    bundle = TilePath(None, 5)
    whole = (folder / str(bundle)).read_bytes()
    for other in (b"", whole[:-1], whole + b"\x00", whole + b"\x00\x00"):
        assert found(folder, bundle, other) == ("length", str(bundle))


def test_a_checkpoint_that_the_key_did_not_sign_proves_nothing(
    folder: Path, tmp_path: Path
) -> None:
    """Strict: another key, another root under the signature, text around it, no checkpoint."""
    other = NoteSigner(KEY.name, bytes(32))
    note = (folder / "checkpoint").read_text()
    forged = str(other.sign(note.partition("\n\n")[0] + "\n"))
    for text in (forged, note.replace(str(SIZE), str(SIZE - 1)), note + "\n", " " + note, "", "\0"):
        (tmp_path / "checkpoint").write_text(text)
        with pytest.raises(FolderBroken) as broken:
            check(tmp_path, KEY)
        assert (broken.value.code, broken.value.path) == ("note", "checkpoint")
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(FolderBroken, match="checkpoint is not there"):
        check(tmp_path, KEY)


def test_tiles_of_another_log_do_not_fit_the_signature(folder: Path) -> None:
    """Tiles: a tree whose tiles all fit each other is refused under another root."""
    for size in (256, 65_536):
        with pytest.raises(FolderBroken) as broken:
            verify_tiles(complete(folder, size), size, bytes(32))
        assert broken.value.code == "root"


def complete(folder: Path, size: int) -> ReadTile:
    """The first full tiles of the folder as a tree of their own."""
    level = 1 if size == 256 else 2
    top = TilePath(level, 0, 1)
    below = reader_of(folder)(TilePath(level - 1, 0))
    return lambda path: tile_root(below) if path == top else reader_of(folder)(path)


def test_a_folder_is_held_against_what_was_kept_elsewhere(folder: Path) -> None:
    """Consistency: an earlier checkpoint is continued; a longer one, or another, is not."""
    leaves = numbered(SIZE)
    for size in (0, 1, 256, 65_000, SIZE):
        check(folder, KEY, against=head(size, mth(leaves[:size])))
    with pytest.raises(FolderBroken) as broken:
        check(folder, KEY, against=head(SIZE + 1, mth([*leaves, b"one more"])))
    assert broken.value.code == "behind"
    with pytest.raises(FolderBroken) as broken:
        check(folder, KEY, against=head(300, mth(leaves[1:301])))
    assert broken.value.code == "diverged"


def test_checking_takes_little_memory_and_is_quick(folder: Path) -> None:
    """Performance: 300,000 leaves a second a core from tiles, in the memory of a few tiles."""
    program = (
        "import resource, sys, time\n"
        "from pathlib import Path\n"
        "from infra.checkpoint import Checkpoint, SignedNote\n"
        "from infra.tile_files import reader_of, verify_tiles\n"
        "folder = Path(sys.argv[1])\n"
        "head = Checkpoint.parse(SignedNote.parse((folder / 'checkpoint').read_text()).text)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for _ in range(3):\n"
        "    verify_tiles(reader_of(folder), head.size, head.root)\n"
        "used = time.process_time()\n"
        "verify_tiles(reader_of(folder), head.size, head.root)\n"
        "used = time.process_time() - used\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(head.size / used, after - before)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    rate, kib = map(float, ran.stdout.split())
    assert rate > 300_000
    assert kib < 4_096
