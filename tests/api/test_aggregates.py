"""Base rates at the doors: for whom they are, and nothing of anybody in them."""

from domain.access import RecordRead, Role, access_stream
from tests.api.conftest import House


def test_base_rates_are_for_who_answers_for_the_clinic(house: House) -> None:
    """Rule 42: supervisors, officers and administrators; of two clients nothing is told, and that
    somebody looked is an entry."""
    practice = house.practice
    practice.later(days=100)
    practice.worker.catch_up()
    for role, who in house.everybody.items():
        allowed = role in (Role.SUPERVISOR, Role.COMPLIANCE_OFFICER, Role.ADMINISTRATOR)
        answer = practice.get(who, "/aggregates")
        assert answer.status_code == (200 if allowed else 403), role
        if allowed:
            tables = answer.json()["tables"]
            assert tables
            assert {table["total"] for table in tables} == {None}
            assert {one["clients"] for table in tables for one in table["counts"]} == {None}
            assert str(house.therapist.person) not in answer.text
            assert str(house.client.person) not in answer.text
    reads = practice.clinic.log.history(access_stream(practice.clinic.id)).of(RecordRead)
    assert [read.what for _, read in reads].count("aggregates") == 3


def test_base_rates_stand_still_until_the_quarter_ends(house: House) -> None:
    """Rule 42: what is recorded within a quarter moves no figure of it."""
    practice = house.practice
    practice.later(days=100)
    practice.worker.catch_up()
    first = practice.shown(house.officer, "/aggregates")
    practice.recorded(house.therapist, house.held())
    practice.worker.catch_up()
    assert practice.shown(house.officer, "/aggregates") == first
