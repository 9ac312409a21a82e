"""The pages of docs/reference, made from the code: what stands there cannot lag behind it.

`python -m api.reference` (`make docs`) writes them; a test holds what is committed against this.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

import typer.main
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, SecretStr

from api import pages
from api.access import DOORS
from api.app import OPEN, contract, doors_of
from api.cli import command_line
from api.cli.operator import TOKEN_VARIABLE
from api.cli.terminal import Exit
from api.problems import Fault
from api.routes import ROUTERS
from domain.event import Event, Refusal
from domain.topics import COMMANDS, EVENTS
from infra.settings import PREFIX, Settings

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "reference"
_ROOMS: Final = ("domain", "projections", "infra", "api")
_MADE: Final = "<!-- Made from the code by `make docs`. Do not edit. -->"


def main() -> None:
    """Writes every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


# --- Writing Markdown -----------------------------------------------------------------------


def _page(title: str, introduction: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", _MADE, introduction.strip(), *filter(None, blocks)]) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [list(map(_cell, row)) for row in rows]
    if not lines:
        return ""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def _cell(content: object) -> str:
    return " ".join(str(content).split()).replace("|", "\\|")


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _code(words: Iterable[object]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _said(kind: type) -> str:
    """A class's own docstring, as one line."""
    return " ".join((kind.__dict__.get("__doc__") or "").split())


@cache
def _attributes(kind: type) -> Mapping[str, str]:
    """What stands below the attributes of a class and of those it is made from."""
    told: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one.__module__.partition(".")[0] not in _ROOMS:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(tree, ast.ClassDef)
        for attribute, below in zip(tree.body, tree.body[1:], strict=False):
            match attribute, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name))
                    | ast.Assign(targets=[ast.Name(id=name)]),
                    ast.Expr(value=ast.Constant(value=str(said))),
                ):
                    told[name] = said
    return told


# --- Events ---------------------------------------------------------------------------------


def events() -> str:
    """Every topic with its fields, and the values that they are made of."""
    shared = [name for name in Event.model_fields if name in _attributes(Event)]
    introduction = """
Every kind of entry there is, by the topic it is stored under. Topic and schema version are stored
for ever. A field without a value is left out of what is stored; how values are written is in
[entry.md](../formats/entry.md), what stands around the content in its section 5.

*Key*: whose key seals the content. *Joint* is the key of the stream itself.
"""
    values: dict[str, Any] = {}
    blocks = [
        "## In every entry",
        _table(("field", "type", ""), _fields(Event, shared, values)),
    ]
    for topic, kind in EVENTS.items():
        own = [name for name in kind.model_fields if name not in shared]
        blocks += [
            f"## `{topic}`",
            f"{_said(kind)}\n\n`{kind.__name__}` in `{_file(kind)}`, schema version "
            f"{kind.schema_version}. Key: {_key(kind)}. "
            + ("May be corrected." if kind.correctable else "Is never reworded."),
            _table(("field", "type", ""), _fields(kind, own, values)),
        ]
    return _page("Events", introduction, *blocks, "## Values", *_values(values))


def _file(kind: type) -> str:
    return f"{kind.__module__.replace('.', '/')}.py"


def _key(kind: type[Event]) -> str:
    """Whose key seals it, as the class says itself."""
    if kind.subject is Event.subject:
        return "joint"
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(kind.subject))).body
    (returned,) = (node for node in ast.walk(function) if isinstance(node, ast.Return))
    match returned.value:
        case ast.Attribute(attr=field):
            return f"of `{field}`"
        case ast.IfExp(body=ast.Attribute(attr=field)) as choice:
            condition = ast.unparse(choice.test).replace("self.", "")
            return f"of `{field}` where `{condition}`, else joint"
    raise LookupError(f"{kind.__name__}.subject() reads as no key")


