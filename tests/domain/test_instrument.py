"""Instruments as data: definitions, raw items, scores, and what is said when they do not fit."""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.answers import normal_name
from domain.instrument import (
    BrokenDefinition,
    Definition,
    NotAQuestionnaire,
    Perspective,
    PerspectiveUnknown,
    Procedure,
    UnknownInstrument,
    UnknownKey,
    catalogue,
    load,
    load_key,
    markers,
    procedures,
    read_definition,
    read_procedure,
    strategies,
    versions,
)
from domain.score_report import render_score, report_text, score_report
from domain.scoring import (
    Flag,
    ItemCountWrong,
    ItemNotUnderstood,
    ItemOutOfRange,
    check_items,
    parse_items,
    score,
)
from domain.series import series_id

WAI, WAI_SR, WAI_S, SRS, SWLS = map(load, ("WAI-36", "WAI-SR", "WAI-S", "SRS-3", "SWLS"))

EVERY: list[Definition | Procedure] = [*catalogue().values(), *procedures().values()]

# The bytes of a published definition never change: ratings in records name these hashes. A new
# version of an instrument adds a line here; a line here is never edited.
PUBLISHED = {
    "3RS-1.0.toml": "9defd462abb96b299a12f933407e15aabdc4204315b3009b325a9952d5da3962",
    "ARM-12-1.0.toml": "a9b871c55b720dec46887063bb841adf3bf3ef6cccd362899b10500b7c62e2ea",
    "ARM-5-1.0.toml": "95a1f006767dccae6ffde78f96f66e0d2733fb88aabd6ce36f79b79c3866b833",
    "BR-WAI-1.0.toml": "6dca76805ee217b25b4eb792c19494a7032b68c4ab54f0062f22821b0e7cd698",
    "CALPAS-P-1.0.toml": "156250372d20572ad96b05e2cd0ef97bc6b8ae70ec31cd82671150391d4c7cf2",
    "CORE-10-1.0.toml": "e3c386d65f853a85ceddeafcd1a7c4191f53d694d2d2b09afc2a5b20718551bb",
    "CORE-OM-1.0.toml": "b40ebbd6ba0971fce86f1d597b65d223973ade5310d3af083adeaa7af30a51e1",
    "CORE-OM-1.1.toml": "7c167ba6d14e93ed60fd2385298ee4c69bb7b66f68313ae2f30cf218e7bf4be4",
    "FS-1.0.toml": "4ca463c59b1433b7242e520f7f8c3b65149a71705e4e57cbbb4d75c8c7be66ff",
    "GAD-7-1.0.toml": "db4ca781b0437634842f46a723a7fd28fe2ad097284077e0a2448fe460b3155b",
    "GAS-1.0.toml": "6a84f13643a6756ab2abb758ada7e673f4569b311802fceb19010640d7e84f35",
    "GBO-1.0.toml": "b0a506f8e4626e0b81726981d18a6b1867635c879c71cff8289fb129c3a5f811",
    "HAQ-II-1.0.toml": "7f34ee3484919ce9acf4284bb1b210ed58d6062ec523869a346f21f0050e85e0",
    "IPR-1.0.toml": "b811ab0772a725ffc6cc5c1bf5732010b64e547caa6daa321e61a1eb8098fe45",
    "ORS-1.0.toml": "f701029afda36ff6bdd7b7f0cef00a80434322699fc01b6eedb8b38014d54b89",
    "PHQ-9-1.0.toml": "0575428269ba16bccb7dca0366b91f515651f1054004f2377208d365c600542f",
    "PSQ-RUPTURE-1.0.toml": "3b90b1e3390c207190f1f2407c7cc82055dbaaab9180b9e227160bc198e10fa9",
    "RRI-C-1.0.toml": "a8e0af5fcb34427399e986f7cb5d96cc334d26dd771ad047db3455d7f1799a80",
    "RRI-T-1.0.toml": "cc36bc9229ba85e6307c9af982301ce7e913659d1b7790728d673638b62c4521",
    "SRS-3-1.0.toml": "f803f5d44bf5b89f4f8f64d47296de737a5a725c981377fba15bec8686fcf3ec",
    "STAR-C-1.0.toml": "8d48881688dd1f5119237072ec5b7821beba8f1e8ba1acf78f90176af0855621",
    "STAR-P-1.0.toml": "0aac2ef947a298d57aa879ef43f915fe68ecf3cb3e742a4495ee69ef53e58587",
    "SWLS-1.0.toml": "a3b6bac56962e2b552809d2b93284094809e6e00d522692d01cb00f6c8b50e3a",
    "WAI-36-1.0.toml": "2b0fe24c7df8826fea139039e48faf8567ba99ee7b795185e3da5f75c312b891",
    "WAI-O-1.0.toml": "48872c2570c725b2323626886edfb65d434ebf6f424eda883c82fee0dd458627",
    "WAI-S-1.0.toml": "714da21fe14f4fc32305d23d35e3ba07e7094676e4c82ebaa46fb10a29f1102d",
    "WAI-SR-1.0.toml": "cdc3511d77cf94822033ff1312797c79f0a6803c3e98cf5979988918063c7122",
    "WAI-SR-1.1.toml": "63e2d7953d67255ab5f1889d522440bd8dba132709d0676f296cf3a0d8b5aa26",
    "WAI-SRT-1.0.toml": "0b20f426213a6d14582a4a4d6e14c271bc886af2da97867a3a2d4322baca5c4e",
    "WHO-5-1.0.toml": "7e063b023def071dbe4ab158fd12452a3ed4d33715671e7d4bf28a2538c7b8a4",
}

