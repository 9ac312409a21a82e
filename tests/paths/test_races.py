"""Two at once: what one of them decides, the other has read before it is decided.

Each writer has its own connections and its own memory of the log, as another process would.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from threading import Barrier, Thread
from typing import Any
from uuid import UUID, uuid4

from domain.clinic import Scope
from domain.closure import TransferRelationship
from domain.consent import in_force
from domain.event import Command
from domain.instrument import Perspective
from domain.outcome import RateOutcome
from domain.participant import JoinRelationship, LeaveRelationship
from domain.person import Activity, Profession, RegisterPractitioner
from domain.rating import SupersedeRating, ratings_of
from domain.records import Author, Proposal
from domain.relationship import Initiator, Part, relationship_of, relationship_stream
from domain.session import HoldSession, SessionHeld
from domain.withdrawal import WithdrawConsent
from infra.event_store import ClinicLog
from tests.conftest import Clinic
from tests.paths.tried import World


def at_once(writers: Sequence[ClinicLog], *commands: Command, by: UUID) -> list[Any]:
    """The verdicts on commands that as many writers hand in at the same moment."""
    ready = Barrier(len(commands))
    verdicts: list[Any] = [None] * len(commands)

    def hand_in(number: int, command: Command) -> None:
        proposal = Proposal(command, Author(by))
        ready.wait()
        (verdicts[number],) = writers[number].append([proposal])

    threads = [Thread(target=hand_in, args=each) for each in enumerate(commands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdicts


def kinds(verdicts: Iterable[object]) -> list[str]:
    return sorted(type(verdict).__name__ for verdict in verdicts)


def furnished(clinic: Clinic) -> World:
    world = World(clinic)
    for command in world.founding():
        said_by: UUID | None = getattr(command, "party", None)
        clinic.records.record(command, Author(world.therapist, said_by))
    return world


def test_two_writers_give_one_hour_once(clinic: Clinic) -> None:
    """Rule 14: two sessions of one therapist in two relationships, at once: the schedule is a
    stream that both write, and the record of the other relationship one that both read."""
    world, writers = furnished(clinic), (clinic.log, clinic.open_log())
    for _ in range(15):
        clinic.clock.advance(hours=2)
        start = clinic.clock.now - timedelta(hours=1)
        first, second = (
            HoldSession(
                relationship=relationship,
                present=(client, world.therapist),
                started_at=start + timedelta(minutes=10 * number),
                ended_at=start + timedelta(minutes=50),
            )
            for number, (relationship, client) in enumerate(
                zip(world.relationships, world.clients, strict=True)
            )
        )
        verdicts = at_once(writers, first, second, by=world.therapist)
        assert kinds(verdicts) == ["Receipt", "SessionsOverlap"]


def test_two_writers_rate_and_supersede_once(clinic: Clinic) -> None:
    """Rules 8 and 29: the second reads what the first wrote before it is decided."""
    world, writers = furnished(clinic), (clinic.log, clinic.open_log())
    client, relationship = world.clients[0], world.relationships[0]
    clinic.clock.advance(hours=2)
    session = uuid4()
    hold = HoldSession(
        relationship=relationship,
        session=session,
        present=(client, world.therapist),
        started_at=clinic.clock.now - timedelta(hours=1),
        ended_at=clinic.clock.now - timedelta(minutes=10),
    )
    clinic.record(hold, by=world.therapist)

    def rate() -> Command:
        return RateOutcome(
            relationship=relationship,
            instrument="SWLS",
            perspective=Perspective.CLIENT,
            rater=client,
            session=session,
            answers=("4",) * 5,
        )

    verdicts = at_once(writers, rate(), rate(), by=client)
    assert kinds(verdicts) == ["RatedAlready", "Receipt"]
    for _ in range(10):
        ((current, _),) = ratings_of(clinic.log.history(relationship_stream(relationship))).items()
        again = (
            SupersedeRating(
                relationship=relationship,
                superseded=current,
                reason="Read again.",
                answers=("5",) * 5,
            )
            for _ in range(2)
        )
        verdicts = at_once(writers, *again, by=client)
        assert kinds(verdicts) == ["NotTheCurrentRating", "Receipt"]


def session(world: World, start: datetime, number: int = 0, minutes: int = 50) -> HoldSession:
    """A session with the first or the second client."""
    return HoldSession(
        relationship=world.relationships[number],
        present=(world.clients[number], world.therapist),
        started_at=start,
        ended_at=start + timedelta(minutes=minutes),
    )


def test_four_writers_give_one_hour_once(clinic: Clinic) -> None:
    """Rule 14: two sessions of each of two relationships, all in one hour, at once: one stands."""
    world = furnished(clinic)
    writers = (clinic.log, *(clinic.open_log() for _ in range(3)))
    for _ in range(8):
        clinic.clock.advance(hours=3)
        start = clinic.clock.now - timedelta(hours=2)
        tries = [
            session(world, start + timedelta(minutes=10 * number), number % 2)
            for number in range(4)
        ]
        verdicts = at_once(writers, *tries, by=world.therapist)
        assert kinds(verdicts) == ["Receipt", *["SessionsOverlap"] * 3]


def test_a_transfer_and_a_session_do_not_pass_each_other(clinic: Clinic) -> None:
    """Rules 10 and 16: handed on two hours ago, or met one hour ago; never both."""
    world, writers = furnished(clinic), (clinic.log, clinic.open_log())
    relationship = world.relationships[0]
    for number in range(10):
        clinic.clock.advance(hours=5)
        now, to = clinic.clock.now, uuid4()
        transfer = TransferRelationship(
            relationship=relationship,
            to=to,
            therapists=(world.therapist,),
            reason="Goes on under another contract.",
            initiated_by=Initiator.BOTH,
            goals="None is open.",
            occurred_at=now - timedelta(hours=2),
        )
        met = session(world, now - timedelta(hours=1)).model_copy(
            update={"relationship": relationship}
        )
        pair = (transfer, met) if number % 2 else (met, transfer)
        verdicts = at_once(writers, *pair, by=world.therapist)
        assert kinds(verdicts) in (
            ["Receipt", "RelationshipNotOpen"],
            ["OutsideTheRelationship", "Receipt"],
        )
        history = clinic.log.history(relationship_stream(relationship))
        handed_on = not relationship_of(history).is_open
        assert not any(map(relationship_of(history).is_outside, history.standing))
        if handed_on:
            relationship = to
            for person in (world.therapist, world.clients[0]):
                clinic.record(world.information(to, person), by=world.therapist)
            clinic.record(world.consent(to, world.clients[0], Scope.TREATMENT), by=world.clients[0])


def test_a_withdrawal_and_a_session_do_not_pass_each_other(clinic: Clinic) -> None:
    """Rules 12 and 20: a session that is recorded after the withdrawal does not rest on what was
    withdrawn, however close the two came."""
    world, writers = furnished(clinic), (clinic.log, clinic.open_log())
    client, relationship = world.clients[0], world.relationships[0]
    stream = relationship_stream(relationship)
    for number in range(10):
        clinic.clock.advance(hours=2)
        consent = in_force(clinic.log.history(stream), Scope.TREATMENT, client, clinic.clock.now)
        assert consent is not None
        take_back = WithdrawConsent(relationship=relationship, consent=consent.consent)
        # It starts within the tolerance of the clock: after the withdrawal, by its own times.
        soon = clinic.clock.now + timedelta(seconds=10)
        met = session(world, soon).model_copy(update={"ended_at": soon + timedelta(seconds=20)})
        pair = (take_back, met) if number % 2 else (met, take_back)
        verdicts = at_once(writers, *pair, by=client)
        assert kinds(verdicts) in (["ConsentMissing", "Receipt"], ["Receipt", "Receipt"])
        history = clinic.log.history(stream)
        positions = {entry.topic: entry.position for entry in history}
        if "ConsentMissing" not in kinds(verdicts):
            assert positions["session.held"] < positions["consent.withdrawn"]
        clinic.record(world.consent(relationship, client, Scope.TREATMENT), by=client)


def test_one_supervisor_joins(clinic: Clinic) -> None:
    """Rule 10: of two who are to supervise from now on, one does."""
    world, writers = furnished(clinic), (clinic.log, clinic.open_log())
    leaving = LeaveRelationship(
        relationship=world.relationships[0], person=world.supervisors[0], reason="Retires."
    )
    clinic.record(leaving, by=world.therapist)
    supervisors = (uuid4(), uuid4())
    for supervisor in supervisors:
        clinic.record(
            RegisterPractitioner(
                practitioner=supervisor,
                full_name="Dr. Ada Beispiel",
                profession=Profession.SUPERVISOR,
                scope=(Activity.SUPERVISION,),
                valid_from=clinic.clock.now.date(),
            )
        )
    joins = (
        JoinRelationship(
            relationship=world.relationships[0],
            person=supervisor,
            part=Part.SUPERVISOR,
            reason="The first case under supervision.",
        )
        for supervisor in supervisors
    )
    verdicts = at_once(writers, *joins, by=world.therapist)
    assert kinds(verdicts) == ["Receipt", "SupervisedAlready"]
    history = clinic.log.history(relationship_stream(world.relationships[0]))
    assert relationship_of(history).supervisor in supervisors
    assert not [*history.of(SessionHeld)]
