"""Sessions: scheduled, then held, missed, cancelled or abandoned; reviewed and summed up."""

from api.routes.command import accept, concept
from domain.appointment import CancelSession, MissSession, RescheduleSession, ScheduleSession
from domain.emergency import ReviewEmergency
from domain.session import AbandonSession, HoldSession
from domain.summary import ShareSessionSummary

router = concept("sessions")
accept(router, ScheduleSession, RescheduleSession, MissSession, CancelSession)
accept(router, HoldSession, AbandonSession, ReviewEmergency, ShareSessionSummary)
