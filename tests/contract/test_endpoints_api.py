"""The doors of endpoints: who may, what is said, what is tried out, and the keys that anybody may read."""

import asyncio
import base64
import json
import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from admit.webhooks.secrets import new_secret
from tests.contract.served import ORIGIN, Answered, Served, serving
from tests.receivers import Request, answering, receiver, response

URL = "https://crm.example.com/hooks"


async def api(served: Served, method: str, path: str, body: object = None, token: str = "") -> Answered:
    headers = {"Authorization": f"Bearer {token}"} if token else served.command()
    return await served.ask(method, f"/api/apps/{path}", headers=headers, json=body)


async def create(served: Served, app: str = "notes", **chosen: Any) -> dict[str, Any]:
    made = await api(served, "POST", f"{app}/endpoints", {"url": URL} | chosen)
    assert made.status == 200, made.body
    view: dict[str, Any] = made.json
    return view


async def token(served: Served, *scopes: str, app: str | None = None) -> str:
    body = {"label": "a test", "scopes": scopes, "app": app}
    made = await served.ask("POST", "/api/tokens", headers=served.command(), json=body)
    text: str = made.json["token"]
    return text


async def test_new_endpoint_is_shown_whole_with_its_secret_this_once(served: Served) -> None:
    await served.app()
    made = await create(served, headers={"Authorization": "Bearer sesame", "X-Shop": "7"})
    assert made["secret"].startswith("whsec_")
    assert made["public_key"] is None

    shown = await api(served, "GET", f"notes/endpoints/{made['id']}")
    secret = made["secrets"][0]
    assert shown.json == {key: made[key] for key in made if key not in ("secret", "public_key")}
    assert shown.json | {"id": "", "created_at": 0, "changed_at": 0, "secrets": []} == {
        "id": "",
        "url": URL,
        "description": "",
        "events": [],
        "filter": {
            "user_types": [],
            "methods": [],
            "email_domains": [],
            "equals": [],
            "changes": [],
        },
        "hook": "",
        "once": "enrollment",
        "format": "thin",
        "headers": ["authorization", "x-shop"],
        "retry_delays": None,
        "at_once_max": None,
        "per_minute": None,
        "state": "enabled",
        "reason": "",
        "failing_since": None,
        "noticed_at": None,
        "behind": None,
        "secrets": [],
        "created_at": 0,
        "changed_at": 0,
    }
    assert secret == {
        "id": secret["id"],
        "signature": "hmac",
        "public_key": None,
        "created_at": made["created_at"],
        "ends_at": None,
    }
    listed = await api(served, "GET", "notes/endpoints")
    assert listed.json == {"endpoints": [shown.json], "after": None}
    for answer in (shown, listed):
        assert b"whsec_" not in answer.body
        assert b"sesame" not in answer.body


async def test_endpoints_are_listed_page_by_page(served: Served) -> None:
    await served.app()
    made = [(await create(served))["id"] for _ in range(5)]
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await api(served, "GET", f"notes/endpoints?limit=2&after={after}")).json
        assert len(page["endpoints"]) <= 2
        found += [each["id"] for each in page["endpoints"]]
        after = page["after"]
    assert found == sorted(made)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "https://127.0.0.2/"}, "url_refused"),
        ({"url": URL, "events": ["user.enroled"]}, "event_type_unknown"),
        ({"url": URL, "filter": {"methods": ["magic"]}}, "filter_refused"),
        ({"url": URL, "filter": {"user_type": ["prod"]}}, "invalid_request"),
        ({"url": URL, "filter": {"equals": [{"path": ["user"], "value": {}}]}}, "invalid_request"),
        ({"url": URL, "headers": {"host": "x"}}, "headers_refused"),
        ({"url": URL, "retry_delays": [0]}, "retry_delays_refused"),
        ({"url": URL, "secret": "sesame"}, "secret_refused"),
        ({"url": URL, "secret": new_secret("hmac"), "signature": "ed25519"}, "secret_refused"),
        ({"url": URL, "once": "twice"}, "invalid_request"),
        ({"url": URL, "at_once_max": 99}, "invalid_request"),
        ({"url": URL, "per_minute": 1.5}, "invalid_request"),
        ({"url": URL, "event": []}, "invalid_request"),
        ({"url": None}, "invalid_request"),
        ({}, "invalid_request"),
        ([], "invalid_request"),
        ({"url": URL, "description": "x" * 300_000}, "too_large"),
    ],
)
async def test_what_cannot_be_used_makes_no_endpoint(door: Served, body: object, code: str) -> None:
    await door.app()
    refused = await api(door, "POST", "notes/endpoints", body)
    assert (refused.status, refused.json["code"]) == (413 if code == "too_large" else 400, code)
    assert b"sesame" not in refused.body
    assert (await api(door, "GET", "notes/endpoints")).json["endpoints"] == []


