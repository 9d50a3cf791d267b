"""`HecHandler` in whole processes: forks, and the end of a program."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from splunk_hec_emulator import Emulator

pytestmark = pytest.mark.e2e

START = """\
import atexit, logging, multiprocessing, os, sys, threading
from splunk_hec import HecHandler
handler = HecHandler(sys.argv[1], "env:TOKEN", flush_s=float(sys.argv[2]), ack='required', linger_s=0.2)
log = logging.getLogger("app")
log.setLevel(logging.INFO)
log.addHandler(handler)
def say(who, count):
    for number in range(count):
        log.info("%s %d", who, number)
"""


def run(script: str, url: str, token: str, flush_s: float = 30) -> subprocess.CompletedProcess[str]:
    """The script, behind the lines that make the handler, to its end."""
    return subprocess.run(
        [sys.executable, "-I", "-c", START + script, url, str(flush_s)],
        env={"TOKEN": token},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def said(emulator: Emulator) -> Counter[str]:
    """The messages that were indexed, each with how often."""
    return Counter(one["event"]["message"] for one in emulator.events())


def each_once(**counts: int) -> dict[str, int]:
    """So many messages of each process, once."""
    return {f"{who} {number}": 1 for who, count in counts.items() for number in range(count)}


@pytest.mark.hec_emulator(ack_delay="0.3s")
def test_the_end_of_a_program_flushes(hec_emulator: Emulator) -> None:
    """Without any call a program's records are indexed before it ends, those of its exit handlers too."""
    script = "say('main', 1_000)\natexit.register(say, 'exit', 3)\n"
    ended = run(script, hec_emulator.url, hec_emulator.token)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert said(hec_emulator) == each_once(main=1_000, exit=3)


def test_the_end_has_a_deadline_and_counts_what_is_unconfirmed() -> None:
    """Where nobody answers, the program ends all the same, and says how many records are at risk."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ended = run("say('main', 7)\n", f"http://127.0.0.1:{silent.getsockname()[1]}", "t", 0.3)
    assert ended.returncode == 0
    assert "splunk_hec: 7 log records were not confirmed within 0.3 s" in ended.stderr


def test_a_blocked_thread_does_not_keep_the_program(hec_emulator: Emulator) -> None:
    """A thread that waits for room under overflow="block" holds nothing that the end of the program needs."""
    hec_emulator.set_faults("busy")
    script = (
        "log.removeHandler(handler)\n"
        "full = HecHandler(sys.argv[1], 'env:TOKEN', flush_s=0.2, overflow='block', budget_bytes=3_000)\n"
        "log.addHandler(full)\n"
        "threading.Thread(target=say, args=('main', 100), daemon=True).start()\n"
        "with full._sender._changed:\n"
        "    assert full._sender._changed.wait_for(lambda: not full._sender._has_room(400), 30)\n"
    )
    ended = run(script, hec_emulator.url, hec_emulator.token)
    assert ended.returncode == 0
    assert "were not confirmed within 0.2 s" in ended.stderr


@pytest.mark.hec_emulator(ack_delay="0.3s")
def test_forked_children_send_their_own_and_nothing_of_their_parents(hec_emulator: Emulator) -> None:
    """As under gunicorn: a parent forks while its records are on their way; each record is indexed once."""
    script = (
        "say('parent', 50)\n"
        "for child in range(3):\n"
        "    if not os.fork():\n"
        "        say(f'child{child}', 20)\n"
        "        sys.exit(0)\n"
        "    say(f'after{child}', 5)\n"
        "codes = [os.wait()[1] for _ in range(3)]\n"
        "assert codes == [0, 0, 0], codes\n"
    )
    ended = run(script, hec_emulator.url, hec_emulator.token)
    assert (ended.returncode, ended.stderr) == (0, "")
    children = {"child0": 20, "child1": 20, "child2": 20}
    assert said(hec_emulator) == each_once(parent=50, **children, after0=5, after1=5, after2=5)


def test_a_fork_while_threads_log_does_not_hang_the_child(hec_emulator: Emulator) -> None:
    """Whatever lock another thread of the parent holds at the fork, the child can log, flush and end."""
    script = (
        "stop = threading.Event()\n"
        "def busy(who):\n"
        "    while not stop.is_set():\n"
        "        log.info(who)\n"
        "threads = [threading.Thread(target=busy, args=(f'busy{n}',)) for n in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "for child in range(10):\n"
        "    if not os.fork():\n"
        "        say(f'child{child}', 2)\n"
        "        logging.shutdown()\n"
        "        os._exit(0)\n"
        "codes = [os.wait()[1] for _ in range(10)]\n"
        "stop.set()\n"
        "assert codes == [0] * 10, codes\n"
    )
    ended = run(script, hec_emulator.url, hec_emulator.token)
    assert (ended.returncode, ended.stderr) == (0, "")
    heard: dict[str, Any] = {who: many for who, many in said(hec_emulator).items() if "child" in who}
    assert heard == each_once(**{f"child{number}": 2 for number in range(10)})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_flush(hec_emulator: Emulator, method: str) -> None:
    """A process of multiprocessing, which may end without exit handlers, still sends what it logged."""
    script = (
        f"context = multiprocessing.get_context({method!r})\n"
        "if __name__ == '__main__':\n"
        "    child = context.Process(target=logging.getLogger('app').info, args=('child 0',))\n"
        "    child.start()\n"
        "    child.join()\n"
        "    assert child.exitcode == 0\n"
        "    say('main', 1)\n"
    )
    ended = run(script, hec_emulator.url, hec_emulator.token)
    assert (ended.returncode, ended.stderr) == (0, "")
    wanted = each_once(main=1) if method == "spawn" else each_once(child=1, main=1)
    assert said(hec_emulator) == wanted
