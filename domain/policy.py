"""Policy: what a clinic may set for itself."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """What a clinic may set for itself."""

    late_after: timedelta = timedelta(hours=24)
    clock_tolerance: timedelta = timedelta(seconds=60)
    amend_within: timedelta = timedelta(days=60)
    """In which time a request for amendment is acted on (45 CFR 164.526(b)(2))."""
    amend_extension: timedelta = timedelta(days=30)
    break_glass: timedelta = timedelta(hours=1)
    """For how long, at most, an emergency opens a record."""
    review_within: timedelta = timedelta(days=3)
    """In which time such an access is reviewed."""
    emergency_review: timedelta = timedelta(days=30)
    """In which time, at the latest, a session that was held without consent is reviewed."""
    retention_years: int = 6
    """For how long a record is kept after its last entry (45 CFR 164.316(b)(2)(i))."""
    majority_age: int = 18
