"""The log: gapless, durable, decided again when others were first, the same id the same receipt."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from domain.access import ReadRecord, RecordRead, Role, access_stream
from domain.event import ERASED, EntryUnknown, Given, New, Refusal, Stream
from domain.person import PersonRegistered, RegisterPerson, person_stream
from domain.records import Author, CommandIdReused, Proposal, Receipt, StaleVersion
from infra.acknowledged import LogDiverged
from infra.keyring import KeyringError, KeyUnknown, open_keyring
from infra.merkle import leaf_hash
from infra.pending import SubjectErased
from infra.recorder import _SINCE, _STRETCHES
from tests.conftest import Clinic


def read(relationship: UUID | None = None, what: str = "dossier") -> ReadRecord:
    return ReadRecord(
        role=Role.SUPERVISOR, purpose="supervision", what=what, relationship=relationship
    )


def positions(clinic: Clinic) -> list[int]:
    return [entry.position for entry in clinic.log.read_log(0, 100_000)]


def test_an_entry_reads_back_as_it_was_recorded(clinic: Clinic) -> None:
    """Idea 2: the envelope and the fact come back whole, with the receipt's place."""
    about, reader = uuid4(), uuid4()
    receipt = clinic.record(read(about), by=reader)
    (entry,) = clinic.open_log().history(access_stream(about))
    assert isinstance(entry.event, RecordRead)
    assert entry.event.relationship == about
    assert (entry.actor, entry.position, entry.version) == (reader, receipt.position, 1)
    assert entry.recorded_at == receipt.recorded_at
    assert [entry] == list(clinic.log.history(access_stream(about)))


def test_the_same_command_id_gives_the_identical_receipt(clinic: Clinic) -> None:
    """Rule 8: the same command id twice makes one entry."""
    command, author, id_ = read(uuid4()), Author(uuid4()), uuid4()
    first = clinic.records.record(command, author, command_id=id_)
    clinic.record(read())
    again = clinic.records.record(command, author, command_id=id_)
    elsewhere = clinic.open_log().append([Proposal(command, author, id_)])
    assert first == again == elsewhere[0] == clinic.log.receipt(id_)
    assert positions(clinic) == [1, 2]


def test_the_same_command_id_twice_in_one_batch_is_one_entry(clinic: Clinic) -> None:
    """Rule 8: also where both wait for the same commit."""
    proposal = Proposal(read(uuid4()), Author(uuid4()))
    first, second = clinic.log.append([proposal, proposal])
    assert first == second
    assert positions(clinic) == [1]


def test_a_command_id_with_another_body_is_refused(clinic: Clinic) -> None:
    """Rule 8: an id is bound to what was sent under it."""
    author, id_ = Author(uuid4()), uuid4()
    clinic.records.record(read(uuid4()), author, command_id=id_)
    with pytest.raises(CommandIdReused):
        clinic.records.record(read(uuid4()), author, command_id=id_)


def test_a_stale_expected_version_is_refused_and_a_current_one_is_not(clinic: Clinic) -> None:
    """Rule 8: a stale expected version is refused, never merged silently."""
    about, author = uuid4(), Author(uuid4())
    stream = access_stream(about)
    clinic.records.record(read(about), author, expected={stream: 0})
    with pytest.raises(StaleVersion) as refused:
        clinic.records.record(read(about), author, expected={stream: 0})
    assert refused.value.ids["actual"] == 1
    clinic.records.record(read(about), author, expected={stream: 1})
    assert clinic.records.history(stream).version == 2


def test_a_repeated_command_has_its_receipt_even_where_it_would_be_refused_now(
    clinic: Clinic,
) -> None:
    """Rule 8: what was acknowledged stays acknowledged."""
    about, author, id_ = uuid4(), Author(uuid4()), uuid4()
    expected = {access_stream(about): 0}
    first = clinic.records.record(read(about), author, command_id=id_, expected=expected)
    again = clinic.records.record(read(about), author, command_id=id_, expected=expected)
    assert first == again


class AfterAnother(ReadRecord):
    """A read that is refused unless something else was read first: a rule over two streams."""

    other: UUID

    def decide(self, given: Given) -> Iterator[New]:
        if not given.history(access_stream(self.other)):
            raise EntryUnknown(what="read")
        yield from super().decide(given)


def test_a_refusal_is_never_told_from_what_another_process_has_outdated(clinic: Clinic) -> None:
    """Idea 3: an unchanged head proves that what was read still holds; a refusal checks it too."""
    other = uuid4()
    command = AfterAnother(role=Role.THERAPIST, purpose="care", what="dossier", other=other)
    with pytest.raises(EntryUnknown):
        clinic.record(command)
    clinic.open_log().append([Proposal(read(other), Author(uuid4()))])
    clinic.record(command)


