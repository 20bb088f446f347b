"""How often the doors of an app may be used, and the headers that tell. The Dexie Cloud contract.

Counted per user, or per API client where one asks for itself; per network address where nobody says who asks.
"""

from collections.abc import Mapping
from typing import Literal

from admit.accounts.apps import App
from admit.accounts.tokens import AccessClaims
from admit.accounts.users import User
from admit.signin.email_addresses import network_of
from admit.signin.limits import Limit
from admit.web.errors import LimitReached
from admit.web.operations import Call

What = Literal["token", "sync", "read", "write"]


async def count_token(call: Call, app: App, user_id: str) -> None:
    """Counts one more set of tokens for `user_id`, who has been proven. Raises LimitReached.

    What strangers ask for in somebody's name is not counted here, so that they cannot keep anybody out:
    mails and guesses have limits of their own.
    """
    await _count(call, app, "token", f"user/{user_id}", call.gateway.limits.tokens_per_user)


async def count_sync(call: Call, app: App, user: User | None) -> Mapping[str, str]:
    """Counts a sync of `user`, None for a stranger's; returns the headers that tell. Raises LimitReached."""
    limits = call.gateway.limits
    if user is None:
        return await _count(call, app, "sync", _stranger(call), limits.syncs_eval)
    limit = limits.syncs_prod if user.type == "prod" else limits.syncs_eval
    return await _count(call, app, "sync", f"user/{user.user_id}", limit)


async def count_rest(call: Call, app: App, claims: AccessClaims | None, *, prod: bool) -> Mapping[str, str]:
    """Counts a call of the REST API, a GET as a read; returns the headers that tell. Raises LimitReached.

    `prod`: the figures of production users apply, as they do for the app's own programs and backends.
    """
    limits = call.gateway.limits
    who = _stranger(call) if claims is None else f"user/{claims.sub}"
    if call.operation.method == "GET":
        return await _count(call, app, "read", who, limits.reads_prod if prod else limits.reads_eval)
    return await _count(call, app, "write", who, limits.writes_prod if prod else limits.writes_eval)


async def count_client(call: Call, app: App, client_id: str) -> Mapping[str, str]:
    """Counts a call that an API client makes with its secret, as `count_rest` does those with its tokens."""
    limits, who = call.gateway.limits, f"user/{client_id}"
    if call.operation.method == "GET":
        return await _count(call, app, "read", who, limits.reads_prod)
    return await _count(call, app, "write", who, limits.writes_prod)


async def _count(call: Call, app: App, what: What, who: str, limit: Limit | None) -> Mapping[str, str]:
    """Nobody is limited who cannot be told apart, as behind a Unix socket without a proxy that is trusted."""
    if limit is None or not who:
        return {}
    standing = await call.gateway.meter.take(app.app_id, what, who, limit)
    headers = {
        "Ratelimit-Limit": str(standing.limit),
        "Ratelimit-Remaining": str(standing.remaining),
        "Ratelimit-Reset": str(standing.reset_seconds),
    }
    if not standing.passed:
        raise LimitReached(
            f"Too many requests: {limit.count} may be made within {limit.window_seconds} s. "
            f"Try again in {standing.reset_seconds} s.",
            retry_after_seconds=standing.reset_seconds,
            headers=headers,
        )
    return headers


def _stranger(call: Call) -> str:
    network = network_of(call.address)
    return f"address/{network}" if network else ""
