"""The three walks of docs/ARCHITECTURE.md: from the door to the log, to the view, and back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from api.worker import Worker
from domain.access import RecordRead, Role, access_stream
from domain.alliance import AllianceRated
from domain.clinic import Scope
from domain.consent import ConsentGiven
from domain.relationship import relationship_stream
from domain.session import SessionHeld
from domain.withdrawal import WithdrawConsent
from infra.canonical import time_text
from infra.clinics import pinned
from infra.merkle import Frontier, leaf_hash
from tests.api.conftest import SECRET, House


@contextmanager
def at_work(worker: Worker) -> Iterator[None]:
    """A worker that is told of new entries, as `rapport work` is."""
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def where(house: House) -> str:
    return f"/relationships/{house.relationship}"


def test_a_rating_is_recorded_and_its_point_is_shown(house: House, where: str) -> None:
    """Walk 1: the body is the command, the receipt says where it stands, and a reader who asks
    for that position sees the point that the worker has folded meanwhile."""
    practice, client = house.practice, house.client
    practice.later(minutes=5)
    between = house.rated(client).model_copy(update={"rating": house.goal, "session": None})
    with at_work(practice.worker):
        receipt = practice.recorded(client, between)
        (entry,) = receipt["entries"]
        course = practice.shown(house.therapist, f"{where}/alliance", after=entry["position"])
    assert course["position"] >= entry["position"]
    (point,) = (row for row in course["items"] if row["version"] == entry["version"])
    assert point["items"]["value"] == [85, 91, 70, 80]
    assert point["scales"]["value"]["total"]["text"] == "32.6"
    assert point["own_submission"]["value"]
    assert point["scales"]["entry"]["position"] == entry["position"]
    assert _stands_under(receipt, house)


def _stands_under(receipt: dict[str, Any], house: House) -> bool:
    """Whether the stored leaves up to the receipt's size have its root, and its entry's leaf."""
    clinic, (entry,) = house.practice.clinic, receipt["entries"]
    with psycopg.connect(pinned(clinic.database.dsn("read"), clinic.id)) as connection:
        rows = connection.execute("SELECT leaf_input FROM rapport.entries ORDER BY position")
        leaves = [leaf_hash(row[0]) for row in rows.fetchall()[: receipt["tree_size"]]]
    assert leaves[entry["position"] - 1].hex() == entry["leaf_hash"]
    return Frontier().append(leaves).root().hex() == str(receipt["root"])


def test_a_compliance_officer_replays_a_day_and_proves_the_log(house: House, where: str) -> None:
    """Walk 2: who replays is noted first, with the day that was asked for; structure is shown and
    content is not; each value names its entry; and the bytes behind it are proven."""
    practice, officer = house.practice, house.officer
    then = practice.later(minutes=1)
    practice.later(days=1)
    withdrawal = WithdrawConsent(
        relationship=house.relationship, consent=house.consents[Scope.TREATMENT]
    )
    practice.recorded(house.client, withdrawal)
    told = practice.shown(officer, where, known_at=time_text(then))
    assert SECRET not in str(told)
    history = practice.clinic.log.history(relationship_stream(house.relationship))
    treatment = _row(told["consents"], _version_of(house, Scope.TREATMENT))
    assert treatment["scope"]["withheld"]
    assert treatment["withdrawn_at"] is None
    (rating,) = told["ratings"]
    assert (rating["items"]["withheld"], rating["items"]["value"]) == (True, None)
    rated = history.entry(rating["rated_at"]["entry"]["version"])
    assert rated is not None
    assert isinstance(rated.event, AllianceRated)
    noted = practice.clinic.log.history(access_stream(house.relationship))[-1].event
    assert isinstance(noted, RecordRead)
    assert (noted.reader, noted.role) == (officer.person, Role.COMPLIANCE_OFFICER)
    assert noted.known_at == then
    verified = practice.clinic.check_record()
    status = practice.shown(officer, "/log")
    assert status["size"] == verified.size + 1, "the reading of the status is an entry too"
    assert status["acknowledged"]["size"] == status["size"]
    assert practice.clinic.check_record().root == status["root"]


def _version_of(house: House, scope: Scope) -> int:
    """The version of the entry by which the client consented."""
    history = house.practice.clinic.log.history(relationship_stream(house.relationship))
    (version,) = (
        entry.version
        for entry, given in history.of(ConsentGiven)
        if given.consent == house.consents[scope]
    )
    return version


def _row(rows: list[dict[str, Any]], version: int) -> dict[str, Any]:
    (row,) = (row for row in rows if row["version"] == version)
    return row


def test_a_withdrawn_consent_ends_what_rests_on_it_and_not_what_did(
    house: House, where: str
) -> None:
    """Walk 3, rules 12, 20 and 24: one step, no reason; the next session is refused, the one
    before still cites the consent it relied on, and the register shows both."""
    practice, therapist = house.practice, house.therapist
    withdrawal = WithdrawConsent(
        relationship=house.relationship, consent=house.consents[Scope.TREATMENT]
    )
    receipt = practice.recorded(house.client, withdrawal)
    practice.later(hours=2)
    refused = practice.send(therapist, house.held())
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["code"], problem["rule"]) == ("consent-missing", 12)
    assert problem["ids"] == {"scope": "treatment", "party": str(house.client.person)}

    history = practice.clinic.log.history(relationship_stream(house.relationship))
    ((_, held),) = history.of(SessionHeld)
    (reliance,) = held.relies_on
    assert reliance.consent == house.consents[Scope.TREATMENT]

    practice.worker.catch_up()
    (position,) = (entry["position"] for entry in receipt["entries"])
    register = practice.shown(house.client, f"{where}/consents", after=position)
    ended = _row(register["items"], reliance.entry)
    assert ended["withdrawn_at"]["entry"]["position"] == position
    lasting = _row(register["items"], _version_of(house, Scope.OUTCOME_MEASURES))
    assert lasting["withdrawn_at"] is None
