"""The closed lists of entries and commands, and what was ever stored under them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

import domain
from domain import topics
from domain.correction import EntryCorrected
from domain.event import Command, Event, Refusal
from domain.task import TaskProposed
from domain.topics import COMMANDS, EVENTS, UnknownTopic, read
from infra import canonical
from infra.mapper import content_bytes, content_of

K = TypeVar("K")

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
FILES = sorted(GOLDEN.glob("*.json"))


def stored(file: Path) -> tuple[str, int, dict[str, Any]]:
    """Topic, schema version and content of a golden file."""
    topic, _, version = file.stem.rpartition("-")
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return topic, int(version), content


def golden(topic: str) -> dict[str, Any]:
    return stored(GOLDEN / f"{topic}-{EVENTS[topic].schema_version}.json")[2]


def subclasses(kind: type[K]) -> Iterator[type[K]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


# --- What was stored once loads for ever ----------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_stored_content_loads_for_ever(file: Path) -> None:
    """R17: an entry of any release is read by every later one, and says what it said."""
    topic, version, content = stored(file)
    event = read(topic, version, content)
    assert event.topic == topic
    if version == event.schema_version:
        assert canonical.encode(content_of(event)) == canonical.encode(content)
        assert content_bytes(event) == canonical.encode(content)


def test_every_kind_of_entry_has_stored_content_on_file() -> None:
    """R17: for each topic, one file for each schema version from the first to today's."""
    on_file = {file.name for file in FILES}
    wanted = {
        f"{topic}-{version}.json"
        for topic, kind in EVENTS.items()
        for version in range(1, kind.schema_version + 1)
    }
    assert on_file == wanted


# --- The lists are closed and whole ---------------------------------------------------------


def test_every_kind_of_entry_and_every_command_is_listed() -> None:
    """R32: what can be recorded is one list; nothing stands in the code that is not in it."""
    for module in iter_modules(domain.__path__, "domain."):
        import_module(module.name)
    concrete = {kind for kind in subclasses(Event) if kind.__module__.startswith("domain.")}
    assert {kind for kind in concrete if "topic" in kind.__dict__} == set(EVENTS.values())
    commands = {kind for kind in subclasses(Command) if kind.__module__.startswith("domain.")}
    assert {kind for kind in commands if "name" in kind.__dict__} == set(COMMANDS.values())
    assert {topic: kind.topic for topic, kind in EVENTS.items()} == {
        topic: topic for topic in EVENTS
    }
    assert {name: kind.name for name, kind in COMMANDS.items()} == {name: name for name in COMMANDS}


def test_what_is_listed_is_loaded_when_it_is_asked_for() -> None:
    """R32: who looks for one kind of entry loads no other; what is not listed is never loaded."""
    program = (
        "import sys; from domain import topics\n"
        "assert 'goal.proposed' in topics.EVENTS and 'domain.goal' not in sys.modules\n"
        "assert topics.EVENTS['task.proposed'].__name__ == 'TaskProposed'\n"
        "assert topics.EVENTS.get('os.path') is None and topics.may_amend('os.path')\n"
        "print(*sorted(sys.modules.keys() & {'domain.goal', 'domain.task', 'domain.note'}))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "domain.note" not in ran.stdout
    assert "domain.task" in ran.stdout


def test_topics_and_commands_are_named_alike() -> None:
    """R32: topics are `thing.happened`, commands verbs in kebab-case, and each says what it is."""
    for topic, kind in EVENTS.items():
        assert re.fullmatch("[a-z_]+[.][a-z_]+", topic)
        assert kind.__doc__
        assert kind.__doc__ != Event.__doc__
    for name in COMMANDS:
        assert re.fullmatch("[a-z]+(-[a-z]+)+", name)


def test_refusals_have_codes_of_their_own() -> None:
    """R19: a program can tell every refusal from every other."""
    refusals = [kind for kind in subclasses(Refusal) if kind.__module__.startswith("domain.")]
    codes = [kind.code for kind in refusals]
    assert len(set(codes)) == len(codes) > 50


def test_nothing_stored_is_a_float() -> None:
    """Rule 28: no field of any entry is a binary fraction, at any depth."""
    for topic, kind in EVENTS.items():
        if kind is EntryCorrected:  # its content is one of the other kinds
            continue
        schema = json.dumps(kind.model_json_schema(mode="serialization"))
        assert '"number"' not in schema, topic


# --- Reading --------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["", "os.system", "domain.event:Event", "alliance.rated "])
def test_a_stored_name_imports_nothing(topic: str) -> None:
    """R3: a topic that is not in the list is refused, whatever it names."""
    with pytest.raises(UnknownTopic, match="cannot read"):
        read(topic, 1, {})


@pytest.mark.parametrize("version", [0, -1, 2, 99])
def test_a_schema_version_of_the_future_is_refused(version: int) -> None:
    """R17: an older release says that it cannot read a newer one's entries; it does not guess."""
    with pytest.raises(UnknownTopic):
        read("task.retired", version, golden("task.retired"))


@for_all(st.sampled_from(sorted(EVENTS)), st.data())
def test_content_that_lacks_what_a_fact_needs_is_no_fact(topic: str, data: st.DataObject) -> None:
    """R3: content is checked when it is read; a field too many or too few is found."""
    content, kind = golden(topic), EVENTS[topic]
    with pytest.raises(ValidationError):
        read(topic, kind.schema_version, content | {"unheard_of": 1})
    needed = [name for name, info in kind.model_fields.items() if info.is_required()]
    if needed:
        gone = data.draw(st.sampled_from(needed))
        lacking = {name: value for name, value in content.items() if name != gone}
        with pytest.raises(ValidationError):
            read(topic, kind.schema_version, lacking)


# --- Upcasting ------------------------------------------------------------------------------


class TaskNoted(Event):
    """A kind of entry in its second shape, as a later release would have one."""

    topic = "task.noted"
    schema_version: ClassVar[int] = 2

    words: str

    @classmethod
    def upcast(cls, content: dict[str, Any], schema_version: int) -> dict[str, Any]:
        assert schema_version == 1
        return {"words": content["text"]}


@pytest.fixture
def later_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "EVENTS", {**EVENTS, TaskNoted.topic: TaskNoted})


@pytest.mark.usefixtures("later_release")
def test_an_older_shape_is_brought_up_to_date() -> None:
    """R17: the class says how; content of today's shape passes as it is."""
    assert read("task.noted", 1, {"text": "Once."}) == TaskNoted(words="Once.")
    assert read("task.noted", 2, {"words": "Once."}) == TaskNoted(words="Once.")
    with pytest.raises(UnknownTopic):
        read("task.noted", 3, {"words": "Once."})


@pytest.mark.usefixtures("later_release")
def test_an_old_correction_is_brought_up_to_date_with_what_it_replaces() -> None:
    """Rule 1, R17: a correction written for the first shape still reads in the second."""
    old = {
        "entry": 3,
        "reason": "Typed wrong.",
        "of_topic": "task.noted",
        "of_schema_version": 1,
        "content": {"text": "Twice."},
    }
    corrected = read("entry.corrected", 1, old)
    assert isinstance(corrected, EntryCorrected)
    assert corrected.content == {"words": "Twice."}
    assert corrected.of_schema_version == 2
    with pytest.raises(UnknownTopic):
        read("entry.corrected", 1, old | {"of_topic": "os.system"})


def test_a_class_without_an_older_shape_says_so() -> None:
    """R17: asked for a version that it never had, an event does not make one up."""
    with pytest.raises(ValueError, match=r"task\.proposed has no schema version 7"):
        TaskProposed.upcast({}, 7)
