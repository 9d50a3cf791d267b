"""Each pipeline on real log lines: what is indexed and what is in dead-letter files is all there was."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.transforms.window import TimestampedValue
from e2e_tools import log_lines
from kafka_tools import committed, end_offsets, produce

from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from splunk_hec_emulator import Emulator

    Flags = Callable[..., list[str]]
    Dead = Callable[..., list[dict[str, Any]]]

COUNT = 2_000
NARROW, WIDE = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"


def texts(emulator: Emulator) -> Counter[Any]:
    """How often each event is indexed."""
    return Counter(one["event"] for one in emulator.events())


def test_files_lose_no_line(
    script: Callable[[str], ModuleType], flags: Flags, dead: Dead, hec_emulator: Emulator, tmp_path: Path
) -> None:
    """Every line of every file is indexed with its file as source; bad ones are kept as bytes."""
    lines = log_lines(COUNT)
    one, two = tmp_path / "one.log", tmp_path / "two.log.gz"
    one.write_bytes(b"\r\n".join([*lines[: COUNT // 2], b"", b"  ", b"\xff\xfe broken"]) + b"\n")
    two.write_bytes(gzip.compress(b"\n".join(lines[COUNT // 2 :])))  # its last line has no end
    assert script("files_to_splunk").main(flags(f"--input={one}", f"--input={tmp_path}/*.gz")) == 0
    indexed = Counter((found["source"], found["event"]) for found in hec_emulator.events())
    expected = Counter((str(one), line.decode()) for line in lines[: COUNT // 2])
    expected.update((str(two), line.decode()) for line in lines[COUNT // 2 :])
    assert indexed == expected
    (letter,) = dead()
    assert letter["element"]["$line"]["line"] == {"$bytes": "//4gYnJva2Vu"}
    assert letter["reason"] == "undecodable"


def test_blank_lines_are_counted(
    script: Callable[[str], ModuleType], flags: Flags, tmp_path: Path, hec_emulator: Emulator
) -> None:
    """Skipped lines show in the metric `lines_blank`, so that nobody looks for them in Splunk."""
    (tmp_path / "a.log").write_bytes(b"x\n\n \t\ny\n")
    pipeline = beam.Pipeline(options=PipelineOptions(flags(f"--input={tmp_path}/a.log")))
    script("files_to_splunk").build(pipeline, pipeline.options)
    result = pipeline.run()
    result.wait_until_finish()
    counters = {one.key.metric.name: one.committed for one in result.metrics().query()["counters"]}
    assert counters["lines_blank"] == 2
    assert texts(hec_emulator) == Counter(["x", "y"])


def test_lines_of_json_are_indexed_as_such(
    script: Callable[[str], ModuleType], flags: Flags, dead: Dead, hec_emulator: Emulator, tmp_path: Path
) -> None:
    """With `--line_format=json` a line is a JSON value; one that is not becomes a dead letter."""
    (tmp_path / "a.log").write_bytes(b'{"a": 1.10}\n{"a":\n')
    assert script("files_to_splunk").main(flags(f"--input={tmp_path}/a.log", "--line_format=json")) == 0
    assert [one["event"] for one in hec_emulator.events()] == [{"a": 1.1}]
    assert [one["reason"] for one in dead()] == ["invalid_event"]


def test_a_bucket_is_read_once(
    script: Callable[[str], ModuleType], flags: Flags, hec_emulator: Emulator, tmp_path: Path
) -> None:
    """Without a watch interval gcs_to_splunk sends what is there, as its options say, and ends."""
    lines = log_lines(500)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.log").write_bytes(b"\n".join(lines))
    more = ("--sourcetype=app", "--event_id_field=event_id")
    assert script("gcs_to_splunk").main(flags(f"--input={tmp_path}/**.log", *more)) == 0
    assert texts(hec_emulator) == Counter(line.decode() for line in lines)
    assert {one["sourcetype"] for one in hec_emulator.events()} == {"app"}
    ids = {one["fields"]["event_id"] for one in hec_emulator.events()}
    assert len(ids) == len(set(lines))  # the same line of the same file is the same event


def test_pubsub_messages_keep_their_metadata(
    script: Callable[[str], ModuleType], flags: Flags, dead: Dead, hec_emulator: Emulator
) -> None:
    """Messages from a stream are indexed with their `_metadata`, text as text; a bad one is kept whole."""
    lines = [line.decode() for line in log_lines(300)]
    entries = [
        json.dumps({"n": n, "line": line, "_metadata": {"host": f"h{n % 3}", "time": "2026-03-01T10:00:00Z"}})
        for n, line in enumerate(lines)
    ]
    bad = PubsubMessage(b'{"_metadata": {"time": "never"}}', {"a": "b"}, "id-1")
    messages = [PubsubMessage(one.encode(), {}) for one in entries + lines] + [bad]
    options = PipelineOptions([*flags()[1:], "--runner=BundleBasedDirectRunner", "--streaming"])
    with beam.Pipeline(options=options) as pipeline:
        stream = test_stream.TestStream()
        for start in range(0, len(messages), 100):
            stream.advance_watermark_to(1_700_000_000 + start)
            stream.add_elements(
                [TimestampedValue(one, 1_700_000_000) for one in messages[start : start + 100]]
            )
        stream.advance_watermark_to_infinity()
        script("pubsub_to_splunk").build(pipeline, options, pipeline | stream)
    indexed = list(hec_emulator.events())
    assert Counter(one["event"] for one in indexed if isinstance(one["event"], str)) == Counter(lines)
    objects = [one for one in indexed if isinstance(one["event"], dict)]
    assert sorted((one["event"]["n"], one["event"]["line"]) for one in objects) == list(enumerate(lines))
    assert {(one["host"], one["time"]) for one in objects} == {(f"h{n}", 1772359200) for n in range(3)}
    assert all(set(one["event"]) == {"n", "line"} for one in objects)
    (letter,) = dead()
    assert letter["reason"] == "bad_time"
    assert letter["element"]["$pubsub"]["message_id"] == "id-1"
    assert letter["element"]["$pubsub"]["attributes"] == {"a": "b"}
    assert letter["timestamp"] == "2023-11-14T22:13:20Z"


def test_kafka_records_are_committed_once_they_are_indexed(
    script: Callable[[str], ModuleType], flags: Flags, dead: Dead, hec_emulator: Emulator
) -> None:
    """All records are indexed with their origin or are dead letters, and every offset is committed."""
    values = [*log_lines(COUNT), b"\xff broken", b" "]
    with MockKafka() as broker:
        broker.create_topic("logs", 2)
        for partition in (0, 1):
            produce(broker.bootstrap, "logs", values[partition::2], partition=partition)
        more = (f"--kafka_bootstrap_servers={broker.bootstrap}", "--kafka_topics=logs", "--kafka_group_id=g")
        assert script("kafka_to_splunk").main(flags(*more, "--until_end")) == 0
        ends = end_offsets(broker.bootstrap, "logs")
        assert committed(broker.bootstrap, "g", "logs", ends) == ends
    indexed = hec_emulator.events()
    assert Counter(one["event"] for one in indexed) == Counter(value.decode() for value in values[:-2])
    places = {(one["fields"]["kafka_partition"], one["fields"]["kafka_offset"]) for one in indexed}
    assert len(places) == COUNT
    assert sorted(one["reason"] for one in dead()) == ["blank", "undecodable"]
    assert {one["element"]["$kafka"]["offset"] for one in dead()} == {COUNT // 2}


def test_no_offset_is_committed_past_a_dead_letter_that_is_not_written(
    script: Callable[[str], ModuleType], flags: Flags, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file of dead letters cannot be made, the bundle fails and its records stay uncommitted."""

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(FileSystems, "rename", fail)
    with MockKafka() as broker:
        broker.create_topic("logs", 1)
        produce(broker.bootstrap, "logs", [b"good", b" ", b"good too"], partition=0)
        more = (f"--kafka_bootstrap_servers={broker.bootstrap}", "--kafka_topics=logs", "--kafka_group_id=g")
        with pytest.raises(Exception, match="disk full"):
            script("kafka_to_splunk").main(flags(*more, "--until_end"))
        assert committed(broker.bootstrap, "g", "logs", [0]) == {0: None}


