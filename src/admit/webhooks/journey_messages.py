"""What is sent to an endpoint of the format journeyapps: the payload and the signatures of JourneyApps.

The headers of Standard Webhooks go beside them.
"""

import hmac

import msgspec
from msgspec.structs import replace

from admit.clock import iso_date
from admit.data import journey_payload
from admit.events.examples import EXAMPLES
from admit.events.hook_filters import OfHook
from admit.events.log import Recorded
from admit.events.object_facts import ObjectReady, ObjectUpdated
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.journey_keys import JourneyKey

HMAC_HEADER = "X-Journey-Signature"
RSA_HEADER = "X-Journey-Signature-Rsa-Sha256"

_encode = msgspec.json.Encoder().encode


def body(recorded: Recorded, endpoint: Endpoint, *, app_name: str, server: str, test: bool) -> bytes:
    """The body that tells `recorded`: the same bytes for the same arguments. `server`: our host."""
    hook = endpoint.settings.filter.hook or OfHook(name="")
    return journey_payload.payload(
        recorded, hook, server=server, app=app_name, app_id=endpoint.app_id, test=test
    )


def sample(endpoint: Endpoint, *, app_name: str, server: str, event_id: str, now: int) -> bytes:
    """The body of an example of what the endpoint is told, happening at `now`."""
    settings = endpoint.settings
    example = EXAMPLES[settings.events[0]]
    if isinstance(example, ObjectReady | ObjectUpdated):
        model = settings.filter.hook.model if settings.filter.hook else ""
        told = {"id": "example", "type": model, "updated_at": iso_date(now)}
        example = replace(example, hook=settings.hook, model=model, object=msgspec.Raw(_encode(told)))
    data = msgspec.Raw(_encode(example))
    recorded = Recorded(0, event_id, settings.events[0], None, now, data)
    return body(recorded, endpoint, app_name=app_name, server=server, test=True)


def headers(endpoint: Endpoint, key: JourneyKey | None, sent: bytes) -> dict[str, str]:
    """The headers that sign the body `sent`.

    The HMAC is in hex, under the whole text of the present secret, as receivers for JourneyApps compute it.
    There is none where the receiver has no secret, but the public key of the endpoint. `key`: the app's.
    """
    found = {}
    present = endpoint.secrets[0]
    if present.kind == "hmac":
        found[HMAC_HEADER] = hmac.digest(present.text.encode(), sent, "sha256").hex()
    if key is not None:
        found[RSA_HEADER] = key.sign(sent)
    return found
