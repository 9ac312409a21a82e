"""A minor's record, a risk and a fallback, attacked where somebody would: at the doors."""

from datetime import date, timedelta
from uuid import UUID, uuid4

from domain.access import Role
from domain.assent import DissentAsMinor, GiveAssent
from domain.clinic import Scope
from domain.consent import Capacity
from domain.consenting import GiveConsent, RenewConsent
from domain.event import Command
from domain.information import GiveInformation
from domain.instrument import Perspective
from domain.outcome import RateOutcome
from domain.person import RegisterPerson
from domain.relationship import OpenRelationship
from domain.risk import ReviewRisk
from domain.withdrawal import NarrowConsent, WithdrawConsent
from tests.api.conftest import SHA256, House, Somebody

AT_RISK = tuple("000000001")


def says(house: House, who: Somebody, command: Command) -> tuple[int, str]:
    """The status and the code of an answer; no code where it was accepted."""
    answer = house.practice.send(who, command)
    body = answer.json()
    return answer.status_code, body.get("code", "")


class Minor:
    """A relationship with a 13-year-old, whose guardian has been informed, as she has."""

    def __init__(self, house: House) -> None:
        self.house, self.practice = house, house.practice
        self.client = self.practice.somebody(Role.CLIENT)
        self.guardian = uuid4()
        self.relationship = uuid4()
        today = self.practice.clinic.clock.now.date()
        for person, born in ((self.client.person, today.year - 13), (self.guardian, 1980)):
            self.practice.recorded(
                house.administrator,
                RegisterPerson(person=person, full_name="Ada", birth_date=date(born, 1, 1)),
            )
        self.practice.recorded(
            house.therapist,
            OpenRelationship(
                relationship=self.relationship,
                clients=(self.client.person,),
                therapists=(house.therapist.person,),
                modality="play therapy",
                setting="outpatient",
                supervisor=house.supervisor.person,
            ),
        )
        for person in (self.client.person, self.guardian):
            inform = GiveInformation(
                relationship=self.relationship,
                document=self.practice.document,
                version=1,
                sha256=SHA256,
                to=person,
                by=house.therapist.person,
            )
            self.practice.recorded(house.therapist, inform)

    def consent(self, scope: Scope, signer: UUID, capacity: Capacity) -> GiveConsent:
        return GiveConsent(
            relationship=self.relationship,
            consent=uuid4(),
            scope=scope,
            party=self.client.person,
            document=self.practice.document,
            version=1,
            sha256=SHA256,
            signer=signer,
            capacity=capacity,
        )

    def assent(self, scope: Scope) -> GiveAssent:
        return GiveAssent(
            relationship=self.relationship,
            scope=scope,
            party=self.client.person,
            document=self.practice.document,
            version=1,
        )

    def asked(self, scope: Scope) -> UUID:
        """Guardian and minor both agree; gives the consent's id."""
        consent = self.consent(scope, self.guardian, Capacity.GUARDIAN)
        self.practice.recorded(self.house.therapist, consent)
        self.practice.recorded(self.client, self.assent(scope))
        return consent.consent

    def rate(self) -> RateOutcome:
        return RateOutcome(
            relationship=self.relationship,
            rating=uuid4(),
            instrument="PHQ-9",
            perspective=Perspective.CLIENT,
            rater=self.client.person,
            answers=AT_RISK,
        )


def test_a_minor_at_the_doors(house: House) -> None:
    """Rule 23: through the API nobody gets around guardian, assent or dissent."""
    minor = Minor(house)
    therapist, client = house.therapist, minor.client
    own = minor.consent(Scope.OUTCOME_MEASURES, client.person, Capacity.OWN)
    assert says(house, client, own) == (409, "capacity-unfit-for-age")
    by_guardian = minor.consent(Scope.OUTCOME_MEASURES, minor.guardian, Capacity.GUARDIAN)
    assert says(house, client, by_guardian)[0] == 403
    minor.practice.recorded(therapist, by_guardian)
    assert says(house, client, minor.rate()) == (409, "consent-missing")
    minor.practice.recorded(client, minor.assent(Scope.OUTCOME_MEASURES))
    assert says(house, client, minor.rate()) == (201, "")
    withdraw = WithdrawConsent(relationship=minor.relationship, consent=by_guardian.consent)
    assert says(house, client, withdraw)[0] == 403
    in_own_name = withdraw.model_copy(update={"by": client.person})
    assert says(house, client, in_own_name) == (409, "not-theirs-to-withdraw")
    dissent = DissentAsMinor(
        relationship=minor.relationship, scope=Scope.OUTCOME_MEASURES, party=client.person
    )
    assert says(house, house.other_client, dissent)[0] == 404
    assert says(house, client, dissent) == (201, "")
    assert says(house, client, minor.rate()) == (409, "consent-missing")


def test_a_risk_at_the_doors(house: House) -> None:
    """Rule 35: at the doors a client, an administrator and an officer review nothing; the
    supervisor does, with the consent to that disclosure."""
    minor = Minor(house)
    for scope in (Scope.OUTCOME_MEASURES, Scope.SUPERVISION_DISCLOSURE):
        minor.asked(scope)
    rate = minor.rate()
    receipt = minor.practice.recorded(minor.client, rate)
    assert len(receipt["entries"]) == 2

    def review(by: Somebody) -> ReviewRisk:
        return ReviewRisk(
            relationship=minor.relationship,
            rating=rate.rating,
            item=9,
            by=by.person,
            finding="Passive thoughts.",
            action="A safety plan.",
        )

    for who in (minor.client, house.administrator, house.officer):
        for named in (who, house.therapist):
            assert says(house, who, review(named))[0] == 403
    assert says(house, house.other_therapist, review(house.other_therapist))[0] == 404
    assert says(house, house.therapist, review(house.supervisor)) == (409, "risk-reviewed-by-other")
    assert says(house, house.supervisor, review(house.supervisor)) == (201, "")


def test_a_consent_at_the_doors(house: House) -> None:
    """Rule 20: another client's consent is out of reach, and nobody narrows or renews one in the
    name of somebody else."""
    consent = house.consents[Scope.TREATMENT]
    narrow = NarrowConsent(relationship=house.relationship, consent=consent, excludes="No groups.")
    renew = RenewConsent(
        relationship=house.relationship,
        renews=consent,
        consent=uuid4(),
        version=1,
        sha256=SHA256,
        signer=house.client.person,
    )
    withdraw = WithdrawConsent(relationship=house.relationship, consent=consent)
    for command in (narrow, renew, withdraw):
        assert says(house, house.other_client, command)[0] == 404
        assert says(house, house.supervisor, command)[0] == 403
    by_therapist = withdraw.model_copy(update={"by": house.therapist.person})
    assert says(house, house.therapist, by_therapist) == (409, "not-theirs-to-withdraw")
    long_ago = WithdrawConsent(
        relationship=house.relationship,
        consent=consent,
        occurred_at=house.practice.clinic.clock.now - timedelta(hours=1),
    )
    assert says(house, house.client, long_ago) == (422, "withdrawal-backdated")
    for command in (narrow, renew, withdraw):
        assert says(house, house.client, command) == (201, "")
    fallback = withdraw.model_copy(update={"consent": renew.consent})
    assert says(house, house.client, fallback) == (409, "consent-withdrawn-already")
