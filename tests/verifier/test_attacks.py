"""Whoever would like a bundle to say something else: what finds it, and what it names."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.verifier.command import verified
from api.verifier.outside import Unusable
from infra.bundle import (
    BYTES_LIMIT,
    CHECKPOINT,
    MANIFEST,
    REPORT,
    BundleBroken,
    Withheld,
    packed,
    read,
    rendered,
    unpacked,
)
from infra.checkpoint import SignedNote
from tests.verifier.forging import GOLDEN, LOG_KEY, WITNESS, Change, Entry, Forger, Handed


def code_of(data: bytes, **given: Any) -> str:
    """The first thing that does not fit; a bundle that fits fails the test."""
    with pytest.raises(BundleBroken) as found:
        verified(data, **given)
    return found.value.code


# --- Without a key: bytes ---------------------------------------------------------------------


@given(st.data())
def test_no_byte_of_the_file_can_change(data: st.DataObject) -> None:
    """Evidence bundle: not even those of the zip format between the files."""
    bundle = bytearray(GOLDEN.read_bytes())
    at = data.draw(st.integers(0, len(bundle) - 1))
    bundle[at] ^= data.draw(st.integers(1, 255))
    code_of(bytes(bundle))


def test_no_end_and_no_start_can_be_added() -> None:
    """Evidence bundle: what stands before or after the zip is no part of any reading, so it is
    refused; cut anywhere, it is no bundle."""
    bundle = GOLDEN.read_bytes()
    for changed in (bundle + b"x", b"x" + bundle, bundle[:-1], bundle[: len(bundle) // 2], b""):
        assert code_of(changed) == "container"


@given(st.data())
def test_no_byte_of_a_file_can_change_though_every_digest_is_made_to_fit(
    data: st.DataObject,
) -> None:
    """Evidence bundle: the log proves entries and what was handed out; the manifest's digests
    only name the file."""
    handed = Handed()
    names = sorted(set(handed.files) - {MANIFEST} - set(_said_by_others(handed)))
    name = data.draw(st.sampled_from(names))
    changed = bytearray(handed.files[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    handed.files[name] = bytes(changed)
    code_of(handed.put_together())


def test_what_others_say_is_checked_with_their_keys() -> None:
    """Evidence bundle: a cosignature by a witness that nobody named is a claim, and told as one;
    once the witness is named, each of its bytes counts. Without a timestamp's roots likewise."""
    for name in _said_by_others(Handed()):
        for at in range(0, len(Handed().files[name]), 41):
            handed = Handed()
            changed = bytearray(handed.files[name])
            changed[at] ^= 1
            handed.files[name] = bytes(changed)
            if name.endswith(".checkpoint"):
                code_of(handed.put_together(), witnesses=[WITNESS])
            else:
                code_of(handed.put_together(), roots=[])


def _said_by_others(handed: Handed) -> list[str]:
    return [name for name in handed.files if name.endswith((".tst", "029.checkpoint"))]


def test_no_value_of_the_manifest_can_change() -> None:
    """Evidence bundle: every value stands for something that is checked."""
    paths = list(_values(Handed().manifest))
    assert len(paths) > 100
    for path in paths:
        handed = Handed()
        part: Any = handed.manifest
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = _another(part[path[-1]])
        code_of(handed.put_together(digests=False))


