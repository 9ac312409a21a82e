"""Sessions and ratings from CSV files, by a mapping that says what each column means.

The mapping is declarative (docs/formats/import-mapping.md). Rows become the same commands that
people send, under ids that are keyed by source and row: the same file imported twice, or after a
crash in the middle, adds nothing twice. What a row lacks is reported, never invented.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from api.import_mapping import ImportMapping, Ratings
from api.import_rows import Row, RowFault, RowRefused, read_rows, rows_at_most
from domain import instrument as instruments
from domain import scoring
from domain.alliance import RateAlliance
from domain.clinic import DeclareImport
from domain.event import Command, Line, Refusal, Source, Stream
from domain.instrument import Perspective
from domain.making import maker
from domain.outcome import RateOutcome
from domain.person import ExternalId, RegisterPerson, person_stream, practitioner_stream
from domain.rating import Rate
from domain.records import Author, Proposal, Receipt
from domain.relationship import OpenRelationship, relationship_stream
from domain.session import HoldSession, schedule_stream

ROWS_PER_STEP = 4096
"""So many rows are read, sent and reported on together: a commit holds thousands of commands."""

_IDS_HELD = 65_536

C = TypeVar("C", bound=Command)

_LINE: TypeAdapter[str] = TypeAdapter(Line)


class Rehearsal(Protocol):
    """Decides without appending; None for a command that would be recorded."""

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]: ...


class Log(Protocol):
    """The clinic's log, as far as an import needs it."""

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]:
        """One verdict each; None: appended, by another process that has the receipt."""
        ...

    def seen(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]: ...
    def rehearse(self) -> Rehearsal: ...
    def keyed_id(self, *natural_key: str) -> UUID: ...
    def read_together(self, streams: Collection[Stream]) -> None: ...
    def head_size(self) -> int: ...


Progress = Callable[[str, int, int], None]
"""Called with what is being imported, rows done, rows in all (as many as there are lines)."""

# --- From rows to commands ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A command that a row stands for, or the fault that keeps the row from being one."""

    row: Row | None = None
    proposal: Proposal | None = None
    fault: RowFault | None = None


_step, _proposed = maker(Step), maker(Proposal)


@dataclass(frozen=True, slots=True)
class Difference:
    """A score of the record beside what the file claims for it."""

    file: str
    line: int
    relationship: str
    session: str
    instrument: str
    scale: str
    claimed: str
    computed: str
    difference: str
    """Computed minus claimed."""


@dataclass
class Report:
    """What an import came to, counted by kind of row."""

    dry_run: bool = False
    imported: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    """In the record already, from an earlier run."""
    faults: list[RowFault] = field(default_factory=list)
    compared: int = 0
    """Ratings whose scores were compared with the file's own."""
    differences: list[Difference] = field(default_factory=list)

    @classmethod
    def of(cls, stages: Iterable[Sequence["Report"]], *, dry_run: bool = False) -> "Report":
        """The whole of an import: its stages in order, each of shares that were done apart."""
        whole = cls(dry_run)
        for shares in stages:
            for share in shares:
                for all_, some in (whole.imported, share.imported), (whole.present, share.present):
                    for what, rows in some.items():
                        all_[what] = all_.get(what, 0) + rows
                whole.compared += share.compared
            whole.faults += sorted((one for s in shares for one in s.faults), key=_BY_LINE)
            differences = (one for share in shares for one in share.differences)
            whole.differences += sorted(differences, key=_BY_LINE)
        return whole

    def take(self, what: str, step: Step, verdict: Receipt | Refusal | None, before: int) -> None:
        """Counts a verdict; entries up to position `before` were in the record already."""
        if isinstance(verdict, Refusal):
            file, line = (step.row.file, step.row.line) if step.row else ("", 0)
            self.faults.append(RowFault(file, line, "", "", verdict.code, verdict.detail))
            return
        counts = self.present if verdict and verdict.position <= before else self.imported
        counts[what] = counts.get(what, 0) + 1


# --- Shares ---------------------------------------------------------------------------------


class Share(NamedTuple):
    """What one of several processes imports of a source: the rows of some relationships."""

    of: Mapping[str, int]
    """Relationship → the number of the share that it belongs to; those unnamed to the first."""
    number: int = 0

    def holds(self, relationship: str) -> bool:
        return self.of.get(relationship, 0) == self.number


WHOLE = Share({})


Made = tuple[Command, tuple[str, ...]]
"""A command and the natural key, within its source, of what it records."""

