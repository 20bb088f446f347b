"""The client of providers over real HTTP: honest ones of every kind, and one that lies in every way."""

import asyncio
import gc
import hashlib
import itertools
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import structlog
from aiohttp import web
from joserfc import jwt

from admit.accounts.providers import Provider
from admit.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from admit.errors import ProviderFault
from admit.outbound.addresses import EgressPolicy
from admit.outbound.http import HttpClient
from admit.signin.identity import Identity
from admit.signin.providers import calls, shelf
from admit.signin.providers.client import Finding, ProviderClient
from tests.hostile_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    DROPPED,
    TENANT,
    HostileProvider,
    challenge_of,
    drip,
    encode,
    flood,
    held,
    hostile_provider,
    leading_to,
    saying,
    saying_json,
    signing_key,
)

CALLBACK = "https://admit.example.com/notes/oauth/callback/house"
NONCE = "nonce-of-this-sign-in"
VERIFIER = "verifier-of-this-sign-in-which-has-43-letters-and-more"
NOW_MS = 1_800_000_000 * SECOND_MS
CANARIES = (CLIENT_SECRET, VERIFIER, NONCE, "access-1", "code-1")


@dataclass
class Desk:
    """A client, the provider that it speaks with, and their clock."""

    client: ProviderClient
    op: HostileProvider
    now_ms: int = NOW_MS

    async def identify(
        self, provider: Provider | None = None, *, iss: str | None = None, verifier: str = VERIFIER
    ) -> Identity:
        """A sign-in, from the moment on at which somebody came back with a code."""
        code = self.op.code(redirect_uri=CALLBACK, nonce=NONCE, verifier=VERIFIER)
        return await self.client.identify(
            provider or self.op.provider(),
            code=code,
            redirect_uri=CALLBACK,
            verifier=verifier,
            nonce=NONCE,
            iss=iss,
        )

    async def fault(self, provider: Provider | None = None, **given: Any) -> ProviderFault:
        """The fault that a sign-in ends in, with nothing in it that must not be shown."""
        with structlog.testing.capture_logs() as lines, pytest.raises(ProviderFault) as caught:
            await self.identify(provider, **given)
        fault = caught.value
        assert fault.message.isascii()
        assert fault.detail
        told = f"{fault.message}{fault.detail}{lines}"
        assert [canary for canary in CANARIES if canary in told] == []
        return fault

    def asked(self, path: str) -> int:
        return self.op.requests.count(path)


@asynccontextmanager
async def the_desk() -> AsyncIterator[Desk]:
    http = HttpClient(EgressPolicy.parse("127.0.0.1"))
    async with hostile_provider() as op:
        client = ProviderClient(http, lambda: opened.now_ms)
        opened = Desk(client, op)
        op.seconds = lambda: opened.now_ms / SECOND_MS
        try:
            yield opened
        finally:
            await client.close()
            await http.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with the_desk() as opened:
        yield opened


# What works


async def test_a_person_is_who_the_provider_says(desk: Desk) -> None:
    identity = await desk.identify()
    assert identity == Identity(
        issuer=desk.op.base,
        subject="ada-at-provider",
        email="ada@example.com",
        email_verified=True,
        email_trusted=True,
        name="Ada Example",
    )


async def test_a_whole_sign_in_by_the_authorization_url(desk: Desk) -> None:
    provider = desk.op.provider()
    url = await desk.client.authorization_url(
        provider, redirect_uri=CALLBACK, state="st", nonce=NONCE, challenge=challenge_of(VERIFIER)
    )
    asked = parse_qs(urlsplit(url).query)
    assert url.startswith(f"{desk.op.base}/authorize?")
    assert asked == {
        "response_type": ["code"],
        "client_id": [CLIENT_ID],
        "redirect_uri": [CALLBACK],
        "scope": ["openid email profile"],
        "state": ["st"],
        "nonce": [NONCE],
        "code_challenge": [challenge_of(VERIFIER)],
        "code_challenge_method": ["S256"],
    }


async def test_what_stands_in_the_authorization_endpoint_stays(desk: Desk) -> None:
    desk.op.discovery["authorization_endpoint"] = f"{desk.op.base}/authorize?p=policy-1"
    url = await desk.client.authorization_url(
        desk.op.provider(scopes=()), redirect_uri=CALLBACK, state="st", nonce=NONCE, challenge="c"
    )
    asked = parse_qsl(urlsplit(url).query)
    assert asked[0] == ("p", "policy-1")
    assert ("scope", "openid") in asked


async def test_the_secret_goes_where_the_provider_wants_it(desk: Desk) -> None:
    await desk.identify()
    assert "client_secret" not in desk.op.forms[-1]
    assert desk.op.headers[desk.op.requests.index("/token")]["authorization"].startswith("Basic ")

    desk.op.discovery["token_endpoint_auth_methods_supported"] = ["private_key_jwt", "client_secret_post"]
    desk.now_ms += 2 * HOUR_MS
    await desk.identify()
    assert desk.op.forms[-1]["client_secret"] == CLIENT_SECRET


