"""Episodes: none → open → repaired or unresolved, by score, by a person's word, or both."""

from fractions import Fraction
from typing import Any

import pytest

from domain.methods.card import Kind, MethodCard, Outcome, Why
from domain.methods.episode import EPISODE, By, Episode, Rules, Status, episodes
from domain.methods.series import Better, Resolution, Series
from tests.domain.methods.lines import BEGINNING, WEEK, line, point

GIVEN: dict[str, Any] = {"sd_ref": 4}
RULES = Rules(Fraction(1), Fraction(4), Fraction(1, 4), 5, By.EITHER)


def found(*values: int | str | None, **more: Any) -> tuple[Episode, ...]:
    return episodes(line(*values, **more), RULES)


def kinds(card: MethodCard) -> list[tuple[int, Kind]]:
    return [(one.at + 1, one.kind) for one in card.findings]


def resolved(session: int, known: int | None = None) -> Resolution:
    at = BEGINNING + session * WEEK
    return Resolution(at, BEGINNING + (known or session) * WEEK)


def test_a_drop_opens_and_a_return_repairs() -> None:
    """Rule 37: back within a quarter SD of the rating before the onset, within five sessions."""
    (one,) = found(36, 31, 29, 33, "35")
    assert (one.onset, one.nadir, one.end, one.status) == (1, 2, 4, Status.REPAIRED)
    assert found(36, 31, 29, 33, "34.99")[0].status is Status.OPEN


def test_a_drop_must_reach_its_size() -> None:
    """Rule 38: k·SD exactly opens, less does not."""
    assert found(36, 32)
    assert not found(36, "32.001")
    assert not found(36, 34, 32, 30, 28)


def test_not_back_within_five_sessions_is_unresolved() -> None:
    """Rule 37: five sessions after the onset it must be back; on the sixth it is too late."""
    assert found(36, 30, 30, 30, 30, 30, 36)[0].status is Status.REPAIRED
    late = found(36, 30, 30, 30, 30, 30, 30, 36)
    assert (late[0].status, late[0].end) == (Status.UNRESOLVED, 6)


def test_sessions_count_not_ratings() -> None:
    """Rule 37: a session without a rating passes all the same."""
    (one,) = found(36, 30, None, None, None, None, None, 36)
    assert one.status is Status.UNRESOLVED
    between = Series.of([point(n, v, session=None) for n, v in ((1, 36), (2, 30), (9, 36))])
    assert episodes(between, RULES)[0].status is Status.REPAIRED


def test_after_one_episode_another_may_open() -> None:
    """Rule 37: every episode has its own onset and its own end."""
    first, second = found(36, 30, 36, 29, 28)
    assert (first.status, second.status) == (Status.REPAIRED, Status.OPEN)
    assert (second.onset, second.nadir) == (3, 4)


def test_a_persons_word_ends_an_episode() -> None:
    """Rule 37: what a person recorded counts beside the score, and says that it was a person."""
    mark = resolved(3)
    (one,) = found(36, 30, 30, 31, resolutions=[mark])
    assert (one.status, one.resolution) == (Status.REPAIRED, mark)
    card = EPISODE.card(line(36, 30, 30, 31, resolutions=[mark]), GIVEN)
    assert kinds(card) == [(2, Kind.POSSIBLE_RUPTURE), (3, Kind.POSSIBLE_REPAIR)]
    assert card.findings[-1].says == "Possible repair: a person recorded a resolution."
    before = [resolved(1)]
    assert found(36, 30, 30, resolutions=before)[0].status is Status.OPEN


def test_a_word_after_the_last_rating_ends_it_too() -> None:
    """Rule 37: people may resolve what no later rating shows."""
    (one,) = found(36, 30, resolutions=[resolved(3)])
    assert (one.status, one.end) == (Status.REPAIRED, None)


def test_after_a_persons_word_the_score_may_fall_again() -> None:
    """Rule 37: a fall at the very rating after a resolution opens a new episode."""
    _, second = found(36, 30, 25, resolutions=[resolved(3)])
    assert (second.onset, second.status) == (2, Status.OPEN)


@pytest.mark.parametrize(
    "by, values, marks, status",
    [
        ("score", (36, 30, 31), (3,), Status.OPEN),
        ("person", (36, 30, 36), (), Status.OPEN),
        ("person", (36, 30, 31), (3,), Status.REPAIRED),
        ("both", (36, 30, 36), (), Status.OPEN),
        ("both", (36, 30, 31), (3,), Status.OPEN),
        ("both", (36, 30, 36), (3,), Status.REPAIRED),
        ("person", (36, 30), (3,), Status.REPAIRED),
        ("score", (36, 30), (3,), Status.OPEN),
    ],
)
def test_what_counts_as_a_repair_is_a_parameter(
    by: str, values: tuple[int, ...], marks: tuple[int, ...], status: Status
) -> None:
    """Rule 38: score, person, either or both: the card says which."""
    series = line(*values, resolutions=[resolved(mark) for mark in marks])
    card = EPISODE.card(series, {**GIVEN, "repaired_by": by})
    assert card.figures[status] == "1"


def test_an_own_standard_deviation_asks_for_three_of_them() -> None:
    """Rule 38: by default three own SDs, of at least five earlier ratings, or one given SD."""
    card = EPISODE.card(line(30, 32, 30, 32, 31, 28))
    assert {one.name: one.text for one in card.parameters}["k"] == "3"
    assert [one.at for one in card.flagged] == [5]
    assert not EPISODE.card(line(30, 32, 30, 32, 31, "28.001")).flagged
    given = EPISODE.card(line(30, 28), {"sd_ref": 2})
    assert {one.name: one.text for one in given.parameters}["k"] == "1"
    assert given.flagged
    chosen = EPISODE.card(line(30, 32, 30, 32, 31, 30), {"k": 1})
    assert {one.name: one.text for one in chosen.parameters}["k"] == "1"
    assert chosen.flagged


def test_where_lower_is_better_a_rise_opens() -> None:
    """Rule 32: worse is what the scale says."""
    (one,) = found(10, 15, 10, better=Better.LOWER)
    assert (one.onset, one.status) == (1, Status.REPAIRED)


def test_nothing_is_called_a_rupture() -> None:
    """Rule 44: from a score it is a possible rupture and a possible repair."""
    card = EPISODE.card(line(36, 30, 36, 29, 29, 29, 29, 29, 29), GIVEN)
    said = [card.says, *card.notes, *(one.says for one in card.findings)]
    assert card.figures == {"open": "0", "repaired": "1", "unresolved": "1"}
    for sentence in said:
        assert "rupture" not in sentence.lower().replace("possible rupture", "").replace(
            "is no rupture", ""
        )


@pytest.mark.parametrize(
    "values, chosen, why",
    [
        ((30, 20, 30, 20, 30), {}, Why.NOT_ENOUGH_DATA),
        ((30,), GIVEN, Why.NOT_ENOUGH_DATA),
        ((30,) * 8, {}, Why.NO_VARIANCE),
    ],
)
def test_it_declines(values: tuple[int, ...], chosen: dict[str, Any], why: Why) -> None:
    """Rule 38: without ratings or spread to measure by there is no episode to tell."""
    card = EPISODE.card(line(*values), chosen)
    assert card.outcome is Outcome.REFUSED
    assert card.declined is not None
    assert card.declined.code is why
