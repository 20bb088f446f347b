"""The example receivers as processes of their own, with the published verifiers, against what we send."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from admit import clock
from admit.outbound import signing
from admit.outbound.addresses import EgressPolicy
from admit.outbound.http import HttpClient, Reply
from tests import receivers
from tests.dexie_cloud.command import node

EXAMPLES = Path(__file__).parents[2] / "examples/receivers"
BODY = json.dumps(
    {
        "type": "user.enrolled",
        "timestamp": "2026-11-22T08:45:13.123Z",
        "data": {"sequence": "42", "user": {"uid": "usr_1", "user_id": "ada@example.com"}},
    }
).encode()
PING = b'{"type":"test.ping","timestamp":"2026-11-22T08:45:13.123Z","data":{"test":true}}'
REFUSAL = "This is no event that Admit has signed: "


@pytest.fixture(params=["python", "javascript"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient(EgressPolicy.parse("127.0.0.1"))
    yield client
    await client.close()


@dataclass
class Running:
    """A receiver that listens at `url`."""

    process: asyncio.subprocess.Process
    url: str = ""

    async def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().rstrip("\n")


@asynccontextmanager
async def running(language: str, secret: str) -> AsyncIterator[Running]:
    """The example in `language`, started as its README says, with `secret` or a public key."""
    command = {"python": (sys.executable, "receiver.py"), "javascript": (node(), "receiver.mjs")}[language]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=EXAMPLES / language,
        env={"PATH": os.environ["PATH"], "ENDPOINT_SECRET": secret, "PORT": "0"},
        stdout=PIPE,
    )
    try:
        there = Running(process)
        greeting = await there.line()
        there.url = greeting.removeprefix("Waiting for events at ")
        assert there.url.startswith("http://127.0.0.1:"), greeting
        yield there
    finally:
        process.kill()
        async with asyncio.timeout(20):
            await process.communicate()


def signed(
    *secrets: str, body: bytes = BODY, message_id: str = "evt_1", seconds_ago: int = 0
) -> dict[str, str]:
    return signing.headers(secrets, message_id, clock.now() // 1_000 - seconds_ago, body)


async def send(http: HttpClient, there: Running, headers: Mapping[str, str], body: bytes = BODY) -> Reply:
    reply = await http.post(
        there.url,
        body,
        {**headers, "content-type": "application/json"},
        timeout_seconds=10,
        reply_bytes_max=16_384,
    )
    assert isinstance(reply, Reply), reply
    return reply


async def refusal(http: HttpClient, there: Running, headers: Mapping[str, str], body: bytes = BODY) -> str:
    """Why it refuses: the reason in the sentence that it answers with 400."""
    reply = await send(http, there, headers, body)
    text = reply.body.decode()
    assert (reply.status, text[: len(REFUSAL)]) == (400, REFUSAL)
    return text.removeprefix(REFUSAL)


async def test_signed_event_is_accepted_and_a_repeat_is_told_apart(language: str, http: HttpClient) -> None:
    secret = signing.new_secret()
    async with running(language, secret) as there:
        told = []
        for message_id in ("evt_1", "evt_1", "evt_2"):
            reply = await send(http, there, signed(secret, message_id=message_id))
            assert (reply.status, reply.body) == (200, b"")
            told.append(await there.line())
        await send(http, there, signed(secret, body=PING, message_id="evt_3"), PING)
        told.append(await there.line())

    assert told == [
        "user.enrolled ada@example.com",
        "user.enrolled ada@example.com again",
        "user.enrolled ada@example.com",
        "test.ping -",
    ]


@pytest.mark.parametrize("kind", ["secret", "public key"])
async def test_what_we_have_not_just_signed_is_refused_and_nothing_comes_of_it(
    language: str, http: HttpClient, kind: str
) -> None:
    new = signing.new_secret if kind == "secret" else signing.new_private_key
    ours, foreign = new(), new()
    async with running(language, ours if kind == "secret" else signing.public_key_of(ours)) as there:
        good = signed(ours)
        changed = BODY.replace(b"ada@", b"eve@")
        reasons = {
            "changed byte": await refusal(http, there, good, changed),
            "ten minutes old": await refusal(http, there, signed(ours, seconds_ago=600)),
            "ten minutes early": await refusal(http, there, signed(ours, seconds_ago=-600)),
            "other id": await refusal(http, there, good | {"webhook-id": "evt_2"}),
            "other time": await refusal(
                http, there, good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) - 1)}
            ),
            "another's": await refusal(http, there, signed(foreign)),
            "other kind": await refusal(
                http, there, signed(signing.new_private_key() if kind == "secret" else signing.new_secret())
            ),
            "unsigned": await refusal(http, there, {}),
        }
        assert (await send(http, there, good)).status == 200
        assert await there.line() == "user.enrolled ada@example.com"

    assert all(reasons.values())
    for of_time in ("ten minutes old", "ten minutes early"):
        assert reasons[of_time] not in (reasons["changed byte"], reasons["another's"])


async def test_receiver_with_either_secret_accepts_while_both_sign(language: str, http: HttpClient) -> None:
    old, new = signing.new_secret(), signing.new_secret()
    for secret in (old, new):
        async with running(language, secret) as there:
            assert (await send(http, there, signed(new, old))).status == 200
            assert await there.line() == "user.enrolled ada@example.com"


async def test_both_kinds_of_keys_may_sign_one_request(language: str, http: HttpClient) -> None:
    secrets = (
        signing.new_private_key(),
        signing.new_secret(),
        signing.new_private_key(),
        signing.new_secret(),
    )
    for each in secrets:
        key = signing.public_key_of(each) if each.startswith("whsk_") else each
        async with running(language, key) as there:
            assert (await send(http, there, signed(*secrets))).status == 200
            assert await there.line() == "user.enrolled ada@example.com"


async def test_body_beyond_ascii_verifies_as_it_was_sent(language: str, http: HttpClient) -> None:
    body = '{"type":"user.enrolled","data":{ "user":{"user_id":"ádá 🦊 \\u00e9"} }}\n'.encode()
    secret, private_key = signing.new_secret(), signing.new_private_key()
    for signer, key in ((secret, secret), (private_key, signing.public_key_of(private_key))):
        async with running(language, key) as there:
            assert (await send(http, there, signed(signer, body=body), body)).status == 200
            assert await there.line() == "user.enrolled ádá 🦊 é"


async def test_signatures_travel_with_one_space_between_them_and_none_around(http: HttpClient) -> None:
    """A verifier in use splits at each space, and raises on what is no signature."""
    headers = signed(signing.new_secret(), signing.new_private_key(), signing.new_secret())
    async with receivers.receiver(receivers.answering(receivers.response())) as there:
        await send(http, Running(None, there.url()), headers)  # type: ignore[arg-type]

    lines = there.requests[0].head.split("\r\n")
    [line] = [line for line in lines if line.lower().startswith("webhook-signature")]
    assert line.partition(": ")[2] == headers["webhook-signature"]
    assert [each.partition(",")[0] for each in line.partition(": ")[2].split(" ")] == ["v1", "v1a", "v1"]


async def test_key_of_the_published_set_verifies_in_node() -> None:
    private_key = signing.new_private_key()
    message = b"evt_1.1614265330." + BODY
    signature = signing.headers([private_key], "evt_1", 1614265330, BODY)["webhook-signature"]
    script = """
        import { createPublicKey, verify } from 'node:crypto'
        const [jwk, message, signature] = process.argv.slice(1)
        const key = createPublicKey({ key: JSON.parse(jwk), format: 'jwk' })
        console.log(verify(null, Buffer.from(message), key, Buffer.from(signature, 'base64')))
    """

    async def verified(text: bytes) -> str:
        process = await asyncio.create_subprocess_exec(
            node(),
            "--input-type=module",
            "--eval",
            script,
            msgspec.json.encode(signing.jwk_of(private_key)),
            text,
            signature.removeprefix("v1a,"),
            stdout=PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        return out.decode().strip()

    assert [await verified(message), await verified(message + b" ")] == ["true", "false"]
