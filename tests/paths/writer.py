"""A process that writes into relationships in many threads at once; see test_together.py.

It reads its task from standard input and answers with the receipts it was given.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from api.composition import open_service
from domain.alliance import RateAlliance
from domain.event import Refusal
from domain.goal import ProposeGoal
from domain.instrument import Perspective
from domain.records import Author, Receipt, Records
from infra.settings import load_settings


@dataclass(frozen=True)
class Task:
    """What to write where. `twice`: command ids that the other process sends, too."""

    relationship: UUID
    client: UUID
    threads: int
    ratings: int
    twice: tuple[UUID, ...]

    @classmethod
    def read(cls, text: str) -> "Task":
        task = json.loads(text)
        twice = tuple(map(UUID, task["twice"]))
        relationship, client = UUID(task["relationship"]), UUID(task["client"])
        return cls(relationship, client, task["threads"], task["ratings"], twice)


def rating(task: Task, number: int) -> RateAlliance:
    return RateAlliance(
        relationship=task.relationship,
        rating=uuid4(),
        instrument="SRS",
        perspective=Perspective.CLIENT,
        rater=task.client,
        answers=(str(number % 10), "9.1", "7", "8"),
    )


def goal(task: Task, command_id: UUID) -> ProposeGoal:
    """The same command in every process: its ids follow from the command's."""
    return ProposeGoal(
        relationship=task.relationship,
        goal=command_id,
        statement="One goal, however often it is sent.",
        by=task.client,
    )


def write(records: Records, task: Task) -> list[dict[str, Any]]:
    author = Author(task.client)
    receipts = []
    for number in range(task.ratings):
        receipts.append(records.record(rating(task, number), author))
        for command_id in task.twice[number :: task.ratings]:
            receipts.append(records.record(goal(task, command_id), author, command_id=command_id))
    return list(map(_told, receipts))


def _told(receipt: Receipt) -> dict[str, Any]:
    return {
        "command": str(receipt.command_id),
        "positions": [entry.position for entry in receipt.entries],
        "leaf_hashes": [entry.leaf_hash for entry in receipt.entries],
        "tree_size": receipt.tree_size,
        "root": receipt.root,
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    task = Task.read(sys.stdin.readline())
    with open_service(load_settings()) as service, ThreadPoolExecutor(task.threads) as threads:
        _say("ready")
        sys.stdin.readline()
        try:
            for receipts in threads.map(
                lambda _: write(service.records, task), range(task.threads)
            ):
                _say(json.dumps(receipts))
        except Refusal as refusal:
            sys.exit(str(refusal))


if __name__ == "__main__":
    main()
