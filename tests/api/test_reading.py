"""Reading: within reach, recorded first, each value with its entry, page by page, up to date."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from api.access import Principal
from api.doors import LONGEST_WAIT, Withheld, enter
from api.doors import House as BehindTheDoors
from domain.access import AccessDenied, RecordRead, access_stream
from domain.clinic import Scope
from domain.event import Erased
from domain.goal import DissentFromGoal, ProposeGoal
from domain.information import GiveInformation
from domain.relationship import Constellation, OpenRelationship, relationship_stream
from domain.withdrawal import WithdrawConsent
from tests.api.conftest import SECRET, SHA256, House, Practice, Somebody

DOORS = {
    "": "dossier",
    "/timeline": "timeline",
    "/alliance": "alliance",
    "/consents": "consents",
    "/goals": "goals",
    "/access": "readers",
}


@pytest.fixture
def built(house: House) -> House:
    """The house with its views at the end of the log."""
    house.practice.worker.catch_up()
    return house


def path(house: House, door: str = "") -> str:
    return f"/relationships/{house.relationship}{door}"


def reads(house: House, about: UUID | None = None) -> list[RecordRead]:
    """Every read of a relationship on record; without one, of the first."""
    history = house.practice.clinic.log.history(access_stream(about or house.relationship))
    return [read for _, read in history.of(RecordRead)]


def values(document: Any) -> set[Any]:
    """Every value of every cell in a document."""
    match document:
        case {"value": value, "entry": _}:
            return {repr(value)}
        case dict():
            return set().union(*map(values, document.values()))
        case list():
            return set().union(*map(values, document))
    return set()


def test_every_read_is_an_entry_first(built: House) -> None:
    """ARCHITECTURE, idea 8: who, as what, which door and why, for each read of a record."""
    expected = []
    for who in (built.therapist, built.client, built.supervisor, built.officer):
        for door, name in DOORS.items():
            built.practice.shown(who, path(built, door))
            expected.append((who.person, who.role, name, "care", built.relationship))
    assert [
        (read.reader, read.role, read.what, read.purpose, read.relationship)
        for read in reads(built)
    ] == expected


def test_reads_of_the_clinic_are_entries_too(built: House) -> None:
    """ARCHITECTURE, idea 8: caseload and log, in the clinic's own access stream."""
    for name, address in (("caseload", "/relationships"), ("log", "/log")):
        built.practice.shown(built.officer, address)
        assert reads(built, built.practice.clinic.id)[-1].what == name
    entries = built.practice.shown(built.officer, "/log/entries", limit=500)["items"]
    assert entries[-1]["topic"] == RecordRead.topic


def test_a_read_says_for_what_and_as_of_when(built: House) -> None:
    """Rule 41: the purpose that is named, and both times of a look at the past."""
    known_at = built.practice.clinic.clock.now - timedelta(hours=3)
    answer = built.practice.client.get(
        f"/api/v1{path(built)}",
        params={"known_at": known_at.isoformat(), "happened_by": known_at.isoformat()},
        headers=built.officer.headers | {"Purpose": "incident review"},
    )
    assert answer.status_code == 200
    read = reads(built)[-1]
    assert (read.purpose, read.known_at, read.happened_by) == (
        "incident review",
        known_at,
        known_at,
    )


def test_without_the_access_entry_there_are_no_data(built: House) -> None:
    """Reading is recorded: where the entry cannot be made, nothing is shown at all."""
    owner = built.practice.clinic.database.dsn("owner")
    addresses = [path(built, door) for door in DOORS]
    addresses += ["/relationships", "/log", "/log/entries"]
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON rapport.entries FROM rapport_app")
        try:
            answers = {each: built.practice.get(built.officer, each) for each in addresses}
            own = built.practice.get(built.therapist, path(built))
        finally:
            connection.execute("GRANT INSERT ON rapport.entries TO rapport_app")
    assert {answer.json()["code"] for answer in answers.values()} == {"unexpected"}
    assert {answer.status_code for answer in (*answers.values(), own)} == {500}
    assert not any("items" in answer.json() for answer in answers.values())
    assert SECRET not in own.text
    assert SECRET in built.practice.get(built.therapist, path(built)).text


