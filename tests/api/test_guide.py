"""The guide by role says what the table of doors says."""

import json
import re
from pathlib import Path

import pytest

from api import routes
from api.access import DOORS
from api.reference import routes_of
from domain.access import Role
from domain.topics import COMMANDS

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
PAGES = {
    Role.THERAPIST: "therapist.md",
    Role.CLIENT: "client.md",
    Role.SUPERVISOR: "supervisor.md",
    Role.COMPLIANCE_OFFICER: "compliance-officer.md",
    Role.ADMINISTRATOR: "administrator.md",
}


def page(name: str) -> str:
    return (GUIDE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("role", PAGES)
def test_a_role_finds_each_of_its_commands(role: Role) -> None:
    """R32, R35: a role's page has every command that its role hands in, and no other."""
    rows = "\n".join(line for line in page(PAGES[role]).splitlines() if line.startswith("| "))
    told = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", rows))
    assert told == {name for name in COMMANDS if name in DOORS and role in DOORS[name].who}


def test_the_first_page_leads_to_all_others() -> None:
    """Docs: whoever comes finds the page for them."""
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", page("README.md")))
    assert linked == {path.name for path in GUIDE.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("path", sorted(GUIDE.glob("*.md")), ids=lambda path: path.name)
def test_what_is_named_is_there(path: Path) -> None:
    """Docs: routes that are named exist, and bodies that are shown are taken."""
    text = path.read_text(encoding="utf-8")
    known = {
        address.removeprefix("/api/v1").replace("{relationship}", "{id}")
        for router in routes.ROUTERS
        for method, address, _ in routes_of(router)
        if method == "GET"
    }
    assert set(re.findall(r"`GET (/\S+?)`", text)) <= known
    for name, body in re.findall(r"^rapport record ([a-z-]+) .*--body '(.*)'$", text, re.M):
        COMMANDS[name].model_validate(json.loads(body))
