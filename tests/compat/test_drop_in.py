"""The drop-in beyond the scenario table: arguments, threads, sessions, log lines, the interpreter's end."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import wire
from kafka_tools import wait_for

from splunk_hec import compat, splunk_hec
from splunk_hec._arguments import ARGUMENTS, BATCHES_PER_THREAD, explained, settings
from splunk_hec.compat import main
from splunk_hec_emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[Emulator]:
    """An emulator whose acknowledgements come at once."""
    with Emulator(ack_delay=0) as one:
        yield one


def sender(server: Emulator, *, acks: bool = False, **arguments: Any) -> splunk_hec:
    """The drop-in on that emulator."""
    token = server.token if acks else server.plain_token
    port = int(server.url.rpartition(":")[2])
    given = {"input_type": "json", "use_hec_tls": False, "backup_queue": queue.Queue(), **arguments}
    return splunk_hec(token, "127.0.0.1", port, use_ack=acks, **given)


def envelope(number: int) -> str:
    """A ready envelope."""
    return json.dumps({"event": f"event {number}"})


def texts(server: Emulator) -> list[str]:
    """What is indexed."""
    return [one["event"] for one in server.events()]


def test_an_unknown_argument_names_the_nearest() -> None:
    """A misspelt argument fails where it is written, and says what was meant."""
    with pytest.raises(TypeError, match=r"'max_thread'; did you mean 'max_threads'"):
        splunk_hec("t", "host", max_thread=3)
    with pytest.raises(TypeError, match=r"'zzz'$"):
        splunk_hec("t", "host", zzz=3)


def test_every_documented_argument_is_taken() -> None:
    """A program that gives all arguments with their defaults goes on working."""
    given = {name: default for name, (default, _, _) in ARGUMENTS.items()}
    given |= {"token": "t", "hec_server": "host"}
    assert "https://host:8088" in repr(splunk_hec(**given))


@pytest.mark.parametrize(("use_ack", "give_up_s"), [(False, 6), (True, 18)])
def test_patience_follows_interval_and_attempts(use_ack: bool, give_up_s: float) -> None:
    """An id is waited for ack_interval times max_ack_attempts; with acks a batch gets so many such waits."""
    given = {"token": "t", "hec_server": "h", "ack_interval": 2, "max_ack_attempts": 3, "use_ack": use_ack}
    made = settings({**given, "max_memory": 5_000_000, "http_timeout": 7}, {})
    assert (made.ack_deadline_s, made.give_up_after_s) == (6, give_up_s)
    assert (made.in_flight_max_bytes, made.request_deadline_s) == (5_000_000, 7)


def test_no_threads_means_no_thread(server: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With max_threads=0 no thread is ever started, with acknowledgements and rotation as well."""
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    hec = sender(server, acks=True, max_events_per_batch=2, rotate_session_after=1)
    for number in range(8):
        hec.send_event(envelope(number))
    hec.stop_threads_and_processing()
    assert not started
    assert len(texts(server)) == 8


def test_n_threads_are_n_lanes(server: Emulator) -> None:
    """max_threads bounds the threads that send."""
    before = set(threading.enumerate())  # lanes of other tests may live on for a while
    hec = sender(server, max_threads=3)
    hec.send_event(envelope(1))
    hec.force_flush_events()
    lanes = [one for one in threading.enumerate() if one.name.startswith("hec-lane") and one not in before]
    assert len(lanes) == 3
    hec.stop_threads_and_processing()
    assert not [one for one in lanes if one.is_alive()]


def test_a_full_batch_is_sent_without_a_flush(server: Emulator) -> None:
    """A batch goes out when it has max_events_per_batch events, or would exceed max_content_length."""
    by_count = sender(server, max_events_per_batch=2)
    for number in range(3):
        by_count.send_event(envelope(number))
    assert texts(server) == ["event 0", "event 1"]
    by_count.stop_threads_and_processing()
    server.reset()
    by_bytes = sender(server, max_content_length=50)
    for number in range(3):
        by_bytes.send_event(envelope(number))
    assert texts(server) == ["event 0", "event 1"]
    by_bytes.stop_threads_and_processing()
    assert len(texts(server)) == 3


