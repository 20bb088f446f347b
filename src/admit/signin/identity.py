"""What a provider says of a person. Issuer and subject say who it is; an email only where it is trusted."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A person at a provider, as its checked answers describe them.

    `email` is normalised, "" when unknown or no address. `email_verified`: the provider says that the person
    owns it; `email_trusted`: and it is believed about that domain. `claims`: those that the provider's
    mapping keeps, JSON values.
    """

    issuer: str
    subject: str
    email: str = ""
    email_verified: bool = False
    email_trusted: bool = False
    name: str = ""
    claims: Mapping[str, Any] = {}
