"""The sentence about what was just done, in a cookie that browsers keep."""

import msgspec
import pytest

from admit.storage.sealing import KeyRing
from admit.web.manager.toasts import Toast, Undo, read, written

RING = KeyRing((b"0123456789abcdef0123456789abcdef",))
SESSION = "opse_1"
COOKIE_BYTES_MAX = 4_096


def test_a_toast_comes_back_whole() -> None:
    toast = Toast("Work laptop is locked.", Undo("/apps/notes/people/ada/unlock", {"seen": "1"}))
    assert read(RING, SESSION, written(RING, SESSION, toast)) == toast


@pytest.mark.parametrize("length", [255, 5_000])
def test_what_is_too_long_for_a_cookie_is_said_without_its_way_back(length: int) -> None:
    name = "🙂" * length
    toast = Toast(f"{name} is locked.", Undo("/apps/notes/people/" + "%F0%9F%99%82" * length))
    value = written(RING, SESSION, toast)
    kept = read(RING, SESSION, value)
    assert len(value) < COOKIE_BYTES_MAX - 200
    assert kept is not None
    assert kept.undo is None
    assert kept.sentence.startswith(name[:255])


def test_a_toast_of_another_key_or_session_is_none_of_ours() -> None:
    value = written(RING, SESSION, Toast("All is well."))
    assert read(KeyRing((b"another-secret-key-0123456789012",)), SESSION, value) is None
    assert read(RING, "opse_2", value) is None
    assert read(RING, SESSION, msgspec.json.encode(Toast("All is well.")).decode()) is None
