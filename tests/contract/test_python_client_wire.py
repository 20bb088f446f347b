"""The way of the Python client to its server: verified, without detours, and calm about what comes back."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from admit.client import AsyncAdmitClient, CannotReach, Refusal
from tests.receivers import Answer, Authority, Receiver, Request, answering, receiver, response

OTP_SENT = response(b'{"type":"otp-sent","otp_id":"otp_1"}')


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def asking(there: Receiver, folder: Path, **options: object) -> AsyncIterator[AsyncAdmitClient]:
    scheme = "https" if options.pop("https", False) else "http"
    url = f"{scheme}://localhost:{there.port}/notes"
    async with AsyncAdmitClient(url, directory=folder / "kept", **options) as client:  # type: ignore[arg-type]
        yield client


async def complaint(answer: Answer, folder: Path, **options: object) -> str:
    async with receiver(answer) as there, asking(there, folder, **options) as client:
        with pytest.raises(CannotReach) as refused:
            await client.send_code("ada@example.com")
        return refused.value.message


async def test_a_certificate_is_verified(authority: Authority, tmp_path: Path) -> None:
    tls = authority.serving("localhost")
    async with receiver(answering(OTP_SENT), tls) as there:
        async with asking(there, tmp_path, https=True) as client:
            with pytest.raises(CannotReach, match="its certificate is not valid"):
                await client.send_code("ada@example.com")
        assert there.requests == []
        async with asking(there, tmp_path, https=True, tls=authority.trusting()) as client:
            assert (await client.send_code("ada@example.com")).otp_id == "otp_1"
        assert len(there.requests) == 1


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with receiver(answering(OTP_SENT)) as elsewhere:
        moved = response(status="307 Temporary Redirect", headers=f"Location: {elsewhere.url()}\r\n")
        assert "leads elsewhere" in await complaint(answering(moved), tmp_path)
        assert elsewhere.connections == 0


async def test_no_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(answering(OTP_SENT)) as proxy, receiver(answering(OTP_SENT)) as there:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setitem(os.environ, name, proxy.url())
        async with asking(there, tmp_path) as client:
            await client.send_code("ada@example.com")
        assert (proxy.connections, there.connections) == (0, 1)


async def test_cookies_are_not_kept(tmp_path: Path) -> None:
    answer = response(b'{"type":"otp-sent","otp_id":"otp_1"}', headers="Set-Cookie: who=ada\r\n")
    async with receiver(answering(answer)) as there, asking(there, tmp_path) as client:
        for _ in range(2):
            await client.send_code("ada@example.com")
        assert "cookie" not in there.requests[1].head.lower()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"type":"tokens"}', b'{"type":"otp-sent"}', b"\xff", b"[" * 100_000]
)
async def test_what_is_not_admit_is_said_to_be_so(tmp_path: Path, body: bytes) -> None:
    assert "is not Admit" in await complaint(answering(response(body)), tmp_path)


async def test_an_answer_without_end_is_given_up(tmp_path: Path) -> None:
    async def endless(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    assert "says too much" in await complaint(endless, tmp_path)


async def test_a_server_that_hangs_or_hangs_up_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    async def hangs(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def hangs_up(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    assert "did not answer in time" in await complaint(hangs, tmp_path, timeout_seconds=0.2)
    assert "cannot be reached" in await complaint(hangs_up, tmp_path)


async def test_who_comes_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    body = b'{"error":"rate_limited","code":"rate_limited","message":"Too many."}'
    answer = response(body, "429 Too Many Requests", "Retry-After: 30\r\nDate: next week\r\n")
    async with receiver(answering(answer)) as there, asking(there, tmp_path) as client:
        with pytest.raises(Refusal) as refused:
            await client.send_code("ada@example.com")
    assert (refused.value.code, refused.value.retry_after_seconds, refused.value.may_pass) == (
        "rate_limited",
        30,
        True,
    )
