"""What happens in a furnished house beside sessions and ratings: all that pages have forms for."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from domain.frame import AgreeFrame, FrameItem, Term
from domain.instrument import Perspective
from domain.note import NoteKind, Section, WriteNote
from domain.outcome import RateOutcome
from domain.rupture import Kind, MarkRupture, Method
from domain.supervision import AgreeSupervisionAction, HoldSupervision, NoteCountertransference
from tests.api.conftest import House

STIRRED = "I look forward to the end of this hour."
AT_RISK = ("1",) * 8 + ("2",)
"""Answers to the PHQ-9, the last of which a person has to look at."""


@dataclass
class Happened:
    """The ids of what happened."""

    note: UUID = field(default_factory=uuid4)
    rupture: UUID = field(default_factory=uuid4)
    rating: UUID = field(default_factory=uuid4)
    supervision: UUID = field(default_factory=uuid4)
    action: UUID = field(default_factory=uuid4)


def happened(house: House) -> Happened:
    """A note, a rupture, a risk item, a frame, and supervision of the case."""
    made = Happened()
    _treated(house, made)
    _supervised(house, made)
    return made


def _treated(house: House, made: Happened) -> None:
    practice, relationship = house.practice, house.relationship
    therapist, client = house.therapist, house.client
    practice.recorded(
        therapist,
        AgreeFrame(
            relationship=relationship,
            items=(Term(item=FrameItem.LENGTH, terms="Fifty minutes."),),
            agreed_by=(client.person, therapist.person),
        ),
    )
    practice.recorded(
        therapist,
        WriteNote(
            relationship=relationship,
            note=made.note,
            kind=NoteKind.SESSION,
            session=house.session,
            sections=(Section(text="Slept better."),),
            author=therapist.person,
        ),
    )
    practice.recorded(
        client,
        MarkRupture(
            relationship=relationship,
            rupture=made.rupture,
            raised_by=client.person,
            perspective=Perspective.CLIENT,
            method=Method.NAMED_IN_SESSION,
            kind=Kind.WITHDRAWAL,
            session=house.session,
        ),
    )
    practice.recorded(
        client,
        RateOutcome(
            relationship=relationship,
            rating=made.rating,
            instrument="PHQ-9",
            perspective=Perspective.CLIENT,
            rater=client.person,
            session=house.session,
            answers=AT_RISK,
        ),
    )


def _supervised(house: House, made: Happened) -> None:
    practice, relationship = house.practice, house.relationship
    therapist, supervisor = house.therapist, house.supervisor
    now = practice.later(hours=2)
    practice.recorded(
        supervisor,
        HoldSupervision(
            relationship=relationship,
            supervision=made.supervision,
            supervisor=supervisor.person,
            supervisees=(therapist.person,),
            started_at=now - timedelta(minutes=50),
            ended_at=now - timedelta(minutes=5),
        ),
    )
    practice.recorded(
        supervisor,
        AgreeSupervisionAction(
            relationship=relationship,
            supervision=made.supervision,
            action=made.action,
            owner=therapist.person,
            due=now.date() + timedelta(days=7),
            text="Ask how the last session was.",
        ),
    )
    practice.recorded(
        therapist,
        NoteCountertransference(relationship=relationship, session=house.session, text=STIRRED),
    )
