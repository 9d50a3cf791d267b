"""The demo: what it feeds, and that it proves what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from kafka_tools import DEADLINE_S, read_all, wait_for

from splunk_hec_kafka import demo
from splunk_hec_kafka.demo_audit import Audit
from splunk_hec_kafka.demo_feed import (
    ENVELOPES_TOPIC,
    EVENT_MAX_BYTES,
    INDEXED,
    LINES_TOPIC,
    Record,
    fate,
    generated_lines,
    own_logs,
    plan,
    read_files,
)
from splunk_hec_kafka.demo_processes import EmulatorProcess, SinkProcess
from splunk_hec_kafka.failures import ExitCode, SinkFailure

if TYPE_CHECKING:
    from pathlib import Path

    from splunk_hec_kafka._mock_kafka import MockKafka

KINDS = {"undecodable", "blank", "too_large", "bad_index", "bad_fields"}
COMMAND = [sys.executable, "-P", "-m", "splunk_hec_kafka", "demo", "-o", "json"]


def test_one_percent_is_poison_of_every_kind() -> None:
    """Of 2,000 lines none is missing, and 20 more are poison, four of each kind."""
    records = list(plan(("file", b"line %d" % number) for number in range(2_000)))
    fates = Counter(record.fate for record in records)
    assert fates.pop(INDEXED) == 2_000
    assert fates == dict.fromkeys(KINDS, 4)


def test_few_lines_are_poisoned_too() -> None:
    """Every kind is there once even if there is but one line."""
    records = list(plan([("file", b"only")]))
    assert Counter(record.fate for record in records) == dict.fromkeys([INDEXED, *KINDS], 1)


def test_lines_go_as_they_are_and_as_envelopes() -> None:
    """Nine of ten are the bare line; the tenth is an envelope around it."""
    records = [record for record in plan([("file", b"x")] * 10) if record.fate == INDEXED]
    assert Counter(record.topic for record in records) == {LINES_TOPIC: 9, ENVELOPES_TOPIC: 1}
    envelope = next(record for record in records if record.topic == ENVELOPES_TOPIC)
    assert json.loads(envelope.value)["event"] == envelope.text == "x"


def test_poison_is_what_it_says() -> None:
    """Each kind of poison is bad in its own way and in no other."""
    poison = {record.fate: record for record in plan([]) if record.fate != INDEXED}
    with pytest.raises(UnicodeDecodeError):
        poison["undecodable"].value.decode()
    assert poison["blank"].value == b""
    assert len(poison["too_large"].value) > EVENT_MAX_BYTES
    assert "no_such_index" in json.loads(poison["bad_index"].value)["index"]
    assert isinstance(json.loads(poison["bad_fields"].value)["fields"]["a"], dict)


@pytest.mark.parametrize(
    ("line", "due"),
    [
        (b"ok", INDEXED),
        ("über".encode(), INDEXED),
        (b"", "blank"),
        (b" \t\r", "blank"),
        (b"\xff", "undecodable"),
    ],
)
def test_bad_lines_of_a_file_have_their_fate(line: bytes, due: str) -> None:
    """A file may hold what Splunk does not take: such lines are due in the dead letters."""
    assert fate(line) == due


def test_long_lines_are_fed_in_pieces(tmp_path: Path) -> None:
    """Nothing of a long line is left out, and no piece is oversize, whatever JSON makes of it."""
    file = tmp_path / "long.log"
    file.write_bytes("ü".encode() * 10_000 + b"\n" + b"\xff" * 10_000 + b"\nend")
    records = [record for record in plan(read_files([file])) if record.key == b"long.log"]
    assert b"".join(r.value for r in records if r.fate == INDEXED) == "ü".encode() * 10_000 + b"end"
    assert b"".join(r.value for r in records if r.fate == "undecodable") == b"\xff" * 10_000
    assert all(6 * len(record.value) < EVENT_MAX_BYTES for record in records)


def test_white_space_that_splunk_judges_is_not_fed() -> None:
    """A line of a no-break space alone has no certain fate."""
    assert not [record for record in plan([("f", "\u00a0".encode())]) if record.key == b"f"]


def test_own_logs_are_text_that_can_be_read(tmp_path: Path) -> None:
    """Text logs below the folder are fed; binary ones and what cannot be opened are left out."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.log").write_bytes(b"one\ntwo\ncut")
    (tmp_path / "b.log").write_bytes(b"\0binary\n")
    (tmp_path / "syslog").write_bytes(b"three\n")
    (tmp_path / "c.log").symlink_to(tmp_path / "nowhere")
    assert own_logs(tmp_path) == [("a.log", b"one"), ("a.log", b"two"), ("syslog", b"three")]
    assert own_logs(tmp_path / "nowhere") == []


def test_generated_lines_are_always_the_same() -> None:
    """A machine without logs has a demo that can be repeated."""
    assert list(generated_lines()) == list(generated_lines())
    assert all(fate(line) == INDEXED for _, line in generated_lines())


