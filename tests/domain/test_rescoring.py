"""Another key changes no stored fact: what would differ is reported, and adopted by an entry."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.clinic import clinic_stream
from domain.correction import MarkEnteredInError
from domain.definition import Definition
from domain.instrument import KeyOfAnother, Perspective, UnknownKey, find_key, load, versions
from domain.outcome import OutcomeRated
from domain.rating import score_of
from domain.rescoring import (
    AdoptScoringKey,
    KeysNotComparable,
    ScoringKeyAdopted,
    ScoringKeyAdoptedAlready,
    adopted_key,
    require_comparable,
    rescore,
)
from tests.kit import CLIENT, CLINIC, FOUNDED, NOW, OFFICE, OPENED, Record, given, named

OLD, NEW = versions("CORE-OM")
SINCE = datetime(2023, 4, 17, 9, tzinfo=UTC)


def rated(name: str, missing: set[int], **changes: Any) -> OutcomeRated:
    fields: dict[str, Any] = {
        "rating": named(name),
        "instrument": "CORE-OM",
        "instrument_version": OLD.version,
        "key_hash": OLD.key_hash,
        "perspective": Perspective.CLIENT,
        "rater": CLIENT,
        "between_sessions": True,
        "items": tuple(None if number in missing else 2 for number in range(1, 35)),
    }
    return OutcomeRated(**fields | changes)


def adopt(from_key: str = "1.0", to_key: str = "1.1") -> AdoptScoringKey:
    return AdoptScoringKey(
        instrument="core-om",
        from_key=from_key,
        to_key=to_key,
        reason="The missing rule was corrected on 2023-04-17.",
    )


def clinic(record: Record) -> Any:
    return record.history(clinic_stream(CLINIC))


# --- The report -----------------------------------------------------------------------------


def test_a_rescore_names_the_entries_that_differ_with_old_and_new() -> None:
    """Rule 31: three items missing: no score without risk by the old text, one by the new."""
    record = given(
        *OPENED,
        (rated("complete", set()), SINCE),
        (rated("three missing", {1, 2, 14}), SINCE + timedelta(hours=1)),
        (rated("by the new key", {1, 2, 14}, key_hash=NEW.key_hash), SINCE + timedelta(hours=2)),
        (rated("another", {1}, key_hash=load("SWLS").key_hash, items=(4,) * 5), SINCE),
    )
    found = list(rescore(record.relationship, OLD.key_hash, NEW.key_hash))
    assert [entry.event.rating for entry, _ in found] == [  # type: ignore[union-attr]
        named("complete"),
        named("three missing"),
    ]
    (complete, nothing), (entry, differences) = found
    assert nothing == ()
    assert {each.what for each in differences} == {"non_risk", "non_risk_mean"}
    first = differences[0]
    assert (first.what, first.old, first.new) == ("non_risk", None, "20")
    assert first.old_flags == ("unverified", "incomplete")
    assert first.new_flags == ("unverified", "prorated")
    assert (first.version, first.position) == (entry.version, entry.position)
    assert (first.rating, first.stream) == (named("three missing"), entry.stream)
    assert complete.version < entry.version


def test_a_rating_is_rescored_by_the_rules_of_its_own_day() -> None:
    """Rules 30, 31: before the correction both keys say the same."""
    record = given(*OPENED, (rated("early", {1, 2, 14}), SINCE - timedelta(days=1)))
    ((_, differences),) = rescore(record.relationship, OLD.key_hash, NEW.key_hash)
    assert differences == ()


def test_a_rescore_changes_no_score_that_is_read() -> None:
    """Rule 31: the stored rating goes on naming its key, and its score is that key's."""
    record = given(*OPENED, (rated("three missing", {1, 2, 14}), SINCE))
    before = record.relationship
    list(rescore(before, OLD.key_hash, NEW.key_hash))
    entry = record.relationship[-1]
    assert list(record.relationship) == list(before)
    scored = score_of(entry)
    assert scored is not None
    assert scored.key_hash == OLD.key_hash
    assert scored.scales["non_risk"].value is None


def test_readings_that_differ_are_reported_too() -> None:
    """Rule 31: cut-offs, bands and risk items are part of what a key says."""
    entry = given(*OPENED, (rated("three missing", {1, 2, 14}), SINCE)).relationship[-1]
    gone = list(rescore([entry], NEW.key_hash, OLD.key_hash))
    assert gone == [], "it names the old key, not the new one"
    back = entry.event.model_copy(update={"key_hash": NEW.key_hash})  # type: ignore[union-attr]
    record = given(*OPENED, (back, SINCE))
    ((_, differences),) = rescore(record.relationship, NEW.key_hash, OLD.key_hash)
    assert [(each.old, each.new) for each in differences] == [("20", None), ("2", None)]


