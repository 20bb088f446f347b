"""The keys that verify what endpoints are sent, which anybody may read."""

from msgspec.structs import asdict
from starlette.responses import Response

from admit.outbound.signing import jwk_of
from admit.web.endpoint_types import WebhookKey, WebhookKeys
from admit.web.operations import Call, Operation
from admit.webhooks.journey_keys import RsaJwk
from admit.webhooks.secrets import Secret

KEYS_CACHE_SECONDS = 300


async def webhook_keys(call: Call) -> Response:
    """The public keys that verify what this app's endpoints are sent."""
    app, gateway = await call.app(), call.gateway
    now = gateway.clock()
    live = await gateway.book.public_keys(app.app_id, now)
    by_id: dict[str, WebhookKey | RsaJwk] = {key.kid: key for key in map(_published, live)}
    for key in await gateway.book.journey_keys(app.app_id):
        if key.is_published_at(now):
            by_id[key.public.kid] = key.public
    return call.answer(
        WebhookKeys([by_id[kid] for kid in sorted(by_id)]),
        headers={
            "Cache-Control": f"public, max-age={KEYS_CACHE_SECONDS}",
            # They are nobody's secret: any page may read them.
            "Access-Control-Allow-Origin": "*",
        },
    )


def _published(secret: Secret) -> WebhookKey:
    assert secret.public_key is not None
    return WebhookKey(**asdict(jwk_of(secret.text)), whpk=secret.public_key)


OPERATIONS = (
    Operation(
        method="GET",
        path="/{app}/.well-known/webhook-keys.json",
        handler=webhook_keys,
        summary="The Ed25519 and RSA keys that verify web hooks of the app (RFC 7517, RFC 8037)",
        access="open",
        answer=WebhookKeys,
    ),
)
