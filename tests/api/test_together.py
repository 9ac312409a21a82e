"""Commands that are recorded together: each is judged alone, and as if it had come alone."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from re import sub
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.cli import web
from api.composition import by_machine
from api.doors import Slip, Tray, recorded
from api.doors.desk import Denied
from api.doors.tray import WORTH_A_SECOND
from api.problems import Fault
from api.routes.command import STRAIGHT, ReceiptDocument, written
from domain.access import AccessDenied, Role
from domain.event import Command, Refusal
from domain.goal import ProposeGoal
from domain.records import Proposal, Receipt
from domain.relationship import relationship_stream
from domain.role import RevokeRole
from infra.identity import Tokens
from tests.api.conftest import House, Somebody
from tests.api.test_web import running
from tests.conftest import Clinic

# --- The tray -------------------------------------------------------------------------------


def asked(tray: Tray[int, int], questions: Sequence[int]) -> list[int | BaseException]:
    """What the tray answers to questions that are asked at once, in a loop of their own."""

    async def ask() -> list[int | BaseException]:
        return await asyncio.gather(*map(tray.ask, questions), return_exceptions=True)

    return asyncio.run(ask())


def test_who_asks_meanwhile_is_answered_next_and_together() -> None:
    """API: everybody has the own answer, whichever loop it is asked in."""
    batches: list[list[int]] = []

    def double(questions: Sequence[int]) -> list[int | Exception]:
        batches.append(list(questions))
        return [2 * question for question in questions]

    tray = Tray(double)
    with ThreadPoolExecutor(4) as threads:
        parts = [range(start, start + 300) for start in range(0, 1200, 300)]
        for part, answers in zip(parts, threads.map(lambda p: asked(tray, p), parts), strict=True):
            assert answers == [2 * question for question in part]
    assert sorted(question for batch in batches for question in batch) == list(range(1200))
    assert len(batches) < 1200


@settings(max_examples=30)
@given(turns=st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_what_turn_after_turn_brings_is_answered_together(turns: list[int]) -> None:
    """API: who asks again close after others shares their commit; nobody waits past that."""
    batches: list[list[int]] = []

    def double(questions: Sequence[int]) -> list[int | Exception]:
        batches.append(list(questions))
        return [2 * question for question in questions]

    async def ask() -> list[int]:
        tray = Tray(double)
        laid: list[asyncio.Future[int]] = []
        for number in turns:
            laid += [tray.lay(len(laid) + each) for each in range(number)]
            await asyncio.sleep(0)
        return await asyncio.gather(*laid)

    number = sum(turns)
    assert asyncio.run(ask()) == [2 * each for each in range(number)]
    assert batches == [list(range(number))]


@pytest.mark.parametrize("others", [WORTH_A_SECOND - 1, WORTH_A_SECOND])
def test_a_second_thread_begins_where_many_wait(others: int) -> None:
    """API: few wait for the first to be answered, many do not; each is answered once."""
    batches: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def double(questions: Sequence[int]) -> list[int | Exception]:
        if questions == [0]:
            begun.set()
            assert go_on.wait(30)
        batches.append(list(questions))
        go_on.set()
        return [2 * question for question in questions]

    async def ask() -> list[int]:
        tray = Tray(double)
        first = asyncio.create_task(tray.ask(0))
        assert await asyncio.to_thread(begun.wait, 30)
        rest = [asyncio.create_task(tray.ask(each)) for each in range(1, 1 + others)]
        await asyncio.sleep(0)
        if others < WORTH_A_SECOND:
            go_on.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(ask()) == [2 * each for each in range(1 + others)]
    assert sorted(each for batch in batches for each in batch) == list(range(1 + others))
    assert (batches[0] == [0]) is (others < WORTH_A_SECOND)


def test_what_fails_reaches_whoever_it_is_the_answer_to() -> None:
    """API: one failure is one caller's; where there is no answer at all, nobody waits for ever."""

    def only_odd(questions: Sequence[int]) -> list[int | Exception]:
        if 0 in questions:
            raise ZeroDivisionError
        return [each if each % 2 else ValueError(each) for each in questions]

    tray = Tray(only_odd)
    found = asked(tray, range(1, 5))
    assert [type(each) for each in found] == [int, ValueError, int, ValueError]
    assert [type(each) for each in asked(tray, [0])] == [ZeroDivisionError]
    assert asked(tray, [7]) == [7]


