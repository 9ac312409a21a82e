"""What the environment says, and what it may not say."""

import os
from pathlib import Path

import pytest

from infra.settings import Settings, SettingsInvalid, default_home, load_settings

URL = "postgresql://owner:s3cret@db.example/record"


@pytest.fixture(autouse=True)
def _only_what_a_test_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("RAPPORT_") or name == "POSTGRES_ENABLE_DB_FUNCTIONS":
            monkeypatch.delenv(name)


def test_without_any_variable_there_is_a_default_for_everything() -> None:
    """Set-up: one command starts the product; nothing has to be configured."""
    settings = load_settings()
    assert settings.home == default_home()
    assert settings.keyring == default_home() / "keyring"
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 8000, "info")
    assert settings.database_url is None
    assert settings.postgres_bin is None


def test_the_default_home_is_the_users_own_or_that_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Embedded PostgreSQL: started as root, data is where the server's own account can go."""
    monkeypatch.setenv("HOME", "/somewhere/ada")
    own = Path("/somewhere/ada/.local/share/rapport")
    assert default_home() == (Path("/var/lib/rapport") if os.geteuid() == 0 else own)


def test_each_variable_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting is read from RAPPORT_ and its name in capitals."""
    given = {
        "HOME": "/srv/rapport",
        "DATABASE_URL": URL,
        "DATABASE_URL_READ": URL + "?application_name=reader",
        "POSTGRES_BIN": "/opt/postgresql/bin",
        "KEYRING_DIR": "/srv/keys",
        "HOST": "::1",
        "PORT": "8443",
        "LOG_LEVEL": "debug",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"RAPPORT_{name}", value)
    settings = load_settings()
    assert settings.home == Path("/srv/rapport")
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == URL
    assert settings.database_url_read is not None
    assert settings.database_url_app is None
    assert settings.postgres_bin == Path("/opt/postgresql/bin")
    assert settings.keyring == Path("/srv/keys")
    assert (settings.host, settings.port, settings.log_level) == ("::1", 8443, "debug")


def test_paths_hold_wherever_the_process_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server outlives the folder it was started from; an empty variable is an unset one."""
    monkeypatch.setenv("HOME", "/somewhere/ada")
    monkeypatch.setenv("RAPPORT_HOME", "~/record")
    monkeypatch.setenv("RAPPORT_KEYRING_DIR", "keys")
    monkeypatch.setenv("RAPPORT_POSTGRES_BIN", "")
    settings = load_settings()
    assert settings.home == Path("/somewhere/ada/record")
    assert settings.keyring == Path.cwd() / "keys"
    assert settings.postgres_bin is None


@pytest.mark.parametrize("value", ["y", "YES", "t", "true", "on", " 1 "])
def test_database_functions_of_the_library_are_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """ARCHITECTURE, facts: POSTGRES_ENABLE_DB_FUNCTIONS skips the lock and loses entries."""
    monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", value)
    with pytest.raises(SettingsInvalid, match=r"POSTGRES_ENABLE_DB_FUNCTIONS loses entries"):
        load_settings()


@pytest.mark.parametrize("value", ["", "n", "no", "0", "off"])
def test_database_functions_that_are_off_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Only what the library takes for true is refused."""
    monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", value)
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    "name, value",
    [("PORT", "70000"), ("PORT", "s3cret"), ("LOG_LEVEL", "s3cret"), ("CLINIC", "s3cret")],
)
def test_a_value_that_cannot_be_used_names_its_variable_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A person reads which variable to mend; no value is repeated, it might be a secret."""
    monkeypatch.setenv(f"RAPPORT_{name}", value)
    with pytest.raises(SettingsInvalid) as raised:
        load_settings()
    assert str(raised.value).startswith(f"RAPPORT_{name}: ")
    assert value not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_url_of_a_role_needs_that_of_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a database of one's own would silently be the embedded one."""
    monkeypatch.setenv("RAPPORT_DATABASE_URL_VIEWS", URL)
    with pytest.raises(SettingsInvalid, match="RAPPORT_DATABASE_URL_VIEWS needs") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed or logged carries no password."""
    monkeypatch.setenv("RAPPORT_DATABASE_URL", URL)
    assert "s3cret" not in repr(load_settings()) + load_settings().model_dump_json()


def test_every_setting_says_what_it_is() -> None:
    """docs/reference/settings.md is made from these descriptions."""
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undescribed == []
