"""What an operator may choose for an app, and the rules that a choice must keep. Pure."""

import re
from typing import Literal, assert_never
from urllib.parse import urlsplit

import msgspec

from admit.accounts.domains import parse_domain, parse_host
from admit.accounts.mail_providers import PUBLIC_MAIL_DOMAINS
from admit.errors import InvalidRequest

NAME_CHARACTERS_MAX = 63
DOMAINS_MAX = 500
URL_CHARACTERS_MAX = 2_000
TIMEOUT_SECONDS_MIN = 1.0
TIMEOUT_SECONDS_MAX = 15.0
EVAL_DAYS_MAX = 3_650
DEVICES_MAX_MAX = 1_000
IDLE_DAYS_MAX = 3_650
WARN_DAYS_MAX = 365
SENDER_CHARACTERS_MAX = 320
SUBJECT_CHARACTERS_MAX = 500
TEMPLATE_CHARACTERS_MAX = 100_000


_RESERVED = """
    admin admit all api apps assets auth auth-providers callback changes clients create-db delete-db
    demo-users docs events export export-all health healthz import inbox introspect jwks livez login
    logout manager metrics my oauth openapi ping public ready readyz schemas sessions settings static
    sync tasks templates token tokens undelete-db users webhooks well-known whitelist
    """
RESERVED_NAMES = frozenset(_RESERVED.split())
"""What could be taken for a route of this server, now or later. Names with a dot are no names at all."""

_URL = re.compile(r"[!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")  # RFC 3986 §2, less the #
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_TASK = re.compile(r"[a-z][a-z0-9_]{0,62}")


WhenDevicesFull = Literal["refuse", "lock"]
Payload = Literal["contract", "full"]


class PolicySetting(msgspec.Struct, frozen=True, kw_only=True):
    """The rule for people unknown to the app. `check_policy` says what is allowed together.

    `payload`: what a web hook is told. contract: userId and email, as Dexie Cloud does. full: all that is
    known of the sign-in, see `enrollment.decision_hook`. A `task` is told all of it, too.
    """

    kind: Literal["eval", "prod", "domains", "webhook", "task", "reject"] = "eval"
    domains: tuple[str, ...] = ()
    url: str = ""
    task: str = ""
    timeout_seconds: float = 5.0
    on_failure: Literal["refuse", "eval"] = "refuse"
    payload: Payload = "contract"


class MailTemplates(msgspec.Struct, frozen=True, kw_only=True):
    """Jinja2 texts of the mail that carries a one-time code."""

    subject: str
    text: str
    html: str


class AppSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose besides the policy. Empty texts and None mean the server's own.

    `warn_days`: whose license ends within so many days is told at sign-in; 0 means that nobody is.
    `devices_max`: so many devices of a user may be enrolled at once; 0 means that there is no limit.
    `when_devices_full`: one more is refused, or those not heard of for longest are locked in its favour.
    `session_idle_days`: a session of which nothing was heard for longer is ended; 0 means that none is.
    `enrollment_link`: where enrollment tokens are redeemed; `{token}` stands where the token goes.
    `mailed_codes`: people may sign in by codes in mails; where they may not, providers are the way in.
    `sso_any_network`: who comes back from a provider may be in another network by the next request.
    """

    eval_days: int = 30
    refuse_hopeless_at_step_1: bool = False
    mail_sender: str = ""
    mail_templates: MailTemplates | None = None
    warn_days: int = 0
    devices_max: int = 0
    when_devices_full: WhenDevicesFull = "refuse"
    count_derived_devices: bool = True
    session_idle_days: int = 0
    enrollment_link: str = ""
    mailed_codes: bool = True
    sso_any_network: bool = False


def parse_app_name(text: str) -> str:
    """Returns `text` where it may name an app. Raises InvalidRequest with a sentence."""
    if len(text) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(text):
        raise InvalidRequest(
            f"{text[:80]!r} cannot name an app. Use 1 to {NAME_CHARACTERS_MAX} lower-case letters, digits "
            "and hyphens, with no hyphen at either end."
        )
    if text in RESERVED_NAMES or text.startswith("xn--"):
        raise InvalidRequest(f"{text!r} is reserved for the server itself. Choose another name.")
    return text


def check_policy(setting: PolicySetting) -> PolicySetting:
    """The normal form of `setting`.

    Raises InvalidRequest with a sentence, also for a field that belongs to another kind. Whether the web
    hook's address may be reached is not asked here: that is asked at every call.
    """
    match setting.kind:
        case "eval" | "prod" | "reject":
            checked = PolicySetting(kind=setting.kind)
        case "domains":
            checked = PolicySetting(kind="domains", domains=_check_domains(setting.domains))
        case "webhook":
            checked = PolicySetting(
                kind="webhook",
                url=_check_url(setting.url),
                timeout_seconds=_check_timeout(setting.timeout_seconds),
                on_failure=setting.on_failure,
                payload=setting.payload,
            )
        case "task":
            checked = PolicySetting(
                kind="task",
                task=_check_task(setting.task),
                timeout_seconds=_check_timeout(setting.timeout_seconds),
                on_failure=setting.on_failure,
            )
        case _:
            assert_never(setting.kind)
    _refuse_strangers(setting, checked)
    return checked


def check_settings(settings: AppSettings) -> AppSettings:
    """Returns `settings` where they keep their limits. Raises InvalidRequest with a sentence.

    Whether the templates can be rendered is asked by the room that renders them.
    """
    if not 0 <= settings.eval_days <= EVAL_DAYS_MAX:
        raise InvalidRequest(f"eval_days is a number from 0 to {EVAL_DAYS_MAX}.")
    if not 0 <= settings.warn_days <= WARN_DAYS_MAX:
        raise InvalidRequest(f"warn_days is a number from 0 to {WARN_DAYS_MAX}.")
    if not 0 <= settings.devices_max <= DEVICES_MAX_MAX:
        raise InvalidRequest(f"devices_max is a number from 0 to {DEVICES_MAX_MAX}.")
    if not 0 <= settings.session_idle_days <= IDLE_DAYS_MAX:
        raise InvalidRequest(f"session_idle_days is a number from 0 to {IDLE_DAYS_MAX}.")
    _check_line("mail_sender", settings.mail_sender, SENDER_CHARACTERS_MAX)
    if settings.mail_sender and "@" not in settings.mail_sender:
        raise InvalidRequest('mail_sender needs an address, such as "Example <login@example.com>".')
    if templates := settings.mail_templates:
        _check_line("The subject of a mail", templates.subject, SUBJECT_CHARACTERS_MAX)
        if max(len(templates.text), len(templates.html)) > TEMPLATE_CHARACTERS_MAX:
            raise InvalidRequest(f"A mail template has at most {TEMPLATE_CHARACTERS_MAX} characters.")
    return settings


def _check_domains(domains: tuple[str, ...]) -> tuple[str, ...]:
    if not 0 < len(domains) <= DOMAINS_MAX:
        raise InvalidRequest(f"The policy domains needs 1 to {DOMAINS_MAX} domains, such as example.com.")
    checked = dict.fromkeys(parse_domain(each.strip()) for each in domains)
    for domain in checked:
        if domain in PUBLIC_MAIL_DOMAINS:
            raise InvalidRequest(f"Anybody can get an address at {domain}: that rule would admit everybody.")
    return tuple(checked)


def _check_url(url: str) -> str:
    problem = InvalidRequest(
        "The web hook needs a URL like https://example.com/decide, without user name and without #."
    )
    if len(url) > URL_CHARACTERS_MAX or not _URL.fullmatch(url):
        raise problem
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise problem from error
    authority = parts.netloc
    if parts.scheme not in ("https", "http") or "@" in authority or port == 0:
        raise problem
    host = authority if port is None else authority.removesuffix(f":{port}")
    try:
        parse_host(host)
    except InvalidRequest as error:
        raise InvalidRequest(f"{problem.message} {error.message}") from error
    return url


def _check_task(name: str) -> str:
    if not _TASK.fullmatch(name):
        raise InvalidRequest(
            f"The policy task needs the name of a task, such as decide_enrollment, not {name[:80]!r}."
        )
    return name


def _check_timeout(seconds: float) -> float:
    if not TIMEOUT_SECONDS_MIN <= seconds <= TIMEOUT_SECONDS_MAX:  # NaN lies nowhere
        raise InvalidRequest(
            f"The timeout of a web hook or a task is {TIMEOUT_SECONDS_MIN:g} to {TIMEOUT_SECONDS_MAX:g} "
            "seconds."
        )
    return float(seconds)


def _refuse_strangers(given: PolicySetting, checked: PolicySetting) -> None:
    """A field that the kind does not use was meant for something: say so rather than drop it."""
    plain = PolicySetting(kind=given.kind)
    for field in ("domains", "url", "task", "timeout_seconds", "on_failure", "payload"):
        value, kept = getattr(given, field), getattr(checked, field)
        if kept == getattr(plain, field) and value != kept:
            raise InvalidRequest(f"{field} does not belong to the policy {given.kind}.")


def _check_line(name: str, text: str, characters_max: int) -> None:
    if len(text) > characters_max or not text.isprintable():
        raise InvalidRequest(f"{name} is one line of at most {characters_max} characters.")
