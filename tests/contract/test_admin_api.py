"""The admin API: what operators and commands do, and who may."""

import asyncio
from typing import Any

import pytest

from admit.web.app import OPERATIONS
from admit.web.operations import Operation
from tests.contract.served import ORIGIN, Answered, Served

OWNER = "owner@example.com"

DEFAULTS = {
    "eval_days": 30,
    "refuse_hopeless_at_step_1": False,
    "mail_sender": "",
    "mail_templates": None,
    "warn_days": 0,
    "devices_max": 0,
    "when_devices_full": "refuse",
    "count_derived_devices": True,
    "session_idle_days": 0,
    "enrollment_link": "",
    "mailed_codes": True,
    "sso_any_network": False,
}
EVERYBODY_ON_TRIAL = {
    "kind": "eval",
    "domains": [],
    "url": "",
    "task": "",
    "timeout_seconds": 5.0,
    "on_failure": "refuse",
    "payload": "contract",
}


async def api(
    served: Served, method: str, path: str, body: object = None, token: str | None = None
) -> Answered:
    headers = served.command() if token is None else {"Authorization": f"Bearer {token}"}
    return await served.ask(method, f"/api/{path}", headers=headers, json=body)


async def operator_token(served: Served, *scopes: str, app: str | None = None) -> str:
    made = await api(served, "POST", "tokens", {"label": "a test", "scopes": scopes, "app": app})
    assert made.status == 200, made.body
    token: str = made.json["token"]
    return token


async def test_new_app_is_shown_whole_and_without_secrets(served: Served) -> None:
    made = await api(served, "POST", "apps", {"name": "notes", "owner": "Owner@Example.com"})
    assert made.status == 200
    shown = await api(served, "GET", "apps/notes")
    assert shown.json == made.json
    assert shown.json | {"app_id": "", "created_at": 0} == {
        "name": "notes",
        "former_names": [],
        "hosts": [],
        "app_id": "",
        "database_url": f"{served.gateway.settings.public_url}/notes",
        "user_ids": "email",
        "policy": EVERYBODY_ON_TRIAL,
        "policy_version": 1,
        "policies": {},
        "settings": DEFAULTS,
        "owners": [OWNER],
        "origins": [],
        "clients": [],
        "providers": [],
        "created_at": 0,
    }
    assert b"whsec_" not in shown.body


async def test_apps_are_listed_by_name(served: Served) -> None:
    for name in ("plans", "notes", "tasks-2"):
        await api(served, "POST", "apps", {"name": name, "owner": OWNER})
    assert [app["name"] for app in (await api(served, "GET", "apps")).json] == ["notes", "plans", "tasks-2"]
    page = await api(served, "GET", "apps?after=notes&limit=1")
    assert [app["name"] for app in page.json] == ["plans"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "notes", "owner": OWNER}, 409, "name_taken"),
        ({"name": "api", "owner": OWNER}, 400, "invalid_request"),
        ({"name": "inbox", "owner": OWNER}, 400, "invalid_request"),
        ({"name": "healthz", "owner": OWNER}, 400, "invalid_request"),
        ({"name": "No Spaces", "owner": OWNER}, 400, "invalid_request"),
        ({"name": "plans", "owner": "nobody"}, 400, "invalid_request"),
        ({"name": "plans"}, 400, "invalid_request"),
        ({"name": "plans", "owner": OWNER, "userids": "opaque"}, 400, "invalid_request"),
        ({"name": "plans", "owner": OWNER, "user_ids": "sub"}, 400, "invalid_request"),
    ],
)
async def test_app_that_cannot_be_is_not_made(
    served: Served, body: dict[str, Any], status: int, code: str
) -> None:
    await served.app()
    answer = await api(served, "POST", "apps", body)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert len((await api(served, "GET", "apps")).json) == 1


def test_no_app_can_be_named_like_a_first_part_of_a_route() -> None:
    from admit.accounts.app_settings import parse_app_name
    from admit.errors import InvalidRequest

    firsts = {operation.path.split("/")[1] for operation in OPERATIONS} | {"inbox"}
    for name in firsts - {"{app}"}:
        with pytest.raises(InvalidRequest):
            parse_app_name(name)


