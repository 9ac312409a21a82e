"""Ratings: raw items as the fact, their place, their rater, their key, and what supersedes them."""

import json
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.alliance import (
    AllianceRated,
    EarlyAllianceReviewed,
    NotAnEarlySession,
    RateAlliance,
    RatingSuperseded,
    ReviewEarlyAlliance,
    ReviewedByOther,
)
from domain.clinic import InstrumentLicenceAttested, Scope
from domain.consent import ConsentMissing, ConsentWithdrawn, Reliance
from domain.correction import EnteredInError
from domain.event import EntryUnknown
from domain.instrument import Perspective, PerspectiveUnknown, UnknownInstrument, load
from domain.outcome import RateOutcome
from domain.person import NotInTheirName
from domain.rating import (
    InstrumentMeasuresElse,
    KeyNeeded,
    LicenceNotAttested,
    NotAFollowUp,
    NothingAnswered,
    NotTheCurrentRating,
    NotTheirPerspective,
    RatedAlready,
    RaterNotPresent,
    Rating,
    RatingExists,
    SessionNotHeld,
    SupersedeRating,
    ratings_of,
    score_of,
    series_of,
)
from domain.relationship import (
    Constellation,
    Initiator,
    RelationshipClosed,
    RelationshipNotOpen,
)
from domain.scoring import Flag, ItemCountWrong, ItemNotUnderstood, ItemOutOfRange, score
from domain.session import Medium, SessionMissed, SessionScheduled, SessionUnknown
from tests.kit import (
    AN_HOUR_AGO,
    BEGINNING,
    CLIENT,
    COTHERAPIST,
    DAY,
    FOUNDED,
    HOUR,
    IMPORT_DECLARED,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SESSION,
    SUPERVISOR,
    THERAPIST,
    Fact,
    Record,
    consent,
    consent_id,
    given,
    held,
    informed,
    named,
    opened,
)

RATING = named("rating")
BETTER = named("better rating")
SRS = load("SRS-3")
WAI = load("WAI-36")
SRS_ANSWERS = ("8.5", "9", "8", "8.8")
SRS_ITEMS = (85, 90, 80, 88)
REASON = "The second line was read from the wrong sheet."


def licence(instrument: str = "SRS-3") -> InstrumentLicenceAttested:
    return InstrumentLicenceAttested(
        instrument=instrument,
        holder="Performance Metrics LLC",
        basis="Clinic licence 2026-114.",
        valid_from=BEGINNING.date(),
        expires=(NOW + 30 * DAY).date(),
    )


LICENSED: tuple[Fact, ...] = (*map(licence, ("SRS-3", "WAI-36", "WAI-S", "WAI-SR")),)
MEASURED = given(
    *OPENED,
    *LICENSED,
    informed(),
    consent(),
    consent(Scope.OUTCOME_MEASURES),
    (held(), AN_HOUR_AGO),
)
"""A session held, a client who consents to being asked, and licences to ask."""


def rate(**changes: Any) -> RateAlliance:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "rating": RATING,
        "instrument": "SRS-3",
        "perspective": "client",
        "rater": CLIENT,
        "session": SESSION,
        "answers": SRS_ANSWERS,
    }
    return RateAlliance.model_validate(fields | changes)


def rate_as_therapist(**changes: Any) -> RateAlliance:
    fields: dict[str, Any] = {
        "instrument": "WAI-36",
        "perspective": "therapist",
        "rater": THERAPIST,
        "answers": ["Often"] * 36,
    }
    return rate(**fields | changes)


def supersede(**changes: Any) -> SupersedeRating:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "superseded": RATING,
        "rating": BETTER,
        "reason": REASON,
        "answers": ["8.5", "6", "8", "8.8"],
    }
    return SupersedeRating.model_validate(fields | changes)