def _fields(
    kind: type[BaseModel], names: Iterable[str], values: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    schema = kind.model_json_schema(mode="serialization")
    values |= schema.get("$defs", {})
    for name in names:
        needed = kind.model_fields[name].is_required()
        said = _attributes(kind).get(name, "")
        yield (
            f"`{name}`",
            _type(schema["properties"][name]) + ("" if needed else ", optional"),
            said,
        )


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    match schema:
        case {"$ref": str(ref)}:
            name = ref.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": list(choices)}:
            return " or ".join(_type(one) for one in choices if one != {"type": "null"})
        case {"const": constant}:
            return f"`{constant}`"
        case {"type": "array", "prefixItems": list(items)}:
            return f"[{', '.join(map(_type, items))}]"
        case {"type": "array"}:
            return f"list of {_type(schema.get('items', {}))}"
        case {"type": "object", "additionalProperties": dict(inner)}:
            return f"object of {_type(inner)}"
        case {"type": "string", "format": str(kind)}:
            return {"uuid": "id", "date-time": "time", "date": "date"}.get(kind, kind)
        case {"type": "string", "maxLength": int(longest)}:
            return f"text of at most {longest:,}"
        case {"type": "string"}:
            return "text"
        case {"type": "integer"}:
            low, high = schema.get("minimum"), schema.get("maximum")
            return "integer" if low is None or high is None else f"integer, {low} to {high}"
        case {"type": str(other)}:
            return other
    return "any"


def _values(values: Mapping[str, Any]) -> Iterator[str]:
    """The models and closed lists that fields refer to."""
    for name in sorted(values):
        schema = values[name]
        said = _cell(schema.get("description", ""))
        if "enum" in schema:
            yield f"### {name}\n\n" + " ".join(filter(None, [said, _code(schema["enum"])]))
        else:
            needed = schema.get("required", ())
            rows = [
                (f"`{field}`", _type(inner) + ("" if field in needed else ", optional"))
                for field, inner in schema["properties"].items()
            ]
            yield "\n\n".join(filter(None, [f"### {name}", said, _table(("field", "type"), rows)]))


# --- Rules and requirements -----------------------------------------------------------------


def rules() -> str:
    """The rules with what refuses by them and the tests that show them."""
    refusals, shown = refusals_by_rule(), tests_by_rule()
    reasons = rule_reasons()
    blocks = []
    for title, texts in rule_texts().items():
        blocks.append(f"## {title}")
        for number, text in texts.items():
            by = _code(sorted(refusal.code for refusal in refusals[number]))
            refused = f"Refused by: {by}" if by else f"Nothing is refused: {reasons[number]}"
            blocks += [f"### Rule {number}", text, refused, _shown_by(shown[number])]
    introduction = """
What holds in every record, and what shows it: the refusals that name a rule
([refusals.md](refusals.md)), and the tests whose docstrings do.
"""
    return _page("Rules", introduction, *blocks)


def rule_texts() -> dict[str, dict[int, str]]:
    """The texts of rules.toml by number, by part."""
    parts = tomllib.loads((FOLDER / "rules.toml").read_text(encoding="utf-8"))["part"]
    return {
        part["title"]: {int(number): text for number, text in part["rules"].items()}
        for part in parts
    }


def rule_reasons() -> dict[int, str]:
    """Why no command is refused by some rules, as rules.toml says."""
    known = tomllib.loads((FOLDER / "rules.toml").read_text(encoding="utf-8"))
    return {int(number): reason for number, reason in known["nothing_refused"].items()}


def refusals_by_rule() -> Mapping[int | None, Sequence[type[Refusal]]]:
    """Every refusal there is, by the rule it names."""
    found = defaultdict(list)
    for refusal in _below(Refusal):
        found[refusal.rule].append(refusal)
    return found


def tests_by_rule() -> Mapping[int, Sequence[tuple[str, str]]]:
    """Every test, (file, name), by the rules that its docstring names."""
    return _tests_by(r"\b[Rr]ules? (\d+(?:(?:, and |, | and |–|-)\d+)*)", int)


def requirements() -> str:
    """What laws and standards ask, with the tests that show it."""
    asked = tomllib.loads((FOLDER / "requirements.toml").read_text(encoding="utf-8"))
    shown = _tests_by(r"\b(R\d+)\b", str)
    missing = [id_ for id_ in asked if not shown[id_]]
    rows = [
        (id_, one["source"], one["asks"], len(shown[id_]) or "nothing yet")
        for id_, one in asked.items()
    ]
    introduction = f"""
What laws and standards ask of such a record, as facts in our own words, and the tests that show
it. A test shows what it says, which may be part of a row. None of this is legal advice.

Nothing shows yet: {", ".join(missing) or "none is left"}.
"""
    tests = [f"## {id_}\n\n{_shown_by(shown[id_])}" for id_ in asked if shown[id_]]
    head = ("id", "source", "asks that", "tests")
    return _page("Requirements", introduction, _table(head, rows), *tests)


def _shown_by(tests: Iterable[tuple[str, str]]) -> str:
    by_file: dict[str, list[str]] = defaultdict(list)
    for path, name in tests:
        by_file[path].append(name)
    return _list(f"`{path}`: {_code(names)}" for path, names in by_file.items())


def _tests_by(pattern: str, read: Callable[[str], Any]) -> defaultdict[Any, list[tuple[str, str]]]:
    """The tests, (file, name), by what the pattern finds in their docstrings."""
    shown: defaultdict[Any, list[tuple[str, str]]] = defaultdict(list)
    for path, name, docstring in _tests():
        told = {part for match in re.finditer(pattern, docstring) for part in _each(match[1])}
        for part in sorted(told):
            shown[read(part)].append((path, name))
    return shown


def _each(numbers: str) -> Iterator[str]:
    """`1–3, 5 and 7` one by one."""
    for part in re.split(r", and |, | and ", numbers):
        first, _, last = part.replace("–", "-").partition("-")
        if last:
            yield from map(str, range(int(first), int(last) + 1))
        else:
            yield first


@cache
def _tests() -> Sequence[tuple[str, str, str]]:
    """Every test: file, name, docstring on one line."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = " ".join((ast.get_docstring(node) or "").split())
                found.append((path.relative_to(ROOT).as_posix(), node.name, said))
    return found


# --- Refusals -------------------------------------------------------------------------------


def refusals() -> str:
    """Every refusal of a command and every fault at the doors."""
    introduction = """
What a caller can be told: `code` for programs, the HTTP status, and one sentence for people. Over
HTTP each is a problem document (`application/problem+json`, RFC 9457) with `ids` and, where
something does not validate, `errors`. `{…}` is filled in with an id, a number or a name.
"""
    blocks = ["## Refusals: against the rules or the state of the record"]
    head = ("code", "status", "rule", "says")
    rows = [
        (f"`{r.code}`", r.status, f"[{r.rule}](rules.md#rule-{r.rule})" if r.rule else "", r.says)
        for r in sorted(_below(Refusal), key=lambda r: r.code)
    ]
    blocks.append(_table(head, rows))
    blocks.append("## Faults: turned away at the door")
    faults = sorted(_below(Fault), key=lambda fault: fault.code)
    blocks.append(
        _table(("code", "status", "says"), [(f"`{f.code}`", f.status, f.says) for f in faults])
    )
    blocks.append("A request that does not validate is answered with 422 and the code `invalid`.")
    return _page("Refusals", introduction, *blocks)


def _below(base: type[Any]) -> Iterator[Any]:
    """Every class below `base` that is raised, wherever it stands."""
    _import_everything()
    for kind in base.__subclasses__():
        if not kind.__name__.startswith("_") and kind.__module__.partition(".")[0] in _ROOMS:
            yield kind
        yield from _below(kind)


@cache
def _import_everything() -> None:
    for room in _ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


# --- Settings -------------------------------------------------------------------------------


def settings() -> str:
    """Every variable of the environment that is read."""
    rows = [
        (f"`{PREFIX}{name.upper()}`", _setting(field.annotation), field.description)
        for name, field in Settings.model_fields.items()
    ]
    rows.append(
        (
            f"`{TOKEN_VARIABLE}`",
            "text",
            "For the command line: the token of whoever asks. When unset, the operator of this "
            "machine asks, which is recorded as such.",
        )
    )
    introduction = """
What the person who runs the product may decide, by variables of the environment. An empty one
counts as unset. Rules of a clinic are not here: they are entries in its log.
"""
    return _page("Settings", introduction, _table(("variable", "type", ""), rows))


def _setting(annotation: Any) -> str:
    words = {Path: "path", SecretStr: "URL, a secret", int: "integer", str: "text"}
    known = [words[kind] for kind in words if kind is annotation or kind in _arguments(annotation)]
    if known:
        return known[0]
    literals = [argument for argument in _arguments(annotation) if isinstance(argument, str)]
    return _code(literals) or "id"


def _arguments(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())


# --- HTTP -----------------------------------------------------------------------------------


def api() -> str:
    """Every route and page with who may use it."""
    application = FastAPI(title="Rapport")
    for router in ROUTERS:
        application.include_router(router)
    through = {
        (method, path.replace(":path}", "}")): doors  # as the contract spells it
        for router in ROUTERS
        for method, path, doors in routes_of(router)
    }
    reads = [
        (
            f"`{method.upper()} {path}`",
            operation["description"],
            _code(through[method.upper(), path]) or "open",
            ", ".join(sorted(operation["responses"])),
        )
        for path, operations in contract(application)["paths"].items()
        for method, operation in operations.items()
        if path.rpartition("/")[2] not in COMMANDS
    ]
    recorded = [
        (f"`{name}`", _said(command), _who(name))
        for name, command in COMMANDS.items()
        if name in DOORS
    ]
    doors = [(f"`{name}`", _who(name)) for name in DOORS if name not in COMMANDS]
    shown = [
        (f"`{method} {path}`", _code(by) or "open") for method, path, by in routes_of(pages.router)
    ]
    introduction = f"""
Bodies, answers and their fields are in the contract that each server gives at `/openapi.json`.
Errors are in [refusals.md](refusals.md). Every route leads through a door that only certain roles
may use, or is open: {_code(sorted(OPEN))}.
"""
    return _page(
        "HTTP API",
        introduction,
        "## Recording: `POST /api/v1/commands/<command>`",
        _RECORDING,
        _table(("command", "", "who"), recorded),
        "## Reading and the rest",
        _READING,
        _table(("route", "", "door", "answers"), reads),
        "## Pages",
        _table(("page", "door"), shown),
        "## Doors for readers",
        _table(("door", "who"), doors),
    )


_RECORDING = """\
The body *is* the command, the answer a receipt. `Idempotency-Key` is the command's id: the same
again gives the same receipt. `If-Match` names the version that the stream must have."""

_READING = """\
That somebody reads is recorded first. `?after=<position>` asks for what covers that position of the
log; lists go on at `?cursor=<next>`."""


def _who(door: str) -> str:
    return "; ".join(f"{role.value}: {reach.value}" for role, reach in DOORS[door].who.items())


def routes_of(router: APIRouter) -> Iterator[tuple[str, str, list[str]]]:
    """The routes of one router: method, path, and the doors they lead through."""
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.include_router(router)
    for route in iter_route_contexts(application.routes):
        for method in sorted(set(getattr(route, "methods", ())) - {"HEAD", "OPTIONS"}):
            yield method, str(route.path), list(doors_of(route))


# --- Command line ---------------------------------------------------------------------------


def commands() -> str:
    """Every command with its options, as `--help` tells."""
    statuses = _attributes(Exit)
    exits = [(str(int(one)), statuses.get(one.name, one.name.lower())) for one in Exit]
    introduction = """
`rapport COMMAND --help` says the same. Results go to stdout, everything else to stderr.
"""
    root = typer.main.get_command(command_line())
    return _page(
        "Command line",
        introduction,
        "## Exit status",
        _table(("status", ""), exits),
        *_commands(root, "rapport"),
    )


def _commands(command: Any, name: str) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield f"## `{name}`"
        yield _help(command.help)
        rows = [_parameter(parameter) for parameter in command.params]
        yield _table(("argument or option", "", "default"), rows)
        return
    for each, below in inner.items():
        yield from _commands(below, f"{name} {each}")


def _help(text: str) -> str:
    """The help, with its examples as a block."""
    said, _, examples = text.replace("\b", "").strip().partition("Examples:")
    lines = textwrap.dedent(examples.strip("\n"))
    return said.strip() + (f"\n\n```sh\n{lines}\n```" if examples else "")


def _parameter(parameter: Any) -> tuple[str, str, str]:
    is_option = parameter.opts[0].startswith("-")
    names = _code(parameter.opts + parameter.secondary_opts)
    shown = names if is_option else f"`{parameter.name.upper()}`"
    default = parameter.default
    if isinstance(default, Enum):
        default = default.value
    told = "required" if parameter.required else _default(default)
    return shown, parameter.help or "", told


def _default(default: object) -> str:
    return "" if default in (None, False, True, ()) or callable(default) else f"`{default}`"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "events.md": events,
    "rules.md": rules,
    "refusals.md": refusals,
    "settings.md": settings,
    "api.md": api,
    "commands.md": commands,
    "requirements.md": requirements,
}
"""Every page by its file."""

if __name__ == "__main__":
    main()
