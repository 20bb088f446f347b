"""The HTTP client against receivers that lie, drip, flood and lead astray."""

import asyncio
import gzip
import random
import resource
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509

from admit.outbound.addresses import EgressPolicy
from admit.outbound.gate import OpenTransaction
from admit.outbound.http import Failure, HttpClient, Reply
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.receivers import Answer, Authority, Receiver, Request, answering, receiver, response

BODY = b'{"userId":"alice"}'
LOOPBACK = EgressPolicy.parse("127.0.0.1")


@asynccontextmanager
async def client(
    policy: EgressPolicy = LOOPBACK,
    *,
    names: dict[str, list[str]] | None = None,
    authority: Authority | None = None,
) -> AsyncIterator[HttpClient]:
    """A client that knows only `names` and trusts only `authority`."""

    def lookup(host: str, _port: int) -> list[str]:
        try:
            return (names or {})[host]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None

    opened = HttpClient(policy, lookup=lookup, tls=authority.trusting() if authority else None)
    try:
        yield opened
    finally:
        await opened.close()


async def post(http: HttpClient, url: str, *, seconds: float = 5.0, most: int = 65_536) -> Reply | Failure:
    return await http.post(
        url, BODY, {"content-type": "application/json"}, timeout_seconds=seconds, reply_bytes_max=most
    )


async def failure(answer: Answer, *, seconds: float = 5.0) -> Failure:
    """The failure that posting to a receiver with this `answer` ends in."""
    async with receiver(answer) as there, client() as http:
        outcome = await post(http, there.url(), seconds=seconds)
    assert isinstance(outcome, Failure)
    return outcome


# What arrives


async def test_body_and_headers_arrive_and_the_answer_comes_back() -> None:
    answer = answering(response(b'{"ok":true}', "418 I'm a teapot", "X-Who: me\r\nRetry-After: 7\r\n"))
    async with receiver(answer) as there, client() as http:
        reply = await post(http, there.url())

    assert isinstance(reply, Reply)
    assert (reply.status, reply.body, reply.address) == (418, b'{"ok":true}', "127.0.0.1")
    assert (reply.headers["x-who"], reply.headers["retry-after"]) == ("me", "7")
    [request] = there.requests
    assert request.body == BODY
    assert request.head.startswith("POST /hook HTTP/1.1\r\n")
    assert "content-type: application/json" in request.head.lower()
    assert "accept-encoding: identity" in request.head.lower()
    assert "cookie" not in request.head.lower()


async def test_what_is_got_is_asked_for_once_under_the_same_rules() -> None:
    moved = answering(response(b"{}", "302 Found", "Location: http://127.0.0.1:1/elsewhere\r\n"))
    async with receiver(moved) as there, client() as http:
        reply = await http.get(
            there.url(), {"accept": "application/json"}, timeout_seconds=5, reply_bytes_max=1
        )
        refused = await http.get("http://10.0.0.1/", {}, timeout_seconds=5, reply_bytes_max=1)

    assert isinstance(reply, Reply)
    assert (reply.status, reply.body, reply.truncated) == (302, b"{", True)
    [request] = there.requests
    assert request.head.startswith("GET /hook HTTP/1.1\r\n")
    assert "accept: application/json" in request.head.lower()
    assert request.body == b""
    assert isinstance(refused, Failure)
    assert refused.kind == "url"


async def test_connection_is_kept_for_the_next_request() -> None:
    async with receiver(answering(response())) as there, client() as http:
        replies = [await post(http, there.url()) for _ in range(5)]

    assert [reply.address for reply in replies] == ["127.0.0.1"] * 5
    assert there.connections == 1


async def test_cookies_are_not_kept() -> None:
    answer = answering(response(headers="Set-Cookie: who=me; Path=/\r\n"))
    async with (
        receiver(answer) as there,
        client(EgressPolicy.parse("hooks.example.com"), names={"hooks.example.com": ["127.0.0.1"]}) as http,
    ):
        for _ in range(2):
            assert isinstance(await post(http, there.url("hooks.example.com")), Reply)

    assert "cookie" not in there.requests[1].head.lower()


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(answering(response())) as proxy, receiver(answering(response())) as there:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with client() as http:
            assert isinstance(await post(http, there.url()), Reply)

    assert (proxy.connections, there.connections) == (0, 1)


