"""What a keyring answers where it cannot answer with a key. docs/formats/keyring.md, *Faults*."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

SAYS: Final = {
    "busy": "Another process holds the keyring for too long; try again.",
    "closed": "This keyring was closed.",
    "damaged": "The keyring is damaged: put it aside and restore a backup.",
    "disk_full": "The disk that holds the keyring is full; no key was created.",
    "exists": "The destination exists already; backups are never overwritten.",
    "forked": "A keyring must be opened again after a fork.",
    "key_destroyed": "The key of this owner was destroyed; nothing more can be sealed for it.",
    "keyring_missing": "The log has entries, but the keyring that opens them is not here: put "
    "back master.key and restore a backup of the ring.",
    "key_unknown": "This keyring never held the key; the ring that did must be restored.",
    "master_command_failed": "The command that gives the master key cannot be started, or failed: "
    "run it by hand to see why.",
    "master_command_garbled": "The command that gives the master key printed something else than "
    "one line `rapport-master-key/1` and 64 hex digits.",
    "master_command_hung": "The command that gives the master key did not end in time.",
    "master_key_damaged": "master.key is not a whole master key: put back your copy of it.",
    "master_key_missing": "There is no master.key for this keyring: put back your copy of it.",
    "master_key_rotated": "The master key was rotated: give this machine the new one (master.key, "
    "or the command that gives it) and start again.",
    "master_key_same": "The new master key is the one that the keyring is under already.",
    "master_key_wrong": "The master key is not the one this keyring was made under.",
    "not_empty": "The keyring holds keys already; ask for a merge to add the backup's to them.",
    "permissions": "Others may read the keyring: set 0700 on its directory, 0600 on its files.",
    "replaced": "The keyring was moved, replaced or put back to an older state while in use: "
    "start again.",
    "ring_missing": "There is a master key but no keyring: restore a backup of it.",
    "same_database": "RAPPORT_KEYRING_URL names the database of a record: the keyring needs one "
    "of its own, with backups of its own.",
    "unreachable": "The keyring's database does not answer, or refuses: look at its server and at "
    "RAPPORT_KEYRING_URL.",
    "unwritable": "The keyring cannot be read or written; look at its disk and permissions.",
    "url_invalid": "RAPPORT_KEYRING_URL is no valid URL. In a password write @ as %40, : as %3A, "
    "/ as %2F.",
}


class KeyringError(Exception):
    """The ring cannot answer. `code` is a key of the table above, `str()` says what to do."""

    def __init__(self, code: str, key_id: UUID | None = None) -> None:
        super().__init__(code, key_id)
        self.code = code
        self.key_id = key_id

    def __str__(self) -> str:
        return SAYS[self.code] + (f" (key {self.key_id})" if self.key_id else "")


class KeyUnknown(KeyringError):
    """The key was never in this ring: the ring is lost, old or another's. Not an erasure."""

    def __init__(self, clinic: UUID, key_id: UUID) -> None:
        super().__init__("key_unknown", key_id)
        self.clinic = clinic


class KeyDestroyed(KeyringError):
    """The owner's key was destroyed: nothing further can be sealed for this owner."""

    def __init__(self, clinic: UUID, stream: str, subject: str) -> None:
        super().__init__("key_destroyed")
        self.clinic, self.stream, self.subject = clinic, stream, subject


@contextmanager
def disk_told() -> Iterator[None]:
    """Turns what the disk raises into a `KeyringError` that says what to do."""
    try:
        yield
    except OSError as error:
        code = "disk_full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "unwritable"
        raise KeyringError(code) from error