async def test_a_change_that_is_refused_changes_nothing(served: Served) -> None:
    await served.app()
    made = await create(served)
    where = f"notes/endpoints/{made['id']}"
    refused = await api(served, "PUT", where, {"description": "new", "events": ["nothing.happened"]})
    assert refused.json["code"] == "event_type_unknown"
    shown = (await api(served, "GET", where)).json
    assert (shown["description"], shown["events"]) == ("", [])

    changed = await api(served, "PUT", where, {"description": "new", "per_minute": 60})
    assert changed.json == (await api(served, "GET", where)).json
    assert changed.json == shown | {
        "description": "new",
        "per_minute": 60,
        "changed_at": changed.json["changed_at"],
    }


async def test_an_endpoint_is_paused_and_tells_how_far_it_is_behind(served: Served) -> None:
    app = await served.app()
    made = await create(served)
    where = f"notes/endpoints/{made['id']}/state"
    paused = (await api(served, "PUT", where, {"state": "paused"})).json
    assert (paused["state"], paused["behind"]) == ("paused", {"caught_up_to": "0", "head": "0"})
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    shown = (await api(served, "GET", f"notes/endpoints/{made['id']}")).json
    assert shown["behind"] == {"caught_up_to": "0", "head": "1"}
    refused = await api(served, "PUT", where, {"state": "disabled"})
    assert refused.json["code"] == "invalid_request"


async def test_an_unknown_endpoint_is_not_found(served: Served) -> None:
    await served.app()
    await served.app("plans")
    made = await create(served, app="plans")
    for endpoint in ("ep_unknown", made["id"], "x%2Fy"):
        where = f"notes/endpoints/{endpoint}"
        for method, path, body in (
            ("GET", where, None),
            ("PUT", where, {"description": "x"}),
            ("DELETE", where, None),
            ("PUT", f"{where}/state", {"state": "paused"}),
            ("POST", f"{where}/secret", {}),
            ("POST", f"{where}/test", {}),
        ):
            answer = await api(served, method, path, body)
            assert (answer.status, answer.json["code"]) == (404, "endpoint_not_found"), (method, path)
    assert (await api(served, "GET", f"plans/endpoints/{made['id']}")).json["state"] == "enabled"


async def test_a_removed_endpoint_is_gone(served: Served) -> None:
    await served.app()
    made = await create(served)
    where = f"notes/endpoints/{made['id']}"
    assert (await api(served, "DELETE", where)).status == 204
    assert (await api(served, "GET", where)).status == 404
    assert (await api(served, "DELETE", where)).status == 404


async def test_tokens_reach_endpoints_by_their_own_scopes_alone(served: Served) -> None:
    await served.app()
    await served.app("plans")
    made = await create(served)
    where = f"notes/endpoints/{made['id']}"
    reads = await token(served, "webhooks:read")
    others = await token(served, "apps:read", "apps:write", "users:write", "events:read")
    elsewhere = await token(served, "webhooks:read", "webhooks:write", app="plans")
    assert (await api(served, "GET", where, token=reads)).status == 200
    for method, path, body in (
        ("POST", "notes/endpoints", {"url": URL}),
        ("PUT", where, {"description": "x"}),
        ("PUT", f"{where}/state", {"state": "paused"}),
        ("POST", f"{where}/secret", {}),
        ("POST", f"{where}/test", {}),
        ("DELETE", where, None),
    ):
        for held in (reads, others, elsewhere):
            answer = await api(served, method, path, body, held)
            assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), (method, path)
    for held in (others, elsewhere):
        assert (await api(served, "GET", where, token=held)).status == 403
        assert (await api(served, "GET", "notes/endpoints", token=held)).status == 403
    assert (await served.ask("GET", f"/api/apps/{where}")).status == 401


def verify(request: Request, secret: str) -> dict[str, Any]:
    """The body, where the library that receivers use accepts the request."""
    body: dict[str, Any] = Webhook(secret).verify(request.body, headers_of(request))
    return body


def headers_of(request: Request) -> dict[str, str]:
    lines = request.head.split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


