"""Names of apps stand in URLs beside the server's own routes."""

import pytest

from admit.accounts.app_settings import parse_app_name
from admit.errors import InvalidRequest


@pytest.mark.parametrize("name", ["a", "0", "demo", "my-app-2", "a--b", "x" * 63, "api2", "users-of-tokens"])
def test_plain_names_are_taken(name: str) -> None:
    assert parse_app_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a-",
        "x" * 64,
        "Demo",
        "a_b",
        "a b",
        "a/b",
        "a.b",
        "..",
        "a\n",
        "ä",
        "１",
        "app_7k3m",
    ],
)
def test_names_that_are_no_path_segment_of_ours_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="lower-case letters, digits and hyphens"):
        parse_app_name(name)


@pytest.mark.parametrize(
    "name", ["api", "token", "users", "auth-providers", "healthz", "static", "xn--80ak6aa92e"]
)
def test_names_of_routes_are_reserved(name: str) -> None:
    with pytest.raises(InvalidRequest, match="reserved"):
        parse_app_name(name)


@pytest.mark.parametrize("name", ["openapi.json", ".well-known", "favicon.ico"])
def test_routes_with_a_dot_need_no_reservation(name: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_app_name(name)
