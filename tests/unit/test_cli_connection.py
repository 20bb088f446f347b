"""How commands reach the admin API, and what they make of its answers."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from admit.cli.connection import (
    Api,
    CannotReach,
    HttpConnection,
    Rejection,
    target,
)
from admit.cli.in_process import request
from admit.cli.reach import Reach, connect, local_settings
from admit.errors import ConfigError


class Thing(msgspec.Struct, frozen=True):
    name: str


class Seen:
    """What a server was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None, bytes]] = []


@contextmanager
def server(answer: Callable[[str], tuple[int, dict[str, str], bytes]]) -> Iterator[tuple[str, Seen]]:
    """A server on the loopback that gives `answer(path)`, and what it has seen."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.requests.append((self.command, self.path, self.headers.get("authorization"), body))
            status, headers, content = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _any

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}", seen
        finally:
            running.shutdown()
            thread.join()


def api(url: str) -> Api:
    return Api(HttpConnection(url, lambda: "adm_secret", if_unknown="Make another."))


def error_of(status: int, body: bytes) -> Exception:
    with server(lambda _: (status, {}, body)) as (url, _), pytest.raises(Exception) as caught:  # noqa: PT011
        api(url).call("GET", "apps", None, Thing)
    return caught.value


def test_a_request_carries_the_token_and_the_body() -> None:
    with server(lambda _: (200, {}, b'{"name":"notes","new":1}')) as (url, seen):
        answer = api(url + "/base/").call("PUT", target("apps", "a/b", q="x y", none=None), Thing("n"), Thing)

    assert answer == Thing("notes")
    assert seen.requests == [("PUT", "/base/api/apps/a%2Fb?q=x+y", "Bearer adm_secret", b'{"name":"n"}')]


def test_an_empty_answer_is_none() -> None:
    with server(lambda _: (204, {}, b"")) as (url, _):
        api(url).call("DELETE", "apps/notes", None, type(None))


def test_a_redirect_is_not_followed_so_that_the_token_stays() -> None:
    with (
        server(lambda _: (200, {}, b'{"name":"stolen"}')) as (other, seen),
        server(lambda _: (307, {"location": other}, b"")) as (url, _),
        pytest.raises(CannotReach, match="does not answer as Admit does"),
    ):
        api(url).call("GET", "apps", None, Thing)

    assert seen.requests == []


def test_a_refusal_keeps_its_code_and_sentence() -> None:
    error = error_of(409, b'{"code":"name_taken","message":"There is one."}')

    assert isinstance(error, Rejection)
    assert (error.status, error.code, error.message) == (409, "name_taken", "There is one.")


def test_an_unknown_token_is_told_what_to_do() -> None:
    error = error_of(401, b'{"code":"invalid_token","message":"It is not valid."}')

    assert isinstance(error, Rejection)
    assert error.message == "Make another."


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (200, b""), (200, b'{"name":1}'), (404, b"Not Found"), (500, b"[]"), (200, b"\xff")],
)
def test_what_is_not_admit_is_recognised(status: int, body: bytes) -> None:
    error = error_of(status, body)

    assert isinstance(error, CannotReach)
    assert "does not answer as Admit does" in error.message


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

    with pytest.raises(CannotReach, match=f"Cannot reach the server at {url}: Connection refused"):
        api(url).call("GET", "apps", None, Thing)


@pytest.mark.parametrize("url", ["login.example.com", "ftp://x", "https://", "http://[::1", "http://x:port"])
def test_a_wrong_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a server"):
        connect(Reach(url=url, token="t"), {})


def test_a_user_in_the_address_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        api("http://ada:secret@127.0.0.1:1").call("GET", "apps", None, Thing)

    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "overheard"),
    [
        ("http://login.example.com", True),
        ("http://10.0.0.1:8080", True),
        ("http://localhost.example.com", True),
        ("https://login.example.com", False),
        ("http://localhost:8080", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
    ],
)
def test_who_sends_a_token_unencrypted_is_warned(
    url: str, overheard: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(Reach(url=url, token="adm_x"), {})

    assert ("reads the token" in capsys.readouterr().err) == overheard


def test_a_remote_server_needs_a_token_and_a_token_a_server() -> None:
    with pytest.raises(ConfigError, match="ADMIT_TOKEN is not set"):
        connect(Reach(url="https://login.example.com"), {})
    with pytest.raises(ConfigError, match="Set ADMIT_URL"):
        connect(Reach(token="adm_x"), {})


@pytest.mark.parametrize("token", ["adm_x\r\nHost: evil", "tökén", "adm_\u2028"])
def test_a_token_that_cannot_be_one_is_not_sent(token: str) -> None:
    with pytest.raises(ConfigError, match="ADMIT_TOKEN is not a token"):
        connect(Reach(url="http://127.0.0.1:1", token=token), {})


def test_settings_of_a_server_do_not_trip_over_those_of_commands() -> None:
    environ = {"ADMIT_URL": "https://x", "ADMIT_TOKEN": "t", "ADMIT_PORT": "9000"}

    assert local_settings(environ, database="sqlite:///other.db").database_url == "sqlite:///other.db"
    assert local_settings(environ, database=None, port=0).port == 0


def test_a_request_in_this_process_is_http_to_the_application() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, body=(await receive())["body"])
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    answer = asyncio.run(request(app, "POST", "/api/apps/a%2Fb?q=1", "adm_t", b"{}"))

    assert (answer.status, answer.body) == (201, b"one two")
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == (
        "/api/apps/a/b",
        b"/api/apps/a%2Fb",
        b"q=1",
    )
    assert dict(seen["headers"])[b"authorization"] == b"Bearer adm_t"
    assert seen["body"] == b"{}"


def test_both_ways_send_the_same_request() -> None:
    """One text for both: what the admin API is asked must not depend on the way."""
    arrived: list[tuple[str, bytes, str | None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        query = scope["query_string"].decode()
        arrived.append((f"{scope['raw_path'].decode()}?{query}", (await receive())["body"], None))
        assert headers[b"content-length"] == str(len(arrived[0][1])).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"name":"x"}'})

    where = target("apps", "nötes", "users", "a b@c/d", sort="created")
    with server(lambda _: (200, {}, b'{"name":"x"}')) as (url, seen):
        api(url).call("POST", where, Thing("ü"), Thing)
    asyncio.run(request(app, "POST", "/api/" + where, "t", msgspec.json.encode(Thing("ü"))))

    assert (seen.requests[0][1], seen.requests[0][3]) == arrived[0][:2]
    assert json.loads(arrived[0][1]) == {"name": "ü"}
