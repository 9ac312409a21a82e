"""The notary with a real log, real witnesses over HTTP and a real authority; and what it refuses.

Witnesses are written apart from the product (tests/infra/witnessing.py).
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from domain.records import Author, Proposal
from infra.acknowledged import AcknowledgedHead
from infra.checkpoint import SignedNote, VerifierKey
from infra.checkpoint_store import AUTHORITY, LOG, CheckpointStore
from infra.event_store import ClinicLog
from infra.notary import Notary, Plan, says
from infra.outward import Address
from infra.postgres import EmbeddedPostgres
from infra.receipt_sink import FolderSink
from infra.receipts import read_receipt
from infra.recorder import ClinicDatastore, leaf_hashes
from infra.settings import SettingsInvalid, load_settings
from infra.tiles import SubtreeFiller, TiledHashes
from infra.timestamp import Authority, trusted_roots, verified
from infra.vouching import vouching
from infra.witness import witnesses_of
from tests.conftest import Clinic
from tests.infra.authority import authority, openssl_accepts
from tests.infra.logs import read, until
from tests.infra.outside import Asked, Outsider, Reply, listening, serving
from tests.infra.witnessing import LocalWitness, witnessing


@dataclass
class Office:
    """A clinic's notary, and what it works with."""

    clinic: Clinic
    log: ClinicLog
    store: CheckpointStore
    datastore: ClinicDatastore
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def clock(self) -> datetime:
        return self.now

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def notary(self, plan: Plan | None = None) -> Notary:
        hashes = TiledHashes(self.datastore)
        return Notary(self.log, hashes, self.store, plan or Plan(), self.clock)

    def record(self, entries: int = 1) -> int:
        """Appends entries; how far the log is then."""
        self.log.append([Proposal(read(), Author(uuid4())) for _ in range(entries)])
        return self.log.head_size()

    @property
    def origin(self) -> str:
        return self.log.key.origin

    def logs(self) -> dict[str, bytes]:
        """What a witness is told to know this log by."""
        return {self.origin: self.log.key.verifier.public}

    def cosigned(self, local: LocalWitness) -> int:
        """The largest size that the witness cosigned, as it is kept here."""
        last = self.store.last_cosigned(self.origin).get(local.vkey)
        return 0 if last is None else last.size

    def leaf_hashes(self, start: int, end: int) -> list[bytes]:
        with self.datastore.get_connection() as connection:
            return leaf_hashes(connection, self.clinic.id, start, end)

    def alarms(self) -> list[tuple[str, str]]:
        return [(alarm.source, alarm.code) for alarm in self.store.alarms()]


@pytest.fixture
def office(clinic: Clinic) -> Iterator[Office]:
    datastore = ClinicDatastore(clinic.database.dsn("app"), clinic.id)
    yield Office(clinic, clinic.log, CheckpointStore(datastore), datastore)
    datastore.close()


@pytest.fixture
def local(office: Office, tmp_path: Path) -> LocalWitness:
    return LocalWitness(tmp_path / "w1.json", office.logs())


def plan_of(*pairs: tuple[LocalWitness, Outsider], **more: object) -> Plan:
    text = "\n".join(f"{local.vkey} {outsider.url}" for local, outsider in pairs)
    return replace(Plan(witnesses_of(text)), **more)  # type: ignore[arg-type]


# --- What it is there for -------------------------------------------------------------------