async def test_origins_come_and_go_in_the_spelling_of_browsers(served: Served) -> None:
    await served.app(origins=[])
    added = await api(served, "POST", "apps/notes/origins", {"origin": "HTTPS://App.Example.com:443/"})
    assert added.json == {"origins": [ORIGIN]}
    assert (await api(served, "GET", "apps/notes/origins")).json == {"origins": [ORIGIN]}
    refused = await api(served, "POST", "apps/notes/origins", {"origin": "http://intranet"})
    assert refused.status == 400
    forced = await api(served, "POST", "apps/notes/origins", {"origin": "http://intranet", "force": True})
    assert forced.json == {"origins": ["http://intranet", ORIGIN]}
    gone = await api(served, "DELETE", "apps/notes/origins?origin=https://app.example.com/")
    assert gone.json == {"origins": ["http://intranet"]}
    assert (await api(served, "DELETE", f"apps/notes/origins?origin={ORIGIN}")).status == 404
    for never in ("null", "*", "https://*.example.com", "file:///x"):
        answer = await api(served, "POST", "apps/notes/origins", {"origin": never, "force": True})
        assert answer.status == 400


async def test_client_tells_its_secret_once(served: Served) -> None:
    app = await served.app()
    made = (await api(served, "POST", "apps/notes/clients", {"scopes": ["ACCESS_DB"], "owner": OWNER})).json
    assert made["scopes"] == ["ACCESS_DB"]
    assert made["owner"] == OWNER
    assert made["database_url"].endswith("/notes")
    listed = await api(served, "GET", "apps/notes/clients")
    assert [client["client_id"] for client in listed.json] == [made["client_id"]]
    assert made["client_secret"].encode() not in listed.body
    rotated = (await api(served, "POST", f"apps/notes/clients/{made['client_id']}/secret")).json
    assert rotated["client_secret"] != made["client_secret"]
    assert rotated["owner"] == OWNER
    assert (await api(served, "DELETE", f"apps/notes/clients/{made['client_id']}")).status == 204
    assert (await api(served, "GET", "apps/notes/clients")).json == []
    for method, path in (("POST", "/secret"), ("DELETE", "")):
        answer = await api(served, method, f"apps/notes/clients/{made['client_id']}{path}")
        assert (answer.status, answer.json["code"]) == (404, "client_not_found")
    assert app.clients == {}


async def test_client_may_do_everything_unless_told_otherwise(served: Served) -> None:
    await served.app()
    made = (await api(served, "POST", "apps/notes/clients", {})).json
    assert {"ACCESS_DB", "IMPERSONATE", "GLOBAL_READ", "GLOBAL_WRITE"} <= set(made["scopes"])
    for scopes in ([], ["ACCESS_DB", "ROOT"]):
        assert (await api(served, "POST", "apps/notes/clients", {"scopes": scopes})).status == 400


async def test_policy_is_shown_put_in_force_and_counted(served: Served) -> None:
    await served.app()
    assert (await api(served, "GET", "apps/notes/policy")).json["version"] == 1
    hook = {"kind": "webhook", "url": "http://127.0.0.1:9/decide", "timeout_seconds": 2, "on_failure": "eval"}
    put = (await api(served, "PUT", "apps/notes/policy", hook)).json
    in_force = EVERYBODY_ON_TRIAL | hook | {"timeout_seconds": 2.0}
    assert (put["policy"], put["version"], put["own"]) == (in_force, 2, True)
    assert put["hook_secret"] is None
    shown = (await api(served, "GET", "apps/notes/policy?secret=true")).json
    assert shown["hook_secret"].startswith("whsec_")
    rotated = (await api(served, "POST", "apps/notes/policy/secret")).json
    assert rotated["hook_secret"] not in (None, shown["hook_secret"])


@pytest.mark.parametrize(
    "policy",
    [
        {"kind": "webhook", "url": "http://169.254.169.254/latest"},
        {"kind": "webhook", "url": "http://hooks.example.com/x"},
        {"kind": "webhook", "url": "https://10.0.0.1/x"},
        {"kind": "webhook", "url": "https://user@hooks.example.com/x"},
        {"kind": "webhook", "url": "https://hooks.example.com/x", "timeout_seconds": 60},
        {"kind": "webhook"},
        {"kind": "domains", "domains": ["gmail.com"]},
        {"kind": "domains"},
        {"kind": "domains", "domains": ["*.example.com"]},
        {"kind": "eval", "url": "https://hooks.example.com/x"},
        {"kind": "everyone"},
        {"kind": "eval", "on_fail": "eval"},
    ],
)
async def test_policy_that_cannot_work_is_refused_when_it_is_set(
    served: Served, policy: dict[str, Any]
) -> None:
    await served.app()
    answer = await api(served, "PUT", "apps/notes/policy", policy)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert (await api(served, "GET", "apps/notes/policy")).json["version"] == 1


