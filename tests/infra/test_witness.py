"""A witness over real HTTP, written apart from the product, and others that are none."""

import base64
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from infra.checkpoint import Checkpoint, NoteSigner, SignedNote
from infra.outward import Address, AddressUnusable, Unanswered, post
from infra.witness import (
    Witness,
    WitnessElsewhere,
    WitnessesUnusable,
    WitnessRefuses,
    witnesses_of,
)
from tests.infra.authority import certified
from tests.infra.outside import Outsider, Reply, listening, serving
from tests.infra.trees import mth, subproof
from tests.infra.witnessing import LocalWitness, witnessing

ORIGIN = "rapport-record/log/0123"
LEAVES = [bytes([number]) for number in range(40)]
SIGNER = NoteSigner(ORIGIN, bytes(range(32)))


def note(size: int, leaves: list[bytes] | None = None) -> str:
    """The checkpoint of the first leaves."""
    root = mth((leaves or LEAVES)[:size])
    return str(SIGNER.sign(Checkpoint(ORIGIN, size, root).body()))


@pytest.fixture
def local(tmp_path: Path) -> LocalWitness:
    return LocalWitness(tmp_path / "witness.json", {ORIGIN: SIGNER.verifier.public})


def at(outsider: Outsider, local: LocalWitness) -> Witness:
    (witness,) = witnesses_of(f"{local.vkey} {outsider.url}/prefix/")
    return witness


def ask(witness: Witness, old: int, size: int, leaves: list[bytes] | None = None) -> SignedNote:
    """The checkpoint with the cosignature that the witness gave it."""
    proof = subproof(old, (leaves or LEAVES)[:size]) if old else []
    signed = note(size, leaves)
    before = datetime.now(UTC)
    cosignature, cosigned_at = witness.add_checkpoint(old, proof, signed, before)
    assert abs((cosigned_at - before).total_seconds()) < 5
    return SignedNote.parse(signed).with_signatures(cosignature)


# --- An honest witness ----------------------------------------------------------------------


def test_a_witness_cosigns_every_extension(local: LocalWitness) -> None:
    """Witnesses: from the first checkpoint on, each is cosigned as the continuation of the last."""
    with witnessing(local) as outsider:
        witness, old = at(outsider, local), 0
        for size in (1, 2, 3, 7, 8, 13, 31, 32, 33, 40, 40):
            cosigned = ask(witness, old, size)
            assert cosigned.verified_by(witness.key) is not None
            assert cosigned.verified_by(SIGNER.verifier) is None
            old = size
        assert local.known(ORIGIN)[0] == 40
        assert {asked.path for asked in outsider.asked} == {"/prefix/add-checkpoint"}


def test_a_request_is_written_as_the_specification_does(local: LocalWitness) -> None:
    """tlog-witness, add-checkpoint: an old size, hashes, an empty line, the checkpoint."""
    with witnessing(local) as outsider:
        ask(at(outsider, local), 0, 3)
        ask(at(outsider, local), 3, 7)
    proof = "".join(f"{base64.b64encode(each).decode()}\n" for each in subproof(3, LEAVES[:7]))
    assert [asked.body.decode() for asked in outsider.asked] == [
        f"old 0\n\n{note(3)}",
        f"old 3\n{proof}\n{note(7)}",
    ]


def test_a_witness_elsewhere_says_where(local: LocalWitness) -> None:
    """Witnesses: 409 with a size is where to go on from; it is no alarm by itself."""
    with witnessing(local) as outsider:
        witness = at(outsider, local)
        ask(witness, 0, 8)
        for old, size in ((0, 9), (3, 9), (0, 5), (7, 8)):
            with pytest.raises(WitnessElsewhere) as elsewhere:
                ask(witness, old, size)
            assert elsewhere.value.size == 8


def test_a_witness_refuses_a_rewritten_log(local: LocalWitness) -> None:
    """Witnesses: one byte of one old entry, and no later checkpoint is cosigned."""
    rewritten = [b"changed", *LEAVES[1:]]
    with witnessing(local) as outsider:
        witness = at(outsider, local)
        ask(witness, 0, 8)
        with pytest.raises(WitnessRefuses, match="not-an-extension"):
            ask(witness, 8, 20, rewritten)
        with pytest.raises(WitnessRefuses, match="another-root"):
            ask(witness, 8, 8, rewritten)
        assert ask(witness, 8, 20).verified_by(witness.key)


def test_a_log_that_a_witness_does_not_know_is_told_apart(local: LocalWitness) -> None:
    """Witnesses: 404 and 403 are for the operators to talk about, not an alarm."""
    with witnessing(local) as outsider:
        local.logs[ORIGIN] = bytes(32)
        with pytest.raises(Unanswered, match="status-403"):
            ask(at(outsider, local), 0, 3)
        local.logs.clear()
        with pytest.raises(Unanswered, match="status-404"):
            ask(at(outsider, local), 0, 3)