# Eight of the 277 rows of survey_wai_logs.csv, IanSteenstra/ai-psychotherapy-eval (Apache-2.0):
# pairing, session, the answers Never … Always as 1 … 7, and the file's own totals of task, bond,
# goal and all. The file reverses item 28 where the wording asks for 29.
WAI_ROWS = [
    (8, 1, "717111717777177111111111117171717711", (12, 30, 18, 60)),
    (22, 1, "717111111777717127151111117151717711", (30, 25, 18, 73)),
    (24, 1, "613111227777217136151111117121716112", (24, 26, 22, 72)),
    (1, 1, "512121445767316156441141127111515614", (28, 41, 20, 89)),
    (18, 2, "717111627777216124141111117211716712", (19, 23, 12, 54)),
    (4, 2, "717111527677116125261111117411716712", (20, 20, 13, 53)),
    (10, 3, "171177171111771677717777171617111177", (77, 73, 72, 222)),
    (7, 1, "573777151111771777717767772715171177", (84, 65, 79, 228)),
]

# Rows of survey_srs_logs_with_total.csv of the same repository (Apache-2.0).
SRS_ROWS = [(("7.0", "2.5", "3.0", "3.5"), "16.0"), (("8.5", "9.0", "8.0", "8.8"), "34.3")]

# The worked example of the format: means times ten, a missing rule that changed on a date, cut-offs
# that ended or hold for some people.
FORMAT = Path(__file__).parents[2] / "docs" / "formats" / "instrument.md"


def example(language: str) -> str:
    """The one code block of that language in the description of the format."""
    (block,) = re.findall(f"```{language}\n(.*?)```", FORMAT.read_text("utf-8"), re.DOTALL)
    return str(block)


TOY = example("toml")


def toy(text: str = TOY) -> Definition:
    return read_definition("TOY-4-2.1.toml", text.encode())


def shipped_bytes(name: str) -> bytes:
    return (files("domain") / "instruments" / name).read_bytes()


def digits(answers: str) -> tuple[int, ...]:
    return tuple(map(int, answers))


def values(definition: Definition, items: Sequence[int | None]) -> dict[str, Fraction | None]:
    return {name: part.value for name, part in score(definition, items).scales.items()}


# --- Definitions ----------------------------------------------------------------------------


def test_published_definitions_never_change() -> None:
    """Rule 28: the key a rating names by hash is the key it was scored with, byte for byte."""
    folder = files("domain") / "instruments"
    found = {
        entry.name: hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }
    assert found == PUBLISHED
    kept = {procedure.key_hash: procedure for procedure in procedures().values()}
    for name, digest in PUBLISHED.items():
        published = kept.get(digest) or load_key(digest)
        assert name == f"{published.id}-{published.version}.toml"


def test_catalogue_holds_the_newest_version_of_each_instrument() -> None:
    """Rule 28: an instrument is found by its id, its alias, in any case."""
    assert sorted([*catalogue(), *procedures()]) == sorted(
        {n.rpartition("-")[0] for n in PUBLISHED}
    )
    assert len(catalogue()) + len(procedures()) == 28
    assert catalogue()["CORE-OM"].version == "1.1"
    assert [each.version for each in versions("core-om")] == ["1.0", "1.1"]
    assert load("srs") is SRS
    assert load("wai", "1.0") is WAI
    assert load("phq 9") is load("PHQ_9") is load("phq9") is load("PHQ-9")
    with pytest.raises(UnknownInstrument):
        load("WAIS-R")  # a test of intelligence, not the WAI-SR
    names = [normal_name(name) for each in EVERY for name in (each.id, *each.aliases)]
    assert len(set(names)) == len(names)


def test_the_wai_has_a_client_and_a_therapist_form() -> None:
    """Rule 28: a rating belongs to one perspective and one form."""
    assert WAI.forms == {Perspective.CLIENT: "WAI-36-C", Perspective.THERAPIST: "WAI-36-T"}
    assert WAI_S.forms == {Perspective.CLIENT: "WAI-S-C", Perspective.THERAPIST: "WAI-S-T"}
    assert list(SRS.forms) == list(WAI_SR.forms) == [Perspective.CLIENT]


def test_a_key_is_verified_only_where_every_fact_was_read_or_recomputed() -> None:
    """Rule 36: scale by scale; of the others each score carries the flag."""
    verified = {"FS", "GAD-7", "ORS", "PHQ-9", "SRS-3", "SWLS", "WAI-36", "WAI-SR", "WHO-5"}
    assert {d.id for d in catalogue().values() if d.verified} == verified
    core = load("CORE-10")
    assert [name for name in core.scales if core.scale_verified(name)] == ["total", "risk"]


