"""The reference says what the code says."""

import re
from typing import Any

import pytest
import typer.main

from api import reference
from api.access import INSIDE
from api.cli import command_line
from domain.event import Refusal
from domain.topics import COMMANDS, EVENTS
from infra.settings import Settings

COMMITTED = {path.name: path for path in reference.FOLDER.glob("*.md")}


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    """Docs: what is committed is what `make docs` writes; run it if this fails."""
    assert COMMITTED[name].read_text(encoding="utf-8") == reference.PAGES[name]()


def test_no_page_is_left_over() -> None:
    """Docs: every page of the reference is made, and every made page is there."""
    assert COMMITTED.keys() == reference.PAGES.keys()


def test_the_pages_are_whole() -> None:
    """Docs: every topic, command, refusal, setting, rule and requirement has its place."""
    made = {name: page() for name, page in reference.PAGES.items()}
    for topic in EVENTS:
        assert f"## `{topic}`" in made["events.md"]
    for command in COMMANDS.keys() - INSIDE:
        assert f"| `{command}` |" in made["api.md"]
    for name in Settings.model_fields:
        assert f"`RAPPORT_{name.upper()}`" in made["settings.md"]
    for refusal in Refusal.__subclasses__():
        if refusal.__module__.startswith("domain."):
            assert f"`{refusal.code}`" in made["refusals.md"]
    for number in range(1, 46):
        assert f"### Rule {number}\n" in made["rules.md"]
    for number in range(1, 37):
        assert f"| R{number} |" in made["requirements.md"]


def test_every_number_means_a_rule() -> None:
    """Docs: the rules are numbered from 1 to 45, and no refusal names another."""
    numbers = [number for part in reference.rule_texts().values() for number in part]
    assert numbers == list(range(1, 46))
    assert {refusal.rule for refusal in Refusal.__subclasses__()} - {None} <= set(numbers)


def test_every_rule_is_refused_by_or_says_why_not_and_is_shown() -> None:
    """Docs: behind each of the 45 rules stands a refusal, or the reason why there is none, and
    at least one test that names it."""
    refusals, reasons = reference.refusals_by_rule(), reference.rule_reasons()
    numbers = set(range(1, 46))
    assert {number for number in numbers if not refusals[number]} == reasons.keys()
    assert {number for number in numbers if not reference.tests_by_rule()[number]} == set()


def test_the_documents_name_commands_that_there_are() -> None:
    """Docs: every `rapport …` in a code block is a command with those options."""
    blocks = [
        (path, block)
        for folder in ("operate", "guide", "formats")
        for path in sorted((reference.ROOT / "docs" / folder).rglob("*.md"))
        for block in re.findall(r"```(?:sh)?\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
    ]
    lines = [
        (path.name, words.split())
        for path, block in blocks
        for words in re.findall(r"(?:^|[ /&])rapport ((?!-)[a-z].*?)(?:&&|#|$)", block, re.M)
    ]
    assert len(lines) > 20
    for name, words in lines:
        command: Any = typer.main.get_command(command_line())
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, (name, words)
            command = command.commands[words.pop(0)]
        known = {option for each in command.params for option in each.opts + each.secondary_opts}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= known, (name, words)