def rated(**changes: Any) -> AllianceRated:
    fields: dict[str, Any] = {
        "rating": RATING,
        "instrument": "SRS-3",
        "instrument_version": "1.0",
        "key_hash": SRS.key_hash,
        "perspective": Perspective.CLIENT,
        "rater": CLIENT,
        "session": SESSION,
        "items": SRS_ITEMS,
        "relies_on": (reliance(),),
    }
    return AllianceRated(**fields | changes)


def reliance(record: Record = MEASURED, party: UUID = CLIENT) -> Reliance:
    """The consent to being measured, as an entry cites it."""
    id_ = consent_id(Scope.OUTCOME_MEASURES, party)
    for entry in record.relationship:
        if getattr(entry.event, "consent", None) == id_:
            return Reliance(entry=entry.version, consent=id_)
    raise LookupError(id_)


def closing(days_ago: int) -> Fact:
    closed = RelationshipClosed(
        reason="The work is done.",
        initiated_by=Initiator.BOTH,
        goals="Reached.",
        open_goals=(),
        open_ruptures=(),
    )
    return closed, NOW - days_ago * DAY


# --- Rule 28: one session, one perspective, one form, one key --------------------------------


def test_raw_items_are_the_fact() -> None:
    """Rule 28: what is stored is the scaled answers and the hash of the key, and no score."""
    record = MEASURED.when(rate(), by=CLIENT).then(rated())
    current = ratings_of(record.relationship)[RATING]
    assert current.rating == rated()
    assert "score" not in AllianceRated.model_fields
    assert current.score == score(
        SRS, SRS_ITEMS, perspective="client", at=current.entry.occurred_at.date()
    )
    assert current.score.total is not None
    assert current.score.total.value == Fraction(343, 10)


@for_all(st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=4, max_size=4).filter(any))
def test_a_score_is_computed_again_from_the_items(items: list[int | None]) -> None:
    """Rule 28, rule 30: same items and key, same score; one item missing and there is no total."""
    answers = [None if item is None else SRS.response.shown(item) for item in items]
    record = MEASURED.when(rate(answers=answers), by=CLIENT).then(rated(items=tuple(items)))
    again = ratings_of(record.relationship)[RATING].score
    assert again is not None
    assert again.key_hash == SRS.key_hash
    assert again.total is not None
    if None in items:
        assert again.total.value is None
        assert Flag.INCOMPLETE in again.flags
    else:
        assert again.total.value == Fraction(sum(filter(None, items)), 10)


def test_a_rating_names_a_session_that_was_held() -> None:
    """Rule 28: not one that is unknown, only scheduled, or missed."""
    before = given(*OPENED, *LICENSED, informed(), consent(Scope.OUTCOME_MEASURES))
    before.when(rate(), by=CLIENT).refuses(SessionUnknown, session=SESSION)
    scheduled = SessionScheduled(
        session=SESSION, starts_at=AN_HOUR_AGO, ends_at=NOW, medium=Medium.IN_PERSON
    )
    planned = before.and_given((scheduled, NOW - DAY))
    planned.when(rate(), by=CLIENT).refuses(SessionNotHeld, session=SESSION, status="scheduled")
    missed = planned.and_given(SessionMissed(session=SESSION, who=CLIENT, why="Ill."))
    missed.when(rate(), by=CLIENT).refuses(SessionNotHeld, status="missed")


def test_or_it_stands_between_sessions_and_says_so() -> None:
    """Rule 28: explicitly between sessions; never both, never neither."""
    between = rated(session=None, between_sessions=True)
    record = MEASURED.when(rate(session=None), by=CLIENT).then(between)
    record.when(rate(session=None, rating=BETTER), by=CLIENT).recorded()
    for session, between_sessions in ((None, False), (SESSION, True)):
        with pytest.raises(ValidationError, match="names a session or stands between"):
            rated(session=session, between_sessions=between_sessions)


