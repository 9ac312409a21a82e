"""Whether this process lives, and whether it can serve."""

from fastapi import APIRouter, Response

from api.doors import Check, TheHouse
from domain.event import Model

router = APIRouter(prefix="/health", tags=["health"])


class Live(Model):
    status: str


class CheckDocument(Model):
    name: str
    passed: bool
    detail: str

    @classmethod
    def of(cls, check: Check) -> "CheckDocument":
        return cls(name=check.name, passed=check.passed, detail=check.detail)


class Ready(Model):
    status: str
    """`ready`, or `not ready` with status 503."""
    checks: list[CheckDocument]


@router.get("/live")
def live() -> Live:
    """The process answers."""
    return Live(status="alive")


@router.get("/ready", responses={503: {"model": Ready, "description": "Not ready"}})
def ready(house: TheHouse, response: Response) -> Ready:
    """Database, migrations, acknowledged head and views."""
    checks = list(house.readiness())
    passed = all(check.passed for check in checks)
    response.status_code = {True: 200, False: 503}[passed]
    return Ready(
        status={True: "ready", False: "not ready"}[passed],
        checks=[CheckDocument.of(check) for check in checks],
    )
