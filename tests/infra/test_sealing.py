"""Sealed entries: our code, an independent script and the document agree on every byte."""

import hmac
import json
import re
import runpy
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.canonical import CanonicalError, decode, encode, offset_text, parse_time, time_text
from infra.merkle import Frontier, leaf_hash, root_of
from infra.sealing import (
    LEAF_INPUT_LIMIT,
    Envelope,
    LeafRefused,
    SealBroken,
    Sealed,
    Sealer,
    commitment,
    entry_aad,
    leaf_input,
    subkey,
)

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/data/vectors/make_entry_vectors.py"
STORED = ROOT / "tests/data/vectors/entry-1.json"
DOCUMENT = ROOT / "docs/formats/entry.md"
VECTORS: dict[str, Any] = json.loads(STORED.read_text())
ENTRIES: list[dict[str, str]] = VECTORS["entries"]
BROKEN: list[dict[str, str]] = VECTORS["broken"]
KEY = bytes(range(32))
ENVELOPE = Envelope(
    clinic=uuid4(),
    stream=f"relationship-{uuid4()}",
    stream_version=3,
    topic="alliance.rated",
    schema_version=1,
    occurred_at=datetime(2026, 11, 23, 4, 53, 41, 5, tzinfo=timezone(timedelta(hours=2))),
    actor=uuid4(),
    on_behalf_of=None,
    source="entered",
    command_id=uuid4(),
    command_index=0,
    key_id=uuid4(),
)
PLACED = ENVELOPE._replace(position=17, recorded_at=datetime(2026, 11, 23, 2, 54, tzinfo=UTC))


def name_of(vector: dict[str, str]) -> str:
    return vector["name"]


def envelope_of(leaf: dict[str, Any]) -> Envelope:
    """The envelope that a leaf input speaks of, as a database row would give it."""
    ids = {
        name: leaf[name] and UUID(leaf[name])
        for name in ("clinic", "actor", "on_behalf_of", "command_id", "key_id")
    }
    times = {
        "occurred_at": parse_time(leaf["occurred_at"], leaf["occurred_offset"]),
        "recorded_at": parse_time(leaf["recorded_at"], "+00:00"),
    }
    rest = {name: leaf[name] for name in Envelope._fields if name in leaf}
    return Envelope(**(rest | ids | times))


# --- The format -----------------------------------------------------------------------------


@pytest.mark.parametrize("vector", ENTRIES, ids=name_of)
def test_our_code_gives_the_bytes_of_the_vectors(vector: dict[str, str]) -> None:
    """Idea 4 and 5: AAD, commitment, seal, leaf input and leaf hash as the document says."""
    envelope = envelope_of(json.loads(vector["leaf_input"]))
    key, ciphertext = bytes.fromhex(vector["data_key"]), bytes.fromhex(vector["ciphertext"])
    sealed = Sealed(ciphertext, bytes.fromhex(vector["commitment"]))
    assert entry_aad(envelope).decode() == vector["aad"]
    assert subkey(key, "log").hex() == vector["log_subkey"]
    content = Sealer().open_entry(key, entry_aad(envelope), sealed)
    assert content.decode() == vector["content"]
    assert encode(decode(content)) == content
    assert commitment(bytes.fromhex(vector["salt"]), content) == sealed.commitment
    assert leaf_input(envelope, sealed).decode() == vector["leaf_input"]
    assert leaf_hash(leaf_input(envelope, sealed)).hex() == vector["leaf_hash"]


def test_trees_over_the_vectors() -> None:
    """Idea 5: RFC 6962 roots, and the frontier that the head stores."""
    hashes = [bytes.fromhex(vector["leaf_hash"]) for vector in ENTRIES]
    for tree in VECTORS["trees"]:
        frontier = Frontier().append(hashes[: tree["size"]])
        assert frontier.to_bytes().hex() == tree["frontier"]
        assert frontier.root().hex() == root_of(hashes[: tree["size"]]).hex() == tree["root"]


