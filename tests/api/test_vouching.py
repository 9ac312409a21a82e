"""What is shown of witnesses, timestamps and alarms: page, readiness, metrics, command line."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict

from domain.access import Role
from infra.checkpoint_store import CheckpointStore
from infra.notary import Notary
from infra.postgres import ROLES, EmbeddedPostgres
from infra.tiles import TiledHashes
from tests.api.commandline import rapport, running
from tests.api.conftest import Practice, Somebody
from tests.conftest import Clinic
from tests.infra.authority import authority
from tests.infra.logs import until
from tests.infra.outside import Outsider, Reply
from tests.infra.witnessing import LocalWitness, witnessing


@dataclass
class Watched:
    """A practice whose log a witness and a timestamp authority vouch for."""

    practice: Practice
    officer: Somebody
    local: LocalWitness
    outsider: Outsider
    store: CheckpointStore

    def round(self) -> None:
        """The notary's next turn, by a clock that shows the time of the outsiders."""
        service = self.practice.service
        Notary(
            service.log,
            TiledHashes(service.log.datastore),
            self.store,
            service.plan,
            lambda: datetime.now(UTC),
        ).round()

    def page(self) -> str:
        shown = self.practice.client.get("/log", headers=self.officer.headers)
        assert shown.status_code == 200
        return re.sub(r"\s+", " ", shown.text)

    def ready(self, of: str = "witnesses") -> tuple[int, str]:
        said = self.practice.client.get("/health/ready")
        (detail,) = (each["detail"] for each in said.json()["checks"] if each["name"] == of)
        return said.status_code, detail

    def metrics(self) -> dict[str, float]:
        said = self.practice.client.get("/metrics", headers=self.officer.headers)
        assert said.status_code == 200
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(said.text)
            for sample in family.samples
        }

    def lie(self) -> None:
        """The witness claims that it knows a longer log."""
        self.outsider.answer = lambda _: Reply(409, b"99999\n", "text/x.tlog.size")


@pytest.fixture
def watched(
    clinic: Clinic,
    new_practice: Callable[[Clinic], Practice],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Watched]:
    key = clinic.log.key
    local = LocalWitness(tmp_path / "w1.json", {key.origin: key.verifier.public})
    with witnessing(local) as outsider, authority(tmp_path / "authority") as (time, roots):
        monkeypatch.setenv("RAPPORT_WITNESSES", f"{local.vkey}\n{outsider.url}")
        monkeypatch.setenv("RAPPORT_TIMESTAMP_URL", time.url)
        monkeypatch.setenv("RAPPORT_TIMESTAMP_ROOTS", str(roots))
        monkeypatch.setenv("RAPPORT_RECEIPT_SINKS", (tmp_path / "disk").as_uri())
        practice = new_practice(clinic)
        officer = practice.somebody(Role.COMPLIANCE_OFFICER)
        store = CheckpointStore(clinic.log.datastore)
        yield Watched(practice, officer, local, outsider, store)


def test_the_log_page_shows_how_far_others_vouch(watched: Watched) -> None:
    """Witnesses: what is signed, cosigned and stamped, when, and how far behind."""
    assert "Cosigned by witness.example/w1" in watched.page()
    assert "nothing yet" in watched.page()
    watched.round()
    size = watched.practice.clinic.log.head_size()
    shown = watched.page()  # reading it is one more entry
    for what in ("Signed", "Cosigned by witness.example/w1", "Timestamped"):
        row = shown.partition(f'<th scope="row">{what}</th>')[2].partition("</tr>")[0]
        assert f'<meter min="0" max="{size + 1}" value="{size}">' in row
        assert '<td data-label="Behind" class="number">1</td>' in row
    assert shown.count("as it should be") == 2
    assert 'class="notice alarm"' not in shown
    assert str(watched.practice.clinic.log.key.verifier) in shown


