"""Tokens: random secrets bound to their rows, in force until they end, each in its clinic."""

import hmac
import string
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
import pytest
from pydantic import ValidationError

from domain.access import Role
from infra.identity import NotAuthentic, NotForTokens, Principal, Tokens
from tests.conftest import Clinic


@contextmanager
def tokens_of(clinic: Clinic) -> Iterator[Tokens]:
    tokens = Tokens(clinic.database.dsn("app"), clinic.id, clinic.keyring, clock=clinic.clock)
    try:
        yield tokens
    finally:
        tokens.close()


@pytest.fixture
def tokens(clinic: Clinic) -> Iterator[Tokens]:
    with tokens_of(clinic) as opened:
        yield opened


def issue(tokens: Tokens, clinic: Clinic, person: UUID, **good_for: float) -> str:
    expires = clinic.clock.now + timedelta(**good_for or {"days": 1})
    return tokens.issue(person, Role.THERAPIST, "care", expires)


def test_a_token_has_one_spelling(clinic: Clinic, tokens: Tokens) -> None:
    """API, bearer tokens: of letters that stand for the same bits, only those that were given."""
    text = issue(tokens, clinic, uuid4())
    tokens.authenticate(text)
    for last in {*string.ascii_letters, *string.digits, "-", "_"} - {text[-1]}:
        with pytest.raises(NotAuthentic):
            tokens.authenticate(text[:-1] + last)


def test_a_token_is_known_again(clinic: Clinic, tokens: Tokens) -> None:
    """API, bearer tokens: the text gives person, role and purpose."""
    person = uuid4()
    text = issue(tokens, clinic, person)
    found = tokens.authenticate(text)
    assert found == Principal(person, Role.THERAPIST, "care", found.token, found.issued_at)
    assert text.startswith(f"rpt_{clinic.id.hex}_{found.token.hex}_")
    (known,) = tokens.known()
    assert (known.id, known.principal, known.revoked_at) == (found.token, person, None)


def test_no_secret_is_kept(clinic: Clinic, tokens: Tokens) -> None:
    """API, bearer tokens: 32 random bytes each, in no form in the table."""
    texts = [issue(tokens, clinic, uuid4()) for _ in range(20)]
    secrets = [urlsafe_b64decode(text[-43:] + "=") for text in texts]
    assert {len(secret) for secret in secrets} == {32}
    assert len(set(secrets)) == 20
    with psycopg.connect(clinic.database.dsn("owner")) as connection:
        kept = repr(connection.execute("SELECT * FROM rapport.tokens").fetchall())
    for text, secret in zip(texts, secrets, strict=True):
        for form in (text[-43:], secret.hex(), repr(secret), repr(sha256(secret).digest())):
            assert form not in kept


def test_a_text_that_is_no_token_opens_nothing(clinic: Clinic, tokens: Tokens) -> None:
    """API, bearer tokens: nothing is told apart, whatever is wrong with it."""
    text = issue(tokens, clinic, uuid4())
    head, secret = text[:-43], text[-43:]
    flipped = secret[:-2] + ("A" if secret[-2] != "A" else "B") + secret[-1]
    for wrong in (
        "",
        "rpt_",
        head,
        text + "A",
        " " + text,
        text.upper(),
        head + flipped,
        head + "é" * 43,
        f"rpt_{clinic.id.hex}_{uuid4().hex}_{secret}",
        f"rpt_{uuid4().hex}_{text.split('_', 2)[2]}",
        "rpt_" + "0" * 10_000,
    ):
        with pytest.raises(NotAuthentic):
            tokens.authenticate(wrong)
    assert tokens.authenticate(text).role is Role.THERAPIST


def test_a_token_ends_when_it_expires(clinic: Clinic, tokens: Tokens) -> None:
    """API, bearer tokens: good until its time, and not a moment longer."""
    text = issue(tokens, clinic, uuid4(), minutes=10)
    clinic.clock.advance(minutes=9)
    tokens.authenticate(text)
    clinic.clock.advance(minutes=1)
    with pytest.raises(NotAuthentic):
        tokens.authenticate(text)


