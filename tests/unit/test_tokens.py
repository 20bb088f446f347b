"""Access and refresh tokens: valid ones are read, and every forgery we know is refused."""

import base64
import hmac
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from admit.accounts import tokens
from admit.accounts.signing_keys import TOKEN_SECONDS_MAX, SigningKey, key_that_signs
from admit.accounts.tokens import Mint
from admit.errors import InvalidGrant, InvalidRequest, InvalidToken
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.signals import Signals

NOW = 1_800_000_000_000
SECONDS = NOW // 1_000
ISSUER = "https://login.example.com/demo"
HEADER: dict[str, object] = {"alg": "ES256", "typ": "at+jwt", "kid": "key_1"}
PERSON = {
    "sub": "ann@example.com",
    "scopes": ("ACCESS_DB",),
    "email": "ann@example.com",
    "name": "Ann",
    "license": "ok",
    "client_id": None,
    "sid": "ses_1",
}


def a_key(
    key_id: str = "key_1", generation: int = 1, signs_from: int = NOW, until: int | None = None
) -> SigningKey:
    private = ECKey.generate_key("P-256", {"kid": key_id, "use": "sig", "alg": "ES256"})
    return SigningKey(
        key_id=key_id, generation=generation, private=private, signs_from=signs_from, published_until=until
    )


KEY = a_key()
RING = KeyRing.parse("a-secret-key-of-the-token-tests-0123")


def a_mint(*keys: SigningKey, clock: Callable[[], int] = lambda: NOW, ring: KeyRing = RING) -> Mint:
    mint = Mint(cast(Database, SimpleNamespace(signals=Signals())), ring, clock, 3_600, 180)
    mint._take(keys or (KEY,))
    return mint


def a_token(**more: Any) -> str:
    return a_mint().access(app_id="app_1", issuer=ISSUER, claims=PERSON, **more).token


def signed(claims: dict[str, object], header: dict[str, object] = HEADER, key: ECKey | None = None) -> str:
    registry = jws.JWSRegistry(strict_check_header=False)
    text = json.dumps(claims)
    return jws.serialize_compact(
        header, text, key or KEY.private, algorithms=[str(header["alg"])], registry=registry
    )


