"""Ratings: what somebody answered on a questionnaire, and the one reading of it that is current.

A rating holds the raw items that somebody answered, of one held session or between sessions,
from one perspective, on one instrument form and one key. It is never edited: a better reading of
the same answers supersedes it, and both sets of raw items stay (rules 28–30, 32–34, 36). The
alliance and outcomes are families of ratings: `domain/alliance.py`, `domain/outcome.py`.

A form is one command: there is no draft of one that anybody could look into, and a therapist sees
a client's own submission when it is handed in, never before (rule 33). What was left unanswered
stays so, and flags every score.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, ClassVar, NamedTuple
from uuid import UUID

from pydantic import (
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from domain.answers import MOST_ITEMS, Answers
from domain.clinic import Scope, Sha256, clinic_stream
from domain.consent import Reliance, require_consent
from domain.event import (
    Command,
    Entries,
    EntryUnknown,
    Event,
    Fold,
    Given,
    History,
    Line,
    New,
    RecordedEvent,
    Refusal,
    Source,
    Stream,
    Text,
)
from domain.ids import new_id
from domain.instrument import Definition, Perspective, UnknownInstrument, UnknownKey, load, load_key
from domain.making import checked
from domain.person import require_voice
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
)
from domain.risk import RiskItemRaised, at_risk
from domain.scoring import Score, parse_items, score
from domain.series import SeriesId, series_id
from domain.session import SessionUnknown, session_of
from domain.text_pack import TextPackAdopted, is_licensed
from domain.told import Growing, ids

Item = Annotated[int, Field(gt=-(2**53), lt=2**53)]
Items = Annotated[tuple[Item | None, ...], Field(min_length=1, max_length=MOST_ITEMS)]
"""Raw items in the instrument's scaled unit; None: not answered, which is never zero."""


# --- What happened --------------------------------------------------------------------------


class Rating(Event):
    """What every rating holds, whether it is the first of its kind or supersedes one."""

    # Rule 29: superseded, never edited.
    correctable = False

    rating: UUID
    instrument: Line
    instrument_version: Line | None = None
    key_hash: Line | None = None
    """The key that scores it; None: no key is known, only the raw items can be shown."""
    perspective: Perspective
    rater: UUID
    session: UUID | None = None
    between_sessions: bool = False
    follow_up: bool = False
    """Taken after the relationship was closed, to see how things went on."""
    items: Items
    text_pack: Sha256 | None = None
    """The clinic's own text pack in whose words it was asked, where it was asked in those."""
    relies_on: tuple[Reliance, ...] = ()

    @model_validator(mode="after")
    def _has_one_place(self) -> "Rating":
        if (self.session is None) != self.between_sessions:
            raise PydanticCustomError(
                "rating_without_place", "A rating names a session or stands between sessions."
            )
        return self

    def subject(self) -> UUID | None:
        return self.rater if self.perspective is Perspective.CLIENT else None

    def outlives_closure(self) -> bool:
        return self.follow_up

    def superseding(self) -> type["Superseding"]:
        """The kind of event by which a better reading of its answers is told."""
        raise NotImplementedError


class Superseding(Rating):
    """A better reading of the answers of an earlier rating, in whose place it stands.

    It occurred when that rating did, so most are recorded late; `reason` says why.
    """

    superseded: UUID
    reason: Text


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CurrentRating:
    """A rating that no other has superseded, and what it stands in the place of."""

    entry: RecordedEvent
    rating: Rating
    earlier: tuple[RecordedEvent, ...] = ()
    """The entries it supersedes, oldest first."""

    @property
    def own_submission(self) -> bool:
        """Rule 33: whether the rater recorded it, and not somebody else on the rater's behalf."""
        return self.entry.source is Source.ENTERED and self.entry.actor == self.rating.rater

    @property
    def score(self) -> Score | None:
        return score_of(self.entry)


Place = tuple[UUID | None, str, Perspective, UUID]  # session, instrument, perspective and rater


class _Ratings(NamedTuple):
    named: Growing[UUID, None]
    """Every id that a rating ever had, or one in whose place another was said to stand."""
    current: Growing[UUID, CurrentRating]


