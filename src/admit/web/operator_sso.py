"""The provider that OPERATOR_SSO names: it vouches for operators, so only owners may say which it is."""

from admit.accounts.apps import App
from admit.accounts.providers import Provider
from admit.errors import NotFound
from admit.gateway import Gateway
from admit.operators import tokens
from admit.operators.tokens import OperatorToken

APP_ID_PREFIX = "app_"


async def vouching_provider(gateway: Gateway) -> Provider | None:
    """The provider. None: there is none, or one that speaks no OpenID, or answers by a form."""
    app, name = await _named(gateway)
    provider = None if app is None else app.providers.get(name)
    if provider is None or not provider.speaks_oidc or provider.response_mode != "query":
        return None
    return provider


async def require_owner(
    gateway: Gateway, token: OperatorToken, app: App, *, provider: str | None = None, becomes: str = ""
) -> None:
    """Raises Forbidden where a change would say who vouches for operators, and `token` may not change those.

    Whoever sets that provider up could become any of them. `provider`: the one that changes; without it the
    names of `app` change. `becomes`: its new name.
    """
    vouching, name = await _named(gateway)
    is_the_one = vouching is not None and vouching.app_id == app.app_id and provider in (None, name)
    if is_the_one or (becomes and becomes == gateway.settings.operator_sso.partition("/")[0]):
        tokens.require(token, "operators:write", app.app_id)


async def _named(gateway: Gateway) -> tuple[App | None, str]:
    app, _, provider = gateway.settings.operator_sso.partition("/")
    if not app:
        return None, ""
    directory = gateway.directory
    try:
        found = await (directory.app_by_id(app) if app.startswith(APP_ID_PREFIX) else directory.app(app))
    except NotFound:
        return None, provider
    return found, provider
