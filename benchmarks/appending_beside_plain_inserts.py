"""Sealed, gapless, Merkle-logged appends beside the stock library and beside bare INSERTs.

All three commit durably (fsync and synchronous_commit on), one command each, 363-byte events.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg

from benchmarks.harness import Contender, Effort, asked, compare, together
from benchmarks.places import Place, place
from benchmarks.stock import PAYLOAD, Stock, noted, stock
from domain.access import ReadRecord, Role
from domain.records import Author


def ours(at: Place) -> Contender:
    """The product's own write path, from the command to the receipt."""

    def work(_: int) -> Callable[[], object]:
        author, about, records = Author(uuid4()), uuid4(), at.records

        def once() -> object:
            command = ReadRecord(
                role=Role.SYSTEM, purpose=PAYLOAD, what="dossier", relationship=about
            )
            return at.note(records.record(command, author))

        return once

    return lambda callers, seconds: together(callers, seconds, work)


def theirs(application: Stock) -> Contender:
    """`Application.save` of the stock library."""

    def work(_: int) -> Callable[[], object]:
        stream, version = uuid4(), 0

        def once() -> object:
            nonlocal version
            version += 1
            return application.save(noted(stream, version))

        return once

    return lambda callers, seconds: together(callers, seconds, work)


@contextmanager
def bare(dsn: str) -> Iterator[Contender]:
    """One INSERT and commit per event through psycopg, a connection per caller."""
    connections: dict[int, psycopg.Connection] = {}
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE bare (stream uuid, version bigint, topic text, "
            "state bytea, position bigserial, PRIMARY KEY (stream, version))"
        )

    def work(caller: int) -> Callable[[], object]:
        if caller not in connections:
            connections[caller] = psycopg.connect(dsn, autocommit=True)
        conn = connections[caller]
        stream, version, state = uuid4(), 0, os.urandom(363)

        def once() -> object:
            nonlocal version
            version += 1
            query = "INSERT INTO bare (stream, version, topic, state) VALUES (%s, %s, %s, %s)"
            return conn.execute(query, (stream, version, "noted", state), prepare=True)

        return once

    try:
        yield lambda callers, seconds: together(callers, seconds, work)
    finally:
        for conn in connections.values():
            conn.close()


def main(effort: Effort) -> None:
    """Prints the comparison for 1 and for 32 callers."""
    with place() as at, stock(at.dsn()) as application, bare(at.dsn()) as inserts:
        contenders = {
            "ours": ours(at),
            "stock eventsourcing": theirs(application),
            "bare INSERT": inserts,
        }
        for callers in (1, 32):
            compare("append", contenders, at, callers, rounds=effort.rounds, seconds=effort.seconds)
        at.require_sound()


if __name__ == "__main__":
    main(asked())