def _values(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(part, dict | list):
        for step, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _values(value, (*path, step))
    else:
        yield path


def _another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case None:
            return "erased"
        case str():
            return value[:-1] + ("0" if value[-1] != "0" else "1")


def test_a_manifest_has_one_spelling() -> None:
    """Evidence bundle: the same table of contents, written otherwise, is not the one."""
    spellings: tuple[Callable[[dict[str, Any]], bytes], ...] = (
        lambda told: json.dumps(told).encode(),
        lambda told: rendered(told) + b"\n",
        lambda told: rendered({**told, "more": 1}),
        lambda told: rendered({k: v for k, v in told.items() if k != "heads"}),
        lambda told: rendered(told).replace(b'"heads":', b'"heads":[],"heads":'),
        lambda told: b"[]",
        lambda told: b"\xff",
    )
    for spelled in spellings:
        handed = Handed()
        handed.files[MANIFEST] = spelled(handed.manifest)
        assert code_of(packed(handed.files)) == "manifest"


# --- Without a key: files ---------------------------------------------------------------------


def swap(handed: Handed, one: str, other: str) -> None:
    handed.files[one], handed.files[other] = handed.files[other], handed.files[one]


def at(position: int, kind: str = "content.json") -> str:
    return f"entries/{position:012}.{kind}"


def test_files_cannot_be_exchanged_left_out_or_added() -> None:
    """Evidence bundle: content moves to no other entry, no entry leaves, nothing comes along."""
    handed = Handed()
    swap(handed, at(19), at(20))
    assert code_of(handed.put_together()) == "commitment"
    handed = Handed()
    swap(handed, at(19, "leaf.json"), at(20, "leaf.json"))
    assert code_of(handed.put_together()) == "proof_inclusion"
    handed = Handed()
    swap(handed, "proofs/000000000019.tlog-proof", "proofs/000000000020.tlog-proof")
    assert code_of(handed.put_together()) == "proof_index"
    for name in Handed().files:
        handed = Handed()
        del handed.files[name]
        assert code_of(packed(handed.files)) == "file_missing"
    handed = Handed()
    handed.files[at(17)] = b"{}"
    assert code_of(handed.put_together()) == "file_unknown"


def test_an_entry_cannot_be_left_out_with_all_that_is_its_own() -> None:
    """Evidence bundle: numbers count from 1 without gaps; and the export's entry in the log
    commits to the list of entries, so the last one is missed too."""
    for left_out, code in ((20, "version"), (30, "export_commitment"), (28, "version")):
        handed = Handed()
        contents = handed.manifest["contents"]
        contents["entries"] = [e for e in contents["entries"] if e["position"] != left_out]
        for name in [name for name in handed.files if f"{left_out:012}" in name]:
            del handed.files[name]
            handed.manifest["files"].pop(name, None)
            contents["files"].pop(name, None)
        assert code_of(handed.put_together()) == code


def test_what_was_shown_cannot_be_passed_off_as_withheld() -> None:
    """Evidence bundle: whoever hands a bundle on cannot say that the clinic withheld more."""
    handed = Handed()
    entry = next(e for e in handed.manifest["contents"]["entries"] if e["position"] == 25)
    entry.update(salt=None, withheld="reader")
    del handed.files[at(25)]
    del handed.manifest["contents"]["files"][at(25)]
    assert code_of(handed.put_together()) == "export_commitment"


def test_a_checkpoint_of_another_log_or_another_size_does_not_fit() -> None:
    """Evidence bundle: all proofs lead to the one checkpoint, which the log's key signed."""
    handed = Handed()
    forged = unpacked(Forger().bundle())
    handed.files[CHECKPOINT] = forged[CHECKPOINT]
    assert code_of(handed.put_together()) == "checkpoint_unsigned"
    handed = Handed()
    earlier = SignedNote.parse(handed.files["heads/000000000029.checkpoint"].decode())
    note = SignedNote(earlier.text, earlier.signatures[:1])
    handed.files[CHECKPOINT] = str(note).encode()
    assert code_of(handed.put_together()) == "proof_checkpoint"
    handed = Handed()
    handed.files[CHECKPOINT] = handed.files["heads/000000000029.checkpoint"]
    assert code_of(handed.put_together()) == "checkpoint_malformed"


def test_a_head_without_its_witnesses_is_missed_by_who_names_them() -> None:
    """Evidence bundle: cosignatures can be left out, as nothing in the log speaks of them; who
    trusts a witness names it, and then they cannot."""
    handed = Handed()
    handed.manifest["heads"] = []
    for name in [name for name in handed.files if name.startswith("heads/")]:
        del handed.files[name]
        del handed.manifest["files"][name]
    stripped = handed.put_together()
    assert "witness" in {point.code for point in verified(stripped, keys=[LOG_KEY]).open}
    assert code_of(stripped, witnesses=[WITNESS]) == "witness_unsigned"
    assert code_of(stripped, roots=[]) == "timestamp_missing"


# --- The zip ----------------------------------------------------------------------------------


def zipped(*names: str, method: int = zipfile.ZIP_STORED, size: int = 10) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, b"0" * size)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    ["../manifest.json", "/manifest.json", "entries/../x", "entries\\x", "C:manifest.json",
     "entries/000000000001.leaf.json/", "Manifest.json", "entries/1.leaf.json", "views/A.json",
     "entries/٠٠٠٠٠٠٠٠٠٠٠١.leaf.json", "manifest.json "],
)  # fmt: skip
def test_no_other_name_is_read(name: str) -> None:
    """Evidence bundle: nothing is unpacked to a disk, and nothing has a name that could matter."""
    assert code_of(zipped(name)) == "file_name"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_of_another_make_is_refused() -> None:
    """Evidence bundle: twice the same name, compressed bytes, bytes that are several files at
    once: whatever two programs might read in two ways."""
    assert code_of(zipped(MANIFEST, MANIFEST)) == "file_twice"
    assert code_of(zipped(MANIFEST, method=zipfile.ZIP_DEFLATED)) == "container"
    assert code_of(zipped(MANIFEST)) == "container"  # with a time and rights of its own
    bomb = zipped(MANIFEST, method=zipfile.ZIP_DEFLATED, size=50_000_000)
    assert len(bomb) < 100_000
    assert code_of(bomb) == "too_large"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """Evidence bundle: a bound on the size, looked at before anything is read."""
    huge = tmp_path / "huge.zip"
    with huge.open("wb") as file:
        file.truncate(BYTES_LIMIT + 1)
    with pytest.raises(BundleBroken, match="too_large"):
        read(huge)


