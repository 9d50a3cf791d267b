"""The four runners of the conformance suite: what each needs, how it is started, how it is ended.

FnApiRunner and BundleBasedDirectRunner live in the test's process. Prism and Flink are servers, one of each
for a test session; their workers are threads of the test's process (LOOPBACK), so that the runner is all that
differs. Prism is built once into tests/beam/bin, Flink's jars are downloaded once into tests/beam/jars; git
ignores both. Servers are ended by their id, and by the kernel when the process that started them dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE = Path(__file__).parent
BIN = HERE / "bin"
JARS = HERE / "jars"
FLINK = HERE / "flink"
START_S = 90.0
STOP_S = 10.0
FETCH_S = 900
NEEDS = {"fn_api": (), "bundle_based": (), "prism": ("go",), "flink": ("java", "mvn")}
FETCHED = {"prism": BIN, "flink": JARS}
PRISM = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{beam.__version__}"
OPENED = ("java.util", "java.lang", "java.nio", "java.util.concurrent", "java.time", "java.lang.invoke")
# The kernel ends a server whose parent dies. Not by preexec_fn: Python in the forked child of a process with
# gRPC's threads was seen to crash.
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


class Runner(NamedTuple):
    """A runner that is ready.

    Attributes:
        name: As in `NEEDS`.
        flags: The options that choose it.
    """

    name: str
    flags: tuple[str, ...]

    def options(self, *more: str) -> PipelineOptions:
        """Pipeline options for it."""
        return PipelineOptions([*self.flags, *more], save_main_session=False)


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these runners (fixture `runner`); those that start processes are in the tier `e2e`."""
    return pytest.mark.parametrize("runner", [_param(name) for name in names], indirect=True)


def _param(name: str) -> Any:
    if not NEEDS[name]:
        return name
    fetches = not FETCHED[name].exists()
    marks = [
        pytest.mark.e2e,
        pytest.mark.timeout(FETCH_S if fetches else 180),
    ]
    return pytest.param(name, marks=marks)


def require(name: str) -> None:
    """Skip, loudly, if something is missing to run it; fail if it is and CI is set."""
    missing = [tool for tool in NEEDS[name] if shutil.which(tool) is None]
    if name in FETCHED and FETCHED[name].exists():
        missing = [tool for tool in missing if tool == "java"]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must test on {name}: {' and '.join(missing)} not found")
    if missing:
        pytest.skip(f"NOT TESTED ON {name.upper()}: {' and '.join(missing)} not found")


def behind(name: str, server: Server) -> Runner:
    """A runner whose job service is a process."""
    portable = {"prism": "PrismRunner", "flink": "PortableRunner"}[name]
    flags = (f"--runner={portable}", f"--job_endpoint=127.0.0.1:{server.port}", "--environment_type=LOOPBACK")
    return Runner(name, (*flags, "--parallelism=2") if name == "flink" else flags)


class Server:
    """A runner's server as a process; a context manager that never leaves it behind.

    Attributes:
        port: Where its job service listens.
    """

    def __init__(
        self, name: str, command: Sequence[str], port: int, environment: dict[str, str] | None = None
    ) -> None:
        self._name, self._command, self.port = name, command, port
        self._environment = environment
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*DIES_WITH_PARENT, *self._command],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        try:
            self._wait_until_up(self._process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-8000:]

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_S
        while not _answers(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self._name} did not start, {process.poll()}:\n{self.log()}")
            time.sleep(0.05)


@contextmanager
def started(make: Callable[[], Server]) -> Iterator[Server]:
    """A server that runs; another port is tried where somebody else was quicker to take the free one."""
    for tries_left in (2, 1, 0):
        server = make()
        try:
            server.__enter__()
        except AssertionError:
            if not tries_left:
                raise
        else:
            break
    try:
        yield server
    finally:
        server.__exit__()


def prism() -> Server:
    """A Prism that is not started yet."""
    _fetch(BIN, _build_prism)
    port = free_port()
    options = ["--job_port", str(port), "--log_level", "warn", "--log_kind", "text", "--serve_http=false"]
    return Server("prism", [str(BIN / "prism"), *options], port)


def flink() -> Server:
    """A job server with a Flink mini cluster for each job, not started yet."""
    _fetch(JARS, _download_jars)
    port = free_port()
    logs = "-Dorg.slf4j.simpleLogger"
    command = [
        *("java", "-Xmx768m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
        *(f"{logs}.defaultLogLevel=warn", f"{logs}.log.org.apache.beam.runners=info"),
        *("-cp", f"{JARS}/*", "org.apache.beam.runners.flink.FlinkJobServerDriver"),
        *("--job-host=127.0.0.1", f"--job-port={port}", "--artifact-port=0", "--expansion-port=0"),
        *("--flink-master=[local]", "--artifacts-dir=artifacts"),
    ]
    return Server("flink", command, port)


class WorkerPool(Server):
    """Starts a process for each worker that a runner asks for; the interpreter is the first in `PATH`."""

    def __init__(self) -> None:
        port = free_port()
        module = "apache_beam.runners.worker.worker_pool_main"
        found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PATH": found, "PYTHONPATH": str(HERE)}
        command = [sys.executable, "-m", module, f"--service_port={port}"]
        super().__init__("workers", command, port, environment)

    @property
    def flags(self) -> tuple[str, ...]:
        """The options that choose it."""
        return ("--environment_type=EXTERNAL", f"--environment_config=127.0.0.1:{self.port}")

    def workers(self) -> list[int]:
        """The processes that it started and that run."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [int(child) for thread in children for child in thread.read_text().split()]


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that leads a session, and its children with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(0.5)
        return one.connect_ex(("127.0.0.1", port)) == 0


def _fetch(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder once, whichever of the test processes comes first; one that exists is complete."""
    with Path(tempfile.gettempdir(), f"hec-tests-{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return
        fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=HERE))
        try:
            make(fresh)
            fresh.chmod(0o755)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _build_prism(into: Path) -> None:
    subprocess.run(
        ["go", "install", PRISM], check=True, timeout=FETCH_S, env={**os.environ, "GOBIN": str(into)}
    )


def _download_jars(into: Path) -> None:
    subprocess.run(
        [
            *("mvn", "-B", "-q", "-f", str(FLINK / "pom.xml"), "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={into}"),
        ],
        check=True,
        timeout=FETCH_S,
    )
