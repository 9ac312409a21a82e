"""The course of the alliance: scores by their keys, series that may share an axis."""

from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from functools import partial
from typing import Any

from hypothesis import given as for_all

from domain.alliance import AllianceRated, RateAlliance
from domain.clinic import InstrumentLicenceAttested, Scope, clinic_stream
from domain.correction import EnteredInError
from domain.event import ERASED, RecordedEvent, Source, Stream
from domain.instrument import Perspective, load
from domain.outcome import RateOutcome
from domain.rating import Rating, SupersedeRating, score_of
from domain.rescoring import AdoptScoringKey, adopted_key
from domain.scoring import Flag, score
from projections.alliance_course import (
    Family,
    RatingRow,
    Scored,
    current,
    rated_sessions,
    read_by,
    scales_of,
    series,
)
from projections.dossier import VIEWS
from projections.view import known
from tests.domain.test_records import wild_records
from tests.kit import (
    AN_HOUR_AGO,
    BEGINNING,
    CLIENT,
    CLINIC,
    DAY,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    SESSION,
    THERAPIST,
    Record,
    consent,
    given,
    held,
    informed,
    named,
)

STREAM = Stream("relationship", RELATIONSHIP)
LATER = named("a later session")
MEASURED = given(
    *OPENED,
    *(
        InstrumentLicenceAttested(
            instrument=instrument, holder="H", basis="B", valid_from=BEGINNING.date()
        )
        for instrument in ("SRS-3", "SWLS", "WAI-36", "WAI-S", "WAI-SR")
    ),
    informed(),
    consent(),
    consent(Scope.OUTCOME_MEASURES),
    (held(start=AN_HOUR_AGO - 7 * DAY), AN_HOUR_AGO - 7 * DAY),
    (held(LATER), AN_HOUR_AGO),
)


def rate(name: str, **changes: Any) -> RateAlliance:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "rating": named(name),
        "instrument": "SRS-3",
        "perspective": "client",
        "rater": CLIENT,
        "session": SESSION,
        "answers": ("8.5", "9", "8", "8.8"),
    }
    return RateAlliance.model_validate(fields | changes)


def by_therapist(name: str, **changes: Any) -> RateAlliance:
    fields = {"instrument": "WAI-36", "perspective": "therapist", "rater": THERAPIST}
    return rate(name, **fields, answers=["Often"] * 36, **changes)


def rows_of(record: Record) -> Mapping[int, RatingRow]:
    return VIEWS.alliance_course.of(STREAM, record.relationship)


def only(record: Record) -> RatingRow:
    (row,) = rows_of(record).values()
    return row


def told(entry: RecordedEvent) -> dict[str, Scored]:
    """The scales of a rating's whole score, validated one by one."""
    whole = score_of(entry)
    return {
        name: Scored(value=one.value, text=one.text, low=one.low, high=one.high, flags=one.flags)
        for name, one in (() if whole is None else whole.scales.items())
    }


@for_all(record=wild_records())
def test_the_scales_are_those_of_the_whole_score(record: Record) -> None:
    """Rule 28: a view asks for the scales alone, and gets what the score of the rating holds."""
    for entry in record.entries:
        if isinstance(entry.event, Rating):
            assert scales_of(entry, entry.event) == told(entry)


def test_a_score_is_computed_by_the_key_the_rating_names() -> None:
    """Rule 28: raw items stay the fact; each scale's score is what the key makes of them."""
    row = only(MEASURED.when(rate("first"), by=CLIENT).recorded())
    definition = load("SRS-3")
    expected = score(definition, (85, 90, 80, 88), perspective="client")
    assert row.items.value == (85, 90, 80, 88)
    assert row.key_hash.value == definition.key_hash
    scales = row.scales.known
    assert scales is not None
    assert {name: part.value for name, part in scales.items()} == {
        name: part.value for name, part in expected.scales.items()
    }
    assert scales["total"].value == Fraction(343, 10)
    assert scales["total"].text == "34.3"


