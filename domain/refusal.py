"""Refusals: why a command must not become an entry, for programs and for people."""

import re
from typing import ClassVar
from uuid import UUID


class Refusal(Exception):
    """A command that must not become an entry. Its text holds a code and ids, never content."""

    code: ClassVar[str]
    """Stable, for programs; the class name in kebab-case unless a class says otherwise."""
    rule: ClassVar[int | None] = None
    """The number of the rule in docs/reference/rules.md."""
    status: ClassVar[int] = 409
    """What HTTP answers: 409 against the record's state, 404 unknown, 422 never possible."""
    says: ClassVar[str]
    """One sentence for a person: what is wrong and what mends it. `{name}` names an id."""

    def __init_subclass__(cls) -> None:
        if "code" not in cls.__dict__:
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, **ids: UUID | int | str) -> None:
        self.ids = ids
        super().__init__(self.code, ids)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @property
    def detail(self) -> str:
        """The sentence with its ids filled in."""
        return self.says.format(**self.ids)
