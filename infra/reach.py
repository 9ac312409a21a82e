"""What keys seal, told from the columns that PostgreSQL shows to anybody; nothing is opened.

For whoever destroys keys and wants to know, and to say, what that reaches and what it leaves.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection, sql
from psycopg.rows import DictRow, dict_row

from infra.clinics import pinned


class Count(NamedTuple):
    """So many entries of one topic in one stream."""

    stream: str
    topic: str
    entries: int


class Reach:
    """Questions to one clinic's log and views, on a role that reads both."""

    def __init__(self, conninfo: str, clinic: UUID) -> None:
        self._conninfo = pinned(conninfo, clinic)
        self._clinic = clinic

    def sealed_by(self, keys: Collection[UUID]) -> list[Count]:
        """The entries under these keys, by stream and topic."""
        return self._counted("key_id = ANY(%s)", list(keys))

    def within(self, streams: Iterable[str]) -> list[Count]:
        """All entries of these streams, by stream and topic."""
        return self._counted("stream = ANY(%s)", list(streams))

    def keys_within(self, streams: Iterable[str], before: int) -> dict[str, frozenset[UUID]]:
        """The keys that seal entries of these streams at positions below `before`, by stream."""
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT stream, array_agg(DISTINCT key_id) AS keys FROM rapport.entries "
                "WHERE clinic = %s AND stream = ANY(%s) AND position < %s GROUP BY stream",
                (self._clinic, list(streams), before),
            )
            return {row["stream"]: frozenset(row["keys"]) for row in rows}

    def rows_sealed_by(self, tables: Iterable[str], keys: Collection[UUID]) -> dict[str, int]:
        """How many rows hold something under these keys, in each view where there are any."""
        query = sql.SQL(
            "SELECT count(*) AS rows FROM {} WHERE clinic = %(clinic)s AND keys && %(keys)s "
            "AND build = (SELECT build FROM rapport.tracking "
            "WHERE clinic = %(clinic)s AND view = %(view)s)"
        )
        found = {}
        with self._connected() as connection:
            for name in tables:
                exists = "SELECT to_regclass(%s) IS NOT NULL AS there"
                (there,) = connection.execute(exists, (f"views.{name}",)).fetchall()
                if there["there"]:
                    values = {"clinic": self._clinic, "keys": list(keys), "view": name}
                    table = sql.Identifier("views", name)
                    (row,) = connection.execute(query.format(table), values).fetchall()
                    found[name] = row["rows"]
        return {name: rows for name, rows in found.items() if rows}

    def _counted(self, which: str, values: list[UUID] | list[str]) -> list[Count]:
        query = (
            "SELECT stream, topic, count(*) AS entries FROM rapport.entries "  # noqa: S608
            f"WHERE clinic = %s AND {which} GROUP BY stream, topic ORDER BY stream, topic"
        )
        with self._connected() as connection:
            rows = connection.execute(query.encode(), (self._clinic, values))
            return [Count(row["stream"], row["topic"], row["entries"]) for row in rows]

    @contextmanager
    def _connected(self) -> Iterator[Connection[DictRow]]:
        with psycopg.connect(self._conninfo, row_factory=dict_row, autocommit=True) as connection:
            yield connection
