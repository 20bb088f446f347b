"""From claims to an identity: what is read where, and about whose emails a provider is believed."""

from typing import Any

import pytest

from admit.accounts.provider_presets import preset
from admit.accounts.providers import Provider
from admit.errors import ProviderFault
from admit.signin.identity import Identity
from admit.signin.providers.claims_mapping import CLAIMS_BYTES_MAX, at_path, mapped, subject_in, trusts


def provider(type: Any = "oidc", **given: Any) -> Provider:
    fields: dict[str, Any] = {"name": "house", "type": type, "display_name": "House", "client_id": "notes"}
    return Provider(**fields | {"issuer": "https://id.example.com"} | preset(type) | given)


def identity(told: dict[str, Any], /, type: Any = "oidc", **given: Any) -> Identity:
    return mapped(provider(type, **given), told, issuer="https://id.example.com", subject="ada").identity


# Emails


def test_an_email_is_normalised_and_trusted_where_all_is_well() -> None:
    found = identity(
        {"email": "Ada@EXAMPLE.com", "email_verified": True, "name": " Ada\r\nExample "},
        trusted_domains=("example.com",),
    )
    assert (found.email, found.email_verified, found.email_trusted) == ("ada@example.com", True, True)
    assert found.name == "Ada  Example"


@pytest.mark.parametrize("said", [True, "true"])
def test_verified_is_true_or_the_text_true(said: Any) -> None:
    assert identity({"email": "ada@example.com", "email_verified": said}).email_verified


@pytest.mark.parametrize("said", [False, None, 1, "1", "True", "false", "yes", ["true"], {"a": 1}])
def test_nothing_else_verifies_an_email(said: Any) -> None:
    found = identity({"email": "ada@example.com", "email_verified": said}, trusted_domains=("*",))
    assert (found.email, found.email_verified, found.email_trusted) == ("ada@example.com", False, False)


@pytest.mark.parametrize("email", ["ada", "ada@evil@example.com", "", 7, None, ["ada@example.com"], "a@b"])
def test_what_is_no_address_is_no_email(email: Any) -> None:
    found = identity({"email": email, "email_verified": True}, trusted_domains=("*",))
    assert (found.email, found.email_verified, found.email_trusted) == ("", False, False)


@pytest.mark.parametrize(
    "email",
    [
        "ada@exa\u00admple.com",
        "a\u00adda@example.com",
        "\u212aate@example.com",
        "ada@\uff45xample.com",
        "ada@example\u3002com",
        "ada@exam\u200bple.com",
        "ada@example.com\u200b",
        "ada@example.com\u3000",
        " ada@example.com",
        "ada@example.com\n",
        "ada@example.com.",
        "jose\u0301@example.com",
        "JOS\u00c9@example.com",
        "ada@b\u00fccher.example",
    ],
)
def test_what_only_normalising_makes_another_s_address_is_no_email(email: str) -> None:
    """The provider may keep both apart, and has verified the one it tells."""
    found = identity({"email": email, "email_verified": True}, trusted_domains=("*",))
    assert (found.email, found.email_verified, found.email_trusted) == ("", False, False)


@pytest.mark.parametrize(
    ("email", "normal"),
    [
        ("jos\u00e9@example.com", "jos\u00e9@example.com"),
        ("jos\u00e9@EXAMPLE.com", "jos\u00e9@example.com"),
        ("\uff41da@example.com", "\uff41da@example.com"),
        ("Ada@XN--bcher-kva.Example", "ada@xn--bcher-kva.example"),
    ],
)
def test_an_international_address_in_its_normal_form_is_believed(email: str, normal: str) -> None:
    found = identity({"email": email, "email_verified": True}, trusted_domains=("*",))
    assert (found.email, found.email_trusted) == (normal, True)


@pytest.mark.parametrize(
    ("email", "believed"),
    [
        ("ada@example.com", True),
        ("ada@sub.example.com", False),
        ("ada@example.com.attacker.io", False),
        ("ada@notexample.com", False),
        ("ada@example.org", False),
        ("ada@xn--bcher-kva.example", True),
    ],
)
def test_domains_are_compared_whole(email: str, believed: bool) -> None:
    trusting = provider(trusted_domains=("example.com", "xn--bcher-kva.example"))
    assert trusts(trusting, email, {}) is believed


def test_a_provider_is_trusted_for_no_domain_unless_somebody_says_so() -> None:
    found = identity({"email": "ada@example.com", "email_verified": True})
    assert (found.email_verified, found.email_trusted) == (True, False)


def test_nobody_is_trusted_for_demo_users() -> None:
    assert not trusts(provider(trusted_domains=("*",)), "alice@demo.local", {})


