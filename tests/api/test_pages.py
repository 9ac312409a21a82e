"""The pages, in a real browser: everybody sees what is theirs, by keyboard, in print, when narrow,
without a script, and as of two times."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Browser, expect

from api.doors import SESSION_COOKIE
from domain.access import RecordRead, Role, access_stream
from domain.alliance import RateAlliance
from domain.appointment import MissSession, ScheduleSession
from domain.clinic import AttestInstrumentLicence, Scope
from domain.event import Erased
from domain.goal import ProposeGoal
from domain.instrument import Perspective
from domain.person import RegisterPerson
from domain.rating import SupersedeRating
from domain.relationship import Constellation, OpenRelationship, relationship_stream
from domain.task import Aim, Done, ProposeTask, ReviewTask
from domain.withdrawal import WithdrawConsent
from tests.api.browsing import Visitor, launched, served, write_personas
from tests.api.conftest import SECRET, House
from tests.api.happenings import happened

INJECTED = '<script>document.title = "taken"</script><img src="https://example.invalid/x" alt="">'
"""What somebody may write into a text; it is to be shown as the text that it is."""
LATE_REASON = "The paper form lay in the wrong folder."
REMARK = "I would rather he did not read this."

WAI_CLIENT = ("5",) * 18 + ("6",) * 18
WAI_THERAPIST = ("4",) * 36


@dataclass
class Site:
    """A house with a history, its address, and the people who go there with a browser."""

    house: House
    base: str
    browser: Browser
    before_the_late_entry: datetime
    visitors: list[Visitor] = field(default_factory=list)

    @property
    def course(self) -> str:
        return f"/relationships/{self.house.relationship}"

    @property
    def pages(self) -> dict[Role, tuple[str, ...]]:
        """Every page that each role may open."""
        notes, cards = f"{self.course}/notes", f"{self.course}/methods"
        apart = (f"{self.course}/supervision", f"{self.course}/process-notes")
        one = (self.course, f"{self.course}/timeline", f"{self.course}/readers")
        entry = f"{self.course}/entries/1"
        return {
            Role.THERAPIST: (
                "/",
                *one,
                entry,
                notes,
                cards,
                *apart,
                f"{self.course}?happened_by=2026-03-02T12:00:00",
            ),
            Role.CLIENT: ("/", *one, entry, notes),
            Role.SUPERVISOR: ("/", *one, entry, notes, cards, *apart, "/base-rates"),
            Role.COMPLIANCE_OFFICER: ("/", *one, entry, "/base-rates", "/log"),
            Role.ADMINISTRATOR: ("/base-rates", "/log"),
        }

    def visitor(self, role: Role | None = None, **browser: Any) -> Visitor:
        """Somebody in that role, signed in; None: nobody in particular."""
        self.visitors.append(Visitor(self.browser, self.base, **browser))
        if role is not None:
            self.visitors[-1].sign_in(self.house.everybody[role].person)
        return self.visitors[-1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as opened:
        yield opened


@pytest.fixture
def site(house: House, browser: Browser) -> Iterator[Site]:
    happened(house)
    before = history(house)
    house.practice.worker.catch_up()
    names = {Role.SUPERVISOR: "Lena Marín", Role.COMPLIANCE_OFFICER: "Noor Tanaka"}
    write_personas(
        house.practice.clinic.home,
        {role: (names.get(role, role), one.person) for role, one in house.everybody.items()},
    )
    with served(house.practice.client.app) as base:
        site = Site(house, base, browser, before)
        yield site
        for visitor in site.visitors:
            visitor.close()


# --- What happened in the house -------------------------------------------------------------


def history(house: House) -> datetime:
    """A few weeks more; gives a moment just before something was recorded late."""
    practice, client, therapist = house.practice, house.client, house.therapist
    today = practice.clinic.clock.now.date()
    practice.recorded(
        house.administrator,
        AttestInstrumentLicence(
            instrument="WAI-36", holder="The practice", basis="permission", valid_from=today
        ),
    )
    for _ in range(4):
        week(house)
    propose(house, INJECTED)
    practice.recorded(
        therapist,
        ProposeTask(
            relationship=house.relationship,
            description="One stop further on the underground.",
            aim=Aim(goals=(house.goal,)),
            by=therapist.person,
        ),
    )
    missed = uuid4()
    now = practice.clinic.clock.now
    practice.recorded(
        therapist,
        ScheduleSession(
            relationship=house.relationship,
            session=missed,
            starts_at=now + timedelta(hours=1),
            ends_at=now + timedelta(hours=2),
        ),
    )
    practice.later(hours=3)
    practice.recorded(
        therapist,
        MissSession(
            relationship=house.relationship,
            session=missed,
            who=client.person,
            why="Overslept after a night shift.",
        ),
    )
    house.consent(Scope.RECORDING)
    practice.later(days=2)
    withdrawn = WithdrawConsent(
        relationship=house.relationship, consent=house.consents[Scope.RECORDING]
    )
    practice.recorded(client, withdrawn)
    return late(house)


def week(house: House) -> None:
    """A session, rated from both sides; the client's first reading of the form is wrong."""
    practice, session, rating = house.practice, uuid4(), uuid4()
    practice.later(days=7)
    practice.recorded(house.therapist, house.held(session))
    rated = RateAlliance(
        relationship=house.relationship,
        rating=rating,
        instrument="WAI-36",
        perspective=Perspective.CLIENT,
        rater=house.client.person,
        session=session,
        answers=WAI_CLIENT,
    )
    practice.recorded(house.client, rated)
    other_side = {
        "rating": uuid4(),
        "perspective": Perspective.THERAPIST,
        "rater": house.therapist.person,
        "answers": WAI_THERAPIST,
    }
    practice.recorded(house.therapist, rated.model_copy(update=other_side))
    practice.recorded(
        house.client,
        SupersedeRating(
            relationship=house.relationship,
            superseded=rating,
            reason="Two answers were read off in the wrong line.",
            answers=(None, *WAI_CLIENT[1:]),
        ),
    )


