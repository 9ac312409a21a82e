"""`rapport log witnesses`: how far others vouch for the log, and alarms that an operator clears."""

from datetime import datetime
from typing import Annotated, Any

import typer

from api.cli.terminal import Exit, Format, FormatOption, say, settings_of_record, show
from api.composition import Service, open_service
from api.opening import operator_id
from infra.checkpoint_store import CheckpointStore
from infra.notary import Plan, called
from infra.vouching import Voucher, Vouching

ClearOption = Annotated[
    str | None,
    typer.Option(
        "--clear-alarm",
        metavar="NAME",
        help="Clear the alarms of this witness, or of the log itself (`log`), first.",
    ),
]


def witnesses(clear_alarm: ClearOption = None, format_: FormatOption = Format.TEXT) -> None:
    """Show how far the log is signed, cosigned and timestamped, and every alarm that stands.

    An alarm says that the log was rolled back or rewritten, or that a witness is wrong
    (docs/operate/witnesses.md). A witness with an alarm is not asked, and where the log has one
    itself nothing is signed, until somebody who knows why clears it. Cleared alarms are kept, with
    the id of whoever cleared them. The exit status is 1 while an alarm stands.

    \b
    Examples:
      rapport log witnesses
      rapport log witnesses --format json
      rapport log witnesses --clear-alarm witness.example/w1
    """
    loaded = settings_of_record()
    Plan.of(loaded)  # what cannot be used is told before anything is opened
    with open_service(loaded, progress=say) as service:
        if clear_alarm is not None:
            _clear(service, clear_alarm)
        now = service.vouching()
        size = service.log.head_size()
    show(format_, _document(now, size), lambda: "\n".join(_lines(now, size)))
    if now.alarms:
        raise typer.Exit(Exit.FOUND)


def _clear(service: Service, name: str) -> None:
    store = CheckpointStore(service.log.datastore)
    standing = [alarm for alarm in store.alarms() if called(alarm.source) == name]
    if not standing:
        say(f"No alarm of {name} stands.")
    for alarm in standing:
        store.clear(alarm.id, operator_id(service.log), service.clock())


def _lines(now: Vouching, size: int) -> list[str]:
    vouchers = [*now.witnesses, *([now.authority] if now.authority else [])]
    return [
        f"{'log':<32}{size:>10}  {now.origin}",
        f"{'signed':<32}{now.size:>10}  {_time(now.signed_at)}",
        *(f"{each.name:<32}{each.size:>10}  {_time(each.at)}{_failing(each)}" for each in vouchers),
        *([] if now.witnesses else ["No witness is configured (RAPPORT_WITNESSES)."]),
        *(f"ALARM {_time(alarm.raised_at)} {alarm.says}" for alarm in now.alarms),
    ]


def _failing(voucher: Voucher) -> str:
    return f"  {voucher.failure}, {voucher.failures} in a row" if voucher.failures else ""


def _document(now: Vouching, size: int) -> dict[str, Any]:
    return {
        "origin": now.origin,
        "key": now.verifier,
        "entries": size,
        "signed": {"entries": now.size, "at": _time(now.signed_at)},
        "witnesses": [_voucher(each) for each in now.witnesses],
        "timestamp": _voucher(now.authority) if now.authority else None,
        "alarms": [
            {
                "source": alarm.source,
                "code": alarm.code,
                "says": alarm.says,
                "raised_at": _time(alarm.raised_at),
            }
            for alarm in now.alarms
        ],
    }


def _voucher(voucher: Voucher) -> dict[str, Any]:
    return {
        "name": voucher.name,
        "entries": voucher.size,
        "at": _time(voucher.at),
        "failures": voucher.failures,
        "failure": voucher.failure,
    }


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else "never"