async def test_a_public_client_has_pkce_alone(desk: Desk) -> None:
    desk.op.public = True
    await desk.identify(desk.op.provider(client_secret=""))
    [form] = desk.op.forms
    assert (form["client_id"], form["code_verifier"], "client_secret" in form) == (CLIENT_ID, VERIFIER, False)


async def test_userinfo_is_asked_where_the_id_token_has_no_email(desk: Desk) -> None:
    desk.op.changes["email"] = DROPPED
    identity = await desk.identify()
    assert (identity.email, identity.email_trusted) == ("ada@example.com", True)
    assert desk.asked("/userinfo") == 1

    desk.op.changes = {}
    await desk.identify()
    assert desk.asked("/userinfo") == 1


async def test_without_email_and_userinfo_there_is_a_subject_all_the_same(desk: Desk) -> None:
    desk.op.changes["email"] = DROPPED
    desk.op.discovery["userinfo_endpoint"] = DROPPED
    identity = await desk.identify()
    assert (identity.subject, identity.email, identity.email_trusted) == ("ada-at-provider", "", False)


async def test_userinfo_is_left_alone_where_no_email_is_asked_for(desk: Desk) -> None:
    desk.op.changes["email"] = DROPPED
    assert (await desk.identify(desk.op.provider(scopes=("openid",)))).email == ""
    assert desk.asked("/userinfo") == 0
    mapped = desk.op.provider(scopes=("openid",), claims={"email": "mail"})
    desk.op.userinfo["mail"] = "grace@example.com"
    assert (await desk.identify(mapped)).email == "grace@example.com"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_who_is_refused_userinfo_is_known_all_the_same(desk: Desk, status: int) -> None:
    desk.op.changes["email"] = DROPPED
    desk.op.answers["/userinfo"] = saying("{}", status)
    identity = await desk.identify()
    assert (identity.subject, identity.email, identity.email_trusted) == ("ada-at-provider", "", False)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (saying("<html>"), "userinfo_malformed"),
        (saying("{}", 302), "userinfo_malformed"),
        (saying("{}", 429), "provider_unreachable"),
        (saying("{}", 500), "provider_unreachable"),
        (saying_json({"sub": "eve-at-provider"}), "userinfo_subject"),
    ],
)
async def test_userinfo_that_cannot_be_used_is_no_refusal(desk: Desk, answer: Any, code: str) -> None:
    desk.op.changes["email"] = DROPPED
    desk.op.answers["/userinfo"] = answer
    assert (await desk.fault()).code == code


async def test_mapped_claims_are_kept(desk: Desk) -> None:
    desk.op.changes["realm"] = {"roles": ["staff"]}
    identity = await desk.identify(desk.op.provider(claims={"roles": "realm.roles"}))
    assert identity.claims == {"roles": ["staff"]}


async def test_github_tells_a_number_and_the_primary_email(desk: Desk) -> None:
    identity = await desk.identify(desk.op.github())
    assert identity == Identity(
        issuer=desk.op.base,
        subject="4711",
        email="ada@example.com",
        email_verified=True,
        email_trusted=True,
        name="Ada Example",
    )


async def test_the_email_that_github_shows_in_public_means_nothing(desk: Desk) -> None:
    desk.op.github_user["email"] = "eve@example.com"
    desk.op.github_emails = [
        {"email": "ada@example.com", "primary": True, "verified": False},
        {"email": "other@example.com", "primary": False, "verified": True},
    ]
    identity = await desk.identify(desk.op.github())
    assert (identity.email, identity.email_verified) == ("ada@example.com", False)

    desk.op.github_emails = [
        {"email": each, "primary": True, "verified": True} for each in ("ada@example.com", "eve@example.com")
    ]
    assert (await desk.identify(desk.op.github())).email == ""


async def test_plain_oauth2_tells_a_subject_by_the_mapping(desk: Desk) -> None:
    desk.op.userinfo = {"sub": DROPPED, "id": 99, "data": {"mail": "ada@example.com", "sure": True}}
    mapping = {"email": "data.mail", "email_verified": "data.sure"}
    identity = await desk.identify(desk.op.oauth2(claims=mapping))
    assert (identity.issuer, identity.subject) == (desk.op.base, "99")
    assert (identity.email, identity.email_trusted) == ("ada@example.com", True)


async def test_microsofts_people_are_kept_under_the_issuer_of_their_tenant(desk: Desk) -> None:
    desk.op.be_microsoft()
    identity = await desk.identify(desk.op.microsoft())
    assert identity.issuer == f"{desk.op.base}/{TENANT}/v2.0"
    assert (identity.email_verified, identity.email_trusted) == (False, False)