async def simulated(served: Served, **body: object) -> dict[str, Any]:
    answer = await api(served, "POST", "apps/notes/policy/simulation", body)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


async def test_simulation_says_what_would_happen_and_changes_nothing(served: Served) -> None:
    app = await served.app()
    await api(served, "PUT", "apps/notes/policy", {"kind": "domains", "domains": ["example.com"]})
    inside = await simulated(served, email="New@Example.com")
    assert (inside["outcome"], inside["type"], inside["user_id"]) == ("admit", "prod", "new@example.com")
    outside = await simulated(served, email="new@example.com.evil.example")
    assert (outside["outcome"], outside["code"]) == ("refuse", "USER_NOT_ACCEPTED")
    assert outside["message"] is not None
    assert (await simulated(served, email="new@example.com", email_verified=False))["outcome"] == "refuse"
    assert (await simulated(served, email="new@example.com", intent="login"))["code"] == "USER_NOT_REGISTERED"
    tried = {"kind": "webhook", "url": "https://hooks.example.com/x"}
    asked = await simulated(served, email="new@example.com", policy=tried)
    assert (asked["outcome"], asked["url"]) == ("ask", "https://hooks.example.com/x")
    assert asked["told"] == {"userId": "new@example.com", "email": "new@example.com"}
    assert served.mails == []
    assert (await api(served, "GET", f"apps/{app.name}/admissions")).json["admissions"] == []
    assert (await api(served, "GET", "apps/notes/policy")).json["policy"]["kind"] == "domains"


async def test_simulation_knows_who_lives_here(served: Served) -> None:
    app = await served.app()
    await api(served, "PUT", "apps/notes/policy", {"kind": "reject"})
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    known = await simulated(served, email="ada@example.com")
    assert (known["known"], known["outcome"], known["type"]) == (True, "admit", None)
    await served.write(app, {"userId": "ada@example.com", "deactivated": True})
    assert (await simulated(served, email="ada@example.com"))["code"] == "USER_DEACTIVATED"
    assert (await simulated(served, user_id="somebody"))["known"] is False
    assert (await api(served, "POST", "apps/notes/policy/simulation", {})).status == 400


async def test_settings_that_two_change_at_once_are_both_changed(served: Served) -> None:
    await served.app()
    changes: list[dict[str, object]] = [
        {"eval_days": 7},
        {"mail_sender": "login@example.com"},
        {"refuse_hopeless_at_step_1": True},
    ]
    answers = await asyncio.gather(
        *(api(served, "POST", "apps/notes/settings", change) for change in changes * 5)
    )
    assert {answer.status for answer in answers} == {200}
    settings = (await api(served, "GET", "apps/notes")).json["settings"]
    assert {**changes[0], **changes[1], **changes[2]}.items() <= settings.items()


@pytest.mark.parametrize(
    "wrong",
    [{"eval_days": -1}, {"eval_days": None}, {"mail_sender": "nobody"}, {"evalDays": 7}, {"mail_sender": 7}],
)
async def test_a_wrong_setting_changes_nothing(served: Served, wrong: dict[str, object]) -> None:
    await served.app()
    before = (await api(served, "GET", "apps/notes")).json
    assert (await api(served, "POST", "apps/notes/settings", wrong)).status == 400
    assert (await api(served, "GET", "apps/notes")).json == before


async def test_settings_are_replaced_and_checked(served: Served) -> None:
    await served.app()
    settings = {
        "eval_days": 7,
        "mail_sender": "Notes <login@notes.example>",
        "mail_templates": {
            "subject": "{{ otp }}",
            "text": "Your code is {{ otp }}",
            "html": "<b>{{ otp }}</b>",
        },
    }
    put = await api(served, "PUT", "apps/notes/settings", settings)
    assert put.json["settings"] == DEFAULTS | settings
    broken = {"subject": "x", "text": "{{ otp", "html": ""}
    for wrong in (
        {"eval_days": -1},
        {"mail_sender": "a@b.example\nBcc: c@d.example"},
        {"mail_templates": broken},
        {"mail_templates": {"subject": "x", "text": "{{ ''.__class__ }}", "html": ""}},
        {"eval_dais": 3},
    ):
        assert (await api(served, "PUT", "apps/notes/settings", wrong)).status == 400
    assert (await api(served, "GET", "apps/notes")).json["settings"]["eval_days"] == 7


