"""Persons and practitioners: identity, and what a practitioner may do when."""

from datetime import date, datetime, time, timedelta
from uuid import UUID

import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.person import (
    Activity,
    AttestRaterTraining,
    ExternalId,
    OutOfScope,
    PersonRegistered,
    PersonUnknown,
    PractitionerRegistered,
    PractitionerUnknown,
    Profession,
    RaterTrainingAttested,
    RegisteredAlready,
    RegisterPerson,
    RegisterPractitioner,
    ScopeNotLater,
    TrainingSelfAttested,
    in_scope,
    practitioner_stream,
    registration_at,
)
from domain.relationship import OpenRelationship
from tests.kit import (
    CLIENT,
    COACH,
    FOUNDED,
    NOW,
    OFFICE,
    PARTNER,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    ZONE,
    given,
    named,
    opened,
    practising,
    registered,
)


def open_with(
    client: object = CLIENT, therapist: object = THERAPIST, **changes: object
) -> OpenRelationship:
    return OpenRelationship.model_validate(
        {
            "relationship": RELATIONSHIP,
            "clients": [client],
            "therapists": [therapist],
            "modality": "cognitive behavioural therapy",
            "setting": "outpatient",
        }
        | changes
    )


def test_a_person_is_registered_once_and_seals_the_own_identity() -> None:
    """R25: identity stands in one entry, under the person's own key, and nowhere else."""
    known_elsewhere = ExternalId(system="insurer", value="A 1234")
    command = RegisterPerson(
        person=CLIENT,
        full_name="Maria Beispiel",
        birth_date=date(1984, 5, 17),
        contact="maria@example.org",
        external_ids=(known_elsewhere,),
    )
    fact = PersonRegistered(
        person=CLIENT,
        name="Maria Beispiel",
        birth_date=date(1984, 5, 17),
        contact="maria@example.org",
        external_ids=(known_elsewhere,),
    )
    assert fact.subject() == CLIENT
    record = given().when(command).then(fact)
    record.when(command).refuses(RegisteredAlready, id=CLIENT)
    record.erased(CLIENT).when(command).refuses(RegisteredAlready, id=CLIENT)


@pytest.mark.parametrize("birth_date", ["0000-01-01", "0001-01-01", "2984-05-17", "17.5.1984"])
def test_a_birth_date_is_a_day_somebody_alive_can_have(birth_date: str) -> None:
    """A date that cannot be is refused where it is sent."""
    with pytest.raises(ValidationError):
        RegisterPerson.model_validate({"full_name": "Maria Beispiel", "birth_date": birth_date})


def test_a_practitioner_is_registered_with_a_scope() -> None:
    """Rule 11: profession, scope and period are on record, under the practitioner's own key."""
    command = RegisterPractitioner(
        practitioner=THERAPIST,
        full_name="Dr. Jan Muster",
        profession=Profession.THERAPIST,
        scope=(Activity.THERAPY,),
        valid_from=date(2020, 1, 1),
    )
    assert practising().subject() == THERAPIST
    record = given().when(command).then(practising())
    record.when(command).refuses(ScopeNotLater, practitioner=THERAPIST)
    later = command.model_copy(update={"valid_from": date(2026, 1, 1)})
    record.erased(THERAPIST).when(later).refuses(ScopeNotLater)


@for_all(st.dates(date(2025, 1, 1), date(2026, 12, 31)))
@example(date(2025, 12, 31))
@example(date(2026, 1, 1))
def test_a_coach_becomes_a_therapist_from_a_day_on(day: date) -> None:
    """Rule 11: another scope takes the place of the one before from its own day on, and never
    reaches back: what was done before was done as a coach."""
    coach = practising(COACH, Activity.COACHING, valid_from=date(2025, 6, 1))
    command = RegisterPractitioner(
        practitioner=COACH,
        full_name="Dr. Jan Muster",
        profession=Profession.THERAPIST,
        scope=(Activity.THERAPY,),
        valid_from=date(2026, 1, 1),
    )
    record = given(coach).when(command).recorded()
    history = record.history(practitioner_stream(COACH))
    at = datetime.combine(day, time(12), tzinfo=ZONE)
    assert in_scope(history, Activity.THERAPY, at) == (day >= date(2026, 1, 1))
    assert in_scope(history, Activity.COACHING, at) == (date(2025, 6, 1) <= day < date(2026, 1, 1))


def test_a_scope_does_not_end_before_it_begins() -> None:
    """Rule 11: a period that cannot be is refused, in a command as in a corrected entry."""
    backwards = practising().model_dump() | {"valid_to": date(2019, 12, 31)}
    with pytest.raises(ValidationError, match="valid_to lies before valid_from"):
        PractitionerRegistered.model_validate(backwards)
    backwards["full_name"] = backwards.pop("name")
    for field in ("late_reason", "import_id", "reported"):
        del backwards[field]
    with pytest.raises(ValidationError, match="valid_to lies before valid_from"):
        RegisterPractitioner.model_validate(backwards)


