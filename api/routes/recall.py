"""Recall interviews: scheduled, held, and their moments."""

from api.routes.command import accept, concept
from domain.recall import HoldRecallInterview, MarkMoment, ScheduleRecall

router = concept("recall")
accept(router, ScheduleRecall, HoldRecallInterview, MarkMoment)
