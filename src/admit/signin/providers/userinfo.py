"""What a provider tells of a person beside an ID token: userinfo, and GitHub's two answers. Pure."""

from collections.abc import Mapping
from typing import Any

from admit.accounts.providers import Provider
from admit.outbound.http import Reply
from admit.outbound.strict_json import Unreadable, bytes_of, read_json
from admit.signin.providers.calls import object_in
from admit.signin.providers.faults import USERINFO, fault, shown

GITHUB = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


def is_refusal(reply: Reply) -> bool:
    """Whether userinfo is not for us, as far as it says: 429 only says when."""
    return 400 <= reply.status < 500 and reply.status != 429


def userinfo_about(provider: Provider, subject: str, reply: Reply) -> Mapping[str, Any]:
    """What userinfo says of the `sub` of an ID token. Raises ProviderFault where it is about somebody else:
    access tokens can be swapped (OpenID Connect Core 1.0 §5.3.2).
    """
    told = object_in(provider, reply, USERINFO, "The userinfo endpoint")
    if told.get("sub") != subject:
        raise fault(
            provider, "userinfo_subject", f"Userinfo is about {shown(told.get('sub'))}, the ID token is not."
        )
    return told


def claims_of_userinfo(provider: Provider, reply: Reply) -> Mapping[str, Any]:
    """What plain OAuth 2 tells of a person. Raises ProviderFault."""
    return object_in(provider, reply, USERINFO, "The userinfo endpoint")


def claims_of_github(provider: Provider, user: Reply, emails: Reply | None) -> Mapping[str, Any]:
    """GitHub's user in the words of OpenID Connect: `sub` is the number that stays when the login changes.

    The email is the primary one of the list `emails`, verified or not; the one in the profile is whatever
    the person likes to show. Raises ProviderFault.
    """
    told = object_in(provider, user, USERINFO, "The user endpoint")
    number = told.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise fault(provider, USERINFO, f"The user endpoint told no number as id, but {shown(number)}.")
    primary = _primary(provider, emails) if emails is not None else {}
    return {
        **told,
        "sub": str(number),
        "email": primary.get("email"),
        "email_verified": primary.get("verified"),
        "name": told.get("name") or told.get("login"),
    }


def _primary(provider: Provider, reply: Reply) -> Mapping[str, Any]:
    if reply.status != 200 or reply.truncated:
        raise fault(
            provider,
            USERINFO,
            f"The emails endpoint answered with status {reply.status}. Is the scope user:email asked for?",
        )
    try:
        listed = read_json(reply.body)
        bytes_of(listed)
    except Unreadable as error:
        raise fault(provider, USERINFO, f"The answer of the emails endpoint {error}.") from None
    if not isinstance(listed, list):
        raise fault(provider, USERINFO, "The answer of the emails endpoint is not a list.")
    primary = [each for each in listed if isinstance(each, dict) and each.get("primary") is True]
    return primary[0] if len(primary) == 1 else {}