def test_readiness_tells_of_timestamps_and_receipts(watched: Watched) -> None:
    """Witnesses and time: what is behind or fails stands among the details and stops nobody."""
    watched.round()
    assert watched.ready("timestamps") == (200, "0 entries behind")
    size = watched.practice.clinic.log.head_size()
    assert watched.ready("receipts") == (200, f"{size} entries behind, no-folder")


def test_a_failure_is_told_in_words(watched: Watched) -> None:
    """Witnesses: whose failure it is, how often, and no alarm."""
    watched.outsider.answer = lambda _: Reply(404)
    watched.round()
    shown = watched.page()
    assert "does not know this log</span>, 1 in a row" in shown
    assert 'class="notice alarm"' not in shown
    assert watched.metrics()["rapport_witness_failures witness.example/w1"] == 1
    assert watched.ready() == (200, "0 of 1 cosigned the last checkpoint")


def test_an_alarm_is_loud_and_stops_nobody(watched: Watched) -> None:
    """Witnesses: red on the page, named by readiness and metrics; the clinic works on, because
    nobody outside may close its record."""
    watched.lie()
    watched.round()
    size = watched.store.alarms()[0].size
    shown = watched.page()
    (notice,) = re.findall(r'<p class="notice alarm" role="alert">(.*?)</p>', shown)
    assert f"witness.example/w1 cosigned 99999 entries of this log, which now has {size}" in notice
    assert "rapport log witnesses --clear-alarm witness.example/w1" in notice
    assert '<span class="mark alarm">alarm</span>' in shown
    assert watched.ready() == (200, "ALARM: ahead")
    assert watched.metrics()["rapport_alarms"] == 1
    (alarm,) = watched.store.alarms()
    watched.store.clear(alarm.id, uuid4(), datetime.now(UTC))
    assert watched.ready() == (200, "0 of 1 cosigned the last checkpoint")


def test_what_is_kept_is_verified_before_it_is_shown(
    watched: Watched, server: EmbeddedPostgres
) -> None:
    """Witnesses: the database is the suspect; a made-up row vouches for nothing."""
    watched.round()
    name = str(conninfo_to_dict(watched.practice.clinic.database.dsn("owner"))["dbname"])
    with psycopg.connect(server.superuser_dsn(name)) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            "UPDATE rapport.cosignatures SET size = size + 0, line = replace(line, 'A', 'B')"
        )
        conn.execute("UPDATE rapport.timestamps SET token = sha256(token)")
    assert watched.page().count("what is kept of it is not what it sent") == 2
    found = watched.metrics()
    assert found["rapport_witness_entries witness.example/w1"] == 0
    assert found["rapport_timestamp_entries"] == 0


def test_metrics_are_numbers_for_those_whom_the_table_names(watched: Watched) -> None:
    """Metrics: sizes, lags and counts show how much happens, so not everybody sees them; no id,
    and no reading that would be an entry."""
    watched.practice.worker.catch_up()
    watched.round()
    size = watched.practice.clinic.log.head_size()
    found = watched.metrics()
    for name in (
        "log_entries", "log_acknowledged_entries", "checkpoint_entries", "timestamp_entries",
        "witness_entries witness.example/w1", "view_entries timeline_v1",
    ):  # fmt: skip
        assert found[f"rapport_{name}"] == size, name
    now = datetime.now(UTC).timestamp()
    for name in (
        "checkpoint_signed_seconds", "timestamp_stamped_seconds",
        "witness_cosigned_seconds witness.example/w1",
    ):  # fmt: skip
        assert now - 60 < found[f"rapport_{name}"] <= now + 1, name
    assert found["rapport_alarms"] == found["rapport_timestamp_failures"] == 0
    said = watched.practice.client.get("/metrics", headers=watched.officer.headers)
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|[0-9a-f]{32}", said.text)
    assert watched.practice.clinic.log.head_size() == size
    for role, status in {
        Role.ADMINISTRATOR: 200, Role.THERAPIST: 403, Role.CLIENT: 403, Role.SUPERVISOR: 403,
    }.items():  # fmt: skip
        headers = watched.practice.somebody(role).headers
        assert watched.practice.client.get("/metrics", headers=headers).status_code == status
    assert watched.practice.client.get("/metrics").status_code == 401