# --- One batch, many verdicts ---------------------------------------------------------------


def proposing(house: House, by: Somebody | None = None) -> ProposeGoal:
    return ProposeGoal(
        relationship=house.relationship,
        goal=uuid4(),
        statement="Leave the house every day.",
        by=(by or house.client).person,
    )


class Broken(ProposeGoal):
    """A command with a fault of ours in it."""

    def decide(self, given: object) -> Any:
        raise ZeroDivisionError


def test_each_in_a_batch_has_the_own_verdict(house: House) -> None:
    """Rule 8, API: a receipt, a refusal, a denial, a fault: none is another one's."""
    practice = house.practice
    behind = practice.client.app.state.house  # type: ignore[attr-defined]
    broken = Broken.model_validate(proposing(house).model_dump())
    known = uuid4()
    handed: list[tuple[str, Command]] = [
        (house.client.token, proposing(house)),
        (house.client.token[:-1] + "!", proposing(house)),
        (house.other_client.token, proposing(house)),
        (house.client.token, proposing(house, house.therapist)),
        (house.client.token, broken),
        (house.administrator.token, proposing(house)),
        (house.client.token, proposing(house)),
        (house.client.token, proposing(house)),
    ]
    slips = [Slip(behind, token, command) for token, command in handed]
    slips[-2].version, slips[-1].command_id = 1, known
    verdicts = recorded(slips)
    codes = [each.code if isinstance(each, Fault | Refusal) else type(each) for each in verdicts]
    assert codes == [
        Receipt,
        "not-authenticated",
        "out-of-reach",
        "not-in-their-place",
        ZeroDivisionError,
        "not-admitted",
        "stale-version",
        Receipt,
    ]
    assert not any(isinstance(verdict, Denied) for verdict in verdicts)
    last = verdicts[-1]
    assert isinstance(last, Receipt)
    assert last.command_id == known
    denials = [
        entry.event.code
        for entry in practice.clinic.log.read_log(0, 5000)
        if isinstance(entry.event, AccessDenied)
    ]
    assert sorted(denials) == ["not-admitted", "not-in-their-place", "out-of-reach"]


def test_many_at_once_have_each_their_own_answer(house: House) -> None:
    """API: whoever asks at the same moment, an answer is about the command that was sent."""
    practice = house.practice
    people = [house.client, house.other_client, house.client, house.therapist] * 8
    commands = [proposing(house) for _ in people]
    with ThreadPoolExecutor(len(people)) as threads:
        answers = list(threads.map(practice.send, people, commands))
    stream = relationship_stream(house.relationship)
    history = practice.clinic.log.history(stream)
    versions = set()
    for who, command, answer in zip(people, commands, answers, strict=True):
        if who is house.other_client:
            assert (answer.status_code, answer.json()["code"]) == (404, "out-of-reach")
            continue
        assert answer.status_code == 201, answer.text
        (place,) = answer.json()["entries"]
        entry = history.entry(place["version"])
        assert entry is not None
        assert getattr(entry.event, "goal", None) == command.goal
        assert entry.actor == who.person
        versions.add(place["version"])
    assert len(versions) == 24


# --- At once --------------------------------------------------------------------------------


def test_a_token_that_is_revoked_elsewhere_records_nothing_more(house: House) -> None:
    """API: from the next request on, though the token was recognised a moment ago."""
    practice = house.practice
    clinic: Clinic = practice.clinic
    practice.recorded(house.client, proposing(house))
    elsewhere = Tokens(clinic.database.dsn("app"), clinic.id, clinic.keyring, clock=clinic.clock)
    try:
        assert elsewhere.revoke(elsewhere.authenticate(house.client.token).token)
    finally:
        elsewhere.close()
    size = clinic.log.head_size()
    answer = practice.send(house.client, proposing(house))
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert clinic.log.head_size() == size