def test_every_fact_has_a_confidence_and_what_was_read_a_source() -> None:
    """Rule 36: no number stands in a definition without saying how it is known."""
    for each in EVERY:
        facts = dict(each.facts())
        assert "licence" in facts
        for field, fact in facts.items():
            assert fact.source or not fact.confidence.verified, (each.id, field)
            assert set(fact.source) <= each.sources.keys()


def test_every_source_that_is_described_is_referred_to() -> None:
    """Rule 36: a list of sources says where something stands, and is no reading list."""
    for each in EVERY:
        cited = {name for _, fact in each.facts() for name in fact.source}
        text = " ".join(filter(None, (each.note, *(fact.note for _, fact in each.facts()))))
        assert {name for name in each.sources if name not in cited and name not in text} == set()


UNKNOWN_KEYS = ("ARM-12", "CALPAS-P", "RRI-C", "RRI-T", "STAR-C", "WAI-SRT")


def test_where_the_key_is_not_known_raw_items_are_kept_and_nothing_is_scored() -> None:
    """Rule 36: unknown key, raw items only; and the score says why there is none."""
    assert tuple(d.id for d in catalogue().values() if not d.scales) == UNKNOWN_KEYS
    for id_ in UNKNOWN_KEYS:
        definition = load(id_)
        scored = score(definition, [3] * definition.items.count)
        assert (scored.scales, scored.total, scored.metric) == ({}, None, "raw")
        assert scored.flags == (Flag.UNVERIFIED, Flag.RAW_ITEMS_ONLY)
        assert "raw_items_only" in report_text(score_report(id_, [3] * definition.items.count))
        assert series_id(definition, next(iter(definition.forms))).metric == "raw"
    assert score(load("WAI-SRT"), [5] * 10).missing == ()
    with pytest.raises(ItemCountWrong, match="has 1 to 36 items, not 37"):
        score(load("WAI-SRT"), [5] * 37)


def test_every_definition_states_its_licence_and_ships_text_only_where_it_may() -> None:
    """Rule 34: item text ships only where the licence allows it, and then with credit."""
    for definition in catalogue().values():
        state, text = definition.licence.state, definition.text
        attested = {"permission-required", "licence-required", "unknown"}
        assert definition.licence.attestation_required == (state in attested)
        assert (text is not None) == definition.licence.ship_item_text
        assert text is None or text.credit
    with_text = [d.id for d in catalogue().values() if d.text]
    assert with_text == ["CORE-10", "CORE-OM", "FS", "GAD-7", "PHQ-9", "SWLS"]
    om, ten = load("CORE-OM").text, load("CORE-10").text
    assert om is not None
    assert ten is not None
    assert ten.items == tuple(om.items[n - 1] for n in (2, 3, 7, 10, 15, 16, 18, 23, 27, 28))


# --- Instruments that are no questionnaires -------------------------------------------------


def test_what_is_no_questionnaire_says_what_is_done_with_it() -> None:
    """Rule 28: a coding system, a procedure, a scale of goals has no form to be scored."""
    kinds = {one.id: one.kind for one in procedures().values()}
    assert kinds == {
        "3RS": "coding-system",
        "GAS": "goal-scale",
        "GBO": "goal-scale",
        "IPR": "recall-procedure",
    }
    with pytest.raises(NotAQuestionnaire, match="3RS is a coding system, not a questionnaire"):
        load("3rs")
    with pytest.raises(NotAQuestionnaire, match="rapport gas"):
        score_report("GAS", [1, 0])
    with pytest.raises(NotAQuestionnaire, match="rapport gbo"):
        load("gbo")
    with pytest.raises(NotAQuestionnaire, match="recall interview"):
        load("IPR")


def test_the_vocabulary_of_ruptures_is_data() -> None:
    """Rule 39: seven markers of each kind, ten strategies; names, without their definitions."""
    withdrawal, confrontation = markers("withdrawal"), markers("confrontation")
    assert (len(withdrawal), len(confrontation), len(strategies())) == (7, 7, 10)
    assert not set(withdrawal) & set(confrontation)
    assert "minimal_response" in withdrawal
    assert "complaint_about_therapist" in confrontation
    assert "validates_defensive_posture" in strategies()


BROKEN_PROCEDURES = [
    ("value = 5", 'value = "five"', "constants.segment_minutes.value", "decimal"),
    ('"denial",', '"denial", "denial",', "terms.withdrawal.codes", "once"),
    ("min = 1", "min = 9", "ratings.significance", "below max"),
    ('observer = "3RS"', "", "forms", "at least one"),
    ('id = "3RS"', 'id = "4RS"', "id", "<id>-<version>.toml"),
    ('confidence = "own-knowledge-high"', 'confidence = "read"', "terms.withdrawal.source", "say"),
    (
        'confidence = "own-knowledge-high"',
        'confidence = "read"\nsource = ["X"]',
        "terms.withdrawal.source",
        "[sources]",
    ),
]


