"""`rapport` as a process that is killed half-way; see test_erasure_cut_short.py.

It is told a function by file and name, and a number of calls: from the moment at which an erasure
begins, it kills itself (SIGKILL: nothing is closed, nothing is flushed) at that call, counted from
where the function is entered. So any point of the way can be the last one.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any

from api.cli import main

BEGINS = ("api/erasing.py", "carry_out")


class Killed:
    """Counts calls, and dies."""

    def __init__(self, file: str, function: str, calls: int) -> None:
        self._awaited = [BEGINS, (file, function)]
        self._calls = calls

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        if self._awaited:
            file, function = self._awaited[0]
            code = frame.f_code
            if code.co_name == function and code.co_filename.endswith(file):
                self._awaited.pop(0)
        elif self._calls:
            self._calls -= 1
        else:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    file, function, calls, *arguments = sys.argv[1:]
    sys.argv[1:] = arguments
    sys.setprofile(Killed(file, function, int(calls)))
    main()