def test_everybody_rates_from_the_own_perspective() -> None:
    """Rule 28: who is a client rates as client, who treats as therapist; nobody as another."""
    MEASURED.when(rate_as_therapist(), by=THERAPIST).recorded()
    for command, by in (
        (rate(rater=THERAPIST), THERAPIST),
        (rate_as_therapist(rater=CLIENT), CLIENT),
        (rate(rater=PARTNER), PARTNER),
        (rate(rater=THERAPIST, perspective="supervisor"), THERAPIST),
        (rate(rater=CLIENT, perspective="observer"), CLIENT),
    ):
        MEASURED.when(command, by=by).refuses(
            NotTheirPerspective, rater=by, perspective=command.perspective
        )


@pytest.mark.parametrize(
    "perspective, rater",
    [("supervisor", SUPERVISOR), ("observer", OFFICE), ("parent", PARTNER), ("joint", CLIENT)],
)
def test_an_instrument_has_a_form_for_each_perspective_it_is_used_in(
    perspective: str, rater: UUID
) -> None:
    """Rule 28: the SRS asks clients; it has no form for anybody else."""
    MEASURED.when(rate(perspective=perspective, rater=rater), by=rater).refuses(
        PerspectiveUnknown, instrument="SRS-3"
    )


def test_an_id_names_one_rating() -> None:
    """Rule 8: also where the first of that id was entered in error."""
    record = MEASURED.and_given(rated())
    record.when(rate(session=None), by=CLIENT).refuses(RatingExists, rating=RATING)
    in_error = record.and_given(
        EnteredInError(entry=record.relationship.version, reason="Of another client.")
    )
    assert ratings_of(in_error.relationship) == {}
    in_error.when(rate(), by=CLIENT).refuses(RatingExists, rating=RATING)
    in_error.when(rate(rating=BETTER), by=CLIENT).recorded()


@pytest.mark.parametrize("perspective", ["client", "therapist"])
def test_who_was_not_there_rates_no_session(perspective: str) -> None:
    """Rule 28: a partner who stayed at home has no view of the hour; an observer may see it."""
    absent = {"client": PARTNER, "therapist": COTHERAPIST}[perspective]
    family = opened(
        CLIENT,
        PARTNER,
        therapists=(THERAPIST, COTHERAPIST),
        constellation=Constellation.FAMILY,
    )
    record = given(
        *FOUNDED,
        *LICENSED,
        family,
        consent(Scope.OUTCOME_MEASURES, PARTNER),
        (held(), AN_HOUR_AGO),
    )
    form = rate(rater=PARTNER) if perspective == "client" else rate_as_therapist(rater=absent)
    record.when(form, by=absent).refuses(RaterNotPresent, rater=absent, session=SESSION)
    between = form.model_copy(update={"session": None})
    record.when(between, by=absent).recorded()
    observed = rate(perspective="observer", rater=OFFICE, instrument="A form of theirs")
    whole = observed.model_copy(update={"answers": ("1", "2")})
    record.when(whole, by=OFFICE, imported=True).reports(UnknownInstrument)


# --- Rule 29: never edited ------------------------------------------------------------------


def test_there_is_one_current_rating_of_a_session_form_and_perspective() -> None:
    """Rule 29: a second one is refused; another perspective or form stands beside it."""
    record = MEASURED.and_given(rated())
    again = rate(rating=BETTER)
    record.when(again, by=CLIENT).refuses(RatedAlready, rating=RATING)
    record.when(rate(rating=BETTER, instrument="srs"), by=CLIENT).refuses(RatedAlready)
    wai = rate(rating=BETTER, instrument="WAI-SR", answers=["Always"] * 12)
    record = record.when(wai, by=CLIENT).recorded()
    record.when(rate_as_therapist(rating=named("third")), by=THERAPIST).recorded()


def test_each_partner_of_a_couple_rates() -> None:
    """Rule 29: the perspective of a client is that client's own, not the couple's."""
    record = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.COUPLE),
        *LICENSED,
        consent(Scope.OUTCOME_MEASURES, CLIENT),
        consent(Scope.OUTCOME_MEASURES, PARTNER),
        (held(SESSION, CLIENT, PARTNER, THERAPIST), AN_HOUR_AGO),
    )
    record = record.when(rate(), by=CLIENT).recorded()
    record = record.when(rate(rating=BETTER, rater=PARTNER), by=PARTNER).recorded()
    assert ratings_of(record.relationship).keys() == {RATING, BETTER}


