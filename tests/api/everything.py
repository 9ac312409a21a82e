"""A year in which every command there is is handed in once at least, in plain JSON over HTTP.

Before each one strangers hand in the very same body: whoever the record does not concern is turned
away, by role or because nothing is there for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from api.access import DOORS, Reach
from domain.access import Role
from domain.instrument import load
from tests.api.conftest import Practice, Response, Somebody

SHA256 = "5e" * 32

_CONCERNS_THEM = (Reach.TREATED, Reach.OWN, Reach.SUPERVISED, Reach.OPENING, Reach.SELF)
"""Reaches by which a command lies within reach of some people of a role, and not of others."""


@dataclass
class Year:
    """Everybody in it, and what was accepted so far."""

    practice: Practice
    accepted: list[str] = field(default_factory=list)
    turned_away: list[tuple[str, Role]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """The id that goes by this name."""
        return self.ids.setdefault(name, str(uuid4()))

    @cached_property
    def office(self) -> Somebody:
        return self._somebody(Role.ADMINISTRATOR, "office")

    @cached_property
    def officer(self) -> Somebody:
        return self._somebody(Role.COMPLIANCE_OFFICER, "officer")

    @cached_property
    def therapist(self) -> Somebody:
        return self._somebody(Role.THERAPIST, "therapist")

    @cached_property
    def supervisor(self) -> Somebody:
        return self._somebody(Role.SUPERVISOR, "supervisor")

    @cached_property
    def client(self) -> Somebody:
        return self._somebody(Role.CLIENT, "client")

    @cached_property
    def minor(self) -> Somebody:
        return self._somebody(Role.CLIENT, "minor")

    @cached_property
    def strangers(self) -> tuple[Somebody, ...]:
        """Somebody in each role who has to do with none of it."""
        return tuple(self.practice.somebody(role) for role in Role if role is not Role.SYSTEM)

    def _somebody(self, role: Role, name: str) -> Somebody:
        return self.practice.somebody(role, UUID(self[name]))

    # --- Time

    @property
    def now(self) -> datetime:
        return self.practice.clinic.clock.now

    def at(self, **from_now: float) -> str:
        return (self.now + timedelta(**from_now)).isoformat()

    def day(self, days: int) -> str:
        return (self.now + timedelta(days=days)).date().isoformat()

    # --- Recording

    def tell(self, who: Somebody, name: str, /, **body: Any) -> dict[str, Any]:
        """The receipt of a command that is accepted, after it was refused to every stranger."""
        self._offer_to_strangers(name, body)
        answer = self._send(who, name, body)
        assert answer.status_code == 201, (name, answer.text)
        self.accepted.append(name)
        receipt: dict[str, Any] = answer.json()
        return receipt

    def about(self, who: Somebody, name: str, /, **body: Any) -> dict[str, Any]:
        """The same, of the relationship that most of it is about."""
        return self.tell(who, name, relationship=self["relationship"], **body)

    def version_of(self, receipt: dict[str, Any]) -> int:
        """The version of the first entry that a command made."""
        version: int = receipt["entries"][0]["version"]
        return version

    def entry(self, topic: str) -> dict[str, Any]:
        """The last entry of that topic, as the therapist reads it."""
        path = f"/relationships/{self['relationship']}/entries"
        items = self.practice.shown(self.therapist, path, family=topic, limit=500)["items"]
        last: dict[str, Any] = items[-1]
        return last

    def _send(self, who: Somebody, name: str, body: dict[str, Any]) -> Response:
        path = f"/api/v1/commands/{name}"
        return self.practice.client.post(path, json=body, headers=who.headers)

    def _offer_to_strangers(self, name: str, body: dict[str, Any]) -> None:
        for stranger in self.strangers:
            reach = DOORS[name].who.get(stranger.role)
            if reach is not None and reach not in _CONCERNS_THEM:
                continue
            answer = self._send(stranger, name, body)
            expected = (403, "not-admitted") if reach is None else (404, "out-of-reach")
            told = (answer.status_code, answer.json()["code"])
            assert told == expected, (name, stranger.role, answer.text)
            self.turned_away.append((name, stranger.role))


def tell_everything(year: Year) -> None:
    """All chapters, in order."""
    for chapter in (
        found,
        register,
        open_and_frame,
        consent,
        meet,
        record_and_recall,
        rate,
        agree_on_goals,
        work_on_tasks,
        strain_and_repair,
        write_notes,
        supervise,
        mend,
        amend,
        restrict_and_disclose,
        open_in_an_emergency,
        treat_a_minor,
        pause_and_end,
    ):
        chapter(year)
        year.practice.later(hours=1)


# --- The clinic ------------------------------------------------------------------------------


def found(year: Year) -> None:
    office = year.office
    year.tell(office, "found-clinic", clinic_name="The practice")
    year.tell(
        office,
        "publish-consent-document",
        document=year["document"],
        title="What we agree on",
        scopes=[
            "treatment",
            "outcome_measures",
            "recording",
            "supervision_disclosure",
            "telehealth",
            "quotation",
        ],
        sha256=SHA256,
        language="en",
    )
    for instrument in ("SRS-3", "PHQ-9"):
        year.tell(
            office,
            "attest-instrument-licence",
            instrument=instrument,
            holder="The practice",
            basis="Licence 114.",
            valid_from=year.day(0),
        )
    year.tell(
        office,
        "adopt-text-pack",
        instrument="SRS-3",
        key_hash=load("SRS-3").key_hash,
        language="de",
        sha256=SHA256,
        holder="The practice",
    )
    year.tell(
        office,
        "adopt-scoring-key",
        instrument="CORE-OM",
        from_key="1.0",
        to_key="1.1",
        reason="Its missing rule was corrected.",
    )
    year.tell(
        office,
        "declare-import",
        origin="An archive",
        licence="Apache-2.0",
        declared_by_name="R. Kanzlei",
        legal_basis="Published under its licence.",
        time_rule="One session a week.",
    )


def register(year: Year) -> None:
    office = year.office
    people = {"client": "1984-05-17", "guardian": "1980-01-01", "minor": "2008-04-15"}
    for name, born in people.items():
        year.tell(
            office,
            "register-person",
            person=year[name],
            full_name="Maria Beispiel",
            birth_date=born,
        )
    practitioners = {
        "therapist": ["therapy"],
        "supervisor": ["therapy", "supervision"],
        "successor": ["therapy"],
        "on call": ["therapy"],
    }
    for name, scope in practitioners.items():
        year.tell(
            office,
            "register-practitioner",
            practitioner=year[name],
            full_name="Dr. Jan Muster",
            profession="therapist",
            scope=scope,
            valid_from="2020-01-01",
        )
    year.tell(
        office,
        "attest-rater-training",
        practitioner=year["supervisor"],
        system="3RS",
        basis="Two days of training.",
        valid_from="2025-01-01",
        trained_by="Institute of Process Research",
    )
    granted = {"person": year["successor"], "role": "supervisor"}
    year.tell(office, "grant-role", **granted, reason="Begins to supervise.")
    year.tell(office, "revoke-role", **granted, reason="Does not, after all.")


# --- The relationship ------------------------------------------------------------------------


def open_and_frame(year: Year) -> None:
    therapist, both = year.therapist, [year["client"], year["therapist"]]
    year.about(
        therapist,
        "open-relationship",
        clients=[year["client"]],
        therapists=[year["therapist"]],
        modality="cognitive-behavioural",
        setting="outpatient",
        supervisor=year["supervisor"],
    )
    supervisor = {"person": year["supervisor"], "reason": "On leave for a day."}
    year.about(therapist, "leave-relationship", **supervisor)
    year.about(therapist, "join-relationship", **supervisor, part="supervisor")
    year.about(
        therapist,
        "agree-frame",
        items=[{"item": "length", "terms": "50 minutes."}],
        agreed_by=both,
    )
    year.about(
        therapist,
        "change-frame-item",
        item="length",
        old="50 minutes.",
        new="80 minutes, every other week.",
        reason="Exposure needs longer.",
        by=year["therapist"],
        agreed_by=both,
    )
    year.about(
        therapist,
        "record-frame-departure",
        item="time",
        reason="The telephone rang.",
        by=year["therapist"],
    )
    year.about(
        therapist,
        "declare-phase",
        phase="stabilisation",
        by=year["therapist"],
        rationale="Sleep and safety come first.",
    )
    year.about(
        therapist,
        "record-context-event",
        context=year["context"],
        kind="bereavement",
        scope="person",
        began=year.day(-10),
        about=year["client"],
        note="The grandmother died.",
    )


def consent(year: Year) -> None:
    client, therapist = year.client, year.therapist
    document = {"document": year["document"], "version": 1}
    year.about(
        therapist,
        "give-information",
        **document,
        sha256=SHA256,
        to=year["client"],
        by=year["therapist"],
    )
    year.about(
        therapist, "address-questions", **document, party=year["client"], by=year["therapist"]
    )
    given = {**document, "sha256": SHA256, "party": year["client"], "signer": year["client"]}
    for scope in ("treatment", "outcome_measures", "recording", "supervision_disclosure"):
        year.about(client, "give-consent", consent=year[scope], scope=scope, **given)
    year.about(client, "give-consent", consent=year["quotation"], scope="quotation", **given)
    year.about(client, "decline-consent", scope="telehealth", party=year["client"], **document)
    year.about(
        client,
        "renew-consent",
        renews=year["treatment"],
        consent=year["treatment, renewed"],
        version=1,
        sha256=SHA256,
        signer=year["client"],
    )
    year.about(
        client, "narrow-consent", consent=year["quotation"], excludes="Nothing about my family."
    )
    year.about(client, "withdraw-consent", consent=year["quotation"])


# --- Sessions --------------------------------------------------------------------------------


def hold(year: Year, name: str, **more: Any) -> None:
    """A session that ended just now."""
    year.practice.later(hours=1)
    year.about(
        year.therapist,
        "hold-session",
        session=year[name],
        present=[year["client"], year["therapist"]],
        started_at=year.at(minutes=-50),
        ended_at=year.at(),
        **more,
    )


def plan(year: Year, name: str) -> dict[str, str]:
    """A session in a day's time."""
    times = {"starts_at": year.at(days=1), "ends_at": year.at(days=1, minutes=50)}
    year.about(year.therapist, "schedule-session", session=year[name], **times)
    return times


