"""Test vectors of a log as others read it, made from docs/formats/log.md alone.

    python make_log_vectors.py > log-1.json

This script is a second implementation. It imports nothing of Rapport, only the standard library and
`cryptography`, and shares no code with what it checks. Sections in comments are those of the
document. Its leaf inputs are no entries, which a tree does not care about: leaf i is {"leaf":i}.
"""

import base64
import hashlib
import hmac
import json
import sys
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DATA_KEY = hashlib.sha256(b"rapport log vectors: data key of log/0").digest()
SIZES = (0, 1, 2, 3, 255, 256, 257, 600, 66_000)
LEAVES = [b'{"leaf":%d}' % number for number in range(max(SIZES))]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- Section 1: the tree --------------------------------------------------------------------


@cache
def root(start: int, end: int) -> bytes:
    """RFC 6962, section 2.1: MTH(D[start:end])."""
    if start == end:
        return hashlib.sha256(b"").digest()
    if end - start == 1:
        return hashlib.sha256(b"\x00" + LEAVES[start]).digest()
    split = start + largest_power_below(end - start)
    return hashlib.sha256(b"\x01" + root(start, split) + root(split, end)).digest()


def largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


# --- Section 2: key and name ----------------------------------------------------------------


def seed() -> bytes:
    """HKDF (RFC 5869), written out; one block is the 32 bytes that are asked for."""
    extracted = hmac.digest(bytes(32), DATA_KEY, "sha256")
    return hmac.digest(extracted, b"rapport/log-key/1\x01", "sha256")


SECRET = Ed25519PrivateKey.from_private_bytes(seed())
PUBLIC = SECRET.public_key().public_bytes_raw()
LOG_ID = hashlib.sha256(PUBLIC).digest()[:16].hex()
ORIGIN = f"rapport-record/log/{LOG_ID}"
KEY_ID = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + PUBLIC).digest()[:4]
VKEY = f"{ORIGIN}+{KEY_ID.hex()}+{b64(bytes([1]) + PUBLIC)}"


# --- Section 3: checkpoints -----------------------------------------------------------------


def note(size: int) -> str:
    text = f"{ORIGIN}\n{size}\n{b64(root(0, size))}\n"
    return f"{text}\n\u2014 {ORIGIN} {b64(KEY_ID + SECRET.sign(text.encode()))}\n"


# --- Sections 4 and 5: tiles and bundles ----------------------------------------------------


def path_of(level: int | str, index: int, width: int) -> str:
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < 256 else "")


def tile(level: int, index: int, width: int) -> bytes:
    span = 256**level
    first = index * 256
    return b"".join(root(each * span, (each + 1) * span) for each in range(first, first + width))


