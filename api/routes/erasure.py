"""Erasure: asked for, refused. What carries it out is `rapport erase`, beside the keyring."""

from api.routes.command import accept, concept
from domain.erasure import RefuseErasure, RequestErasure

router = concept("erasure")
accept(router, RequestErasure, RefuseErasure)
