"""What rows of a view are in bytes, and a digest that anybody with the key can compute again."""

import hmac
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args, get_type_hints
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import TypeAdapter

from domain.clinic import Scope
from infra import canonical
from infra.keyring import open_keyring
from infra.sealing import SealBroken, subkey
from infra.view_digests import Streams, digesting, line
from infra.view_rows import Block, Seals, Unsealable, in_order
from infra.view_spelling import StoredRow, group_bytes, spellings, stored_rows
from projections.dossier import VIEWS
from projections.view import PlainRow, ToldBy, View, _cell_in
from tests.domain.test_records import wild_records
from tests.kit import CLINIC, RELATIONSHIP, Record

STREAM = f"relationship-{RELATIONSHIP}"


def rows_of(view: View[Any, Any], record: Record) -> dict[int, Any]:
    """The view's rows of the one relationship of a wild record."""
    history = [e for e in record.entries if e.stream.category == "relationship"]
    return dict(view.of(history[0].stream, history)) if history else {}


@for_all(record=wild_records())
def test_a_digests_line_is_canonical(record: Record) -> None:
    """R18: docs/formats/view.md; the quick encoders write what the canonical one would."""
    for view in VIEWS.all():
        apart = [(entry, view.taken_apart(row)) for entry, row in rows_of(view, record).items()]
        for row, _ in spellings(view.forms).rows(apart):
            (stream, entry), said = line(STREAM, row)
            assert (stream, entry) == (STREAM, row.entry)
            assert canonical.encode(canonical.decode(said[:-1])) + b"\n" == said


@for_all(record=wild_records())
def test_a_groups_bytes_are_canonical(record: Record) -> None:
    """R18: docs/formats/view.md; the quick encoder of groups writes what the canonical one does."""
    for view in VIEWS.all():
        for row in rows_of(view, record).values():
            for group in view.taken_apart(row).groups.values():
                assert group_bytes(group) == canonical.encode(dict(group))


@for_all(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53) + 1, 2**53 - 1)
        | st.text(st.characters(exclude_categories=["Cs"]))
        | st.uuids()
        | st.dates()
        | st.datetimes(timezones=st.just(UTC))
        | st.sampled_from(Scope),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner) | st.tuples(inner),
    )
)
def test_any_value_is_written_canonically(value: Any) -> None:
    """R18: whatever a cell holds, its bytes are those of the canonical form."""
    group = {"a": (1, 2, None, value), "b": (3, 4, 5, value)}
    assert group_bytes(group) == canonical.encode(dict(group))


class Told:
    """A form of a made-up view: what one entry tells of a row."""

    names = ("note", "topic", "at")
    clear = ("topic", "at")
    times = ("at",)


@dataclass
class Made:
    """The table of a made-up view."""

    name: str = "timeline"
    version: int = 1
    table: str = "timeline_v1"
    category: str = "relationship"
    columns: Mapping[str, str] = field(default_factory=dict)
    forms: tuple[Any, ...] = (Told(),)


@dataclass
class Changed:
    """What becomes of the one stream."""

    written: Mapping[int, PlainRow]
    since: int = 0
    stream: str = STREAM
    afresh: bool = False
    parked: tuple[int, str] | None = None
    position: int = 12


