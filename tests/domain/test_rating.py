"""What is quick about ratings comes to exactly what is slow about them."""

from typing import Annotated, Any

from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from domain.alliance import RatingSuperseded
from domain.answers import Answer, Answers
from domain.correction import EnteredInError
from domain.event import History
from domain.rating import _RATINGS, ratings_of
from tests.domain.test_alliance import MEASURED, REASON, rated
from tests.kit import SESSION, named

TOLD = st.lists(
    st.tuples(
        st.sampled_from(["rated", "superseded", "in error"]),
        st.integers(0, 5),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=14,
)


@for_all(TOLD)
def test_ratings_folded_on_are_those_folded_anew(
    told: list[tuple[str, int, int, bool]],
) -> None:
    """Rule 6: whatever is recorded, also what no command would, and whenever it is asked."""
    record, grown = MEASURED, History(MEASURED.relationship)
    for what, number, other, asked in told:
        if what == "in error":
            error = EnteredInError(entry=number + other + 1, reason=REASON)
            record = record.and_given(error)
        elif what == "rated":
            session = SESSION if other % 2 else named(f"session {other}")
            record = record.and_given(rated(rating=named(f"rating {number}"), session=session))
        else:
            old, new = named(f"rating {other}"), named(f"rating {number}")
            fields = rated(rating=new).model_dump() | {"superseded": old, "reason": REASON}
            record = record.and_given(RatingSuperseded.model_validate(fields))
        grown = grown.then(record.relationship[-1])
        if asked:
            grown.folded(_RATINGS)
    anew = History(record.relationship)
    assert grown.folded(_RATINGS) == anew.folded(_RATINGS)
    assert list(ratings_of(grown)) == list(ratings_of(anew))


def outcome(read: TypeAdapter[Any], answers: object) -> object:
    try:
        return read.validate_python(answers)
    except ValidationError as error:
        return error.errors(include_url=False, include_context=False, include_input=False)


@for_all(
    st.lists(st.one_of(st.none(), st.sampled_from(["1", "8.5", "", "-", "1" * 201]), st.text()))
    | st.lists(st.integers(-1, 7) | st.floats() | st.booleans() | st.lists(st.text()))
    | st.lists(st.sampled_from("1234567"), min_size=490, max_size=510)
    | st.text()
)
def test_answers_looked_at_together_are_what_each_is_by_itself(answers: object) -> None:
    """Rule 30: the same answers are taken, as the same text, and the same are refused."""
    one_by_one: TypeAdapter[Any] = TypeAdapter(
        Annotated[tuple[Answer, ...], Field(min_length=1, max_length=500)]
    )
    for sent in (answers, tuple(answers) if isinstance(answers, list) else answers):
        assert outcome(TypeAdapter(Answers), sent) == outcome(one_by_one, sent)