# --- Others ---------------------------------------------------------------------------------

TELLS = "text/x.tlog.size"


@pytest.mark.parametrize(
    "reply, code",
    [
        (Reply(200), "not-cosigned"),
        (Reply(200, b"\xff"), "not-cosigned"),
        (Reply(200, b"cosigned, honestly\n"), "not-cosigned"),
        (Reply(200, "— a AAAAAAA=\n".encode()), "not-cosigned"),
        (Reply(200, b"\n"), "not-cosigned"),
        (Reply(200, bytes(17 << 10)), "too-long"),
        (Reply(302, b"", "text/plain", (("Location", "http://127.0.0.1:1/"),)), "status-302"),
        (Reply(500, b"<html>"), "status-500"),
        (Reply(429), "status-429"),
    ],
)
def test_what_is_no_cosignature_is_told_by_a_code(
    local: LocalWitness, reply: Reply, code: str
) -> None:
    """Witnesses: what speaks nonsense is asked again later; it says nothing about the log."""
    with serving(lambda _: reply) as outsider:
        with pytest.raises(Unanswered, match=f"^{code}$"):
            ask(at(outsider, local), 0, 3)
        assert len(outsider.asked) == 1  # no redirect was followed


@pytest.mark.parametrize(
    "body, content_type",
    [
        (b"", TELLS),
        (b"7", TELLS),
        (b"07\n", TELLS),
        (b"-1\n", TELLS),
        (b"7\n7\n", TELLS),
        (b"9" * 20 + b"\n", TELLS),
        (b"3\n", TELLS),  # the very size that was asked from
        (b"7\n", "text/plain"),
        (b"<html>conflict</html>", "text/html"),
    ],
)
def test_a_conflict_without_a_size_to_go_on_from_is_a_refusal(
    local: LocalWitness, body: bytes, content_type: str
) -> None:
    """tlog-witness: 409 over equal sizes has no size to tell. Nobody is left to guess."""
    conflict = Reply(409, body, content_type)
    with serving(lambda _: conflict) as outsider, pytest.raises(WitnessRefuses) as refusal:
        ask(at(outsider, local), 3, 7)
    assert refusal.value.code == "another-root"


def test_a_cosignature_of_another_checkpoint_is_none(local: LocalWitness) -> None:
    """Witnesses: what counts is a signature over this very text, by the configured key."""
    text = SignedNote.parse(note(3)).text
    stranger = LocalWitness(local.memory, local.logs, local.name)
    others = {
        "another checkpoint": local.cosignature(SignedNote.parse(note(4)).text),
        "another key of that name": stranger.cosignature(text),
        "one wrong among right ones": local.cosignature(text)
        + local.cosignature(SignedNote.parse(note(4)).text),
        "a text of its own": "x\n\n" + local.cosignature("x\n"),
        "no newline": local.cosignature(text).removesuffix("\n"),
        "lines between": local.cosignature(text) + "\n" + local.cosignature(text),
    }
    said = iter(others.values())
    with serving(lambda _: Reply(200, next(said).encode())) as outsider:
        for _ in others:
            with pytest.raises(Unanswered, match="not-cosigned"):
                ask(at(outsider, local), 0, 3)
    assert len(outsider.asked) == len(others)


def test_cosignatures_of_others_are_passed_by(local: LocalWitness) -> None:
    """tlog-witness: lines by unknown keys are ignored; ours is found among them."""
    text = SignedNote.parse(note(3)).text
    stranger = LocalWitness(local.memory, local.logs, "witness.example/w2")
    lines = stranger.cosignature(text) + local.cosignature(text)
    with serving(lambda _: Reply(200, lines.encode())) as outsider:
        witness = at(outsider, local)
        assert [each.name for each in ask(witness, 0, 3).signatures] == [ORIGIN, witness.name]


def test_a_cosignature_from_the_future_is_none(local: LocalWitness) -> None:
    """tlog-cosignature: a time that is yet to come was not told by a clock."""
    local.ahead = 600
    with witnessing(local) as outsider, pytest.raises(Unanswered, match="clock-ahead"):
        ask(at(outsider, local), 0, 3)


# --- Nobody holds us up ---------------------------------------------------------------------


def drip(connection: socket.socket) -> None:
    """A byte now and then, and never a whole answer."""
    connection.recv(65536)
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def flood(connection: socket.socket) -> None:
    """An answer without an end."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")


def headers(connection: socket.socket) -> None:
    """Headers without an end."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"a" * 1000 + b"\r\n")


