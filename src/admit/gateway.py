"""The joint: the one place that knows every room, opens them in order and closes them in the other."""

import asyncio
import tomllib
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import msgspec
import structlog

from admit import clock as real_clock
from admit.accounts import enrollment_tokens, expiry, former_keys, session_expiry
from admit.accounts import sealed as accounts_sealed
from admit.accounts.connections import Connections
from admit.accounts.device_totals import DeviceTotals
from admit.accounts.directory import Directory
from admit.accounts.tokens import Mint
from admit.accounts.user_totals import UserTotals
from admit.clock import Clock
from admit.config import Settings
from admit.data.change_news import ChangeNews
from admit.data.table_learning import KnownTables
from admit.enrollment import admissions, departures
from admit.enrollment import hours as admission_hours
from admit.enrollment.admit import Door
from admit.enrollment.creations import write_users
from admit.errors import ConfigError
from admit.events import upkeep
from admit.events.news import News
from admit.jobs import hours
from admit.jobs.line_news import LineNews
from admit.jobs.worker import Line, Worker
from admit.operators import challenges, changes, links
from admit.operators import sessions as operator_sessions
from admit.operators.account import Account
from admit.operators.entrance import Entrance
from admit.operators.passwords import Passwords
from admit.outbound.addresses import EgressPolicy
from admit.outbound.http import HttpClient
from admit.outbound.mail import Mailer, mailer_for
from admit.signin import known_networks, limits, mail_job, one_time_codes, sign_in_codes
from admit.signin.app_mail import AppMailers
from admit.signin.demo import DemoUsers
from admit.signin.email_code import EmailCodes
from admit.signin.enrollment_token import EnrollmentTokens
from admit.signin.limits import Limits
from admit.signin.meter import Meter
from admit.signin.providers.client import ProviderClient
from admit.signin.sso_codes import SsoCodes
from admit.signin.trial_mails import TestMails
from admit.storage import migrate
from admit.storage.database import Database
from admit.storage.key_file import load_or_make_key
from admit.storage.lock import FileLock
from admit.storage.resealing import reseal
from admit.storage.sealing import KeyRing
from admit.tasks import registrations, runs
from admit.tasks import sealed as tasks_sealed
from admit.tasks.deciding import Deciders
from admit.tasks.registry import Registry
from admit.tasks.runs import Runs
from admit.tasks.workshop import Workshop
from admit.webhooks import alarms, campaign_work, campaigns, change_delivery, delivery, endpoints
from admit.webhooks import sealed as webhooks_sealed
from admit.webhooks.book import Book

HOUSEKEEPING_EVERY_SECONDS = 600.0
PRUNE_ROWS = 500
RESEALED_ROWS = 100
SEALED = (*accounts_sealed.SEALED, *webhooks_sealed.SEALED, *tasks_sealed.SEALED)
DAY_MS = real_clock.DAY_MS

log = structlog.get_logger("admit.gateway")

Prune = Callable[..., int]
"""Forgets at most `rows_max` rows that have expired at `now`, and says how many it were."""