def test_a_revocation_holds_from_the_next_request_on(clinic: Clinic, tokens: Tokens) -> None:
    """API, bearer tokens: also in a process that has just seen the token in force."""
    text, other = issue(tokens, clinic, uuid4()), issue(tokens, clinic, uuid4())
    with tokens_of(clinic) as elsewhere:
        token = elsewhere.authenticate(text).token
        assert tokens.revoke(token)
        with pytest.raises(NotAuthentic):
            elsewhere.authenticate(text)
        elsewhere.authenticate(other)
    assert not tokens.revoke(token)
    assert not tokens.revoke(uuid4())


def test_each_clinic_knows_its_own_tokens(
    new_clinic: Callable[[], Clinic],
) -> None:
    """ARCHITECTURE, idea 9: a token of one clinic is none in another, nor can it be ended there."""
    here, there = new_clinic(), new_clinic()
    with tokens_of(here) as ours, tokens_of(there) as theirs:
        text = issue(ours, here, uuid4())
        with pytest.raises(NotAuthentic):
            theirs.authenticate(text)
        with pytest.raises(NotAuthentic):
            theirs.authenticate(text.replace(here.id.hex, there.id.hex))
        assert list(theirs.known()) == []
        assert not theirs.revoke(ours.authenticate(text).token)
        ours.authenticate(text)


