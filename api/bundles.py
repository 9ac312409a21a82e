"""Making an evidence bundle: the export is an entry first, and then there is a file.

Nothing of a bundle is kept here. The log is the sealed copy of every entry in it, and the export's
entry holds the commitment to all of it: docs/decisions/0024-evidence-bundles.md.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from uuid import UUID

from api.composition import Service
from api.doors import Visit
from api.verifier import report, views
from api.verifier.command import verified
from api.verifier.outside import consistency_text
from domain.disclosure import disclosure_stream
from infra.bundle import (
    CHECKPOINT,
    FORMAT,
    MANIFEST,
    README,
    REPORT,
    Contents,
    Disclosed,
    Exported,
    Head,
    Listed,
    Manifest,
    Withheld,
    consistency_file,
    content_file,
    digest,
    head_file,
    leaf_file,
    packed,
    parsed,
    proof_file,
    time_text,
    timestamp_file,
    view_file,
)
from infra.checkpoint import Checkpoint, Signature, SignedNote
from infra.checkpoint_store import CheckpointStore
from infra.proof import TlogProof
from infra.recorder import ClinicDatastore
from infra.tiles import SignedTree, TiledHashes
from projections.dossier import Dossier

KEPT_APART = "process notes and what belongs to supervision are kept apart and left out"
_UNPROVEN = "0" * 64  # a place in the manifest that is filled once the export's entry stands
_HEADS = 16


class TimeAhead(Exception):
    """A bundle tells of what was known, and that time has not come."""


class NotChosen(Exception):
    """Positions were chosen that hold no content for this reader. The text lists them."""


class Overtaken(Exception):
    """An entry came between reading the record and noting the export. Make the bundle again."""


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle, and where its entry stands."""

    data: bytes
    position: int
    entries: int
    withheld: int


def make(service: Service, visit: Visit, only: Collection[int] = ()) -> Made:
    """The bundle of what this visitor may see, after noting that it is handed out.

    `only`: positions of the entries whose content it discloses; empty: all. Raises TimeAhead,
    NotChosen, Overtaken, LogDiverged, TilesBroken, or whatever keeps the entry from being made.
    """
    visit = visit.as_copied()
    known_at, happened_by = visit.known_at, visit.happened_by
    assert known_at is not None, "a copy states its times"
    assert happened_by is not None, "a copy states its times"
    if known_at > service.clock():
        raise TimeAhead(known_at.isoformat())
    entries = list(_disclosed(service, visit, known_at, only))
    draft = _draft(service, visit, (known_at, happened_by), entries)
    dossier = views.told(draft, entries)
    before = _files_before(draft, entries, dossier)
    manifest = _with_contents(draft, before)
    covered = [e.leaf.position for e in entries if e.withheld is not Withheld.RECORDED_LATER]
    made, commitment = visit.copied(
        manifest.contents.model_dump(mode="json"),
        max(covered, default=0),
        manifest.contents.views,
        tuple(_filters(entries, only)),
    )
    export = _export(service, visit, made.export)
    _require_all(service, visit, entries, export.leaf.position, time_text(known_at))
    after, heads = _files_after(service, entries, export)
    assert export.salt is not None, "the clinic's key is never destroyed"
    manifest = Manifest(
        contents=manifest.contents,
        salt=commitment.salt,
        export=Exported(position=export.leaf.position, salt=export.salt.hex()),
        log=str(service.log.key.verifier),
        heads=heads,
        files=_digests(after),
    )
    data = packed({**before, **after, MANIFEST: manifest.render()})
    verified(data, keys=[service.log.key.verifier])
    withheld = sum(each.withheld is not None for each in entries)
    return Made(data, export.leaf.position, len(entries), withheld)


# --- What the reader may see ------------------------------------------------------------------


def _disclosed(
    service: Service, visit: Visit, known_at: datetime, only: Collection[int]
) -> Iterator[Disclosed]:
    """The stream up to the time and the first entry past it, as far as this reader may see."""
    until, hidden = time_text(known_at), visit.hidden(visit.stream)
    history = service.log.history(visit.stream)
    told = {
        entry.version
        for entry in history.as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    }
    chosen = set(only)
    for each in service.log.disclosed(visit.stream):
        leaf = each.leaf
        if leaf.recorded_at > until:
            yield each.without_content(Withheld.RECORDED_LATER)
            break
        if each.withheld is not None:
            yield each
        elif leaf.stream_version not in told:
            yield each.without_content(Withheld.HAPPENED_LATER)
        elif hidden is not None and hidden(leaf.stream_version):
            yield each.without_content(Withheld.READER)
        elif only and leaf.position not in chosen:
            yield each.without_content(Withheld.SELECTION)
        else:
            chosen.discard(leaf.position)
            yield each
    if chosen:
        raise NotChosen(", ".join(map(str, sorted(chosen))))


def _filters(entries: Sequence[Disclosed], only: Collection[int]) -> Iterator[str]:
    """What is left out, for the account."""
    yield KEPT_APART
    yield f"{sum(each.withheld is not None for each in entries)} entries withheld"
    if only:
        yield f"only {len(set(only))} chosen entries are disclosed"


# --- Before the export is noted ---------------------------------------------------------------