@pytest.mark.parametrize("sound,broken,field,mend", BROKEN_PROCEDURES)
def test_a_broken_procedure_names_file_field_and_mend(
    sound: str, broken: str, field: str, mend: str
) -> None:
    """Rule 28: a vocabulary that cannot be right is never used."""
    text = shipped_bytes("3RS-1.0.toml").decode()
    assert sound in text
    with pytest.raises(BrokenDefinition) as error:
        read_procedure("3RS-1.0.toml", text.replace(sound, broken, 1).encode())
    assert (error.value.file, error.value.field) == ("3RS-1.0.toml", field)
    assert mend in error.value.mend


BROKEN = [
    ("count = 4, ", "", "items.count", "required"),
    ("count = 4", "count = 0", "items.count", "greater than or equal to 1"),
    ('confidence = "read"', 'confidence = "sure"', "items.confidence", "'read'"),
    ('measures = "outcome"', 'mesures = "outcome"', "measures", "required"),
    ("items = [2]", "items = [5]", "reverse.items", "numbered from 1 to 4"),
    ("items = [1, 2, 3, 4]", "items = [1, 2, 3, 3]", "scales.total.items", "once"),
    ("range = [0, 40]", "range = [0, 30]", "scales.total.range", "from 0 to 40"),
    ("items = [1, 2, 3, 4], range", "range", "scales.total", "either items or sum_of"),
    ("items = [1, 2, 3, 4], range", 'sum_of = ["x"], range', "scales.total.sum_of", "name scales"),
    ("min = 0, max = 4", "min = 4, max = 0", "response", "below max"),
    ("max = 4", "max = 4.5", "response.max", "whole number"),
    ("max = 4", "max = 4, step = 3", "response.step", "whole number of steps"),
    ("max = 4", 'max = 4, labels = {9 = "x"}', "response.labels.9", "an answer of the scale"),
    ("max = 4", 'max = 4, labels = {1 = "x", 2 = "X "}', "response.labels", "differ"),
    ('"publication"\nprorate', "2020-01-01\nprorate", "missing", "publication"),
    ("total = 1 }", "total = 4 }", "missing[0].prorate_up_to.total", "at least one"),
    ("total = 1 }", "totl = 1 }", "missing[0].prorate_up_to", "name every scale"),
    ('scale = "total"', 'scale = "sum"', "cutoffs[0].scale", "name a scale"),
    ('scale = "total"', "", "cutoffs[0]", "either scale or items"),
    ('source = ["S"]', 'source = ["T"]', "items.source", "[sources]"),
    ('source = ["S"]', "source = []", "items.source", "say where it was read"),
    ('forms = { client = "TOY-4" }', "forms = {}", "forms", "at least one"),
    ('id = "TOY-4"', 'id = "TOY-5"', "id", "<id>-<version>.toml"),
    ('version = "2.1"', 'version = "2"', "version", "pattern"),
    ('name = "Toy"', 'name = "Toy"\nkey_hash = "00"', "key_hash", "remove it"),
    ('name = "Toy"', "name = Toy", "the file", "not TOML"),
    ("count = 4, ", "count = 4, optionl = 1, ", "items.optionl", "not permitted"),
    ("items = [5]", "items = [6]", "responses[0].items", "numbered from 1 to 5"),
    ("min = 0\nmax = 1\n", "min = 1\nmax = 1\n", "responses[0]", "below max"),
    (
        '[[changes]]\nscale = "total"',
        '[[changes]]\nscale = "x"',
        "changes[0].scale",
        "name a scale",
    ),
    ('[[norms]]\nscale = "total"', '[[norms]]\nscale = "x"', "norms[0].scale", "name a scale"),
    ('kind = "reliable"', 'kind = "some"', "changes.0.kind", "'reliable'"),
    ("item = 3\n", "item = 5\n", "risk_items[0].item", "numbered from 1 to 4"),
    ("value = 3\n", "value = 7\n", "risk_items[0].value", "no answer to item 3"),
    ("answer = 2", "answer = 2.5", "attention[0].answer", "no answer to item 4"),
    ("scoring =", "# =", "scoring", "how the scales are made"),
    ("scales.total =", "# =", "scales", "at least one scale"),
    ("range = [0, 40]", 'range = [0, 40], metric = "mean"', "scales.total.metric", "restated"),
    ("[0, 40]", '[0, 40], restates = "total"', "scales.total", "items or sum_of or restates"),
    ("items = [1, 2, 3, 4], range", 'restates = "x", range', "scales.total.restates", "name a"),
    ("items = [1, 2, 3, 4], range", 'restates = "total", range', "scales.total.restates", "name"),
]


@pytest.mark.parametrize("sound,broken,field,mend", BROKEN)
def test_a_broken_definition_names_file_field_and_mend(
    sound: str, broken: str, field: str, mend: str
) -> None:
    """Rule 28: a key that cannot be right is never used; the message says what to do."""
    assert sound in TOY
    with pytest.raises(BrokenDefinition) as error:
        toy(TOY.replace(sound, broken, 1))
    assert (error.value.file, error.value.field) == ("TOY-4-2.1.toml", field)
    assert mend in error.value.mend
    assert str(error.value).startswith(f"TOY-4-2.1.toml: {field}: ")