def test_each_round_signs_keeps_and_has_cosigned(office: Office, local: LocalWitness) -> None:
    """Witnesses: every checkpoint that is kept continues the one before, and a witness says so."""
    with witnessing(local) as outsider:
        notary = office.notary(plan_of((local, outsider)))
        notary.round()
        assert office.store.latest(office.origin) is None  # nothing to sign
        for entries in (1, 2, 5, 300):
            size = office.record(entries)
            notary.round()
            kept = office.store.latest(office.origin)
            assert kept is not None
            assert office.log.key.verified(kept.note).root == office.log.head().root
            assert (kept.size, office.cosigned(local), local.known(office.origin)[0]) == (
                size, size, size,
            )  # fmt: skip
            (cosigned,) = office.store.cosignatures(office.origin, size)
            note = SignedNote.parse(kept.note + cosigned.line)
            assert note.verified_by(VerifierKey.parse(local.vkey)) == cosigned.at
        asked = len(outsider.asked)
        notary.round()
        assert len(outsider.asked) == asked  # nothing new, nobody is asked
    assert office.alarms() == []


def test_a_token_is_kept_and_openssl_accepts_it(office: Office, tmp_path: Path) -> None:
    """Time: the stamped message is the checkpoint's note, as it is kept."""
    with authority(tmp_path / "authority") as (outsider, roots):
        asking = Authority(Address.parse(outsider.url), trusted_roots(roots))
        notary = office.notary(Plan(authority=asking))
        size = office.record()
        notary.round()
        stamped, kept = office.store.stamped(office.origin), office.store.latest(office.origin)
        assert stamped is not None
        assert kept is not None
        assert stamped.size == kept.size == size
        assert verified(stamped.token, kept.note.encode(), asking.roots) == stamped.at
        assert openssl_accepts(stamped.token, kept.note.encode(), roots, tmp_path)
        for minutes, stamps in ((10, 1), (60, 2), (0, 2)):
            office.later(minutes=minutes)
            office.record()
            notary.round()
            assert len(outsider.asked) == stamps


def test_several_witnesses_are_each_on_their_own(
    office: Office, local: LocalWitness, tmp_path: Path
) -> None:
    """Witnesses: one that is down takes nothing from the others."""
    other = LocalWitness(tmp_path / "w2.json", office.logs(), "witness.example/w2")
    with witnessing(local) as up, serving(lambda _: Reply(503)) as down:
        notary = office.notary(plan_of((other, down), (local, up)))
        size = office.record(3)
        notary.round()
        assert (office.cosigned(local), office.cosigned(other)) == (size, 0)
        assert office.store.states(office.origin)[other.vkey].failure == "status-503"
    assert office.alarms() == []


def test_a_witness_that_is_down_is_asked_ever_less_and_catches_up(
    office: Office, local: LocalWitness
) -> None:
    """Witnesses: pauses double up to an hour; what it missed is cosigned by one proof."""
    with serving(lambda _: Reply(500)) as outsider:
        plan = plan_of((local, outsider))
        pauses: list[float] = []
        for _ in range(14):
            office.record()
            office.notary(plan).round()  # a new process remembers too
            asked = len(outsider.asked)
            office.notary(plan).round()
            assert len(outsider.asked) == asked
            retry_at = office.store.states(office.origin)[local.vkey].retry_at
            assert retry_at is not None
            pauses.append((retry_at - office.now).total_seconds())
            office.now = retry_at
        for number, pause in enumerate(pauses):
            longest = min(3600, 30 * 2**number)
            assert longest / 2 <= pause <= longest
        assert len(set(pauses)) == len(pauses)
        outsider.answer = local.answer
        office.notary(plan).round()
        assert office.cosigned(local) == office.log.head_size()
        assert office.store.states(office.origin)[local.vkey].failures == 0
    assert office.alarms() == []


def test_a_witness_that_was_moved_by_somebody_else_is_followed(
    office: Office, local: LocalWitness
) -> None:
    """Witnesses: 409 with a size that this log has is no alarm: the proof goes on from there."""
    with witnessing(local) as outsider:
        plan = plan_of((local, outsider))
        office.record(3)
        office.notary(plan).round()
        local.memory.unlink()  # it was restored from its own backup
        office.record(3)
        office.notary(plan).round()
        assert office.cosigned(local) == 6
        assert len(outsider.asked) == 3
    assert office.alarms() == []


