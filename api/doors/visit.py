"""Showing a part of the record, after that somebody reads it was recorded.

Without the access entry there are no data, because there is no `Visit`.
"""

import hmac
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

from fastapi import Header, Query

from api import access
from api.access import BASES, Entitled, Principal, Reach
from api.doors.house import Commitment, Entrance, House, TheHouse, Who, denials_noted
from api.doors.tray import thread_lent
from api.doors.withholding import WITHHELD, withheld, withhold
from api.problems import CursorInvalid, NotThereYet
from domain.access import (
    AccessDenied,
    AccessReviewed,
    BreakGlassUsed,
    ReadRecord,
    RecordRead,
    access_stream,
)
from domain.clinic import clinic_stream
from domain.disclosure import (
    ExportMade,
    NoteExport,
    ToInform,
    ViewVersion,
    accounting,
    disclosure_stream,
    suspended,
    to_inform,
)
from domain.event import Erased, History, Line, Moment, RecordedEvent, Stream
from domain.records import Author
from domain.relationship import (
    RelationshipOpened,
    Span,
    relationship_of,
    relationship_stream,
)
from domain.rescoring import ScoringKeyAdopted, adopted_key
from domain.restriction import Purpose as DisclosurePurpose
from domain.restriction import RecipientKind, Use
from projections.alliance_course import RatingRow, read_by
from projections.caseload import Case, Finding, missing
from projections.dossier import Dossier, dossier
from projections.triage import Beside, accesses_waiting, actions_waiting
from projections.view import Reading as Rows
from projections.view import Row, View, up_to

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R", bound=Row)

LONGEST_WAIT: Final = 2.0
"""Seconds that a reader waits for a view to cover a position."""

# --- Reading --------------------------------------------------------------------------------

