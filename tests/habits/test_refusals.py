"""A refusal that no test has seen is a guess."""

import ast
import re

from tests.habits.source import PRODUCT, ROOT, modules


def test_every_refusal_is_raised_in_a_test() -> None:
    """House style: each refusal's name stands in a test that provokes it."""
    tests = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.parent.name != "habits"
    )
    refusals = _refusals()
    unseen = sorted(name for name in refusals if not re.search(rf"\b{name}\b", tests))
    assert refusals
    assert unseen == []


def _refusals() -> set[str]:
    """The classes below Refusal, whichever room they stand in; `_Abstract` ones are not raised."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for _, tree in modules(*PRODUCT)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"Refusal"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return {name for name in found - {"Refusal"} if not name.startswith("_")}
