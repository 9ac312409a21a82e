"""Rows as documents: what is written at once says what the contract's model would write."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api.doors.withholding import withhold
from api.routes.relationship import DossierDocument, dossier_shown, dossier_written
from api.routes.rows import document_of, plain, shown, written, written_rows
from domain.event import History, Model, Moment
from projections.dossier import VIEWS, dossier
from projections.view import View
from tests.domain.test_records import wild_records
from tests.kit import CONSENTED, Record, given, held

every_view = pytest.mark.parametrize("view", VIEWS.all(), ids=lambda view: view.name)
versions = st.sets(st.integers(1, 40))


class Said(Model):
    """A time and a text, as cells hold them."""

    at: Moment
    text: str


def history_of(record: Record) -> History:
    """The one relationship of a wild record."""
    return History(e for e in record.entries if e.stream.category == "relationship")


def as_its_model_writes(model: type[BaseModel], document: Any) -> bytes:
    """ValidationError where the document is not of that shape."""
    return model.model_validate(document).model_dump_json(by_alias=True).encode()


@for_all(
    record=wild_records(),
    known=st.none() | st.integers(0, 40),
    happened=st.none() | st.integers(0, 40),
    microseconds=st.sampled_from([0, 1, 100_000]),
)
def test_a_dossier_is_written_as_its_model_writes_it(
    record: Record, known: int | None, happened: int | None, microseconds: int
) -> None:
    """Rules 5 and 9: as of any two times, corrected, erased or whole, byte for byte."""
    history = history_of(record)
    if not history:
        return

    def time_of(at: int | None) -> datetime | None:
        if at is None:
            return None
        return history[at % len(history)].recorded_at + timedelta(microseconds=microseconds)

    told = dossier(
        history[0].stream, history, known_at=time_of(known), happened_by=time_of(happened)
    )
    document = dossier_shown(told)
    assert written(document) == as_its_model_writes(DossierDocument, document)
    assert written(dossier_written(told)) == written(document)


@every_view
@for_all(record=wild_records(), hidden=versions)
def test_a_withheld_row_is_written_as_its_model_writes_it(
    view: View[Any, Any], record: Record, hidden: set[int]
) -> None:
    """Views: what a reader is not shown has the shape of what is shown, byte for byte."""
    history = history_of(record)
    if not history:
        return
    kind: Any = view.row
    model = document_of(kind)
    for version, row in view.of(history[0].stream, history).items():
        document = shown(version, withhold(view, row, hidden.__contains__))
        assert written(document) == as_its_model_writes(model, document)


@every_view
@for_all(record=wild_records(), hidden=versions)
def test_rows_written_at_once_are_written_as_one_by_one(
    view: View[Any, Any], record: Record, hidden: set[int]
) -> None:
    """Views: told by one entry or by several, erased, withheld or neither, byte for byte."""
    history = history_of(record)
    if not history:
        return
    rows = view.of(history[0].stream, history)
    some_hidden = {
        version: withhold(view, row, hidden.__contains__) if version in hidden else row
        for version, row in view.of(history[0].stream, history).items()
    }
    for these in (rows, some_hidden):
        plainly = [shown(version, row) for version, row in sorted(these.items())]
        assert written({"rows": written_rows(these)}) == written({"rows": plainly})


@every_view
@for_all(record=wild_records(), hidden=versions, all_hidden=st.booleans())
def test_a_row_is_withheld_as_its_cells_are(
    view: View[Any, Any], record: Record, hidden: set[int], all_hidden: bool
) -> None:
    """Views: of a row that one entry tells the same is withheld as of its cells one by one."""
    history = history_of(record)
    if not history:
        return

    def is_hidden(version: int) -> bool:
        return all_hidden or version in hidden

    for version, row in view.of(history[0].stream, history).items():
        withheld = withhold(view, row, is_hidden)
        assert withheld == withhold(view, replace(row), is_hidden)
        one = {version: withheld}
        assert written({"row": written_rows(one)}) == written({"row": [shown(version, withheld)]})


@for_all(wild_records())
def test_what_is_written_is_read_again(record: Record) -> None:
    """Views: what was handed out reads as the same document."""
    history = history_of(record)
    if not history:
        return
    document = dossier_shown(dossier(history[0].stream, history))
    again = DossierDocument.model_validate_json(written(document))
    assert again == DossierDocument.model_validate(document)
    assert plain(document) == again.model_dump(mode="json")


offsets = st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@for_all(at=st.datetimes(timezones=offsets), text=st.text(max_size=20))
def test_times_and_texts_are_written_as_their_model_writes_them(at: datetime, text: str) -> None:
    """Views: every offset, every fraction of a second and every letter, byte for byte."""
    said = Said.model_construct(at=at, text=text)
    assert written({"at": at, "text": text}) == said.model_dump_json().encode()


def test_the_model_refuses_what_the_contract_does_not_say() -> None:
    """Views: the comparison above can fail."""
    history = given(*CONSENTED, held()).relationship
    document = dossier_shown(dossier(history[0].stream, history))
    document["timeline"][0]["topic"]["said"] = "more"
    with pytest.raises(ValidationError):
        as_its_model_writes(DossierDocument, document)
