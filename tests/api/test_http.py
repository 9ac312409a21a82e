"""What surrounds every request: health, headers, logs, cookies, faults; and the contract."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from starlette.testclient import TestClient
from starlette.types import Message

from api.app import create_app
from api.cli.serving import Lines
from api.composition import prepare
from api.doors import SESSION_COOKIE
from domain.access import Role
from infra.postgres import EmbeddedPostgres
from infra.settings import Settings
from tests.api.conftest import HERE, SECRET, House, Practice, Response, Somebody

# --- Health ----------------------------------------------------------------------------------


def test_a_process_that_lives_says_so(practice: Practice) -> None:
    """API: liveness needs nothing but the process."""
    assert practice.client.get("/health/live").json() == {"status": "alive"}


def test_readiness_names_what_it_depends_on(practice: Practice) -> None:
    """API: database, migrations, acknowledged head, and how far the views are behind."""
    assert checks(practice)["views"] == (True, "not built yet")
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    practice.worker.catch_up()
    practice.shown(officer, "/log")
    answer = practice.client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert checks(practice) == {
        "database": (True, ""),
        "migrations": (True, ""),
        "acknowledged head": (True, ""),
        "views": (True, "1 entries behind"),
        "witnesses": (True, "none configured"),
    }


def test_readiness_notices_a_log_that_was_rolled_back(practice: Practice) -> None:
    """Idea 5: what was acknowledged and is not there is not ready to be served."""
    practice.shown(practice.somebody(Role.COMPLIANCE_OFFICER), "/log")
    head = next((practice.clinic.home / "heads").glob("*.head"))
    line = head.read_text()
    size, root = line.split()
    try:
        head.write_text(f"{int(size) + 1:020} {root}\n")
        answer = practice.client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert checks(practice)["acknowledged head"] == (False, "LogDiverged")
    finally:
        head.write_text(line)


def test_readiness_notices_a_missing_migration(practice: Practice) -> None:
    """API: a database that is not at this release's schema is not ready."""
    with psycopg.connect(practice.clinic.database.dsn("owner")) as connection:
        connection.execute("DELETE FROM rapport.migrations WHERE version > 2")
        connection.commit()
        assert checks(practice)["migrations"] == (False, "MigrationError")


def checks(practice: Practice) -> dict[str, tuple[bool, str]]:
    found = practice.client.get("/health/ready").json()["checks"]
    return {check["name"]: (check["passed"], check["detail"]) for check in found}


# --- While the database is away --------------------------------------------------------------


def test_while_the_database_is_away_everything_says_so(
    house: House, server: EmbeddedPostgres
) -> None:
    """API: a store that cannot be reached is 503 with Retry-After, and serves again later."""
    practice = house.practice
    practice.worker.catch_up()
    asked: list[Callable[[], Response]] = [
        lambda: practice.get(house.therapist, "/relationships"),
        lambda: practice.send(house.therapist, house.held()),
        lambda: practice.client.get("/health/ready"),
    ]
    with away(server, practice), ThreadPoolExecutor(len(asked)) as callers:
        read, sent, ready = callers.map(lambda ask: ask(), asked)
    for answer in (read, sent):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["code"] == "record-unavailable"
    assert (ready.status_code, ready.json()["checks"][0]["name"]) == (503, "database")
    assert practice.client.get("/health/ready").status_code == 200
    practice.shown(house.therapist, "/relationships")
    practice.recorded(house.therapist, house.held())


def test_a_start_prepares_what_it_can(house: House, server: EmbeddedPostgres) -> None:
    """Requirement: what is done before the first request stops no start, and changes no answer."""
    practice = house.practice
    with away(server, practice):
        prepare(practice.service)
    prepare(practice.service)
    size = practice.service.log.head_size()
    practice.shown(house.therapist, f"/relationships/{house.relationship}")
    assert practice.service.log.head_size() == size + 1, "the reading alone is in the log"


