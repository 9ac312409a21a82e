"""`rapport erase` and `rapport erasure`: destroying keys, and what shows that it was done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import TypeAdapter

from api.cli.certificate import as_html, as_text
from api.cli.terminal import (
    Advance,
    Exit,
    Failed,
    Format,
    FormatOption,
    progress_bar,
    say,
    settings_of_record,
    show,
    write_private,
)
from api.composition import Service, open_service
from api.erasing import (
    InTheWay,
    NothingErased,
    Plan,
    Reached,
    carry_out,
    carry_out_again,
    certificate,
    complete,
    plan,
    reached,
)
from domain.erasure import ErasureBasis
from domain.event import Text
from infra.certificate import Certificate, CertificateBroken, checked, signed
from infra.checkpoint import NoteBroken, VerifierKey
from infra.log_key import LogKey
from infra.verify import LogBroken

_TEXT: TypeAdapter[str] = TypeAdapter(Text)

_SAYS = {
    "malformed": "it is no erasure certificate of this version",
    "unsigned": "none of the log's keys that are known here signed it",
    "not_authentic": "its signature is not of what it says",
    "entry": "an entry that it shows is not what it says of it",
    "proof": "an entry that it shows is not proven to be in the log",
}

HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Also write it as a page that prints well.")
]


def add_to(app: typer.Typer) -> None:
    app.command("erase")(erase)
    group = typer.Typer(help="What shows that something was erased.", no_args_is_help=True)
    group.command("certificate")(issue_again)
    group.command("check")(check)
    group.command("again")(again)
    app.add_typer(group, name="erasure")


# --- The act --------------------------------------------------------------------------------


def erase(
    subject: Annotated[UUID, typer.Option(help="Whose content: a person or practitioner by id.")],
    basis: Annotated[ErasureBasis, typer.Option(help="On what legal ground (GDPR 17(1)).")],
    reason: Annotated[
        str,
        typer.Option(help="The same in words, without a name; it stands in the record for good."),
    ] = "As asked for.",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go, and what stands against it.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--certificate", help="Where it goes. Default: certificates/ in the home."),
    ] = None,
    html: HtmlOption = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Destroy the keys of what one person gave, for good. The entries stay, and prove they existed.

    Refused while a legal hold stands on any relationship of theirs, and while it has to be kept,
    unless the ground goes before that duty; refused too where the log does not verify. What is
    joint with somebody else stays readable. Ends with a signed certificate. Backups of the keyring
    still hold the keys: docs/operate/erasure.md says what else there is to do.

    \b
    Examples:
      rapport erase --subject 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --basis objected --dry-run
      rapport erase --subject 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --basis unlawful
    """
    _TEXT.validate_python(reason)
    with open_service(settings_of_record(), progress=say) as service, progress_bar() as advance:
        planned = plan(service, subject, basis, reason)
        if not planned.keys:
            raise Failed(
                Exit.FOUND,
                f"There is nothing of {subject} that is not erased already.",
                f"`rapport erasure certificate {subject}` shows what was erased.",
            )
        found = reached(service, planned)
        told = _told(planned, found)
        if not dry_run:
            told |= _carried_out(service, planned, basis, reason, file, html, advance)
    show(format_, told, lambda: "\n".join(_lines(planned, found, told)))
    if dry_run and any(each.blocked for each in planned.affected):
        raise Failed(Exit.FOUND, "Something stands against it: nothing would be erased.")


def _carried_out(
    service: Service,
    planned: Plan,
    basis: ErasureBasis,
    reason: str,
    file: Path | None,
    html: Path | None,
    advance: Advance,
) -> dict[str, Any]:
    try:
        receipt = carry_out(service, planned, basis, reason, advance)
    except LogBroken as broken:
        raise _not_what_it_was(broken, "Nothing was erased.") from None
    try:
        issued = certificate(service, planned.person, advance)
    except LogBroken as broken:
        done = f"The keys are destroyed, as entry {receipt.position} says; nothing is certified."
        raise _not_what_it_was(broken, done) from None
    if file is None:
        folder = service.settings.home / "certificates"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / f"erasure-{planned.person}-{receipt.position}.json"
    _write(service, issued, file, html)
    return {"erased": True, "position": receipt.position, "certificate": str(file)}


def _not_what_it_was(broken: LogBroken, done: str) -> Failed:
    return Failed(
        Exit.FOUND,
        f"The log is not what it was. {broken} {done}",
        "Run `rapport verify`; docs/operate/backup.md says how to restore.",
    )


def _told(planned: Plan, found: Reached) -> dict[str, Any]:
    return {
        "subject": str(planned.person),
        "keys": len(planned.keys),
        "relationships": [_rendered(each) for each in planned.affected],
        "entries": [count._asdict() for count in found.entries],
        "views": found.views,
        "copies": [copy.model_dump(mode="json") for copy in found.copies],
        "erased": False,
        "position": None,
        "certificate": None,
    }


