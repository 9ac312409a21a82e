"""A clinic's log, and a database superuser who may do to it what he likes."""

# ruff: noqa: S608  statements are put together from what stands in this file

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import DictRow, dict_row

from infra.merkle import Frontier, leaf_hash
from infra.recorder import COLUMNS, entry_of
from infra.sealing import leaf_input

HERE = "WHERE clinic = %(clinic)s"
ENTRIES = f"FROM rapport.entries {HERE}"
TABLES = ("entries", "commands", "batches", "heads")


def change(table: str, values: str, where: str = "true") -> str:
    return f"UPDATE rapport.{table} SET {values} {HERE} AND {where}"


def delete(table: str, where: str = "true") -> str:
    return f"DELETE FROM rapport.{table} {HERE} AND {where}"


def flipped(value: object) -> object:
    """The value with one bit of one byte turned."""
    match value:
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1)
        case int():
            return value ^ 64
        case UUID():
            return UUID(int=value.int ^ 1)
        case datetime():
            return value + timedelta(microseconds=1)
    assert value is None
    return uuid4()


@dataclass
class Suspect:
    """One clinic's log in a database that others share."""

    clinic: UUID
    superuser: str
    reader: str

    def tamper(self, *statements: str, **values: object) -> None:
        """Runs statements with all triggers off; %(clinic)s is the log's."""
        with psycopg.connect(self.superuser, row_factory=dict_row) as conn:
            conn.execute("SET session_replication_role = replica")
            for statement in statements:
                conn.execute(statement.encode(), {"clinic": self.clinic, **values})

    def _for_each(self, statement: str, values: list[dict[str, object]]) -> None:
        with psycopg.connect(self.superuser) as conn, conn.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.executemany(
                statement.encode(), [{"clinic": self.clinic, **each} for each in values]
            )

    def rows(self, query: str, **values: object) -> list[DictRow]:
        with psycopg.connect(self.superuser, row_factory=dict_row) as conn:
            return conn.execute(query.encode(), {"clinic": self.clinic, **values}).fetchall()

    # --- Making what is stored fit, as a forger would -----------------------------------------

    def fit_leaves(self) -> None:
        """Each entry's leaf input fits its columns."""
        entries = map(entry_of, self.rows(f"SELECT {COLUMNS} {ENTRIES} ORDER BY position"))
        update = change("entries", "leaf_input = %(leaf)s", "position = %(at)s")
        self._for_each(
            update,
            [
                {"leaf": leaf_input(entry.envelope, entry.sealed), "at": entry.id}
                for entry in entries
            ],
        )

    def fit_commits(self, *sizes: int) -> None:
        """Each commit's row, or that of some, fits the leaves up to it."""
        tree, values = Frontier(), []
        for row in self.rows(f"SELECT leaf_input, recorded_at {ENTRIES} ORDER BY position"):
            tree = tree.append([leaf_hash(row["leaf_input"])])
            if tree.size in sizes or not sizes:
                values.append({"size": tree.size, "root": tree.root(), "at": row["recorded_at"]})
        fitting = "root = %(root)s, recorded_at = %(at)s"
        self._for_each(change("batches", fitting, "size = %(size)s"), values)

    def fit_one_commit(self) -> None:
        """The second commit's row fits the leaves up to it."""
        self.fit_commits(6)

    def fit_head(self) -> None:
        """The head fits the leaves."""
        tree = self.tree()
        self.tamper(
            change("heads", "size = %(size)s, root = %(root)s, frontier = %(frontier)s"),
            change("heads", f"recorded_at = (SELECT max(recorded_at) {ENTRIES})"),
            size=tree.size, root=tree.root(), frontier=tree.to_bytes(),
        )  # fmt: skip

    def fit_tree(self) -> None:
        """Commits and head fit the leaves."""
        self.fit_commits()
        self.fit_head()

    def leaves(self) -> list[bytes]:
        """The leaf hashes that follow from what is logged."""
        rows = self.rows(f"SELECT leaf_input {ENTRIES} ORDER BY position")
        return [leaf_hash(row["leaf_input"]) for row in rows]

    def tree(self, size: int | None = None) -> Frontier:
        """The tree over the first entries; None: over all."""
        return Frontier().append(self.leaves()[:size])

    def keep_subtrees(self, count: int) -> None:
        """Keeps the hashes over the first so many times 256 entries, and no others."""
        leaves = self.leaves()
        self.tamper(delete("subtrees"))
        for index in range(count):
            root = Frontier().append(leaves[256 * index : 256 * (index + 1)]).root()
            insert = "INSERT INTO rapport.subtrees VALUES (%(clinic)s, 1, %(index)s, %(root)s)"
            self.tamper(insert, index=index, root=root)

    # --- Older states -------------------------------------------------------------------------

    def keep(self) -> None:
        """Keeps a copy of the log as it is now, as a dump would."""
        for table in TABLES:
            self.tamper(
                "CREATE SCHEMA IF NOT EXISTS kept",
                f"CREATE TABLE IF NOT EXISTS kept.{table} (LIKE rapport.{table})",
                f"INSERT INTO kept.{table} SELECT * FROM rapport.{table} {HERE}",
            )

    def roll_back(self) -> None:
        """Puts the copy in the place of the log."""
        for table in TABLES:
            self.tamper(
                delete(table), f"INSERT INTO rapport.{table} SELECT * FROM kept.{table} {HERE}"
            )
