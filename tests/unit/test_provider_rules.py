"""What may be chosen for a provider of single sign-on, and what is said where it may not."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from admit.accounts.provider_changes import ProviderChange, changed, new_provider
from admit.accounts.provider_presets import preset
from admit.accounts.provider_rules import (
    PROVIDERS_MAX,
    check_provider,
    fault_among,
    fault_of_issuer,
    lets_nobody_new_in,
    parse_provider_name,
)
from admit.accounts.providers import Provider, ProviderType
from admit.errors import InvalidRequest
from admit.outbound.addresses import EgressPolicy

PUBLIC = EgressPolicy.parse("")
LOOPBACK = EgressPolicy.parse("127.0.0.1,localhost")
TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
SECRET = "s3cret-of-the-provider"


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


P8 = pem(ec.generate_private_key(ec.SECP256R1()))

GIVEN: dict[ProviderType, dict[str, Any]] = {
    "google": {"client_id": "1.apps.googleusercontent.com", "client_secret": SECRET},
    "github": {"client_id": "Iv1.8a61f9b3a7aba766", "client_secret": SECRET},
    "microsoft": {"client_id": "6731de76-14a6-49ae-97bc-6eba6914391e", "client_secret": SECRET},
    "apple": {
        "client_id": "com.example.notes.web",
        "client_secret": P8,
        "team_id": "DEF123GHIJ",
        "key_id": "ABC123DEFG",
    },
    "oidc": {"client_id": "notes", "issuer": "https://id.example.com"},
    "oauth2": {
        "client_id": "notes",
        "authorization_endpoint": "https://id.example.com/authorize",
        "token_endpoint": "https://id.example.com/token",
        "userinfo_endpoint": "https://api.example.com/me?fields=id,email",
    },
}


def made(kind: ProviderType = "oidc", egress: EgressPolicy = PUBLIC, **more: Any) -> Provider:
    """A provider of `kind` with as little as it needs, and `more`."""
    return new_provider(more.pop("name", kind), kind, ProviderChange(**GIVEN[kind] | more), egress)


def problem(kind: ProviderType = "oidc", **more: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        made(kind, **more)
    return caught.value.message


@pytest.mark.parametrize("kind", GIVEN)
def test_every_type_needs_little_and_has_the_rest_from_its_preset(kind: ProviderType) -> None:
    provider = made(kind)
    for field, value in preset(kind).items():
        assert getattr(provider, field) == value
    assert (provider.name, provider.type, provider.person) == (kind, kind, "email")
    assert provider.display_name
    assert provider.issuer.startswith("https://")
    assert check_provider(provider, PUBLIC) == provider


@pytest.mark.parametrize("kind", GIVEN)
def test_without_a_client_id_there_is_none(kind: ProviderType) -> None:
    assert "client_id is what" in problem(kind, client_id="")


@pytest.mark.parametrize("kind", ["google", "github", "apple"])
def test_those_who_ask_every_client_for_a_secret_need_one(kind: ProviderType) -> None:
    assert "client_secret" in problem(kind, client_secret="")


@pytest.mark.parametrize("kind", ["microsoft", "oidc", "oauth2"])
def test_others_know_public_clients(kind: ProviderType) -> None:
    assert made(kind, client_secret="").client_secret == ""


@pytest.mark.parametrize("name", ["google", "acme-login", "0", "a" * 40, "my-oidc-"])
def test_a_name_is_lower_case(name: str) -> None:
    assert parse_provider_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "Acme", "a_b", "a.b", "a b", "a/b", "é", "a" * 41, "a\n", "email_code", "client_credentials"],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="lower-case letters"):
        parse_provider_name(name)


@pytest.mark.parametrize(
    "name", ["email-code", "email", "client", "operator", "demo", "acting", "api", "import", "otp"]
)
def test_no_provider_is_named_like_another_way_in(name: str) -> None:
    with pytest.raises(InvalidRequest, match="another way in"):
        parse_provider_name(name)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("google", "tenants", (TENANT,)),
        ("google", "team_id", "DEF123GHIJ"),
        ("oidc", "key_id", "ABC123DEFG"),
        ("oidc", "token_endpoint", "https://id.example.com/token"),
        ("microsoft", "authorization_endpoint", "https://id.example.com/authorize"),
        ("oidc", "userinfo_endpoint", "https://id.example.com/me"),
        ("oauth2", "emails_endpoint", "https://id.example.com/emails"),
        ("github", "audiences", ("other",)),
        ("oauth2", "audiences", ("other",)),
        ("github", "response_mode", "form_post"),
    ],
)
def test_a_field_of_another_type_is_not_dropped_in_silence(
    kind: ProviderType, field: str, value: object
) -> None:
    assert problem(kind, **{field: value}).startswith(f"{field} belongs to ")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("oidc", "issuer"),
        ("oauth2", "authorization_endpoint"),
        ("oauth2", "token_endpoint"),
        ("oauth2", "userinfo_endpoint"),
    ],
)
def test_what_no_preset_can_know_is_asked_for(kind: ProviderType, field: str) -> None:
    without: dict[str, Any] = {field: ""}
    assert field.split("_")[0] in problem(kind, **without)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com",
        "ftp://id.example.com",
        "javascript:alert(1)",
        "https://user:pass@id.example.com",
        "https://id.example.com\\evil",
        "https://id.example.com/ x",
        "https://10.0.0.1",
        "https://169.254.169.254/latest",
        "https://127.0.0.1:9",
        "https://[::1]",
        "https://2130706433",
        "id.example.com",
    ],
)
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("oidc", "issuer"),
        *(("oauth2", f"{each}_endpoint") for each in ("authorization", "token", "userinfo")),
    ],
)
def test_every_url_is_one_that_may_be_asked_for(kind: ProviderType, field: str, url: str) -> None:
    given: dict[str, Any] = {field: url}
    with pytest.raises(InvalidRequest) as caught:
        made(kind, **given)
    assert caught.value.code == "url_refused"
    assert caught.value.message.startswith(f"{field}: ")


def test_a_provider_on_this_machine_needs_the_operator_s_leave() -> None:
    assert made(issuer="http://127.0.0.1:9000/a", egress=LOOPBACK).issuer == "http://127.0.0.1:9000/a"
    assert made(issuer="http://localhost:9000", egress=LOOPBACK).issuer == "http://localhost:9000"
    with pytest.raises(InvalidRequest, match="EGRESS_ALLOW"):
        made(issuer="http://127.0.0.1:9000")


def test_an_issuer_is_kept_as_it_is_spelled() -> None:
    """Providers compare it letter by letter, slash and all."""
    assert made(issuer="https://Example.EU.auth0.com/").issuer == "https://Example.EU.auth0.com/"
    assert "without ?" in problem(issuer="https://id.example.com?tenant=1")
    assert "characters" in problem(issuer="https://id.example.com/" + "a" * 500)


def test_people_without_id_tokens_are_kept_under_where_they_are_told_of() -> None:
    assert made("oauth2").issuer == "https://api.example.com/me"
    assert made("oauth2", issuer="https://example.com").issuer == "https://example.com"
    assert made("oauth2", issuer="https://api.example.com").issuer == "https://api.example.com"


@pytest.mark.parametrize("issuer", ["https://github.com", "https://ample.com", "https://id.example.com"])
def test_an_issuer_of_others_would_take_its_people_for_theirs(issuer: str) -> None:
    assert "userinfo_endpoint is at api.example.com" in problem("oauth2", issuer=issuer)


def test_github_enterprise_is_another_issuer() -> None:
    at_home: dict[str, Any] = {
        "authorization_endpoint": "https://github.corp.example/login/oauth/authorize",
        "token_endpoint": "https://github.corp.example/login/oauth/access_token",
        "userinfo_endpoint": "https://github.corp.example/api/v3/user",
        "emails_endpoint": "https://github.corp.example/api/v3/user/emails",
    }
    assert "Give the issuer, too" in problem("github", **at_home)
    assert made("github", issuer="https://github.corp.example", **at_home).issuer.endswith("corp.example")


ELSEWHERE: dict[str, Any] = {
    "issuer": "https://github.corp.example",
    "token_endpoint": "https://github.corp.example/login/oauth/access_token",
    "userinfo_endpoint": "https://github.corp.example/api/v3/user",
    "emails_endpoint": "https://github.corp.example/api/v3/user/emails",
}


@pytest.mark.parametrize("place", ELSEWHERE)
def test_whom_a_type_trusts_is_trusted_at_its_own_place_alone(place: str) -> None:
    moved = {place: ELSEWHERE[place]}
    if place == "userinfo_endpoint":
        moved["issuer"] = ELSEWHERE["issuer"]
    if place == "issuer":
        moved["issuer"] = "https://api.github.com"
    assert made("github").trusted_domains == ("*",)
    assert made("github", **moved).trusted_domains == ()
    assert made("github", **moved, trusted_domains=None).trusted_domains == ()
    assert made("github", **moved, trusted_domains=("*",)).trusted_domains == ("*",)


@pytest.mark.parametrize("kind", ["google", "apple"])
def test_a_foreign_issuer_inherits_no_trust(kind: ProviderType) -> None:
    assert made(kind, issuer="https://id.example.com").trusted_domains == ()


def test_trust_of_a_preset_does_not_move_along() -> None:
    away: dict[str, Any] = {"issuer": "https://id.example.com", "client_secret": SECRET}
    google = made("google", trusted_domains=("gmail.com", "hd", "example.com"))
    moved = changed(google, ProviderChange(**away), PUBLIC)
    assert moved.trusted_domains == ("example.com",)
    assert changed(moved, ProviderChange(trusted_domains=None), PUBLIC).trusted_domains == ()
    chosen = changed(google, ProviderChange(**away, trusted_domains=("hd",)), PUBLIC)
    assert chosen.trusted_domains == ("hd",)
    assert changed(chosen, ProviderChange(display_name="Work"), PUBLIC).trusted_domains == ("hd",)
    back = changed(moved, ProviderChange(issuer=None, client_secret=SECRET, trusted_domains=None), PUBLIC)
    assert back == made("google")


SECRET_ELSEWHERE: tuple[tuple[ProviderType, dict[str, Any]], ...] = (
    ("google", {"issuer": "https://evil.example"}),
    ("microsoft", {"issuer": "https://evil.example/common/v2.0"}),
    ("apple", {"issuer": "https://evil.example"}),
    ("oidc", {"issuer": "https://id.example.com/"}),
    ("oidc", {"issuer": "https://evil.example", "client_id": "another"}),
    ("oauth2", {"token_endpoint": "https://evil.example/token"}),
    ("oauth2", {"token_endpoint": "https://id.example.com/tokens"}),
    ("github", {"token_endpoint": "https://evil.example/token"}),
)


@pytest.mark.parametrize(("kind", "change"), SECRET_ELSEWHERE)
def test_a_secret_that_is_kept_does_not_go_elsewhere(kind: ProviderType, change: dict[str, Any]) -> None:
    secret = GIVEN[kind].get("client_secret", SECRET).strip()
    provider = made(kind, client_secret=secret)
    with pytest.raises(InvalidRequest, match="the client_secret goes elsewhere, so give it, too"):
        changed(provider, ProviderChange(**change), PUBLIC)
    assert changed(provider, ProviderChange(**change, client_secret=secret), PUBLIC).client_secret == secret
    if kind in ("microsoft", "oidc", "oauth2"):
        public = changed(provider, ProviderChange(**change, client_secret=""), PUBLIC)
        assert changed(public, ProviderChange(issuer=provider.issuer), PUBLIC).client_secret == ""


def test_what_a_preset_puts_back_is_a_change_of_place_too() -> None:
    at_home = made("google", issuer="https://id.example.com")
    with pytest.raises(InvalidRequest, match="the client_secret goes elsewhere"):
        changed(at_home, ProviderChange(issuer=None), PUBLIC)


@pytest.mark.parametrize("claims", [{}, None, {"sub": "login"}, {"groups": "groups"}])
def test_who_people_are_is_not_found_elsewhere_later(claims: dict[str, str] | None) -> None:
    provider = made("oauth2", claims={"sub": "data.id"})
    with pytest.raises(InvalidRequest, match=r"must stay data\.id.*Add another provider"):
        changed(provider, ProviderChange(claims=claims), PUBLIC)
    with pytest.raises(InvalidRequest, match="must stay unset"):
        changed(made("oauth2"), ProviderChange(claims={"sub": "data.id"}), PUBLIC)
    kept = {"sub": "data.id", "groups": "groups"}
    assert changed(provider, ProviderChange(claims=kept), PUBLIC).claims == kept


def test_who_is_told_without_id_tokens_has_an_issuer_of_its_own() -> None:
    first = made("oauth2", name="first")
    second = made("oauth2", name="second", client_id="another")
    assert fault_of_issuer(second, [first]) is not None
    assert fault_of_issuer(made("oidc", issuer=first.issuer), [first]) is not None
    assert fault_of_issuer(made("oauth2", issuer="https://example.com"), [first]) is None
    assert fault_of_issuer(made("oidc", client_id="other"), [made("oidc")]) is None


@pytest.mark.parametrize("name", ["Réseau Śląsk", "Google", "x", "a" * 60])
def test_a_display_name_is_a_line(name: str) -> None:
    assert made(display_name=name).display_name == name


@pytest.mark.parametrize("name", ["a\nb", "a" * 61, "abc\u202edef", " a", "\x1b[31m", "{code}", "a}", "{"])
def test_other_display_names_are_refused(name: str) -> None:
    assert "display_name" in problem(display_name=name)


def test_without_a_display_name_it_is_shown_by_its_name() -> None:
    assert made(name="acme").display_name == "acme"
    assert made("google", name="acme").display_name == "Google"
    assert made("google", display_name=None).display_name == "Google"


@pytest.mark.parametrize(
    "icon",
    [
        "https://cdn.example.com/icon.svg",
        "data:image/svg+xml;base64,PHN2Zy8+",
        "data:image/png;base64," + "A" * 1_000,
    ],
)
def test_an_icon_is_at_an_address_or_is_a_picture(icon: str) -> None:
    assert made(icon_url=icon).icon_url == icon


@pytest.mark.parametrize(
    "icon",
    [
        "http://cdn.example.com/icon.svg",
        "javascript:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/svg+xml,<svg onload='alert(1)'/>",
        "data:image/png;base64," + "A" * 16_000,
        "/icon.svg",
        "https://127.0.0.1/icon.svg",
    ],
)
def test_other_icons_are_refused(icon: str) -> None:
    assert "icon_url" in problem(icon_url=icon, egress=LOOPBACK)


@pytest.mark.parametrize("secret", ["a\nb", "é", "a" * 4_001, " a", "\x00"])
def test_a_secret_is_a_line_and_is_not_repeated(secret: str) -> None:
    assert problem(client_secret=secret) == problem(client_secret="\x7f")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "not a key",
        P8.replace("PRIVATE", "PUBLIC"),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65_537, 2_048)),
        "é",
        P8 + "\n" * 4_000 + "x",
    ],
)
def test_apple_s_secret_is_its_key(key: str) -> None:
    sentence = problem("apple", client_secret=key)
    assert sentence.startswith("The client_secret of an apple provider is its key: the .p8 file")
    assert sentence == problem("apple", client_secret="another")


def test_apple_s_key_is_taken_as_it_was_downloaded() -> None:
    assert made("apple", client_secret=f"\r\n{P8}\r\n").client_secret == P8.strip()


@pytest.mark.parametrize("field", ["team_id", "key_id"])
@pytest.mark.parametrize("value", ["", "abc123defg", "ABC123DEF", "ABC123DEFGH", "ABC123DEF\n"])
def test_apple_s_ids_have_ten_characters(field: str, value: str) -> None:
    assert f"{field} is ten" in problem("apple", **{field: value})


def test_apple_posts_name_and_email() -> None:
    assert "form_post" in problem("apple", response_mode="query")
    assert made("apple", response_mode="query", scopes=("openid",)).response_mode == "query"


@pytest.mark.parametrize("kind", ["google", "microsoft", "oidc"])
def test_without_openid_there_is_no_id_token(kind: ProviderType) -> None:
    assert "openid" in problem(kind, scopes=("email",))


@pytest.mark.parametrize("scope", ["", "a b", 'a"b', "a\\b", "é", "a" * 201])
def test_scopes_are_what_oauth_calls_so(scope: str) -> None:
    assert "is no scope" in problem(scopes=("openid", scope))


def test_scopes_come_once_and_in_order() -> None:
    assert made(scopes=("openid", "email", "openid")).scopes == ("openid", "email")
    assert "at most" in problem(scopes=("openid", *(f"s{number}" for number in range(30))))


def test_domains_are_spelled_as_addresses_are() -> None:
    given = ("Example.COM.", "bücher.example", "xn--bcher-kva.example", " acme.org ")
    assert made(trusted_domains=given).trusted_domains == (
        "example.com",
        "xn--bcher-kva.example",
        "acme.org",
    )
    assert made(trusted_domains=("example.com", "*")).trusted_domains == ("*",)
    assert made("google", trusted_domains=("hd", "gmail.com")).trusted_domains == ("hd", "gmail.com")


@pytest.mark.parametrize(
    "domain", ["", "com", "*.example.com", "a@example.com", "10.0.0.1", "https://a.example"]
)
def test_what_is_no_domain_is_refused(domain: str) -> None:
    assert "domain" in problem(trusted_domains=(domain,)) or "host name" in problem(trusted_domains=(domain,))


def test_only_google_has_hosted_domains() -> None:
    assert "Google's claim hd" in problem(trusted_domains=("hd",))


def test_tenants_are_guids() -> None:
    assert made("microsoft", tenants=(TENANT.upper(), f" {TENANT} ")).tenants == (TENANT,)
    for wrong in ("contoso.onmicrosoft.com", "", TENANT + "0", "common"):
        assert "is no tenant" in problem("microsoft", tenants=(wrong,))


def test_audiences_are_client_ids() -> None:
    assert made(audiences=("ios", "android", "ios")).audiences == ("ios", "android")
    for wrong in ("", "é", "a" * 501, "a\n"):
        assert "An audience" in problem(audiences=(wrong,))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("groups", "groups"),
        ("roles", "realm_access.roles"),
        ("team", "/https:~1~1example.com~1team"),
        ("first", "/groups/0"),
        ("email", "mail"),
        ("email_verified", "xms_edov"),
        ("odd", "with space"),
    ],
)
def test_claims_have_a_name_and_a_place(name: str, path: str) -> None:
    assert made(claims={name: path}).claims == {name: path}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("", "a"),
        ("1a", "a"),
        ("a-b", "a"),
        ("a" * 65, "a"),
        ("é", "a"),
        ("a", ""),
        ("a", "a..b"),
        ("a", ".a"),
        ("a", "a."),
        ("a", "/a~2b"),
        ("a", "/a~"),
        ("a", "a\nb"),
        ("a", "a" * 201),
    ],
)
def test_other_claims_are_refused(name: str, path: str) -> None:
    assert "claim" in problem(claims={name: path})


def test_who_it_is_stands_in_the_id_token_and_nowhere_else() -> None:
    assert "sub is what the ID token says" in problem(claims={"sub": "oid"})
    assert "the number of the account" in problem("github", claims={"sub": "login"})
    assert made("oauth2", claims={"sub": "user.id"}).claims == {"sub": "user.id"}


def test_claims_come_beside_those_of_the_preset() -> None:
    provider = made("microsoft", claims={"groups": "groups"})
    assert provider.claims == {"email_verified": "xms_edov", "groups": "groups"}
    again = changed(provider, ProviderChange(claims={"roles": "roles"}), PUBLIC)
    assert again.claims == {"email_verified": "xms_edov", "roles": "roles"}
    assert changed(again, ProviderChange(claims=None), PUBLIC).claims == {"email_verified": "xms_edov"}


def test_what_is_left_out_stays_and_null_is_the_preset() -> None:
    provider = made("google", trusted_domains=(), person="subject", audiences=("ios",))
    renamed = changed(provider, ProviderChange(display_name="Work"), PUBLIC)
    assert (renamed.display_name, renamed.trusted_domains, renamed.client_secret) == ("Work", (), SECRET)
    assert renamed.audiences == ("ios",)
    back = changed(renamed, ProviderChange(trusted_domains=None, person=None, audiences=None), PUBLIC)
    assert (back.trusted_domains, back.person, back.audiences) == (
        ("gmail.com", "googlemail.com", "hd"),
        "email",
        (),
    )


def test_an_empty_list_is_no_preset() -> None:
    """Who trusts nobody must not be given those whom the preset trusts."""
    assert made("github", trusted_domains=()).trusted_domains == ()


def test_it_is_known_of_which_nobody_new_comes_in() -> None:
    assert lets_nobody_new_in(made())
    assert not lets_nobody_new_in(made(trusted_domains=("example.com",)))
    assert not lets_nobody_new_in(made(person="subject"))


def test_an_app_has_so_many_providers_of_different_names() -> None:
    others = [made(name=f"p{number}") for number in range(PROVIDERS_MAX)]
    fault = fault_among(made(name="one-more"), others)
    assert fault is not None
    assert fault.code == "too_many_providers"
    fault = fault_among(made(name="p3"), others[:5])
    assert fault is not None
    assert fault.code == "provider_name_taken"
    assert fault_among(made(name="one-more"), others[1:]) is None


def test_no_secret_stands_in_what_is_printed_of_a_provider() -> None:
    change = ProviderChange(client_id="notes", client_secret=SECRET)
    assert SECRET not in repr(change)
    assert SECRET not in repr(made("google"))
