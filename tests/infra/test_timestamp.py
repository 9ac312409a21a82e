"""Timestamps by an authority of our own, which is OpenSSL's, and checked by OpenSSL too."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.outward import Address, Unanswered
from infra.timestamp import (
    Authority,
    RootsUnusable,
    TimestampBroken,
    trusted_roots,
    verified,
)
from tests.infra.authority import (
    TIME_STAMPING,
    Certified,
    LocalAuthority,
    certified,
    openssl_accepts,
)
from tests.infra.outside import Asked, Reply, serving

MESSAGE = b"rapport-record/log/x\n7\nAAAA\n\n\xe2\x80\x94 rapport-record/log/x AAAA\n"


@pytest.fixture(scope="module")
def root() -> Certified:
    return certified("root of time")


@pytest.fixture
def local(tmp_path: Path, root: Certified) -> LocalAuthority:
    return LocalAuthority(tmp_path, certified("time", root, TIME_STAMPING))


def stamp(answer: Callable[[Asked], Reply], root: Certified, message: bytes = MESSAGE) -> bytes:
    """The token that an authority, which answers so, gives for the message."""
    with serving(answer) as outsider:
        asking = Authority(Address.parse(f"{outsider.url}/tsr"), (root.certificate,))
        before = datetime.now(UTC) - timedelta(seconds=1)
        stamped = asking.stamp(message)
        assert before - timedelta(seconds=1) < stamped.at <= datetime.now(UTC)
        assert verified(stamped.token, message, asking.roots) == stamped.at
        return stamped.token


def test_a_token_is_accepted_by_openssl(
    local: LocalAuthority, root: Certified, tmp_path: Path
) -> None:
    """Witnesses and time: what is kept is checked by software that is not ours."""
    token = stamp(local.answer, root)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(root.pem)
    assert openssl_accepts(token, MESSAGE, roots, tmp_path)
    assert not openssl_accepts(token, MESSAGE + b"\n", roots, tmp_path)
    roots.write_bytes(certified("root of time").pem)
    assert not openssl_accepts(token, MESSAGE, roots, tmp_path)


def test_certificates_may_come_in_any_order(
    local: LocalAuthority, root: Certified, tmp_path: Path
) -> None:
    """Witnesses and time: OpenSSL sends a chain in its own order; both orders are read."""
    between = certified("between", root)
    for _ in range(6):  # which of the two is smaller is chance
        signer = certified("time", between, TIME_STAMPING)
        chained = LocalAuthority(tmp_path, signer, (between,))
        token = stamp(chained.answer, root)
        (tmp_path / "roots.pem").write_bytes(root.pem)
        assert openssl_accepts(token, MESSAGE, tmp_path / "roots.pem", tmp_path)


def test_every_changed_byte_is_found_or_changes_nothing(
    local: LocalAuthority, root: Certified
) -> None:
    """Witnesses and time: verification raises. What no signature covers (versions, names of
    algorithms) may differ; message and time never do."""
    token = stamp(local.answer, root)
    at = verified(token, MESSAGE, [root.certificate])
    found: Counter[str] = Counter()
    for place in range(len(token)):
        changed = bytearray(token)
        changed[place] ^= 1
        try:
            assert verified(bytes(changed), MESSAGE, [root.certificate]) == at
            found["same"] += 1
        except TimestampBroken as broken:
            found[broken.code] += 1
    assert found.keys() <= {"same", "malformed", "another_message", "not_authentic"}
    assert found["same"] < 16
    assert found["another_message"] >= 32


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_cut_token_is_malformed(local: LocalAuthority, root: Certified, cut: int) -> None:
    """Witnesses and time: nothing but a whole token, and nothing after it."""
    token = stamp(local.answer, root)
    for wrong in (token[:cut], token + b"\0"):
        with pytest.raises(TimestampBroken, match="malformed"):
            verified(wrong, MESSAGE, [root.certificate])


def test_a_token_for_something_else_is_refused(local: LocalAuthority, root: Certified) -> None:
    """Witnesses and time: a genuine token over another checkpoint says nothing of this one."""
    token = stamp(local.answer, root, b"another")
    with pytest.raises(TimestampBroken, match="another_message"):
        verified(token, MESSAGE, [root.certificate])


def test_an_old_reply_is_refused(local: LocalAuthority, root: Certified) -> None:
    """Witnesses and time: a reply holds the nonce of this very request."""
    kept: list[Reply] = []

    def replaying(asked: Asked) -> Reply:
        kept.append(local.answer(asked))
        return kept[0]

    with serving(replaying) as outsider:
        asking = Authority(Address.parse(outsider.url), (root.certificate,))
        asking.stamp(MESSAGE)
        with pytest.raises(TimestampBroken, match="not_authentic"):
            asking.stamp(MESSAGE)


def test_a_stranger_with_the_same_names_is_refused(root: Certified, tmp_path: Path) -> None:
    """Witnesses and time: what counts is the key of the root, not what it is called."""
    stranger = certified("root of time")
    local = LocalAuthority(tmp_path, certified("time", stranger, TIME_STAMPING))
    with pytest.raises(TimestampBroken, match="not_authentic"):
        stamp(local.answer, root)


@pytest.mark.parametrize(
    "reply, code",
    [
        (Reply(500, b"", "application/timestamp-reply"), "status-500"),
        (Reply(302, b"", "text/plain", (("Location", "http://127.0.0.1:1/"),)), "status-302"),
        (Reply(200, b"", "text/html"), "not-a-reply"),
        (Reply(200, b"\x30\x05\x30\x03\x02\x01\x02", "application/timestamp-reply"), "refused-2"),
        (Reply(200, bytes(70_000), "application/timestamp-reply"), "too-long"),
    ],
)
def test_who_gives_no_timestamp_is_told_by_a_code(root: Certified, reply: Reply, code: str) -> None:
    """Witnesses and time: refusals, redirects and nonsense end in a code and in nothing else."""
    with serving(lambda _: reply) as outsider:
        asking = Authority(Address.parse(outsider.url), (root.certificate,))
        with pytest.raises(Unanswered, match=f"^{code}$"):
            asking.stamp(MESSAGE)
        assert len(outsider.asked) == 1


@pytest.mark.parametrize("body", [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"no"])
def test_a_reply_of_nonsense_is_malformed(root: Certified, body: bytes) -> None:
    """Witnesses and time: lengths that lie lead nowhere."""
    reply = Reply(200, body, "application/timestamp-reply")
    with serving(lambda _: reply) as outsider:
        asking = Authority(Address.parse(outsider.url), (root.certificate,))
        with pytest.raises(TimestampBroken, match="malformed"):
            asking.stamp(MESSAGE)


def test_roots_are_read_from_a_pem_file(root: Certified, tmp_path: Path) -> None:
    """Witnesses and time: what is trusted is said by the operator alone."""
    path = tmp_path / "roots.pem"
    with pytest.raises(RootsUnusable, match="cannot be read"):
        trusted_roots(path)
    path.write_text("nothing")
    with pytest.raises(RootsUnusable, match="PEM"):
        trusted_roots(path)
    path.write_bytes(root.pem + certified("another").pem)
    assert len(trusted_roots(path)) == 2
    assert trusted_roots(path)[0] == root.certificate
