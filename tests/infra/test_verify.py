"""Verification finds whatever a database superuser does to a log, and says where.

Each test fills a log of its own with ten entries in three commits, changes it as the superuser
with all triggers off, and looks at what `verify` names:

    commit 1: entries 1, 2, 3, a command each    commit 2: entries 4, 5, 6, one command
    commit 3: entries 7, 8, 9, 10, a command each
"""

# ruff: noqa: S608  statements are put together from what stands in this file

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from domain.access import ReadRecord, access_stream
from domain.event import Event, Given, New
from domain.records import Author, Proposal
from infra.clinics import NoSuchClinic, found_clinic
from infra.merkle import Frontier, leaf_hash, root_of
from infra.postgres import Database, EmbeddedPostgres
from infra.recorder import COLUMNS, entry_of
from infra.sealing import leaf_input
from infra.verify import KeptSubtrees, LogBroken, Tree, Trusted, Verified, verify
from tests.conftest import Clinic
from tests.infra.logs import acknowledged, open_log, read
from tests.tamper.suspect import ENTRIES, HERE, change, delete, flipped


class ReadThrice(ReadRecord):
    """One command, three entries in two streams."""

    other: UUID

    def decide(self, given: Given) -> Iterator[New]:
        (new,) = super().decide(given)
        for about in (self.relationship, self.other, self.relationship):
            assert about is not None
            yield New(access_stream(about), new.event)


@dataclass
class Suspect:
    """A log, and a database superuser who may do to it what he likes."""

    clinic: UUID
    superuser: str
    reader: str
    known: tuple[int, bytes] | None

    def tamper(self, *statements: str, **values: object) -> None:
        """Runs statements on the log's rows; %(clinic)s is the log's."""
        with psycopg.connect(self.superuser, row_factory=dict_row) as conn:
            conn.execute("SET session_replication_role = replica")
            for statement in statements:
                conn.execute(statement.encode(), {"clinic": self.clinic, **values})

    def rows(self, query: str) -> list[DictRow]:
        with psycopg.connect(self.superuser, row_factory=dict_row) as conn:
            return conn.execute(query.encode(), {"clinic": self.clinic}).fetchall()

    def fit_leaves(self) -> None:
        """Makes each entry's leaf input fit its columns, as a forger would."""
        for row in self.rows(f"SELECT {COLUMNS} {ENTRIES} ORDER BY position"):
            entry = entry_of(row)
            leaf = leaf_input(entry.envelope, entry.sealed)
            update = change("entries", "leaf_input = %(leaf)s", "position = %(at)s")
            self.tamper(update, leaf=leaf, at=entry.id)

    def fit_tree(self) -> None:
        """Makes batches and head fit the leaves, as a forger of the whole log would."""
        frontier = Frontier()
        for row in self.rows(f"SELECT leaf_input {ENTRIES} ORDER BY position"):
            frontier = frontier.append([leaf_hash(row["leaf_input"])])
            update = change("batches", "root = %(root)s", "size = %(size)s")
            self.tamper(update, root=frontier.root(), size=frontier.size)
        self.tamper(
            change("heads", "size = %(size)s, root = %(root)s, frontier = %(frontier)s"),
            change("heads", f"recorded_at = (SELECT max(recorded_at) {ENTRIES})"),
            size=frontier.size, root=frontier.root(), frontier=frontier.to_bytes(),
        )  # fmt: skip

    def keep_subtrees(self) -> None:
        """Keeps the hashes over the first and the second 256 entries, and no others."""
        self.tamper(delete("subtrees"))
        for index in range(2):
            among = f"position > {256 * index} AND position <= {256 * (index + 1)}"
            rows = self.rows(f"SELECT leaf_input {ENTRIES} AND {among} ORDER BY position")
            root = Frontier().append(leaf_hash(row["leaf_input"]) for row in rows).root()
            insert = "INSERT INTO rapport.subtrees VALUES (%(clinic)s, 1, %(index)s, %(root)s)"
            self.tamper(insert, index=index, root=root)

    def verify(self, *, known: bool = True) -> Verified:
        return verify(self.reader, self.clinic, acknowledged=self.known if known else None)

    def finding(self) -> tuple[str, int, int, str]:
        """What verification finds: code, first and last position, column."""
        with pytest.raises(LogBroken) as broken:
            self.verify()
        return broken.value.code, broken.value.first, broken.value.last, broken.value.column


