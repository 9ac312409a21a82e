"""Where signed checkpoints are kept, with what others said of them.

Evidence is added and never changed: checkpoints, cosignatures, timestamps, and alarms, which an
operator clears. How a witness was last reached is remembered beside it. The tables are described
in docs/operate/witnesses.md.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID, uuid4

from infra.recorder import ClinicDatastore
from infra.timestamp import Timestamp

LOG: Final = "log"
"""The source of an alarm that this log raises about itself."""
AUTHORITY: Final = "timestamp-authority"
"""What the timestamp authority is called among the witnesses' states; no verifier key is."""


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A signed head."""

    size: int
    note: str
    """As the log signed it: with the log's own signature alone."""
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A witness's cosignature of the checkpoint of that size."""

    witness: str
    """Its verifier key."""
    size: int
    line: str
    """The signature line, with its newline."""
    at: datetime
    """When it cosigned, by its own clock."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """An RFC 3161 token over the note of the checkpoint of that size."""

    size: int
    token: bytes
    """DER."""
    at: datetime
    """By the authority's clock."""
    received_at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """How a witness was last reached."""

    size: int = 0
    """How far it said to be."""
    failures: int = 0
    """Since it last answered as it should."""
    failure: str = ""
    """The code of the last one."""
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that only a rollback, a rewritten log or a lying witness explains."""

    id: UUID
    source: str
    """A witness's verifier key, or `LOG`."""
    code: str
    size: int
    """How far this log was then."""
    told: int | None
    """How far the witness said that it is."""
    raised_at: datetime


