"""Asking the decision endpoint over real sockets: what is sent, when again, and when not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from admit import clock
from admit.enrollment import asking
from admit.enrollment.asking import Answer
from admit.enrollment.decision_hook import DecisionRequest, Hook, Question
from admit.enrollment.policy import Admit, Fault, Refuse
from admit.outbound import signing
from admit.outbound.addresses import EgressPolicy
from admit.outbound.http import HttpClient
from tests.receiver import PROD, always, in_turn, receiving


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient(EgressPolicy.parse("127.0.0.1"))
    yield client
    await client.close()


async def ask(http: HttpClient, asked: Question, timeout_seconds: float = 5.0) -> Answer:
    return await asking.ask(Hook(http, asked, clock.now), timeout_seconds)


def question(url: str, *, email: str = "ada@example.com") -> Question:
    return Question(
        admission_id="adm_1",
        url=url,
        secrets=(signing.new_secret(),),
        request=DecisionRequest(user_id="ada@example.com", email=email),
    )


async def test_exactly_user_id_and_email_are_sent_under_a_standard_signature(http: HttpClient) -> None:
    async with receiving(always(**PROD)) as receiver:
        asked = question(receiver.url, email="")
        answer = await ask(http, asked)
    [call] = receiver.calls
    assert call.json == {"userId": "ada@example.com", "email": ""}
    assert call.headers["webhook-id"] == "adm_1"
    assert call.headers["content-type"] == "application/json"
    assert "cookie" not in call.headers
    assert "authorization" not in call.headers
    Webhook(asked.secrets[0]).verify(call.body, call.headers)
    assert isinstance(answer.outcome, Admit)
    assert answer.attempts == 1


async def test_both_secrets_sign_during_a_rotation(http: HttpClient) -> None:
    new, old = signing.new_secret(), signing.new_secret()
    async with receiving(always(**PROD)) as receiver:
        asked = Question(
            admission_id="adm_1",
            url=receiver.url,
            secrets=(new, old),
            request=DecisionRequest(user_id="a", email=""),
        )
        await ask(http, asked)
    [call] = receiver.calls
    for secret in (new, old):
        Webhook(secret).verify(call.body, call.headers)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_passing_trouble_is_asked_again_under_the_same_id(http: HttpClient, status: int) -> None:
    async with receiving(in_turn(always(status), always(status), always(**PROD))) as receiver:
        answer = await ask(http, question(receiver.url))
    assert isinstance(answer.outcome, Admit)
    assert answer.attempts == 3
    assert {call.headers["webhook-id"] for call in receiver.calls} == {"adm_1"}


async def test_three_attempts_are_all(http: HttpClient) -> None:
    async with receiving(always(503)) as receiver:
        answer = await ask(http, question(receiver.url))
    assert isinstance(answer.outcome, Fault)
    assert "status 503" in answer.outcome.reason
    assert len(receiver.calls) == answer.attempts == 3


@pytest.mark.parametrize("status", [201, 204, 400, 401, 404, 500])
async def test_any_other_status_is_a_fault_at_once(http: HttpClient, status: int) -> None:
    async with receiving(always(status, **PROD)) as receiver:
        answer = await ask(http, question(receiver.url))
    assert isinstance(answer.outcome, Fault)
    assert len(receiver.calls) == 1


async def test_a_redirect_is_not_followed(http: HttpClient) -> None:
    async with receiving(always(**PROD)) as target:
        headers = {"Location": target.url}
        async with receiving(always(302, headers)) as receiver:
            answer = await ask(http, question(receiver.url))
    assert isinstance(answer.outcome, Fault)
    assert (len(receiver.calls), len(target.calls)) == (1, 0)


async def test_an_endpoint_that_hangs_costs_the_budget_and_no_more(http: HttpClient) -> None:
    async with receiving(always(**PROD), held=True) as receiver:
        started = asyncio.get_running_loop().time()
        answer = await ask(http, question(receiver.url), 1.0)
        took = asyncio.get_running_loop().time() - started
    assert isinstance(answer.outcome, Fault)
    assert "did not answer within" in answer.outcome.reason
    assert 0.9 < took < 1.5
    assert 900 < answer.latency_ms < 1500


async def test_an_endpoint_that_drips_bytes_costs_the_budget_and_no_more(http: HttpClient) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    async with receiving(drip) as receiver:
        answer = await ask(http, question(receiver.url), 1.0)
    assert isinstance(answer.outcome, Fault)
    assert answer.latency_ms < 1500


async def test_a_wish_to_wait_beyond_the_budget_ends_the_attempts(http: HttpClient) -> None:
    async with receiving(always(429, {"Retry-After": "30"})) as receiver:
        answer = await ask(http, question(receiver.url), 2.0)
    assert len(receiver.calls) == answer.attempts == 1
    assert answer.latency_ms < 1500


@pytest.mark.parametrize("status", [200, 503])
async def test_a_huge_reply_is_a_fault_before_it_is_read(http: HttpClient, status: int) -> None:
    async def huge(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        for _ in range(3000):
            await response.write(b"x" * 65_536)
        return response

    async with receiving(huge) as receiver:
        answer = await ask(http, question(receiver.url))
    assert isinstance(answer.outcome, Fault)
    assert answer.outcome.reason == "127.0.0.1 answered with more than 65536 bytes."
    assert answer.attempts == 1


async def test_a_compressed_reply_is_not_unpacked(http: HttpClient) -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        response = web.Response(body=b'{"ok":true,"action":"prod"}' + b" " * 1_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with receiving(bomb) as receiver:
        answer = await ask(http, question(receiver.url))
    assert isinstance(answer.outcome, Fault)


async def test_a_closed_port_is_tried_three_times_and_named(http: HttpClient) -> None:
    async with receiving(always(**PROD)) as receiver:
        url = receiver.url
    answer = await ask(http, question(url))
    assert isinstance(answer.outcome, Fault)
    assert "no connection" in answer.outcome.reason
    assert answer.attempts == 3


async def test_a_refusal_is_a_verdict_and_not_asked_again(http: HttpClient) -> None:
    async with receiving(always(ok=False, action="prod")) as receiver:
        answer = await ask(http, question(receiver.url))
    assert isinstance(answer.outcome, Refuse)
    assert len(receiver.calls) == 1
