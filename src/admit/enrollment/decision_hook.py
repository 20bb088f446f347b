"""Asking the operator's endpoint about one unknown person.

Every attempt carries the same `webhook-id`, the admission's, so that the endpoint can tell a repetition from
a second person.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from admit.accounts import devices
from admit.accounts.app_settings import Payload
from admit.clock import Clock
from admit.enrollment.asking import Try
from admit.enrollment.hook_reply import read_reply
from admit.enrollment.policy import Fault, Verdict
from admit.outbound import signing
from admit.outbound.http import Failure, HttpClient, Reply
from admit.signin.proof import Proof

REPLY_BYTES_MAX = 65_536
TEST_PREFIX = "test"
"""Of the id of a question of which nothing comes: `test_…`, where others are `adm_…`."""
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

    `claims`: what the mapping of the provider keeps of its claims. `test`: only told where it is one.
    """

    user_id: str
    email: str
    email_verified: bool
    name: str
    sign_in: AskedSignIn
    device: AskedDevice | None
    claims: Mapping[str, Any]
    test: bool | UnsetType = UNSET


def request_of(
    proof: Proof, payload: Payload, *, test: bool | UnsetType = UNSET
) -> DecisionRequest | FullRequest:
    """What an endpoint that wants `payload` is told about who is at the door, or about who is imagined there.

    The contract has no place for `test`: what is sent under it is the same in a test.
    """
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
        test=test,
    )


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One decision to ask for. `secrets` sign it (Standard Webhooks), newest first.

    `admission_id` is the `webhook-id`; one that begins with TEST_PREFIX says that nothing comes of it.
    """

    admission_id: str
    url: str
    secrets: Sequence[str]
    request: DecisionRequest | FullRequest


class Exchange(msgspec.Struct, frozen=True):
    """One attempt: the headers that were sent, and what came of it."""

    headers: dict[str, str]
    answer: Reply | Failure


class Hook:
    """The operator's endpoint, asked about one person. `exchanges` are the attempts so far."""

    def __init__(self, http: HttpClient, question: Question, clock: Clock) -> None:
        self._http = http
        self._question = question
        self._clock = clock
        self.body = _encode(question.request)
        self.exchanges: list[Exchange] = []

    async def attempt(self, timeout_seconds: float) -> Try:
        """Posts the question once."""
        asked = self._question
        headers = signing.headers(asked.secrets, asked.admission_id, self._clock() // 1000, self.body)
        headers["content-type"] = "application/json"
        result = await self._http.post(
            asked.url,
            self.body,
            headers,
            timeout_seconds=timeout_seconds,
            reply_bytes_max=REPLY_BYTES_MAX,
        )
        self.exchanges.append(Exchange(headers, result))
        again, pause = _again(result)
        return Try(outcome=_outcome(result, asked.url), again=again, pause_seconds=pause)

    def record(self, outcome: Verdict | Fault) -> None:
        """The ledger says all there is to say."""


def _device_of(proof: Proof) -> AskedDevice | None:
    if proof.public_key is None:
        return None
    device_id, derived = devices.identify(proof.device, proof.public_key)
    about = msgspec.structs.asdict(proof.device.about)
    return AskedDevice(id=device_id, derived=derived, label=proof.device.label, **about)


def _again(result: Reply | Failure) -> tuple[bool, float | None]:
    """Whether another attempt may help, and after how many seconds, where the endpoint says so."""
    if isinstance(result, Failure):
        return result.may_retry, None
    asked = result.headers.get("retry-after", "")
    seconds = float(asked) if asked.isdecimal() and len(asked) < 6 else None
    return result.status in TRY_AGAIN_STATUSES and not result.truncated, seconds


def _outcome(result: Reply | Failure, url: str) -> Verdict | Fault:
    if isinstance(result, Failure):
        return Fault(result.detail)
    if result.truncated:
        return Fault(f"{urlsplit(url).hostname} answered with more than {REPLY_BYTES_MAX} bytes.")
    if result.status != 200:
        return Fault(f"The endpoint answered with status {result.status}; a decision comes with 200.")
    return read_reply(result.body)