class Gateway:
    """Everything that a door needs. Made by `open`; `close` ends what runs and releases what is held."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        db: Database,
        ring: KeyRing,
        http: HttpClient,
        events_http: HttpClient,
        mailer: Mailer,
        egress: EgressPolicy,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.db = db
        self.ring = ring
        self.http = http
        self.events_http = events_http
        self.mailer = mailer
        self.egress = egress
        self.directory = Directory(db, ring)
        self.mailers = AppMailers(mailer, self.directory, egress, clock)
        self.mint = Mint(db, ring, clock, settings.access_token_seconds, settings.refresh_token_days)
        self.limits = limits_of(settings)
        self.meter = Meter(db, ring, clock)
        self.codes = EmailCodes(db, ring, clock, self.limits, settings.otp_seconds)
        self.test_mails = TestMails(db, ring, clock, self.limits, self.mailers, settings.mail_sender)
        self.connections = Connections(db, clock)
        self.news = News(db)
        self.line_news = LineNews(db)
        self.change_news = ChangeNews(db)
        self.known_tables = KnownTables(db)
        self.user_totals = UserTotals(db)
        self.device_totals = DeviceTotals(db, clock)
        self.book = Book(db, ring)
        passwords = Passwords()
        self.entrance = Entrance(db, ring, clock, self.limits, passwords, settings.public_url)
        self.account = Account(db, ring, clock, passwords, settings.public_url)
        self.demo_users = DemoUsers(db, ring, clock, self.limits)
        self.workshop = _workshop(settings)
        self.registry = self._registry()
        self.runs = self._runs()
        self.enrollment_tokens = EnrollmentTokens(db, ring, clock, self.limits)
        self.providers = ProviderClient(http, clock)
        self.sso_codes = SsoCodes(db, ring, clock, self.limits)
        self.door = Door(db, ring, http, clock, settings.refresh_token_days * DAY_MS, tasks=self._deciders())
        self._prunes = _prunes(settings.retention_days * DAY_MS)
        self._idle_looked_at = 0
        self._closing = AsyncExitStack()

    @classmethod
    async def open(
        cls, settings: Settings, *, serve_address: str | None, clock: Clock = real_clock.now
    ) -> Self:
        """Opens every room. With a `serve_address` it also works off jobs, and keeps house.

        Raises ConfigError for settings that cannot work, such as a SQLite file that another server holds.
        """
        async with AsyncExitStack() as opened:
            ring = _hold(settings, serve_address, opened)
            _bring_up_to_date(settings)
            egress = EgressPolicy.parse(settings.egress_allow)
            db = Database(settings.database_url, listen_url=settings.database_listen_url)
            opened.callback(db.close)
            db.signals.attach(asyncio.get_running_loop())
            http = HttpClient(egress)
            opened.push_async_callback(http.close)
            # Endpoints whose names or hosts hang must not be in the way of logins.
            events_http = HttpClient(egress)
            opened.push_async_callback(events_http.close)
            mailer = mailer_for(settings.mail_url)
            opened.push_async_callback(mailer.close)
            gateway = cls(
                settings,
                clock=clock,
                db=db,
                ring=ring,
                http=http,
                events_http=events_http,
                mailer=mailer,
                egress=egress,
            )
            opened.callback(gateway.directory.close)
            opened.callback(gateway.book.close)
            opened.push_async_callback(gateway.news.close)
            opened.callback(gateway.line_news.close)
            opened.push_async_callback(gateway.change_news.close)
            opened.push_async_callback(gateway.user_totals.close)
            opened.push_async_callback(gateway.device_totals.close)
            opened.push_async_callback(gateway.mailers.close)
            if gateway.workshop is not None and gateway.registry is not None:
                opened.push_async_callback(gateway.workshop.close)
                opened.push_async_callback(gateway.registry.close)
            if gateway.runs is not None:
                opened.push_async_callback(gateway.runs.close)
            await gateway.mint.load()
            opened.push_async_callback(gateway.mint.close)
            opened.push_async_callback(gateway.providers.close)
            opened.push_async_callback(gateway.door.close)
            opened.push_async_callback(gateway.connections.close)
            if serve_address is not None:
                await gateway._start_work(opened)
            gateway._closing = opened.pop_all()
        return gateway

    def _deciders(self) -> Deciders | None:
        """Whoever runs the tasks that policies name; None: there are none here."""
        if self.workshop is None or self.registry is None or self.runs is None:
            return None
        return Deciders(self.registry, self.workshop, self.runs.visit, self.clock)

    @property
    def host(self) -> str:
        """Ours, as receivers of web hooks of the data model are told it."""
        return urlsplit(self.settings.public_url).netloc

    def end_waits(self) -> None:
        """Lets go whoever waits for news: the server is about to stop."""
        self.news.end_waits()
        self.line_news.end_waits()

    def _registry(self) -> Registry | None:
        if self.workshop is None:
            return None
        watch = self.settings.tasks_reload == "change"
        folder = Path(self.settings.tasks)
        return Registry(self.db, self.ring, self.directory, self.workshop, folder, self.clock, watch=watch)

    def _runs(self) -> Runs | None:
        if self.workshop is None or self.registry is None:
            return None
        write = partial(write_users, source="task")
        return Runs(
            self.db,
            self.registry,
            self.workshop,
            self.directory,
            self.events_http,
            self.clock,
            write,
            server=self.host,
        )

    async def close(self) -> None:
        """Ends what runs: decisions are awaited, jobs drained, commits made."""
        await self._closing.aclose()

    async def _start_work(self, opened: AsyncExitStack) -> None:
        alone = self.settings.on_sqlite
        if alone:
            await self.db.write(admissions.release_all)
        lines = {
            mail_job.KIND: mail_job.line(
                self.ring, self.mailers.mailer_of, self.clock, sender=self.settings.mail_sender
            ),
            expiry.JOB_KIND: Line(expiry.handler(self.clock)),
            alarms.KIND: alarms.line(self.directory, self.ring, self.clock, sender=self.settings.mail_sender),
            endpoints.KIND: delivery.line(
                self.book, self.directory, self.events_http, self.clock, server=self.host
            ),
            change_delivery.KIND: change_delivery.line(self.db, self.book, self.events_http, self.clock),
            campaigns.JOB_KIND: campaign_work.line(self.db, self.clock),
        }
        if self.runs is not None:
            lines[runs.KIND] = self.runs.line()
        worker = Worker(
            self.db, lines, self.clock, alone=alone, retention_ms=self.settings.retention_days * DAY_MS
        )
        if self.registry is not None:
            await self.registry.start()
        working = asyncio.create_task(worker.run())
        opened.push_async_callback(_end, working)
        opened.push_async_callback(worker.stop)
        self.connections.start()
        keeping = asyncio.create_task(self._keep_house())
        opened.push_async_callback(_end, keeping)

    async def _keep_house(self) -> None:
        """Seals anew what a former key has sealed, then forgets what has expired, a little at a time."""
        try:
            await self._reseal()
        except Exception as error:
            log.warning("housekeeping.failed", cause=type(error).__name__)
        while True:
            try:
                await self._forget_events()
            except Exception as error:
                log.warning("housekeeping.failed", cause=type(error).__name__)
            for prune in self._prunes:
                try:
                    await self._prune(prune)
                except Exception as error:
                    log.warning("housekeeping.failed", cause=type(error).__name__)
            try:
                await self._end_idle_sessions()
            except Exception as error:
                log.warning("housekeeping.failed", cause=type(error).__name__)
            await asyncio.sleep(real_clock.jitter(HOUSEKEEPING_EVERY_SECONDS))

    async def _reseal(self) -> None:
        while anew := await self.db.write(
            partial(reseal, ring=self.ring, columns=SEALED, rows_max=RESEALED_ROWS), patient=True
        ):
            log.info("sealed.anew", rows=anew)

    async def _forget_events(self) -> None:
        """Deletes the events of all apps that are older than they are kept."""
        before = self.clock() - self.settings.retention_days * DAY_MS
        after: str | None = ""
        while after is not None:
            logs = await self.db.read(partial(upkeep.old_logs, after=after, before=before))
            for app_id in logs.old:
                prune = partial(upkeep.prune, app_id=app_id, before=before, rows_max=PRUNE_ROWS)
                while await self.db.write(prune, patient=True) == PRUNE_ROWS:
                    pass
            after = logs.last

    async def _end_idle_sessions(self) -> None:
        """Looks once a day: an idle session is refused long before it is told."""
        now = self.clock()
        if now - self._idle_looked_at >= DAY_MS:
            if ended := await session_expiry.end_idle(self.db, now):
                log.info("sessions.inactive", sessions=ended)
            self._idle_looked_at = now

    async def _prune(self, prune: Prune) -> None:
        """Runs `prune` in small units until nothing is left, so that logins pass."""
        now = self.clock()
        while await self.db.write(partial(prune, now=now, rows_max=PRUNE_ROWS), patient=True) == PRUNE_ROWS:
            pass


def _prunes(kept_ms: int) -> tuple[Prune, ...]:
    """What forgets, in this order; some rows are kept for `kept_ms` after their end."""
    return (
        one_time_codes.prune,
        sign_in_codes.prune,
        known_networks.prune,
        limits.prune,
        operator_sessions.prune,
        links.prune,
        challenges.prune,
        changes.prune,
        former_keys.prune,
        admission_hours.prune,
        hours.prune,
        session_expiry.expire,
        partial(enrollment_tokens.prune, kept_ms=kept_ms),
        partial(departures.prune, kept_ms=kept_ms),
        partial(registrations.prune, kept_ms=kept_ms),
    )


def _workshop(settings: Settings) -> Workshop | None:
    """The processes of tasks; None: there is no folder of them."""
    if not settings.tasks:
        return None
    return Workshop(
        processes_max=settings.tasks_processes,
        memory_bytes=settings.tasks_memory_mb * 1_000_000,
        user=settings.tasks_user,
    )


def limits_of(settings: Settings) -> Limits:
    """The limits that RATE_LIMITS asks for. Raises ConfigError for a file that cannot be read as such."""
    match settings.rate_limits:
        case "on":
            return Limits()
        case "off":
            return Limits.off()
        case path:
            try:
                return msgspec.convert(tomllib.loads(Path(path).read_text()), Limits)
            except (OSError, ValueError, msgspec.ValidationError) as error:
                raise ConfigError(
                    f"RATE_LIMITS names {path!r}, which cannot be used: {error}. Example of a line: "
                    "mails_per_mailbox = {count = 10, window_seconds = 3600}"
                ) from error


def _hold(settings: Settings, serve_address: str | None, opened: AsyncExitStack) -> KeyRing:
    """The key ring; on SQLite also the file, which is ours alone from here on."""
    secret = settings.secret_key
    if settings.on_sqlite:
        path = Path(settings.database_url.removeprefix("sqlite:///"))
        lock = FileLock(path)
        lock.acquire(serve_address)
        opened.callback(lock.release)
        secret = secret or load_or_make_key(path.with_name(path.name + ".key"))
    return KeyRing.parse(secret)


def _bring_up_to_date(settings: Settings) -> None:
    if settings.migrate == "auto":
        migrate.migrate(settings.database_url)
    elif pending := migrate.pending(settings.database_url):
        raise ConfigError(
            f"The database lacks {len(pending)} migrations and MIGRATE is manual. Run: admit migrate"
        )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
