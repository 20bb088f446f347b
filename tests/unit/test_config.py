"""Settings: every wrong value stops the start with name, problem and example, and tells no secret."""

from pathlib import Path

import pytest

from admit.config import SETTINGS, Settings
from admit.errors import ConfigError

SECRET = "correct-horse-battery-staple-correct-horse"
PRODUCTION = {
    "ADMIT_DATABASE_URL": f"postgresql://admit:{SECRET}@db.example.com/admit",
    "ADMIT_PUBLIC_URL": "https://login.example.com",
    "ADMIT_SECRET_KEY": SECRET,
    "ADMIT_MAIL_URL": f"smtps://admit:{SECRET}@mail.example.com",
    "ADMIT_HOST": "0.0.0.0",
}


def complaint(environ: dict[str, str], overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings.load(environ, overrides)
    return caught.value.message


def test_struct_and_readers_name_the_same_settings() -> None:
    assert [setting.name for setting in SETTINGS] == list(Settings.__struct_fields__)


def test_every_example_and_default_can_be_read() -> None:
    for setting in SETTINGS:
        setting.parse(setting.default)
        setting.parse(setting.example)


def test_a_laptop_needs_no_settings() -> None:
    settings = Settings.load({"HOME": "/root"})
    assert settings.public_url == "http://localhost:8080"
    assert settings.mail_url == "inbox:"
    assert settings.database_url == "sqlite:///admit.db"
    assert settings.on_sqlite
    assert settings.on_loopback


def test_production_settings_are_taken_as_they_are() -> None:
    settings = Settings.load(
        PRODUCTION
        | {
            "ADMIT_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
            "ADMIT_WORKERS": "4",
            "ADMIT_PUBLIC_URL": "https://Login.Example.com/",
        }
    )
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "192.0.2.1/32"]
    assert (settings.workers, settings.public_url) == (4, "https://login.example.com")
    assert settings.mail_sender == "no-reply@login.example.com"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PORT", "http", "PORT is 'http', which is not a whole number from 0 to 65535"),
        ("PORT", "70000", "not a whole number from 0 to 65535"),
        ("PORT", "8_0", "not a whole number"),
        ("PORT", "٨٠", "not a whole number"),
        ("WORKERS", "0", "WORKERS is '0'"),
        ("ACCESS_TOKEN_SECONDS", "1", "from 5 to 86400 seconds"),
        ("MIGRATE", "never", "none of auto, manual"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy", "holds 'proxy', neither an address nor a network"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "holds '10.0.0.1/8'"),
        ("PUBLIC_URL", "login.example.com", "not a whole http:// or https:// address"),
        ("PUBLIC_URL", "https://login.example.com/?a=b", "has a user, a query or a fragment"),
        ("PUBLIC_URL", "https://a@login.example.com", "has a user, a query or a fragment"),
        ("MAIL_URL", "mail.example.com", "none of smtp://HOST"),
        ("MAIL_URL", "file://mails.jsonl", "none of smtp://HOST"),
        ("DATABASE_URL", "mysql://db/admit", "neither sqlite:///FILE nor postgresql://"),
        ("DATABASE_URL", "sqlite:///:memory:", "neither sqlite:///FILE"),
        ("RATE_LIMITS", "/no/such/file", "neither on, off nor the path of a file"),
        ("HOST", "0.0.0.0:80/", "HOST is"),
        ("LOG_LEVEL", "INFO", "none of debug, info, warning, error"),
        ("MAIL_SENDER", "a@b\nBcc: c@d", "not a mail address"),
        ("TASKS_RELOAD", "always", "none of change, command"),
        ("TASKS_PROCESSES", "3", "from 4 to 1000"),
        ("TASKS_MEMORY_MB", "1", "from 64 to 65536 MB"),
        ("TASKS_USER", "nobody; rm", "is not the name of a user"),
    ],
)
def test_wrong_value_is_named_with_problem_and_example(name: str, value: str, problem: str) -> None:
    message = complaint({f"ADMIT_{name}": value})
    assert problem in message
    assert f"Example: ADMIT_{name}=" in message


def test_all_wrong_values_are_told_at_once() -> None:
    message = complaint({"ADMIT_PORT": "x", "ADMIT_WORKERS": "y", "ADMIT_TYPO": "z"})
    assert len(message.splitlines()) == 3


def test_unknown_variable_is_named_with_what_may_be_meant() -> None:
    assert complaint({"ADMIT_TRUSTED_PROXY": "10.0.0.1"}) == (
        "ADMIT_TRUSTED_PROXY is not a setting of Admit. Is ADMIT_TRUSTED_PROXIES meant?"
    )


def test_service_links_of_kubernetes_are_not_settings() -> None:
    links = {
        "ADMIT_PORT": "tcp://10.0.0.7:8080",
        "ADMIT_SERVICE_HOST": "10.0.0.7",
        "ADMIT_SERVICE_PORT_HTTP": "8080",
        "ADMIT_PORT_8080_TCP_ADDR": "10.0.0.7",
    }
    assert Settings.load(links).port == 8080