async def test_owners_come_and_go_but_the_last_one_stays(served: Served) -> None:
    await served.app()
    both = await api(served, "POST", "apps/notes/owners", {"email": "Second@example.com"})
    assert both.json["owners"] == [OWNER, "second@example.com"]
    one = await api(served, "DELETE", f"apps/notes/owners?email={OWNER}")
    assert one.json["owners"] == ["second@example.com"]
    last = await api(served, "DELETE", "apps/notes/owners?email=second@example.com")
    assert (last.status, last.json["code"]) == (409, "conflict")


async def test_people_are_listed_shown_deactivated_and_deleted(served: Served) -> None:
    await served.app()
    entries = [
        {"userId": f"u{number}@example.com", "type": "prod", "data": {"displayName": f"Name {number}"}}
        for number in range(5)
    ]
    assert (await api(served, "POST", "apps/notes/users", entries)).status == 200
    found: list[str] = []
    path = "apps/notes/users?sort=userId&limit=2"
    while True:
        page = (await api(served, "GET", path)).json
        found += [user["user_id"] for user in page["users"]]
        if page["paging_key"] is None:
            break
        path = f"apps/notes/users?sort=userId&limit=2&paging_key={page['paging_key']}"
    assert found == [entry["userId"] for entry in entries]
    shown = (await api(served, "GET", "apps/notes/users/u1@example.com")).json
    assert (shown["name"], shown["license"], shown["last_login_at"]) == ("Name 1", "ok", None)
    off = await api(served, "POST", "apps/notes/users/u1@example.com/deactivation")
    assert off.json["license"] == "deactivated"
    on = await api(served, "DELETE", "apps/notes/users/u1@example.com/deactivation")
    assert (on.json["license"], on.json["deactivated_at"]) == ("ok", None)
    assert (await api(served, "DELETE", "apps/notes/users/u1@example.com")).status == 204
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/deactivation")):
        answer = await api(served, method, f"apps/notes/users/u1@example.com{suffix}")
        assert (answer.status, answer.json["code"]) == (404, "user_not_found")


async def test_ledger_is_paged_newest_first_and_by_person(served: Served) -> None:
    app = await served.app()
    for number in range(7):
        await served.write(app, {"userId": f"u{number}@example.com", "type": "prod"})
        served.hands.move(seconds=1)
    found: list[str] = []
    before = ""
    while True:
        page = (await api(served, "GET", f"apps/notes/admissions?limit=3{before}")).json
        found += [row["user_id"] for row in page["admissions"]]
        if page["before"] is None:
            break
        before = f"&before={page['before']}"
    assert found == [f"u{number}@example.com" for number in reversed(range(7))]
    of_one = (await api(served, "GET", "apps/notes/admissions?user=u2@example.com&limit=2")).json
    assert [row["user_id"] for row in of_one["admissions"]] == ["u2@example.com"]
    assert (await api(served, "GET", "apps/notes/admissions?before=x")).status == 400


def admin_operations() -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.access == "operator"]


def filled(operation: Operation, app: str = "notes") -> str:
    path = operation.path.replace("{app}", app).replace("{client_id}", "cli_x")
    return (
        path.replace("{user_id}", "nobody@example.com").replace("{token_id}", "opt_x").removeprefix("/api/")
    )


async def test_every_operation_needs_an_operator_token(door: Served) -> None:
    app = await door.app()
    person = door.token(app, scopes=("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE", "MANAGE_DB"))
    for operation in admin_operations():
        bare = await door.ask(operation.method, f"/api/{filled(operation)}")
        assert (bare.status, bare.json["code"]) == (401, "unauthorized"), operation.path
        for token in (person, "adm_" + "x" * 43, "adm_command_1_x.y", "x", "ü" * 10, "x" * 5_000):
            headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
            answer = await door.ask(operation.method, f"/api/{filled(operation)}", headers=headers)
            assert (answer.status, answer.json["code"]) == (401, "invalid_token"), operation.path


async def test_every_operation_needs_its_scope(door: Served) -> None:
    await door.app()
    every = {scope for operation in admin_operations() for scope in operation.scopes}
    for operation in admin_operations():
        for scope in operation.scopes:
            token = await operator_token(door, *sorted(every - {scope}))
            answer = await api(door, operation.method, filled(operation), token=token)
            assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), operation.path


async def test_token_of_one_app_reaches_no_other(door: Served) -> None:
    await door.app("notes")
    await door.app("plans")
    every = sorted({scope for operation in admin_operations() for scope in operation.scopes})
    token = await operator_token(door, *every, app="plans")
    for operation in admin_operations():
        if "{app}" not in operation.path:
            continue
        for app in ("notes", "nowhere"):
            answer = await api(door, operation.method, filled(operation, app), token=token)
            assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), operation.path
    assert (await api(door, "GET", "apps/plans", token=token)).status == 200
    for method, path in (("GET", "apps"), ("POST", "apps")):
        answer = await api(door, method, path, {"name": "more", "owner": OWNER}, token=token)
        assert answer.status == 403


