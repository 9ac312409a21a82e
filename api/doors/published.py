"""The log as outsiders read it: tiles and checkpoints for whoever knows its name, and nothing of it
where that is not wanted; entries and proofs for those whom the table names."""

import hmac
from typing import Annotated, TypeVar

from fastapi import Depends, HTTPException

from api.doors.house import Entrance, Published, TheHouse, Who
from api.doors.visit import Purpose, Visit, enter

T = TypeVar("T")


def served(house: TheHouse, log_id: str) -> Published:
    """The log, where it is served and called so; else the answer to a path that leads nowhere."""
    known = hmac.compare_digest(log_id.encode(), house.published.log_id.encode())
    if not (house.serves_log and known):
        raise HTTPException(404)
    return house.published


Served = Annotated[Published, Depends(served)]


def there(found: T | None) -> T:
    """What was found; where there is no such thing in the log, 404."""
    if found is None:
        raise HTTPException(404)
    return found


class ReadsBundle(Entrance):
    """Reads entries of a log that is served; each bundle is a reading, and in the record."""

    def __call__(self, house: TheHouse, who: Who, purpose: Purpose = None) -> Visit:
        return enter(house, who, self.door, purpose=purpose)