@pytest.mark.parametrize("options", ["?mode=ro", "?nolock=1&immutable=1", "?"])
def test_options_behind_a_sqlite_file_are_refused(options: str) -> None:
    message = complaint({"ADMIT_DATABASE_URL": f"sqlite:///admit.db{options}"})
    assert message.startswith("DATABASE_URL has a ?, behind which SQLite would read options.")


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS if setting.secret])
def test_wrong_secret_is_not_repeated(name: str, tmp_path: Path) -> None:
    wrong = f"gopher://admit:{SECRET}@example.com"
    file = tmp_path / "secret"
    file.write_text(wrong)
    if name == "secret_key":
        return  # anything long enough can be one; the key ring looks at its length
    assert SECRET not in complaint({f"ADMIT_{name.upper()}": wrong})
    assert SECRET not in complaint({f"ADMIT_{name.upper()}_FILE": str(file)})


def test_secret_put_into_the_variable_of_its_file_is_not_repeated() -> None:
    message = complaint({"ADMIT_SECRET_KEY_FILE": SECRET})
    assert message.startswith("ADMIT_SECRET_KEY_FILE names a file that cannot be read")
    assert SECRET not in message


def test_secrets_do_not_show_in_the_struct() -> None:
    assert SECRET not in repr(Settings.load(PRODUCTION))


def test_secret_comes_from_a_file_without_its_line_break(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    assert Settings.load({"ADMIT_SECRET_KEY_FILE": str(file)}).secret_key == SECRET


def test_secret_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    assert "are both set" in complaint({"ADMIT_SECRET_KEY_FILE": str(file), "ADMIT_SECRET_KEY": SECRET})


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "admit.toml"
    file.write_text('port = 1001\nhost = "127.0.0.3"\nworkers = 1\ntrusted_proxies = ["10.0.0.0/8"]\n')
    environ = {"ADMIT_CONFIG": str(file), "ADMIT_PORT": "1002", "ADMIT_HOST": "127.0.0.2"}
    settings = Settings.load(environ, {"host": "127.0.0.1"})
    assert (settings.host, settings.port) == ("127.0.0.1", 1002)
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8"]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("porto = 1", "porto is not a setting of Admit. Is port meant?"),
        ("port = true", "PORT in"),
        ("port = [1]", "PORT in"),
        ("port = ", "is not TOML"),
        ("port = 'x'", "PORT is 'x'"),
    ],
)
def test_wrong_line_of_the_file_is_named(toml: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "admit.toml"
    file.write_text(toml)
    assert problem in complaint({"ADMIT_CONFIG": str(file)})


def test_server_for_others_must_know_its_address_and_mail_server() -> None:
    message = complaint({"ADMIT_HOST": "0.0.0.0"})
    assert "PUBLIC_URL is not set. Set it to the address your users open" in message
    assert "MAIL_URL is not set" in message


@pytest.mark.parametrize(
    "exposed", [{"ADMIT_HOST": "0.0.0.0"}, {"ADMIT_PUBLIC_URL": "https://login.example.com"}]
)
def test_inbox_is_refused_where_others_could_read_it(exposed: dict[str, str]) -> None:
    environ = {"ADMIT_PUBLIC_URL": "http://localhost:8080", "ADMIT_MAIL_URL": "inbox:"} | exposed
    assert "MAIL_URL is inbox:" in complaint(environ)


def test_postgres_without_a_secret_key_does_not_start() -> None:
    environ = dict(PRODUCTION)
    del environ["ADMIT_SECRET_KEY"]
    assert complaint(environ).startswith("SECRET_KEY is not set. With PostgreSQL every server needs the same")


def test_several_processes_on_one_file_are_refused() -> None:
    assert "WORKERS is more than 1" in complaint({"ADMIT_WORKERS": "2"})


def test_tasks_lie_in_a_folder_that_is_there(tmp_path: Path) -> None:
    missing = tmp_path / "tasks"
    assert complaint({"ADMIT_TASKS": str(missing)}) == (
        f"TASKS is '{missing}', which is not a folder. Make it, with a folder for each app in it, e.g. "
        "ADMIT_TASKS=/etc/admit/tasks"
    )
    missing.mkdir()
    settings = Settings.load({"ADMIT_TASKS": str(missing)})
    assert settings.tasks == str(missing)
    assert settings.tasks_processes >= 16
    assert Settings.load({}).tasks == ""


def test_tasks_are_loaded_on_change_where_nobody_else_reaches_the_server() -> None:
    assert Settings.load({}).tasks_reload == "change"
    assert Settings.load({"ADMIT_TASKS_RELOAD": "command"}).tasks_reload == "command"
    assert Settings.load(PRODUCTION).tasks_reload == "command"
    behind_a_proxy = {
        "ADMIT_PUBLIC_URL": "https://login.example.com",
        "ADMIT_MAIL_URL": "smtp://mail.example.com",
    }
    assert Settings.load(behind_a_proxy).tasks_reload == "command"
