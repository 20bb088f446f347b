"""The token request (RFC 6749 §4.1.3): what is sent for a code, and what is read of the answer. Pure."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec

from admit.accounts.providers import Provider
from admit.outbound.http import Reply
from admit.outbound.strict_json import Unreadable, read_object
from admit.signin.providers.apple_secret import client_secret
from admit.signin.providers.calls import object_in
from admit.signin.providers.faults import REFUSED, fault
from admit.signin.providers.metadata import Metadata

# RFC 6749 §5.2 would let any printable ASCII in; this is shown to people.
_ERROR = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_VISIBLE = re.compile(r"[\x21-\x7e]*")


class TokenRequest(msgspec.Struct, frozen=True):
    """A form and the headers that go with it."""

    body: bytes
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "TokenRequest()"


class Tokens(msgspec.Struct, frozen=True):
    """What the code was exchanged for; "" where there was none, or none that we know how to use."""

    id_token: str
    access_token: str

    def __repr__(self) -> str:
        return "Tokens()"


def token_request(
    provider: Provider, metadata: Metadata, *, code: str, redirect_uri: str, verifier: str, now: int
) -> TokenRequest:
    """The request for `code`; `now` in seconds. Raises ProviderFault where Apple's key cannot sign."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    secret = client_secret(provider, now) if provider.type == "apple" else provider.client_secret
    headers: dict[str, str] = {}
    if secret and metadata.secret_method == "basic":  # noqa: S105
        # Encoded first, so that a colon in the id and whatever is in the secret arrive (RFC 6749 §2.3.1).
        both = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = "Basic " + base64.b64encode(both.encode()).decode()
    else:
        form["client_id"] = provider.client_id
        if secret:
            form["client_secret"] = secret
    return TokenRequest(urlencode(form).encode(), headers)


def read_tokens(provider: Provider, reply: Reply) -> Tokens:
    """The tokens in `reply`. Raises ProviderFault: provider_refused where it says no (§5.2)."""
    if (error := error_in(reply)) is not None:
        detail = f"The token endpoint answered {error or 'an error'} with status {reply.status}."
        raise fault(provider, REFUSED, detail, error=error)
    answer = object_in(provider, reply, REFUSED, "The token endpoint")
    id_token = _text(answer, "id_token")
    if provider.speaks_oidc and not id_token:
        raise fault(provider, "id_token_missing", "The token endpoint answered without an ID token.")
    access_token = _text(answer, "access_token")
    # RFC 6749 §7.1: a token of a type that we do not know is not ours to use. It becomes part of a header.
    usable = _text(answer, "token_type", "bearer").lower() == "bearer" and _VISIBLE.fullmatch(access_token)
    return Tokens(id_token, access_token if usable else "")


def error_in(reply: Reply) -> str | None:
    """The OAuth error code that `reply` carries, "" for one that cannot be shown; None where it has none.

    GitHub answers errors with 200.
    """
    try:
        answer = {} if reply.truncated else read_object(reply.body)
    except Unreadable:
        return None
    if "error" not in answer:
        return None
    error = answer["error"]
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else ""


def _text(answer: Mapping[str, Any], name: str, default: str = "") -> str:
    value = answer.get(name, default)
    return value if isinstance(value, str) else ""