def test_bands_that_overlap_and_text_without_licence_are_broken() -> None:
    """Rule 34: a definition cannot carry texts that its licence does not let out."""
    swls = shipped_bytes("SWLS-1.0.toml").decode()
    for old, new, field in [
        ("low = 10, high = 14", "low = 9, high = 14", "bands[0].bands"),
        ("ship_item_text = true", "ship_item_text = false", "text"),
        ('    "The conditions of my life are excellent.",\n', "", "text.items"),
    ]:
        assert old in swls
        with pytest.raises(BrokenDefinition) as error:
            read_definition("SWLS-1.0.toml", swls.replace(old, new).encode())
        assert error.value.field == field


def test_unknown_instruments_versions_and_keys_are_refused() -> None:
    """Rule 36: without the key there is no score, only raw items."""
    with pytest.raises(UnknownInstrument, match=r"'BDI-II'.*GAS.*SRS-3, STAR-C"):
        load("BDI-II")
    with pytest.raises(UnknownInstrument, match=r"'WAI-36 9\.9'"):
        load("WAI-36", "9.9")
    with pytest.raises(UnknownInstrument) as hostile:
        load("\x1b[2J" + "x" * 10_000)
    assert len(str(hostile.value)) < 400
    assert "\x1b" not in str(hostile.value)
    with pytest.raises(UnknownKey):
        load_key("0" * 64)
    assert load_key(WAI.key_hash) is WAI


# --- Scores against published totals --------------------------------------------------------


@pytest.mark.parametrize("pairing,session,answers,claimed", WAI_ROWS)
def test_wai_key_agrees_with_published_totals_but_for_the_sign_of_two_items(
    pairing: int, session: int, answers: str, claimed: tuple[int, ...]
) -> None:
    """Rule 28: task and goal agree; the file's bond reverses item 28 where the wording says 29."""
    items = digits(answers)
    theirs = read_definition(
        "WAI-36-1.0.toml", shipped_bytes("WAI-36-1.0.toml").replace(b"27, 29, 31", b"27, 28, 31")
    )
    assert theirs.key_hash != WAI.key_hash
    names = ("task", "bond", "goal", "total")
    assert [values(theirs, items)[name] for name in names] == list(claimed), (pairing, session)
    gap = 2 * (items[27] - items[28])
    ours = values(WAI, items)
    assert ours == dict(
        zip(names, (claimed[0], claimed[1] + gap, claimed[2], claimed[3] + gap), strict=True)
    )


@pytest.mark.parametrize("answers,total", SRS_ROWS)
def test_srs_total_is_the_sum_of_the_four_lines(answers: tuple[str, ...], total: str) -> None:
    """Rule 30: tenths are stored as integers and summed without rounding."""
    items = parse_items(SRS, answers)
    assert items == tuple(int(answer.replace(".", "")) for answer in answers)
    scored = score(SRS, items, perspective="client")
    assert scored.total is not None
    assert scored.total.text == total


SCORED = [definition for definition in catalogue().values() if definition.scales]


@pytest.mark.parametrize("definition", SCORED, ids=lambda d: str(d.id))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_mirrored_answers_give_mirrored_scores(definition: Definition, data: st.DataObject) -> None:
    """Rule 28: every item counts once, with its sign; scores stay within the stated range."""
    numbers = range(1, definition.items.count + 1)
    scales = [definition.response_to(number) for number in numbers]
    items = [data.draw(st.integers(scale.low, scale.high)) for scale in scales]
    mirrored = [scale.low + scale.high - item for scale, item in zip(scales, items, strict=True)]
    one, other = score(definition, items), score(definition, mirrored)
    for name, part in one.scales.items():
        opposite = other.scales[name].value
        if Flag.NOT_ASKED in (*part.flags, *other.scales[name].flags):
            continue
        assert part.value is not None
        assert opposite is not None
        assert part.low <= part.value <= part.high
        assert part.value + opposite == part.low + part.high
    if {"task", "bond", "goal", "total"} <= one.scales.keys():
        found = values(definition, items)
        parts = [found[name] for name in ("task", "bond", "goal")]
        assert found["total"] == sum(part for part in parts if part is not None)


def test_reversed_items_count_backwards() -> None:
    """Rule 28: r = min + max − x, for the reversed items and no other."""
    for definition in (WAI, WAI_SR, WAI_S, SWLS):
        neutral = [4 if definition.response.high == 7 else 3] * definition.items.count
        base = values(definition, neutral)["total"]
        for number in range(1, definition.items.count + 1):
            raised = [item + (place == number) for place, item in enumerate(neutral, 1)]
            moved = values(definition, raised)["total"]
            assert base is not None
            assert moved == base + (-1 if number in definition.reverse.items else 1)
    assert WAI_SR.reverse.items == ()
    assert WAI_S.reverse.items == (4, 10)


# --- Missing items --------------------------------------------------------------------------


