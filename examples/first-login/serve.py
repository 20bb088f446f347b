"""`make serve`: a demo app with a web hook policy, its server, decision endpoint and page, until Ctrl-C.

Everything it keeps is in ./demo; delete that folder to begin again.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "demo"
ADMIT = Path(sys.executable).with_name("admit")
DATABASE = DEMO / "admit.db"
APP = "demo"

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 10


@dataclass(frozen=True)
class Ports:
    """Where each part listens, all on 127.0.0.1."""

    server: int
    page: int
    endpoint: int


@dataclass(frozen=True)
class Part:
    """One running process."""

    name: str
    process: subprocess.Popen[bytes]


def main() -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    parts: list[Part] = []
    try:
        ports = Ports(server=free_port(8080), page=free_port(3000), endpoint=free_port(9000))
        environment = settings(ports)
        start_server(ports, environment, parts)
        secret = prepare_app(ports, environment)
        start_the_others(ports, secret, parts)
        tell_addresses(ports)
        wait(parts)
    except KeyboardInterrupt:
        print("\nStopping. Run `make serve` again to go on; delete ./demo to begin again.", flush=True)
    finally:
        stop(parts)


def settings(ports: Ports) -> dict[str, str]:
    """The environment of the server and of the commands. Other ADMIT_ settings of this shell do not count."""
    DEMO.mkdir(mode=0o700, exist_ok=True)
    own = {
        "ADMIT_DATABASE_URL": f"sqlite:///{DATABASE}",
        "ADMIT_PORT": str(ports.server),
        "ADMIT_MAIL_URL": "inbox:",
        # Hooks may not reach private addresses, and this machine is one: the operator has to allow it.
        "ADMIT_EGRESS_ALLOW": "127.0.0.1",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("ADMIT_")} | own


def start_server(ports: Ports, environment: dict[str, str], parts: list[Part]) -> None:
    """Starts the server, which makes its database, and waits until it answers."""
    with (DEMO / "server.log").open("ab") as log:
        parts.append(Part("the server", run([str(ADMIT), "serve"], environment, output=log)))
    wait_for_answer(f"http://127.0.0.1:{ports.server}/readyz", parts)


def prepare_app(ports: Ports, environment: dict[str, str]) -> str:
    """Makes the demo app unless it exists, points it at page and endpoint, and returns its hook secret."""
    if new := APP not in [app["name"] for app in admit(environment, "app", "list")]:
        print("Making the demo app…", flush=True)
        admit(environment, "app", "create", APP, "--owner", "you@example.com")
    admit(environment, "origin", "add", APP, f"http://localhost:{ports.page}")
    rule = admit(environment, "policy", "show", APP, "--secret")
    url = f"http://127.0.0.1:{ports.endpoint}/decide"
    # A policy that somebody has set since then stays; ours follows its endpoint to another port.
    if new or (rule["policy"]["kind"] == "webhook" and rule["policy"]["url"] != url):
        admit(environment, "policy", "set", APP, "webhook", url)
    return str(rule["hook_secret"])


def start_the_others(ports: Ports, secret: str, parts: list[Part]) -> None:
    """Starts the decision endpoint and the page, and waits for the page."""
    endpoint = [sys.executable, str(HERE / "decision_endpoint.py"), "--port", str(ports.endpoint)]
    parts.append(Part("the decision endpoint", run(endpoint, os.environ | {"HOOK_SECRET": secret})))
    page = [sys.executable, str(HERE / "page_server.py"), "--port", str(ports.page)]
    page += ["--database-url", f"http://localhost:{ports.server}/{APP}"]
    parts.append(Part("the page", run(page, dict(os.environ))))
    wait_for_answer(f"http://127.0.0.1:{ports.page}/config.json", parts)


def tell_addresses(ports: Ports) -> None:
    """The few lines that a newcomer reads."""
    page, server = f"http://localhost:{ports.page}", f"http://localhost:{ports.server}"
    print(
        f"""
  Sign in here       {page}
  Read the mail      {server}/inbox
  Database URL       {server}/{APP}
  Decision endpoint  http://127.0.0.1:{ports.endpoint}/decide   (examples/first-login/decision_endpoint.py)
  Server log         demo/server.log

  Try next
    Sign in as ada.lovelace@example.com, then as grace@elsewhere.org, then as nobody@elsewhere.org:
    the endpoint answers prod, eval and reject, and each question shows as a line below.
    Change `decide` in decision_endpoint.py, start again, and sign in as somebody new.
    Look at people and rules from another terminal:
      . .venv/bin/activate; export ADMIT_DATABASE_URL=sqlite:///demo/admit.db
      admit user list {APP}
      admit policy show {APP}
    docs/guides/first-login.md explains each step. Ctrl-C ends everything.
""",
        flush=True,
    )


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


def admit(environment: dict[str, str], *arguments: str) -> Any:
    """Runs one `admit` command and returns what it prints as JSON."""
    done = subprocess.run([str(ADMIT), *arguments, "--json"], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"`admit {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run(command: list[str], environment: dict[str, str], output: Any = None) -> subprocess.Popen[bytes]:
    """Starts a process of its own group, so that Ctrl-C reaches us alone and we end the parts in order."""
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)


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
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at:
        complain_about_dead(parts)
        with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as reply:
            if reply.status == 200:
                return
        time.sleep(0.05)
    sys.exit(f"{url} did not answer within {START_SECONDS_MAX} s. demo/server.log may say why.")


def complain_about_dead(parts: list[Part]) -> None:
    for part in parts:
        if (status := part.process.poll()) is not None:
            sys.exit(f"{part.name.capitalize()} ended by itself (status {status}). {last_words()}")


def last_words() -> str:
    """The end of the server's log, where it says why it does not start."""
    log = DEMO / "server.log"
    lines = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
    return "\n".join(["demo/server.log ends with:", *lines]) if lines else "It left no log."


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
