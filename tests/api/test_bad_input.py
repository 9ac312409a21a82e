"""Whatever is sent, the answer is a problem that says what to mend, and never a 500."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks as openapi

from api.doors.around import BODY_LIMIT
from api.problems import MalformedJson
from api.routes import body as bodies
from api.routes.body import DEEPEST
from domain.access import Role
from domain.topics import COMMANDS
from tests.api.conftest import House, Practice, Response, Somebody

JSON = {"Content-Type": "application/json"}


def told(answer: Response, status: int, code: str) -> dict[str, Any]:
    """The problem; it is one, of that status and code."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


@pytest.fixture
def office(practice: Practice) -> Somebody:
    return practice.somebody(Role.ADMINISTRATOR)


def post(practice: Practice, who: Somebody, body: bytes, **headers: str) -> Response:
    return practice.client.post(
        "/api/v1/commands/register-person", content=body, headers=who.headers | JSON | headers
    )


def nested(depth: int) -> bytes:
    return b'{"full_name":' + b"[" * depth + b"]" * depth + b"}"


MALFORMED = {
    "not UTF-8": b'{"full_name": "\xff\xfe"}',
    "UTF-16": '{"full_name": "x"}'.encode("utf-16"),
    "with a byte order mark": b'\xef\xbb\xbf{"full_name": "x"}',
    "broken off": b'{"full_name": "x"',
    "nothing but space": b"  ",
    "a NUL byte outside": b'{"full_name": "x"}\x00',
    "a raw NUL inside": b'{"full_name": "a\x00b"}',
    "a lone surrogate": b'{"full_name": "\\ud800"}',
    "a lone surrogate as a name": b'{"\\udfff": "x"}',
    "a name twice": b'{"full_name": "x", "full_name": "y"}',
    "a name twice, deep": b'{"full_name": "x", "external_ids": [{"system":"a","system":"b"}]}',
    "NaN": b'{"full_name": NaN}',
    "Infinity": b'{"full_name": -Infinity}',
    "beyond 64 bits": b'{"full_name": 9223372036854775808}',
    "below 64 bits": b'{"full_name": -9223372036854775809}',
    "a million digits": b'{"full_name": ' + b"9" * 1_000_000 + b"}",
    "a huge float": b'{"full_name": 1e999}',
    "too deep": nested(DEEPEST),
    "very deep": nested(100_000),
    "very deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


def answered(answer: Response) -> tuple[int, str]:
    """Status and code of the problem."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, problem["code"]


def test_what_is_no_json_that_can_be_kept(practice: Practice, office: Somebody) -> None:
    """API: bodies that two readers could read differently, or nobody can store, are refused."""
    answers = {name: answered(post(practice, office, body)) for name, body in MALFORMED.items()}
    assert answers == dict.fromkeys(MALFORMED, (400, "malformed-json"))


TEXTS = st.text() | st.sampled_from(["\ud800", "a\udfff", "\ud83d\ude00"])
VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def outcome(read: Callable[[bytes], object], body: bytes) -> object:
    """What is read, as it is written down again; or the reason why nothing is."""
    try:
        return json.dumps(read(body))
    except MalformedJson as error:
        return error.ids


def looked_through(body: bytes) -> object:
    """What is read, looked through level by level whatever stands in it."""
    value = bodies.parse(body)
    bodies._look_through(value)
    return value


@given(value=VALUES, levels=st.integers(0, DEEPEST + 2), escaped=st.booleans())
@example(value=1, levels=DEEPEST, escaped=False)
@example(value="\ud800", levels=0, escaped=True)
def test_what_needs_no_second_look_is_read_as_with_one(
    value: object, levels: int, escaped: bool
) -> None:
    """API: no body is taken without being looked through that would be refused then."""
    text = "[" * levels + json.dumps(value, ensure_ascii=escaped) + "]" * levels
    body = text.encode("utf-8", "surrogatepass")
    assert outcome(bodies.parse, body) == outcome(looked_through, body)


def test_json_as_deep_as_allowed_is_read(practice: Practice, office: Somebody) -> None:
    """API: the limit of nesting is the first level that is refused, not one before."""
    problem = told(post(practice, office, nested(DEEPEST - 2)), 422, "invalid")
    assert problem["errors"][0]["pointer"] == "/full_name"


def test_a_body_is_json_and_says_so(practice: Practice, office: Somebody) -> None:
    """API: a form that another site's page could send is not taken for a command."""
    kinds = ("text/plain", "application/xml", "application/json; charset=utf-16", "json", "")
    answers = {
        kind: answered(post(practice, office, b"{}", **{"Content-Type": kind})) for kind in kinds
    }
    assert answers == dict.fromkeys(kinds, (415, "not-json"))


def test_a_body_has_a_limit_however_it_is_sent(practice: Practice, office: Somebody) -> None:
    """API: 1 MiB, declared or in pieces; 10 MB are not read to the end."""
    body = b'{"full_name": "' + b"x" * BODY_LIMIT + b'"}'
    assert told(post(practice, office, body), 413, "body-too-large")["ids"] == {"limit": BODY_LIMIT}
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(160):
            taken += 1
            yield b" " * 65_536

    answer = practice.client.post(
        "/api/v1/commands/register-person", content=pieces(), headers=office.headers | JSON
    )
    told(answer, 413, "body-too-large")
    just_fits = json.dumps({"full_name": "x"}).encode().ljust(BODY_LIMIT)
    assert post(practice, office, just_fits).status_code == 201


INVALID: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing": ({}, "/full_name", "missing"),
    "unknown": ({"full_name": "x", "nick": "y"}, "/nick", "extra_forbidden"),
    "NUL": ({"full_name": "a\x00b"}, "/full_name", "unstorable_text"),
    "escape": ({"full_name": "\x1b[2J"}, "/full_name", "unstorable_text"),
    "blank": ({"full_name": " \t "}, "/full_name", "blank_text"),
    "too long": ({"full_name": "x" * 201}, "/full_name", "string_too_long"),
    "a number for a text": ({"full_name": 7}, "/full_name", "string_type"),
    "not an id": ({"full_name": "x", "person": "7"}, "/person", "uuid_parsing"),
    "year 0": (
        {"full_name": "x", "birth_date": "0000-01-01"},
        "/birth_date",
        "greater_than_equal",
    ),
    "year 1": ({"full_name": "x", "birth_date": "0001-01-01"}, "/birth_date", "greater_than_equal"),
    "31 February": (
        {"full_name": "x", "birth_date": "2026-02-31"},
        "/birth_date",
        "date_from_datetime_parsing",
    ),
    "year 0 of a time": (
        {"full_name": "x", "occurred_at": "0000-01-01T00:00:00Z"},
        "/occurred_at",
        "datetime_parsing",
    ),
    "before the calendar": (
        {"full_name": "x", "occurred_at": "0001-01-01T00:00:00+14:00"},
        "/occurred_at",
        "moment_out_of_range",
    ),
    "after the calendar": (
        {"full_name": "x", "occurred_at": "9999-12-31T23:59:59-14:00"},
        "/occurred_at",
        "moment_out_of_range",
    ),
    "without an offset": (
        {"full_name": "x", "occurred_at": "2026-01-01T00:00:00"},
        "/occurred_at",
        "timezone_aware",
    ),
    "a time as a number": (
        {"full_name": "x", "occurred_at": 1e300},
        "/occurred_at",
        "not_a_moment",
    ),
    "the stored form before the calendar": (
        {"full_name": "x", "occurred_at": {"at": "0001-01-01T00:00:00Z", "offset": "-14:00"}},
        "/occurred_at",
        "not_a_moment",
    ),
    "an offset that is none": (
        {"full_name": "x", "occurred_at": {"at": "2026-01-01T00:00:00Z", "offset": "+99:99"}},
        "/occurred_at",
        "not_a_moment",
    ),
    "a list": ({"full_name": "x", "external_ids": {}}, "/external_ids", "tuple_type"),
    "in a list": (
        {"full_name": "x", "external_ids": [{"system": "s", "value": ""}]},
        "/external_ids/0/value",
        "blank_text",
    ),
    "a pointer to be escaped": ({"full_name": "x", "a/b~c": 1}, "/a~1b~0c", "extra_forbidden"),
}


