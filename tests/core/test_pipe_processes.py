"""`python -m splunk_hec.pipe` as a process: what it confirms, spills, and how it ends."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec_emulator import Emulator

pytestmark = pytest.mark.e2e
PAGE = (Path(__file__).parents[2] / "core" / "PIPE.md").read_text("utf-8")
BOUND_S = 60.0
COMMAND = [sys.executable, "-Im", "splunk_hec.pipe", "--sourcetype", "app"]


def start(emulator: Emulator, *more: str, **settings: str) -> subprocess.Popen[bytes]:
    """The process, with pipes; settings become SPLUNK_HEC_ variables."""
    env = {"SPLUNK_HEC_TOKEN": emulator.token, **{f"SPLUNK_HEC_{k.upper()}": v for k, v in settings.items()}}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, "--url", emulator.url, *more], env=env, **pipes)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it if it still runs, and close our ends of its pipes."""
    process.kill()
    with process:
        pass


def feed(emulator: Emulator, data: bytes, *more: str, **settings: str) -> tuple[int, str]:
    """Feed it all of this; its exit code and what it said."""
    process = start(emulator, *more, **settings)
    try:
        _, said = process.communicate(data, timeout=BOUND_S)
    finally:
        end(process)
    return process.returncode, said.decode()


def indexed(emulator: Emulator) -> Counter[str]:
    """The lines that were indexed, each with how often."""
    return Counter(one["event"] for one in emulator.events())