async def test_apple_gets_a_secret_that_its_key_has_signed(desk: Desk) -> None:
    key = signing_key("KEY1234567", "ES256")
    seen = []

    def takes(secret: str) -> bool:
        seen.append(jwt.decode(secret, key, algorithms=["ES256"]))
        return True

    desk.op.takes = takes
    fields = {"team_id": "ABCDE12345", "key_id": "KEY1234567", "response_mode": "form_post"}
    provider = desk.op.provider(
        **fields, type="apple", scopes=("name", "email"), client_secret=key.as_pem(private=True).decode()
    )
    await desk.identify(provider)
    [secret] = seen
    now = desk.now_ms // SECOND_MS
    assert secret.header == {"alg": "ES256", "kid": "KEY1234567", "typ": "JWT"}
    assert secret.claims == {
        "iss": "ABCDE12345",
        "sub": CLIENT_ID,
        "aud": "https://appleid.apple.com",
        "iat": now,
        "exp": now + 300,
    }
    url = await desk.client.authorization_url(
        provider, redirect_uri=CALLBACK, state="st", nonce=NONCE, challenge="c"
    )
    assert parse_qs(urlsplit(url).query)["response_mode"] == ["form_post"]


async def test_an_apple_key_that_cannot_sign_is_named(desk: Desk) -> None:
    for secret in ("not a key", signing_key().as_pem(private=True).decode()):
        provider = desk.op.provider(type="apple", team_id="T", key_id="K", client_secret=secret)
        assert (await desk.fault(provider)).code == "provider_setting"


# Lies about tokens: the rules have a test each in tests/unit/test_id_token.py; here, that they are asked


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://evil.example"}, "id_token_issuer"),
        ({"aud": "another-client"}, "id_token_audience"),
        ({"aud": [CLIENT_ID, "another-client"]}, "id_token_azp"),
        ({"nonce": "of another sign-in"}, "id_token_nonce"),
        ({"nonce": DROPPED}, "id_token_nonce"),
        ({"exp": 1}, "id_token_expired"),
        ({"nbf": 4_000_000_000}, "id_token_not_yet"),
        ({"iat": 1}, "id_token_too_old"),
        ({"sub": 7}, "id_token_subject"),
        ({"at_hash": encode(hashlib.sha256(b"another").digest()[:16])}, "id_token_at_hash"),
    ],
)
async def test_claims_that_lie_are_refused(desk: Desk, changes: dict[str, Any], code: str) -> None:
    desk.op.changes = changes
    assert (await desk.fault()).code == code


async def test_forged_signatures_are_refused(desk: Desk) -> None:
    desk.op.forge = desk.op.unsigned
    assert (await desk.fault()).code == "id_token_algorithm"
    desk.op.forge = desk.op.confused
    assert (await desk.fault()).code == "id_token_algorithm"
    desk.op.forge = lambda claims: desk.op.sign(claims, key=signing_key("evil"), header={"kid": "key-1"})
    assert (await desk.fault()).code == "id_token_signature"
    desk.op.forge = lambda claims: desk.op.sign(claims, header={"crit": ["x"], "x": 1})
    assert (await desk.fault()).code == "id_token_critical"


async def test_keys_that_a_token_brings_along_are_not_fetched(desk: Desk) -> None:
    evil = {"jku": f"{desk.op.base}/evil", "x5u": f"{desk.op.base}/evil", "kid": "/evil"}
    desk.op.forge = lambda claims: desk.op.sign(claims, key=signing_key("evil"), header=evil)
    desk.op.answers["/evil"] = saying_json({"keys": [signing_key("evil").as_dict(private=False)]})
    assert (await desk.fault()).code == "id_token_key"
    assert desk.asked("/evil") == 0


@pytest.mark.parametrize("token", [DROPPED, None, "", 7, {"a": 1}])
async def test_an_id_token_must_come(desk: Desk, token: Any) -> None:
    desk.op.token_reply["id_token"] = token
    assert (await desk.fault()).code == "id_token_missing"


@pytest.mark.parametrize("token", ["x", "a.b.c", "a.b.c.d.e", "é.é.é"])
async def test_an_id_token_must_be_one(desk: Desk, token: str) -> None:
    desk.op.token_reply["id_token"] = token
    assert (await desk.fault()).code == "id_token_malformed"


async def test_a_code_is_bound_to_its_verifier(desk: Desk) -> None:
    fault = await desk.fault(verifier="another-verifier-that-is-long-enough-to-be-one")
    assert fault.code == "provider_refused"
    assert "(invalid_grant)" in fault.message


# Mix-up


async def test_the_redirect_must_name_its_issuer_where_it_says_it_does(desk: Desk) -> None:
    desk.op.discovery["authorization_response_iss_parameter_supported"] = True
    assert (await desk.fault(iss=None)).code == "issuer_mix_up"
    assert (await desk.fault(iss="https://evil.example")).code == "issuer_mix_up"
    assert desk.asked("/token") == 0
    assert (await desk.identify(iss=desk.op.base)).subject == "ada-at-provider"