def test_what_does_not_fit_is_pointed_at(practice: Practice, office: Somebody) -> None:
    """API: pointer, code and message of each error, without the value."""
    found = {}
    for name, (body, _, _) in INVALID.items():
        problem = told(post(practice, office, json.dumps(body).encode()), 422, "invalid")
        first = problem["errors"][0]
        assert (first["in"], bool(first["message"])) == ("body", True)
        found[name] = (first["pointer"], first["code"])
    assert found == {name: (pointer, code) for name, (_, pointer, code) in INVALID.items()}


def test_a_problem_repeats_nothing_that_was_written(practice: Practice, office: Somebody) -> None:
    """House rule: errors carry codes and ids, never what somebody wrote."""
    said = "Frau-Mustermann-geb-1984"
    fields = ("person", "birth_date", "occurred_at", "external_ids", "contact")
    body = {"full_name": said + "\x00", **dict.fromkeys(fields, said)}
    answer = post(practice, office, json.dumps(body).encode())
    assert told(answer, 422, "invalid")["errors"]
    assert "Mustermann" not in answer.text


def test_what_is_not_there_is_a_problem_too(practice: Practice) -> None:
    """API: unknown paths are 404, and nobody is led elsewhere."""
    for path in ("/api/v1/nothing", "/nothing", "/api/v1/log/", "/api/v1/%00", "/api//v1/log"):
        told(practice.client.get(path), 404, "not-found")


