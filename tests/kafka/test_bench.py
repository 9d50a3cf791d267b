"""`hec-kafka-sink bench`: what it indexes, what it tells, how it ends, and which limit it names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from kafka_tools import wait_for

from splunk_hec_kafka.bench import MARK, generated
from splunk_hec_kafka.bench_figures import ADVICE, Figures, Tally, limit, rows
from splunk_hec_kafka.failures import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from splunk_hec_emulator import Emulator

COMMAND = [sys.executable, "-P", "-m", "splunk_hec_kafka", "bench"]
DEADLINE_S = 30.0
RUN_KEYS = [
    *(
        "acks",
        "events",
        "mb",
        "delivered",
        "rejected",
        "unconfirmed",
        "unsettled",
        "events_per_s",
        "mb_per_s",
    ),
    *(
        "ack_latency_s",
        "seconds",
        "requests",
        "resends",
        "compression",
        "cpu_s_per_gb",
        "budget_events_per_s",
    ),
    *("limit", "advice"),
]
pytestmark = pytest.mark.hec_emulator(ack_delay="0.1s")


def environment(token: str) -> dict[str, str]:
    """This process's environment without settings of a sink, and with a token."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HEC_SINK_")}
    return kept | {"TOKEN": token}


def at(emulator: Emulator, *more: str) -> list[str]:
    """The command for an emulator that stands for somebody's Splunk."""
    return [*COMMAND, "--url", emulator.url, "--token", "env:TOKEN", "-o", "json", *more]


