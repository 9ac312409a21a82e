"""What others say about the log: witnesses, timestamps, and the log itself as a folder of tiles.

What somebody names to check against is required: a bundle that lacks it does not pass, or it would
be enough to leave it out.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from cryptography import x509

from api.verifier.checks import Bundle, Verdict
from infra.bundle import (
    BundleBroken,
    Disclosed,
    Leaf,
    Withheld,
    consistency_file,
    head_file,
    time_text,
    timestamp_file,
)
from infra.checkpoint import Checkpoint, NoteBroken, SignedNote, VerifierKey, base64
from infra.merkle import Frontier, leaf_hash
from infra.proof import ProofBroken, verify_consistency

_WIDTH = 256
_LENGTH_BYTES = 2
_FOR_TIMESTAMPS = ("rfc3161_client", "h11")


class Unusable(Exception):
    """What was given to check against cannot be used; the text says what and why."""


# --- Earlier heads, and who saw them ----------------------------------------------------------


def earlier_heads(bundle: Bundle, verdict: Verdict) -> dict[int, SignedNote]:
    """Earlier checkpoints by size: each signed by the log, each continued by the bundle's."""
    key, head = VerifierKey.parse(verdict.manifest.log), verdict.checkpoint
    found: dict[int, SignedNote] = {}
    for size in (each.size for each in verdict.manifest.heads):
        text = bundle.text(head_file(size))
        try:
            note, earlier = SignedNote.parse(text), Checkpoint.verified(text, key)
        except NoteBroken as broken:
            raise BundleBroken(f"checkpoint_{broken.code}", head_file(size)) from None
        if earlier.size != size or earlier.extensions or size in found:
            raise BundleBroken("checkpoint_malformed", head_file(size))
        if (note.signatures[0].name, note.signatures[0].key_id) != (key.name, key.key_id):
            raise BundleBroken("checkpoint_malformed", head_file(size))
        try:
            path = _path(bundle.text(consistency_file(size)))
            verify_consistency(size, earlier.root, head.size, head.root, path)
        except (NoteBroken, ProofBroken):
            raise BundleBroken("consistency", consistency_file(size)) from None
        found[size] = note
    return found


def consistency_text(path: Sequence[bytes]) -> str:
    """A consistency proof: a hash a line in base64, as in a `.tlog-proof`."""
    return "".join(f"{b64encode(each).decode()}\n" for each in path)


def _path(text: str) -> tuple[bytes, ...]:
    path = tuple(map(base64, text.split("\n")[:-1]))
    if consistency_text(path) != text:
        raise NoteBroken("malformed")
    return path


def require_witnesses(
    heads: dict[int, SignedNote], witnesses: Sequence[VerifierKey], verdict: Verdict
) -> None:
    """Each of these witnesses cosigned one of the heads."""
    for witness in witnesses:
        seen = {size: at for size, note in heads.items() if (at := _cosigned(size, note, witness))}
        if not seen:
            raise BundleBroken("witness_unsigned", "heads")
        size = max(seen)
        verdict.prove(
            "witness",
            f"The witness {witness.name} had seen this log with {size} entries on {seen[size]}; "
            f"{_within(verdict, size)}",
        )
    known = {(witness.name, witness.key_id) for witness in witnesses}
    others = sorted(
        {
            s.name
            for n in heads.values()
            for s in n.signatures[1:]
            if (s.name, s.key_id) not in known
        }
    )
    if others:
        verdict.leave(
            "witness",
            f"What the cosignatures of {', '.join(others)} are worth: name a witness that you "
            "trust by its key, as --witness.",
        )
    elif not witnesses:
        verdict.leave(
            "witness",
            "That the clinic shows everybody the same log: no witness has cosigned it here.",
        )


def _cosigned(size: int, note: SignedNote, witness: VerifierKey) -> str:
    """When that witness cosigned; empty where it did not."""
    try:
        at = note.verified_by(witness)
    except NoteBroken as broken:
        if broken.code == "unsigned":
            return ""
        raise BundleBroken("witness_not_authentic", head_file(size)) from None
    return "" if at is None else time_text(at)


def _within(verdict: Verdict, size: int) -> str:
    entries = [each.position for each in verdict.manifest.contents.entries]
    covered = sum(position <= size for position in entries)
    return f"{covered} of the {len(entries)} entries of the relationship here were in it by then."


