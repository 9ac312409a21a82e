"""`rapport-verify` at a terminal: somebody who stops reading, or stops it, sees no traceback."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "tests" / "data" / "vectors" / "bundle-1.zip"
COMMAND = [sys.executable, "-m", "api.verifier.command"]


@pytest.mark.parametrize("format_", ["text", "json"])
def test_whoever_reads_may_stop(format_: str) -> None:
    """No traceback reaches a user; the status still says what was found."""
    process = subprocess.Popen(
        [*COMMAND, BUNDLE, "--format", format_],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0
    process.stderr.close()


def test_it_can_be_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends it, without a word."""
    waits = tmp_path / "waits.zip"
    subprocess.run(["mkfifo", waits], check=True)
    process = subprocess.Popen([*COMMAND, waits], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with waits.open("wb"):  # opens once it reads: it is past its imports then
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
