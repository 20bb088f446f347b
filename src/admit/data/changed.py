"""What was written, as those see it who are told of it. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from admit.data.authors import Author as Author

PUBLIC = "rlm-public"
"""The realm whose objects everybody may read."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """An object that was written. `realm`: as it is stored, `realm_id`: as clients call it.

    `value`: as it is now, None: it was deleted; `before`: as it was, None: it was not there. `updates`: by
    paths, what was set to which value (`{"$t":"undefined"}`: removed), of the type update. `now`: UTC ms.
    """

    app_id: str
    realm: str
    realm_id: str
    author: Author
    table: str
    key: str
    type: Literal["upsert", "update", "delete"]
    value: Mapping[str, Any] | None
    before: Mapping[str, Any] | None
    updates: Mapping[str, Any] | None = None
    now: int

    @property
    def created(self) -> bool:
        """Whether the object was not there before."""
        return self.before is None and self.value is not None