def test_processes_take_turns(office: Office, local: LocalWitness) -> None:
    """Notary: whoever is not at its turn asks nobody and signs nothing."""
    other = ClinicDatastore(office.clinic.database.dsn("app"), office.clinic.id)
    office.record()
    with witnessing(local) as outsider, CheckpointStore(other).turn() as mine:
        assert mine
        office.notary(plan_of((local, outsider))).round()
        assert outsider.asked == []
        assert office.store.latest(office.origin) is None
    other.close()
    with office.store.turn() as mine:
        assert mine


def test_it_runs_beside_and_ends_when_told(office: Office, local: LocalWitness) -> None:
    """Notary: a thread that signs what comes in, until it is stopped."""
    stop = threading.Event()
    with witnessing(local) as outsider:
        plan = plan_of((local, outsider), every=timedelta(milliseconds=10))
        thread = threading.Thread(target=office.notary(plan).run, args=(stop,))
        thread.start()
        try:
            for _ in range(2):
                size = office.record()
                until(lambda: office.cosigned(local) == size)  # noqa: B023  awaited here
        finally:
            stop.set()
            thread.join()


def test_it_waits_where_the_database_is_gone(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """Notary: a lost database is waited for; it is no alarm and no end."""
    office.record()
    stop, nowhere = threading.Event(), "host=127.0.0.1 port=1 dbname=x user=x"
    gone = ClinicDatastore(nowhere, office.clinic.id)
    plan = Plan(every=timedelta(milliseconds=10))
    notary = Notary(office.log, TiledHashes(gone), CheckpointStore(gone), plan, office.clock)
    thread = threading.Thread(target=notary.run, args=(stop,))
    thread.start()
    try:
        until(lambda: "checkpoints wait: StoreUnavailable" in caplog.text, 40)
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join()
        gone.close()


# --- What a rollback looks like -------------------------------------------------------------


@contextmanager
def superuser(server: EmbeddedPostgres, clinic: Clinic) -> Iterator[psycopg.Connection]:
    """Whoever may do everything in the database, triggers switched off."""
    name = str(conninfo_to_dict(clinic.database.dsn("owner"))["dbname"])
    with psycopg.connect(server.superuser_dsn(name)) as conn:
        conn.execute("SET session_replication_role = replica")
        yield conn


EVERYTHING = ("heads", "entries", "batches", "commands", "subtrees", "checkpoints",
              "cosignatures", "timestamps", "witness_states", "alarms")  # fmt: skip

ALL = "SELECT * FROM rapport.{}"
NONE = "DELETE FROM rapport.{}"
ONE = "INSERT INTO rapport.{} VALUES ({})"


@dataclass
class Attacker:
    """Holds the database and the machine: also the file of what was acknowledged."""

    server: EmbeddedPostgres
    office: Office
    kept: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)

    def copy(self) -> None:
        """Keeps the state of now."""
        with superuser(self.server, self.office.clinic) as conn:
            for table in EVERYTHING:
                self.kept[table] = conn.execute(ALL.format(table).encode()).fetchall()

    def put_back(self) -> ClinicLog:
        """The whole database as it was, and nothing outside it that remembers more."""
        with superuser(self.server, self.office.clinic) as conn:
            for table, rows in self.kept.items():
                conn.execute(NONE.format(table).encode())
                for row in rows:
                    places = ", ".join(["%s"] * len(row))
                    conn.execute(ONE.format(table, places).encode(), row)
        return self.restarted()

    def restarted(self) -> ClinicLog:
        """The log as a new process opens it, after its file of heads was removed."""
        heads = self.office.clinic.home / "heads"
        (heads / f"{self.office.clinic.id}.head").unlink()
        clinic = self.office.clinic
        acknowledged = AcknowledgedHead(heads, clinic.id)
        log = ClinicLog(
            clinic.database.dsn("app"), clinic.id, clinic.keyring, acknowledged, clock=clinic.clock
        )
        clinic.others.append(log)
        self.office.log = log
        return log


