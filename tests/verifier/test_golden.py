"""A bundle that was handed out once is checked for ever, and what is shown of it stays the same."""

import json
import re
from pathlib import Path

import pytest
from cryptography import x509

from api.verifier import command, report, views
from api.verifier.command import Status, main, verified
from infra.bundle import MANIFEST, BundleBroken, Manifest, packed, rendered, unpacked
from tests.api.browsing import launched
from tests.verifier.forging import GOLDEN, KEYS, LOG_KEY, WITNESS, Forger

ROOTS = x509.load_pem_x509_certificates(KEYS["timestamp_roots"].encode())


def test_a_bundle_once_handed_out_still_proves_all_of_it() -> None:
    """Evidence bundle: signer, entries, contents, completeness, views, page, witness and time."""
    verdict = verified(GOLDEN.read_bytes(), keys=[LOG_KEY], witnesses=[WITNESS], roots=ROOTS)
    assert [point.code for point in verdict.proven] == [
        "signer", "logged", "contents", "export", "complete", "views", "report", "witness",
        "timestamp",
    ]  # fmt: skip
    assert [point.code for point in verdict.open] == ["withheld_reader", "truth"]


def test_what_nobody_vouched_for_is_not_proven() -> None:
    """Evidence bundle: without keys from elsewhere it says whose log, which witness and what time
    are open, and where a key stands that one might compare."""
    verdict = verified(GOLDEN.read_bytes())
    open_ = {point.code: point.says for point in verdict.open}
    assert open_.keys() == {"signer", "withheld_reader", "truth", "witness", "timestamp"}
    assert str(LOG_KEY) in open_["signer"]
    assert WITNESS.name in open_["witness"]


def test_the_page_and_the_views_are_those_of_their_version() -> None:
    """Evidence bundle: who changes what a page or a view says raises its version; old bundles
    were checked by this very code."""
    files = unpacked(GOLDEN.read_bytes())
    contents = Manifest.parse(files[MANIFEST]).contents
    assert (contents.report, contents.views) == (report.VERSION, views.versions())


def test_another_version_of_the_code_is_said() -> None:
    """Evidence bundle: views and page that other code made are bound by the log, and not folded
    again; a verdict says so and names the program."""
    forger = Forger()
    forger.contents["report"] = 99
    forger.contents["views"]["timeline"] = 99
    forger.contents["program"] = "9.9"
    said = [{"view": name, "version": v} for name, v in sorted(forger.contents["views"].items())]
    forger.exported["views"] = said
    verdict = verified(forger.bundle())
    open_ = {point.code: point.says for point in verdict.open}
    assert "timeline" in open_["views"]
    assert "9.9" in open_["report"]
    assert "report" not in {point.code for point in verdict.proven}


def test_the_command_says_it_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Evidence bundle: what is proven and what is not, in plain words; exit status 0."""
    assert main([str(GOLDEN), "--key", KEYS["log"]]) == Status.FITS
    said = capsys.readouterr().out
    assert said.startswith("bundle-1.zip: everything in it fits together.")
    assert said.index("Proven") < said.index("stand in that log") < said.index("Not proven")
    assert max(map(len, said.splitlines())) <= 96


def test_the_command_says_it_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Evidence bundle: one stable document for programs."""
    assert main([str(GOLDEN), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() == {
        "format", "bundle", "ok", "relationship", "clinic", "known_at", "happened_by", "log",
        "size", "root", "proven", "not_proven",
    }  # fmt: skip
    assert (document["format"], document["ok"]) == ("rapport-verdict/1", True)
    assert all(point.keys() == {"code", "says"} for point in document["proven"])


def test_the_command_names_the_first_thing_that_does_not_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Evidence bundle: exit status 1, with the file and the entry."""
    forger = Forger()
    forger.entry("session.held").commits = False
    forger.entry("session.held").changed(joint=True)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(forger.bundle())
    position = forger.entry("session.held").leaf["position"]
    assert main([str(broken)]) == Status.DOES_NOT_FIT
    assert f"position {position} of the log" in capsys.readouterr().out
    assert main([str(broken), "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["code"]) == (False, "commitment")
    assert (document["position"], document["file"]) == (
        position, f"entries/{position:012}.content.json",
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["absent.zip"],
        [str(GOLDEN), "--key", "nonsense"],
        [str(GOLDEN), "--witness", KEYS["log"]],
        [str(GOLDEN), "--timestamp-roots", str(GOLDEN)],
        [str(GOLDEN), "--timestamp-roots", "absent.pem"],
        [str(GOLDEN), "--log", "absent"],
    ],
)
def test_what_cannot_be_used_is_told_apart(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Evidence bundle: a wrong option is no finding: exit status 2, one sentence, no traceback."""
    assert main(arguments) == Status.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"rapport-verify: [^\n]+\n", shown.err)


def test_every_finding_has_its_sentence() -> None:
    """House rule: whatever is found is said in words; nothing is said that is never found."""
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("api/verifier", "infra")
        for path in (Path(command.__file__).parents[2] / folder).glob("*.py")
        if path.name in {"bundle.py", "checks.py", "command.py", "outside.py"}
    )
    found = set(re.findall(r'BundleBroken\(\s*"(\w+)"', source))
    codes = {"malformed", "unsigned", "not_authentic"}
    found |= {f"checkpoint_{code}" for code in codes} | {"proof_malformed", "proof_inclusion"}
    found |= {f"timestamp_{code}" for code in ("malformed", "another_message", "not_authentic")}
    from api.verifier.telling import SAYS

    assert found == set(SAYS)


def test_the_page_needs_nothing_and_reads_well(tmp_path: Path) -> None:
    """Evidence bundle: a page for people: no script, nothing from elsewhere, every statement's
    entry is on it, it is narrow enough for a phone, and it prints."""
    page_file = tmp_path / "report.html"
    page_file.write_bytes(unpacked(GOLDEN.read_bytes())["report.html"])
    asked: list[str] = []
    with launched() as browser:
        page = browser.new_page(viewport={"width": 360, "height": 800}, java_script_enabled=False)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        assert page.title() == "Record of a therapeutic relationship"
        cited = {link.get_attribute("href") for link in page.locator("a.cite").all()}
        entries = {f"#{each.get_attribute('id')}" for each in page.locator("article").all()}
        assert cited
        assert cited <= entries
        assert page.locator("h1").count() == 1
        assert page.locator("script, img, link, iframe").count() == 0
        printed = page.pdf(format="A4")
        page.close()
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert asked == [page_file.as_uri()]
    assert printed.startswith(b"%PDF")


def test_text_in_entries_stays_text() -> None:
    """Evidence bundle: what somebody wrote in a note cannot become part of the page."""
    forger = Forger()
    forger.entry("goal.proposed").changed(statement='<script>alert("x")</script> & more')
    page = unpacked(forger.bundle())["report.html"].decode()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; more" in page


def test_the_same_bundle_has_one_form() -> None:
    """Evidence bundle: written again from what was read it is the same, byte for byte."""
    data = GOLDEN.read_bytes()
    files = unpacked(data)
    assert packed(files) == data
    assert rendered(json.loads(files[MANIFEST])) == files[MANIFEST]
    with pytest.raises(BundleBroken, match="container"):
        unpacked(data + b"\0")
