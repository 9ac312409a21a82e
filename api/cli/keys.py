"""`rapport keyring`: the keys without which nothing can be read. `rapport token`: who may knock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import psycopg
import typer

from api.cli.terminal import (
    Exit,
    Failed,
    Format,
    FormatOption,
    say,
    settings,
    settings_of_record,
    show,
)
from api.composition import issue_token, open_service, revoke_role
from domain.access import Role
from domain.records import system_clock
from infra.canonical import time_text
from infra.clinics import clinic_in, pinned
from infra.identity import Token, Tokens
from infra.keyring import MASTER_FILE, Keyring, KeyringError, KeyUnknown, WrappedKeyring
from infra.keyrings import NoNewMasterKey, keyring_of, restore_keyring
from infra.keyrings import rotate as rotate_keyring
from infra.postgres import open_database
from infra.settings import Settings

_keyring = typer.Typer(
    help="The keys without which nothing can be read: back them up, apart from the database.",
    no_args_is_help=True,
)
_token = typer.Typer(help="Who may knock: bearer tokens of the API.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(_keyring, name="keyring")
    app.add_typer(_token, name="token")


# --- The keyring ----------------------------------------------------------------------------


@_keyring.command("status")
def status(format_: FormatOption = Format.TEXT) -> None:
    """Show where the keyring is and how many keys it holds. Each of them is opened.

    \b
    Examples:
      rapport keyring status
      rapport keyring status --format json
    """
    with _there(settings()) as keyring:
        live, generation, place = keyring.verify(), keyring.generation(), keyring.place
    document = {"keyring": place, "live": live, "generation": generation}
    moved = f"generation {generation}, which moves whenever one is destroyed"
    show(format_, document, f"{place}: {live} live keys; {moved}")


@_keyring.command("verify")
def verify(format_: FormatOption = Format.TEXT) -> None:
    """Open every key, and find every key that the log names. Exit status 1 where one is missing.

    A destroyed key is not missing: its erasure is on record. Run it after a restore.

    \b
    Examples:
      rapport keyring verify
      rapport keyring verify --format json
    """
    loaded = settings()
    with _there(loaded) as keyring, open_database(loaded, progress=say) as database:
        try:
            live = keyring.verify()
        except KeyringError as error:
            raise Failed(Exit.FOUND, str(error)) from None
        clinic = clinic_in(database, loaded)
        missing = (
            [] if clinic is None else list(unknown_keys(keyring, database.dsn("read"), clinic))
        )
    document = {
        "ok": not missing,
        "keyring": keyring.place,
        "live": live,
        "missing": [str(key_id) for key_id in missing],
    }
    show(format_, document, f"{live} live keys open; {len(missing)} that the log names are missing")
    if missing:
        raise Failed(
            Exit.FOUND,
            f"{len(missing)} keys that the log names were never in this keyring.",
            "Restore a newer backup: `rapport keyring restore FILE --merge`.",
        )


def unknown_keys(keyring: Keyring, conninfo: str, clinic: UUID) -> Iterator[UUID]:
    """Every key that the clinic's log names and this keyring never held."""
    query = "SELECT DISTINCT key_id FROM rapport.entries WHERE clinic = %s ORDER BY key_id"
    with psycopg.connect(pinned(conninfo, clinic)) as connection:
        for (key_id,) in connection.execute(query, (clinic,)).fetchall():
            try:
                keyring.get(clinic, key_id)
            except KeyUnknown:
                yield key_id


@_keyring.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="The new file; one that exists is not overwritten.")],
) -> None:
    """Write a copy of the keyring (mode 0600), while the product runs.

    The copy is sealed under master.key and useless without it: keep a copy of master.key too, and
    both apart from the database's backups. A copy still holds keys that are destroyed later.

    \b
    Examples:
      rapport keyring backup keys-monday.db
    """
    loaded = settings()
    with _there(loaded) as keyring:
        keyring.backup(file.absolute())
    master = f"{loaded.keyring / MASTER_FILE}: keep a copy of that elsewhere"
    if loaded.master_key_command is not None:
        master = "the master key that the command gives now"
    say(f"Wrote {file}. It opens only under {master}.")


