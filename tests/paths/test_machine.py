"""Anything in any order: whatever is handed in, the record stays whole and its rules hold.

A machine hands in commands of every kind that fit and that do not, by two writers, late, imported,
on behalf of others, and destroys keys on the way. After each step the log is read again, past every
cache, and held against what the writers believe; the rules are asked of what stands.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import pairwise
from random import Random
from uuid import UUID

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from api.worker import Worker
from domain.erasure import DestroyKeys, ErasureBasis, LegalHoldStands
from domain.event import Event, History, Refusal
from domain.frame import frame_of
from domain.goal import goals_of
from domain.note import notes_of
from domain.rating import ratings_of
from domain.recall import recalls_of
from domain.recording import recordings_of
from domain.records import Author, Proposal
from domain.relationship import relationship_stream
from domain.rupture import ruptures_of
from domain.session import sessions_of
from domain.task import tasks_of
from domain.topics import COMMANDS
from infra.event_store import ClinicLog
from infra.view_store import ViewStore
from projections.dossier import VIEWS, dossier
from projections.rebuild import rebuild
from tests.conftest import Clinic
from tests.paths.holds import everything_holds
from tests.paths.tried import BEGINNING, Hand, Step, Try, World, command_of

FOLDS: Sequence[Callable[[History], object]] = (
    goals_of,
    tasks_of,
    ratings_of,
    sessions_of,
    recordings_of,
    frame_of,
    ruptures_of,
    notes_of,
    recalls_of,
)


class Machine(RuleBasedStateMachine):
    """Hands in whatever comes up, and looks what became of it."""

    def __init__(self, clinic: Clinic, writers: Sequence[ClinicLog]) -> None:
        super().__init__()
        self.clinic, self.writers = clinic, writers
        self.world = World(clinic)
        self.begun = clinic.log.head_size()
        for command in self.world.founding():
            said_by: UUID | None = getattr(command, "party", None)
            clinic.records.record(command, Author(self.world.therapist, said_by))
        for where in (0, 1):
            clinic.clock.advance(hours=2)
            for name, hand in BEGINNING:
                what = self.what(where, by_client=hand is Hand.FOR_CLIENT)
                first = command_of(name, what)
                assert first is not None, name
                clinic.records.record(first, hand.author(what))

    def what(
        self,
        where: int,
        *,
        by_client: int = False,
        one: int = 0,
        other: int = 0,
        halves: int = 2,
        number: int = 4,
    ) -> Try:
        world = self.world
        party = world.clients[where] if by_client else world.therapist
        at = self.clinic.clock.now - halves * timedelta(minutes=30)
        return Try(world, where, world.things[one], world.things[other], party, at, number)

    @rule(hours=st.integers(1, 40))
    def time_passes(self, hours: int) -> None:
        self.clinic.clock.advance(hours=hours)

    @rule(seed=st.integers(0, 2**32 - 1))
    def much_is_handed_in(self, seed: int) -> None:
        chance = Random(seed)  # noqa: S311  nothing secret is drawn
        for _ in range(20):
            step = Step.by(chance)
            what = self.what(**step.about)
            command = command_of(step.name, what)
            if command is not None:
                self.hand_in(Proposal(command, step.hand.author(what)), step.writer)

    def hand_in(self, proposal: Proposal, writer: int) -> None:
        log, name = self.writers[writer], proposal.command.name
        before = log.head_size()
        (verdict,) = log.append([proposal])
        if isinstance(verdict, Refusal):
            assert log.head_size() == before, "what is refused leaves nothing behind"
            assert "{" not in verdict.detail
            return
        ACCEPTED[name] += 1
        positions = [entry.position for entry in verdict.entries]
        assert positions == list(range(before + 1, log.head_size() + 1))
        assert list(self.writers[1 - writer].append([proposal])) == [verdict], "once is enough"

    @rule(which=st.integers(0, 9), of_one=st.booleans(), seldom=st.integers(0, 5))
    def a_key_is_destroyed(self, which: int, of_one: bool, seldom: int) -> None:
        if seldom:  # much is refused afterwards
            return
        stream = self.world.streams[which]
        for entry in self.clinic.log.history(stream):
            event = entry.event
            if isinstance(event, Event) and (event.subject() is not None) == of_one:
                erasing = DestroyKeys(
                    person=self.world.clients[which % 2],
                    keys=(entry.key_id,),
                    basis=ErasureBasis.UNLAWFUL,
                    reason="It should not have been recorded.",
                    relationships=self.world.relationships,
                )
                with suppress(LegalHoldStands):
                    self.clinic.record(erasing)
                    self.clinic.keyring.destroy(self.clinic.id, entry.key_id)
                return

    @invariant()
    def the_log_has_no_gap_and_every_writer_knows_it(self) -> None:
        size = self.clinic.log.head_size()
        entries = list(self.clinic.log.read_log(self.begun, size))
        assert [entry.position for entry in entries] == list(range(self.begun + 1, size + 1))
        assert all(one.recorded_at <= two.recorded_at for one, two in pairwise(entries))
        for stream in self.world.streams:
            stored = [entry for entry in entries if entry.stream == stream]
            assert [entry.version for entry in stored] == list(range(1, len(stored) + 1))
            for writer in self.writers:
                assert list(writer.history(stream)) == stored

    @invariant()
    def every_history_can_be_folded(self) -> None:
        for relationship in self.world.relationships:
            stream = relationship_stream(relationship)
            history = self.clinic.log.history(stream)
            for fold in FOLDS:
                fold(history)
            noon = self.clinic.clock.now - timedelta(hours=12)
            dossier(stream, history, known_at=noon)
            dossier(stream, history, happened_by=noon)

    @invariant()
    def the_rules_hold(self) -> None:
        everything_holds(self.clinic.log.history, self.world.relationships, [*self.world.clients])


ACCEPTED: Counter[str] = Counter()
"""How often each command was accepted."""


def test_whatever_is_handed_in_the_record_stays_whole(clinic: Clinic) -> None:
    """Rules 1, 2, 6, 8, 9, 12, 13, 14, 16, 20, 22, 25, 26, 29, 35, 39: gapless, equal when
    replayed, folded without fail, no entry of what was refused, and no rule undone afterwards."""
    writers = (clinic.log, clinic.open_log())
    machine = partial(Machine, clinic, writers)
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # whatever makes a machine will do
        # What was appended stays for the next example, so nothing would be the same when shrunk.
        settings=settings(max_examples=12, stateful_step_count=24, phases=[Phase.generate]),
    )
    fresh = clinic.open_log()
    for category in ("relationship", "process", "supervision", "schedule", "person", "clinic"):
        for stream in fresh.streams(category):
            assert list(fresh.history(stream)) == list(clinic.log.history(stream))
    views_are_what_the_log_says(clinic)
    assert len(ACCEPTED) >= 70, sorted(COMMANDS.keys() - ACCEPTED.keys())


def views_are_what_the_log_says(clinic: Clinic) -> None:
    """Rule 6: each, folded anew beside the one that was kept, has the same digest."""
    store = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    try:
        Worker(VIEWS.all(), clinic.log, store).catch_up()
        for rebuilt in rebuild(VIEWS.all(), clinic.log, store):
            assert rebuilt.comparison is not None
            assert rebuilt.comparison.equal, rebuilt.view
    finally:
        store.close()