async def test_password_of_a_netrc_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with receiver(answering(response())) as there, client() as http:
        assert isinstance(await post(http, there.url()), Reply)

    assert "authorization" not in there.requests[0].head.lower()


@pytest.mark.parametrize(
    "status",
    [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ],
)
async def test_redirect_is_an_answer_and_nobody_follows_it(status: str) -> None:
    async with receiver(answering(response())) as elsewhere:
        answer = answering(response(b"", status, f"Location: {elsewhere.url()}\r\n"))
        async with receiver(answer) as there, client() as http:
            reply = await post(http, there.url())

    assert isinstance(reply, Reply)
    assert reply.status == int(status[:3])
    assert elsewhere.connections == 0


async def test_header_that_is_not_utf8_can_be_stored() -> None:
    answer = answering(response(headers="X-Who: ").replace(b"X-Who: ", b"X-Who: \xff\xfe\r\n"))
    async with receiver(answer) as there, client() as http:
        reply = await post(http, there.url())

    assert isinstance(reply, Reply)
    reply.headers["x-who"].encode()


# What does not: size and time


async def test_compressed_answer_is_left_as_it_is() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = answering(response(bomb, headers="Content-Encoding: gzip\r\n"))
    async with receiver(answer) as there, client() as http:
        reply = await post(http, there.url(), most=100_000)

    assert isinstance(reply, Reply)
    assert reply.body == bomb
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize("head", ["Content-Length: 200000000", "Transfer-Encoding: chunked"])
async def test_flood_is_cut_off_at_the_limit(head: str) -> None:
    sent = 0

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        chunked = "chunked" in head
        writer.write(f"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n{head}\r\n\r\n".encode())
        while sent < 200_000_000:
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n" if chunked else b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with receiver(answer) as there, client() as http:
        reply = await post(http, there.url(), most=1_000)

    assert isinstance(reply, Reply)
    assert (reply.status, reply.headers["retry-after"], reply.address) == (503, "7", "127.0.0.1")
    assert (reply.truncated, reply.body) == (True, b"x" * 1_000)
    assert sent < 20_000_000


async def test_connection_with_an_unread_rest_is_not_used_again() -> None:
    async with receiver(answering(response(b"x" * 3_000_000))) as there, client() as http:
        for _ in range(2):
            reply = await post(http, there.url(), most=1_000)
            assert isinstance(reply, Reply)
            assert reply.truncated

    assert there.connections == 2


async def test_answer_of_exactly_the_limit_is_whole() -> None:
    async with receiver(answering(response(b"x" * 1_000))) as there, client() as http:
        reply = await post(http, there.url(), most=1_000)

    assert isinstance(reply, Reply)
    assert (reply.truncated, len(reply.body)) == (False, 1_000)


