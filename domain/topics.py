"""Every kind of entry and every command there is: two closed lists.

A stored topic is looked up here and nowhere else; nothing is loaded because a row names it that
does not stand here. What does is loaded when it is first asked for: to make all these classes takes
longer than most commands do, and most need a few of them.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from domain.event import Command, Event

if TYPE_CHECKING:
    from domain.correction import EntryCorrected

K = TypeVar("K")


class _Listed(Mapping[str, type[K]]):
    """Classes by the names that are stored or sent, loaded one by one."""

    def __init__(self, listed: Mapping[str, str]) -> None:
        """`listed`: for each name its module in this package, and the class there."""
        self._listed = listed
        self._loaded: dict[str, type[K]] = {}

    def __getitem__(self, name: str) -> type[K]:
        kind = self._loaded.get(name)
        if kind is None:
            module, _, its_class = self._listed[name].partition(".")
            kind = self._loaded[name] = getattr(import_module(f"domain.{module}"), its_class)
        return kind

    def __contains__(self, name: object) -> bool:
        return name in self._listed

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


_EVENTS: Final = {
    "clinic.founded": "clinic.ClinicFounded",
    "consent_document.published": "clinic.ConsentDocumentPublished",
    "instrument_licence.attested": "clinic.InstrumentLicenceAttested",
    "import.declared": "clinic.ImportDeclared",
    "text_pack.adopted": "text_pack.TextPackAdopted",
    "scoring_key.adopted": "rescoring.ScoringKeyAdopted",
    "person.registered": "person.PersonRegistered",
    "practitioner.registered": "person.PractitionerRegistered",
    "relationship.opened": "relationship.RelationshipOpened",
    "relationship.participant_joined": "relationship.ParticipantJoined",
    "relationship.participant_left": "relationship.ParticipantLeft",
    "relationship.paused": "relationship.RelationshipPaused",
    "relationship.resumed": "relationship.RelationshipResumed",
    "relationship.transferred": "relationship.RelationshipTransferred",
    "relationship.closed": "relationship.RelationshipClosed",
    "relationship.reopened": "relationship.RelationshipReopened",
    "phase.declared": "phase.PhaseDeclared",
    "frame.agreed": "frame.FrameAgreed",
    "frame.item_changed": "frame.FrameItemChanged",
    "frame.departure_recorded": "frame.FrameDepartureRecorded",
    "context.event_recorded": "context.ContextEventRecorded",
    "consent.information_given": "information.InformationGiven",
    "consent.questions_addressed": "information.QuestionsAddressed",
    "assent.given": "assent.AssentGiven",
    "assent.dissented": "assent.AssentDissented",
    "assent.waived": "assent.AssentWaived",
    "assent.majority_reached": "assent.MajorityReached",
    "consent.given": "consent.ConsentGiven",
    "consent.renewed": "consent.ConsentRenewed",
    "consent.declined": "consent.ConsentDeclined",
    "consent.scope_narrowed": "consent.ConsentScopeNarrowed",
    "consent.withdrawn": "consent.ConsentWithdrawn",
    "session.scheduled": "session.SessionScheduled",
    "session.rescheduled": "session.SessionRescheduled",
    "session.held": "session.SessionHeld",
    "session.abandoned": "session.SessionAbandoned",
    "session.missed": "session.SessionMissed",
    "session.cancelled": "session.SessionCancelled",
    "schedule.session_time_taken": "session.SessionTimeTaken",
    "session.emergency_reviewed": "emergency.EmergencyReviewed",
    "session.summary_shared": "summary.SessionSummaryShared",
    "recording.started": "recording.RecordingStarted",
    "recording.ended": "recording.RecordingEnded",
    "recording.used": "recording.RecordingUsed",
    "recording.destroyed": "recording.RecordingDestroyed",
    "goal.proposed": "goal.GoalProposed",
    "goal.revised": "goal.GoalRevised",
    "goal.assented": "goal.GoalAssented",
    "goal.dissented": "goal.GoalDissented",
    "goal.rated": "goal.GoalRated",
    "goal.reached": "goal.GoalReached",
    "goal.retired": "goal.GoalRetired",
    "goal.reopened": "goal.GoalReopened",
    "task.proposed": "task.TaskProposed",
    "task.assented": "task.TaskAssented",
    "task.reviewed": "task.TaskReviewed",
    "task.retired": "task.TaskRetired",
    "alliance.rated": "alliance.AllianceRated",
    "alliance.rating_superseded": "alliance.RatingSuperseded",
    "alliance.early_reviewed": "alliance.EarlyAllianceReviewed",
    "outcome.rated": "outcome.OutcomeRated",
    "outcome.superseded": "outcome.OutcomeSuperseded",
    "risk.item_raised": "risk.RiskItemRaised",
    "risk.reviewed": "risk.RiskReviewed",
    "practitioner.rater_training_attested": "person.RaterTrainingAttested",
    "rupture.marked": "rupture.RuptureMarked",
    "rupture.repair_attempted": "rupture.RepairAttempted",
    "rupture.resolved": "rupture.RuptureResolved",
    "rupture.left_open": "rupture.RuptureLeftOpen",
    "rupture.possible_dismissed": "possible_rupture.PossibleRuptureDismissed",
    "note.written": "note.ProgressNoteWritten",
    "note.addended": "note.NoteAddended",
    "note.signed": "note.NoteSigned",
    "note.cosigned": "note.NoteCosigned",
    "process_note.written": "process_note.ProcessNoteWritten",
    "process_note.shared": "process_note.ProcessNoteShared",
    "supervision.held": "supervision.SupervisionHeld",
    "supervision.action_agreed": "supervision.SupervisionActionAgreed",
    "supervision.action_reviewed": "supervision.SupervisionActionReviewed",
    "supervision.countertransference_noted": "supervision.CountertransferenceNoted",
    "recall.scheduled": "recall.RecallScheduled",
    "recall.interview_held": "recall.RecallInterviewHeld",
    "recall.moment_marked": "recall.MomentMarked",
    "entry.corrected": "correction.EntryCorrected",
    "entry.entered_in_error": "correction.EnteredInError",
    "record.read": "access.RecordRead",
    "break_glass.used": "access.BreakGlassUsed",
    "access.reviewed": "access.AccessReviewed",
    "access.denied": "access.AccessDenied",
    "role.granted": "role.RoleGranted",
    "role.revoked": "role.RoleRevoked",
    "legal_hold.placed": "hold.LegalHoldPlaced",
    "legal_hold.lifted": "hold.LegalHoldLifted",
    "restriction.agreed": "restriction.RestrictionAgreed",
    "restriction.lifted": "restriction.RestrictionLifted",
    "amendment.requested": "amendment.AmendmentRequested",
    "amendment.extended": "amendment.AmendmentExtended",
    "amendment.accepted": "amendment.AmendmentAccepted",
    "amendment.denied": "amendment.AmendmentDenied",
    "amendment.disagreement_stated": "amendment.DisagreementStated",
    "amendment.disagreement_rebutted": "amendment.DisagreementRebutted",
    "record.disclosed": "disclosure.RecordDisclosed",
    "export.made": "disclosure.ExportMade",
    "disclosure.recipient_informed": "disclosure.RecipientInformed",
    "disclosure.accounting_suspended": "disclosure.AccountingSuspended",
    "erasure.requested": "erasure.ErasureRequested",
    "erasure.refused": "erasure.ErasureRefused",
    "key.destroyed": "erasure.KeyDestroyed",
}

_COMMANDS: Final = {
    "found-clinic": "clinic.FoundClinic",
    "publish-consent-document": "clinic.PublishConsentDocument",
    "attest-instrument-licence": "clinic.AttestInstrumentLicence",
    "declare-import": "clinic.DeclareImport",
    "adopt-text-pack": "text_pack.AdoptTextPack",
    "adopt-scoring-key": "rescoring.AdoptScoringKey",
    "register-person": "person.RegisterPerson",
    "register-practitioner": "person.RegisterPractitioner",
    "open-relationship": "relationship.OpenRelationship",
    "join-relationship": "participant.JoinRelationship",
    "leave-relationship": "participant.LeaveRelationship",
    "pause-relationship": "pause.PauseRelationship",
    "resume-relationship": "pause.ResumeRelationship",
    "transfer-relationship": "closure.TransferRelationship",
    "close-relationship": "closure.CloseRelationship",
    "reopen-relationship": "closure.ReopenRelationship",
    "declare-phase": "phase.DeclarePhase",
    "agree-frame": "frame.AgreeFrame",
    "change-frame-item": "frame.ChangeFrameItem",
    "record-frame-departure": "frame.RecordFrameDeparture",
    "record-context-event": "context.RecordContextEvent",
    "give-information": "information.GiveInformation",
    "address-questions": "information.AddressQuestions",
    "give-assent": "assent.GiveAssent",
    "dissent-as-minor": "assent.DissentAsMinor",
    "waive-assent": "assent.WaiveAssent",
    "record-majority": "assent.RecordMajority",
    "give-consent": "consenting.GiveConsent",
    "renew-consent": "consenting.RenewConsent",
    "decline-consent": "consenting.DeclineConsent",
    "narrow-consent": "withdrawal.NarrowConsent",
    "withdraw-consent": "withdrawal.WithdrawConsent",
    "schedule-session": "appointment.ScheduleSession",
    "reschedule-session": "appointment.RescheduleSession",
    "hold-session": "session.HoldSession",
    "abandon-session": "session.AbandonSession",
    "miss-session": "appointment.MissSession",
    "cancel-session": "appointment.CancelSession",
    "review-emergency": "emergency.ReviewEmergency",
    "share-session-summary": "summary.ShareSessionSummary",
    "start-recording": "recording.StartRecording",
    "end-recording": "recording.EndRecording",
    "use-recording": "recording.UseRecording",
    "destroy-recording": "recording.DestroyRecording",
    "propose-goal": "goal.ProposeGoal",
    "revise-goal": "goal.ReviseGoal",
    "assent-to-goal": "goal.AssentToGoal",
    "dissent-from-goal": "goal.DissentFromGoal",
    "rate-goal": "goal_rating.RateGoal",
    "reach-goal": "goal.ReachGoal",
    "retire-goal": "goal.RetireGoal",
    "reopen-goal": "goal.ReopenGoal",
    "propose-task": "task.ProposeTask",
    "assent-to-task": "task.AssentToTask",
    "review-task": "task.ReviewTask",
    "retire-task": "task.RetireTask",
    "rate-alliance": "alliance.RateAlliance",
    "review-early-alliance": "alliance.ReviewEarlyAlliance",
    "rate-outcome": "outcome.RateOutcome",
    "supersede-rating": "rating.SupersedeRating",
    "review-risk": "risk.ReviewRisk",
    "attest-rater-training": "person.AttestRaterTraining",
    "mark-rupture": "rupture.MarkRupture",
    "attempt-repair": "rupture.AttemptRepair",
    "resolve-rupture": "rupture.ResolveRupture",
    "leave-rupture-open": "rupture.LeaveRuptureOpen",
    "dismiss-possible-rupture": "possible_rupture.DismissPossibleRupture",
    "write-note": "note.WriteNote",
    "add-to-note": "note.AddToNote",
    "sign-note": "note.SignNote",
    "cosign-note": "note.CosignNote",
    "write-process-note": "process_note.WriteProcessNote",
    "share-process-note": "process_note.ShareProcessNote",
    "hold-supervision": "supervision.HoldSupervision",
    "agree-supervision-action": "supervision.AgreeSupervisionAction",
    "review-supervision-action": "supervision.ReviewSupervisionAction",
    "note-countertransference": "supervision.NoteCountertransference",
    "schedule-recall": "recall.ScheduleRecall",
    "hold-recall-interview": "recall.HoldRecallInterview",
    "mark-moment": "recall.MarkMoment",
    "correct-entry": "correction.CorrectEntry",
    "mark-entered-in-error": "correction.MarkEnteredInError",
    "read-record": "access.ReadRecord",
    "break-glass": "access.BreakGlass",
    "review-access": "access.ReviewAccess",
    "note-denial": "access.NoteDenial",
    "grant-role": "role.GrantRole",
    "revoke-role": "role.RevokeRole",
    "place-legal-hold": "hold.PlaceLegalHold",
    "lift-legal-hold": "hold.LiftLegalHold",
    "agree-restriction": "restriction.AgreeRestriction",
    "lift-restriction": "restriction.LiftRestriction",
    "request-amendment": "amendment.RequestAmendment",
    "extend-amendment": "amendment.ExtendAmendment",
    "accept-amendment": "amendment.AcceptAmendment",
    "deny-amendment": "amendment.DenyAmendment",
    "state-disagreement": "amendment.StateDisagreement",
    "rebut-disagreement": "amendment.RebutDisagreement",
    "disclose-record": "disclosure.DiscloseRecord",
    "note-export": "disclosure.NoteExport",
    "inform-recipient": "disclosure.InformRecipient",
    "suspend-accounting": "disclosure.SuspendAccounting",
    "request-erasure": "erasure.RequestErasure",
    "refuse-erasure": "erasure.RefuseErasure",
    "destroy-keys": "erasure.DestroyKeys",
}

EVENTS: Final[Mapping[str, type[Event]]] = _Listed(_EVENTS)
"""The class of each topic."""

COMMANDS: Final[Mapping[str, type[Command]]] = _Listed(_COMMANDS)
"""The class of each command, by the verb that stands in routes and on the command line."""

MODULES: Final = frozenset(
    f"domain.{where.partition('.')[0]}" for where in (*_EVENTS.values(), *_COMMANDS.values())
)
"""Where they stand: who follows imports does not find these."""

_CORRECTION: Final = "entry.corrected"


@lru_cache(1024)
def may_amend(topic: str) -> bool:
    """Whether an entry of that topic may change how others read; of an unknown one, who knows."""
    kind = EVENTS.get(topic)
    return kind is None or kind.amends is not Event.amends


class Unreadable(Exception):
    """Content that is there and cannot be told: its seal is broken, or a newer release wrote it.

    `code` is the kind of error, never its text. Whoever decides over a record must not go on from
    here; a view parks the stream.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class UnknownTopic(LookupError):
    """A stored entry names a topic, or a schema version of one, that this release cannot read."""

    def __init__(self, topic: str, schema_version: int) -> None:
        self.topic, self.schema_version = topic, schema_version
        super().__init__(
            f"This release cannot read {topic} in schema version {schema_version}: "
            "the record was written by a newer one."
        )