def test_a_session_is_rotated_and_its_acks_are_still_asked() -> None:
    """After so many POSTs channel and connection are new, and nothing that was pending is sent again."""
    with Emulator(ack_delay="0.3s") as server:
        hec = sender(server, acks=True, max_events_per_batch=1, rotate_session_after=2)
        for number in range(6):
            hec.send_event(envelope(number))
        hec.stop_threads_and_processing()
        assert hec.backup_queue.empty()
        events = server.events()
        assert sorted(one["event"] for one in events) == [f"event {number}" for number in range(6)]
        assert len({one["channel"] for one in events}) == 3


def test_raw_requests_carry_their_parameters(server: Emulator) -> None:
    """set_request_params is the query of raw requests, and may change between batches."""
    hec = sender(server, input_type="raw")
    for sourcetype in ("first", "second"):
        hec.set_request_params({"index": "main", "sourcetype": sourcetype, "source": "here"})
        hec.send_event(f"a line for {sourcetype}")
    hec.stop_threads_and_processing()
    found = [(one["event"], one["sourcetype"], one["source"]) for one in server.events()]
    assert found == [("a line for first", "first", "here"), ("a line for second", "second", "here")]


@pytest.mark.parametrize(
    "payload", ['{"event": "a",\n "index": "forbidden"}', '{"nope": 1}', "no json", '{"event": ""}']
)
def test_what_comes_back_is_what_was_sent(payload: str) -> None:
    """A refused event comes back byte for byte, however it is written, and the others are indexed."""
    with Emulator(tokens=["T:index=main"]) as server:
        hec = sender(server)
        for one in (envelope(1), payload, envelope(2)):
            hec.send_event(one)
        hec.stop_threads_and_processing()
        assert hec.backup_queue.get_nowait() == payload
        assert hec.backup_queue.empty()
        assert texts(server) == ["event 1", "event 2"]


def test_without_a_queue_failures_are_kept_and_tried_again(server: Emulator, capsys: Any) -> None:
    """Without a backup queue failures wait: the next flush tries them again, a later queue gets them."""
    port = int(server.url.rpartition(":")[2])
    hec = splunk_hec("wrong", "127.0.0.1", port, input_type="json", use_hec_tls=False)
    hec.send_event(envelope(1))
    hec.stop_threads_and_processing()
    assert "1 events were not delivered and there is no backup_queue" in capsys.readouterr().out
    server.set_tokens("wrong")
    hec.force_flush_events()
    assert texts(server) == ["event 1"]
    server.set_tokens("other")
    hec.send_event(envelope(2))
    hec.stop_threads_and_processing()
    hec.backup_queue = queue.Queue()
    assert hec.backup_queue.get_nowait() == envelope(2)


