"""An erasure certificate in words, for people: as text, and as HTML that prints well."""

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from domain.erasure import LogProven
from infra.certificate import Certificate, CopyMade, Counted, Destruction, Extent, OutOfReach

_EXTENTS = {
    Extent.WHOLE: "the whole record",
    Extent.PART: "what this person gave; what others gave, and what is joint, stays",
}

_NOT_REACHED = {
    OutOfReach.COPIES: "The copies handed out, as listed above, and what was copied by hand. They "
    "still prove what they hold.",
    OutOfReach.KEYRING_BACKUPS: "Backups of the keyring from before, together with its master key. "
    "They must be deleted, or let expire; until then whoever has both, and a copy of the database, "
    "can read what was erased. What is restored from them here is destroyed again before anything "
    "is served.",
    OutOfReach.MEMORY: "Swap, dumps and memory images. Every process of the service let go of the "
    "keys within a second; other memory is out of reach.",
    OutOfReach.ENVELOPES: "The envelope of each entry, which shows that something was recorded, "
    "when, by which id, of which kind and how long it was: docs/formats/threats.md, What can be "
    "seen without any key.",
}


class Section(NamedTuple):
    title: str
    rows: tuple[tuple[str, str], ...]
    """What is told, each with a word for it."""


def sections(certificate: Certificate) -> Iterator[Section]:
    """Everything that it says, in the order in which one wants to know it."""
    yield Section(
        "Erasure certificate",
        (
            ("person", str(certificate.subject)),
            ("clinic", str(certificate.clinic)),
            ("log", certificate.log),
            ("issued", certificate.issued_at),
            ("format", certificate.format),
        ),
    )
    for destruction in certificate.destructions:
        title = f"Destroyed: entry {destruction.position} of the log"
        yield Section(title, tuple(_destroyed(destruction)))
    yield Section(
        "Unreadable since: entries by topic and kind of stream", _counted(certificate.unreadable)
    )
    title = "Remaining, under keys of the clinic's own: the account of what was done"
    yield Section(title, _counted(certificate.remaining))
    copies = tuple(map(_copy, certificate.copies))
    yield Section("Copies handed out", copies or (("none", "that the record knows of"),))
    yield Section(
        "Not reached by this erasure",
        tuple(
            (what.value.replace("_", " "), _NOT_REACHED[what]) for what in certificate.not_reached
        ),
    )
    yield Section("The log when this was issued", (("proven", _log(certificate.proven)),))


def as_text(certificate: Certificate) -> str:
    """Titles, and rows below them."""
    return "\n\n".join(map(_section_as_text, sections(certificate)))


def as_html(certificate: Certificate, document: str) -> str:
    """One page without scripts or links; at its end stands the signed document itself."""
    first, *rest = sections(certificate)
    body = [f"<h1>{escape(first.title)}</h1>", _table(first)]
    for section in rest:
        body += [f"<h2>{escape(section.title)}</h2>", _table(section)]
    return _PAGE.format(
        subject=certificate.subject, body="\n".join(body), document=escape(document)
    )


def _destroyed(destruction: Destruction) -> Iterator[tuple[str, str]]:
    event, held = destruction.event, destruction.checkpoint
    yield "recorded", destruction.recorded_at
    yield "ground", f"{event.basis.value}: {event.reason}"
    if event.proven is not None:
        yield "before", _log(event.proven)
    yield "proof", f"in the signed checkpoint of {held.size} entries, root {held.root.hex()}"
    for affected in destruction.affected:
        yield "relationship", f"{affected.relationship}: {_EXTENTS[affected.extent]}"
    for key in sorted(event.keys):
        yield "key", str(key)


def _counted(counts: tuple[Counted, ...]) -> tuple[tuple[str, str], ...]:
    rows = ((str(count.entries), f"{count.topic} ({count.category})") for count in counts)
    return tuple(rows) or (("0", "nothing"),)


def _copy(copy: CopyMade) -> tuple[str, str]:
    to = ", ".join(str(part) for part in (copy.recipient_kind, copy.recipient, copy.person) if part)
    what = f"entries {', '.join(map(str, copy.entries))}" if copy.entries else "the whole record"
    return (
        copy.made_at,
        f"{copy.kind} {copy.id} of relationship {copy.relationship} to {to}: {copy.what or what} "
        f"(entry {copy.position} of the log)",
    )


def _log(proven: LogProven) -> str:
    return f"{proven.size} entries, each read and hashed again, root {proven.root}"


def _section_as_text(section: Section) -> str:
    width = max(len(label) for label, _ in section.rows)
    return "\n".join(
        [section.title, *(f"  {label:<{width}}  {said}" for label, said in section.rows)]
    )


def _table(section: Section) -> str:
    rows = (f"<tr><th>{escape(label)}<td>{escape(said)}" for label, said in section.rows)
    return "<table>\n" + "\n".join(rows) + "\n</table>"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Erasure certificate {subject}</title>
<style>
body {{ font: 11pt/1.4 serif; max-width: 46em; margin: 2em auto; padding: 0 1em }}
h2 {{ font-size: 12pt; margin: 1.6em 0 .3em; break-after: avoid }}
th, td {{ text-align: left; vertical-align: top; padding: .1em 0; overflow-wrap: anywhere }}
th {{ font-weight: normal; color: #444; padding-right: 1em; white-space: nowrap }}
pre {{ font-size: 7pt; white-space: pre-wrap; overflow-wrap: anywhere }}
</style>
{body}
<h2>The document</h2>
<p>What is signed, to the byte. <code>rapport erasure check</code> checks it;
docs/formats/erasure-certificate.md says how.</p>
<pre>{document}</pre>
</html>
"""
