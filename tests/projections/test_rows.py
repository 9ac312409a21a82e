"""What a view's row is in bytes, and a digest that anybody with the key can compute again."""

import hmac
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args, get_type_hints
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given as for_all
from hypothesis import strategies as st
from psycopg.rows import DictRow, dict_row
from pydantic import TypeAdapter

from domain.clinic import Scope
from infra import canonical
from infra.keyring import open_keyring
from infra.sealing import SealBroken, subkey
from infra.view_rows import Seals, StoredRow, Unsealable, Written, digest_line, group_bytes, line_of
from infra.view_store import ViewStore
from infra.view_tables import Rows
from projections.dossier import VIEWS
from projections.view import PlainRow, _cell_in
from tests.conftest import Clinic
from tests.domain.test_records import wild_records
from tests.kit import CLINIC, Record

STREAM = "relationship-a1a1a1a1-0000-4000-8000-000000000001"


@for_all(record=wild_records())
def test_a_digests_line_is_canonical(record: Record) -> None:
    """R18: docs/formats/view.md; the quick encoder writes what the canonical one would."""
    history = [e for e in record.entries if e.stream.category == "relationship"]
    for view in VIEWS.all():
        for entry, row in (view.of(history[0].stream, history) if history else {}).items():
            apart = view.taken_apart(row)
            groups = {
                key_id: json.loads(canonical.encode(dict(group)))
                for key_id, group in apart.groups.items()
            }
            line = digest_line(StoredRow(STREAM, entry, apart.columns, apart.cited, groups))
            assert canonical.encode(canonical.decode(line)) == line


@for_all(record=wild_records())
def test_a_groups_bytes_are_canonical(record: Record) -> None:
    """R18: docs/formats/view.md; the quick encoder of groups writes what the canonical one does."""
    history = [e for e in record.entries if e.stream.category == "relationship"]
    for view in VIEWS.all():
        for row in (view.of(history[0].stream, history) if history else {}).values():
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


@pytest.mark.parametrize("value", [0.5, 2**53, -(2**53), "\ud800", [0.5], {"é": 1}, b"", object()])
def test_what_has_no_canonical_form_is_not_sealed(sealing: "Sealing", value: object) -> None:
    """R18: a value that canonical JSON refuses is refused, whichever encoder meets it."""
    sealing.row = replace(sealing.row, groups={sealing.key_id: {"note": (12, 4, None, value)}})
    with pytest.raises(Unsealable):
        sealing.stored()


def stored(row: Written, sealed: Sequence[bytes | None], mac: bytes) -> dict[str, Any]:
    """The row by column, as it is read again."""
    return {
        "stream": row.stream,
        "entry": row.entry,
        "cited": json.loads(row.cited),
        "keys": row.keys,
        "sealed": sealed,
        "mac": mac,
        **row.row.columns,
    }


class Sealing:
    """A keyring with one key, and a row under it."""

    def __init__(self, folder: Path) -> None:
        self.keyring = open_keyring(folder / "keyring")
        self.key_id, self.key = self.keyring.key_for(CLINIC, STREAM, "joint")
        self.seals = Seals(CLINIC, self.keyring)
        ref = (12, 4, self.key_id, None)
        self.row = PlainRow(
            columns={"at": datetime(2026, 3, 2, 9, tzinfo=UTC), "topic": "session.held"},
            cited=((ref, False, ("at", "topic")),),  # type: ignore[arg-type]
            groups={self.key_id: {"note": (12, 4, None, "Grüße")}},
        )

    def stored(self) -> dict[str, Any]:
        (written,) = self.seals.written("timeline", "timeline_v1", [(STREAM, 4, self.row)])
        return stored(written, *self.seals.sealed([written])[0])

    def opened(self, **changed: Any) -> StoredRow:
        return self.seals.opened("timeline", "timeline_v1", self.stored() | changed)


@pytest.fixture
def sealing(tmp_path: Path) -> Any:
    made = Sealing(tmp_path)
    yield made
    made.keyring.close()


