"""Forms on the pages: the same commands, the same rules and the same doors as the API's."""

import re
from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest

from api.doors import SESSION_COOKIE
from domain.access import BreakGlass, Role
from domain.note import notes_of
from domain.relationship import relationship_stream
from domain.risk import risks_unreviewed
from domain.rupture import ruptures_of
from domain.supervision import actions_of, supervision_stream
from tests.api.conftest import House, Response, Somebody
from tests.api.happenings import STIRRED, Happened, happened

OWN = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


@pytest.fixture
def made(house: House) -> Happened:
    return happened(house)


def looked_at(house: House, who: Somebody, page: str = "") -> str:
    """A page of the relationship, as a browser gets it."""
    answer = house.practice.client.get(
        f"/relationships/{house.relationship}{page}",
        headers={"Cookie": f"{SESSION_COOKIE}={who.token}", "Accept": "text/html"},
    )
    assert answer.status_code == 200, answer.text
    text: str = answer.text
    return text


def sent(
    house: House, who: Somebody, name: str, fields: Mapping[str, object], **headers: str
) -> Response:
    """The form handed in by somebody's browser."""
    return house.practice.client.post(
        f"/relationships/{house.relationship}/{name}",
        data={key: str(value) for key, value in fields.items()},
        headers={"Cookie": f"{SESSION_COOKIE}={who.token}", **OWN, **headers},
        follow_redirects=False,
    )


def form(text: str, name: str) -> dict[str, str]:
    """The hidden fields of the first form of that name on a page."""
    found = re.search(rf'<form class="act"[^>]*/{name}">(.*?)</form>', text, re.DOTALL)
    assert found, f"the page has no form {name}"
    inputs = re.findall(
        r"""<input type="hidden" name="([^"]+)" value=(?:"([^"]*)"|'([^']*)')""", found[1]
    )
    return {field: one or other for field, one, other in inputs}


def test_a_note_is_signed_on_its_page(house: House, made: Happened) -> None:
    """Rule 1: the form names the commitment of the entry beside which it stands; the page then
    tells name, time and meaning."""
    page = looked_at(house, house.therapist, "/notes")
    assert "not signed" in page
    fields = form(page, "sign-note") | {"meaning": "authorship"}
    assert sent(house, house.therapist, "sign-note", fields).status_code == 303
    stream = relationship_stream(house.relationship)
    note = notes_of(house.practice.clinic.log.history(stream))[made.note]
    assert note.body.is_signed
    page = looked_at(house, house.therapist, "/notes")
    assert "Signed by Dr. Jan Muster, authorship," in page
    assert "/sign-note" not in page


def test_a_moved_commitment_signs_nothing(house: House, made: Happened) -> None:
    """Rule 1: another commitment is refused in a sentence, on a page."""
    fields = form(looked_at(house, house.therapist, "/notes"), "sign-note")
    answer = sent(house, house.therapist, "sign-note", fields | {"commitment": "0" * 64})
    assert answer.status_code == 409
    assert "commitment" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_a_form_that_is_sent_twice_counts_once(house: House, made: Happened) -> None:
    """Rule 8: the form carries the id of its command."""
    fields = form(looked_at(house, house.therapist), "review-risk")
    fields |= {"finding": "Thoughts without intent.", "action": "Crisis plan."}
    for _ in range(2):
        assert sent(house, house.therapist, "review-risk", fields).status_code == 303
    stream = relationship_stream(house.relationship)
    told = house.practice.clinic.log.history(stream)
    assert risks_unreviewed(told) == ()
    assert sum(entry.topic == "risk.reviewed" for entry in told) == 1
    assert "not reviewed" not in looked_at(house, house.therapist)


def test_what_is_left_out_is_said(house: House, made: Happened) -> None:
    """Rule 35: a review says what was found and done; the page names what is missing."""
    fields = form(looked_at(house, house.therapist), "review-risk")
    answer = sent(house, house.therapist, "review-risk", fields | {"finding": " "})
    assert answer.status_code == 422
    assert "finding" in answer.text
    assert "action" in answer.text


def test_client_and_therapist_each_say_how_they_see_it(house: House, made: Happened) -> None:
    """Rule 39: whoever is signed in speaks for themself; one view does not change the other."""
    fields = form(looked_at(house, house.therapist), "resolve-rupture")
    fields |= {"basis": "It could be named."}
    assert sent(house, house.therapist, "resolve-rupture", fields).status_code == 303
    stream = relationship_stream(house.relationship)
    rupture = ruptures_of(house.practice.clinic.log.history(stream))[made.rupture]
    assert rupture.is_resolved_for(house.therapist.person)
    assert not rupture.is_resolved_for(house.client.person)
    assert rupture.is_open
    page = looked_at(house, house.client)
    fields = form(page, "leave-rupture-open") | {"reason": "It is not gone."}
    assert sent(house, house.client, "leave-rupture-open", fields).status_code == 303
    assert "left as it is" in looked_at(house, house.therapist)


def test_an_action_is_reviewed_where_it_stands(house: House, made: Happened) -> None:
    """Rule 40: owner, day, and what became of it, beside what the next rating showed."""
    page = looked_at(house, house.supervisor, "/supervision")
    assert "Ask how the last session was." in page
    fields = form(page, "review-supervision-action") | {"outcome": "done", "remark": "", "due": ""}
    assert sent(house, house.supervisor, "review-supervision-action", fields).status_code == 303
    stream = supervision_stream(house.relationship)
    (action,) = actions_of(house.practice.clinic.log.history(stream)).values()
    assert not action.is_open