def meet(year: Year) -> None:
    therapist, client = year.therapist, year["client"]
    plan(year, "first")
    year.about(
        year.client,
        "reschedule-session",
        session=year["first"],
        starts_at=year.at(hours=20),
        ends_at=year.at(hours=21),
        who=client,
        why="A child is ill.",
    )
    year.practice.later(hours=20)
    hold(year, "first")
    plan(year, "missed")
    year.practice.later(days=2)
    year.about(
        therapist,
        "miss-session",
        session=year["missed"],
        who=client,
        why="Ill.",
        late_reason="On Monday.",
    )
    plan(year, "cancelled")
    year.about(year.client, "cancel-session", session=year["cancelled"], who=client, why="Snow.")
    year.about(
        therapist,
        "abandon-session",
        session=year["abandoned"],
        present=[client, year["therapist"]],
        started_at=year.at(minutes=-30),
        ended_at=year.at(),
        who=client,
        why="Left after the talk about the holiday.",
    )
    year.about(
        therapist,
        "share-session-summary",
        session=year["first"],
        by=year["therapist"],
        agreed_by=[client],
        summary="What the fear does on the tram.",
    )
    for name in ("second", "third"):
        hold(year, name)
        year.practice.later(days=7)


def record_and_recall(year: Year) -> None:
    therapist = year.therapist
    hold(year, "recorded")
    recording = {"recording": year["recording"]}
    year.about(
        therapist,
        "start-recording",
        **recording,
        session=year["recorded"],
        kind="video",
        started_at=year.at(minutes=-49),
        agreed_by=[year["therapist"]],
    )
    year.about(
        therapist,
        "end-recording",
        **recording,
        ended_at=year.at(minutes=-1),
        why="session_over",
    )
    year.about(
        year.supervisor,
        "use-recording",
        **recording,
        purpose="supervision",
        by=year["supervisor"],
    )
    recalled = {
        "recall": year["recall"],
        "session": year["recorded"],
        "party": year["client"],
    }
    year.about(therapist, "schedule-recall", **recalled, starts_at=year.at(hours=2))
    year.practice.later(hours=3)
    year.about(
        year.supervisor,
        "hold-recall-interview",
        **recalled,
        **recording,
        inquirer=year["supervisor"],
        held_at=year.at(minutes=-30),
    )
    year.about(
        year.client,
        "mark-moment",
        recall=year["recall"],
        t_s=1284,
        party=year["client"],
        what="Here I wanted to leave.",
    )
    year.about(
        therapist,
        "destroy-recording",
        **recording,
        by=year["therapist"],
        reason="Kept until it was supervised, as agreed.",
    )


