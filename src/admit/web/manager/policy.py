"""/apps/APP/policy: the rule for people whom the app does not know: put in force, taken back, tried out."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import asdict, replace
from starlette.responses import Response

from admit.accounts.app_settings import PolicySetting
from admit.errors import AdmitError, Conflict, Forbidden, InvalidRequest, Unavailable
from admit.web.admin_types import AppView, NewPolicy, PolicyView, SeatsView
from admit.web.manager import policy_forms
from admit.web.manager.pages import Page, page
from admit.web.manager.policy_forms import Typed, Wrong, name_of_way
from admit.web.manager.toasts import Undo
from admit.web.policy_test_types import NewPolicyTest, PolicyTestResult, TestAttempt
from admit.web.task_types import TaskList
from admit.web.ways_in import ALWAYS, EMAIL_CODE

POLICY = "/apps/{app}/policy"
TAB = "Rule"
UNDO_BYTES_MAX = 2_000
"""What goes into the cookie that carries the way back; a longer policy has none."""
SECRET_SHOWN = 3


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What the page of a rule is about. `secret`: masked, or whole where it was asked for; "": not told."""

    app: AppView
    policy: PolicyView
    ways: list[tuple[str, str]]
    seats: SeatsView
    deciders: list[tuple[str, str]] | None
    secret: str


def tabs(page: Page) -> list[tuple[str, str]]:
    """The pages about the policy, which are tabs of one another."""
    entries = [(page.here("policy"), TAB), (page.here("policy", "simulate"), "Simulate")]
    return entries + ([(page.here("policy", "ledger"), "Ledger")] if page.may("users:read") else [])


def ways_of(app: AppView) -> list[tuple[str, str]]:
    """The ways into `app` that may have a rule of their own, with their names."""
    return [(way, name_of_way(way)) for way in (*ALWAYS, *app.providers)]


async def show(page: Page) -> Response:
    """The rule in force."""
    rule = await _rule(page, page.query("for"))
    return _render(page, rule, policy_forms.typed_for(rule.policy.policy))


async def save(page: Page) -> Response:
    """Puts a rule in force."""
    rule, typed = await _rule(page, page.form.text("for")), policy_forms.typed_of(page.form)
    before = rule.policy
    if page.form.text("version") not in ("", str(before.version)):
        changed = Conflict(
            f"Somebody else has put version {before.version} in force meanwhile. What you have typed stands "
            "below: save it again to put it in force instead."
        )
        return _render(page, rule, typed, refused=changed)
    try:
        after = await _set(page, before.way_in, policy_forms.setting_of(typed))
    except Wrong as wrong:
        return _render(page, rule, typed, wrong={wrong.field: str(wrong)}, status=400)
    except InvalidRequest as error:
        return _render(page, rule, typed, refused=error)
    changes = policy_forms.differences(before.policy, after.policy)
    if after.version == before.version:
        return page.done(_at(page, before.way_in), "Nothing was changed.")
    said = f"Version {after.version} holds from the next first login. {changes}".strip()
    return page.done(_at(page, before.way_in), said, _back_to(page, before))


async def restore(page: Page) -> Response:
    """Puts the rule that was before in force again."""
    way_in = page.form.text("for")
    try:
        setting = msgspec.json.decode(page.form.text("setting"), type=PolicySetting)
    except (msgspec.MsgspecError, RecursionError):
        raise InvalidRequest("The former rule cannot be read. Choose it on the page of the policy.") from None
    after = await _put(page, way_in, setting)
    return page.done(_at(page, way_in), f"Version {after.version} is the former rule again.")


async def unset(page: Page) -> Response:
    """Lets the rule of the app hold for a way in again."""
    way_in = page.form.text("for")
    before = await page.get(POLICY, PolicyView, {"for": way_in or None})
    await page.send("DELETE", POLICY, PolicyView, query={"for": way_in or None})
    said = f"{name_of_way(way_in)}: the rule of the app holds again."
    return page.done(_at(page, way_in), said, _back_to(page, before))


async def try_out(page: Page) -> Response:
    """Asks who would decide about somebody imagined, by the rule as it stands in the form."""
    typed, way_in = policy_forms.typed_of(page.form), page.form.text("for")
    tested, wrong = await _tested(page, typed, way_in)
    if page.wants_fragment:
        # htmx shows what comes with 200 only; what was wrong is said in the panel.
        return page.render_block(
            "policy.html",
            "tested",
            test=tested,
            request_line=request_line,
            reach_of=reach_of,
            is_json=is_json,
        )
    status = 200 if isinstance(tested, PolicyTestResult) else 400
    rule = await _rule(page, way_in)
    return _render(page, rule, typed, wrong=wrong, test=tested, status=status)


async def show_secret(page: Page) -> Response:
    """The secret that signs the questions, whole."""
    typed, way_in = policy_forms.typed_of(page.form), page.form.text("for")
    shown = await page.get(POLICY, PolicyView, {"secret": True})
    if shown.hook_secret is None:
        raise Forbidden("Your role does not see secrets.")
    rule = replace(await _rule(page, way_in), secret=shown.hook_secret)
    if page.wants_fragment:
        return page.render_block("policy.html", "secret", rule=rule, whole=True)
    return _render(page, rule, typed, whole=True)


async def rotate(page: Page) -> Response:
    """Makes a new secret, and shows it."""
    made = await page.send("POST", f"{POLICY}/secret", PolicyView)
    rule = replace(await _rule(page, page.form.text("for")), secret=made.hook_secret or "")
    typed = policy_forms.typed_for(rule.policy.policy)
    return _render(page, rule, typed, whole=True, rotated=True)


