"""One part of a rebuild: folded, held against what is read so far, and written beside it.

A row that is read so far has to say what the fold tells, to the last byte, whatever block it is
in. Where all of them do, nothing need be read again to compare both builds: the digest's lines are
those of what was folded. Else both builds of the part are read row by row.
"""

from collections.abc import Iterable

from infra.view_digests import Line, line
from infra.view_rows import Block, NewRows, Unsealable
from infra.view_writing import Build, Writer

_BLOCKS_AT_ONCE = 100


class PartWriter(Writer):
    """Writes one part of a build."""

    def __init__(
        self,
        build: Build,
        position: int,
        *,
        empty: bool,
        read: Build | None,
        past: str,
        upto: str,
    ) -> None:
        """`read`: what is read so far, where the part is to be compared with it."""
        super().__init__(build, position, empty=empty)
        self._read = read if empty else None
        self._past, self._upto = past, upto
        self.lines: list[Line] | None = None
        """The part's lines of the digest, if it was found to be the same."""

    def write(self, changes: Iterable[NewRows]) -> None:
        """Writes the whole part: its streams by name."""
        if self._read is None:
            super().write(changes)
            return
        stored = self._read.spelt_of(self._past, self._upto)
        alike, lines = True, list[Line]()
        some, others = list[Block](), list[NewRows]()
        for change in changes:
            try:
                blocks = self.build.seals.blocks(self.build.table, change)
            except Unsealable:
                blocks, alike = [], False
                others.append(change)
            if change.parked is not None:
                others.append(change)
            for block in blocks:
                for row in block.rows:
                    alike = alike and next(stored, None) == (block.stream, row)
                    if alike:
                        lines.append(line(block.stream, row))
            some += blocks
            if len(some) >= _BLOCKS_AT_ONCE:
                self._append(some)
                some = []
        self._append(some)
        super().write(others)
        if alike and next(stored, None) is None:
            self.lines = lines

    def _append(self, blocks: Iterable[Block]) -> None:
        rows = self.build.packed(blocks)
        if rows:
            inserting = self.build.insertion(self.build.conn, self.build.table)
            inserting.put(self.build.conn, inserting.packed(rows))
