"""Restriction: what is not shown, to whom, or for what; agreed, binding, lifted."""

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.closure import CloseRelationship
from domain.event import EntryUnknown
from domain.relationship import Initiator
from domain.restriction import (
    Against,
    AgreeRestriction,
    ClientNotInformed,
    LiftRestriction,
    NotTheirRecord,
    Purpose,
    RecipientKind,
    RestrictionAgreed,
    RestrictionBasis,
    RestrictionBinds,
    RestrictionExists,
    RestrictionLifted,
    RestrictionLiftedAlready,
    RestrictionUnknown,
    Use,
    binding,
    covered,
)
from tests.kit import (
    CLIENT,
    DAY,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SUPERVISOR,
    given,
    named,
)

RESTRICTION = named("restriction")
PAYER = Against(recipient=RecipientKind.HEALTH_PLAN)


def agree(**changes: Any) -> AgreeRestriction:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "restriction": RESTRICTION,
        "client": CLIENT,
        "against": PAYER,
        "what": "Nothing to the health plan.",
    }
    return AgreeRestriction(**fields | changes)


def lift(**changes: Any) -> LiftRestriction:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "restriction": RESTRICTION,
        "reason": "She asked for it.",
        "client_agreed": True,
    }
    return LiftRestriction(**fields | changes)


def test_a_restriction_binds_from_when_it_is_agreed_until_it_is_lifted() -> None:
    """R13: whom it is against, what it covers, on what ground; then its end."""
    agreed = RestrictionAgreed(
        restriction=RESTRICTION,
        client=CLIENT,
        against=PAYER,
        what="Nothing to the health plan.",
        basis=RestrictionBasis.AGREED,
        by=OFFICE,
    )
    record = given(*OPENED).when(agree(), by=OFFICE, at=NOW).then(agreed)
    lifted = RestrictionLifted(
        restriction=RESTRICTION,
        client=CLIENT,
        client_agreed=True,
        reason="She asked for it.",
        by=OFFICE,
    )
    after = record.when(lift(), by=OFFICE, at=NOW + DAY).then(lifted).relationship
    payer = Use("payment", recipient=RecipientKind.HEALTH_PLAN)
    assert binding(after, payer, NOW - DAY) == ()
    assert binding(after, payer, NOW) == (agreed,)
    assert binding(after, payer, NOW + DAY) == ()


@pytest.mark.parametrize(
    "against, use, binds",
    [
        (PAYER, Use("payment", recipient=RecipientKind.HEALTH_PLAN), True),
        (PAYER, Use("payment", recipient=RecipientKind.PROVIDER), False),
        (PAYER, Use("treatment", person=SUPERVISOR), False),
        (Against(person=SUPERVISOR), Use("supervision", person=SUPERVISOR), True),
        (Against(person=SUPERVISOR), Use("supervision", person=OFFICE), False),
        (Against(purpose=Purpose.RESEARCH), Use(" Research ", person=OFFICE), True),
        (Against(purpose=Purpose.RESEARCH), Use("care", person=OFFICE), False),
        (
            Against(recipient=RecipientKind.PROVIDER, purpose=Purpose.PAYMENT),
            Use("treatment", recipient=RecipientKind.PROVIDER),
            False,
        ),
        (Against(), Use("care", person=OFFICE), True),
        (Against(), Use("care", person=CLIENT), False),
    ],
)
def test_it_binds_whom_and_what_it_is_meant_against(
    against: Against, use: Use, binds: bool
) -> None:
    """R13, R26: all that is named must be so; nothing named means everybody but the client."""
    history = given(*OPENED, agree(against=against)).relationship
    assert bool(binding(history, use, NOW)) is binds


def test_restrictions_add_up() -> None:
    """R13: parts add up to more; one on the whole covers everything."""
    record = given(*OPENED, agree(entries=(1,)), agree(restriction=named("b"), what="That too."))
    both = binding(record.relationship, Use("x", recipient=RecipientKind.HEALTH_PLAN), NOW)
    assert covered(both[:1]) == frozenset({1})
    assert covered(both) is None
    assert covered(()) == frozenset()


def test_a_restriction_is_of_a_client_and_of_entries_that_there_are() -> None:
    """R13: no restriction on nothing, none for somebody who is no client here."""
    record = given(*OPENED, agree())
    record.when(agree()).refuses(RestrictionExists, restriction=RESTRICTION)
    record.when(agree(restriction=named("b"), client=PARTNER)).refuses(NotTheirRecord)
    record.when(agree(restriction=named("b"), client=SUPERVISOR)).refuses(NotTheirRecord)
    record.when(agree(restriction=named("b"), entries=(99,))).refuses(EntryUnknown)


def test_lifting_needs_the_client() -> None:
    """R26: informed at least; where the law gives it to the client, agreeing (R13)."""
    record = given(*OPENED, agree())
    record.when(lift(client_agreed=False)).refuses(ClientNotInformed)
    record.when(lift(client_agreed=False, client_informed=True)).recorded()
    paid = given(*OPENED, agree(basis=RestrictionBasis.PAID_IN_FULL))
    paid.when(lift(client_agreed=False, client_informed=True)).refuses(RestrictionBinds)
    over = paid.when(lift()).recorded()
    over.when(lift()).refuses(RestrictionLiftedAlready)
    over.when(lift(restriction=named("b"))).refuses(RestrictionUnknown)


def test_a_closed_relationship_can_still_be_restricted() -> None:
    """Rule 16: access goes on after closure, and so does what binds it."""
    close = CloseRelationship(
        relationship=RELATIONSHIP, reason="Done.", initiated_by=Initiator.BOTH, goals="Reached."
    )
    given(*OPENED, close).when(agree()).recorded()


@for_all(st.sampled_from([AgreeRestriction, LiftRestriction]))
def test_a_restriction_is_not_dated_back(kind: type[Any]) -> None:
    """R13: doors have opened by what held then; that is not changed afterwards."""
    command = agree() if kind is AgreeRestriction else lift()
    with pytest.raises(ValidationError):
        kind.model_validate(command.model_dump() | {"occurred_at": NOW - DAY})


def test_an_erased_restriction_binds_nobody_any_more() -> None:
    """Rule 9: it goes with the content it was about."""
    record = given(*OPENED, agree()).erased(CLIENT)
    use = Use("payment", recipient=RecipientKind.HEALTH_PLAN)
    assert binding(record.relationship, use, NOW) == ()