def test_the_application_cannot_make_a_token_good_again(clinic: Clinic, tokens: Tokens) -> None:
    """Grants: the application's role ends tokens; it changes and deletes none."""
    issue(tokens, clinic, uuid4())
    with psycopg.connect(clinic.database.dsn("app"), autocommit=True) as connection:
        connection.execute(f"SET rapport.clinic = '{clinic.id}'")
        for statement in (
            "UPDATE rapport.tokens SET expires_at = expires_at + interval '1 year'",
            "UPDATE rapport.tokens SET role = 'administrator'",
            "UPDATE rapport.tokens SET authenticator = authenticator",
            "UPDATE rapport.tokens SET revoked_at = NULL",
            "DELETE FROM rapport.tokens",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_application_cannot_undo_a_revocation(clinic: Clinic, tokens: Tokens) -> None:
    """R35, immediate revocation: a token that was ended stays so, also for the password's thief."""
    text = issue(tokens, clinic, uuid4())
    assert tokens.revoke(tokens.authenticate(text).token)
    with psycopg.connect(clinic.database.dsn("app"), autocommit=True) as connection:
        connection.execute(f"SET rapport.clinic = '{clinic.id}'")
        for undo in (
            "UPDATE rapport.tokens SET revoked_at = NULL",
            "UPDATE rapport.tokens SET revoked_at = now() + interval '1 year'",
        ):
            assert connection.execute(undo).rowcount == 0
    with pytest.raises(NotAuthentic):
        tokens.authenticate(text)


ALTERATIONS = (
    "principal = gen_random_uuid()",
    "role = 'compliance_officer'",
    "role = 'system'",
    "role = 'nobody at all'",
    "purpose = 'research'",
    "created_at = created_at + interval '1 microsecond'",
    "expires_at = expires_at + interval '10 years'",
    "expires_at = 'infinity'",
    "created_at = '-infinity'",
    "revoked_at = '-infinity'",
    "authenticator = sha256(authenticator)",
)


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_row_opens_nothing(clinic: Clinic, tokens: Tokens, alteration: str) -> None:
    """R35: whatever the owner of the tables, or a superuser, makes of a token, it ends by it."""
    text = issue(tokens, clinic, uuid4())
    tokens.authenticate(text)
    with psycopg.connect(clinic.database.dsn("owner"), autocommit=True) as connection:
        connection.execute(b"UPDATE rapport.tokens SET " + alteration.encode())
    with pytest.raises(NotAuthentic):
        tokens.authenticate(text)


def test_a_row_that_was_made_up_opens_nothing(clinic: Clinic, tokens: Tokens) -> None:
    """R35: who can write the table and holds a true token makes no other of it, in no way."""
    true = issue(tokens, clinic, uuid4())
    secret = urlsafe_b64decode(true[-43:] + "=")
    for authenticator in (
        secret,
        sha256(secret).digest(),
        hmac.digest(b"", secret, "sha256"),
        authenticator_of(clinic, tokens.authenticate(true).token),
    ):
        token = uuid4()
        with psycopg.connect(clinic.database.dsn("app"), autocommit=True) as connection:
            connection.execute(f"SET rapport.clinic = '{clinic.id}'")
            connection.execute(
                "INSERT INTO rapport.tokens VALUES (%s, %s, %s, %s, 'compliance_officer', 'care', "
                "now() - interval '1 year', now() + interval '1 year')",
                (clinic.id, token, authenticator, uuid4()),
            )
        with pytest.raises(NotAuthentic):
            tokens.authenticate(f"rpt_{clinic.id.hex}_{token.hex}_{true[-43:]}")
    tokens.authenticate(true)


def test_a_row_taken_to_another_clinic_opens_nothing(new_clinic: Callable[[], Clinic]) -> None:
    """R35: the clinic is bound too, where both clinics' keys lie in one keyring."""
    here, there = new_clinic(), new_clinic()
    with tokens_of(here) as ours, tokens_of(there) as theirs:
        text = issue(ours, here, uuid4())
        with psycopg.connect(here.database.dsn("owner"), autocommit=True) as connection:
            connection.execute("UPDATE rapport.tokens SET clinic = %s", (there.id,))
        for shown in (text, text.replace(here.id.hex, there.id.hex)):
            with pytest.raises(NotAuthentic):
                theirs.authenticate(shown)


def authenticator_of(clinic: Clinic, token: UUID) -> bytes:
    with psycopg.connect(clinic.database.dsn("owner")) as connection:
        query = "SELECT authenticator FROM rapport.tokens WHERE token_id = %s"
        ((found,),) = connection.execute(query, (token,)).fetchall()
    return bytes(found)


def test_nobody_carries_the_machines_own_role(clinic: Clinic, tokens: Tokens) -> None:
    """Access table: the role that reaches everything belongs to whoever holds the machine."""
    with pytest.raises(NotForTokens):
        tokens.issue(uuid4(), Role.SYSTEM, "operation", clinic.clock.now + timedelta(days=1))
    assert list(tokens.known()) == []


def test_a_purpose_is_one_that_an_entry_can_hold(clinic: Clinic, tokens: Tokens) -> None:
    """Rule 41: the purpose becomes part of the access entry, so it is judged when it is given."""
    for purpose in ("", " ", "x" * 201, "a\x00b"):
        with pytest.raises(ValidationError):
            tokens.issue(uuid4(), Role.THERAPIST, purpose, clinic.clock.now + timedelta(days=1))
    assert list(tokens.known()) == []


def test_many_are_told_apart_by_one_look(clinic: Clinic, tokens: Tokens) -> None:
    """R35: each text of many is answered as it is alone, whether it was seen before or not."""
    known, new, ended = (issue(tokens, clinic, uuid4()) for _ in range(3))
    tokens.authenticate(known)
    assert tokens.revoke(tokens.authenticate(ended).token)
    other = f"rpt_{uuid4().hex}{known[36:]}"
    swapped = known[:-43] + new[-43:]
    texts = [known, ended, "", new, swapped, other, known, known[:-1] + "!", "\ud800"]
    found = tokens.authenticate_all(texts)
    assert [index for index, who in enumerate(found) if who is not None] == [0, 3, 6]
    for text, who in zip(texts, found, strict=True):
        if who is None:
            with pytest.raises(NotAuthentic):
                tokens.authenticate(text)
        else:
            assert tokens.authenticate(text) == who
