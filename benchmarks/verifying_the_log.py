"""`rapport verify` over a whole log: every column of every entry, beside hashing its leaves alone.

Ours is the command as an operator runs it, its start included, and the same in this process; CPU is
Python's and PostgreSQL's. Bare: SHA-256 over leaf inputs that are in memory already.
"""

from hashlib import sha256

import psycopg

from benchmarks.harness import Contender, Effort, Measured, asked, compare, timed
from benchmarks.invented import InventedClinic, told
from benchmarks.places import Place, place
from infra.clinics import pinned
from infra.verify import verify


def by_command(at: Place) -> Contender:
    """`rapport verify`."""

    def contender(_: int, __: float) -> Measured:
        verified = at.watched("verify")
        return verified.measured(int(verified.answer["size"]))

    return contender


def in_process(at: Place) -> Contender:
    """The same without the start of a process."""
    service = at.service

    def work() -> int:
        dsn = service.database.dsn("read")
        return verify(dsn, service.clinic, acknowledged=service.acknowledged()).size

    return lambda _, __: timed(work)


def hashed(at: Place) -> Contender:
    """The leaves' hashes, and nothing compared."""
    with psycopg.connect(pinned(at.service.database.dsn("read"), at.service.clinic)) as conn:
        rows = conn.execute("SELECT leaf_input FROM rapport.entries LIMIT 20000").fetchall()
    leaves = [bytes(row[0]) for row in rows]

    def work() -> int:
        for leaf in leaves:
            sha256(b"\0" + leaf).digest()
        return len(leaves)

    return lambda _, __: timed(work)


def main(effort: Effort) -> None:
    """Prints the comparison."""
    with place() as at:
        clinic = InventedClinic()
        told(at.records, list(clinic.founding()))
        clinic.fill(at.records, effort.entries)
        contenders = {
            "ours, in process": in_process(at),
            "ours, rapport verify": by_command(at),
            "SHA-256 of leaves": hashed(at),
        }
        compare("verify", contenders, at, rounds=effort.rounds)
        at.require_sound()


if __name__ == "__main__":
    main(asked())