def test_google_is_trusted_for_the_domain_that_it_hosts() -> None:
    google = provider("google")
    assert trusts(google, "ada@gmail.com", {})
    assert trusts(google, "ada@example.com", {"hd": "Example.com"})
    assert not trusts(google, "ada@example.com", {})
    assert not trusts(google, "ada@example.com", {"hd": "evil.example"})
    assert not trusts(google, "ada@example.com", {"hd": ["example.com"]})
    assert not trusts(google, "ada@example.com", {"hd": "exa\u00admple.com"})


def test_a_hosted_domain_is_googles_word_alone() -> None:
    assert not trusts(provider(trusted_domains=("hd",)), "ada@example.com", {"hd": "example.com"})


def test_microsoft_verifies_an_email_by_its_own_claim() -> None:
    claims = {"email": "ada@example.com", "email_verified": True}
    setting: dict[str, Any] = {"type": "microsoft", "trusted_domains": ("example.com",)}
    assert not identity(claims, **setting).email_trusted
    assert identity(claims | {"xms_edov": True}, **setting).email_trusted


def test_no_other_name_of_a_person_is_taken_for_an_email() -> None:
    claims = {"preferred_username": "ada@example.com", "upn": "ada@example.com", "email_verified": True}
    assert identity(claims, trusted_domains=("*",)).email == ""


# The mapping


CLAIMS: dict[str, Any] = {
    "realm": {"roles": ["staff", "admin"], "a.b": 1},
    "https://example.com/plan": "team",
    "zero": 0,
    "none": None,
    "~": "tilde",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("realm.roles", ["staff", "admin"]),
        ("zero", 0),
        ("/realm/roles/1", "admin"),
        ("/https:~1~1example.com~1plan", "team"),
        ("/realm/a.b", 1),
        ("/~0", "tilde"),
        ("realm.roles.0", None),
        ("/realm/roles/2", None),
        ("/realm/roles/-1", None),
        ("/realm/roles/01", None),
        ("/realm/roles/99999999999", None),
        ("zero.deeper", None),
        ("nothing.at.all", None),
        ("__class__", None),
    ],
)
def test_paths_lead_through_objects_and_pointers_through_lists_too(path: str, value: Any) -> None:
    assert at_path(CLAIMS, path) == value


def test_what_the_mapping_names_is_kept_and_nothing_else() -> None:
    found = identity(CLAIMS, claims={"roles": "realm.roles", "zero": "zero", "none": "none", "gone": "no"})
    assert found.claims == {"roles": ["staff", "admin"], "zero": 0}


def test_the_mapping_stands_in_for_the_standard_names() -> None:
    claims = {"mail": "ada@example.com", "ok": True, "nick": "Ada", "email": "eve@example.com"}
    mapping = {"email": "mail", "email_verified": "ok", "name": "nick"}
    found = identity(claims, claims=mapping)
    assert (found.email, found.email_verified, found.name) == ("ada@example.com", True, "Ada")
    assert found.claims == {}


def test_a_mapping_that_finds_nothing_does_not_fall_back() -> None:
    assert identity({"email": "eve@example.com"}, claims={"email": "mail"}).email == ""


def test_claims_have_a_limit_and_the_first_of_the_mapping_have_the_room() -> None:
    claims = {"small": "x", "big": "é" * CLAIMS_BYTES_MAX, "last": "y"}
    mapping = {"a": "small", "b": "big", "c": "last"}
    found = mapped(provider(claims=mapping), claims, issuer="i", subject="s")
    assert found.identity.claims == {"a": "x", "c": "y"}
    assert found.left_out == ("b",)


# Subjects of plain OAuth 2


@pytest.mark.parametrize(
    ("claims", "mapping", "subject"),
    [
        ({"sub": "ada"}, {}, "ada"),
        ({"id": 4711}, {}, "4711"),
        ({"sub": "ada", "id": 4711}, {}, "ada"),
        ({"data": {"uid": "u-1"}, "sub": "other"}, {"sub": "data.uid"}, "u-1"),
    ],
)
def test_a_subject_is_mapped_or_sub_or_id(claims: Any, mapping: Any, subject: str) -> None:
    assert subject_in(provider("oauth2", claims=mapping), claims) == subject


@pytest.mark.parametrize(
    ("claims", "mapping"),
    [
        ({}, {}),
        ({"id": True}, {}),
        ({"id": 47.11}, {}),
        ({"id": None}, {}),
        ({"sub": ""}, {}),
        ({"sub": "x" * 256}, {}),
        ({"sub": ["ada"]}, {}),
        ({"sub": "ada", "email": "ada@example.com"}, {"sub": "uid"}),
    ],
)
def test_without_a_subject_nobody_is_there(claims: Any, mapping: Any) -> None:
    with pytest.raises(ProviderFault) as caught:
        subject_in(provider("oauth2", claims=mapping), claims)
    assert caught.value.code == "userinfo_malformed"