@for_all(
    st.dates(date(2025, 1, 1), date(2026, 12, 31)),
    st.times(),
    st.sampled_from(Activity),
)
@example(date(2025, 7, 1), time(0, 0), Activity.THERAPY)
@example(date(2026, 6, 30), time(23, 59), Activity.THERAPY)
def test_a_scope_holds_on_the_days_of_its_period(day: date, hour: time, activity: Activity) -> None:
    """Rule 11: role and scope are in force at occurred_at, first and last day included."""
    first, last = date(2025, 7, 1), date(2026, 6, 30)
    record = given(practising(THERAPIST, Activity.THERAPY, valid_from=first, valid_to=last))
    at = datetime.combine(day, hour, tzinfo=ZONE)
    assert in_scope(record.history(practitioner_stream(THERAPIST)), activity, at) == (
        activity is Activity.THERAPY and first <= day <= last
    )


def test_an_activity_out_of_scope_is_refused() -> None:
    """Rule 11: a coach opens no therapy, nor does somebody nobody knows, nor a lapsed therapist."""
    record = given(*FOUNDED)
    record.when(open_with(therapist=COACH)).refuses(OutOfScope, practitioner=COACH)
    record.when(open_with(therapist=named("stranger"))).refuses(OutOfScope, activity="therapy")
    lapsed = practising(named("lapsed"), valid_to=NOW.date() - timedelta(days=1))
    record.and_given(lapsed).when(open_with(therapist=named("lapsed"))).refuses(OutOfScope)


def test_a_coach_may_open_coaching() -> None:
    """Rule 11: what counts is the activity, not the title."""
    given(*FOUNDED).when(open_with(therapist=COACH, activity="coaching")).then(
        opened(therapists=(COACH,), activity=Activity.COACHING)
    )


def test_a_supervisor_is_one_by_scope() -> None:
    """Rule 11: supervision needs the scope too."""
    record = given(*FOUNDED)
    record.when(open_with(supervisor=COACH)).refuses(OutOfScope, activity="supervision")
    record.when(open_with(supervisor=SUPERVISOR)).then(opened(supervisor=SUPERVISOR))


def test_an_import_reports_who_is_out_of_scope() -> None:
    """Rule 45: rule 11 reports instead of refusing what comes by an import."""
    given(*FOUNDED).when(open_with(therapist=COACH), imported=True).reports(OutOfScope)


def test_clients_are_registered_first() -> None:
    """Rule 10: participants are explicit, for an import as well; erased ones stay known."""
    strangers = open_with(client=named("stranger"))
    given(*FOUNDED).when(strangers).refuses(PersonUnknown, person=named("stranger"))
    given(*FOUNDED).when(strangers, imported=True).refuses(PersonUnknown)
    given(*FOUNDED, registered(named("stranger"))).erased(named("stranger")).when(strangers).then(
        opened(named("stranger"))
    )


def test_an_erased_practitioner_may_do_nothing_new() -> None:
    """Rule 9: with the entry erased, nothing shows the scope any more."""
    given(*FOUNDED).erased(THERAPIST).when(open_with()).refuses(OutOfScope)
    assert not in_scope(
        given(*FOUNDED).erased(PARTNER).history(practitioner_stream(PARTNER)), Activity.THERAPY, NOW
    )


# --- Training -------------------------------------------------------------------------------


def attest(practitioner: UUID = COACH) -> AttestRaterTraining:
    return AttestRaterTraining(
        practitioner=practitioner,
        system="3RS",
        trained_by="Institute of Process Research",
        basis="Two days; ICC .85 on six sessions.",
        valid_from=date(2026, 1, 1),
    )


def test_somebody_else_answers_for_a_raters_training() -> None:
    """Rule 39: for a registered practitioner's, under that person's key, and never for the own."""
    record = given(*FOUNDED)
    fact = RaterTrainingAttested(
        practitioner=COACH,
        system="3RS",
        trained_by="Institute of Process Research",
        basis="Two days; ICC .85 on six sessions.",
        valid_from=date(2026, 1, 1),
    )
    assert fact.subject() == COACH
    record.when(attest(), by=OFFICE).then(fact)
    record.when(attest(), by=COACH).refuses(TrainingSelfAttested, practitioner=COACH)
    record.when(attest(CLIENT), by=OFFICE).refuses(PractitionerUnknown, practitioner=CLIENT)


def test_a_training_changes_nothing_about_the_scope() -> None:
    """Rule 11: whoever is trained as a rater may do what was in scope before, and no more."""
    record = given(*FOUNDED).when(attest(), by=OFFICE).recorded()
    history = record.history(practitioner_stream(COACH))
    assert in_scope(history, Activity.COACHING, NOW)
    assert not in_scope(history, Activity.THERAPY, NOW)
    last = registration_at(history, NOW)
    assert last is not None
    assert last.practitioner == COACH
    assert registration_at(history, datetime(1990, 1, 1, tzinfo=ZONE)) is None
