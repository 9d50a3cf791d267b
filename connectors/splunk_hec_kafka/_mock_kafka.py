"""An embedded Kafka: librdkafka's mock cluster (one broker on 127.0.0.1), in a process of its own.

For `demo` and for tests, never for data that matters: it keeps everything in memory and, silently, at most
5 MiB and 100,000 message sets per partition; the oldest go. It has no ACLs, TLS, DescribeConfigs or
CreateTopics; topics are made here. Its life is bound to the parent's: it ends when its standard input
closes, so a parent that is killed leaves nothing behind, while a sink that is killed leaves the broker.

Non-obvious: it speaks JSON lines over its standard streams, first `{"bootstrap": "host:port"}`, then an
answer for each line asked.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
from ctypes import ArgumentError
from typing import TYPE_CHECKING, Any, Self

from splunk_hec_kafka._mock_cluster import LIBRARY, Cluster, UnavailableError
from splunk_hec_kafka.failures import ExitCode, SinkFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

CLOSE_DEADLINE_S = 5.0

CONTROLS: dict[str, Callable[..., None]] = {
    "create_topic": Cluster.create_topic,
    "topic_error": Cluster.topic_error,
    "push_errors": Cluster.push_errors,
    "clear_errors": Cluster.clear_errors,
    "broker_down": Cluster.broker_down,
    "broker_up": Cluster.broker_up,
    "rtt": Cluster.rtt,
    "rebalance_delay": Cluster.rebalance_delay,
}
"""What a line `{"do": NAME, "with": [arguments]}` on standard input may ask for."""


def _tell(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _obey(cluster: Cluster, line: str) -> None:
    """Carry out one line of standard input and answer it with one line."""
    try:
        asked = json.loads(line)
        CONTROLS[asked["do"]](cluster, *asked["with"])
    except (ValueError, KeyError, TypeError, ArgumentError, UnavailableError) as failure:
        _tell(error=f"{type(failure).__name__}: {failure}")
    else:
        _tell(ok=True)


def serve(topics: Mapping[str, int]) -> int:
    """Run the cluster until standard input closes.

    Args:
        topics: partitions by topic name, created before the address is told.

    Returns:
        The exit code.
    """
    try:
        cluster = Cluster(LIBRARY)
        for name, partitions in topics.items():
            cluster.create_topic(name, partitions)
    except UnavailableError as failure:
        _tell(error=str(failure))
        return ExitCode.INTERNAL
    _tell(bootstrap=cluster.bootstrap)
    for line in sys.stdin:
        _obey(cluster, line)
    return ExitCode.OK


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.rpartition(":")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PARTITIONS")
    return name, int(partitions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process: parse `--topic NAME:PARTITIONS …`, serve."""
    parser = argparse.ArgumentParser(prog="splunk_hec_kafka._mock_kafka", description=serve.__doc__)
    parser.add_argument("--topic", type=_topic, action="append", default=[], metavar="NAME:PARTITIONS")

    def end(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(ExitCode.OK)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent still drains
    return serve(dict(parser.parse_args(arguments).topic))


class MockKafka:
    """The parent's side of the embedded Kafka: starts the process, controls it, ends it. One thread's.

    A context manager; `close` ends the process. The methods return once the cluster has obeyed.

    Args:
        topics: partitions by topic name; other topics appear with 4 partitions when a client that may
            create topics asks for them.

    Raises:
        SinkFailure: the process did not start, or (from the controls) has ended.
        ValueError: the cluster refused what was asked.
    """

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        named = [f"--topic={name}:{partitions}" for name, partitions in (topics or {}).items()]
        self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and module
            [sys.executable, "-P", "-m", "splunk_hec_kafka._mock_kafka", *named],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started = self._answer()
        if "bootstrap" not in started:
            self.close()
            raise SinkFailure(
                ExitCode.INTERNAL,
                f"the embedded Kafka did not start: {started.get('error', 'it ended without a word')}",
                "reinstall confluent-kafka from its wheel; the embedded Kafka is librdkafka's mock cluster",
            )
        self.bootstrap: str = started["bootstrap"]

    @property
    def pid(self) -> int:
        """The process id of the cluster."""
        return self._process.pid

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic, as CreateTopics would (which the mock cluster does not know)."""
        self._ask("create_topic", name, partitions)

    def topic_error(self, name: str, code: int) -> None:
        """Answer for this topic with an error code of Kafka's protocol, until told 0."""
        self._ask("topic_error", name, code)

    def push_errors(self, api_key: int, codes: Sequence[int]) -> None:
        """Fail the next requests of a kind, one code each (0 Produce, 1 Fetch, 8 OffsetCommit …).

        Codes are those of Kafka's protocol; -195 drops the connection instead.
        """
        self._ask("push_errors", api_key, list(codes))

    def clear_errors(self, api_key: int) -> None:
        """Forget the errors pushed for a kind of request."""
        self._ask("clear_errors", api_key)

    def broker_down(self) -> None:
        """Close all connections and refuse new ones; what is stored stays."""
        self._ask("broker_down")

    def broker_up(self) -> None:
        """Take connections again, on the same port."""
        self._ask("broker_up")

    def rtt(self, delay_s: float) -> None:
        """Delay every answer by so many seconds."""
        self._ask("rtt", round(delay_s * 1000))

    def rebalance_delay(self, delay_s: float) -> None:
        """Wait so long for more members before a new group's first assignment (0 from the start)."""
        self._ask("rebalance_delay", round(delay_s * 1000))

    def close(self) -> None:
        """End the process; idempotent, and fine after it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # what was written last has nobody to read it
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(CLOSE_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, control: str, *arguments: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": control, "with": arguments}) + "\n")
            self._process.stdin.flush()
            answer = self._answer()
        except OSError:
            answer = {}
        if "error" in answer:
            raise ValueError(f"embedded Kafka, {control}: {answer['error']}")
        if not answer:
            raise SinkFailure(
                ExitCode.INTERNAL,
                f"embedded Kafka, {control}: the process has ended",
                "start again; its standard error says why it ended",
            )

    def _answer(self) -> dict[str, Any]:
        """One line of the process; empty when it has ended."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        return answer


if __name__ == "__main__":
    sys.exit(main())