# --- Ratings, goals, tasks -------------------------------------------------------------------


def rate(year: Year) -> None:
    rated = {"perspective": "client", "rater": year["client"], "session": year["first"]}
    answers = ["8.5", "9", "7", "8"]
    year.about(
        year.client,
        "rate-alliance",
        rating=year["alliance"],
        instrument="SRS-3",
        answers=answers,
        **rated,
    )
    year.about(
        year.client,
        "supersede-rating",
        superseded=year["alliance"],
        reason="The second line was read wrongly.",
        answers=["8.5", "6", "7", "8"],
    )
    year.about(
        year.client,
        "rate-outcome",
        rating=year["outcome"],
        instrument="PHQ-9",
        answers=["2", "2", "1", "2", "0", "1", "1", "0", "1"],
        **rated,
    )
    year.about(
        year.client,
        "supersede-rating",
        superseded=year["outcome"],
        rating=year["outcome, read again"],
        reason="The third line was read wrongly.",
        answers=["2", "2", "2", "2", "0", "1", "1", "0", "1"],
    )
    year.about(
        year.therapist,
        "review-risk",
        rating=year["outcome, read again"],
        item=9,
        by=year["therapist"],
        finding="Passive thoughts, no plan.",
        action="Safety plan made together.",
    )
    year.about(
        year.therapist,
        "review-early-alliance",
        by=year["therapist"],
        sessions=[year["third"]],
        remark="She is polite and leaves early.",
    )


