"""`hec-emulator` as a process: its first line, its options, its end."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from splunk_hec_emulator.__main__ import PROFILES as OFFERED
from splunk_hec_emulator.settings import PROFILES

COMMAND = [sys.executable, "-Im", "splunk_hec_emulator"]
PLAIN = "00000000-0000-0000-0000-000000000002"


@contextlib.contextmanager
def running(*options: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start the command on a free port; yields its URL and the process, and ends it by its id."""
    command = [*COMMAND, "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            match = re.fullmatch(r"listening on (https?://127\.0\.0\.1:\d+)\n", line)
            assert match, line
            yield match[1], process
        finally:
            process.kill()
            process.communicate()


def post(url: str, body: bytes, token: str = PLAIN) -> bytes:
    """Post to the event endpoint and return the reply's body."""
    sent = {"Authorization": f"Splunk {token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/services/collector", body, sent)) as reply:
        return reply.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_orderly(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the process with exit code 0 and not a word on stderr."""
    with running() as (url, process):
        assert post(url, b'{"event":"a"}') == b'{"text":"Success","code":0}'
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")


def test_the_journal_survives_kill_9(tmp_path: Path) -> None:
    """What was durable before a kill -9 is in the journal, whole lines only."""
    journal = tmp_path / "journal"
    with running("--journal", str(journal)) as (url, process):
        for number in range(20):
            post(url, b'{"event":%d}' % number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    assert [json.loads(line)["event"] for line in journal.read_text().splitlines()] == list(range(20))


def test_every_option_reaches_the_server(tmp_path: Path) -> None:
    """Tokens, profile, nodes, balance, faults, limits and further settings all take effect."""
    options = ["--token", "mine:ack:index=a", "--token", "other", "--profile", "cloud-10.5", "--nodes", "2"]
    options += ["--balance", "round-robin", "--fault", "busy,node=1", "--max-content-length", "1000"]
    options += ["--ack-delay", "0.2s..3s", "--seed", "5", "--set", "ack_ids_start=one", "--count-only"]
    options += ["--set", 'indexes=["main"]']
    with running(*options) as (url, _):
        assert post(url, b'{"event":"a"}', "other") == b'{"text":"Success","code":0}'
        with pytest.raises(urllib.error.HTTPError) as busy:
            post(url, b'{"event":"a"}', "other")
        with pytest.raises(urllib.error.HTTPError) as channel:
            post(url, b'{"event":"a"}', "mine")
        assert (busy.value.code, json.loads(channel.value.read())["code"]) == (503, 28)
        busy.value.close()
        with urllib.request.urlopen(f"{url}/emulator/events") as reply:
            assert (reply.headers["X-Total-Count"], reply.read()) == ("0", b"")


def test_refusals_are_logged_on_request() -> None:
    """-v shows splunkd's line for each refusal on stderr."""
    with running("-v") as (url, process):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(url, b"{bad")
        refused.value.close()
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert "token name=without_acks" in errors
    assert "reply=6" in errors
    assert PLAIN not in errors


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--fault", "nope"], "unknown fault"),
        (["--token", ":ack"], "--token"),
        (["--ack-delay", "x"], "--ack-delay"),
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--listen", "192.0.2.1:1"], "cannot listen"),
        (["--profile", "x"], "ent-10.4"),
        (["--nodes", "0"], "--nodes"),
        (["--tls", "/nonexistent", "/nonexistent"], "--tls"),
        (["--set", "wat=1"], "wat=1"),
        (["--set", "ack_true=sometimes"], "once, always, never"),
        (["--journal", "/nonexistent/journal"], "--journal"),
        (["--what"], "--what"),
    ],
)
def test_a_wrong_option_ends_in_one_line_and_exit_code_2(options: list[str], shown: str) -> None:
    """Errors of usage say what, and how to go on, in one line."""
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hec-emulator: ")
    assert done.stderr.count("\n") == 1
    assert shown in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("channel", ["", "c1c1c1c1-0000-4000-8000-000000000001"])
def test_a_journal_that_cannot_be_written_ends_the_process(channel: str) -> None:
    """A journal with gaps would show loss that never was: the emulator ends with one line and code 1."""
    with running("--journal", "/dev/full", "--ack-delay", "10ms") as (url, process):
        token = "00000000-0000-0000-0000-000000000001" if channel else PLAIN
        sent = {"Authorization": f"Splunk {token}", "X-Splunk-Request-Channel": channel}
        with contextlib.suppress(OSError):
            urllib.request.urlopen(
                urllib.request.Request(f"{url}/services/collector", b'{"event":"a"}', sent)
            ).close()
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (
            1,
            "hec-emulator: cannot write the journal: No space left on device\n",
        )


def test_help_loads_only_what_it_prints() -> None:
    """--help answers without the server: neither h11, msgspec nor asyncio is imported."""
    code = (
        "import sys, splunk_hec_emulator.__main__ as m\n"
        "sys.argv = ['hec-emulator', '--help']\n"
        "try: m.main()\n"
        "except SystemExit as end:\n"
        "    print(end.code, [n for n in ('h11', 'msgspec', 'asyncio') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    assert done.stdout.endswith("\n0 []\n")


def test_the_command_offers_the_profiles_there_are() -> None:
    """The command line names the profiles itself, to answer --help at once; the lists agree."""
    assert sorted(OFFERED) == sorted(PROFILES)
