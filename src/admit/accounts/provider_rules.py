"""The rules that a provider of single sign-on must keep, with its presets filled in. Pure."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from admit.accounts.domains import parse_domain
from admit.accounts.providers import EVERY_DOMAIN, HOSTED_DOMAIN, Provider
from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.outbound.addresses import EgressPolicy

PROVIDERS_MAX = 20
NAME_CHARACTERS_MAX = 40
DISPLAY_NAME_CHARACTERS_MAX = 60
ICON_CHARACTERS_MAX = 16_000
ISSUER_CHARACTERS_MAX = 500
CLIENT_ID_CHARACTERS_MAX = 500
SECRET_CHARACTERS_MAX = 4_000
SCOPES_MAX = 30
SCOPE_CHARACTERS_MAX = 200
DOMAINS_MAX = 500
TENANTS_MAX = 200
AUDIENCES_MAX = 50
CLAIMS_MAX = 50
CLAIM_NAME_CHARACTERS_MAX = 64
CLAIM_PATH_CHARACTERS_MAX = 200

_RESERVED = """
    acting all api client client-credentials demo email email-code import operator otp sso token-exchange
    """
RESERVED_NAMES = frozenset(_RESERVED.split())
"""What is, or looks like, another way in. Those with an underscore are no names at all."""

_WITH_ID_TOKENS = ("google", "microsoft", "apple", "oidc")
_WITHOUT_ID_TOKENS = ("github", "oauth2")
TYPES_OF: Mapping[str, tuple[str, ...]] = {
    "team_id": ("apple",),
    "key_id": ("apple",),
    "tenants": ("microsoft",),
    "emails_endpoint": ("github",),
    "authorization_endpoint": _WITHOUT_ID_TOKENS,
    "token_endpoint": _WITHOUT_ID_TOKENS,
    "userinfo_endpoint": _WITHOUT_ID_TOKENS,
    "audiences": _WITH_ID_TOKENS,
    "response_mode": _WITH_ID_TOKENS,
}
"""The fields that only some types have, and which."""

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
_URLS = (*_ENDPOINTS, "emails_endpoint", "issuer")
_SECRET_NEEDED = ("google", "github")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_VISIBLE = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A.1 and A.2
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_APPLE_ID = re.compile(r"[A-Z0-9]{10}")
_CLAIM = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POINTER = re.compile(r"(/([^~/]|~[01])*)+")  # RFC 6901 §3
_PICTURE = re.compile(r"data:image/(gif|jpeg|png|svg\+xml|webp);base64,[A-Za-z0-9+/]+={0,2}")


def parse_provider_name(text: str) -> str:
    """Returns `text` where it may name a provider. Raises InvalidRequest with a sentence."""
    if len(text) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(text):
        raise InvalidRequest(
            f"{text[:80]!r} cannot name a provider. Use 1 to {NAME_CHARACTERS_MAX} lower-case letters, "
            "digits and hyphens, with no hyphen at the start."
        )
    if text in RESERVED_NAMES:
        raise InvalidRequest(f"{text!r} means another way in. Choose another name for the provider.")
    return text


def check_provider(provider: Provider, egress: EgressPolicy) -> Provider:
    """The normal form of `provider`. Without a display name it is shown by its name.

    Raises InvalidRequest with a sentence, also for a field that belongs to another type. Whether the names
    in its URLs lead to where `egress` lets us go is asked again at every dial.
    """
    parse_provider_name(provider.name)
    _refuse_strangers(provider)
    _check_urls(provider, egress)
    return replace(
        provider,
        display_name=_check_display_name(provider.display_name or provider.name),
        icon_url=_check_icon(provider.icon_url),
        issuer=_check_issuer(provider),
        client_id=_check_client_id(provider),
        client_secret=_check_apple(provider) if provider.type == "apple" else _check_secret(provider),
        scopes=_check_scopes(provider),
        trusted_domains=_check_domains(provider),
        tenants=_check_tenants(provider.tenants),
        audiences=_check_audiences(provider.audiences),
        claims=_check_claims(provider),
    )


def fault_among(provider: Provider, others: Iterable[Provider]) -> AdmitError | None:
    """Why `provider` cannot be beside `others`, which are all those of its app; None where it can."""
    known = list(others)
    if any(provider.name == each.name for each in known):
        return Conflict(
            f"There is a provider {provider.name!r} already. Change that one, or choose another name.",
            code="provider_name_taken",
        )
    if len(known) >= PROVIDERS_MAX:
        return Conflict(
            f"An app has at most {PROVIDERS_MAX} providers. Remove one first.", code="too_many_providers"
        )
    return fault_of_issuer(provider, known)


def fault_of_issuer(provider: Provider, others: Iterable[Provider]) -> AdmitError | None:
    """Why the issuer of `provider` must not be that of one of `others` too; None where it is not, or may be.

    An ID token says itself who has issued it. What is told without one is kept under an issuer of the
    operator's choice, and people of two providers must not be taken for one another.
    """
    for each in others:
        if each.issuer == provider.issuer and not (each.speaks_oidc and provider.speaks_oidc):
            return Conflict(
                f"The provider {each.name!r} has the issuer {provider.issuer} too, so that its people could "
                "be taken for those of this one. Give each an issuer of its own."
            )
    return None


def lets_nobody_new_in(provider: Provider) -> bool:
    """Whether only people come in by it who have before: no email of others is believed."""
    return provider.person == "email" and not provider.trusted_domains


def _refuse_strangers(provider: Provider) -> None:
    """A field that the type does not use was meant for something: say so rather than drop it."""
    plain = Provider(name="", type=provider.type, display_name="", issuer="", client_id="")
    for field, types in TYPES_OF.items():
        if provider.type not in types and getattr(provider, field) != getattr(plain, field):
            raise InvalidRequest(f"{field} belongs to {_listed(types)}, not to {provider.type}.")


def _check_urls(provider: Provider, egress: EgressPolicy) -> None:
    for field in _URLS:
        url = getattr(provider, field)
        if url and (refusal := egress.url_refusal(url)) is not None:
            raise InvalidRequest(f"{field}: {refusal}", code="url_refused")
    for field in () if provider.speaks_oidc else _ENDPOINTS:
        if not getattr(provider, field):
            raise InvalidRequest(
                f"A provider of the type {provider.type} needs {_listed(_ENDPOINTS, 'and')}; {field} is "
                "missing. One that has a discovery document is of the type oidc, and needs its issuer only."
            )


def _check_issuer(provider: Provider) -> str:
    issuer = provider.issuer
    if not issuer:
        raise InvalidRequest(
            f"A provider of the type {provider.type} needs an issuer, such as https://id.example.com: the "
            "address below which /.well-known/openid-configuration is."
        )
    if len(issuer) > ISSUER_CHARACTERS_MAX or "?" in issuer:
        raise InvalidRequest(
            f"An issuer is a URL of at most {ISSUER_CHARACTERS_MAX} characters without ?, such as "
            "https://id.example.com."
        )
    if not provider.speaks_oidc:
        issued, told = _host(issuer), _host(provider.userinfo_endpoint)
        if told != issued and not told.endswith(f".{issued}"):
            raise InvalidRequest(
                f"People are kept under the issuer {issuer}, but the userinfo_endpoint is at {told}. Give "
                f"the issuer, too: https://{told}, or the domain above it."
            )
    return issuer


def _check_display_name(text: str) -> str:
    if len(text) > DISPLAY_NAME_CHARACTERS_MAX or not text.isprintable() or text != text.strip():
        raise InvalidRequest(
            f"display_name is one line of at most {DISPLAY_NAME_CHARACTERS_MAX} characters, such as Google."
        )
    if "{" in text or "}" in text:  # the addon takes words in braces for names of values
        raise InvalidRequest("display_name has no braces: the dialog would show something else.")
    return text


def _check_icon(url: str) -> str:
    """Nobody but the browser fetches it."""
    if url and len(url) <= ICON_CHARACTERS_MAX and _PICTURE.fullmatch(url):
        return url
    if url and (refusal := EgressPolicy().url_refusal(url)) is not None:
        raise InvalidRequest(
            f"icon_url: {refusal} A picture can also stand in it, as data:image/svg+xml;base64,… of at most "
            f"{ICON_CHARACTERS_MAX} characters."
        )
    return url


def _check_client_id(provider: Provider) -> str:
    if not _is_visible(provider.client_id, CLIENT_ID_CHARACTERS_MAX):
        raise InvalidRequest(
            f"client_id is what {provider.display_name or provider.name} calls the app: 1 to "
            f"{CLIENT_ID_CHARACTERS_MAX} ASCII characters. It gives it when the app is registered there."
        )
    return provider.client_id


def _check_secret(provider: Provider) -> str:
    secret = provider.client_secret
    if not secret and provider.type in _SECRET_NEEDED:
        raise InvalidRequest(
            f"A provider of the type {provider.type} needs a client_secret. It is given with the client_id."
        )
    if secret and not _is_visible(secret, SECRET_CHARACTERS_MAX):
        raise InvalidRequest(
            f"client_secret is one line of at most {SECRET_CHARACTERS_MAX} ASCII characters, as the provider "
            "gives it; none for a public client."
        )
    return secret


def _check_apple(provider: Provider) -> str:
    """The key that signs Apple's client secrets."""
    for field in ("team_id", "key_id"):
        if not _APPLE_ID.fullmatch(getattr(provider, field)):
            raise InvalidRequest(
                f"{field} is ten capital letters and digits, as the account at developer.apple.com shows it."
            )
    if set(provider.scopes) - {"openid"} and provider.response_mode != "form_post":
        raise InvalidRequest("Apple tells name and email only with the response_mode form_post.")
    pem = provider.client_secret.strip()
    if len(pem) > SECRET_CHARACTERS_MAX or not _is_es256_key(pem):
        raise InvalidRequest(
            "The client_secret of an apple provider is its key: the .p8 file as it was downloaded, which "
            "begins with -----BEGIN PRIVATE KEY-----."
        )
    return pem


