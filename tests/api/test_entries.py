"""Entries word for word: within reach, as of two times, with their signatures; streams apart."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.access import RecordRead, Role, access_stream
from domain.relationship import relationship_stream
from tests.api.conftest import SECRET, House, Practice, Response, Somebody

Page = dict[str, Any]


def send(practice: Practice, who: Somebody, name: str, **body: Any) -> Response:
    """A command by its name, in plain JSON."""
    return practice.client.post(f"/api/v1/commands/{name}", json=body, headers=who.headers)


def tell(house: House, who: Somebody, name: str, **body: Any) -> Page:
    """The receipt of a command about the first relationship that is accepted."""
    body = {"relationship": str(house.relationship), **body}
    answer = send(house.practice, who, name, **body)
    assert answer.status_code == 201, answer.text
    receipt: Page = answer.json()
    return receipt


def read(house: House, who: Somebody, what: str = "entries", **asked: Any) -> Page:
    shown: Page = house.practice.shown(who, f"/relationships/{house.relationship}/{what}", **asked)
    return shown


def contents(page: Page) -> list[Any]:
    return [entry["content"] for entry in page["items"]]


def only(page: Page, topic: str) -> Page:
    (found,) = (entry for entry in page["items"] if entry["topic"] == topic)
    return dict(found)


def correct(house: House, modality: str) -> Page:
    """The opening reads otherwise from now on."""
    entry = only(read(house, house.therapist), "relationship.opened")
    answer = send(
        house.practice,
        house.therapist,
        "correct-entry",
        stream=str(relationship_stream(house.relationship)),
        entry=entry["version"],
        reason="Typed wrongly.",
        content={**entry["content"], "modality": modality},
    )
    assert answer.status_code == 201, answer.text
    receipt: Page = answer.json()
    return receipt


# --- The relationship's own entries ----------------------------------------------------------


def test_entries_are_told_word_for_word(house: House) -> None:
    """R32: each entry with its envelope, its content and the commitment that signatures name."""
    page = read(house, house.therapist, limit=500)
    history = house.practice.clinic.log.history(relationship_stream(house.relationship))
    assert [entry["version"] for entry in page["items"]] == [entry.version for entry in history]
    for shown, entry in zip(page["items"], history, strict=True):
        assert (shown["topic"], shown["position"]) == (entry.topic, entry.position)
        assert shown["commitment"] == entry.commitment
        assert len(bytes.fromhex(entry.commitment)) == 32
    assert only(page, "goal.proposed")["content"]["statement"] == SECRET


def test_structure_is_shown_without_content(house: House) -> None:
    """Rule 41: a compliance officer sees that, when and by whom; the words are withheld."""
    page = read(house, house.officer, limit=500)
    assert page["items"]
    assert set(map(str, contents(page))) == {"None"}
    assert all(entry["withheld"] and not entry["erased"] for entry in page["items"])
    answer = house.practice.get(house.officer, f"/relationships/{house.relationship}/entries")
    assert SECRET not in answer.text


def test_a_correction_is_read_in_place_or_as_it_was(house: House) -> None:
    """Rules 1, 5: standing, an entry reads as corrected; as recorded, both stand."""
    before = house.practice.clinic.clock.now
    house.practice.later(minutes=1)
    receipt = correct(house, "schema therapy")
    opened, was = "relationship.opened", "cognitive-behavioural"
    standing = only(read(house, house.client), opened)
    assert standing["content"]["modality"] == "schema therapy"
    assert standing["amended_at"] == receipt["entries"][0]["position"]
    recorded = read(house, house.client, standing=False, limit=500)
    assert only(recorded, opened)["content"]["modality"] == was
    assert recorded["items"][-1]["topic"] == "entry.corrected"
    then = read(house, house.client, known_at=before.isoformat())
    assert only(then, opened)["content"]["modality"] == was
    assert then["known_at"] is not None


def test_a_family_of_entries_alone(house: House) -> None:
    """R32: by the first word of its topics, or by one topic; what is no word is refused."""
    families = {entry["topic"].partition(".")[0] for entry in read(house, house.client)["items"]}
    for family in families:
        found = read(house, house.client, family=family)["items"]
        assert found
        assert all(entry["topic"].startswith(f"{family}.") for entry in found)
    assert len(read(house, house.client, family="goal.proposed")["items"]) == 1
    assert read(house, house.client, family="nothing")["items"] == []
    path = f"/relationships/{house.relationship}/entries"
    assert house.practice.get(house.client, path, family="goal%").status_code == 422


def test_pages_of_entries_are_the_whole(house: House) -> None:
    """R32: page after page nothing is lost, as of any time."""
    whole = read(house, house.client, limit=500)["items"]
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = read(house, house.client, limit=3, **cursor)
        found += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == whole


def test_every_such_reading_is_an_entry(house: House) -> None:
    """Rule 41: which door, and as of which times, before anything is shown."""
    asked = [
        (house.therapist, "entries"),
        (house.client, "ruptures"),
        (house.therapist, "analyses"),
        (house.therapist, "process-notes"),
        (house.supervisor, "supervision"),
        (house.officer, "holds"),
    ]
    for who, what in asked:
        read(house, who, what, known_at=house.practice.clinic.clock.now.isoformat())
    history = house.practice.clinic.log.history(access_stream(house.relationship))
    reads = [read for _, read in history.of(RecordRead)]
    assert [(read.reader, read.what) for read in reads] == [
        (who.person, what) for who, what in asked
    ]
    assert all(read.known_at is not None for read in reads)


# --- A couple --------------------------------------------------------------------------------


def couple(house: House) -> tuple[UUID, Somebody]:
    """A couple of the first client and a partner, both informed."""
    practice, relationship = house.practice, uuid4()
    partner = practice.somebody(Role.CLIENT)
    office, therapist = house.administrator, house.therapist
    send(practice, office, "register-person", person=str(partner.person), full_name="Jo Muster")
    opened = send(
        practice,
        therapist,
        "open-relationship",
        relationship=str(relationship),
        clients=[str(house.client.person), str(partner.person)],
        therapists=[str(therapist.person)],
        constellation="couple",
        modality="systemic",
        setting="outpatient",
    )
    assert opened.status_code == 201, opened.text
    for person in (house.client, partner):
        informed = send(
            practice,
            therapist,
            "give-information",
            relationship=str(relationship),
            document=str(practice.document),
            version=1,
            sha256="5e" * 32,
            to=str(person.person),
            by=str(therapist.person),
        )
        assert informed.status_code == 201, informed.text
    return relationship, partner


def test_one_partners_words_are_not_the_others_to_read(house: House) -> None:
    """R11, rule 41: what is a partner's own is withheld, also in what corrects it; joint is not."""
    practice = house.practice
    relationship, partner = couple(house)
    for person in (house.client, partner):
        told = send(
            practice,
            person,
            "decline-consent",
            relationship=str(relationship),
            scope="recording",
            party=str(person.person),
            document=str(practice.document),
            version=1,
        )
        assert told.status_code == 201, told.text
    path = f"/relationships/{relationship}/entries"
    for reader in (house.client, partner):
        for standing in (True, False):
            items = practice.shown(reader, path, standing=standing)["items"]
            declined = [entry for entry in items if entry["topic"] == "consent.declined"]
            assert [entry["withheld"] for entry in declined] == [
                reader is not house.client,
                reader is house.client,
            ]
            (shown,) = (entry["content"] for entry in declined if entry["content"])
            assert shown["party"] == str(reader.person)
            assert next(e for e in items if e["topic"] == "relationship.opened")["content"]


