"""Keys for objects that came without one, of the form that the addon makes: a prefix, the time, chance.

They sort by when they were made: six bytes of time and twelve of chance in a base64 whose characters stand in
the order of their codes. The last three characters are those of the realm.
"""

from admit import clock

ALPHABET = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
TIME_BYTES = 6
CHANCE_BYTES = 12
SHARD_CHARACTERS = 3


def new_key(prefix: str, realm_id: str, at_ms: int) -> str:
    """A key for an object in the realm that is called `realm_id`. `at_ms`: one more for each of a batch."""
    number = int.from_bytes(at_ms.to_bytes(TIME_BYTES) + clock.random_bytes(CHANCE_BYTES))
    digits = range((TIME_BYTES + CHANCE_BYTES) * 8 // 6 - 1, -1, -1)
    text = "".join(ALPHABET[number >> 6 * digit & 63] for digit in digits)
    return prefix + text + realm_id[-SHARD_CHARACTERS:]