def prelude(connection: socket.socket) -> None:
    """Informational answers without an end."""
    connection.recv(65536)
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def garbage(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(bytes(range(256)) * 10)


def cut(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")


def two_lengths(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")


@pytest.mark.parametrize(
    "talk, codes",
    [
        (drip, {"too-slow"}),
        (flood, {"too-long"}),
        (headers, {"not-http"}),
        (prelude, {"too-slow"}),
        (garbage, {"not-http"}),
        (cut, {"not-http"}),
        (two_lengths, {"not-http"}),
        (lambda connection: connection.recv(1), {"unreachable", "not-http"}),
    ],
)
def test_one_deadline_holds_for_the_whole_exchange(
    talk: Callable[[socket.socket], None], codes: set[str]
) -> None:
    """Witnesses: slow, huge or garbage, whoever answers costs a second and 16 KiB at most."""
    with listening(talk) as url:
        begun = time.monotonic()
        with pytest.raises(Unanswered) as unanswered:
            post(Address.parse(url), b"body", "text/plain", seconds=1.0, most=16 << 10)
        assert unanswered.value.code in codes
        assert time.monotonic() - begun < 3


def test_nobody_there_is_unreachable() -> None:
    """Witnesses: a closed port is told at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unanswered, match="unreachable"):
        post(Address.parse(f"http://127.0.0.1:{port}"), b"", "text/plain", seconds=1, most=1)


def test_tls_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Witnesses: who cannot show a certificate that the machine trusts is not talked to."""
    root = certified("root")
    server = certified("localhost", root, ExtendedKeyUsageOID.SERVER_AUTH)
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(server.pem + root.pem + key)
    (tmp_path / "root.pem").write_bytes(root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with listening(talk) as url:
        named = url.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(Unanswered, match="tls"):
            post(Address.parse(named), b"", "text/plain", seconds=5, most=10)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        assert post(Address.parse(named), b"", "text/plain", seconds=5, most=10).body == b"hi"
        numbered = url.replace("http://", "https://")  # the certificate is for another name
        with pytest.raises(Unanswered, match="tls"):
            post(Address.parse(numbered), b"", "text/plain", seconds=5, most=10)


# --- What is configured ---------------------------------------------------------------------


def test_witnesses_are_pairs_of_key_and_url(local: LocalWitness) -> None:
    """Witnesses: one setting, separated by white space, lines or not."""
    other = LocalWitness(local.memory, {}, "witness.example/w2")
    text = f"{local.vkey} https://witness.example/x/\n\n  {other.vkey}\n http://127.0.0.1:9\n"
    witnesses = witnesses_of(text)
    assert [each.name for each in witnesses] == [local.name, other.name]
    below = [each.submission.below("add-checkpoint") for each in witnesses]
    assert [each.url for each in below] == [
        "https://witness.example/x/add-checkpoint",
        "http://127.0.0.1:9/add-checkpoint",
    ]
    assert [(each.host, each.port, each.secure) for each in below] == [
        ("witness.example", 443, True),
        ("127.0.0.1", 9, False),
    ]
    assert witnesses_of(" ") == ()


def test_witnesses_that_cannot_be_used_are_named(local: LocalWitness) -> None:
    """Witnesses: a wrong setting stops the start, says which witness, and repeats no secret."""
    wrong = {
        f"{local.vkey}": "a verifier key and a URL for each",
        f"{local.vkey[:-4]} https://w.example": "verifier key of witness 1",
        f"{SIGNER.verifier} https://w.example": "algorithm 4",
        f"{local.vkey} https://a {local.vkey} https://b": "witness 2 has the name of another",
        f"{local.vkey} http://w.example": "must begin with https",
        f"{local.vkey} https://name:hunter2@w.example": "neither a password",
        f"{local.vkey} https://w.example/?key=hunter2": "must not hold a query",
        f"{local.vkey} ftp://w.example": "no http or https URL",
        f"{local.vkey} https://w.example:99999": "no valid URL",
        f"{local.vkey} https://": "no http or https URL",
    }
    for text, why in wrong.items():
        with pytest.raises(WitnessesUnusable, match=why) as error:
            witnesses_of(text)
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("url", ["https://a\tb/", "https://ä.example/", "https://a/\x00", "//a"])
def test_an_address_is_plain_text(url: str) -> None:
    """Witnesses: nothing in a URL can end a line of the request."""
    with pytest.raises(AddressUnusable):
        Address.parse(url)


def test_a_prefix_is_kept_as_it_is() -> None:
    """Witnesses: what is asked is the prefix and the name of the call, and nothing more."""
    address = Address.parse("https://[::1]:8443/a%20b", plain=False)
    assert (address.authority, address.target) == ("[::1]:8443", "/a%20b")
    assert address.below("x").target == "/a%20b/x"
    assert replace(address, port=443).authority == "[::1]"
    assert re.fullmatch(r"https://.*/x", address.below("x").url)
