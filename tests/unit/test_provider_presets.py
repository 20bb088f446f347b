"""Presets make whole providers, and what is trusted by default is what is known to be true."""

from typing import Any, get_args

import pytest

from admit.accounts.provider_presets import preset
from admit.accounts.provider_rules import check_provider
from admit.accounts.providers import Provider, ProviderType
from admit.outbound.addresses import EgressPolicy
from tests.hostile_provider import signing_key

GIVEN: dict[str, dict[str, Any]] = {
    "google": {"client_secret": "secret"},
    "github": {"client_secret": "secret"},
    "microsoft": {"client_secret": "secret"},
    "apple": {
        "team_id": "ABCDE12345",
        "key_id": "KEY1234567",
        "client_secret": signing_key("apple", "ES256").as_pem(private=True).decode().strip(),
    },
    "oidc": {"issuer": "https://id.example.com", "display_name": "House"},
    "oauth2": {
        "issuer": "https://id.example.com",
        "display_name": "House",
        "authorization_endpoint": "https://id.example.com/authorize",
        "token_endpoint": "https://id.example.com/token",
        "userinfo_endpoint": "https://id.example.com/me",
    },
}


def provider(type: ProviderType) -> Provider:
    return Provider(**{"name": f"a-{type}", "type": type, "client_id": "notes"} | preset(type) | GIVEN[type])


@pytest.mark.parametrize("type", get_args(ProviderType))
def test_a_preset_and_what_only_the_operator_knows_make_a_provider(type: ProviderType) -> None:
    whole = provider(type)
    assert check_provider(whole, EgressPolicy()) == whole


def test_only_those_are_trusted_who_keep_the_mailbox_or_have_asked_its_owner() -> None:
    trusted = {type: provider(type).trusted_domains for type in get_args(ProviderType)}
    assert trusted == {
        "google": ("gmail.com", "googlemail.com", "hd"),
        "github": ("*",),
        "microsoft": (),
        "apple": ("*",),
        "oidc": (),
        "oauth2": (),
    }


def test_microsofts_email_is_not_verified_by_the_usual_claim() -> None:
    assert provider("microsoft").claims["email_verified"] == "xms_edov"


def test_apple_posts_its_answer() -> None:
    assert provider("apple").response_mode == "form_post"


def test_no_preset_lets_tokens_be_exchanged() -> None:
    assert {provider(type).audiences for type in get_args(ProviderType)} == {()}