@contextmanager
def away(server: EmbeddedPostgres, practice: Practice) -> Iterator[None]:
    """Nobody can reach the clinic's database, and whoever was connected is no longer."""
    with psycopg.connect(practice.clinic.database.dsn("owner")) as connection:
        name = connection.info.dbname
    with psycopg.connect(server.superuser_dsn("postgres"), autocommit=True) as connection:
        switch = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        connection.execute(switch.format(sql.Identifier(name), sql.SQL("false")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            connection.execute(switch.format(sql.Identifier(name), sql.SQL("true")))


# --- What nobody foresaw ---------------------------------------------------------------------


def test_a_fault_of_ours_tells_nothing(
    practice: Practice, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """House rule: no traceback reaches a user; the log has the id and the place, no message."""
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    with psycopg.connect(practice.clinic.database.dsn("owner"), autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON rapport.entries FROM rapport_app")
        answer = practice.get(officer, "/log")
        connection.execute("GRANT INSERT ON rapport.entries TO rapport_app")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "unexpected")
    assert "permission" not in answer.text
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert problem["request_id"] in line
    assert "InsufficientPrivilege at " in line
    assert "permission" not in caplog.text
    assert capfd.readouterr().err == ""


def test_requests_that_end_together_have_each_their_line(
    practice: Practice, caplog: pytest.LogCaptureFixture
) -> None:
    """House rule: none is lost, and each line says when and whence, as if it stood alone."""
    caplog.set_level(logging.INFO, logger="rapport.http")
    answered: list[Message] = []

    async def ask(number: int) -> None:
        scope = {
            "type": "http", "method": "GET", "path": "/health/live", "query_string": b"",
            "headers": [(b"host", b"here")], "client": ("127.0.0.1", 1), "server": ("here", 80),
        }  # fmt: skip

        async def send(message: Message) -> None:
            answered.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        await practice.client.app(scope, receive, send)

    async def ask_all() -> None:
        await asyncio.gather(*map(ask, range(20)))

    asyncio.run(ask_all())
    shown = logging.StreamHandler(io.StringIO())
    shown.setFormatter(Lines("%(levelname)s %(name)s: %(message)s"))
    for record in caplog.records:
        shown.emit(record)
    lines = shown.stream.getvalue().splitlines()
    ids = [dict(message["headers"])[b"x-request-id"].decode() for message in answered[::2]]
    assert len(ids) == len(lines) == 20
    for id_ in ids:
        (line,) = [line for line in lines if id_ in line]
        assert line.startswith("INFO rapport.http: GET /health/live 200 ")


def test_the_log_has_one_line_a_request_and_no_values(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """House rule: method, template, status, ids; no query, no purpose, no content, no token."""
    caplog.set_level(logging.INFO, logger="rapport")
    caplog.clear()
    house.practice.client.get(
        f"/api/v1/relationships/{house.relationship}?known_at=2026-03-02T10:00:00Z",
        headers=house.therapist.headers | {"Purpose": SECRET},
    )
    house.practice.send(house.client, house.rated(house.client))
    lines = [r.getMessage() for r in caplog.records if r.name == "rapport.http"]
    assert [line.split(" request ")[0].rsplit(" ", 2)[0] for line in lines] == [
        "GET /api/v1/relationships/{relationship} 200",
        "POST /api/v1/commands/rate-alliance 409",
    ]
    assert f"principal {house.therapist.person}" in lines[0]
    for value in (SECRET, "2026-03-02T10", house.therapist.token, house.therapist.token[-43:]):
        assert value not in caplog.text


# --- Headers ---------------------------------------------------------------------------------


def test_every_answer_is_guarded(practice: Practice) -> None:
    """API: whatever is answered carries an id and keeps browsers from guessing and storing."""
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    for answer in (
        practice.client.get("/health/live"),
        practice.client.get("/nothing"),
        practice.get(officer, "/log"),
        practice.client.post("/api/v1/score", content=b"x" * (2 << 20)),
    ):
        headers = answer.headers
        assert str(UUID(headers["x-request-id"])) == headers["x-request-id"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


def test_a_host_that_is_none_is_refused(practice: Practice) -> None:
    """API: headers that cannot be read are the sender's fault, and never a 500."""
    for host in ("[", "a b", "x/y", "a:b:c", "exa\xe4mple", ":80", ""):
        answer = practice.client.get("/sign-in", headers=[(b"Host", host.encode("latin-1"))])
        assert (answer.status_code, answer.json()["code"]) == (400, "host-invalid"), host
    for length in ("-1", "1e3", "9" * 30):
        answer = practice.client.get("/health/live", headers={"Content-Length": length})
        assert answer.status_code == 413


# --- Sessions in a browser -------------------------------------------------------------------


def browser(practice: Practice, who: Somebody) -> TestClient:
    """Somebody's browser, signed in."""
    client = TestClient(practice.client.app, HERE, client=("127.0.0.1", 50_001))
    client.cookies.set(SESSION_COOKIE, who.token)
    return client


def test_a_session_is_used_from_this_sites_pages_only(practice: Practice) -> None:
    """API: what a cookie allows, no other site can make a browser do."""
    office = practice.somebody(Role.ADMINISTRATOR)
    client = browser(practice, office)
    assert client.get("/api/v1/log").status_code == 200
    refused: list[dict[str, str]] = [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": HERE},
        {"Sec-Fetch-Site": "none"},
    ]
    for number, headers in enumerate(refused):
        answer = client.post("/api/v1/commands/register-person", json=person(), headers=headers)
        assert answer.json()["code"] == "cross-site-request", number
    for headers in ({"Origin": HERE}, {"Sec-Fetch-Site": "same-origin"}):
        answer = client.post("/api/v1/commands/register-person", json=person(), headers=headers)
        assert answer.status_code == 201


def person() -> dict[str, Any]:
    return {"person": str(uuid4()), "full_name": "Maria Beispiel"}


def test_a_bad_token_is_not_made_good_by_a_cookie(practice: Practice) -> None:
    """API: whoever sends a token is judged by it."""
    client = browser(practice, practice.somebody(Role.ADMINISTRATOR))
    answer = client.get("/api/v1/log", headers={"Authorization": "Bearer rpt_x"})
    assert answer.status_code == 401


# --- Personas --------------------------------------------------------------------------------


def demonstrate(practice: Practice, person: UUID) -> None:
    folder = practice.clinic.home / "demo"
    folder.mkdir()
    listed = [{"role": "therapist", "name": "Dr. Jan Muster", "principal": str(person)}]
    (folder / "personas.json").write_text(json.dumps(listed))


def test_personas_are_there_once_the_demonstration_is(practice: Practice) -> None:
    """API: signing in without a token exists for the demonstration's own people only."""
    house = practice.client.app.state.house  # type: ignore[attr-defined]
    assert list(house.personas()) == []
    demonstrate(practice, who := uuid4())
    (persona,) = house.personas()
    principal = house.authenticate(text := house.sign_in(persona))
    assert (principal.person, principal.role) == (who, Role.THERAPIST)
    with pytest.raises(LookupError):
        house.sign_in(replace(persona, principal=uuid4()))
    with pytest.raises(LookupError):
        house.sign_in(replace(persona, role=Role.COMPLIANCE_OFFICER))
    house.sign_out(text)
    assert house.authenticate(text) is None
    house.sign_out(text)


def test_there_are_no_personas_on_a_database_of_ones_own(practice: Practice) -> None:
    """API: local sign-in exists only on the embedded default."""
    demonstrate(practice, uuid4())
    owner = practice.clinic.database.dsn("owner")
    settings = Settings(home=practice.clinic.home, database_url=SecretStr(owner))
    app = create_app(replace(practice.service, settings=settings))
    assert list(app.state.house.personas()) == []


@pytest.mark.parametrize(
    "sign", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP"]
)
def test_personas_are_not_passed_on_by_a_proxy(practice: Practice, sign: str) -> None:
    """API: a proxy on this machine asks from this machine, for people who are elsewhere."""
    demonstrate(practice, who := uuid4())
    headers = {sign: "https" if sign.endswith("Proto") else "127.0.0.1"}
    assert str(who) not in practice.client.get("/sign-in", headers=headers).text
    headers |= {"Sec-Fetch-Site": "same-origin"}
    answer = practice.client.post("/sign-in", data={"persona": str(who)}, headers=headers)
    assert SESSION_COOKIE not in answer.headers.get("set-cookie", "")


def test_signing_in_stands_in_the_log_by_id(
    practice: Practice, caplog: pytest.LogCaptureFixture
) -> None:
    """R36: who came in is logged by id; who did not, is logged as 401; no token is."""
    caplog.set_level(logging.INFO, logger="rapport")
    officer = practice.somebody(Role.COMPLIANCE_OFFICER)
    for token in (officer.token, officer.token[:-2]):
        practice.client.post(
            "/sign-in",
            data={"token": token},
            headers={"Sec-Fetch-Site": "same-origin"},
            follow_redirects=False,
        )
    came, stayed_out = [r.getMessage() for r in caplog.records if r.name == "rapport.http"]
    assert came.startswith("POST /sign-in 303 ")
    assert came.endswith(f" principal {officer.person}")
    assert stayed_out.startswith("POST /sign-in 401 ")
    assert stayed_out.endswith(" principal -")
    assert officer.token[:-2] not in caplog.text


def test_personas_are_for_this_machine_by_its_own_name(practice: Practice) -> None:
    """API: neither another machine, nor a page whose name was made to lead here, sees them."""
    demonstrate(practice, who := uuid4())
    app = practice.client.app
    for url, address, there in (
        ("http://127.0.0.1:8000", "127.0.0.1", True),
        ("http://localhost:8000", "127.0.0.1", True),
        ("http://[::1]:8000", "::1", True),
        ("http://evil.example:8000", "127.0.0.1", False),
        ("http://127.0.0.1:8000", "192.0.2.7", False),
    ):
        client = TestClient(app, url, client=(address, 50_000))
        assert (str(who) in client.get("/sign-in").text) is there, url
        answer = client.post(
            "/sign-in",
            data={"persona": str(who)},
            headers={"Sec-Fetch-Site": "same-origin"},
            follow_redirects=False,
        )
        assert (SESSION_COOKIE in answer.headers.get("set-cookie", "")) is there, url


# --- The contract ----------------------------------------------------------------------------


def test_the_contract_is_complete(practice: Practice) -> None:
    """API: every operation names its problems, its answer and how to show who one is."""
    document = practice.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    problem = {"$ref": "#/components/schemas/Problem"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            problems = {
                status: answer["content"]["application/problem+json"]["schema"]
                for status, answer in responses.items()
                if "application/problem+json" in answer["content"]
            }
            assert [schema for schema in problems.values() if schema != problem] == []
            assert "500" in problems, path
            success = {"post": "201"}.get(method, "200") if "commands" in path else "200"
            (told,) = responses[success]["content"].values()
            assert "schema" in told, path
            if path.startswith("/api/"):
                assert operation["security"] == [{"token": []}, {"session": []}]
                assert {"401", "403", "500", "503"} <= set(problems)
    described = document["paths"]["/api/v1/commands/withdraw-consent"]["post"]["description"]
    assert described.endswith("For: therapist (own clients), client (own record).")
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    assert {"token", "session"} == set(document["components"]["securitySchemes"])


def test_the_contract_fetches_nothing_from_elsewhere(practice: Practice) -> None:
    """API: no page of documentation that loads scripts from other sites."""
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert practice.client.get(path).status_code == 404
    assert "http" not in json.dumps(practice.client.get("/openapi.json").json()["info"])