async def test_a_trial_shows_what_was_sent_and_what_came_back(served: Served) -> None:
    app = await served.app()
    reply = response(b"thanks", "202 Accepted", "X-Shop: 7\r\n")
    async with receiver(answering(reply)) as here:
        made = await create(served, url=here.url(), headers={"X-Key": "sesame"})
        trial = (await api(served, "POST", f"notes/endpoints/{made['id']}/test", {})).json
        (request,) = here.requests

    body = verify(request, made["secret"])
    assert body == json.loads(trial["request"]["body"])
    assert body == {
        "type": "test.ping",
        "timestamp": body["timestamp"],
        "data": {"app": {"id": app.app_id, "name": "notes"}, "test": True},
    }
    sent = {name.lower(): value for name, value in trial["request"]["headers"].items()}
    assert sent.items() <= headers_of(request).items()
    assert sent["x-key"] == "sesame"
    assert trial | {"request": {}, "duration_ms": 0} == {
        "delivered": True,
        "outcome": "ok",
        "message": "It answered 202.",
        "request": {},
        "address": "127.0.0.1",
        "response": {
            "status": 202,
            "headers": {"content-length": "6", "x-shop": "7"},
            "body": "thanks",
            "truncated": False,
        },
        "duration_ms": 0,
    }
    assert trial["request"]["url"] == here.url()


async def test_no_secret_of_an_endpoint_reaches_the_log(
    door: Served, caplog: pytest.LogCaptureFixture
) -> None:
    await door.app()
    own = new_secret("hmac")
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        async with receiver(answering(response(b"canary-answer"))) as here:
            made = await create(door, url=here.url(), secret=own, headers={"x-key": "canary-header"})
            where = f"notes/endpoints/{made['id']}"
            await api(door, "POST", f"{where}/test", {})
            rotated = await api(door, "POST", f"{where}/secret", {})
            await api(door, "POST", "notes/endpoints", {"url": here.url(), "secret": "canary-secret"})
            await api(door, "PUT", where, {"headers": {"x-key": "canary\n"}})
    told = str(lines) + "".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "admit"))
    )
    assert len(lines) >= 5
    for secret in (own, rotated.json["secret"], "canary"):
        assert secret.removeprefix("whsec_") not in told


async def test_a_trial_sends_the_example_of_a_type_thin_or_full_also_to_the_paused(served: Served) -> None:
    await served.app()
    async with receiver(answering(response())) as here:
        for format_, personal in (("thin", False), ("full", True)):
            made = await create(served, url=here.url(), format=format_, events=["user.deleted"])
            where = f"notes/endpoints/{made['id']}"
            await api(served, "PUT", f"{where}/state", {"state": "paused"})
            trial = await api(served, "POST", f"{where}/test", {"type": "user.enrolled"})
            assert trial.json["delivered"]
            body = verify(here.requests[-1], made["secret"])
            assert body["type"] == "user.enrolled"
            assert ("email" in body["data"]["user"]) is personal
        unknown = await api(served, "POST", f"{where}/test", {"type": "user.enroled"})
        assert (unknown.status, unknown.json["code"]) == (400, "event_type_unknown")
        assert len(here.requests) == 2


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (response(status="410 Gone"), "http_410", "410 Gone"),
        (
            response(status="302 Found", headers="Location: https://elsewhere.example/\r\n"),
            "http_302",
            "redirect",
        ),
        (response(status="500 Oops"), "http_500", "It answered 500"),
        (b"nonsense\r\n\r\n", "protocol", "."),
    ],
)
async def test_a_trial_that_fails_says_why_and_changes_nothing(
    door: Served, answer: bytes, outcome: str, words: str
) -> None:
    await door.app()
    async with receiver(answering(answer)) as here:
        made = await create(door, url=here.url())
        trial = (await api(door, "POST", f"notes/endpoints/{made['id']}/test", {})).json
        assert len(here.requests) == 1
    assert (trial["delivered"], trial["outcome"]) == (False, outcome)
    assert words in trial["message"]
    shown = (await api(door, "GET", f"notes/endpoints/{made['id']}")).json
    assert (shown["state"], shown["failing_since"]) == ("enabled", None)


async def test_a_trial_to_a_forbidden_address_ends_at_the_dial(served_sqlite_url: str) -> None:
    async with serving(served_sqlite_url, egress_allow="receiver.internal") as door:
        await door.app()
        made = await create(door, url="https://localhost:9/hooks")
        trial = (await api(door, "POST", f"notes/endpoints/{made['id']}/test", {})).json
    assert (trial["delivered"], trial["outcome"], trial["response"]) == (False, "address", None)
    assert "loopback" in trial["message"]