async def test_a_redirect_that_names_another_issuer_is_refused_in_any_case(desk: Desk) -> None:
    assert (await desk.fault(iss="https://evil.example")).code == "issuer_mix_up"
    assert (await desk.fault(iss=desk.op.base + "/")).code == "issuer_mix_up"
    assert desk.asked("/token") == 0


async def test_microsofts_redirects_name_a_tenant(desk: Desk) -> None:
    desk.op.be_microsoft()
    provider = desk.op.microsoft()
    assert await desk.identify(provider, iss=f"{desk.op.base}/{TENANT}/v2.0")
    assert (await desk.fault(provider, iss=f"{desk.op.base}/evil/v2.0")).code == "issuer_mix_up"


async def test_without_discovery_the_origin_of_the_redirect_counts(desk: Desk) -> None:
    provider = desk.op.oauth2()
    assert await desk.identify(provider, iss=f"{desk.op.base}/login/oauth")
    assert (await desk.fault(provider, iss="https://evil.example")).code == "issuer_mix_up"


async def test_a_document_about_another_issuer_is_refused(desk: Desk) -> None:
    for issuer in ("https://evil.example", desk.op.base + "/", desk.op.base.upper(), "", None):
        desk.op.discovery["issuer"] = issuer
        assert (await desk.fault()).code == "provider_metadata"
    assert desk.asked("/token") == 0


async def test_endpoints_of_another_provider_do_not_make_its_people_ours(desk: Desk) -> None:
    async with hostile_provider() as other:
        other.seconds = desk.op.seconds
        desk.op.discovery |= {"token_endpoint": f"{other.base}/token", "jwks_uri": f"{other.base}/jwks"}
        code = other.code(redirect_uri=CALLBACK, nonce=NONCE, verifier=VERIFIER)
        with pytest.raises(ProviderFault) as caught:
            await desk.client.identify(
                desk.op.provider(), code=code, redirect_uri=CALLBACK, verifier=VERIFIER, nonce=NONCE, iss=None
            )
    assert caught.value.code == "id_token_issuer"


@pytest.mark.parametrize(
    ("configured", "discovered", "fits"),
    [
        ("common", "{tenantid}", True),
        ("organizations", "{tenantid}", True),
        ("consumers", TENANT, True),
        ("contoso.example", TENANT, True),
        (TENANT, TENANT, True),
        (TENANT, "{tenantid}", False),
        (TENANT, TENANT.replace("1", "2"), False),
        ("contoso.example", "{tenantid}", False),
        ("common", "evil", False),
    ],
)
async def test_only_microsofts_aliases_lead_to_a_template(
    desk: Desk, configured: str, discovered: str, fits: bool
) -> None:
    desk.op.discovery["issuer"] = f"{desk.op.base}/{discovered}/v2.0"
    desk.op.changes |= {"iss": f"{desk.op.base}/{TENANT}/v2.0", "tid": TENANT}
    desk.op.changes |= {"tid": "9188040d-6c67-4c5b-b112-36a304b66dad"} if configured == "consumers" else {}
    if configured == "consumers":
        desk.op.discovery["issuer"] = f"{desk.op.base}/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"
        desk.op.changes["iss"] = desk.op.discovery["issuer"]
    provider = desk.op.microsoft(configured)
    if fits:
        assert (await desk.identify(provider)).subject == "ada-at-provider"
    else:
        assert (await desk.fault(provider)).code == "provider_metadata"


async def test_the_template_is_microsofts_alone(desk: Desk) -> None:
    desk.op.be_microsoft()
    provider = desk.op.provider(issuer=f"{desk.op.base}/common/v2.0")
    assert (await desk.fault(provider)).code == "provider_metadata"


@pytest.mark.parametrize(
    "endpoint",
    [
        "javascript:alert(1)",
        "https://id.example.com\\@evil.example/",
        "https://user@id.example.com/",
        "https://id.example.com/#fragment",
        "https://id.example.com/\r\nSet-Cookie: a=b",
        "//id.example.com/authorize",
        "",
        None,
    ],
)
async def test_people_are_only_sent_to_addresses_that_all_read_alike(desk: Desk, endpoint: Any) -> None:
    desk.op.discovery["authorization_endpoint"] = endpoint
    with pytest.raises(ProviderFault) as caught:
        await desk.client.authorization_url(
            desk.op.provider(), redirect_uri=CALLBACK, state="s", nonce=NONCE, challenge="c"
        )
    assert caught.value.code == "provider_metadata"


# Lies about people


async def test_userinfo_of_somebody_else_is_refused(desk: Desk) -> None:
    desk.op.changes["email"] = DROPPED
    desk.op.userinfo["sub"] = "eve-at-provider"
    assert (await desk.fault()).code == "userinfo_subject"
    desk.op.userinfo["sub"] = DROPPED
    assert (await desk.fault()).code == "userinfo_subject"


