"""The pages of events, deliveries and the catalogue."""

import asyncio

from tests.contract.manager_pages import FoundForm, signed_in
from tests.contract.served import Served
from tests.contract.signin_desk import device
from tests.contract.test_admin_api import api
from tests.contract.test_manager_endpoints import endpoint, until
from tests.contract.token_desk import signed_in as enrolled
from tests.receiver import always, receiving

EVENTS = "/apps/notes/events"


async def test_app_in_which_nothing_happened_says_what_will_appear(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(EVENTS)
    assert "Nothing has happened yet" in page.text
    assert "data-live=" in page.html


async def test_events_are_listed_from_the_newest_and_paged_both_ways(served: Served) -> None:
    app = await served.app()
    await served.write(
        app, *({"userId": f"u{number:02}@example.com", "type": "prod"} for number in range(60))
    )
    async with signed_in(served) as operator:
        newest = await operator.get(EVENTS)
        older = await operator.get(newest.links["Older"])
        newer = await operator.get(older.links["Newer"])
    assert "u59@example.com" in newest.links
    assert "u09@example.com" not in newest.links
    assert "u09@example.com" in older.links
    assert "Older" not in older.links
    assert newer.text.count("user.enrolled") >= 50
    assert "u59@example.com" in newer.links
    assert "data-live" not in older.html.replace("data-live-empty", "")


async def test_events_are_found_by_person_device_type_and_id(served: Served) -> None:
    await served.app()
    laptop, phone = device(1), device(2)
    assert (await enrolled(served, "ada@example.com", by=laptop)).status == 200
    assert (await enrolled(served, "bob@example.com", by=phone)).status == 200
    listed = (await api(served, "GET", "apps/notes/events?types=device.enrolled")).json["events"]
    identifier = listed[0]["data"]["device"]["identifier"]
    async with signed_in(served) as operator:
        of_ada = await operator.get(f"{EVENTS}?q=ada@example.com")
        on_laptop = await operator.get(f"{EVENTS}?q={identifier}")
        of_type = await operator.get(f"{EVENTS}?type=user.enrolled")
        by_id = await operator.get(f"{EVENTS}?q={listed[0]['id']}")
        nothing = await operator.get(f"{EVENTS}?q=nobody@example.com")
        wrong = await operator.get(f"{EVENTS}?type=user.enroled")
    for page in (of_ada, on_laptop):
        assert "ada@example.com" in page.links
        assert "bob@example.com" not in page.links
    assert "user.enrolled" in of_type.links
    assert "session.started" not in of_type.links
    assert by_id.url.endswith(f"/events/{listed[0]['id']}")
    assert "No event fits." in nothing.text
    assert wrong.status == 400


async def test_event_shows_its_body_its_person_and_who_was_told(served: Served) -> None:
    await served.app()
    async with receiving(always()) as receiver:
        await endpoint(served, receiver.url, description="CRM")
        assert (await enrolled(served, "ada@example.com")).status == 200
        async with signed_in(served) as operator:
            listed = await operator.get(f"{EVENTS}?type=user.enrolled")
            page = await until(operator, listed.links["user.enrolled"], lambda page: "Delivered" in page.text)
            delivery = await operator.get(page.links["CRM"])
            unknown = await operator.get(f"{EVENTS}/evt_unknown")
    assert '"email" : "ada@example.com"' in page.text
    assert page.links["ada@example.com"] == "/manager/apps/notes/people/ada%40example.com"
    assert "Delivered" in delivery.text
    assert "Attempt 1" in delivery.text
    assert unknown.status == 404


async def test_new_events_come_live_as_rows(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(EVENTS)
        address = page.html.split('data-live="')[1].split('"')[0].replace("&amp;", "&")
        async with operator.http.get(served.url + address) as stream:
            assert (await enrolled(served, "ada@example.com")).status == 200
            told = b""
            async with asyncio.timeout(20):
                while b"session.started" not in told:
                    told += await stream.content.readany()
    text = told.decode()
    assert text.index("session.started") < text.index("device.enrolled") < text.index("user.enrolled")
    assert "ada@example.com" in text
    assert "<html" not in text


async def test_deliveries_of_all_endpoints_are_found_by_state_and_person(served: Served) -> None:
    await served.app()
    async with receiving(always()) as well, receiving(always(500)) as ill:
        await endpoint(served, well.url, description="Good", events=["user.enrolled"])
        await endpoint(served, ill.url, description="Bad", events=["user.enrolled"])
        for name in ("ada", "bob"):
            assert (await enrolled(served, f"{name}@example.com")).status == 200
        async with signed_in(served) as operator:
            path = "/apps/notes/deliveries"
            both = await until(operator, path, lambda page: page.text.count("It answered 500") == 2)
            waiting = await operator.get(f"{path}?state=waiting")
            of_ada = await operator.get(f"{path}?user=ada@example.com")
            nobody = await operator.get(f"{path}?user=nobody@example.com")
            wrong = await operator.get(f"{path}?state=lost")
            back = next(form for form in waiting.forms if "back" in form.fields)
            delivery = waiting.links["user.enrolled"]
            retried = await operator.post(FoundForm(f"{delivery}/retry", back.fields))
            elsewhere = await operator.post(
                FoundForm(f"{delivery}/retry", back.fields | {"back": "https://evil.example/"})
            )
    assert {"Good", "Bad"} <= both.links.keys()
    assert "Bad" in waiting.links
    assert "Good" not in waiting.links
    assert "bob@example.com" not in of_ada.links
    assert "No delivery fits." in nobody.text
    assert wrong.status == 400
    assert retried.url.endswith("/deliveries?state=waiting") or retried.status == 409
    assert "evil" not in elsewhere.url


async def test_catalogue_tells_each_type_and_sends_an_example(served: Served) -> None:
    await served.app()
    async with receiving(always()) as receiver:
        told = await endpoint(served, receiver.url, description="CRM", events=["user.deleted"])
        async with signed_in(served) as operator:
            catalogue = await operator.get("/apps/notes/event-types")
            page = await operator.get(catalogue.links["user.enrolled"])
            nobody = await operator.post(page.form("/example"))
            sent = await operator.post(page.form("/example"), endpoint=told)
            unknown = await operator.get("/apps/notes/event-types/user.enroled")
        assert "The example is on its way" in sent.text
        async with asyncio.timeout(20):
            await receiver.arrived.wait()
        assert receiver.calls[0].json["type"] == "user.enrolled"
        assert receiver.calls[0].json["data"]["test"] is True
    assert "A person was admitted and now lives here." in catalogue.text
    assert "JSON Schema" in page.text
    assert nobody.status == 400
    assert "No web hook is told of user.enrolled" in nobody.text
    assert unknown.status == 404


async def test_support_retries_and_read_only_looks(served: Served) -> None:
    await served.app()
    async with receiving(always(500)) as receiver:
        await endpoint(served, receiver.url, events=["user.enrolled"])
        assert (await enrolled(served, "ada@example.com")).status == 200
        path = "/apps/notes/deliveries"
        async with signed_in(served, "support") as support, signed_in(served, "read-only") as reader:
            page = await until(support, path, lambda page: "It answered 500" in page.text)
            delivery = page.links["user.enrolled"]
            retried = await support.post((await support.get(delivery)).form("/retry"))
            seen = await reader.get(delivery)
            csrf = seen.form("/theme").fields["csrf"]
            refused = await reader.post(FoundForm(f"{delivery}/retry", {"csrf": csrf}))
            example = await reader.get("/apps/notes/event-types/user.enrolled")
    assert retried.status in (200, 409)
    assert "Retry" not in seen.text
    assert refused.status == 403
    assert "Send an example" not in example.text
