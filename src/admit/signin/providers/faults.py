"""What is said when a provider's answer cannot be used, to the person and to the log. Pure."""

from typing import Any, Final, Literal

from admit.accounts.providers import Provider
from admit.errors import ProviderFault

FaultCode = Literal[
    "provider_unreachable",
    "provider_refused",
    "provider_setting",
    "provider_metadata",
    "provider_keys",
    "issuer_mix_up",
    "id_token_missing",
    "id_token_malformed",
    "id_token_algorithm",
    "id_token_critical",
    "id_token_key",
    "id_token_signature",
    "id_token_issuer",
    "id_token_tenant",
    "id_token_audience",
    "id_token_azp",
    "id_token_nonce",
    "id_token_expired",
    "id_token_not_yet",
    "id_token_too_old",
    "id_token_subject",
    "id_token_at_hash",
    "userinfo_subject",
    "userinfo_malformed",
]
"""Which check has failed."""

UNREACHABLE: Final = "provider_unreachable"
REFUSED: Final = "provider_refused"
SETTING: Final = "provider_setting"
METADATA: Final = "provider_metadata"
KEYS: Final = "provider_keys"
USERINFO: Final = "userinfo_malformed"

SHOWN_CHARACTERS_MAX = 200


def fault(provider: Provider, code: FaultCode, detail: str, *, error: str = "") -> ProviderFault:
    """The ProviderFault of this code. `error` is an OAuth error code that the provider has answered."""
    return ProviderFault(_sentence(provider, code, error), code=code, detail=detail)


def restated(provider: Provider, found: ProviderFault) -> ProviderFault:
    """The fault `found`, which another app's sign-in met first, in the words of this one's."""
    return ProviderFault(_sentence(provider, found.code, ""), code=found.code, detail=found.detail)


def _sentence(provider: Provider, code: str, error: str) -> str:
    """What the person is told: ASCII, and free of whatever else the provider said. The addon shows it, and
    sorts it by the words in it."""
    who = called(provider)
    match code:
        case "provider_unreachable":
            return f"{who} does not answer at the moment. Try again soon, or sign in in another way."
        case "provider_refused":
            why = f" ({error})" if error else ""
            return f"{who} did not accept this sign-in{why}. Try again, or sign in in another way."
        case _:
            return f"The answer of {who} cannot be used ({code}). Try again, or sign in in another way."


def called(provider: Provider) -> str:
    """What people are told that the provider is called, in ASCII."""
    shown = provider.display_name
    return shown if shown and shown.isascii() and shown.isprintable() else provider.name


def shown(value: Any) -> str:
    """`value` as the log may have it: bounded, and on one line."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"
