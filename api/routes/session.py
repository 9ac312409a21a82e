"""Sessions: scheduled, then held, missed, cancelled or abandoned."""

from api.routes.command import accept, concept
from domain.appointment import CancelSession, MissSession, RescheduleSession, ScheduleSession
from domain.session import AbandonSession, HoldSession

router = concept("sessions")
accept(router, ScheduleSession, RescheduleSession, MissSession, CancelSession)
accept(router, HoldSession, AbandonSession)
