"""What is asked of those who verify proofs, notes and roots: what holds, and what nearly does."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

from infra import checkpoint as real
from infra.merkle import Frontier, leaf_hash, node_hash, root_of
from infra.proof import TlogProof, consistency_proof, inclusion_proof
from tests.tamper.mutation import outcome

LEAVES = [leaf_hash(bytes([number])) for number in range(10)]
ROOTS = [root_of(LEAVES[:size]) for size in range(len(LEAVES) + 1)]
_ANOTHER = leaf_hash(b"another")
_MORE = [leaf_hash(bytes([number])) for number in range(40)]


class _Hashes:
    def __init__(self, leaves: Sequence[bytes] = LEAVES) -> None:
        self._leaves = leaves

    def subtree(self, level: int, index: int) -> bytes:
        return root_of(self._leaves[index << level : (index + 1) << level])


def _bent(path: tuple[bytes, ...], root: bytes) -> Iterator[tuple[bytes, ...]]:
    """The path, and what it is not."""
    yield path
    yield (*path, root)
    yield (root, *path)
    yield path[:-1] if path else (_ANOTHER,)
    yield path[1:]
    yield path[::-1]
    yield tuple(map(leaf_hash, path))


def inclusion(module: Any) -> list[str]:
    """Every leaf of small trees, claimed for every place, size and root near its own."""
    answers = []
    for size in range(1, len(LEAVES)):
        for index in range(size):
            path = inclusion_proof(index, size, _Hashes())
            for at, of in product(range(-1, size + 2), range(size + 2)):
                claim = (LEAVES[index], at, of, path, ROOTS[size])
                answers.append(outcome(partial(module.verify_inclusion, *claim)))
            for bent, leaf in product(_bent(path, ROOTS[size]), (LEAVES[index], _ANOTHER)):
                for root in (ROOTS[size], _ANOTHER, leaf):
                    claim = (leaf, index, size, bent, root)
                    answers.append(outcome(partial(module.verify_inclusion, *claim)))
    return answers


def consistency(module: Any) -> list[str]:
    """Every pair of small trees, with the roots and paths of others too."""
    answers = []
    for old, new in product(range(-1, len(LEAVES)), range(-1, len(LEAVES))):
        path = consistency_proof(old, new, _Hashes()) if 0 <= old <= new else ()
        roots = ROOTS[max(old, 0)], ROOTS[max(new, 0)]
        for bent in _bent(path, roots[1]):
            for older, newer in product((*roots, _ANOTHER), (*roots, _ANOTHER)):
                claim = (old, older, new, newer, bent)
                answers.append(outcome(partial(module.verify_consistency, *claim)))
        # Roots to which a path would lead that goes on above the root.
        above = [node_hash(_ANOTHER, root) for root in roots]
        claim = (old, above[0], new, above[1], (*path, _ANOTHER))
        answers.append(outcome(partial(module.verify_consistency, *claim)))
    return answers


def consistency_of_larger(module: Any) -> list[str]:
    """True paths between trees of up to six levels: turns that smaller ones do not take."""
    roots = [root_of(_MORE[:size]) for size in range(len(_MORE) + 1)]
    return [
        outcome(partial(module.verify_consistency, old, roots[old], new, roots[new], path))
        for old, new in product(range(1, len(_MORE)), repeat=2)
        if old < new and (path := consistency_proof(old, new, _Hashes(_MORE)))
    ]


def frontier(module: Any) -> list[str]:
    """Trees grown in two steps of every size, written down and read; and what is no frontier."""
    answers = [repr((module.leaf_hash(b"a"), module.node_hash(LEAVES[0], LEAVES[1])))]
    for one, other in product(range(10), range(10)):

        def grown(one: int = one, other: int = other) -> object:
            tree = module.Frontier().append(LEAVES[:one]).append(LEAVES[:other])
            again = module.Frontier.from_bytes(tree.to_bytes())
            return tree, tree.root(), tree.to_bytes(), again == tree

        answers.append(outcome(grown))
    for leaves in range(len(LEAVES) + 1):
        answers.append(outcome(partial(module.root_of, LEAVES[:leaves])))
    whole = Frontier().append(LEAVES[:7]).to_bytes()
    for end in range(len(whole) + 2):
        data = (whole + b"x")[:end]
        answers.append(outcome(partial(module.Frontier.from_bytes, data)))
    for size, hashes in ((-1, (LEAVES[0],)), (3, (LEAVES[0],)), (1, (b"short",)), (0, ())):
        answers.append(outcome(partial(module.Frontier, size, hashes)))
    return answers


# --- Written down ---------------------------------------------------------------------------

_SIGNER = real.NoteSigner("a.example/log", bytes(32))
_BODY = real.Checkpoint("a.example/log", 10, ROOTS[10]).body()
_NOTE = _SIGNER.sign(_BODY)


def _spoilt(text: str) -> Iterator[str]:
    """The text, each character of it left out, doubled or another; and lines that are."""
    yield text
    for at, character in enumerate(text):
        for instead in (
            "",
            2 * character,
            "\n",
            " ",
            "=",
            "A",
            "0",
            "٣",
            "\x00",
            "\x1f",
            "\ud800",
            "\udfff",
        ):
            yield text[:at] + instead + text[at + 1 :]
    lines = text.split("\n")
    for at in range(len(lines)):
        yield "\n".join(lines[:at] + lines[at + 1 :])
        yield "\n".join([*lines[:at], lines[at], *lines[at:]])


def proofs_in_writing(module: Any) -> list[str]:
    path = inclusion_proof(5, 10, _Hashes())
    longest, longer = (tuple(map(leaf_hash, [b""] * count)) for count in (64, 65))
    texts = [
        str(TlogProof(5, each, "note", extra))
        for each, extra in ((path[:1], b"x"), (path, None), (longest, None), (longer, None))
    ]
    short = (*_spoilt(texts[0]), *texts[1:], texts[1].replace("index 5", "index 12"))
    short += (texts[0].replace("index 5\n", ""), "c2sp.org/tlog-proof@v1\n\nnote")
    return [outcome(partial(module.TlogProof.parse, text)) for text in short]


def notes(module: Any) -> list[str]:
    key = module.VerifierKey.parse(str(_SIGNER.verifier))
    answers = [
        outcome(partial(module.Checkpoint.verified, text, key)) for text in _spoilt(str(_NOTE))
    ]
    for text in (*_spoilt(_BODY), _BODY + "more\n", _BODY + "more", "a\n1\nAAAA\n"):
        answers.append(outcome(partial(module.Checkpoint.parse, text)))
    for line in _spoilt(str(_NOTE.signatures[0])):
        answers.append(outcome(partial(module.Signature.parse, line)))
    for text in (*_spoilt("AAE="), "AAF="):
        answers.append(outcome(partial(module.base64, text)))
    elsewhere = str(_SIGNER.sign(_BODY.replace("a.example", "b.example")))
    answers.append(outcome(partial(module.Checkpoint.verified, elsewhere, key)))
    room = real.NOTE_LIMIT - len(str(_NOTE))
    for length in (room - 1, room, room + 1):
        text = str(_SIGNER.sign(_BODY + "x" * (length - 1) + "\n"))
        answers.append(outcome(partial(module.Checkpoint.verified, text, key)))
    return answers


def keys(module: Any) -> list[str]:
    witness = real.VerifierKey("a.example/witness", real.COSIGNATURE, _SIGNER.verifier.public)
    other = real.VerifierKey("a.example/other", 2, _SIGNER.verifier.public)
    texts = (*_spoilt(str(_SIGNER.verifier)), str(witness), str(other))
    answers = [outcome(partial(module.VerifierKey.parse, text)) for text in texts]
    note, key = module.SignedNote.parse(str(_NOTE)), module.VerifierKey.parse(str(witness))
    cosigned = note.with_signatures(*(_cosigned(module, key, time) for time in (7, 8)))
    for who, what in product((key, module.VerifierKey.parse(texts[0])), (note, cosigned)):
        answers.append(outcome(partial(what.verified_by, who)))
        answers.append(str(what))
    for time in (0, 2**40, 2**63, 2**64 - 1):
        late = _cosigned(module, key, time).signature
        answers.append(outcome(partial(key.verify, late, _BODY)))
        answers.append(outcome(partial(key.verify, late, _BODY + "x")))
    return answers


def _cosigned(module: Any, key: Any, time: int) -> Any:
    """As c2sp.org/tlog-cosignature says, by the same secret."""
    message = f"cosignature/v1\ntime {time}\n{_BODY}"
    (signed,) = _SIGNER.sign(message).signatures
    return module.Signature(key.name, key.key_id, time.to_bytes(8, "big") + signed.signature)
