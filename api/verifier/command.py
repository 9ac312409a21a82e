"""`rapport-verify`: the command."""

import argparse
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from cryptography import x509

from api.verifier import checks, outside, telling
from api.verifier.checks import Bundle, Verdict
from infra import bundle
from infra.bundle import BundleBroken
from infra.checkpoint import COSIGNATURE, NoteBroken, VerifierKey

_ABOUT = """\
Check an evidence bundle of a Rapport record: signatures, proofs, contents, completeness, views.

It needs nothing but the bundle. It says what is proven, what is not, and the first thing that does
not fit. What you name to check against (a key, a witness, timestamp roots, a log) has to be there.
"""
_STATUS = """\
exit status: 0 everything fits, 1 something does not, 2 used wrongly, 130 interrupted
examples:
  rapport-verify case.zip
  rapport-verify case.zip --key rapport-record/log/0011…+aabbccdd+AQID… --format json
  rapport-verify case.zip --log exported-log/
"""


class Status(IntEnum):
    """What the exit status says."""

    FITS = 0
    DOES_NOT_FIT = 1
    USAGE = 2
    INTERRUPTED = 130


def verified(
    data: bytes,
    *,
    keys: Sequence[VerifierKey] = (),
    witnesses: Sequence[VerifierKey] = (),
    roots: Sequence[x509.Certificate] | None = None,
    log: Path | None = None,
) -> Verdict:
    """What the bundle shows; raises BundleBroken, or Unusable for what was given beside it."""
    opened = Bundle(data)
    manifest = opened.manifest
    verdict = Verdict(manifest, checks.signed_checkpoint(opened, keys))
    for position in (
        *(each.position for each in manifest.contents.entries),
        manifest.export.position,
    ):
        checks.require_logged(opened, verdict.checkpoint, position)
    entries = [checks.disclosed(opened, each) for each in manifest.contents.entries]
    checks.require_stream(opened, entries)
    checks.require_times(opened, entries)
    checks.require_keys(entries)
    made = checks.export_made(opened, entries)
    checks.tell_signer(verdict, keys)
    checks.tell_entries(verdict, entries, made)
    checks.tell_complete(verdict, entries)
    checks.replay(opened, entries, verdict)
    heads = outside.earlier_heads(opened, verdict)
    outside.require_witnesses(heads, witnesses, verdict)
    outside.require_timestamps(opened, heads, roots, verdict)
    if log is not None:
        outside.require_whole_log(log, entries, verdict)
    return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks the bundle that is named; returns the exit status."""
    asked = _parser().parse_args(arguments)
    name = asked.bundle.name
    try:
        keys = [_key(text) for text in asked.key]
        witnesses = [_key(text, COSIGNATURE) for text in asked.witness]
        roots = None if asked.timestamp_roots is None else _roots(asked.timestamp_roots)
        outcome: Verdict | BundleBroken = verified(
            bundle.read(asked.bundle), keys=keys, witnesses=witnesses, roots=roots, log=asked.log
        )
    except BundleBroken as broken:
        outcome = broken
    except OSError as error:
        return _unusable(f"{error.filename} cannot be read: {error.strerror}.")
    except outside.Unusable as error:
        return _unusable(str(error))
    except Exception:  # whatever it is: nobody is shown a traceback, and nothing is proven
        outcome = BundleBroken("unreadable")
    told = telling.as_json if asked.format == "json" else telling.as_text
    try:
        print(told(name, outcome), flush=True)  # noqa: T201  the answer
    except BrokenPipeError:  # whoever read it had enough; the status still says what was found
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Status.DOES_NOT_FIT if isinstance(outcome, BundleBroken) else Status.FITS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rapport-verify",
        description=_ABOUT,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path, help="the bundle, a zip file")
    parser.add_argument(
        "--key", action="append", default=[], metavar="VKEY", help="the log's key, as you know it"
    )
    parser.add_argument(
        "--witness", action="append", default=[], metavar="VKEY", help="a witness that you trust"
    )
    parser.add_argument(
        "--timestamp-roots", type=Path, metavar="PEM", help="roots of a timestamp authority"
    )
    parser.add_argument("--log", type=Path, metavar="DIR", help="the whole log, as exported")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser


def _key(text: str, algorithm: int | None = None) -> VerifierKey:
    try:
        key = VerifierKey.parse(text)
    except NoteBroken:
        raise outside.Unusable(f"This is no verifier key: {text}") from None
    if algorithm is not None and key.algorithm != algorithm:
        raise outside.Unusable(f"This is no witness's key: {text}")
    return key


def _roots(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        raise outside.Unusable(f"{path} holds no certificates in PEM form.") from None


def _unusable(says: str) -> int:
    print(f"rapport-verify: {says}", file=sys.stderr)  # noqa: T201  to whom it may concern
    return Status.USAGE


def run() -> None:
    """The entry point."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(Status.INTERRUPTED)


if __name__ == "__main__":
    run()