# --- Notes and their signatures --------------------------------------------------------------


def note(house: House, words: str = "A calm hour.") -> tuple[str, Page]:
    """A note by the therapist, and its entry."""
    id_ = str(uuid4())
    tell(
        house,
        house.therapist,
        "write-note",
        note=id_,
        kind="contact",
        sections=[{"text": words}],
        author=str(house.therapist.person),
    )
    entry = read(house, house.therapist, family="note.written", limit=500)["items"][-1]
    return id_, entry


def test_a_signature_is_shown_with_name_time_meaning_and_whether_it_fits(house: House) -> None:
    """R20: wherever a signature is shown, these stand beside it."""
    id_, entry = note(house)
    signed = {"note": id_, "commitment": entry["commitment"]}
    tell(house, house.therapist, "sign-note", **signed)
    tell(house, house.supervisor, "cosign-note", **signed, meaning="review")
    for who in (house.therapist, house.client, house.supervisor):
        signatures = [each["signature"] for each in read(house, who, family="note")["items"]]
        assert signatures[0] is None
        assert [
            (each["name"], each["meaning"], each["entry"], each["fits"]) for each in signatures[1:]
        ] == [
            ("Dr. Jan Muster", "authorship", entry["version"], True),
            ("Dr. Jan Muster", "review", entry["version"], True),
        ]
        assert all(each["at"] for each in signatures[1:])