Stage = tuple[str, str | None, Iterator[Step]]
"""What is imported, from which file, and what its rows stand for, read as it is asked."""

Append = Callable[[Sequence[Proposal]], Sequence[Receipt | Refusal | None]]

_BY_LINE = attrgetter("line")


class Importer:
    """One mapping, one folder, one clinic."""

    def __init__(
        self, log: Log, mapping: ImportMapping, folder: Path, actor: UUID, share: Share = WHOLE
    ) -> None:
        self._log = log
        self._mapping = mapping
        self._folder = folder
        self._share = share
        self._id = lru_cache(_IDS_HELD)(self._new_id)
        """The same for what is named again and again, such as a relationship."""
        self._declaration = self._id("declaration")
        self._author = Author(actor, source=Source.IMPORT, import_id=self._declaration)
        self._orders: dict[str, int] = {}
        """Of all relationships of the source, counted from 1."""
        self._named: dict[str, _Named] = {}
        """Those of the share."""
        self._ahead: set[Stream] = set()
        """What the commands of the rows that are being read will look at."""
        self._repeated = False
        """Whether something of it was found in the record."""
        self._report = Report()

    def run(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        """Imports what can be imported and reports the rest. Repeating it adds nothing twice.

        A dry run decides everything and appends nothing.
        """
        append = self._log.rehearse().append if dry_run else self._append
        before = self._log.head_size()
        stages = [self._declaration_stage(), *self._stages()]
        reports = [self._done(append, before, progress, *stage) for stage in stages]
        return Report.of(([report] for report in reports), dry_run=dry_run)

    def declare(self) -> Report:
        """Imports nothing but what the import stands on."""
        return self._done(self._append, self._log.head_size(), None, *self._declaration_stage())

    def run_share(self, before: int, progress: Progress | None = None) -> list[Report]:
        """Imports the share of what was declared: a report for each stage.

        Entries up to position `before` were in the record already.
        """
        return [self._done(self._append, before, progress, *stage) for stage in self._stages()]

    def _done(
        self,
        append: Append,
        before: int,
        progress: Progress | None,
        what: str,
        file: str | None,
        steps: Iterator[Step],
    ) -> Report:
        report = self._report = Report()
        done, rows = 0, 1 if file is None else rows_at_most(self._folder / file)
        while some := list(islice(steps, ROWS_PER_STEP)):
            verdicts = iter(append([step.proposal for step in some if step.proposal]))
            for step in some:
                if step.fault is not None:
                    report.faults.append(step.fault)
                else:
                    report.take(what, step, next(verdicts), before)
            self._ahead.clear()
            self._repeated = self._repeated or bool(report.present)
            done += len(some)
            if progress is not None:
                progress(what, done, done if len(some) < ROWS_PER_STEP else max(done, rows))
        return report

    def _append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]:
        """Of an import that was begun before, rows that are in the record are not decided again."""
        seen: Sequence[Receipt | Refusal | None] = [None] * len(proposals)
        if self._repeated:
            seen = self._log.seen(proposals)
        missing = [one for one, there in zip(proposals, seen, strict=True) if there is None]
        if missing:
            self._log.read_together(self._ahead)
        appended = iter(self._log.append(missing))
        return [next(appended) if there is None else there for there in seen]

    def _declaration_stage(self) -> Stage:
        return "declarations", None, iter([Step(proposal=self._proposal(*self._declare()))])

    def _stages(self) -> Iterator[Stage]:
        mapping = self._mapping
        named, held = mapping.relationships, mapping.sessions
        yield "people", named.file, self._people()
        columns = [named.key, named.therapist, named.client]
        yield "relationships", named.file, self._each(named.file, columns, self._relationship, True)
        columns = [held.relationship, held.number]
        yield "sessions", held.file, self._each(held.file, columns, self._session)
        for ratings in mapping.ratings:
            columns = [ratings.relationship, ratings.session, *ratings.items]
            columns += ratings.claims.values()
            make = partial(self._rating, _Form(ratings))
            what = f"{ratings.instrument} ratings"
            yield what, ratings.file, self._each(ratings.file, columns, make)

    # --- Stages ------------------------------------------------------------------------------

    def _declare(self) -> Made:
        declaration = self._mapping.declaration
        command = DeclareImport(
            declaration=self._declaration,
            origin=declaration.origin,
            licence=declaration.licence,
            declared_by_name=declaration.declared_by_name,
            legal_basis=declaration.legal_basis,
            time_rule=self._mapping.time.says,
        )
        return command, ("declare",)

    def _people(self) -> Iterator[Step]:
        """Everyone the source names, once, by the name that the source has for them.

        Therapists too are persons here: what they may do is not in the source, so no practitioner
        is made up, and rule 11 is reported on what they did.
        """
        named = self._mapping.relationships
        known: set[tuple[str, str]] = set()
        for row in read_rows(self._folder, named.file, (named.key, named.therapist, named.client)):
            if isinstance(row, RowFault):
                continue  # reported with the relationship it stands for
            if not self._share.holds(row[named.key]):
                continue
            for kind, column in (("therapist", named.therapist), ("client", named.client)):
                with suppress(RowRefused):  # reported there too
                    name = self._filled(row, column)
                    if (kind, name) not in known:
                        known.add((kind, name))
                        yield Step(row, self._proposal(*self._person(kind, name)))

    def _person(self, kind: str, name: str) -> Made:
        person = self._id(kind, name)
        self._ahead.add(person_stream(person))
        command = RegisterPerson(
            person=person,
            full_name=f"{kind} {name}" if name.isdigit() else name,
            external_ids=(ExternalId(system=self._mapping.declaration.origin[:200], value=name),),
        )
        return command, ("person", kind, name)

    def _count(self, row: Row) -> tuple[str, str, str]:
        """Gives a relationship its number; its names, and those of whom it is between."""
        named = self._mapping.relationships
        key = self._filled(row, named.key)
        therapist, client = self._filled(row, named.therapist), self._filled(row, named.client)
        if key in self._orders:
            raise RowRefused(row, named.key, "named-twice", "This relationship is named twice.")
        self._orders[key] = len(self._orders) + 1
        return key, therapist, client

    def _relationship(self, row: Row) -> Made:
        named = self._mapping.relationships
        key, *between = self._count(row)
        therapist, client = map(self._id, ("therapist", "client"), between)
        relationship = self._id("relationship", key)
        there = _Named(self._orders[key], relationship, client, therapist)
        self._named[key] = there
        self._ahead.update(there.streams)
        self._ahead.add(person_stream(client))
        command = self._command(
            row,
            OpenRelationship,
            occurred_at=self._mapping.time.session(there.order, 1)[0],
            late_reason=self._late,
            relationship=relationship,
            clients=(client,),
            therapists=(therapist,),
            modality=named.modality,
            setting=named.setting,
        )
        return command, ("relationship", key)

    def _session(self, row: Row) -> Made:
        held = self._mapping.sessions
        key, number = self._place(row, held.relationship, held.number)
        there = self._named[key]
        self._ahead.update(there.streams)
        started_at, ended_at = self._mapping.time.session(there.order, number)
        command = self._command(
            row,
            HoldSession,
            late_reason=self._late,
            relationship=there.id,
            session=self._id("session", key, str(number)),
            medium=held.medium,
            present=(there.client, there.therapist),
            started_at=started_at,
            ended_at=ended_at,
        )
        return command, ("session", key, str(number))

    def _rating(self, form: "_Form", row: Row) -> Made:
        ratings = form.ratings
        key, number = self._place(row, ratings.relationship, ratings.session)
        there = self._named[key]
        self._ahead.add(there.streams[0])
        answers = form.answers(row)
        self._compare(form, row, answers, key, number)
        command = self._command(
            row,
            form.command,
            occurred_at=self._mapping.time.session(there.order, number)[1],
            late_reason=self._late,
            relationship=there.id,
            rating=self._new_id("rating", ratings.file, key, str(number)),
            instrument=ratings.instrument,
            perspective=ratings.perspective,
            rater=there.client if form.by_client else there.therapist,
            session=self._id("session", key, str(number)),
            answers=answers,
        )
        return command, ("rating", ratings.file, key, str(number))

    def _compare(
        self, form: "_Form", row: Row, answers: Sequence[str | None], key: str, number: int
    ) -> None:
        """Sets the record's own scores beside the file's, which are claims of its authors."""
        ratings, definition = form.ratings, form.definition
        if definition is None:
            return
        try:
            items = scoring.parse_items(definition, answers)
        except scoring.ItemOutOfRange as error:
            column = ratings.items[int(str(error.ids["item"])) - 1]
            # Without the answer: the reason is printed, values go to the file of faults alone.
            raise RowRefused(row, column, error.code, error.detail) from None
        if not ratings.claims:
            return
        score = scoring.score(definition, items, perspective=ratings.perspective)
        self._report.compared += 1
        for scale, column in ratings.claims.items():
            found = score.of(scale)
            claimed = _claimed(row, column)
            if found.value != claimed:
                difference = Difference(
                    file=row.file,
                    line=row.line,
                    relationship=key,
                    session=str(number),
                    instrument=definition.id,
                    scale=scale,
                    claimed=row[column],
                    computed=found.text or "none",
                    difference=_signed(found.value, claimed),
                )
                self._report.differences.append(difference)

    # --- Pieces ------------------------------------------------------------------------------

    def _each(
        self,
        file: str,
        columns: Sequence[str],
        make: Callable[[Row], Made],
        counted: bool = False,
    ) -> Iterator[Step]:
        """What the rows stand for; the first of `columns` names the relationship. What another
        share holds is passed over, or only counted, and what is no row is the first share's."""
        its_own = None if counted else self._share.holds
        for row in read_rows(self._folder, file, columns, its_own):
            if isinstance(row, RowFault):
                if self._share.number == 0:
                    yield Step(fault=row)
            elif not counted or self._share.holds(row[columns[0]]):
                try:
                    yield _step(row, self._proposal(*make(row)))
                except RowRefused as refused:
                    yield Step(row, fault=refused.fault)
            else:
                with suppress(RowRefused):
                    self._count(row)

    def _proposal(self, command: Command, key: tuple[str, ...]) -> Proposal:
        return _proposed(command, self._author, self._new_id("command", *key))

    def _command(self, row: Row, kind: type[C], **fields: Any) -> C:
        """The command; what the row holds that no command can hold refuses the row."""
        try:
            return kind(**fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise RowRefused(row, where, first["type"], first["msg"]) from None

    def _filled(self, row: Row, column: str) -> str:
        """The column's text, which must be a name that the record can hold."""
        if not row[column]:
            raise RowRefused(row, column, "empty", "This column may not be empty.")
        try:
            return _LINE.validate_python(row[column])
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise RowRefused(row, column, first["type"], first["msg"]) from None

    def _place(self, row: Row, relationship: str, session: str) -> tuple[str, int]:
        """Which relationship a row belongs to, and the number of its session."""
        key = row[relationship]
        if key not in self._named:
            self._filled(row, relationship)
            raise RowRefused(
                row, relationship, "relationship-unknown", "No relationship of the source has it."
            )
        number = row[session]
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= 10_000):
            raise RowRefused(
                row, session, "not-a-session-number", "Sessions are numbered from 1 to 10000."
            )
        return key, int(number)

    @cached_property
    def _late(self) -> str:
        return f"Imported. {self._mapping.time.says}"

    def _new_id(self, *natural_key: str) -> UUID:
        return self._log.keyed_id("import", self._mapping.declaration.origin, *natural_key)


