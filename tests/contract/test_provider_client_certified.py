"""The client of providers with npm's `oidc-provider`, which its makers have certified."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from admit import clock
from admit.accounts.provider_presets import preset
from admit.accounts.providers import Provider
from admit.errors import ProviderFault
from admit.outbound.addresses import EgressPolicy
from admit.outbound.http import HttpClient
from admit.signin.identity import Identity
from admit.signin.providers.client import ProviderClient
from tests.hostile_provider import challenge_of
from tests.identity_provider import SUB, Client, IdentityProvider

CALLBACK = "http://127.0.0.1:9/oauth/callback/house"
NONCE = "nonce-of-this-sign-in"
VERIFIER = "verifier-of-this-sign-in-which-has-43-letters-and-more"


@pytest.fixture
async def asking() -> AsyncIterator[ProviderClient]:
    http = HttpClient(EgressPolicy.parse("127.0.0.1,localhost"))
    client = ProviderClient(http, clock.now)
    yield client
    await client.close()
    await http.close()


def provider(there: IdentityProvider, client: Client, **given: Any) -> Provider:
    fields: dict[str, Any] = {"name": "house", "type": "oidc", "display_name": "House"}
    fields |= {"issuer": there.issuer, "trusted_domains": ("example.com",)}
    return Provider(
        **preset("oidc")
        | fields
        | {"client_id": client.client_id, "client_secret": client.client_secret}
        | given
    )


async def signed_in(
    asking: ProviderClient, there: IdentityProvider, setting: Provider, **changed: Any
) -> Identity:
    url = await asking.authorization_url(
        setting, redirect_uri=CALLBACK, state="state-1", nonce=NONCE, challenge=challenge_of(VERIFIER)
    )
    said = (await there.log_in(url)).says
    assert said["state"] == "state-1"
    back: dict[str, Any] = {"code": said["code"], "iss": said["iss"], "verifier": VERIFIER, "nonce": NONCE}
    return await asking.identify(setting, redirect_uri=CALLBACK, **back | changed)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_everybody_can_sign_in_however_the_client_proves_itself(
    asking: ProviderClient, identity_provider: IdentityProvider, method: str
) -> None:
    client = identity_provider.register(CALLBACK, token_endpoint_auth_method=method)
    setting = provider(identity_provider, client, claims={"department": "org.department"})
    assert await signed_in(asking, identity_provider, setting) == Identity(
        issuer=identity_provider.issuer,
        subject=SUB,
        email="ada@example.com",
        email_verified=True,
        email_trusted=True,
        name="Ada Lovelace",
        claims={"department": "Numbers"},
    )


async def test_what_the_id_token_lacks_is_at_the_userinfo_endpoint(
    asking: ProviderClient, identity_provider: IdentityProvider
) -> None:
    identity_provider.be_lean()
    setting = provider(identity_provider, identity_provider.register(CALLBACK))
    identity = await signed_in(asking, identity_provider, setting)
    assert (identity.email, identity.email_trusted, identity.name) == (
        "ada@example.com",
        True,
        "Ada Lovelace",
    )


async def test_a_rotation_that_forgets_the_old_keys_keeps_nobody_out(
    asking: ProviderClient, identity_provider: IdentityProvider
) -> None:
    setting = provider(identity_provider, identity_provider.register(CALLBACK))
    assert await signed_in(asking, identity_provider, setting)
    identity_provider.rotate_keys(keep=False)
    assert await signed_in(asking, identity_provider, setting)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"verifier": "another-verifier-which-has-at-least-43-letters"}, "provider_refused"),
        ({"nonce": "of another sign-in"}, "id_token_nonce"),
        ({"iss": "https://evil.example"}, "issuer_mix_up"),
        ({"iss": None}, "issuer_mix_up"),
    ],
)
async def test_what_does_not_belong_together_is_refused(
    asking: ProviderClient, identity_provider: IdentityProvider, changed: dict[str, Any], code: str
) -> None:
    setting = provider(identity_provider, identity_provider.register(CALLBACK))
    with pytest.raises(ProviderFault) as caught:
        await signed_in(asking, identity_provider, setting, **changed)
    assert caught.value.code == code


async def test_a_token_of_another_client_can_be_exchanged(
    asking: ProviderClient, identity_provider: IdentityProvider
) -> None:
    app = identity_provider.register(CALLBACK)
    setting = provider(identity_provider, identity_provider.register(CALLBACK), audiences=(app.client_id,))
    token = await identity_provider.id_token(app, nonce=NONCE)
    identity = await asking.identity_of_token(setting, token, nonce=NONCE)
    assert (identity.subject, identity.email_trusted) == (SUB, True)


async def test_an_examination_tells_a_good_setting_from_bad_ones(
    asking: ProviderClient, identity_provider: IdentityProvider
) -> None:
    client = identity_provider.register(CALLBACK)

    async def wrong(redirect_uri: str = CALLBACK, **given: Any) -> list[str]:
        found = await asking.examine(provider(identity_provider, client, **given), redirect_uri=redirect_uri)
        return [finding.step for finding in found if not finding.ok]

    assert await wrong() == []
    assert await wrong(client_secret="wrong") == ["login"]
    assert await wrong(client_id="nobody") == ["authorization", "login"]
    assert await wrong(redirect_uri="http://127.0.0.1:9/another") == ["authorization"]
    assert await wrong(issuer=identity_provider.issuer.replace("127.0.0.1", "localhost")) == ["discovery"]


async def test_the_state_arrives_unchanged(
    asking: ProviderClient, identity_provider: IdentityProvider
) -> None:
    setting = provider(identity_provider, identity_provider.register(CALLBACK))
    state = "a&b=c d+e%20/?#é"
    url = await asking.authorization_url(
        setting, redirect_uri=CALLBACK, state=state, nonce=NONCE, challenge=challenge_of(VERIFIER)
    )
    assert parse_qs(urlsplit(url).query)["state"] == [state]
    assert (await identity_provider.log_in(url)).says["state"] == state