def agree_on_goals(year: Year) -> None:
    client, therapist, goal = year.client, year.therapist, {"goal": year["goal"]}
    year.about(client, "propose-goal", **goal, statement="To ride the tram.", by=year["client"])
    year.about(
        therapist,
        "dissent-from-goal",
        **goal,
        revision=1,
        party=year["therapist"],
        reason="It can not be told when it is reached.",
    )
    year.about(
        therapist,
        "revise-goal",
        **goal,
        statement="To ride the tram to work twice a week.",
        by=year["therapist"],
    )
    for who, party in ((client, "client"), (therapist, "therapist")):
        year.about(who, "assent-to-goal", **goal, revision=2, party=year[party])
    level = {"scale": "gbo", "value": 4}
    year.about(client, "rate-goal", **goal, revision=2, by=year["client"], level=level)


def work_on_tasks(year: Year) -> None:
    client, therapist, task = year.client, year.therapist, {"task": year["task"]}
    year.about(
        therapist,
        "propose-task",
        **task,
        description="One stop on the tram each morning.",
        aim={"goals": [year["goal"]], "purpose": "To find out what the fear does."},
        by=year["therapist"],
    )
    year.about(client, "assent-to-task", **task, party=year["client"])
    year.about(client, "review-task", **task, by=year["client"], done="partly", helpfulness=7)
    year.about(therapist, "retire-task", **task, reason="It has done its work.")
    goal = {"goal": year["goal"]}
    year.about(therapist, "reach-goal", **goal)
    year.about(therapist, "reopen-goal", **goal, reason="It came back in winter.")
    year.about(therapist, "retire-goal", **goal, reason="Another job.")


# --- Ruptures, notes, supervision ------------------------------------------------------------