def test_one_refused_command_does_not_refuse_its_neighbours(clinic: Clinic) -> None:
    """Each command of a batch has a verdict of its own."""
    author, about = Author(uuid4()), uuid4()
    stale = Proposal(read(about), author, expected={access_stream(about): 7})
    verdicts = clinic.log.append([Proposal(read(about), author), stale, Proposal(read(), author)])
    assert [type(verdict) for verdict in verdicts] == [Receipt, StaleVersion, Receipt]
    assert positions(clinic) == [1, 2]


def test_commands_of_one_batch_are_decided_over_the_pending_state(clinic: Clinic) -> None:
    """The second command on a stream sees what the first one decided."""
    author, about = Author(uuid4()), uuid4()
    stream = access_stream(about)
    verdicts = clinic.log.append(
        [Proposal(read(about), author, expected={stream: n}) for n in range(5)]
    )
    assert all(isinstance(verdict, Receipt) for verdict in verdicts)
    assert len({verdict.tree_size for verdict in verdicts if isinstance(verdict, Receipt)}) == 1
    assert clinic.records.history(stream).version == 5


def test_writers_in_threads_and_in_two_logs_leave_no_gap(clinic: Clinic) -> None:
    """Gapless positions, each acknowledged entry once, whichever writer was first."""
    logs = [clinic.log, clinic.open_log()]
    shared = uuid4()
    receipts: list[Receipt | Refusal] = []

    def write(number: int) -> None:
        for _ in range(10):
            about = shared if number % 2 else uuid4()
            proposal = Proposal(read(about), Author(uuid4()))
            receipts.extend(logs[number % 2].append([proposal]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    written = sorted(receipt.position for receipt in receipts if isinstance(receipt, Receipt))
    assert written == positions(clinic) == list(range(1, 81))
    assert clinic.check_record().size == 80


def test_a_receipt_names_the_leaf_that_stands_in_the_log(clinic: Clinic) -> None:
    """The receipt's leaf hash is the hash of the stored leaf input; its root is the head's."""
    receipt = clinic.record(read())
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        row = conn.execute("SELECT leaf_input FROM rapport.entries").fetchone()
    assert row is not None
    assert receipt.entries[0].leaf_hash == leaf_hash(bytes(row[0])).hex()
    assert receipt.root == clinic.check_record().root


def test_two_clinics_in_one_database_do_not_see_each_other(
    new_clinic: Callable[[], Clinic],
) -> None:
    """R35: row-level security stands under the application's own checks."""
    ours, theirs = new_clinic(), new_clinic()
    theirs.record(read())
    assert ours.log.head_size() == 0
    assert positions(ours) == []
    with psycopg.connect(ours.database.dsn("app")) as conn:
        row = conn.execute("SELECT count(*) FROM rapport.entries").fetchone()
    assert row == (0,), "a session without a clinic sees no rows"


def test_content_whose_key_was_destroyed_reads_as_erased(clinic: Clinic) -> None:
    """Rule 9: erasure destroys keys; that the entry existed stays proven."""
    about = uuid4()
    clinic.record(read(about))
    (entry,) = clinic.log.history(access_stream(about))
    clinic.keyring.destroy(clinic.id, entry.key_id)
    (erased,) = clinic.log.history(access_stream(about))
    assert erased.event is ERASED
    assert clinic.check_record().size == 1


class RegisterAgain(RegisterPerson):
    """Writes about a person whatever is known of that person already."""

    def decide(self, given: Given) -> Iterator[New]:
        yield New(
            person_stream(self.person), PersonRegistered(person=self.person, name=self.full_name)
        )


def test_nothing_is_added_about_somebody_who_was_erased(clinic: Clinic) -> None:
    """Rule 9: a destroyed key is never replaced by a new one for the same owner."""
    command = RegisterAgain(full_name="A B")
    clinic.record(command)
    (entry,) = clinic.log.history(person_stream(command.person))
    clinic.keyring.destroy(clinic.id, entry.key_id)
    with pytest.raises(SubjectErased):
        clinic.record(command)
    assert clinic.log.head_size() == 1


def test_a_log_that_lost_acknowledged_entries_refuses_to_append(clinic: Clinic) -> None:
    """Idea 5: a start that finds less than was acknowledged refuses, and says what to do."""
    clinic.record(read())
    size, root = clinic.acknowledged() or (0, b"")
    head_file = next((clinic.home / "heads").iterdir())
    honest = head_file.read_bytes()
    head_file.write_bytes(f"{size + 1:020} {root.hex()}\n".encode())
    with pytest.raises(LogDiverged, match="Nothing will be appended"):
        clinic.open_log()
    head_file.write_bytes(f"{size:020} {bytes(32).hex()}\n".encode())
    with pytest.raises(LogDiverged):
        clinic.open_log()
    head_file.write_bytes(honest)
    clinic.open_log()


def test_a_log_does_not_open_with_a_keyring_that_is_not_its_own(
    clinic: Clinic, tmp_path: Path
) -> None:
    """Idea 4: a lost keyring must not pass for an erasure, nor be buried under a new one."""
    clinic.record(read())
    other = tmp_path / "other"
    with pytest.raises(KeyringError, match=r"put back master\.key"):
        open_keyring(other, first_use=False)
    assert not other.exists()
    with open_keyring(other) as ring, pytest.raises(KeyUnknown):
        clinic.open_log(ring)


def test_recorded_time_never_decreases_by_position(clinic: Clinic) -> None:
    """Rule 2: recorded_at = max(the head's last, the clock)."""
    first = clinic.record(read())
    clinic.clock.advance(seconds=-3)
    second = clinic.record(read())
    assert second.recorded_at == first.recorded_at


def test_stream_names_are_found_by_category(clinic: Clinic) -> None:
    """Every stream of a category, in order, and none of another."""
    ids = sorted((uuid4() for _ in range(3)), key=str)
    for id_ in ids:
        clinic.record(read(id_))
    assert list(clinic.log.streams("access")) == [Stream("access", id_) for id_ in ids]
    assert list(clinic.log.streams("relationship")) == []


@pytest.mark.parametrize("statement, upto", [(_STRETCHES, [99]), (_SINCE, [])])
def test_what_is_new_is_not_looked_for_in_all_of_its_category(
    clinic: Clinic, statement: str, upto: list[int]
) -> None:
    """Performance: streams with entries past a position are found by position, however many entries
    of the same category are before it."""
    clinic.record(read(uuid4()))
    with clinic.log.datastore.get_connection() as conn:
        query = f"EXPLAIN {statement}"
        plan = conn.execute(query.encode(), [clinic.id, 0, *upto, "access-"]).fetchall()
    assert "entries_pkey" in str(plan)
    assert "clinic_stream_version" not in str(plan)


def test_streams_read_together_are_decided_on_as_if_each_were_read(clinic: Clinic) -> None:
    """Idea 3: also where another process wrote to one of them before, or does so afterwards."""
    others, author = clinic.open_log(), Author(uuid4())
    abouts = [uuid4() for _ in range(4)]
    streams = [access_stream(about) for about in abouts]
    others.append([Proposal(read(abouts[0]), author), Proposal(read(abouts[1]), author)])
    clinic.log.read_together(streams)
    others.append([Proposal(read(abouts[1]), author), Proposal(read(abouts[2]), author)])
    clinic.log.read_together(streams)
    expected = dict(zip(streams, (1, 2, 1, 0), strict=True))
    verdicts = clinic.log.append(
        [
            Proposal(read(about), author, expected={stream: expected[stream]})
            for about, stream in zip(abouts, streams, strict=True)
        ]
    )
    assert [type(verdict) for verdict in verdicts] == [Receipt] * 4
    assert [clinic.log.history(stream).version for stream in streams] == [2, 3, 2, 1]


def test_nothing_that_was_read_together_is_kept_once_its_key_is_destroyed(clinic: Clinic) -> None:
    """Rule 9: what was read ahead is forgotten like everything that was opened."""
    command = RegisterPerson(full_name="Person")
    receipt = clinic.record(command)
    stream = person_stream(command.person)
    log = clinic.open_log()
    log.read_together([stream])
    (entry,) = clinic.log.read_log(receipt.position - 1, 1)
    clinic.keyring.destroy(clinic.id, entry.key_id)
    assert [entry.event for entry in log.history(stream)] == [ERASED]
    log.read_together([stream])
    assert [entry.event for entry in log.history(stream)] == [ERASED]


def test_receipts_found_together_are_those_that_were_given(clinic: Clinic) -> None:
    """Rule 8: of many commands some of which are in the record, over several commits."""
    author = Author(uuid4())
    sent = [Proposal(read(uuid4()), author) for _ in range(7)]
    given = [*clinic.log.append(sent[:3]), *clinic.log.append(sent[3:5])]
    assert clinic.open_log().seen(sent) == [*given, None, None]
    assert clinic.open_log().append(sent)[:5] == given
    another = Proposal(read(uuid4()), author, sent[1].command_id)
    (reused,) = clinic.log.seen([another])
    assert isinstance(reused, CommandIdReused)
    assert clinic.log.seen([]) == []
