"""Rescoring: what another version of a key makes of the same raw items (rule 31).

A new key changes no stored fact. `rescore` reports which entries another key scores differently;
views go on reading each rating by the key it names until the clinic adopts another, by an entry of
its own. Stream of that entry: the clinic's.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from uuid import UUID

from domain.clinic import Sha256, clinic_stream
from domain.event import (
    Command,
    Event,
    Given,
    History,
    Line,
    New,
    RecordedEvent,
    Refusal,
    Stream,
    Text,
)
from domain.instrument import Definition, find_key, load_key
from domain.rating import Rating
from domain.scoring import Score, score

# --- The report -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the two keys say differently of one rating."""

    stream: Stream
    version: int
    """Of the rating's entry in its stream."""
    position: int
    rating: UUID
    occurred_at: datetime
    what: str
    """A scale, or a reading of one: `total`, `total >= 10`, `total (name of the bands)`."""
    old: str | None
    """In decimals or in words; None: by that key there is none."""
    new: str | None
    old_flags: tuple[str, ...] = ()
    new_flags: tuple[str, ...] = ()


def rescore(
    entries: Iterable[RecordedEvent], from_key: str, to_key: str
) -> Iterator[tuple[RecordedEvent, tuple[Difference, ...]]]:
    """Every rating among the entries by the one key, with what the other says differently.

    Both keys by their hash; each rating by the rules that were in force when it was made. Raises
    UnknownKey or KeysNotComparable before the first; erased content is passed over.
    """
    old, new = load_key(from_key), load_key(to_key)
    require_comparable(old, new)
    return _rescored(entries, old, new)


def _rescored(
    entries: Iterable[RecordedEvent], old: Definition, new: Definition
) -> Iterator[tuple[RecordedEvent, tuple[Difference, ...]]]:
    for entry in entries:
        rating = entry.event
        if isinstance(rating, Rating) and rating.key_hash == old.key_hash:
            at = entry.occurred_at.date()
            was, becomes = (_said(score(key, rating.items, at=at)) for key in (old, new))
            yield entry, tuple(_differences(entry, rating.rating, was, becomes))


@dataclass(frozen=True, slots=True)
class _Said:
    """One thing a score says: exactly, as it is shown, and flagged."""

    exact: Fraction | str | None = None
    text: str | None = None
    flags: tuple[str, ...] = ()


def _said(scored: Score) -> Mapping[str, _Said]:
    """All that a score says, by what it says it of."""
    scales = {**scored.scales, **scored.restated}
    said = {name: _Said(part.value, part.text, part.flags) for name, part in scales.items()}
    for reading in scored.cutoffs:
        where = reading.cutoff.scale or f"item {reading.item}"
        whom = f", {reading.cutoff.population}" if reading.cutoff.population else ""
        met = "yes" if reading.met else "no"
        said[f"{where} {reading.cutoff.operator} {reading.cutoff.value}{whom}"] = _Said(met, met)
    for band in scored.bands:
        said[f"{band.bands.scale} ({band.bands.name})"] = _Said(band.label, band.label)
    for risk in scored.risk_items:
        said[f"risk item {risk.item} {risk.operator} {risk.value}"] = _Said("raised", "raised")
    return said


def _differences(
    entry: RecordedEvent, rating: UUID, was: Mapping[str, _Said], becomes: Mapping[str, _Said]
) -> Iterator[Difference]:
    for what in dict.fromkeys((*was, *becomes)):
        old, new = was.get(what, _Said()), becomes.get(what, _Said())
        if old != new:
            yield Difference(
                stream=entry.stream,
                version=entry.version,
                position=entry.position,
                rating=rating,
                occurred_at=entry.occurred_at,
                what=what,
                old=old.text,
                new=new.text,
                old_flags=old.flags,
                new_flags=new.flags,
            )


# --- What happened --------------------------------------------------------------------------


class ScoringKeyAdopted(Event):
    """From now on the clinic's views read ratings by the one key as the other scores them."""

    topic = "scoring_key.adopted"
    # What was shown in the meantime was shown by this entry; going back is another one.
    correctable = False

    instrument: Line
    from_key: Sha256
    to_key: Sha256
    reason: Text


def adopted_key(history: History, instrument: str, key_hash: str, at: datetime) -> str:
    """The key by which views read ratings that name `key_hash`, at that time; most often itself.

    From the clinic's history. Adoptions are followed in the order in which they were recorded, so
    that what was adopted and then taken back reads as it did at first.
    """
    current = key_hash
    for entry, adopted in history.of(ScoringKeyAdopted):
        if entry.occurred_at <= at and (adopted.instrument, adopted.from_key) == (
            instrument,
            current,
        ):
            current = adopted.to_key
    return current


# --- Refusals and the command ---------------------------------------------------------------


class KeysNotComparable(Refusal):
    rule = 31
    status = 422
    says = "{one} and {other} do not take the same answers: one cannot score the other's ratings."


class ScoringKeyAdoptedAlready(Refusal):
    rule = 31
    says = "Ratings by that key of {instrument} are read by the key {key_hash} already."


class AdoptScoringKey(Command):
    """Let views read ratings by one key as another scores them; `rapport rescore` reports first."""

    name = "adopt-scoring-key"

    instrument: Line
    from_key: Line
    """The key's hash, the beginning of it, or its version."""
    to_key: Line
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = clinic_stream(given.clinic)
        old = find_key(self.instrument, self.from_key)
        new = find_key(self.instrument, self.to_key)
        require_comparable(old, new)
        if adopted_key(given.history(stream), old.id, old.key_hash, given.at) == new.key_hash:
            raise ScoringKeyAdoptedAlready(instrument=old.id, key_hash=new.key_hash)
        yield New(
            stream,
            ScoringKeyAdopted(
                instrument=old.id,
                from_key=old.key_hash,
                to_key=new.key_hash,
                reason=self.reason,
            ),
        )


def require_comparable(one: Definition, other: Definition) -> None:
    """KeysNotComparable unless both are of one instrument and take the same answers."""
    taken = [
        (key.id, key.counts, [_scale(key, number) for number in range(1, key.counts[-1] + 1)])
        for key in (one, other)
    ]
    if taken[0] != taken[1]:
        names = [f"{key.id} {key.version}" for key in (one, other)]
        raise KeysNotComparable(one=names[0], other=names[1])


def _scale(key: Definition, number: int) -> tuple[int, int, int, int]:
    response = key.response_to(number)
    return response.low, response.high, response.stride, response.scale
