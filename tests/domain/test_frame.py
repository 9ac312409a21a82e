"""The frame: agreed, changed item by item, departed from."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from domain.correction import CorrectEntry, MarkEnteredInError, NotCorrectable
from domain.frame import (
    AgreeFrame,
    ChangeFrameItem,
    FrameAgreed,
    FrameChangedSince,
    FrameDepartureRecorded,
    FrameItem,
    FrameItemChanged,
    FrameItemUnchanged,
    FrameNotAgreed,
    FrameNotAgreedByAll,
    FrameStandsOtherwise,
    RecordFrameDeparture,
    Term,
    frame_of,
)
from domain.person import NotInTheirName
from domain.relationship import (
    Constellation,
    NotAParticipant,
    RelationshipNotYetOpen,
    relationship_stream,
)
from domain.session import SessionUnknown
from tests.kit import (
    CLIENT,
    CONSENTED,
    COTHERAPIST,
    DAY,
    FOUNDED,
    NOW,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SESSION,
    THERAPIST,
    given,
    hold_session,
    opened,
)

LENGTH = Term(item=FrameItem.LENGTH, terms="50 minutes.")
FEE = Term(item=FrameItem.FEE, terms="90 euros.")
BOTH = (CLIENT, THERAPIST)


def agree(*items: Term, agreed_by: tuple[UUID, ...] = BOTH, **changes: Any) -> AgreeFrame:
    return AgreeFrame(
        relationship=RELATIONSHIP, items=items or (LENGTH, FEE), agreed_by=agreed_by, **changes
    )


def change(new: str = "80 minutes.", old: str | None = "50 minutes.", **more: Any) -> Any:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "item": FrameItem.LENGTH,
        "old": old,
        "new": new,
        "reason": "Exposure needs longer.",
        "by": THERAPIST,
        "agreed_by": BOTH,
    }
    return ChangeFrameItem.model_validate(fields | more)


def agreed(version: int = 1, *items: Term) -> FrameAgreed:
    return FrameAgreed(version=version, items=items or (LENGTH, FEE), agreed_by=BOTH)


def changed(version: int = 2) -> FrameItemChanged:
    return FrameItemChanged(
        version=version,
        item=FrameItem.LENGTH,
        old="50 minutes.",
        new="80 minutes.",
        reason="Exposure needs longer.",
        by=THERAPIST,
        agreed_by=BOTH,
    )


# --- Agreeing and changing ------------------------------------------------------------------


def test_a_frame_is_agreed_and_changed_item_by_item() -> None:
    """Rule 1: each wording is a version of its own; what stood before stays in the record."""
    record = given(*OPENED).when(agree()).then(agreed())
    record = record.when(change()).then(changed())
    frame = frame_of(record.relationship)
    assert frame is not None
    assert frame.version == 2
    assert frame.items == {FrameItem.LENGTH: "80 minutes.", FrameItem.FEE: "90 euros."}
    new = change("On Tuesdays.", None, item=FrameItem.TIME)
    record = record.when(new).recorded()
    record = record.when(agree(LENGTH)).then(agreed(4, LENGTH))
    frame = frame_of(record.relationship)
    assert frame is not None
    assert frame.items == {FrameItem.LENGTH: "50 minutes."}


def test_all_clients_and_a_therapist_agree() -> None:
    """Rule 10: nobody is left out of what holds for them, and nobody from outside agrees."""
    couple = opened(CLIENT, PARTNER, constellation=Constellation.COUPLE)
    record = given(*FOUNDED, couple)
    record.when(agree()).refuses(FrameNotAgreedByAll, person=PARTNER)
    clients = agree(agreed_by=(CLIENT, PARTNER))
    record.when(clients).refuses(FrameNotAgreedByAll, person=THERAPIST)
    stranger = agree(agreed_by=(CLIENT, PARTNER, THERAPIST, COTHERAPIST))
    record.when(stranger).refuses(NotAParticipant, person=COTHERAPIST)
    record = record.when(agree(agreed_by=(CLIENT, PARTNER, THERAPIST))).recorded()
    record.when(change()).refuses(FrameNotAgreedByAll, person=PARTNER)


def test_who_changes_an_item_says_what_stood() -> None:
    """Rule 8: nobody changes what they have not seen."""
    record = given(*OPENED)
    record.when(change()).refuses(FrameNotAgreed)
    record = record.and_given(agreed())
    record.when(change(old="45 minutes.")).refuses(FrameStandsOtherwise, item="length", version=1)
    record.when(change(old=None)).refuses(FrameStandsOtherwise)
    record.when(change(item=FrameItem.PLACE)).refuses(FrameStandsOtherwise, item="place")
    record.when(change("50 minutes.")).refuses(FrameItemUnchanged, item="length")
    record.when(change(by=PARTNER)).refuses(NotAParticipant, person=PARTNER)


def test_no_version_is_put_before_another() -> None:
    """Rule 5: a change that is recorded late does not slip under one that was agreed since."""
    record = given(*OPENED, (agreed(), NOW - 9 * DAY), (changed(), NOW - 2 * DAY))
    late: dict[str, Any] = {"occurred_at": NOW - 5 * DAY, "late_reason": "Lay on the desk."}
    record.when(agree(**late)).refuses(FrameChangedSince, version=2)
    record.when(change("60 minutes.", "80 minutes.", **late)).refuses(FrameChangedSince)
    long_ago = late | {"occurred_at": NOW - 900 * DAY}
    given(*OPENED).when(agree(**long_ago)).refuses(RelationshipNotYetOpen)


def test_what_was_agreed_is_never_reworded() -> None:
    """Rule 1: an agreement may be marked as never made; its number is not given again."""
    record = given(*OPENED, agreed(), changed())
    at = record.relationship.version
    here = relationship_stream(RELATIONSHIP)
    content = changed().model_dump(mode="json", exclude_none=True) | {"new": "90 minutes."}
    correct = CorrectEntry(stream=here, entry=at, reason="Typed wrong.", content=content)
    record.when(correct).refuses(NotCorrectable, topic="frame.item_changed")
    mark = MarkEnteredInError(stream=here, entry=at, reason="Of another client.")
    marked = record.when(mark).recorded()
    frame = frame_of(marked.relationship)
    assert frame is not None
    assert (frame.version, frame.items[FrameItem.LENGTH]) == (1, "50 minutes.")
    marked.when(change()).then(changed(3))


def test_each_item_is_settled_once() -> None:
    """Rule 10: a frame that says two things of one item says none."""
    with pytest.raises(ValidationError, match="only once"):
        agree(LENGTH, LENGTH)
    with pytest.raises(ValidationError):
        AgreeFrame(relationship=RELATIONSHIP, items=(), agreed_by=BOTH)


def test_a_frame_whose_content_is_gone_is_none() -> None:
    """Rule 9: erased, it is as if nothing had been agreed."""
    record = given(*OPENED, agreed(), changed())
    assert frame_of(record.erased(None).relationship) is None


# --- Departures -----------------------------------------------------------------------------


def departure(**changes: Any) -> RecordFrameDeparture:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "item": FrameItem.CONTACT_BETWEEN_SESSIONS,
        "reason": "A call on Sunday night.",
        "by": THERAPIST,
    }
    return RecordFrameDeparture.model_validate(fields | changes)


def test_a_departure_is_recorded_whether_or_not_the_item_was_agreed() -> None:
    """Rule 16: what departs from the usual is seen; client and therapist each tell of it."""
    record = given(*CONSENTED).when(hold_session()).recorded()
    told = FrameDepartureRecorded(
        item=FrameItem.CONTACT_BETWEEN_SESSIONS,
        session=SESSION,
        reason="A call on Sunday night.",
        by=THERAPIST,
    )
    record.when(departure(session=SESSION)).then(told)
    record.when(departure(by=CLIENT), by=CLIENT).recorded()


def test_a_departure_names_a_session_and_a_person_of_theirs() -> None:
    """Rules 10 and 33: in one's own name, of one's own sessions."""
    record = given(*OPENED)
    record.when(departure(session=SESSION)).refuses(SessionUnknown, session=SESSION)
    record.when(departure(by=PARTNER)).refuses(NotAParticipant, person=PARTNER)
    record.when(departure(by=CLIENT)).refuses(NotInTheirName, person=CLIENT)
