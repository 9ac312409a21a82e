"""Somebody who reads our log and knows the specifications alone: C2SP signed-note, tlog-checkpoint,
tlog-tiles and tlog-proof, RFC 6962 and RFC 9162. Nothing here imports the product.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Fetch = Callable[[str], bytes]
"""The bytes at a path below the log's prefix; an error where there are none."""


@dataclass(frozen=True)
class Head:
    """What a log signed."""

    origin: str
    size: int
    root: bytes


def opened(note: str, vkey: str) -> Head:
    """signed-note, tlog-checkpoint: the head in a note that this key signed, or an error."""
    name, key_id, key = vkey.split("+", 2)
    material = base64.b64decode(key, validate=True)
    assert material[0] == 1
    assert hashlib.sha256(name.encode() + b"\n" + material).digest()[:4].hex() == key_id
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    verified = 0
    assert signatures.endswith("\n")
    for line in signatures[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        assert dash == "\u2014"
        said = base64.b64decode(encoded, validate=True)
        if signer == name and said[:4].hex() == key_id:
            Ed25519PublicKey.from_public_bytes(material[1:]).verify(said[4:], text.encode())
            verified += 1
    assert verified == 1
    origin, size, root, rest = text.split("\n")
    assert (origin, rest) == (name, "")
    assert str(int(size)) == size
    return Head(origin, int(size), base64.b64decode(root, validate=True))


def path_of(level: int | str, index: int, width: int) -> str:
    """tlog-tiles: where a tile is found."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    encoded = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
    return f"tile/{level}/{encoded}" + ("" if width == 256 else f".p/{width}")


def tiles(level: int | str, size: int) -> list[tuple[str, int]]:
    """Path and width of every tile at a level; `entries` counts as level 0."""
    count = size // 256 ** (level if isinstance(level, int) else 0)
    widths = [256] * (count // 256) + [count % 256] * (count % 256 > 0)
    return [(path_of(level, index, width), width) for index, width in enumerate(widths)]


def hashes_in(tile: bytes, width: int) -> list[bytes]:
    assert len(tile) == 32 * width
    return [tile[at : at + 32] for at in range(0, len(tile), 32)]


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, over hashes of leaves or of complete subtrees."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return node(tree(hashes[:k]), tree(hashes[k:]))


def leaves_of(fetch: Fetch, head: Head) -> list[bytes]:
    """Every leaf hash, after every tile of every level was read and led to the signed root."""
    below: list[bytes] = []
    level = 0
    while head.size // 256**level:
        found = [
            each
            for path, width in tiles(level, head.size)
            for each in hashes_in(fetch(path), width)
        ]
        if level == 0:
            leaves = found
        else:
            full = [below[at : at + 256] for at in range(0, len(below) // 256 * 256, 256)]
            assert found == [tree(each) for each in full]
        below, level = found, level + 1
    assert tree(leaves) == head.root
    return leaves


def entries_of(fetch: Fetch, head: Head) -> list[bytes]:
    """Every entry that the tiles are of, in order, each hashed and compared."""
    entries = []
    for path, width in tiles("entries", head.size):
        bundle, told = fetch(path), 0
        while bundle:
            length = int.from_bytes(bundle[:2], "big")
            assert len(bundle) >= 2 + length
            entries.append(bundle[2 : 2 + length])
            bundle, told = bundle[2 + length :], told + 1
        assert told == width
    assert [leaf(entry) for entry in entries] == leaves_of(fetch, head)
    return entries


def proven(proof: str, entry_hash: bytes, vkey: str) -> int:
    """tlog-proof, RFC 9162 section 2.1.3.2: the index at which the log contains that leaf."""
    said, note = proof.split("\n\n", 1)
    first, index_line, *encoded = said.split("\n")
    assert first == "c2sp.org/tlog-proof@v1"
    assert index_line.startswith("index ")
    head, index = opened(note, vkey), int(index_line[len("index ") :])
    assert index < head.size
    fn, sn, r = index, head.size - 1, entry_hash
    for line in encoded:
        p = base64.b64decode(line, validate=True)
        assert sn
        if fn & 1 or fn == sn:
            r = node(p, r)
            if not fn & 1:
                while fn and not fn & 1:
                    fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    assert r == head.root
    return index