def propose(house: House, statement: str) -> None:
    house.practice.recorded(
        house.client,
        ProposeGoal(relationship=house.relationship, statement=statement, by=house.client.person),
    )


def late(house: House) -> datetime:
    """A session of three days ago that nobody had recorded; the moment before it was."""
    practice = house.practice
    before = practice.later(minutes=10)
    practice.later(days=3)
    started = before - timedelta(hours=5)
    forgotten = house.held().model_copy(
        update={
            "started_at": started,
            "ended_at": started + timedelta(minutes=50),
            "late_reason": LATE_REASON,
        }
    )
    practice.recorded(house.therapist, forgotten)
    practice.later(hours=1)
    return before


# --- Signing in -----------------------------------------------------------------------------


def test_each_persona_signs_in_by_keyboard_alone(site: Site) -> None:
    """Pages: Tab and Enter are enough, the focus goes down the page and is always to be seen."""
    for role, somebody in site.house.everybody.items():
        sign_in_by_keyboard(site, role, somebody.person)


def sign_in_by_keyboard(site: Site, role: Role, person: UUID) -> None:
    visitor = site.visitor()
    visitor.open("/sign-in")
    places = []
    while (focus := visitor.tab())["value"] != str(person):
        assert focus["outline"] == "solid"
        assert focus["width"] >= 2
        places.append((focus["top"], focus["left"]))
        assert len(places) < 20, "the persona is not to be reached"
    # The link that skips to the content comes into view at the top when it has the focus.
    assert places[1:] == sorted(places[1:])
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url(lambda url: "/sign-in" not in url)
    assert visitor.page.url == site.base + site.pages[role][0]
    expect(visitor.page.locator("header .who")).to_contain_text(role.replace("_", " "))
    visitor.page.get_by_role("button", name="Sign out").focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/sign-in")
    assert visitor.open("/") == 200
    assert "/sign-in" in visitor.page.url, "signed out, nothing is left open"
    assert visitor.faults == []


def test_the_session_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    """Requirement: the cookie is HttpOnly and SameSite=Strict, and ends with the browser."""
    visitor = site.visitor(Role.THERAPIST)
    (cookie,) = visitor.context.cookies()
    assert cookie["name"] == SESSION_COOKIE
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert cookie["expires"] == -1
    assert visitor.page.evaluate("document.cookie") == ""