def test_a_denied_read_is_an_entry_of_its_own(built: House) -> None:
    """R1, R36: one entry for each denial, of whom, at which door and why; never one of a read."""
    log, expected = built.practice.clinic.log, []
    size = log.head_size()
    for who in (built.other_therapist, built.other_client, built.administrator):
        for door, name in DOORS.items():
            answer = built.practice.get(who, path(built, door))
            assert answer.status_code in (403, 404)
            expected.append((who.person, who.role, name, answer.json()["code"]))
    trail = [entry.event for entry in log.read_log(size, 500)]
    assert [
        (denied.person, denied.role, denied.door, denied.code)
        for denied in trail
        if isinstance(denied, AccessDenied)
    ] == expected
    assert len(trail) == len(expected)


def test_a_client_sees_who_read_the_record(built: House) -> None:
    """DOMAIN, client: the own record, and who read it, this reading included."""
    built.practice.shown(built.supervisor, path(built))
    items = built.practice.shown(built.client, path(built, "/access"))["items"]
    assert [(item["reader"], item["what"]) for item in items] == [
        (str(built.supervisor.person), "dossier"),
        (str(built.client.person), "readers"),
    ]


# --- What is shown ---------------------------------------------------------------------------


def test_each_value_names_its_entry(built: House) -> None:
    """Views: a dossier's values are found again, each at the entry it names."""
    dossier = built.practice.shown(built.therapist, path(built))
    (goal,) = dossier["goals"]
    assert goal["statement"]["value"] == SECRET
    history = built.practice.clinic.log.history(relationship_stream(built.relationship))
    entry = history.entry(goal["statement"]["entry"]["version"])
    assert entry is not None
    assert entry.position == goal["statement"]["entry"]["position"]
    (rating,) = dossier["ratings"]
    assert rating["items"]["value"] == [85, 91, 70, 80]
    assert rating["scales"]["value"]["total"]["text"] == "32.6"
    assert dossier["case"]["clients"]["value"] == [str(built.client.person)]


def test_tables_show_what_the_dossier_tells(built: House) -> None:
    """Views: the same rows from the tables as from the log."""
    dossier = built.practice.shown(built.client, path(built))
    for door, part in (
        ("/timeline", "timeline"),
        ("/alliance", "ratings"),
        ("/consents", "consents"),
        ("/goals", "goals"),
    ):
        page = built.practice.shown(built.client, path(built, door), limit=500)
        assert page["items"] == dossier[part], door
        assert (page["next"], page["parked"]) == (None, None)


def test_structure_only_withholds_every_value_that_is_not_structure(built: House) -> None:
    """API: a compliance officer sees that, when and by whom, and no clinical text or score."""
    for door in DOORS:
        seen = built.practice.get(built.officer, path(built, door)).text
        for content in (SECRET, "32.6", "[85,91,70,80]", "cognitive", "supervision_disclosure"):
            assert content not in seen, door
    full = built.practice.shown(built.therapist, path(built))
    bare = built.practice.shown(built.officer, path(built))
    assert values(bare) - {"None"} < values(full)
    (goal,) = bare["goals"]
    assert goal["statement"] == {
        "value": None,
        "erased": False,
        "withheld": True,
        "entry": full["goals"][0]["statement"]["entry"],
    }
    assert [line["topic"]["value"] for line in bare["timeline"]] == [
        line["topic"]["value"] for line in full["timeline"]
    ]
    (case,) = (
        item
        for item in built.practice.shown(built.officer, "/relationships")["items"]
        if item["relationship"] == str(built.relationship)
    )
    assert case["findings"] is None
    assert case["case"]["modality"]["withheld"]


def test_erased_content_reads_as_erased(built: House) -> None:
    """Rule 9: after a key was destroyed, every door still opens and says so."""
    clinic = built.practice.clinic
    history = clinic.log.history(relationship_stream(built.relationship))
    rated = next(entry for entry in history if entry.topic == "alliance.rated")
    clinic.keyring.destroy(clinic.id, rated.key_id)
    again = clinic.log.history(relationship_stream(built.relationship)).entry(rated.version)
    assert again is not None
    assert isinstance(again.event, Erased)
    built.practice.worker.catch_up()
    for who in (built.therapist, built.officer):
        (rating,) = built.practice.shown(who, path(built))["ratings"]
        assert (rating["items"]["value"], rating["items"]["erased"]) == (None, True)
        for door in DOORS:
            built.practice.shown(who, path(built, door))


