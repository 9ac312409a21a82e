"""What is checked of a bundle, step by step, up to the first thing that does not fit.

Each step either raises `BundleBroken`, or adds what it has proven and what it has not. Nothing is
taken from the bundle's word that the log, a commitment or a replay can show.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from api.verifier import report, views
from domain.disclosure import ExportMade
from domain.event import Event
from domain.topics import UnknownTopic
from infra.bundle import (
    CHECKPOINT,
    MANIFEST,
    README,
    REPORT,
    BundleBroken,
    Disclosed,
    Leaf,
    Listed,
    Manifest,
    Withheld,
    committed,
    consistency_file,
    content_file,
    digest,
    head_file,
    leaf_file,
    proof_file,
    rendered,
    timestamp_file,
    unpacked,
    view_file,
)
from infra.checkpoint import ED25519, Checkpoint, NoteBroken, SignedNote, VerifierKey
from infra.merkle import leaf_hash
from infra.proof import ProofBroken, TlogProof, verify_inclusion


class Point(NamedTuple):
    """One thing that is proven, or is not: a stable code, and a sentence for people."""

    code: str
    says: str


@dataclass
class Verdict:
    """What a bundle shows."""

    manifest: Manifest
    checkpoint: Checkpoint
    proven: list[Point] = field(default_factory=list)
    open: list[Point] = field(default_factory=list)
    """What it does not show."""

    def prove(self, code: str, says: str) -> None:
        self.proven.append(Point(code, says))

    def leave(self, code: str, says: str) -> None:
        self.open.append(Point(code, says))


class Bundle:
    """An opened bundle whose list of files holds; the steps below check the rest."""

    def __init__(self, data: bytes) -> None:
        self.files = unpacked(data)
        if MANIFEST not in self.files:
            raise BundleBroken("file_missing", MANIFEST)
        self.manifest = Manifest.parse(self.files[MANIFEST])
        self.contents = self.manifest.contents
        self._require_files()

    def _require_files(self) -> None:
        """Exactly the files that a bundle of these entries has, each as the manifest says."""
        listed = {**self.contents.files, **self.manifest.files}
        for found, expected in (
            (set(self.contents.files), set(_before(self.manifest))),
            (set(self.manifest.files), set(_after(self.manifest))),
            (set(self.files), {*listed, MANIFEST}),
        ):
            for name in sorted(expected - found):
                raise BundleBroken("file_missing", name)
            for name in sorted(found - expected):
                raise BundleBroken("file_unknown", name)
        for name, sha256 in sorted(listed.items()):
            if digest(self.files[name]) != sha256:
                raise BundleBroken("file_digest", name)

    def text(self, name: str) -> str:
        try:
            return self.files[name].decode()
        except UnicodeDecodeError:
            raise BundleBroken("not_text", name) from None


def _before(manifest: Manifest) -> Iterator[str]:
    """The files that the export's entry commits to."""
    yield from (README, REPORT, *map(view_file, manifest.contents.views))
    for each in manifest.contents.entries:
        yield leaf_file(each.position)
        if each.salt is not None:
            yield content_file(each.position)


def _after(manifest: Manifest) -> Iterator[str]:
    """The files that came to be after it."""
    export = manifest.export.position
    yield from (CHECKPOINT, leaf_file(export), content_file(export), proof_file(export))
    yield from (proof_file(each.position) for each in manifest.contents.entries)
    for head in manifest.heads:
        yield from (head_file(head.size), consistency_file(head.size))
        if head.stamped:
            yield timestamp_file(head.size)


# --- The log --------------------------------------------------------------------------------


