"""An entry: somebody with a proof at the door of an app, at one moment."""

import msgspec

from admit.accounts.apps import App, PolicySetting
from admit.enrollment.residents import Caller
from admit.signin.proof import Proof


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with a proof who wants in. `admission_id` is used if this entry opens an admission.

    `keyless` stands for the key of who has none: the same at every try of one request, and of no other.
    """

    app: App
    proof: Proof
    admission_id: str
    input_digest: str
    now: int
    lease_until: int
    refresh_until: int
    keyless: str = ""

    @property
    def policy(self) -> PolicySetting:
        """The rule for who comes in this way."""
        return self.app.policy_for(self.proof.way_in)

    @property
    def caller(self) -> Caller:
        """Whose proof it is at which door."""
        return self.app.app_id, self.proof
