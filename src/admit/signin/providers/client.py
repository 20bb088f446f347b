"""Asking providers of single sign-on who somebody is."""

from collections.abc import Mapping
from typing import Any

import structlog

from admit.accounts.providers import Provider
from admit.clock import Clock
from admit.errors import ProviderFault
from admit.outbound.http import HttpClient, Reply
from admit.outbound.strict_json import Unreadable
from admit.signin.identity import Identity
from admit.signin.providers.authorization_request import authorization_url
from admit.signin.providers.calls import JSON, Budget, Calls
from admit.signin.providers.claims_mapping import mapped, subject_in, tells_email, wants_email
from admit.signin.providers.documents import ProviderDocuments
from admit.signin.providers.examination import Examination
from admit.signin.providers.examination import Finding as Finding
from admit.signin.providers.faults import REFUSED, fault, shown
from admit.signin.providers.id_token import Expected, IdToken, believed_claims, parse_id_token
from admit.signin.providers.metadata import Metadata, redirect_names_provider
from admit.signin.providers.token_request import Tokens, read_tokens, token_request
from admit.signin.providers.userinfo import (
    GITHUB,
    claims_of_github,
    claims_of_userinfo,
    is_refusal,
    userinfo_about,
)

KEYS_MAY_BE_OLD = ("id_token_key", "id_token_signature")

log = structlog.get_logger("admit.signin")