def test_a_group_is_sealed_as_the_format_says(sealing: Sealing) -> None:
    """R18: opened by hand from docs/formats/view.md: subkey, AAD, nonce first, canonical object."""
    stored = sealing.stored()
    (sealed,) = stored["sealed"]
    aad = canonical.encode(
        {
            "cited": [[12, 4, str(sealing.key_id), None, False, ["at", "topic"]]],
            "clinic": CLINIC,
            "columns": {"at": "2026-03-02T09:00:00.000000Z", "topic": "session.held"},
            "entry": 4,
            "format": "rapport-view/1",
            "stream": STREAM,
            "table": "timeline_v1",
        }
    )
    key = AESGCM(subkey(sealing.key, "view/timeline"))
    plain = key.decrypt(sealed[:12], sealed[12:], aad)
    assert plain == canonical.encode({"note": [12, 4, None, "Grüße"]})


@pytest.mark.parametrize(
    "changed",
    [
        {"topic": "session.missed"},
        {"at": datetime(2026, 3, 2, 10, tzinfo=UTC)},
        {"entry": 5},
        {"stream": STREAM.replace("a1a1a1a1", "a2a2a2a2")},
        {"cited": []},
        {"keys": [], "sealed": []},
        {"sealed": [None]},
        {"sealed": [b"\0" * 64]},
    ],
)
def test_whatever_is_clear_is_bound_to_what_is_sealed(
    sealing: Sealing, changed: dict[str, Any]
) -> None:
    """R3: a changed column, citation or place, or a lost group, is found when a row is opened."""
    with pytest.raises(SealBroken):
        sealing.opened(**changed)


def test_a_row_without_groups_is_bound_as_the_format_says(sealing: Sealing) -> None:
    """R3, R18: computed by hand from docs/formats/view.md; who has no key makes up no row."""
    stored = sealing.stored()
    lines = [
        {
            "cited": [[12, 4, str(sealing.key_id), None, False, ["at", "topic"]]],
            "clinic": CLINIC,
            "columns": {"at": "2026-03-02T09:00:00.000000Z", "topic": "session.held"},
            "entry": 4,
            "format": "rapport-view/1",
            "stream": STREAM,
            "table": "timeline_v1",
        },
        [sealing.key_id, sha256(stored["sealed"][0]).hexdigest()],
    ]
    _, key = sealing.keyring.key_for(CLINIC, f"clinic-{CLINIC}", "mac/0")
    text = b"\n".join(map(canonical.encode, lines))
    assert stored["mac"] == hmac.new(subkey(key, "mac/view"), text, "sha256").digest()
    sealing.row = replace(sealing.row, groups={})
    assert sealing.opened().groups == {}
    with pytest.raises(SealBroken):
        sealing.opened(topic="session.missed")


def test_the_servers_time_zone_makes_no_difference(sealing: Sealing) -> None:
    """Rule 6: the same point in time in another zone is the same column."""
    local = datetime(2026, 3, 2, 10, tzinfo=timezone(timedelta(hours=1)))
    assert sealing.opened(at=local).groups == sealing.opened().groups


def test_a_destroyed_key_opens_nothing(sealing: Sealing) -> None:
    """Rule 9: a group of a destroyed key is told from one that is not there."""
    stored = sealing.stored()
    sealing.keyring.destroy(CLINIC, sealing.key_id)
    assert sealing.seals.opened("timeline", "timeline_v1", stored).groups == {sealing.key_id: None}
    again = sealing.stored()
    assert again["sealed"] == [None]