def test_superseding_keeps_the_old_items_and_says_why() -> None:
    """Rule 29: a new entry with a reason; the old raw items stay, and it stands in their place."""
    record = MEASURED.and_given((rated(), NOW - HOUR / 2))
    fields = rated().model_dump() | {
        "rating": BETTER,
        "superseded": RATING,
        "reason": REASON,
        "items": (85, 60, 80, 88),
    }
    record = record.when(supersede(), by=CLIENT).then(RatingSuperseded.model_validate(fields))
    ((id_, current),) = ratings_of(record.relationship).items()
    assert (id_, current.rating.items) == (BETTER, (85, 60, 80, 88))
    assert [entry.event for entry in current.earlier] == [rated()]
    assert current.entry.occurred_at == NOW - HOUR / 2
    assert current.rating.subject() == CLIENT


def test_only_the_current_rating_is_superseded() -> None:
    """Rule 29: one that was superseded, entered in error or never made is refused."""
    record = MEASURED.and_given(rated()).when(supersede(), by=CLIENT).recorded()
    third = supersede(rating=named("third"))
    record.when(third, by=CLIENT).refuses(NotTheCurrentRating, rating=RATING)
    chained = supersede(superseded=BETTER, rating=named("third"))
    chain = ratings_of(record.when(chained, by=CLIENT).recorded().relationship)
    assert len(chain[named("third")].earlier) == 2
    MEASURED.when(supersede(), by=CLIENT).refuses(EntryUnknown, what="rating")
    same = supersede(rating=RATING)
    MEASURED.and_given(rated()).when(same, by=CLIENT).refuses(RatingExists, rating=RATING)
    error = EnteredInError(entry=record.relationship.version, reason="Of another client.")
    withdrawn = record.and_given(error)
    assert ratings_of(withdrawn.relationship).keys() == {RATING}
    gone = supersede(superseded=BETTER, rating=named("third"))
    withdrawn.when(gone, by=CLIENT).refuses(NotTheCurrentRating, rating=BETTER)


def test_superseding_is_asked_and_checked_like_rating() -> None:
    """Rule 30, rule 33: items in range and of the right count; by the rater or on their behalf."""
    record = MEASURED.and_given(rated())
    record.when(supersede(answers=["11", "1", "1", "1"]), by=CLIENT).refuses(ItemOutOfRange)
    record.when(supersede(answers=["1"]), by=CLIENT).refuses(ItemCountWrong)
    record.when(supersede(), by=THERAPIST).refuses(NotInTheirName, person=CLIENT)
    record.when(supersede(), by=OFFICE, on_behalf_of=CLIENT).recorded()


def test_a_rating_can_be_superseded_after_closure() -> None:
    """Rule 16: it is a correction, of a time when the relationship was open."""
    record = MEASURED.and_given(rated(), closing(0))
    record.when(supersede(), by=CLIENT).recorded()


STEPS = st.lists(
    st.tuples(st.sampled_from(["rate", "supersede", "in error"]), st.integers(0, 9)), max_size=12
)


@for_all(STEPS)
def test_never_two_current_ratings_of_one_hour(steps: list[tuple[str, int]]) -> None:
    """Rule 29: over any sequence of rating, superseding and errors, no items are ever lost."""
    record, made = MEASURED, list[UUID]()
    for number, (step, which) in enumerate(steps):
        target, fresh = made[which] if which < len(made) else RATING, named(f"rating {number}")
        if step == "in error":
            entries = [e for e in record.entries if getattr(e.event, "rating", None) == target]
            versions = [entry.version for entry in entries]
            record = record.and_given(*(EnteredInError(entry=v, reason=REASON) for v in versions))
        else:
            again = supersede(superseded=target, rating=fresh)
            outcome = record.when(rate(rating=fresh) if step == "rate" else again, by=CLIENT)
            if outcome.refusal is None:
                record = outcome.recorded()
                made.append(fresh)
        assert len(ratings_of(record.relationship)) <= 1
    kept = [e.event.rating for e in record.entries if isinstance(e.event, Rating)]
    assert kept == made


