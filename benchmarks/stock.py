"""The stock library, `eventsourcing`, as its documentation sets it up on PostgreSQL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, DomainEvent, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL

PAYLOAD = "x" * 140
"""Makes an event of theirs as large as one of ours: 363 bytes."""


class Noted(DomainEvent):
    """An event of the stock library, as large as ours."""

    text: str


def noted(stream: UUID, version: int) -> Noted:
    """The event of that place."""
    return Noted(  # type: ignore[call-arg]  # the library makes it a dataclass
        originator_id=stream,
        originator_version=version,
        timestamp=Noted.create_timestamp(),
        text=PAYLOAD,
    )


class Course(Aggregate):
    """An aggregate with a rule: what is said of it must not be empty."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    @event("Said")
    def say(self, text: str) -> None:
        if not text:
            raise ValueError("nothing was said")
        self.count += 1
        self.last = text


class Stock(Application[UUID]):
    """Its application, with plain rows and a table lock per commit."""

    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": "eventsourcing.postgres"}


def environment(dsn: str) -> dict[str, str]:
    """The settings by which the library finds this database."""
    parts: Mapping[str, Any] = conninfo_to_dict(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(parts["dbname"]),
        "POSTGRES_HOST": str(parts["host"]),
        "POSTGRES_PORT": str(parts.get("port", "5432")),
        "POSTGRES_USER": str(parts["user"]),
        "POSTGRES_PASSWORD": str(parts["password"]),
    }


@contextmanager
def stock(dsn: str, **settings: str) -> Iterator[Stock]:
    """The application, opened with these settings beside those it needs, and closed."""
    application = Stock(env={**environment(dsn), "POSTGRES_POOL_SIZE": "32", **settings})
    try:
        yield application
    finally:
        application.close()


# --- A view ---------------------------------------------------------------------------------


class Lines(PostgresTrackingRecorder):
    """A view of one plain row per event, which commits with the position it covers."""

    def __init__(
        self, datastore: PostgresDatastore, *, tracking_table_name: str = "lines_tracking"
    ) -> None:
        super().__init__(datastore, tracking_table_name=tracking_table_name)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS lines "
                "(position bigint PRIMARY KEY, stream uuid, said text)"
            ).format()
        )

    def add(self, said: Noted, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            row = (tracking.notification_id, said.originator_id, said.text)
            cursor.execute("INSERT INTO lines VALUES (%s, %s, %s)", row, prepare=True)


class ToLines(Projection[Lines]):
    """One line for each event."""

    name = "to_lines"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.add(domain_event, tracking)


def runner(dsn: str) -> ProjectionRunner[Stock, Lines]:
    """The library's runner on that view; it works while it is entered."""
    return ProjectionRunner(
        application_class=Stock,
        projection_class=ToLines,
        view_class=Lines,
        env=environment(dsn),
    )