def test_subkeys_of_the_vectors() -> None:
    """Idea 4: log, each view, snapshots and MACs use separate HKDF subkeys."""
    for vector in VECTORS["subkeys"]:
        assert (
            subkey(bytes.fromhex(vector["data_key"]), vector["purpose"]).hex() == vector["subkey"]
        )
    assert len({vector["subkey"] for vector in VECTORS["subkeys"]}) == len(VECTORS["subkeys"])


@pytest.mark.parametrize("vector", BROKEN, ids=name_of)
def test_what_must_not_open_does_not(vector: dict[str, str]) -> None:
    """R3: any byte changed, in the seal or in what it is bound to, is found."""
    sealed = Sealed(bytes.fromhex(vector["ciphertext"]), bytes.fromhex(vector["commitment"]))
    with pytest.raises(SealBroken) as broken:
        Sealer().open_entry(bytes.fromhex(vector["data_key"]), vector["aad"].encode(), sealed)
    assert broken.value.code == vector["code"]


@pytest.mark.parametrize("text", VECTORS["not_canonical"])
def test_texts_that_readers_must_refuse_are_refused(text: str) -> None:
    """Idea 5: one value, one text."""
    with pytest.raises(CanonicalError):
        decode(text.encode())


def test_the_independent_script_gives_the_stored_vectors() -> None:
    """Idea 5: the vectors are those of a second implementation, not of ours."""
    made = subprocess.run([sys.executable, SCRIPT], capture_output=True, check=True, text=True)
    assert made.stdout == STORED.read_text()
    imported = set(re.findall(r"^(?:from|import) (\w+)", SCRIPT.read_text(), re.MULTILINE))
    assert imported <= {*sys.stdlib_module_names, "cryptography"}


def test_the_independent_script_opens_what_we_seal() -> None:
    """Idea 5: software that is not ours reads our entries and computes our leaf hash."""
    theirs = runpy.run_path(str(SCRIPT))
    content = encode({"note": "später 後で", "items": [1, None]})
    sealed = Sealer().seal_entry(KEY, entry_aad(PLACED), content)
    leaf = leaf_input(PLACED, sealed)
    aad = theirs["aad_of"](json.loads(leaf))
    assert theirs["open_entry"](KEY, aad, sealed.ciphertext, sealed.commitment) == content
    assert theirs["canonical"](json.loads(leaf)) == leaf
    assert theirs["leaf_hash"](leaf) == leaf_hash(leaf)


def test_the_documents_worked_example_is_the_first_vector() -> None:
    """Idea 5: the document shows real bytes, and they are right."""
    document = DOCUMENT.read_text()
    for name in ENTRIES[0].keys() - {"name"}:
        assert ENTRIES[0][name] in document, name
    assert VECTORS["trees"][1]["frontier"] in document


# --- Sealing --------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_what_was_sealed_opens(content: bytes) -> None:
    """Idea 4: content is sealed before it reaches PostgreSQL, and comes back whole."""
    sealer, aad = Sealer(), entry_aad(ENVELOPE)
    sealed = sealer.seal_entry(KEY, aad, content)
    assert sealer.open_entry(KEY, aad, sealed) == content
    assert len(sealed.ciphertext) == 12 + 32 + len(content) + 16
    view = sealer.seal(KEY, "view/timeline", b"row", content)
    assert sealer.open(KEY, "view/timeline", b"row", view) == content
    assert len(view) == 12 + len(content) + 16


@given(st.binary(min_size=32, max_size=32) | st.binary(max_size=100), st.binary())
def test_a_commitment_is_an_hmac(salt: bytes, content: bytes) -> None:
    """Idea 4: as RFC 2104 has it, whatever its salt, also one that somebody else sent."""
    expected = hmac.digest(salt, b"rapport-commitment/1" + content, "sha256")
    assert commitment(salt, content) == expected


def test_the_same_content_never_looks_the_same() -> None:
    """Idea 4: no unsalted digest and no deterministic ciphertext of clinical data."""
    sealer, content = Sealer(), encode({"items": [7] * 12})
    sealed = [sealer.seal_entry(KEY, b"", content) for _ in range(50)]
    assert len({one.commitment for one in sealed}) == 50
    assert len({one.ciphertext[:12] for one in sealed}) == 50
    assert all(sha256(content).digest() != one.commitment for one in sealed)


