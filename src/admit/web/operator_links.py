"""Where the one-time links of operators lead."""

from admit.config import Settings
from admit.gateway import Gateway
from admit.operators import links


def address_of(settings: Settings, token: str) -> str:
    """The address of the link with `token`."""
    return f"{settings.public_url}/manager/set-up/{token}"


async def for_first_owner(gateway: Gateway) -> str:
    """The link that sets up the first owner; "" where somebody has been set up."""
    now = gateway.clock()
    made = await gateway.db.write(lambda tx: links.for_first_owner(tx, gateway.ring, now))
    return "" if made is None else address_of(gateway.settings, made.token)