class _Places(NamedTuple):
    named: Growing[UUID, None]
    """The same."""
    current: Growing[Place, UUID]
    """Which rating is current there."""


def ratings_of(history: History) -> Mapping[UUID, CurrentRating]:
    """The current ratings of a relationship by their id (rule 29).

    Where a superseding rating was entered in error, the one before it is current again, unless a
    further one stands in the place of both.
    """
    return history.folded(_RATINGS).current


def _ratings(history: History) -> _Ratings:
    first: dict[UUID, UUID] = {}
    for entry in history.among(Superseding, ever=True):
        assert isinstance(entry.event, Superseding), "it was asked"
        superseded = entry.event.superseded
        first[entry.event.rating] = first.get(superseded, superseded)
    chains: dict[UUID, list[tuple[RecordedEvent, Rating]]] = {}
    for entry, rating in history.of(Rating):
        chains.setdefault(first.get(rating.rating, rating.rating), []).append((entry, rating))
    current = {
        rating.rating: CurrentRating(entry, rating, tuple(entry for entry, _ in earlier))
        for *earlier, (entry, rating) in chains.values()
    }
    recorded, replaced = history.folded(_IDS), history.folded(_REPLACED)
    return _Ratings(recorded.having(replaced), Growing(current))


def _further_ratings(before: _Ratings, news: Entries) -> _Ratings | None:
    """With ratings that stand in nobody's place; None where they may."""
    named, current = before
    for entry in news:
        rating = entry.event
        assert isinstance(rating, Rating), "no other kind is a rating"
        if isinstance(rating, Superseding) or rating.rating in named:
            return None
        named = named.having({rating.rating: None})
        current = current.having({rating.rating: CurrentRating(entry, rating)})
    return _Ratings(named, current)


def _places(history: History) -> _Places:
    ratings = history.folded(_RATINGS)
    places: dict[Place, UUID] = {}
    for id_, rated in ratings.current.items():
        places.setdefault(_place(rated.rating), id_)
    return _Places(ratings.named, Growing(places))


def _further_places(before: _Places, news: Entries) -> _Places | None:
    named, places = before
    for entry in news:
        rating = entry.event
        assert isinstance(rating, Rating), "no other kind is a rating"
        if isinstance(rating, Superseding) or rating.rating in named:
            return None
        named = named.having({rating.rating: None})
        if (place := _place(rating)) not in places:
            places = places.having({place: rating.rating})
    return _Places(named, places)


def _place(rating: Rating) -> Place:
    return rating.session, rating.instrument, rating.perspective, rating.rater


_IDS = ids("rating", Rating, ever=True)
_REPLACED = ids("superseded", Superseding, ever=True)
_RATINGS = Fold(_ratings, Rating, then=_further_ratings)
_PLACES = Fold(_places, Rating, then=_further_places, lasts=True)


def definition_of(rating: Rating) -> Definition | None:
    """What the key says that the rating names; None if it names none, or one that is unknown."""
    try:
        return None if rating.key_hash is None else load_key(rating.key_hash)
    except UnknownKey:
        return None


def score_of(entry: RecordedEvent) -> Score | None:
    """The score of a rating's raw items by the key it names; None if that key is unknown.

    Computed at every reading and never stored (rules 28 and 36), by the rules that were in force
    when the rating was made.
    """
    rating = entry.event
    if not isinstance(rating, Rating) or (definition := definition_of(rating)) is None:
        return None
    return score(
        definition, rating.items, perspective=rating.perspective, at=entry.occurred_at.date()
    )


def series_of(rating: Rating) -> SeriesId | None:
    """The series whose axis the rating may share (rule 32); None if its key is unknown."""
    definition = definition_of(rating)
    return None if definition is None else series_id(definition, rating.perspective)


# --- Refusals -------------------------------------------------------------------------------


class RatingExists(Refusal):
    says = "There is a rating {rating} already; choose another id."


class SessionNotHeld(Refusal):
    rule = 28
    says = "Session {session} is {status}: only a session that was held is rated."


class RatedBeforeSession(Refusal):
    rule = 28
    status = 422
    says = "Session {session} began after that: what happens in it is rated afterwards."


class RaterNotPresent(Refusal):
    rule = 28
    says = "{rater} was not at session {session}, and cannot rate it."