def test_a_role_that_is_revoked_elsewhere_records_nothing_more(house: House) -> None:
    """Rule of access: from the next request on, though another process revoked it."""
    practice = house.practice
    practice.recorded(house.therapist, proposing(house))
    revoke = RevokeRole(person=house.therapist.person, role=Role.THERAPIST, reason="Left.")
    with practice.service.log_with(practice.clinic.clock) as elsewhere:
        (done,) = elsewhere.append([Proposal(revoke, by_machine(practice.service))])
        assert isinstance(done, Receipt)
    size = practice.clinic.log.head_size()
    answer = practice.send(house.therapist, proposing(house))
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert practice.clinic.log.head_size() == size


# --- Waiting --------------------------------------------------------------------------------


def test_who_waits_for_a_view_keeps_nobody_else_waiting(house: House) -> None:
    """Rule 7: more readers wait than there are threads, and one that need not is answered."""
    practice = house.practice
    practice.worker.catch_up()
    position = practice.recorded(house.client, proposing(house))["entries"][0]["position"]
    goals = f"/relationships/{house.relationship}/goals"
    with practice.client, ThreadPoolExecutor(60) as readers:
        waiting = [
            readers.submit(practice.get, house.client, goals, after=position) for _ in range(60)
        ]
        assert practice.get(house.client, goals).status_code == 200
        assert not any(reader.done() for reader in waiting)
        practice.worker.catch_up()
        answers = [reader.result() for reader in waiting]
    assert {answer.status_code for answer in answers} == {200}
    assert {len(answer.json()["items"]) for answer in answers} == {2}


# --- Straight, or the framework's way -------------------------------------------------------

FITS = {"relationship": "R", "goal": "G", "statement": "Leave the house.", "by": "C"}

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def port(house: House) -> Iterator[int]:
    """The doors at a socket, as `rapport serve` opens them."""
    app: Any = house.practice.client.app
    with running(web.config(app, app.state.straight)) as port:
        yield port


VARIES = ("date", "x-request-id", "content-length")


def both_ways(
    house: House, port: int, body: bytes, headers: Mapping[str, str], who: Somebody
) -> list[tuple[int, list[tuple[str, str]], dict[str, Any]]]:
    """What is answered to a request that goes straight where it can, and to the same one with a
    scheme that is spelt in an unusual way. Ids of the request, the command and its entry apart."""
    found = []
    for scheme in ("Bearer", "bearer"):
        doors = HTTPConnection("127.0.0.1", port, timeout=30)
        doors.request(
            "POST",
            "/api/v1/commands/propose-goal",
            body.replace(b'"G"', f'"{uuid4()}"'.encode()),
            {
                "Content-Type": "application/json",
                **headers,
                "Authorization": f"{scheme} {who.token}",
            },
        )
        answer = doors.getresponse()
        document = json.loads(answer.read())
        doors.close()
        sent = [
            (name, sub(r"[0-9a-f-]{36}", "", value) if name not in VARIES else "")
            for name, value in answer.getheaders()
        ]
        for own in (
            "request_id",
            "recorded_at",
            "command_id",
            "entries",
            "tree_size",
            "root",
            "checkpoint",
        ):
            document.pop(own, None)
        found.append((answer.status, sent, document))
    return found


def the_body(house: House, **changes: Any) -> bytes:
    ids = {"R": str(house.relationship), "C": str(house.client.person)}
    fits = {name: ids.get(value, value) for name, value in FITS.items()}
    return json.dumps({**fits, **changes}).encode()


