"""One schema for one PostgreSQL and for a sharded one: the clinic comes first, everywhere."""

import re

from tests.habits.source import ROOT

SQL = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "infra/migrations").glob("*.sql"))
)
TABLES = re.findall(r"CREATE TABLE ([\w.]+) \((.*?)\n\)(.*?);", SQL, flags=re.DOTALL)


def test_every_table_is_read_by_these_tests() -> None:
    """ARCHITECTURE, schema rules: no table escapes by another spelling of CREATE TABLE."""
    assert TABLES
    assert len(TABLES) == len(re.findall(r"\bCREATE\b[^;(]*\bTABLE\b", SQL, flags=re.IGNORECASE))


def test_every_key_starts_with_the_clinic() -> None:
    """ARCHITECTURE, idea 9: primary, unique and foreign keys begin with the clinic."""
    keys = [
        (table, kind, columns)
        for table, body, _ in TABLES
        for kind, columns in re.findall(r"\b(PRIMARY KEY|UNIQUE|FOREIGN KEY)\s*\(([^)]*)\)", body)
    ]
    indexes = re.findall(r"CREATE (UNIQUE INDEX) \w+ ON ([\w.]+) \(([^)]*)\)", SQL)
    keys += [(table, kind, columns) for kind, table, columns in indexes]
    assert {table for table, kind, _ in keys if kind == "PRIMARY KEY"} == {t for t, *_ in TABLES}
    assert [key for key in keys if key[2].split(",")[0].strip() != "clinic"] == []


def test_every_table_can_be_partitioned_by_clinic() -> None:
    """ARCHITECTURE, schema rules: the same migrations run with every table hash-partitioned."""
    assert [table for table, _, tail in TABLES if tail.strip() != "/*partition by clinic*/"] == []
