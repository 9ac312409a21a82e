"""The record that is tampered with: ten entries in three commits.

commit 1   1 client registered    2 practitioner registered    (one command)
           3 partner registered
commit 2   4 relationship opened  5 client informed   6 client consents   (one command)
commit 3   7 session held         8 its hour taken    (one command)
           9 the record read     10 the partner's key destroyed
"""

from collections.abc import Iterator
from uuid import UUID, uuid4

from domain.access import ReadRecord, Role
from domain.erasure import ErasureBasis, KeyDestroyed, erasure_stream
from domain.event import Event, Given, New
from domain.person import person_stream
from domain.records import Author, Proposal, Receipt
from infra.event_store import ClinicLog
from infra.keyring import Keyring
from tests.kit import (
    CLIENT,
    PARTNER,
    RELATIONSHIP,
    consent,
    held,
    home,
    informed,
    opened,
    practising,
    registered,
    taken,
)

_CHAPTERS: dict[str, tuple[Event, ...]] = {
    "registered": (registered(CLIENT), practising()),
    "partner": (registered(PARTNER),),
    "opened": (opened(), informed(), consent()),
    "held": (held(), taken()),
    "read": (),
    "erased": (),
}


class Tell(ReadRecord):
    """Records a chapter of the story: each of its facts in the stream it belongs to."""

    chapter: str
    keys: tuple[UUID, ...] = ()

    def decide(self, given: Given) -> Iterator[New]:
        if self.chapter == "read":
            yield from super().decide(given)
        if self.keys:
            yield New(erasure_stream(PARTNER), destroyed(*self.keys))
        for event in _CHAPTERS[self.chapter]:
            yield New(home(event), event)


def destroyed(*keys: UUID) -> KeyDestroyed:
    """The fact that these keys of the partner are destroyed."""
    basis = ErasureBasis.LEGAL_OBLIGATION
    return KeyDestroyed(person=PARTNER, keys=keys, basis=basis, reason="An order of the court.")


def tell(chapter: str, *keys: UUID) -> Proposal:
    """A command that records the chapter."""
    command = Tell(
        role=Role.SUPERVISOR,
        purpose="supervision",
        what="dossier",
        relationship=RELATIONSHIP,
        chapter=chapter,
        keys=keys,
    )
    return Proposal(command, Author(uuid4()))


def partners_key(keyring: Keyring, clinic: UUID) -> UUID:
    """The key of what the partner gave."""
    return keyring.key_for(clinic, str(person_stream(PARTNER)), str(PARTNER))[0]


def commits(log: ClinicLog, keyring: Keyring) -> Iterator[Receipt]:
    """Writes the story, a commit at a time; the receipt of the last command in each."""
    yield _last(log, tell("registered"), tell("partner"))
    yield _last(log, tell("opened"))
    key_id = partners_key(keyring, log.clinic)
    yield _last(log, tell("held"), tell("read"), tell("erased", key_id))
    keyring.destroy(log.clinic, key_id)


def _last(log: ClinicLog, *proposals: Proposal) -> Receipt:
    verdict = log.append(proposals)[-1]
    assert isinstance(verdict, Receipt)
    return verdict