def strain_and_repair(year: Year) -> None:
    client, therapist = year.client, year.therapist
    rupture = {"rupture": year["rupture"]}
    view = {**rupture, "by": year["client"], "perspective": "client"}
    year.about(
        client,
        "mark-rupture",
        **rupture,
        raised_by=year["client"],
        perspective="client",
        method="named_in_session",
        kind="confrontation",
        session=year["first"],
    )
    year.about(
        therapist,
        "attempt-repair",
        **rupture,
        session=year["second"],
        strategies=["acknowledges_own_contribution"],
        by=year["therapist"],
    )
    year.about(client, "leave-rupture-open", **view, reason="Not now.")
    year.about(client, "resolve-rupture", **view, basis="We could say it to each other.")
    year.about(
        therapist,
        "dismiss-possible-rupture",
        possible={
            "method": "reliable-drop",
            "method_version": "1",
            "entries": [year.entry("alliance.rating_superseded")["version"]],
        },
        by=year["therapist"],
        reason="She filled it in with a fever.",
    )


def write_notes(year: Year) -> None:
    therapist, note = year.therapist, {"note": year["note"]}
    year.about(
        therapist,
        "write-note",
        **note,
        kind="session",
        session=year["first"],
        sections=[{"heading": "Subjective", "text": "Slept badly."}],
        author=year["therapist"],
    )
    year.about(therapist, "add-to-note", **note, text="It was line 14.", author=year["therapist"])
    commitment = year.entry("note.written")["commitment"]
    year.about(therapist, "sign-note", **note, commitment=commitment)
    year.about(year.supervisor, "cosign-note", **note, commitment=commitment)
    process = {"note": year["process note"]}
    year.about(therapist, "write-process-note", **process, text="I was impatient.")
    year.about(therapist, "share-process-note", **process, supervisor=year["supervisor"])


def supervise(year: Year) -> None:
    supervisor, action = year.supervisor, {"action": year["action"]}
    year.about(
        supervisor,
        "hold-supervision",
        supervision=year["supervision"],
        supervisor=year["supervisor"],
        supervisees=[year["therapist"]],
        started_at=year.at(minutes=-45),
        ended_at=year.at(),
    )
    year.about(
        supervisor,
        "agree-supervision-action",
        **action,
        supervision=year["supervision"],
        owner=year["therapist"],
        due=year.day(14),
        text="Ask what the silence was about.",
    )
    year.about(
        supervisor,
        "review-supervision-action",
        **action,
        by=year["supervisor"],
        outcome="done",
    )
    year.about(year.therapist, "note-countertransference", text="She reminds me of my sister.")


# --- Care of the record ----------------------------------------------------------------------


def mend(year: Year) -> None:
    stream = {"stream": f"relationship-{year['relationship']}"}
    opened = year.entry("relationship.opened")
    year.tell(
        year.therapist,
        "correct-entry",
        **stream,
        entry=opened["version"],
        reason="Typed into the wrong field.",
        content={**opened["content"], "modality": "schema therapy"},
    )
    year.tell(
        year.therapist,
        "mark-entered-in-error",
        **stream,
        entry=year.entry("context")["version"],
        reason="Of another client.",
    )


def amend(year: Year) -> None:
    client, therapist, officer = year.client, year.therapist, year.officer
    contested = year.entry("note.written")["version"]
    year.about(
        officer,
        "disclose-record",
        disclosure=year["disclosure"],
        recipient={"kind": "provider", "name": "Dr. Nowak"},
        purpose="treatment",
        legal_basis="care",
        basis="Further treatment.",
        what="The note of the first session.",
        entries=[contested],
    )
    asked = {"entry": contested, "party": year["client"], "reason": "I never said that."}
    first, second = {"amendment": year["denied"]}, {"amendment": year["accepted"]}
    year.about(client, "request-amendment", **first, **asked, wants="Leave it out.")
    year.about(therapist, "extend-amendment", **first, reason="On leave until May.")
    year.about(
        therapist,
        "deny-amendment",
        **first,
        ground="accurate_and_complete",
        reason="It was noted at the door.",
    )
    year.about(client, "state-disagreement", **first, text="The clock is wrong.")
    year.about(therapist, "rebut-disagreement", **first, text="It was set right in January.")
    year.about(client, "request-amendment", **second, **asked, wants="Say that it rained.")
    added = year.about(
        therapist, "add-to-note", note=year["note"], text="It rained.", author=year["therapist"]
    )
    year.about(therapist, "accept-amendment", **second, addendum=year.version_of(added))
    year.about(officer, "inform-recipient", disclosure=year["disclosure"], **second)