@given(st.binary(max_size=300))
def test_nonsense_is_no_bundle(data: bytes) -> None:
    """Evidence bundle: whatever the bytes are, there is a finding and no other error."""
    with pytest.raises(BundleBroken):
        verified(data)
    with pytest.raises(BundleBroken):
        verified(packed({MANIFEST: data}))


# --- With a key and a log of one's own --------------------------------------------------------


def test_a_whole_log_of_ones_own_is_another_signer() -> None:
    """Evidence bundle: everything can be made anew but the clinic's signature. Without its key
    that is said; with it, found."""
    forged = Forger().bundle()
    assert "signer" in {point.code for point in verified(forged).open}
    assert code_of(forged, keys=[LOG_KEY]) == "signer"
    assert code_of(forged, witnesses=[WITNESS]) == "witness_unsigned"


def _gap(forger: Forger) -> None:
    del forger.entries[4]


def _twice(forger: Forger) -> None:
    forger.entries[5].leaf["stream_version"] = 5


def _backwards(forger: Forger) -> None:
    one, other = forger.entries[3].leaf, forger.entries[4].leaf
    one["position"], other["position"] = other["position"], one["position"]


def _earlier(forger: Forger) -> None:
    forger.entries[8].leaf["recorded_at"] = "2026-03-01T00:00:00.000000Z"


def _late(forger: Forger) -> None:
    forger.entries[-2].leaf["recorded_at"] = forger.entries[-1].leaf["recorded_at"]


def _other_stream(forger: Forger) -> None:
    forger.entries[4].leaf["stream"] = "relationship-" + forger.entries[4].leaf["actor"]


def _other_clinic(forger: Forger) -> None:
    forger.entries[4].leaf["clinic"] = forger.entries[4].leaf["actor"]


def _key(forger: Forger) -> None:
    rating = forger.entry("alliance.rated")
    rating.leaf["key_id"] = forger.first.leaf["key_id"]


def _uncommitted(forger: Forger) -> None:
    forger.first.commits = False
    forger.first.changed(setting="elsewhere")


def _wrong_salt(forger: Forger) -> None:
    forger.first.commits = False
    forger.first.salt = bytes(32)


def _nonsense(forger: Forger) -> None:
    forger.first.changed(unheard="of")


def _not_canonical(forger: Forger) -> None:
    assert forger.first.content is not None
    forger.first.content = forger.first.content.replace(b":", b": ", 1)


def _unheard_of(forger: Forger) -> None:
    forger.first.leaf["topic"] = "relationship.unheard_of"


def _newer(forger: Forger) -> None:
    forger.first.leaf["schema_version"] = 99


def _impossible_time(forger: Forger) -> None:
    forger.first.leaf["occurred_at"] = "2026-02-30T00:00:00.000000Z"


def _shown_and_withheld(forger: Forger) -> None:
    forger.first.withheld = "reader"


def _neither(forger: Forger) -> None:
    forger.first.content = forger.first.salt = None


def _hidden_as_later(forger: Forger) -> None:
    forger.entries[4].withhold(Withheld.RECORDED_LATER)


def _view(forger: Forger) -> None:
    told = unpacked(forger.bundle())["views/goal_course.json"]
    forger.overwritten["views/goal_course.json"] = told.replace(b"green door", b"brown door")


def _page(forger: Forger) -> None:
    told = unpacked(forger.bundle())[REPORT]
    forger.overwritten[REPORT] = told.replace(b"green door", b"brown door")


def _handed_to_nobody(forger: Forger) -> None:
    forger.export.leaf["topic"] = "record.disclosed"


def _export_elsewhere(forger: Forger) -> None:
    forger.export.leaf["stream"] = "disclosure-" + forger.first.leaf["actor"]


def _other_export(forger: Forger) -> None:
    forger.exported["commitment"] = "00" * 32


def _other_purpose(forger: Forger) -> None:
    forger.exported["purpose"] = "something else"


def _other_time(forger: Forger) -> None:
    forger.exported["happened_by"] = {"at": "2026-03-02T00:00:00.000000Z", "offset": "+00:00"}


def _covers_more(forger: Forger) -> None:
    forger.exported["position"] = 31