def signed_checkpoint(bundle: Bundle, known: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint that the log's key signed; with known keys, by one of these."""
    try:
        key = VerifierKey.parse(bundle.manifest.log)
    except NoteBroken:
        raise BundleBroken("key", MANIFEST) from None
    if key.algorithm != ED25519:
        raise BundleBroken("key", MANIFEST)
    note = bundle.text(CHECKPOINT)
    try:
        checkpoint = Checkpoint.verified(note, key)
        alone = len(SignedNote.parse(note).signatures) == 1
    except NoteBroken as broken:
        raise BundleBroken(f"checkpoint_{broken.code}", CHECKPOINT) from None
    if not alone or checkpoint.extensions:
        raise BundleBroken("checkpoint_malformed", CHECKPOINT)
    if known and key not in known:
        raise BundleBroken("signer", CHECKPOINT)
    return checkpoint


def require_logged(bundle: Bundle, checkpoint: Checkpoint, position: int) -> None:
    """The entry at that position stands in the log, by its proof."""
    name = proof_file(position)
    try:
        proof = TlogProof.parse(bundle.text(name))
        if proof.checkpoint != bundle.text(CHECKPOINT) or proof.extra is not None:
            raise BundleBroken("proof_checkpoint", name, position)
        if proof.index != position - 1:
            raise BundleBroken("proof_index", name, position)
        hashed = leaf_hash(bundle.files[leaf_file(position)])
        verify_inclusion(hashed, proof.index, checkpoint.size, proof.path, checkpoint.root)
    except ProofBroken as broken:
        raise BundleBroken(f"proof_{broken.code}", name, position) from None


# --- Entries --------------------------------------------------------------------------------


def disclosed(bundle: Bundle, listed: Listed) -> Disclosed:
    """The entry, its envelope read, its content held against the commitment in the log."""
    name, position = leaf_file(listed.position), listed.position
    logged = bundle.files[name]
    try:
        leaf = Leaf.parse(logged)
    except ValueError:
        raise BundleBroken("leaf", name, position) from None
    if (leaf.position, leaf.stream_version) != (position, listed.version):
        raise BundleBroken("leaf_place", name, position)
    if leaf.clinic != bundle.contents.clinic:
        raise BundleBroken("leaf_clinic", name, position)
    if (listed.salt is None) == (listed.withheld is None):
        raise BundleBroken("withheld", MANIFEST, position)
    if listed.salt is None:
        return _readable(Disclosed(logged, None, None, listed.withheld), name, position)
    name = content_file(position)
    content, salt = bundle.files[name], bytes.fromhex(listed.salt)
    if committed(salt, content) != leaf.commitment:
        raise BundleBroken("commitment", name, position)
    return _readable(Disclosed(logged, content, salt), name, position)


def _readable(entry: Disclosed, name: str, position: int) -> Disclosed:
    try:
        entry.recorded()
    except UnknownTopic:
        raise BundleBroken("newer", name, position) from None
    except (ValueError, LookupError, TypeError, AttributeError):
        # The last three: what brings old content up to date trusts that the record wrote it.
        raise BundleBroken("content", name, position) from None
    return entry


def require_stream(bundle: Bundle, entries: Sequence[Disclosed]) -> None:
    """They are the relationship's stream from its first entry on, with no number left out."""
    stream = f"relationship-{bundle.contents.relationship}"
    before: Leaf | None = None
    for number, leaf in enumerate((each.leaf for each in entries), start=1):
        name = leaf_file(leaf.position)
        if leaf.stream != stream:
            raise BundleBroken("leaf_stream", name, leaf.position)
        if leaf.stream_version != number:
            raise BundleBroken("version", name, leaf.position)
        if before and not before.position < leaf.position:
            raise BundleBroken("order", name, leaf.position)
        if before and before.recorded_at > leaf.recorded_at:
            raise BundleBroken("time", name, leaf.position)
        before = leaf


def require_times(bundle: Bundle, entries: Sequence[Disclosed]) -> None:
    """All but the last were recorded by the bundle's time; a later one stands for no more."""
    for number, each in enumerate(entries, start=1):
        leaf = each.leaf
        later = leaf.recorded_at > bundle.contents.known_at
        if later != (each.withheld is Withheld.RECORDED_LATER) or (later and number < len(entries)):
            raise BundleBroken("recorded_later", leaf_file(leaf.position), leaf.position)


def require_keys(entries: Sequence[Disclosed]) -> None:
    """What is one person's own is sealed under one key, which seals nobody else's."""
    keys: dict[UUID | None, UUID] = {}
    owners: dict[UUID, UUID | None] = {}
    for each in entries:
        recorded = each.recorded()
        if not isinstance(recorded.event, Event):
            continue
        owner, key = recorded.event.subject(), recorded.key_id
        if keys.setdefault(owner, key) != key or owners.setdefault(key, owner) != owner:
            raise BundleBroken("key_id", leaf_file(recorded.position), recorded.position)


# --- The export -----------------------------------------------------------------------------


def export_made(bundle: Bundle, entries: Sequence[Disclosed]) -> ExportMade:
    """The entry that says what was handed out, and commits to every byte of it."""
    place, contents = bundle.manifest.export, bundle.contents
    name = content_file(place.position)
    listed = Listed(
        position=place.position,
        version=_version(bundle, place.position),
        salt=place.salt,
        withheld=None,
    )
    entry = disclosed(bundle, listed)
    recorded = entry.recorded()
    made = recorded.event
    if str(recorded.stream) != f"disclosure-{contents.relationship}":
        raise BundleBroken("export", name, place.position)
    if not isinstance(made, ExportMade):
        raise BundleBroken("export", name, place.position)
    salt = bytes.fromhex(bundle.manifest.salt)
    if committed(salt, rendered(contents.model_dump(mode="json"))) != made.commitment:
        raise BundleBroken("export_commitment", MANIFEST, place.position)
    covered = [e.leaf.position for e in entries if e.withheld is not Withheld.RECORDED_LATER]
    recipient = made.recipient and made.recipient.value
    says = (
        made.known_at == bundle.manifest.known_at,
        made.happened_by == bundle.manifest.happened_by,
        made.purpose == contents.purpose,
        recipient == contents.recipient,
        made.position == max(covered, default=0),
        {view.view: view.version for view in made.views} == contents.views,
        recorded.recorded_at >= bundle.manifest.known_at,
        all(each.leaf.position < place.position for each in entries),
    )
    if not all(says):
        raise BundleBroken("export", name, place.position)
    return made


def _version(bundle: Bundle, position: int) -> int:
    try:
        return Leaf.parse(bundle.files[leaf_file(position)]).stream_version
    except ValueError:
        raise BundleBroken("leaf", leaf_file(position), position) from None


# --- Views and the page -----------------------------------------------------------------------


def replay(bundle: Bundle, entries: Sequence[Disclosed], verdict: Verdict) -> None:
    """Folds the views again from the entries, writes the page again, and compares."""
    own, theirs = views.versions(), bundle.contents.views
    try:
        dossier = views.told(bundle.manifest, entries)
        snapshots = views.snapshots(dossier)
        page = report.report(bundle.manifest, entries, dossier)
    except Exception:
        # Entries that no record would hold together may fail a view anywhere: that is a finding.
        raise BundleBroken("replay", view_file("timeline")) from None
    same = sorted(name for name in theirs if own.get(name) == theirs[name])
    other = sorted(set(theirs) - set(same))
    for name in same:
        if bundle.files[view_file(name)] != snapshots[name]:
            raise BundleBroken("view", view_file(name))
    if same:
        told = ", ".join(f"{name} v{theirs[name]}" for name in same)
        verdict.prove("views", f"Folded again from these entries, the views are the same: {told}.")
    if other:
        verdict.leave(
            "views",
            f"Not folded again, because this program holds other versions: {', '.join(other)}. "
            f"Rapport {bundle.contents.program} made them.",
        )
    if bundle.contents.report == report.VERSION and not other:
        if bundle.files[REPORT] != page:
            raise BundleBroken("report", REPORT)
        verdict.prove("report", f"{REPORT} says what these entries say, word for word.")
    else:
        verdict.leave(
            "report",
            f"{REPORT} is the page that was handed out, but was not written again from the "
            f"entries: it was made by another version ({bundle.contents.program}).",
        )


# --- In words ---------------------------------------------------------------------------------


def tell_signer(verdict: Verdict, known: Sequence[VerifierKey]) -> None:
    size = verdict.checkpoint.size
    if known:
        verdict.prove("signer", f"The log key you named signed the log at {size} entries.")
        return
    verdict.leave(
        "signer",
        f"Whose log this is. Its key is {verdict.manifest.log}: compare it with one that you "
        "have from the clinic by another way, and give that one as --key.",
    )


def tell_entries(verdict: Verdict, entries: Sequence[Disclosed], made: ExportMade) -> None:
    """What was shown of entries, contents and the export."""
    position, shown = verdict.manifest.export.position, [e for e in entries if e.content]
    verdict.prove(
        "logged",
        f"All {len(entries) + 1} entries of this bundle stand in that log, byte for byte.",
    )
    verdict.prove(
        "contents",
        f"The content of {len(shown)} entries is the one that was recorded: it fits the commitment "
        "in the log.",
    )
    verdict.prove(
        "export",
        f"That exactly this was handed out is in the log, at position {position}: to {made.to}, "
        f"for {made.purpose}.",
    )
    for why in Withheld:
        positions = [each.leaf.position for each in entries if each.withheld is why]
        if positions and why is not Withheld.RECORDED_LATER:
            verdict.leave(
                f"withheld_{why.value}",
                f"The content of {len(positions)} entries ({_why(why)}): that they exist, when "
                f"and by whom is proven, what they say is not here. {_list(positions)}.",
            )
    verdict.leave(
        "truth",
        "That what was recorded is true. The log shows what was recorded, when, and under whose "
        "name.",
    )


def tell_complete(verdict: Verdict, entries: Sequence[Disclosed]) -> None:
    """How far it is shown that none is missing, without the whole log."""
    known_at = verdict.manifest.contents.known_at
    last = entries[-1] if entries else None
    if last is not None and last.withheld is Withheld.RECORDED_LATER:
        verdict.prove(
            "complete",
            f"None is missing of what was recorded by {known_at}: numbers 1 to {len(entries) - 1} "
            f"are all here, and number {len(entries)} was recorded after that time. (That the log "
            "gave no number twice is shown by --log.)",
        )
        return
    numbers = f"Numbers 1 to {len(entries)} are all here" if entries else "There is none here"
    verdict.leave(
        "complete",
        f"That none came after the last one here by {known_at}. {numbers}; that there are no more "
        "is the clinic's signed statement. With an export of the log, --log proves it.",
    )


_WHYS = {
    Withheld.ERASED: "erased",
    Withheld.READER: "not for this reader",
    Withheld.SELECTION: "not chosen",
    Withheld.HAPPENED_LATER: "of a later time, as the clinic says",
}


def _why(why: Withheld) -> str:
    return _WHYS[why]


def _list(positions: Sequence[int]) -> str:
    shown = ", ".join(map(str, positions[:12]))
    return f"Positions {shown}" + (" …" if len(positions) > 12 else "")
