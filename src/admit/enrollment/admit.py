"""The one way in: a proof goes in, a login comes out, or a refusal.

enter ─┬─ known ────────────────────────────────────────────► login
       ├─ unknown, ours to decide ──► decide ──► settle ────► login, or refusal
       └─ unknown, a rival decides ─► wait for its verdict ─► enter again, or the same refusal
"""

import asyncio
from contextlib import suppress
from typing import assert_never

import structlog

from admit.accounts import email_proofs
from admit.accounts.apps import App, hook_secrets_of
from admit.clock import Clock, new_id
from admit.enrollment import (
    admissions,
    asking,
    decision_hook,
    decision_task,
    ledger,
    settlements,
    trials,
)
from admit.enrollment.admissions import (
    Again,
    Awaited,
    Contested,
    CredentialGone,
    Login,
    Nowhere,
    Opened,
)
from admit.enrollment.asking import ATTEMPTS_MAX, TRY_AGAIN, Answer, Asked, Places
from admit.enrollment.barred import Barred, refusal_of
from admit.enrollment.decision_hook import Hook, Question
from admit.enrollment.decision_task import NO_TASKS, NobodyAsked, TaskAsked, TaskDecider
from admit.enrollment.entries import Entry
from admit.enrollment.policy import (
    Applicant,
    Ask,
    AskHook,
    AskTask,
    Fault,
    Refuse,
    Verdict,
    decide,
    without_answer,
)
from admit.enrollment.settlements import Late, Settled, Settlement
from admit.enrollment.trials import Trial
from admit.errors import (
    EMAIL_NOT_VERIFIED,
    SIGN_IN_EXPIRED,
    Conflict,
    InvalidOtp,
    Refused,
    StorageUnavailable,
    Unavailable,
)
from admit.outbound.http import HttpClient
from admit.signin.email_code import WRONG_CODE
from admit.signin.proof import Proof
from admit.signin.sso import EXPIRED
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

LEASE_MARGIN_MS = 5_000
ENTRIES_MAX = 8
LOOK_EVERY_SECONDS = 1.0

UNVERIFIED = "The owner of this email address has proven it here. Verify your address before you sign in."

log = structlog.get_logger("admit.enrollment")