def test_an_error_in_the_middle_of_a_chain_brings_nothing_back() -> None:
    """Rule 29: what two ratings superseded is not current again because one was in error."""
    third = supersede(superseded=BETTER, rating=named("third"))
    record = MEASURED.and_given(rated()).when(supersede(), by=CLIENT).recorded()
    second = record.relationship.version
    record = record.when(third, by=CLIENT).recorded()
    record = record.and_given(EnteredInError(entry=second, reason=REASON))
    ((id_, current),) = ratings_of(record.relationship).items()
    assert id_ == named("third")
    assert [entry.event for entry in current.earlier] == [rated()]


# --- Rule 30: items -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers, refusal",
    [
        (["8.5", "9", "8"], ItemCountWrong),
        (["8.5", "9", "8", "8", "8"], ItemCountWrong),
        (["8.5", "9", "8", "10.1"], ItemOutOfRange),
        (["8.5", "9", "8", "-0.1"], ItemOutOfRange),
        (["8.5", "9", "8", "8.55"], ItemOutOfRange),
        (["8.5", "9", "8", "1e1"], ItemNotUnderstood),
        (["8.5", "9", "8", "often"], ItemNotUnderstood),
        (["8.5", "9", "8", float("nan")], ItemNotUnderstood),
    ],
)
def test_items_are_of_the_right_count_and_in_range(answers: list[Any], refusal: Any) -> None:
    """Rule 30: what is no answer of the scale is refused, whole."""
    MEASURED.when(rate(answers=answers), by=CLIENT).refuses(refusal)


def test_not_answered_is_never_zero() -> None:
    """Rule 30: null and blank are kept as not answered; a zero is a zero."""
    outcome = MEASURED.when(rate(answers=[None, " ", 0, "0"]), by=CLIENT)
    outcome.then(rated(items=(None, None, 0, 0)))


def test_numbers_of_a_body_are_taken_as_written() -> None:
    """Rule 30: 8.8 in JSON is eighty-eight tenths, without a float on the way; words count too."""
    body = json.loads(rate().model_dump_json()) | {"answers": [8.8, 0.1, 10, 9.9]}
    sent = RateAlliance.model_validate_json(json.dumps(body))
    MEASURED.when(sent, by=CLIENT).then(rated(items=(88, 1, 100, 99)))
    words = MEASURED.when(rate_as_therapist(answers=["very often", *[4] * 35]), by=THERAPIST).event
    assert isinstance(words, AllianceRated)
    assert words.items == (6, *[4] * 35)


@pytest.mark.parametrize("answer", [True, {"a": 1}, ["8"], "x" * 201, "8\x00"])
def test_what_cannot_be_an_answer_is_no_command(answer: Any) -> None:
    """Rule 30: neither true, nor objects, nor long texts, nor control characters."""
    with pytest.raises(ValidationError):
        rate(answers=[answer] * 4)


# --- Rule 32: series ------------------------------------------------------------------------


def test_forms_and_instruments_never_share_a_series() -> None:
    """Rule 32: client and therapist form, WAI-36 and SRS: four series that nobody averages."""
    by_client = rated()
    wai = rated(instrument="WAI-36", key_hash=WAI.key_hash, items=(4,) * 36)
    as_therapist = wai.model_copy(update={"perspective": Perspective.THERAPIST, "rater": THERAPIST})
    short = rated(instrument="WAI-S", key_hash=load("WAI-S").key_hash, items=(4,) * 12)
    revised = rated(instrument="WAI-SR", key_hash=load("WAI-SR").key_hash, items=(4,) * 12)
    series = [series_of(rating) for rating in (by_client, wai, as_therapist, short, revised)]
    assert None not in series
    assert len(set(series)) == len(series)