def require_timestamps(
    bundle: Bundle,
    heads: dict[int, SignedNote],
    roots: Sequence[x509.Certificate] | None,
    verdict: Verdict,
) -> None:
    """Each RFC 3161 timestamp stands over the head it goes with, under one of these roots."""
    stamped = [each.size for each in verdict.manifest.heads if each.stamped]
    if roots is None:
        if stamped:
            verdict.leave(
                "timestamp",
                "When the log was that long, by the RFC 3161 timestamp that goes along: name the "
                "roots that you trust by --timestamp-roots.",
            )
        return
    if not stamped:
        raise BundleBroken("timestamp_missing", "heads")
    if not all(map(find_spec, _FOR_TIMESTAMPS)):
        raise Unusable(f"Timestamps are checked by {' and '.join(_FOR_TIMESTAMPS)}: install them.")
    from infra.timestamp import TimestampBroken, verified  # noqa: PLC0415  it needs the above

    for size in stamped:
        note = heads[size]
        alone = SignedNote(note.text, note.signatures[:1])
        try:
            at = verified(bundle.files[timestamp_file(size)], str(alone).encode(), roots)
        except TimestampBroken as broken:
            raise BundleBroken(f"timestamp_{broken.code}", timestamp_file(size)) from None
        verdict.prove(
            "timestamp",
            f"The log had {size} entries by {time_text(at)}, says a timestamp under a root that "
            f"you trust; {_within(verdict, size)}",
        )


# --- The log as a folder ----------------------------------------------------------------------


def require_whole_log(folder: Path, entries: Sequence[Disclosed], verdict: Verdict) -> None:
    """Reads every entry of an exported log: it is the log that was signed, and holds no other
    entry of the relationship by the bundle's time."""
    head, contents = verdict.checkpoint, verdict.manifest.contents
    stream = f"relationship-{contents.relationship}".encode()
    own = {each.leaf.position: each.leaf_input for each in entries}
    shown = {place for place, each in zip(own, entries, strict=True) if _is_told(each)}
    frontier, position, met = Frontier(), 0, set()
    for leaves in _tiles(folder, head.size):
        frontier = frontier.append(map(leaf_hash, leaves))
        for leaf_input in leaves:
            position += 1
            if stream not in leaf_input or not _is_of(leaf_input, stream.decode()):
                continue
            if own.get(position) == leaf_input:
                met.add(position)
            elif Leaf.parse(leaf_input).recorded_at <= contents.known_at:
                raise BundleBroken("entry_missing", str(folder), position)
    if frontier.root() != head.root:
        raise BundleBroken("log_root", str(folder))
    if not shown <= met:
        raise BundleBroken("entry_missing", str(folder), min(shown - met))
    verdict.open = [point for point in verdict.open if point.code != "complete"]
    verdict.proven = [point for point in verdict.proven if point.code != "complete"]
    verdict.prove(
        "complete",
        f"None is missing of what was recorded by {contents.known_at}: all {head.size} entries of "
        "the log were read, and none of them is of this relationship and not here.",
    )


def _is_told(entry: Disclosed) -> bool:
    return entry.withheld is not Withheld.RECORDED_LATER


def _is_of(leaf_input: bytes, stream: str) -> bool:
    try:
        return Leaf.parse(leaf_input).stream == stream
    except ValueError:
        raise BundleBroken("log_leaf") from None


def _tiles(folder: Path, size: int) -> Iterator[list[bytes]]:
    """The leaf inputs below a size, a tile at a time (c2sp.org/tlog-tiles, entry bundles)."""
    for index in range(-(-size // _WIDTH)):
        wanted = min(_WIDTH, size - index * _WIDTH)
        yield _leaves(_tile(folder, index, wanted))[:wanted]


def _tile(folder: Path, index: int, wanted: int) -> bytes:
    """The full bundle of entries, or a partial one that holds enough of them."""
    parts, rest = [f"{index % 1000:03}"], index // 1000
    while rest:
        parts.insert(0, f"x{rest % 1000:03}")
        rest //= 1000
    full = folder.joinpath("tile", "entries", *parts)
    partial = full.with_name(f"{full.name}.p")
    try:
        if full.is_file():
            return full.read_bytes()
        for width in range(wanted, _WIDTH):
            if (partial / str(width)).is_file():
                return (partial / str(width)).read_bytes()
    except OSError as error:
        raise Unusable(f"{error.filename} cannot be read: {error.strerror}.") from None
    raise Unusable(
        f"The log in {folder} ends before the bundle's checkpoint, or holds no entries. Ask for "
        "`rapport log export --entries`, made after the bundle."
    )


def _leaves(data: bytes) -> list[bytes]:
    leaves, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise BundleBroken("log_leaf")
        leaves.append(data[start:at])
    return leaves
