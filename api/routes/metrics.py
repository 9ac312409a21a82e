"""How the service is, in numbers, for Prometheus: sizes, lags and counts, never an id or content.

They show how much happens in the clinic, so they are for those whom the table of doors names.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.doors import Admits, House, TheHouse
from api.doors.vouching import Vouching

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    dependencies=[Depends(Admits("metrics"))],
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus text format 0.0.4",
        }
    },
)
def metrics(house: TheHouse) -> Response:
    """Log, checkpoints, witnesses, timestamps, alarms, views, and this process."""
    registry = CollectorRegistry()
    registry.register(_Measured(house))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Measured:
    """What is measured, when it is asked for."""

    def __init__(self, house: House) -> None:
        self._house = house

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: nothing is measured before it is asked for."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        head, views = self._house.log_status(), self._house.view_positions()
        acknowledged = head.acknowledged[0] if head.acknowledged else 0
        yield _gauge("log_entries", "Entries in the log.", head.size)
        yield _gauge("log_acknowledged_entries", "Entries acknowledged to anybody.", acknowledged)
        yield _gauges("view_entries", "Entries that a view was led through.", "view", views)
        yield from _vouched(self._house.vouching())


def _vouched(now: Vouching) -> Iterator[Metric]:
    yield _gauge("checkpoint_entries", "Entries under the last checkpoint.", now.size)
    yield _gauge("checkpoint_signed_seconds", "When it was signed.", _seconds(now.signed_at))
    yield _gauges(
        "witness_entries",
        "Entries under a witness's last cosignature.",
        "witness",
        {each.name: each.size for each in now.witnesses},
    )
    yield _gauges(
        "witness_cosigned_seconds",
        "When a witness cosigned last.",
        "witness",
        {each.name: _seconds(each.at) for each in now.witnesses},
    )
    yield _gauges(
        "witness_failures",
        "Failures in a row of asking a witness.",
        "witness",
        {each.name: each.failures for each in now.witnesses},
    )
    if now.authority is not None:
        by = now.authority
        yield _gauge("timestamp_entries", "Entries under the last timestamp.", by.size)
        yield _gauge("timestamp_stamped_seconds", "The time that it tells.", _seconds(by.at))
        yield _gauge("timestamp_failures", "Failures in a row of asking for one.", by.failures)
    yield _gauges(
        "receipt_entries",
        "Entries under the last receipt that a sink was handed.",
        "sink",
        {str(number): each.size for number, each in enumerate(now.sinks, start=1)},
    )
    yield _gauges(
        "receipt_failures",
        "Failures in a row of handing one out.",
        "sink",
        {str(number): each.failures for number, each in enumerate(now.sinks, start=1)},
    )
    yield _gauge("alarms", "Alarms that stand: what a rollback looks like.", len(now.alarms))


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"rapport_{name}", says, value=value)


def _gauges(name: str, says: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """One gauge for each label; without any, its name alone."""
    family = GaugeMetricFamily(f"rapport_{name}", says, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family


def _seconds(at: datetime | None) -> float:
    """Since 1970; 0 where it never was."""
    return at.timestamp() if at else 0.0
