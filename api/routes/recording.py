"""Recordings: started, ended, used, destroyed."""

from api.routes.command import accept, concept
from domain.recording import DestroyRecording, EndRecording, StartRecording, UseRecording

router = concept("recordings")
accept(router, DestroyRecording, EndRecording, StartRecording, UseRecording)