def dripping(data: bytes, pause: float = 0.02) -> Answer:
    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def hanging(_request: Request, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def continuing(_request: Request, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "answer",
    [
        hanging,
        continuing,
        dripping(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5_000),
        dripping(response(b"x" * 60_000)[:40] + b"x" * 5_000),
    ],
    ids=["hangs", "continues for ever", "drips headers", "drips a body"],
)
async def test_budget_covers_whatever_the_receiver_does(answer: Answer) -> None:
    started = time.monotonic()
    failed = await failure(answer, seconds=0.5)
    elapsed = time.monotonic() - started

    assert (failed.kind, failed.may_retry, failed.address) == ("timeout", True, "127.0.0.1")
    assert 0.45 <= failed.elapsed_ms / 1_000 <= 0.75
    assert elapsed < 1.5
    assert "within 0.5 s" in failed.detail


async def test_budget_covers_a_name_that_nobody_answers_for() -> None:
    def lookup(_host: str, _port: int) -> list[str]:
        time.sleep(1.0)
        return ["127.0.0.1"]

    http = HttpClient(LOOPBACK, lookup=lookup)
    failed = await post(http, "https://slow.example/", seconds=0.2)
    await http.close()

    assert isinstance(failed, Failure)
    assert failed.kind == "timeout"
    assert failed.elapsed_ms < 600


async def test_names_that_nobody_answers_for_do_not_hold_up_others() -> None:
    over = threading.Event()

    def lookup(host: str, _port: int) -> list[str]:
        if host.startswith("lost"):
            over.wait(30)
        return ["127.0.0.1"]

    async with receiver(answering(response())) as there:
        http = HttpClient(EgressPolicy.parse("prompt.example"), lookup=lookup)
        lost = await asyncio.gather(
            *(post(http, f"https://lost{number}.example/", seconds=0.3) for number in range(60))
        )
        found = await post(http, there.url("prompt.example"), seconds=5)
        over.set()
        await http.close()

    assert {each.kind for each in lost if isinstance(each, Failure)} == {"timeout"}
    assert isinstance(found, Reply)


async def test_nothing_is_sent_when_no_time_is_left() -> None:
    async with receiver(answering(response())) as there, client() as http:
        await post(http, there.url())
        failed = await post(http, there.url(), seconds=0)

    assert isinstance(failed, Failure)
    assert failed.kind == "timeout"
    assert len(there.requests) == 1


async def test_hosts_that_hang_leave_connections_for_others() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    hosts = [f"slow{number}.example" for number in range(5)]
    names = {host: ["127.0.0.1"] for host in (*hosts, "prompt.example")}
    policy = EgressPolicy.parse(",".join(names))
    async with (
        receiver(hanging) as slow,
        receiver(answering(response())) as prompt,
        client(policy, names=names) as http,
    ):
        calls = [
            asyncio.create_task(post(http, slow.url(host), seconds=30)) for host in hosts for _ in range(150)
        ]
        async with asyncio.timeout(20):
            while slow.connections < 5 * 150:
                await asyncio.sleep(0.01)
        reply = await post(http, prompt.url("prompt.example"))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert isinstance(reply, Reply)
    assert slow.connections == 5 * 150, "no host has a limit of its own, which others there would feel"


async def test_late_answer_is_not_taken_for_the_next_one() -> None:
    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        late = len(there.requests) == 1
        if late:
            await asyncio.sleep(0.3)
        writer.write(response(b"late" if late else b"prompt"))

    async with receiver(answer) as there, client() as http:
        first = await post(http, there.url(), seconds=0.1)
        second = await post(http, there.url())

    assert isinstance(first, Failure)
    assert isinstance(second, Reply)
    assert second.body == b"prompt"


async def test_caller_who_goes_away_leaves_no_connection_behind() -> None:
    arrived = asyncio.Event()

    async def answer(_request: Request, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(60)

    async with receiver(answer) as there, client() as http:
        call = asyncio.create_task(post(http, there.url()))
        await arrived.wait()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        connector = http._session.connector
        assert connector is not None
        assert not connector._acquired


# What does not: nonsense and broken lines


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(100)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
        b"HTTP/1.1 200 " + b"x" * 1_000_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"\x00" * 1_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
    ids=[
        "100 headers",
        "endless header",
        "endless reason",
        "ssh",
        "smtp",
        "zeros",
        "two lengths",
        "negative",
        "bad chunk",
        "upgrade",
    ],
)
async def test_what_is_not_http_is_a_failure_that_is_not_repeated(data: bytes) -> None:
    failed = await failure(answering(data))

    assert (failed.kind, failed.may_retry, failed.address) == ("protocol", False, "127.0.0.1")


STARTS = (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 Busy\r\n", b"HTTP/1.1 302 Found\r\n", b"HTTP/1.1 ", b"")
PIECES = (
    *(b"HTTP/1.1 %d X\r\n\r\n" % status for status in (-1, 100, 101, 204, 304, 999)),
    *(b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n", b"HTTP/1.1 200\r\n\r\n"),
    *(b"Content-Length: %b\r\n" % length for length in (b"5", b"9" * 20, b"-1", b"3, 3", b"")),
    *(b"Transfer-Encoding: %b\r\n" % coding for coding in (b"chunked", b"gzip, chunked", b"identity")),
    *(b"Content-Encoding: gzip\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
    *(
        b'Set-Cookie: a="\r\n',
        b"Location: http://169.254.169.254/\r\n",
        b": x\r\n",
        b"A b: c\r\n",
        b" folded\r\n",
    ),
    *(b"5\r\nhello\r\n", b"f" * 16 + b"\r\n", b"0\r\n\r\n", b"hello", b"\r\n", b"\r\n\r\n", b"\x00\xff"),
)


async def test_whatever_a_receiver_sends_ends_as_an_outcome_with_its_address() -> None:
    dice = random.Random(4)

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(dice.choice(STARTS) + b"".join(dice.choices(PIECES, k=dice.randint(0, 6))))
        match dice.randint(0, 9):
            case 0:
                writer.transport.abort()
            case 1:
                pass
            case _:
                writer.close()

    async with receiver(answer) as there, client() as http:
        outcomes = []
        for _ in range(16):
            outcomes += await asyncio.gather(
                *(post(http, there.url(), seconds=0.3, most=dice.choice((0, 3, 1_000))) for _ in range(64))
            )
        connector = http._session.connector
        assert connector is not None
        assert not connector._acquired

    assert {each.address for each in outcomes} == {"127.0.0.1"}
    failures = [each for each in outcomes if isinstance(each, Failure)]
    assert all(each.detail.endswith(".") for each in failures)
    assert {"protocol", "connect", "timeout"} == {each.kind for each in failures}
    assert len(failures) < len(outcomes)


async def test_connection_closed_without_an_answer_may_be_tried_again() -> None:
    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    failed = await failure(answer)

    assert (failed.kind, failed.may_retry, failed.address) == ("connect", True, "127.0.0.1")


async def test_request_is_never_repeated_behind_the_callers_back() -> None:
    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        if len(there.requests) == 1:
            writer.write(response())
        else:
            writer.close()

    async with receiver(answer) as there, client() as http:
        await post(http, there.url())
        failed = await post(http, there.url())

    assert isinstance(failed, Failure)
    assert (failed.kind, failed.address) == ("connect", "127.0.0.1")
    assert (len(there.requests), there.connections) == (2, 1)


async def test_answer_broken_off_in_the_middle_may_be_tried_again() -> None:
    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"x" * 100)[:-50])
        writer.close()

    failed = await failure(answer)

    assert (failed.kind, failed.may_retry, failed.address) == ("protocol", True, "127.0.0.1")


async def test_nobody_listening_may_be_tried_again() -> None:
    async with receiver(answering(response())) as there:
        pass
    async with client() as http:
        failed = await post(http, there.url())

    assert isinstance(failed, Failure)
    assert (failed.kind, failed.may_retry, failed.address) == ("connect", True, "127.0.0.1")
    assert "connection" in failed.detail


async def test_name_that_does_not_exist_is_named() -> None:
    async with client() as http:
        failed = await post(http, "https://nobody.example/")

    assert isinstance(failed, Failure)
    assert failed.kind == "dns"
    assert "nobody.example" in failed.detail


# Where it must not go


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"], ["::1", "127.0.0.1"]],
)
async def test_name_with_a_forbidden_address_is_refused_as_a_whole(addresses: list[str]) -> None:
    async with (
        receiver(answering(response())) as there,
        client(EgressPolicy(), names={"evil.example": addresses}) as http,
    ):
        failed = await post(http, there.url("evil.example", "https"))

    assert isinstance(failed, Failure)
    assert (failed.kind, failed.may_retry) == ("address", False)
    assert "evil.example leads to" in failed.detail
    assert there.connections == 0


async def test_address_that_may_be_reached_does_not_hide_one_that_may_not() -> None:
    names = {"evil.example": ["127.0.0.1", "10.0.0.1"]}
    async with receiver(answering(response())) as there, client(LOOPBACK, names=names) as http:
        failed = await post(http, there.url("evil.example", "https"))

    assert isinstance(failed, Failure)
    assert failed.kind == "address"
    assert there.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "127.1", "localhost", "0.0.0.0"]
)
async def test_loopback_is_not_reached_by_any_of_its_names(host: str) -> None:
    async with (
        receiver(answering(response())) as there,
        client(EgressPolicy(), names={"localhost": ["127.0.0.1"]}) as http,
    ):
        for scheme in ("http", "https"):
            assert isinstance(await post(http, there.url(host, scheme)), Failure)

    assert there.connections == 0


