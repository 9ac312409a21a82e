"""What is sealed without a place gets the bytes that it would have had there."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from infra.log_rows import packed_entry
from infra.mapper import Written
from infra.placing import placed, unplaced
from infra.sealing import Envelope, Sealed, leaf_input

POSITIONS = st.integers(1, 2**53 - 1)
TEXTS = st.text(min_size=1, max_size=30) | st.just('","position":7,"')


@given(
    decided_at=POSITIONS, placed_at=POSITIONS, stream=TEXTS, behalf=st.none() | st.just(UUID(int=9))
)
def test_an_entry_that_gets_another_place_has_the_bytes_of_that_place(
    decided_at: int, placed_at: int, stream: str, behalf: UUID | None
) -> None:
    """Entry format: the leaf, and the row, are those that
    `leaf_input` and `packed_entry` give at the place where it stands in the end."""
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    envelope = Envelope(
        clinic=UUID(int=1), stream=stream, stream_version=3, topic="a.topic", schema_version=1,
        occurred_at=at, actor=UUID(int=2), on_behalf_of=behalf, source="import",
        command_id=UUID(int=4), command_index=0, key_id=UUID(int=5), position=decided_at,
        recorded_at=at,
    )  # fmt: skip
    sealed = Sealed(b"ciphertext", b"c" * 32)

    def stored(position: int) -> tuple[bytes, bytes]:
        there = envelope._replace(position=position)
        leaf = leaf_input(there, sealed)
        return packed_entry(there, Written(*sealed, leaf)), leaf

    apart = unplaced(decided_at, *stored(decided_at))
    assert placed(placed_at, apart) == stored(placed_at)