def _is_es256_key(pem: str) -> bool:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except Exception:  # the parser raises a dozen kinds
        return False
    return isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)


def _check_scopes(provider: Provider) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(provider.scopes))
    if len(scopes) > SCOPES_MAX:
        raise InvalidRequest(f"There are at most {SCOPES_MAX} scopes.")
    for each in scopes:
        if len(each) > SCOPE_CHARACTERS_MAX or not _SCOPE.fullmatch(each):
            raise InvalidRequest(f"{each[:80]!r} is no scope. Write scopes like openid, email and profile.")
    if provider.type in ("google", "microsoft", "oidc") and "openid" not in scopes:
        raise InvalidRequest("scopes must have openid in them: without it there is no ID token.")
    return scopes


def _check_domains(provider: Provider) -> tuple[str, ...]:
    given = tuple(each.strip() for each in provider.trusted_domains)
    if EVERY_DOMAIN in given:
        return (EVERY_DOMAIN,)
    if len(given) > DOMAINS_MAX:
        raise InvalidRequest(
            f"There are at most {DOMAINS_MAX} trusted_domains; {EVERY_DOMAIN} is all there are."
        )
    if HOSTED_DOMAIN in given and provider.type != "google":
        raise InvalidRequest(
            f"{HOSTED_DOMAIN!r} in trusted_domains is the domain that Google's claim hd names. "
            f"For {provider.type} write domains, such as example.com."
        )
    return tuple(dict.fromkeys(each if each == HOSTED_DOMAIN else parse_domain(each) for each in given))