def test_erased_ratings_are_passed_over() -> None:
    """Rule 9: nothing can be scored of which the answers are gone."""
    record = given(*OPENED, (rated("gone", {1, 2, 14}), SINCE)).erased(CLIENT)
    assert list(rescore(record.relationship, OLD.key_hash, NEW.key_hash)) == []


def test_keys_are_named_by_version_by_hash_and_by_its_beginning() -> None:
    """Rule 31: a key that a rating names is found for ever."""
    for name in ("1.0", OLD.key_hash, OLD.key_hash[:8], OLD.key_hash[:12].upper()):
        assert find_key("core-om", name) is OLD
    for name in ("9.9", OLD.key_hash[:7], "", load("SWLS").key_hash, "x" * 10_000):
        with pytest.raises(
            KeyOfAnother, match=r"CORE-OM has no key .*; it has the versions 1.0, 1.1"
        ):
            find_key("CORE-OM", name)
    with pytest.raises(UnknownKey):
        rescore([], "0" * 64, NEW.key_hash)


@pytest.mark.parametrize("change", ["id", "items", "response"])
def test_keys_of_other_answers_are_not_compared(change: str) -> None:
    """Rule 31: one key cannot score what was answered on another scale."""
    om = load("CORE-OM")
    changes: dict[str, Any] = {
        "id": "CORE-10",
        "items": om.items.model_copy(update={"count": 33}),
        "response": om.response.model_copy(update={"max": 5}),
    }
    other: Definition = om.model_copy(update={change: changes[change]})
    with pytest.raises(KeysNotComparable):
        require_comparable(om, other)
    require_comparable(om, om)
    with pytest.raises(KeysNotComparable, match="do not take the same answers"):
        rescore([], load("PHQ-9").key_hash, load("GAD-7").key_hash)


# --- Adopting a key -------------------------------------------------------------------------


def test_views_switch_only_by_an_entry() -> None:
    """Rule 31: without one, each rating is read by the key it names."""
    record = given(*FOUNDED)
    assert adopted_key(clinic(record), "CORE-OM", OLD.key_hash, NOW) == OLD.key_hash
    adopted = ScoringKeyAdopted(
        instrument="CORE-OM",
        from_key=OLD.key_hash,
        to_key=NEW.key_hash,
        reason="The missing rule was corrected on 2023-04-17.",
    )
    record = record.when(adopt(), by=OFFICE, at=NOW).then(adopted)
    assert adopted_key(clinic(record), "CORE-OM", OLD.key_hash, NOW) == NEW.key_hash
    assert adopted_key(clinic(record), "CORE-OM", NEW.key_hash, NOW) == NEW.key_hash
    assert adopted_key(clinic(record), "SWLS", OLD.key_hash, NOW) == OLD.key_hash
    before = NOW - timedelta(seconds=1)
    assert adopted_key(clinic(record), "CORE-OM", OLD.key_hash, before) == OLD.key_hash


def test_what_was_adopted_can_be_taken_back() -> None:
    """Rule 31: by another entry, or by marking the first as made in error."""
    record = given(*FOUNDED, adopt(), adopt("1.1", "1.0"))
    for key in (OLD, NEW):
        assert adopted_key(clinic(record), "CORE-OM", key.key_hash, NOW) == OLD.key_hash
    record = given(*FOUNDED, adopt())
    wrong = MarkEnteredInError(
        stream=clinic_stream(CLINIC), entry=clinic(record).version, reason="Too soon."
    )
    record = record.when(wrong, by=OFFICE).recorded()
    assert adopted_key(clinic(record), "CORE-OM", OLD.key_hash, record.clock) == OLD.key_hash


def test_a_key_is_adopted_once() -> None:
    """Rule 31: an entry that says nothing new is refused."""
    given(*FOUNDED, adopt()).when(adopt(), by=OFFICE).refuses(
        ScoringKeyAdoptedAlready, instrument="CORE-OM", key_hash=NEW.key_hash
    )
    given(*FOUNDED).when(adopt("1.1", "1.1"), by=OFFICE).refuses(
        ScoringKeyAdoptedAlready, instrument="CORE-OM", key_hash=NEW.key_hash
    )
    given(*FOUNDED).when(adopt("1.0", "2.0"), by=OFFICE).refuses(KeyOfAnother)
