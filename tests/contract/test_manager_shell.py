"""What all pages of the Manager share: the way in, headers, forms that are really theirs, and refusals."""

import pytest

from tests.contract.manager_pages import FoundForm, signed_in
from tests.contract.served import Served

BEFORE = "/manager/apps/notes"


async def test_stranger_is_sent_to_sign_in_and_back(served: Served) -> None:
    async with served.http.get(f"{served.url}{BEFORE}?days=7", allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/manager/sign-in?next=%2Fmanager%2Fapps%2Fnotes%3Fdays%3D7"


async def test_page_says_who_may_frame_it_and_what_may_run_on_it(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get("/apps/notes")
    assert page.status == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["Cache-Control"] == "no-store"
    assert " style=" not in page.html
    assert "onclick" not in page.html


async def test_form_without_the_token_of_the_session_changes_nothing(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes")).form("/theme")
        refused = await operator.post(FoundForm(form.action, {"theme": "dark", "csrf": "x" * 43}))
        assert refused.status == 403
        assert "belongs to a session that has ended" in refused.text
        kept = await operator.get("/apps/notes")
        assert 'data-theme="dark"' not in kept.html
        chosen = await operator.post(form, theme="light")
        assert chosen.status == 200
        assert 'data-theme="light"' in (await operator.get("/apps/notes")).html


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {},
    ],
)
async def test_form_of_another_site_is_refused(served: Served, headers: dict[str, str]) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes")).form("/theme")
        url = f"{served.url}{form.action}"
        async with operator.http.post(url, data=form.fields, headers=headers) as answer:
            assert answer.status == 403
            assert "sent from another site" in await answer.text()


async def test_page_that_does_not_exist_says_so_in_the_house(served: Served) -> None:
    async with signed_in(served) as operator:
        page = await operator.get("/nowhere")
    assert page.status == 404
    assert "No page has this address. Press Ctrl K to jump to one." in page.text
    assert page.links["Operators"] == "/manager/operators"


async def test_page_of_an_app_that_does_not_exist_is_not_found(served: Served) -> None:
    async with signed_in(served) as operator:
        assert (await operator.get("/apps/nobody")).status == 404


async def test_side_shows_what_the_role_can_open(served: Served) -> None:
    await served.app()
    async with signed_in(served, "read-only") as operator:
        page = await operator.get("/apps/notes")
    assert "Policy for new users" in page.links
    assert "Operators" not in page.links
    assert "Operator tokens" not in page.links


async def test_file_is_kept_by_browsers_under_its_digest(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get("/apps/notes")
        [address] = {part.split('"')[0] for part in page.html.split('href="') if "admit.css" in part}
        style = await operator.get(address)
    assert style.status == 200
    assert "immutable" in style.headers["Cache-Control"]
    assert style.headers["Content-Type"].startswith("text/css")