CHANGES: dict[str, object] = {
    "clinic": uuid4(),
    "stream": "relationship-0",
    "stream_version": 4,
    "topic": "alliance.other",
    "schema_version": 2,
    "occurred_at": ENVELOPE.occurred_at + timedelta(microseconds=1),
    "actor": uuid4(),
    "on_behalf_of": uuid4(),
    "source": "import",
    "command_id": uuid4(),
    "command_index": 1,
    "key_id": uuid4(),
    "position": 18,
    "recorded_at": datetime(2026, 11, 23, 2, 54, 1, tzinfo=UTC),
}


@pytest.mark.parametrize("field", Envelope._fields)
def test_every_field_of_the_envelope_is_proven(field: str) -> None:
    """R3: no field of an entry can be changed unnoticed; the seal holds what precedes its place."""
    sealer = Sealer()
    sealed = sealer.seal_entry(KEY, entry_aad(PLACED), b"{}")
    changed = Envelope(**(PLACED._asdict() | {field: CHANGES[field]}))
    assert leaf_input(changed, sealed) != leaf_input(PLACED, sealed)
    if field in {"position", "recorded_at"}:
        assert sealer.open_entry(KEY, entry_aad(changed), sealed) == b"{}"
    else:
        with pytest.raises(SealBroken, match="not_authentic"):
            sealer.open_entry(KEY, entry_aad(changed), sealed)


MOMENTS = st.datetimes(
    min_value=datetime(1900, 1, 1), max_value=datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)  # fmt: skip


@given(
    st.builds(
        Envelope,
        clinic=st.uuids(), stream=st.text(), stream_version=st.integers(1, 2**53 - 1),
        topic=st.text(), schema_version=st.integers(1, 99), occurred_at=MOMENTS,
        actor=st.uuids(), on_behalf_of=st.none() | st.uuids(), source=st.text(),
        command_id=st.uuids(), command_index=st.integers(0, 99), key_id=st.uuids(),
        position=st.integers(1, 2**53 - 1), recorded_at=MOMENTS,
    ),
    st.binary(), st.binary(min_size=32, max_size=32),
)  # fmt: skip
def test_what_is_written_out_is_canonical(e: Envelope, ciphertext: bytes, commits: bytes) -> None:
    """Idea 5: AAD and leaf input are RFC 8785 objects, whatever stands in the envelope."""
    assert e.recorded_at is not None
    bound: dict[str, object] = e._asdict() | {
        "format": "rapport-entry/1",
        "occurred_at": time_text(e.occurred_at),
        "occurred_offset": offset_text(e.occurred_at),
    }
    placed = {name: bound.pop(name) for name in ("position", "recorded_at")}
    leaf = (
        bound
        | placed
        | {
            "ciphertext_sha256": sha256(ciphertext).hexdigest(),
            "commitment": commits.hex(),
            "recorded_at": time_text(e.recorded_at),
        }
    )
    assert entry_aad(e) == encode(bound)
    assert leaf_input(e, Sealed(ciphertext, commits)) == encode(leaf)


def test_the_offset_is_proven_beside_the_moment() -> None:
    """Rule 5: the same moment told in another offset is another entry."""
    elsewhere = PLACED._replace(occurred_at=PLACED.occurred_at.astimezone(UTC))
    assert elsewhere.occurred_at == PLACED.occurred_at
    assert entry_aad(elsewhere) != entry_aad(PLACED)


def test_the_ciphertext_and_the_commitment_are_proven() -> None:
    """R3: any byte changed is found without a key."""
    sealed = Sealer().seal_entry(KEY, entry_aad(PLACED), b"{}")
    whole = leaf_input(PLACED, sealed)
    assert leaf_input(PLACED, sealed._replace(ciphertext=sealed.ciphertext[:-1])) != whole
    assert leaf_input(PLACED, sealed._replace(commitment=bytes(32))) != whole


def test_an_entry_has_a_leaf_only_in_its_place() -> None:
    """Idea 3: the leaf needs the position, which only the append gives out."""
    sealed = Sealer().seal_entry(KEY, entry_aad(ENVELOPE), b"{}")
    for envelope in (ENVELOPE, PLACED._replace(position=None), PLACED._replace(recorded_at=None)):
        with pytest.raises(LeafRefused, match="not_placed"):
            leaf_input(envelope, sealed)