class Sealing:
    """A keyring with one key, and two rows under it: one that an entry tells, one of two entries.

    `told` is the first, `row` the second.
    """

    def __init__(self, folder: Path) -> None:
        self.keyring = open_keyring(folder / "keyring")
        self.key_id, self.key = self.keyring.key_for(CLINIC, STREAM, "joint")
        self.seals = Seals(CLINIC, self.keyring)
        self.table = Made()
        (form,) = self.table.forms
        self.told = PlainRow.told_by(
            ToldBy(
                form,
                (12, 4, self.key_id, None),  # type: ignore[arg-type]
                ("Grüße", "session.held", datetime(2026, 3, 2, 9, tzinfo=UTC)),
            )
        )
        ref = (13, 5, self.key_id, 15)
        self.row = PlainRow(
            columns={"at": datetime(2026, 3, 9, 9, tzinfo=UTC), "topic": None},
            cited=((ref, False, ("at",)), ((15, 7, self.key_id, None), True, ("topic",))),  # type: ignore[arg-type]
            groups={self.key_id: {"note": (13, 5, 15, "Servus")}},
        )

    def block(self) -> Block:
        change = Changed({4: self.told, 5: self.row})
        (block,) = self.seals.blocks(self.table, change)
        return block

    def stored(self) -> dict[str, Any]:
        return self.as_stored(self.block())

    def as_stored(self, block: Block) -> dict[str, Any]:
        """The block by column, as it is read again."""
        sealed, mac = self.seals.sealed(self.table, block)
        return {
            "stream": block.stream,
            "entry": block.entry,
            "until": block.until,
            "clear": block.clear.decode(),
            "keys": block.keys,
            "sealed": sealed,
            "mac": mac,
            **block.searched,
        }

    def opened(self, **changed: Any) -> list[StoredRow]:
        return self.seals.opened("timeline", "timeline_v1", self.stored() | changed)

    @property
    def lines(self) -> tuple[list[object], dict[str, object]]:
        """What docs/formats/view.md says of the rows in the clear."""
        key = str(self.key_id)
        return (
            [0, 4, 12, 4, key, None, "2026-03-02T09:00:00Z", "session.held"],
            {
                "cited": [[13, 5, key, 15, False, ["at"]], [15, 7, key, None, True, ["topic"]]],
                "columns": {"at": "2026-03-09T09:00:00.000000Z", "topic": None},
                "entry": 5,
                "keys": [key],
            },
        )

    @property
    def aad(self) -> dict[str, object]:
        return {
            "clear": [[["at", "topic"]], *self.lines],
            "clinic": str(CLINIC),
            "entry": 4,
            "format": "rapport-view/2",
            "stream": STREAM,
            "table": "timeline_v1",
            "until": 5,
        }


@pytest.fixture
def sealing(tmp_path: Path) -> Any:
    made = Sealing(tmp_path)
    yield made
    made.keyring.close()


@pytest.mark.parametrize("value", [0.5, 2**53, -(2**53), "\ud800", [0.5], {"é": 1}, b"", object()])
@pytest.mark.parametrize("told", [False, True])
def test_what_has_no_canonical_form_is_not_sealed(
    sealing: Sealing, value: object, told: bool
) -> None:
    """R18: a value that canonical JSON refuses is refused, whichever encoder meets it."""
    if told:
        by = sealing.told.told
        assert by is not None
        sealing.told = PlainRow.told_by(by._replace(values=(value, *by.values[1:])))
    else:
        groups = {sealing.key_id: {"note": (12, 4, None, value)}}
        sealing.row = replace(sealing.row, groups=groups)
    with pytest.raises(Unsealable):
        sealing.block()


def as_written(value: object, block: bytes) -> bytes:
    """A block's canonical bytes: its lines apart, as docs/formats/view.md has it."""
    head, *lines = map(canonical.encode, json.loads(block))
    assert [json.loads(head), *map(json.loads, lines)] == value
    return b"[" + b",\n".join([head, *lines]) + b"]"


def test_a_block_is_sealed_as_the_format_says(sealing: Sealing) -> None:
    """R18: opened by hand from docs/formats/view.md: subkey, AAD, nonce first, lines of JSON."""
    stored = sealing.stored()
    (sealed,) = stored["sealed"]
    clear = stored["clear"].encode()
    assert as_written(sealing.aad["clear"], clear) == clear
    aad = sealing.aad | {"clear": "?"}
    bound = canonical.encode(aad).replace(b'"?"', clear, 1)
    cipher = AESGCM(subkey(sealing.key, "view/timeline"))
    plain = cipher.decrypt(sealed[:12], sealed[12:], bound)
    said = [[["note"]], ["Grüße"], {"note": [13, 5, 15, "Servus"]}]
    assert as_written(said, plain) == plain
    lines = [bound, canonical.encode([sealing.key_id, sha256(sealed).hexdigest()])]
    _, key = sealing.keyring.key_for(CLINIC, f"clinic-{CLINIC}", "mac/0")
    assert stored["mac"] == hmac.new(subkey(key, "mac/view"), b"\n".join(lines), "sha256").digest()


