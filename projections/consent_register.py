"""The register of consent: who was informed of what, who agreed or declined, and until when.

One row per piece of information, consent, assent or refusal; a consent's row carries what became
of it: where it was narrowed or withdrawn, and what a minor says to what a guardian consented to.
What holds at a moment is asked at that moment, as the rules ask it (rules 20 and 23).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from domain.assent import AssentDissented, AssentGiven, AssentWaived, MajorityReached
from domain.clinic import Scope
from domain.consent import (
    Capacity,
    Consent,
    ConsentDeclined,
    ConsentGiven,
    ConsentRenewed,
    ConsentScopeNarrowed,
    ConsentWithdrawn,
    Sharing,
    consents_of,
)
from domain.event import Erased, History, Model, Moment, RecordedEvent, Source, Text
from domain.information import InformationGiven, QuestionsAddressed
from projections.view import Cell, Cells, Gathering, Instant, Row, cell, known, occurred


class Step(StrEnum):
    """What a row is about; known from the topic, whatever becomes of the content."""

    INFORMED = "informed"
    GIVEN = "given"
    DECLINED = "declined"
    ASSENTED = "assented"
    DISSENTED = "dissented"
    WAIVED = "assent_waived"


_STEPS = {
    InformationGiven.topic: Step.INFORMED,
    ConsentGiven.topic: Step.GIVEN,
    ConsentRenewed.topic: Step.GIVEN,
    ConsentDeclined.topic: Step.DECLINED,
    AssentGiven.topic: Step.ASSENTED,
    AssentDissented.topic: Step.DISSENTED,
    AssentWaived.topic: Step.WAIVED,
}


class Said(Model):
    """What a minor said to a scope, and when; or that the minor cannot be asked."""

    at: Moment
    agrees: bool


@dataclass(slots=True, unsafe_hash=True)
class ConsentRow(Row):
    """One step towards, or away from, consent."""

    step: Cell[Step]
    at: Cell[Instant]
    party: Cell[UUID]
    source: Cell[Source]
    reported: Cell[tuple[str, ...]]
    document: Cell[UUID] | None = None
    """None for a dissent: it needs none."""
    document_version: Cell[int] | None = None
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
    capacity_basis: Cell[Text | None] | None = None
    sharing: Cell[Sharing | None] | None = None
    renews: Cell[UUID] | None = None
    """The consent that this one gives for another period."""
    excludes: tuple[Cell[Text], ...] = ()
    """What it has come to leave out."""
    narrowed_to: tuple[Cell[Moment], ...] = ()
    """Ends that were set earlier afterwards."""
    of_age_at: Cell[Moment] | None = None
    """When the minor for whom a guardian gave it came of age."""
    said: tuple[Cell[Said], ...] = ()
    """Where a guardian gave it: what the minor has said to that scope (rule 23)."""
    reason: Cell[Text | None] | None = None
    """Why a minor dissents, where that was said, or cannot be asked."""

    def holds(self, at: datetime) -> bool:
        """Whether this is a consent in force at that time."""
        start, end = known(self.valid_from), self.ends_at
        begun = start is not None and start <= at
        return begun and (end is None or at < end) and self._minor_allows(at)

    @property
    def ends_at(self) -> datetime | None:
        """The first moment at which a consent no longer holds; None: none is known."""
        ends = (self.valid_to, self.withdrawn_at, self.of_age_at, *self.narrowed_to)
        return min((end for end in map(known, ends) if end is not None), default=None)

    def _minor_allows(self, at: datetime) -> bool:
        """Rule 23: a minor was asked as well; a dissent blocks all but treatment."""
        if known(self.capacity) is not Capacity.GUARDIAN:
            return True
        said = [one for part in self.said if (one := known(part)) is not None and one.at <= at]
        last = max(said, key=lambda one: (one.at, not one.agrees), default=None)
        return last is not None and (known(self.scope) is Scope.TREATMENT or last.agrees)


class ConsentRegister(Gathering[ConsentRow]):
    name = "consent_register"
    row = ConsentRow
    clear = ("step", "at", "source")
    topics = frozenset(
        {
            *_STEPS,
            QuestionsAddressed.topic,
            ConsentScopeNarrowed.topic,
            ConsentWithdrawn.topic,
            MajorityReached.topic,
        }
    )

    def rows_of(self, history: History) -> Iterator[tuple[int, ConsentRow]]:
        endings, said = _endings(history), _said(history)
        consents = consents_of(history)
        for entry in history.standing:
            match entry.event:
                case InformationGiven() as info:
                    yield entry.version, _informed(entry, info)
                case ConsentGiven() as given:
                    row = _given(entry, given, _answered(entry, given, said))
                    yield entry.version, _became(row, consents[given.consent], endings)
                case ConsentDeclined() as declined:
                    yield entry.version, _answered(entry, declined, said)
                case AssentGiven() | AssentDissented() | AssentWaived() as said_by_minor:
                    yield entry.version, _assented(entry, said_by_minor)
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
        at=here.occurred(),
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
) -> ConsentRow:
    here = Cells(entry)
    # Whoever signs is the one to be informed: a guardian, where one signs.
    signer = answer.signer if isinstance(answer, ConsentGiven) else answer.party
    about = (signer, answer.document, answer.version)
    return ConsentRow(
        step=here(_STEPS[entry.topic]),
        at=here.occurred(),
        party=here(answer.party),
        document=here(answer.document),
        document_version=here(answer.version),
        source=here(entry.source),
        reported=here(answer.reported),
        scope=here(answer.scope),
        informed_at=_last_before(entry, said.get((InformationGiven.topic, *about), [])),
        questions_at=_last_before(entry, said.get((QuestionsAddressed.topic, *about), [])),
    )


def _given(entry: RecordedEvent, given: ConsentGiven, row: ConsentRow) -> ConsentRow:
    here = Cells(entry)
    row = replace(
        row,
        consent=here(given.consent),
        sha256=here(given.sha256),
        signer=here(given.signer),
        capacity=here(given.capacity),
        capacity_basis=here(given.capacity_basis),
        sharing=here(given.sharing),
        valid_from=here(given.valid_from),
        valid_to=here(given.valid_to),
    )
    if not isinstance(given, ConsentRenewed):
        return row
    return replace(row, renews=here(given.renews), excludes=tuple(map(here, given.excludes)))


def _became(
    row: ConsentRow,
    consent: Consent,
    endings: Mapping[UUID, tuple[RecordedEvent, ConsentWithdrawn]],
) -> ConsentRow:
    """The row with what has become of its consent since."""
    left_out = (cell(entry, narrowed.excludes) for entry, narrowed in consent.narrowed)
    said = () if consent.own_say is None else consent.own_say.said
    row = replace(
        row,
        excludes=(*row.excludes, *left_out),
        narrowed_to=tuple(
            cell(entry, narrowed.valid_to)
            for entry, narrowed in consent.narrowed
            if narrowed.valid_to is not None
        ),
        of_age_at=None if consent.of_age is None else cell(*consent.of_age),
        said=tuple(
            cell(entry, Said(at=entry.occurred_at, agrees=entry.topic != AssentDissented.topic))
            for entry in said
        ),
    )
    if consent.given.consent not in endings:
        return row
    ending, withdrawn = endings[consent.given.consent]
    return replace(
        row,
        withdrawn_at=cell(ending, ending.occurred_at),
        withdrawal_reason=cell(ending, withdrawn.reason),
    )


def _assented(
    entry: RecordedEvent, said: AssentGiven | AssentDissented | AssentWaived
) -> ConsentRow:
    here = Cells(entry)
    row = ConsentRow(
        step=here(_STEPS[entry.topic]),
        at=here.occurred(),
        party=here(said.party),
        source=here(entry.source),
        reported=here(said.reported),
        scope=here(said.scope),
    )
    if isinstance(said, AssentGiven):
        return replace(row, document=here(said.document), document_version=here(said.version))
    return replace(row, reason=here(said.reason))


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
        end, scope, party = row.ends_at, known(row.scope), known(row.party)
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
