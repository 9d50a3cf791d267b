"""A record is put together again from its line and what is kept beside it: exactly as it was consumed."""

from __future__ import annotations

import gc
from collections import Counter
from itertools import pairwise

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from record_tools import (
    GOOD,
    LIMIT,
    MS,
    PLAIN_ROUTES,
    at_of,
    chunks,
    epochs_of,
    exact,
    manifest_of,
    message,
    routed,
    sent_by,
)

from splunk_hec.events import Outcome, OutcomeKind
from splunk_hec_kafka.config import Route
from splunk_hec_kafka.dead_letter_record import dead_letter_record
from splunk_hec_kafka.offsets import Run, TopicPartition, place
from splunk_hec_kafka.originals import (
    CHUNK_BYTES,
    LATEST_EXACT_MS,
    RUN_BYTES,
    STAMP_BYTES,
    Beside,
    Originals,
    Records,
)
from splunk_hec_kafka.records import Encoded, RecordEncoder, Send
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.values import DEEP

P, Q = TopicPartition("t", 0), TopicPartition("t", 1)


def encode(route: Route, messages: list[Message], limit: int = LIMIT) -> Encoded:
    """A chunk, by one route."""
    return RecordEncoder(RouteTable([route]), event_max_bytes=limit).encode(messages)


def one_send(route: Route, *values: bytes, **parts: object) -> Send:
    """The values as records of one partition, all of which are sent."""
    (send,) = encode(route, [message(value, offset, **parts) for offset, value in enumerate(values)]).sends
    assert len(send.lines) == len(values)
    return send


def records(at: TopicPartition, *offsets: int) -> list[Message]:
    """Several of one partition, as consumed."""
    return [Message(topic=at.topic, partition=at.partition, offset=offset, value=b"v") for offset in offsets]


def manifest(messages: list[Message], epochs: dict[TopicPartition, int]) -> Records:
    """The manifest of records whose lines are their values."""
    return Records.of(Originals("raw", Beside(messages, [one.timestamp() for one in messages], {})), epochs)