def _other_views(forger: Forger) -> None:
    forger.exported["views"] = [{"view": "timeline", "version": 1}]


def _export_in_the_past(forger: Forger) -> None:
    forger.export.leaf["recorded_at"] = forger.first.leaf["recorded_at"]


def _export_first(forger: Forger) -> None:
    forger.export.leaf["position"] = 1


@pytest.mark.parametrize(
    "change, code",
    [
        (_gap, "version"),
        (_twice, "version"),
        (_backwards, "order"),
        (_earlier, "time"),
        (_late, "recorded_later"),
        (_other_stream, "leaf_stream"),
        (_other_clinic, "leaf_clinic"),
        (_key, "key_id"),
        (_uncommitted, "commitment"),
        (_wrong_salt, "commitment"),
        (_nonsense, "content"),
        (_not_canonical, "content"),
        (_unheard_of, "newer"),
        (_newer, "newer"),
        (_impossible_time, "leaf"),
        (_shown_and_withheld, "withheld"),
        (_neither, "withheld"),
        (_hidden_as_later, "recorded_later"),
        (_view, "view"),
        (_page, "report"),
        (_handed_to_nobody, "content"),
        (_export_elsewhere, "export"),
        (_other_export, "export_commitment"),
        (_other_purpose, "export"),
        (_other_time, "export"),
        (_covers_more, "export"),
        (_other_views, "export"),
        (_export_in_the_past, "export"),
        (_export_first, "export"),
    ],
)
def test_a_clinic_that_forges_its_own_bundle_is_found(change: Change, code: str) -> None:
    """Evidence bundle: signed by the log's own key, each lie contradicts something else."""
    forger = Forger()
    change(forger)
    assert code_of(forger.bundle()) == code


def test_the_forger_alone_makes_bundles_that_fit() -> None:
    """The measure of the test above: without a lie, the forger's bundle fits."""
    verified(Forger().bundle())


# --- The whole log ----------------------------------------------------------------------------


def exported(forger: Forger, folder: Path, inputs: list[bytes] | None = None) -> Path:
    """The forger's log as c2sp.org/tlog-tiles lays out entries."""
    inputs = forger.leaf_inputs() if inputs is None else inputs
    place = folder / "tile" / "entries" / "000.p"
    place.mkdir(parents=True)
    data = b"".join(len(each).to_bytes(2, "big") + each for each in inputs)
    (place / str(len(inputs))).write_bytes(data)
    return folder


def _hidden_entry(forger: Forger) -> Entry:
    """An entry of the relationship, numbered a second time, that the bundle does not show."""
    leaf = {**forger.entries[5].leaf, "position": 23, "actor": forger.first.leaf["clinic"]}
    return Entry(leaf, None, None, "reader")


def test_the_whole_log_shows_what_a_bundle_leaves_out(tmp_path: Path) -> None:
    """Evidence bundle: a clinic that gave a number twice, to show one entry and hide the other,
    is found with an export of the log."""
    honest = Forger()
    verdict = verified(honest.bundle(), log=exported(honest, tmp_path / "honest"))
    (said,) = [point.says for point in verdict.proven if point.code == "complete"]
    assert "all 33 entries of the log were read" in said

    forger = Forger()
    hidden = _hidden_entry(forger)
    plain = forger.leaf_inputs
    forger.leaf_inputs = lambda: [  # type: ignore[method-assign]  # a log with one entry more
        hidden.input() if number == 23 else each for number, each in enumerate(plain(), start=1)
    ]
    forged = forger.bundle()
    verified(forged)
    with pytest.raises(BundleBroken) as found:
        verified(forged, log=exported(forger, tmp_path / "forged"))
    assert (found.value.code, found.value.position) == ("entry_missing", 23)


def test_another_log_a_short_one_and_nonsense_are_told_apart(tmp_path: Path) -> None:
    """Evidence bundle: the folder has to be the log that was signed, as far as the checkpoint."""
    forger = Forger()
    inputs, bundle = forger.leaf_inputs(), forger.bundle()
    other = [*inputs[:2], b"another", *inputs[3:]]
    assert code_of(bundle, log=exported(forger, tmp_path / "other", other)) == "log_root"
    with pytest.raises(Unusable, match="ends before"):
        verified(bundle, log=exported(forger, tmp_path / "short", inputs[:-1]))
    longer = exported(forger, tmp_path / "longer", [*inputs, b"later"])
    verified(bundle, log=longer)
    cut = tmp_path / "cut"
    exported(forger, cut)
    tile = cut / "tile" / "entries" / "000.p" / str(len(inputs))
    tile.write_bytes(tile.read_bytes()[:-1])
    assert code_of(bundle, log=cut) == "log_leaf"
