"""The serverless handlers, called as the platforms call them, with events of the shapes they send."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import select
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from splunk_hec import DeliveryFailed, Halted, HecError, InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from splunk_hec_emulator import Emulator

FOLDER = Path(__file__).parents[2] / "pipelines" / "serverless"
EVENTS = Path(__file__).parent / "events"


class Context:
    """What the handler asks Lambda's context for."""

    def __init__(self, left_s: float = 60) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda ends the invocation."""
        return int(self._left_s * 1000)


class CloudEvent(dict[str, Any]):
    """A CloudEvent as functions-framework hands it over: attributes by key, and `data`."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told)
        self.data = told["data"]


def event_of(name: str) -> dict[str, Any]:
    """A recorded event."""
    told: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
    return told


@pytest.fixture
def load(hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A handler's module as in a fresh process, configured for the emulator."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("SPLUNK_HEC_URL", hec_emulator.url)
    monkeypatch.setenv("SPLUNK_HEC_TOKEN", hec_emulator.token)
    names = ("delivery", "aws_lambda", "google_cloud_functions")
    yield importlib.import_module
    for name in names:
        module = sys.modules.pop(name, None)
        if name == "delivery" and module is not None:
            module.client().abort()


def test_kinesis_records_are_confirmed(load: Callable[[str], ModuleType], hec_emulator: Emulator) -> None:
    """Each record is one event, with its time of arrival and its stream as the source."""
    assert load("aws_lambda").handler(event_of("kinesis"), Context()) == {"confirmed": 2}
    told = {one["event"]: float(one["time"]) for one in hec_emulator.events()}
    assert told == {"Hello, this is a test.": 1545084650.987, "This is only a test.": 1545084711.166}
    assert {one["source"] for one in hec_emulator.events()} == {
        "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"
    }


@pytest.mark.parametrize("is_packed", [False, True])
def test_lines_of_an_s3_object_are_confirmed(
    load: Callable[[str], ModuleType],
    hec_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    is_packed: bool,
) -> None:
    """Each line is one event, from the object whose name is quoted in the notice; blank lines are none."""
    module, event = load("aws_lambda"), event_of("s3")
    opened: list[tuple[str, str]] = []
    lines = b"first\r\n\nsecond"
    if is_packed:
        event["Records"][0]["s3"]["object"]["key"] += ".gz"

    def open_object(bucket: str, key: str) -> io.BytesIO:
        opened.append((bucket, key))
        return io.BytesIO(gzip.compress(lines) if is_packed else lines)

    monkeypatch.setattr(module, "open_object", open_object)
    assert module.handler(event, Context()) == {"confirmed": 2}
    key = "logs/web 1/aä.log" + ".gz" * is_packed
    assert opened == [("log-bucket", key)]
    assert [(one["event"], one["source"]) for one in hec_emulator.events()] == [
        ("first", f"s3://log-bucket/{key}"),
        ("second", f"s3://log-bucket/{key}"),
    ]


def test_a_pubsub_message_is_confirmed(load: Callable[[str], ModuleType], hec_emulator: Emulator) -> None:
    """One message is one event, with its time of publication and its attributes as indexed fields."""
    load("google_cloud_functions").pubsub(CloudEvent(event_of("pubsub")))
    [one] = hec_emulator.events()
    assert (one["event"], float(one["time"])) == ("some log line", 1599278184.321)
    assert one["fields"] == {"team": "a"}


def test_lines_of_a_storage_object_are_confirmed(
    load: Callable[[str], ModuleType], hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of a packed object is one event."""
    module = load("google_cloud_functions")
    body = gzip.compress(b"".join(b"line %d\n" % number for number in range(1_000)))
    monkeypatch.setattr(module, "open_object", lambda _bucket, _name: io.BytesIO(body))
    module.storage(CloudEvent(event_of("storage")))
    assert Counter(one["event"] for one in hec_emulator.events()) == {f"line {n}": 1 for n in range(1_000)}
    assert hec_emulator.events()[0]["source"] == "gs://log-bucket/logs/app.log.gz"


def test_the_handler_starts_no_thread_and_keeps_its_client(
    load: Callable[[str], ModuleType], hec_emulator: Emulator
) -> None:
    """Nothing runs between invocations; the second one uses the first one's client and connection."""
    before = threading.active_count()
    module = load("aws_lambda")
    module.handler(event_of("kinesis"), Context())
    client = load("delivery").client()
    module.handler(event_of("kinesis"), Context())
    assert load("delivery").client() is client
    assert threading.active_count() == before
    assert len(hec_emulator.events()) == 4


@pytest.mark.hec_emulator(ack_delay="never")
def test_it_raises_when_anything_is_unconfirmed(load: Callable[[str], ModuleType]) -> None:
    """Accepted is not confirmed: without an acknowledgement in time the invocation fails."""
    with pytest.raises(DeliveryFailed, match="2 events were not delivered"):
        load("aws_lambda").handler(event_of("kinesis"), Context(2.3))


def test_after_a_failure_the_next_invocation_delivers(
    load: Callable[[str], ModuleType], hec_emulator: Emulator
) -> None:
    """What one invocation could not deliver is not sent by the next one: Lambda brings it again."""
    hec_emulator.set_faults("busy")
    module = load("aws_lambda")
    with pytest.raises(DeliveryFailed):
        module.handler(event_of("kinesis"), Context(2.3))
    hec_emulator.set_faults()
    assert module.handler(event_of("kinesis"), Context()) == {"confirmed": 2}
    assert len(hec_emulator.events()) == 2


def test_a_refused_token_says_so(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token ends the invocation by its reason, long before its time is over, and is not shown."""
    monkeypatch.setenv("SPLUNK_HEC_TOKEN", "no-such-token")
    with pytest.raises(Halted, match="invalid_token") as raised:
        load("aws_lambda").handler(event_of("kinesis"), Context())
    assert "no-such-token" not in str(raised.value)


def test_a_record_that_cannot_be_indexed_fails_the_invocation(
    load: Callable[[str], ModuleType], hec_emulator: Emulator
) -> None:
    """Bytes that are no text are refused, by an error of ours, and nothing is left on its way."""
    event = event_of("kinesis")
    event["Records"][1]["kinesis"]["data"] = "/w=="
    with pytest.raises(InvalidEvent, match="undecodable") as raised:
        load("aws_lambda").handler(event, Context())
    assert isinstance(raised.value, HecError)
    assert load("delivery").client().budget.used_events == 0


def test_an_unknown_trigger_is_named(load: Callable[[str], ModuleType]) -> None:
    """A record of another service is refused by what it holds, not by a KeyError."""
    with pytest.raises(ValueError, match="neither a Kinesis nor an S3 record: Sns"):
        load("aws_lambda").handler({"Records": [{"Sns": {}}]}, Context())


class Relay:
    """A TCP relay before the emulator, whose connections can be cut, as a balancer cuts idle ones."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.accepted = 0
        self._cut, self._cuts = socket.socketpair()
        self._was_cut = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def cut(self) -> None:
        """Close every connection, and return when that is done."""
        self._was_cut.clear()
        self._cut.send(b"x")
        assert self._was_cut.wait(30)

    def close(self) -> None:
        """End the relay."""
        self._cut.close()
        self._thread.join(30)
        for one in (self._server, self._cuts):
            one.close()

    def _run(self) -> None:
        ends: dict[socket.socket, socket.socket] = {}

        while True:
            ready, _, _ = select.select([self._server, self._cuts, *ends], [], [])
            if self._cuts in ready:
                is_over = not self._cuts.recv(1)
                for one in ends:
                    one.close()
                ends.clear()
                self._was_cut.set()
                if is_over:
                    return
            elif self._server in ready:
                one, other = self._server.accept()[0], socket.create_connection(self._target)
                ends[one], ends[other] = other, one
                self.accepted += 1
            else:
                data = ready[0].recv(65_536)
                other = ends[ready[0]]
                if data:
                    other.sendall(data)
                else:
                    ends.pop(ends.pop(ready[0])).close()
                    other.close()


def test_it_survives_the_freeze(
    load: Callable[[str], ModuleType], hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was cut while the process was frozen is opened again; each record is indexed once."""
    relay = Relay(hec_emulator.url)
    try:
        monkeypatch.setenv("SPLUNK_HEC_URL", relay.url)
        module = load("aws_lambda")
        for _ in range(3):
            assert module.handler(event_of("kinesis"), Context()) == {"confirmed": 2}
            relay.cut()
        assert relay.accepted == 3
        assert len(hec_emulator.events()) == 6
    finally:
        load("delivery").client().abort()
        relay.close()


@pytest.mark.parametrize("name", ["aws_lambda", "google_cloud_functions"])
def test_a_cold_import_is_light(name: str) -> None:
    """Importing a handler loads neither HTTP nor a cloud's SDK, so a cold start does not wait for it."""
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import {name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    heavy = {"requests", "urllib3", "boto3", "botocore", "google.cloud.storage", "google.auth", "apache_beam"}
    assert not set(done.stdout.split()) & heavy
