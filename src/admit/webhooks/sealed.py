"""The sealed columns of this room that last, to be sealed anew when the keys are exchanged."""

from admit.storage.resealing import Sealed
from admit.webhooks.tables import endpoint_secrets, endpoints, journey_keys


def place_of_secret(app_id: str, endpoint_id: str, secret_id: str) -> str:
    """Where a secret of an endpoint is sealed for."""
    return f"endpoint_secrets.sealed/{app_id}/{endpoint_id}/{secret_id}"


def place_of_headers(app_id: str, endpoint_id: str) -> str:
    """Where the headers of an endpoint are sealed for."""
    return f"endpoints.sealed_headers/{app_id}/{endpoint_id}"


def place_of_journey_key(app_id: str, key_id: str) -> str:
    """Where an RSA key of an app is sealed for."""
    return f"journey_keys.sealed/{app_id}/{key_id}"


SEALED = (
    Sealed(journey_keys, place_of_journey_key),
    Sealed(endpoint_secrets, place_of_secret),
    Sealed(endpoints, place_of_headers, column="sealed_headers"),
)
