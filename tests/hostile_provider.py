"""A provider of single sign-on on the loopback: honest, until a test bends one of its answers.

    async with hostile_provider() as op:
        op.person["email"] = "grace@example.com"       # whom it knows
        op.changes["aud"] = "another-client"           # what its ID tokens say instead; DROPPED leaves it out
        op.header["kid"] = "../../dev/null"            # and their headers
        op.forge = op.unsigned                         # or how a token is made of its claims
        op.discovery["issuer"] = "https://evil.test"   # members of its documents
        op.answers["/token"] = flood                   # or the whole answer at a path
        provider = op.provider()                       # as an app has it (also .github(), .microsoft() …)

It plays OpenID Connect, Microsoft's tenants, GitHub and plain OAuth 2 at once. Nobody is asked anything:
/authorize redirects straight back. Codes are used once and are bound to redirect_uri and PKCE.
"""

import asyncio
import base64
import hashlib
import hmac
import html
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from admit.accounts.provider_presets import preset
from admit.accounts.providers import Provider

Key = RSAKey | ECKey | OKPKey
Claims = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

DROPPED: Any = object()
"""As a value in `changes`, `header`, `discovery` and so on: the member is left out."""
CLIENT_ID = "notes"
CLIENT_SECRET = "s3cret & +%:"  # must be encoded before it becomes a part of Basic
TENANT = "11111111-2222-3333-4444-555555555555"


def signing_key(kid: str = "key-1", alg: str = "RS256") -> Key:
    """A private key for this kid and algorithm: always the same one, as making it is slow."""
    return _made_key(kid, alg)


@lru_cache
def _made_key(kid: str, alg: str) -> Key:
    parameters: Any = {"kid": kid, "alg": alg, "use": "sig"}
    if alg.startswith("ES"):
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[alg]
        return ECKey.generate_key(curve, parameters)
    if alg in ("EdDSA", "Ed25519"):
        return OKPKey.generate_key("Ed25519", parameters)
    return RSAKey.generate_key(2048, parameters)


@dataclass
class Login:
    """What /authorize was asked for, which the token request must fit."""

    redirect_uri: str
    nonce: str | None
    challenge: str | None