class CheckpointStore:
    """One clinic's checkpoints. Safe to share between threads; raises StoreUnavailable."""

    def __init__(self, datastore: ClinicDatastore) -> None:
        """`datastore` of the role `rapport_app`."""
        self._datastore = datastore
        self._clinic = datastore.clinic

    # --- Turns ------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether it is this process's turn to sign and ask; nobody else's while inside."""
        name = sha256(b"rapport notary" + self._clinic.bytes).digest()[:8]
        number = int.from_bytes(name, "big", signed=True)
        with self._datastore.get_connection() as connection:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s) AS mine", (number,)
            ).fetchone()
            mine = row is not None and bool(row["mine"])
            try:
                yield mine
            finally:
                if mine:
                    connection.execute("SELECT pg_advisory_unlock(%s)", (number,))

    # --- Checkpoints ------------------------------------------------------------------------

    def keep(self, origin: str, checkpoint: KeptCheckpoint) -> bool:
        """Keeps a checkpoint; False where there is another note for that size."""
        self._write(
            "INSERT INTO rapport.checkpoints (clinic, origin, size, note, signed_at) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (origin, checkpoint.size, checkpoint.note, checkpoint.signed_at),
        )
        kept = self._read(
            "SELECT note FROM rapport.checkpoints WHERE clinic = %s AND origin = %s AND size = %s",
            (origin, checkpoint.size),
        )
        return [row["note"] for row in kept] == [checkpoint.note]

    def latest(self, origin: str) -> KeptCheckpoint | None:
        """The largest checkpoint of that log."""
        rows = self._read(
            "SELECT size, note, signed_at FROM rapport.checkpoints "
            "WHERE clinic = %s AND origin = %s ORDER BY size DESC LIMIT 1",
            (origin,),
        )
        return next((KeptCheckpoint(**row) for row in rows), None)

    def at_size(self, origin: str, size: int) -> KeptCheckpoint | None:
        """The checkpoint of exactly that size."""
        rows = self._read(
            "SELECT size, note, signed_at FROM rapport.checkpoints "
            "WHERE clinic = %s AND origin = %s AND size = %s",
            (origin, size),
        )
        return next((KeptCheckpoint(**row) for row in rows), None)

    def best(self, origin: str, size: int) -> KeptCheckpoint | None:
        """Of the checkpoints that cover the first `size` entries the one most vouched for.

        More witnesses first, then a timestamp, then the newest.
        """
        rows = self._read(
            "WITH w AS (SELECT size, count(*) AS n FROM rapport.cosignatures "
            " WHERE clinic = %s AND origin = %s AND size >= %s GROUP BY size) "
            "SELECT c.size, c.note, c.signed_at "
            "FROM rapport.checkpoints c LEFT JOIN w USING (size) "
            "LEFT JOIN rapport.timestamps t USING (clinic, origin, size) "
            "WHERE c.clinic = %s AND c.origin = %s AND c.size >= %s "
            "ORDER BY coalesce(w.n, 0) DESC, t.size IS NULL, c.size DESC LIMIT 1",
            (origin, size, self._clinic, origin, size),
        )
        return next((KeptCheckpoint(**row) for row in rows), None)

    # --- Cosignatures and timestamps --------------------------------------------------------

    def cosign(self, origin: str, cosigned: Cosigned, received_at: datetime) -> None:
        """Keeps a cosignature, unless that witness's is there."""
        self._write(
            "INSERT INTO rapport.cosignatures "
            "(clinic, origin, size, witness, line, cosigned_at, received_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (origin, cosigned.size, cosigned.witness, cosigned.line, cosigned.at, received_at),
        )

    def cosignatures(self, origin: str, size: int) -> Sequence[Cosigned]:
        """Every witness's cosignature of the checkpoint of that size."""
        rows = self._read(
            "SELECT witness, size, line, cosigned_at AS at FROM rapport.cosignatures "
            "WHERE clinic = %s AND origin = %s AND size = %s ORDER BY witness",
            (origin, size),
        )
        return [Cosigned(**row) for row in rows]

    def last_cosigned(self, origin: str) -> dict[str, Cosigned]:
        """The last cosignature of each witness, by its verifier key."""
        rows = self._read(
            "SELECT DISTINCT ON (witness) witness, size, line, cosigned_at AS at "
            "FROM rapport.cosignatures WHERE clinic = %s AND origin = %s "
            "ORDER BY witness, size DESC",
            (origin,),
        )
        return {row["witness"]: Cosigned(**row) for row in rows}

    def stamp(self, origin: str, size: int, stamp: Timestamp, received_at: datetime) -> None:
        """Keeps a timestamp, unless there is one."""
        self._write(
            "INSERT INTO rapport.timestamps "
            "(clinic, origin, size, token, stamped_at, received_at) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (origin, size, stamp.token, stamp.at, received_at),
        )

    def stamped(self, origin: str, size: int | None = None) -> Stamped | None:
        """The timestamp of the checkpoint of that size, or the last there is."""
        rows = self._read(
            "SELECT size, token, stamped_at AS at, received_at FROM rapport.timestamps "
            "WHERE clinic = %s AND origin = %s AND size = coalesce(%s, size) "
            "ORDER BY size DESC LIMIT 1",
            (origin, size),
        )
        return next((Stamped(**row) for row in rows), None)

    # --- How witnesses are reached ----------------------------------------------------------

    def states(self, origin: str) -> dict[str, State]:
        """How each witness was last reached, by its verifier key."""
        rows = self._read(
            "SELECT witness, size, failures, failure, retry_at FROM rapport.witness_states "
            "WHERE clinic = %s AND origin = %s",
            (origin,),
        )
        return {row.pop("witness"): State(**row) for row in rows}

    def remember(self, origin: str, witness: str, state: State, tried_at: datetime) -> None:
        """Remembers how a witness was reached just now."""
        self._write(
            "INSERT INTO rapport.witness_states "
            "(clinic, origin, witness, size, failures, failure, tried_at, retry_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (clinic, origin, witness) "
            "DO UPDATE SET size = excluded.size, failures = excluded.failures, "
            "failure = excluded.failure, tried_at = excluded.tried_at, "
            "retry_at = excluded.retry_at",
            (
                origin,
                witness,
                state.size,
                state.failures,
                state.failure,
                tried_at,
                state.retry_at or tried_at,
            ),
        )

    # --- Alarms -----------------------------------------------------------------------------

    def raise_alarm(
        self, origin: str, source: str, code: str, size: int, told: int | None, at: datetime
    ) -> bool:
        """Raises an alarm; False where one of that source stands already."""
        added = self._write(
            "INSERT INTO rapport.alarms "
            "(clinic, alarm, origin, source, code, size, told, raised_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (uuid4(), origin, source, code, size, told, at),
        )
        return added == 1

    def alarms(self) -> Sequence[Alarm]:
        """Every alarm that nobody cleared, the oldest first."""
        rows = self._read(
            "SELECT alarm AS id, source, code, size, told, raised_at FROM rapport.alarms "
            "WHERE clinic = %s AND cleared_at IS NULL ORDER BY raised_at, alarm",
            (),
        )
        return [Alarm(**row) for row in rows]

    def clear(self, alarm: UUID, by: UUID, at: datetime) -> bool:
        """Clears an alarm; False where it is not standing."""
        cleared = self._write(
            "UPDATE rapport.alarms SET cleared_at = %(at)s, cleared_by = %(by)s "
            "WHERE clinic = %(clinic)s AND alarm = %(alarm)s AND cleared_at IS NULL",
            {"clinic": self._clinic, "alarm": alarm, "by": by, "at": at},
        )
        return cleared == 1

    # --- Statements -------------------------------------------------------------------------

    def _read(self, query: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
        with self._datastore.get_connection() as connection:
            return connection.execute(query.encode(), (self._clinic, *parameters)).fetchall()

    def _write(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any]) -> int:
        given = parameters if isinstance(parameters, dict) else (self._clinic, *parameters)
        with self._datastore.get_connection() as connection:
            return connection.execute(statement.encode(), given).rowcount