def test_no_other_site_signs_anybody_in_or_out(site: Site) -> None:
    """Requirement: forms are taken from this site's own pages only."""
    client, person = site.house.practice.client, str(site.house.therapist.person)
    for path in ("/sign-in", "/sign-out"):
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://example.invalid"}):
            answer = client.post(path, data={"persona": person}, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


def test_who_has_a_token_signs_in_by_it(site: Site) -> None:
    """Requirement: without personas a token opens the pages; a wrong one is told so."""
    write_personas(site.house.practice.clinic.home, {})
    visitor = site.visitor()
    visitor.open("/sign-in")
    expect(visitor.page.get_by_role("button")).to_have_count(1)
    for token, lands in (("rpt_wrong", "/sign-in"), (site.house.client.token, "/")):
        visitor.page.get_by_label("Token").fill(token)
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_load_state()
        visitor.page.wait_for_url(f"**{lands}")
    assert visitor.page.url == f"{site.base}/"


def test_signing_in_leads_where_one_wanted_to_go(site: Site) -> None:
    """Pages: whoever is not signed in is asked to be, then sees what was asked for; but is led
    to no other site."""
    visitor = site.visitor()
    wanted = f"{site.course}?happened_by=2026-03-02T12:00:00"
    assert visitor.open(wanted) == 200
    assert "/sign-in?next=" in visitor.page.url
    visitor.page.locator(f'button[value="{site.house.therapist.person}"]').click()
    visitor.page.wait_for_url(f"**{wanted}")
    for elsewhere in ("https://example.invalid/", "//example.invalid/", "/\\example.invalid"):
        visitor.open(f"/sign-in?next={elsewhere}")
        visitor.page.locator(f'button[value="{site.house.therapist.person}"]').click()
        visitor.page.wait_for_load_state()
        assert visitor.page.url == f"{site.base}/"
    assert visitor.faults == []


# --- How every page is built ----------------------------------------------------------------

STRUCTURE = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const named = (it) => (it.getAttribute("aria-label") ?? "")
    + (it.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean)
      .map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
  const levels = all("h1, h2, h3").map((it) => Number(it.tagName[1]));
  return {
    title: document.title,
    language: document.documentElement.lang,
    headings: all("h1").length,
    skipped: levels.filter((level, at) => level > (levels[at - 1] ?? 0) + 1),
    landmarks: ["header", "main", "footer"].map((tag) => all(tag).length),
    navigation: all("nav").filter((it) => !named(it)).length,
    tables: all("table").filter((it) => !it.caption?.textContent.trim()
      || it.querySelectorAll("thead th:not([scope=col]), tbody th:not([scope=row])").length).length,
    figures: all("figure")
      .filter((it) => !it.querySelector("figcaption")?.textContent.trim()).length,
    drawings: all("figure .plot svg").filter((it) => it.getAttribute("role") !== "img"
      || !named(it).trim() || !it.querySelector("desc")?.textContent.trim()).length,
    pictures: all("img:not([alt])").length,
    fields: all("input:not([type=hidden]), select").filter((it) => !it.labels?.length).length,
    regions: all("[role=region], [role=group]").filter((it) => !named(it).trim()).length,
    doubled: all("[id]").map((it) => it.id).filter((id, at, ids) => ids.indexOf(id) !== at),
    styled: all("[style], style").length,
    inline: all("script:not([src]), [onclick], [onload], [onerror]").length,
    vague: all("a[href]").filter((it) => !it.textContent.trim()).length,
  };
}"""


def test_every_page_is_well_built(site: Site, tmp_path: Path) -> None:
    """Pages: titles, one heading, landmarks, captions, labels; no error, nothing from elsewhere."""
    for role in site.pages:
        look_at_every_page(site, role, tmp_path)


def look_at_every_page(site: Site, role: Role, folder: Path) -> None:
    visitor = site.visitor(role)
    titles = set()
    for number, path in enumerate(site.pages[role]):
        assert visitor.open(path) == 200, path
        built = visitor.page.evaluate(STRUCTURE)
        titles.add(built.pop("title"))
        assert built == {
            "language": "en",
            "headings": 1,
            "skipped": [],
            "landmarks": [1, 1, 1],
            "navigation": 0,
            "tables": 0,
            "figures": 0,
            "drawings": 0,
            "pictures": 0,
            "fields": 0,
            "regions": 0,
            "doubled": [],
            "styled": 0,
            "inline": 0,
            "vague": 0,
        }, path
        picture = folder / f"{role}-{number}.png"
        visitor.page.screenshot(path=picture, full_page=True)
        assert picture.stat().st_size > 10_000, "an empty page"
    assert len(titles) >= len(set(site.pages[role])) - 1, "pages are told apart by their titles"
    assert visitor.faults == []


def test_one_skips_to_the_content(site: Site) -> None:
    """Pages: the first Tab offers the way past the navigation."""
    visitor = site.visitor(Role.THERAPIST)
    visitor.open(site.course)
    assert visitor.tab()["name"] == "Skip to content"
    visitor.page.keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.id") == "content"
    assert visitor.tab()["name"] == "Course", "the first link of the content, past the navigation"


def test_nothing_scrolls_sideways_when_narrow(site: Site) -> None:
    """Pages: 320 px wide, or 1280 at 400 %, one reads from top to bottom; wide things scroll
    within themselves and can be reached by keyboard."""
    for role in (Role.THERAPIST, Role.COMPLIANCE_OFFICER, Role.ADMINISTRATOR):
        visitor = site.visitor(role, width=320)
        for path in ("/sign-in", *site.pages[role]):
            visitor.open(path)
            assert not visitor.is_wider_than_the_window(), path
            beyond_reach = visitor.page.evaluate(
                """() => [...document.querySelectorAll(".scroll, .plot")]
                  .filter((it) => it.scrollWidth > it.clientWidth && it.tabIndex !== 0).length"""
            )
            assert beyond_reach == 0, path


def test_the_course_prints_with_its_chart(site: Site) -> None:
    """Pages: on paper stand the chart and all tables, folded ones too; what is only for screens
    does not."""
    visitor = site.visitor(Role.THERAPIST)
    visitor.open(site.course)
    visitor.page.emulate_media(media="print")
    expect(visitor.page.locator("form.as-of")).to_be_hidden()
    expect(visitor.page.locator(".plot svg")).to_be_visible()
    tables = visitor.page.locator("table.ratings")
    assert tables.count() == 3, "the WAI, the SRS and the PHQ-9"
    for number in range(tables.count()):
        assert tables.nth(number).evaluate("it => it.checkVisibility()")
        assert tables.nth(number).evaluate("it => it.getBoundingClientRect().height") > 20
    printed = visitor.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(printed) > 20_000


def test_what_people_write_is_shown_as_text(site: Site) -> None:
    """Requirement: nothing that stands in a text is run or loaded, in page, chart or title."""
    for script in (True, False):
        visitor = site.visitor(Role.THERAPIST, script=script)
        for path in (f"{site.course}/timeline", site.course):
            visitor.open(path)
            assert "taken" not in visitor.page.title()
            assert "<script>document" not in visitor.text()
            assert visitor.page.locator('img[src*="example.invalid"]').count() == 0
        expect(visitor.page.locator("#goals ~ ol")).to_contain_text(INJECTED)
        assert visitor.faults == []


def test_pages_forbid_what_they_do_not_need(site: Site) -> None:
    """Requirement: a strict policy; nothing is cached that shows the record."""
    house = site.house
    for path in ("/sign-in", "/", site.course, f"{site.course}/timeline"):
        headers = house.practice.client.get(path, headers=house.therapist.headers).headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "style-src": "'self'",
            "img-src": "'self'",
            "script-src": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["cache-control"] == "no-store"


# --- As of two times ------------------------------------------------------------------------


def shown_sessions(visitor: Visitor) -> str:
    return visitor.page.locator("dl.facts").first.inner_text()


def test_the_slider_shows_what_was_known_then(site: Site) -> None:
    """Rule 5: moved back by keyboard, the page leaves out what was recorded later, and says so."""
    visitor = site.visitor(Role.THERAPIST)
    visitor.open(site.course)
    assert "Sessions held\n6" in shown_sessions(visitor)
    slider, output = visitor.page.locator("#moment"), visitor.page.locator("output")
    last = output.inner_text()
    slider.focus()
    visitor.page.keyboard.press("ArrowLeft")
    assert output.inner_text() != last, "it says where it stands while it is moved"
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**known_at=**")
    assert "moment" not in visitor.page.url, "the address holds the time alone"
    banner = visitor.page.locator(".notice.past")
    expect(banner).to_contain_text("As known at")
    expect(banner).to_contain_text("1 entry recorded later is not shown")
    assert "Sessions held\n5" in shown_sessions(visitor)
    assert output.inner_text() != last
    visitor.page.get_by_role("link", name="As of now").click()
    visitor.page.wait_for_url(f"**{site.course}")
    assert "Sessions held\n6" in shown_sessions(visitor)
    assert visitor.faults == []


def test_the_slider_works_without_a_script(site: Site) -> None:
    """Rule 5, pages: plain HTML is enough; the slider counts where it was moved, else the field."""
    visitor = site.visitor(Role.THERAPIST, script=False)
    visitor.open(site.course)
    visitor.page.locator("#moment").focus()
    visitor.page.keyboard.press("ArrowLeft")
    visitor.page.get_by_role("button", name="Show").click()
    visitor.page.wait_for_load_state()
    expect(visitor.page.locator(".notice.past")).to_contain_text("1 entry recorded later")
    assert "Sessions held\n5" in shown_sessions(visitor)
    visitor.page.locator("#known_at").fill("2026-03-02T08:00:00")
    visitor.page.get_by_role("button", name="Show").click()
    visitor.page.wait_for_load_state()
    expect(visitor.page.locator("main")).to_contain_text("Nothing of this relationship was known")
    assert visitor.page.locator("figure").count() == 0


def test_known_and_happened_are_two_times(site: Site) -> None:
    """Rule 5: they differ after a late entry: known later, it had happened before."""
    visitor = site.visitor(Role.THERAPIST)
    moment = site.before_the_late_entry.strftime("%Y-%m-%dT%H:%M:%S")
    visitor.open(f"{site.course}?known_at={moment}")
    assert "Sessions held\n5" in shown_sessions(visitor)
    visitor.open(f"{site.course}?happened_by={moment}")
    assert "Sessions held\n6" in shown_sessions(visitor)
    expect(visitor.page.locator("#happened_by")).to_have_value(
        re.compile(moment.removesuffix(":00"))
    )
    visitor.open(f"{site.course}?known_at=&happened_by=")
    assert visitor.page.locator(".notice.past").count() == 0, "blank fields are no times"
    assert visitor.open(f"{site.course}?known_at=yesterday") == 422
    expect(visitor.page.locator("main")).to_contain_text("known_at")


# --- What they show -------------------------------------------------------------------------


def test_chart_and_tables_show_the_same(site: Site) -> None:
    """Rules 29, 32, 36: each instrument on its own axes, both sides as lines, superseded values
    hollow, prorated ones ringed; the tables hold all of it, each value with its entry."""
    visitor = site.visitor(Role.THERAPIST)
    visitor.open(site.course)
    drawing = visitor.page.locator(".plot svg")
    marks = drawing.locator("path > title").all_text_contents()
    hollow = [mark for mark in marks if "superseded" in mark]
    assert sum("client: total 158 of 36 to 252" in mark for mark in hollow) == 4
    prorated = [mark for mark in marks if "client: total" in mark and "prorated" in mark]
    assert len(prorated) == 8, "a point and its ring, of four sessions"
    assert sum("therapist: total" in mark for mark in marks) == 4
    for key in ("client", "therapist", "superseded by another rating", "prorated"):
        expect(visitor.page.locator("ul.legend")).to_contain_text(key)
    for summary in visitor.page.locator("section[aria-labelledby=ratings] summary").all():
        summary.click()
    wai = visitor.page.locator("table.ratings").first
    expect(wai.locator("tbody tr")).to_have_count(12)
    expect(wai.locator("tbody tr.quiet")).to_have_count(4)
    entry = wai.locator("tbody tr").first.locator("a.ref")
    number = entry.inner_text()
    entry.click()
    visitor.page.wait_for_url(f"**{site.course}/timeline#entry-{number}")
    line = visitor.page.locator(f"#entry-{number}")
    expect(line).to_contain_text("Rating")
    assert line.evaluate("it => it.matches(':target')")


def test_agreements_are_shown_as_they_stand(site: Site) -> None:
    """Rules 20, 25: a withdrawn consent, a goal that not everybody agreed to, a task, a session
    that was missed and why."""
    visitor = site.visitor(Role.SUPERVISOR)
    visitor.open(site.course)
    main = visitor.page.locator("main")
    recording = main.locator("tr", has_text="Recording")
    expect(recording).to_contain_text("withdrawn")
    expect(main.locator("dl.triage")).to_contain_text("goals not agreed by all")
    goal = main.locator("li.card", has_text=SECRET)
    expect(goal).to_contain_text("Maria Beispiel (client) agrees")
    expect(goal).to_contain_text("Dr. Jan Muster (therapist) has not answered")
    expect(main.locator("li.card", has_text="One stop further")).to_contain_text("For goal 1")
    main.locator("section[aria-labelledby=sessions] summary").click()
    missed = main.locator("tr", has_text="missed")
    expect(missed).to_contain_text("Overslept after a night shift.")


def test_the_caseload_begins_with_what_is_missing(site: Site) -> None:
    """Requirement: triage by missing information, as words; filtered by state, page by page."""
    house, practice = site.house, site.house.practice
    for number in range(26):
        client = practice.somebody(Role.CLIENT)
        name = f"Client {number:02}"
        practice.recorded(house.administrator, RegisterPerson(person=client.person, full_name=name))
        practice.recorded(
            house.therapist,
            OpenRelationship(
                clients=(client.person,),
                therapists=(house.therapist.person,),
                modality="systemic",
                setting="outpatient",
            ),
        )
    practice.worker.catch_up()
    visitor = site.visitor(Role.THERAPIST)
    rows = visitor.page.locator("tbody tr")
    expect(rows).to_have_count(25)
    for missing in ("recording withdrawn on", "not rated by a client since", "not agreed by all"):
        expect(rows.first).to_contain_text(missing)
    expect(rows.first).to_contain_text("1 recorded late")
    expect(rows.nth(1)).to_contain_text("no consent to treatment in force")
    expect(rows.nth(1)).to_contain_text("no open goal")
    visitor.page.get_by_role("link", name="Next page").first.click()
    visitor.page.wait_for_url("**page=2")
    expect(rows).to_have_count(2)
    visitor.page.get_by_role("link", name="Closed").click()
    visitor.page.wait_for_url("**state=closed")
    expect(visitor.page.locator("main")).to_contain_text("no relationship here")
    assert visitor.faults == []


def test_the_timeline_marks_what_became_of_entries(site: Site) -> None:
    """Rules 1, 3, 29: late with the reason, superseded, about which entry; nothing is hidden."""
    visitor = site.visitor(Role.THERAPIST)
    visitor.open(f"{site.course}/timeline")
    entries = site.house.practice.clinic.log.history(relationship_stream(site.house.relationship))
    expect(visitor.page.locator("tbody tr")).to_have_count(len(entries))
    forgotten = visitor.page.locator("tbody tr", has_text="recorded late")
    expect(forgotten).to_have_count(1)
    expect(forgotten).to_contain_text(LATE_REASON)
    expect(visitor.page.locator("tbody tr", has_text="superseded by entry")).to_have_count(4)


def test_an_entry_shows_its_receipt(site: Site) -> None:
    """Requirement: position, leaf hash, tree size, root, command, and how it is verified."""
    log = site.house.practice.clinic.log
    (entry, *_) = log.history(relationship_stream(site.house.relationship))
    receipt = log.receipt(entry.command_id)
    assert receipt is not None
    for role in (Role.THERAPIST, Role.COMPLIANCE_OFFICER):
        visitor = site.visitor(role)
        visitor.open(f"{site.course}/entries/1")
        card = visitor.page.locator("section[aria-labelledby=receipt]")
        for told in (
            entry.position,
            receipt.entries[0].leaf_hash,
            receipt.tree_size,
            receipt.root,
            entry.command_id,
        ):
            expect(card).to_contain_text(str(told))
        expect(visitor.page.locator("main")).to_contain_text("rapport verify")
        with visitor.page.expect_download() as downloading:
            card.get_by_role("link", name=".tlog-proof").click()
        assert downloading.value.suggested_filename == f"entry-{entry.position}.tlog-proof"
        assert downloading.value.path().read_text() == receipt.entries[0].proof


def test_the_log_is_compared_with_what_was_acknowledged(site: Site) -> None:
    """Requirement: size and root, and whether they are those remembered outside the database."""
    visitor = site.visitor(Role.COMPLIANCE_OFFICER)
    visitor.open("/log")
    status = site.house.practice.client.app.state.house.log_status()  # type: ignore[attr-defined]
    expect(visitor.page.locator("main")).to_contain_text(status.root)
    expect(visitor.page.locator(".notice.good")).to_contain_text("As acknowledged")


def test_reading_a_page_is_an_entry(site: Site) -> None:
    """Rule 41: each page notes who reads what, as of when, before it shows anything; the client
    sees who did."""
    house = site.house
    stream = access_stream(house.relationship)
    before = len(house.practice.clinic.log.history(stream))
    supervisor = site.visitor(Role.SUPERVISOR)
    supervisor.open(f"{site.course}?known_at=2026-03-09T12:00:00")
    supervisor.open(f"{site.course}/timeline")
    noted = [
        entry.event
        for entry in house.practice.clinic.log.history(stream)[before:]
        if isinstance(entry.event, RecordRead)
    ]
    assert [(read.what, read.role) for read in noted] == [
        ("dossier", Role.SUPERVISOR),
        ("timeline", Role.SUPERVISOR),
    ]
    assert noted[0].known_at is not None
    client = site.visitor(Role.CLIENT)
    client.open(f"{site.course}/readers")
    rows = client.page.locator("tbody tr")
    expect(rows.nth(0)).to_contain_text("Client")
    expect(rows.nth(1)).to_contain_text("the timeline")
    expect(rows.nth(2)).to_contain_text("known at 9 Mar 2026, 12:00:00 UTC")


# --- Other people's doors -------------------------------------------------------------------


def test_other_doors_stay_shut(site: Site) -> None:
    """Requirement: each persona tries the others' doors, and is told so as a page with its
    status."""
    other = f"/relationships/{site.house.other}"
    shut: dict[Role, dict[str, int]] = {
        Role.THERAPIST: {"/log": 403, other: 404, f"{other}/timeline": 404},
        Role.CLIENT: {"/log": 403, other: 404, f"{other}/entries/1": 404, f"{other}/readers": 404},
        Role.SUPERVISOR: {"/log": 403, other: 404},
        Role.COMPLIANCE_OFFICER: {
            f"/relationships/{uuid4()}": 404,
            f"{site.course}/entries/999": 404,
        },
        Role.ADMINISTRATOR: {"/": 403, site.course: 403, f"{site.course}/timeline": 403},
    }
    for role, doors in shut.items():
        visitor = site.visitor(role)
        for path, status in {**doors, "/nowhere": 404}.items():
            assert visitor.open(path) == status, (role, path)
            expect(visitor.page.locator("h1")).to_have_count(1)
            expect(visitor.page.locator("main")).to_contain_text("You are signed in as")
            text = visitor.text()
            assert SECRET not in text
            assert "Traceback" not in text
        assert visitor.faults == []


def test_the_officer_sees_that_and_when_but_not_what(site: Site) -> None:
    """Requirement: structure and proof without names, scores, words or choices."""
    visitor = site.visitor(Role.COMPLIANCE_OFFICER)
    history = site.house.practice.clinic.log.history(relationship_stream(site.house.relationship))
    entries = [f"{site.course}/entries/{entry.version}" for entry in history]
    for path in ("/", site.course, f"{site.course}/timeline", *entries):
        assert visitor.open(path) == 200
        text = visitor.text()
        for content in (
            SECRET,
            "Maria Beispiel",
            "Jan Muster",
            "Overslept",
            LATE_REASON,
            "underground",
            "36 to 252",
            "5, 5, 5",
            "outcome measures",
            "supervision disclosure",
            "cognitive",
        ):
            assert content not in text, (path, content)
    visitor.open(site.course)
    expect(visitor.page.locator("main")).to_contain_text("withheld")
    assert visitor.page.locator(".plot svg path > title").count() == len(history)


def test_a_partner_s_own_words_are_not_shown(site: Site) -> None:
    """Requirement: in a couple, what is sealed as the other's own is withheld, on every page."""
    house, practice = site.house, site.house.practice
    couple, task = uuid4(), uuid4()
    practice.recorded(
        house.therapist,
        OpenRelationship(
            relationship=couple,
            clients=(house.client.person, house.other_client.person),
            therapists=(house.therapist.person,),
            constellation=Constellation.COUPLE,
            modality="systemic",
            setting="outpatient",
        ),
    )
    practice.recorded(
        house.therapist,
        ProposeTask(
            relationship=couple,
            task=task,
            description="An evening without telephones.",
            aim=Aim(purpose="Time for each other."),
            by=house.therapist.person,
        ),
    )
    review = ReviewTask(
        relationship=couple,
        task=task,
        by=house.other_client.person,
        done=Done.PARTLY,
        remark=REMARK,
    )
    practice.recorded(house.other_client, review)
    paths = ("", "/timeline", "/entries/3")
    shown = {}
    for role in (Role.CLIENT, Role.THERAPIST):
        visitor = site.visitor(role)
        for path in paths:
            assert visitor.open(f"/relationships/{couple}{path}") == 200
            shown[role, path] = visitor.text()
    assert not any(REMARK in shown[Role.CLIENT, path] for path in paths)
    assert "withheld" in shown[Role.CLIENT, "/entries/3"]
    assert REMARK in shown[Role.THERAPIST, ""]