def test_a_prorated_score_says_so() -> None:
    """Rules 30, 36: what is missing is no zero, and the flags come along."""
    answers = [None, *["Often"] * 35]
    row = only(
        MEASURED.when(rate("first", instrument="WAI-36", answers=answers), by=CLIENT).recorded()
    )
    scales = row.scales.known
    assert scales is not None
    assert Flag.PRORATED in scales["bond"].flags
    assert scales["task"].flags == ()


def test_an_unknown_key_leaves_the_raw_items() -> None:
    """Rule 36: of an instrument that nobody here knows there is no score and no series."""
    rated = AllianceRated(
        rating=named("foreign"),
        instrument="Home-made",
        perspective=Perspective.CLIENT,
        rater=CLIENT,
        session=SESSION,
        items=(3, 1),
    )
    row = only(MEASURED.and_given(rated))
    assert (row.items.value, row.scales.value, row.series.value) == ((3, 1), {}, None)
    assert series({1: row}) == {}


def test_what_differs_shares_no_series() -> None:
    """Rule 32: another instrument or perspective is another series, and nothing is averaged."""
    record = MEASURED
    for command, by in (
        (rate("1"), CLIENT),
        (rate("2", session=LATER), CLIENT),
        (rate("3", instrument="WAI-SR", answers=["3"] * 12), CLIENT),
        (rate("4", instrument="WAI-S", answers=["3"] * 12), CLIENT),
        (by_therapist("5"), THERAPIST),
        (rate("6", instrument="WAI-36", answers=["Often"] * 36), CLIENT),
    ):
        record = record.when(command, by=by).recorded()
    found = series(rows_of(record))
    assert sorted(len(rows) for rows in found.values()) == [1, 1, 1, 1, 2]
    assert len({(identity.instrument, identity.form) for identity, _ in found}) == 5
    (pair,) = (rows for rows in found.values() if len(rows) == 2)
    assert [known(row.session_number) for row in pair] == [1, 2]
    assert rated_sessions(rows_of(record), Perspective.THERAPIST) == {SESSION}


def test_outcome_has_axes_of_its_own() -> None:
    """Rule 32: how somebody fares shares no series with how the alliance is rated, and rating it
    leaves the alliance of that session unrated."""
    fares = RateOutcome.model_validate(
        rate("life", instrument="SWLS", session=None, answers=["5"] * 5).model_dump(
            exclude={"occurred_at", "late_reason"}
        )
    )
    record = MEASURED.when(rate("alliance"), by=CLIENT).recorded()
    rows = rows_of(record.when(fares, by=CLIENT).recorded())
    assert [known(row.family) for row in current(rows)] == [Family.ALLIANCE, Family.OUTCOME]
    assert {identity.instrument for identity, _ in series(rows)} == {"SRS-3", "SWLS"}
    within = fares.model_copy(update={"session": LATER})
    rows = rows_of(MEASURED.when(within, by=CLIENT).recorded())
    assert rated_sessions(rows, Perspective.CLIENT) == frozenset()


def test_another_key_is_read_by_only_once_it_is_adopted() -> None:
    """Rule 31: raw items and the key that the rating names stay; an adopted key's scores stand in
    the place of the old ones, and say so; taken back, the old ones do again."""
    old, new = load("WAI-SR", "1.0").key_hash, load("WAI-SR", "1.1").key_hash
    rated = rate("older", instrument="WAI-SR", instrument_version="1.0", answers=["3"] * 12)
    rows = rows_of(MEASURED.when(rated, by=CLIENT).recorded())
    (row,) = rows.values()
    assert read_by(rows, lambda instrument, key: key) == dict(rows)
    (read,) = read_by(rows, lambda instrument, key: {old: new}.get(key, key)).values()
    assert (known(read.items), known(read.key_hash)) == (known(row.items), old)
    assert known(read.rescored) == new
    assert known(read.scales) == known(row.scales), "1.1 gives means beside the same sums"
    clinic = MEASURED.and_given(
        AdoptScoringKey(instrument="WAI-SR", from_key="1.0", to_key="1.1", reason="Means too.")
    )
    history = clinic.history(clinic_stream(CLINIC))
    adopted = partial(adopted_key, history, at=history[-1].occurred_at)
    assert [known(one.rescored) for one in read_by(rows, adopted).values()] == [new]
    before = partial(adopted_key, history, at=history[0].occurred_at)
    assert [one.rescored for one in read_by(rows, before).values()] == [None]