def test_the_command_line_shows_and_clears(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Witnesses: an operator sees how far others vouch, and clears an alarm by name."""
    clinic = watched.practice.clinic
    for variable, value in environment_of(clinic).items():
        monkeypatch.setenv(variable, value)
    watched.round()
    shown = rapport("log", "witnesses", "--format", "json")
    size = clinic.log.head_size()
    assert shown.status == 0, shown.err
    (witness,) = shown.document["witnesses"]
    assert (witness["name"], witness["entries"], witness["failures"]) == (
        watched.local.name, size, 0,
    )  # fmt: skip
    assert shown.document["timestamp"]["entries"] == shown.document["signed"]["entries"] == size
    watched.lie()
    watched.page()
    watched.round()
    alarmed = rapport("log", "witnesses")
    assert alarmed.status == 1
    assert "ALARM" in alarmed.out
    assert "cosigned 99999 entries" in alarmed.out
    other = rapport("log", "witnesses", "--clear-alarm", "witness.example/w2")
    assert (other.status, "No alarm of witness.example/w2 stands." in other.err) == (1, True)
    cleared = rapport("log", "witnesses", "--clear-alarm", "witness.example/w1")
    assert (cleared.status, "ALARM" in cleared.out) == (0, False)
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        rows = conn.execute("SELECT code, cleared_by IS NOT NULL FROM rapport.alarms").fetchall()
    assert rows == [("ahead", True)]


@pytest.mark.parametrize(
    "name, value, why",
    [
        ("WITNESSES", "x", "RAPPORT_WITNESSES: needs a verifier key and a URL"),
        ("TIMESTAMP_URL", "ftp://a", "RAPPORT_TIMESTAMP_URL: is no http or https URL"),
        ("TIMESTAMP_URL", "http://a", "RAPPORT_TIMESTAMP_URL needs RAPPORT_TIMESTAMP_ROOTS"),
        ("TIMESTAMP_ROOTS", "/nowhere", "RAPPORT_TIMESTAMP_ROOTS: cannot be read"),
    ],
)
def test_settings_of_no_use_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    """Witnesses: a typing error is told before anything is opened."""
    monkeypatch.setenv("RAPPORT_HOME", str(tmp_path / "home"))
    if name == "TIMESTAMP_ROOTS":
        monkeypatch.setenv("RAPPORT_TIMESTAMP_URL", "http://a")
    monkeypatch.setenv(f"RAPPORT_{name}", value)
    for command in ("serve", "work"):
        ran = rapport(command)
        assert (ran.status, why in ran.err) == (2, True), ran.err
    assert not (tmp_path / "home").exists()


def environment_of(clinic: Clinic) -> dict[str, str]:
    """What a program of its own needs to work on the test's clinic."""
    database = "RAPPORT_DATABASE_URL"
    roles = {f"{database}_{role.upper()}": clinic.database.dsn(role) for role in ROLES}
    owner = roles.pop(f"{database}_OWNER")
    return {**roles, database: owner, "RAPPORT_HOME": str(clinic.home)}


def test_a_log_is_signed_and_cosigned_by_itself(watched: Watched) -> None:
    """Witnesses: `rapport work` does it beside the views, and ends when it is told to."""
    clinic = watched.practice.clinic
    with running("work", **environment_of(clinic), RAPPORT_CHECKPOINT_INTERVAL="1") as process:
        for _ in range(2):
            watched.page()
            size = clinic.log.head_size()
            until(lambda: watched.local.known(clinic.log.key.origin)[0] == size, 60)  # noqa: B023
        process.terminate()
        assert process.wait(30) == 0
    assert watched.store.last_cosigned(clinic.log.key.origin)[watched.local.vkey].size == size
