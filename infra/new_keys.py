"""The keys that a batch is sealed under: those that are missing are made together, in one commit.

While a batch is decided, the owner of a new key gets an id; the key itself is made, durably, before
the first entry is sealed. Each new key by itself would cost the ring a commit.
"""

from uuid import UUID

from domain.ids import new_id
from infra.keyring import Keyring

Owner = tuple[str, str]
"""Whose key it is: the name of a stream, and a subject within it."""


class NewKeys:
    """The keys of one batch of one clinic."""

    def __init__(self, keyring: Keyring, clinic: UUID) -> None:
        self._keyring = keyring
        self._clinic = clinic
        self._known: dict[Owner, UUID] = {}
        self._wanted: dict[Owner, UUID] = {}

    def id_for(self, owner: Owner, unused: bool) -> UUID:
        """The id of the owner's key, which `make` makes where there is none; `KeyDestroyed`.

        `unused`: the stream is empty, so that nobody is likely to have a key for it yet.
        """
        found = self._known.get(owner)
        if found is None:
            found = self._keyring.key_id_of(self._clinic, *owner, ask=not unused)
            if found is None:
                found = self._wanted[owner] = new_id()
            self._known[owner] = found
        return found

    def make(self) -> bool:
        """Makes what is missing durable; False where an id is not the owner's key: another process
        was faster, and whatever was decided on these ids is decided again."""
        return self._keyring.make_keys(self._clinic, self._wanted)
