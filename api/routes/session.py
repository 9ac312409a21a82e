"""Sessions: scheduled, then held, missed or cancelled."""

from api.routes.command import accept, concept
from domain.session import CancelSession, HoldSession, MissSession, ScheduleSession

router = concept("sessions")
accept(router, ScheduleSession, HoldSession, MissSession, CancelSession)