@dataclass
class HostileProvider:
    """One provider. `requests` are the paths that were asked for, with their `headers`; `forms` the token
    requests. `takes` says which client secrets are right, `public` whether there need not be one."""

    base: str = ""
    keys: list[Key] = field(default_factory=lambda: [signing_key()])
    person: Claims = field(
        default_factory=lambda: {
            "sub": "ada-at-provider",
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada Example",
        }
    )
    github_user: Claims = field(
        default_factory=lambda: {"id": 4711, "login": "ada", "name": "Ada Example", "email": None}
    )
    github_emails: Any = field(
        default_factory=lambda: [
            {"email": "old@example.com", "primary": False, "verified": True},
            {"email": "ada@example.com", "primary": True, "verified": True},
        ]
    )
    discovery: Claims = field(default_factory=dict)
    jwks: Any = None
    changes: Claims = field(default_factory=dict)
    header: Claims = field(default_factory=dict)
    forge: Callable[[Claims], str] | None = None
    token_reply: Claims = field(default_factory=dict)
    userinfo: Claims = field(default_factory=dict)
    back: Claims = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    takes: Callable[[str], bool] = CLIENT_SECRET.__eq__
    public: bool = False
    seconds: Callable[[], float] = time.time
    requests: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    logins: dict[str, Login] = field(default_factory=dict)

    # As an app has it

    def provider(self, **given: Any) -> Provider:
        """Plain OpenID Connect, trusted for example.com."""
        fields: Claims = {
            "name": "house",
            "type": "oidc",
            "display_name": "House",
            "issuer": self.base,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "trusted_domains": ("example.com",),
        }
        return Provider(**preset("oidc") | fields | given)

    def microsoft(self, tenant: str = "common", **given: Any) -> Provider:
        """Microsoft's kind; `be_microsoft` makes the answers fit."""
        return self.provider(
            **preset("microsoft")
            | {"name": "microsoft", "type": "microsoft", "issuer": f"{self.base}/{tenant}/v2.0"}
            | given
        )

    def github(self, **given: Any) -> Provider:
        """GitHub's kind: no ID tokens, /user and /user/emails."""
        return self.provider(
            **preset("github")
            | {"name": "github", "type": "github", "issuer": self.base}
            | {"authorization_endpoint": f"{self.base}/authorize", "token_endpoint": f"{self.base}/token"}
            | {"userinfo_endpoint": f"{self.base}/user", "emails_endpoint": f"{self.base}/user/emails"}
            | given
        )

    def oauth2(self, **given: Any) -> Provider:
        """Plain OAuth 2 with a userinfo endpoint."""
        endpoints = {
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "userinfo_endpoint": f"{self.base}/userinfo",
        }
        return self.provider(**{"name": "plain", "type": "oauth2", "scopes": ()} | endpoints | given)

    def be_microsoft(self, tenant: str = TENANT) -> None:
        """Answers as Microsoft does for people of `tenant`: issuers are templates."""
        self.discovery["issuer"] = self.base + "/{tenantid}/v2.0"
        self.changes |= {"iss": f"{self.base}/{tenant}/v2.0", "tid": tenant}

    # Tokens

    def claims(self, **changes: Any) -> Claims:
        """The claims of an honest ID token, with `changes`."""
        now = int(self.seconds())
        honest = {"iss": self.base, "aud": CLIENT_ID, "iat": now, "exp": now + 300}
        return _changed(honest | self.person, self.changes | changes)

    def sign(self, claims: Claims, *, key: Key | None = None, header: Claims | None = None) -> str:
        """`claims` under `key`, or the newest one."""
        key = key or self.keys[-1]
        alg = str(key.alg)
        head = _changed({"alg": alg, "typ": "JWT", "kid": key.kid}, self.header | (header or {}))
        signed = f"{_part(head)}.{_part(claims)}"
        return f"{signed}.{encode(JWSRegistry.algorithms[alg].sign(signed.encode(), key))}"

    def unsigned(self, claims: Claims) -> str:
        """`alg: none`."""
        return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}."

    def confused(self, claims: Claims, *, key: Key | None = None) -> str:
        """HS256, with what everybody knows of the key pair as its secret."""
        key = key or self.keys[-1]
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{_part(claims)}"
        return f"{signed}.{encode(hmac.digest(key.as_pem(private=False), signed.encode(), 'sha256'))}"

    def rotate(self, kid: str, *, keep: bool = True, alg: str = "RS256") -> None:
        """Signs with a new key from now on, and forgets the old one unless `keep`."""
        self.keys = [*(self.keys if keep else []), signing_key(kid, alg)]

    def code(self, *, redirect_uri: str, nonce: str | None = None, verifier: str = "") -> str:
        """A code, as if somebody had been at /authorize."""
        code = f"code-{len(self.logins) + 1}-{len(self.forms)}"
        self.logins[code] = Login(redirect_uri, nonce, challenge_of(verifier) if verifier else None)
        return code

    # Doors

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        own = self.answers.get(request.path)
        if own is not None:
            return await own(request)
        if request.path.endswith("/.well-known/openid-configuration"):
            return web.json_response(self.metadata(request.path.rpartition("/.well-known/")[0]))
        match request.path:
            case "/jwks":
                return web.json_response(self.jwks if self.jwks is not None else self.key_set())
            case "/authorize":
                return self._authorize(request)
            case "/token":
                return await self._token(request)
            case "/userinfo":
                return web.json_response(_changed(self.person, self.userinfo))
            case "/user":
                return web.json_response(self.github_user)
            case "/user/emails":
                return web.json_response(self.github_emails)
            case _:
                return web.Response(status=404, text="nothing here")

    def metadata(self, path: str = "") -> Claims:
        """The discovery document of the issuer at `path`."""
        return _changed(
            {
                "issuer": self.base + path,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "userinfo_endpoint": f"{self.base}/userinfo",
                "jwks_uri": f"{self.base}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            },
            self.discovery,
        )

    def key_set(self) -> Claims:
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def _authorize(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        code = self.code(redirect_uri=asked["redirect_uri"], nonce=asked.get("nonce"))
        self.logins[code].challenge = asked.get("code_challenge")
        told = _changed({"code": code, "state": asked["state"]}, self.back)
        if asked.get("response_mode") == "form_post":
            inputs = "".join(
                f'<input type=hidden name="{name}" value="{html.escape(str(value))}">'
                for name, value in told.items()
            )
            form = f'<form method=post action="{html.escape(asked["redirect_uri"])}">{inputs}</form>'
            page = f"{form}<script>document.forms[0].submit()</script>"
            return web.Response(text=page, content_type="text/html")
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode(told)}")

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        login = self.logins.pop(form.get("code", ""), None)
        if login is None or not _fits(login, form):
            return web.json_response({"error": "invalid_grant"}, status=400)
        access_token = f"access-{len(self.forms)}"
        claims = self.claims() | ({"nonce": login.nonce} if login.nonce else {})
        claims = _changed(claims, self.changes)
        reply = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": (self.forge or self.sign)(claims),
        }
        return web.json_response(_changed(reply, self.token_reply))

    def _is_client(self, request: web.Request, form: dict[str, str]) -> bool:
        sent = request.headers.get("Authorization", "")
        if sent.startswith("Basic "):
            user, _, password = base64.b64decode(sent.removeprefix("Basic ")).decode().partition(":")
            return unquote_plus(user) == CLIENT_ID and self.takes(unquote_plus(password))
        secret = form.get("client_secret", "")
        return form.get("client_id") == CLIENT_ID and (self.takes(secret) if secret else self.public)


