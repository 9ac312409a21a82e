"""`rapport rescore`: what another version of a key would make of the ratings there are."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from api.access import Principal
from api.cli.operator import who_asks
from api.cli.terminal import (
    Advance,
    Format,
    FormatOption,
    progress_bar,
    say,
    settings_of_record,
    show,
)
from api.composition import Service, house, open_service
from api.doors import enter
from domain.clinic import clinic_stream
from domain.definition import Definition
from domain.event import RecordedEvent
from domain.instrument import find_key
from domain.rescoring import Difference, adopted_key, require_comparable, rescore


def add_to(app: typer.Typer) -> None:
    app.command("rescore")(rescore_all)


def rescore_all(
    instrument: Annotated[str, typer.Argument(help="Its id or an alias, in any case.")],
    from_: Annotated[
        str,
        typer.Option("--from", metavar="KEY", help="The key that ratings name: version or hash."),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="KEY", help="The key to score them by: version or hash.")
    ],
    format_: FormatOption = Format.TEXT,
) -> None:
    """Report which ratings another key scores differently: old, new and entry. Nothing changes.

    Every rating that names the one key is scored by both, by the rules of its own day. What is
    shown of a relationship is a reading of it, and recorded as such. Views switch only when the
    clinic adopts the other key: rapport record adopt-scoring-key.

    \b
    Examples:
      rapport rescore CORE-OM --from 1.0 --to 1.1
      rapport rescore CORE-OM --from 1.0 --to 1.1 --format json
    """
    old, new = find_key(instrument, from_), find_key(instrument, to)
    require_comparable(old, new)
    with open_service(settings_of_record(), progress=say) as service, progress_bar() as advance:
        who = who_asks(service, None, f"rescore {old.id}")
        document = report(service, who, old, new, advance)
    show(format_, document, lambda: "\n".join(_in_words(document)))


def report(
    service: Service, who: Principal, old: Definition, new: Definition, advance: Advance
) -> dict[str, Any]:
    """What the one key's ratings would be by the other, as a document."""
    document: dict[str, Any] = {
        "instrument": old.id,
        "from": {"version": old.version, "key_hash": old.key_hash},
        "to": {"version": new.version, "key_hash": new.key_hash},
        "adopted": _is_adopted(service, old, new),
        "ratings": 0,
        "affected": 0,
        "entries": [],
    }
    for entry, differences in _rescored(service, who, old, new, advance):
        document["ratings"] += 1
        if differences:
            document["affected"] += 1
            document["entries"].append(_rendered(entry, differences))
    return document


def _is_adopted(service: Service, old: Definition, new: Definition) -> bool:
    """Whether views read the one key's ratings by the other already."""
    history = service.log.history(clinic_stream(service.clinic))
    return adopted_key(history, old.id, old.key_hash, service.clock()) == new.key_hash


def _rescored(
    service: Service, who: Principal, old: Definition, new: Definition, advance: Advance
) -> Iterator[tuple[RecordedEvent, tuple[Difference, ...]]]:
    """Relationship by relationship; whoever is shown something of one is noted in its trail."""
    behind = house(service)
    streams = list(service.log.streams("relationship"))
    for done, stream in enumerate(streams, 1):
        found = list(rescore(service.log.history(stream).standing, old.key_hash, new.key_hash))
        if any(differences for _, differences in found):
            enter(behind, who, "entries", relationship=stream.id)
        yield from found
        advance("relationships", done, len(streams))


def _rendered(entry: RecordedEvent, differences: tuple[Difference, ...]) -> dict[str, Any]:
    return {
        "relationship": str(entry.stream.id),
        "entry": entry.version,
        "position": entry.position,
        "rating": str(differences[0].rating),
        "occurred_at": entry.occurred_at.isoformat(),
        "differences": [
            {
                "what": each.what,
                "old": each.old,
                "new": each.new,
                "old_flags": list(each.old_flags),
                "new_flags": list(each.new_flags),
            }
            for each in differences
        ],
    }


def _in_words(document: dict[str, Any]) -> Iterator[str]:
    old, new = document["from"], document["to"]
    yield (
        f"{document['instrument']} {old['version']} -> {new['version']}: {document['affected']} of "
        f"{document['ratings']} ratings are scored differently"
    )
    yield f"key {old['key_hash']} -> {new['key_hash']}"
    yield "views read them by the new key" if document["adopted"] else "views are unchanged"
    for entry in document["entries"]:
        yield (
            f"\nrelationship {entry['relationship']} entry {entry['entry']} "
            f"({entry['occurred_at']})"
        )
        for each in entry["differences"]:
            flags = ", ".join(each["new_flags"])
            yield (
                f"  {each['what']}: {each['old'] or 'none'} -> {each['new'] or 'none'}"
                f"{f' [{flags}]' if flags else ''}"
            )