def test_a_note_is_read_whole(house: House) -> None:
    """R20, rule 1: with its addenda and signatures; struck, it stays with what was signed."""
    id_, entry = note(house)
    addendum = {"note": id_, "text": "It rained.", "author": str(house.therapist.person)}
    tell(house, house.therapist, "add-to-note", **addendum)
    tell(house, house.therapist, "sign-note", note=id_, commitment=entry["commitment"])
    (shown,) = read(house, house.client, "notes")["items"]
    assert (shown["body"]["signed"], shown["body"]["struck"]) == (True, False)
    (signature,) = shown["body"]["signatures"]
    assert signature["signature"]["fits"]
    (added,) = shown["addenda"]
    assert (added["written"]["content"]["text"], added["signed"]) == ("It rained.", False)
    error = {"stream": str(relationship_stream(house.relationship)), "entry": entry["version"]}
    struck = send(
        house.practice, house.therapist, "mark-entered-in-error", **error, reason="Of another."
    )
    assert struck.status_code == 201, struck.text
    (shown,) = read(house, house.client, "notes")["items"]
    assert shown["body"]["struck"]
    assert shown["body"]["signatures"][0]["signature"]["fits"]


def test_the_commitment_of_another_note_signs_nothing(house: House) -> None:
    """R18: over HTTP too, a signature holds for one entry, however alike another reads."""
    (first, _), (_, second) = note(house), note(house)
    answer = send(
        house.practice,
        house.therapist,
        "sign-note",
        relationship=str(house.relationship),
        note=first,
        commitment=second["commitment"],
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "signature-does-not-fit")


# --- Streams apart ---------------------------------------------------------------------------