# --- Rule 33: whose submission --------------------------------------------------------------


def test_the_clients_own_submission_is_told_from_staff_entry() -> None:
    """Rule 33: the client's own has the client as actor; staff enter visibly on their behalf."""
    own = MEASURED.when(rate(), by=CLIENT).recorded()
    assert ratings_of(own.relationship)[RATING].own_submission
    by_staff = MEASURED.when(rate(), by=OFFICE, on_behalf_of=CLIENT).recorded()
    assert not ratings_of(by_staff.relationship)[RATING].own_submission
    assert by_staff.entries[-1].on_behalf_of == CLIENT
    MEASURED.when(rate(), by=OFFICE).refuses(NotInTheirName, person=CLIENT)
    MEASURED.when(rate(), by=THERAPIST, on_behalf_of=PARTNER).refuses(NotInTheirName)
    imported = MEASURED.and_given(IMPORT_DECLARED).when(rate(), by=CLIENT, imported=True)
    assert not ratings_of(imported.recorded().relationship)[RATING].own_submission


# --- Rule 34: licence -----------------------------------------------------------------------


def test_an_instrument_is_used_while_its_licence_is_attested() -> None:
    """Rule 34: on the day of use: not without, not before, not after."""
    consented = given(*OPENED, consent(Scope.OUTCOME_MEASURES), (held(), AN_HOUR_AGO))
    consented.when(rate(), by=CLIENT).refuses(LicenceNotAttested, instrument="SRS-3")
    expired = licence().model_copy(update={"expires": (NOW - DAY).date()})
    record = consented.and_given(expired)
    record.when(rate(), by=CLIENT).refuses(LicenceNotAttested)
    in_time = rate(
        session=None, occurred_at=NOW - 2 * DAY, late_reason="Filled in at home, brought along."
    )
    record.when(in_time, by=CLIENT).recorded()
    consented.and_given(licence("SRS")).when(rate(), by=CLIENT).recorded()


def test_a_licence_is_found_however_it_is_written() -> None:
    """Rule 34: an instrument's name is read in any case, here as where it is asked for."""
    record = given(
        *OPENED,
        licence("srs-3"),
        consent(Scope.OUTCOME_MEASURES),
        (held(), AN_HOUR_AGO),
    )
    record.when(rate(instrument="Srs"), by=CLIENT).recorded()


def test_a_free_instrument_needs_no_attestation() -> None:
    """Rule 34: the SWLS is free with credit: nobody has to attest a licence for it."""
    consented = given(*OPENED, consent(Scope.OUTCOME_MEASURES), (held(), AN_HOUR_AGO))
    swls = RateOutcome(
        relationship=RELATIONSHIP,
        instrument="SWLS",
        perspective=Perspective.CLIENT,
        rater=CLIENT,
        session=SESSION,
        answers=("5", "5", "5", "6", "7"),
    )
    consented.when(swls, by=CLIENT).recorded()


def test_what_an_instrument_measures_decides_where_it_is_rated() -> None:
    """Rule 28: satisfaction with life is no rating of the alliance, and the SRS no outcome."""
    MEASURED.when(rate(instrument="SWLS", answers=(5, 5, 5, 6, 7)), by=CLIENT).refuses(
        InstrumentMeasuresElse, instrument="SWLS", measures="wellbeing"
    )
    outcome = RateOutcome.model_validate(rate().model_dump())
    MEASURED.when(outcome, by=CLIENT).refuses(InstrumentMeasuresElse, measures="alliance")


# --- Rules 16 and 24: consent and closure ---------------------------------------------------


def test_a_clients_rating_cites_the_consent_it_relies_on() -> None:
    """Rule 24: consent to outcome measures, by entry and version; without it, no rating."""
    outcome = MEASURED.when(rate(), by=CLIENT)
    assert isinstance(outcome.event, AllianceRated)
    assert outcome.event.relies_on == (reliance(),)
    without = given(*OPENED, *LICENSED, informed(), consent(), (held(), AN_HOUR_AGO))
    without.when(rate(), by=CLIENT).refuses(ConsentMissing, party=CLIENT, scope="outcome_measures")
    as_therapist = without.when(rate_as_therapist(), by=THERAPIST).event
    assert isinstance(as_therapist, AllianceRated)
    assert as_therapist.relies_on == ()