def test_a_block_is_opened_to_the_rows_that_it_was_made_of(sealing: Sealing) -> None:
    """Rule 6: one that an entry tells and one of several entries, side by side."""
    told, row = sealing.opened()
    ref = (12, 4, sealing.key_id, None)
    columns = {"at": "2026-03-02T09:00:00Z", "topic": "session.held"}
    group = {"note": (12, 4, None, "Grüße")}
    cited = ((ref, False, ["at", "topic"]),)
    assert told == StoredRow(STREAM, 4, columns, cited, {sealing.key_id: group})
    assert row.entry == 5
    assert _comparable(row)[3] == {sealing.key_id: {"note": [13, 5, 15, "Servus"]}}
    assert [(*said[0], said[1], said[2]) for said in row.cited] == [
        (13, 5, sealing.key_id, 15, False, ["at"]),
        (15, 7, sealing.key_id, None, True, ["topic"]),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"clear": "[[]]"},
        {"entry": 3},
        {"until": 6},
        {"stream": STREAM[:-1] + "0"},
        {"keys": [], "sealed": []},
        {"keys": []},
        {"sealed": [None]},
        {"sealed": [b"\0" * 64]},
        {"mac": b"\0" * 32},
    ],
)
def test_whatever_is_clear_is_bound_to_what_is_sealed(
    sealing: Sealing, changed: dict[str, Any]
) -> None:
    """R3: a changed line or place, or a lost group, is found when a block is opened."""
    with pytest.raises(SealBroken):
        sealing.opened(**changed)
    with pytest.raises(SealBroken):
        sealing.seals.spelt(sealing.table, sealing.stored() | changed)


def test_a_row_without_groups_is_bound_too(sealing: Sealing) -> None:
    """R3: who has no key makes up no row, though there is nothing in it to seal."""
    sealing.told = sealing.row = replace(sealing.row, groups={})
    assert [row.groups for row in sealing.opened()] == [{}, {}]
    with pytest.raises(SealBroken):
        sealing.opened(until=7)


def test_a_column_that_is_searched_says_what_the_row_says(sealing: Sealing) -> None:
    """R35: whoever writes a table puts no row where it would be found by somebody else."""
    client = uuid4()
    sealing.table = Made(columns={"clients": "uuid[]"})
    row = replace(sealing.row, columns={"clients": [client], "at": None, "topic": None})
    first, second = sealing.seals.blocks(sealing.table, Changed({4: row, 5: row}))
    stored = sealing.as_stored(first)
    assert stored["clients"] == [client]
    assert (first.entry, first.until, second.entry) == (4, 4, 5)
    assert sealing.seals.opened("timeline", "timeline_v1", stored)
    for other in ([uuid4()], [], None):
        with pytest.raises(SealBroken):
            sealing.seals.opened("timeline", "timeline_v1", stored | {"clients": other})


def test_a_destroyed_key_opens_nothing(sealing: Sealing) -> None:
    """Rule 9: what a destroyed key sealed is told from what is not there; the rest stays."""
    stored = sealing.stored()
    sealing.keyring.destroy(CLINIC, sealing.key_id)
    told, row = sealing.seals.opened("timeline", "timeline_v1", stored)
    assert told.groups == row.groups == {sealing.key_id: None}
    assert told.columns["topic"] == "session.held"
    again = sealing.stored()
    assert again["sealed"] == [None]
    assert sealing.seals.opened("timeline", "timeline_v1", again) == [told, row]


def test_keys_may_be_forgotten_while_a_block_is_sealed(sealing: Sealing) -> None:
    """R27: another thread may forget every key at any moment; what is sealed then is whole."""
    stop = threading.Event()

    def forget() -> None:
        while not stop.is_set():
            sealing.seals.forget()

    sealing.row = replace(
        sealing.row, groups={sealing.key_id: {"note": (13, 5, 15, "long" * 20_000)}}
    )
    beside = threading.Thread(target=forget)
    beside.start()
    try:
        for _ in range(300):
            assert len(sealing.opened()) == 2
    finally:
        stop.set()
        beside.join()


