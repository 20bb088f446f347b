"""What `admit listen` does: each event of a feed is signed and posted to one URL."""

import asyncio
import re
from types import TracebackType

import msgspec
from yarl import URL

from admit import clock
from admit.cli.command import Refusal, Terminal
from admit.cli.following import LATEST, FedEvent, Feed
from admit.outbound import signing
from admit.outbound.addresses import EgressPolicy
from admit.outbound.http import Failure, HttpClient, Reply

TIMEOUT_SECONDS = 15.0
REPLY_BYTES_MAX = 16_384
EXAMPLE = "http://localhost:3000/hooks"
PAUSES_SECONDS = (0.5, 1.0, 2.0)
"""Between attempts where nobody listens at the URL yet, as while the receiver starts anew."""

_BEGINNING = re.compile("https?://[^/?#]", re.IGNORECASE)


class Told(msgspec.Struct, frozen=True):
    """The body that endpoints are sent."""

    type: str
    timestamp: str
    data: msgspec.Raw


class Begun(msgspec.Struct, frozen=True):
    """What is forwarded where, and what signs it."""

    app: str
    forward: str
    secret: str


class Forwarded(msgspec.Struct, frozen=True):
    """What became of one event. `status` None: there was no answer, and `problem` says why."""

    id: str
    type: str
    status: int | None
    duration_ms: int
    problem: str | None


class Forwarder:
    """Posts to `url`, and nowhere else. Raises Refusal for a URL or a secret that cannot be used."""

    def __init__(self, url: str, secret: str | None) -> None:
        self._url = url
        self._secret = _checked(secret)
        if not _BEGINNING.match(url):
            # Without the text: it may hold a password.
            raise Refusal(f"--forward is the URL of your receiver, such as {EXAMPLE}", 2)
        policy = _policy_for(url)
        if (refusal := policy.url_refusal(url)) is not None:
            raise Refusal(f"--forward: {refusal}", 2)
        self._runner = asyncio.Runner()
        self._http = self._runner.run(_open(policy))

    def __enter__(self) -> "Forwarder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._http.close())
        self._runner.close()

    def run(self, terminal: Terminal, app: str, *, types: str | None, full: bool) -> None:
        """Forwards what happens from now on, for ever."""
        feed = Feed(terminal, app, after=LATEST, types=types, full=full)
        feed.page()
        begun = Begun(app, self._url, self._secret)
        terminal.out.next(begun, [f"Forwarding events of {app} to {self._url}, signed with {self._secret}"])
        for event in feed.follow(goes_on_after_restore=True):
            done = self._runner.run(self._forward(event))
            outcome = f"failed: {done.problem}" if done.status is None else str(done.status)
            terminal.out.next(
                done, [event.timestamp, event.type, event.id, f"{done.duration_ms} ms", outcome]
            )

    async def _forward(self, event: FedEvent) -> Forwarded:
        """Posts an event, again where the connection was refused."""
        body = msgspec.json.encode(Told(event.type, event.timestamp, event.data))
        answer = await self._post(event.id, body)
        for pause in PAUSES_SECONDS:
            if not (isinstance(answer, Failure) and answer.kind == "connect"):
                break
            await asyncio.sleep(pause)
            answer = await self._post(event.id, body)
        if isinstance(answer, Failure):
            return Forwarded(event.id, event.type, None, answer.elapsed_ms, answer.detail)
        return Forwarded(event.id, event.type, answer.status, answer.elapsed_ms, None)

    async def _post(self, event_id: str, body: bytes) -> Reply | Failure:
        headers = signing.headers([self._secret], event_id, clock.now() // 1_000, body)
        return await self._http.post(
            self._url,
            body,
            {"Content-Type": "application/json", **headers},
            timeout_seconds=TIMEOUT_SECONDS,
            reply_bytes_max=REPLY_BYTES_MAX,
        )


async def _open(policy: EgressPolicy) -> HttpClient:
    return HttpClient(policy)


def _policy_for(url: str) -> EgressPolicy:
    """The policy that lets through what leads to the host and port of `url`, wherever that is."""
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except ValueError:
        return EgressPolicy()
    if not host or not port or "%" in host:
        return EgressPolicy()
    return EgressPolicy.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _checked(secret: str | None) -> str:
    if secret is None:
        return signing.new_secret()
    try:
        signing.headers([secret], "evt_1", 0, b"")
    except ValueError as error:
        raise Refusal(f"--secret cannot be used: {error}.", 2) from None
    return secret
