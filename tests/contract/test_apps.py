"""Apps: created, changed and loaded whole, alike on both databases."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import create_engine, make_url

from admit.accounts import apps, policies
from admit.accounts.apps import App, AppSettings, MailTemplates, NameTaken, PolicySetting
from admit.accounts.tables import hook_secrets
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.events.log import logs
from admit.storage.database import Database
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction, Unit

NOW = 1_800_000_000_000
DAY_MS = 86_400_000


async def create(
    database: Database, ring: KeyRing, name: str = "demo", owner: str = "owner@example.com"
) -> App:
    app = await database.write(
        lambda tx: apps.create_app(tx, ring, name=name, owner=owner, user_ids="email", now=NOW)
    )
    assert isinstance(app, App)
    return app


async def load(database: Database, ring: KeyRing, key: str = "demo") -> App:
    app = await database.read(lambda tx: apps.load_app(tx, ring, key))
    assert app is not None
    return app


async def test_new_app_has_an_owner_a_log_a_hook_secret_and_lets_everybody_try(
    database: Database, ring: KeyRing
) -> None:
    app = await create(database, ring, owner=" Owner@Example.com ")

    assert app == await load(database, ring)
    assert app == await load(database, ring, app.app_id)
    assert app.owners == {"owner@example.com"}
    assert app.policy == PolicySetting(kind="eval")
    assert app.settings.eval_days == 30
    assert app.hook_secret.startswith("whsec_")
    assert (app.policy_version, app.version) == (1, 1)
    started = await database.read(lambda tx: tx.execute(logs.select()).all())
    assert [(row.app_id, row.position) for row in started] == [(app.app_id, 0)]


async def test_a_name_is_taken_once_by_twenty_at_the_same_time(database: Database, ring: KeyRing) -> None:
    def claim(owner: str) -> asyncio.Task[App | NameTaken]:
        unit = partial(apps.create_app, ring=ring, name="demo", owner=owner, user_ids="email", now=NOW)
        return asyncio.ensure_future(database.write(unit))

    results = await asyncio.gather(*(claim(f"owner{number}@example.com") for number in range(20)))

    winners = [result for result in results if isinstance(result, App)]
    assert len(winners) == 1
    assert results.count(NameTaken("demo")) == 19
    assert (await load(database, ring)).owners == winners[0].owners


@pytest.mark.parametrize("name", ["api", "Demo", "a/b"])
async def test_app_without_a_proper_name_is_not_created(database: Database, ring: KeyRing, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await create(database, ring, name=name)
    assert await database.read(apps.list_apps) == []


async def test_unknown_app_is_nothing(database: Database, ring: KeyRing) -> None:
    assert await database.read(lambda tx: apps.load_app(tx, ring, "nobody")) is None


async def test_list_of_apps_goes_on_where_the_page_ended(database: Database, ring: KeyRing) -> None:
    for name in ("beta", "alpha", "gamma"):
        await create(database, ring, name)

    first = await database.read(lambda tx: apps.list_apps(tx, limit=2))
    rest = await database.read(lambda tx: apps.list_apps(tx, after=first[-1].name))

    assert [app.name for app in first + rest] == ["alpha", "beta", "gamma"]


async def test_policy_version_grows_with_each_change_and_with_nothing_else(
    database: Database, ring: KeyRing
) -> None:
    app = await create(database, ring)
    hook = PolicySetting(
        kind="webhook", url="https://example.com/decide", on_failure="eval", timeout_seconds=2
    )

    versions = [
        await database.write(partial(policies.set_policy, app_id=app.app_id, setting=each, now=NOW))
        for each in (hook, hook, PolicySetting(kind="reject"), hook)
    ]
    await database.write(lambda tx: apps.add_origin(tx, app.app_id, "https://example.com", NOW))

    assert versions == [2, 2, 3, 4]
    loaded = await load(database, ring)
    assert (loaded.policy, loaded.policy_version) == (hook, 4)


async def test_wrong_policy_changes_nothing(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring)
    public = PolicySetting(kind="domains", domains=("example.com", "gmail.com"))
    with pytest.raises(InvalidRequest):
        await database.write(lambda tx: policies.set_policy(tx, app.app_id, public, NOW))
    assert await load(database, ring) == app


async def test_settings_are_kept(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring)
    settings = AppSettings(
        eval_days=14,
        refuse_hopeless_at_step_1=True,
        mail_sender="Demo <login@example.com>",
        mail_templates=MailTemplates(subject="{{ otp }}", text="ä", html="<b>"),
    )
    await database.write(lambda tx: apps.set_settings(tx, app.app_id, settings, NOW))
    assert (await load(database, ring)).settings == settings


async def test_origin_is_added_once_and_removed_in_any_spelling(database: Database, ring: KeyRing) -> None:
    app_id = (await create(database, ring)).app_id

    added = [
        await database.write(partial(apps.add_origin, app_id=app_id, origin=each, now=NOW))
        for each in ("https://example.com/", "https://EXAMPLE.com:443", "http://localhost:3000")
    ]
    assert added == [True, False, True]
    assert (await load(database, ring)).origins == {"https://example.com", "http://localhost:3000"}

    removed = [
        await database.write(lambda tx: apps.remove_origin(tx, app_id, "HTTPS://example.com/", NOW))
        for _ in range(2)
    ]
    assert removed == [True, False]
    assert (await load(database, ring)).origins == {"http://localhost:3000"}


async def test_origins_have_a_limit(
    database: Database, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "ORIGINS_MAX", 1)
    app_id = (await create(database, ring)).app_id
    await database.write(lambda tx: apps.add_origin(tx, app_id, "https://a.example", NOW))
    with pytest.raises(Conflict, match="at most 1 origins"):
        await database.write(lambda tx: apps.add_origin(tx, app_id, "https://b.example", NOW))
    assert (await load(database, ring)).origins == {"https://a.example"}


async def test_last_owner_stays_even_when_two_leave_at_once(database: Database, ring: KeyRing) -> None:
    app_id = (await create(database, ring, owner="a@example.com")).app_id
    await database.write(lambda tx: apps.add_owner(tx, app_id, "B@example.com", NOW))

    left = await asyncio.gather(
        *(
            database.write(partial(apps.remove_owner, app_id=app_id, email=email, now=NOW))
            for email in ("a@example.com", "b@example.com")
        )
    )

    assert sorted(left) == [False, True]
    assert len((await load(database, ring)).owners) == 1


async def test_last_owner_stays_when_two_processes_remove_one_each(postgres_url: str, ring: KeyRing) -> None:
    here = Database(postgres_url)
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    try:
        app_id = (await create(here, ring, owner="a@example.com")).app_id
        await here.write(lambda tx: apps.add_owner(tx, app_id, "b@example.com", NOW))
        with engine.begin() as there:
            there.execute(apps.MARK_CHANGED, {"app": app_id, "now": NOW})
            there.execute(apps.REMOVE_OWNER, {"app": app_id, "email": "a@example.com"})
            second = asyncio.create_task(
                here.write(partial(apps.remove_owner, app_id=app_id, email="b@example.com", now=NOW))
            )
            await asyncio.wait({second}, timeout=0.2)  # it must not finish before the other has committed
        assert not await second
        assert (await load(here, ring)).owners == {"b@example.com"}
    finally:
        engine.dispose()
        here.close()


async def test_new_hook_secret_is_joined_by_the_old_one_for_a_day(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring)

    new = await database.write(lambda tx: apps.rotate_hook_secret(tx, ring, app.app_id, NOW))

    loaded = await load(database, ring)
    assert apps.hook_secrets_of(loaded, NOW + DAY_MS - 1) == (new, app.hook_secret)
    assert apps.hook_secrets_of(loaded, NOW + DAY_MS) == (new,)
    assert new != app.hook_secret


async def test_hook_secret_rotated_twice_in_a_day_leaves_two(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring)
    second, third = [
        await database.write(lambda tx: apps.rotate_hook_secret(tx, ring, app.app_id, NOW)) for _ in range(2)
    ]
    assert apps.hook_secrets_of(await load(database, ring), NOW) == (third, second)


async def test_hook_secret_is_sealed_and_holds_in_its_own_row_only(database: Database, ring: KeyRing) -> None:
    first, second = await create(database, ring), await create(database, ring, "other")

    def swap(tx: Transaction) -> list[str]:
        rows = tx.execute(hook_secrets.select().order_by(hook_secrets.c.created_at)).all()
        sealed = {row.app_id: row.sealed for row in rows}
        statement = hook_secrets.update().where(hook_secrets.c.app_id == first.app_id)
        tx.execute(statement.values(sealed=sealed[second.app_id]))
        return list(sealed.values())

    stored = await database.write(swap)

    assert not [text for text in stored if "whsec" in text or first.hook_secret[6:] in text]
    with pytest.raises(SealBroken):
        await load(database, ring)


async def test_snapshot_does_not_print_its_secrets(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring)
    assert app.hook_secret not in repr(app)


async def test_what_does_not_exist_cannot_be_changed(database: Database, ring: KeyRing) -> None:
    units: list[Unit[object]] = [
        partial(policies.set_policy, app_id="app_x", setting=PolicySetting(kind="prod"), now=NOW),
        partial(apps.set_settings, app_id="app_x", settings=AppSettings(), now=NOW),
        partial(apps.add_origin, app_id="app_x", origin="https://example.com", now=NOW),
        partial(apps.add_owner, app_id="app_x", email="a@example.com", now=NOW),
        partial(apps.rotate_hook_secret, ring=ring, app_id="app_x", now=NOW),
    ]
    for unit in units:
        with pytest.raises(NotFound) as caught:
            await database.write(unit)
        assert caught.value.code == "app_not_found"
