"""A verdict in words, and as JSON."""

import json
from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Final

from api.verifier.checks import Point, Verdict
from infra.bundle import BundleBroken

FORMAT: Final = "rapport-verdict/1"
_WIDTH: Final = 96

SAYS: Final[Mapping[str, str]] = {
    "unreadable": "It cannot be read to the end, in a way that this program does not know.",
    "too_large": "It is larger, or holds more files, than a bundle may.",
    "container": "The zip file is not written as a bundle is: it was damaged, or made anew.",
    "file_name": "It holds a file by a name that no bundle has.",
    "file_twice": "It holds this file twice.",
    "file_missing": "This file is missing.",
    "file_unknown": "This file does not belong into the bundle.",
    "file_digest": "This file is not the one that the manifest names: it was altered or exchanged.",
    "not_text": "This file is no text.",
    "manifest": "The manifest is not written as the format says.",
    "key": "The key of the log is none.",
    "signer": "The log was signed by another key than the one you named.",
    "checkpoint_malformed": "This is not a checkpoint as the format says.",
    "checkpoint_unsigned": "The log's key has not signed this checkpoint.",
    "checkpoint_not_authentic": "The signature does not fit this checkpoint: one was altered.",
    "proof_malformed": "This is no proof as the format says.",
    "proof_checkpoint": "The proof goes with another checkpoint.",
    "proof_index": "The proof is of another entry.",
    "proof_inclusion": "The entry does not stand in the log: its proof does not lead to the root.",
    "leaf": "The envelope is not written as the format says.",
    "leaf_place": "The envelope tells another place than the manifest.",
    "leaf_clinic": "The entry is another clinic's.",
    "leaf_stream": "The entry is of another relationship.",
    "version": "An entry is missing before this one, or one stands twice: the numbers have a gap.",
    "order": "The entry stands ahead of the one before it.",
    "time": "The entry claims to be recorded before the one ahead of it.",
    "withheld": "The content is neither shown nor said to be withheld, or both.",
    "commitment": "The content is not the one that was recorded: it, or its salt, was altered.",
    "content": "The content is none that such an entry can have.",
    "newer": "The entry was written by a newer program: use a newer rapport-verify.",
    "recorded_later": "When the entry was recorded does not fit the time of the bundle.",
    "key_id": "Contents of one person stand under several keys, or of several under one.",
    "export": "The log's entry about this export tells of another bundle.",
    "export_commitment": "What the bundle holds is not what the log says was handed out.",
    "replay": "The entries do not fold to any view.",
    "view": "The view is another than these entries give.",
    "report": "The page says something else than these entries.",
    "consistency": "The bundle's log does not continue this earlier head.",
    "witness_unsigned": "The witness you named has not cosigned the log here.",
    "witness_not_authentic": "The cosignature of the witness you named does not fit this head.",
    "timestamp_missing": "There is no timestamp.",
    "timestamp_malformed": "This is no timestamp.",
    "timestamp_another_message": "The timestamp is over something else than this head.",
    "timestamp_not_authentic": "The timestamp does not lead to the roots you named.",
    "log_root": "The log in this folder is another than the one that was signed.",
    "log_leaf": "The log in the folder holds what no entry is.",
    "entry_missing": "The log holds an entry of this relationship that is not in the bundle so.",
}
"""Each way in which a bundle may fail to fit."""


def as_json(name: str, outcome: Verdict | BundleBroken) -> str:
    """One JSON document: `ok`, and what is proven, or the first thing that does not fit."""
    document: dict[str, object] = {"format": FORMAT, "bundle": name}
    if isinstance(outcome, BundleBroken):
        document |= {
            "ok": False,
            "code": outcome.code,
            "file": outcome.file or None,
            "position": outcome.position,
            "says": SAYS[outcome.code],
        }
    else:
        contents = outcome.manifest.contents
        document |= {
            "ok": True,
            "relationship": str(contents.relationship),
            "clinic": str(contents.clinic),
            "known_at": contents.known_at,
            "happened_by": contents.happened_by,
            "log": outcome.manifest.log,
            "size": outcome.checkpoint.size,
            "root": outcome.checkpoint.root.hex(),
            "proven": [point._asdict() for point in outcome.proven],
            "not_proven": [point._asdict() for point in outcome.open],
        }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(name: str, outcome: Verdict | BundleBroken) -> str:
    """The same for people."""
    lines = _broken if isinstance(outcome, BundleBroken) else _fits
    return "\n".join(lines(name, outcome))  # type: ignore[arg-type]  # told apart above


def _fits(name: str, verdict: Verdict) -> Iterator[str]:
    contents = verdict.manifest.contents
    yield f"{name}: everything in it fits together."
    yield ""
    yield f"  relationship  {contents.relationship}"
    yield f"  known at      {contents.known_at}"
    yield f"  happened by   {contents.happened_by}"
    yield f"  log           {verdict.checkpoint.origin}, {verdict.checkpoint.size} entries"
    yield ""
    yield "Proven"
    yield from _points("+", verdict.proven)
    yield ""
    yield "Not proven"
    yield from _points("-", verdict.open)


def _points(mark: str, points: list[Point]) -> Iterator[str]:
    for point in points:
        yield fill(
            "".join(letter if letter.isprintable() else "?" for letter in point.says),
            _WIDTH,
            initial_indent=f"  {mark} ",
            subsequent_indent="    ",
            break_long_words=False,  # a key is copied whole
            break_on_hyphens=False,
        )


def _broken(name: str, broken: BundleBroken) -> Iterator[str]:
    yield f"{name}: does not fit. Rely on nothing in it."
    yield ""
    if broken.file:
        yield f"  file   {broken.file}"
    if broken.position is not None:
        yield f"  entry  position {broken.position} of the log"
    yield f"  what   {SAYS[broken.code]}"
