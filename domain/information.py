"""Information: what somebody was told, in which exact wording, before being asked for anything.

Consent and assent rest on it (rule 17). In research the therapists are told before any client is
(rule 18). It stands in the relationship's stream, sealed under the key of whoever was informed.
"""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from domain.clinic import (
    ConsentDocumentPublished,
    DocumentVersion,
    Scope,
    Sha256,
    clinic_stream,
    consent_document,
)
from domain.event import Command, Event, Given, History, New, Refusal
from domain.person import require_person
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
)

# --- What happened --------------------------------------------------------------------------


class InformationGiven(Event):
    """Somebody was shown and told what exactly that version of a document says."""

    topic = "consent.information_given"
    # Consent rests on it: what was really shown is recorded anew, under the rules of showing it.
    correctable = False

    document: UUID
    version: DocumentVersion
    sha256: Sha256
    to: UUID
    by: UUID

    def subject(self) -> UUID:
        return self.to


class QuestionsAddressed(Event):
    """There was time for the person's questions, and they were answered."""

    topic = "consent.questions_addressed"
    correctable = False

    document: UUID
    version: DocumentVersion
    party: UUID
    by: UUID

    def subject(self) -> UUID:
        return self.party


# --- Questions ------------------------------------------------------------------------------


def informed(history: History, person: UUID, document: UUID, version: int, at: datetime) -> bool:
    """Whether the person had been informed with exactly that version by then."""
    return any(
        (info.to, info.document, info.version) == (person, document, version)
        and entry.occurred_at <= at
        for entry, info in history.of(InformationGiven)
    )


def require_informed(
    given: Given, history: History, person: UUID, document: UUID, version: int
) -> None:
    """Rule 17: the person was informed with exactly that version before; an import reports."""
    if not informed(history, person, document, version, given.at):
        given.unless_imported(NotInformed, person=person, document=document, version=version)


def require_published(
    given: Given,
    document: UUID,
    version: int,
    *,
    sha256: str | None = None,
    scope: Scope | None = None,
) -> tuple[Scope, ...]:
    """Rule 17: the scopes of exactly that document, published by then; an import reports.

    `sha256` and `scope`, where given, are the document's, and one that it asks for.
    """
    published = consent_document(_clinic(given), document, version)
    if published is None:
        given.unless_imported(DocumentUnknown, document=document, version=version)
        return ()
    if sha256 not in (None, published.sha256):
        given.unless_imported(DocumentDiffers, document=document, version=version)
    if scope is not None and scope not in published.scopes:
        given.unless_imported(ScopeNotInDocument, document=document, version=version, scope=scope)
    return published.scopes


def require_newest(given: Given, document: UUID, version: int) -> None:
    """Rule 17: no newer wording of the document had been published by then."""
    newest = max(
        (
            published.version
            for _, published in _clinic(given).of(ConsentDocumentPublished)
            if published.document == document
        ),
        default=version,
    )
    if version < newest:
        raise DocumentOutdated(document=document, version=version, newest=newest)


def require_therapists_informed(
    given: Given, history: History, relationship: Relationship, document: UUID, version: int
) -> None:
    """Rule 18: in research every therapist knows the study before a client hears of it."""
    for therapist in relationship.therapists:
        if not informed(history, therapist, document, version, given.at):
            raise TherapistNotInformedFirst(therapist=therapist)


def _clinic(given: Given) -> History:
    """What had happened in the clinic by the time that the command tells of."""
    return given.history(clinic_stream(given.clinic)).as_of(happened_by=given.at)


# --- Refusals -------------------------------------------------------------------------------


class DocumentUnknown(Refusal):
    rule = 17
    status = 404
    says = "The clinic had published no version {version} of document {document} by then."


class DocumentDiffers(Refusal):
    rule = 17
    says = "The sha256 is not that of the published version {version} of document {document}."


class ScopeNotInDocument(Refusal):
    rule = 17
    says = "Version {version} of document {document} does not ask for consent to {scope}."


class DocumentOutdated(Refusal):
    rule = 17
    says = "Version {version} of document {document} is outdated: use version {newest}."


class NotInformed(Refusal):
    rule = 17
    says = "{person} was not informed with version {version} of document {document} before."


class TherapistNotInformedFirst(Refusal):
    rule = 18
    says = "In research the therapists are informed before the clients; {therapist} was not."


# --- Commands -------------------------------------------------------------------------------


class GiveInformation(Command):
    """Record that somebody was informed before being asked to consent."""

    name = "give-information"

    relationship: UUID
    document: UUID
    version: DocumentVersion
    sha256: Sha256
    to: UUID
    by: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        scopes = require_published(given, self.document, self.version, sha256=self.sha256)
        if self.to not in (*relationship.participants, relationship.supervisor):
            require_person(given, self.to)
        if Scope.RESEARCH_PARTICIPATION in scopes and self.to not in relationship.therapists:
            require_therapists_informed(given, history, relationship, self.document, self.version)
        yield New(
            stream,
            InformationGiven(
                document=self.document,
                version=self.version,
                sha256=self.sha256,
                to=self.to,
                by=self.by,
            ),
        )


class AddressQuestions(Command):
    """Record that somebody's questions about a document were answered."""

    name = "address-questions"

    relationship: UUID
    document: UUID
    version: DocumentVersion
    party: UUID
    by: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        require_open(relationship_of(given.history(stream)), given)
        require_published(given, self.document, self.version)
        yield New(
            stream,
            QuestionsAddressed(
                document=self.document, version=self.version, party=self.party, by=self.by
            ),
        )
