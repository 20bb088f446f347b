"""What POST /token is asked: the fields of all grants, as JSON or, for single sign-on, as a form."""

from typing import Any

import msgspec

from admit.accounts.devices import DeviceSent
from admit.accounts.keys import PublicKey, parse_public_key
from admit.errors import InvalidRequest
from admit.signin.client_credentials import Claims
from admit.signin.proof import Intent
from admit.web.forms import is_form, read_form
from admit.web.operations import Call, read_body

AUTHORIZATION_CODE = "authorization_code"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  (RFC 8693 §2.1)
IN_FORMS = (AUTHORIZATION_CODE, TOKEN_EXCHANGE)
"""The grants that OAuth's own clients ask for, whose requests are forms (RFC 6749 §4.1.3)."""


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of all grants; each grant asks for those that it needs. Others are ignored.

    A client that cannot send `device` may send the headers X-Device-Id, X-Device-Label, X-Device-Platform.
    `scope` and `audience`, `resource` and the token types are those of RFC 8693.
    """

    grant_type: str
    scopes: tuple[str, ...] = ()
    public_key: str | None = None
    device: DeviceSent | None = None
    email: str | None = None
    demo_user: str | None = None
    enrollment_token: str | None = None
    intent: Intent | None = None
    otp: str | None = None
    otp_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    claims: Claims | None = None
    expires_in: str | int | None = None
    not_before: str | int | None = None
    refresh_token: str | None = None
    time_stamp: int | None = None
    signing_algorithm: str | None = None
    signature: str | None = None
    code: str | None = None
    code_verifier: str | None = None
    scope: str | None = None
    subject_token: str | None = None
    subject_token_type: str | None = None
    requested_token_type: str | None = None
    actor_token: str | None = None
    actor_token_type: str | None = None
    audience: str | None = None
    resource: str | None = None
    provider: str | None = None
    nonce: str | None = None


async def read_token_request(call: Call) -> TokenRequest:
    """What is asked. Raises InvalidRequest, and TooLarge."""
    if not is_form(call.header("content-type")):
        return await call.json(TokenRequest)
    fields = read_form(await read_body(call.request, call.operation.body_bytes_max))
    if fields.get("grant_type") not in IN_FORMS:
        raise InvalidRequest("This grant is asked for in JSON: Content-Type: application/json.")
    given = {name: value for name, value in fields.items() if value}  # RFC 6749 §3.2: "" is not sent
    try:
        return msgspec.convert(given, TokenRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not as it should be: {error}") from None


def needed(value: Any, name: str) -> Any:
    """`value`, which this grant needs. Raises InvalidRequest."""
    if value is None:
        raise InvalidRequest(f"{name} is missing.")
    return value


def key_of(request: TokenRequest) -> PublicKey | None:
    """The key of the device, where it has sent one. Raises InvalidRequest."""
    return None if request.public_key is None else parse_public_key(request.public_key)