@pytest.fixture
def attacker(server: EmbeddedPostgres, office: Office) -> Attacker:
    return Attacker(server, office)


def test_a_witness_finds_a_rollback(
    office: Office, local: LocalWitness, attacker: Attacker, caplog: pytest.LogCaptureFixture
) -> None:
    """Witnesses: the old state is consistent in itself, also what is kept of the witnesses; the
    witness alone remembers more. That is an alarm until somebody clears it."""
    with witnessing(local) as outsider:
        plan = plan_of((local, outsider))
        office.record(5)
        office.notary(plan).round()
        attacker.copy()
        office.record(5)
        office.notary(plan).round()
        attacker.put_back()
        office.record(1)
        office.notary(plan).round()
        assert office.alarms() == [(local.vkey, "ahead")]
        (alarm,) = office.store.alarms()
        assert (alarm.size, alarm.told) == (6, 10)
        assert [each.levelname for each in caplog.records if "ALARM" in each.message] == [
            "CRITICAL"
        ]
        assert "cosigned 10 entries of this log, which now has 6" in caplog.text
        asked = len(outsider.asked)
        office.record(1)
        office.notary(plan).round()
        assert len(outsider.asked) == asked  # it is not asked until the alarm is cleared
        assert office.store.clear(alarm.id, uuid4(), office.now)
        assert not office.store.clear(alarm.id, uuid4(), office.now)
        office.notary(plan).round()
        assert office.alarms() == [(local.vkey, "ahead")]
        assert office.cosigned(local) == 5


def test_a_witness_refuses_a_log_that_was_rewritten(
    office: Office, local: LocalWitness, attacker: Attacker
) -> None:
    """Witnesses: the same machine, the same key, another past: no witness cosigns it."""
    with witnessing(local) as outsider:
        plan = plan_of((local, outsider))
        office.record(5)
        attacker.copy()
        office.record(5)
        office.notary(plan).round()
        attacker.put_back()
        office.record(9)
        office.notary(plan).round()
        # Sizes at which the witness was asked from 0, and then told that it stands at 10.
        assert office.alarms() == [(local.vkey, "not-an-extension")]
        assert office.cosigned(local) == 0
        assert local.known(office.origin)[0] == 10


def test_a_log_rewritten_to_the_same_length_is_refused(
    office: Office, local: LocalWitness, attacker: Attacker
) -> None:
    """Witnesses: as many entries as before, but others."""
    with witnessing(local) as outsider:
        plan = plan_of((local, outsider))
        office.record(5)
        attacker.copy()
        office.record(5)
        office.notary(plan).round()
        attacker.put_back()
        office.record(5)
        office.notary(plan).round()
        assert office.alarms() == [(local.vkey, "another-root")]


@pytest.mark.parametrize(
    "grown, code", [(0, "shorter"), (3, "shorter"), (5, "rewritten"), (9, "rewritten")]
)
def test_what_was_signed_before_is_continued_or_nothing_is_signed(
    office: Office, local: LocalWitness, attacker: Attacker, grown: int, code: str
) -> None:
    """Equivocation: a log rolled back or rewritten beside its own checkpoints signs no more."""
    with witnessing(local) as outsider:
        plan = plan_of((local, outsider))
        office.record(5)
        attacker.copy()
        office.record(5)
        office.notary(plan).round()
        for table in ("checkpoints", "cosignatures", "witness_states"):
            attacker.kept.pop(table)
        attacker.put_back()
        if grown:
            office.record(grown)
        asked = len(outsider.asked)
        office.notary(plan).round()
        office.notary(plan).round()
        assert office.alarms() == [(LOG, code)]
        latest = office.store.latest(office.origin)
        assert latest is not None
        assert latest.size == 10
        assert len(outsider.asked) == asked


