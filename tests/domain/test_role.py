"""Roles: granted and revoked by somebody, for a reason, with what was before and after."""

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.event import History
from domain.role import (
    GrantRole,
    GrantsOneself,
    RevokeRole,
    Role,
    RoleGranted,
    RoleHeld,
    RoleNotGrantable,
    RoleNotHeld,
    RoleRevoked,
    is_revoked,
    role_stream,
    roles_of,
)
from tests.kit import NOW, OFFICE, SUPERVISOR, THERAPIST, given, on

STREAM = role_stream(SUPERVISOR)


def grant(role: Role = Role.SUPERVISOR) -> GrantRole:
    return GrantRole(person=SUPERVISOR, role=role, reason="Begins today.")


def revoke(role: Role = Role.SUPERVISOR) -> RevokeRole:
    return RevokeRole(person=SUPERVISOR, role=role, reason="Has left.")


def test_a_change_of_role_says_what_was_before_and_after() -> None:
    """R31: who changed whose role, why, from what to what."""
    granted = RoleGranted(
        person=SUPERVISOR,
        role=Role.THERAPIST,
        by=OFFICE,
        reason="Begins today.",
        old=(Role.SUPERVISOR,),
        new=(Role.THERAPIST, Role.SUPERVISOR),
    )
    record = given(grant()).when(grant(Role.THERAPIST), by=OFFICE).then(on(STREAM, granted))
    revoked = RoleRevoked(
        person=SUPERVISOR,
        role=Role.THERAPIST,
        by=OFFICE,
        reason="Has left.",
        old=(Role.THERAPIST, Role.SUPERVISOR),
        new=(Role.SUPERVISOR,),
    )
    after = record.when(revoke(Role.THERAPIST), by=OFFICE).then(on(STREAM, revoked))
    assert roles_of(after.history(STREAM)) == (Role.SUPERVISOR,)
    assert is_revoked(after.history(STREAM), Role.THERAPIST)
    assert not is_revoked(after.history(STREAM), Role.SUPERVISOR)
    assert not is_revoked(History(), Role.THERAPIST)


def test_a_role_is_granted_once_and_revoked_once() -> None:
    """R31: no change that changes nothing."""
    given(grant()).when(grant(), by=OFFICE).refuses(RoleHeld, person=SUPERVISOR)
    given().when(revoke(), by=OFFICE).refuses(RoleNotHeld, role=Role.SUPERVISOR)
    record = given(grant(), revoke())
    record.when(revoke(), by=OFFICE).refuses(RoleNotHeld)
    again = record.when(grant(), by=OFFICE).recorded()
    assert roles_of(again.history(STREAM)) == (Role.SUPERVISOR,)


def test_nobody_widens_what_they_may_do_themselves() -> None:
    """R31: another administrator grants it; giving up one's own is free."""
    given().when(grant(), by=SUPERVISOR).refuses(GrantsOneself)
    given(grant()).when(revoke(), by=SUPERVISOR).recorded()


def test_the_machines_role_is_nobodys() -> None:
    """R31: nobody is granted to reach everything."""
    given().when(grant(Role.SYSTEM), by=OFFICE).refuses(RoleNotGrantable)


def test_a_change_of_role_is_not_dated_back() -> None:
    """R35: a revocation holds from when it is made; nobody was allowed in the past."""
    with pytest.raises(ValidationError):
        GrantRole.model_validate(grant().model_dump() | {"occurred_at": NOW})
    with pytest.raises(ValidationError):
        RevokeRole.model_validate(revoke().model_dump() | {"late_reason": "Forgotten."})


@for_all(st.lists(st.tuples(st.booleans(), st.sampled_from([*Role][:-1])), min_size=1, max_size=20))
def test_roles_are_what_the_accepted_changes_come_to(changes: list[tuple[bool, Role]]) -> None:
    """R31: in any order, somebody has what was granted and not revoked since."""
    record, expected = given(), set[Role]()
    for grants, role in changes:
        outcome = record.when(grant(role) if grants else revoke(role), by=THERAPIST)
        if outcome.refusal is None:
            record = outcome.recorded()
            (expected.add if grants else expected.discard)(role)
        assert set(roles_of(record.history(STREAM))) == expected


def test_what_somebody_could_do_outlives_their_erasure() -> None:
    """R31: the trail of privileges is under no person's key."""
    record = given(grant())
    assert roles_of(record.erased(SUPERVISOR).history(STREAM)) == (Role.SUPERVISOR,)
