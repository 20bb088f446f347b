"""Where the links of enrollment tokens lead: to the app, and nowhere else."""

import pytest
from msgspec.structs import replace

from admit.accounts.app_settings import AppSettings, PolicySetting
from admit.accounts.apps import App
from admit.accounts.enrollment_links import LINK_CHARACTERS_MAX, check_link, template_of
from admit.errors import Conflict, InvalidRequest

ORIGINS = ("https://app.example.com", "http://localhost:3000", "capacitor://localhost")
OURS = "https://login.example.com/notes"

APP = App(
    app_id="app_notes",
    name="notes",
    user_ids="email",
    policy=PolicySetting(),
    policy_version=1,
    settings=AppSettings(),
    owners=frozenset(),
    origins=frozenset(ORIGINS),
    clients={},
    hook_secret="",
    version=1,
)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "https://app.example.com/#enrollment_token={token}",
        "https://app.example.com#{token}",
        "https://app.example.com:443/join?next=%2Fa#t={token}",
        "HTTPS://App.Example.com/join/{token}",
        "http://localhost:3000/?enrollment_token={token}",
        "com.example.notes://enroll/{token}",
        "notes://enroll?token={token}",
        "capacitor://localhost/#{token}",
    ],
)
def test_a_page_of_the_apps_origins_or_its_own_scheme_may_have_the_token(link: str) -> None:
    assert check_link(link, ORIGINS) == link


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert('{token}')",
        "javascript://app.example.com/%0aalert('{token}')",
        "JavaScript://x/%0Aalert({token})",
        "data://text/html,{token}",
        "data:text/html,{token}",
        "vbscript://x/{token}",
        "file:///etc/{token}",
        "blob:https://app.example.com/{token}",
        "mailto://x/{token}",
        "intent://x/{token}",
        "ftp://app.example.com/{token}",
        "ws://app.example.com/{token}",
        "view-source://x/{token}",
        "/#enrollment_token={token}",
        "//app.example.com/#{token}",
        "app.example.com/#{token}",
        "https:app.example.com/#{token}",
        "https://evil.example.com/#{token}",
        "http://app.example.com/#{token}",
        "https://app.example.com:444/#{token}",
        "https://app.example.com.evil.com/#{token}",
        "https://app.example.com@evil.com/#{token}",
        "https://evil.com@app.example.com/#{token}",
        "https://evil.com\\@app.example.com/#{token}",
        "https://{token}.example.com/",
        "https://app.example.com/",
        "https://app.example.com/#{token}{token}",
        "https://app.example.com/#{token}&user={user}",
        "https://app.example.com/#{ token }",
        "https://app.example.com/ #{token}",
        "https://app.example.com/\n#{token}",
        "https://app.example.com/ä#{token}",
        "https://app.example.com/#{token}" + "x" * LINK_CHARACTERS_MAX,
        "{token}",
        "{token}://x/",
    ],
)
def test_a_link_that_leads_elsewhere_is_refused_with_a_sentence(link: str) -> None:
    with pytest.raises(InvalidRequest, match="enrollment_link") as refused:
        check_link(link, ORIGINS)
    assert refused.value.message.endswith("#enrollment_token={token}.")


def test_without_a_choice_links_lead_to_a_page_of_the_app_else_to_its_own_address() -> None:
    assert template_of(APP, OURS) == "https://app.example.com/#enrollment_token={token}"
    local = replace(APP, origins=frozenset({"http://localhost:3000", "capacitor://localhost"}))
    assert template_of(local, OURS) == "http://localhost:3000/#enrollment_token={token}"
    native = replace(APP, origins=frozenset({"capacitor://localhost", "app:Notes"}))
    assert template_of(native, OURS) == f"{OURS}#enrollment_token={{token}}"


def test_a_link_to_an_origin_that_was_given_up_is_handed_out_no_more() -> None:
    link = "https://app.example.com/#{token}"
    chosen = replace(APP, settings=AppSettings(enrollment_link=link))
    assert template_of(chosen, OURS) == link
    with pytest.raises(Conflict) as refused:
        template_of(replace(chosen, origins=frozenset({"https://new.example.com"})), OURS)
    assert refused.value.code == "enrollment_link_unusable"