def test_after_withdrawal_no_new_rating_but_earlier_ones_stay() -> None:
    """Rule 20, rule 24: later use is refused; what was rated before stays, and can be set right."""
    withdrawn = ConsentWithdrawn(consent=consent_id(Scope.OUTCOME_MEASURES, CLIENT), party=CLIENT)
    record = MEASURED.and_given(rated(), withdrawn)
    new = rate(rating=BETTER, session=None)
    record.when(new, by=CLIENT).refuses(ConsentMissing, party=CLIENT)
    record.when(supersede(), by=CLIENT).recorded()


def test_follow_up_measures_come_after_closure() -> None:
    """Rule 16: after closure only what is marked as follow-up; before it nothing is."""
    closed = MEASURED.and_given(closing(1))
    closed.when(rate(session=None), by=CLIENT).refuses(RelationshipNotOpen)
    follow_up = rate(session=None, follow_up=True)
    closed.when(follow_up, by=CLIENT).then(
        rated(session=None, between_sessions=True, follow_up=True)
    )
    MEASURED.when(follow_up, by=CLIENT).refuses(NotAFollowUp, relationship=RELATIONSHIP)


# --- Rule 36: keys --------------------------------------------------------------------------


def test_an_unverified_key_is_flagged_at_every_reading() -> None:
    """Rule 36: every score of the WAI-S says that its key is unverified."""
    wai_s = rate(instrument="WAI-S", answers=["4"] * 12)
    record = MEASURED.when(wai_s, by=CLIENT).recorded()
    scored = ratings_of(record.relationship)[RATING].score
    assert scored is not None
    assert Flag.UNVERIFIED in scored.flags


def test_prorated_scores_are_flagged() -> None:
    """Rule 36: an item left out, within what the missing rule allows, leaves its mark."""
    answers = [None, *["Always"] * 11]
    done = MEASURED.when(rate(instrument="WAI-SR", answers=answers), by=CLIENT).recorded()
    scored = ratings_of(done.relationship)[RATING].score
    assert scored is not None
    assert Flag.PRORATED in scored.flags


def test_an_unknown_instrument_is_refused_at_the_desk() -> None:
    """Rule 36: without a definition nobody could tell what the numbers mean."""
    MEASURED.when(rate(instrument="CALPAS-9"), by=CLIENT).refuses(UnknownInstrument)
    MEASURED.when(rate(instrument_version="7.0"), by=CLIENT).refuses(UnknownInstrument)


def test_an_import_keeps_raw_items_of_an_unknown_key() -> None:
    """Rule 36, rule 45: raw items only: no key, no score, no series; reported, not refused."""
    record = MEASURED.and_given(IMPORT_DECLARED)
    unknown = rate(instrument="CALPAS-9", answers=["4", None, "-2"])
    outcome = record.when(unknown, by=OFFICE, imported=True)
    outcome.reports(UnknownInstrument)
    record = outcome.then(
        rated(instrument="CALPAS-9", instrument_version=None, key_hash=None, items=(4, None, -2))
    )
    current = ratings_of(record.relationship)[RATING]
    assert current.score is None
    assert series_of(current.rating) is None
    words = rate(instrument="CALPAS-9", answers=["4", "often"])
    MEASURED.when(words, by=OFFICE, imported=True).refuses(KeyNeeded, item=2)
    better = supersede(answers=["5", None, "-2"])
    superseded = record.when(better, by=CLIENT).event
    assert isinstance(superseded, RatingSuperseded)
    assert superseded.items == (5, None, -2)