async def test_an_id_token_verifies_no_email_but_its_own(desk: Desk) -> None:
    desk.op.changes |= {"email": DROPPED, "email_verified": True}
    desk.op.userinfo |= {"email": "grace@example.com", "email_verified": False}
    identity = await desk.identify()
    assert (identity.email, identity.email_verified) == ("grace@example.com", False)


async def test_userinfo_does_not_overrule_the_id_token(desk: Desk) -> None:
    desk.op.changes |= {"email": None, "name": "Ada Example"}
    desk.op.userinfo |= {"iss": "https://evil.example", "name": "Eve"}
    identity = await desk.identify()
    assert (identity.issuer, identity.email, identity.name) == (
        desk.op.base,
        "ada@example.com",
        "Ada Example",
    )


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/user", saying_json({"login": "ada"})),
        ("/user", saying_json({"id": "4711"})),
        ("/user", saying_json({"id": True})),
        ("/user", saying_json({"message": "Bad credentials"}, 401)),
        ("/user/emails", saying_json({"message": "Not Found"}, 404)),
        ("/user/emails", saying_json({"email": "ada@example.com"})),
        ("/user/emails", saying("<html>")),
    ],
)
async def test_what_github_did_not_say_is_not_made_up(desk: Desk, path: str, answer: Any) -> None:
    desk.op.answers[path] = answer
    assert (await desk.fault(desk.op.github())).code == "userinfo_malformed"


async def test_a_token_of_another_type_is_not_used_as_a_bearer(desk: Desk) -> None:
    desk.op.token_reply["token_type"] = "DPoP"
    assert (await desk.fault(desk.op.github())).code == "provider_refused"
    desk.op.token_reply = {"access_token": "a\r\nX-Evil: 1"}
    assert (await desk.fault(desk.op.github())).code == "provider_refused"
    assert desk.asked("/user") == 0


# Answers that are none


PLACES = {
    "/.well-known/openid-configuration": "provider_metadata",
    "/jwks": "provider_keys",
    "/token": "provider_refused",
    "/userinfo": "userinfo_malformed",
}
NONSENSE: dict[str, Any] = {
    "html": saying("<html>Welcome</html>"),
    "nothing": saying(""),
    "a list": saying("[]"),
    "twins": saying('{"issuer":"a","issuer":"b"}'),
    "NaN": saying('{"issuer":NaN}'),
    "latin-1": saying(b'{"name":"Ad\xe9"}'),
    "nested": saying("[" * 100_000),
    "half a surrogate": saying('{"name":"\\ud800"}'),
    "not found": saying_json({}, 404),
    "no content": saying("", 204),
    "flood": flood,
}


@pytest.mark.parametrize(
    ("place", "kind"),
    # At userinfo a 404 is an answer.
    [each for each in itertools.product(PLACES, NONSENSE) if each != ("/userinfo", "not found")],
)
async def test_nonsense_is_named_by_where_it_came_from(desk: Desk, place: str, kind: str) -> None:
    desk.op.changes["email"] = DROPPED
    desk.op.answers[place] = NONSENSE[kind]
    assert (await desk.fault()).code == PLACES[place]


@pytest.mark.parametrize("place", PLACES)
async def test_redirects_are_not_followed(desk: Desk, place: str) -> None:
    desk.op.changes["email"] = DROPPED
    desk.op.answers[place] = leading_to(f"{desk.op.base}/elsewhere")
    assert (await desk.fault()).code == PLACES[place]
    assert desk.asked("/elsewhere") == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_provider_in_trouble_does_not_answer(desk: Desk, place: str, status: int) -> None:
    desk.op.changes["email"] = DROPPED
    desk.op.answers[place] = saying_json({}, status)
    assert (await desk.fault()).code == "provider_unreachable"


async def test_a_flood_costs_no_memory(desk: Desk) -> None:
    desk.op.answers["/token"] = flood
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await desk.fault()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize("place", PLACES)
async def test_a_provider_that_drips_costs_the_budget_and_no_more(
    desk: Desk, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BUDGET_SECONDS", 0.5)
    desk.op.changes["email"] = DROPPED
    desk.op.answers[place] = drip
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await desk.fault()).code == "provider_unreachable"
    assert loop.time() - started < 2.5


@pytest.mark.parametrize(
    ("error", "shown"),
    [("access_denied", "(access_denied)"), ("<script>", "sign-in. Try"), (["a"], "sign-in. Try")],
)
async def test_a_refusal_tells_its_code_and_nothing_else(desk: Desk, error: Any, shown: str) -> None:
    refusal = {"error": error, "error_description": "email not verified"}
    desk.op.answers["/token"] = saying_json(refusal, 400)
    fault = await desk.fault()
    assert fault.code == "provider_refused"
    assert shown in fault.message
    assert "verif" not in fault.message + fault.detail


async def test_an_error_with_status_200_is_one(desk: Desk) -> None:
    desk.op.answers["/token"] = saying_json({"error": "bad_verification_code"})
    fault = await desk.fault(desk.op.github())
    assert (fault.code, "(bad_verification_code)" in fault.message) == ("provider_refused", True)


