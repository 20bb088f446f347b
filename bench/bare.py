"""The raw limit: a server on the same stack that only asks the decision endpoint and answers.

Run as a program with the endpoint's port, it prints its own port and serves until its standard input closes.
"""

import asyncio
import socket
import sys

import aiohttp
import msgspec
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ANSWER = b'"ok":true'

_QUESTION = b'{"userId":"someone@example.com","email":"someone@example.com"}'


async def serve(hook_port: int) -> None:
    """Serves `POST /` on a free port of loopback."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def post(request: Request) -> Response:
            msgspec.json.decode(await request.body())
            async with session.post(f"http://127.0.0.1:{hook_port}/decide", data=_QUESTION) as answer:
                return Response(await answer.read(), media_type="application/json")

        routes = [Route("/", post, methods=["POST"])]
        server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=routes), loop="none", http="httptools", access_log=False, log_level="warning"
            )
        )
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