def bench(emulator: Emulator, *more: str, token: str = "", code: int = 0) -> tuple[dict[str, Any], str]:
    """Run it to its end: the document (empty without one), and what it said."""
    done = subprocess.run(
        at(emulator, *more),
        env=environment(token or emulator.token),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_it_indexes_what_it_said_and_marks_it(hec_emulator: Emulator) -> None:
    """As many events as asked for, with acks and without, each marked so that it can be found and deleted."""
    told, said = bench(hec_emulator, "--events", "1500", "--size", "100", "--yes", "--index", "main")
    assert "up to 3,000 events, 0.3 MB, will be indexed" in said
    assert [(one["acks"], one["events"], one["delivered"]) for one in told["runs"]] == [
        (True, 1500, 1500),
        (False, 1500, 1500),
    ]
    for one in told["runs"]:
        assert list(one) == RUN_KEYS
        assert one["advice"] == ADVICE[one["limit"]]
        assert one["compression"] > 1
        assert one["requests"]["200/0"] >= 1
    assert told["runs"][0]["ack_latency_s"]["p50"] >= 0.1
    # Without acknowledgements the end does not wait for the index.
    wait_for(lambda: len(hec_emulator.events()) >= 3000, "the events in the index")
    events = hec_emulator.events()
    assert len(events) == 3000
    for one in events:
        assert (one["sourcetype"], one["source"], one["index"]) == (MARK, MARK, "main")
        assert one["fields"] == {"bench_id": told["bench_id"]}
        assert len(one["event"]) == 100
    assert told["bench_id"] in told["find"]
    assert told["stopped"] is False


def test_without_yes_nothing_is_indexed(hec_emulator: Emulator) -> None:
    """A url without --yes ends with 2 and says how much it would have been."""
    _, said = bench(hec_emulator, "--events", "1000000", "--acks", "on", code=ExitCode.USAGE)
    assert "up to 1,000,000 events, 512.0 MB, will be indexed" in said
    assert "--yes" in said
    assert hec_emulator.events() == []


def test_without_a_url_it_brings_its_own_splunk() -> None:
    """No address, no agreement needed: an embedded emulator, and the text says what that is worth."""
    command = [*COMMAND, "--events", "2000", "--acks", "on"]
    done = subprocess.run(
        command, env=environment("t"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "delivered            2,000" in done.stdout
    assert "says nothing about your Splunk" in done.stdout


def test_a_file_is_sent_again_and_again(hec_emulator: Emulator, tmp_path: Path) -> None:
    """The lines of a file, blank ones left out, in turn until the number is reached."""
    file = tmp_path / "some.log"
    file.write_text("one\n\ntwo\n", encoding="utf-8")
    bench(hec_emulator, "--file", str(file), "--events", "5", "--acks", "off", "--yes")
    hec_emulator.wait_for_events(5, DEADLINE_S)
    assert sorted(one["event"] for one in hec_emulator.events()) == ["one", "one", "one", "two", "two"]
    file.write_text("\n", encoding="utf-8")
    bench(hec_emulator, "--file", str(file), "--yes", code=ExitCode.USAGE)


def test_a_token_without_acks_measures_sending_alone(hec_emulator: Emulator) -> None:
    """Both kinds are asked for, one is possible; asking for acks alone is refused with 5."""
    token = hec_emulator.plain_token
    told, said = bench(hec_emulator, "--events", "10", "--yes", token=token)
    assert [one["acks"] for one in told["runs"]] == [False]
    assert "only sending is measured" in said
    bench(hec_emulator, "--events", "10", "--acks", "on", "--yes", token=token, code=ExitCode.HEC)


@pytest.mark.hec_emulator(tokens=["00000000-0000-0000-0000-000000000001:ack:index=main"])
@pytest.mark.parametrize(
    "more", [("--token", "env:OTHER"), ("--index", "no_such_index")], ids=["token", "index"]
)
def test_a_refused_deployment_is_5(
    hec_emulator: Emulator, more: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token is seen before anything is sent, a wrong index soon after; the token is not shown."""
    monkeypatch.setenv("OTHER", "a-wrong-secret-token")
    _, said = bench(hec_emulator, *more, "--events", "10", "--yes", "--set", "hec.halt_patience_s=0", code=5)
    assert "(fix: " in said.splitlines()[-1]
    assert "a-wrong-secret-token" not in said


def test_nobody_listens_is_5() -> None:
    """An address where no Splunk is ends with 5 at once."""
    command = [*COMMAND, "--url", "http://127.0.0.1:1", "--token", "env:TOKEN", "--yes"]
    done = subprocess.run(
        command, env=environment("t"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == ExitCode.HEC
    assert "(fix: check that HEC listens at hec.url" in done.stderr


def stopped(emulator: Emulator, *more: str, signals: int = 1) -> tuple[int, dict[str, Any]]:
    """Interrupt it while it sends: the exit code and the document."""
    endless = ("--events", "100000000", "--seconds", "600", "--acks", "on", "--yes")
    slow = ("--set", "hec.in_flight_max_events=200", "--set", "hec.linger_s=0.01")
    with subprocess.Popen(
        at(emulator, *endless, *slow, *more),
        env=environment(emulator.token),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        emulator.wait_for(lambda: emulator.stats()["acks_issued"] > 0, DEADLINE_S)
        process.send_signal(signal.SIGINT)
        if signals > 1:
            assert process.stderr is not None
            assert any("again" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, json.loads(out)


def test_an_interrupt_ends_it_orderly(hec_emulator: Emulator) -> None:
    """What was sent is waited for and told; the exit code is 0."""
    code, told = stopped(hec_emulator)
    assert (code, told["stopped"], told["runs"][0]["unsettled"]) == (0, True, 0)
    assert told["runs"][0]["delivered"] == told["runs"][0]["events"] == len(hec_emulator.events())
    assert told["runs"][0]["limit"] == "budget"


@pytest.mark.hec_emulator(ack_delay="never")
def test_a_second_interrupt_ends_it_at_once(hec_emulator: Emulator) -> None:
    """Nothing is acknowledged: it ends with 7 and says how many are open."""
    code, told = stopped(hec_emulator, "--set", "run.shutdown_s=600", signals=2)
    assert code == ExitCode.UNSETTLED
    assert told["runs"][0]["unsettled"] > 0


# ---- rules -------------------------------------------------------------------------------------------


def figures(**more: Any) -> Figures:
    """A run in which nothing was used up."""
    tally = Tally()
    tally.busy_s, tally.full_s = more.pop("busy_s", 1.0), more.pop("full_s", 0.0)
    one = Figures(
        acks=True, events=100, size_bytes=100_000, unsettled=0, outcomes={"delivered": 100}, sent_s=10.0,
        seconds=11.0, sent_cpu_s=1.0, cpu_s=1.0, ack_latency_s=(1.0, 2.0), requests={"200/0": 10}, resends={},
        lanes=8, in_flight_max_events=1000, in_flight_max_bytes=1_000_000, tally=tally,
    )  # fmt: skip
    return msgspec.structs.replace(one, **more)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "none"),
        ({"requests": {"200/0": 18, "503/9": 2}, "busy_s": 88.0}, "busy"),
        ({"busy_s": 80.0, "full_s": 9.0}, "lanes"),
        ({"full_s": 3.0}, "budget"),
        ({"sent_cpu_s": 9.0}, "CPU"),
    ],
)
def test_the_first_limit_that_holds_is_named(more: dict[str, Any], expected: str) -> None:
    """The rules of the module's text, in their order, each with its advice."""
    assert limit(figures(**more)) == expected
    assert ADVICE[expected]


def test_generated_events_have_their_size_and_differ() -> None:
    """Exactly as many bytes as asked for, no two alike, the same each time."""
    source = generated(200)
    texts = [next(source) for _ in range(100)]
    assert {len(text.encode()) for text in texts} == {200}
    assert len(set(texts)) == 100
    assert next(generated(200)) == texts[0]
    assert len(next(generated(1))) == 1


def test_people_are_told_how_to_find_the_events() -> None:
    """The text names the search, and that it was stopped."""
    told = {"runs": [], "emulator": False, "find": "index=* bench_id=1", "stopped": True}
    assert rows(told).splitlines()[0] == "found by   index=* bench_id=1"
    assert "stopped" in rows(told)
