"""Many commands at once, sealed, logged and every rule checked, beside stock saves and COPY.

Ours twice: `Records.record_all`, and the CSV files of a clinic through `rapport import`, its start
included. Stock: a thousand events to each `save`. Bare: binary COPY of rows as long as its events.
"""

import csv
import os
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from uuid import uuid4

import psycopg

from benchmarks.harness import Contender, Effort, Measured, asked, compare, timed
from benchmarks.invented import InventedClinic, told
from benchmarks.places import Place, place
from benchmarks.stock import Stock, noted, stock

_SESSIONS = 50
_ENTRIES_EACH = 3 + 3 * _SESSIONS
"""A client, a therapist's place, a relationship; a session, its hour in the schedule, a rating."""

_MAPPING = """
format = "rapport-import/1"

[declaration]
origin = "invented, {name}"
licence = "CC0-1.0"
declared_by_name = "The benchmark"
legal_basis = "Invented data; it names nobody."

[time]
says = "Sessions follow every 7 days and last 50 minutes; a rating is given at the end."
first = 2024-01-08T08:00:00+00:00
every_days = 7
stagger_minutes = 60
length_minutes = 50

[relationships]
file = "relationships.csv"
key = "key"
therapist = "therapist"
client = "client"
modality = "invented"
setting = "invented"

[sessions]
file = "ratings.csv"
relationship = "key"
number = "number"

[[ratings]]
file = "ratings.csv"
instrument = "SRS-3"
perspective = "client"
relationship = "key"
session = "number"
items = ["a", "b", "c", "d"]
"""


def recorded(at: Place, clinic: InventedClinic, entries: int) -> Contender:
    """`record_all` of whole cases, one after the other."""

    def contender(_: int, __: float) -> Measured:
        proposals = list(clinic.proposals(entries))

        def work() -> int:
            return sum(len(at.note(one).entries) for one in told(at.records, proposals))

        return timed(work)

    return contender


def imported(at: Place, entries: int) -> Contender:
    """`rapport import` of as many rows."""
    numbers = count()

    def contender(_: int, __: float) -> Measured:
        name = f"case{next(numbers)}"
        folder = at.home / name
        mapping = _files(folder, name, max(1, entries // _ENTRIES_EACH))

        def work() -> int:
            before = at.service.log.head_size()
            at.command("import", str(mapping), str(folder))
            return at.service.log.head_size() - before

        return timed(work)

    return contender


def _files(folder: Path, name: str, relationships: int) -> Path:
    """The files of an invented clinic, and the mapping that says what they mean."""
    folder.mkdir()
    rng = InventedClinic()
    with (folder / "relationships.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "therapist", "client"])
        rows.writerows((f"{name}-{k}", f"t{k // 20}", f"c{k}") for k in range(relationships))
    with (folder / "ratings.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "number", "a", "b", "c", "d"])
        for k in range(relationships):
            rows.writerows((f"{name}-{k}", n, *rng.answers()) for n in range(1, _SESSIONS + 1))
    mapping = folder / "mapping.toml"
    mapping.write_text(_MAPPING.format(name=name))
    return mapping


def saved(application: Stock, entries: int) -> Contender:
    """A thousand events to each `save`."""

    def work() -> int:
        for _ in range(-(-entries // 1000)):
            stream = uuid4()
            application.save(*(noted(stream, version) for version in range(1, 1001)))
        return -(-entries // 1000) * 1000

    return lambda _, __: timed(work)


def copied(dsn: str, entries: int) -> Contender:
    """Rows through binary COPY, in one commit."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "CREATE TABLE copied (stream uuid, version bigint, topic text, state bytea, "
            "position bigserial, PRIMARY KEY (stream, version))"
        )
    state = os.urandom(363)
    statement = "COPY copied (stream, version, topic, state) FROM STDIN (FORMAT BINARY)"

    def work() -> int:
        with psycopg.connect(dsn) as conn, conn.cursor().copy(statement) as copy:
            copy.set_types(["uuid", "int8", "text", "bytea"])
            for row in islice(_rows(state), entries):
                copy.write_row(row)
        return entries

    return lambda _, __: timed(work)


def _rows(state: bytes) -> Iterator[tuple[object, ...]]:
    while True:
        stream = uuid4()
        for version in range(1, 1001):
            yield stream, version, "noted", state


def main(effort: Effort) -> None:
    """Prints the comparison."""
    with place() as at, stock(at.dsn()) as application:
        clinic = InventedClinic()
        told(at.records, list(clinic.founding()))
        contenders = {
            "ours, record_all": recorded(at, clinic, effort.entries),
            "ours, rapport import": imported(at, effort.entries),
            "stock, 1000 to a save": saved(application, effort.entries),
            "bare COPY": copied(at.dsn(), effort.entries * 2),
        }
        compare("bulk", contenders, at, rounds=effort.rounds)
        at.require_sound()


if __name__ == "__main__":
    main(asked())
