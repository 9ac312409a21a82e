"""The keyring that the settings name: in a file or in a database, its master key from either place.

Whoever opens, restores or rotates the product's keyring does it here.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.keyring import KeyringError, WrappedKeyring, open_keyring
from infra.keyring_errors import disk_told
from infra.keyring_shared import SharedKeyring, SharedRing, told
from infra.master_key import MasterCommand, MasterFile, proves, read_master, settle
from infra.ring_file import read_ring
from infra.settings import Settings


class NoNewMasterKey(Exception):
    """A master key that a program gives is replaced by another's, and none was named."""


class Rotated(NamedTuple):
    """How many keys were wrapped anew, and where the old master key's file is kept."""

    keys: int
    kept: Path | None


def keyring_of(
    settings: Settings, *, new_ring: bool = False, first_use: bool = True
) -> WrappedKeyring:
    """Opens the keyring; `new_ring` and `first_use` as `open_keyring` has them."""
    master = master_of(settings)
    if settings.keyring_url is None:
        return open_keyring(settings.keyring, master=master, new_ring=new_ring, first_use=first_use)
    url = settings.keyring_url.get_secret_value()
    with told(), disk_told():
        settle(master, SharedRing(url), new_ring=new_ring, first_use=first_use)
    return SharedKeyring(url, master)


def master_of(settings: Settings) -> MasterFile | MasterCommand:
    """Where the master key comes from."""
    if settings.master_key_command is None:
        return MasterFile(settings.keyring)
    return MasterCommand(shlex.split(settings.master_key_command))


def restore_keyring(
    settings: Settings, src: Path, *, merge: bool = False, under: Path | None = None
) -> int:
    """Takes over a backup where there may be no ring, but must be a master key; how many keys.

    `under`: file of the master key that the backup was made under, if that was rotated since.
    """
    with disk_told():
        old = None if under is None else read_master(under)
    proof = read_ring(src)[0].proof
    # Before a ring is made for it: that ring would belong to the wrong key, and refuse the right.
    fitting = master_of(settings).candidates() if old is None else [old]
    if not any(proves(proof, AESGCM(key)) for key in fitting):
        raise KeyringError("master_key_wrong")
    with keyring_of(settings, new_ring=True) as keyring:
        return keyring.restore(src, merge=merge, master=old)


def rotate(settings: Settings, new_command: str | None = None) -> Rotated:
    """Puts the keyring under a new master key, without touching keys or entries.

    Without `new_command`, a program that prints the new one, it is made and put in master.key;
    raises `NoNewMasterKey` where the present one does not come from there.
    """
    master = master_of(settings)
    with keyring_of(settings, first_use=False) as keyring:
        if new_command is not None:
            keys = keyring.rotate(MasterCommand(shlex.split(new_command)).key())
            return Rotated(keys, master.put_aside() if isinstance(master, MasterFile) else None)
        if isinstance(master, MasterCommand):
            raise NoNewMasterKey
        return Rotated(*master.replaced(keyring.rotate))