Purpose = Annotated[
    Line | None,
    Header(description="For what this is read; left out: the purpose that the token is for."),
]
After = Annotated[
    int | None,
    Query(ge=0, lt=2**53, description="Read only once this position of the log is covered."),
]
Start = Annotated[int | None, Query(ge=0, lt=2**53, description="Only entries past this position.")]
KnownAt = Annotated[Moment | None, Query(description="As it was known at this time.")]
HappenedBy = Annotated[Moment | None, Query(description="As it had happened by this time.")]
ForWhom = Annotated[
    RecipientKind | None,
    Query(description="For whom the copy is; left out: for whoever asks. Restrictions bind it."),
]
Limit = Annotated[int, Query(ge=1, le=500, description="At most so many items.")]
Cursor = Annotated[
    str | None,
    Query(max_length=100, description="`next` of the page before, for this very question."),
]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items of a list, and the cursor of what follows; None: nothing does."""

    items: Sequence[T]
    next: str | None


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who was let in to read, and whose reading is in the record already."""

    house: House
    who: Principal
    door: str
    reach: Reach
    purpose: str
    basis: Entitled | None = None
    """What entitles to this reading; None: it is of no one relationship."""
    relationship: UUID | None = None
    known_at: datetime | None = None
    happened_by: datetime | None = None
    after: int | None = None
    limit: int = 100
    cursor: str | None = None
    recipient: RecipientKind | None = None
    """For whom a copy is made, where it is not the reader."""
    judged: History | None = None
    """The relationship as it was when it was judged who is let in; None: to be read."""

    @property
    def withholds(self) -> bool:
        """Whether only structure is shown: that, when and by whom, not what."""
        return self.reach is Reach.STRUCTURE

    @property
    def stream(self) -> Stream:
        assert self.relationship is not None, "a clinic-wide visit is to no one relationship"
        return relationship_stream(self.relationship)

    # --- What there is to see

    def history(self) -> History:
        """The relationship's entries; the content that this reader is not shown is withheld."""
        whole = self.house.records.history(self.stream)
        hidden = self.hidden(self.stream, whole)
        if hidden is None:
            return whole
        return History(
            replace(entry, event=WITHHELD)
            if hidden(entry.version) and not isinstance(entry.event, Erased)
            else entry
            for entry in whole
        )

    def dossier(self) -> Dossier:
        """The relationship as of the two times, from the log itself."""
        self.wait_for_log()
        views, history = self.house.views, self.judged
        if history is None or self.after is not None:  # more may have come than was judged
            history = self.house.records.history(self.stream)
        told = dossier(
            self.stream,
            history,
            known_at=self.known_at,
            happened_by=self.happened_by,
            views=views,
        )
        told = replace(told, ratings=self._rescored(told.ratings))
        hidden = self.hidden(self.stream, history)
        if hidden is None:
            return told
        return replace(
            told,
            timeline=withheld(views.timeline, told.timeline, hidden),
            ratings=withheld(views.alliance_course, told.ratings, hidden),
            consents=withheld(views.consent_register, told.consents, hidden),
            goals=withheld(views.goal_course, told.goals, hidden),
            case=told.case and withhold(views.caseload, told.case, hidden),
        )

    def rows(self, view: View[S, R]) -> Rows[R]:
        """The relationship's rows of a view, one page of them and one more."""
        found = self._read(view)
        shown = self._shown(view, self.stream, found.of(self.stream))
        return replace(found, rows={self.stream: shown})

    def _read(self, view: View[S, R]) -> Rows[R]:
        self._wait_for(view)
        return self.house.reader.read(view, self.stream, after=self._start(), limit=self.limit + 1)

    def ratings(self) -> Rows[RatingRow]:
        """The ratings, by the keys that the clinic reads them by now."""
        view = self.house.views.alliance_course
        found = self._read(view)
        shown = self._shown(view, self.stream, self._rescored(found.of(self.stream)))
        return replace(found, rows={self.stream: shown})

    def _rescored(self, rows: Mapping[int, RatingRow]) -> Mapping[int, RatingRow]:
        """Rule 31: read by the keys that were adopted, as it was known at that time."""
        clinic = self.house.records.history(clinic_stream(self.house.clinic))
        if not any(isinstance(entry.event, ScoringKeyAdopted) for entry in clinic):
            return rows
        at = self.known_at or self.house.clock()
        known = clinic.as_of(known_at=self.known_at)
        return read_by(rows, partial(adopted_key, known, at=at))

    def cases(self) -> Rows[Case]:
        """Every case within reach. Whether clients consent to supervision is asked now."""
        view = self.house.views.caseload
        self._wait_for(view)
        found = self.house.reader.read(view, where=access.columns(self.reach, self.who))
        kept = {
            stream: self._shown(view, stream, cases)
            for stream, cases in found.rows.items()
            if (self.reach is not Reach.SUPERVISED or self._reaches(stream))
            and not self._is_barred(stream)
        }
        parked = {stream: why for stream, why in found.parked.items() if self._reaches(stream)}
        return replace(found, rows=kept, parked=parked)

    def readers(self) -> Mapping[int, tuple[RecordedEvent, RecordRead]]:
        """Who read this relationship's record, by version in the access stream."""
        assert self.relationship is not None
        history = self.house.records.history(access_stream(self.relationship))
        return {entry.version: (entry, read) for entry, read in history.of(RecordRead)}

    def incidents(self) -> Mapping[int, RecordedEvent]:
        """Emergencies, denials and reviews of accesses to this record, by version."""
        assert self.relationship is not None
        history = self.house.records.history(access_stream(self.relationship))
        kinds = BreakGlassUsed | AccessDenied | AccessReviewed
        return {entry.version: entry for entry in history if isinstance(entry.event, kinds)}

    def disclosures(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        recipients: Collection[RecipientKind] = frozenset(RecipientKind),
        purposes: Collection[DisclosurePurpose] = frozenset(DisclosurePurpose),
    ) -> Mapping[int, RecordedEvent]:
        """Who received what of this record in that time, by version in its stream.

        A client is not told of what an authority asked to be kept from them, as long as it holds.
        """
        assert self.relationship is not None
        history = self.house.records.history(disclosure_stream(self.relationship))
        untold = suspended(history, self.house.clock()) if self.reach is Reach.OWN else frozenset()
        told = frozenset(recipients) - untold
        account = accounting(history, begin, end, recipients=told, purposes=purposes)
        return {entry.version: entry for entry in account}

    def copies(self) -> Mapping[int, RecordedEvent]:
        """Every copy that was made of this record, by version in the same stream."""
        assert self.relationship is not None
        history = self.house.records.history(disclosure_stream(self.relationship))
        return {entry.version: entry for entry, _ in history.of(ExportMade)}

    def amendments(self) -> tuple[History, tuple[ToInform, ...]]:
        """The entries that amendments are told from, and who is to be told of an accepted one.

        By ids and versions they are structure, so whoever sees that sees all of them; a client
        sees the own ones.
        """
        assert self.relationship is not None
        history = self.history()
        if self.reach in (Reach.STRUCTURE, Reach.ALL):
            history = self.house.records.history(self.stream)
        disclosures = self.house.records.history(disclosure_stream(self.relationship))
        return history, () if self.reach is Reach.OWN else to_inform(history, disclosures)

    def as_copied(self) -> "Visit":
        """The same visit with both times stated: a copy tells as of when it is (rule 43)."""
        known_at = self.known_at or self.house.clock()
        happened_by = self.happened_by or known_at
        return replace(self, known_at=known_at, happened_by=happened_by, judged=None)

    def copied(
        self, content: Any, position: int, views: Mapping[str, int], filters: tuple[str, ...]
    ) -> tuple[ExportMade, Commitment]:
        """Notes that this content is handed out as a copy, and commits to it, before it is."""
        commitment = self.house.commit(content)
        assert self.relationship is not None
        noted = NoteExport(
            relationship=self.relationship,
            what=self.door,
            purpose=self.purpose,
            recipient=self.recipient,
            known_at=self.known_at,
            happened_by=self.happened_by,
            position=position,
            views=tuple(ViewVersion(view=name, version=v) for name, v in sorted(views.items())),
            filters=filters,
            commitment=commitment.commitment,
        )
        receipt = self.house.records.record(noted, Author(self.who.person))
        history = self.house.records.history(disclosure_stream(self.relationship))
        made = next(each for each in history if each.position == receipt.position)
        assert isinstance(made.event, ExportMade)
        return made.event, commitment

    def log_entries(self) -> Mapping[int, RecordedEvent]:
        """Entries of the log by position, one page of them and one more."""
        start = max(self.after or 0, self._start())
        return {entry.position: entry for entry in self.house.log.read_log(start, self.limit + 1)}

    def findings(self, case: Case, beside: Iterable[Finding] = ()) -> tuple[Finding, ...] | None:
        """What is missing in a case; None for whom not all is shown that it is told from."""
        if self.reach not in (Reach.TREATED, Reach.SUPERVISED):
            return None
        return (*beside, *missing(case, self.house.clock()))

    def beside(self) -> Beside:
        """What waits beside the relationships, by their ids: overdue actions of supervision, for
        those who treat and supervise; emergency accesses, for those who review them."""
        views, now = self.house.views, self.house.clock()
        if self.reach in (Reach.TREATED, Reach.SUPERVISED):
            actions = self._beside(views.actions)
            return {id_: tuple(actions_waiting(rows, now)) for id_, rows in actions.items()}
        if self.reach is Reach.STRUCTURE:
            accesses = self._beside(views.break_glass)
            return {
                id_: tuple(accesses_waiting(rows, views.policy)) for id_, rows in accesses.items()
            }
        return {}

    def _beside(self, view: View[S, R]) -> Mapping[UUID, Mapping[int, R]]:
        """The view's rows by relationship: of one from its log, of all from the table."""
        if self.relationship is None:
            found = self.house.reader.read(view).rows
            return {stream.id: rows for stream, rows in found.items()}
        stream = Stream(view.category, self.relationship)
        return {self.relationship: view.of(stream, self.house.records.history(stream))}

    def name_of(self, person: UUID) -> str | None:
        """What somebody is called; None where that is withheld, erased or not known."""
        return None if self.withholds else self.house.name_of(person)

    def etag(self, position: int) -> str | None:
        """The version that a command may be conditioned on, of what is shown as of `position`;
        None for a view of the past."""
        if self.known_at is not None or self.happened_by is not None:
            return None
        return f'"{up_to(self.house.records.history(self.stream), position).version}"'

    # --- Page by page

    def page(self, items: Mapping[int, T]) -> Page[T]:
        """The items past the cursor, by their keys in rising order."""
        start = self._start()
        keys = sorted(key for key in items if key > start)
        here = keys[: self.limit]
        following = self._cursor(here[-1]) if len(keys) > len(here) else None
        return Page([items[key] for key in here], following)

    def _start(self) -> int:
        """The key that the cursor stands at; CursorInvalid if it is not of this question."""
        if self.cursor is None:
            return 0
        digits = self.cursor.partition(".")[0]
        key = int(digits) if digits.isdecimal() else 0
        if not hmac.compare_digest(self._cursor(key).encode(), self.cursor.encode()):
            raise CursorInvalid
        return key

    def _cursor(self, key: int) -> str:
        """The key with a keyed check of what it belongs to: door, reader, relationship."""
        of = (self.door, str(self.who.person), str(self.relationship), str(key))
        return f"{key}.{self.house.log.keyed_id('cursor', *of).hex}"

    # --- Inside

    def _reaches(self, stream: Stream) -> bool:
        house = self.house
        return access.within(self.reach, self.who, house.records.history(stream), house.clock())

    def _shown(self, view: View[S, R], stream: Stream, rows: Mapping[int, R]) -> Mapping[int, R]:
        """The rows without what this reader is not shown."""
        hidden = self.hidden(stream)
        return rows if hidden is None else withheld(view, rows, hidden)

    def hidden(
        self, stream: Stream, history: History | None = None
    ) -> Callable[[int], bool] | None:
        """Whether an entry, by its version, is one whose content this reader is not shown; None:
        there is none. `history`: the stream's; left out, it is read where that is needed."""
        if self.reach is Reach.STRUCTURE:
            return lambda version: True
        if history is None:
            history = self.house.records.history(stream)
        kept_from = self._restricted(history) if stream.category == "relationship" else frozenset()
        if self.reach is Reach.OWN:
            kept_from |= self._not_theirs(stream, history)
        if not kept_from:
            return None
        amending = frozenset(
            entry.version
            for entry in history
            if (amendment := entry.amends()) is not None and amendment.version in kept_from
        )
        return (kept_from | amending).__contains__

    def _restricted(self, history: History) -> frozenset[int]:
        basis = self.basis or (Entitled(BASES[self.reach]) if self.reach in BASES else None)
        if basis is None:
            return frozenset()
        use = Use(self.purpose, self.who.person, self.recipient)
        return access.restricted(basis, use, history, self.house.clock())

    def _is_barred(self, stream: Stream) -> bool:
        """Whether a restriction keeps the whole of it from this reader."""
        if self.reach in (Reach.STRUCTURE, Reach.ALL):  # nothing is opened to look for one
            return False
        try:
            self._restricted(self.house.records.history(stream))
        except access.ReadingRestricted:
            return True
        return False

    def _not_theirs(self, stream: Stream, history: History) -> frozenset[int]:
        """The entries that are somebody else's own, and those of a time when one was not there.

        What is somebody's own is sealed under that person's key: what one partner of a couple
        rated or consented to is not the other's to read. What is joint is theirs who took part.
        """
        spans: tuple[Span, ...] = ()
        if stream.category == "relationship":
            taking_part = relationship_of(history).participations
            spans = tuple(one.span for one in taking_part if one.person == self.who.person)

        def was_there(entry: RecordedEvent) -> bool:
            at = entry.occurred_at
            always = stream.category != "relationship" or isinstance(
                entry.event, RelationshipOpened
            )
            return always or any(span.covers(at) or span.until == at for span in spans)

        return frozenset(
            entry.version
            for entry in history
            if not isinstance(entry.event, Erased)
            and (subject := entry.event.subject()) != self.who.person
            and (subject is not None or not was_there(entry))
        )

    def wait_for_log(self) -> None:
        if self.after is not None and self.after > self.house.log.head_size():
            raise NotThereYet(after=self.after)

    def _wait_for(self, view: View[S, R]) -> None:
        self.wait_for_log()
        if self.after is not None:
            with thread_lent():
                self.house.reader.wait_for([view], self.after, LONGEST_WAIT)