def test_a_digest_can_be_computed_by_hand(sealing: Sealing) -> None:
    """R18: docs/formats/view.md; HMAC-SHA-256 over a header, the rows and what is parked."""
    _, key = sealing.keyring.key_for(CLINIC, f"clinic-{CLINIC}", "digest/0")
    digesting = sealing.seals.digesting("timeline", 1, 20)
    row = sealing.opened()
    digesting.add(digest_line(row))
    parked = f"relationship-{uuid4()}"
    digest = digesting.finished({parked: (19, "KeyError")})
    lines: list[dict[str, Any]] = [
        {
            "clinic": CLINIC,
            "format": "rapport-view-digest/1",
            "position": 20,
            "version": 1,
            "view": "timeline",
        },
        {
            "cells": {
                "at": [12, 4, None, "2026-03-02T09:00:00.000000Z"],
                "note": [12, 4, None, "Grüße"],
                "topic": [12, 4, None, "session.held"],
            },
            "entry": 4,
            "erased_keys": [],
            "stream": STREAM,
        },
        {"code": "KeyError", "parked": parked, "position": 19},
    ]
    text = b"".join(canonical.encode(line) + b"\n" for line in lines)
    assert digest.mac == hmac.new(subkey(key, "digest"), text, "sha256").hexdigest()
    assert (digest.position, digest.rows, digest.parked) == (20, 1, 1)


@for_all(record=wild_records())
def test_a_row_to_be_sealed_says_what_it_says_when_it_is_opened(
    tmp_path_factory: pytest.TempPathFactory, record: Record
) -> None:
    """R18: its line of the digest is the one that is read from the table, and its groups are known
    again by what they say, whatever they were sealed with."""
    history = [e for e in record.entries if e.stream.category == "relationship"]
    with open_keyring(tmp_path_factory.mktemp("ring") / "keyring") as keyring:
        seals = Seals(CLINIC, keyring)
        for view in VIEWS.all():
            for entry, row in (view.of(history[0].stream, history) if history else {}).items():
                apart = view.taken_apart(row)
                groups = {
                    keyring.key_for(CLINIC, STREAM, str(key_id))[0]: group
                    for key_id, group in apart.groups.items()
                }
                new = replace(apart, groups=groups)
                (written,) = seals.written(view.name, view.table, [(STREAM, entry, new)])
                ((sealed, mac),) = seals.sealed([written])
                row_stored = stored(written, sealed, mac)
                assert line_of(written) == seals.line(view.name, view.table, row_stored)
                assert seals.holds(view.name, written, sealed, mac)
                if groups:
                    others = [b"0" * 64] * len(groups)
                    assert not seals.holds(view.name, written, others, mac)


@pytest.fixture
def packings(clinic: Clinic, store: ViewStore) -> dict[str, Rows]:
    """How rows of each view are packed."""
    store.make(VIEWS.all())
    dsn = clinic.database.dsn("views")
    with psycopg.Connection[DictRow].connect(dsn, row_factory=dict_row) as conn:
        return {view.name: Rows(conn, view) for view in VIEWS.all()}


@for_all(record=wild_records(), gone=st.booleans())
def test_a_row_of_one_entry_is_sealed_and_packed_as_its_columns_and_cells_are(
    tmp_path_factory: pytest.TempPathFactory, packings: dict[str, Rows], record: Record, gone: bool
) -> None:
    """R18: what one entry tells goes a shorter way to its bytes, and they are the same ones; also
    where its key was destroyed."""
    history = [e for e in record.entries if e.stream.category == "relationship"]
    with open_keyring(tmp_path_factory.mktemp("ring") / "keyring") as keyring:
        key_id, _ = keyring.key_for(CLINIC, STREAM, "joint")
        if gone:
            keyring.destroy(CLINIC, key_id)
        seals = Seals(CLINIC, keyring)
        for view in VIEWS.all():
            rows = packings[view.name]
            for entry, row in (view.of(history[0].stream, history) if history else {}).items():
                told = view.taken_apart(row).told
                if told is None:
                    continue
                its = told.ref._replace(key_id=key_id)
                short = PlainRow.told_by(told._replace(ref=its))
                long = replace(short)
                assert long.told is None
                assert long == short
                one, other = (
                    next(seals.written(view.name, view.table, [(STREAM, entry, new)]))
                    for new in (short, long)
                )
                # A group holds values in ways that differ; `opened` is what of it is sealed.
                assert one._replace(row=long, groups=other.groups) == other
                assert line_of(one) == line_of(other)
                assert rows.after(short) == rows.after(long)


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
