"""Dead letters in files: complete or not there, exact, and counted when they are replayed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp

from splunk_hec import Envelope, Event, InvalidEvent
from splunk_hec_beam import WriteToSplunkHEC
from splunk_hec_beam.dead_letter_files import (
    MAX_REPLAYS,
    DeadLetter,
    ReadDeadLetters,
    WriteDeadLetters,
    _WriteFn,
    event_of_dead_letter,
    line_of,
)
from splunk_hec_beam.exact_json import Unreadable
from splunk_hec_beam.log_lines import LogLine
from splunk_hec_beam.rows import dead_letter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from splunk_hec_emulator import Emulator

WHEN = Timestamp.from_rfc3339("2026-03-01T10:00:00.25Z")


def letter(**more: Any) -> DeadLetter:
    """A dead letter with some members given."""
    base: dict[str, Any] = {
        "element": "x",
        "event_bytes": b"",
        "reason": "blank",
        "http_status": 0,
        "code": None,
    }
    return DeadLetter(**base | {"text": "t", "attempts": 0, "timestamp": "", "replays": 0} | more)


def test_a_line_holds_the_whole_row() -> None:
    """Every member of a row is in its line, with the element's own timestamp."""
    row = dead_letter(
        {"a": b"\xff"},
        event_bytes='{"event":"é"}'.encode(),
        reason="bad_index",
        text="Incorrect index",
        http_status=400,
        code=7,
        attempts=2,
    )
    assert json.loads(line_of(row, WHEN)) == {
        "element": {"a": {"$bytes": "/w=="}},
        "event_bytes": '{"event":"é"}',
        "reason": "bad_index",
        "http_status": 400,
        "code": 7,
        "text": "Incorrect index",
        "attempts": 2,
        "timestamp": "2026-03-01T10:00:00.250000Z",
        "replays": 0,
    }


@pytest.mark.parametrize("none", [MIN_TIMESTAMP, MAX_TIMESTAMP, Timestamp(-1)])
def test_what_is_no_time_is_not_written_as_one(none: Timestamp) -> None:
    """Beam's own bounds and times before 1970 leave the timestamp empty."""
    row = dead_letter("x", event_bytes=b"", reason="blank", text="t")
    assert json.loads(line_of(row, none))["timestamp"] == ""


def test_a_line_is_one_line_of_ascii() -> None:
    """Line ends, and text without UTF-8 form, inside an element cannot break a file."""
    row = dead_letter("a\nb\r\u2028\ud800", event_bytes=b"", reason="undecodable", text="x\ny")
    line = line_of(row, WHEN)
    assert line.isascii()
    assert line.splitlines() == [line]