@asynccontextmanager
async def hostile_provider(port: int = 0) -> AsyncIterator[HostileProvider]:
    """A provider at a loopback port while the context lasts. EGRESS_ALLOW must name 127.0.0.1."""
    provider = HostileProvider()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", provider.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert site._server is not None
    provider.base = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield provider
    finally:
        await runner.cleanup()


# Answers


def saying(body: str | bytes, status: int = 200, **headers: str) -> Answer:
    """Answers with this body, whatever it is."""
    data = body.encode() if isinstance(body, str) else body

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=data, status=status, headers=headers, content_type="application/json")

    return answer


def saying_json(value: Any, status: int = 200) -> Answer:
    """Answers with this as JSON."""
    return saying(json.dumps(value), status)


def leading_to(url: str, status: int = 302) -> Answer:
    """Answers with a redirect."""
    return saying("{}", status, Location=url)


async def flood(request: web.Request) -> web.StreamResponse:
    """Answers with 200 MB."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        for _ in range(200):
            await response.write(b" " * 1_000_000)
    except ConnectionError:
        pass
    return response


async def drip(request: web.Request) -> web.StreamResponse:
    """Answers with a byte now and then, and never ends."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)
    except ConnectionError:
        return response


def held(gate: asyncio.Event, answer: Answer) -> Answer:
    """Answers once `gate` is set."""

    async def wait(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await answer(request)

    return wait


# JOSE by hand, so that it can be wrong


def encode(raw: bytes) -> str:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def challenge_of(verifier: str) -> str:
    """RFC 7636 §4.2: S256."""
    return encode(hashlib.sha256(verifier.encode()).digest())


def _part(value: Claims) -> str:
    return encode(json.dumps(value).encode())


def _changed(honest: Claims, changes: Claims) -> Claims:
    return {name: value for name, value in (honest | changes).items() if value is not DROPPED}


def _fits(login: Login, form: dict[str, str]) -> bool:
    return form.get("redirect_uri") == login.redirect_uri and (
        login.challenge is None or challenge_of(form.get("code_verifier", "")) == login.challenge
    )