def test_a_key_that_is_not_here_gives_no_score() -> None:
    """Rule 36: a record from elsewhere names a key we do not have: raw items only."""
    foreign = MEASURED.and_given(rated(key_hash="0" * 64))
    current = ratings_of(foreign.relationship)[RATING]
    assert (current.score, series_of(current.rating)) == (None, None)
    assert score_of(foreign.relationship[0]) is None


# --- Rule 45: imports -----------------------------------------------------------------------


def test_an_import_reports_what_it_lacks_and_invents_nothing() -> None:
    """Rule 45: no licence, no consent: both reported, neither made up."""
    record = given(*OPENED, IMPORT_DECLARED, (held(), AN_HOUR_AGO))
    outcome = record.when(rate(), by=OFFICE, imported=True)
    outcome.reports(LicenceNotAttested, ConsentMissing)
    outcome.then(rated(relies_on=()))
    record.when(rate(answers=["11"] * 4), by=OFFICE, imported=True).refuses(ItemOutOfRange)
    elsewhere = rate(session=named("elsewhere"))
    record.when(elsewhere, by=OFFICE, imported=True).refuses(SessionUnknown)


def test_superseding_an_imported_rating_brings_no_consent_with_it() -> None:
    """Rule 45: what an import reported stays with the answers, whoever reads them better."""
    record = given(*OPENED, (held(), AN_HOUR_AGO))
    imported = record.when(rate(), by=OFFICE, imported=True).recorded()
    superseded = imported.when(supersede(), by=CLIENT)
    superseded.reports(LicenceNotAttested, ConsentMissing)
    (new,) = superseded.news
    assert isinstance(new.event, RatingSuperseded)
    assert new.event.relies_on == ()


def test_a_blank_form_is_no_rating() -> None:
    """Rule 30: not answered is never zero, and nothing answered is not a rating."""
    MEASURED.when(rate(answers=[None] * 4), by=CLIENT).refuses(NothingAnswered)
    MEASURED.when(rate(answers=[" "] * 4), by=CLIENT).refuses(NothingAnswered)


# --- The early alliance ---------------------------------------------------------------------


def early(*sessions: UUID, by: UUID = THERAPIST) -> ReviewEarlyAlliance:
    return ReviewEarlyAlliance(
        relationship=RELATIONSHIP, by=by, sessions=sessions, remark="Tasks are not agreed yet."
    )


def test_the_early_alliance_is_that_of_sessions_three_to_five() -> None:
    """Rule 28: its review names held sessions, by their number when it is made."""
    ids = [named(f"session {number}") for number in range(1, 7)]
    starts = [NOW - 8 * DAY + DAY * number for number in range(6)]
    record = given(
        *OPENED, *((held(id_, start=at), at) for id_, at in zip(ids, starts, strict=True))
    )
    event = record.when(early(*ids[2:5])).event
    assert isinstance(event, EarlyAllianceReviewed)
    assert event.sessions == tuple(ids[2:5])
    record.when(early(ids[2], by=SUPERVISOR), by=SUPERVISOR).recorded()
    for number in (1, 2, 6):
        record.when(early(ids[number - 1])).refuses(NotAnEarlySession, number=number)
    record.when(early(named("never"))).refuses(SessionUnknown)
    before = early(ids[3]).model_copy(update={"occurred_at": starts[2]})
    record.when(before.model_copy(update={"late_reason": "Typed later."})).refuses(SessionUnknown)


def test_who_treats_or_supervises_reviews_the_alliance() -> None:
    """Rule 28: not the client, and nobody in a practitioner's name; of sessions that were held."""
    MEASURED.when(early(SESSION, by=CLIENT), by=CLIENT).refuses(ReviewedByOther, by=CLIENT)
    MEASURED.when(early(SESSION), by=CLIENT).refuses(NotInTheirName, person=THERAPIST)
    scheduled = SessionScheduled(
        session=named("ahead"),
        starts_at=NOW + DAY,
        ends_at=NOW + DAY + HOUR,
        medium=Medium.IN_PERSON,
    )
    MEASURED.and_given(scheduled).when(early(named("ahead"))).refuses(
        SessionNotHeld, status="scheduled"
    )
