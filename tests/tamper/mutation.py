"""Which mutants nothing tells from the real module."""

import signal
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType, ModuleType
from typing import Any

from tests.tamper.mutants import Mutant, Probe, Source

_SECONDS = 0.5
"""Of computing, not of waiting: how long a mutant may take for one answer."""
_SOON = 0.001


class Endless(BaseException):
    """A mutant that does not come to an end; no `except` of its own may hold it."""


@dataclass
class Jury:
    """Questions, and what the real module answers."""

    source: Source
    probes: Sequence[Probe]
    prepare: Callable[[ModuleType], None] = lambda _: None
    """Done to each module before it is asked."""
    killed: int = 0
    survivors: list[str] = field(default_factory=list)

    def try_all(self, mutants: Iterable[Mutant]) -> None:
        real = self.source.unchanged()
        self.prepare(real)
        asked = [(probe, answer(probe, real)) for probe in self.probes]
        for mutant in mutants:
            module = mutant.module(self.source.original)
            self.prepare(module)
            told = next((each for each in asked if answer(each[0], module) != each[1]), None)
            if told is None:
                self.survivors.append(mutant.name)
                continue
            self.killed += 1
            asked.remove(told)
            asked.insert(1 if asked else 0, told)  # what told one tells the next one soon


def answer(probe: Probe, module: Any) -> str:
    """What a module answers, in words."""
    try:
        with _limited():
            return outcome(lambda: probe(module))
    except Endless:
        return "without end"


def outcome(call: Callable[[], object]) -> str:
    """What it returns, or what it raises and says of it."""
    try:
        return repr(call())
    except Exception as error:
        return f"{type(error).__name__}: {error} {vars(error)}"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_filename == weakref.__file__:
            signal.setitimer(signal.ITIMER_VIRTUAL, _SOON)  # what a callback raises is lost
        else:
            raise Endless

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
