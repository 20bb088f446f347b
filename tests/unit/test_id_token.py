"""ID tokens: each way in which one can be wrong, and the code that tells it from the others."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from admit.accounts.provider_presets import CONSUMERS_TENANT
from admit.accounts.providers import Provider
from admit.errors import ProviderFault
from admit.outbound.strict_json import Unreadable
from admit.signin.providers.id_token import (
    AGE_SECONDS_MAX,
    CLOCK_SKEW_SECONDS,
    Expected,
    believed_claims,
    parse_id_token,
)
from admit.signin.providers.keys import ProviderKey, read_keys
from tests.hostile_provider import (
    CLIENT_ID,
    DROPPED,
    TENANT,
    Claims,
    HostileProvider,
    encode,
    signing_key,
)

NOW = 1_800_000_000
NONCE = "a-nonce-of-this-sign-in"
ISSUER = "https://id.example.com"


def the_provider() -> HostileProvider:
    op = HostileProvider(base=ISSUER, seconds=lambda: NOW)
    op.changes["nonce"] = NONCE
    return op


def expected(**given: Any) -> Expected:
    return Expected(**{"issuer": ISSUER, "clients": (CLIENT_ID,), "nonce": NONCE} | given)


def read(
    token: str,
    *,
    op: HostileProvider | None = None,
    provider: Provider | None = None,
    wanted: Expected | None = None,
    keys: tuple[ProviderKey, ...] | None = None,
    now: int = NOW,
) -> Any:
    op = op or the_provider()
    provider = provider or op.provider()
    keys = keys if keys is not None else read_keys(provider, op.key_set())
    return believed_claims(provider, parse_id_token(token), keys, wanted or expected(), now)


def fault_of(token: str, **given: Any) -> str:
    with pytest.raises(ProviderFault) as caught:
        read(token, **given)
    assert caught.value.message.isascii()
    assert caught.value.detail
    return caught.value.code


# What is believed


def test_an_honest_token_is_believed() -> None:
    op = the_provider()
    assert read(op.sign(op.claims()))["sub"] == "ada-at-provider"


@pytest.mark.parametrize(
    "alg",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
)
def test_every_algorithm_that_is_allowed_is_understood(alg: str) -> None:
    op = the_provider()
    op.keys = [signing_key("key-1", alg)]
    assert read(op.sign(op.claims()), op=op)["sub"] == "ada-at-provider"


def test_a_token_without_kid_is_checked_by_the_only_key() -> None:
    op = the_provider()
    op.header["kid"] = DROPPED
    assert read(op.sign(op.claims()), op=op)


def test_an_authorized_party_may_be_named() -> None:
    op = the_provider()
    assert read(op.sign(op.claims(aud=[CLIENT_ID, "other"], azp=CLIENT_ID)))


def test_no_nonce_is_compared_where_none_was_agreed_upon() -> None:
    op = the_provider()
    assert read(op.sign(op.claims()), wanted=expected(nonce=None))


# What is not


ATTACKS: dict[str, tuple[Callable[[HostileProvider], str], str]] = {
    "alg none": (lambda op: op.unsigned(op.claims()), "id_token_algorithm"),
    "alg none in other letters": (
        lambda op: op.sign(op.claims(), header={"alg": "nOnE"}),
        "id_token_algorithm",
    ),
    "alg none above a signature": (
        lambda op: op.sign(op.claims(), header={"alg": "none"}),
        "id_token_algorithm",
    ),
    "HS256 with the public key": (lambda op: op.confused(op.claims()), "id_token_algorithm"),
    "no alg": (lambda op: op.sign(op.claims(), header={"alg": DROPPED}), "id_token_algorithm"),
    "alg that is a list": (lambda op: op.sign(op.claims(), header={"alg": ["RS256"]}), "id_token_algorithm"),
    "another algorithm of the same key": (
        lambda op: op.sign(op.claims(), header={"alg": "PS256"}),
        "id_token_key",
    ),
    "an algorithm of other keys": (lambda op: op.sign(op.claims(), header={"alg": "ES256"}), "id_token_key"),
    "crit": (lambda op: op.sign(op.claims(), header={"crit": ["exp"]}), "id_token_critical"),
    "crit b64": (
        lambda op: op.sign(op.claims(), header={"crit": ["b64"], "b64": False}),
        "id_token_critical",
    ),
    "unknown kid": (lambda op: op.sign(op.claims(), header={"kid": "key-2"}), "id_token_key"),
    "kid with a path": (
        lambda op: op.sign(op.claims(), header={"kid": "../../../../dev/null"}),
        "id_token_key",
    ),
    "kid with a query": (lambda op: op.sign(op.claims(), header={"kid": "x' OR '1'='1"}), "id_token_key"),
    "kid that is a number": (lambda op: op.sign(op.claims(), header={"kid": 1}), "id_token_malformed"),
    "signed by another key of the same kid": (
        lambda op: op.sign(op.claims(), key=signing_key("evil"), header={"kid": "key-1"}),
        "id_token_signature",
    ),
    "own key in jwk": (
        lambda op: op.sign(
            op.claims(),
            key=signing_key("evil"),
            header={"kid": "key-1", "jwk": signing_key("evil").as_dict(private=False)},
        ),
        "id_token_signature",
    ),
    "own key in jku": (
        lambda op: op.sign(op.claims(), key=signing_key("evil"), header={"jku": "https://evil.example/jwks"}),
        "id_token_key",
    ),
    "own key in x5u": (
        lambda op: op.sign(op.claims(), key=signing_key("evil"), header={"x5u": "https://evil.example/c"}),
        "id_token_key",
    ),
    "an access token": (lambda op: op.sign(op.claims(), header={"typ": "at+jwt"}), "id_token_malformed"),
    "a logout token by its type": (
        lambda op: op.sign(op.claims(), header={"typ": "application/logout+jwt"}),
        "id_token_malformed",
    ),
    "a logout token by its content": (
        lambda op: op.sign(op.claims(events={"http://schemas.openid.net/event/backchannel-logout": {}})),
        "id_token_malformed",
    ),
    "another issuer": (lambda op: op.sign(op.claims(iss="https://evil.example")), "id_token_issuer"),
    "the issuer with a slash": (lambda op: op.sign(op.claims(iss=ISSUER + "/")), "id_token_issuer"),
    "no issuer": (lambda op: op.sign(op.claims(iss=DROPPED)), "id_token_issuer"),
    "issuers in a list": (lambda op: op.sign(op.claims(iss=[ISSUER])), "id_token_issuer"),
    "another audience": (lambda op: op.sign(op.claims(aud="another-client")), "id_token_audience"),
    "an audience that begins alike": (
        lambda op: op.sign(op.claims(aud=CLIENT_ID[:-1])),
        "id_token_audience",
    ),
    "no audience": (lambda op: op.sign(op.claims(aud=DROPPED)), "id_token_audience"),
    "an empty audience": (lambda op: op.sign(op.claims(aud=[])), "id_token_audience"),
    "an audience that is an object": (
        lambda op: op.sign(op.claims(aud={CLIENT_ID: 1})),
        "id_token_audience",
    ),
    "several audiences": (lambda op: op.sign(op.claims(aud=[CLIENT_ID, "other"])), "id_token_azp"),
    "another authorized party": (lambda op: op.sign(op.claims(azp="another-client")), "id_token_azp"),
    "an authorized party that is a list": (
        lambda op: op.sign(op.claims(aud=[CLIENT_ID, "other"], azp=[CLIENT_ID])),
        "id_token_azp",
    ),
    "another nonce": (lambda op: op.sign(op.claims(nonce="of another sign-in")), "id_token_nonce"),
    "no nonce": (lambda op: op.sign(op.claims(nonce=DROPPED)), "id_token_nonce"),
    "a nonce that is a list": (lambda op: op.sign(op.claims(nonce=[NONCE])), "id_token_nonce"),
    "expired": (
        lambda op: op.sign(op.claims(iat=NOW - 900, exp=NOW - CLOCK_SKEW_SECONDS)),
        "id_token_expired",
    ),
    "no end": (lambda op: op.sign(op.claims(exp=DROPPED)), "id_token_malformed"),
    "an end that is a text": (lambda op: op.sign(op.claims(exp=str(NOW + 300))), "id_token_malformed"),
    "an end that is true": (lambda op: op.sign(op.claims(exp=True)), "id_token_malformed"),
    "an end of 400 digits": (lambda op: op.sign(op.claims(exp=10**400)), "id_token_malformed"),
    "not before": (
        lambda op: op.sign(op.claims(nbf=NOW + CLOCK_SKEW_SECONDS + 1)),
        "id_token_not_yet",
    ),
    "issued tomorrow": (
        lambda op: op.sign(op.claims(iat=NOW + CLOCK_SKEW_SECONDS + 1)),
        "id_token_not_yet",
    ),
    "never issued": (lambda op: op.sign(op.claims(iat=DROPPED)), "id_token_malformed"),
    "issued long ago": (
        lambda op: op.sign(op.claims(iat=NOW - AGE_SECONDS_MAX - CLOCK_SKEW_SECONDS - 1)),
        "id_token_too_old",
    ),
    "no subject": (lambda op: op.sign(op.claims(sub=DROPPED)), "id_token_subject"),
    "an empty subject": (lambda op: op.sign(op.claims(sub="")), "id_token_subject"),
    "a subject that is a number": (lambda op: op.sign(op.claims(sub=4711)), "id_token_subject"),
    "a subject of 256 characters": (lambda op: op.sign(op.claims(sub="x" * 256)), "id_token_subject"),
    "a subject with a NUL": (lambda op: op.sign(op.claims(sub="ada\0")), "id_token_subject"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_attack_is_refused_under_its_own_code(attack: str) -> None:
    forge, code = ATTACKS[attack]
    op = the_provider()
    assert fault_of(forge(op)) == code


def test_clocks_may_differ_by_two_minutes() -> None:
    op = the_provider()
    late = op.claims(iat=NOW - 900, exp=NOW - CLOCK_SKEW_SECONDS + 1)
    early = op.claims(iat=NOW + CLOCK_SKEW_SECONDS, nbf=NOW + CLOCK_SKEW_SECONDS)
    assert read(op.sign(late))
    assert read(op.sign(early))


def test_a_changed_claim_breaks_the_signature() -> None:
    op = the_provider()
    header, _, signature = op.sign(op.claims()).split(".")
    _, other, _ = op.sign(op.claims(email="grace@example.com")).split(".")
    assert fault_of(f"{header}.{other}.{signature}") == "id_token_signature"


def test_a_cut_signature_is_no_signature() -> None:
    op = the_provider()
    signed = op.sign(op.claims()).rpartition(".")[0]
    for wrong in ("", encode(bytes(255)), encode(bytes(256))):
        assert fault_of(f"{signed}.{wrong}") == "id_token_signature"


def test_an_elliptic_signature_of_zeros_is_no_signature() -> None:
    op = the_provider()
    op.keys = [signing_key("key-1", "ES256")]
    signed = op.sign(op.claims()).rpartition(".")[0]
    assert fault_of(f"{signed}.{encode(bytes(64))}", op=op) == "id_token_signature"


def test_without_kid_two_keys_are_one_too_many() -> None:
    op = the_provider()
    op.rotate("key-2")
    op.header["kid"] = DROPPED
    assert fault_of(op.sign(op.claims()), op=op) == "id_token_key"


def test_an_access_token_must_be_the_one_of_the_id_token() -> None:
    op = the_provider()
    half = encode(hashlib.sha256(b"access-1").digest()[:16])
    token = op.sign(op.claims(at_hash=half))
    assert read(token, wanted=expected(access_token="access-1"))
    assert read(token)  # where no access token came along
    assert fault_of(token, wanted=expected(access_token="access-2")) == "id_token_at_hash"


@pytest.mark.parametrize(("alg", "digest"), [("ES384", hashlib.sha384), ("EdDSA", hashlib.sha512)])
def test_the_hash_of_the_access_token_is_the_one_of_the_algorithm(alg: str, digest: Any) -> None:
    op = the_provider()
    op.keys = [signing_key("key-1", alg)]
    whole = digest(b"access-1").digest()
    token = op.sign(op.claims(at_hash=encode(whole[: len(whole) // 2])))
    assert read(token, op=op, wanted=expected(access_token="access-1"))


# Microsoft


def microsoft(tenant: str = TENANT, **given: Any) -> Claims:
    return {"iss": f"{ISSUER}/{tenant}/v2.0", "tid": tenant} | given


def read_microsoft(claims: Claims, *, alias: str = "common", keys: Any = None, **setting: Any) -> Any:
    op = the_provider()
    wanted = expected(issuer=ISSUER + "/{tenantid}/v2.0")
    provider = op.microsoft(alias, **setting)
    return read(op.sign(op.claims(**claims)), op=op, provider=provider, wanted=wanted, keys=keys)


def microsoft_fault(claims: Claims, **given: Any) -> str:
    with pytest.raises(ProviderFault) as caught:
        read_microsoft(claims, **given)
    return caught.value.code


def test_the_issuer_of_a_tenant_is_made_from_its_id() -> None:
    assert read_microsoft(microsoft())["tid"] == TENANT


@pytest.mark.parametrize("tenant", ["common", "{tenantid}", "evil.example/x", TENANT + "/..", "", None, 7])
def test_a_tenant_is_a_guid(tenant: Any) -> None:
    assert microsoft_fault({"iss": f"{ISSUER}/{tenant}/v2.0", "tid": tenant}) == "id_token_tenant"


def test_the_tenant_and_the_issuer_must_agree() -> None:
    claims = microsoft() | {"tid": CONSUMERS_TENANT}
    assert microsoft_fault(claims) == "id_token_issuer"


def test_only_the_tenants_of_the_setting_are_let_in() -> None:
    assert read_microsoft(microsoft(), tenants=(TENANT,))
    assert microsoft_fault(microsoft(CONSUMERS_TENANT), tenants=(TENANT,)) == "id_token_tenant"


def test_the_alias_in_the_issuer_says_who_is_let_in() -> None:
    assert microsoft_fault(microsoft(CONSUMERS_TENANT), alias="organizations") == "id_token_tenant"
    assert microsoft_fault(microsoft(), alias="consumers") == "id_token_tenant"
    assert read_microsoft(microsoft(CONSUMERS_TENANT), alias="consumers")


def test_a_key_of_one_issuer_signs_for_no_other() -> None:
    op = the_provider()
    [key] = read_keys(op.provider(), op.key_set())

    def keys(issuer: str) -> tuple[ProviderKey, ...]:
        return (ProviderKey(key.kid, key.key, issuer),)

    assert read_microsoft(microsoft(), keys=keys(ISSUER + "/{tenantid}/v2.0"))
    wrong = keys(f"{ISSUER}/{CONSUMERS_TENANT}/v2.0")
    assert microsoft_fault(microsoft(), keys=wrong) == "id_token_key"


# Key sets


def usable(*jwks: Any) -> int:
    provider = the_provider().provider()
    try:
        return len(read_keys(provider, {"keys": list(jwks)}))
    except ProviderFault:
        return 0


def public(of: str = "RS256", **changes: Any) -> Any:
    jwk: Any = signing_key("key-1", of).as_dict(private=False) | changes
    return {name: value for name, value in jwk.items() if value is not DROPPED}


def test_keys_for_signatures_are_read() -> None:
    assert usable(public(), public("ES256"), public(use=DROPPED, alg=DROPPED)) == 3


@pytest.mark.parametrize(
    "jwk",
    [
        OctKey.import_key("0123456789abcdef0123456789abcdef").as_dict(private=True),
        public(use="enc"),
        public(key_ops=["encrypt"], use=DROPPED),
        signing_key().as_dict(private=True),
        public(kid=7),
        public(n="AQAB"),
        public(n="A" * 300 + str(signing_key()["n"])[:100]),
        public(n="_" * 4_000),
        public(e="_" * 400),
        public("ES256", x="AAAA"),
        public(kty="PQC"),
        public(kty=["RSA"]),
        "RSA",
        None,
    ],
    ids=lambda jwk: "",
)
def test_what_cannot_or_should_not_check_signatures_is_passed_over(jwk: Any) -> None:
    assert usable(jwk) == 0
    assert usable(jwk, public()) == 1


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": []}])
def test_a_key_set_without_keys_is_a_fault(document: Any) -> None:
    with pytest.raises(ProviderFault) as caught:
        read_keys(the_provider().provider(), document)
    assert caught.value.code == "provider_keys"


# Reading


def token(header: bytes, claims: bytes) -> str:
    return f"{encode(header)}.{encode(claims)}.e30"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "....",
        "e30.e30.é",
        "e30.e30.=",
        "e30=.e30.e30",
        "e31.e30.e30",
        token(b"[]", b"{}"),
        token(b"{}", b"NaN"),
        token(b"{}", b'{"sub":"a","sub":"b"}'),
        token(b'{"alg":"RS256","alg":"none"}', b"{}"),
        token(b"{}", b'{"sub":"\\ud800"}'),
        token(b"{}", b'{"sub":' + b"[" * 9_000),
        token(b"{}", b"\xff"),
        "e30.e30." + "A" * 20_000,
    ],
)
def test_what_could_be_read_in_two_ways_is_not_read(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_id_token(text)


@given(st.text(max_size=200))
def test_no_text_at_all_can_break_the_reader(text: str) -> None:
    with suppress(Unreadable):
        parse_id_token(text)


_values = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5))


@given(st.dictionaries(st.sampled_from(["iss", "aud", "azp", "sub", "exp", "iat", "nbf", "nonce"]), _values))
def test_no_claims_at_all_can_break_the_rules(changes: Claims) -> None:
    op = the_provider()
    op.keys = [signing_key("key-1", "EdDSA")]
    with suppress(ProviderFault):
        read(op.sign(op.claims(**changes)), op=op)