async def test_secret_of_hooks_needs_more_than_reading(door: Served) -> None:
    await door.app()
    for scopes, shown in ((("apps:read", "apps:write"), False), (("apps:read", "secrets:read"), True)):
        token = await operator_token(door, *scopes)
        answer = await api(door, "GET", "apps/notes/policy?secret=true", token=token)
        assert answer.status == 200
        assert (answer.json["hook_secret"] is not None) is shown


@pytest.mark.parametrize(
    ("scope", "path", "body"),
    [
        ("apps:write", "apps/notes/policy/secret", None),
        ("apps:write", "apps/notes/clients", {}),
        ("tokens:write", "tokens", {"scopes": ["tokens:write"]}),
        ("webhooks:write", "apps/notes/endpoints", {"url": "https://hooks.example.com/"}),
    ],
)
async def test_who_may_not_see_secrets_makes_none(
    door: Served, scope: str, path: str, body: dict[str, Any] | None
) -> None:
    await door.app()
    token = await operator_token(door, scope)
    answer = await api(door, "POST", path, body, token=token)
    assert (answer.status, answer.json["code"]) == (403, "insufficient_scope")
    assert "secrets:read" in answer.json["message"]


async def test_token_is_told_once_and_ends_when_revoked(served: Served) -> None:
    await served.app()
    made = (await api(served, "POST", "tokens", {"label": "deploy", "scopes": ["apps:read"]})).json
    token = made["token"]
    assert (await api(served, "GET", "apps", token=token)).status == 200
    listed = await api(served, "GET", "tokens")
    assert token.encode() not in listed.body
    assert [(row["token_id"], row["label"]) for row in listed.json] == [(made["token_id"], "deploy")]
    assert (await api(served, "DELETE", f"tokens/{made['token_id']}")).status == 204
    answer = await api(served, "GET", "apps", token=token)
    assert (answer.status, answer.json["code"]) == (401, "invalid_token")
    again = await api(served, "DELETE", f"tokens/{made['token_id']}")
    assert (again.status, again.json["code"]) == (404, "token_not_found")


async def test_token_ends_by_itself(served: Served) -> None:
    made = (await api(served, "POST", "tokens", {"label": "brief", "expires_in_seconds": 3_600})).json
    assert (await api(served, "GET", "apps", token=made["token"])).status == 200
    served.hands.move(seconds=3_601)
    assert (await api(served, "GET", "apps", token=made["token"])).status == 401


async def test_command_token_ends_after_a_minute(served: Served) -> None:
    headers = served.command()
    assert (await served.ask("GET", "/api/apps", headers=headers)).status == 200
    served.hands.move(seconds=61)
    assert (await served.ask("GET", "/api/apps", headers=headers)).status == 401


async def test_token_makes_none_that_reaches_further(served: Served) -> None:
    await served.app("notes")
    await served.app("plans")
    token = await operator_token(served, "apps:read", "secrets:read", "tokens:write", app="notes")
    for body in (
        {"label": "more", "scopes": ["apps:write"], "app": "notes"},
        {"label": "wider", "scopes": ["apps:read"]},
        {"label": "other", "scopes": ["apps:read"], "app": "plans"},
        {"label": "nowhere", "scopes": ["apps:read"], "app": "nowhere"},
    ):
        answer = await api(served, "POST", "tokens", body, token=token)
        assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), body
    same = await api(
        served, "POST", "tokens", {"label": "same", "scopes": ["apps:read"], "app": "notes"}, token=token
    )
    assert same.status == 200


async def test_token_of_one_app_sees_and_revokes_those_of_its_app(served: Served) -> None:
    await served.app("notes")
    await served.app("plans")
    mine = await operator_token(served, "tokens:read", "tokens:write", app="notes")
    await operator_token(served, "apps:read", app="plans")
    await operator_token(served, "apps:read")
    everything = (await api(served, "GET", "tokens")).json
    visible = (await api(served, "GET", "tokens", token=mine)).json
    assert [row["app"] for row in visible] == ["notes"]
    for row in everything:
        if row["app"] != "notes":
            answer = await api(served, "DELETE", f"tokens/{row['token_id']}", token=mine)
            assert answer.status == 404
    assert len([row for row in (await api(served, "GET", "tokens")).json if row["revoked_at"] is None]) == 3
