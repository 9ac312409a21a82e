"""Test vectors of the format `rapport-entry/1`, made from docs/formats/entry.md alone.

    python make_entry_vectors.py > entry-1.json

This script is the second implementation of the format. It imports nothing of Rapport, only the
standard library and `cryptography`, and shares no code with what it checks. Sections in comments
are those of the document. What is random in an entry is derived from a label here, so that the
same vectors come out each time.
"""

import hashlib
import hmac
import json
import sys
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PLACED = ("ciphertext_sha256", "commitment", "position", "recorded_at")
CLINIC = "5f0c6a3e-9d0b-4c1f-8f57-3c1f2b6a9e10"
CLIENT = "0b2f4a52-6a0e-4f0e-9d3a-9f1f6f1f2d31"
THERAPIST = "c1f0a7de-53f1-4f0b-8a43-5f4ab5a1e7c2"
STREAM = "relationship-2d1c9f6e-7f0a-4a64-b1a5-0f6ad1b58e77"


def canonical(value: Any) -> bytes:
    """Section 1. For ASCII names, sorting by code point is sorting by UTF-16 code unit."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def subkey(key: bytes, purpose: str) -> bytes:
    """Section 3: HKDF (RFC 5869), written out; one block is the 32 bytes that are asked for."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, f"rapport/{purpose}/1".encode() + b"\x01", "sha256")


def commit(salt: bytes, content: bytes) -> bytes:
    """Section 4."""
    return hmac.digest(salt, b"rapport-commitment/1" + content, "sha256")


def aad_of(leaf: dict[str, Any]) -> bytes:
    """Section 5."""
    return canonical({name: value for name, value in leaf.items() if name not in PLACED})


def open_entry(key: bytes, aad: bytes, ciphertext: bytes, commitment: bytes) -> bytes:
    """Section 6, backwards: the content, or an exception."""
    salted = AESGCM(subkey(key, "log")).decrypt(ciphertext[:12], ciphertext[12:], aad)
    salt, content = salted[:32], salted[32:]
    if commit(salt, content) != commitment:
        raise ValueError("commitment")
    return content


def leaf_hash(leaf_input: bytes) -> bytes:
    """Section 8."""
    return hashlib.sha256(b"\x00" + leaf_input).digest()


def largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def root(hashes: list[bytes]) -> bytes:
    """Section 8: RFC 6962, 2.1."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    split = largest_power_below(len(hashes))
    return hashlib.sha256(b"\x01" + root(hashes[:split]) + root(hashes[split:])).digest()


def frontier(hashes: list[bytes]) -> bytes:
    """Section 8: the size, then the roots of the complete subtrees from the left."""
    found, rest = len(hashes).to_bytes(8, "big"), hashes
    while rest:
        complete = 1 << (len(rest).bit_length() - 1)
        found, rest = found + root(rest[:complete]), rest[complete:]
    return found


def example(label: str, length: int) -> bytes:
    return hashlib.shake_256(f"rapport-entry/1 example: {label}".encode()).digest(length)


def entry(name: str, content: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    """Sections 2 to 8 for one entry."""
    key, salt, nonce = (example(f"{name} {what}", n) for what, n in WHAT_IS_RANDOM)
    plain = canonical(content)
    leaf = {"clinic": CLINIC, "format": "rapport-entry/1", **envelope}
    aad = aad_of(leaf)
    ciphertext = nonce + AESGCM(subkey(key, "log")).encrypt(nonce, salt + plain, aad)
    leaf["ciphertext_sha256"] = hashlib.sha256(ciphertext).hexdigest()
    leaf["commitment"] = commit(salt, plain).hex()
    leaf_input = canonical(leaf)
    assert len(leaf_input) <= 16 * 1024
    return {
        "name": name,
        "data_key": key.hex(),
        "log_subkey": subkey(key, "log").hex(),
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "content": plain.decode(),
        "commitment": leaf["commitment"],
        "aad": aad.decode(),
        "ciphertext": ciphertext.hex(),
        "ciphertext_sha256": leaf["ciphertext_sha256"],
        "leaf_input": leaf_input.decode(),
        "leaf_hash": leaf_hash(leaf_input).hex(),
    }


WHAT_IS_RANDOM = (("data key", 32), ("salt", 32), ("nonce", 12))


def entries() -> list[dict[str, Any]]:
    rated = entry(
        "a client rates a session",
        {
            "instrument": "SRS",
            "instrument_version": "1.0",
            "items": [88, 91, None, 79],
            "perspective": "client",
            "rater": CLIENT,
            "rating": "8f4b7c50-0d8e-4b52-9a8e-3a7de9d20a41",
            "session": "e7a9a2b4-1f64-4f39-8a0a-6c0b4c2f9d05",
        },
        stream=STREAM,
        stream_version=12,
        topic="alliance.rated",
        schema_version=1,
        occurred_at="2026-11-23T02:53:41.000000Z",
        occurred_offset="+02:00",
        actor=CLIENT,
        on_behalf_of=None,
        source="entered",
        command_id="7b0e4f3c-5c1d-4e6f-9a2b-1d3c5e7f9a0b",
        command_index=0,
        key_id="f3a1c5d7-2b4e-4c6a-8e0f-9b7d5c3a1e2f",
        position=1,
        recorded_at="2026-11-23T02:53:41.250000Z",
    )
    late = entry(
        "a therapist records late for a client, in letters of many scripts",
        {
            "late_reason": 'Zoë said: "später" \\ 後で\n\tпотом 🕰 \u2028 \u007f',
            "occurred": {"at": "2026-11-20T13:30:00.000001Z", "offset": "-03:30"},
            "on": "2026-11-20",
            "present": True,
            "share": [-9007199254740991, 9007199254740991, 0],
        },
        stream=STREAM,
        stream_version=13,
        topic="session.held",
        schema_version=3,
        occurred_at="2026-11-20T13:30:00.000001Z",
        occurred_offset="-03:30",
        actor=THERAPIST,
        on_behalf_of=CLIENT,
        source="entered",
        command_id="0a9b8c7d-6e5f-4a3b-8c1d-2e3f4a5b6c7d",
        command_index=1,
        key_id="11d2e3f4-a5b6-4c7d-8e9f-0a1b2c3d4e5f",
        position=2,
        recorded_at="2026-11-23T02:53:41.250000Z",
    )
    empty = entry(
        "the system adds an entry without content",
        {},
        stream=f"clinic-{CLINIC}",
        stream_version=1,
        topic="clinic.founded",
        schema_version=1,
        occurred_at="2026-11-23T02:53:42.000000Z",
        occurred_offset="+00:00",
        actor="00000000-0000-4000-8000-000000000001",
        on_behalf_of=None,
        source="system",
        command_id="3c2b1a09-f8e7-4d6c-9b5a-4f3e2d1c0b9a",
        command_index=0,
        key_id="5e4d3c2b-1a09-4f8e-9d6c-5b4a3f2e1d0c",
        position=3,
        recorded_at="2026-11-23T02:53:42.000001Z",
    )
    return [rated, late, empty]


def broken(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """What must not open. Each differs from an entry in one thing."""
    blob, aad = bytes.fromhex(whole["ciphertext"]), whole["aad"]
    inputs = {name: whole[name] for name in ("data_key", "aad", "ciphertext", "commitment")}
    flipped = bytes([*blob[:-17], blob[-17] ^ 1, *blob[-16:]])
    # A tag that fits other content: sealed by somebody who knows the key, not what was committed.
    salted = bytes.fromhex(whole["salt"]) + whole["content"].replace("88", "89").encode()
    log_key = bytes.fromhex(whole["log_subkey"])
    forged = blob[:12] + AESGCM(log_key).encrypt(blob[:12], salted, aad.encode())
    other_key = bytes.fromhex(whole["data_key"])[::-1]
    changes: list[tuple[str, str, dict[str, str]]] = [
        ("one bit of the ciphertext", "not_authentic", {"ciphertext": flipped.hex()}),
        ("the last byte cut off", "not_authentic", {"ciphertext": blob[:-1].hex()}),
        ("no room for nonce, salt and tag", "truncated", {"ciphertext": blob[:59].hex()}),
        ("nothing", "truncated", {"ciphertext": ""}),
        ("another actor", "not_authentic", {"aad": aad.replace(CLIENT, THERAPIST)}),
        ("another key", "not_authentic", {"data_key": other_key.hex()}),
        ("other content under the same key", "commitment", {"ciphertext": forged.hex()}),
        ("another commitment", "commitment", {"commitment": whole["data_key"]}),
    ]
    return [{"name": name, "code": code, **inputs, **change} for name, code, change in changes]


def not_canonical() -> list[str]:
    """Section 1: texts that a reader must refuse although each of them is JSON or nearly so."""
    return [
        '{"b":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a": 1}',
        '{"a":1}\n',
        '["\\u0041"]',
        '["\\/"]',
        '["\\u000A"]',
        "[1.0]",
        "[1e2]",
        "[-0]",
        "[9007199254740992]",
        '["\\ud800"]',
        '{"\u00e9":1}',
    ]


def vectors() -> dict[str, Any]:
    made = entries()
    hashes = [bytes.fromhex(one["leaf_hash"]) for one in made]
    key = example("subkeys", 32)
    return {
        "format": "rapport-entry/1",
        "made_by": "make_entry_vectors.py, from docs/formats/entry.md",
        "subkeys": [
            {"data_key": key.hex(), "purpose": purpose, "subkey": subkey(key, purpose).hex()}
            for purpose in ("log", "view/timeline", "snapshot/stream", "mac", "mac/body", "digest")
        ],
        "entries": made,
        "trees": [
            {
                "size": size,
                "root": root(hashes[:size]).hex(),
                "frontier": frontier(hashes[:size]).hex(),
            }
            for size in range(len(hashes) + 1)
        ],
        "broken": broken(made[0]),
        "not_canonical": not_canonical(),
    }


def check(made: dict[str, Any]) -> None:
    """Opens what was made, and what must not open."""
    for one in made["entries"] + made["broken"]:
        values = (bytes.fromhex(one[name]) for name in ("data_key", "ciphertext", "commitment"))
        key, ciphertext, commitment = values
        try:
            content = open_entry(key, one["aad"].encode(), ciphertext, commitment)
        except (InvalidTag, ValueError):
            assert "code" in one
        else:
            assert content.decode() == one["content"]


if __name__ == "__main__":
    made = vectors()
    check(made)
    sys.stdout.write(json.dumps(made, indent=2) + "\n")
