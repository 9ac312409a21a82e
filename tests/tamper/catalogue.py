"""What somebody can do to a log, and what finds it: one table, for the tests and for people.

Each deed is done to a log of its own (`record.py`), by a superuser with all triggers off. What a
check says afterwards is written as it comes: a code of `LogBroken`, a column, the entries.
docs/formats/threats.md shows the table; a test compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.recorder import COLUMNS
from tests.kit import PARTNER, informed, registered
from tests.tamper import deeds
from tests.tamper.deeds import (
    COMMITS,
    HEAD,
    LEAVES,
    WHOLE,
    Deed,
    edited,
    in_each_others_place,
    sql,
    swapped,
)
from tests.tamper.forger import Forger
from tests.tamper.outside import NOTHING
from tests.tamper.suspect import change, delete


@dataclass(frozen=True)
class Case:
    """One deed, and what each check finds."""

    what: str
    deeds: tuple[Deed, ...]
    found: Mapping[str, str]

    def do(self, log: Forger) -> None:
        for deed in self.deeds:
            deed(log)


@dataclass(frozen=True)
class Group:
    """Deeds of one kind."""

    title: str
    cases: tuple[Case, ...]


def case(
    what: str,
    *deeds: Deed,
    verify: str = NOTHING,
    head: str | None = None,
    receipts: str | None = None,
    witness: str = NOTHING,
    opening: str = NOTHING,
) -> Case:
    """What `verify` finds alone, it finds with roots from outside too, unless told otherwise."""
    found = {
        "verify": verify,
        "head": verify if head is None else head,
        "receipts": verify if receipts is None else receipts,
        "witness": witness,
        "opening": opening,
    }
    return Case(what, deeds, found)


ANOTHER = "refused: another-root"
STANDS_AT_10 = "refused: it cosigned 10"
NO_EXTENSION = "refused: not-an-extension"

_OPENED_BY = {
    "clinic": NOTHING,
    "position": NOTHING,
    "recorded_at": NOTHING,
    "leaf_input": NOTHING,
    "commitment": "commitment 5",
    "key_id": "key_unknown 5",
}
_FOUND_BY = {"clinic": "missing 5", "position": "missing 5", "leaf_input": "leaf 5"}

COLUMN = Group(
    "One bit of one column of entry 5",
    tuple(
        case(
            f"`{column}`",
            edited(column),
            verify=_FOUND_BY.get(column, f"column {column} 5"),
            opening=_OPENED_BY.get(column, "not_authentic 5"),
        )
        for column in COLUMNS.split(", ")
    ),
)

FITTED = Group(
    "One bit of an entry's actor, and stored hashes made to fit",
    (
        case(
            "of entry 5: its leaf",
            edited("actor"), LEAVES,
            verify="root 4–6 or before", receipts="root 4–6", opening="not_authentic 5",
        ),
        case(
            "of entry 5: its leaf and the root of its commit",
            edited("actor"), LEAVES, Forger.fit_one_commit,
            verify="root 7–10 or before", receipts="rewritten 4–6", opening="not_authentic 5",
        ),
        case(
            "of entry 5: its leaf and the roots of all commits",
            edited("actor"), LEAVES, COMMITS,
            verify="head 10", head="rewritten 1–10", receipts="rewritten 4–6",
            opening="not_authentic 5",
        ),
        case(
            "of entry 5: all that is stored",
            edited("actor"), WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=ANOTHER,
            opening="not_authentic 5",
        ),
        case(
            "of entry 8, which no receipt is for: all that is stored",
            edited("actor", 8), WHOLE,
            head="rewritten 1–10", witness=ANOTHER, opening="not_authentic 8",
        ),
        case(
            "of no entry, but its time is moved back a day: all that is stored",
            sql(change("entries", "recorded_at = recorded_at - interval '1 day'", "position > 6")),
            WHOLE,
            verify="time 7", witness=ANOTHER,
        ),
        case(
            "of no entry, but its version leaves a gap: all that is stored",
            sql(change("entries", "version = 5", "position = 7")), WHOLE,
            verify="version 7", witness=ANOTHER, opening="not_authentic 7",
        ),
    ),
)  # fmt: skip

_SWAPPED = (in_each_others_place(9, 10), in_each_others_place(9, 10, "commands"))

PLACES = Group(
    "Entries deleted, added, reordered, exchanged",
    (
        case("the first deleted", sql(delete("entries", "position = 1")), verify="missing 1"),
        case("the fifth deleted", sql(delete("entries", "position = 5")), verify="missing 5"),
        case(
            "the fifth deleted, what is behind it moved up: all that is stored",
            deeds.removed, WHOLE,
            head="cut 10", receipts="rewritten 4–6", witness=STANDS_AT_10,
            opening="not_authentic 5",
        ),
        case(
            "the last deleted",
            sql(delete("entries", "position = 10")),
            verify="missing 10", opening="unsaid 3",
        ),
        case("all deleted", sql(delete("entries")), verify="missing 1"),
        case(
            "the fifth a second time behind itself",
            deeds.doubled,
            verify="column command_index 6", opening="not_authentic 6",
        ),
        case(
            "the fifth a second time behind itself: all that is stored",
            deeds.doubled, WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=NO_EXTENSION,
            opening="not_authentic 6",
        ),
        case(
            "the third and the ninth in each other's place",
            in_each_others_place(3, 9),
            verify="column position 3",
        ),
        case(
            "the third and the ninth in each other's place: their leaves",
            in_each_others_place(3, 9), LEAVES,
            verify="command 3",
        ),
        case(
            "the last two in each other's place: all that is stored",
            *_SWAPPED, WHOLE,
            head="rewritten 1–10", witness=ANOTHER,
        ),
        case(
            "two ciphertexts exchanged",
            swapped("ciphertext", 5, 6),
            verify="column ciphertext 5", opening="not_authentic 5",
        ),
        case(
            "two ciphertexts and their commitments exchanged: all that is stored",
            swapped("ciphertext", 5, 6), swapped("commitment", 5, 6), WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=ANOTHER,
            opening="not_authentic 5",
        ),
        case(
            "two key ids exchanged",
            swapped("key_id", 4, 5),
            verify="column key_id 4", opening="not_authentic 4",
        ),
        case(
            "two key ids exchanged: all that is stored",
            swapped("key_id", 4, 5), WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=ANOTHER,
            opening="not_authentic 4",
        ),
        case(
            "the eighth put into another stream",
            deeds.into_another_stream,
            verify="column stream 8", opening="not_authentic 8",
        ),
        case(
            "the eighth put into another stream: all that is stored",
            deeds.into_another_stream, WHOLE,
            head="rewritten 1–10", witness=ANOTHER, opening="not_authentic 8",
        ),
        case(
            "the fifth of another clinic in its place",
            deeds.from_another_clinic,
            verify="column clinic 5", opening="key_unknown 5",
        ),
        case(
            "the fifth of another clinic in its place: all that is stored",
            deeds.from_another_clinic, WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=ANOTHER,
            opening="key_unknown 5",
        ),
    ),
)  # fmt: skip

CUT = Group(
    "The end cut off, an older state put back",
    (
        case(
            "the entries of the last commit",
            sql(delete("entries", "position > 6")),
            verify="missing 7", opening="unsaid 3",
        ),
        case("and its commands", deeds.commands_cut, verify="missing 7", opening="unsaid 3"),
        case("and its own row", deeds.commits_cut, verify="missing 7", opening="unsaid 3"),
        case(
            "and the head: all that is stored",
            deeds.commits_cut, HEAD,
            head="cut 7–10", witness=STANDS_AT_10, opening="unsaid 3",
        ),
        case(
            "the log as it was dumped after the second commit",
            Forger.roll_back,
            head="cut 7–10", witness=STANDS_AT_10, opening="unsaid 3",
        ),
        case(
            "and two other entries behind it",
            Forger.roll_back, deeds.gone_on(2),
            head="cut 9–10", witness=STANDS_AT_10, opening="unsaid 3",
        ),
        case(
            "and six other entries behind it",
            Forger.roll_back, deeds.gone_on(6),
            head="rewritten 1–10", witness=NO_EXTENSION, opening="unsaid 3",
        ),
    ),
)  # fmt: skip

FORGED = Group(
    "Entries made up, all that is stored made to fit",
    (
        case(
            "appended under a key that the forger does not have",
            deeds.appended_under(5, informed()),
            opening="not_authentic 11",
        ),
        case(
            "appended under a key that is destroyed",
            deeds.appended_under(3, registered(PARTNER)),
            opening="late 11",
        ),
        case("appended, with the keyring", deeds.appended_properly),
        case(
            "appended, with the keyring, by another's key",
            deeds.appended_by_another_key,
            opening="owner 11",
        ),
        case(
            "appended, with the keyring, with content that its topic does not have",
            deeds.appended_nonsense,
            opening="content 11",
        ),
        case(
            "the fifth sealed anew to say something else, with the keyring; its leaf not",
            deeds.resealed,
            verify="column ciphertext 5",
        ),
        case(
            "the fifth sealed anew to say something else, with the keyring",
            deeds.resealed, WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=ANOTHER,
        ),
        case(
            "the fifth committed to other content than it seals",
            edited("commitment"), WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=ANOTHER,
            opening="commitment 5",
        ),
        case(
            "the fifth under a key id that nobody knows",
            edited("key_id"), WHOLE,
            head="rewritten 1–10", receipts="rewritten 4–6", witness=ANOTHER,
            opening="key_unknown 5",
        ),
    ),
)  # fmt: skip

_BATCHES = "FROM rapport.batches WHERE clinic = %(clinic)s AND size = 6"

BESIDE = Group(
    "Rows beside the entries",
    (
        case(
            "a commit's root",
            sql(change("batches", "root = sha256(root)", "size = 6")),
            verify="root 4–6 or before", head="batch 4–6",
            receipts="batch 4–6",
        ),
        case(
            "a commit's time",
            sql(change("batches", "recorded_at = now()", "size = 6")),
            verify="batch 4–6",
        ),
        case("a commit's row deleted", sql(delete("batches", "size = 6")), verify="batch 4–6"),
        case(
            "a commit's row added",
            sql(f"INSERT INTO rapport.batches SELECT clinic, 5, root, recorded_at {_BATCHES}"),
            verify="batch 4–6",
        ),
        case(
            "a command's id",
            sql(change("commands", "command_id = gen_random_uuid()", "first_position = 4")),
            verify="command 4",
        ),
        case(
            "a command's place",
            sql(change("commands", "first_position = 5", "first_position = 4")),
            verify="command 4",
        ),
        case(
            "a command's length",
            sql(change("commands", "entries = 2", "first_position = 4")),
            verify="command 6",
        ),
        case(
            "a command's tree",
            sql(change("commands", "tree_size = 10", "first_position = 4")),
            verify="batch 4–10",
        ),
        case(
            "a command deleted",
            sql(delete("commands", "first_position = 4")),
            verify="command 4",
        ),
        case(
            "a command's MAC, which no leaf holds",
            sql(change("commands", "body_mac = sha256(body_mac)", "first_position = 4")),
        ),
        case(
            "the head's size",
            sql(change("heads", "size = 9")),
            verify="command 7", witness=STANDS_AT_10,
        ),
        case(
            "the head's root",
            sql(change("heads", "root = sha256(root)")),
            verify="head 10", witness=ANOTHER,
        ),
        case(
            "the head's frontier",
            sql(change("heads", "frontier = set_byte(frontier, 20, get_byte(frontier, 20) # 1)")),
            verify="head 10",
        ),
        case("the head's time", sql(change("heads", "recorded_at = now()")), verify="head 10"),
        case("the head deleted", sql(delete("heads")), verify="no log", opening="no log"),
        case(
            "a subtree's hash that is none of its entries'",
            sql("INSERT INTO rapport.subtrees VALUES (%(clinic)s, 1, 0, sha256(''))"),
            verify="subtree 1–256",
        ),
    ),
)  # fmt: skip

KEYRING = Group(
    "The keyring's file",
    (
        case(
            "a wrapped key exchanged for another's",
            deeds.key_exchanged,
            opening="key_damaged 5",
        ),
        case("a key passed off as another's", deeds.key_given_away, opening="key_damaged 5"),
        case("a key deleted", deeds.key_lost, opening="key_unknown 5"),
        case("a key destroyed in silence", deeds.key_destroyed, opening="unsaid 5"),
        case("the destroyed key brought back", deeds.key_brought_back, opening="undone 10"),
    ),
)

GROUPS = (COLUMN, FITTED, PLACES, CUT, FORGED, BESIDE, KEYRING)
CASES = tuple((group, case) for group in GROUPS for case in group.cases)
