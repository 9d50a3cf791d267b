"""A real Apache Kafka broker from Maven jars: one node, KRaft, in a folder of its own.

For what the mock cluster cannot prove: topics that are not created silently, retention, timestamps that the
broker refuses, compaction, real groups. The jars are downloaded once into tests/e2e/jars.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

HERE = Path(__file__).parent
JARS = HERE / "jars"
START_S = 90.0
STOP_S = 30.0
TOPIC_S = 30.0
SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=1000
"""


def why_impossible() -> str:
    """What is missing to run a broker; empty if nothing is."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if JARS.exists() and missing == ["mvn"]:
        missing = []
    return f"{' and '.join(missing)} not found" if missing else ""


class RealKafka:
    """A running broker; a context manager. `stop` and `start` keep its data.

    Attributes:
        bootstrap: Its address.
    """

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        """Make its folder; `more` are further broker properties."""
        self._folder = Path(tempfile.mkdtemp(prefix="real-kafka-"))
        self._settings = self._folder / "server.properties"
        self._output = (self._folder / "broker.log").open("w")
        self._process: subprocess.Popen[bytes] | None = None
        port, controller = _free_port(), _free_port()
        self._port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._settings.write_text(
            SETTINGS.format(port=port, controller=controller, folder=self._folder)
            + "".join(f"{name}={value}\n" for name, value in (more or {}).items()),
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        download()
        uuid = _java("kafka.tools.StorageTool", "random-uuid").split()[-1]
        _java("kafka.tools.StorageTool", "format", "--standalone", "-t", uuid, "-c", str(self._settings))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._output.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the broker and wait until it takes connections and answers."""
        self._process = subprocess.Popen(
            [
                *("java", "-Xmx512m", f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}"),
                *("-cp", f"{JARS}/*", "kafka.Kafka", str(self._settings)),
            ],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_S
        while not _answers(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"the broker did not start:\n{self._log()}")
            time.sleep(0.1)
        self.admin().list_topics(timeout=START_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker, e.g. SIGSTOP."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`; its data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the broker by its id; its data stays until the context is left."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def admin(self) -> AdminClient:
        """A client that administers it."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic and wait until its partitions have leaders."""
        admin = self.admin()
        topic = NewTopic(name, partitions, 1, config=dict(config or {}))
        admin.create_topics([topic])[name].result(TOPIC_S)
        deadline = time.monotonic() + TOPIC_S
        while not _is_led(admin, name, partitions):
            assert time.monotonic() < deadline, f"{name} has no leaders"
            time.sleep(0.05)

    def _log(self) -> str:
        return Path(self._output.name).read_text(encoding="utf-8")[-4000:]


def download() -> None:
    """Fetch the jars once; a folder that exists is complete, since it is renamed into place."""
    if JARS.exists():
        return
    fresh = Path(tempfile.mkdtemp(prefix="jars-", dir=HERE))
    try:
        subprocess.run(
            [
                *("mvn", "-B", "-q", "-f", str(HERE / "kafka" / "pom.xml"), "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={fresh}"),
            ],
            check=True,
            timeout=600,
            stdout=sys.stderr,  # Maven colours even silence, and some callers' output is JSON
        )
        if not JARS.exists():
            fresh.rename(JARS)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _java(*arguments: str) -> str:
    done = subprocess.run(
        ["java", "-cp", f"{JARS}/*", *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(0.5)
        return one.connect_ex(("127.0.0.1", port)) == 0


def _is_led(admin: AdminClient, name: str, partitions: int) -> bool:
    try:
        found = admin.list_topics(name, timeout=TOPIC_S).topics[name]
    except KafkaException:
        return False
    return len(found.partitions) == partitions and all(p.leader >= 0 for p in found.partitions.values())
