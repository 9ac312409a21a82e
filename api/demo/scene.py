"""One relationship's people and its key ring of names, shared by all that tells of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from uuid import UUID

from api.demo.plot import Plot
from api.demo.stage import Find, Someone, Stage
from domain.event import Command
from domain.records import Author


@dataclass(frozen=True, slots=True)
class Hour:
    """A session that was held: its number, its times, and when it came into the record."""

    number: int
    id: UUID
    started_at: datetime
    ended_at: datetime
    recorded_at: datetime
    late_reason: str | None = None


@dataclass(frozen=True)
class Scene:
    """Who is in it; `name` begins the key of every act."""

    stage: Stage
    plot: Plot
    rng: Random
    name: str
    clients: tuple[Someone, ...]
    therapists: tuple[Someone, ...]
    supervisor: Someone | None
    guardian: Someone | None = None
    """Who consents for a minor."""

    @property
    def relationship(self) -> UUID:
        return self.stage.ids("relationship", self.name)

    @property
    def client(self) -> Someone:
        return self.clients[0]

    @property
    def therapist(self) -> Someone:
        """Who keeps the record of it."""
        return self.therapists[0]

    @property
    def participants(self) -> tuple[Someone, ...]:
        return (*self.clients, *self.therapists)

    def id(self, *key: str) -> UUID:
        return self.stage.ids(self.name, *key)

    def key(self, key: str) -> str:
        return f"{self.name}/{key}"

    def act(
        self,
        at: datetime,
        key: str,
        by: Someone,
        command: Command | Callable[[Find], Command],
        *,
        on_behalf_of: Someone | None = None,
    ) -> bool:
        """Whether it has happened by now."""
        author = Author(by.id, on_behalf_of.id if on_behalf_of else None)
        return self.stage.act(at, self.key(key), author, command)

    def plant(
        self, kind: str, *, session: UUID | None = None, key: str | None = None, detail: str = ""
    ) -> None:
        """Notes for the ground truth what was put in on purpose."""
        full_key = None if key is None else self.key(key)
        self.stage.plant(kind, self.relationship, session, full_key, detail)
