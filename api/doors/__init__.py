"""What a route or a page may ask for. Here everybody is recognised, let in, and noted.

Two ways lead in: a `Desk` takes a command, a `Visit` shows a part of the record.
"""

from api.doors.desk import Desk, HandsIn, ShowsReceipt
from api.doors.house import (
    SESSION_COOKIE,
    Admits,
    Check,
    Commitment,
    Entrance,
    House,
    Log,
    LogStatus,
    Patience,
    Persona,
    TheHouse,
    Who,
    house_of,
    require_same_origin,
)
from api.doors.visit import (
    LONGEST_WAIT,
    WITHHELD,
    Copies,
    Page,
    Reads,
    ReadsAsOf,
    ReadsClinic,
    ReadsEntries,
    ReadsList,
    Visit,
    Withheld,
    enter,
)

__all__ = [
    "LONGEST_WAIT",
    "SESSION_COOKIE",
    "WITHHELD",
    "Admits",
    "Check",
    "Commitment",
    "Copies",
    "Desk",
    "Entrance",
    "HandsIn",
    "House",
    "Log",
    "LogStatus",
    "Page",
    "Patience",
    "Persona",
    "Reads",
    "ReadsAsOf",
    "ReadsClinic",
    "ReadsEntries",
    "ReadsList",
    "ShowsReceipt",
    "TheHouse",
    "Visit",
    "Who",
    "Withheld",
    "enter",
    "house_of",
    "require_same_origin",
]
