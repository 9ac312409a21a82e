"""Sealed, gapless, Merkle-logged appends beside the stock library and beside bare INSERTs.

All three commit durably (fsync and synchronous_commit on), one command each, 363-byte events.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from uuid import UUID, uuid4

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness import Contender, Measured, compare, database, together
from domain.access import ReadRecord, Role
from domain.records import Author, Proposal
from infra.acknowledged import AcknowledgedHead
from infra.event_store import ClinicLog
from infra.keyring import open_keyring
from infra.postgres import Database
from infra.recorder import found_clinic

PAYLOAD = "x" * 140


@contextmanager
def ours(found: Database) -> Iterator[Contender]:
    """The product's own write path, from the command to the receipt."""
    clinic = uuid4()
    found_clinic(found.dsn("owner"), clinic)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_keyring(Path(folder) / "keyring") as keyring,
    ):
        head = AcknowledgedHead(Path(folder) / "heads", clinic)
        log = ClinicLog(found.dsn("app"), clinic, keyring, head)

        def work(_: int) -> Callable[[], object]:
            author, about = Author(uuid4()), uuid4()

            def once() -> object:
                command = ReadRecord(
                    role=Role.SYSTEM, purpose=PAYLOAD, what="dossier", relationship=about
                )
                return log.append([Proposal(command, author)])

            return once

        def contender(callers: int, seconds: float) -> Measured:
            return together(callers, seconds, work)

        try:
            yield contender
        finally:
            log.close()


class Noted(DomainEvent):
    """An event of the stock library, as large as ours."""

    text: str


class Stock(Application[UUID]):
    """The stock library as its documentation sets it up."""

    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": "eventsourcing.postgres"}


@contextmanager
def stock(found: Database) -> Iterator[Contender]:
    """`Application.save` of the stock library: plain rows, a table lock per commit."""
    parts = conninfo_to_dict(found.dsn("owner"))
    application = Stock(
        env={
            "POSTGRES_DBNAME": str(parts["dbname"]),
            "POSTGRES_HOST": str(parts["host"]),
            "POSTGRES_PORT": str(parts.get("port", "5432")),
            "POSTGRES_USER": str(parts["user"]),
            "POSTGRES_PASSWORD": str(parts["password"]),
            "POSTGRES_POOL_SIZE": "32",
        }
    )

    def work(_: int) -> Callable[[], object]:
        stream, version = uuid4(), 0

        def once() -> object:
            nonlocal version
            version += 1
            event = Noted(  # type: ignore[call-arg]  # the library makes it a dataclass
                originator_id=stream,
                originator_version=version,
                timestamp=Noted.create_timestamp(),
                text=PAYLOAD,
            )
            return application.save(event)

        return once

    def contender(callers: int, seconds: float) -> Measured:
        return together(callers, seconds, work)

    try:
        yield contender
    finally:
        application.close()


@contextmanager
def bare(found: Database) -> Iterator[Contender]:
    """One INSERT and commit per event through psycopg, a connection per caller."""
    connections: list[psycopg.Connection] = []
    with psycopg.connect(found.dsn("owner"), autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE bare (stream uuid, version bigint, topic text, state bytea, "
            "position bigserial, PRIMARY KEY (stream, version))"
        )

    def work(_: int) -> Callable[[], object]:
        conn = psycopg.connect(found.dsn("owner"), autocommit=True)
        connections.append(conn)
        stream, version, state = uuid4(), 0, os.urandom(363)

        def once() -> object:
            nonlocal version
            version += 1
            query = "INSERT INTO bare (stream, version, topic, state) VALUES (%s, %s, %s, %s)"
            return conn.execute(query, (stream, version, "noted", state), prepare=True)

        return once

    def contender(callers: int, seconds: float) -> Measured:
        measured = together(callers, seconds, work)
        while connections:
            connections.pop().close()
        return measured

    yield contender


def main() -> None:
    """Prints the comparison for 1 and for 32 callers."""
    with database() as found, ours(found) as a, stock(found) as b, bare(found) as c:
        contenders = {"ours": a, "stock eventsourcing": b, "bare INSERT": c}
        for callers in (1, 32):
            compare("append", contenders, callers, rounds=3, seconds=3)


if __name__ == "__main__":
    main()
