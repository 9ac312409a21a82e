"""The register of consent: who was informed of what, who agreed or declined, and until when.

One row per piece of information, consent or refusal; a consent's row carries its withdrawal. What
holds at a moment is asked at that moment, as the rules ask it: from the withdrawal's own time on,
never before (rule 20).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from domain.clinic import Scope
from domain.consent import (
    Capacity,
    ConsentDeclined,
    ConsentGiven,
    ConsentWithdrawn,
    InformationGiven,
    QuestionsAddressed,
)
from domain.event import Erased, History, Moment, RecordedEvent, Source, Text
from projections.view import Cell, Cells, Gathering, Instant, Row, cell, known, occurred


class Step(StrEnum):
    """What a row is about; known from the topic, whatever becomes of the content."""

    INFORMED = "informed"
    GIVEN = "given"
    DECLINED = "declined"


_STEPS = {
    InformationGiven.topic: Step.INFORMED,
    ConsentGiven.topic: Step.GIVEN,
    ConsentDeclined.topic: Step.DECLINED,
}


@dataclass(frozen=True, slots=True)
class ConsentRow(Row):
    """One step towards, or away from, consent."""

    step: Cell[Step]
    at: Cell[Instant]
    party: Cell[UUID]
    document: Cell[UUID]
    document_version: Cell[int]
    source: Cell[Source]
    reported: Cell[tuple[str, ...]]
    scope: Cell[Scope] | None = None
    consent: Cell[UUID] | None = None
    sha256: Cell[str] | None = None
    """Of the exact document (rule 17)."""
    signer: Cell[UUID] | None = None
    capacity: Cell[Capacity] | None = None
    valid_from: Cell[Moment] | None = None
    valid_to: Cell[Moment | None] | None = None
    informed_at: Cell[Moment] | None = None
    """When whoever signs was last informed of this very version before."""
    questions_at: Cell[Moment] | None = None
    """When the signer's questions about it were last addressed before."""
    withdrawn_at: Cell[Moment] | None = None
    withdrawal_reason: Cell[Text | None] | None = None

    def holds(self, at: datetime) -> bool:
        """Whether this is a consent in force at that time."""
        start, withdrawn = known(self.valid_from), known(self.withdrawn_at)
        end = known(self.valid_to)
        return (
            start is not None
            and start <= at
            and (end is None or at < end)
            and (withdrawn is None or at < withdrawn)
        )


class ConsentRegister(Gathering[ConsentRow]):
    name = "consent_register"
    row = ConsentRow
    clear = ("step", "at", "source")
    topics = frozenset({*_STEPS, QuestionsAddressed.topic, ConsentWithdrawn.topic})

    def rows_of(self, history: History) -> Iterator[tuple[int, ConsentRow]]:
        endings, said = _endings(history), _said(history)
        for entry in history.standing:
            match entry.event:
                case InformationGiven() as info:
                    yield entry.version, _informed(entry, info)
                case ConsentGiven() | ConsentDeclined() as answer:
                    yield entry.version, _answered(entry, answer, said, endings)
                case Erased() if entry.topic in _STEPS:
                    yield entry.version, ConsentRow.erased(entry, **_envelope(entry))


_About = tuple[str, UUID, UUID, int]
"""A topic, and the person, document and version that it was about."""


def _said(history: History) -> dict[_About, list[RecordedEvent]]:
    """The entries that somebody was informed, or had questions addressed."""
    said: dict[_About, list[RecordedEvent]] = {}
    for entry in history.standing:
        match entry.event:
            case InformationGiven(to=person) | QuestionsAddressed(party=person) as event:
                about = (entry.topic, person, event.document, event.version)
                said.setdefault(about, []).append(entry)
    return said


def _endings(history: History) -> dict[UUID, tuple[RecordedEvent, ConsentWithdrawn]]:
    """By consent, the entry that ended it."""
    return {
        ended: (entry, withdrawn)
        for entry, withdrawn in history.of(ConsentWithdrawn)
        for ended in (withdrawn.consent, *withdrawn.also_ends)
    }


