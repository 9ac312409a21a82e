"""A verifier that differs in one place from ours says something else of what was tampered with.

By default every few of the mutants of `infra.verify` are tried, each in a moment, and all of the
others; with RAPPORT_MUTANTS=all, all of them.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from types import ModuleType
from typing import Any

import pytest

from infra import checkpoint, merkle, proof, verify
from infra.merkle import Frontier
from infra.verify import Trusted
from tests.infra.test_verify import CHANGED
from tests.tamper import questions
from tests.tamper.catalogue import CASES
from tests.tamper.conftest import Written
from tests.tamper.deeds import Deed, edited, many, sql
from tests.tamper.forger import Forger
from tests.tamper.mutants import Probe, Source
from tests.tamper.mutation import Jury, outcome
from tests.tamper.suspect import change

_EVERY = 1 if os.environ.get("RAPPORT_MUTANTS") == "all" else 12

EQUIVALENT = {
    "Frontier.append: True → False": "the pairs are of an even number of nodes, strict or not",
    "base64: True → False": "what else is decoded is not what it is written as again",
    "_Verification._due: left[0].size if left else 0 → left[0].size if left else 1": "where no "
    "trusted root is left, looking for one finds none",
    "_snapshot: conn.execute(f\"SET TRANSACTION SNAPSHOT '{same_as}'\".encode()) → pass": "nobody "
    "writes meanwhile; tests of the verifier do",
    "_snapshot: conn.execute('SET LOCAL enable_sort = off; SET LOCAL jit = off') → pass": "it is "
    "about how rows are found, not about what is found",
    "_Verification._entries: position > size → position >= size (2)": "where a position is not the "
    "next one and no other is there twice, it is further on",
}
"""Mutants that say the same of everything, and why."""


def unknown_survivors(jury: Jury, within: Sequence[str] = (), every: int = 1) -> list[str]:
    jury.try_all(jury.source.mutants(within, every))
    return [name for name in jury.survivors if name not in EQUIVALENT]


@pytest.mark.parametrize(
    "module,within,probes",
    [
        (merkle, (), [questions.frontier]),
        (
            proof,
            ("verify_", "TlogProof."),
            [
                questions.inclusion,
                questions.consistency,
                questions.consistency_of_larger,
                questions.proofs_in_writing,
            ],
        ),
        (
            checkpoint,
            ("VerifierKey.", "Signature.", "SignedNote.", "Checkpoint.", "base64", "_"),
            [questions.notes, questions.keys],
        ),
    ],
    ids=["merkle", "proof", "checkpoint"],
)
def test_a_mutant_is_told_by_what_it_says_of_proofs_and_notes(
    module: ModuleType, within: Sequence[str], probes: Sequence[Probe]
) -> None:
    """Tamper catalogue: no operator, constant or refusal of those who verify could be another."""
    assert unknown_survivors(Jury(Source.of(module), probes), within) == []


def kept(*places: tuple[int, int]) -> Deed:
    """The hashes over the first and the second four entries, under these names."""

    def deed(log: Forger) -> None:
        for over, (level, index) in enumerate(places):
            root = Frontier().append(log.leaves()[4 * over : 4 * over + 4]).root()
            insert = "INSERT INTO rapport.subtrees VALUES (%(clinic)s, %(l)s, %(i)s, %(root)s)"
            log.tamper(insert, l=level, i=index, root=root)

    return deed


_OTHER_HASH = change("subtrees", "hash = sha256(hash)", "index = 1")


def unescaped(column: str, to: str) -> Deed:
    """Another value of a column, written into the logged bytes as it is."""
    said = f"'\"{column}\":\"' || {column} || '\"'", f"'\"{column}\":\"' || {to} || '\"'"
    text = f"replace(convert_from(leaf_input, 'UTF8'), {said[0]}, {said[1]})"
    return sql(change("entries", f"{column} = {to}, leaf_input = {text}::bytea", "position = 5"))


DEEDS: dict[str, Deed] = {
    "a topic that JSON would escape": unescaped("topic", "topic || '\"'"),
    "a source that JSON would escape": unescaped("source", "source || '\"'"),
    "a stream that JSON would escape": unescaped("stream", "stream || '\"'"),
    "an offset that is none": unescaped("occurred_offset", "'+0:00'"),
    "nothing": sql(),
    "hashes kept over four": kept((1, 0), (1, 1)),
    "the second of them another": many(kept((1, 0), (1, 1)), sql(_OTHER_HASH)),
    "one that is not complete": kept((1, 2)),
    "one of a higher level": kept((2, 0)),
    "a commit and an entry behind it": many(
        sql(change("batches", "root = sha256(root)", "size = 6")), edited("actor", 8)
    ),
    "two commits": sql(change("batches", "root = sha256(root)", "size < 10")),
}
"""What the catalogue does not tell apart."""


def _deeds() -> Iterator[Deed]:
    yield from DEEDS.values()
    seen: set[tuple[str, ...]] = set()
    for _, case in CASES:
        found = tuple(case.found[check] for check in ("verify", "head", "receipts"))
        if found not in seen:
            seen.add(found)
            yield case.do
    for statements, _ in CHANGED.values():
        yield sql(*statements)


def _narrow(module: ModuleType) -> None:
    """Pages of three rows, hashes over four entries: a short log has some of both."""
    vars(module).update(_ROWS=3, _STEP=3, _WIDTH=4, _KEPT=2)


def _asked(log: Forger, module: Any, *, roots: Sequence[Trusted], head: Any) -> object:
    trusted = [module.Trusted(each.size, each.root, each.source) for each in roots]
    steps: list[tuple[int, int]] = []
    said = outcome(
        lambda: module.verify(
            log.reader,
            log.clinic,
            trusted=trusted,
            acknowledged=head,
            progress=lambda *step: steps.append(step),
        )
    )
    return said, steps


def _probes(written: Written) -> Iterator[Probe]:
    log, outside = written
    roots = [Trusted(size, log.tree(size).root(), f"root {size}") for size in (0, 3, 5, 6, 8)]
    for some, head in ((), None), (roots[1:4:2], None), (roots[::2], outside.head):
        yield partial(_asked, log, roots=some, head=head)


def subtrees_of_all_levels(module: Any) -> list[str]:
    """Hashes over 4, 16 and 64 of 70 entries: right ones, and each of them another's."""
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(70)]
    rows = sorted(
        (
            (level, index, merkle.root_of(leaves[index * 4**level : (index + 1) * 4**level]))
            for level in (1, 2, 3)
            for index in range(70 // 4**level)
        ),
        key=lambda row: ((row[1] + 1) * 4 ** row[0], row[0]),
    )

    def held(rows: Sequence[tuple[int, int, bytes]]) -> object:
        kept, tree = module.KeptSubtrees(iter(rows)), module.Tree()
        roots = []
        for leaf in leaves:
            tree.add(leaf)
            kept.check(tree)
            roots.append((tree.root(), tree.frontier()))
        kept.require_no_more()
        return roots

    spoilt = [(*rows[:at], (*row[:2], leaves[0]), *rows[at + 1 :]) for at, row in enumerate(rows)]
    some = (rows, rows[::2], rows[1::3], [], [(1, 17, leaves[0])], *spoilt)
    return [outcome(partial(held, each)) for each in some]


def texts_of_columns(module: Any) -> list[object]:
    """UUIDs, times, and what is written without escapes; never more kept than may be."""
    quoted, minutes, known = module._Quoted(), module._Minutes(), module._Known()
    uuids = (None, bytes(16), bytes(range(16)), bytes(16), bytes([255] * 16))
    times = (0, 999_999, 1_000_000, 59_999_999, 60_000_000, -1, 2**62, -(2**62))
    said = ("a.b", "c", "a b", 'a"', "")
    offsets = ("+00:00", "-05:30", "Z", "+0:00")
    asked: list[Callable[[], object]] = [partial(quoted.__getitem__, uuid) for uuid in uuids]
    asked += [partial(minutes.time, time) for time in times]
    asked += [partial(known.__getitem__, each) for each in product(said, said[:4], offsets)]
    return [(outcome(ask), len(quoted), len(minutes), len(known)) for ask in asked]


def test_a_mutant_of_the_verifier_is_told_by_the_catalogue(write: Callable[[], Written]) -> None:
    """Tamper catalogue: no operator, constant or finding of the verifier could be another."""
    probes: list[Probe] = []
    for deed in _deeds():
        log, outside = write()
        asked = list(_probes((log, outside)))
        deed(log)
        probes += asked
    probes += [subtrees_of_all_levels, texts_of_columns]
    assert unknown_survivors(Jury(Source.of(verify), probes, _narrow), every=_EVERY) == []