def test_a_digest_can_be_computed_by_hand(sealing: Sealing) -> None:
    """R18: docs/formats/view.md; HMAC-SHA-256 over a header, the rows and what is parked."""
    _, key = sealing.keyring.key_for(CLINIC, f"clinic-{CLINIC}", "digest/0")
    digest = digesting(CLINIC, sealing.keyring, "timeline", 1, 20)
    spelt = sealing.seals.spelt(sealing.table, sealing.stored())
    digest.add(Streams.of(line(STREAM, row) for row in spelt))
    parked = f"relationship-{uuid4()}"
    done = digest.finished({parked: (19, "KeyError")})
    told, row_told = sealing.lines
    rows = [[told, [["Grüße"]]], [row_told, [{"note": [13, 5, 15, "Servus"]}]]]
    said = sha256(b"".join(canonical.encode(row) + b"\n" for row in rows))
    lines: list[Any] = [
        {
            "clinic": CLINIC,
            "format": "rapport-view-digest/2",
            "position": 20,
            "version": 1,
            "view": "timeline",
        },
        {"rows": 2, "sha256": said.hexdigest(), "stream": STREAM},
        {"code": "KeyError", "parked": parked, "position": 19},
    ]
    text = b"".join(canonical.encode(line) + b"\n" for line in lines)
    assert done.mac == hmac.new(subkey(key, "digest"), text, "sha256").hexdigest()
    assert (done.position, done.rows, done.parked) == (20, 2, 1)


def test_rows_of_other_forms_are_not_taken_for_those_of_today(sealing: Sealing) -> None:
    """Rule 6: a table that was written when the view told other fields differs, and is read by the
    names that it gives itself."""

    class Other(Told):
        names = ("note", "kind", "at")
        clear = ("kind", "at")

    stored = sealing.stored()
    today = replace(sealing.table, forms=(Other(),))
    its = sealing.seals.spelt(sealing.table, stored)
    assert its != sealing.seals.spelt(today, stored)
    assert [row.entry for row in sealing.seals.spelt(today, stored)] == [4, 5]
    assert its == list(sealing.block().rows)


@for_all(record=wild_records(), gone=st.booleans(), since=st.integers(0, 6), at_once=st.booleans())
def test_blocks_say_what_their_rows_say(
    tmp_path_factory: pytest.TempPathFactory,
    record: Record,
    gone: bool,
    since: int,
    at_once: bool,
) -> None:
    """R18: opened, a block holds the rows that it was made of, spelt as they were; what one entry
    tells is read like what is told of it column by column; so it is where a key was destroyed."""
    with open_keyring(tmp_path_factory.mktemp("ring") / "keyring") as keyring:
        key_id, _ = keyring.key_for(CLINIC, STREAM, "joint")
        if gone:
            keyring.destroy(CLINIC, key_id)
        seals = Seals(CLINIC, keyring)
        for view in VIEWS.all():
            rows = {
                entry: _under(keyring.key_for, key_id, view.taken_apart(row))
                for entry, row in rows_of(view, record).items()
            }
            if not rows:
                continue
            found: dict[int, StoredRow] = {}
            blocks = seals.blocks(view, Changed(rows, since))
            for block in blocks:
                sealed, mac = seals.sealed(view, block)
                stored = {**block._asdict(), "clear": block.clear.decode()}
                stored |= {"sealed": sealed, "mac": mac, **block.searched}
                stored = {name: stored[name] for name in (*_STORED, *block.searched)}
                assert seals.spelt(view, stored) == list(block.rows)
                opened = seals.opened(view.name, view.table, stored)
                found |= {row.entry: row for row in opened}
                assert (block.entry, block.until) == (opened[0].entry, opened[-1].entry)
                assert len(opened) == 1 or (block.entry >= since and not view.columns)
            assert found.keys() == rows.keys()
            for entry, row in rows.items():
                long = _stored(seals, view, entry, replace(row))
                assert view.put_together(found[entry]) == view.put_together(long)
                assert _comparable(found[entry]) == _comparable(long)


_STORED = ("stream", "entry", "until", "clear", "keys", "sealed", "mac")


def _under(key_for: Any, key_id: UUID, row: PlainRow) -> PlainRow:
    """The row with keys that there are."""
    if row.told is not None:
        ref = row.told.ref._replace(key_id=key_id)
        return PlainRow.told_by(row.told._replace(ref=ref))
    groups = {key_for(CLINIC, STREAM, str(each))[0]: group for each, group in row.groups.items()}
    return replace(row, groups=groups)