async def test_a_provider_that_may_not_be_reached_is_not_asked(desk: Desk) -> None:
    desk.op.discovery["token_endpoint"] = "http://169.254.169.254/latest/meta-data"
    assert (await desk.fault()).code == "provider_unreachable"


async def test_a_name_that_is_not_ascii_does_not_reach_the_addon(desk: Desk) -> None:
    desk.op.answers["/token"] = saying_json({}, 500)
    fault = await desk.fault(desk.op.provider(display_name="Bücher"))
    assert fault.message.startswith("house ")


async def test_no_more_than_64_sign_ins_wait_for_one_provider(desk: Desk) -> None:
    await desk.identify()
    gate = asyncio.Event()
    waiting, most = 0, 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        if waiting == calls.AT_ONCE_MAX:
            asyncio.get_running_loop().call_later(0.3, gate.set)  # time for one more, if more may come
        await gate.wait()
        waiting -= 1
        return await saying_json({"error": "server_error"}, 400)(request)

    desk.op.answers["/token"] = answer
    outcomes = await asyncio.gather(*(desk.identify() for _ in range(70)), return_exceptions=True)
    assert most == 64
    assert {getattr(outcome, "code", "") for outcome in outcomes} == {"provider_refused"}


async def test_who_finds_no_place_in_time_is_told_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.identify()
    monkeypatch.setattr(calls, "AT_ONCE_MAX", 1)
    monkeypatch.setattr(calls, "BUDGET_SECONDS", 0.2)
    gate = asyncio.Event()
    desk.op.answers["/token"] = held(gate, saying_json({}))
    faults = await asyncio.gather(desk.fault(), desk.fault())
    gate.set()
    assert [fault.code for fault in faults] == ["provider_unreachable"] * 2
    assert [fault.detail.count("wait for the provider") for fault in faults] == [0, 1]


# What is remembered


async def test_documents_are_fetched_once_for_all_who_wait(desk: Desk) -> None:
    await asyncio.gather(*(desk.identify() for _ in range(20)))
    assert desk.asked("/.well-known/openid-configuration") == desk.asked("/jwks") == 1


async def begun(desk: Desk, provider: Provider) -> str:
    return await desk.client.authorization_url(
        provider, redirect_uri=CALLBACK, state="st", nonce=NONCE, challenge="c"
    )