def test_what_splunk_refused_is_not_sent_again() -> None:
    """Without a queue a refused event waits for one; it is not tried at every flush, as others are."""
    with Emulator(tokens=["T:index=main"]) as server:
        port = int(server.url.rpartition(":")[2])
        hec = splunk_hec("T", "127.0.0.1", port, input_type="json", use_hec_tls=False)
        refused = json.dumps({"event": "a", "index": "forbidden"})
        for one in (envelope(1), refused):
            hec.send_event(one)
        hec.force_flush_events()
        before = server.stats()["requests"]
        hec.force_flush_events()
        assert server.stats()["requests"] == before
        hec.backup_queue = queue.Queue()
        assert hec.backup_queue.get_nowait() == refused
        hec.stop_threads_and_processing()
        assert texts(server) == ["event 1"]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_quick_program_loses_and_doubles_nothing(threads: int) -> None:
    """However fast the batches come, each event is indexed once and each refused one comes back."""
    with Emulator(tokens=["T:index=main"]) as server:
        port = int(server.url.rpartition(":")[2])
        hec = splunk_hec(
            "T", "127.0.0.1", port, input_type="json", use_hec_tls=False, max_events_per_batch=2,
            max_threads=threads, backup_queue=queue.Queue(),
        )  # fmt: skip
        refused = [json.dumps({"event": f"bad {number}", "index": "forbidden"}) for number in range(5)]
        for number in range(200):
            hec.send_event(envelope(number))
            if number % 40 == 20:
                hec.send_event(refused[number // 40])
        hec.stop_threads_and_processing()
        assert sorted(texts(server)) == sorted(f"event {number}" for number in range(200))
        assert sorted(hec.backup_queue.get_nowait() for _ in range(hec.backup_queue.qsize())) == refused


def test_a_fresh_session_connects_anew() -> None:
    """rotate_session_after lets a balancer choose again: with a connection of its own, not only a channel."""
    with wire.WireServer(wire.reply()) as server:
        port = int(server.url.rpartition(":")[2])
        given = {"input_type": "json", "use_hec_tls": False, "max_events_per_batch": 1}
        hec = splunk_hec("t", "127.0.0.1", port, rotate_session_after=2, **given)
        for number in range(4):
            hec.send_event(envelope(number))
        hec.stop_threads_and_processing()
        assert len(server.received) == 4
        assert server.connections == 2
        assert not [one for one in server.received if "content-encoding" in one.headers]


def test_events_that_meet_a_refused_deployment_come_back(server: Emulator) -> None:
    """What is sent after a thread was told that the token is wrong is not lost: it is in backup_queue."""
    port = int(server.url.rpartition(":")[2])
    hec = splunk_hec(
        "wrong",
        "127.0.0.1",
        port,
        backup_queue=queue.Queue(),
        input_type="json",
        use_hec_tls=False,
        max_threads=1,
        max_events_per_batch=1,
    )
    hec.send_event(envelope(0))
    client = hec._client
    assert client is not None
    wait_for(lambda: client.health().halted, "the refusal")
    for number in (1, 2):
        hec.send_event(envelope(number))
    hec.stop_threads_and_processing()
    assert sorted(hec.backup_queue.queue) == [envelope(number) for number in range(3)]


def test_a_caller_stays_near_its_threads_unless_it_asks_for_memory() -> None:
    """With threads and no acks a few batches a thread may wait; acks, or a given ceiling, allow more."""
    given = {"token": "t", "hec_server": "h", "max_threads": 4, "max_events_per_batch": 1_000}
    most = BATCHES_PER_THREAD * 4 * 1_000
    assert settings(given, {}).in_flight_max_events == most
    for other in ({"use_ack": True}, {"max_memory": 10**9}, {"max_threads": 0}):
        assert settings({**given, **other}, {}).in_flight_max_events > 10 * most
    assert settings({**given, "max_memory": 10**9}, {}).in_flight_max_bytes == 10**9


def test_the_memory_may_be_bounded_later(server: Emulator) -> None:
    """set_max_memory holds from the next batch on: what is over it waits for room, or is kept no more."""
    hec = splunk_hec(
        "wrong", "127.0.0.1", int(server.url.rpartition(":")[2]), use_hec_tls=False, input_type="json"
    )
    hec.set_max_memory(2 * len(envelope(0)))
    for number in range(3):
        hec.send_event(envelope(number))
    hec.force_flush_events()
    hec.backup_queue = queue.Queue()
    assert hec.backup_queue.qsize() == 2
    hec.stop_threads_and_processing()


def test_a_queue_that_is_full_is_said(server: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Events that the backup queue does not take are lost; a line says how many, and nothing blocks."""
    port = int(server.url.rpartition(":")[2])
    full = queue.Queue[str](1)
    hec = splunk_hec("wrong", "127.0.0.1", port, backup_queue=full, use_hec_tls=False, input_type="json")
    for number in range(3):
        hec.send_event(envelope(number))
    hec.stop_threads_and_processing()
    assert "2 events are lost: the backup queue took no more" in capsys.readouterr().out
    assert full.get_nowait() == envelope(0)


def test_a_refused_index_of_the_parameters_is_the_deployments_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An index that set_request_params names is refused for all events at once, not one by one."""
    with Emulator(tokens=["T:index=main"]) as server:
        port = int(server.url.rpartition(":")[2])
        hec = splunk_hec(
            "T", "127.0.0.1", port, backup_queue=queue.Queue(), use_hec_tls=False, input_type="raw"
        )
        hec.set_request_params({"index": "forbidden"})
        for number in range(8):
            hec.send_event(f"line {number}")
        hec.stop_threads_and_processing()
        assert "HEC refuses this deployment, 8 events were not delivered" in capsys.readouterr().out
        assert list(hec.backup_queue.queue) == [f"line {number}" for number in range(8)]


def test_log_lines_name_context_and_host_and_never_the_token(
    server: Emulator, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Lines are printed, or go to the logger; they say whose they are, and hold no token."""
    for logger in (None, logging.getLogger("mine")):
        with caplog.at_level(logging.DEBUG):
            port = int(server.url.rpartition(":")[2])
            hec = splunk_hec(
                "secret-token", "127.0.0.1", port, use_hec_tls=False, context_id="lambda-7",
                debug_enabled=True, logger=logger, backup_queue=queue.Queue(),
            )  # fmt: skip
            hec.send_event("a line")
            hec.stop_threads_and_processing()
        mine = [one.getMessage() for one in caplog.records if one.name == "mine"]
        lines = mine if logger else capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert all("context=lambda-7 (target_host=127.0.0.1)" in line for line in lines)
        assert "secret-token" not in "".join(lines) + caplog.text + repr(hec)
    assert not capsys.readouterr().out


def test_unverified_tls_works_and_warns_once(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    """hec_tls_verify=False, the old default, goes on working; one line a process says what that means."""
    import trustme

    certificate = trustme.CA().issue_cert("other.example")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(key)
    for part in certificate.cert_chain_pems:
        part.write_to_path(chain, append=True)
    with Emulator(tls=(chain, key)) as server:
        for _ in range(2):
            hec = sender(server, use_hec_tls=True)
            hec.send_event(envelope(1))
            hec.stop_threads_and_processing()
            assert hec.backup_queue.empty()
    assert capsys.readouterr().out.count("hec_tls_verify=False") == 1


@pytest.mark.parametrize("threads", [0, 2])
def test_the_end_of_the_interpreter_flushes_with_a_warning(server: Emulator, threads: int) -> None:
    """Forgetting the last call costs a warning with a number, not the events."""
    port = int(server.url.rpartition(":")[2])
    code = (
        "from splunk_hec import splunk_hec\n"
        f"hec = splunk_hec({server.plain_token!r}, '127.0.0.1', {port},"
        f" use_hec_tls=False, max_threads={threads})\n"
        "hec.send_event('a line'); hec.send_event('another')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "[warning]" in done.stdout
    assert "2 events are at risk" in done.stdout
    assert texts(server) == ["a line\nanother"]


def test_the_end_does_not_wait_for_a_thread_that_waits_for_room(
    server: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a thread is busy sending when the interpreter ends, a line says what is left, and that is it."""
    monkeypatch.setattr(compat, "EXIT_S", 0.05)
    hec = sender(server, max_events_per_batch=5)
    hec.send_event(envelope(1))
    is_busy, may_go = threading.Event(), threading.Event()

    def be_busy() -> None:
        with hec._sending:
            is_busy.set()
            assert may_go.wait(20)

    thread = threading.Thread(target=be_busy)
    thread.start()
    assert is_busy.wait(20)
    hec.finish_at_exit()
    assert "1 events were not confirmed before the interpreter ended" in capsys.readouterr().out
    may_go.set()
    thread.join()
    hec.stop_threads_and_processing()
    assert texts(server) == ["event 1"]


def test_a_forked_child_sends_its_own_events_and_none_of_its_parents(server: Emulator) -> None:
    """What was gathered before a fork is indexed once, by the parent; the child's calls work at once."""
    port = int(server.url.rpartition(":")[2])
    code = (
        "import os\nfrom splunk_hec import splunk_hec\n"
        f"hec = splunk_hec({server.plain_token!r}, '127.0.0.1', {port}, use_hec_tls=False, max_threads=2)\n"
        "hec.send_event('first'); hec.force_flush_events(); hec.send_event('of the parent')\n"
        "if os.fork():\n    os.wait()\n"
        "else:\n    hec.force_flush_events(); hec.send_event('of the child')\n"
        "hec.stop_threads_and_processing()\n"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(texts(server)) == ["first", "of the child", "of the parent"]


def test_explain_prints_every_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says of each argument what it becomes."""
    assert main(["--explain"]) == 0
    shown = capsys.readouterr().out
    assert shown == explained()
    assert all(f"\n{name} " in shown for name in ARGUMENTS)
