"""Writer processes: of the product, and of the stock library."""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid4

from benchmarks.invented import InventedClinic, told
from benchmarks.stock import Stock, noted
from domain.records import Proposal, Records
from infra.acknowledged import AcknowledgedHead
from infra.event_store import ClinicLog
from infra.keyring import open_keyring

CALLERS = 2
"""Of each writer of ours."""
_AT_ONCE = 25


def processes(number: int) -> ProcessPoolExecutor:
    """Processes that have read the product's modules once for all, and have started."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(number, mp_context=context)
    list(pool.map(time.sleep, [0.05] * number))
    return pool


def write(
    dsn: str, clinic: UUID, home: str, cases: Sequence[int], seed: int, until: float
) -> list[int]:
    """One writer: whole relationships, a few commands at once by each of its callers; every
    position that a receipt named. It stops early at `until`, seconds since the epoch."""
    invented = InventedClinic(seed)
    with open_keyring(Path(home) / "keyring", first_use=False) as keyring:
        head = AcknowledgedHead(Path(home) / "heads", clinic)
        log = ClinicLog(dsn, clinic, keyring, head, pool_size=2)
        try:
            records = Records(log)
            made = [invented.case() for _ in cases]
            ready = [*list(invented.founding())[1:], *(one for before, _ in made for one in before)]
            positions = _recorded(records, ready)

            def record(caller: int) -> list[int]:
                found: list[int] = []
                for _, case in made[caller::CALLERS]:
                    proposals = case.whole()
                    while (some := list(islice(proposals, _AT_ONCE))) and time.time() < until:
                        found += _recorded(records, some)
                return found

            with ThreadPoolExecutor(CALLERS) as callers:
                return sum(callers.map(record, range(CALLERS)), positions)
        finally:
            log.close()


def _recorded(records: Records, proposals: Sequence[Proposal]) -> list[int]:
    receipts = told(records, proposals)
    return [entry.position for receipt in receipts for entry in receipt.entries]


def save(settings: dict[str, str], events: int) -> int:
    """One writer of the stock library."""
    application = Stock(env=settings)
    try:
        stream = uuid4()
        for version in range(1, events + 1):
            application.save(noted(stream, version))
        return events
    finally:
        application.close()