@pytest.mark.parametrize("wrong", ["issuer", "secret"])
async def test_an_app_that_is_set_up_wrongly_breaks_no_other(desk: Desk, wrong: str) -> None:
    """Both wait for one answer, or for the one that a slash at the end leads to as well."""
    gate = asyncio.Event()
    other = desk.op.provider(name="other", issuer=desk.op.base + "/")
    good = desk.op.provider()
    if wrong == "secret":
        desk.op.discovery["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
        other, good = desk.op.provider(name="other"), desk.op.provider(client_secret="")

    async def discovery(_: web.Request) -> web.Response:
        return web.json_response(desk.op.metadata())

    desk.op.answers["/.well-known/openid-configuration"] = held(gate, discovery)
    first = asyncio.create_task(begun(desk, other))
    while not desk.op.requests:
        await asyncio.sleep(0)
    second = asyncio.create_task(begun(desk, good))
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(ProviderFault) as caught:
        await first
    assert caught.value.code == "provider_metadata"
    assert (await second).startswith(f"{desk.op.base}/authorize?")


async def test_documents_are_good_for_an_hour(desk: Desk) -> None:
    await desk.identify()
    desk.now_ms += HOUR_MS - 1
    await desk.identify()
    assert desk.asked("/jwks") == 1
    desk.now_ms += 1
    await desk.identify()
    assert desk.asked("/.well-known/openid-configuration") == desk.asked("/jwks") == 2


async def test_a_clock_that_was_set_back_does_not_keep_documents_for_ever(desk: Desk) -> None:
    await desk.identify()
    desk.now_ms -= DAY_MS
    await desk.identify()
    assert desk.asked("/jwks") == 2


async def test_old_documents_serve_for_a_day_while_the_provider_is_silent(desk: Desk) -> None:
    await desk.identify()
    for path in ("/jwks", "/.well-known/openid-configuration"):
        desk.op.answers[path] = saying_json({}, 503)
    desk.now_ms += DAY_MS - 1
    assert await desk.identify()
    assert await desk.identify()
    assert desk.asked("/jwks") == 2  # and it is not asked again at once
    desk.now_ms += MINUTE_MS
    assert (await desk.fault()).code == "provider_unreachable"


async def test_a_document_that_cannot_be_used_does_not_replace_one_that_can(desk: Desk) -> None:
    await desk.identify()
    desk.op.discovery["issuer"] = "https://evil.example"
    desk.op.jwks = {"keys": []}
    desk.now_ms += 2 * HOUR_MS
    assert await desk.identify()


async def test_a_provider_that_hangs_holds_nobody_up_who_has_an_old_document(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "PATIENCE_SECONDS", 0.05)
    await desk.identify()
    gate = asyncio.Event()
    desk.op.answers["/jwks"] = held(gate, saying_json(desk.op.key_set()))
    desk.now_ms += 2 * HOUR_MS
    assert await desk.identify()
    gate.set()


async def test_a_new_key_is_found_at_once(desk: Desk) -> None:
    await desk.identify()
    desk.op.rotate("key-2")
    assert await desk.identify()
    assert desk.asked("/jwks") == 2


async def test_a_new_key_under_an_old_kid_is_found_too(desk: Desk) -> None:
    desk.op.jwks = {"keys": [signing_key("evil").as_dict(private=False, kid="key-1")]}
    fault = await desk.fault()
    assert (fault.code, desk.asked("/jwks")) == ("id_token_signature", 2)
    desk.op.jwks = None
    desk.now_ms += MINUTE_MS
    assert await desk.identify()


async def test_a_key_that_was_taken_back_is_good_for_an_hour_at_most(desk: Desk) -> None:
    await desk.identify()
    desk.op.rotate("key-2", keep=False)
    desk.op.forge = lambda claims: desk.op.sign(claims, key=signing_key("key-1"))
    assert await desk.identify()
    desk.now_ms += HOUR_MS
    assert (await desk.fault()).code == "id_token_key"


async def test_made_up_kids_fetch_keys_once_a_minute(desk: Desk) -> None:
    await desk.identify()
    desk.op.header["kid"] = "made-up"
    for _ in range(5):
        assert (await desk.fault()).code == "id_token_key"
    assert desk.asked("/jwks") == 2
    await asyncio.gather(*(desk.identify() for _ in range(5)), return_exceptions=True)
    assert desk.asked("/jwks") == 2
    desk.now_ms += MINUTE_MS
    await desk.fault()
    assert desk.asked("/jwks") == 3


async def test_keys_are_not_dropped_because_a_fetch_failed(desk: Desk) -> None:
    await desk.identify()
    desk.op.answers["/jwks"] = saying_json({}, 500)
    desk.op.header["kid"] = "made-up"
    assert (await desk.fault()).code == "id_token_key"
    desk.op.header = {}
    assert await desk.identify()


async def test_who_gives_up_does_not_end_it_for_the_others(desk: Desk) -> None:
    gate = asyncio.Event()
    desk.op.answers["/jwks"] = held(gate, saying_json(desk.op.key_set()))
    impatient = asyncio.create_task(desk.identify())
    patient = asyncio.create_task(desk.identify())
    while desk.asked("/jwks") == 0 or desk.asked("/token") < 2:
        await asyncio.sleep(0.001)
    impatient.cancel()
    gate.set()
    assert (await patient).subject == "ada-at-provider"
    assert desk.asked("/jwks") == 1


# Token exchange


def exchanging(desk: Desk, **given: Any) -> Provider:
    return desk.op.provider(**{"audiences": ("ios-app", "web-app")} | given)


async def exchange_fault(desk: Desk, provider: Provider, token: str, nonce: str | None = None) -> str:
    with pytest.raises(ProviderFault) as caught:
        await desk.client.identity_of_token(provider, token, nonce=nonce)
    return caught.value.code


async def test_a_token_of_a_listed_client_is_exchanged(desk: Desk) -> None:
    token = desk.op.sign(desk.op.claims(aud="ios-app", nonce="n"))
    identity = await desk.client.identity_of_token(exchanging(desk), token, nonce=None)
    assert (identity.subject, identity.email_trusted) == ("ada-at-provider", True)
    assert await desk.client.identity_of_token(exchanging(desk), token, nonce="n")
    assert await exchange_fault(desk, exchanging(desk), token, "m") == "id_token_nonce"
    assert desk.asked("/token") == desk.asked("/userinfo") == 0


async def test_a_token_of_any_other_client_is_not(desk: Desk) -> None:
    for changes, code in (
        ({"aud": CLIENT_ID}, "id_token_audience"),
        ({"aud": "web-app", "azp": "another"}, "id_token_azp"),
        ({"aud": ["web-app", "another"]}, "id_token_azp"),
    ):
        assert await exchange_fault(desk, exchanging(desk), desk.op.sign(desk.op.claims(**changes))) == code
    both = desk.op.sign(desk.op.claims(aud="web-app", azp="ios-app"))
    assert await desk.client.identity_of_token(exchanging(desk), both, nonce=None)


async def test_exchange_is_off_unless_clients_are_listed(desk: Desk) -> None:
    token = desk.op.sign(desk.op.claims())
    assert await exchange_fault(desk, desk.op.provider(), token) == "id_token_audience"
    plain = desk.op.oauth2(audiences=(CLIENT_ID,))
    assert await exchange_fault(desk, plain, token) == "id_token_audience"
    assert desk.op.requests == []


async def test_an_exchanged_token_is_as_young_as_a_day(desk: Desk) -> None:
    now = desk.now_ms // SECOND_MS
    token = desk.op.sign(desk.op.claims(aud="ios-app", iat=now - 90_000, exp=now + 90_000))
    assert await exchange_fault(desk, exchanging(desk), token) == "id_token_too_old"
    assert await exchange_fault(desk, exchanging(desk), "x" * 20_000) == "id_token_malformed"


# Examination


async def examined(desk: Desk, provider: Provider | None = None) -> dict[str, Finding]:
    findings: Sequence[Finding] = await desk.client.examine(
        provider or desk.op.provider(), redirect_uri=CALLBACK
    )
    assert all(finding.detail.endswith((".", CALLBACK, "?")) for finding in findings), findings
    return {finding.step: finding for finding in findings}


async def test_an_examination_finds_that_all_is_well(desk: Desk) -> None:
    found = await examined(desk)
    assert list(found) == ["people", "discovery", "keys", "authorization", "login"]
    assert all(finding.ok for finding in found.values()), found
    assert found["login"].detail == "The client id and its secret are accepted."


async def test_an_examination_of_github_reads_its_own_words(desk: Desk) -> None:
    desk.op.answers["/token"] = saying_json({"error": "bad_verification_code"})
    assert all(finding.ok for finding in (await examined(desk, desk.op.github())).values())
    desk.op.answers["/token"] = saying_json({"error": "incorrect_client_credentials"})
    found = await examined(desk, desk.op.github())
    assert (found["login"].ok, found["login"].detail) == (
        False,
        "The client id or its secret is wrong. Copy both from the provider again.",
    )


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (saying_json({"error": "invalid_client"}, 401), "client id or its secret is wrong"),
        (saying("", 401), "client id or its secret is wrong"),
        (saying_json({"error": "unauthorized_client"}, 400), "Allow it the authorization code flow"),
        (saying_json({"error": "redirect_uri_mismatch"}, 400), CALLBACK),
        (saying_json({"error": "invalid_request"}, 400), "invalid_request, and not with invalid_grant"),
        (saying("<html>", 404), "status 404, and not with invalid_grant"),
        (saying_json({"access_token": "a"}), "status 200, and not with invalid_grant"),
        (saying_json({}, 503), "status 503"),
    ],
)
async def test_a_dry_login_says_what_is_wrong(desk: Desk, answer: Any, named: str) -> None:
    desk.op.answers["/token"] = answer
    finding = (await examined(desk))["login"]
    assert not finding.ok
    assert named in finding.detail


