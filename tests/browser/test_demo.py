"""`make serve`: a newcomer signs in on the demo's page, and its receiver is told, with user and device."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from admit.cli.commands import root
from tests.structure.source import ROOT

SERVE = ROOT / "examples/first-login/serve.py"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
ADA = "ada.lovelace@example.com"


@dataclass
class Demo:
    """A demo that runs. `printed` is what it has said so far."""

    process: asyncio.subprocess.Process
    printed: list[str] = field(default_factory=list)

    async def says(self, pattern: str) -> re.Match[str]:
        """Waits for a line, unless it was printed before."""
        while not (found := next(filter(None, (re.search(pattern, line) for line in self.printed)), None)):
            assert self.process.stdout is not None
            line = await asyncio.wait_for(self.process.stdout.readline(), START_SECONDS_MAX)
            assert line, "".join(self.printed)
            self.printed.append(line.decode())
        return found


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[Demo]:
    """The demo in `folder`, which ends as by Ctrl-C."""
    command = [sys.executable, str(SERVE), "--folder", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder.parent
    )
    try:
        yield Demo(process)
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), STOP_SECONDS_MAX)


async def sign_in(page: Page, inbox: Page, email: str, *, number: int = 1) -> None:
    """Types the code of the `number`-th mail to `email`."""
    await page.get_by_role("button", name="Continue with email").click()
    await page.get_by_label("Email").fill(email)
    await page.get_by_role("button", name="Send me a code").click()
    await page.get_by_label("Code from the mail").wait_for()
    mails = inbox.get_by_role("article").filter(has_text=email)
    await expect(mails).to_have_count(number)
    code = await mails.first.locator(".code").text_content()
    assert code is not None
    await page.get_by_label("Code from the mail").fill(code)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("This is what")).to_be_visible()


def can_be_typed(line: str) -> None:
    words, command = line.split()[1:], root()
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("printed", words)


def type_it(line: str, folder: Path) -> None:
    """Types a command that the demo has printed, in another terminal."""
    environment = os.environ | {"ADMIT_DATABASE_URL": f"sqlite:///{folder}/admit.db"}
    done = subprocess.run([sys.executable, "-m", *line.split()], env=environment, capture_output=True)
    assert done.returncode == 0, done


async def test_a_second_browser_profile_is_a_second_device_of_the_demo(
    browser: Browser, tmp_path: Path
) -> None:
    async with demo(tmp_path / "demo") as there:
        inbox = await browser.new_page()
        await inbox.goto((await there.says(r"Read the mail +(\S+)"))[1])
        where = (await there.says(r"Sign in here +(\S+)"))[1]
        first, second = [await browser.new_page(), await browser.new_page()]  # each in a profile of its own
        for number, page in enumerate((first, second), 1):
            await page.goto(where)
            await sign_in(page, inbox, ADA, number=number)
        for page in (first, second):  # the first hears of it without a reload
            await expect(page.locator("#devices > li")).to_have_count(2)
            await expect(page.locator("#events > li").first).to_contain_text("another device")
        names = [
            await page.locator("#devices > li", has_text="this device").inner_text()
            for page in (first, second)
        ]
        assert names[0] != names[1]
        forged = {"authorization": "Bearer forged"}
        assert (await first.request.get(f"{where}/devices", headers=forged)).status == 401

        await second.get_by_role("button", name="Sign out").click()
        await second.get_by_role("button", name="Continue with email").wait_for()
        await first.reload()
        await expect(first.locator("#devices > li", has_text="this device")).to_contain_text("session 1")
        await expect(first.locator("#devices > li").first).to_contain_text("logged_out")


async def test_second_button_of_the_demo_leads_to_the_same_person(browser: Browser, tmp_path: Path) -> None:
    async with demo(tmp_path / "demo") as there:
        page, inbox = await browser.new_page(), await browser.new_page()
        await inbox.goto((await there.says(r"Read the mail +(\S+)"))[1])
        await page.goto((await there.says(r"Sign in here +(\S+)"))[1])
        await sign_in(page, inbox, ADA)
        await page.get_by_role("button", name="Sign out").click()

        async def choose(name: str) -> None:
            await page.get_by_role("button", name="Continue with Example ID").click()
            await page.get_by_role("button", name=name).click()

        await choose("Ada Lovelace")
        await page.get_by_text("This is what").wait_for()
        await expect(page.locator("dl").first).to_contain_text(ADA)
        await expect(page.locator("#devices > li")).to_have_count(1)
        await expect(page.locator("#devices > li")).to_contain_text("session 2")

        await page.get_by_role("button", name="Sign out").click()
        await choose("Nobody in Particular")
        await page.get_by_role("alert").filter(has_text="USER_NOT_ACCEPTED").wait_for()
        await choose("Charles Babbage")
        await page.get_by_role("alert").filter(has_text="EMAIL_NOT_VERIFIED").wait_for()
        await choose("Grace Hopper")
        await page.get_by_role("alert").filter(has_text="EMAIL_NOT_TRUSTED").wait_for()
        await choose("Cancel")
        await page.get_by_role("alert").filter(has_text="access_denied").wait_for()


async def test_link_of_the_demo_leads_its_first_operator_into_the_manager(
    browser: Browser, tmp_path: Path
) -> None:
    async with demo(tmp_path / "demo") as there:
        page = await browser.new_page()
        await page.goto((await there.says(r"The Manager +(\S+/set-up/\S+)"))[1])
        await page.get_by_label("Your name").fill("Ada Lovelace")
        await page.get_by_label("Email").fill(ADA)
        await page.get_by_label("Password").fill("four words make a password")
        await page.get_by_role("button", name="Set up with a password").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("demo is ready")
        await expect(page.get_by_text("Ada Lovelace")).to_be_visible()
    async with demo(tmp_path / "demo") as there:
        assert (await there.says(r"The Manager +(\S+)"))[1].endswith("/manager")


async def test_newcomer_of_the_demo_is_told_to_its_receiver(browser: Browser, tmp_path: Path) -> None:
    async with demo(tmp_path / "demo") as there:
        page = await browser.new_page()
        inbox = await browser.new_page()
        await inbox.goto((await there.says(r"Read the mail +(\S+)"))[1])
        await page.goto((await there.says(r"Sign in here +(\S+)"))[1])
        await sign_in(page, inbox, ADA)

        events = page.locator("#events > li")
        await expect(events).to_have_count(2)
        await expect(events.first).to_contain_text("device.enrolled")
        await expect(events.first).to_contain_text("their first device")
        await events.last.locator("summary").click()
        await expect(events.last.locator("pre")).to_contain_text(f'"user_id": "{ADA}"')
        line = await there.says(rf"event receiver: user\.enrolled +{ADA} +device='([\w-]+)…")
        await expect(events.last.locator("pre")).to_contain_text(line[1])
        devices = page.locator("#devices > li")
        await expect(devices).to_have_count(1)
        await expect(devices).to_contain_text("this device")

        where = (await there.says(r"Event receiver +(\S+)"))[1]
        forged = await page.request.post(where, data={"type": "user.enrolled", "data": {}})
        assert forged.status == 400
        await there.says("event receiver: refused a request that Admit did not sign")

        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page, inbox, ADA, number=2)
        await expect(events).to_have_count(3)
        await expect(events.first).to_contain_text("session 2 on it")
        await expect(devices).to_have_count(1)
        await expect(devices).to_contain_text("session 2")
        await there.says("Ctrl-C ends everything")
        for hint in there.printed:
            if hint.strip().startswith("admit "):
                can_be_typed(hint)
        await asyncio.to_thread(type_it, (await there.says("admit endpoint test .+"))[0], tmp_path / "demo")
        await there.says(r"event receiver: user\.enrolled +ada@example\.com")
    assert there.process.returncode == 0

    async with demo(tmp_path / "demo") as there:
        page = await browser.new_page()
        inbox = await browser.new_page()
        await inbox.goto((await there.says(r"Read the mail +(\S+)"))[1])
        await page.goto((await there.says(r"Sign in here +(\S+)"))[1])
        await sign_in(page, inbox, "grace@elsewhere.org")
        await there.says(r"event receiver: device\.enrolled +grace@elsewhere\.org")