def erase(house: House, subject: UUID | None) -> None:
    """Destroys the key of what somebody gave to the relationship; None: of what is joint."""
    clinic = house.practice.clinic
    keys = {
        entry.key_id
        for entry in clinic.log.history(relationship_stream(house.relationship))
        if not isinstance(entry.event, Erased) and entry.event.subject() == subject
    }
    assert keys
    for key_id in keys:
        clinic.keyring.destroy(clinic.id, key_id)
    house.practice.later(minutes=1)


def test_what_is_erased_is_said_to_be(site: Site) -> None:
    """Rule 9: with the client's key gone, pages say that content is erased and show the rest;
    with the joint one gone too, that there was something is all that is left."""
    house = site.house
    history = house.practice.clinic.log.history(relationship_stream(house.relationship))
    erase(house, house.client.person)
    visitor = site.visitor(Role.THERAPIST)
    assert visitor.open(site.course) == 200
    main = visitor.page.locator("main")
    expect(main).to_contain_text("10 ratings: content erased")
    expect(main).to_contain_text("entries erased")
    expect(main.locator("ul.legend")).to_contain_text("therapist")
    rated = next(entry for entry in history if entry.topic == "alliance.rated")
    visitor.open(f"{site.course}/entries/{rated.version}")
    expect(main).to_contain_text("the key is destroyed")
    expect(main).to_contain_text(str(rated.position))
    visitor.open(f"{site.course}/timeline")
    expect(main.locator(f"#entry-{rated.version}")).to_contain_text("content erased")
    erase(house, None)
    assert visitor.open(site.course) == 404, "nobody can tell any more whose it was"
    officer = site.visitor(Role.COMPLIANCE_OFFICER)
    for path in (site.course, f"{site.course}/timeline", f"{site.course}/entries/1"):
        assert officer.open(path) == 200
    expect(officer.page.locator("main")).to_contain_text("the key is destroyed")
    assert [*visitor.faults, *officer.faults] == []