@pytest.fixture(scope="module")
def written(
    server: EmbeddedPostgres,
    new_database: Callable[[], Database],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], Suspect]:
    """Writes a log of ten entries in one database that all tests share."""
    database, home = new_database(), tmp_path_factory.mktemp("home")
    name = str(conninfo_to_dict(database.dsn("owner"))["dbname"])

    def write() -> Suspect:
        clinic, one, two = uuid4(), uuid4(), uuid4()
        found_clinic(database.dsn("owner"), clinic)
        alone = [Proposal(read(about), Author(uuid4())) for about in (one, two, one)]
        thrice = ReadThrice(**dict(read(one)), other=two)
        with open_log(database.dsn("app"), clinic, home) as log:
            log.append(alone)
            log.append([Proposal(thrice, Author(uuid4()))])
            log.append([Proposal(read(about), Author(uuid4())) for about in (one, two, two, one)])
        return Suspect(
            clinic, server.superuser_dsn(name), database.dsn("read"), acknowledged(clinic, home)
        )

    return write


@pytest.fixture
def suspect(written: Callable[[], Suspect]) -> Suspect:
    return written()


def test_an_honest_log_verifies(suspect: Suspect) -> None:
    """R3: what was written is what is proven: every entry, commit and stream."""
    verified = suspect.verify()
    assert (verified.size, verified.batches, verified.streams) == (10, 3, 2)
    assert suspect.known == (10, bytes.fromhex(verified.root))


@pytest.mark.parametrize("column", COLUMNS.split(", "))
def test_one_byte_changed_in_any_column_is_found(suspect: Suspect, column: str) -> None:
    """R3: each column of an entry is bound to its leaf, and the leaf to the root."""
    where = f"{ENTRIES} AND position = 5"
    ((value,),) = [row.values() for row in suspect.rows(f"SELECT {column} {where}")]
    update = change("entries", f"{column} = %(value)s") + " AND position = 5"
    suspect.tamper(update, value=flipped(value))
    if column in ("clinic", "position"):
        assert suspect.finding() == ("missing", 5, 5, "")
    elif column == "leaf_input":
        assert suspect.finding() == ("leaf", 5, 5, "")
    else:
        assert suspect.finding() == ("column", 5, 5, column)


@pytest.mark.parametrize("at", [0, 1, 100, 300, 500])
def test_any_byte_of_the_logged_bytes_counts(suspect: Suspect, at: int) -> None:
    """R3: the leaf input itself, wherever it is touched."""
    turned = f"set_byte(leaf_input, {at}, get_byte(leaf_input, {at}) # 2)"
    suspect.tamper(change("entries", f"leaf_input = {turned}") + " AND position = 7")
    code, first, last, _ = suspect.finding()
    assert code in ("leaf", "column")
    assert (first, last) == (7, 7)