def test_no_partition_is_filled_beyond_what_it_keeps(mock_kafka: MockKafka) -> None:
    """Records are spread by size: the embedded Kafka keeps all of them, in the places that feed returns."""
    records = [Record(LINES_TOPIC, b"k", b"x" * 60_000, INDEXED, "x")] * 150
    partitions = demo._partitions(records)
    mock_kafka.create_topic(LINES_TOPIC, partitions[LINES_TOPIC])
    fed = demo.feed(mock_kafka.bootstrap, records, partitions)
    found = read_all(mock_kafka.bootstrap, LINES_TOPIC)
    assert {(one.partition(), one.offset()) for one in found} == {(at.partition, at.offset) for at in fed}
    assert len(fed) == 150


def test_a_broker_that_takes_nothing_is_told(mock_kafka: MockKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the embedded Kafka fails, the demo says so instead of blaming the sink."""
    monkeypatch.setattr(demo, "_FEED_S", 0.2)
    mock_kafka.create_topic(LINES_TOPIC, 4)
    bootstrap = mock_kafka.bootstrap
    mock_kafka.broker_down()
    with pytest.raises(SinkFailure, match="did not take all"):
        demo.feed(bootstrap, [Record(LINES_TOPIC, b"k", b"x", INDEXED, "x")], {LINES_TOPIC: 4})


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """More than the embedded Kafka can keep is a usage error, before anything starts."""
    monkeypatch.setattr(demo, "MAX_BYTES", 10)
    file = tmp_path / "big.log"
    file.write_bytes(b"x" * 100)
    with pytest.raises(SinkFailure, match="fewer or smaller") as caught:
        demo.run_demo([file], keep=False, output="json", is_quiet=True, use_color=False)
    assert caught.value.exit_code is ExitCode.USAGE


def test_counts_of_the_summary_are_the_audits() -> None:
    """What the sink says of itself is used for speed and latency alone."""
    audit = Audit(delivered=3, dead_lettered=2, lost=1, duplicates=4, committed=False, faults=["x"])
    told = {"records": 99, "delivered": 99, "committed": True, "records_per_s": 7.0, "skipped": 0}
    summary = demo.audited_summary(6, audit, told)
    assert (summary["records"], summary["delivered"], summary["dead_lettered"]) == (6, 3, 2)
    assert (summary["lost"], summary["duplicates"], summary["committed"]) == (1, 4, False)
    assert summary["records_per_s"] == 7.0


def test_an_emulator_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own line is on standard error; the demo ends with a fault of ours."""
    monkeypatch.setattr("splunk_hec_kafka.demo_processes.INDEX", "a:disabled:nonsense")
    with pytest.raises(SinkFailure, match="did not start"):
        EmulatorProcess(tmp_path)


def test_a_sink_that_stands_still_is_ended_and_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When nothing arrives any more the sink is ended; what is missing and its last lines are shown."""
    monkeypatch.setattr("splunk_hec_kafka.demo_processes._STUCK_S", 0.0)
    config = tmp_path / "sink.toml"
    config.write_text("")
    with EmulatorProcess(tmp_path) as emulator, SinkProcess(config) as sink:
        sink.wait(emulator)
    assert sink.code != 0
    assert sink.summary == {}
    assert emulator.stats() == {}
    faults = [f"record {number} is lost" for number in range(12)]
    demo._explain(Audit(0, 0, 12, 0, committed=False, faults=faults), sink)
    told = capsys.readouterr().err.splitlines()
    assert told[:3] == ["audit: record 0 is lost", "audit: record 1 is lost", "audit: record 2 is lost"]
    assert told[10:12] == ["audit: and 2 more", f"the sink ended with {sink.code}; its last lines:"]


@pytest.mark.e2e
def test_the_demo_accounts_for_every_record(tmp_path: Path) -> None:
    """Good and bad lines: all indexed or dead-lettered, all committed; the user's settings play no part."""
    file = tmp_path / "some.log"
    lines = [b"line %d" % number for number in range(3_000)] + [b"", b"\xff\xfe", "größe".encode()]
    file.write_bytes(b"\n".join(lines))
    env = os.environ | {"HEC_SINK_HEC__URL": "http://127.0.0.1:1", "SPLUNK_HEC_TOKEN": "mine"}
    done = subprocess.run(
        [*COMMAND, str(file)], env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["records"] == 3_033
    assert summary["delivered"] == 3_001
    assert summary["dead_lettered"] == 32
    assert summary["lost"] == 0
    assert summary["committed"] is True


@pytest.mark.e2e
def test_keep_leaves_everything_running(tmp_path: Path) -> None:
    """With --keep the summary comes, and Kafka, emulator and sink run on until a signal ends all of them."""
    file = tmp_path / "some.log"
    file.write_bytes(b"line\n" * 10)
    with subprocess.Popen(
        [*COMMAND, "--keep", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        shown: list[str] = []

        def is_running() -> bool:
            assert process.stderr
            shown.append(process.stderr.readline())
            return "still running" in shown[-1] or not shown[-1]

        wait_for(is_running, "the demo to be kept", 60)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S * 2)
    assert process.returncode == 0, shown
    assert json.loads(out)["lost"] == 0