def test_one_missing_item_of_a_wai_subscale_is_prorated_and_says_so() -> None:
    """Rule 36: the prorated scale and total carry the flag, exact to the fraction; others not."""
    items = (*digits("1" * 35), None)
    scored = score(WAI, items)
    bond, total = scored.scales["bond"], scored.scales["total"]
    # eleven answers remain: items 1, 20 and 29 reversed count 7, the other eight 1
    assert bond.value == Fraction(29, 11) * 12
    assert bond.text == "31.64"
    assert bond.missing == total.missing == scored.missing == (36,)
    assert total.value == 42 + Fraction(29, 11) * 12 + 48
    assert bond.flags == total.flags == (Flag.PRORATED, Flag.MISSING_RULE_PRODUCT_DEFAULT)
    assert scored.scales["task"].flags == ()
    assert scored.flags == (Flag.PRORATED, Flag.MISSING_RULE_PRODUCT_DEFAULT)


def test_two_missing_items_of_a_wai_subscale_leave_it_and_the_total_without_a_score() -> None:
    """Rule 30: not answered is never zero; the missing rule says when a score exists."""
    items = [4 if number not in (1, 5) else None for number in range(1, 37)]
    scored = score(WAI, items)
    assert scored.scales["bond"].value is None
    assert scored.scales["bond"].text is None
    assert scored.scales["total"].value is None
    assert scored.scales["task"].value == scored.scales["goal"].value == 48
    assert Flag.INCOMPLETE in scored.scales["total"].flags
    assert Flag.PRORATED not in scored.flags
    none = score(WAI, [None] * 36)
    assert all(part.value is None for part in none.scales.values())


def test_wai_sr_total_needs_eleven_of_twelve_items() -> None:
    """Rule 30: each scale has its own limit; two prorated subscales make no total."""
    one = [5 if number != 1 else None for number in range(1, 13)]
    two = [5 if number not in (1, 3) else None for number in range(1, 13)]
    assert values(WAI_SR, one) == {"total": 60, "task": 20, "bond": 20, "goal": 20}
    assert values(WAI_SR, two) == {"total": None, "task": 20, "bond": 20, "goal": 20}


@pytest.mark.parametrize("definition", [SRS, SWLS, WAI_S], ids=lambda d: str(d.id))
def test_nothing_is_prorated_where_no_rule_allows_it(definition: Definition) -> None:
    """Rule 30: SRS, SWLS and WAI-S have a total only when every item is answered."""
    items = [definition.response.low, *[definition.response.high] * (definition.items.count - 1)]
    assert values(definition, items)["total"] is not None
    gap = [None, *items[1:]]
    scored = score(definition, gap)
    assert scored.total is not None
    assert scored.total.value is None
    assert Flag.INCOMPLETE in scored.flags
    assert Flag.MISSING_RULE_PRODUCT_DEFAULT in scored.flags
    assert not [r for r in scored.cutoffs if r.item is None]
    assert not scored.bands


def test_complete_answers_carry_no_flag_of_a_missing_rule() -> None:
    """Rule 36: flags say what happened to this score, not what might have."""
    for definition in (WAI, WAI_SR, SRS, SWLS):
        assert score(definition, [definition.response.high] * definition.items.count).flags == ()


def test_scores_by_an_unverified_key_say_so_everywhere() -> None:
    """Rule 36: the flag stands on the score, on each scale and in what is rendered."""
    scored = score(WAI_S, [4] * 12, perspective="therapist")
    assert scored.flags == (Flag.UNVERIFIED,)
    assert all(part.flags == (Flag.UNVERIFIED,) for part in scored.scales.values())
    rendered = render_score(scored)
    assert rendered["flags"] == rendered["scales"]["bond"]["flags"] == ["unverified"]


def test_missing_rules_and_cut_offs_hold_from_their_date() -> None:
    """Rule 30: a rating is judged by the rules in force on its day."""
    items = [3, 1, None, None]
    before, since = date(2023, 4, 16), date(2023, 4, 17)
    assert score(toy(), items, at=before).scales["total"].value is None
    late = score(toy(), items, at=since).scales["total"]
    assert late.value == 30
    assert late.flags == (Flag.PRORATED,)
    assert score(toy(), items).scales["total"] == late
    assert score(toy(), items, at=datetime(2023, 4, 17, 1, tzinfo=UTC)).scales["total"] == late
    exact = [1, 3, 1, 2]  # mean of 1, 4−3, 1, 2 = 5/4
    met = {
        day: [(r.cutoff.meaning, r.met) for r in score(toy(), exact, at=day).cutoffs]
        for day in (before, since, None)
    }
    assert met == {before: [("old", True)], since: [("new", False)], None: [("new", False)]}
    assert score(toy(), exact).scales["total"].text == "12.50"