def test_of_an_erased_rating_nothing_is_read_anew() -> None:
    """Rules 9, 31: a key that was adopted later brings nothing back."""
    record = MEASURED.when(rate("gone"), by=CLIENT).recorded().erased(CLIENT)
    rows = rows_of(record)
    assert read_by(rows, lambda instrument, key: "another") == dict(rows)


def test_a_superseded_rating_stays_and_is_not_current() -> None:
    """Rule 29: both sets of raw items stand, each pointing to the other."""
    better = SupersedeRating(
        relationship=RELATIONSHIP,
        superseded=named("first"),
        rating=named("better"),
        reason="The second line was read wrongly.",
        answers=("8.5", "6", "8", "8.8"),
    )
    record = MEASURED.when(rate("first"), by=CLIENT).recorded()
    record = record.when(better, by=CLIENT).recorded()
    rows = rows_of(record)
    old, new = rows.values()
    assert known(old.superseded_by) == named("better")
    assert known(new.supersedes) == named("first")
    assert (old.items.value, new.items.value) == ((85, 90, 80, 88), (85, 60, 80, 88))
    assert list(current(rows)) == [new]
    undone = record.and_given(EnteredInError(entry=max(rows), reason="It was right before."))
    assert [known(row.rating) for row in current(rows_of(undone))] == [named("first")]


def test_ratings_stand_where_their_sessions_do() -> None:
    """Rule 28: on the axis of time a rating stands at its session's start, not at its recording."""
    record = MEASURED
    for name, session in (("late", LATER), ("early", SESSION)):
        record = record.when(rate(name, session=session), by=CLIENT).recorded()
    assert [known(row.rating) for row in current(rows_of(record))] == [
        named("early"),
        named("late"),
    ]
    first = next(current(rows_of(record)))
    assert first.at == AN_HOUR_AGO - 7 * DAY
    between = MEASURED.when(rate("between", session=None), by=CLIENT).recorded()
    assert only(between).at == between.entries[-1].occurred_at


def test_who_wrote_it_down_can_be_told() -> None:
    """Rule 33: the client's own submission is told from what staff entered on their behalf."""
    own = MEASURED.when(rate("own"), by=CLIENT).recorded()
    staff = MEASURED.when(rate("staff"), by=OFFICE, on_behalf_of=CLIENT).recorded()
    imported = MEASURED.when(rate("old"), by=OFFICE, imported=True).recorded()
    assert [only(r).own_submission.value for r in (own, staff, imported)] == [True, False, False]


def test_an_imported_rating_is_flagged() -> None:
    """Rule 45: where it came from and what was reported of it stands beside it."""
    unlicensed = given(*OPENED, (held(), AN_HOUR_AGO))
    late = {"late_reason": "From an archive.", "occurred_at": AN_HOUR_AGO + timedelta(minutes=5)}
    row = only(unlicensed.when(rate("old", **late), by=OFFICE, imported=True).recorded())
    assert row.source.value is Source.IMPORT
    assert row.reported.value == ("licence-not-attested", "consent-missing")


def test_of_an_erased_rating_its_time_is_left() -> None:
    """Rule 9: that a rating was made stays visible; whose it was and what it said does not."""
    record = MEASURED.when(rate("first"), by=CLIENT).recorded().when(by_therapist("second"))
    rows = rows_of(record.recorded().erased(CLIENT))
    erased, kept = rows.values()
    assert (erased.items.value, erased.rater.value, erased.scales.value) == (ERASED,) * 3
    assert erased.at is not None
    assert [known(row.rating) for rows in series(rows).values() for row in rows] == [
        named("second")
    ]
    assert kept.items.value != ERASED
