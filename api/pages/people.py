"""Who is meant, in words: by name where the reader may know it, else by part and id."""

from functools import cached_property
from uuid import UUID

from api.doors import Visit
from api.pages import words
from api.pages.charts import Manner
from domain.instrument import Perspective
from projections.caseload import Case
from projections.view import known


class People:
    """The people of one relationship, as one visitor may know them."""

    def __init__(self, visit: Visit, case: Case | None) -> None:
        self._visit = visit
        self.clients: tuple[UUID, ...] = (case and known(case.clients)) or ()
        self.therapists: tuple[UUID, ...] = (case and known(case.therapists)) or ()
        self.supervisor = None if case is None else known(case.supervisor)
        self._names: dict[UUID, str | None] = {}

    def part(self, person: UUID) -> str:
        """What somebody is in this relationship: `client`, `client 2`; empty for all others."""
        for part, people in (("client", self.clients), ("therapist", self.therapists)):
            if person in people:
                return part if len(people) == 1 else f"{part} {people.index(person) + 1}"
        return "supervisor" if person == self.supervisor else ""

    def name(self, person: UUID) -> str:
        """A name; where that is withheld, erased or not known, the beginning of the id."""
        if person not in self._names:
            self._names[person] = self._visit.name_of(person)
        return self._names[person] or words.short(person)

    def who(self, person: UUID) -> str:
        """Name and part."""
        part = self.part(person)
        return f"{self.name(person)} ({part})" if part else self.name(person)

    def voice(self, perspective: Perspective, rater: UUID) -> tuple[str, Manner, bool]:
        """How a rater's line is called, drawn, and whether it is a further one of its kind."""
        manner = _MANNERS.get(perspective, Manner.OTHER)
        name = self.part(rater) if manner is not Manner.OTHER else perspective.value
        among = {Manner.CLIENT: self.clients, Manner.THERAPIST: self.therapists}.get(manner, ())
        return name or perspective.value, manner, rater in among[1:]

    @cached_property
    def title(self) -> str:
        """The clients by name, as the relationship is called."""
        names = " and ".join(map(self.name, self.clients))
        if self._visit.withholds and names:
            return f"Relationship of {names}"
        return names or "Relationship without readable opening"


_MANNERS = {Perspective.CLIENT: Manner.CLIENT, Perspective.THERAPIST: Manner.THERAPIST}