def _rendered(each: InTheWay) -> dict[str, Any]:
    return {
        "relationship": str(each.relationship),
        "whole": each.whole,
        "blocked": each.blocked and {"code": each.blocked.code, "says": each.blocked.detail},
    }


def _lines(planned: Plan, found: Reached, told: Mapping[str, Any]) -> Iterator[str]:
    done = "were destroyed" if told["erased"] else "would be destroyed"
    yield f"{len(planned.keys)} keys of {planned.person} {done}"
    for each in planned.affected:
        part = "the whole record" if each.whole else "what is theirs alone"
        blocked = f"; {each.blocked.detail}" if each.blocked else ""
        yield f"  relationship {each.relationship}: {part}{blocked}"
    yield f"{'unreadable' if told['erased'] else 'to become unreadable'}:"
    for count in found.entries:
        yield f"  {count.entries:>6}  {count.topic} in {count.stream}"
    for view, rows in found.views.items():
        yield f"  {rows:>6}  rows of {view}"
    yield f"copies handed out, which nothing reaches: {len(found.copies)}"
    for copy in found.copies:
        yield f"  {copy.kind} {copy.id} of relationship {copy.relationship}, {copy.made_at}"
    if told["erased"]:
        yield f"noted at position {told['position']}; certificate in {told['certificate']}"


# --- What shows it --------------------------------------------------------------------------


def issue_again(
    subject: Annotated[UUID, typer.Argument(help="Whose content was erased.")],
    file: Annotated[
        Path | None, typer.Argument(help="The file, readable by you alone. Default: only shown.")
    ] = None,
    html: HtmlOption = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Issue the certificate of an erasure again, over the log as it is now, read and hashed anew.

    An erasure that was cut short is completed first.

    \b
    Examples:
      rapport erasure certificate 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55
      rapport erasure certificate 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 again.json
    """
    with open_service(settings_of_record(), progress=say) as service, progress_bar() as advance:
        complete(service)
        try:
            issued = certificate(service, subject, advance)
        except NothingErased:
            raise Failed(Exit.FOUND, f"Nothing of {subject} was erased.") from None
        _write(service, issued, file, html)
    show(format_, issued.model_dump(mode="json"), lambda: as_text(issued))


def check(
    file: Annotated[Path, typer.Argument(help="A certificate.", exists=True, dir_okay=False)],
    key: Annotated[
        list[str] | None,
        typer.Option(help="The log's public key, as the clinic gave it to you: no record needed."),
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Check a certificate: signatures, the entries that it shows, and their proofs.

    With `--key` it needs no record and no network. Without, it asks the keyring of the record here.

    \b
    Examples:
      rapport erasure check erased.json
    """
    if key:
        issued = _checked(file, *map(_verifier, key))
    else:
        with open_service(settings_of_record(), progress=say) as service:
            issued = _checked(file, *LogKey.of(service.keyring, service.clinic).verifiers)
    show(format_, issued.model_dump(mode="json"), lambda: f"{as_text(issued)}\n\nAll of it holds.")


def again(
    files: Annotated[list[Path], typer.Argument(help="Certificates.", exists=True, dir_okay=False)],
    format_: FormatOption = Format.TEXT,
) -> None:
    """After a restore: erase again what these certificates say, where the log knows no more of it.

    The entry is made anew, for the one that was there is lost; then the keys are destroyed.

    \b
    Examples:
      rapport erasure again erased.json
    """
    positions: dict[str, int | None] = {}
    with open_service(settings_of_record(), progress=say) as service, progress_bar() as advance:
        keys = LogKey.of(service.keyring, service.clinic).verifiers
        for issued in [_checked(file, *keys) for file in files]:
            receipt = carry_out_again(service, issued, advance)
            positions[str(issued.subject)] = None if receipt is None else receipt.position
    lines = (
        f"{subject}: erased again, noted at position {position}"
        if position
        else f"{subject}: erased, as the log says"
        for subject, position in positions.items()
    )
    show(format_, {"erased": positions}, lambda: "\n".join(lines))


def _checked(file: Path, *keys: VerifierKey) -> Certificate:
    try:
        return checked(file.read_text(encoding="utf-8"), keys)
    except (CertificateBroken, UnicodeDecodeError) as error:
        code = error.code if isinstance(error, CertificateBroken) else "malformed"
        raise Failed(Exit.FOUND, f"{file} does not hold: {_SAYS[code]}. ({code})") from None


def _verifier(text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text)
    except NoteBroken:
        raise Failed(
            Exit.USAGE, "That is no public key of a log.", "It reads <name>+<id>+<base64>."
        ) from None


def _write(service: Service, issued: Certificate, file: Path | None, html: Path | None) -> None:
    document = signed(issued, LogKey.of(service.keyring, service.clinic).signer)
    for path, text in ((file, document), (html, as_html(issued, document))):
        if path is not None:
            write_private(path, text)
            say(f"Wrote {path}.")