# --- Cut-offs and bands ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines,below,at_most,band",
    [
        ((90, 90, 90, 89), True, True, "fair"),
        ((90, 90, 90, 90), False, True, "fair"),
        ((90, 90, 90, 91), False, False, "fair"),
        ((90, 90, 90, 75), True, True, None),
        ((100, 100, 100, 90), False, False, "good"),
        ((0, 0, 0, 0), True, True, "poor"),
    ],
)
def test_both_conventions_of_the_srs_cut_off_are_read(
    lines: tuple[int, ...], below: bool, at_most: bool, band: str | None
) -> None:
    """Rule 36: where sources disagree, each reading is given with its operator and source."""
    scored = score(SRS, lines)
    readings = {r.cutoff.operator: r for r in scored.cutoffs if r.item is None}
    assert readings.keys() == {"<", "<="}
    assert (readings["<"].met, readings["<="].met) == (below, at_most)
    assert readings["<"].cutoff.source == ("S7",)
    assert readings["<="].cutoff.source == ("S6",)
    items = {r.item: r.met for r in scored.cutoffs if r.item is not None}
    assert items == {number: line < 90 for number, line in enumerate(lines, 1)}
    assert [reading.label for reading in scored.bands] == [band]


def test_unanswered_items_are_read_against_no_cut_off() -> None:
    """Rule 30: not answered is not a low answer."""
    assert [r.item for r in score(SRS, [None, 10, None, 95]).cutoffs] == [2, 4]


@pytest.mark.parametrize(
    "total,label",
    [
        (5, "extremely dissatisfied"),
        (9, "extremely dissatisfied"),
        (10, "dissatisfied"),
        (19, "slightly dissatisfied"),
        (20, "neutral"),
        (21, "slightly satisfied"),
        (30, "satisfied"),
        (31, "extremely satisfied"),
        (35, "extremely satisfied"),
    ],
)
def test_swls_bands_include_both_ends(total: int, label: str) -> None:
    """Rule 28: bands are data, with their bounds as printed."""
    each, more = divmod(total, 5)
    items = [each + (number < more) for number in range(5)]
    assert [reading.label for reading in score(SWLS, items).bands] == [label]


def test_the_wai_has_no_cut_off() -> None:
    """Rule 44: where no cut-off is published, none is shown."""
    for definition in (WAI, WAI_SR, WAI_S):
        assert (definition.cutoffs, definition.bands) == ((), ())


# --- Raw items ------------------------------------------------------------------------------


def test_answers_are_taken_as_people_give_them() -> None:
    """Rule 30: words of the scale, numbers, exact decimals; nothing given means not answered."""
    assert parse_items(SRS, ["8.8", 7, 8.8, Decimal("9.30")]) == (88, 70, 88, 93)
    assert parse_items(SRS, ["", None, "  ", " 0 "]) == (None, None, None, 0)
    words = ["Never", "very  OFTEN", " Always ", "4"]
    assert parse_items(WAI, [*words, *[1] * 32])[:4] == (1, 6, 7, 4)
    assert parse_items(SWLS, ["agree", "Strongly disagree", 4, 4, 4]) == (6, 1, 4, 4, 4)


