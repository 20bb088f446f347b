"""/api/apps/{app}/providers: single sign-on is set up, changed, examined, taken away; secrets stay inside."""

import asyncio
import logging
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from admit.accounts import app_providers, apps
from admit.accounts.apps import App, load_app
from admit.accounts.provider_changes import ProviderChange, add, new_provider
from admit.accounts.provider_rules import PROVIDERS_MAX
from admit.accounts.tables import providers
from admit.gateway import SEALED
from admit.outbound.addresses import EgressPolicy
from admit.storage.database import Database
from admit.storage.resealing import reseal
from admit.storage.sealing import KeyRing, SealBroken
from admit.web.bearer import issuer_of
from tests.contract.served import Answered, Served
from tests.contract.test_admin_api import operator_token
from tests.hostile_provider import CLIENT_ID, CLIENT_SECRET, HostileProvider, hostile_provider
from tests.identity_provider import IdentityProvider

SECRET = "canary-9d21c4e7"
GOOGLE = {"name": "google", "type": "google", "client_id": "1.example.com", "client_secret": SECRET}
NOW = 1_800_000_000_000


async def ask(
    served: Served, method: str, path: str = "", body: object = None, token: str | None = None
) -> Answered:
    headers = served.command() if token is None else {"Authorization": f"Bearer {token}"}
    return await served.ask(method, f"/api/apps/notes/providers{path}", headers=headers, json=body)


async def done(served: Served, method: str, path: str = "", body: object = None) -> Any:
    answer = await ask(served, method, path, body)
    assert answer.status == 200, answer.body
    return answer.json


async def refused(served: Served, method: str, path: str = "", body: object = None) -> tuple[int, str]:
    answer = await ask(served, method, path, body)
    return answer.status, answer.json["code"]


def oidc(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "type": "oidc", "client_id": "us", "issuer": "https://id.example.com"} | more


async def test_a_preset_needs_a_client_and_the_answer_says_what_to_register(served: Served) -> None:
    app = await served.app()
    made = await done(served, "POST", body=GOOGLE)
    public_url = served.gateway.settings.public_url
    assert made == {
        "name": "google",
        "type": "google",
        "display_name": "Google",
        "icon_url": "",
        "callback_url": f"{public_url}/notes/oauth/callback/google",
        "issuer": "https://accounts.google.com",
        "client_id": "1.example.com",
        "has_secret": True,
        "team_id": "",
        "key_id": "",
        "authorization_endpoint": "",
        "token_endpoint": "",
        "userinfo_endpoint": "",
        "emails_endpoint": "",
        "scopes": ["openid", "email", "profile"],
        "response_mode": "query",
        "person": "email",
        "trusted_domains": ["gmail.com", "googlemail.com", "hd"],
        "tenants": [],
        "audiences": [],
        "claims": {},
    }
    assert await done(served, "GET", "/google") == made
    known = (await served.gateway.directory.app("notes")).providers["google"]
    assert (known.client_secret, known.issuer) == (SECRET, made["issuer"])
    assert app.providers == {}


async def test_callback_is_at_the_address_of_the_app(served: Served) -> None:
    await served.app()
    await done(served, "POST", body=GOOGLE)
    host = {"host": "login.example.com"}
    await served.ask("POST", "/api/apps/notes/hosts", headers=served.command(), json=host)
    shown = await done(served, "GET", "/google")
    assert shown["callback_url"] == "http://login.example.com/oauth/callback/google"


async def test_providers_are_listed_in_the_order_in_which_they_were_added(served: Served) -> None:
    await served.app()
    for name in ("zeta", "alpha", "mid"):
        await done(served, "POST", body=oidc(name))
        served.hands.move(seconds=1)
    await done(served, "PUT", "/zeta", {"display_name": "Zeta"})
    assert [each["name"] for each in await done(served, "GET")] == ["zeta", "alpha", "mid"]
    app = await served.ask("GET", "/api/apps/notes", headers=served.command())
    assert app.json["providers"] == ["zeta", "alpha", "mid"]


