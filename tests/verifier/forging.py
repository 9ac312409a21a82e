"""Bundles taken apart and put together again, by two who would like them to say something else.

One can change every byte and knows the format, but has no key (`Handed`). The other has a key and
a log of their own, and can make everything in a bundle fit everything else (`Forger`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.verifier import report, views
from infra.bundle import (
    CHECKPOINT,
    MANIFEST,
    README,
    REPORT,
    Disclosed,
    Manifest,
    Withheld,
    committed,
    content_file,
    digest,
    leaf_file,
    packed,
    parsed,
    proof_file,
    rendered,
    unpacked,
    view_file,
)
from infra.checkpoint import Checkpoint, NoteSigner, VerifierKey
from infra.merkle import leaf_hash, root_of
from infra.proof import TlogProof, inclusion_proof

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "data" / "vectors"
GOLDEN = VECTORS / "bundle-1.zip"
"""A real bundle: a client's own copy as of a time, one entry withheld, one recorded later."""
KEYS = json.loads((VECTORS / "bundle-1.json").read_text(encoding="utf-8"))
LOG_KEY = VerifierKey.parse(KEYS["log"])
WITNESS = VerifierKey.parse(KEYS["witness"])


@dataclass
class Handed:
    """The golden bundle in the hands of somebody without a key: files and manifest to change."""

    files: dict[str, bytes] = field(default_factory=lambda: unpacked(GOLDEN.read_bytes()))
    manifest: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.manifest = json.loads(self.files[MANIFEST])

    def put_together(self, *, digests: bool = True) -> bytes:
        """The bundle anew; with digests that fit the files, as far as they are in the manifest."""
        if digests:
            for listed in (self.manifest["contents"]["files"], self.manifest["files"]):
                for name in listed:
                    listed[name] = digest(self.files.get(name, b""))
        return packed({**self.files, MANIFEST: rendered(self.manifest)})


@dataclass
class Entry:
    """An entry as the forger would have it."""

    leaf: dict[str, Any]
    content: bytes | None
    salt: bytes | None
    withheld: str | None
    commits: bool = True
    """Whether the envelope commits to the content as it is now."""

    def input(self) -> bytes:
        if self.commits and self.content is not None and self.salt is not None:
            self.leaf["commitment"] = committed(self.salt, self.content)
        return rendered(self.leaf)

    def changed(self, **fields: Any) -> None:
        """Other content, committed to."""
        assert self.content is not None, "this entry's content is withheld"
        self.content = rendered({**parsed(self.content), **fields})

    def withhold(self, why: Withheld) -> None:
        self.content = self.salt = None
        self.withheld = why.value


class _Tree:
    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    def subtree(self, level: int, index: int) -> bytes:
        return root_of(self.leaves[index << level : (index + 1) << level])


class Forger:
    """Somebody who writes a log and bundles of it as they like, under a key of their own."""

    def __init__(self) -> None:
        files = unpacked(GOLDEN.read_bytes())
        manifest = json.loads(files[MANIFEST])
        self.signer = NoteSigner("forger.example/log", bytes(range(32)))
        self.contents: dict[str, Any] = manifest["contents"]
        self.salt = bytes.fromhex(manifest["salt"])
        self.entries = [_entry(files, each) for each in self.contents["entries"]]
        self.export = _entry(files, {**manifest["export"], "withheld": None})
        self.overwritten: dict[str, bytes] = {}
        """Files that say something else than what the entries give."""
        self.exported: dict[str, Any] = {}
        """Fields of the export's entry that say something else than the bundle."""
        self.readme = files[README]

    @property
    def first(self) -> Entry:
        return self.entries[0]

    def entry(self, topic: str) -> Entry:
        return next(each for each in self.entries if each.leaf["topic"] == topic)

    def leaf_inputs(self) -> list[bytes]:
        """The forger's whole log: entries, and others in between."""
        size = max(each.leaf["position"] for each in (*self.entries, self.export))
        inputs = [f'{{"filler":{at}}}'.encode() for at in range(size)]
        for each in (*self.entries, self.export):
            inputs[each.leaf["position"] - 1] = each.input()
        return inputs

    def bundle(self) -> bytes:
        """A bundle in which everything fits, but for what was meant to be wrong."""
        before = {leaf_file(e.leaf["position"]): e.input() for e in self.entries}
        before |= {content_file(e.leaf["position"]): e.content for e in self.entries if e.content}
        before |= {README: self.readme, **self._told()} | self.overwritten
        listed = [
            {
                "position": each.leaf["position"],
                "version": each.leaf["stream_version"],
                "salt": each.salt.hex() if each.salt else None,
                "withheld": each.withheld,
            }
            for each in self.entries
        ]
        contents = {**self.contents, "entries": listed, "files": _digests(before)}
        self._commit_to(contents)
        position = self.export.leaf["position"]
        inputs = self.leaf_inputs()
        tree = _Tree([leaf_hash(each) for each in inputs])
        head = Checkpoint(self.signer.verifier.name, len(inputs), root_of(tree.leaves))
        note = str(self.signer.sign(head.body()))
        assert self.export.content is not None, "the export's content is never withheld"
        after = {
            CHECKPOINT: note.encode(),
            leaf_file(position): self.export.input(),
            content_file(position): self.export.content,
        }
        for at in (each["position"] for each in (*listed, {"position": position})):
            path = inclusion_proof(at - 1, len(inputs), tree)
            after[proof_file(at)] = str(TlogProof(at - 1, path, note)).encode()
        assert self.export.salt is not None, "the export's content is never withheld"
        manifest = {
            "contents": contents,
            "salt": self.salt.hex(),
            "export": {"position": position, "salt": self.export.salt.hex()},
            "log": str(self.signer.verifier),
            "heads": [],
            "files": _digests(after),
        }
        return packed({**before, **after, MANIFEST: rendered(manifest)})

    def _told(self) -> dict[str, bytes]:
        """Views and page of the entries as they are."""
        shown = [
            Disclosed(e.input(), e.content, e.salt, Withheld(e.withheld) if e.withheld else None)
            for e in self.entries
        ]
        draft = {
            "contents": {**self.contents, "files": {}},
            "salt": "0" * 64,
            "export": {"position": 1, "salt": "0" * 64},
            "log": "",
            "heads": [],
            "files": {},
        }
        manifest = Manifest.model_validate(draft)
        try:
            dossier = views.told(manifest, shown)
        except Exception:
            return {REPORT: b"", **{view_file(name): b"" for name in views.versions()}}
        snapshots = {view_file(name): data for name, data in views.snapshots(dossier).items()}
        return {REPORT: report.report(manifest, shown, dossier), **snapshots}

    def _commit_to(self, contents: Mapping[str, Any]) -> None:
        covered = [
            each.leaf["position"] for each in self.entries if each.withheld != "recorded_later"
        ]
        said = {
            "position": max(covered, default=0),
            "commitment": committed(self.salt, rendered(contents)),
        }
        self.export.changed(**{**said, **self.exported})


Change = Callable[[Forger], None]


def _entry(files: Mapping[str, bytes], listed: Mapping[str, Any]) -> Entry:
    salt = listed["salt"]
    return Entry(
        json.loads(files[leaf_file(listed["position"])]),
        files.get(content_file(listed["position"])),
        bytes.fromhex(salt) if salt else None,
        listed["withheld"],
    )


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: digest(data) for name, data in sorted(files.items())}
