"""The manifest of a bundle: however it is cut and joined, every element comes back as it was."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from apache_beam.transforms.window import GlobalWindow, IntervalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec import HecConfig
from splunk_hec._envelope import EnvelopeEncoder
from splunk_hec_beam.sources import Held, Sources, Texts

ENCODER = EnvelopeEncoder(HecConfig(url="http://test", token="t"))
windows = st.sampled_from(
    [(GlobalWindow(),), (IntervalWindow(0, 10),), (IntervalWindow(0, 10), IntervalWindow(5, 15))]
)
micros = st.integers(-(2**40), 2**50)
visible = st.text(min_size=1).filter(lambda text: not text.isspace())


def places(draw: st.DrawFn, values: list[Any]) -> list[WindowedValue]:
    """Each value with some timestamp and windows."""
    return [WindowedValue(value, Timestamp(micros=draw(micros)), draw(windows)) for value in values]


@st.composite
def parts(draw: st.DrawFn) -> tuple[Held | Texts, list[WindowedValue], list[bytes]]:
    """A part of a manifest, what it stands for, and the envelopes that were made of it."""
    texts = draw(st.lists(visible, min_size=1, max_size=5))
    lines = ENCODER.encode_texts(texts)
    assert lines is not None
    kind = draw(st.sampled_from(["held", "text", "bytes"]))
    sources = places(draw, [text.encode() for text in texts] if kind == "bytes" else list(texts))
    part = Held(sources) if kind == "held" else Texts.of(sources, is_bytes=kind == "bytes")
    return part, sources, lines


def shown(sources: list[WindowedValue]) -> list[tuple[Any, ...]]:
    """Values that can be compared."""
    return [(one.value, type(one.value), one.timestamp, tuple(one.windows)) for one in sources]


@given(st.lists(parts(), min_size=1, max_size=4), st.data())
def test_each_element_comes_back_as_it_was_from_exactly_one_piece(
    given_parts: list[tuple[Held | Texts, list[WindowedValue], list[bytes]]], data: st.DataObject
) -> None:
    """A text that is read from its envelope equals what came in, with its timestamp and windows."""
    whole = Sources.join([Sources([part]) for part, _, _ in given_parts])
    sources = [source for _, some, _ in given_parts for source in some]
    lines = [line for _, _, some in given_parts for line in some]
    assert len(whole) == len(sources)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sources)), max_size=4)))
    edges = [0, *cuts, len(sources)]
    back = [found for start, stop in pairwise(edges) for found in whole[start:stop].each(lines[start:stop])]
    assert shown([source for source, _ in back]) == shown(sources)
    assert [line for _, line in back] == lines


@given(st.lists(parts(), min_size=1, max_size=4))
def test_the_newest_element_gives_its_time_and_windows(
    given_parts: list[tuple[Held | Texts, list[WindowedValue], list[bytes]]],
) -> None:
    """A receipt stands where the newest event of its batch stood."""
    newest = Sources([part for part, _, _ in given_parts]).newest()
    sources = [source for _, some, _ in given_parts for source in some]
    latest = max(source.timestamp for source in sources)
    assert newest.timestamp == latest
    assert tuple(newest.windows) in [tuple(s.windows) for s in sources if s.timestamp == latest]