@_keyring.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A copy made by `rapport keyring backup`.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Add to a keyring that holds keys already.")
    ] = False,
    master_key: Annotated[
        Path | None,
        typer.Option(help="The master.key that the copy was made under, if it was rotated since."),
    ] = None,
) -> None:
    """Take over the keys of a backup that was made under the same master key.

    Where the keyring itself was lost, put master.key back first. What was destroyed stays so, and
    what the log says was destroyed is destroyed again. The copy may come from a keyring of the
    other kind: that is how one moves from a file to a database.

    \b
    Examples:
      rapport keyring restore keys-monday.db
      rapport keyring restore keys-monday.db --merge
      rapport keyring restore keys-monday.db --merge --master-key master.key.before-monday
    """
    for given in (file, master_key):
        if given is not None and not given.is_file():
            raise Failed(Exit.USAGE, f"There is no file {given}.")
    loaded = settings()
    added = restore_keyring(loaded, file, merge=merge, under=master_key)
    say(f"Took over {added} keys. Now run `rapport keyring verify`.")


@_keyring.command("rotate")
def rotate(
    new_command: Annotated[
        str | None,
        typer.Option(
            help="A program with its arguments that prints the new master key, as"
            " RAPPORT_MASTER_KEY_COMMAND has one. Left out: a new one is put in master.key."
        ),
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Put the keyring under a new master key: all at once or not at all; no entry is touched.

    Processes that run go on where they get the new key from the same place; others say that they
    must be started again. Copies of the keyring from before open only under the old master key:
    as long as both are kept, so is every key that was destroyed since.

    \b
    Examples:
      rapport keyring rotate
      rapport keyring rotate --format json
    """
    loaded = settings()
    with _there(loaded):
        pass
    try:
        done = rotate_keyring(loaded, new_command)
    except NoNewMasterKey:
        raise Failed(
            Exit.USAGE,
            "The master key comes from RAPPORT_MASTER_KEY_COMMAND.",
            "Name the program that prints the new one by --new-command.",
        ) from None
    document = {"keys": done.keys, "kept": done.kept and str(done.kept)}
    show(format_, document, f"{done.keys} keys are wrapped under the new master key.")
    if done.kept is not None:
        say(
            f"The old one is now {done.kept}. Older copies of the keyring open under it alone: "
            "keep it with them, apart; or destroy it with every copy of it, and they are buried."
        )
    if new_command is None:
        say(f"Make a new copy of {loaded.keyring / MASTER_FILE}, and keep it elsewhere.")
    else:
        say("Set RAPPORT_MASTER_KEY_COMMAND to the new command, and start what runs again.")


@contextmanager
def _there(loaded: Settings) -> Iterator[WrappedKeyring]:
    """The keyring, if there is one; a command that looks at it makes none."""
    if loaded.keyring_url is None and not loaded.keyring.exists():
        raise Failed(
            Exit.UNAVAILABLE,
            f"There is no keyring at {loaded.keyring}.",
            "Look at RAPPORT_HOME and RAPPORT_KEYRING_DIR; `rapport migrate` makes one.",
        )
    with keyring_of(loaded, first_use=False) as keyring:
        yield keyring


# --- Tokens ---------------------------------------------------------------------------------

RoleOption = Annotated[Role, typer.Option(help="In what capacity the bearer comes.")]


_ANYBODY = frozenset({Role.ADMINISTRATOR, Role.COMPLIANCE_OFFICER})
"""Roles whose reach does not depend on who somebody is."""


@_token.command("create")
def create(
    role: RoleOption,
    principal: Annotated[
        UUID | None,
        typer.Option(
            help="Whose token it is: a person or practitioner by id. Left out: somebody new, as"
            " befits an administrator or a compliance officer."
        ),
    ] = None,
    purpose: Annotated[
        str, typer.Option(help="For what the bearer reads, where a request does not say.")
    ] = "care",
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is good for.")] = 30,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Make a bearer token. It is shown once; its secret is not kept.

    A role that its bearer does not have yet is granted with it, and the record says so.

    \b
    Examples:
      rapport token create --role administrator
      rapport token create --role compliance_officer --purpose audit --days 7 --format json
    """
    if role is Role.SYSTEM:
        raise Failed(
            Exit.USAGE,
            "No token carries the role system.",
            "It is that of whoever works on this machine, without a token.",
        )
    if principal is None and role not in _ANYBODY:
        raise Failed(
            Exit.USAGE,
            f"Whose token? A {role.value} reaches what is their own.",
            "Name the person or practitioner by --principal.",
        )
    whose = principal or uuid4()
    expires = system_clock() + timedelta(days=days)
    with open_service(settings_of_record(), progress=say) as service:
        text = issue_token(service, whose, role, purpose, expires, "A token was made.")
    document = {
        "token": text,
        "id": str(_id_in(text)),
        "principal": str(whose),
        "role": role.value,
        "expires_at": time_text(expires),
    }
    say(f"A token of {whose} as {role.value}, good until {time_text(expires)}. Shown only now:")
    show(format_, document, text)


@_token.command("revoke")
def revoke(
    token: Annotated[
        UUID | None, typer.Argument(help="The token's id, as `rapport token list` shows it.")
    ] = None,
    role: Annotated[Role | None, typer.Option(help="Only tokens of that role.")] = None,
    principal: Annotated[UUID | None, typer.Option(help="All tokens of that principal.")] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """End tokens, from the next request on: one by its id, or all of a principal, with their roles.

    \b
    Examples:
      rapport token revoke 0b0e2f6c-3a0c-4d0f-9a54-3f1c58b0a0c1
      rapport token revoke --principal 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --role therapist
    """
    if (token is None) == (principal is None):
        raise Failed(
            Exit.USAGE,
            "Name a token's id or a principal.",
            "rapport token list shows both.",
        )
    with open_service(settings_of_record(), progress=say) as service:
        ended = [
            known
            for known in service.tokens.known()
            if known.revoked_at is None
            and (known.id == token or known.principal == principal)
            and role in (None, known.role)
            and service.tokens.revoke(known.id)
        ]
        if principal is not None:
            for ending in {known.role for known in ended}:
                revoke_role(service, principal, ending, "All its tokens were revoked.")
    if not ended:
        raise Failed(Exit.FOUND, "No such token is in force.", "See `rapport token list`.")
    document = {"revoked": [str(known.id) for known in ended]}
    show(format_, document, "\n".join(f"revoked {known.id}" for known in ended))


@_token.command("list")
def list_(format_: FormatOption = Format.TEXT) -> None:
    """List every token ever made, without its secret.

    \b
    Examples:
      rapport token list
      rapport token list --format json
    """
    with _tokens() as tokens:
        known = tokens.known()
    document = {"tokens": [_rendered(token) for token in known]}
    show(format_, document, lambda: "\n".join(map(_line, known)) or "There are no tokens.")


def _rendered(token: Token) -> dict[str, Any]:
    return {
        "id": str(token.id),
        "principal": str(token.principal),
        "role": token.role.value,
        "purpose": token.purpose,
        "created_at": time_text(token.created_at),
        "expires_at": time_text(token.expires_at),
        "revoked_at": token.revoked_at and time_text(token.revoked_at),
    }


def _line(token: Token) -> str:
    state = "revoked" if token.revoked_at else f"until {token.expires_at:%Y-%m-%d %H:%M}Z"
    return f"{token.id}  {token.role.value:<19} {state:<23} {token.principal}"


def _id_in(text: str) -> UUID:
    """A token's id, which stands in its text."""
    return UUID(text.split("_")[2])


@contextmanager
def _tokens() -> Iterator[Tokens]:
    with open_service(settings_of_record(), progress=say) as service:
        yield service.tokens