class Door:
    """Lets people in. It lives as long as the server: decisions go on when the one who asked has hung up."""

    def __init__(
        self,
        db: Database,
        ring: KeyRing,
        http: HttpClient,
        clock: Clock,
        refresh_token_ms: int,
        *,
        tasks: TaskDecider | None = None,
    ) -> None:
        self._db = db
        self._ring = ring
        self._http = http
        self._clock = clock
        self._refresh_token_ms = refresh_token_ms
        self._tasks = tasks
        self._places = Places()
        self._deciding: dict[str, asyncio.Task[Settled]] = {}
        self._heard: dict[str, asyncio.Event] = {}
        self._unsubscribe = db.signals.subscribe("admission", self._hear)

    async def admit(self, app: App, proof: Proof) -> Login:
        """Lets the owner of `proof` in, for the first time or again.

        Raises Refused with the code that the person is shown, also when a sign-in code was used up meanwhile,
        InvalidOtp for a mailed one, and Unavailable when no verdict can be had in time.
        """
        keyless = new_id("key")
        for _ in range(ENTRIES_MAX):
            entry = self._entry(app, proof, keyless)
            entered = await self._db.write_together(admissions.enter, entry)
            match entered:
                case Login():
                    return entered
                case Barred() as barred:
                    raise refusal_of(barred)
                case CredentialGone():
                    raise _credential_gone(proof)
                case Nowhere():
                    raise Refused(proof.refusal.message, code=proof.refusal.code)
                case Contested(by="unverified"):
                    raise Refused(UNVERIFIED, code=EMAIL_NOT_VERIFIED)
                case Contested(user=user):
                    await email_proofs.prove(self._db, user, proof.email, self._clock())
                    continue
                case Opened():
                    outcome = await self._decided(entry, entered)
                case Awaited():
                    outcome = await self._verdict_of_rival(app, entered)
                    if isinstance(outcome, Refuse) and entered.way_in != proof.way_in:
                        continue  # another rule said no
                case Again():
                    continue
                case _:
                    assert_never(entered)
            if isinstance(outcome, Login):
                return outcome
            if isinstance(outcome, Refuse):
                raise Refused(outcome.message, code=outcome.code)
        raise Unavailable(TRY_AGAIN, retry_after_seconds=5)

    async def try_out(self, app: App, proof: Proof, ask: Ask) -> Trial:
        """Asks about somebody imagined. Nothing is written, and nobody comes in by the answer.

        It takes a place like any other question, so that those who are asked have no more of them at once.
        Raises Unavailable if there is none in time, and Conflict where this server runs no tasks.
        """
        async with self._places.taken(app.app_id):
            match ask:
                case AskHook():
                    secrets = hook_secrets_of(app, self._clock())
                    return await trials.try_hook(self._http, ask, proof, secrets, self._clock)
                case AskTask():
                    if self._tasks is None:
                        raise Conflict(NO_TASKS, code="no_tasks")
                    return await trials.try_task(self._tasks, app, ask, proof)
                case _:
                    assert_never(ask)

    async def close(self) -> None:
        """Waits for the decisions that are being made."""
        self._unsubscribe()
        await asyncio.gather(*self._deciding.values(), return_exceptions=True)

    def _entry(self, app: App, proof: Proof, keyless: str) -> Entry:
        now = self._clock()
        return Entry(
            app=app,
            proof=proof,
            admission_id=new_id("adm"),
            input_digest=self._ring.digest("decision-input", f"{app.app_id}/{proof.user_id}/{proof.email}"),
            now=now,
            lease_until=now + round(app.policy_for(proof.way_in).timeout_seconds * 1000) + LEASE_MARGIN_MS,
            refresh_until=now + self._refresh_token_ms,
            keyless=keyless,
        )

    async def _decided(self, entry: Entry, opened: Opened) -> Settled:
        """The outcome of our own decision, made apart from this request: others may wait for it too."""
        task = asyncio.create_task(self._decide_or_give_back(entry, opened))
        self._keep(opened.admission_id, task)
        return await asyncio.shield(task)

    async def _decide_or_give_back(self, entry: Entry, opened: Opened) -> Settled:
        """What goes wrong here must not keep the person waiting until the lease ends."""
        try:
            return await self._decide_and_settle(entry, opened)
        except Exception:
            with suppress(StorageUnavailable):
                await self._db.write(lambda tx: admissions.give_back(tx, entry.app.app_id, opened))
            raise

    async def _decide_and_settle(self, entry: Entry, opened: Opened) -> Settled:
        decision = decide(entry.policy, _applicant(entry.proof))
        if isinstance(decision, Ask):
            answer = await self._ask(entry, opened, decision)
            verdict = _verdict(answer, decision)
        else:
            answer, verdict = Answer(outcome=decision, attempts=0, latency_ms=0), decision
        settlement = Settlement(
            entry=entry,
            opened=opened,
            verdict=verdict,
            attempts=answer.attempts,
            latency_ms=answer.latency_ms,
            now=self._clock(),
            fault=isinstance(answer.outcome, Fault),
            record=answer.record,
        )
        settled = await self._db.write_together(settlements.settle, settlement)
        log.info(
            "admission.settled",
            app_id=entry.app.app_id,
            admission_id=opened.admission_id,
            outcome="late" if isinstance(settled, Late) else verdict.__class__.__name__.lower(),
            policy=entry.policy.kind,
            way_in=entry.proof.way_in,
            attempts=answer.attempts,
            latency_ms=answer.latency_ms,
        )
        return settled

    async def _ask(self, entry: Entry, opened: Opened, ask: Ask) -> Answer:
        """Asks once there is a place. Raises Unavailable if there is none in time."""
        async with self._places.taken(entry.app.app_id):
            return await asking.ask(self._asked(entry, opened, ask), ask.timeout_seconds)

    def _asked(self, entry: Entry, opened: Opened, ask: Ask) -> Asked:
        match ask:
            case AskHook():
                question = Question(
                    admission_id=opened.admission_id,
                    url=ask.url,
                    secrets=hook_secrets_of(entry.app, self._clock()),
                    request=decision_hook.request_of(entry.proof, ask.payload),
                )
                return Hook(self._http, question, self._clock)
            case AskTask():
                if self._tasks is None:
                    return NobodyAsked(NO_TASKS)
                decision = decision_task.decision_of(entry.proof, opened.admission_id)
                earlier = (opened.fence - 1) * ATTEMPTS_MAX
                return TaskAsked(self._tasks.begin(entry.app, ask.task, decision, earlier), ask.task)
            case _:
                assert_never(ask)

    async def _verdict_of_rival(self, app: App, awaited: Awaited) -> Settled:
        """The outcome that a rival has reached, here or elsewhere; Again where we must enter anew."""
        task = self._deciding.get(awaited.admission_id)
        if task is None:
            task = asyncio.create_task(self._watch(app.app_id, awaited))
            self._keep(awaited.admission_id, task)
        outcome = await asyncio.shield(task)
        return outcome if isinstance(outcome, Refuse) else Again()

    async def _watch(self, app_id: str, awaited: Awaited) -> Settled:
        """Waits for the verdict of another process, for everyone here, until its lease ends.

        The end is also measured without the clock of the wall, which may be set back meanwhile.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + (awaited.lease_until - self._clock()) / 1000
        settled = self._heard[awaited.admission_id] = asyncio.Event()
        try:
            while (left := min(end - loop.time(), (awaited.lease_until - self._clock()) / 1000)) > 0:
                settled.clear()
                outcome = await self._db.read(lambda tx: ledger.outcome(tx, app_id, awaited.admission_id))
                if outcome is not None:
                    return outcome
                await _wait(settled, min(LOOK_EVERY_SECONDS, left))
            return Again()
        finally:
            if self._heard.get(awaited.admission_id) is settled:
                del self._heard[awaited.admission_id]

    def _keep(self, admission_id: str, task: asyncio.Task[Settled]) -> None:
        """Lets rivals of this process share `task` until it is done."""
        self._deciding[admission_id] = task
        task.add_done_callback(lambda done: self._forget(admission_id, done))

    def _forget(self, admission_id: str, task: asyncio.Task[Settled]) -> None:
        if self._deciding.get(admission_id) is task:
            del self._deciding[admission_id]

    def _hear(self, admission_id: str | None) -> None:
        """An admission was settled somewhere; None: look at all that somebody waits for."""
        for each in tuple(self._heard) if admission_id is None else (admission_id,):
            if each in self._heard:
                self._heard[each].set()


def _credential_gone(proof: Proof) -> InvalidOtp | Refused:
    if proof.sign_in_code is not None:
        return Refused(EXPIRED, code=SIGN_IN_EXPIRED)
    return InvalidOtp(WRONG_CODE)


def _applicant(proof: Proof) -> Applicant:
    return Applicant(
        user_id=proof.user_id, email=proof.email, email_verified=proof.email_verified, intent=proof.intent
    )


def _verdict(answer: Answer, ask: Ask) -> Verdict:
    outcome = answer.outcome
    return without_answer(ask, outcome) if isinstance(outcome, Fault) else outcome


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
