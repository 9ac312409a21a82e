"""The catalogue as docs/formats/threats.md shows it.

`python -m tests.tamper.page` writes it there anew.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.tamper.catalogue import GROUPS, Case, Group
from tests.tamper.outside import NOTHING

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "threats.md"
BEGIN, END = "<!-- catalogue -->\n", "<!-- end of the catalogue -->"

_TITLES = ("what is done", "`verify`", "acknowledged head", "receipts", "a witness", "`--open`")


def table() -> str:
    """The catalogue in Markdown: a row for all deeds of a group that are found alike."""
    rows = [_row(*_TITLES), "|" + "---|" * len(_TITLES)]
    for group in GROUPS:
        rows.append(_row(f"**{group.title}**", *[""] * (len(_TITLES) - 1)))
        rows.extend(_rows(group))
    return "".join(f"{row}\n" for row in rows)


def with_table(page: str) -> str:
    """The page with what stands between the two marks replaced; ValueError without them."""
    before, behind = page.split(BEGIN)
    _, after = behind.split(END)
    return before + BEGIN + table() + END + after


def _rows(group: Group) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[str]] = {}
    for case in group.cases:
        alike.setdefault(tuple(_told(case)), []).append(case.what)
    for found, deeds in alike.items():
        yield _row(_listed(deeds), *found)


def _told(case: Case) -> Iterator[str]:
    """What each check names; a column that is named as the deed names it stands for any."""
    named = case.what.strip("`")
    for found in case.found.values():
        own = found.replace(f"column {named} ", "its column, ")
        yield "not found" if found == NOTHING else own


def _listed(deeds: list[str]) -> str:
    return (", " if deeds[0].startswith("`") else "; ").join(deeds)


def _row(*cells: str) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
