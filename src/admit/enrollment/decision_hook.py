"""Asking the operator's endpoint about one unknown person.

One budget covers all attempts. Every attempt carries the same `webhook-id`, the admission's, so that the
endpoint can tell a repetition from a second person.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from admit.accounts import devices
from admit.accounts.app_settings import Payload
from admit.clock import Clock, jitter
from admit.enrollment.hook_reply import Fault, read_reply
from admit.enrollment.policy import Verdict
from admit.outbound import signing
from admit.outbound.http import Failure, HttpClient, Reply
from admit.signin.proof import Proof

ATTEMPTS_MAX = 3
REPLY_BYTES_MAX = 65_536
PAUSES_SECONDS = (0.1, 0.4)
TRY_AGAIN_STATUSES = frozenset({429, 502, 503, 504})

_encode = msgspec.json.Encoder().encode


class DecisionRequest(msgspec.Struct, frozen=True, rename="camel"):
    """Exactly what the contract sends. `email` is "" when unknown."""

    user_id: str
    email: str


class AskedSignIn(msgspec.Struct, frozen=True, rename="camel"):
    """How it was proven who is at the door; the words are those of events."""

    method: str
    provider: str
    intent: str


class AskedDevice(msgspec.Struct, frozen=True, rename="camel"):
    """Where they sign in. `derived`: the client sent no id, so it is made from its key."""

    id: str
    derived: bool
    label: str
    platform: str
    model: str
    bundle_id: str
    app_version: str
    runtime_version: str


class FullRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that is known of the sign-in. `device` is null where the client brings no key.

    `claims`: what the mapping of the provider keeps of its claims.
    """

    user_id: str
    email: str
    email_verified: bool
    name: str
    sign_in: AskedSignIn
    device: AskedDevice | None
    claims: Mapping[str, Any]


def request_of(proof: Proof, payload: Payload) -> DecisionRequest | FullRequest:
    """What an endpoint that wants `payload` is told about who is at the door."""
    if payload == "contract":
        return DecisionRequest(user_id=proof.user_id, email=proof.email)
    return FullRequest(
        user_id=proof.user_id,
        email=proof.email,
        email_verified=proof.email_verified,
        name=proof.name,
        sign_in=AskedSignIn(
            method=proof.sign_in.method, provider=proof.sign_in.provider, intent=proof.intent
        ),
        device=_device_of(proof),
        claims=proof.claims,
    )


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One decision to ask for. `secrets` sign it (Standard Webhooks), newest first."""

    admission_id: str
    url: str
    secrets: Sequence[str]
    timeout_seconds: float
    request: DecisionRequest | FullRequest


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking: a verdict, or the fault that prevented one."""

    outcome: Verdict | Fault
    attempts: int
    latency_ms: int


async def ask(http: HttpClient, question: Question, clock: Clock) -> Answer:
    """Asks until there is an answer, ATTEMPTS_MAX is reached or the budget is spent."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    deadline = started + question.timeout_seconds
    body = _encode(question.request)
    attempts = 0
    while True:
        attempts += 1
        headers = signing.headers(question.secrets, question.admission_id, clock() // 1000, body)
        headers["content-type"] = "application/json"
        result = await http.post(
            question.url,
            body,
            headers,
            timeout_seconds=deadline - loop.time(),
            reply_bytes_max=REPLY_BYTES_MAX,
        )
        pause = _pause_before_next(result, attempts)
        if pause is None or loop.time() + pause >= deadline:
            return Answer(
                outcome=_outcome(result, question.url),
                attempts=attempts,
                latency_ms=round((loop.time() - started) * 1000),
            )
        await asyncio.sleep(pause)


def _device_of(proof: Proof) -> AskedDevice | None:
    if proof.public_key is None:
        return None
    device_id, derived = devices.identify(proof.device, proof.public_key)
    about = msgspec.structs.asdict(proof.device.about)
    return AskedDevice(id=device_id, derived=derived, label=proof.device.label, **about)


def _pause_before_next(result: Reply | Failure, attempts: int) -> float | None:
    """Seconds to wait before another attempt; None when there must be none."""
    if attempts >= ATTEMPTS_MAX:
        return None
    if isinstance(result, Failure):
        again, asked = result.may_retry, ""
    else:
        again = result.status in TRY_AGAIN_STATUSES and not result.truncated
        asked = result.headers.get("retry-after", "")
    if not again:
        return None
    if asked.isdecimal() and len(asked) < 6:
        return float(asked)
    return jitter(PAUSES_SECONDS[attempts - 1])


def _outcome(result: Reply | Failure, url: str) -> Verdict | Fault:
    if isinstance(result, Failure):
        return Fault(result.detail)
    if result.truncated:
        return Fault(f"{urlsplit(url).hostname} answered with more than {REPLY_BYTES_MAX} bytes.")
    if result.status != 200:
        return Fault(f"The endpoint answered with status {result.status}; a decision comes with 200.")
    return read_reply(result.body)
