"""Deciding without appending: what a dry run would be told."""

from collections.abc import Callable, Sequence
from uuid import UUID

from domain.event import Policy, Refusal
from domain.records import CommandIdReused, Proposal, Receipt
from infra.new_keys import Owner
from infra.pending import Pending
from infra.sealing import Mac
from infra.turns import Turn


class Rehearsal:
    """Decides commands one after the other, each over what the ones before it came to.

    Nothing is appended and no key is made; a dry run shows what an import would be refused for.
    """

    def __init__(
        self,
        pending: Pending,
        policy: Policy,
        settle_seen: Callable[[Sequence[Turn]], None],
        mac: Mac,
    ) -> None:
        """`settle_seen` answers what is in the record already; `mac`: of what proposals say."""
        self._pending = pending
        self._policy = policy
        self._settle_seen = settle_seen
        self._mac = mac

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Receipt | Refusal | None]:
        """For each proposal its earlier receipt, its refusal, or None: it would be recorded."""
        turn, pending = Turn(proposals), self._pending
        self._settle_seen([turn])
        for index, proposal in enumerate(proposals):
            again = pending.decided.get(proposal.command_id)
            if again is not None:
                if again.row.body_mac != self._mac(turn.bodies[index]):
                    turn.verdicts[index] = CommandIdReused(command_id=proposal.command_id)
            elif turn.verdicts[index] is None:
                try:
                    pending.decide(turn, index, self._policy, self._mac)
                except Refusal as refusal:
                    turn.verdicts[index] = refusal
        return turn.verdicts


def no_key(owner: Owner, unused: bool) -> UUID:
    """What stands for a key where nothing is sealed."""
    return UUID(int=0)