def test_a_process_note_is_its_authors_alone(house: House) -> None:
    """R11: nobody else is shown it, nor that it is there, until its author shares it."""
    practice = house.practice
    words = "I was bored, and wonder why."
    id_ = str(uuid4())
    tell(house, house.therapist, "write-process-note", note=id_, text=words)
    assert contents(read(house, house.therapist, "process-notes"))[0]["text"] == words
    assert read(house, house.supervisor, "process-notes")["items"] == []
    path = f"/relationships/{house.relationship}/process-notes"
    for who in (house.client, house.officer, house.administrator):
        answer = practice.get(who, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-admitted")
    assert practice.get(house.other_therapist, path).status_code == 404
    for who in (house.client, house.officer, house.therapist, house.supervisor):
        told = practice.get(who, f"/relationships/{house.relationship}/entries", standing=False)
        assert words not in told.text
        assert id_ not in told.text
    tell(
        house,
        house.therapist,
        "share-process-note",
        note=id_,
        supervisor=str(house.supervisor.person),
    )
    assert contents(read(house, house.supervisor, "process-notes"))[0]["text"] == words
    struck = send(
        practice,
        house.therapist,
        "mark-entered-in-error",
        stream=f"process-{house.relationship}",
        entry=1,
        reason="Of somebody else.",
    )
    assert struck.status_code == 201, struck.text
    assert words not in practice.get(house.supervisor, path).text
    assert words in practice.get(house.therapist, path, standing=False).text


def test_supervision_is_for_therapist_and_supervisor(house: House) -> None:
    """Rule 40: no client sees it; countertransference is for its author and the supervisor."""
    words = "She reminds me of my sister."
    now = house.practice.clinic.clock.now
    held = {
        "supervision": str(uuid4()),
        "supervisor": str(house.supervisor.person),
        "supervisees": [str(house.therapist.person)],
        "started_at": (now - timedelta(minutes=50)).isoformat(),
        "ended_at": now.isoformat(),
    }
    tell(house, house.supervisor, "hold-supervision", **held)
    tell(house, house.therapist, "note-countertransference", text=words)
    for who in (house.therapist, house.supervisor):
        topics = [entry["topic"] for entry in read(house, who, "supervision")["items"]]
        assert topics == ["supervision.held", "supervision.countertransference_noted"]
    path = f"/relationships/{house.relationship}"
    for who in (house.client, house.officer, house.administrator):
        assert house.practice.get(who, f"{path}/supervision").status_code == 403
        for read_ in ("", "/entries", "/ruptures"):
            assert words not in house.practice.get(who, path + read_).text


def test_a_colleague_does_not_read_countertransference(house: House) -> None:
    """Rule 40: what the work stirs up in a therapist is not told to the co-therapist."""
    practice, relationship = house.practice, str(uuid4())
    opened = send(
        practice,
        house.therapist,
        "open-relationship",
        relationship=relationship,
        clients=[str(house.client.person)],
        therapists=[str(house.therapist.person), str(house.other_therapist.person)],
        constellation="co_therapy",
        modality="systemic",
        setting="outpatient",
    )
    assert opened.status_code == 201, opened.text
    words = {"relationship": relationship, "text": "Not for my colleague."}
    noted = send(practice, house.therapist, "note-countertransference", **words)
    assert noted.status_code == 201, noted.text
    path = f"/relationships/{relationship}/supervision"
    assert practice.shown(house.other_therapist, path)["items"] == []
    assert len(practice.shown(house.therapist, path)["items"]) == 1


def test_an_emergency_opens_neither_process_notes_nor_countertransference(house: House) -> None:
    """Rules 40, 41: whoever breaks the glass is shown what was recorded in care, and no more."""
    tell(house, house.therapist, "note-countertransference", text="Not for the night shift.")
    tell(house, house.therapist, "write-process-note", text="Not for the night shift.")
    for role in (Role.THERAPIST, Role.SUPERVISOR):
        on_call = house.practice.somebody(role, house.other_therapist.person)
        tell(house, on_call, "break-glass", reason="She called and is not safe.")
        assert read(house, on_call)["items"]
        assert read(house, on_call, "supervision")["items"] == []
        assert read(house, on_call, "process-notes")["items"] == []
        house.practice.later(hours=2)


def test_holds_are_read_by_those_who_place_them(house: House) -> None:
    """R25: whoever answers for a hold reads what it is for; those in the relationship do not."""
    tell(
        house,
        house.officer,
        "place-legal-hold",
        matter="Case 12/26",
        authority="District court",
    )
    (content,) = contents(read(house, house.officer, "holds"))
    assert content["matter"] == "Case 12/26"
    for who in (house.client, house.therapist, house.supervisor):
        answer = house.practice.get(who, f"/relationships/{house.relationship}/holds")
        assert answer.status_code == 403


# --- Ruptures and analyses -------------------------------------------------------------------

SRS_FALLS = (
    ("8.5", "9", "7.5", "8"),
    ("8", "9", "7", "8"),
    ("8.5", "9.3", "7", "8"),
    ("8.7", "9.5", "7", "8"),
    ("8.4", "9", "7", "8"),
    ("3", "3", "3", "3"),
)


@pytest.fixture
def course(house: House) -> House:
    """Six more sessions that the client rates: alike, and far lower after the last."""
    practice = house.practice
    for answers in SRS_FALLS:
        practice.later(days=7)
        session = uuid4()
        practice.recorded(house.therapist, house.held(session))
        rating = house.rated(house.client, session).model_copy(
            update={"rating": uuid4(), "answers": answers}
        )
        practice.recorded(house.client, rating)
    return house


def test_what_a_method_finds_is_possible_and_not_the_clients_to_be_told(course: House) -> None:
    """Rule 37: found with its method, parameters and inputs; what people mark stands apart."""
    tell(
        course,
        course.client,
        "mark-rupture",
        raised_by=str(course.client.person),
        perspective="client",
        method="named_in_session",
        kind="withdrawal",
    )
    seen = read(course, course.therapist, "ruptures")
    (rupture,) = seen["items"]
    assert rupture["open"]
    assert rupture["marked"]["content"]["raised_by"] == str(course.client.person)
    (possible,) = seen["possible"]
    history = course.practice.clinic.log.history(relationship_stream(course.relationship))
    for version in possible["possible"]["entries"]:
        cited = history.entry(version)
        assert cited is not None
        assert cited.topic == "alliance.rated"
    assert possible["card"]["parameters"]
    assert possible["dismissed"] == []
    told = read(course, course.client, "ruptures")
    assert (len(told["items"]), told["possible"]) == (1, None)


def test_a_possible_rupture_is_dismissed_by_what_the_reading_names(course: House) -> None:
    """Rule 37: the reading gives what the command takes; dismissed, it stays with its reason."""
    (found,) = read(course, course.therapist, "ruptures")["possible"]
    dismissal = {"by": str(course.therapist.person), "reason": "She had been ill all week."}
    tell(
        course,
        course.therapist,
        "dismiss-possible-rupture",
        possible=found["possible"],
        **dismissal,
    )
    (again,) = read(course, course.therapist, "ruptures")["possible"]
    (entry,) = again["dismissed"]
    assert entry["content"]["reason"] == dismissal["reason"]
    assert {**again, "dismissed": []} == found


def test_cards_hold_no_more_than_was_known(course: House) -> None:
    """Rule 38: as known before the last rating, no card has it; the rest is the same."""
    practice = course.practice
    history = practice.clinic.log.history(relationship_stream(course.relationship))
    *_, last = (entry for entry in history if entry.topic == "alliance.rated")
    before = (last.recorded_at - timedelta(seconds=1)).isoformat()
    asked = {"method": "criterion-drop", "scale": "total"}
    (now,) = read(course, course.therapist, "analyses", **asked)["items"]
    (then,) = read(course, course.therapist, "analyses", **asked, known_at=before)["items"]
    assert [each["entry"] for each in then["inputs"]] == [
        each["entry"] for each in now["inputs"][:-1]
    ]
    flagged = [
        {each["place"] for each in card["findings"] if each["flagged"]} for card in (now, then)
    ]
    assert flagged[0] - flagged[1] == {len(now["inputs"])}
    assert flagged[1] < flagged[0]
    assert then["as_known_at"] is not None
    early = read(course, course.therapist, "ruptures", known_at=before)
    assert early["possible"] == []


def test_every_method_answers_or_says_why_not(course: House) -> None:
    """Rule 38: page by page, one card for each method and line; a refusal is an answer."""
    cards = read(course, course.supervisor, "analyses", limit=500)["items"]
    assert {"control-chart", "episode", "shape", "response-quality"} <= {
        card["method"] for card in cards
    }
    for card in cards:
        assert (card["refusal"] is not None) == (card["outcome"] == "refused")
        assert card["derived"]
        assert len({(s["instrument"], s["scale"]) for s in card["series"]}) == 1
    assert read(course, course.therapist, "analyses", instrument="WAI-SR")["items"] == []
    path = f"/relationships/{course.relationship}/analyses"
    unknown = course.practice.get(course.therapist, path, method="tea-leaves")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "method-unknown")
    for who in (course.client, course.officer):
        assert course.practice.get(who, path).status_code == 403
