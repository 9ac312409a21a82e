"""Attacks on the rules, one by one, through the doors: who knows the rules tries to get round them.

What each answers is a code that names the rule; nothing is recorded of what was refused.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.access import Role
from domain.clinic import Scope
from domain.person import Activity, Profession, RegisterPractitioner
from domain.withdrawal import WithdrawConsent
from tests.api.conftest import SHA256, House, Somebody

LATE = {"late_reason": "Found when filing."}


def hand_in(house: House, who: Somebody, name: str, /, **body: Any) -> tuple[int, str]:
    """What a body in plain JSON is answered with: the status and the code."""
    practice = house.practice
    before = practice.clinic.log.head_size()
    sent = {"relationship": str(house.relationship), **body}
    sent = {key: value for key, value in sent.items() if value is not None}
    answer = practice.client.post(f"/api/v1/commands/{name}", json=sent, headers=dict(who.headers))
    if answer.status_code != 201:
        told = [entry.topic for entry in practice.clinic.log.read_log(before, 100)]
        assert set(told) <= {"access.denied"}, "what is refused leaves nothing but the denial"
    return answer.status_code, answer.json().get("code", "")


def ago(house: House, **by: float) -> str:
    return (house.practice.clinic.clock.now - timedelta(**by)).isoformat()


def hour(house: House, minutes: int = 50, **changes: Any) -> dict[str, Any]:
    """A session that ended just now."""
    return {
        "session": str(uuid4()),
        "present": [str(house.client.person), str(house.therapist.person)],
        "started_at": ago(house, minutes=minutes),
        "ended_at": ago(house, minutes=0),
        **changes,
    }


def rating(house: House, **changes: Any) -> dict[str, Any]:
    return {
        "instrument": "SRS-3",
        "perspective": "client",
        "rater": str(house.client.person),
        "session": str(house.session),
        "answers": ["8", "8", "8", "8"],
        **changes,
    }


def test_an_hour_is_held_by_whom_and_with_whom_it_may_be(house: House) -> None:
    """Rules 3, 4, 11, 13, 14, 15 and 16: no coach, no hour twice, ahead, from afar, before."""
    therapist, practice = house.therapist, house.practice
    coach = practice.somebody(Role.THERAPIST)
    practice.recorded(
        house.administrator,
        RegisterPractitioner(
            practitioner=coach.person,
            full_name="Jo Coach",
            profession=Profession.COACH,
            scope=(Activity.COACHING,),
            valid_from=practice.clinic.clock.now.date(),
        ),
    )
    opened = {
        "clients": [str(house.client.person)],
        "therapists": [str(coach.person)],
        "modality": "coaching",
        "setting": "outpatient",
        "relationship": str(uuid4()),
    }
    joined = {"person": str(coach.person), "part": "therapist", "reason": "Helps."}
    expected = (409, "out-of-scope")
    assert hand_in(house, coach, "open-relationship", **opened) == expected
    assert hand_in(house, therapist, "join-relationship", **joined)[0] in (409, 422)
    over = hour(house, minutes=30)
    assert hand_in(house, therapist, "hold-session", **over) == (201, "")
    held = {"session": over["session"]}
    who = {"who": str(house.client.person), "why": "Ill."}
    attempts: Mapping[str, tuple[str, dict[str, Any]]] = {
        "sessions-overlap": ("hold-session", hour(house, minutes=10)),
        "occurs-in-the-future": ("hold-session", hour(house, ended_at=ago(house, hours=-1))),
        "location-unconfirmed": ("hold-session", hour(house, medium="video")),
        "nobody-to-meet": (
            "hold-session",
            hour(house, present=[str(house.therapist.person)]),
        ),
        "session-settled": ("miss-session", {**held, **who}),
        "relationship-not-yet-open": (
            "hold-session",
            hour(house, started_at=ago(house, days=9), ended_at=ago(house, days=8, hours=23))
            | LATE,
        ),
        "late-reason-missing": (
            "hold-session",
            hour(house, started_at=ago(house, days=9), ended_at=ago(house, days=8, hours=23)),
        ),
    }
    for code, (name, body) in attempts.items():
        assert hand_in(house, therapist, name, **body)[1] == code


def test_no_hour_is_held_after_a_withdrawal_and_no_consent_dated_before_it(house: House) -> None:
    """Rules 12 and 20: neither without consent, nor in an emergency that is reviewed one day, nor
    by a consent that is said to have been given the day before."""
    therapist, practice = house.therapist, house.practice
    consent = house.consents[Scope.TREATMENT]
    practice.recorded(
        house.client, WithdrawConsent(relationship=house.relationship, consent=consent)
    )
    practice.later(hours=2)
    after = hour(house)
    assert hand_in(house, therapist, "hold-session", **after) == (409, "consent-missing")
    far_off = {"reason": "A crisis.", "review_by": "2199-01-01"}
    assert hand_in(house, therapist, "hold-session", **after, emergency=far_off)[0] == 422
    again = {
        "scope": "treatment",
        "party": str(house.client.person),
        "document": str(practice.document),
        "version": 1,
        "sha256": SHA256,
        "signer": str(house.client.person),
    }
    before = {"occurred_at": ago(house, hours=3)}
    assert hand_in(house, house.client, "give-consent", **again, **before) == (
        409,
        "withdrawn-since",
    )


def test_consent_is_given_by_whom_it_is_theirs_and_after_information(house: House) -> None:
    """Rules 17, 18, 19, 20: another wording, no information, somebody else's word, a day before."""
    party, therapist = str(house.client.person), str(house.therapist.person)
    given = {
        "scope": "recording",
        "party": party,
        "document": str(house.practice.document),
        "version": 1,
        "sha256": SHA256,
        "signer": party,
    }
    represented = {"capacity": "legal_representative", "capacity_basis": "A court."}
    second = {
        "document": str(house.practice.document),
        "version": 2,
        "title": "What we agree on",
        "scopes": ["recording"],
        "sha256": SHA256,
        "language": "en",
        "relationship": None,
    }
    assert hand_in(house, house.administrator, "publish-consent-document", **second)[0] == 201
    consent = str(house.consents[Scope.OUTCOME_MEASURES])
    attempts: list[tuple[Somebody, str, dict[str, Any], str]] = [
        (house.client, "give-consent", given | {"sha256": "0" * 64}, "document-differs"),
        (house.client, "give-consent", given | {"version": 3}, "document-unknown"),
        (house.client, "give-consent", given | {"version": 2}, "not-informed"),
        (
            house.therapist,
            "give-consent",
            given | represented | {"signer": therapist},
            "therapist-cannot-consent",
        ),
        (house.client, "give-consent", given | {"signer": therapist}, "not-in-their-place"),
        (
            house.client,
            "give-consent",
            given | {"valid_from": ago(house, days=9)},
            "consent-period-unsound",
        ),
        (
            house.client,
            "withdraw-consent",
            {"consent": consent, "occurred_at": ago(house, hours=1)},
            "withdrawal-backdated",
        ),
        (house.other_client, "withdraw-consent", {"consent": consent}, "out-of-reach"),
    ]
    for who, name, body, code in attempts:
        status, told = hand_in(house, who, name, **body)
        assert status != 201, (name, body)
        assert told == code, (name, told)


