"""RFC 6962 written down as it stands there, without the product's code; and trees to try it on."""

from collections.abc import Sequence
from hashlib import sha256
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from infra.postgres import Database, EmbeddedPostgres
from infra.recorder import ClinicDatastore
from infra.tiles import SignedTree, SubtreeFiller, TiledHashes

CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""The leaves of the Certificate Transparency test data, and the root after each."""


# --- RFC 6962 -------------------------------------------------------------------------------


def mth(leaves: Sequence[bytes]) -> bytes:
    """Section 2.1: the root over the leaves."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = half(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def half(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def audit_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Section 2.1.1: PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if m < k:
        return [*audit_path(m, leaves[:k]), mth(leaves[k:])]
    return [*audit_path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """Section 2.1.2: SUBPROOF(m, D[n], b); with b, PROOF(m, D[n])."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = half(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def spec_tile(level: int, index: int, width: int, leaves: Sequence[bytes]) -> bytes:
    """tlog-tiles, «Merkle Tree»: the sequence of MTHs that a tile is."""
    span = 256**level
    starts = ((index * 256 + i) * span for i in range(width))
    return b"".join(mth(leaves[start : start + span]) for start in starts)


# --- Leaves in a database -------------------------------------------------------------------


def numbered(count: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(count)]


class Stored:
    """Leaves as rows of a clinic that has nothing else: all that tiles look at."""

    def __init__(self, server: EmbeddedPostgres, database: Database) -> None:
        self.clinic = uuid4()
        self.database = database
        self._superuser = server.superuser_dsn(
            str(conninfo_to_dict(database.dsn("owner"))["dbname"])
        )
        self.leaves: list[bytes] = []
        self.datastore = ClinicDatastore(database.dsn("read"), self.clinic)
        self.hashes = TiledHashes(self.datastore)
        self.filler = SubtreeFiller(database.dsn("views"), self.clinic)

    def grow(self, *leaves: bytes) -> None:
        first = len(self.leaves) + 1
        self.leaves.extend(leaves)
        self.run(_INSERT, clinic=self.clinic, first=first, leaves=list(leaves))

    def fill(self) -> int:
        return self.filler.fill(len(self.leaves))

    def tree(self, size: int | None = None) -> SignedTree:
        """What may be given out at that size, under the root that RFC 6962 gives it."""
        signed = self.leaves if size is None else self.leaves[:size]
        return SignedTree(self.hashes, len(signed), mth(signed))

    def run(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """As the superuser, who may do anything."""
        with psycopg.connect(self._superuser) as conn:
            conn.execute("SET session_replication_role = replica")
            cursor = conn.execute(statement.encode(), {"clinic": self.clinic, **values})
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self.datastore.close()


_INSERT = """
INSERT INTO rapport.entries
SELECT %(clinic)s, position, 'stream', position, 'topic', 1, now(), '+00:00', now(),
    gen_random_uuid(), NULL, 'entered', gen_random_uuid(), 0, gen_random_uuid(),
    decode(repeat('00', 32), 'hex'), '', leaf
FROM unnest(%(leaves)s::bytea[]) WITH ORDINALITY AS given (leaf, number),
    LATERAL (SELECT number + %(first)s - 1 AS position) AS placed
"""
