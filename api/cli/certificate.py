"""An erasure certificate in words, for people: as text, and as HTML that prints well."""

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from domain.erasure import LogProven
from infra.certificate import (
    FORMAT,
    Certificate,
    CopyMade,
    Counted,
    Destruction,
    Extent,
    OutOfReach,
)

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
    lines: tuple[str, ...]


def sections(certificate: Certificate) -> Iterator[Section]:
    """Everything that it says, in the order in which one wants to know it."""
    yield Section(
        "Erasure certificate",
        (
            f"person   {certificate.subject}",
            f"clinic   {certificate.clinic}",
            f"log      {certificate.log}",
            f"issued   {certificate.issued_at}",
            f"format   {FORMAT}",
        ),
    )
    for destruction in certificate.destructions:
        yield Section(
            f"Destroyed: entry {destruction.position} of the log", tuple(_destroyed(destruction))
        )
    yield Section(
        "Unreadable since: entries by kind of stream and topic",
        tuple(_counted(certificate.unreadable)),
    )
    yield Section(
        "Remaining, under keys of the clinic's own: the account of what was done",
        tuple(_counted(certificate.remaining)),
    )
    yield Section(
        "Copies handed out",
        tuple(map(_copy, certificate.copies)) or ("none that the record knows",),
    )
    not_reached = tuple(_NOT_REACHED[what] for what in certificate.not_reached)
    yield Section("Not reached by this erasure", not_reached)
    yield Section("The log when this was issued", (_log(certificate.proven),))


def as_text(certificate: Certificate) -> str:
    """Titles, and lines below them."""
    return "\n\n".join(
        "\n".join([section.title, *(f"  {line}" for line in section.lines)])
        for section in sections(certificate)
    )


def as_html(certificate: Certificate, document: str) -> str:
    """One page without scripts or links; at its end stands the signed document itself."""
    first, *rest = sections(certificate)
    body = [f"<h1>{escape(first.title)}</h1>", _list(first)]
    for section in rest:
        body += [f"<h2>{escape(section.title)}</h2>", _list(section)]
    body += [
        "<h2>The document</h2>",
        "<p>What is signed, to the byte. <code>rapport erasure check</code> checks it; "
        "docs/formats/erasure-certificate.md says how.</p>",
        f"<pre>{escape(document)}</pre>",
    ]
    return _PAGE.format(subject=certificate.subject, body="\n".join(body))


def _destroyed(destruction: Destruction) -> Iterator[str]:
    event = destruction.event
    yield f"recorded {destruction.recorded_at}"
    yield f"ground   {event.basis.value}: {event.reason}"
    if event.proven is not None:
        yield f"before   {_log(event.proven)}"
    for affected in destruction.affected:
        yield f"relationship {affected.relationship}: {_EXTENTS[affected.extent]}"
    for key in sorted(event.keys):
        yield f"key {key}"


def _counted(counts: tuple[Counted, ...]) -> Iterator[str]:
    for count in counts:
        yield f"{count.entries:>6}  {count.category}  {count.topic}"
    if not counts:
        yield "none"


def _copy(copy: CopyMade) -> str:
    to = ", ".join(str(part) for part in (copy.recipient_kind, copy.recipient, copy.person) if part)
    what = f"entries {', '.join(map(str, copy.entries))}" if copy.entries else "the whole record"
    return (
        f"{copy.made_at}  {copy.kind} {copy.id} of relationship {copy.relationship} to {to}: "
        f"{copy.what or what} (entry {copy.position})"
    )


def _log(proven: LogProven) -> str:
    return f"{proven.size} entries, each read and hashed again, root {proven.root}"


def _list(section: Section) -> str:
    return "<ul>\n" + "\n".join(f"<li>{escape(line)}</li>" for line in section.lines) + "\n</ul>"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Erasure certificate {subject}</title>
<style>
body {{ font: 11pt/1.4 serif; max-width: 46em; margin: 2em auto; padding: 0 1em }}
ul {{ list-style: none; padding: 0 }}
li {{ overflow-wrap: anywhere; white-space: pre-wrap; margin: .2em 0 }}
h2 {{ font-size: 12pt; margin-top: 1.6em; break-after: avoid }}
pre {{ font-size: 7pt; white-space: pre-wrap; overflow-wrap: anywhere }}
</style>
{body}
</html>
"""
