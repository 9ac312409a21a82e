"""The frame: agreed, changed, departed from."""

from api.routes.command import accept, concept
from domain.frame import AgreeFrame, ChangeFrameItem, RecordFrameDeparture

router = concept("frame")
accept(router, AgreeFrame, ChangeFrameItem, RecordFrameDeparture)
