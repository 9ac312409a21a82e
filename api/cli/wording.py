"""`rapport text-pack`: a clinic's own wording of an instrument, checked. It needs no record."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import Exit, Failed, Format, FormatOption, show
from domain.text_pack import BrokenTextPack, read_text_pack

_LARGEST = 1024 * 1024
"""Bytes; the longest questionnaire in any language takes a hundredth of that."""


def add_to(app: typer.Typer) -> None:
    app.command("text-pack")(text_pack)


def text_pack(
    file: Annotated[
        Path, typer.Argument(help="The pack, in the format rapport-text/1.", dir_okay=False)
    ],
    format_: FormatOption = Format.TEXT,
) -> None:
    """Check a clinic's own wording of an instrument, and tell the hash to adopt it by.

    The wording stays with the clinic; the record keeps which bytes it was: rapport record
    adopt-text-pack.

    \b
    Examples:
      rapport text-pack srs.de.toml
      rapport text-pack srs.de.toml --format json
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST + 1)
    except OSError as error:
        raise Failed(Exit.USAGE, f"{file} cannot be read: {error.strerror}.") from None
    if len(data) > _LARGEST:
        raise Failed(Exit.USAGE, f"{file} is larger than any text pack, 1 MiB.")
    try:
        pack = read_text_pack(file.name, data)
    except BrokenTextPack as broken:
        raise Failed(
            Exit.FOUND,
            f"{broken.file}, {broken.field}: {broken.mend}",
            "docs/formats/instrument.md describes rapport-text/1.",
        ) from None
    document = {
        "instrument": pack.instrument,
        "key_hash": pack.key_hash,
        "language": pack.language,
        "items": len(pack.items),
        "credit": pack.credit,
        "sha256": pack.sha256,
    }
    show(
        format_,
        document,
        f"{pack.instrument} in {pack.language}: {len(pack.items)} items\n"
        f"key     {pack.key_hash}\nsha256  {pack.sha256}\ncredit  {pack.credit}",
    )