def _check_tenants(tenants: tuple[str, ...]) -> tuple[str, ...]:
    if len(tenants) > TENANTS_MAX:
        raise InvalidRequest(f"There are at most {TENANTS_MAX} tenants.")
    checked = tuple(dict.fromkeys(each.strip().lower() for each in tenants))
    for each in checked:
        if not _GUID.fullmatch(each):
            raise InvalidRequest(
                f"{each[:80]!r} is no tenant. Write its id, such as 9188040d-6c67-4c5b-b112-36a304b66dad, as "
                "the Azure portal shows it."
            )
    return checked


def _check_audiences(audiences: tuple[str, ...]) -> tuple[str, ...]:
    if len(audiences) > AUDIENCES_MAX:
        raise InvalidRequest(f"There are at most {AUDIENCES_MAX} audiences.")
    for each in audiences:
        if not _is_visible(each, CLIENT_ID_CHARACTERS_MAX):
            raise InvalidRequest(
                f"An audience is the client_id by which an app of yours gets its ID tokens: 1 to "
                f"{CLIENT_ID_CHARACTERS_MAX} ASCII characters."
            )
    return tuple(dict.fromkeys(audiences))


def _check_claims(provider: Provider) -> dict[str, str]:
    if len(provider.claims) > CLAIMS_MAX:
        raise InvalidRequest(f"There are at most {CLAIMS_MAX} claims.")
    for name, path in provider.claims.items():
        if len(name) > CLAIM_NAME_CHARACTERS_MAX or not _CLAIM.fullmatch(name):
            raise InvalidRequest(
                f"{name[:80]!r} cannot name a claim. Use letters, digits and _, with no digit at the start."
            )
        if name == "sub" and provider.type != "oauth2":
            raise InvalidRequest(
                "sub is what the ID token says, and of github the number of the account, which nobody can "
                "change: only oauth2 may find it elsewhere."
            )
        if len(path) > CLAIM_PATH_CHARACTERS_MAX or not _is_path(path):
            raise InvalidRequest(
                f"{path[:80]!r} is no place of the claim {name}. Write names with dots between them, such as "
                "realm_access.roles, or a JSON pointer, such as /https:~1~1example.com~1groups."
            )
    return dict(provider.claims)


def _is_path(path: str) -> bool:
    if not path.isprintable():
        return False
    return bool(_POINTER.fullmatch(path)) if path.startswith("/") else all(path.split("."))


def _is_visible(text: str, characters_max: int) -> bool:
    return len(text) <= characters_max and bool(_VISIBLE.fullmatch(text)) and text == text.strip()


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").removesuffix(".")


def _listed(words: Iterable[str], last: str = "or") -> str:
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