def test_a_caseload_is_what_is_within_reach(built: House) -> None:
    """API: a therapist sees own clients, a client the own record, an officer all of them."""

    def seen(who: Somebody) -> set[str]:
        items = built.practice.shown(who, "/relationships")["items"]
        return {item["relationship"] for item in items}

    first, second = str(built.relationship), str(built.other)
    assert seen(built.therapist) == seen(built.client) == seen(built.supervisor) == {first}
    assert seen(built.other_therapist) == seen(built.other_client) == {second}
    assert seen(built.officer) == {first, second}
    assert built.practice.get(built.administrator, "/relationships").status_code == 403


def test_a_caseload_says_what_is_missing(built: House) -> None:
    """DOMAIN: a supervisor triages by missing information."""
    (item,) = built.practice.shown(built.supervisor, "/relationships")["items"]
    assert [finding["what"] for finding in item["findings"]] == ["agreement_on_goals"]


def test_in_a_couple_each_reads_the_own_record(built: House) -> None:
    """API: what one partner consented to is sealed as theirs, and withheld from the other."""
    practice, couple = built.practice, uuid4()
    partners = (built.client, built.other_client)
    practice.recorded(
        built.therapist,
        OpenRelationship(
            relationship=couple,
            clients=tuple(partner.person for partner in partners),
            therapists=(built.therapist.person,),
            constellation=Constellation.COUPLE,
            modality="emotionally focused",
            setting="outpatient",
        ),
    )
    goal = uuid4()
    practice.recorded(
        built.client,
        ProposeGoal(relationship=couple, goal=goal, statement=SECRET, by=built.client.person),
    )
    for partner in partners:
        informing = GiveInformation(
            relationship=couple,
            document=practice.document,
            version=1,
            sha256=SHA256,
            to=partner.person,
            by=built.therapist.person,
        )
        practice.recorded(built.therapist, informing)
        practice.recorded(
            partner,
            DissentFromGoal(
                relationship=couple,
                goal=goal,
                revision=1,
                party=partner.person,
                reason=f"{partner.person} would rather not say.",
            ),
        )
    practice.worker.catch_up()
    for reader, partner in (partners, partners[::-1]):
        for door in ("", "/goals"):
            seen = practice.get(reader, f"/relationships/{couple}{door}").text
            assert SECRET in seen
            assert f"{reader.person} would rather not say." in seen
            assert f"{partner.person} would rather not say." not in seen
        consents = practice.shown(reader, f"/relationships/{couple}/consents")["items"]
        assert [row["document"]["withheld"] for row in consents] == [
            row["party"]["value"] != str(reader.person) for row in consents
        ]
        assert len(consents) == len(partners)
        (item,) = practice.shown(reader, "/relationships")["items"][:1]
        assert item["findings"] is None
    whole = practice.shown(built.therapist, f"/relationships/{couple}/consents")["items"]
    assert not any(row["document"]["withheld"] for row in whole)
    (seen_by, _) = partners
    visit = enter(
        house_of_app(practice), principal_of(practice, seen_by), "dossier", relationship=couple
    )
    gone = [entry.version for entry in visit.history() if isinstance(entry.event, Withheld)]
    assert gone == [5, 6], "what the other partner was told and said"


def house_of_app(practice: Practice) -> BehindTheDoors:
    house: BehindTheDoors = practice.client.app.state.house  # type: ignore[attr-defined]
    return house


def principal_of(practice: Practice, who: Somebody) -> Principal:
    principal = house_of_app(practice).authenticate(who.token)
    assert principal is not None
    return principal


# --- Supervision -----------------------------------------------------------------------------


def test_supervision_ends_with_the_clients_consent(built: House) -> None:
    """API, rules 20 and 22: from the withdrawal on nothing is shown, not even that it exists."""
    built.practice.shown(built.supervisor, path(built))
    built.practice.recorded(
        built.client,
        WithdrawConsent(
            relationship=built.relationship,
            consent=built.consents[Scope.SUPERVISION_DISCLOSURE],
        ),
    )
    for door in DOORS:
        assert built.practice.get(built.supervisor, path(built, door)).status_code == 404
    assert built.practice.shown(built.supervisor, "/relationships")["items"] == []
    built.consent(Scope.SUPERVISION_DISCLOSURE)
    built.practice.shown(built.supervisor, path(built))