def encode(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(claims: dict[str, object], secret: bytes) -> str:
    text = f"{encode({**HEADER, 'alg': 'HS256'})}.{encode(claims)}"
    return f"{text}.{encode(hmac.digest(secret, text.encode(), 'sha256'))}"


def good_claims(**changed: object) -> dict[str, object]:
    claims = {"iss": ISSUER, "aud": "app_1", "sub": "ann", "iat": SECONDS, "exp": SECONDS + 60, "jti": "1"}
    return {name: value for name, value in (claims | changed).items() if value is not None}


def refusal(token: str, mint: Mint | None = None, app_id: str = "app_1") -> str:
    with pytest.raises(InvalidToken) as caught:
        (mint or a_mint()).verify(token, app_id=app_id)
    return caught.value.message


def test_token_says_what_it_was_given_and_nothing_that_is_unknown() -> None:
    minted = a_mint().access(app_id="app_1", issuer=ISSUER, claims=PERSON)

    claims = a_mint().verify(minted.token, app_id="app_1")

    assert (claims.sub, claims.scopes, claims.sid, claims.license) == (
        "ann@example.com",
        ("ACCESS_DB",),
        "ses_1",
        "ok",
    )
    assert (claims.iat, claims.exp, minted.expires_at_ms) == (SECONDS, SECONDS + 3_600, NOW + 3_600_000)
    assert "client_id" not in json.loads(bytes(claims.raw))


def test_backends_read_our_tokens_by_the_published_keys_alone() -> None:
    keys = KeySet.import_key_set(cast(Any, a_mint().jwks()))

    token = jwt.decode(a_token(), keys, algorithms=["ES256"])

    assert token.header == HEADER
    jwt.JWTClaimsRegistry(
        now=SECONDS, iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": "app_1"}
    ).validate(token.claims)
    assert all("d" not in key for key in a_mint().jwks()["keys"])


def test_two_tokens_of_one_person_and_moment_differ() -> None:
    assert a_token() != a_token()


def test_claims_cannot_replace_what_the_mint_vouches_for() -> None:
    forged = {"iss": "x", "aud": "app_2", "exp": 2**40, "jti": "1", "iat": 0, "sub": "ann"}

    token = a_mint().access(app_id="app_1", issuer=ISSUER, claims=forged).token

    claims = a_mint().verify(token, app_id="app_1")
    assert (claims.aud, claims.exp) == ("app_1", SECONDS + 3_600)


def test_token_works_in_its_own_app_only() -> None:
    """Even if app 2 has got the address that app 1 had: the issuer in the token is that address."""
    assert "another app" in refusal(a_token(), app_id="app_2")


def test_token_outlives_a_change_of_address() -> None:
    token = a_mint().access(app_id="app_1", issuer="https://former.example.com", claims=PERSON).token
    assert a_mint().verify(token, app_id="app_1").sub == PERSON["sub"]


def test_token_ends_on_the_second() -> None:
    token = a_token(expires_in_seconds=10)
    a_mint(clock=lambda: NOW + 9_999).verify(token, app_id="app_1")
    assert "expired" in refusal(token, a_mint(clock=lambda: NOW + 10_000))


def test_token_for_later_begins_later_and_lives_as_long() -> None:
    token = a_token(expires_in_seconds=10, not_before_ms=NOW + 59_001)
    assert "not valid yet" in refusal(token, a_mint(clock=lambda: NOW + 59_999))
    a_mint(clock=lambda: NOW + 60_000).verify(token, app_id="app_1")
    assert "expired" in refusal(token, a_mint(clock=lambda: NOW + 70_000))


def test_clocks_of_two_servers_may_differ_by_a_minute() -> None:
    a_mint(clock=lambda: NOW - 60_000).verify(a_token(), app_id="app_1")
    assert "not valid yet" in refusal(a_token(), a_mint(clock=lambda: NOW - 61_000))


@pytest.mark.parametrize(
    "wish",
    [
        {"expires_in_seconds": 0},
        {"expires_in_seconds": -5},
        {"expires_in_seconds": TOKEN_SECONDS_MAX + 1},
        {"expires_in_seconds": TOKEN_SECONDS_MAX, "not_before_ms": NOW + 60_000},
        {"not_before_ms": NOW + TOKEN_SECONDS_MAX * 1_000},
    ],
)
def test_no_token_outlives_its_key(wish: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        a_token(**wish)


FORGERIES = {
    "alg none": f"{encode({**HEADER, 'alg': 'none'})}.{encode(good_claims())}.",
    "alg none with signature": f"{encode({**HEADER, 'alg': 'none'})}.{encode(good_claims())}.{'A' * 86}",
    "HS256 with the public key as secret": hs256(good_claims(), KEY.private.as_pem(private=False)),
    "RS256": signed(good_claims(), {**HEADER, "alg": "RS256"}, cast(ECKey, RSAKey.generate_key(2048))),
    "same kid, other key": signed(good_claims(), key=ECKey.generate_key("P-256")),
    "kid unknown": signed(good_claims(), {**HEADER, "kid": "key_2"}),
    "kid a path": signed(good_claims(), {**HEADER, "kid": "../../dev/null"}),
    "kid absent": signed(good_claims(), {"alg": "ES256", "typ": "at+jwt"}),
    "own jwk in the header": signed(
        good_claims(), {**HEADER, "jwk": ECKey.generate_key("P-256").as_dict(private=False)}
    ),
    "jku": signed(good_claims(), {**HEADER, "jku": "https://evil.example/jwks"}),
    "typ of an id token": signed(good_claims(), {**HEADER, "typ": "JWT"}),
    "typ absent": signed(good_claims(), {"alg": "ES256", "kid": "key_1"}),
    "crit": f"{encode({**HEADER, 'crit': ['exp'], 'exp': 1})}.{encode(good_claims())}.{'A' * 86}",
    "b64 false": f"{encode({**HEADER, 'b64': False, 'crit': ['b64']})}.{encode(good_claims())}.{'A' * 86}",
    "header written otherwise": f"{encode(json.dumps(HEADER, indent=1).encode())}."
    f"{'.'.join(signed(good_claims()).split('.')[1:])}",
    "header twice": signed(good_claims()).replace(".", "..", 1),
    "a fourth part": signed(good_claims()) + ".x",
    "JSON serialization": json.dumps({"payload": "", "signatures": []}),
    "signature of another token": a_token().rpartition(".")[0] + "." + a_token().rpartition(".")[2],
    "signature zero": a_token().rpartition(".")[0] + "." + "A" * 86,
    "signature in DER": a_token().rpartition(".")[0] + "." + encode(b"0\x06\x02\x01\x01\x02\x01\x01"),
    "signature cut": a_token()[:-1],
    "signature padded": a_token() + "==",
    "signature with a newline": a_token() + "\n",
    "not ASCII": a_token().replace(".", ".ä", 1),
    "surrogate": a_token().replace(".", ".\udc80", 1),
    "too long": signed(good_claims(email="x" * 20_000)),
    "empty": "",
    "dots": "..",
    "aud a list": signed(good_claims(aud=["app_1", "app_2"])),
    "aud absent": signed(good_claims(aud=None)),
    "exp absent": signed(good_claims(exp=None)),
    "exp a text": signed(good_claims(exp=str(SECONDS + 60))),
    "sub absent": signed(good_claims(sub=None)),
    "payload no object": f"{signed(good_claims()).split('.')[0]}.{encode([1])}.{'A' * 86}",
    "a refresh token": a_mint().refresh(app_id="app_1", session_id="ses_1", expires_at=NOW + 60_000),
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES.keys())
def test_forged_token_is_refused(token: str) -> None:
    refusal(token)


def test_the_forgeries_fail_for_what_they_change_alone() -> None:
    a_mint().verify(signed(good_claims()), app_id="app_1")


def test_a_signature_has_one_spelling() -> None:
    head, _, signature = a_token().rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in alphabet:
        if last != signature[-1]:
            refusal(f"{head}.{signature[:-1]}{last}")


def test_refresh_token_tells_its_session_until_it_expires() -> None:
    token = a_mint().refresh(app_id="app_1", session_id="ses_1", expires_at=NOW + 1)

    claims = a_mint().read_refresh(token)

    assert (claims.app_id, claims.session_id, claims.expires_at) == ("app_1", "ses_1", NOW + 1)
    with pytest.raises(InvalidGrant, match="expired"):
        a_mint(clock=lambda: NOW + 1).read_refresh(token)


def test_refresh_token_survives_a_change_of_the_secret_key() -> None:
    token = a_mint().refresh(app_id="app_1", session_id="ses_1", expires_at=NOW + 60_000)
    newer = KeyRing((b"a-newer-secret-key-0123456789012", *RING.keys))
    other = KeyRing((b"another-secret-key-0123456789012",))

    assert a_mint(ring=newer).read_refresh(token).session_id == "ses_1"
    with pytest.raises(InvalidGrant):
        a_mint(ring=other).read_refresh(token)


def _refresh_forgeries() -> dict[str, str]:
    token = a_mint().refresh(app_id="app_1", session_id="ses_1", expires_at=NOW + 60_000)
    body, _, mac = token.partition(".")
    other = f"art_{encode(b'app_1.ses_2.9999999999999.x')}"
    purpose = RING.mac("operator-command", body.encode())
    return {
        "empty": "",
        "prefix alone": "art_",
        "no mac": body,
        "empty mac": body + ".",
        "other session": f"{other}.{mac}",
        "mac of another purpose": f"{body}.{encode(purpose)}",
        "mac cut": token[:-1],
        "mac padded": token + "=",
        "mac in another spelling": token[:-1] + chr(ord(token[-1]) + 1),
        "not ASCII": "art_ä." + mac,
        "surrogate": "art_\udc80." + mac,
        "too long": "art_" + "A" * 20_000 + "." + mac,
        "an access token": a_token(),
    }


@pytest.mark.parametrize("token", _refresh_forgeries().values(), ids=_refresh_forgeries().keys())
def test_forged_refresh_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidGrant):
        a_mint().read_refresh(token)


def test_newest_key_signs_as_soon_as_its_time_has_come() -> None:
    old, new = a_key("key_1", 1, NOW - 90), a_key("key_2", 2, NOW)

    assert key_that_signs((old, new), NOW - 1) is old
    assert key_that_signs((old, new), NOW) is new


def test_first_key_signs_even_where_the_clock_runs_late() -> None:
    first = a_key(signs_from=NOW)
    assert key_that_signs((first,), NOW - 10_000) is first


def test_tokens_of_the_former_key_stay_valid_and_both_are_published() -> None:
    new = a_key("key_2", 2, NOW)
    both = a_mint(KEY, new)

    both.verify(a_token(), app_id="app_1")

    assert [key["kid"] for key in both.jwks()["keys"]] == ["key_1", "key_2"]


def test_ended_key_is_published_no_more() -> None:
    mint = a_mint(a_key("key_1", 1, NOW - 90, until=NOW), a_key("key_2", 2, NOW - 50))
    assert [key["kid"] for key in mint.jwks()["keys"]] == ["key_2"]


def test_a_token_that_was_believed_is_looked_at_again_each_time() -> None:
    now = [NOW]
    mint, token = a_mint(clock=lambda: now[0]), a_token()
    assert mint.verify(token, app_id="app_1") == mint.verify(token, app_id="app_1")
    assert "another app" in refusal(token, mint, "app_2")
    assert refusal(token[:-1] + ("A" if token[-1] != "A" else "Q"), mint)
    now[0] += 3_600_000
    assert "expired" in refusal(token, mint)


def test_a_token_that_was_believed_goes_with_its_key() -> None:
    mint, token = a_mint(), a_token()
    mint.verify(token, app_id="app_1")
    mint._take((a_key("key_2", 2, NOW),))
    assert "not signed by a key of this server" in refusal(token, mint)


def test_no_more_tokens_are_believed_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "BELIEVED_MAX", 2)
    mint, several = a_mint(), [a_token() for _ in range(5)]
    for token in (*several, *several):
        mint.verify(token, app_id="app_1")
    assert list(mint._believed) == several[-2:]
    long = signed(good_claims(name="a" * tokens.BELIEVED_CHARACTERS_MAX))
    mint.verify(long, app_id="app_1")
    assert long not in mint._believed


def test_secrets_are_not_in_what_a_log_would_print() -> None:
    minted = a_mint().access(app_id="app_1", issuer=ISSUER, claims=PERSON)
    assert minted.token not in repr(minted)
    assert "PRIVATE" not in repr(KEY)
    assert str(KEY.private.as_dict(private=True)["d"]) not in repr(KEY)
