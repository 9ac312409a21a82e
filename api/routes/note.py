"""Notes: written, added to, signed and co-signed; process notes apart."""

from api.routes.command import accept, concept
from domain.note import AddToNote, CosignNote, SignNote, WriteNote
from domain.process_note import ShareProcessNote, WriteProcessNote

router = concept("notes")
accept(router, WriteNote, AddToNote, SignNote, CosignNote, WriteProcessNote, ShareProcessNote)