def by_event(letters: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Dead letters by the envelope they hold."""
    return {one["event_bytes"]: one for one in letters}


def latest(letter: dict[str, Any]) -> dict[str, Any]:
    """The members of a dead letter that tell of its latest try, which may differ from the first."""
    return {name: letter[name] for name in ("text", "http_status", "code", "attempts")}


@pytest.mark.hec_emulator(tokens=[f"{NARROW}:ack:index=main", f"{WIDE}:ack"])
def test_dead_letters_are_replayed_until_they_are_spent(
    script: Callable[[str], ModuleType],
    flags: Flags,
    dead: Dead,
    hec_emulator: Emulator,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What stays refused keeps its form and counts; after two replays it is kept, and sent no more."""
    lines = [line.decode() for line in log_lines(200)]
    messages = [
        PubsubMessage(json.dumps({"line": line, "_metadata": {"index": "elsewhere"}}).encode(), {})
        for line in lines
    ]
    options = PipelineOptions(flags(dead="dead0"))
    with beam.Pipeline(options=options) as pipeline:
        script("pubsub_to_splunk").build(pipeline, options, pipeline | beam.Create(messages))

    def replay(number: int, to: int, *more: str) -> list[dict[str, Any]]:
        given = flags(f"--input={tmp_path}/dead{number}/of*", *more, dead=f"dead{to}")
        assert script("replay_dead_letters").main(given) == 0
        return dead(f"dead{to}")

    monkeypatch.setenv("WIDE", WIDE)
    first, second, third = dead("dead0"), replay(0, 1), replay(1, 2)
    assert sorted(by_event(first)) == sorted(by_event(second)) == sorted(by_event(third))
    assert len(by_event(first)) == len(set(lines))
    for event, letter in by_event(first).items():
        assert letter["reason"] == "bad_index"
        for replays, again in enumerate((second, third), 1):
            assert by_event(again)[event] == letter | {"replays": replays, **latest(by_event(again)[event])}
    assert sorted(map(str, replay(2, 3, "--hec_token=env:WIDE"))) == sorted(map(str, dead("dead2")))
    assert hec_emulator.events() == []
    assert replay(1, 4, "--hec_token=env:WIDE") == []
    assert Counter(one["event"]["line"] for one in hec_emulator.events()) == Counter(lines)
    assert {one["index"] for one in hec_emulator.events()} == {"elsewhere"}