CHANGED = {
    "the first entry deleted": ([delete("entries", "position = 1")], ("missing", 1, 1)),
    "an entry in the middle deleted": ([delete("entries", "position = 5")], ("missing", 5, 5)),
    "the last entry deleted": ([delete("entries", "position = 10")], ("missing", 10, 10)),
    "every entry deleted": ([delete("entries")], ("missing", 1, 1)),
    "a whole commit deleted, with all that belongs to it": (
        [
            delete("entries", "position > 6"),
            delete("commands", "first_position > 6"),
            delete("batches", "size > 6"),
        ],
        ("missing", 7, 7),
    ),
    "an entry inserted past the end": (
        [
            f"CREATE TEMP TABLE forged AS SELECT * {ENTRIES} AND position = 10",
            "UPDATE forged SET position = 11, version = 99",
            "INSERT INTO rapport.entries SELECT * FROM forged",
        ],
        ("surplus", 11, 11),
    ),
    "an entry inserted, those behind it moved on": (
        [
            f"CREATE TEMP TABLE forged AS SELECT * {ENTRIES} AND position = 5",
            change("entries", "position = position + 100", "position > 4"),
            change("entries", "position = position - 99", "position > 100"),
            "UPDATE forged SET version = 99",
            "INSERT INTO rapport.entries SELECT * FROM forged",
            change("heads", "size = 11"),
        ],
        ("column", 5, 5),
    ),
    "two entries swapped": (
        [
            change("entries", "position = 103", "position = 3"),
            change("entries", "position = 3", "position = 8"),
            change("entries", "position = 8", "position = 103"),
        ],
        ("column", 3, 3),
    ),
    "the order reversed": (
        [
            change("entries", "position = position + 100"),
            change("entries", "position = 111 - position"),
        ],
        ("column", 1, 1),
    ),
    "a root changed": (
        [change("batches", "root = sha256(root)", "size = 6")],
        ("batch", 4, 6),  # what was acknowledged proves the entries
    ),
    "the last root changed": (
        [change("batches", "root = sha256(root)", "size = 10")],
        ("batch", 7, 10),
    ),
    "a commit's time changed": (
        [change("batches", "recorded_at = recorded_at + interval '1 microsecond'", "size = 6")],
        ("batch", 4, 6),
    ),
    "a commit's row deleted": ([delete("batches", "size = 6")], ("batch", 4, 6)),
    "the last commit's row deleted": ([delete("batches", "size = 10")], ("batch", 7, 10)),
    "every commit's row deleted": ([delete("batches")], ("batch", 1, 3)),
    "a commit's row moved": ([change("batches", "size = 5", "size = 6")], ("batch", 4, 6)),
    "a commit's row moved past the end": (
        [change("batches", "size = 11", "size = 10")],
        ("batch", 7, 10),
    ),
    "a commit added": (
        [f"INSERT INTO rapport.batches SELECT clinic, 12, root, now() FROM rapport.heads {HERE}"],
        ("batch", 11, 12),
    ),
    "the head's root changed": ([change("heads", "root = sha256(root)")], ("head", 10, 10)),
    "the head's frontier changed": (
        [change("heads", "frontier = set_byte(frontier, 20, get_byte(frontier, 20) # 1)")],
        ("head", 10, 10),
    ),
    "the head's frontier broken": ([change("heads", "frontier = 'x'")], ("head", 10, 10)),
    "the head's time changed": ([change("heads", "recorded_at = now()")], ("head", 10, 10)),
    "the head moved back": ([change("heads", "size = 9")], ("command", 7, 7)),
    "the head moved on": ([change("heads", "size = 11")], ("missing", 11, 11)),
    "a command's id changed": (
        [change("commands", "command_id = gen_random_uuid()", "first_position = 4")],
        ("command", 4, 4),
    ),
    "a command's place changed": (
        [change("commands", "first_position = 5", "first_position = 4")],
        ("command", 4, 4),
    ),
    "a command shortened": (
        [change("commands", "entries = 2", "first_position = 4")],
        ("command", 6, 6),
    ),
    "a command lengthened": (
        [change("commands", "entries = 4", "first_position = 4")],
        ("command", 7, 7),
    ),
    "a command's tree changed": (
        [change("commands", "tree_size = 10", "first_position = 4")],
        ("batch", 4, 10),
    ),
    "a command's tree beyond the log": (
        [change("commands", "tree_size = 99", "first_position = 4")],
        ("command", 4, 4),
    ),
    "a command deleted": ([delete("commands", "first_position = 8")], ("command", 8, 8)),
    "the last command deleted": ([delete("commands", "first_position = 10")], ("command", 10, 10)),
    "a command added": (
        [
            "INSERT INTO rapport.commands SELECT clinic, gen_random_uuid(), body_mac, 11, 1, 10 "
            f"FROM rapport.commands {HERE} AND first_position = 10"
        ],
        ("command", 11, 11),
    ),
    "a time that no calendar has": (
        [change("entries", "recorded_at = 'infinity'", "position = 6")],
        ("column", 6, 6),
    ),
    "a year before all calendars": (
        [change("entries", "occurred_at = '4713-01-01 BC'", "position = 6")],
        ("column", 6, 6),
    ),
    "an offset that is none": (
        [change("entries", "occurred_offset = 'east'", "position = 6")],
        ("unreadable", 6, 6),
    ),
    "a number that is too large": (
        [change("entries", "version = 9007199254740992", "position = 6")],
        ("unreadable", 6, 6),
    ),
    "logged bytes that are no object": (
        [change("entries", "leaf_input = '[]'", "position = 6")],
        ("leaf", 6, 6),
    ),
    "logged bytes without an end": (
        [change("entries", "leaf_input = repeat('[', 16384)::bytea", "position = 6")],
        ("leaf", 6, 6),
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_a_superuser_changes_is_found(suspect: Suspect, what: str) -> None:
    """R3: found, and named as narrowly as it can be proven."""
    statements, found = CHANGED[what]
    suspect.tamper(*statements)
    assert suspect.finding()[:3] == found


def test_a_log_without_its_head_is_no_log(suspect: Suspect) -> None:
    """R3: a deleted head is an error, never an empty log."""
    suspect.tamper(delete("heads"))
    with pytest.raises(NoSuchClinic):
        suspect.verify()


def test_an_entry_rewritten_to_fit_itself_is_found_by_its_commit(suspect: Suspect) -> None:
    """R3: the smallest range between trusted roots is named."""
    suspect.tamper(change("entries", "actor = gen_random_uuid()", "position = 5"))
    suspect.fit_leaves()
    assert suspect.finding() == ("root", 4, 6, "")


def test_entries_swapped_to_fit_themselves_are_found_by_their_commit(suspect: Suspect) -> None:
    """R3: order is proven too: entries 5 and 6 stand in two streams and one command."""
    suspect.tamper(
        change("entries", "position = 105", "position = 5"),
        change("entries", "position = 5, command_index = 1", "position = 6"),
        change("entries", "position = 6, command_index = 2", "position = 105"),
    )
    suspect.fit_leaves()
    assert suspect.finding() == ("root", 4, 6, "")


def test_versions_with_a_gap_are_found_without_their_roots(suspect: Suspect) -> None:
    """R3: a stream's versions have neither gaps nor doubles, whatever the tree says."""
    suspect.tamper(change("entries", "version = 77", "position = 10"))
    suspect.fit_leaves()
    suspect.fit_tree()
    assert suspect.finding() == ("version", 10, 10, "")


def test_time_that_runs_backwards_is_found_without_its_roots(suspect: Suspect) -> None:
    """Rule 2: recorded_at never decreases by position, whatever the tree says."""
    suspect.tamper(
        change("entries", "recorded_at = recorded_at - interval '1 day'", "position = 8")
    )
    suspect.fit_leaves()
    suspect.fit_tree()
    assert suspect.finding() == ("time", 8, 8, "")


def test_a_log_rewritten_as_a_whole_is_found_by_what_was_acknowledged(suspect: Suspect) -> None:
    """Idea 5: the database alone can be made to fit itself; what was remembered outside cannot."""
    suspect.tamper(change("entries", "actor = gen_random_uuid()", "position = 5"))
    suspect.fit_leaves()
    suspect.fit_tree()
    assert suspect.verify(known=False).size == 10
    assert suspect.finding() == ("rewritten", 1, 10, "")


def test_a_log_cut_short_as_a_whole_is_found_by_what_was_acknowledged(suspect: Suspect) -> None:
    """Idea 5: so is an older backup that was restored without a word."""
    suspect.tamper(
        delete("entries", "position > 6"),
        delete("commands", "first_position > 6"),
        delete("batches", "size > 6"),
    )
    suspect.fit_tree()
    assert suspect.verify(known=False).size == 6
    assert suspect.finding() == ("cut", 7, 10, "")


# --- Roots that are trusted -------------------------------------------------------------------


def trusted(suspect: Suspect, *sizes: int) -> list[Trusted]:
    """The roots after these numbers of entries, as somebody outside the database keeps them."""
    leaves = [row["leaf_input"] for row in suspect.rows(f"SELECT * {ENTRIES} ORDER BY position")]
    return [
        Trusted(size, Frontier().append(map(leaf_hash, leaves[:size])).root(), f"Receipt {size}")
        for size in sizes
    ]


def broken_by(suspect: Suspect, roots: Sequence[Trusted]) -> LogBroken:
    with pytest.raises(LogBroken) as broken:
        verify(suspect.reader, suspect.clinic, trusted=roots)
    return broken.value


def test_roots_of_any_size_are_held_against_the_log(suspect: Suspect) -> None:
    """R3: of no entry, in the middle of a commit, of the whole; in any order, the same one twice.
    Verification tells which of them it has proven."""
    roots = trusted(suspect, 10, 0, 5, 3, 10, 4)
    found = verify(suspect.reader, suspect.clinic, trusted=roots, acknowledged=suspect.known)
    assert [root.size for root in found.trusted] == [0, 3, 4, 5, 10, 10, 10]
    assert suspect.verify(known=False).trusted == ()


def test_the_smallest_range_between_trusted_roots_is_named(suspect: Suspect) -> None:
    """R3: with all stored hashes made to fit, what is kept outside says where it was rewritten."""
    roots = trusted(suspect, 2, 4, 7, 9)
    suspect.tamper(change("entries", "actor = gen_random_uuid()", "position = 6"))
    suspect.fit_leaves()
    suspect.fit_tree()
    broken = broken_by(suspect, roots)
    assert (broken.code, broken.first, broken.last) == ("rewritten", 5, 7)
    assert broken.source == "Receipt 7"
    assert broken.proven == roots[1]
    assert "Receipt 4 proves the first 4 entries." in str(broken)


def test_two_roots_of_one_size_that_differ_cannot_both_stand(suspect: Suspect) -> None:
    """R3: two receipts that contradict each other prove that one of them was for another log."""
    (promised,) = trusted(suspect, 6)
    other = Trusted(6, sha256(promised.root).digest(), "Receipt of another log")
    broken = broken_by(suspect, [promised, other])
    assert (broken.code, broken.first, broken.last) == ("rewritten", 7, 6)
    assert (broken.source, broken.proven) == ("Receipt of another log", promised)


def test_a_root_for_no_entries_is_compared_too(suspect: Suspect) -> None:
    """R3: every root that is given is looked at, the smallest there is included."""
    broken = broken_by(suspect, [Trusted(0, bytes(32), "Receipt 0")])
    assert (broken.code, broken.source) == ("rewritten", "Receipt 0")


def test_a_log_cut_short_lacks_what_the_largest_root_is_for(suspect: Suspect) -> None:
    """R3: what is missing is everything promised; what is left is proven by smaller roots."""
    roots = trusted(suspect, 6, 8, 10)
    suspect.tamper(
        delete("entries", "position > 6"),
        delete("commands", "first_position > 6"),
        delete("batches", "size > 6"),
    )
    suspect.fit_tree()
    broken = broken_by(suspect, roots)
    assert (broken.code, broken.first, broken.last) == ("cut", 7, 10)
    assert (broken.source, broken.proven) == ("Receipt 10", roots[0])


def test_a_commit_whose_root_does_not_fit_is_told_from_entries_that_do_not(
    suspect: Suspect,
) -> None:
    """R3: a trusted root behind the commit says which of the two was changed; none, neither."""
    roots = trusted(suspect, 3, 8)
    suspect.tamper(change("batches", "root = sha256(root)", "size = 6"))
    assert broken_by(suspect, roots).code == "batch"
    assert broken_by(suspect, roots[:1]).code == "root"
    suspect.tamper(change("entries", "actor = gen_random_uuid()", "position = 5"))
    suspect.fit_leaves()
    broken = broken_by(suspect, roots)
    assert (broken.code, broken.first, broken.last) == ("root", 4, 6)
    assert broken.proven == roots[0]


def test_a_finding_says_what_is_proven_before_it(suspect: Suspect) -> None:
    """R3: that the entries before fit each other proves nothing; a trusted root does."""
    roots = trusted(suspect, 3, 6)
    suspect.tamper(change("entries", "topic = 'record.denied'", "position = 8"))
    broken = broken_by(suspect, roots)
    assert (broken.code, broken.first, broken.proven) == ("column", 8, roots[1])
    assert "Receipt 6 proves the first 6 entries." in str(broken)
    assert "No root from outside proves the entries before." in str(broken_by(suspect, []))


def test_a_doubted_commit_comes_before_what_else_is_wrong_behind_it(suspect: Suspect) -> None:
    """R3: the first thing that does not fit is named, in the order of the log."""
    suspect.tamper(
        change("batches", "root = sha256(root)", "size = 6"),
        change("entries", "topic = 'record.denied'", "position = 8"),
    )
    broken = broken_by(suspect, trusted(suspect, 3, 9))
    assert (broken.code, broken.first, broken.last) == ("root", 4, 6)


# --- Hashes of subtrees ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(
    server: EmbeddedPostgres,
    new_database: Callable[[], Database],
    tmp_path_factory: pytest.TempPathFactory,
) -> Suspect:
    """700 entries, and the hashes over the first and the second 256 of them."""
    database, home, clinic = new_database(), tmp_path_factory.mktemp("long"), uuid4()
    name = str(conninfo_to_dict(database.dsn("owner"))["dbname"])
    found_clinic(database.dsn("owner"), clinic)
    with open_log(database.dsn("app"), clinic, home) as log:
        for _ in range(7):
            log.append([Proposal(read(clinic), Author(uuid4())) for _ in range(100)])
    superuser, reader = server.superuser_dsn(name), database.dsn("read")
    suspect = Suspect(clinic, superuser, reader, acknowledged(clinic, home))
    suspect.keep_subtrees()
    return suspect


KEPT = {
    "nothing": ([delete("subtrees")], None),
    "only the second": ([delete("subtrees", "index = 0")], None),
    "another hash of the first": (
        [change("subtrees", "hash = sha256(hash)", "index = 0")],
        (1, 256),
    ),
    "another hash of the second": (
        [change("subtrees", "hash = sha256(hash)", "index = 1")],
        (257, 512),
    ),
    "both, swapped": (
        [
            change("subtrees", "index = 9", "index = 0"),
            change("subtrees", "index = 0", "index = 1"),
            change("subtrees", "index = 1", "index = 9"),
        ],
        (1, 256),
    ),
    "one that is not complete": ([change("subtrees", "index = 2", "index = 1")], (513, 768)),
    "one of a higher level": ([change("subtrees", "level = 2", "index = 0")], (1, 65_536)),
    "one far beyond": ([change("subtrees", "index = 40", "index = 1")], (10_241, 10_496)),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_proofs_begin_from_is_held_against_the_entries(long: Suspect, what: str) -> None:
    """R3: hashes of subtrees may be missing, being derived, but none may be another's."""
    statements, found = KEPT[what]
    try:
        long.tamper(*statements)
        if found is None:
            long.verify()
        else:
            assert long.finding() == ("subtree", *found, "")
    finally:
        long.keep_subtrees()


def test_hashes_of_every_level_are_held_against_the_entries() -> None:
    """R3: a hash at level 2 is over 256 of level 1, which are over 256 entries each."""
    leaves = [sha256(bytes([number % 251])).digest() for number in range(2 * 65_536)]

    def over(level: int, index: int) -> tuple[int, int, bytes]:
        width = 256**level
        part = leaves[index * width : (index + 1) * width]
        return level, index, Frontier().append(part).root()

    def check(*rows: tuple[int, int, bytes]) -> None:
        kept, tree = KeptSubtrees(iter(rows)), Tree()
        for leaf in leaves:
            tree.add(leaf)
            kept.check(tree)
        kept.require_no_more()

    check(over(1, 0), over(1, 255), over(2, 0), over(1, 300), over(1, 511), over(2, 1))
    with pytest.raises(LogBroken) as broken:
        check(over(1, 255), over(2, 0), (2, 1, over(2, 0)[2]))
    assert (broken.value.first, broken.value.last) == (65_537, 131_072)
    with pytest.raises(LogBroken) as broken:
        check(over(2, 0), over(1, 255))
    assert (broken.value.first, broken.value.last) == (65_281, 65_536)


@given(st.integers(0, 700))
def test_a_tree_that_grows_by_leaves_is_the_tree_of_the_log(size: int) -> None:
    """R3: the fast tree has the root and the frontier that RFC 6962 defines, at every size."""
    leaves = [sha256(bytes([number % 251])).digest() for number in range(size)]
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == root_of(leaves)
    assert tree.frontier() == Frontier().append(leaves)


def test_verification_runs_beside_writers(clinic: Clinic) -> None:
    """R3: one snapshot; what is being written is no finding."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            clinic.log.append([Proposal(read(uuid4()), Author(uuid4())) for _ in range(3)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sizes = [clinic.check_record().size for _ in range(20)]
    finally:
        stop.set()
        writer.join()
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 5, "the writer was not writing"


class Bulky(Event):
    """Content that is opened by nobody, so that its topic need not be known."""

    topic = "test.bulky"
    words: str


class WriteBulky(ReadRecord):
    """Appends 4 KB to a stream of its own."""

    def decide(self, given: Given) -> Iterator[New]:
        yield New(access_stream(given.clinic), Bulky(words="x" * 4_000))


MEASURED = """
import json, sys
from uuid import UUID
import psutil
from infra.verify import verify

task = json.loads(sys.stdin.readline())
held = []
def measure(done, size):
    held.append(psutil.Process().memory_info().rss)
for clinic in task["clinics"]:
    verify(task["reader"], UUID(clinic), progress=measure)
    print(max(held))
"""


def test_a_long_log_takes_no_more_memory_than_a_short_one(
    new_clinic: Callable[[], Clinic],
) -> None:
    """R3: rows are read in pages; a log of ten years fits into the memory of a log of a day."""
    short, long = new_clinic(), new_clinic()
    for clinic, entries in ((short, 1_000), (long, 5_000)):
        clinic.log.append(
            [Proposal(WriteBulky(**dict(read())), Author(uuid4())) for _ in range(entries)]
        )
    task = {
        "reader": short.database.dsn("read"),
        "clinics": [str(short.id), str(long.id)],
    }
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED],
        input=json.dumps(task), capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    small, large = map(int, measured.stdout.split())
    assert large - small < 8_000_000, "5,000 entries of 4 KB are more than 20 MB"
