"""Standard Webhooks 1.0.0, checked by the published library and around its traps."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from admit import clock
from admit.outbound import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
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


@pytest.mark.parametrize("message_id", ["", "adm.1", "adm 1\n", "ädm"])
def test_message_id_that_would_blur_the_signed_text_is_not_signed(message_id: str) -> None:
    with pytest.raises(ValueError, match="message id"):
        signing.headers([SECRET], message_id, 1, BODY)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", "whsec_" + "A" * 100])
def test_broken_secret_is_complained_of_without_being_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="signing secret") as caught:
        signing.headers([secret], "adm_1", 1, BODY)

    assert secret.removeprefix("whsec_") not in str(caught.value) or secret == "whsec_"


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="without a secret"):
        signing.headers([], "adm_1", 1, BODY)
