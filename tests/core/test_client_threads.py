"""The client with real threads: many callers, small budgets, ends in the middle of everything."""

from __future__ import annotations

import gc
import json
import threading
import time
import zlib
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest

from splunk_hec import Event, HecClient, HecConfig
from splunk_hec import _protocol as protocol
from splunk_hec._block import Block
from splunk_hec.errors import BudgetExceeded, ClosedError, DeliveryFailed
from splunk_hec.events import OutcomeKind
from splunk_hec.testing import Reply, Request, TransportError, accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUND_S = 30.0
"""No test waits longer for anything; what hangs fails here instead of at the runner's limit."""


class Server:
    """HEC in memory, shared by the transports of all lanes: acknowledges at the second question."""

    def __init__(self, *, seed: int = 0, fails: float = 0.0, raises: float = 0.0) -> None:
        self._guard = threading.Lock()
        self._rng = Random(seed)
        self._fails = fails
        self._raises = raises
        self._ids: Counter[str] = Counter()
        self._asked: set[tuple[str, int]] = set()
        self.indexed: Counter[str] = Counter()
        self.is_open = threading.Event()
        self.is_open.set()
        self.is_waited_for = threading.Event()

    def transport(self) -> Server:
        """One for all: it holds no state of a connection."""
        return self

    def send(self, request: Request) -> Reply | TransportError:
        """Answer, unless it is closed: then wait until it opens."""
        if not self.is_open.is_set():
            self.is_waited_for.set()
            self.is_open.wait(BOUND_S)
        with self._guard:
            if request.path == protocol.ACK_PATH:
                told = {}
                for ack_id in json.loads(request.body)["acks"]:
                    told[str(ack_id)] = (request.channel, ack_id) in self._asked
                    self._asked.add((request.channel, ack_id))
                return Reply(200, json.dumps({"acks": told}).encode())
            if not request.body:
                return Reply(400, b'{"text":"No data","code":5}')
            if self._rng.random() < self._raises:
                raise RuntimeError("a fault of our own")
            if self._rng.random() < self._fails:
                return TransportError("reset", "reset", maybe_sent=False)
            gzipped = "Content-Encoding" in request.headers
            body = zlib.decompress(request.body, wbits=31) if gzipped else request.body
            self.indexed.update(json.loads(line)["event"] for line in body.split(b"\n"))
            ack_id = self._ids[request.channel]
            self._ids[request.channel] += 1
            return accepted(ack_id)

    def forget(self, channel: str) -> None:
        """No cookies."""

    def close(self) -> None:
        """No connections."""


def client_of(server: Server, **settings: object) -> HecClient:
    """A client of small batches and budget."""
    config = HecConfig(
        **{  # type: ignore[arg-type]
            "url": "http://a:1",
            "token": "t",
            "lanes": 4,
            "linger_s": 0.02,
            "batch_max_events": 7,
            "in_flight_max_events": 40,
            **settings,
        }
    )
    return HecClient(config, transport_factory=server.transport)


def run_all(*targets: Callable[[], None]) -> None:
    """Run them at once; whatever one raises, or if one does not come to its end, the test fails."""
    errors: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + BOUND_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not errors
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def _quick_switches() -> Iterator[None]:
    """Threads change places a hundred times as often."""
    import sys

    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_quick_switches")