class TestComesBack:
    """The promise: topic, partition, offset, timestamp, key, headers and value, byte for byte."""

    @settings(max_examples=500, deadline=None)
    @given(routed())
    def test_every_record_of_every_route_comes_back_exactly(
        self, given_chunk: tuple[Route, list[Message]]
    ) -> None:
        """Whatever the route and the record, what a line and its manifest give back is what was consumed."""
        route, messages = given_chunk
        epochs = epochs_of(messages)
        encoded = encode(route, messages)
        by_place = {place(one): exact(one) for one in messages}
        seen = [place(one.message) for one in [*encoded.refusals, *encoded.skips]]
        for send in encoded.sends:
            whole = Records.of(send.originals, epochs)
            assert len(whole) == len(send.originals) == len(send.lines)
            for record, run in whole.each(send.lines):
                at, offset = place(record)
                assert exact(record) == by_place[at, offset]
                assert run == Run(at, epochs[at], offset, offset)
                seen.append((at, offset))
        assert Counter(seen) == Counter(map(place, messages))

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_it_comes_back_from_any_piece_of_what_was_joined(self, data: st.DataObject) -> None:
        """Manifests of many chunks, joined, cut anywhere, cut again: the same records from the same lines."""
        route = data.draw(PLAIN_ROUTES)
        parts: list[Records] = []
        lines: list[bytes] = []
        expected: list[object] = []
        for _ in range(data.draw(st.integers(1, 3))):
            messages = data.draw(chunks(route, 12))
            by_place = {place(one): exact(one) for one in messages}
            epochs = epochs_of(messages) if data.draw(st.booleans()) else {at_of(one): 99 for one in messages}
            for send in encode(route, messages).sends:
                part = Records.of(send.originals, epochs)
                parts.append(part)
                lines += send.lines
                places = [place(record) for record, _ in part.each(send.lines)]
                expected += [(by_place[at, o], Run(at, epochs[at], o, o)) for at, o in places]
        whole = Records.join(parts)
        assert len(whole) == len(lines)
        cuts = data.draw(st.lists(st.integers(0, len(lines)), max_size=3))
        back: list[object] = []
        settled: list[object] = []
        for start, stop in pairwise([0, *sorted(cuts), len(lines)]):
            piece, some = whole[start:stop], lines[start:stop]
            middle = data.draw(st.integers(0, len(piece)))
            for half, of_half in ((piece[:middle], some[:middle]), (piece[middle:], some[middle:])):
                assert len(half) == len(of_half)
                back += [(exact(record), run) for record, run in half.each(of_half)]
                settled += [
                    run._replace(first=o, last=o)
                    for run in half.runs()
                    for o in range(run.first, run.last + 1)
                ]
        assert back == expected
        assert settled == [run for _, run in expected]  # type: ignore[misc, attr-defined]

    @settings(max_examples=200, deadline=None)
    @given(routed())
    def test_its_dead_letter_is_that_of_the_record_itself(
        self, given_chunk: tuple[Route, list[Message]]
    ) -> None:
        """What Splunk rejects is written as if the record had been held: key, value, headers, all context."""
        route, messages = given_chunk
        by_place = {place(one): one for one in messages}
        rejected = Outcome(
            kind=OutcomeKind.REJECTED, refs=None, count=1, reason="invalid_event", http_status=400
        )
        for record in sent_by(encode(route, messages)):
            assert dead_letter_record(record, rejected) == dead_letter_record(
                by_place[place(record)], rejected
            )

    @pytest.mark.parametrize("depth", [1, DEEP - 1, DEEP, DEEP + 1, 3 * DEEP])
    @pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"event":', b"}"), (b'[{"a":', b"}]")])
    def test_depth_is_no_bar(self, depth: int, opens: bytes, closes: bytes) -> None:
        """What is nested deeper than a reader may go comes back all the same, also from deep in a stack."""
        value = opens * (depth // len(closes)) + b"1" + closes * (depth // len(closes))
        send = one_send(Route(value="json"), value)

        def read(frames: int) -> list[object]:
            return (
                read(frames - 1) if frames else [one.value() for one, _ in manifest_of(send).each(send.lines)]
            )

        assert read(0) == read(500) == [value]

    def test_a_kept_value_that_is_empty_comes_back_empty(self) -> None:
        """An empty value is falsy, and must not be looked for in its line."""
        stamps = [(1, MS)] * 2
        originals = Originals("raw", Beside([message(b"", 0), message(b"", 1)], stamps, {1: b""}))
        back = [
            one.value()
            for one, _ in Records.of(originals, {TopicPartition("t", 3): 1}).each(
                [b"line of 0", b"line of 1"]
            )
        ]
        assert back == [b"line of 0", b""]

    def test_headers_of_some_leave_the_others_without(self) -> None:
        """In a chunk where few records have headers or keys each has its own, and the others none."""
        messages = [
            message(b"a", 0),
            message(b"b", 1, headers=[("h", b"1"), ("h", None)], key=b""),
            message(b"c", 2, headers=[], key=b"k"),
        ]
        (send,) = encode(Route(), messages).sends
        back = [one for one, _ in manifest_of(send).each(send.lines)]
        assert [one.headers() or [] for one in back] == [[], [("h", b"1"), ("h", None)], []]
        assert [one.key() for one in back] == [None, b"", b"k"]

    def test_its_line_is_needed_and_only_its_line(self) -> None:
        """Too few lines are a fault of ours and found; no record is made of another's line."""
        send = one_send(Route(), b"a", b"b")
        with pytest.raises(ValueError, match="shorter"):
            list(manifest_of(send).each(send.lines[:1]))


def bare_bytes(send: Send) -> int:
    """What is held of records without keys, headers and kept values, whose times are in their lines."""
    return CHUNK_BYTES + RUN_BYTES * len(manifest_of(send).runs())


class TestKept:
    """What is kept beside the lines, and what that is said to cost."""

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(["text", "raw"]), st.data())
    def test_text_is_not_kept_twice(self, kind: str, data: st.DataObject) -> None:
        """A text is in its line: beside it nothing is kept, not even where a line end was taken away."""
        route = Route(value=kind)  # type: ignore[arg-type]
        values = data.draw(st.lists(GOOD[kind], min_size=1, max_size=30))
        messages = [message(value, offset) for offset, value in enumerate(values)]
        for send in encode(route, messages).sends:
            stamps = STAMP_BYTES * len(send.lines) if kind == "raw" else 0
            assert send.originals.held_bytes == bare_bytes(send) + stamps

    @pytest.mark.parametrize("kind", ["text", "json", "raw"])
    def test_what_is_kept_does_not_grow_with_the_value(self, kind: str) -> None:
        """A long value costs no more beside its line than a short one."""
        route = Route(value=kind)  # type: ignore[arg-type]
        short, long = one_send(route, b'"a"'), one_send(route, b'"' + b"a" * 100_000 + b'"')
        stamps = STAMP_BYTES if kind == "raw" else 0
        assert short.originals.held_bytes == long.originals.held_bytes == bare_bytes(short) + stamps

    @pytest.mark.parametrize(
        ("route", "value"),
        [
            (Route(invalid_utf8="replace"), b"a" * 1000 + b"\xff"),
            (Route(value="json"), b'"' + b"a" * 1000 + b'" '),
            (Route(value="json"), b'[1,\n"' + b"a" * 1000 + b'"]'),
            (Route(value="json", host="{key}"), b'[1,\n"' + b"a" * 1000 + b'"]'),
            (Route(value="envelope"), b'{"event":"' + b"a" * 1000 + b'"}'),
            (Route(value="raw", invalid_utf8="replace"), b"a" * 1000 + b"\xff\r\n"),
        ],
    )
    def test_a_value_that_its_line_does_not_hold_is_counted(self, route: Route, value: bytes) -> None:
        """What must be kept beside the line is in the budget."""
        send = one_send(route, value)
        assert send.originals.held_bytes >= bare_bytes(send) + len(value)
        assert sent_by(Encoded([send], [], []))[0].value() == value

    @pytest.mark.parametrize(
        ("stamps", "are_kept"),
        [
            ([(1, MS), (1, MS + 1)], False),
            ([(2, 0), (2, LATEST_EXACT_MS - 1)], False),
            ([(1, MS), (2, MS)], True),
            ([(1, MS), (0, -1)], True),
            ([(1, MS), (1, -1)], True),
            ([(1, MS), (1, LATEST_EXACT_MS)], True),
        ],
    )
    @pytest.mark.parametrize("route", [Route(), Route(host="{key}"), Route(value="json")])
    def test_a_timestamp_is_kept_only_where_its_line_does_not_tell_it(
        self, route: Route, stamps: list[tuple[int, int]], *, are_kept: bool
    ) -> None:
        """Timestamps of one kind stand in their lines to the millisecond; others are kept; all come back."""
        messages = [message(b'"a"', offset, timestamp=stamp) for offset, stamp in enumerate(stamps)]
        (send,) = encode(route, messages).sends
        assert send.originals.held_bytes == bare_bytes(send) + STAMP_BYTES * 2 * are_kept
        assert [one.timestamp() for one in sent_by(Encoded([send], [], []))] == stamps

    @pytest.mark.parametrize("route", [Route(time="none"), Route(time="header:at"), Route(value="envelope")])
    def test_a_timestamp_that_is_not_the_lines_time_is_kept(self, route: Route) -> None:
        """Where a line's time comes from elsewhere, the record's own comes back all the same."""
        value = b'{"event":"a","time":12}' if route.value == "envelope" else b"a"
        messages = [message(value, offset, headers=[("at", b"77")]) for offset in range(2)]
        (send,) = encode(route, messages).sends
        assert [one.timestamp() for one in sent_by(Encoded([send], [], []))] == [(1, MS)] * 2

    def test_one_that_is_too_large_leaves_the_others_times_in_their_lines(self) -> None:
        """What remains of a chunk after a refusal is held as little as a chunk without one."""
        messages = [message(value, offset) for offset, value in enumerate([b"a", b"b" * LIMIT, b"c"])]
        encoded = encode(Route(), messages)
        (send,) = encoded.sends
        assert [one.reason for one in encoded.refusals] == ["too_large"]
        assert send.originals.held_bytes == bare_bytes(send)
        assert [one.timestamp() for one in sent_by(encoded)] == [(1, MS)] * 2

    def test_keys_and_headers_are_counted(self) -> None:
        """The budget knows of long keys and headers."""
        bare = one_send(Route(), b"a").originals.held_bytes
        keyed = one_send(Route(), b"a", key=b"k" * 500).originals.held_bytes
        headed = one_send(Route(), b"a", headers=[("n" * 300, b"v" * 700), ("n", None)]).originals.held_bytes
        assert bare == CHUNK_BYTES + RUN_BYTES
        assert keyed >= bare + 500
        assert headed >= bare + 1000

    @pytest.mark.parametrize("route", [Route(), Route(host="{key}"), Route(value="json"), Route(value="raw")])
    def test_a_message_ends_with_its_encoding(self, route: Route) -> None:
        """Beside the lines of unaltered values no consumed Message lives on, so its memory is free."""
        gone: list[int] = []

        class Value(bytes):
            def __del__(self) -> None:
                gone.append(len(self))

        messages = [message(Value(b'"%d"' % 10**number), number) for number in range(3)]
        encoded = encode(route, messages)
        assert not gone
        del messages
        gc.collect()
        assert sorted(gone) == [3, 4, 5]
        assert [one.value() for one in sent_by(encoded)] == [b'"1"', b'"10"', b'"100"']


class TestManifest:
    """A manifest stands for its records, however it is cut."""

    @pytest.mark.parametrize(("start", "stop"), [(a, b) for a in range(7) for b in range(a, 7)])
    def test_a_slice_of_a_manifest_is_the_manifest_of_the_slice(self, start: int, stop: int) -> None:
        """A batch may be cut anywhere: the parts stand for exactly their own records."""
        first = records(P, 0, 1) + records(Q, 9)
        second = records(P, 2, 4, 5)
        whole = Records.join([manifest(first, {P: 1, Q: 2}), manifest(second, {P: 3, Q: 2})])
        places = [(*place(one), epoch) for one, epoch in zip(first + second, [1, 1, 2, 3, 3, 3], strict=True)]
        part = whole[start:stop]
        assert len(part) == stop - start
        each = list(part.each([b"v%d" % number for number in range(start, stop)]))
        assert [(run.at, run.first, run.epoch) for _, run in each] == places[start:stop]
        assert [one.value() for one, _ in each] == [b"v%d" % number for number in range(start, stop)]
        spread = [(run.at, o, run.epoch) for run in part.runs() for o in range(run.first, run.last + 1)]
        assert spread == places[start:stop]

    def test_records_with_empty_values_are_counted_cut_and_settled(self) -> None:
        """A Message with an empty value is falsy, and must be counted, cut and settled all the same."""
        empty = [Message(topic="t", partition=0, offset=offset, value=b"") for offset in (0, 1)]
        assert not empty[0]
        whole = manifest(empty, {P: 1})
        assert whole[1:].runs() == [Run(P, 1, 1, 1)]
        assert len(list(whole.each([b"", b""]))) == len(whole) == 2

    def test_a_manifest_names_its_runs_for_the_log(self) -> None:
        """Partition, first and last offset of each run: enough to find which records were sent again."""
        whole = Records.join([manifest(records(P, 1, 2, 4), {P: 1}), manifest(records(Q, 7), {Q: 2})])
        assert whole.places() == "t/0@1-2, t/0@4-4, t/1@7-7"

    def test_an_original_names_its_place(self) -> None:
        """What stands in a trace or a log line is where the record was, never what it holds."""
        (one, _), *_ = manifest(records(P, 5), {P: 1}).each([b"secret"])
        assert repr(one) == "<Original t/0@5>"
