"""The session of this device: begun by a login, kept in a file, refreshed in time, ended on both sides."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec.structs import replace

from admit import clock
from admit.client import kept
from admit.client.current_user import CurrentUser, Tokens
from admit.client.device_key import DeviceKey, new_private_key
from admit.client.errors import (
    AdmitError,
    CannotReach,
    KeptFileError,
    NotSignedIn,
    Refusal,
    SessionEnded,
    SessionOver,
    SessionWiped,
    WipeFailed,
)
from admit.client.kept import Farewell, Kept, Session
from admit.client.kept_file import KeptFile
from admit.client.observable import Observable
from admit.client.requests import DeviceInfo, DeviceSent, TokenRequest, signed
from admit.client.wire import SKEW_NOTICED_MS, Wire, read

LOOK_SECONDS = 60.0
"""How often the file is looked at: others change it, and timers stand still while a machine sleeps."""
PAUSE_SECONDS = 2.0
PAUSE_SECONDS_MAX = 300.0
NOBODY = "Nobody is signed in on this device."
DOORS = {"logged_out": "logout", "wiped": "wiped"}

OnWipe = Callable[[], Awaitable[None] | None]
"""Erases what the program keeps of the person. It may be called again, and must not use the client."""

log = logging.getLogger("admit.client")


class DeviceSession:
    """What the device keeps in `file` of one app, and the tasks that keep it going while it is open.

    Everything that changes the session is done one after the other; other processes may do so at any time.
    """

    def __init__(self, file: KeptFile, device: DeviceInfo, on_wipe: OnWipe | None) -> None:
        self.current_user: Observable[CurrentUser | None] = Observable(None)
        self.problem: Observable[AdmitError | None] = Observable(None)
        self._file = file
        self._device = device
        self._on_wipe = on_wipe
        self._kept: Kept | None = None
        self._newest_stamp = 0
        self._one_at_a_time = asyncio.Lock()
        self._news = asyncio.Event()
        self._wire_if_open: Wire | None = None
        self._upkeep: asyncio.Task[None] | None = None

    @property
    def wire(self) -> Wire:
        """The way to the server. Raises RuntimeError while the client is not open."""
        if self._wire_if_open is None:
            raise RuntimeError("The client is not open. Use it in `with` or `async with`.")
        return self._wire_if_open

    async def open(self, connect: Callable[[int], Wire]) -> None:
        """Reads what is kept. `connect` opens the way to the server, knowing how far its clock is ahead."""
        if self._wire_if_open is not None:
            raise RuntimeError("The client is open already.")
        await self._look()
        self._wire_if_open = connect(self._kept.skew_ms if self._kept else 0)
        self._upkeep = asyncio.create_task(self._keep_up())

    async def close(self) -> None:
        """Ends the tasks and the connections. The person stays signed in."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
        if self._wire_if_open is not None:
            await self._wire_if_open.close()
            self._wire_if_open = None

    async def begin(self, request: TokenRequest) -> CurrentUser:
        """Signs in by `request`. Raises Refusal, CannotReach, KeptFileError.

        The device and its key are kept before they are sent: who asks again is the same device. Whose session
        is displaced is signed out.
        """
        wire = self.wire
        async with self._one_at_a_time:
            known = await self._change(_with_key)
            await self._say_farewells()
            private_key = known.private_key or ""
            request = replace(
                request,
                public_key=self._key(private_key).public_pem,
                device=DeviceSent.of(known.device_id, self._device),
            )
            session = kept.session_of(read(await wire.post("token", request), Tokens), wire.now())
            await self._change(lambda before: kept.signed_in(before, session, private_key))
            self.problem.set(None)
            with suppress(CannotReach, Refusal):
                await self._say_farewells()
        self._news.set()
        return session.user

    async def fresh(self) -> Session:
        """The session with an access token that is good for some minutes. Raises as `renew` does.

        While the server cannot be reached, a token that is good for less will do.
        """
        session = self._session
        if session is not None and self.wire.now() < session.renew_at:
            return session
        try:
            return await self.renew()
        except (CannotReach, Refusal) as error:
            session = self._session
            passes = error.may_pass if isinstance(error, Refusal) else True
            if passes and session is not None and self.wire.now() < session.access_until:
                return session
            raise

    async def renew(self, *, even_if_fresh: bool = False) -> Session:
        """The session refreshed, if it is time. Raises NotSignedIn, SessionOver, Refusal, CannotReach."""
        async with self._one_at_a_time:
            return await self._renew(even_if_fresh)

    async def end(self) -> None:
        """Signs out here, at once. A server that cannot be reached is told as soon as it can be."""
        async with self._one_at_a_time:
            await self._look()
            if self._session is None:
                return
            session_id = self._session.session_id
            await self._change(lambda before: kept.signed_out(before, session_id))
            self.problem.set(None)
            with suppress(CannotReach, Refusal):
                await self._say_farewells()

    async def device_id(self) -> str:
        """The identifier of this device, made where there is none."""
        known = self._kept or await self._change(lambda before: before)
        return known.device_id

    @property
    def _session(self) -> Session | None:
        return None if self._kept is None else self._kept.session

    async def _renew(self, even_if_fresh: bool) -> Session:
        try:
            session = await self._as_server_has_it(even_if_fresh)
        except NotSignedIn:
            raise
        except AdmitError as error:
            self.problem.set(error)
            raise
        self.problem.set(None)
        return session

    async def _as_server_has_it(self, even_if_fresh: bool) -> Session:
        await self._look()  # another process may have seen to it
        session = self._session
        if session is None:
            raise NotSignedIn(NOBODY)
        if not even_if_fresh and self.wire.now() < session.renew_at:
            return session
        try:
            answer = await self._post_signed("token", session.refresh_token)
        except SessionOver as over:
            await self._obey(over, session.session_id)
            raise
        renewed = kept.session_of(read(answer, Tokens), self.wire.now())
        await self._change(lambda before: kept.renewed(before, renewed))
        if self._session is None:
            raise NotSignedIn(NOBODY)
        return self._session

    async def _obey(self, over: SessionOver, session_id: str) -> None:
        match over:
            case SessionEnded():
                await self._change(lambda before: kept.ended(before, session_id))
            case SessionWiped():
                await self._change(lambda before: kept.wiping(before, session_id))
                with suppress(CannotReach, Refusal):
                    await self._say_farewells()

    async def _say_farewells(self) -> None:
        """Tells the server what it has still to be told. What it refuses to hear is not told again."""
        for farewell in self._kept.farewells if self._kept else ():
            if farewell.kind == "wiped":
                await self._erase()
            try:
                await self._post_signed(DOORS[farewell.kind], farewell.refresh_token)
            except Refusal as refusal:
                if refusal.may_pass:
                    raise
                log.warning("The server does not hear of an ended session: %s", refusal.message)
            await self._change(_parting(farewell))

    async def _erase(self) -> None:
        """Calls `on_wipe`, in a thread, for it may take long. Raises WipeFailed."""
        if self._on_wipe is None:
            return
        try:
            outcome = await asyncio.to_thread(self._on_wipe)
            if inspect.isawaitable(outcome):
                await outcome
            if isinstance(self.problem.value, WipeFailed):
                self.problem.set(None)
        except Exception as error:
            raise WipeFailed(
                f"on_wipe has raised {type(error).__name__}; the wipe is not confirmed."
            ) from error

    async def _post_signed(self, path: str, refresh_token: str) -> bytes:
        """Posts the signed token; once more when the answer tells how wrong this machine's clock is."""
        skew_ms = self.wire.skew_ms
        try:
            return await self._post_stamped(path, refresh_token)
        except Refusal as refusal:
            if refusal.status != 401 or abs(self.wire.skew_ms - skew_ms) <= SKEW_NOTICED_MS:
                raise
        return await self._post_stamped(path, refresh_token)

    async def _post_stamped(self, path: str, refresh_token: str) -> bytes:
        """Posts the token signed with the present time. The server takes no time for a farewell twice."""
        known = self._kept
        assert known is not None, "a token is kept"
        key = self._key(known.private_key or "")
        stamp = max(self.wire.now(), known.newest_stamp + 1, self._newest_stamp + 1)
        answer = await self.wire.post(path, signed(key, refresh_token, stamp, refreshes=path == "token"))
        self._newest_stamp = stamp
        return answer

    def _key(self, private_key: str) -> DeviceKey:
        try:
            return DeviceKey(private_key)
        except (ValueError, TypeError) as error:
            raise KeptFileError(
                f"The key in {self._file.path} cannot be read. Move the file away."
            ) from error

    async def _look(self) -> None:
        self._adopt(await asyncio.to_thread(self._file.read))

    async def _change(self, step: Callable[[Kept], Kept]) -> Kept:
        after = await asyncio.to_thread(self._file.change, self._with_time(step))
        self._adopt(after)
        return after

    def _with_time(self, step: Callable[[Kept], Kept]) -> Callable[[Kept], Kept]:
        """`step`, and what has been learnt of the server's clock."""
        if self._wire_if_open is None:
            return step
        skew_ms, newest_stamp = self._wire_if_open.skew_ms, self._newest_stamp
        return lambda before: kept.timed(step(before), skew_ms, newest_stamp)

    def _adopt(self, known: Kept | None) -> None:
        self._kept = known
        self.current_user.set(known.session.user if known and known.session else None)

    async def _keep_up(self) -> None:
        """Refreshes in time and says farewells, until the client closes."""
        pause_seconds = PAUSE_SECONDS
        while True:
            self._news.clear()
            try:
                wait_seconds = await self._tend()
                pause_seconds = PAUSE_SECONDS
            except Exception as error:
                if not isinstance(error, AdmitError):
                    log.exception("The session could not be seen to.")
                asked = (error.retry_after_seconds if isinstance(error, Refusal) else None) or 0
                wait_seconds = max(clock.jitter(pause_seconds), asked)
                pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._news.wait()

    async def _tend(self) -> float:
        """Does what is due. Returns the seconds until something may be due again."""
        wait_seconds = LOOK_SECONDS
        async with self._one_at_a_time:
            with suppress(NotSignedIn):
                due_in_ms = (await self._renew(False)).renew_at - self.wire.now()
                wait_seconds = min(max(due_in_ms / 1_000, 0.0), LOOK_SECONDS)
            await self._say_farewells()
        return wait_seconds


def _with_key(before: Kept) -> Kept:
    return before if before.private_key else replace(before, private_key=new_private_key())


def _parting(farewell: Farewell) -> Callable[[Kept], Kept]:
    return lambda before: kept.parted(before, farewell)
