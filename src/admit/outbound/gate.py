"""Nothing leaves the house inside a transaction."""

from admit.errors import AdmitError
from admit.storage.transaction import unit_is_running


class OpenTransaction(AdmitError):
    """Something was to be sent inside a unit of work: a slow receiver would hold up every writer."""

    code = "open_transaction"


def refuse_inside_a_unit() -> None:
    """Raises OpenTransaction inside a unit of work."""
    if unit_is_running():
        raise OpenTransaction("Nothing may be sent while a transaction is open.")
