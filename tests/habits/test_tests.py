"""A test that cannot fail, or does not run, shows nothing."""

import ast

from tests.habits.source import modules

SILENT = {"importorskip", "skip", "skipif", "xfail"}


def test_no_test_is_skipped() -> None:
    """House rule: no skipped tests; what is missing is installed or said to be missing."""
    skipped = [
        f"{name}:{node.lineno}"
        for name, tree in modules("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in SILENT
    ]
    assert skipped == []


def test_nothing_is_mocked() -> None:
    """House rule: the parts are tested against the real ones."""
    mocked = [
        f"{name}:{node.lineno}"
        for name, tree in modules("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and "mock" in ast.unparse(node)
    ]
    assert mocked == []


def test_every_test_says_what_it_shows() -> None:
    """House rule: the docstring of a test names the rule or requirement it shows."""
    silent = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in modules("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