def _stored(seals: Seals, view: View[Any, Any], entry: int, row: PlainRow) -> StoredRow:
    """A row as it is read again that was written column by column."""
    assert row.told is None
    (block,) = seals.blocks(view, Changed({entry: row}))
    (found,) = stored_rows(STREAM, block.clear, dict(zip(block.keys, block.groups, strict=True)))
    return found


def _comparable(row: StoredRow) -> tuple[object, ...]:
    """What of a row is cited and sealed, whichever way it was written."""
    cited = {(ref, erased, name) for ref, erased, names in row.cited for name in names}
    groups = {
        key_id: None if group is None else {name: list(cell) for name, cell in group.items()}
        for key_id, group in row.groups.items()
    }
    return row.stream, row.entry, cited, groups


@for_all(
    changes=st.lists(
        st.tuples(st.integers(1, 5), st.sets(st.integers(0, 30)), st.integers(1, 4)), max_size=12
    )
)
def test_of_each_row_the_one_that_was_written_last_is_read(
    changes: list[tuple[int, set[int], int]],
) -> None:
    """Rule 6: however often rows were replaced since, and in blocks of whatever length they came,
    each is read once, in order, as it was last written."""
    table: dict[tuple[int, int], dict[int, int]] = {}
    rows: dict[int, int] = {}
    since = 1
    for number, (entries, old, at_once) in enumerate(changes):
        news = [entry for entry in range(since, since + entries) if entry % 3 or entry in old]
        again = sorted(entry for entry in old if 0 < entry < since)
        pieces = [news[at : at + at_once] for at in range(0, len(news), at_once)]
        for piece in [*([entry] for entry in again), *pieces]:
            table[piece[0], piece[-1]] = dict.fromkeys(piece, number)
        rows |= dict.fromkeys([*again, *news], number)
        since += entries

    def blocks(stream: str) -> list[tuple[str, int, int, Iterable[tuple[int, int]]]]:
        return [(stream, *place, its.items()) for place, its in sorted(table.items())]

    def read(stream: str) -> list[tuple[str, int, int]]:
        return [(stream, *row) for row in sorted(rows.items())]

    assert list(in_order(blocks("a"))) == read("a")
    assert list(in_order([*blocks("a"), *blocks("b")])) == [*read("a"), *read("b")]


@for_all(record=wild_records())
def test_a_row_told_by_one_entry_is_the_row_of_its_cells(record: Record) -> None:
    """Views: a row made of plain values is taken apart, and read, as the one made of its cells."""
    history = [e for e in record.entries if e.stream.category == "relationship"]
    for view in VIEWS.all():
        for row in (view.of(history[0].stream, history) if history else {}).values():
            apart = view.taken_apart(row)
            names = [field.name for field in fields(row)]
            of_cells = type(row)(**{name: getattr(row, name) for name in names})
            assert of_cells == row
            assert [*of_cells.cells()] == [*row.cells()]
            assert view.taken_apart(of_cells) == apart == view.taken_apart(row)
            citing = [(one.ref, one.erased, one.fields) for one in apart.cited]
            assert citing == sorted(citing, key=lambda one: (one[2], one[0], one[1]))


@for_all(record=wild_records())
def test_a_sealed_value_is_written_as_its_type_says(record: Record) -> None:
    """R18: whatever quick way there is for a value, it writes what the value's type writes."""
    history = [e for e in record.entries if e.stream.category == "relationship"]
    for view in VIEWS.all():
        kinds: dict[str, TypeAdapter[Any]] = {}
        types = get_type_hints(view.row, include_extras=True)
        for row in (view.of(history[0].stream, history) if history else {}).values():
            apart = view.taken_apart(row)
            sealed = {name: cell for group in apart.groups.values() for name, cell in group.items()}
            for name, cell in row.cells():
                if name in sealed:
                    field = name.partition("/")[0]
                    if field not in kinds:
                        kinds[field] = TypeAdapter(get_args(_cell_in(types[field]))[0])
                    written = kinds[field].dump_python(cell.value)
                    assert canonical.encode(sealed[name][3]) == canonical.encode(written)
                    assert sealed[name][:3] == (cell.ref.position, cell.ref.version, cell.ref[3])