def test_a_leaf_input_has_at_most_16_kib() -> None:
    """Idea 5: at most 16 KiB, so that tiles and proofs stay small."""
    sealed = Sealed(b"", bytes(32))
    room = LEAF_INPUT_LIMIT - len(leaf_input(PLACED._replace(topic=""), sealed))
    assert len(leaf_input(PLACED._replace(topic="t" * room), sealed)) == 16_384
    with pytest.raises(LeafRefused, match="too_large"):
        leaf_input(PLACED._replace(topic="t" * (room + 1)), sealed)


def test_times_of_an_entry_have_an_offset() -> None:
    """Rule 5: a naive time never reaches the log."""
    naive = datetime.fromisoformat("2026-11-23T02:54:00")
    with pytest.raises(CanonicalError, match="naive_datetime"):
        entry_aad(ENVELOPE._replace(occurred_at=naive))
    with pytest.raises(CanonicalError, match="naive_datetime"):
        leaf_input(PLACED._replace(recorded_at=naive), Sealed(b"", bytes(32)))


def test_what_is_sealed_for_one_use_opens_for_no_other() -> None:
    """Idea 4: a row of one view cannot be passed off as another's, nor as an entry."""
    sealer = Sealer()
    row = sealer.seal(KEY, "view/timeline", b"aad", b"x" * 40)
    for purpose, aad in (
        ("view/caseload", b"aad"),
        ("snapshot/timeline", b"aad"),
        ("view/timeline", b"other"),
    ):
        with pytest.raises(SealBroken, match="not_authentic"):
            sealer.open(KEY, purpose, aad, row)
    with pytest.raises(SealBroken, match="not_authentic"):
        sealer.open_entry(KEY, b"aad", Sealed(row, bytes(32)))
    for length in (0, 11, 27):
        with pytest.raises(SealBroken, match="truncated"):
            sealer.open(KEY, "view/timeline", b"aad", row[:length])


@pytest.mark.parametrize("purpose", ["log", "mac", "mac/body", "digest", "viewer", "", "views/a"])
def test_only_views_and_snapshots_are_sealed_by_name(purpose: str) -> None:
    """Idea 4: entries, MACs and digests never share a subkey with a view."""
    with pytest.raises(ValueError, match="not a purpose"):
        Sealer().seal(KEY, purpose, b"", b"")
    with pytest.raises(ValueError, match="not a purpose"):
        Sealer().open(KEY, purpose, b"", bytes(40))


def test_a_mac_depends_on_key_purpose_and_message() -> None:
    """Idea 4: request bodies and natural keys are compared by a keyed MAC."""
    sealer = Sealer()
    given = [
        (KEY, "mac", b"a"),
        (KEY, "mac", b"b"),
        (KEY, "mac/body", b"a"),
        (KEY, "digest", b"a"),
        (KEY[::-1], "mac", b"a"),
    ]
    macs = [sealer.mac(*one) for one in given]
    assert len(set(macs)) == len(given)
    assert macs == [Sealer().mac(*one) for one in given]
    with pytest.raises(ValueError, match="not a purpose"):
        sealer.mac(KEY, "log", b"a")


def test_forgetting_drops_what_was_kept_ready_and_nothing_else() -> None:
    """Rule 9: no cipher of a destroyed key stays in memory; live keys go on."""
    sealer = Sealer()
    sealed = sealer.seal_entry(KEY, b"", b"{}")
    mac = sealer.mac(KEY, "mac", b"a")
    assert sealer._cipher.cache_info().currsize == sealer._hmacs.cache_info().currsize == 1
    sealer.forget()
    assert sealer._cipher.cache_info().currsize == sealer._hmacs.cache_info().currsize == 0
    assert sealer.open_entry(KEY, b"", sealed) == b"{}"
    assert sealer.mac(KEY, "mac", b"a") == mac


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_data_keys_have_32_bytes(length: int) -> None:
    """Idea 4: AES-256 and nothing less, also where a key was cut."""
    with pytest.raises(ValueError, match="32 bytes"):
        subkey(bytes(length), "log")
