"""Every kind of entry and every command there is: two closed lists.

A stored topic is looked up here and nowhere else; nothing is imported because a row names it.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from domain import (
    access,
    alliance,
    amendment,
    appointment,
    assent,
    clinic,
    closure,
    consent,
    consenting,
    context,
    correction,
    disclosure,
    emergency,
    erasure,
    frame,
    goal,
    goal_rating,
    hold,
    information,
    note,
    outcome,
    participant,
    pause,
    person,
    phase,
    possible_rupture,
    process_note,
    rating,
    recall,
    recording,
    relationship,
    rescoring,
    restriction,
    risk,
    role,
    rupture,
    session,
    summary,
    supervision,
    task,
    text_pack,
    withdrawal,
)
from domain.correction import EntryCorrected
from domain.event import Command, Event

_EVENTS: tuple[type[Event], ...] = (
    clinic.ClinicFounded,
    clinic.ConsentDocumentPublished,
    clinic.InstrumentLicenceAttested,
    clinic.ImportDeclared,
    text_pack.TextPackAdopted,
    rescoring.ScoringKeyAdopted,
    person.PersonRegistered,
    person.PractitionerRegistered,
    relationship.RelationshipOpened,
    relationship.ParticipantJoined,
    relationship.ParticipantLeft,
    relationship.RelationshipPaused,
    relationship.RelationshipResumed,
    relationship.RelationshipTransferred,
    relationship.RelationshipClosed,
    relationship.RelationshipReopened,
    phase.PhaseDeclared,
    frame.FrameAgreed,
    frame.FrameItemChanged,
    frame.FrameDepartureRecorded,
    context.ContextEventRecorded,
    information.InformationGiven,
    information.QuestionsAddressed,
    assent.AssentGiven,
    assent.AssentDissented,
    assent.AssentWaived,
    assent.MajorityReached,
    consent.ConsentGiven,
    consent.ConsentRenewed,
    consent.ConsentDeclined,
    consent.ConsentScopeNarrowed,
    consent.ConsentWithdrawn,
    session.SessionScheduled,
    session.SessionRescheduled,
    session.SessionHeld,
    session.SessionAbandoned,
    session.SessionMissed,
    session.SessionCancelled,
    session.SessionTimeTaken,
    emergency.EmergencyReviewed,
    summary.SessionSummaryShared,
    recording.RecordingStarted,
    recording.RecordingEnded,
    recording.RecordingUsed,
    recording.RecordingDestroyed,
    goal.GoalProposed,
    goal.GoalRevised,
    goal.GoalAssented,
    goal.GoalDissented,
    goal.GoalRated,
    goal.GoalReached,
    goal.GoalRetired,
    goal.GoalReopened,
    task.TaskProposed,
    task.TaskAssented,
    task.TaskReviewed,
    task.TaskRetired,
    alliance.AllianceRated,
    alliance.RatingSuperseded,
    alliance.EarlyAllianceReviewed,
    outcome.OutcomeRated,
    outcome.OutcomeSuperseded,
    risk.RiskItemRaised,
    risk.RiskReviewed,
    person.RaterTrainingAttested,
    rupture.RuptureMarked,
    rupture.RepairAttempted,
    rupture.RuptureResolved,
    rupture.RuptureLeftOpen,
    possible_rupture.PossibleRuptureDismissed,
    note.ProgressNoteWritten,
    note.NoteAddended,
    note.NoteSigned,
    note.NoteCosigned,
    process_note.ProcessNoteWritten,
    process_note.ProcessNoteShared,
    supervision.SupervisionHeld,
    supervision.SupervisionActionAgreed,
    supervision.SupervisionActionReviewed,
    supervision.CountertransferenceNoted,
    recall.RecallScheduled,
    recall.RecallInterviewHeld,
    recall.MomentMarked,
    correction.EntryCorrected,
    correction.EnteredInError,
    access.RecordRead,
    access.BreakGlassUsed,
    access.AccessReviewed,
    access.AccessDenied,
    role.RoleGranted,
    role.RoleRevoked,
    hold.LegalHoldPlaced,
    hold.LegalHoldLifted,
    restriction.RestrictionAgreed,
    restriction.RestrictionLifted,
    amendment.AmendmentRequested,
    amendment.AmendmentExtended,
    amendment.AmendmentAccepted,
    amendment.AmendmentDenied,
    amendment.DisagreementStated,
    amendment.DisagreementRebutted,
    disclosure.RecordDisclosed,
    disclosure.ExportMade,
    disclosure.RecipientInformed,
    disclosure.AccountingSuspended,
    erasure.ErasureRequested,
    erasure.ErasureRefused,
    erasure.KeyDestroyed,
)

_COMMANDS: tuple[type[Command], ...] = (
    clinic.FoundClinic,
    clinic.PublishConsentDocument,
    clinic.AttestInstrumentLicence,
    clinic.DeclareImport,
    text_pack.AdoptTextPack,
    rescoring.AdoptScoringKey,
    person.RegisterPerson,
    person.RegisterPractitioner,
    relationship.OpenRelationship,
    participant.JoinRelationship,
    participant.LeaveRelationship,
    pause.PauseRelationship,
    pause.ResumeRelationship,
    closure.TransferRelationship,
    closure.CloseRelationship,
    closure.ReopenRelationship,
    phase.DeclarePhase,
    frame.AgreeFrame,
    frame.ChangeFrameItem,
    frame.RecordFrameDeparture,
    context.RecordContextEvent,
    information.GiveInformation,
    information.AddressQuestions,
    assent.GiveAssent,
    assent.DissentAsMinor,
    assent.WaiveAssent,
    assent.RecordMajority,
    consenting.GiveConsent,
    consenting.RenewConsent,
    consenting.DeclineConsent,
    withdrawal.NarrowConsent,
    withdrawal.WithdrawConsent,
    appointment.ScheduleSession,
    appointment.RescheduleSession,
    session.HoldSession,
    session.AbandonSession,
    appointment.MissSession,
    appointment.CancelSession,
    emergency.ReviewEmergency,
    summary.ShareSessionSummary,
    recording.StartRecording,
    recording.EndRecording,
    recording.UseRecording,
    recording.DestroyRecording,
    goal.ProposeGoal,
    goal.ReviseGoal,
    goal.AssentToGoal,
    goal.DissentFromGoal,
    goal_rating.RateGoal,
    goal.ReachGoal,
    goal.RetireGoal,
    goal.ReopenGoal,
    task.ProposeTask,
    task.AssentToTask,
    task.ReviewTask,
    task.RetireTask,
    alliance.RateAlliance,
    alliance.ReviewEarlyAlliance,
    outcome.RateOutcome,
    rating.SupersedeRating,
    risk.ReviewRisk,
    person.AttestRaterTraining,
    rupture.MarkRupture,
    rupture.AttemptRepair,
    rupture.ResolveRupture,
    rupture.LeaveRuptureOpen,
    possible_rupture.DismissPossibleRupture,
    note.WriteNote,
    note.AddToNote,
    note.SignNote,
    note.CosignNote,
    process_note.WriteProcessNote,
    process_note.ShareProcessNote,
    supervision.HoldSupervision,
    supervision.AgreeSupervisionAction,
    supervision.ReviewSupervisionAction,
    supervision.NoteCountertransference,
    recall.ScheduleRecall,
    recall.HoldRecallInterview,
    recall.MarkMoment,
    correction.CorrectEntry,
    correction.MarkEnteredInError,
    access.ReadRecord,
    access.BreakGlass,
    access.ReviewAccess,
    access.NoteDenial,
    role.GrantRole,
    role.RevokeRole,
    hold.PlaceLegalHold,
    hold.LiftLegalHold,
    restriction.AgreeRestriction,
    restriction.LiftRestriction,
    amendment.RequestAmendment,
    amendment.ExtendAmendment,
    amendment.AcceptAmendment,
    amendment.DenyAmendment,
    amendment.StateDisagreement,
    amendment.RebutDisagreement,
    disclosure.DiscloseRecord,
    disclosure.NoteExport,
    disclosure.InformRecipient,
    disclosure.SuspendAccounting,
    erasure.RequestErasure,
    erasure.RefuseErasure,
    erasure.DestroyKeys,
)

EVENTS: Mapping[str, type[Event]] = MappingProxyType({kind.topic: kind for kind in _EVENTS})
"""The class of each topic."""

COMMANDS: Mapping[str, type[Command]] = MappingProxyType({kind.name: kind for kind in _COMMANDS})
"""The class of each command, by the verb that stands in routes and on the command line."""


_AMEND_NOTHING: frozenset[str] = frozenset(
    kind.topic for kind in _EVENTS if kind.amends is Event.amends
)


def may_amend(topic: str) -> bool:
    """Whether an entry of that topic may change how others read; of an unknown one, who knows."""
    return topic not in _AMEND_NOTHING


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
    event = kind.model_validate(_current(kind, schema_version, dict(content)))
    return _with_current_replacement(event) if isinstance(event, EntryCorrected) else event


def read_json(topic: str, schema_version: int, content: bytes) -> Event:
    """The same from stored bytes; most are made an event without a mapping in between."""
    kind = EVENTS.get(topic)
    if kind is None or kind is EntryCorrected or schema_version != kind.schema_version:
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


def _with_current_replacement(correction: EntryCorrected) -> EntryCorrected:
    """A correction whose replacement has the shape that the corrected entry has today."""
    kind = EVENTS.get(correction.of_topic)
    if kind is None:
        raise UnknownTopic(correction.of_topic, correction.of_schema_version)
    content = _current(kind, correction.of_schema_version, correction.content)
    today = {"content": content, "of_schema_version": kind.schema_version}
    return correction.model_copy(update=today)
