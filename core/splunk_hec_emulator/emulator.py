"""The emulator as a library: a server in a thread of its own, for tests and demonstrations.

Every method may be called from any thread; those that touch the server's state run on its loop.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from splunk_hec_emulator.server import Server
from splunk_hec_emulator.settings import Settings, Token

_Result = TypeVar("_Result")
_START_S = 30.0


class Emulator:
    """A running HEC server: ``with Emulator(ack_delay=0) as hec: post_to(hec.url, hec.token)``.

    Args:
        settings: ready-made settings, or None.
        **options: the fields of `Settings`, if settings is None; ``listen`` defaults to a free port of
            127.0.0.1.

    Raises:
        SettingsError: an option is wrong.
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        self._settings = settings or Settings.of(**{"listen": "127.0.0.1:0", **options})
        self._tokens = self._settings.tokens
        self._changed = threading.Condition()
        self._changes = 0  # guarded by _changed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen, and return when connections are accepted.

        Raises:
            SettingsError: the address is taken, or the certificate cannot be read.
        """
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="hec-emulator", daemon=True)
        self._thread.start()
        started.result(_START_S)
        return self

    def stop(self) -> None:
        """Drop all connections and end the thread; what is not yet durable is lost. May be called twice."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        self._thread = self._loop = None

    # -- what a client needs -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return self._server.url

    @property
    def token(self) -> str:
        """The first token with acks."""
        return self._first(has_acks=True)

    @property
    def plain_token(self) -> str:
        """The first token without acks."""
        return self._first(has_acks=False)

    # -- what a test asks --------------------------------------------------------------------------------

    def events(self, offset: int = 0, limit: int | None = None, containing: str = "") -> list[dict[str, Any]]:
        """Return the durable events as /emulator/events shows them."""
        found = self._call(lambda: self._server.emulation.store.read(offset, limit, containing))
        return [json.loads(line) for line in found]

    def stats(self) -> dict[str, Any]:
        """Return the counters of /emulator/stats."""
        return self._call(self._server.emulation.stats)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until a condition holds.

        It is asked again when a fault strikes, after every reply, and when something becomes durable.

        Raises:
            TimeoutError: it still does not hold after timeout_s.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            with self._changed:
                seen = self._changes
            if condition():
                return
            with self._changed:
                left_s = deadline - time.monotonic()
                if not self._changed.wait_for(lambda: self._changes != seen, max(left_s, 0)):  # noqa: B023
                    raise TimeoutError(f"the condition does not hold after {timeout_s:g} s")

    def wait_for_events(self, count: int, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Wait until at least so many events are durable, and return all of them."""
        self.wait_for(lambda: self.stats()["events_indexed"] >= count, timeout_s)
        return self.events()

    # -- what a test changes -----------------------------------------------------------------------------

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The fault rules, as ``{"rule", "fired"}``; assign rules as text (or as read) to replace them."""
        return self._call(self._server.emulation.faults.describe)

    @faults.setter
    def faults(self, rules: Iterable[str | Mapping[str, Any]]) -> None:
        wanted = list(rules)
        self._call(lambda: self._server.emulation.set_faults(wanted))

    def set_faults(self, *rules: str) -> None:
        """Replace the fault rules; none clears them."""
        self.faults = rules

    def set_tokens(self, *tokens: Token | str) -> None:
        """Replace the tokens (specs as for ``--token``)."""
        self._tokens = Settings.of(tokens=tokens).tokens
        self._call(lambda: self._server.emulation.set_tokens(self._tokens))

    def restart(self, node: int = 0) -> None:
        """Restart a node: its channels and what is not yet durable are gone."""
        self._call(lambda: self._server.emulation.restart(node))

    def reset(self) -> None:
        """Forget events, channels and counters."""
        self._call(self._server.emulation.reset)

    # -- the thread --------------------------------------------------------------------------------------

    def _first(self, *, has_acks: bool) -> str:
        for token in self._tokens:
            if token.ack == has_acks and not token.is_disabled:
                return token.value
        raise LookupError(f"no token {'with' if has_acks else 'without'} acks is configured")

    def _call(self, work: Callable[[], _Result]) -> _Result:
        """Run work on the loop's thread and return its result."""
        if self._loop is None:
            raise RuntimeError("the emulator is not running: use it as a context manager, or call start()")
        done: Future[_Result] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller, on its own thread
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_START_S)

    def _run(self, started: "Future[None]") -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)  # start() raises it on the caller's thread

    async def _serve(self, started: "Future[None]") -> None:
        self._server = Server(self._settings, self._note)
        await self._server.start()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        started.set_result(None)
        await self._server.run(self._ended)

    def _note(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()