@pytest.mark.parametrize(
    ("answer", "ok", "named"),
    [
        (saying("<html>Who are you?</html>"), True, "takes the request"),
        (leading_to("/login?client_id=notes"), True, "takes the request"),
        (leading_to(CALLBACK + "?error=login_required"), True, "takes the request"),
        (leading_to(CALLBACK + "?error=invalid_scope"), False, "(invalid_scope)"),
        (leading_to("/signin/oauth/error?authError=Cg"), False, "error page"),
        (saying("<html>AADSTS50011: The redirect URI</html>"), False, "AADSTS50011"),
        (saying("<html>", 400), False, "status 400"),
        (saying("", 404), False, "status 404"),
    ],
)
async def test_an_authorization_request_says_what_is_wrong(
    desk: Desk, answer: Any, ok: bool, named: str
) -> None:
    desk.op.answers["/authorize"] = answer
    finding = (await examined(desk))["authorization"]
    assert (finding.ok, named in finding.detail) == (ok, True)
    assert ok or CALLBACK in finding.detail


async def test_an_examination_ends_where_nothing_is_known(desk: Desk) -> None:
    desk.op.discovery["issuer"] = "https://evil.example"
    found = await examined(desk)
    assert list(found) == ["people", "discovery"]
    assert "https://evil.example" in found["discovery"].detail


async def test_an_examination_names_what_the_provider_lacks(desk: Desk) -> None:
    desk.op.discovery |= {
        "code_challenge_methods_supported": ["plain"],
        "id_token_signing_alg_values_supported": ["HS256"],
    }
    desk.op.jwks = {"keys": []}
    found = await examined(desk, desk.op.provider(scopes=("openid",)))
    assert {step: finding.ok for step, finding in found.items()} == {
        "people": False,
        "discovery": True,
        "pkce": False,
        "keys": False,
        "authorization": True,
        "login": True,
    }


async def test_an_examination_names_a_provider_that_lets_nobody_in(desk: Desk) -> None:
    assert not (await examined(desk, desk.op.provider(trusted_domains=())))["people"].ok
    by_subject = desk.op.provider(trusted_domains=(), person="subject")
    assert (await examined(desk, by_subject))["people"].ok


async def test_an_examination_does_not_believe_what_is_remembered(desk: Desk) -> None:
    await desk.identify()
    desk.op.jwks = {"keys": []}
    assert not (await examined(desk))["keys"].ok
    assert await desk.identify()
