"""Programs that differ from the verifier in one place: an operator, a constant, a statement.

Each is a verifier that somebody could have written by mistake, or on purpose. It has to be told
from the real one by what it says.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Self

_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_EXCHANGED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
}
_REMOVABLE = (ast.Raise, ast.Expr, ast.Assign, ast.AugAssign, ast.Return, ast.Break, ast.Continue)

_Change = tuple[Any, Any, Any]
"""What holds the place (a list or a node's attributes), the place, and what is put there."""


@dataclass(frozen=True)
class Mutant:
    """A module with one place changed. `name` says in which function, what, and into what."""

    name: str
    code: CodeType

    def module(self, like: ModuleType) -> ModuleType:
        return ran(self.code, like)


@dataclass(frozen=True)
class Source:
    """The text of a module, and what can be changed in it."""

    original: ModuleType
    tree: ast.Module

    @classmethod
    def of(cls, module: ModuleType) -> Self:
        return cls(module, ast.parse(Path(str(module.__file__)).read_text()))

    def unchanged(self) -> ModuleType:
        """The module once more, as a mutant is made."""
        return ran(self._compiled(), self.original)

    def mutants(self, within: Sequence[str] = (), every: int = 1) -> Iterator[Mutant]:
        """Those of the functions whose qualified names begin so, or of all; every n-th of them."""
        seen: dict[str, int] = {}
        number = 0
        for where, node, (holder, place, new) in _changes(self.tree, within):
            before, old = _text(node), holder[place]
            holder[place] = new
            try:
                after = _text(new) if node is old else _text(node)
                name = f"{where}: {before} → {after}"
                seen[name] = seen.get(name, 0) + 1
                nth = f" ({seen[name]})" if seen[name] > 1 else ""
                number += 1
                if number % every == 0:
                    yield Mutant(name + nth, self._compiled())
            finally:
                holder[place] = old

    def _compiled(self) -> CodeType:
        ast.fix_missing_locations(self.tree)
        return compile(self.tree, str(self.original.__file__), "exec")


def ran(code: CodeType, original: ModuleType) -> ModuleType:
    """A module of that code under the name of the original, which stays what others import."""
    module = ModuleType(original.__name__)
    module.__file__ = original.__file__
    sys.modules[original.__name__] = module  # dataclasses look there for what they are part of
    try:
        exec(code, module.__dict__)  # noqa: S102  what is run is this project's own text
    finally:
        sys.modules[original.__name__] = original
    return module


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


def _changes(tree: ast.Module, within: Sequence[str]) -> Iterator[tuple[str, ast.AST, _Change]]:
    for where, function in _functions(tree):
        if within and not where.startswith(tuple(within)):
            continue
        for parent in (each for statement in function.body for each in ast.walk(statement)):
            for node in ast.iter_child_nodes(parent):
                # A number alone says little: what it stands in is named.
                named = parent if isinstance(parent, ast.expr) else node
                for change in _of_operators(node):
                    yield where, named if isinstance(node, ast.Constant) else node, change
        for node in ast.walk(function):
            for body in (getattr(node, field, None) for field in ("body", "orelse", "finalbody")):
                for index, statement in enumerate(body if isinstance(body, list) else ()):
                    if isinstance(statement, _REMOVABLE) and not _says(statement):
                        yield where, statement, (body, index, ast.Pass())


def _of_operators(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                yield ops, index, _FLIPPED[type(op)]()
        case ast.BoolOp(op=op):
            yield vars(node), "op", ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield vars(node), "operand", ast.UnaryOp(ast.Not(), operand)
        case ast.BinOp(op=op) if type(op) in _EXCHANGED:
            yield vars(node), "op", _EXCHANGED[type(op)]()
        case ast.Constant(value=bool(value)):
            yield vars(node), "value", not value
        case ast.Constant(value=int(value)):
            yield vars(node), "value", value + 1


def _says(statement: ast.stmt) -> bool:
    """Whether it is a docstring, which does nothing."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


Probe = Callable[[Any], object]
"""What is asked of a module; what it answers is compared."""