@pytest.mark.parametrize("fails", [0.0, 0.05])
def test_each_event_of_many_callers_has_one_outcome_and_the_budget_comes_back(fails: float) -> None:
    """Eight submitters, two pollers, a budget of 40: every event is delivered once and told once."""
    server = Server(fails=fails)
    client = client_of(server)
    seen: list[str] = []
    done = threading.Event()

    def submit(caller: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(60):
                client.submit(Event(f"{caller}-{number}", ref=f"{caller}-{number}"), timeout_s=BOUND_S)

        return run

    def poll() -> None:
        while not done.is_set():
            for outcome in client.poll(timeout_s=0.01):
                assert outcome.kind is OutcomeKind.DELIVERED
                seen.extend(outcome.refs)

    pollers = [threading.Thread(target=poll) for _ in range(2)]
    for poller in pollers:
        poller.start()
    try:
        run_all(*(submit(caller) for caller in range(8)))
        assert client.flush(BOUND_S) == 0
    finally:
        done.set()
        for poller in pollers:
            poller.join(BOUND_S)
        seen += [ref for outcome in client.poll() for ref in outcome.refs]
        client.close()
    assert Counter(seen) == {f"{caller}-{number}": 1 for caller in range(8) for number in range(60)}
    assert set(server.indexed) == set(seen)
    assert (client.budget.used_bytes, client.budget.used_events) == (0, 0)


@pytest.mark.usefixtures("_quick_switches")
@pytest.mark.parametrize("seed", range(6))
def test_an_abort_while_all_are_busy_settles_everything(seed: int) -> None:
    """Callers submit, flush, close while another aborts: what was accepted has one outcome, nobody hangs."""
    server = Server(seed=seed, fails=0.02)
    client = client_of(server)
    accepted_refs: list[str] = []
    enough = threading.Event()

    def submit(caller: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(2_000):
                ref = f"{caller}-{number}"
                try:
                    client.submit(Event(ref, ref=ref), timeout_s=BOUND_S)
                except ClosedError:
                    return
                accepted_refs.append(ref)
                if number == 20 + seed:
                    enough.set()

        return run

    def flush() -> None:
        client.flush(BOUND_S)

    def close() -> None:
        enough.wait(BOUND_S)
        try:
            client.close(timeout_s=BOUND_S)
        except DeliveryFailed as failed:
            closed.extend(ref for outcome in failed.outcomes for ref in outcome.refs)

    def abort() -> None:
        enough.wait(BOUND_S)
        client.abort()

    closed: list[str] = []
    run_all(*(submit(caller) for caller in range(4)), flush, close, abort, abort)
    told = [ref for outcome in client.poll() for ref in outcome.refs]
    failed = Counter(told + closed)
    assert max(failed.values(), default=1) == 1
    assert (client.budget.used_bytes, client.budget.used_events) == (0, 0)
    assert client._default.unsettled == 0
    assert set(accepted_refs) >= set(failed)


@pytest.mark.usefixtures("_quick_switches")
def test_streams_that_come_and_go_leave_nothing_behind() -> None:
    """Streams closed, aborted, or just dropped in the middle of delivery give all of the budget back."""
    server = Server()
    client = client_of(server, in_flight_max_events=200)

    def bundle(caller: int) -> Callable[[], None]:
        def run() -> None:
            rng = Random(caller)
            for number in range(40):
                stream = client.stream()
                for position in range(rng.randrange(1, 12)):
                    stream.submit(Event("e", ref=(caller, number, position)), timeout_s=BOUND_S)
                end = rng.randrange(4)
                if end == 0:
                    assert stream.flush(BOUND_S) == 0
                    refs = [ref for outcome in stream.poll() for ref in outcome.refs]
                    assert len(refs) == position + 1
                    assert all(ref[:2] == (caller, number) for ref in refs)
                elif end == 1:
                    stream.abort()
                elif end == 2:
                    stream.cycle = stream  # type: ignore[attr-defined] # only the collector can end it

        return run

    run_all(*(bundle(caller) for caller in range(6)))
    gc.collect()
    client.submit(Event("last"), timeout_s=BOUND_S)
    client.close(timeout_s=BOUND_S)
    assert (client.budget.used_bytes, client.budget.used_events) == (0, 0)


@pytest.mark.usefixtures("_quick_switches")
def test_lanes_that_fail_are_replaced_and_lose_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A transport that raises now and then costs no event its outcome: delivered, or given up as internal."""
    caplog.set_level("CRITICAL", "splunk_hec")
    server = Server(raises=0.05)
    client = client_of(server)
    for number in range(300):
        client.submit(Event(f"e{number}", ref=number), timeout_s=BOUND_S)
    assert client.flush(BOUND_S) == 0
    outcomes = client.poll()
    assert sorted(ref for outcome in outcomes for ref in outcome.refs) == list(range(300))
    assert {outcome.reason for outcome in outcomes} <= {"", "internal"}
    assert "internal" in {reason.code for reason in client.health().reasons}
    client.close()
    assert client.budget.used_events == 0


def test_a_close_takes_over_from_requests_that_hang() -> None:
    """With every request hanging, close returns in its time and gives up what it must, once."""
    server = Server()
    server.is_open.clear()
    client = client_of(server, in_flight_max_events=100)
    for number in range(50):
        client.submit(Event(f"e{number}", ref=number))
    assert server.is_waited_for.wait(BOUND_S)
    with pytest.raises(DeliveryFailed) as failed:
        client.close(timeout_s=0.05)
    assert sorted(ref for outcome in failed.value.outcomes for ref in outcome.refs) == list(range(50))
    assert client.budget.used_events == 0
    server.is_open.set()
    for thread in client._crew._threads:
        thread.join(BOUND_S)
        assert not thread.is_alive()
    assert client.poll() == []
    assert client.budget.used_events == 0


def test_a_second_end_during_the_first_settles_nothing_twice() -> None:
    """An abort while close waits in its flush ends that wait; what close then does settles nothing again."""
    server = Server()
    server.is_open.clear()
    client = client_of(server, in_flight_max_events=100)
    for number in range(20):
        client.submit(Event(f"e{number}", ref=number))
    assert server.is_waited_for.wait(BOUND_S)
    found: list[object] = []

    def close() -> None:
        try:
            client.close(timeout_s=BOUND_S)
        except DeliveryFailed as error:
            found.extend(ref for outcome in error.outcomes for ref in outcome.refs)

    run_all(close, client.abort)
    server.is_open.set()
    for thread in client._crew._threads:
        thread.join(BOUND_S)
    found += [ref for outcome in client.poll() for ref in outcome.refs]
    assert sorted(found) == list(range(20))  # type: ignore[type-var]
    assert client.budget.used_events == 0


def test_nothing_is_accepted_once_the_end_has_begun() -> None:
    """A submit that is past its checks when the client ends is refused, and its budget is given back."""
    server = Server()
    client = client_of(server)
    client.submit(Event("first"))
    stream = client.stream()
    assert client.acquire(10, 1, None)
    client.abort()
    with pytest.raises(ClosedError):
        stream._add(Block(b"x" * 9, 1), [1], 0, "")
    assert client.budget.used_events == 0


def test_callers_of_a_client_without_threads_take_turns() -> None:
    """With `threads=False` several callers share one lane: their requests do not overlap, nothing is lost."""
    server = Server()
    client = client_of(server, threads=False, in_flight_max_events=1000)

    def submit(caller: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(50):
                client.submit(Event(f"{caller}-{number}", ref=(caller, number)), timeout_s=BOUND_S)
            assert client.flush(BOUND_S) == 0

        return run

    run_all(*(submit(caller) for caller in range(4)))
    client.close()
    assert sorted(server.indexed.values()) == [1] * 200
    assert client.budget.used_events == 0


def test_an_abort_frees_a_caller_that_works_without_threads() -> None:
    """`flush` of a client without threads ends when another thread aborts, though its time is not up."""
    server = Server(fails=1.0)
    client = client_of(server, threads=False)
    client.submit(Event("e", ref=1))
    run_all(lambda: assert_settled(client.flush(10 * BOUND_S)), client.abort)
    assert [outcome.kind for outcome in client.poll()] == [OutcomeKind.GAVE_UP]


def assert_settled(left: int) -> None:
    """Nothing is left."""
    assert left == 0


def test_a_full_budget_without_threads_is_worked_off_by_the_submit_that_waits() -> None:
    """A submit that finds the budget full does the work that frees it, in place of turning on the spot."""
    client = client_of(Server(), threads=False, in_flight_max_events=5, linger_s=60)
    for number in range(23):
        client.submit(Event(f"e{number}", ref=number), timeout_s=BOUND_S)
    assert client.flush(BOUND_S) == 0
    client.close()


def test_a_full_budget_is_refused_in_time_and_the_waiter_is_not_lost() -> None:
    """With nothing freed, a submit with a time limit raises; one without is let in once there is room."""
    server = Server()
    server.is_open.clear()
    client = client_of(server, in_flight_max_events=5)
    for number in range(5):
        client.submit(Event(f"e{number}"))
    with pytest.raises(BudgetExceeded):
        client.submit(Event("too many"), timeout_s=0.05)
    run_all(lambda: client.submit(Event("waits")), server.is_open.set)
    client.close(timeout_s=BOUND_S)
    assert client.budget.used_events == 0


def test_an_exit_handler_can_still_flush() -> None:
    """The end of the interpreter does not abort streams: what an exit handler flushes is delivered."""
    import subprocess
    import sys

    from splunk_hec_emulator import Emulator

    script = (
        "import atexit, sys\n"
        "from splunk_hec import Event, HecClient, HecConfig\n"
        "atexit.register(lambda: (stream.close(30), hec.close(30)))\n"
        "hec = HecClient(HecConfig(url=sys.argv[1], token=sys.argv[2]))\n"
        "stream = hec.stream()\n"
        "stream.submit(Event('late'))\n"
        "hec.submit(Event('later'))\n"
    )
    with Emulator(ack_delay=0) as emulator:
        command = [sys.executable, "-I", "-c", script, emulator.url, emulator.token]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert {one["event"] for one in emulator.events()} == {"late", "later"}