def wait_until(is_true: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + BOUND_S
    while not is_true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def numbered(count: int) -> list[bytes]:
    """So many lines."""
    return [b"line %d" % number for number in range(count)]


@pytest.mark.hec_emulator(ack_delay="0.2s")
def test_every_line_is_confirmed(hec_emulator: Emulator) -> None:
    """Each line is one event, the last one without a line end too; exit code 0 and a summary say so."""
    before = time.time()
    code, said = feed(hec_emulator, b"\r\n".join(numbered(5_000)), "--source", "s", "--host", "h")
    assert code == 0
    assert "5000 lines read, 5000 confirmed, 0 not confirmed, 0 refused, 0 too long, 0 blank;" in said
    assert indexed(hec_emulator) == {line.decode(): 1 for line in numbered(5_000)}
    event = hec_emulator.events()[0]
    assert (event["sourcetype"], event["source"], event["host"]) == ("app", "s", "h")
    assert before <= float(event["time"]) <= time.time()


def test_bad_lines_are_counted_and_spilled_and_the_others_go_on(
    hec_emulator: Emulator, tmp_path: Path
) -> None:
    """A line that is no UTF-8 is spilled as it came, a too long one only counted, a blank one neither."""
    data = b"good\n\n  \nbad\xff\n" + b"x" * 2_000 + b"\nlast\n"
    spill = tmp_path / "spill"
    code, said = feed(hec_emulator, data, "--spill", str(spill), event_max_bytes="1000")
    assert code == 7
    assert "6 lines read, 2 confirmed, 0 not confirmed, 1 refused, 1 too long, 2 blank, 1 spilled" in said
    assert spill.read_bytes() == b"bad\xff\n"
    assert spill.stat().st_mode & 0o777 == 0o600
    assert indexed(hec_emulator) == {"good": 1, "last": 1}


def test_what_splunk_never_took_is_in_the_spill_and_can_be_sent_again(
    hec_emulator: Emulator, tmp_path: Path
) -> None:
    """At the drain deadline all that is unconfirmed is spilled; fed again, each line is indexed once."""
    spill = tmp_path / "spill"
    hec_emulator.set_faults("busy")
    code, said = feed(hec_emulator, b"\n".join(numbered(300)), "--spill", str(spill), "--drain-s", "0.3")
    assert code == 7
    assert "300 lines read, 0 confirmed, 300 not confirmed" in said
    assert sorted(spill.read_bytes().splitlines()) == sorted(numbered(300))
    hec_emulator.set_faults()
    assert feed(hec_emulator, spill.read_bytes())[0] == 0
    assert indexed(hec_emulator) == {line.decode(): 1 for line in numbered(300)}


def test_a_refused_token_ends_with_its_own_code(hec_emulator: Emulator, tmp_path: Path) -> None:
    """Refused past the patience: code 5, the reason, everything read is spilled, and the token is nowhere."""
    spill, token = tmp_path / "spill", tmp_path / "token"
    token.write_text("no-such-token")
    more = ("--spill", str(spill), "--token", f"file:{token}")
    code, said = feed(hec_emulator, b"a\nb", *more, halt_patience_s="0")
    assert code == 5
    assert "invalid_token" in said
    assert "no-such-token" not in said
    assert spill.read_bytes().splitlines() == [b"a", b"b"]


def test_what_was_read_when_the_refusal_is_told_is_spilled(hec_emulator: Emulator, tmp_path: Path) -> None:
    """Lines that come while nobody has told yet that the token is refused are counted and spilled, too."""
    spill, token = tmp_path / "spill", tmp_path / "token"
    token.write_text("no-such-token")
    with start(
        hec_emulator, "--spill", str(spill), "--token", f"file:{token}", halt_patience_s="0"
    ) as process:
        assert process.stdin is not None
        sent: list[bytes] = []
        try:
            for number in range(100_000):
                line = b"line %d" % number
                process.stdin.write(line + b"\n")
                process.stdin.flush()
                sent.append(line)
                if process.poll() is not None:
                    break
        except BrokenPipeError:
            pass
        _, said = process.communicate(timeout=60)
    kept = spill.read_bytes().splitlines()
    assert process.returncode == 5
    assert sorted(kept, key=lambda line: int(line.split()[1])) == sent[: len(kept)]
    assert f"{len(kept)} lines read".encode() in said


def test_a_full_spill_is_a_fault(hec_emulator: Emulator) -> None:
    """Lines that cannot even be spilled end it with code 1, and are not told as confirmed."""
    code, said = feed(hec_emulator, b"bad\xff\ngood\n", "--spill", "/dev/full")
    assert code == 1
    assert "1 confirmed, 0 not confirmed, 1 refused" in said
    assert "/dev/full: No space left on device" in said


@pytest.mark.hec_emulator(ack_delay="0.5s")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(hec_emulator: Emulator, number: signal.Signals) -> None:
    """While its input stays open, a signal ends it once what was read is confirmed: code 0."""
    process = start(hec_emulator)
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        process.stdin.write(b"".join(line + b"\n" for line in numbered(500)) + b"half a line")
        process.stdin.flush()
        wait_until(lambda: hec_emulator.stats()["acks_issued"] > 0, "the first batch to be accepted")
        process.send_signal(number)
        said = process.stderr.read().decode()
        assert process.wait(BOUND_S) == 0, said
    finally:
        end(process)
    assert "501 lines read, 501 confirmed" in said
    assert indexed(hec_emulator) == {**{line.decode(): 1 for line in numbered(500)}, "half a line": 1}


def test_a_second_signal_ends_at_once(hec_emulator: Emulator, tmp_path: Path) -> None:
    """Whoever does not want to wait for the drain deadline sends a second one; the spill holds all."""
    hec_emulator.set_faults("busy")
    process = start(hec_emulator, "--drain-s", "3600", "--spill", str(tmp_path / "spill"))
    assert process.stdin is not None
    try:
        process.stdin.write(b"a\nb\n")
        process.stdin.flush()
        wait_until(lambda: "503/9" in hec_emulator.stats()["replies"], "the first refusal")
        process.terminate()
        deadline = time.monotonic() + BOUND_S
        while process.poll() is None and time.monotonic() < deadline:
            process.terminate()  # a signal that comes before the first was noticed counts as well
            time.sleep(0.1)
        assert process.wait(1) == 7
    finally:
        end(process)
    assert (tmp_path / "spill").read_bytes().splitlines() == [b"a", b"b"]


def test_what_found_no_room_is_spilled_too(hec_emulator: Emulator, tmp_path: Path) -> None:
    """Lines that were read and wait for room in a full budget are in the spill when it ends."""
    hec_emulator.set_faults("busy")
    more = ("--drain-s", "0.3", "--spill", str(tmp_path / "spill"))
    process = start(hec_emulator, *more, in_flight_max_events="50")
    assert process.stdin is not None
    try:
        process.stdin.write(b"".join(line + b"\n" for line in numbered(300)))
        process.stdin.flush()
        wait_until(lambda: "503/9" in hec_emulator.stats()["replies"], "the first refusal")
        process.terminate()
        assert process.wait(BOUND_S) == 7
    finally:
        end(process)
    assert sorted((tmp_path / "spill").read_bytes().splitlines()) == sorted(numbered(300))


def test_nobody_need_read_its_stderr(hec_emulator: Emulator) -> None:
    """With its stderr closed at the other end it still delivers everything, and ends with 0."""
    process = start(hec_emulator)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stderr.close()
    try:
        with process.stdin:
            process.stdin.write(b"bad\xff\ngood\n")
        assert process.wait(BOUND_S) == 7
    finally:
        end(process)
    assert indexed(hec_emulator) == {"good": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="its peak of memory is read from /proc")
def test_memory_is_bounded(hec_emulator: Emulator) -> None:
    """60 MB of lines and a line of 60 MB pass through a budget of 2 MB in less than 100 MB of memory."""
    script = (
        "import re, sys\nfrom splunk_hec.pipe import main\ncode = main(sys.argv[1:])\n"
        "print(re.search('VmHWM: *\\\\t? *([0-9]+) kB', open('/proc/self/status').read())[1])\nsys.exit(code)"
    )
    env = {"SPLUNK_HEC_TOKEN": hec_emulator.token, "SPLUNK_HEC_IN_FLIGHT_MAX_BYTES": "2000000"}
    data = (b"x" * 1_999 + b"\n") * 30_000 + b"y" * 60_000_000
    command = [sys.executable, "-I", "-c", script, "--url", hec_emulator.url, "--spill", "/dev/null"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=100, env=env, check=False)
    assert done.returncode == 7, done.stderr
    assert b"30001 lines read, 30000 confirmed, 0 not confirmed, 0 refused, 1 too long" in done.stderr
    assert int(done.stdout) * 1024 < 100_000_000


def test_the_page_runs_as_it_stands(hec_emulator: Emulator, tmp_path: Path) -> None:
    """PIPE.md's first example delivers the reader's file, when url, token and file are the reader's own."""
    found = re.search(r"<!-- pipe -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    log = tmp_path / "some.log"
    log.write_bytes(b"first\nsecond\n")
    script = (
        found[1]
        .replace("https://splunk.example:8088", hec_emulator.url)
        .replace("TOKEN=…", f"TOKEN={hec_emulator.token}")
        .replace("/var/log/dpkg.log", str(log))
        .replace("python -m", f"{sys.executable} -m")
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    shown = re.search(r"```\n(splunk_hec.pipe: .*)\n```", PAGE)
    assert shown is not None
    assert re.sub(r"\d+", "", done.stderr.strip()) == re.sub(r"\d+", "", shown[1])
    assert indexed(hec_emulator) == {"first": 1, "second": 1}


@pytest.mark.skipif(shutil.which("syslog-ng") is None, reason="no syslog-ng; apt-get install syslog-ng-core")
def test_syslog_ng_writes_to_it(hec_emulator: Emulator, tmp_path: Path) -> None:
    """PIPE.md's syslog-ng configuration delivers a message, and draining at its end loses none."""
    found = re.search(r"<!-- syslog-ng -->\n```\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (tmp_path / "token").write_text(hec_emulator.token)
    config = tmp_path / "syslog-ng.conf"
    config.write_text(
        found[1]
        .replace("https://splunk.example:8088", hec_emulator.url)
        .replace("/opt/splunk-hec/bin/python", sys.executable)
        .replace("/etc/syslog-ng/splunk-token", str(tmp_path / "token"))
        .replace("/var/spool/splunk-hec.spill", str(tmp_path / "spill"))
        .replace("/run/splunk-demo/log", str(tmp_path / "log"))
    )
    files = [f"--{name}={tmp_path}/{name}" for name in ("pidfile", "control", "persist-file")]
    with (tmp_path / "err").open("wb") as err:
        daemon = subprocess.Popen(
            ["syslog-ng", "--foreground", "--no-caps", f"--cfgfile={config}", *files], stderr=err
        )
    try:

        def is_there() -> bool:
            assert daemon.poll() is None, (tmp_path / "err").read_text()
            return (tmp_path / "log").exists()

        wait_until(is_there, "syslog-ng's socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.connect(str(tmp_path / "log"))
            log.send(b"<13>Nov 26 01:02:03 demo: first message")
            wait_until(lambda: len(hec_emulator.events()) == 1, "the message to be indexed")
            log.send(b"<13>Nov 26 01:02:04 demo: second message")
        daemon.terminate()
        assert daemon.wait(BOUND_S) == 0
        wait_until(lambda: len(hec_emulator.events()) == 2, "the second one, which is drained at the end")
    finally:
        daemon.kill()
        daemon.wait()
    assert [one["event"].rpartition("demo: ")[2] for one in hec_emulator.events()] == [
        "first message",
        "second message",
    ]