def enter(
    house: House,
    who: Principal,
    door: str,
    *,
    relationship: UUID | None = None,
    purpose: str | None = None,
    known_at: datetime | None = None,
    happened_by: datetime | None = None,
    after: int | None = None,
    limit: int = 100,
    cursor: str | None = None,
    recipient: RecipientKind | None = None,
) -> Visit:
    """Lets somebody in to read, after recording that they do: the one place where this happens.

    Raises NotAdmitted, OutOfReach, ReadingRestricted, CursorInvalid, or whatever keeps the access
    entry from being made: then there is no Visit, and nothing to show.
    """
    why, basis, history = purpose or who.purpose, None, None
    with denials_noted(house, who, door, relationship):
        reach = access.admit(door, who)
        if relationship is not None:
            history = house.records.history(relationship_stream(relationship))
            accesses = house.records.history(access_stream(relationship))
            basis = access.entitled(reach, who, history, accesses, house.clock())
            access.restricted(basis, Use(why, who.person, recipient), history, house.clock())
    visit = Visit(
        house,
        who,
        door,
        reach,
        why,
        basis,
        relationship,
        known_at,
        happened_by,
        after,
        limit,
        cursor,
        recipient,
        history,
    )
    visit.page({})  # a cursor that is not of this question is refused before anything is read
    noted = ReadRecord(
        role=who.role,
        purpose=why,
        what=door,
        relationship=relationship,
        known_at=known_at,
        happened_by=happened_by,
        basis=basis.basis if basis else None,
        consents=basis.consents if basis else None,
        break_glass=basis.break_glass if basis else None,
    )
    house.records.record(noted, Author(who.person))
    return visit