def _envelope(entry: RecordedEvent) -> dict[str, Cell[object]]:
    return {
        "step": cell(entry, _STEPS[entry.topic]),
        "at": occurred(entry),
        "source": cell(entry, entry.source),
    }


def _informed(entry: RecordedEvent, info: InformationGiven) -> ConsentRow:
    here = Cells(entry)
    return ConsentRow(
        step=here(Step.INFORMED),
        at=occurred(entry),
        party=here(info.to),
        document=here(info.document),
        document_version=here(info.version),
        source=here(entry.source),
        reported=here(info.reported),
        sha256=here(info.sha256),
    )


def _answered(
    entry: RecordedEvent,
    answer: ConsentGiven | ConsentDeclined,
    said: Mapping[_About, list[RecordedEvent]],
    endings: Mapping[UUID, tuple[RecordedEvent, ConsentWithdrawn]],
) -> ConsentRow:
    here = Cells(entry)
    # Whoever signs is the one to be informed: a guardian, where one signs.
    signer = answer.signer if isinstance(answer, ConsentGiven) else answer.party
    about = (signer, answer.document, answer.version)
    row = ConsentRow(
        step=here(_STEPS[entry.topic]),
        at=occurred(entry),
        party=here(answer.party),
        document=here(answer.document),
        document_version=here(answer.version),
        source=here(entry.source),
        reported=here(answer.reported),
        scope=here(answer.scope),
        informed_at=_last_before(entry, said.get((InformationGiven.topic, *about), [])),
        questions_at=_last_before(entry, said.get((QuestionsAddressed.topic, *about), [])),
    )
    if isinstance(answer, ConsentDeclined):
        return row
    row = replace(
        row,
        consent=here(answer.consent),
        sha256=here(answer.sha256),
        signer=here(answer.signer),
        capacity=here(answer.capacity),
        valid_from=here(answer.valid_from),
        valid_to=here(answer.valid_to),
    )
    if answer.consent not in endings:
        return row
    ending, withdrawn = endings[answer.consent]
    return replace(
        row,
        withdrawn_at=cell(ending, ending.occurred_at),
        withdrawal_reason=cell(ending, withdrawn.reason),
    )


def _last_before(entry: RecordedEvent, earlier: Iterable[RecordedEvent]) -> Cell[Moment] | None:
    times = [(e.occurred_at, e) for e in earlier if e.occurred_at <= entry.occurred_at]
    if not times:
        return None
    moment, last = max(times, key=lambda time: time[0])
    return cell(last, moment)


# --- Questions ------------------------------------------------------------------------------


def in_force(
    rows: Mapping[int, ConsentRow], scope: Scope, party: UUID, at: datetime
) -> ConsentRow | None:
    """The newest consent of that party to that scope which holds at that time."""
    holding = (
        row
        for _, row in sorted(rows.items(), reverse=True)
        if known(row.scope) is scope and known(row.party) == party and row.holds(at)
    )
    return next(holding, None)


def lapsing(
    rows: Mapping[int, ConsentRow], at: datetime, within: timedelta
) -> Iterator[ConsentRow]:
    """The consents in force that end within that time with no other to follow."""
    for _, row in sorted(rows.items()):
        end, scope, party = known(row.valid_to), known(row.scope), known(row.party)
        if end is None or scope is None or party is None or not row.holds(at):
            continue
        if end <= at + within and in_force(rows, scope, party, end) is None:
            yield row


def unanswered(rows: Mapping[int, ConsentRow]) -> Iterator[ConsentRow]:
    """What somebody was informed of, and has neither agreed to nor declined."""
    answered = {
        (known(row.signer) or known(row.party), known(row.document), known(row.document_version))
        for row in rows.values()
        if known(row.step) is not Step.INFORMED
    }
    for _, row in sorted(rows.items()):
        about = (known(row.party), known(row.document), known(row.document_version))
        if known(row.step) is Step.INFORMED and None not in about and about not in answered:
            yield row