def test_a_running_process_signs_nothing_that_diverged(office: Office, attacker: Attacker) -> None:
    """Equivocation: a process that saw more than the database now has does not sign it."""
    office.record(5)
    attacker.copy()
    office.record(5)
    still_running = office.notary()
    still_running.round()
    attacker.put_back()
    office.record(4)
    still_running.round()
    assert office.alarms() == [(LOG, "diverged")]
    latest = office.store.latest(office.origin)
    assert latest is None


def test_a_checkpoint_that_was_changed_where_it_is_kept_is_found(
    office: Office, attacker: Attacker
) -> None:
    """Equivocation: what this log never signed is not gone on from."""
    office.record(5)
    office.notary().round()
    with superuser(attacker.server, office.clinic) as conn:
        conn.execute("UPDATE rapport.checkpoints SET note = replace(note, '5', '4')")
    office.record()
    office.notary().round()
    assert office.alarms() == [(LOG, "foreign-note")]


def test_hashes_that_were_changed_prove_nothing(office: Office, attacker: Attacker) -> None:
    """Equivocation: a derived hash that is not the log's stops the signing, and is named."""
    office.record(256)
    SubtreeFiller(office.clinic.database.dsn("views"), office.clinic.id).fill(256)
    office.notary().round()
    with superuser(attacker.server, office.clinic) as conn:
        changed = conn.execute("UPDATE rapport.subtrees SET hash = sha256('x')").rowcount
    assert changed == 1
    office.record(10)
    office.notary().round()
    assert office.alarms() == [(LOG, "unproven")]
    with superuser(attacker.server, office.clinic) as conn:
        conn.execute("DELETE FROM rapport.subtrees")  # they are derived, and are filled again


# --- Outsiders that are none ----------------------------------------------------------------


@pytest.mark.parametrize(
    "told, code", [(b"99\n", "ahead"), (b"7\n", "ahead"), (b"", "another-root")]
)
def test_a_lying_witness_raises_an_alarm_and_harms_nothing_else(
    office: Office, local: LocalWitness, tmp_path: Path, told: bytes, code: str
) -> None:
    """Witnesses: whoever lies is told by name, and not asked any more; the others cosign on."""
    other = LocalWitness(tmp_path / "w2.json", office.logs(), "witness.example/w2")
    conflict = Reply(409, told, "text/x.tlog.size")
    with serving(lambda _: conflict) as lying, witnessing(other) as honest:
        plan = plan_of((local, lying), (other, honest))
        for _ in range(3):
            size = office.record(2)
            office.notary(plan).round()
            assert office.cosigned(other) == size
        assert office.alarms() == [(local.vkey, code)]
        assert len(lying.asked) == 1


def test_a_witness_that_names_ever_other_sizes_is_left_for_later(
    office: Office, local: LocalWitness
) -> None:
    """Witnesses: one resending a round, and no more."""
    sizes = iter(range(1, 100))

    def wandering(asked: Asked) -> Reply:
        return Reply(409, f"{next(sizes)}\n".encode(), "text/x.tlog.size")

    with serving(wandering) as outsider:
        office.record(9)
        office.notary(plan_of((local, outsider))).round()
        assert len(outsider.asked) == 2
        assert office.store.states(office.origin)[local.vkey].failure == "moved"
    assert office.alarms() == []


