"""A thing that has to be read whole is short enough to be."""

import ast

from tests.habits.source import PRODUCT, ROOT, modules

LONGEST_FUNCTION = 70
LONGEST_CONCEPT = 550


def test_functions_fit_on_a_page() -> None:
    """House rule: a function has at most 70 lines, docstring and decorators included."""
    too_long = [
        f"{name}:{node.lineno} {node.name} has {lines} lines"
        for name, tree in modules(*PRODUCT, "tests", "benchmarks")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert too_long == []


def test_a_concept_is_read_in_one_sitting() -> None:
    """House rule: a concept's file holds its whole truth, and no second concept's."""
    too_long = [
        f"{path.name} has {lines} lines"
        for path in sorted((ROOT / "domain").glob("*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_CONCEPT
    ]
    assert too_long == []