def read(topic: str, schema_version: int, content: Mapping[str, Any]) -> Event:
    """The event that stored content tells of, brought up to the current schema version.

    Raises UnknownTopic, or pydantic's ValidationError if the content is not of that topic.
    """
    kind = EVENTS.get(topic)
    if kind is None:
        raise UnknownTopic(topic, schema_version)
    event: Any = kind.model_validate(_current(kind, schema_version, dict(content)))
    return _with_current_replacement(event) if topic == _CORRECTION else event


def read_json(topic: str, schema_version: int, content: bytes) -> Event:
    """The same from stored bytes; most are made an event without a mapping in between."""
    kind = EVENTS.get(topic)
    if kind is None or topic == _CORRECTION or schema_version != kind.schema_version:
        return read(topic, schema_version, json.loads(content))
    # What `model_validate_json` calls, after it has looked at half a dozen arguments.
    event: Event = kind.__pydantic_validator__.validate_json(content)
    return event


def _current(kind: type[Event], schema_version: int, content: dict[str, Any]) -> dict[str, Any]:
    if schema_version == kind.schema_version:
        return content
    if not 0 < schema_version < kind.schema_version:
        raise UnknownTopic(kind.topic, schema_version)
    return kind.upcast(content, schema_version)


def _with_current_replacement(correction: "EntryCorrected") -> "EntryCorrected":
    """A correction whose replacement has the shape that the corrected entry has today."""
    kind = EVENTS.get(correction.of_topic)
    if kind is None:
        raise UnknownTopic(correction.of_topic, correction.of_schema_version)
    content = _current(kind, correction.of_schema_version, correction.content)
    today = {"content": content, "of_schema_version": kind.schema_version}
    return correction.model_copy(update=today)
