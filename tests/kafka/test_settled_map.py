"""The text of a settled map: what goes in comes out, within its limit, and nothing else is taken for one."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splunk_hec_kafka.settled_map import MOST_BYTES, PREFIX, SettledMap, SettledRun, decode, encode

CLUSTER, TOPIC_ID = "36RXqN3RQi21w88Ub0Ca6g", "wNQE3PnqT5udagIYsHExqA"
LAST_OFFSET, LAST_EPOCH = 2**63 - 1, 2**31 - 1
Steps = list[tuple[int, int, int]]
FEW = st.lists(
    st.tuples(st.integers(0, 2**40), st.integers(1, 2**40), st.integers(0, LAST_EPOCH)), max_size=12
)
MANY = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 70_000), st.integers(0, 2)), max_size=3_000)


def mapped(base: int, steps: Steps) -> SettledMap:
    """A map of runs, each given by its distance from the one before, its length and leader epoch."""
    runs: list[SettledRun] = []
    at = base
    for distance, length, leader_epoch in steps:
        runs.append(SettledRun(at + distance, at + distance + length - 1, leader_epoch))
        at += distance + length
    return SettledMap(CLUSTER, TOPIC_ID, 3, base, tuple(runs))


@given(base=st.integers(0, 2**62), steps=FEW)
@example(base=0, steps=[(LAST_OFFSET, 1, LAST_EPOCH)])
@example(base=5, steps=[(0, 1, 0), (0, 1, 7), (0, 1, 6)])
@example(base=0, steps=[(1, 1, 20), (1, 1, 8)])  # its base64 ends with the last letters of a word
def test_what_is_written_is_read_again(base: int, steps: Steps) -> None:
    """Every map that fits comes back as it was; a map without runs is not worth a text."""
    found = mapped(base, steps)
    text = encode(found)
    again = decode(text)
    assert again == (found if steps else None)
    if again is not None:
        assert encode(again, len(text)) == text, "it needs no more room than it takes"


@given(steps=MANY, most_bytes=st.integers(0, MOST_BYTES))
def test_a_map_that_is_too_long_keeps_the_runs_that_save_the_most(steps: Steps, most_bytes: int) -> None:
    """No text is longer than allowed; what is left of the map is true, and nothing longer was left out."""
    whole = mapped(1_000, steps)
    text = encode(whole, most_bytes)
    assert len(text) <= most_bytes
    kept = decode(text)
    if kept is None:
        assert text == ""
        return
    assert kept[:4] == whole[:4]
    assert set(kept.runs) <= set(whole.runs)
    left_out = [run.last - run.first for run in set(whole.runs) - set(kept.runs)]
    assert max(left_out, default=0) <= min(run.last - run.first for run in kept.runs)
    assert not left_out or most_bytes < 4 * len(steps) + 200


def test_thousands_of_runs_still_make_a_useful_map() -> None:
    """Of very many runs more than a thousand fit into one text."""
    kept = decode(encode(mapped(0, [(3, 40, 5)] * 20_000)))
    assert kept is not None
    assert len(kept.runs) > 1_000
    assert kept.runs[0].first == 3  # of equals the nearest


@given(text=st.text() | st.text(alphabet="0123456789 -_/ABChec-kafkasin", max_size=200))
@example(text="")
@example(text="\ud800")
@example(text="offset=5")
@example(text="MirrorMaker2 5")
@example(text="1" * 5_000)
def test_the_metadata_of_others_is_no_map(text: str) -> None:
    """What other tools commit beside their offsets is passed over in silence."""
    assert decode(text) is None
    assert decode(None) is None


@given(steps=FEW.filter(bool), data=st.data())
def test_a_text_that_was_touched_is_no_map(steps: Steps, data: st.DataObject) -> None:
    """A text that was cut, or in which anything was changed, is not believed."""
    text = encode(mapped(7, steps))
    at = data.draw(st.integers(0, len(text) - 1))
    assert decode(text[:at]) is None
    changed = data.draw(st.characters(codec="ascii").filter(lambda one: one != text[at]))
    assert decode(text[:at] + changed + text[at + 1 :]) is None
    assert decode(text + " ") is None


def checked(body: str) -> str:
    """A text that ends as it should, whatever it says."""
    return f"{body} {crc32(body.encode()):08x}"


GOOD = f"{PREFIX} c t 3 100 "


@pytest.mark.parametrize(
    "body",
    [
        "hec-kafka-sink/2 c t 3 100 CgI",
        f"{PREFIX} c t 3 100 CgI more",
        f"{PREFIX} c t 100 CgI",
        f"{PREFIX}  t 3 100 CgI",
        f"{PREFIX} c  3 100 CgI",
        f"{PREFIX} c  t 3 100 CgI",
        f"{PREFIX} cl\u00fcster t 3 100 CgI",
        f"{PREFIX} {'c' * MOST_BYTES} t 3 100 CgI",
        f"{PREFIX} c t -3 100 CgI",
        f"{PREFIX} c t 3 1e2 CgI",
        f"{PREFIX} c t 03 100 CgI",
        f"{PREFIX} c t 3 {'9' * 30} CgI",
        f"{PREFIX} c t 3 \u0664 CgI",
        GOOD + "C",  # no base64
        GOOD + "Cg==",
        GOOD + "CgI****",
        GOOD + "Cg I",
        GOOD,  # no runs
        GOOD + "Cg",  # a distance without a length
        GOOD + "CgM",  # a new leader epoch that is not told
        GOOD + "CgMA",  # a new leader epoch that is the old one
        GOOD + "CgMCAAE",  # a second run's new leader epoch that is not told
        GOOD + "CgMB",  # a leader epoch below zero
        GOOD + "CoI",  # cut inside a number
        GOOD + "________________Cg",  # an offset beyond all
    ],
)
def test_a_text_that_says_what_cannot_be_is_no_map(body: str) -> None:
    """Even with the right check sum: another version, a field too few, no number, a run cut off."""
    assert decode(checked(body)) is None
    assert decode(checked(GOOD + "CgI")) == SettledMap("c", "t", 3, 100, (SettledRun(110, 111, 0),))


def test_the_longest_text_that_a_commit_takes_is_read() -> None:
    """A map may fill the metadata to the last byte."""
    rest = len(checked(f"{PREFIX}  t 3 100 CgI"))
    cluster = "c" * (MOST_BYTES - rest)
    text = checked(f"{PREFIX} {cluster} t 3 100 CgI")
    assert len(text) == MOST_BYTES
    assert decode(text) is not None


@given(packed=st.text(alphabet="ABCDwxyz0123456789-_", max_size=60))
def test_whatever_the_runs_say_reading_them_does_not_fail(packed: str) -> None:
    """A run that is read has its offsets in order, none before the base, and a leader epoch that can be."""
    found = decode(checked(GOOD + packed))
    at = 100
    for run in found.runs if found is not None else ():
        assert at <= run.first <= run.last <= LAST_OFFSET
        assert 0 <= run.leader_epoch <= LAST_EPOCH
        at = run.last + 1


@pytest.mark.parametrize("cluster", ["two words", "cl\u00fcster", " "])
def test_ids_that_could_not_be_read_again_are_not_written(cluster: str) -> None:
    """A map is not written if its ids would tear the text apart."""
    assert encode(mapped(0, [(1, 1, 0)])._replace(cluster=cluster)) == ""


MAP = mapped(100, [(10, 10, 0), (5, 5, 1)])  # 110-119 under 0, 125-129 under 1


def test_a_map_tells_what_of_a_range_is_settled_under_which_leader() -> None:
    """Only the part of a range that lies in a run, and only under the leader epoch of that run."""
    assert (MAP.last, MAP.offsets) == (129, 15)
    assert list(MAP.within(100, 200, 0)) == [(110, 119)]
    assert list(MAP.within(105, 110, 0)) == [(110, 110)]
    assert list(MAP.within(115, 127, 1)) == [(125, 127)]
    assert list(MAP.within(115, 127, 0)) == [(115, 119)]
    assert list(MAP.within(120, 124, 0)) == list(MAP.within(130, 140, 1)) == list(MAP.within(0, 109, 0)) == []
    assert list(MAP.within(100, 200, -1)) == []


def test_a_map_tells_what_is_settled_from_an_offset_on() -> None:
    """The rest of a map begins with the rest of the run in which the offset stands."""
    assert MAP.beyond(0) == list(MAP.runs)
    assert MAP.beyond(115) == [SettledRun(115, 119, 0), SettledRun(125, 129, 1)]
    assert MAP.beyond(120) == [SettledRun(125, 129, 1)]
    assert MAP.beyond(130) == []
