"""Ruptures: marked, repaired, seen as resolved or left open; possible ones dismissed."""

from api.routes.command import accept, concept
from domain.possible_rupture import DismissPossibleRupture
from domain.rupture import AttemptRepair, LeaveRuptureOpen, MarkRupture, ResolveRupture

router = concept("ruptures")
accept(router, MarkRupture, AttemptRepair, ResolveRupture, LeaveRuptureOpen, DismissPossibleRupture)