def test_answers_are_the_raters_of_that_hour_and_of_that_instrument(house: House) -> None:
    """Rules 28, 29, 30, 33, 34: missed, absent, twice by an alias, elsewhere, blank, unlicensed."""
    therapist, client = house.therapist, house.client
    missed = str(uuid4())
    planned = {"starts_at": ago(house, minutes=90), "ends_at": ago(house, minutes=40)}
    assert hand_in(house, therapist, "schedule-session", session=missed, **planned)[0] == 201
    who = {"who": str(client.person), "why": "Ill."}
    assert hand_in(house, therapist, "miss-session", session=missed, **who)[0] == 201
    stranger = str(house.other_client.person)
    attempts: Mapping[str, tuple[Somebody, str, dict[str, Any]]] = {
        "session-not-held": (client, "rate-alliance", rating(house, session=missed)),
        "rated-already": (client, "rate-alliance", rating(house, instrument="SRS")),
        "not-their-perspective": (
            therapist,
            "rate-alliance",
            rating(house, rater=stranger),
        ),
        "not-in-their-place": (
            client,
            "rate-alliance",
            rating(house, rater=str(therapist.person), perspective="therapist"),
        ),
        "instrument-measures-else": (client, "rate-outcome", rating(house)),
        "licence-not-attested": (
            client,
            "rate-alliance",
            rating(house, instrument="WAI-SR", answers=["3"] * 12),
        ),
        "unknown-instrument": (client, "rate-alliance", rating(house, instrument="ABC-9")),
        "nothing-answered": (
            client,
            "rate-alliance",
            rating(house, session=None, answers=[None] * 4),
        ),
        "rating-exists": (
            client,
            "rate-alliance",
            rating(house, session=None, rating=str(house.rating)),
        ),
        "not-a-follow-up": (client, "rate-alliance", rating(house, session=None, follow_up=True)),
    }
    for code, (rater, name, body) in attempts.items():
        assert hand_in(house, rater, name, **body)[1] == code
    for answers in (["8"] * 3, ["8"] * 5, ["8", "8", "8", "10.1"], ["8", "8", "8", "NaN"]):
        body = rating(house, session=None, answers=answers)
        assert hand_in(house, client, "rate-alliance", **body)[0] == 422


def test_nothing_pretends_to_be_imported_or_to_rely_on_what_it_does_not(house: House) -> None:
    """Rules 1, 24 and 45: where an entry comes from, and what it rests on, nobody hands in."""
    pretended: list[dict[str, Any]] = [
        {"source": "import"},
        {"import_id": str(uuid4())},
        {"relies_on": []},
        {"reported": ["consent-missing"]},
        {"recorded_at": ago(house, days=9)},
    ]
    for more in pretended:
        status, _ = hand_in(house, house.therapist, "hold-session", **hour(house), **more)
        assert status == 422, more


@pytest.mark.parametrize(
    "category", ["access", "role", "hold", "disclosure", "erasure", "schedule", "process"]
)
def test_no_trail_is_mended(house: House, category: str) -> None:
    """Rules 1 and 41: who read, may do, held, received and erased what is nobody's to correct."""
    about = {"stream": f"{category}-{house.relationship}", "entry": 1, "reason": "No."}
    for who in (house.therapist, house.supervisor, house.administrator, house.officer):
        status, _ = hand_in(house, who, "mark-entered-in-error", relationship=None, **about)
        assert status in (403, 404, 409)