def restrict_and_disclose(year: Year) -> None:
    officer, restriction = year.officer, {"restriction": year["restriction"]}
    year.about(
        officer,
        "agree-restriction",
        **restriction,
        client=year["client"],
        against={"recipient": "health_plan", "purpose": "payment"},
        what="Nothing to the health plan.",
        basis="paid_in_full",
    )
    year.about(
        officer,
        "lift-restriction",
        **restriction,
        client_agreed=True,
        reason="She wants them paid for after all.",
    )
    year.about(
        officer,
        "suspend-accounting",
        recipient="health_oversight",
        agency="Health inspectorate",
        in_writing=True,
        until=year.at(days=100),
    )
    held = {"hold": year["hold"]}
    year.about(officer, "place-legal-hold", **held, matter="3 O 114/26", authority="A court")
    year.about(officer, "lift-legal-hold", **held, reason="Settled.")
    person = {"person": year["client"]}
    year.tell(year.client, "request-erasure", **person, reason="I want to leave no trace.")
    year.tell(
        officer,
        "refuse-erasure",
        **person,
        ground="legal_obligation",
        reason="It has to be kept until 2032.",
    )


def open_in_an_emergency(year: Year) -> None:
    on_call = year.practice.somebody(Role.THERAPIST, UUID(year["on call"]))
    broken = year.about(on_call, "break-glass", reason="Somebody called: she is not safe tonight.")
    year.about(
        year.officer,
        "review-access",
        entry=year.version_of(broken),
        finding="justified",
    )


# --- Others, and the end ---------------------------------------------------------------------


def treat_a_minor(year: Year) -> None:
    therapist, minor = year.therapist, year.minor
    here = {"relationship": year["of the minor"]}
    document = {"document": year["document"], "version": 1}
    year.tell(
        therapist,
        "open-relationship",
        **here,
        clients=[year["minor"]],
        therapists=[year["therapist"]],
        modality="systemic",
        setting="outpatient",
    )
    year.practice.later(hours=1)
    session = {"session": year["emergency"]}
    year.tell(
        therapist,
        "hold-session",
        **here,
        **session,
        present=[year["minor"], year["therapist"]],
        started_at=year.at(minutes=-50),
        ended_at=year.at(),
        emergency={"reason": "An acute crisis.", "review_by": year.day(3)},
    )
    reviewed = {"by": year["therapist"], "outcome": "It was right to meet."}
    year.tell(therapist, "review-emergency", **here, **session, **reviewed)
    for person in ("guardian", "minor"):
        informed = {"to": year[person], "by": year["therapist"], "sha256": SHA256}
        year.tell(therapist, "give-information", **here, **document, **informed)
    year.tell(
        therapist,
        "give-consent",
        **here,
        **document,
        scope="treatment",
        party=year["minor"],
        sha256=SHA256,
        signer=year["guardian"],
        capacity="guardian",
    )
    own = {**here, "party": year["minor"]}
    waived = {"by": year["therapist"], "reason": "Not able to take it in at that time."}
    year.tell(therapist, "waive-assent", **own, scope="outcome_measures", **waived)
    year.tell(minor, "give-assent", **own, **document, scope="treatment")
    year.tell(minor, "dissent-as-minor", **own, scope="recording", reason="No camera.")
    year.practice.later(days=30)
    year.tell(therapist, "record-majority", **own)


def pause_and_end(year: Year) -> None:
    therapist = year.therapist
    year.about(therapist, "pause-relationship", reason="Away for work.", initiated_by="client")
    year.practice.later(days=20)
    year.about(therapist, "resume-relationship", remark="As planned.")
    ending = {"reason": "The work is done.", "initiated_by": "both", "goals": "One given up."}
    here = {"relationship": year["of the minor"]}
    year.tell(therapist, "close-relationship", **here, **ending)
    year.tell(therapist, "reopen-relationship", **here, reason="It came back in winter.")
    year.about(
        therapist,
        "transfer-relationship",
        **ending,
        to=year["the next"],
        therapists=[year["successor"]],
    )


def every_role() -> Iterator[Role]:
    """The roles that a token can carry."""
    return (role for role in Role if role is not Role.SYSTEM)
