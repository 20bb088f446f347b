"""The settings of a server: read once at the edge, checked all together, then never changed."""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from admit import setting_values
from admit.errors import ConfigError
from admit.setting_values import Network as Network

PREFIX = "ADMIT_"

TASKS_PROCESSES_LEAST = 16

# Kubernetes describes a service called "admit" to every pod beside it in variables of these names.
_SERVICE_LINK = re.compile(r"ADMIT_(SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can set. Names in the environment are these in capitals behind ADMIT_."""

    database_url: str
    """`sqlite:///FILE` or `postgresql://…`."""
    database_listen_url: str | None
    """A direct `postgresql://…` for LISTEN where DATABASE_URL leads to a pooler in transaction mode."""
    migrate: Literal["auto", "manual"]
    """Whether a starting server brings the schema up to date itself."""
    public_url: str
    """The address that users open, without a slash at its end. Issuer of tokens is PUBLIC_URL/<app>.

    An app to which a host is mapped has that host as its issuer instead.
    """
    secret_key: str
    """The key ring, newest key first, separated by commas; "": one is kept beside the SQLite file.

    To exchange a key, put the new one in front and start every server: what lasts is sealed anew. Once the
    old one is dropped, clients need new secrets, operators new tokens, and people sign in again.
    """
    mail_url: str
    """`smtp://…`, `smtps://…`, `file:///path/mails.jsonl` or `inbox:` (a page, on loopback only)."""
    mail_sender: str
    """The From of mails, where an app names none."""
    access_token_seconds: int
    """Life of an access token, 5 s to 1 day. Clients refresh at every sync below 5 minutes."""
    refresh_token_days: int
    """Life of a refresh token, 1 to 3,650 days."""
    otp_seconds: int
    """Life of a mailed code, 30 s to 1 day."""
    retention_days: int
    """How long events, deliveries and their attempts are kept, 1 to 3,650 days. Deliveries are tried for some
    75 hours: below 4 days, the last tries may find their event gone."""
    trusted_proxies: tuple[Network, ...]
    """Networks whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are believed."""
    egress_allow: str
    """Private hosts and CIDR blocks that hooks may reach all the same, separated by commas."""
    rate_limits: str
    """`on` (the contract's figures), `off`, or the path of a TOML file with other figures.

    In the file, `syncs_eval = {count = 50, window_seconds = 300}` and the like. What it does not name stays
    as it is; docs/decisions/0018 lists the names.
    """
    tasks: str
    """The folder of the operator's own Python, with a folder for each app in it; "": there is none."""
    tasks_reload: str
    """When code in TASKS is loaded again: `change` (as soon as a file changes) or `command` (when an operator
    says so: `admit task reload`). "": `change` where HOST and PUBLIC_URL are on loopback, else `command`."""
    tasks_processes: int
    """How many processes may run tasks at the same time, 4 to 1,000; 0: four for each core, 16 at least."""
    tasks_memory_mb: int
    """The memory of each process that runs a task, 64 to 65,536 MB of address space."""
    tasks_user: str
    """The user of this machine who runs the tasks, where the server is root; "": who runs the server."""
    operator_sso: str
    """`APP/PROVIDER`: the OpenID provider of that app vouches for operators by their verified email; "": none
    does.

    Nobody becomes an operator by it. APP is the name of an app, or its app_id. At the provider, register
    PUBLIC_URL/manager/sso/callback.
    """
    host: str
    """The address to listen on."""
    port: int
    """The port to listen on; 0 takes any that is free."""
    workers: int
    """Server processes, 1 to 64. More than one needs PostgreSQL."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least important line that is still logged."""

    @property
    def on_sqlite(self) -> bool:
        """True when the database is a file of which only one process may be the server."""
        return self.database_url.startswith("sqlite:")

    @property
    def on_loopback(self) -> bool:
        """True when nobody but this machine can reach the server."""
        return is_loopback(self.host)

    @classmethod
    def load(cls, environ: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> "Settings":
        """Settings from `overrides` (by field name), `environ`, the file of ADMIT_CONFIG, or the defaults.

        Raises ConfigError that names every wrong value, one sentence a line.
        """
        problems: list[str] = []
        given = _from_file(environ, problems) | _from_environment(environ, problems) | dict(overrides or {})
        values: dict[str, Any] = {
            setting.name: value
            for setting in SETTINGS
            if (value := _parsed(setting, given.get(setting.name, setting.default), problems)) is not None
        }
        if not problems:
            _derive(values, problems)
        if problems:
            raise ConfigError("\n".join(problems))
        return cls(**values | {"database_listen_url": values["database_listen_url"] or None})

    def __repr__(self) -> str:
        shown = (f"{s.name}={getattr(self, s.name)!r}" for s in SETTINGS if not s.secret)
        return f"Settings({', '.join(shown)})"


class Setting(msgspec.Struct, frozen=True):
    """How one setting is read. `parse` raises ValueError with what is wrong, as "is …" without the value."""

    name: str
    parse: Callable[[str], object]
    default: str
    example: str
    secret: bool = False  # may come from a file named by …_FILE; never shown

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()


def is_loopback(host: str) -> bool:
    """True for `localhost`, names below it, and addresses of the loopback networks."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# Where values come from


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    by_variable = {setting.variable: setting for setting in SETTINGS}
    files = {setting.variable + "_FILE": setting for setting in SETTINGS if setting.secret}
    given: dict[str, str] = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        value = environ[variable]
        if _SERVICE_LINK.fullmatch(variable) or (variable == "ADMIT_PORT" and value.startswith("tcp://")):
            continue
        if variable in by_variable:
            given[by_variable[variable].name] = value.strip()
        elif variable in files:
            if files[variable].variable in environ:
                problems.append(
                    f"{variable} and {files[variable].variable} are both set. Remove one of them."
                )
            elif (text := _content(variable, value, problems)) is not None:
                given[files[variable].name] = text
        elif variable != "ADMIT_CONFIG":
            problems.append(_unknown(variable, [*by_variable, *files, "ADMIT_CONFIG"]))
    return given


def _from_file(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    path = environ.get("ADMIT_CONFIG", "")
    if not path:
        return {}
    if (text := _content("ADMIT_CONFIG", path, problems)) is None:
        return {}
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"ADMIT_CONFIG names {path!r}, which is not TOML: {error}. Example: port = 8080")
        return {}
    names = {setting.name: setting for setting in SETTINGS}
    files = {setting.name + "_file": setting for setting in SETTINGS if setting.secret}
    given: dict[str, str] = {}
    for key, value in table.items():
        name = key.lower().removeprefix(PREFIX.lower())
        if name in names:
            if (one := _as_text(value)) is not None:
                given[name] = one
            else:
                problems.append(
                    f"{name.upper()} in {path} is neither a text, a number nor a list of texts. "
                    f'Example: {name} = "{names[name].example}"'
                )
        elif name in files and isinstance(value, str):
            if (secret := _content(f"{name.upper()} in {path}", value, problems)) is not None:
                given[files[name].name] = secret
        else:
            problems.append(_unknown(key, [*names, *files]) + f" It stands in {path}.")
    return given


def _as_text(value: object) -> str | None:
    match value:
        case bool():
            return None
        case str() | int():
            return str(value).strip()
        case list() if all(isinstance(each, str) for each in value):
            return ",".join(value)
        case _:
            return None


def _content(variable: str, path: str, problems: list[str]) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        # Not the path: who mistakes the variable puts the secret itself there.
        reason = (error.strerror or "") if isinstance(error, OSError) else "it is not UTF-8 text"
        problems.append(f"{variable} names a file that cannot be read: {reason}.")
        return None


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"{name} is not a setting of Admit." + (f" Is {near[0]} meant?" if near else " Remove it.")


# What values must be


def _parsed(setting: Setting, text: str, problems: list[str]) -> object | None:
    try:
        return setting.parse(text)
    except ValueError as error:
        shown = "" if setting.secret else f"is {text!r}, which "
        problems.append(
            f"{setting.name.upper()} {shown}{error}. Example: {setting.variable}={setting.example}"
        )
        return None


def _derive(values: dict[str, Any], problems: list[str]) -> None:
    """Fills what depends on other settings and checks what only fits together."""
    sqlite = values["database_url"].startswith("sqlite:")
    local = is_loopback(values["host"])
    if not values["public_url"] and local:
        name = "[::1]" if values["host"] == "::1" else "localhost"
        values["public_url"] = f"http://{name}:{values['port']}"
    if not values["public_url"]:
        problems.append(
            "PUBLIC_URL is not set. Set it to the address your users open, e.g. "
            "ADMIT_PUBLIC_URL=https://login.example.com"
        )
    public = urlsplit(values["public_url"])
    local = local and is_loopback(public.hostname or "")
    if not values["mail_url"] and local:
        values["mail_url"] = "inbox:"
    if not values["mail_url"]:
        problems.append(
            "MAIL_URL is not set, so nobody could receive a code. Set it to your mail server, e.g. "
            "ADMIT_MAIL_URL=smtp://user:password@mail.example.com:587"
        )
    if values["mail_url"] == "inbox:" and not local:
        problems.append(
            "MAIL_URL is inbox:, which shows every code to whoever opens the page, so HOST and PUBLIC_URL "
            "must be on loopback. Use a mail server instead, e.g. "
            "ADMIT_MAIL_URL=smtp://user:password@mail.example.com:587"
        )
    if not values["mail_sender"]:
        name = public.hostname or "localhost"
        values["mail_sender"] = f"no-reply@{'localhost' if ':' in name else name}"
    if not values["secret_key"] and not sqlite:
        problems.append(
            "SECRET_KEY is not set. With PostgreSQL every server needs the same one: make it once with "
            "`openssl rand -base64 48` and set ADMIT_SECRET_KEY_FILE=/run/secrets/admit-key"
        )
    if values["workers"] != 1 and sqlite:
        problems.append(
            "WORKERS is more than 1, but a SQLite file belongs to one process. Set ADMIT_WORKERS=1 or use "
            "ADMIT_DATABASE_URL=postgresql://admit@localhost/admit"
        )
    if not values["tasks_reload"]:
        values["tasks_reload"] = "change" if local else "command"
    if values["tasks"] and not Path(values["tasks"]).is_dir():
        problems.append(
            f"TASKS is {values['tasks']!r}, which is not a folder. Make it, with a folder for each app in "
            "it, e.g. ADMIT_TASKS=/etc/admit/tasks"
        )
    if not values["tasks_processes"]:
        values["tasks_processes"] = max(TASKS_PROCESSES_LEAST, 4 * (os.cpu_count() or 1))
    if values["database_listen_url"] and sqlite:
        problems.append("DATABASE_LISTEN_URL is set, but SQLite needs none. Remove it.")


SETTINGS = (
    Setting(
        "database_url",
        setting_values.database,
        "sqlite:///admit.db",
        "postgresql://admit@localhost/admit",
        secret=True,
    ),
    Setting(
        "database_listen_url",
        setting_values.listen_database,
        "",
        "postgresql://admit@db.internal:5432/admit",
        secret=True,
    ),
    Setting("migrate", setting_values.one_of("auto", "manual"), "auto", "manual"),
    Setting("public_url", setting_values.public_url, "", "https://login.example.com"),
    Setting("secret_key", str, "", "$(openssl rand -base64 48)", secret=True),
    Setting(
        "mail_url", setting_values.mail_url, "", "smtp://user:password@mail.example.com:587", secret=True
    ),
    Setting("mail_sender", setting_values.mail_sender, "", "login@example.com"),
    Setting("access_token_seconds", setting_values.number(5, 86_400, " seconds"), "3600", "3600"),
    Setting("refresh_token_days", setting_values.number(1, 3_650, " days"), "180", "180"),
    Setting("otp_seconds", setting_values.number(30, 86_400, " seconds"), "900", "900"),
    Setting("retention_days", setting_values.number(1, 3_650, " days"), "30", "30"),
    Setting("trusted_proxies", setting_values.networks, "", "10.0.0.0/8,127.0.0.1"),
    Setting("egress_allow", str, "", "receiver.internal,10.20.0.0/16"),
    Setting("rate_limits", setting_values.limits, "on", "off"),
    Setting("tasks", setting_values.folder, "", "/etc/admit/tasks"),
    Setting("tasks_reload", setting_values.reload, "", "command"),
    Setting("tasks_processes", setting_values.processes, "0", "32"),
    Setting("tasks_memory_mb", setting_values.number(64, 65_536, " MB"), "1024", "512"),
    Setting("tasks_user", setting_values.user, "", "admit-tasks"),
    Setting("operator_sso", setting_values.provider_of_app, "", "staff/google"),
    Setting("host", setting_values.host, "127.0.0.1", "0.0.0.0"),  # noqa: S104 - an example, not a default
    Setting("port", setting_values.number(0, 65_535), "8080", "8080"),
    Setting("workers", setting_values.number(1, 64), "1", "4"),
    Setting("log_level", setting_values.one_of("debug", "info", "warning", "error"), "info", "info"),
)
