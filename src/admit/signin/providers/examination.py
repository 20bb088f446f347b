"""`admit provider test`: walks a sign-in as far as it goes without a person, and says what is wrong."""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import msgspec

from admit.accounts.provider_rules import lets_nobody_new_in
from admit.accounts.providers import Provider
from admit.errors import ProviderFault
from admit.outbound.http import Reply
from admit.signin.providers.authorization_request import authorization_url
from admit.signin.providers.calls import Budget, Calls
from admit.signin.providers.documents import ProviderDocuments
from admit.signin.providers.id_token import ALGORITHMS
from admit.signin.providers.metadata import Metadata
from admit.signin.providers.token_request import error_in, token_request

MADE_UP = "admit-provider-test-this-is-not-a-real-value-0"
"""A code that no provider has given out; long enough for a verifier too (RFC 7636 §4.1)."""
WRONG_CODE = ("invalid_grant", "bad_verification_code")
WRONG_CLIENT = ("invalid_client", "incorrect_client_credentials")
NOBODY_IS_SIGNED_IN = (
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
)

_MICROSOFT_ERROR = re.compile(rb"AADSTS[0-9]{4,8}")


class Finding(msgspec.Struct, frozen=True):
    """What one step has shown. `detail` is a sentence: what works, or what is wrong and what to do."""

    step: str
    ok: bool
    detail: str


class Examination:
    """One walk. Nothing that is remembered is used, and what it fetches is remembered."""

    def __init__(
        self, calls: Calls, documents: ProviderDocuments, provider: Provider, redirect_uri: str, now: int
    ) -> None:
        self._calls = calls
        self._documents = documents
        self._provider = provider
        self._redirect_uri = redirect_uri
        self._now = now

    async def findings(self) -> list[Finding]:
        """Of every step that can be taken; those behind a broken one are left out."""
        found = [whom_it_leads_to(self._provider)]
        try:
            metadata = await self._documents.metadata(self._provider, Budget(), anew=True)
        except ProviderFault as error:
            return [*found, Finding("discovery", False, error.detail)]
        found += what_it_supports(self._provider, metadata)
        if self._provider.speaks_oidc:
            found.append(await _step("keys", self._keys, metadata))
        found.append(await _step("authorization", self._authorization, metadata))
        found.append(await _step("login", self._login, metadata))
        return found

    async def _keys(self, metadata: Metadata) -> Finding:
        keys = await self._documents.keys(self._provider, metadata, Budget(), anew=True)
        return Finding("keys", True, f"Its key set has {len(keys)} that can check ID tokens.")

    async def _authorization(self, metadata: Metadata) -> Finding:
        url = authorization_url(
            self._provider,
            metadata,
            redirect_uri=self._redirect_uri,
            state=MADE_UP,
            nonce=MADE_UP,
            challenge=MADE_UP[:43],
        )
        reply = await self._calls.get(self._provider, url, Budget().left(), {"Accept": "text/html"})
        return what_authorization_says(reply, self._redirect_uri)

    async def _login(self, metadata: Metadata) -> Finding:
        request = token_request(
            self._provider,
            metadata,
            code=MADE_UP,
            redirect_uri=self._redirect_uri,
            verifier=MADE_UP,
            now=self._now,
        )
        reply = await self._calls.post(
            self._provider, metadata.token_endpoint, request.body, request.headers, Budget().left()
        )
        return what_login_says(reply, self._provider, self._redirect_uri)


def whom_it_leads_to(provider: Provider) -> Finding:
    """Whether anybody at all can come in by this setting."""
    if provider.person == "subject":
        return Finding("people", True, "People are known by issuer and subject; their email joins nobody.")
    if lets_nobody_new_in(provider):
        return Finding(
            "people",
            False,
            "People are found by their email, and the provider is trusted about no domain, so nobody new can "
            "come in. Name the domains that it owns (--trust-email), or know people by the provider alone "
            "(--person subject).",
        )
    if provider.type not in ("github", "apple", "oauth2") and "email" not in provider.scopes:
        return Finding(
            "people", False, "People are found by their email, and the scope email is not asked for. Add it."
        )
    advice = ""
    if provider.type == "microsoft":
        advice = " Its app registration must add the optional claim xms_edov to ID tokens."
    return Finding(
        "people",
        True,
        f"Verified emails lead to people, for {', '.join(provider.trusted_domains)}.{advice}",
    )


def what_it_supports(provider: Provider, metadata: Metadata) -> list[Finding]:
    """What the provider says of itself, and what of it would be in the way."""
    told = f"Its issuer is {metadata.issuer}." if metadata.issuer else "It has no discovery, and needs none."
    found = [Finding("discovery", True, told)]
    if metadata.challenge_methods is not None and "S256" not in metadata.challenge_methods:
        found.append(
            Finding(
                "pkce", False, "It does not offer PKCE with S256, so a stolen code is of use. Turn it on."
            )
        )
    if metadata.algorithms is not None and not set(metadata.algorithms) & set(ALGORITHMS):
        offered = ", ".join(metadata.algorithms)[:100]
        found.append(
            Finding("keys", False, f"It signs ID tokens by {offered}. Let it sign them by RS256 or ES256.")
        )
    if metadata.response_modes is not None and provider.response_mode not in metadata.response_modes:
        found.append(
            Finding("discovery", False, f"It does not offer the response_mode {provider.response_mode}.")
        )
    return found


def what_authorization_says(reply: Reply, redirect_uri: str) -> Finding:
    """What the first answer to an authorization request shows; most providers ask for a password before
    they look any closer."""
    register = f"Check the client id, and register this redirect URI with the provider: {redirect_uri}"
    if reply.status >= 400:
        return Finding("authorization", False, f"It was refused with status {reply.status}. {register}")
    place = urlsplit(reply.headers.get("location", ""))
    told = parse_qs(place.query) | parse_qs(place.fragment)
    error = told.get("error", [""])[0]
    if error in NOBODY_IS_SIGNED_IN:
        error = ""
    if error or "authError" in told or place.path.rstrip("/").endswith("/error"):
        why = f" ({error[:60]})" if error.isascii() and error.isprintable() and error else ""
        return Finding("authorization", False, f"It leads to an error page{why}. {register}")
    if microsoft := _MICROSOFT_ERROR.search(reply.body):
        return Finding("authorization", False, f"It shows the error {microsoft[0].decode()}. {register}")
    return Finding("authorization", True, "The provider takes the request, as far as it looks at it yet.")


def what_login_says(reply: Reply, provider: Provider, redirect_uri: str) -> Finding:
    """What the answer to a made-up code shows: that the code is wrong is the right answer."""
    error = error_in(reply)
    if error in WRONG_CODE:
        told = "The client id and its secret are" if provider.client_secret else "The client id is"
        return Finding("login", True, f"{told} accepted.")
    if error in WRONG_CLIENT or reply.status == 401:
        return Finding(
            "login", False, "The client id or its secret is wrong. Copy both from the provider again."
        )
    if error == "unauthorized_client":
        return Finding("login", False, "The client may not use codes. Allow it the authorization code flow.")
    if error == "redirect_uri_mismatch":
        return Finding("login", False, f"Register this redirect URI with the provider: {redirect_uri}")
    answered = error or f"status {reply.status}"
    return Finding(
        "login",
        False,
        f"The token endpoint answered a made-up code with {answered}, and not with invalid_grant. Is it the "
        "right address?",
    )


async def _step(name: str, take: Callable[[Metadata], Awaitable[Finding]], metadata: Metadata) -> Finding:
    try:
        return await take(metadata)
    except ProviderFault as error:
        return Finding(name, False, error.detail)