class ProviderClient:
    """Speaks with the providers of all apps, and remembers their metadata and keys. Close it at the end.

    Whatever goes wrong is a ProviderFault. One call takes 10 s at most.
    """

    def __init__(self, http: HttpClient, clock: Clock) -> None:
        self._calls = Calls(http)
        self._clock = clock
        self._documents = ProviderDocuments(self._calls, clock)

    async def close(self) -> None:
        """Ends what is being fetched."""
        await self._documents.close()

    async def authorization_url(
        self, provider: Provider, *, redirect_uri: str, state: str, nonce: str, challenge: str
    ) -> str:
        """Where a person proves to `provider` who they are. `challenge` is of PKCE's S256 (RFC 7636 §4.2)."""
        metadata = await self._documents.metadata(provider, Budget())
        return authorization_url(
            provider, metadata, redirect_uri=redirect_uri, state=state, nonce=nonce, challenge=challenge
        )

    async def identify(
        self,
        provider: Provider,
        *,
        code: str,
        redirect_uri: str,
        verifier: str,
        nonce: str,
        iss: str | None,
    ) -> Identity:
        """Who came back from `provider` with `code`. The others are what the redirect began with, and `iss`
        is what it ended with (RFC 9207)."""
        budget = Budget()
        metadata = await self._documents.metadata(provider, budget)
        if not redirect_names_provider(provider, metadata, iss):
            raise fault(provider, "issuer_mix_up", f"The redirect came back from {shown(iss)}.")
        async with self._calls.place(provider, budget):
            request = token_request(
                provider,
                metadata,
                code=code,
                redirect_uri=redirect_uri,
                verifier=verifier,
                now=self._seconds(),
            )
            reply = await self._calls.post(
                provider, metadata.token_endpoint, request.body, request.headers, budget.left()
            )
            tokens = read_tokens(provider, reply)
            if not provider.speaks_oidc:
                claims = await self._told(provider, metadata, tokens, budget)
                return self._identity(provider, claims, provider.issuer, subject_in(provider, claims))
            expected = Expected(
                issuer=metadata.issuer,
                clients=(provider.client_id,),
                nonce=nonce,
                access_token=tokens.access_token,
            )
            claims = await self._believed(provider, metadata, tokens.id_token, expected, budget)
            userinfo = None
            if wants_email(provider) and not tells_email(provider, claims):
                userinfo = await self._userinfo(provider, metadata, tokens, claims["sub"], budget)
        return self._identity(provider, claims, claims["iss"], claims["sub"], userinfo)

    async def identity_of_token(self, provider: Provider, token: str, *, nonce: str | None) -> Identity:
        """Whom the ID token speaks of that one of the clients `provider.audiences` was given.

        `nonce`: the one that client asked for, where it tells.
        """
        if not provider.audiences or not provider.speaks_oidc:
            raise fault(provider, "id_token_audience", "Its ID tokens are not exchanged: audiences is empty.")
        budget = Budget()
        metadata = await self._documents.metadata(provider, budget)
        expected = Expected(issuer=metadata.issuer, clients=provider.audiences, nonce=nonce)
        claims = await self._believed(provider, metadata, token, expected, budget)
        return self._identity(provider, claims, claims["iss"], claims["sub"])

    async def examine(self, provider: Provider, *, redirect_uri: str) -> list[Finding]:
        """What works of a sign-in with `provider`, and what does not, step by step. Nobody is signed in."""
        examination = Examination(self._calls, self._documents, provider, redirect_uri, self._seconds())
        return await examination.findings()

    async def _believed(
        self, provider: Provider, metadata: Metadata, text: str, expected: Expected, budget: Budget
    ) -> Mapping[str, Any]:
        token = _parsed(provider, text)
        keys = await self._documents.keys(provider, metadata, budget)
        try:
            return believed_claims(provider, token, keys, expected, self._seconds())
        except ProviderFault as error:
            if error.code not in KEYS_MAY_BE_OLD:
                raise
            newer = await self._documents.newer_keys(provider, metadata, keys, budget)
            if newer is None:
                raise
        return believed_claims(provider, token, newer, expected, self._seconds())

    async def _told(
        self, provider: Provider, metadata: Metadata, tokens: Tokens, budget: Budget
    ) -> Mapping[str, Any]:
        """What a provider without ID tokens says of whoever the access token belongs to."""
        if not tokens.access_token:
            raise fault(provider, REFUSED, "The token endpoint answered without a usable access token.")
        user = await self._get(provider, metadata.userinfo_endpoint, tokens, budget)
        if provider.type != "github":
            return claims_of_userinfo(provider, user)
        emails = None
        if provider.emails_endpoint:
            emails = await self._get(provider, provider.emails_endpoint, tokens, budget)
        return claims_of_github(provider, user, emails)

    async def _userinfo(
        self, provider: Provider, metadata: Metadata, tokens: Tokens, subject: str, budget: Budget
    ) -> Mapping[str, Any] | None:
        """What userinfo adds to an ID token; None where there is none, or it says no: the token is enough to
        know somebody by."""
        if not metadata.userinfo_endpoint or not tokens.access_token:
            return None
        reply = await self._get(provider, metadata.userinfo_endpoint, tokens, budget)
        if is_refusal(reply):
            log.warning("provider.userinfo_refused", provider=provider.name, status=reply.status)
            return None
        return userinfo_about(provider, subject, reply)

    async def _get(self, provider: Provider, url: str, tokens: Tokens, budget: Budget) -> Reply:
        headers = GITHUB if provider.type == "github" else JSON
        bearer = {**headers, "Authorization": f"Bearer {tokens.access_token}"}
        return await self._calls.get(provider, url, budget.left(), bearer)

    def _identity(
        self,
        provider: Provider,
        claims: Mapping[str, Any],
        issuer: str,
        subject: str,
        userinfo: Mapping[str, Any] | None = None,
    ) -> Identity:
        read = mapped(provider, claims, issuer=issuer, subject=subject, userinfo=userinfo)
        if read.left_out:
            log.warning("provider.claims_left_out", provider=provider.name, claims=read.left_out)
        return read.identity

    def _seconds(self) -> int:
        return self._clock() // 1_000


def _parsed(provider: Provider, text: str) -> IdToken:
    try:
        return parse_id_token(text)
    except Unreadable as error:
        raise fault(provider, "id_token_malformed", f"What should be an ID token {error}.") from None