@dataclass(frozen=True, slots=True)
class _Named:
    """A relationship that the source names; `order` counts from 1."""

    order: int
    id: UUID
    client: UUID
    therapist: UUID
    streams: tuple[Stream, ...] = field(init=False)
    """Its own, and those of the therapist's work."""

    def __post_init__(self) -> None:
        own, by = relationship_stream(self.id), self.therapist
        object.__setattr__(self, "streams", (own, practitioner_stream(by), schedule_stream(by)))


class _Form:
    """What the rows of one file of ratings have in common."""

    def __init__(self, ratings: Ratings) -> None:
        self.ratings = ratings
        self.by_client = ratings.perspective is Perspective.CLIENT
        self.definition: instruments.Definition | None = None
        """None: it is unknown, and only its raw items are kept."""
        self.command: type[Rate] = RateAlliance
        with suppress(instruments.UnknownInstrument):
            self.definition = instruments.load(ratings.instrument)
            if self.definition.measures in RateOutcome.measures:
                self.command = RateOutcome

    def answers(self, row: Row) -> list[str | None]:
        """What the row holds for each item, in words that the instrument knows; None: nothing."""
        fields, places, labels = row.fields, row.columns, self.ratings.labels
        answers = [fields[places[column]].strip() or None for column in self.ratings.items]
        if not labels:
            return answers
        return [answer and str(labels.get(answer, answer)) for answer in answers]


def _claimed(row: Row, column: str) -> Fraction:
    try:
        return Fraction(row[column])
    except (ValueError, ZeroDivisionError):
        reason = "The file's own score is not a number."
        raise RowRefused(row, column, "not-a-number", reason) from None


def _signed(value: Fraction | None, claimed: Fraction) -> str:
    if value is None:
        return "not scored"
    return f"{float(value - claimed):+g}"
