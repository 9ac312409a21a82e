"""Values that every concept uses: texts that can be stored, and moments with their offset."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError


class Model(BaseModel):
    """A frozen value that knows all its fields; its errors never repeat what was sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


# Control characters other than tab, line feed and carriage return, and lone surrogates: no
# person writes them, PostgreSQL or RFC 8785 cannot carry some of them, and logs choke on others.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def _storable(text: str) -> str:
    if not text.isprintable() and _UNSTORABLE.search(text):
        raise PydanticCustomError(
            "unstorable_text", "The text holds a control character or a lone surrogate; remove it."
        )
    if not text.strip():
        raise PydanticCustomError("blank_text", "The text is blank; write something or leave out.")
    return text


_NOT_BLANK = Field(json_schema_extra={"pattern": r"\S"})

Text = Annotated[str, StringConstraints(max_length=20_000), AfterValidator(_storable), _NOT_BLANK]
"""Free text of at most 20,000 characters."""

Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(_storable), _NOT_BLANK]
"""A name or a short phrase of at most 200 characters."""

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_FARTHEST_OFFSET = timedelta(hours=14)
_STORED_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")


def _from_stored_form(value: Any) -> Any:
    """Reads `{"at": UTC, "offset": "+02:00"}`, the form a time has in stored content."""
    if isinstance(value, (datetime, str)):
        return value
    if isinstance(value, dict) and value.keys() == {"at", "offset"}:
        zone = _zone(str(value["offset"]))
        with suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(str(value["at"]))
            # Without a zone it would be read in this machine's own.
            if zone is not None and at.tzinfo is not None:
                return at.astimezone(zone)
    raise PydanticCustomError(
        "not_a_moment", "Give a date and time with its offset, as in 2026-03-01T14:00:00+01:00."
    )


@lru_cache(1024)
def _zone(offset: str) -> timezone | None:
    """The zone of an offset as it is stored; None where it is none."""
    sign = _STORED_OFFSET.fullmatch(offset)
    if sign is None:
        return None
    minutes = int(sign[2]) * 60 + int(sign[3])
    with suppress(ValueError):
        return timezone(timedelta(minutes=minutes if sign[1] == "+" else -minutes))
    return None


@lru_cache(1024)
def _is_whole(zone: timezone) -> bool:
    """Whether its offset is one of whole minutes, and of no more than any place on earth has."""
    offset = zone.utcoffset(None)
    return not offset % _MINUTE and abs(offset) <= _FARTHEST_OFFSET


def _within_the_calendar(value: Any, aware: ValidatorFunctionWrapHandler) -> datetime:
    moment = value if type(value) is datetime else _from_stored_form(value)
    # What was read once comes again, from a command into its events: it is aware as it is.
    if type(moment) is not datetime or type(moment.tzinfo) is not timezone:
        moment = aware(moment)
    if not EARLIEST <= moment <= _LATEST:
        raise PydanticCustomError("moment_out_of_range", "The year must lie within 1900 and 2200.")
    if type(moment.tzinfo) is not timezone:
        offset = moment.utcoffset()
        assert offset is not None, "AwareDatetime gives an offset"
        moment = moment.replace(tzinfo=timezone(offset))
    if not _is_whole(moment.tzinfo):
        raise PydanticCustomError(
            "offset_out_of_range", "An offset is whole minutes, 14 h at most."
        )
    return moment


Moment = Annotated[AwareDatetime, WrapValidator(_within_the_calendar)]
"""A point in time with the offset it was given in; compared in UTC."""