async def _rule(page: Page, way_in: str) -> Rule:
    """All that the page shows."""
    asked = [
        page.get("/apps/{app}", AppView),
        page.get(POLICY, PolicyView, {"for": way_in or None}),
        page.get("/apps/{app}/seats", SeatsView),
        page.get(POLICY, PolicyView, {"secret": page.may("secrets:read") or None}),
    ]
    if page.may("tasks:read"):
        asked.append(page.get("/apps/{app}/tasks", TaskList))
    app, policy, seats, keyed, *tasks = await page.together(*asked)
    return Rule(
        app=app,
        policy=policy,
        ways=[("", name_of_way("")), *ways_of(app)],
        seats=seats,
        deciders=_deciders(tasks[0], policy.policy.task) if tasks else None,
        secret=masked(keyed.hook_secret or ""),
    )


def _deciders(tasks: TaskList, chosen: str) -> list[tuple[str, str]] | None:
    """The tasks that can decide; None: this server cannot say, so that a name is to be typed."""
    found = {
        each.name: f"{each.name} ({each.file}:{each.line})"
        for each in tasks.tasks
        if each.kind == "decides" and each.state != "gone"
    }
    if chosen:
        found.setdefault(chosen, f"{chosen} (not there now)")
    return list(found.items()) or None


def masked(secret: str) -> str:
    """A secret up to its last characters."""
    prefix, _, _ = secret.partition("_")
    last = secret.rstrip("=")[-SECRET_SHOWN:]
    return f"{prefix}_{'•' * 16}{last}" if secret else ""


def _render(
    page: Page,
    rule: Rule,
    typed: Typed,
    *,
    wrong: dict[str, str] | None = None,
    refused: AdmitError | None = None,
    test: PolicyTestResult | AdmitError | None = None,
    status: int = 200,
    whole: bool = False,
    rotated: bool = False,
) -> Response:
    return page.render(
        "policy.html",
        status=status if refused is None else page.status_of(refused),
        tabs=tabs(page),
        tab=TAB,
        rule=rule,
        typed=typed,
        wrong=wrong or {},
        refused="" if refused is None else refused.message,
        test=test,
        whole=whole,
        rotated=rotated,
        way_name=name_of_way(rule.policy.way_in),
        command=_command(page, rule, typed),
        payloads=policy_forms.PAYLOADS,
        **_SHOWN_BY,
    )


def _command(page: Page, rule: Rule, typed: Typed) -> list[str]:
    try:
        setting = policy_forms.setting_of(typed)
    except (Wrong, InvalidRequest):
        setting = rule.policy.policy
    return policy_forms.command_of(page.app, rule.policy.way_in, setting)


async def _put(page: Page, way_in: str, setting: PolicySetting) -> PolicyView:
    return await page.send("PUT", POLICY, PolicyView, body=setting, query={"for": way_in or None})


async def _set(page: Page, way_in: str, setting: PolicySetting) -> PolicyView:
    """Puts `setting` in force. Raises Wrong where whom it asks is not there, or must not be asked."""
    try:
        return await _put(page, way_in, setting)
    except InvalidRequest as error:
        if field := policy_forms.field_of(setting):
            raise Wrong(field, error.message) from None
        raise


def _back_to(page: Page, before: PolicyView) -> Undo | None:
    """The form that puts the rule of `before` in force again."""
    if not before.own:
        return Undo(f"/apps/{page.app}/policy/unset", {"for": before.way_in})
    setting = msgspec.json.encode(before.policy).decode()
    if len(setting) > UNDO_BYTES_MAX:
        return None
    return Undo(f"/apps/{page.app}/policy/former", {"setting": setting, "for": before.way_in})


def _at(page: Page, way_in: str) -> str:
    return page.here("policy", **{"for": way_in})


async def _tested(
    page: Page, typed: Typed, way_in: str
) -> tuple[PolicyTestResult | AdmitError | None, dict[str, str]]:
    """What came of the test, or why there was none, and which field that is about."""
    if typed.kind not in ("webhook", "task"):
        return InvalidRequest("This rule asks nobody. Choose a web hook or a task, or simulate a person."), {}
    try:
        tried = NewPolicy(**asdict(policy_forms.setting_of(typed)))
        body = NewPolicyTest(email=typed.email, way_in=way_in or EMAIL_CODE, policy=tried)
        return await page.send("POST", f"{POLICY}/test", PolicyTestResult, body=body), {}
    except Wrong as wrong:
        return InvalidRequest(str(wrong)), {wrong.field: str(wrong)}
    except (InvalidRequest, Conflict, Unavailable) as error:
        return error, {}


def request_line(attempt: TestAttempt) -> str:
    """The question as HTTP writes it, without its body."""
    url = urlsplit(attempt.request.url)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {"host": url.netloc} | attempt.request.headers
    return "\n".join([f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())])


def reach_of(address: str) -> str:
    """What kind of address the name led to."""
    return "public" if ipaddress.ip_address(address).is_global else "not public, allowed by this server"


def is_json(text: str) -> bool:
    """Whether `text` can be shown as JSON."""
    try:
        msgspec.json.decode(text, type=Any)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


_SHOWN_BY: dict[str, Any] = {"request_line": request_line, "reach_of": reach_of, "is_json": is_json}

PAGES = (
    page("GET", POLICY, show, nav="policy"),
    page("POST", POLICY, save, nav="policy"),
    page("POST", f"{POLICY}/former", restore, nav="policy"),
    page("POST", f"{POLICY}/unset", unset, nav="policy"),
    page("POST", f"{POLICY}/test", try_out, nav="policy"),
    page("POST", f"{POLICY}/secret", show_secret, nav="policy"),
    page("POST", f"{POLICY}/rotation", rotate, nav="policy"),
)
