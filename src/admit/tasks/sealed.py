"""The sealed columns of this room that last, to be sealed anew when the keys are exchanged."""

from admit.storage.resealing import Sealed
from admit.tasks.tables import task_env


def place_of_variable(app_id: str, name: str) -> str:
    """Where the value of a variable is sealed for."""
    return f"task_env.sealed/{app_id}/{name}"


SEALED = (Sealed(task_env, place_of_variable),)