async def test_name_that_moves_to_a_forbidden_address_is_refused_at_the_next_dial() -> None:
    names = {"rebind.example": ["127.0.0.1"]}
    answer = answering(response(headers="Connection: close\r\n"))
    policy = EgressPolicy.parse("rebind.example,127.0.0.1")
    async with receiver(answer) as there, client(policy, names=names) as http:
        first = await post(http, there.url("rebind.example"))
        names["rebind.example"] = ["169.254.169.254"]
        http._session.connector.clear_dns_cache()  # type: ignore[union-attr]
        second = await post(http, there.url("rebind.example"))

    assert isinstance(first, Reply)
    assert isinstance(second, Failure)
    assert second.kind == "address"
    assert "metadata" in second.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
async def test_every_dial_is_judged_on_its_own_names_and_literals_alike(host: str) -> None:
    names = {"evil.example": ["127.0.0.1", "127.0.0.2"]}
    believing = EgressPolicy.parse("127.0.0.0/8")
    async with receiver(answering(response())) as there, client(believing, names=names) as http:
        http._policy = EgressPolicy()  # the URL was accepted and the resolver is trusted; the dial looks
        failed = await post(http, there.url(host, "https"))

    assert isinstance(failed, Failure)
    assert (failed.kind, failed.address) == ("address", "127.0.0.1")
    assert there.connections == 0


