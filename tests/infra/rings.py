"""Keyrings of both kinds, as tests and their other processes open, look into and harm them."""

import os
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from infra.keyring import KeyringError, WrappedKeyring
from infra.keyring_shared import SCHEMA
from infra.keyrings import keyring_of
from infra.settings import Settings

ROOT = Path(__file__).parents[2]
CLINIC = UUID("11111111-1111-4111-8111-111111111111")
STREAM = "relationship-22222222-2222-4222-8222-222222222222"

PROLOGUE = """
import os, resource, signal, sys, time
from pathlib import Path
from uuid import UUID
from infra.keyring import *
from infra.keyrings import *
from infra.master_key import *
from infra.settings import load_settings
CLINIC = UUID("11111111-1111-4111-8111-111111111111")
STREAM = "relationship-22222222-2222-4222-8222-222222222222"
home = load_settings().keyring

def opened():
    return keyring_of(load_settings())
"""


class Place(ABC):
    """Where one test keeps its keyring: `home` is the folder of its master key."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.keyring
        self.master = self.home / "master.key"

    def open(self, *, new_ring: bool = False, first_use: bool = True) -> WrappedKeyring:
        return keyring_of(self.settings, new_ring=new_ring, first_use=first_use)

    def refused(self, *, new_ring: bool = False, first_use: bool = True) -> str:
        """The code with which opening the keyring is refused."""
        with pytest.raises(KeyringError) as refused:
            self.open(new_ring=new_ring, first_use=first_use)
        assert str(refused.value)
        return refused.value.code

    def wrapped(self) -> dict[UUID, bytes]:
        """Every key that is not destroyed, as it is kept."""
        rows = self.execute("SELECT key_id, wrapped FROM keys WHERE wrapped IS NOT NULL")
        return {UUID(key_id): wrapped for key_id, wrapped in rows}

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Another process of the product, with the keyring's names at hand."""
        given = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAPPORT_HOME": str(self.settings.home),
        }
        if self.settings.keyring_url is not None:
            given["RAPPORT_KEYRING_URL"] = self.settings.keyring_url.get_secret_value()
        if self.settings.master_key_command is not None:
            given["RAPPORT_MASTER_KEY_COMMAND"] = self.settings.master_key_command
        return subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + code, *arguments],
            cwd=ROOT,
            env=given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @abstractmethod
    def execute(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """A statement on the ring's tables, past the keyring; ? for its values."""

    @abstractmethod
    def lose(self) -> None:
        """The ring is gone; its master key is not."""

    @abstractmethod
    def stored(self) -> bytes:
        """Every byte on the disk in which a key could be."""


class FilePlace(Place):
    @property
    def ring(self) -> Path:
        return self.home / "keyring.db"

    def execute(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.ring)) as db, db:
            return db.execute(statement, values).fetchall()

    def lose(self) -> None:
        self.ring.unlink()

    def stored(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.home.iterdir())


class SharedPlace(Place):
    """Its database is on the tests' server, whose superuser may look at its files."""

    def __init__(self, settings: Settings, url: str, superuser: str) -> None:
        super().__init__(settings)
        self.url, self.superuser = url, superuser

    def execute(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        with psycopg.connect(self.superuser, autocommit=True) as db:
            db.execute(f"SET search_path = {SCHEMA}".encode())
            cursor = db.execute(statement.replace("?", "%s").encode(), values)
            return cursor.fetchall() if cursor.description else []

    def lose(self) -> None:
        self.execute(f"DROP SCHEMA {SCHEMA} CASCADE")

    def stored(self) -> bytes:
        self.execute("CHECKPOINT")
        ((data, database),) = self.execute(
            "SELECT current_setting('data_directory'), oid::text FROM pg_database"
            " WHERE datname = current_database()"
        )
        folder = Path(data) / "base" / database
        return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


def output(process: subprocess.Popen[str], status: int = 0) -> str:
    text, _ = process.communicate(timeout=60)
    assert process.returncode == status, text
    return text.strip()


def file_place(home: Path, **settings: Any) -> FilePlace:
    return FilePlace(Settings(home=home, **settings))


def shared_place(home: Path, url: str, superuser: str, **settings: Any) -> SharedPlace:
    settings["keyring_url"] = SecretStr(url)
    return SharedPlace(Settings(home=home, **settings), url, superuser)