class NotTheirPerspective(Refusal):
    rule = 28
    says = "{rater} cannot rate as {perspective} in this relationship."


class RatedAlready(Refusal):
    rule = 29
    says = "Rating {rating} is of that session, form and perspective: supersede it, with a reason."


class NotTheCurrentRating(Refusal):
    rule = 29
    says = "Rating {rating} was superseded or entered in error; name the current one."


class LicenceNotAttested(Refusal):
    rule = 34
    says = "The clinic has attested no licence for {instrument} that holds on that day."


class InstrumentMeasuresElse(Refusal):
    rule = 28
    status = 422
    says = "{instrument} measures {measures}, which is not rated here."


class TextPackNotAdopted(Refusal):
    rule = 34
    says = "The clinic had not adopted that text pack for this key of {instrument} by then."


class NothingAnswered(Refusal):
    rule = 30
    status = 422
    says = "No item is answered: a form that was left blank is no rating."


class KeyNeeded(Refusal):
    rule = 36
    status = 422
    says = "Item {item} is no whole number: without a known key only raw items can be kept."


class NotAFollowUp(Refusal):
    rule = 16
    status = 422
    says = "Relationship {relationship} was open at that time: leave out follow_up."


# --- Commands -------------------------------------------------------------------------------


class Rate(Command):
    """What every command has that records a rating; each family says what it measures."""

    measures: ClassVar[frozenset[str]]
    """What an instrument of this family measures, in the words of its definition."""
    rated: ClassVar[type[Rating]]
    """The event that tells of such a rating."""
    beforehand: ClassVar[bool] = False
    """Whether it may be answered before the session it belongs to, as in the waiting room."""

    relationship: UUID
    rating: UUID = Field(default_factory=new_id)
    instrument: Line
    """Id or alias, as in `rapport score`."""
    instrument_version: Line | None = None
    """Left out: the newest."""
    perspective: Perspective
    rater: UUID
    session: UUID | None = None
    """Left out: the rating stands between sessions."""
    follow_up: bool = False
    text_pack: Sha256 | None = None
    answers: Answers

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given, follow_up=self.follow_up)
        if self.follow_up and not relationship.was_closed(given.at):
            raise NotAFollowUp(relationship=self.relationship)
        require_perspective(relationship, self.rater, self.perspective)
        require_voice(self.rater, given)
        definition = self._definition(given)
        instrument = self.instrument if definition is None else definition.id
        self._require_free(given, history, instrument)
        by_client = self.perspective is Perspective.CLIENT
        rated: Rating = _checked(self.rated)(
            rating=self.rating,
            instrument=instrument,
            instrument_version=None if definition is None else definition.version,
            key_hash=None if definition is None else definition.key_hash,
            perspective=self.perspective,
            rater=self.rater,
            session=self.session,
            between_sessions=self.session is None,
            follow_up=self.follow_up,
            items=raw_items(definition, self.answers),
            text_pack=self.text_pack,
            relies_on=require_consent(given, history, Scope.OUTCOME_MEASURES, self.rater)
            if by_client
            else (),
        )
        yield from _with_risks(stream, rated, definition, given.at)

    def _definition(self, given: Given) -> Definition | None:
        """The instrument, licensed for use; None where an import brings one that is unknown."""
        try:
            definition = load(self.instrument, self.instrument_version)
        except UnknownInstrument as unknown:
            given.unless_imported(UnknownInstrument, **unknown.ids)
            return None
        if definition.measures not in self.measures:
            raise InstrumentMeasuresElse(instrument=definition.id, measures=definition.measures)
        definition.perspective(self.perspective)
        attested = given.history(clinic_stream(given.clinic))
        if not is_licensed(attested, definition, given.at.date()):
            given.unless_imported(LicenceNotAttested, instrument=definition.id)
        if self.text_pack is not None and not any(
            (pack.key_hash, pack.sha256) == (definition.key_hash, self.text_pack)
            and entry.occurred_at <= given.at
            for entry, pack in attested.of(TextPackAdopted)
        ):
            raise TextPackNotAdopted(instrument=definition.id)
        return definition

    def _require_free(self, given: Given, history: History, instrument: str) -> None:
        """An id that was never used, a session that was held, and no other rating of it."""
        if self.rating in history.folded(_IDS):
            raise RatingExists(rating=self.rating)
        if self.session is None:
            return
        session = session_of(history, self.session)
        if session is None:
            raise SessionUnknown(session=self.session)
        if not session.is_held:
            raise SessionNotHeld(session=self.session, status=session.status)
        if given.at < session.started_at and not self.beforehand:
            raise RatedBeforeSession(session=self.session)
        if self.perspective in _FROM_WITHIN and self.rater not in session.present:
            raise RaterNotPresent(rater=self.rater, session=self.session)
        place = (self.session, instrument, self.perspective, self.rater)
        other = history.folded(_PLACES).current.get(place)
        if other is not None:
            raise RatedAlready(rating=other)


