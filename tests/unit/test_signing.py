"""Standard Webhooks 1.0.0, checked by the published library and around its traps."""

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from admit import clock
from admit.outbound import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# The key of the example in the standard's text, which is the one of a test of Svix.
SEED = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="
PRIVATE_KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
BODY = b'{"userId":"alice@example.com","email":"alice@example.com"}'


def now_seconds() -> int:
    return clock.now() // 1_000


def test_signature_of_the_published_vector() -> None:
    signed = signing.headers([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("private_key", [PRIVATE_KEY, "whsk_" + SEED], ids=["pair", "seed alone"])
def test_asymmetric_signature_of_the_published_vector(private_key: str) -> None:
    signed = signing.headers(
        [private_key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )

    assert signed["webhook-signature"] == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )
    assert signing.public_key_of(private_key) == PUBLIC_KEY


def test_key_set_names_a_key_by_its_thumbprint() -> None:
    """RFC 8037, appendices A.2 and A.3."""
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")

    jwk = signing.jwk_of("whsk_" + base64.b64encode(seed).decode())

    assert (jwk.crv, jwk.use) == ("Ed25519", "sig")
    assert msgspec.to_builtins(jwk)["kty"] == "OKP"
    assert jwk.x == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert jwk.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@given(st.binary(max_size=200))
def test_public_key_verifies_any_body_and_no_other(body: bytes) -> None:
    private_key, seconds = signing.new_private_key(), now_seconds()

    signed = signing.headers([private_key], "evt_1", seconds, body)["webhook-signature"]

    verify_asymmetric(signing.public_key_of(private_key), signed, f"evt_1.{seconds}.".encode() + body)
    with pytest.raises(InvalidSignature):
        verify_asymmetric(signing.public_key_of(private_key), signed, f"evt_2.{seconds}.".encode() + body)
    with pytest.raises(InvalidSignature):
        verify_asymmetric(PUBLIC_KEY, signed, f"evt_1.{seconds}.".encode() + body)


def verify_asymmetric(public_key: str, signature: str, signed: bytes) -> None:
    version, _, value = signature.partition(",")
    assert version == "v1a"
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    key.verify(base64.b64decode(value, validate=True), signed)


def test_both_kinds_sign_one_request_each_behind_one_space() -> None:
    old, new, seconds = signing.new_secret(), signing.new_secret(), now_seconds()
    private_key = signing.new_private_key()

    signed = signing.headers([new, private_key, old], "evt_1", seconds, BODY)

    signatures = signed["webhook-signature"].split(" ")
    assert [each.partition(",")[0] for each in signatures] == ["v1", "v1a", "v1"]
    Webhook(new).verify(BODY, signed)
    Webhook(old).verify(BODY, signed)
    verify_asymmetric(signing.public_key_of(private_key), signatures[1], f"evt_1.{seconds}.".encode() + BODY)


@given(st.binary(max_size=200).map(lambda raw: base64.b64encode(raw)))
def test_published_library_verifies_any_body(body: bytes) -> None:
    secret = signing.new_secret()

    Webhook(secret).verify(
        b'"' + body + b'"', signing.headers([secret], "adm_1", now_seconds(), b'"' + body + b'"')
    )


def test_published_library_signs_the_same() -> None:
    secret, seconds = signing.new_secret(), now_seconds()

    ours = signing.headers([secret], "adm_1", seconds, BODY)["webhook-signature"]

    assert ours == Webhook(secret).sign("adm_1", datetime.fromtimestamp(seconds, UTC), BODY.decode())


def test_old_and_new_secret_both_verify_during_an_exchange() -> None:
    old, new = signing.new_secret(), signing.new_secret()

    signed = signing.headers([new, old], "adm_1", now_seconds(), BODY)

    assert len(signed["webhook-signature"].split(" ")) == 2
    Webhook(new).verify(BODY, signed)
    Webhook(old).verify(BODY, signed)


def test_foreign_secret_other_body_other_id_and_old_time_do_not_verify() -> None:
    secret = signing.new_secret()
    signed = signing.headers([secret], "adm_1", now_seconds(), BODY)
    stale = signing.headers([secret], "adm_1", now_seconds() - 301, BODY)

    for key, body, headers in (
        (signing.new_secret(), BODY, signed),
        (secret, BODY + b" ", signed),
        (secret, BODY, signed | {"webhook-id": "adm_2"}),
        (secret, BODY, stale),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, headers)


def test_new_secrets_differ_and_hold_256_bits() -> None:
    secrets = {signing.new_secret() for _ in range(50)}

    assert len(secrets) == 50
    assert all(len(base64.b64decode(each.removeprefix("whsec_"), validate=True)) == 32 for each in secrets)


def test_new_private_keys_differ_and_hold_their_public_half() -> None:
    keys = {signing.new_private_key() for _ in range(50)}

    assert len(keys) == 50
    for each in keys:
        pair = base64.b64decode(each.removeprefix("whsk_"), validate=True)
        assert "whpk_" + base64.b64encode(pair[32:]).decode() == signing.public_key_of(each)


@pytest.mark.parametrize("message_id", ["", "adm.1", "adm 1\n", "ädm"])
def test_message_id_that_would_blur_the_signed_text_is_not_signed(message_id: str) -> None:
    with pytest.raises(ValueError, match="message id"):
        signing.headers([SECRET], message_id, 1, BODY)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", "whsec_" + "A" * 100])
def test_broken_secret_is_complained_of_without_being_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="signing secret") as caught:
        signing.headers([secret], "adm_1", 1, BODY)

    assert secret.removeprefix("whsec_") not in str(caught.value) or secret == "whsec_"


@pytest.mark.parametrize(
    "key",
    [
        "whsk_",
        "whsk_c2hvcnQ=",
        "whsk_!!!!",
        "whsk_äöü",
        "whsk_" + "A" * 84 + "AA==",
        PRIVATE_KEY[:-3] + "A==",
        PRIVATE_KEY[:-2],
    ],
    ids=["empty", "short", "no base64", "no ASCII", "long", "another's public half", "no padding"],
)
def test_broken_private_key_is_complained_of_without_being_shown(key: str) -> None:
    for use in (signing.public_key_of, signing.jwk_of, lambda each: signing.headers([each], "e", 1, BODY)):
        with pytest.raises(ValueError, match="private signing key") as caught:
            use(key)
        assert key.removeprefix("whsk_") not in str(caught.value) or key == "whsk_"


@pytest.mark.parametrize("key", [PUBLIC_KEY, "whsec_" + SEED, SECRET])
def test_key_of_another_kind_is_no_private_key(key: str) -> None:
    with pytest.raises(ValueError, match="private signing key"):
        signing.public_key_of(key)


def test_public_key_signs_nothing() -> None:
    with pytest.raises(ValueError, match="signing secret"):
        signing.headers([PUBLIC_KEY], "evt_1", 1, BODY)


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="without a secret"):
        signing.headers([], "adm_1", 1, BODY)