@given(tenths=st.lists(st.integers(0, 100), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_every_tenth_survives_json(tenths: list[int]) -> None:
    """Rule 30: a float of a JSON body is read by its decimal text, so no tenth is lost."""
    body = json.loads(json.dumps([tenth / 10 for tenth in tenths]))
    assert parse_items(SRS, body) == tuple(tenths)
    assert parse_items(SRS, [SRS.response.shown(tenth) for tenth in tenths]) == tuple(tenths)


def test_an_answer_outside_the_scale_is_named_with_its_range() -> None:
    """Rule 30: the item, the answer and the range in the instrument's own units."""
    with pytest.raises(ItemOutOfRange) as error:
        parse_items(SRS, [1, 2, "11.2", 4])
    assert error.value.to_caller == "item 3: 11.2 is outside 0.0 to 10.0 in steps of 0.1"
    assert error.value.ids == {"item": 3, "low": "0.0", "high": "10.0", "step": "0.1"}
    with pytest.raises(ItemOutOfRange) as error:
        check_items(SRS, (10, 20, 30, 101))
    assert error.value.to_caller == "item 4: 10.1 is outside 0.0 to 10.0 in steps of 0.1"
    with pytest.raises(ItemOutOfRange) as error:
        check_items(WAI, (0, *[1] * 35))
    assert error.value.to_caller.startswith("item 1: 0 is outside 1 to 7 in steps of 1")


OUTSIDE: list[Any] = [
    -1, 101, "8.85", "-0.1", 8.85, 10**6000, -(10**6000), Decimal("1E-999999999"), 1e-300, 1e300,
    "999999999999999", Decimal("0E+999999"),
]  # fmt: skip
NO_ANSWER: list[Any] = [
    True, False, float("nan"), float("inf"), Decimal("sNaN"), "1e3", "1_0", "８", "Always",
    "x" * 10**6, "\x00", "\ud800", "8,5", [], {}, b"8", object(),
]  # fmt: skip


@pytest.mark.parametrize("answer", OUTSIDE, ids=range(len(OUTSIDE)))
def test_numbers_outside_the_scale_are_refused(answer: Any) -> None:
    """Rule 30: whatever its size or form, a number off the scale is refused at once."""
    with pytest.raises(ItemOutOfRange) as error:
        parse_items(SRS, [answer, 1, 1, 1])
    assert not isinstance(error.value, ItemNotUnderstood)
    assert len(error.value.to_caller) < 120


@pytest.mark.parametrize("answer", NO_ANSWER, ids=range(len(NO_ANSWER)))
def test_what_is_no_answer_is_refused(answer: Any) -> None:
    """Rule 30: true is not one, and a word of another scale is not an answer."""
    with pytest.raises(ItemNotUnderstood) as error:
        parse_items(SRS, [1, answer, 1, 1])
    assert error.value.ids["item"] == 2
    assert len(error.value.to_caller) < 160
    error.value.to_caller.encode("ascii")


@pytest.mark.parametrize("item", [True, 1.0, "1", 2**80])
def test_raw_items_are_integers_in_range(item: Any) -> None:
    """Rule 30: stored items hold no text, no float and no boolean."""
    with pytest.raises(ItemOutOfRange):
        check_items(SRS, (item, 1, 1, 1))
    with pytest.raises(ItemOutOfRange):
        score(SRS, (item, 1, 1, 1))


def test_refusals_hold_no_answer() -> None:
    """R27: what may reach a log names the item, never what a person answered."""
    for answers in (["Nver", 1, 1, 1], [77.7, 1, 1, 1]):
        with pytest.raises(ItemOutOfRange) as error:
            parse_items(SRS, answers)
        for told in (str(error.value), repr(error.value), error.value.detail):
            assert "Nver" not in told
            assert "77.7" not in told
        assert str(answers[0]) in error.value.to_caller


def test_a_word_of_the_scale_misspelt_is_answered_with_the_words() -> None:
    """Rule 30: the refusal says what would be understood."""
    with pytest.raises(ItemNotUnderstood) as error:
        parse_items(WAI, ["Oftn", *[1] * 35])
    assert error.value.to_caller.endswith(
        "its words are Never, Rarely, Occasionally, Sometimes, Often, Very Often, Always"
    )


@pytest.mark.parametrize("count", [0, 3, 5])
def test_the_wrong_number_of_items_is_refused(count: int) -> None:
    """Rule 30: one place per item, null where not answered."""
    for refuse in (check_items, parse_items, score):
        with pytest.raises(ItemCountWrong) as error:
            refuse(SRS, (1,) * count)
        assert error.value.ids == {"instrument": "SRS-3", "expected": "4", "got": count}


def test_a_perspective_without_a_form_is_refused() -> None:
    """Rule 28: the SRS has no therapist form."""
    for wrong in ("therapist", "nobody", ""):
        with pytest.raises(PerspectiveUnknown):
            score(SRS, (1, 1, 1, 1), perspective=wrong)
    with pytest.raises(PerspectiveUnknown, match="it has client, therapist"):
        series_id(WAI, "observer")


# --- Series and reports ---------------------------------------------------------------------


def test_series_differ_by_instrument_form_metric_and_key_major() -> None:
    """Rule 32: only scores of one instrument, form, metric and key major share an axis."""
    ids = [series_id(d, p) for d in (*catalogue().values(), toy()) for p in d.forms]
    assert len(set(ids)) == len(ids)
    assert str(series_id(WAI, "therapist")) == "WAI-36/WAI-36-T/sum/1"
    minor = toy(TOY).model_copy(update={"version": "2.7"})
    major = toy(TOY).model_copy(update={"version": "3.0"})
    assert series_id(minor, "client") == series_id(toy(), "client")
    assert series_id(major, "client") != series_id(toy(), "client")
    assert series_id(toy(), "client").metric == "mean x 10"


def test_a_report_is_json_without_floats_and_names_its_key() -> None:
    """Rule 36: instrument, version, key hash, flags and both cut-off readings are in it."""
    report = score_report("SRS", ["8.5", 9.0, 8, "8.8"], perspective="client")
    text = json.dumps(report)
    json.loads(text, parse_float=lambda number: pytest.fail(f"a float: {number}"))
    assert (report["instrument"], report["key_hash"]) == ("SRS-3", SRS.key_hash)
    assert report["form"] == "SRS-3"
    assert report["answers"] == ["8.5", "9.0", "8.0", "8.8"]
    assert report["scales"]["total"] == {
        "value": "34.3",
        "exact": "343/10",
        "metric": "sum",
        "restates": None,
        "range": ["0", "40"],
        "missing": [],
        "flags": [],
    }
    readings = [(c["operator"], c["met"]) for c in report["cutoffs"] if c["scale"] == "total"]
    assert readings == [("<", True), ("<=", True)]
    assert report["bands"][0]["label"] is None
    assert report["licence"]["attestation_required"] is True


def test_a_report_reads_as_a_table() -> None:
    """Rule 36: flags, missing items, operators and sources stand beside the numbers."""
    report = score_report("SRS", ["8.5", 9, 8, "8.8"], perspective="client")
    assert report_text(report) == example("text").rstrip("\n")
    table = report_text(score_report("WAI-36", [1] * 35 + [""], perspective="therapist"))
    assert "therapist form WAI-36-T" in table
    assert "31.64  12 to 84    prorated, missing_rule_product_default" in table
    assert "not answered: 36" in table
    assert "unverified" in report_text(score_report("WAI-S", [4] * 12))
    assert "none" in report_text(score_report("SWLS", [4, 4, 4, 4, None]))
