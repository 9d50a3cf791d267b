"""The listening socket: connections, the timer that makes events durable, and an orderly end.

One asyncio loop owns everything; it may run in the main thread (`hec-emulator`) or in a thread of its own
(`Emulator`).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from splunk_hec_emulator._emulation import Emulation
from splunk_hec_emulator._store import JournalError
from splunk_hec_emulator._wire import Buffered, Connection
from splunk_hec_emulator.settings import Settings, SettingsError

_STREAM_BYTES = 1 << 20
_BACKLOG = 1_024
_IDLE_S = 60.0  # how often the timer looks when nothing is due


class Server:
    """Serves one Emulation over TCP. Lives on one event loop, between `start` and `stop`."""

    def __init__(self, settings: Settings, on_change: Callable[[], None] = lambda: None) -> None:
        self.emulation = Emulation(settings)
        self.url = ""
        self._settings = settings
        self._on_change = on_change
        self._buffered = Buffered()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._failure: asyncio.Future[None]

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on, or the certificate cannot be read.
        """
        host, _, port = self._settings.listen.rpartition(":")
        context = _tls(self._settings.tls)
        try:
            self._server = await asyncio.start_server(
                self._connected,
                host.strip("[]"),
                int(port),
                limit=_STREAM_BYTES,
                backlog=_BACKLOG,
                ssl=context,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise SettingsError(f"--listen: cannot listen on {self._settings.listen}: {reason}") from None
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if context else 'http'}://{host}:{port}"
        self._failure = asyncio.get_running_loop().create_future()
        self._timer = asyncio.create_task(self._keep_time())

    async def run(self, ended: asyncio.Event) -> None:
        """Serve until the event is set, then stop.

        Raises:
            JournalError: the journal could not be written; the server has stopped.
        """
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait((waiting, self._failure), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await self.stop()
        if self._failure.done():
            self._failure.result()

    async def stop(self) -> None:
        """Stop listening, drop all connections, close the journal. What is not yet durable is lost."""
        self._server.close()
        for task in (self._timer, *self._tasks):
            task.cancel()
        await asyncio.gather(self._timer, *self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self.emulation.store.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await Connection(reader, writer, self.emulation, self._buffered, self._answered).serve()
            with contextlib.suppress(OSError):
                await writer.wait_closed()  # what is still in the buffer belongs to this task, until `stop`
        except JournalError as error:
            self._fail(error)
        except asyncio.CancelledError:
            writer.transport.abort()  # only `stop` cancels: nobody waits for this task's end but `stop`
        finally:
            self._tasks.discard(task)

    def _fail(self, error: JournalError) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    def _answered(self) -> None:
        """A request was answered: the timer may be due sooner, and someone may wait for what changed."""
        self._wake.set()
        self._on_change()

    async def _keep_time(self) -> None:
        """Make events durable when they are due, also while nobody sends anything."""
        while not self._failure.done():
            if (wait_s := min(self.emulation.wait_s, _IDLE_S)) > 0:
                await self._sleep(wait_s)
            self._wake.clear()
            before = self.emulation.store.total
            try:
                self.emulation.advance()
            except JournalError as error:
                self._fail(error)
            if self.emulation.store.total != before:
                self._on_change()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def _tls(pair: tuple[str, str] | None) -> ssl.SSLContext | None:
    if pair is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(*pair)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"--tls: cannot read {pair[0]} and {pair[1]}: {error}") from None
    return context
