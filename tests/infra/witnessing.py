"""A witness, written after c2sp.org/tlog-witness alone: it shares no code with the product.

It remembers in a file how far each log was, checks signatures and consistency proofs by code of
its own (RFC 6962, section 2.1.2, by recursion), and cosigns over real HTTP.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.infra.outside import Asked, Outsider, Reply, serving


class ProofWrong(Exception):
    """The lines do not prove what they should."""


class LocalWitness:
    """One witness and its memory. `logs` maps an origin to the log's Ed25519 public key."""

    def __init__(self, memory: Path, logs: dict[str, bytes], name: str = "witness.example/w1"):
        self.name = name
        self.logs = logs
        self.memory = memory
        self.ahead = 0
        """Seconds that its clock is ahead."""
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes_raw()
        self._id = hashlib.sha256(name.encode() + b"\n\x04" + public).digest()[:4]
        self.vkey = f"{name}+{self._id.hex()}+{base64.b64encode(bytes([4]) + public).decode()}"

    def known(self, origin: str) -> tuple[int, str]:
        """Size and root (base64) of the last checkpoint it cosigned."""
        if not self.memory.exists():
            return 0, ""
        size, root = json.loads(self.memory.read_text()).get(origin, (0, ""))
        return int(size), str(root)

    def answer(self, asked: Asked) -> Reply:
        """What the specification has it answer."""
        assert asked.path.endswith("/add-checkpoint")
        head, _, note = asked.body.decode().partition("\n\n")
        text, _, signatures = note.rpartition("\n\n")
        old_line, *proof = head.split("\n")
        origin, size_line, root, *_ = text.split("\n")
        word, old = old_line.split(" ")
        size = int(size_line)
        if word != "old" or len(proof) > 63 or int(old) > size:
            return Reply(400)
        if origin not in self.logs:
            return Reply(404)
        if not self._signed(origin, text + "\n", signatures):
            return Reply(403)
        known, known_root = self.known(origin)
        if int(old) != known:
            return Reply(409, f"{known}\n".encode(), "text/x.tlog.size")
        if known == size and known_root != root:
            return Reply(409)
        try:
            hashes = [base64.b64decode(line, validate=True) for line in proof]
            require_consistent(known, known_root, size, root, hashes)
        except ProofWrong:
            return Reply(422)
        remembered = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        # Whole or not there: a test may look while this is written.
        written = self.memory.with_suffix(".new")
        written.write_text(json.dumps(remembered | {origin: (size, root)}))
        written.replace(self.memory)
        return Reply(200, self.cosignature(text + "\n").encode())

    def cosignature(self, text: str) -> str:
        """The signature line over a checkpoint's text."""
        at = int(time.time()) + self.ahead
        signed = self._key.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        encoded = base64.b64encode(self._id + at.to_bytes(8, "big") + signed).decode()
        return f"\N{EM DASH} {self.name} {encoded}\n"

    def _signed(self, origin: str, text: str, signatures: str) -> bool:
        public = self.logs[origin]
        key_id = hashlib.sha256(origin.encode() + b"\n\x01" + public).digest()[:4]
        for line in signatures.splitlines():
            _, name, encoded = line.split(" ")
            said = base64.b64decode(encoded)
            if name == origin and said[:4] == key_id:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(said[4:], text.encode())
                except InvalidSignature:
                    return False
                return True
        return False


def require_consistent(
    old: int, old_root: str, new: int, new_root: str, proof: list[bytes]
) -> None:
    """Passes if the proof is exactly that of RFC 6962, section 2.1.2, between the two roots."""
    if old == 0:
        if proof:
            raise ProofWrong
        return
    roots = base64.b64decode(old_root), base64.b64decode(new_root)
    rest = list(proof)
    if _roots(old, new, True, rest, roots[0]) != roots or rest:
        raise ProofWrong


def _roots(old: int, new: int, whole: bool, rest: list[bytes], known: bytes) -> tuple[bytes, bytes]:
    """SUBPROOF(m, D[n], b) read backwards: the roots of the first `old` and of all `new` leaves.

    `whole`: the old tree begins where this part does, and is this part alone if it is complete.
    """
    if old == new:
        root = known if whole else _next(rest)
        return root, root
    split = 1
    while split * 2 < new:
        split *= 2
    if old <= split:
        left = _roots(old, split, whole, rest, known)
        return left[0], _node(left[1], _next(rest))
    right = _roots(old - split, new - split, False, rest, known)
    left_root = _next(rest)
    return _node(left_root, right[0]), _node(left_root, right[1])


def _next(rest: list[bytes]) -> bytes:
    if not rest or len(rest[0]) != 32:
        raise ProofWrong
    return rest.pop(0)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@contextmanager
def witnessing(witness: LocalWitness) -> Iterator[Outsider]:
    """The witness behind HTTP."""
    with serving(witness.answer) as outsider:
        yield outsider