def test_an_emergency_access_is_reviewed_by_the_officer(house: House) -> None:
    """Rule 41: who opened a record in an emergency is told on its page, and looked into."""
    opened = BreakGlass(relationship=house.relationship, reason="A call at night.")
    house.practice.recorded(house.other_therapist, opened)
    assert "A call at night." in looked_at(house, house.client, "/readers")
    assert "/review-access" not in looked_at(house, house.client, "/readers")
    fields = form(looked_at(house, house.officer, "/readers"), "review-access")
    fields |= {"finding": "justified", "note": "On call that night."}
    assert sent(house, house.officer, "review-access", fields).status_code == 303
    assert "justified" in looked_at(house, house.officer, "/readers")


def test_no_other_site_hands_anything_in(house: House, made: Happened) -> None:
    """Requirement: forms are taken from this site's own pages only."""
    fields = form(looked_at(house, house.therapist), "review-risk")
    fields |= {"finding": "Nothing.", "action": "Nothing."}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        answer = sent(house, house.therapist, "review-risk", fields, **headers)
        assert answer.status_code == 403
    stream = relationship_stream(house.relationship)
    assert len(risks_unreviewed(house.practice.clinic.log.history(stream))) == 1


@pytest.mark.parametrize("role", [Role.CLIENT, Role.COMPLIANCE_OFFICER, Role.ADMINISTRATOR])
def test_forms_ask_the_same_table_as_the_api(house: House, made: Happened, role: Role) -> None:
    """Access: a form that a role is not shown does not take its command either."""
    who = house.everybody[role]
    fields = {"rating": made.rating, "item": 9, "finding": "Nothing.", "action": "Nothing."}
    assert sent(house, who, "review-risk", fields).status_code == 403
    other = {"command_id": uuid4(), **fields}
    assert sent(house, house.other_therapist, "review-risk", other).status_code == 404


def test_a_page_of_the_past_has_no_forms(house: House, made: Happened) -> None:
    """Rule 5: what is shown as of a time is looked at, not acted on."""
    now = house.practice.later(minutes=1)
    shown = looked_at(house, house.therapist, f"?known_at={now:%Y-%m-%dT%H:%M:%S}")
    assert "not reviewed" in shown
    assert 'class="act"' not in shown


def test_nothing_of_supervision_is_client_facing(house: House, made: Happened) -> None:
    """Rule 40: no page of a client leads to supervision or holds a word of it."""
    for page in ("", "/notes", "/timeline", "/readers"):
        text = looked_at(house, house.client, page)
        assert STIRRED not in text
        assert "Ask how the last session was." not in text
        assert f"/relationships/{house.relationship}/supervision" not in text
    for page in ("/supervision", "/process-notes", "/methods"):
        answer = house.practice.client.get(
            f"/relationships/{house.relationship}{page}",
            headers={"Cookie": f"{SESSION_COOKIE}={house.client.token}", "Accept": "text/html"},
        )
        assert answer.status_code == 403
    assert STIRRED in looked_at(house, house.supervisor, "/supervision")


def test_possible_ruptures_stand_apart_and_are_for_who_works_with_them(
    house: House, made: Happened
) -> None:
    """Rules 37, 44: beside what people marked, called possible; not on a client's page."""
    text = looked_at(house, house.therapist)
    assert 'id="possible"' in text
    derived = text.partition('<div class="derived">')[2].partition("</section>")[0]
    said = re.sub(r"<[^>]+>", " ", derived).lower()
    # The reviewed claim speaks of ruptures in general; what a method says does not.
    said = said.partition("rules 37 and 44 of this record.")[2]
    assert re.findall(r"(?<!possible )ruptures?", said) == []
    assert 'id="possible"' not in looked_at(house, house.client)


def test_an_id_that_is_none_hands_in_nothing(house: House, made: Happened) -> None:
    """Requirement: whatever a form is made to say, the answer is a page that says what is wrong."""
    for fields in (
        {"possible": "{", "reason": "x"},
        {"possible": "[]", "reason": "x"},
        {"reason": "x", "relationship": str(UUID(int=0))},
    ):
        answer = sent(house, house.therapist, "dismiss-possible-rupture", fields)
        assert answer.status_code == 422
        assert "possible" in answer.text


def test_what_waits_beside_stands_in_the_caseload_of_whom_it_is_for(
    house: House, made: Happened
) -> None:
    """Rules 40, 41: an overdue action for therapist and supervisor, an emergency access for the
    officer; neither for the client."""
    practice = house.practice
    opened = BreakGlass(relationship=house.relationship, reason="A call at night.")
    practice.recorded(house.other_therapist, opened)
    practice.later(days=9)
    practice.worker.catch_up()
    shown = {
        role: practice.client.get(
            "/", headers={"Cookie": f"{SESSION_COOKIE}={who.token}", "Accept": "text/html"}
        ).text
        for role, who in house.everybody.items()
        if role is not Role.ADMINISTRATOR
    }
    overdue = {role for role, text in shown.items() if "supervision action overdue" in text}
    waiting = {role for role, text in shown.items() if "emergency access to be reviewed" in text}
    assert overdue == {Role.THERAPIST, Role.SUPERVISOR}
    assert waiting == {Role.COMPLIANCE_OFFICER}
    (item,) = practice.shown(house.supervisor, "/relationships")["items"]
    assert "action_overdue" in {finding["what"] for finding in item["findings"]}
