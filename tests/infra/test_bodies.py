"""The bytes of a command's body, whose digest is stored: they never change."""

import json
from datetime import timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.access import ReadRecord, Role
from domain.event import Command, Model
from domain.records import Author, Proposal
from infra.bodies import body_of
from infra.canonical import encode

ANYTHING = st.text() | st.integers() | st.booleans() | st.none() | st.floats() | st.uuids()
PLAIN = st.text(st.characters(exclude_categories=["Cs"])) | st.uuids() | st.none() | st.integers()
MOMENTS = st.datetimes(
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
)
NESTED = st.recursive(ANYTHING, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


encode(list(Role))  # from then on it is known as an enumeration that is written as it is


class Part(Model):
    """A part of a command, which holds anything."""

    of: Any
    left_out: int = 0


class Say(Command):
    """A command that holds anything."""

    name = "say"

    role: Role | None = None
    said: Any = None
    more: Any = None


def as_json_writes(proposal: Proposal) -> bytes:
    return json.dumps(proposal.said(), sort_keys=True, separators=(",", ":")).encode("ascii")


@given(
    st.builds(
        Say,
        role=st.sampled_from(Role),
        said=st.text(st.characters(exclude_categories=["Cs"])) | NESTED,
        more=ANYTHING
        | MOMENTS
        | st.lists(PLAIN).map(tuple)
        | st.builds(Part, of=ANYTHING | MOMENTS),
    ),
    st.uuids(),
    st.none() | st.uuids(),
)
@example(Say(said="\x7f"), UUID(int=1), None)
@example(Say(said="".join(map(chr, range(32, 256)))), UUID(int=1), None)
@example(Say(said=2**53, more=-(2**70)), UUID(int=1), None)
@example(Say(said=1e16, more={"é": [float("nan")]}), UUID(int=1), None)
def test_a_body_is_written_as_json_writes_it(
    command: Say, actor: UUID, on_behalf_of: UUID | None
) -> None:
    """Rule 8: whatever a command holds, so that a digest of any release tells it again."""
    proposal = Proposal(command, Author(actor, on_behalf_of))
    try:
        expected = as_json_writes(proposal)
    except ValueError:  # a lone surrogate, which nothing of the record may hold
        with pytest.raises(ValueError, match="surrogate"):
            body_of(proposal)
        return
    assert body_of(proposal) == expected


def test_only_what_was_sent_counts() -> None:
    """Rule 8: what is left out, and what the command gave itself, is no part of its body."""
    sent = ReadRecord(role=Role.SUPERVISOR, purpose="supervision", what="dossier")
    proposal = Proposal(sent, Author(UUID(int=1)))
    assert json.loads(body_of(proposal))["body"] == {
        "role": "supervisor",
        "purpose": "supervision",
        "what": "dossier",
    }
