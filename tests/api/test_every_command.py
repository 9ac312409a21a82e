"""Completeness: whatever can be recorded is within reach over HTTP, of whom it concerns alone."""

from pathlib import Path

from api.access import DOORS, INSIDE
from api.routes.command import EXAMPLES
from domain.access import Role
from domain.topics import COMMANDS, EVENTS
from tests.api.conftest import Practice
from tests.api.everything import Year, every_role, tell_everything

ROOT = Path(__file__).parents[2]
PUBLIC = frozenset(COMMANDS) - INSIDE


def test_a_year_in_which_everything_is_recorded(practice: Practice) -> None:
    """Rule 6, R17, R32, R35: each public command is accepted over HTTP from whom it concerns, after
    the same body was refused to strangers; each kind of entry comes of it; no view stops at it."""
    year = Year(practice)
    tell_everything(year)
    every_command_was_accepted_after_strangers_were_turned_away(year)
    every_kind_of_entry_is_in_the_log(year)
    every_view_takes_it(year)


def every_command_was_accepted_after_strangers_were_turned_away(year: Year) -> None:
    assert set(year.accepted) == PUBLIC, sorted(PUBLIC - set(year.accepted))
    turned_away = set(year.turned_away)
    for name in PUBLIC:
        for role in every_role():
            assert (name, role) in turned_away or role in DOORS[name].who, (name, role)


def every_kind_of_entry_is_in_the_log(year: Year) -> None:
    """But for those that come of reading and of the operator's tools."""
    log = year.practice.clinic.log
    topics = {entry.topic for entry in log.read_log(0, log.head_size())}
    assert EVENTS.keys() - topics == {"export.made", "key.destroyed", "record.read"} - topics


def every_view_takes_it(year: Year) -> None:
    practice = year.practice
    practice.worker.catch_up()
    doors = (
        "",
        "/timeline",
        "/alliance",
        "/consents",
        "/goals",
        "/access",
        "/entries",
        "/ruptures",
    )
    for who in (year.therapist, year.client):
        for door in doors:
            practice.shown(who, f"/relationships/{year['relationship']}{door}", limit=500)
    listed = practice.shown(year.officer, "/relationships", limit=500)
    assert listed["parked"] == {}
    assert len(listed["items"]) == 3


def test_what_can_be_recorded_is_written_down_everywhere() -> None:
    """R32: each command has a door or is inside, an example, and its line in the reference."""
    assert {name for name in COMMANDS if name in DOORS} == PUBLIC
    assert EXAMPLES.keys() == COMMANDS.keys()
    reference = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    for name in sorted(PUBLIC):
        assert f"| `{name}` |" in reference, name
        assert COMMANDS[name].__doc__, name


def test_no_token_carries_the_machines_own_role() -> None:
    """R31: whoever comes over HTTP comes in one of five roles."""
    assert set(every_role()) | {Role.SYSTEM} == set(Role)