class SupersedeRating(Command):
    """Give a better reading of answers that were recorded wrongly; the old items stay.

    It serves every family of ratings.
    """

    name = "supersede-rating"

    occurred_at: None = None
    """Stays out: it is about the time of the rating that it replaces."""

    relationship: UUID
    superseded: UUID
    rating: UUID = Field(default_factory=new_id)
    reason: Text
    answers: Answers

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship_of(history)
        recorded = history.folded(_IDS)
        if self.superseded not in recorded:
            raise EntryUnknown(what="rating")
        if self.rating in recorded:
            raise RatingExists(rating=self.rating)
        current = ratings_of(history).get(self.superseded)
        if current is None:
            raise NotTheCurrentRating(rating=self.superseded)
        old = current.rating
        require_voice(old.rater, given)
        # What an import did not bring, this does not bring either (rule 45).
        given.reported.extend(old.reported)
        definition = None if old.key_hash is None else load_key(old.key_hash)
        # The same answers under the same key, place and consent: only the reading is new.
        kept = {name: getattr(old, name) for name in Rating.model_fields}
        better = {
            "rating": self.rating,
            "superseded": self.superseded,
            "reason": self.reason,
            "items": raw_items(definition, self.answers),
        }
        superseding = old.superseding().model_validate(kept | better)
        yield from _with_risks(stream, superseding, definition, current.entry.occurred_at)


_checked = cache(checked)


def _with_risks(
    stream: Stream, rated: Rating, definition: Definition | None, at: datetime
) -> Iterator[New]:
    """The rating, and in the same decision every risk item that it raises (rule 35)."""
    yield New(stream, rated, at)
    if definition is None:
        return
    for item in at_risk(definition, rated.items, at):
        raised = RiskItemRaised(
            rating=rated.rating,
            instrument=definition.id,
            key_hash=definition.key_hash,
            item=item,
            about=rated.subject(),
        )
        yield New(stream, raised, at)


_FROM_WITHIN = frozenset({Perspective.CLIENT, Perspective.THERAPIST, Perspective.JOINT})
"""Perspectives of those who were in the room; others may judge it by a recording."""


def require_perspective(relationship: Relationship, rater: UUID, perspective: Perspective) -> None:
    """Rule 28: clients rate as clients, therapists as therapists, the supervisor as such.

    Observers, parents and others are not named in the opening.
    """
    match perspective:
        case Perspective.CLIENT:
            fits = rater in relationship.clients
        case Perspective.THERAPIST:
            fits = rater in relationship.therapists
        case Perspective.SUPERVISOR:
            fits = rater == relationship.supervisor
        case Perspective.JOINT:
            fits = rater in relationship.participants
        case _:
            fits = rater not in relationship.participants
    if not fits:
        raise NotTheirPerspective(rater=rater, perspective=perspective)


def raw_items(definition: Definition | None, answers: Answers) -> Items:
    """Answers as raw items; without a definition only whole numbers can be taken (rule 36)."""
    if definition is not None:
        items = parse_items(definition, answers)
    else:
        items = tuple(_whole(number, answer) for number, answer in enumerate(answers, 1))
    if items.count(None) == len(items):
        raise NothingAnswered
    return items


_WHOLE = re.compile("[+-]?[0-9]{1,15}", re.ASCII)


def _whole(number: int, answer: str | None) -> int | None:
    if answer is None:
        return None
    if not _WHOLE.fullmatch(answer):
        raise KeyNeeded(item=number)
    return int(answer)