def test_windows_and_late_elements_lose_nothing(
    tmp_path: Path, dead: Callable[..., list[dict[str, Any]]]
) -> None:
    """Dead letters of every window are written, and read back as they were."""
    rows = [
        TimestampedValue(dead_letter(f"é{n}", event_bytes=b"", reason="blank", text="t"), n * 60)
        for n in range(1, 4)
    ]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        _ = (
            pipeline
            | beam.Create(rows)
            | beam.WindowInto(FixedWindows(60))
            | WriteDeadLetters(f"{tmp_path}/dead/of")
        )
    assert sorted(one["timestamp"] for one in dead()) == [f"1970-01-01T00:0{n}:00Z" for n in range(1, 4)]
    expected = [letter(element=f"é{n}", timestamp=f"1970-01-01T00:0{n}:00Z") for n in range(1, 4)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        assert_that(pipeline | ReadDeadLetters([f"{tmp_path}/dead/of*"]), equal_to(expected))


def test_no_dead_letters_make_no_file(tmp_path: Path) -> None:
    """A bundle without dead letters leaves nothing behind."""
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        _ = pipeline | beam.Create([]) | WriteDeadLetters(f"{tmp_path}/dead/of")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_complete_or_not_there(tmp_path: Path) -> None:
    """Until its bundle ends no file has the prefix; a bundle that fails leaves none, the next does."""
    row = dead_letter("x", event_bytes=b"", reason="blank", text="t")
    one = _WriteFn(f"{tmp_path}/of")
    one.setup()
    one.start_bundle()
    one.process(row, WHEN)
    assert list(tmp_path.glob("of*")) == []
    one.start_bundle()  # the bundle before failed
    assert list(tmp_path.iterdir()) == []
    one.process(row, WHEN)
    one.finish_bundle()
    one.process(row, WHEN)
    one.finish_bundle()
    one.teardown()
    assert [len(file.read_bytes().splitlines()) for file in tmp_path.iterdir()] == [1, 1]


def test_a_file_that_cannot_be_written_fails_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the file cannot get its name the bundle fails: its source must not go on."""

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(FileSystems, "rename", fail)
    pipeline = beam.Pipeline(runner="FnApiRunner")
    row = dead_letter("x", event_bytes=b"", reason="blank", text="t")
    _ = pipeline | beam.Create([TimestampedValue(row, 1)]) | WriteDeadLetters(f"{tmp_path}/of")
    with pytest.raises(Exception, match="disk full"):
        pipeline.run()


def test_it_serves_as_an_error_handler(
    hec_emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dead: Callable[..., list[dict[str, Any]]],
) -> None:
    """Beam's own `with_error_handler` takes it, so a Python pipeline needs no wiring of its own."""
    monkeypatch.setenv("T", hec_emulator.token)
    files = ErrorHandler(WriteDeadLetters(f"{tmp_path}/dead/of"))
    with beam.Pipeline(runner="FnApiRunner") as pipeline, files as handler:
        sink = WriteToSplunkHEC(hec_emulator.url, "env:T").with_error_handler(handler)
        _ = pipeline | beam.Create(["good", " "]) | sink
    assert [one["element"] for one in dead()] == [" "]
    assert [one["event"] for one in hec_emulator.events()] == ["good"]


@pytest.mark.parametrize("line", ["{}", "[]", "no json", '{"element": {"$nothing": 1}, "event_bytes": ""}'])
def test_a_line_that_is_no_dead_letter_fails_the_job(tmp_path: Path, line: str) -> None:
    """A broken line is named with its file; it is not passed over, since nobody else would tell of it."""
    (tmp_path / "of.jsonl").write_text(line, "utf-8")
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | ReadDeadLetters([f"{tmp_path}/of*"])
    with pytest.raises(Exception, match=r"of\.jsonl holds a line that is no dead letter"):
        pipeline.run()


def test_a_replay_counts_and_keeps_the_original() -> None:
    """What is refused again is the original with the new verdict and a higher counter, never nested."""
    first = letter(element={"a": 1}, event_bytes=b'{"event":1}', timestamp="2026-01-01T00:00:00Z", replays=1)
    again = dead_letter(
        first, event_bytes=b"", reason="bad_index", text="no", http_status=400, code=7, attempts=3
    )
    assert json.loads(line_of(again, WHEN)) == {
        "element": {"a": 1},
        "event_bytes": '{"event":1}',
        "reason": "bad_index",
        "http_status": 400,
        "code": 7,
        "text": "no",
        "attempts": 3,
        "timestamp": "2026-01-01T00:00:00Z",
        "replays": 2,
    }


@pytest.mark.parametrize(("replays", "is_spent"), [(0, False), (MAX_REPLAYS - 1, False), (MAX_REPLAYS, True)])
def test_the_third_replay_is_refused(replays: int, *, is_spent: bool) -> None:
    """After two replays an event is spent."""
    assert MAX_REPLAYS == 2
    assert letter(replays=replays).is_spent is is_spent


def test_what_a_replay_sends() -> None:
    """The envelope that was refused if there is one; else what the element stands for now; else nothing."""
    assert event_of_dead_letter(letter(event_bytes=b'{"event":1}')) == Envelope(b'{"event":1}')
    assert event_of_dead_letter(letter(element="x")) == Event("x")
    assert event_of_dead_letter(letter(element=LogLine("f", b"x", False))) == Event(b"x", source="f")
    with pytest.raises(InvalidEvent, match="only the text of this complex was kept"):
        event_of_dead_letter(letter(element=Unreadable("complex", "1j")))