async def test_connection_of_an_allowed_name_is_not_lent_to_another_name() -> None:
    names = {"good.example": ["127.0.0.1"], "evil.example": ["127.0.0.1"]}
    async with (
        receiver(answering(response())) as there,
        client(EgressPolicy.parse("good.example"), names=names) as http,
    ):
        assert isinstance(await post(http, there.url("good.example")), Reply)
        failed = await post(http, there.url("evil.example", "https"))

    assert isinstance(failed, Failure)
    assert failed.kind == "address"
    assert there.connections == 1


async def test_nothing_leaves_inside_a_unit(database: Database) -> None:
    async with receiver(answering(response())) as there, client() as http:
        loop = asyncio.get_running_loop()

        def unit(_tx: Transaction) -> None:
            asyncio.run_coroutine_threadsafe(post(http, there.url()), loop).result()

        with pytest.raises(OpenTransaction):
            await database.write(unit)

    assert there.connections == 0


# Certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def over_tls(authority: Authority, context: ssl.SSLContext) -> tuple[Reply | Failure, Receiver]:
    policy = EgressPolicy.parse("hooks.example.com")
    names = {"hooks.example.com": ["127.0.0.1"]}
    async with (
        receiver(answering(response()), context) as there,
        client(policy, names=names, authority=authority) as http,
    ):
        return await post(http, there.url("hooks.example.com", "https")), there


async def test_certificate_of_the_right_host_is_accepted(authority: Authority) -> None:
    outcome, _ = await over_tls(authority, authority.serving("hooks.example.com"))

    assert isinstance(outcome, Reply)
    assert outcome.tls is not None
    assert outcome.tls.version.startswith("TLSv1.")
    certificate = x509.load_der_x509_certificate(outcome.tls.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hooks.example.com"]


@pytest.mark.parametrize("what", ["other host", "run out", "unknown authority"])
async def test_certificate_that_proves_nothing_is_refused_with_its_reason(
    authority: Authority, tmp_path: Path, what: str
) -> None:
    context = {
        "other host": lambda: authority.serving("elsewhere.example.com"),
        "run out": lambda: authority.serving("hooks.example.com", days=-1),
        "unknown authority": lambda: Authority(tmp_path).serving("hooks.example.com"),
    }[what]()
    outcome, there = await over_tls(authority, context)

    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.may_retry, outcome.address) == ("tls", False, "127.0.0.1")
    assert {
        "other host": "not valid for 'hooks.example.com'",
        "run out": "expired",
        "unknown authority": "local issuer",
    }[what] in outcome.detail
    assert there.requests == []


async def test_only_authorities_of_the_machine_are_believed_unless_told_otherwise(
    authority: Authority,
) -> None:
    async with receiver(answering(response()), authority.serving("127.0.0.1")) as there, client() as http:
        outcome = await post(http, there.url(scheme="https"))

    assert isinstance(outcome, Failure)
    assert outcome.kind == "tls"
    assert there.requests == []


async def test_https_is_not_spoken_to_a_plain_port() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(response(status="400 Bad Request"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as http:
        failed = await post(http, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")

    assert isinstance(failed, Failure)
    assert (failed.kind, failed.may_retry, failed.address) == ("tls", False, "127.0.0.1")