def test_straight_is_answered_as_the_framework_would(house: House, port: int) -> None:
    """API: the short way is shorter, and no other: status, headers and their order, code and
    every error are the same."""
    house.practice.later(hours=1)
    fits = the_body(house)
    cases: list[tuple[int, bytes, dict[str, str], Somebody]] = [
        (201, fits, {}, house.client),
        (201, fits, {"Content-Type": "application/json; charset=utf-8"}, house.client),
        (422, fits, {"Idempotency-Key": "no id"}, house.client),
        (412, fits, {"If-Match": '"0"'}, house.client),
        (422, fits, {"If-Match": "0"}, house.client),
        (415, fits, {"Content-Type": "text/plain"}, house.client),
        (400, fits[:-1], {}, house.client),
        (400, b'{"by": NaN}', {}, house.client),
        (422, b"", {}, house.client),
        (422, b"[]", {}, house.client),
        (422, the_body(house, statement=" "), {}, house.client),
        (422, the_body(house, more=1), {}, house.client),
        (404, fits, {}, house.other_client),
        (403, fits, {}, house.administrator),
        (403, b"{}", {}, house.administrator),
        (401, b"{}", {}, replace(house.client, token="rpt_none")),
        (401, fits, {}, replace(house.client, token=house.client.token[:-1])),
    ]
    for status, body, headers, who in cases:
        straight, framework = both_ways(house, port, body, headers, who)
        assert straight == framework, (body, headers)
        assert straight[0] == status, (body, headers, straight)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.dictionaries(st.sampled_from([*FITS, "occurred_at", "id"]), JSONS, min_size=1))
def test_whatever_does_not_fit_is_told_alike(
    house: House, port: int, changes: dict[str, Any]
) -> None:
    """API: a body is judged by one model, whichever way it comes."""
    straight, framework = both_ways(house, port, the_body(house, **changes), {}, house.client)
    assert straight == framework


def test_a_line_and_a_denial_are_left_whichever_way(
    house: House, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """API, R36: who asked for what is logged by ids, with the answer's own id, and a denial becomes
    an entry, also where the request went straight."""
    log = house.practice.clinic.log
    before = log.head_size()
    with caplog.at_level("INFO", "rapport.http"):
        for who, status in ((house.client, 201), (house.other_client, 404)):
            straight, framework = both_ways(house, port, the_body(house), {}, who)
            assert straight == framework
            assert straight[0] == status
        until, told = time.monotonic() + 20, list[list[str]]()
        while len(told) < 4:  # a line is written after its answer
            assert time.monotonic() < until
            said = "\n".join(record.getMessage() for record in caplog.records)
            told = [line.split() for line in said.split("\n") if line.startswith("POST ")]
    assert [(line[1], line[2], line[-1]) for line in told] == [
        ("/api/v1/commands/propose-goal", str(status), str(who.person))
        for who, status in ((house.client, 201), (house.other_client, 404))
        for _ in range(2)
    ]
    news = [type(entry.event) for entry in log.read_log(before, 10)]
    assert news.count(AccessDenied) == 2


@given(
    recorded_at=st.datetimes(timezones=st.just(UTC)),
    numbers=st.tuples(st.integers(1, 2**62), st.integers(1, 2**62)),
    entries=st.integers(0, 3),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_receipt_is_written_as_its_model_would(
    house: House, recorded_at: datetime, numbers: tuple[int, int], entries: int
) -> None:
    """API: to the byte, which the contract describes by the model."""
    log = house.practice.clinic.log
    receipt = log.receipt(log.read_log(0, 1)[0].command_id)
    assert receipt is not None
    told = replace(
        receipt,
        recorded_at=recorded_at,
        tree_size=numbers[0],
        entries=tuple(replace(receipt.entries[0], version=numbers[1]) for _ in range(entries + 1)),
    )
    assert written(told) == ReceiptDocument.of(told).model_dump_json().encode()


def test_every_command_goes_straight(house: House) -> None:
    """API: each has its route under the very path of its name."""
    assert STRAIGHT
    for path, (route, kind) in STRAIGHT.items():
        assert path == route.path == f"/api/v1/commands/{kind.name}"
