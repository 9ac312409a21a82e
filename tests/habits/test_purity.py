"""Decisions and views are functions of what they are given, and of nothing else."""

import ast
import sys

from tests.habits.source import modules

CLOCKS = {"datetime.now", "datetime.today", "datetime.utcnow", "date.today"}
THE_CLOCK = {("domain/records.py", "datetime.now")}  # system_clock, the default of a parameter


def test_the_clock_is_a_parameter() -> None:
    """House rule, rules 5 and 6: neither a decision nor a view asks the machine for the time."""
    rooms = list(modules("domain", "projections"))
    asked = {
        (name, ast.unparse(node))
        for name, tree in rooms
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCKS
    }
    assert asked == THE_CLOCK
    assert [name for name, tree in rooms for n in ast.walk(tree) if "time" in _imported(n)] == []


def test_the_domain_stands_on_pydantic_and_the_standard_library_alone() -> None:
    """ARCHITECTURE, rooms: domain imports nothing else."""
    allowed = sys.stdlib_module_names | {"domain", "pydantic", "pydantic_core"}
    foreign = {
        (name, imported)
        for name, tree in modules("domain")
        for node in ast.walk(tree)
        for imported in _imported(node)
        if imported.partition(".")[0] not in allowed
    }
    assert foreign == set()


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(level=0, module=str(module)):
            return [module]
        case ast.ImportFrom():
            return [f"relative, line {node.lineno}"]  # one way to name a module
        case _:
            return []