def _draft(
    service: Service,
    visit: Visit,
    times: tuple[datetime, datetime],
    entries: Sequence[Disclosed],
) -> Manifest:
    """The manifest without digests and without what comes of the export's entry."""
    contents = Contents(
        format=FORMAT,
        clinic=service.clinic,
        relationship=visit.stream.id,
        known_at=time_text(times[0]),
        happened_by=time_text(times[1]),
        purpose=visit.purpose,
        recipient=visit.recipient and visit.recipient.value,
        program=version("rapport-record"),
        report=report.VERSION,
        views=views.versions(),
        entries=tuple(
            Listed(
                position=each.leaf.position,
                version=each.leaf.stream_version,
                salt=each.salt.hex() if each.salt else None,
                withheld=each.withheld,
            )
            for each in entries
        ),
        files={},
    )
    nowhere = Exported(position=1, salt=_UNPROVEN)
    return Manifest(contents=contents, salt=_UNPROVEN, export=nowhere, log="", heads=(), files={})


def _files_before(
    draft: Manifest, entries: Sequence[Disclosed], dossier: Dossier
) -> dict[str, bytes]:
    files = {README: _README.encode(), REPORT: report.report(draft, entries, dossier)}
    files |= {view_file(name): data for name, data in views.snapshots(dossier).items()}
    for each in entries:
        files |= _files_of(each)
    return files


def _files_of(entry: Disclosed) -> dict[str, bytes]:
    files = {leaf_file(entry.leaf.position): entry.leaf_input}
    if entry.content is not None:
        files[content_file(entry.leaf.position)] = entry.content
    return files


def _with_contents(draft: Manifest, files: Mapping[str, bytes]) -> Manifest:
    contents = draft.contents.model_copy(update={"files": _digests(files)})
    return draft.model_copy(update={"contents": contents})


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: digest(data) for name, data in sorted(files.items())}


# --- After it -----------------------------------------------------------------------------------


def _export(service: Service, visit: Visit, export: UUID) -> Disclosed:
    """The entry that the export was noted by."""
    assert visit.relationship is not None, "a bundle is of one relationship"
    for each in reversed(service.log.disclosed(disclosure_stream(visit.relationship))):
        told = {} if each.content is None else parsed(each.content)
        if told.get("export") == str(export):
            return each
    raise LookupError(str(export))


def _require_all(
    service: Service, visit: Visit, entries: Sequence[Disclosed], position: int, until: str
) -> None:
    """Nothing was recorded meanwhile that the bundle should hold (another process's clock)."""
    own = {each.leaf.position for each in entries}
    for each in service.log.disclosed(visit.stream):
        leaf = each.leaf
        if leaf.position not in own and leaf.position < position and leaf.recorded_at <= until:
            raise Overtaken


def _files_after(
    service: Service, entries: Sequence[Disclosed], export: Disclosed
) -> tuple[dict[str, bytes], tuple[Head, ...]]:
    """The checkpoint, the export's entry, a proof of each entry, and earlier heads."""
    note = service.log.checkpoint()
    signed = Checkpoint.parse(SignedNote.parse(note).text)
    with closing(ClinicDatastore(service.database.dsn("app"), service.clinic)) as store:
        tree = SignedTree(TiledHashes(store), signed.size, signed.root)
        files = {CHECKPOINT: note.encode(), **_files_of(export)}
        for position in (each.leaf.position for each in (*entries, export)):
            proof = TlogProof(position - 1, tree.inclusion(position - 1), note)
            files[proof_file(position)] = str(proof).encode()
        heads, vouched = _heads(CheckpointStore(store), signed, tree)
    return {**files, **vouched}, heads


def _heads(
    kept: CheckpointStore, signed: Checkpoint, tree: SignedTree
) -> tuple[tuple[Head, ...], dict[str, bytes]]:
    """The last heads that witnesses cosigned or an authority stamped, with what they said."""
    sizes = {each.size for each in kept.last_cosigned(signed.origin).values()}
    if stamped := kept.stamped(signed.origin):
        sizes.add(stamped.size)
    heads, files = [], {}
    for size in sorted(size for size in sizes if size <= signed.size)[-_HEADS:]:
        checkpoint = kept.at_size(signed.origin, size)
        if checkpoint is None:
            continue
        lines = [each.line.removesuffix("\n") for each in kept.cosignatures(signed.origin, size)]
        note = SignedNote.parse(checkpoint.note).with_signatures(*map(Signature.parse, lines))
        root = Checkpoint.parse(note.text).root
        files[head_file(size)] = str(note).encode()
        files[consistency_file(size)] = consistency_text(tree.consistency(size, root)).encode()
        stamp = kept.stamped(signed.origin, size)
        if stamp is not None:
            files[timestamp_file(size)] = stamp.token
        heads.append(Head(size=size, stamped=stamp is not None))
    return tuple(heads), files


_README = """\
This is an evidence bundle: a copy of one therapeutic relationship's record as of a time,
with what it takes to check it.

Read report.html with any browser; it prints well.
Check the bundle, without a database and without a network, by

    rapport-verify BUNDLE.zip

Get that program from the project, not from whoever handed you the bundle.

report.html   for people; every statement cites the entries it stands on
entries/      each entry: *.leaf.json is its envelope as it stands in the log, *.content.json
              what it says; where that is withheld, the envelope holds the commitment to it
proofs/       for each entry, that it stands in the log (c2sp.org/tlog-proof)
checkpoint    the signed head of the log (c2sp.org/tlog-checkpoint)
heads/        earlier heads that witnesses cosigned, or a timestamp authority stamped
views/        what the entries add up to, with the version of the code that did so
manifest.json the table of contents, with digests and the salts that open the commitments

It holds health data. Keep it as you would keep the record itself.
"""