class Reads(Entrance):
    """Reads one relationship's record, page by page."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        after: After = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Visit:
        return enter(
            house,
            who,
            self.door,
            relationship=relationship,
            purpose=purpose,
            after=after,
            limit=limit,
            cursor=cursor,
        )


class ReadsAsOf(Entrance):
    """Reads one relationship's record as of two times (rule 5)."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        after: After = None,
        known_at: KnownAt = None,
        happened_by: HappenedBy = None,
    ) -> Visit:
        return enter(
            house,
            who,
            self.door,
            relationship=relationship,
            purpose=purpose,
            after=after,
            known_at=known_at,
            happened_by=happened_by,
        )


class LetsIn(ReadsAsOf):
    """The same, for whoever calls what it gives to be let in: who enters in the thread that reads
    waits for one thread, and not for two in turn."""

    async def __call__(  # type: ignore[override]
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        after: After = None,
        known_at: KnownAt = None,
        happened_by: HappenedBy = None,
    ) -> Callable[[], Visit]:
        let_in = super().__call__
        return partial(let_in, house, who, relationship, purpose, after, known_at, happened_by)


class Copies(Entrance):
    """Reads one relationship's record as of two times, to hand out a copy of it (rule 43)."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        relationship: UUID,
        purpose: Purpose = None,
        known_at: KnownAt = None,
        happened_by: HappenedBy = None,
        recipient: ForWhom = None,
    ) -> Visit:
        return enter(
            house,
            who,
            self.door,
            relationship=relationship,
            purpose=purpose,
            known_at=known_at,
            happened_by=happened_by,
            recipient=recipient,
        ).as_copied()


class ReadsClinic(Entrance):
    """Reads what is about the clinic as a whole."""

    def __call__(self, house: TheHouse, who: Who, purpose: Purpose = None) -> Visit:
        return enter(house, who, self.door, purpose=purpose)


class ReadsList(Entrance):
    """Reads a list over the clinic's relationships, page by page."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        purpose: Purpose = None,
        after: After = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Visit:
        return enter(
            house, who, self.door, purpose=purpose, after=after, limit=limit, cursor=cursor
        )


class ReadsEntries(Entrance):
    """Reads entries of the log, page by page."""

    def __call__(
        self,
        house: TheHouse,
        who: Who,
        purpose: Purpose = None,
        after: Start = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Visit:
        return enter(
            house, who, self.door, purpose=purpose, after=after, limit=limit, cursor=cursor
        )
