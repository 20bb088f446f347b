"""What the structs of the catalog have in common."""

from typing import Annotated

import msgspec
from msgspec import Meta

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Members(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """JSON in which what does not apply is absent."""
