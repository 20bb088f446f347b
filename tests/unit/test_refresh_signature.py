"""The signature of a refresh, byte by byte: contracts/dexie-cloud.md §2.

The vector was made by Web Crypto (Node 20) with the statements of dexie-cloud-addon 4.4.14, PEM included.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from admit.accounts.keys import parse_public_key, verify_rsa
from admit.signin.refresh import SignedRefresh, signed_bytes

VECTOR = json.loads((Path(__file__).parents[1] / "fixtures/refresh_signed_by_web_crypto.json").read_text())
PEM = parse_public_key(VECTOR.pop("public_key")).pem
SIGNED = SignedRefresh(**VECTOR)


def is_genuine(request: SignedRefresh) -> bool:
    return verify_rsa(PEM, signed_bytes(request), request.signature)


def test_a_signature_of_the_real_client_is_genuine() -> None:
    assert is_genuine(SIGNED)


@pytest.mark.parametrize(
    "changes",
    [
        {"time_stamp": SIGNED.time_stamp + 1},
        {"time_stamp": SIGNED.time_stamp // 1_000},
        {"refresh_token": SIGNED.refresh_token.upper()},
        {"signature": SIGNED.signature.rstrip("=")},
        {"signature": SIGNED.signature.replace("+", "-").replace("/", "_")},
        {"signature": SIGNED.signature + "\n"},
        {"signature": " " + SIGNED.signature[1:]},
        {"signature": ""},
    ],
)
def test_another_spelling_or_time_is_not_genuine(changes: dict[str, Any]) -> None:
    assert not is_genuine(replace(SIGNED, **changes))


@given(st.one_of(st.text(max_size=400), st.text("ABab01+/=\n", min_size=344, max_size=344)))
def test_no_text_is_a_signature_by_chance_or_an_error(signature: str) -> None:
    assert not is_genuine(replace(SIGNED, signature=signature))


@given(st.integers())
def test_one_time_alone_is_the_signed_one(time_stamp: int) -> None:
    assert is_genuine(replace(SIGNED, time_stamp=time_stamp)) is (time_stamp == SIGNED.time_stamp)
