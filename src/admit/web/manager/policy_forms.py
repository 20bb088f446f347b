"""A policy as a form says it, what one differs from another by, and how policies are named. Pure."""

from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from admit.accounts.app_settings import PolicySetting, check_policy
from admit.errors import InvalidRequest
from admit.web.manager import words
from admit.web.manager.forms import Form
from admit.web.ways_in import CLIENT_CREDENTIALS, EMAIL_CODE

T = TypeVar("T", bound=str)

PAYLOADS = (("contract", "userId and email"), ("full", "Full"))
NAMES_SHOWN_MAX = 3
_WAYS = {
    "": "Everybody",
    EMAIL_CODE: "Mailed codes",
    CLIENT_CREDENTIALS: "API clients",
    "sso": "single sign-on",
    "token_exchange": "Token exchange",
    "enrollment_token": "Enrollment token",
    "api": "Admin API",
    "import": "Import",
}
_FAILURES = {"refuse": "refuse", "eval": "admit as eval"}
_PAYLOADS = dict(PAYLOADS)


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the form, as it was typed. A web hook and a task have fields of their own."""

    kind: str = "eval"
    domains: str = ""
    url: str = ""
    payload: str = "contract"
    hook_seconds: str = "5"
    hook_failure: str = "refuse"
    task: str = ""
    task_seconds: str = "5"
    task_failure: str = "refuse"
    email: str = "new@example.com"


class Wrong(Exception):
    """What was typed in `field` cannot be; the text is the sentence under it."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def typed_of(form: Form) -> Typed:
    """What was typed."""
    return Typed(**{name: form.text(name) for name in Typed.__struct_fields__})


def typed_for(policy: PolicySetting) -> Typed:
    """The form that says `policy`."""
    seconds = f"{policy.timeout_seconds:g}"
    match policy.kind:
        case "webhook":
            return Typed(
                kind="webhook",
                url=policy.url,
                payload=policy.payload,
                hook_seconds=seconds,
                hook_failure=policy.on_failure,
            )
        case "task":
            return Typed(kind="task", task=policy.task, task_seconds=seconds, task_failure=policy.on_failure)
        case _:
            return Typed(kind=policy.kind, domains="\n".join(policy.domains))


def setting_of(typed: Typed) -> PolicySetting:
    """The policy that `typed` says, in its normal form. Raises Wrong, and InvalidRequest for what no form
    offers."""
    match typed.kind:
        case "eval" | "prod" | "reject":
            return PolicySetting(kind=typed.kind)
        case "domains":
            if not (domains := typed.domains.replace(",", " ").split()):
                raise Wrong("domains", "Write at least one domain, such as example.com.")
            return _checked("domains", PolicySetting(kind="domains", domains=tuple(domains)))
        case "webhook":
            if not typed.url:
                raise Wrong("url", "Write the address of the web hook, such as https://example.com/decide.")
            hook = PolicySetting(
                kind="webhook",
                url=typed.url,
                payload=_one_of(typed.payload, "contract", "full"),
                timeout_seconds=_seconds("hook_seconds", typed.hook_seconds),
                on_failure=_one_of(typed.hook_failure, "refuse", "eval"),
            )
            return _checked("url", hook)
        case "task":
            if not typed.task:
                raise Wrong("task", "Write the name of the task that decides.")
            task = PolicySetting(
                kind="task",
                task=typed.task,
                timeout_seconds=_seconds("task_seconds", typed.task_seconds),
                on_failure=_one_of(typed.task_failure, "refuse", "eval"),
            )
            return _checked("task", task)
        case _:
            raise InvalidRequest("Choose one of the rules.")


def field_of(setting: PolicySetting) -> str:
    """The field that a refusal of a whole policy is about; "": none."""
    return {"domains": "domains", "webhook": "url", "task": "task"}.get(setting.kind, "")


def in_words(policy: PolicySetting) -> str:
    """What `policy` does, as a part of a sentence."""
    match policy.kind:
        case "eval":
            return "evaluation accounts for everybody"
        case "prod":
            return "production accounts for everybody"
        case "domains":
            return f"production accounts for {_few(policy.domains)}"
        case "webhook":
            return f"the web hook at {urlsplit(policy.url).hostname}"
        case "task":
            return f"the task {policy.task}"
        case "reject":
            return "nobody unknown"


def differences(before: PolicySetting, after: PolicySetting) -> str:
    """What has changed, in a sentence or more; "": nothing."""
    if before.kind != after.kind:
        return f"Now {in_words(after)}, before {in_words(before)}."
    said = []
    if new := [each for each in after.domains if each not in before.domains]:
        said.append(f"Added {_few(new)}.")
    if gone := [each for each in before.domains if each not in after.domains]:
        said.append(f"Removed {_few(gone)}.")
    for label, old, now in (
        ("Address", before.url, after.url),
        ("Task", before.task, after.task),
        ("Time budget", _budget(before), _budget(after)),
        ("What is sent", _PAYLOADS[before.payload], _PAYLOADS[after.payload]),
        ("When it fails", _FAILURES[before.on_failure], _FAILURES[after.on_failure]),
    ):
        if old != now:
            said.append(f"{label}: {now}, before {old}.")
    return " ".join(said)


def name_of_way(way_in: str) -> str:
    """How a way in is called on pages."""
    return _WAYS.get(way_in, way_in)


def command_of(app: str, way_in: str, policy: PolicySetting) -> list[str]:
    """The words of the command that puts `policy` in force."""
    said = ["policy", "set", app, policy.kind]
    asks = policy.kind in ("webhook", "task")
    said += [",".join(policy.domains)] if policy.kind == "domains" else [policy.url or policy.task] * asks
    if asks:
        said += ["--timeout", f"{policy.timeout_seconds:g}s", "--on-failure", policy.on_failure]
    if policy.payload != "contract":
        said += ["--payload", policy.payload]
    return said + (["--for", way_in] if way_in else [])


def _seconds(field: str, text: str) -> float:
    number = text.replace(",", ".")
    if not (number.replace(".", "", 1).isdecimal() and number.isascii() and len(number) < 9):
        raise Wrong(field, "Write seconds from 1 to 15, such as 5 or 2.5.")
    seconds = float(number)
    if not 1 <= seconds <= 15:
        raise Wrong(field, "The time budget is 1 to 15 seconds.")
    return seconds


def _one_of(text: str, first: T, second: T) -> T:
    if text not in (first, second):
        raise InvalidRequest(f"Choose {first} or {second}.")
    return first if text == first else second


def _checked(field: str, setting: PolicySetting) -> PolicySetting:
    try:
        return check_policy(setting)
    except InvalidRequest as error:
        raise Wrong(field, error.message) from None


def _budget(policy: PolicySetting) -> str:
    return words.duration(policy.timeout_seconds * 1_000)


def _few(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