async def test_what_is_named_changes_and_the_rest_stays(served: Served) -> None:
    await served.app()
    before = await done(served, "POST", body=GOOGLE)
    changed = await done(served, "PUT", "/google", {"trusted_domains": ["Example.com"], "audiences": ["ios"]})
    assert changed == before | {"trusted_domains": ["example.com"], "audiences": ["ios"]}
    back = await done(served, "PUT", "/google", {"trusted_domains": None})
    assert back["trusted_domains"] == before["trusted_domains"]
    assert (await done(served, "PUT", "/google", {"client_secret": "another"}))["has_secret"] is True
    known = (await served.gateway.directory.app("notes")).providers["google"]
    assert known.client_secret == "another"
    await done(served, "POST", body=oidc("house", client_secret=SECRET))
    assert (await done(served, "PUT", "/house", {"client_secret": ""}))["has_secret"] is False


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (GOOGLE | {"name": "email-code"}, "invalid_request"),
        (GOOGLE | {"name": "Google"}, "invalid_request"),
        (GOOGLE | {"type": "facebook"}, "invalid_request"),
        (GOOGLE | {"tenants": ["x"]}, "invalid_request"),
        (GOOGLE | {"secret": SECRET}, "invalid_request"),
        (GOOGLE | {"client_secret": SECRET + "\n"}, "invalid_request"),
        (GOOGLE | {"client_secret": 7}, "invalid_request"),
        ({"name": "google", "type": "google", "client_secret": SECRET}, "invalid_request"),
        (oidc("house", issuer="http://id.example.com"), "url_refused"),
        (oidc("house", issuer="https://10.0.0.1"), "url_refused"),
        (oidc("house", issuer="http://169.254.169.254"), "url_refused"),
        (oidc("house", scopes=["email"]), "invalid_request"),
        (oidc("house", trusted_domains=["com"]), "invalid_request"),
        (oidc("house", claims={"sub": "oid"}), "invalid_request"),
        (oidc("house", client_id=None), "invalid_request"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_kept(
    door: Served, body: dict[str, object], code: str
) -> None:
    await door.app()
    answer = await ask(door, "POST", body=body)
    assert (answer.status, answer.json["code"]) == (400, code)
    assert SECRET.encode() not in answer.body
    assert await done(door, "GET") == []


async def test_a_change_that_cannot_be_changes_nothing(served: Served) -> None:
    await served.app()
    before = await done(served, "POST", body=oidc("house"))
    await done(served, "POST", body=oidc("other", issuer="https://other.example.com"))
    for wrong in (
        {"issuer": "https://127.0.0.2"},
        {"display_name": "Nice", "scopes": []},
        {"type": "google"},
        {"name": "house-2"},
        {"token_endpoint": "https://id.example.com/token"},
        {"issuer": ""},
    ):
        assert (await refused(served, "PUT", "/house", wrong))[0] == 400
    assert await done(served, "GET", "/house") == before


async def test_who_may_change_a_provider_cannot_have_its_secret_sent_elsewhere(served: Served) -> None:
    await served.app()
    async with hostile_provider() as op, hostile_provider() as thief:
        shown: list[str] = []

        def takes(secret: str) -> bool:
            shown.append(secret)
            return False

        thief.takes = takes
        before = await done(served, "POST", body=house(op))
        elsewhere = {"issuer": thief.base}
        answer = await ask(served, "PUT", "/house", elsewhere)
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
        assert "client_secret" in answer.json["message"]
        await done(served, "POST", "/house/test")
        assert (thief.requests, shown) == ([], [])
        assert await done(served, "GET", "/house") == before

        await done(served, "PUT", "/house", elsewhere | {"client_secret": "another"})
        await done(served, "POST", "/house/test")
        assert shown == ["another"]


async def test_who_is_not_there_is_not_found(served: Served) -> None:
    await served.app()
    for method, path, body in (
        ("GET", "/google", None),
        ("PUT", "/google", {"display_name": "x"}),
        ("DELETE", "/google", None),
        ("POST", "/google/test", None),
    ):
        assert await refused(served, method, path, body) == (404, "provider_not_found")


async def test_of_two_that_add_the_same_name_one_is_first(served: Served) -> None:
    await served.app()
    answers = await asyncio.gather(
        *(ask(served, "POST", body=oidc("house", client_id=f"us-{number}")) for number in range(8))
    )
    codes = sorted(answer.status for answer in answers)
    assert codes == [200] + [409] * 7
    assert {answer.json["code"] for answer in answers if answer.status == 409} == {"provider_name_taken"}
    [first] = [answer.json["client_id"] for answer in answers if answer.status == 200]
    [kept] = await done(served, "GET")
    assert kept["client_id"] == first


async def test_an_app_has_no_more_than_its_share(served: Served) -> None:
    await served.app()
    answers = await asyncio.gather(
        *(ask(served, "POST", body=oidc(f"p{number}")) for number in range(PROVIDERS_MAX + 4))
    )
    refusals = [answer.json["code"] for answer in answers if answer.status != 200]
    assert refusals == ["too_many_providers"] * 4
    assert len(await done(served, "GET")) == PROVIDERS_MAX


async def test_changes_of_two_at_once_are_both_made(served: Served) -> None:
    await served.app()
    await done(served, "POST", body=oidc("house"))
    changes: list[dict[str, object]] = [
        {"display_name": "House"},
        {"trusted_domains": ["example.com"]},
        {"audiences": ["ios"]},
    ]
    answers = await asyncio.gather(*(ask(served, "PUT", "/house", change) for change in changes * 4))
    assert {answer.status for answer in answers} == {200}
    assert {**changes[0], **changes[1], **changes[2]}.items() <= (await done(served, "GET", "/house")).items()


async def test_people_of_providers_without_id_tokens_are_not_taken_for_one_another(served: Served) -> None:
    await served.app()
    endpoints = {
        f"{name}_endpoint": f"https://id.example.com/{name}"
        for name in ("authorization", "token", "userinfo")
    }
    plain = {"type": "oauth2", "client_id": "us", **endpoints}
    first = await done(served, "POST", body=plain | {"name": "first"})
    assert first["issuer"] == "https://id.example.com/userinfo"
    assert await refused(served, "POST", body=plain | {"name": "second"}) == (409, "conflict")
    second = await done(served, "POST", body=plain | {"name": "second", "issuer": "https://id.example.com"})
    assert second["issuer"] == "https://id.example.com"
    same = {"issuer": first["issuer"]}
    assert await refused(served, "PUT", "/second", same) == (409, "conflict")
    assert await refused(served, "POST", body=oidc("third", **same)) == (409, "conflict")


async def test_a_provider_goes_with_its_policy(served: Served) -> None:
    await served.app()
    await done(served, "POST", body=GOOGLE)
    policy = "/api/apps/notes/policy?for=google"
    await served.ask("PUT", policy, headers=served.command(), json={"kind": "prod"})
    assert (await ask(served, "DELETE", "/google")).status == 204
    assert await done(served, "GET") == []
    assert await refused(served, "DELETE", "/google") == (404, "provider_not_found")
    await done(served, "POST", body=GOOGLE)
    again = await served.ask("GET", policy, headers=served.command())
    assert (again.json["policy"]["kind"], again.json["own"]) == ("eval", False)


async def test_operators_need_the_scope_and_the_app(served: Served) -> None:
    await served.app()
    await served.app("other")
    await done(served, "POST", body=GOOGLE)
    reader = await operator_token(served, "apps:read")
    stranger = await operator_token(served, "apps:read", "apps:write", app="other")
    assert (await ask(served, "GET", token=reader)).status == 200
    for method, path, body in (
        ("POST", "", oidc("house")),
        ("PUT", "/google", {"display_name": "x"}),
        ("DELETE", "/google", None),
        ("POST", "/google/test", None),
    ):
        assert (await ask(served, method, path, body, token=reader)).status == 403
        assert (await ask(served, method, path, body, token=stranger)).status == 403
    assert (await ask(served, "GET", token=stranger)).status == 403
    assert [each["display_name"] for each in await done(served, "GET")] == ["Google"]


async def test_the_secret_is_told_to_nobody(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    await served.app()
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        answers = [
            await ask(served, "POST", body=GOOGLE),
            await ask(served, "POST", body=GOOGLE),
            await ask(served, "GET"),
            await ask(served, "GET", "/google"),
            await ask(served, "PUT", "/google", {"display_name": "Work"}),
            await ask(served, "PUT", "/google", {"client_secret": SECRET, "scopes": []}),
            await ask(served, "PUT", "/google", {"client_secret": {"is": SECRET}}),
            await ask(served, "PUT", "/google", {"client_secret": SECRET + "é"}),
            await served.ask("GET", "/api/apps/notes", headers=served.command()),
            await served.ask("GET", "/notes/auth-providers"),
        ]
    logged = str(lines) + "".join(record.getMessage() for record in caplog.records)
    assert [answer.status for answer in answers[:6]] == [200, 409, 200, 200, 200, 400]
    assert SECRET not in logged
    assert [answer for answer in answers if SECRET.encode() in answer.body] == []
    app = await served.gateway.directory.app("notes")
    assert app.providers["google"].client_secret == SECRET
    assert SECRET not in repr(app)
    assert SECRET not in repr(app.providers)


async def test_the_secret_is_sealed_at_rest(served: Served) -> None:
    await served.app()
    await done(served, "POST", body=GOOGLE)
    row = await served.gateway.db.read(lambda tx: tx.execute(select(providers)).one())
    assert SECRET not in f"{row.setting}{row.sealed}"
    assert "client_secret" not in row.setting.replace('"client_secret":""', "")


async def created(database: Database, ring: KeyRing, name: str) -> App:
    made = await database.write(
        lambda tx: apps.create_app(tx, ring, name=name, owner="o@example.com", user_ids="email", now=NOW)
    )
    assert isinstance(made, App)
    given = ProviderChange(client_id="us", client_secret=f"{SECRET} of {name}")
    provider = new_provider("google", "google", given, EgressPolicy())
    assert await database.write(lambda tx: add(tx, ring, made.app_id, provider, NOW)) is None
    return made


async def test_secrets_are_sealed_anew_when_the_keys_are_exchanged(database: Database) -> None:
    former, new = (
        KeyRing.parse("the-former-secret-key-0123456789abcdef"),
        "the-new-secret-key-0123456789abcdef",
    )
    both = KeyRing.parse(f"{new},the-former-secret-key-0123456789abcdef")
    made = [await created(database, former, f"app-{number}") for number in range(3)]
    while await database.write(partial(reseal, ring=both, columns=SEALED, rows_max=1)):
        pass
    for app in made:
        found = await database.read(partial(load_app, ring=KeyRing.parse(new), name_or_id=app.app_id))
        assert found is not None
        assert found.providers["google"].client_secret == f"{SECRET} of {app.name}"
        with pytest.raises(SealBroken):
            await database.read(partial(app_providers.providers_in, ring=former, app_id=app.app_id))


async def test_a_secret_opens_in_its_own_place_only(database: Database, ring: KeyRing) -> None:
    one, other = await created(database, ring, "one"), await created(database, ring, "other")
    rows = await database.read(lambda tx: tx.execute(select(providers)).all())
    sealed = {row.app_id: row.sealed for row in rows}
    moved = providers.update().where(providers.c.app_id == other.app_id).values(sealed=sealed[one.app_id])
    await database.write(lambda tx: tx.execute(moved))
    with pytest.raises(SealBroken):
        await database.read(lambda tx: load_app(tx, ring, other.app_id))


# Examinations


def house(op: HostileProvider, **more: object) -> dict[str, object]:
    given = {"issuer": op.base, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return oidc("house", **given, trusted_domains=["example.com"]) | more


async def examined(served: Served, op: HostileProvider, **more: object) -> dict[str, Any]:
    await done(served, "POST", body=house(op, **more))
    with capture_logs() as lines:
        answer = await ask(served, "POST", "/house/test")
    assert answer.status == 200, answer.body
    assert CLIENT_SECRET.encode() not in answer.body
    assert CLIENT_SECRET not in str(lines)
    found: dict[str, Any] = answer.json
    return found


async def test_an_honest_provider_passes_every_step(served: Served) -> None:
    await served.app()
    async with hostile_provider() as op:
        found = await examined(served, op)
    assert found["ok"], found
    assert {"discovery", "keys", "login"} <= {each["step"] for each in found["findings"]}
    assert all(each["detail"] for each in found["findings"])


async def test_a_provider_of_which_nobody_new_comes_is_told_so(door: Served) -> None:
    await door.app()
    async with hostile_provider() as op:
        found = await examined(door, op, trusted_domains=[])
    assert not found["ok"]
    assert [each["step"] for each in found["findings"] if not each["ok"]] == ["people"]


async def test_a_wrong_secret_is_found(door: Served) -> None:
    await door.app()
    async with hostile_provider() as op:
        found = await examined(door, op, client_secret="wrong-one")
    [wrong] = [each for each in found["findings"] if not each["ok"]]
    assert wrong["step"] == "login"
    assert "wrong-one" not in str(found)


async def test_a_provider_that_is_not_there_is_found(door: Served) -> None:
    await door.app()
    async with hostile_provider() as op:
        pass
    found = await examined(door, op)
    assert [each["step"] for each in found["findings"] if not each["ok"]] == ["discovery"]


async def test_a_wrong_issuer_is_found(door: Served) -> None:
    await door.app()
    async with hostile_provider() as op:
        op.discovery["issuer"] = "https://another.example.com"
        found = await examined(door, op)
    [wrong] = [each for each in found["findings"] if not each["ok"]]
    assert wrong["step"] == "discovery"
    assert "https://another.example.com" in wrong["detail"]


async def test_the_certified_provider_passes_and_what_is_not_registered_there_is_found(
    door: Served, identity_provider: IdentityProvider
) -> None:
    app = await door.app()
    callback = f"{issuer_of(door.gateway, app)}/oauth/callback/company"
    client = identity_provider.register(callback)
    given = {"client_id": client.client_id, "client_secret": client.client_secret}
    company = oidc("company", issuer=identity_provider.issuer, trusted_domains=["example.com"]) | given
    made = await done(door, "POST", body=company)
    assert made["callback_url"] == callback

    found = await done(door, "POST", "/company/test")
    assert found["ok"], found

    await done(door, "PUT", "/company", {"client_secret": "another"})
    assert await wrong_steps(door) == ["login"]
    await done(door, "PUT", "/company", given | {"issuer": f"{identity_provider.issuer}/"})
    assert await wrong_steps(door) == ["discovery"]
    other = identity_provider.register(f"{callback}-other")
    change = {"issuer": None, "client_id": other.client_id, "client_secret": other.client_secret}
    assert await refused(door, "PUT", "/company", change) == (400, "invalid_request")  # oidc presets none
    await done(door, "PUT", "/company", change | {"issuer": identity_provider.issuer})
    assert "authorization" in await wrong_steps(door)


async def wrong_steps(served: Served) -> list[str]:
    """The steps that an examination of the provider company has found fault with, which are told in words."""
    found = await done(served, "POST", "/company/test")
    wrong = [each for each in found["findings"] if not each["ok"]]
    assert found["ok"] is (not wrong)
    assert all(each["detail"] for each in wrong)
    return [each["step"] for each in wrong]