async def test_a_trial_that_hangs_ends_at_the_timeout(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await door.app()
    monkeypatch.setattr("admit.webhooks.delivery.TIMEOUT_SECONDS", 0.2)

    async def never(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with receiver(never) as here:
        made = await create(door, url=here.url())
        trial = (await api(door, "POST", f"notes/endpoints/{made['id']}/test", {})).json
    assert (trial["delivered"], trial["outcome"], trial["response"]) == (False, "timeout", None)


async def test_of_a_large_answer_the_beginning_is_shown(door: Served) -> None:
    await door.app()
    async with receiver(answering(response(b"\xff" + b"x" * 20_000))) as here:
        made = await create(door, url=here.url())
        trial = (await api(door, "POST", f"notes/endpoints/{made['id']}/test", {})).json
    assert trial["response"]["truncated"]
    assert trial["response"]["body"] == "\ufffd" + "x" * 16_383


async def test_two_signatures_for_a_day_then_one(served: Served) -> None:
    await served.app()
    async with receiver(answering(response())) as here:
        made = await create(served, url=here.url())
        where = f"notes/endpoints/{made['id']}"
        rotated = await api(served, "POST", f"{where}/secret", {})
        assert rotated.json["secret"] not in (None, made["secret"])
        present, former = rotated.json["secrets"]
        assert (present["ends_at"], former["id"]) == (None, made["secrets"][0]["id"])
        assert 0 <= former["ends_at"] - served.hands() - 86_400_000 + 60_000 <= 60_000

        await api(served, "POST", f"{where}/test", {})
        for secret in (made["secret"], rotated.json["secret"]):
            verify(here.requests[-1], secret)
        assert len(headers_of(here.requests[-1])["webhook-signature"].split(" ")) == 2

        served.hands.move(days=1)
        await api(served, "POST", f"{where}/test", {})
        assert len(headers_of(here.requests[-1])["webhook-signature"].split(" ")) == 1
        assert len((await api(served, "GET", where)).json["secrets"]) == 1


async def test_a_rotation_keeps_the_kind_unless_another_is_asked_for(served: Served) -> None:
    await served.app()
    made = await create(served, signature="ed25519")
    where = f"notes/endpoints/{made['id']}/secret"
    rotated = (await api(served, "POST", where, {})).json
    assert rotated["secret"] is None
    assert rotated["public_key"] not in (None, made["public_key"])
    own = new_secret("hmac")
    rotated = (await api(served, "POST", where, {"secret": own, "overlap_seconds": 0})).json
    assert rotated["secret"] == own
    assert [each["signature"] for each in rotated["secrets"]] == ["hmac"]
    for body in ({"overlap_seconds": -1}, {"overlap_seconds": 604_801}):
        assert (await api(served, "POST", where, body)).status == 400


async def test_several_endpoints_may_share_a_secret_of_the_operator(served: Served) -> None:
    await served.app()
    own = new_secret("hmac")
    made = [await create(served, secret=own) for _ in range(2)]
    assert {each["secret"] for each in made} == {own}


async def test_published_keys_verify_what_endpoints_are_sent(served: Served) -> None:
    await served.app()
    await served.app("plans")
    async with receiver(answering(response())) as here:
        made = await create(served, url=here.url(), signature="ed25519")
        assert made["secret"] is None
        await create(served)
        await api(served, "POST", f"notes/endpoints/{made['id']}/test", {})
        (request,) = here.requests

    answer = await served.ask("GET", "/notes/.well-known/webhook-keys.json")
    (key,) = answer.json["keys"]
    assert key["whpk"] == made["public_key"]
    assert {name: key[name] for name in ("kty", "crv", "use")} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
    }
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    assert base64.b64decode(key["whpk"].removeprefix("whpk_")) == public.public_bytes_raw()
    headers = headers_of(request)
    version, signature = headers["webhook-signature"].split(",")
    assert version == "v1a"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    public.verify(base64.b64decode(signature), signed)
    assert "whsk_" not in answer.body.decode()

    assert (await served.ask("GET", "/plans/.well-known/webhook-keys.json")).json == {"keys": []}
    assert (await served.ask("GET", "/nothing/.well-known/webhook-keys.json")).status == 404


async def test_published_keys_follow_rotation_and_removal(served: Served) -> None:
    await served.app()
    made = await create(served, signature="ed25519")
    where = f"notes/endpoints/{made['id']}"

    async def published() -> set[str]:
        answer = await served.ask("GET", "/notes/.well-known/webhook-keys.json")
        return {key["whpk"] for key in answer.json["keys"]}

    assert await published() == {made["public_key"]}
    rotated = (await api(served, "POST", f"{where}/secret", {})).json
    assert await published() == {made["public_key"], rotated["public_key"]}
    served.hands.move(days=1)
    assert await published() == {rotated["public_key"]}
    await api(served, "DELETE", where)
    assert await published() == set()


@pytest.mark.parametrize("origin", [ORIGIN, "https://anybody.example"])
async def test_published_keys_may_be_read_and_kept_by_any_page(door: Served, origin: str) -> None:
    await door.app()
    answer = await door.ask("GET", "/notes/.well-known/webhook-keys.json", headers={"Origin": origin})
    assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]  # type: ignore[attr-defined]
    assert answer.headers["Cache-Control"] == "public, max-age=300"