def test_a_slow_witness_delays_nobody(
    office: Office, local: LocalWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Witnesses: while one makes us wait, the log is appended to and its head is read."""
    monkeypatch.setattr("infra.witness.SECONDS", 1.0)
    silent = threading.Event()

    def say_nothing(connection: socket.socket) -> None:
        silent.wait(5)

    with listening(say_nothing) as url:
        plan = plan_of((local, Outsider(url, lambda _: Reply(200))))
        office.record()
        round_ = threading.Thread(target=office.notary(plan).round)
        round_.start()
        assert office.record(20) == 21
        assert round_.is_alive()
        round_.join(4)
        assert not round_.is_alive()
        silent.set()
    assert office.store.states(office.origin)[local.vkey].failure == "too-slow"
    assert office.alarms() == []


def test_an_authority_that_gives_no_proper_token_is_asked_later(
    office: Office, tmp_path: Path
) -> None:
    """Time: what does not verify is not kept, and the pause grows."""
    with authority(tmp_path / "authority") as (outsider, roots):
        honest = outsider.answer
        answers: list[Callable[[Asked], Reply]] = [
            lambda _: Reply(503),
            lambda _: Reply(200, b"nonsense", "application/timestamp-reply"),
            honest,
        ]
        asking = Authority(Address.parse(outsider.url), trusted_roots(roots))
        office.record()
        failures = []
        for outsider.answer in answers:
            office.notary(Plan(authority=asking)).round()
            office.notary(Plan(authority=asking)).round()
            state = office.store.states(office.origin)[AUTHORITY]
            failures.append((state.failures, state.failure))
            office.later(hours=1)
        assert failures == [(1, "status-503"), (2, "token-malformed"), (0, "")]
        assert office.store.stamped(office.origin) is not None


def test_every_alarm_says_what_it_means(local: LocalWitness) -> None:
    """Witnesses: codes, sizes and names, in a sentence."""
    assert says(local.vkey, "ahead", 6, 10) == (
        "witness witness.example/w1 cosigned 10 entries of this log, which now has 6"
    )
    assert says(LOG, "two-notes", 6, None) == "another checkpoint was kept for the same 6 entries"


# --- Receipts -------------------------------------------------------------------------------


def test_the_newest_receipt_is_handed_out_now_and_then(office: Office, tmp_path: Path) -> None:
    """Receipt sink: each holds against the log, the next comes when its time is, if it moved."""
    plan = Plan(sinks=(FolderSink(tmp_path),), deliver_every=timedelta(hours=1))
    notary, sizes = office.notary(plan), [0]
    for hours, entries in ((0.0, 3), (0.5, 3), (0.6, 3), (5.0, 3), (5.0, 0)):
        office.later(hours=hours)
        sizes.append(office.record(entries) if entries else sizes[-1])
        notary.round()
    handed = {int(each.stem.split("-")[1]): each for each in tmp_path.glob("*.tlog-proof")}
    assert sorted(handed) == [sizes[1], sizes[3], sizes[4]]
    for size, file in handed.items():
        kept = read_receipt(file, office.log.key.verified)
        assert kept.checkpoint.size == size
        kept.contains(office.leaf_hashes)


def test_a_sink_that_is_away_is_tried_again(office: Office, tmp_path: Path) -> None:
    """Receipt sink: a disk that is not mounted loses nothing and stops nobody."""
    away = tmp_path / "disk"
    plan = Plan(sinks=(FolderSink(away), FolderSink(tmp_path)))
    notary, size = office.notary(plan), office.record()
    notary.round()
    named = f"{office.log.key.log_id}-{size}.tlog-proof"
    assert [each.name for each in tmp_path.glob("*.tlog-proof")] == [named]
    told = vouching(office.store, plan, office.log.key)
    assert [(each.size, each.failure) for each in told.sinks] == [(0, "no-folder"), (size, "")]
    away.mkdir()
    office.later(minutes=1)
    notary.round()
    assert (away / named).read_bytes() == (tmp_path / named).read_bytes()
    assert office.alarms() == []


def test_where_receipts_go_is_checked_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings: the variable is named, what may hold a password is not repeated."""
    monkeypatch.setenv("RAPPORT_RECEIPT_SINKS", "file:///receipts smtp://u:secret@host/nobody")
    with pytest.raises(SettingsInvalid, match="RECEIPT_SINKS: one of them") as refused:
        Plan.of(load_settings())
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("RAPPORT_RECEIPT_SINKS", "file:///receipts https://example.org/in")
    assert [each.name for each in Plan.of(load_settings()).sinks] == [
        "folder /receipts",
        "https example.org",
    ]