def bundle(index: int, width: int) -> bytes:
    leaves = LEAVES[index * 256 : index * 256 + width]
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def tiles(size: int) -> dict[str, str]:
    """Every tile and bundle of a tree, by its SHA-256."""
    found: dict[str, bytes] = {}
    level = 0
    while size // 256**level:
        count = size // 256**level
        for index in range(-(-count // 256)):
            width = min(256, count - index * 256)
            found[path_of(level, index, width)] = tile(level, index, width)
            if level == 0:
                found[path_of("entries", index, width)] = bundle(index, width)
        level += 1
    return {path: hashlib.sha256(data).hexdigest() for path, data in found.items()}


# --- Sections 6 and 7: proofs ---------------------------------------------------------------


def audit_path(index: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    split = start + largest_power_below(end - start)
    if index < split:
        return [*audit_path(index, start, split), root(split, end)]
    return [*audit_path(index, split, end), root(start, split)]


def tlog_proof(index: int, size: int) -> str:
    hashes = "".join(f"{b64(each)}\n" for each in audit_path(index, 0, size))
    return f"c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{note(size)}"


def subproof(old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
    if old == end:
        return [] if whole else [root(start, end)]
    split = start + largest_power_below(end - start)
    if old <= split:
        return [*subproof(old, start, split, whole=whole), root(split, end)]
    return [*subproof(old, split, end, whole=False), root(start, split)]


# --- What must be refused -------------------------------------------------------------------


def broken_notes() -> list[str]:
    """Of the checkpoint of three entries: other bytes that a lenient reader might take for it."""
    whole = note(3)
    head, signature = whole.split("\n\n")
    name, size, tree = head.split("\n")
    line = signature[:-1]
    return [
        "",
        head + "\n",
        head + "\n\n",
        whole[:-1],
        whole + "\n",
        whole.replace("\n", "\r\n"),
        whole.replace("\n\n", "\n"),
        f"{name}\n03\n{tree}\n\n{signature}",
        f"{name}\n+3\n{tree}\n\n{signature}",
        f"{name}\n{size}\n{tree[:-1]}\n\n{signature}",
        f"{name}\n4\n{tree}\n\n{signature}",
        f"another\n{size}\n{tree}\n\n{signature}",
        f"{head}\nmore\n\n{signature}",
        f"{head}\n\n{line.replace(chr(0x2014), '-')}\n",
        f"{head}\n\n{line.replace(' ', '  ')}\n",
        f"{head}\n\n{line} \n",
        f"{head}\n\n{line[:-4]}AAA=\n",
        f"{head}\n\n\u2014 another {line.split(' ')[2]}\n",
        f"{head}\t\n\n{signature}",
    ]


def broken_proofs() -> list[str]:
    """Of the proof of leaf 1 among three: what must not be read, or not lead to the root."""
    whole = tlog_proof(1, 3)
    first, index, left, right, rest = whole.split("\n", 4)
    return [
        "",
        whole.replace("@v1", "@v2"),
        whole.replace("index 1", "index 01"),
        whole.replace("index 1", "index -1"),
        whole.replace("index 1", "index 0"),
        whole.replace("index 1", "index 3"),
        "\n".join((first, index, right, left, rest)),
        "\n".join((first, index, left, rest)),
        "\n".join((first, index, left, right, right, rest)),
        "\n".join((first, index, left, right[:-1], rest)),
        "\n".join((first, index, "", left, right, rest)),
        whole.replace("\nindex", "\nextra\nindex"),
        whole[:-1],
        whole + "\n",
    ]


# --- All of it ------------------------------------------------------------------------------


def vectors() -> dict[str, Any]:
    pairs = [(0, 3), (1, 1), (1, 3), (2, 3), (256, 600), (300, 600), (257, 66_000), (3, 66_000)]
    proven = [(0, 1), (0, 3), (1, 3), (2, 3), (255, 257), (256, 257), (299, 600), (65_999, 66_000)]
    return {
        "format": "rapport-log/1",
        "made_by": "make_log_vectors.py, from docs/formats/log.md",
        "key": {
            "data_key": DATA_KEY.hex(),
            "seed": seed().hex(),
            "public": PUBLIC.hex(),
            "log_id": LOG_ID,
            "origin": ORIGIN,
            "vkey": VKEY,
        },
        "checkpoints": [
            {"size": size, "root": root(0, size).hex(), "note": note(size)} for size in SIZES
        ],
        "tiles": [{"size": size, "sha256": tiles(size)} for size in (3, 256, 600)],
        "top_tiles": {
            path_of(level, index, width): hashlib.sha256(tile(level, index, width)).hexdigest()
            for level, index, width in ((0, 257, 208), (1, 0, 256), (1, 1, 1), (2, 0, 1))
        },
        "small": {"tile": tile(0, 0, 3).hex(), "bundle": bundle(0, 3).hex()},
        "proofs": [
            {"index": index, "size": size, "proof": tlog_proof(index, size)}
            for index, size in proven
        ],
        "consistency": [
            {
                "old": old,
                "new": new,
                "path": [each.hex() for each in subproof(old, 0, new, whole=True)] if old else [],
            }
            for old, new in pairs
        ],
        "broken_notes": broken_notes(),
        "broken_proofs": broken_proofs(),
    }


if __name__ == "__main__":
    sys.setrecursionlimit(2_000)
    sys.stdout.write(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n")