# --- Time ------------------------------------------------------------------------------------


def test_a_dossier_is_as_of_two_times(built: House) -> None:
    """Rule 5: what was not known yet, or had not happened yet, is not in it."""
    practice = built.practice
    held = practice.clinic.clock.now - timedelta(hours=2)
    before = held - timedelta(minutes=55)
    whole = practice.shown(built.therapist, path(built))
    assert len(whole["ratings"]) == 1
    for name in ("known_at", "happened_by"):
        early = practice.shown(built.therapist, path(built), **{name: before.isoformat()})
        assert early["ratings"] == []
        assert early["goals"] == []
        assert len(early["consents"]) == len(whole["consents"])
        assert early[name] is not None
    unborn = practice.shown(built.therapist, path(built), known_at="2020-01-01T00:00:00Z")
    assert (unborn["case"], unborn["position"]) == (None, 0)


def test_an_etag_is_the_version_that_was_shown(built: House) -> None:
    """API: what a read answers as ETag, a command takes as If-Match; the past has none."""
    practice = built.practice
    version = practice.clinic.log.history(relationship_stream(built.relationship)).version
    for door in ("", "/timeline", "/alliance", "/consents", "/goals"):
        assert practice.get(built.therapist, path(built, door)).headers["etag"] == f'"{version}"'
    early = practice.get(built.therapist, path(built), known_at="2026-03-02T10:00:00Z")
    assert "etag" not in early.headers
    tag = practice.get(built.therapist, path(built)).headers["etag"]
    practice.recorded(built.therapist, built.held(), **{"If-Match": tag})
    behind = practice.get(built.therapist, path(built, "/timeline"))
    assert behind.headers["etag"] == tag, "the table is behind, and says for what it stands"
    assert practice.get(built.therapist, path(built)).headers["etag"] == f'"{version + 1}"'
    stale = practice.send(built.therapist, built.held(), **{"If-Match": tag})
    assert stale.status_code == 412


def test_one_reads_ones_own_write(built: House) -> None:
    """API: `after` waits for the view, shortly; then it says that it is not there yet."""
    practice = built.practice
    receipt = practice.recorded(built.therapist, built.held())
    position = receipt["entries"][-1]["position"]
    early = practice.get(built.therapist, path(built, "/timeline"), after=position)
    assert (early.status_code, early.headers["retry-after"]) == (425, "1")
    assert early.json()["ids"] == {"after": position}
    assert early.elapsed.total_seconds() < LONGEST_WAIT + 5
    practice.worker.catch_up()
    page = practice.shown(built.therapist, path(built, "/timeline"), after=position)
    assert page["position"] >= position
    assert page["items"][-1]["topic"]["value"] == "session.held"
    dossier = practice.shown(built.therapist, path(built), after=position)
    assert dossier["position"] == receipt["entries"][0]["position"]
    beyond = practice.get(built.therapist, path(built), after=position + 10_000)
    assert (beyond.status_code, beyond.json()["code"]) == (425, "not-there-yet")


def test_what_is_told_is_what_was_judged(built: House) -> None:
    """API: a dossier is told of the very entries by which its reader was let in; what a reader
    waits for, and what a copy states the time of, is read anew."""
    practice, who = built.practice, principal_of(built.practice, built.therapist)
    house, id_ = house_of_app(practice), built.relationship
    visit = enter(house, who, "dossier", relationship=id_)
    before = visit.dossier().position
    waiting = enter(house, who, "dossier", relationship=id_, after=before)
    practice.recorded(built.therapist, built.held())
    assert visit.dossier().position == before
    assert waiting.dossier().position > before
    assert visit.as_copied().dossier().position > before


def test_a_view_that_was_never_built_is_said_to_be_missing(house: House) -> None:
    """API: no worker has run yet: 503, and not an empty list."""
    for address in (path(house, "/timeline"), "/relationships"):
        answer = house.practice.get(house.therapist, address)
        assert (answer.status_code, answer.json()["code"]) == (503, "view-in-the-making")
    house.practice.shown(house.therapist, path(house))


# --- Page by page ----------------------------------------------------------------------------