def test_another_method_is_told_which_there_are(practice: Practice) -> None:
    """API: 405 with Allow."""
    answer = practice.client.delete("/api/v1/log")
    told(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


def test_parameters_have_bounds(practice: Practice) -> None:
    """API: what does not fit in a query is a problem with its place."""
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    for parameter, text in (
        ("limit", "0"),
        ("limit", "501"),
        ("limit", "9" * 30),
        ("after", "-1"),
        ("after", str(2**63)),
        ("after", "1e3"),
        ("cursor", "x" * 101),
    ):
        answer = practice.get(officer, "/log/entries", **{parameter: text})
        (error,) = told(answer, 422, "invalid")["errors"]
        assert (error["in"], error["pointer"]) == ("query", f"/{parameter}")


def test_a_purpose_is_a_line_of_text(practice: Practice) -> None:
    """Rule 41: the purpose of a read is kept, so it must be something that can be."""
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    for purpose in (" ", "x" * 201, "\x7f"):
        headers = officer.headers | {"Purpose": purpose}
        told(practice.client.get("/api/v1/log", headers=headers), 422, "invalid")


def test_an_answer_to_an_item_can_be_anything_and_is_refused(house: House) -> None:
    """Rule 30: answers beyond any scale, or no answers at all, are no fault of ours."""
    session = uuid4()
    house.practice.recorded(house.therapist, house.held(session))
    sent: list[list[Any]] = [
        [1e308] * 4,
        ["NaN"] * 4,
        [True] * 4,
        [2**62] * 4,
        [],
        [[]],
        ["8"] * 501,
    ]
    for answers in sent:
        body = house.rated(house.client, session).model_dump(mode="json", exclude_unset=True)
        answer = house.practice.client.post(
            "/api/v1/commands/rate-alliance",
            json=body | {"rating": str(uuid4()), "answers": answers},
            headers=house.client.headers,
        )
        assert answer.status_code in (400, 422), (answers, answer.text)


def test_a_correction_can_hold_anything_and_is_refused(house: House) -> None:
    """Rule 1: the content of a correction is whatever is sent, until its class has seen it."""
    contents: list[dict[str, Any]] = [
        {"x": [[[]]]},
        {"scope": 1e300},
        {"late_reason": "a\x00"},
        {"": {}},
    ]
    for content in contents:
        answer = house.practice.client.post(
            "/api/v1/commands/correct-entry",
            json={
                "stream": f"relationship-{house.relationship}",
                "entry": 2,
                "reason": "x",
                "content": content,
            },
            headers=house.therapist.headers,
        )
        assert answer.status_code in (400, 409, 422), (content, answer.text)


def test_the_contract_is_kept_whatever_is_sent(house: House) -> None:
    """API: by the contract itself, generated requests get what it says and never a 500."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", house.practice.client.app)
    house.practice.worker.catch_up()
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > len(COMMANDS)
    for operation in operations:

        @settings(
            max_examples=3,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def keeps_the_contract(case: Case[Any]) -> None:
            for who in house.everybody.values():
                answer = case.call(headers=who.headers)
                assert answer.status_code < 500, (case.path, answer.text)
                case.validate_response(answer, checks=CHECKS)

        keeps_the_contract()


CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
]
