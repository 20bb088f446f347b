"""Public keys of devices: what is read, what is refused, and whose signature counts."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from admit.accounts.keys import parse_public_key, verify_rsa
from admit.errors import InvalidRequest

KEY = rsa.generate_private_key(65537, 2048)
PUBLISHED_KEY = """
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuxWpWMVqEqrRhe/2M5Am
6zZoYGsPD31mLdCTnwZ4ZHZGlS3DC4H8krkCUVHFFlNM42JybKCDEX3nVhLjwGY+
kJXTk3RiZx69Pv3Yyfh4dgm9N7d/jZnl4vKiiOG4xCS60DNQq1rxdgAwYNvFS9xi
wG0J3/ZXt/H/E6XHk1zYczhYPOedtQCCVQzgt6QgrTOFx6mP7GYCN9R+YiflIAPp
tEFAvan5Df/axVC/z97OU/Ps4GJnk4PRGkLfIvdluYNLXEE0uHi0lTqVy+5W//T5
q/ZM4miWuCVf6jHEjU+SjMS7pU+EbdWNHhaANREW8wbEOycptRYIbtu9OSGHVtE1
0wIDAQAB
-----END PUBLIC KEY-----
"""
MESSAGE = b"art_token1735689600000"


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def sign(message: bytes = MESSAGE, key: rsa.RSAPrivateKey = KEY) -> str:
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


def test_one_key_has_one_form_however_its_pem_is_wrapped() -> None:
    pem = pem_of(KEY)
    body = pem.replace("-----BEGIN PUBLIC KEY-----", "").replace("-----END PUBLIC KEY-----", "")
    unwrapped = f"-----BEGIN PUBLIC KEY-----\n{''.join(body.split())}\n-----END PUBLIC KEY-----"

    forms = {parse_public_key(form) for form in (pem, pem.strip(), pem.replace("\n", "\r\n"), unwrapped)}

    assert len(forms) == 1
    assert forms.pop().pem == pem


def test_thumbprint_is_the_sha256_of_the_spki() -> None:
    # openssl pkey -pubin -in key.pem -outform DER | openssl dgst -sha256 -binary | basenc --base64url
    assert parse_public_key(PUBLISHED_KEY).thumbprint == "CC_U25pAx2COm3Q29_in0UHJWHsEUwW68iBXp95M5Lk"


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "garbage",
        pem_of(ec.generate_private_key(ec.SECP256R1())),
        pem_of(rsa.generate_private_key(65537, 1024)),
        pem_of(rsa.generate_private_key(3, 2048)),
        pem_of(rsa.generate_private_key(65537, 5120)),
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode(),
        pem_of(KEY) + pem_of(KEY),
        pem_of(KEY) + "and more",
        pem_of(KEY).replace("\n", "\n!", 2),
        pem_of(KEY).replace("A", "\udc80", 1),
        pem_of(KEY) + "\n" * 3_000,
    ],
    ids=[
        "nothing",
        "garbage",
        "elliptic curve",
        "1024 bits",
        "exponent 3",
        "5120 bits",
        "PKCS 1",
        "two keys",
        "tail",
        "not base64",
        "surrogate",
        "too long",
    ],
)
def test_anything_but_one_sound_rsa_key_is_refused(pem: str) -> None:
    with pytest.raises(InvalidRequest, match="public_key must be one RSA key"):
        parse_public_key(pem)


def test_signature_of_the_key_counts_for_its_message_only() -> None:
    assert verify_rsa(parse_public_key(pem_of(KEY)).pem, MESSAGE, sign())
    assert not verify_rsa(pem_of(KEY), MESSAGE + b"1", sign())
    assert not verify_rsa(pem_of(rsa.generate_private_key(65537, 2048)), MESSAGE, sign())


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "A" * 344,
        sign()[:-4],
        sign() + "AAAA",
        sign().rstrip("="),
        "ä" * 344,
        "\udc80" * 344,
        "A" * 1_000_000,
        base64.b64encode(KEY.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA1())).decode(),
        base64.b64encode(
            KEY.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        ).decode(),
    ],
    ids=["empty", "zeros", "short", "long", "unpadded", "umlauts", "surrogates", "huge", "SHA-1", "PSS"],
)
def test_unreadable_or_foreign_signature_is_no_error_and_no_signature(signature: str) -> None:
    assert not verify_rsa(pem_of(KEY), MESSAGE, signature)