def turned(practice: Practice, who: Somebody, address: str, **parameters: Any) -> list[Any]:
    """Every item, page after page."""
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = practice.shown(who, address, **parameters, **cursor)
        assert len(page["items"]) <= parameters["limit"]
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


def test_what_was_changed_behind_the_doors_is_not_shown(built: House) -> None:
    """R3: altered rows of a view are told to be damaged, never shown as they are."""
    practice = built.practice
    with psycopg.connect(practice.clinic.database.dsn("views"), autocommit=True) as connection:
        connection.execute(f"SET rapport.clinic = '{practice.clinic.id}'")
        changed = connection.execute(
            "UPDATE views.caseload_v2 SET sealed = array_replace(sealed, sealed[1], "
            "set_byte(sealed[1], 20, get_byte(sealed[1], 20) # 1))"
        )
    assert changed.rowcount > 0
    answer = practice.get(built.therapist, "/relationships")
    assert answer.status_code == 500
    assert answer.json()["code"] == "damaged"
    assert "rapport verify" in answer.json()["detail"]


def test_pages_are_the_whole_in_pieces(built: House) -> None:
    """API: cursor pagination loses and repeats nothing, whatever the size of a page."""
    practice = built.practice
    for door in ("/timeline", "/consents"):
        whole = practice.shown(built.client, path(built, door), limit=500)["items"]
        for limit in (1, 3, len(whole)):
            assert turned(practice, built.client, path(built, door), limit=limit) == whole
    everywhere = turned(practice, built.officer, "/relationships", limit=1)
    assert {item["relationship"] for item in everywhere} == {
        str(built.relationship),
        str(built.other),
    }
    entries = turned(practice, built.officer, "/log/entries", limit=7)
    assert [entry["position"] for entry in entries] == list(range(1, len(entries) + 1))
    past = practice.shown(built.officer, "/log/entries", after=5, limit=2)["items"]
    assert [entry["position"] for entry in past] == [6, 7]
    readers = turned(practice, built.client, path(built, "/access"), limit=4)
    assert len({reader["position"] for reader in readers}) == len(readers)


def test_a_cursor_belongs_to_its_question(built: House) -> None:
    """API: a cursor of another list, relationship or reader, or a changed one, is refused."""
    practice, timeline = built.practice, path(built, "/timeline")
    cursor = practice.shown(built.client, timeline, limit=2)["next"]
    forged = ["1", "1.", "1." + "0" * 32, cursor[:-1], f"3{cursor}", cursor.upper(), "é", "²"]
    asked = [(built.client, timeline, each) for each in forged]
    asked += [
        (built.client, path(built, "/consents"), cursor),
        (built.therapist, timeline, cursor),
        (built.officer, "/log/entries", cursor),
    ]
    size = practice.clinic.log.head_size()
    for who, address, each in asked:
        answer = practice.get(who, address, cursor=each)
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor-invalid"), each
    assert practice.clinic.log.head_size() == size
    assert practice.shown(built.client, timeline, cursor=cursor)["items"][0]["version"] == 3


def test_the_log_shows_envelopes_and_no_content(built: House) -> None:
    """API: structure and proof without clinical text."""
    shown = built.practice.get(built.officer, "/log/entries", limit=500)
    assert SECRET not in shown.text
    by_position = {entry["position"]: entry for entry in shown.json()["items"]}
    for entry in built.practice.clinic.log.read_log(0, 10):
        assert by_position[entry.position]["stream"] == str(entry.stream)
        assert by_position[entry.position]["actor"] == str(entry.actor)
    status = built.practice.shown(built.officer, "/log")
    head = built.practice.clinic.log.head()
    assert (status["size"], status["root"]) == (head.size, head.frontier.root().hex())
    assert status["acknowledged"] == {"size": status["size"], "root": status["root"]}


def test_what_is_not_there_looks_like_what_is_out_of_reach(built: House) -> None:
    """API: 404 where existence must not be told."""
    missing = built.practice.get(built.therapist, f"/relationships/{uuid4()}").json()
    hidden = built.practice.get(built.therapist, f"/relationships/{built.other}").json()
    assert {**missing, "request_id": 0} == {**hidden, "request_id": 0}
    assert missing["status"] == 404
    unknown = built.practice.get(built.officer, f"/relationships/{uuid4()}")
    assert unknown.status_code == 404
