"""One node on a manual clock: the disk point, idle channels and restarts."""

import random
from typing import Any

import pytest

from splunk_hec_emulator._acks import Acks
from splunk_hec_emulator._node import Fate, Node
from splunk_hec_emulator._store import Post
from splunk_hec_emulator.settings import Settings

GUID = "C1C1C1C1-0000-4000-8000-000000000001"


def node_with(**options: Any) -> Node:
    """Make a node with these settings."""
    return Node(0, Settings.of(**options))


def post(channel: str | None = GUID, count: int = 1) -> Post:
    """Make a post of so many events."""
    return Post(
        request=1,
        node=0,
        channel=channel,
        ack_id=None,
        body=b"",
        is_gzip=False,
        is_raw=False,
        count=count,
        index="",
        host="",
        source="",
        sourcetype="",
        time="",
        received=0.0,
    )


def test_a_post_is_durable_exactly_at_its_disk_point() -> None:
    """Nothing is durable before the delay, and the ack is true from the same moment on."""
    node = node_with(ack_delay=2)
    taken = post()
    assert node.accept(taken, 10.0, has_ack=True, fate=Fate.INDEXED) == 0
    assert node.next_due == 12.0
    assert node.advance(11.999) == []
    assert node.acks.poll(GUID, 11.999, [0]) == {0: False}
    assert node.advance(12.0) == [taken]
    assert node.acks.poll(GUID, 12.0, [0]) == {0: True}


def test_without_a_channel_a_post_is_durable_at_once() -> None:
    """Tokens without acks have no disk point that anyone could see."""
    node = node_with(ack_delay=2)
    node.accept(post(None), 10.0, has_ack=False, fate=Fate.INDEXED)
    assert len(node.advance(10.0)) == 1


def test_delays_are_drawn_from_their_range_and_repeat_with_the_seed() -> None:
    """A range gives different delays inside it, the same ones for the same seed."""
    runs: list[list[float]] = []
    for seed in (1, 1, 2):
        node = node_with(ack_delay="0.2s..3s", seed=seed)
        for _ in range(50):
            node.accept(post(), 0.0, has_ack=True, fate=Fate.INDEXED)
        runs.append([due for due, _, _ in node._waiting])
    assert runs[0] == runs[1] != runs[2]
    assert 0.2 <= min(runs[0]) < 1
    assert 2 < max(runs[0]) <= 3


def test_a_restart_loses_what_has_not_reached_the_disk() -> None:
    """Durable posts stay, the others are gone and counted, no channel is known."""
    node = node_with(ack_delay=2)
    node.accept(post(count=3), 0.0, has_ack=True, fate=Fate.INDEXED)
    assert len(node.advance(2.0)) == 1
    node.accept(post(count=4), 2.0, has_ack=True, fate=Fate.INDEXED)
    node.restart()
    assert node.advance(100.0) == []
    assert (node.lost_events, len(node.acks), node.acks.open) == (4, 0, 0)


@pytest.mark.parametrize(("fate", "durable", "lost"), [(Fate.UNTOLD, 1, 0), (Fate.LOST, 0, 1)])
def test_fates_differ_in_what_is_indexed(fate: Fate, durable: int, lost: int) -> None:
    """An untold post is durable, a lost one is not; neither ack ever comes true."""
    node = node_with(ack_delay=1)
    node.accept(post(), 0.0, has_ack=True, fate=fate)
    assert (len(node.advance(1e9)), node.lost_events) == (durable, lost)
    assert node.acks.poll(GUID, 5.0, [0]) == {0: False}


@pytest.mark.parametrize(("profile", "first", "told"), [("ent-10.4", 0, False), ("legacy-7", 1, True)])
def test_idle_channels_are_dropped_where_the_release_does_so(profile: str, first: int, told: bool) -> None:
    """After 600 s without use a channel is forgotten on 8.2 and later, kept on 7.x (rows 151, 152)."""
    acks = Acks(Settings.of(profile=profile), random.Random(0))
    acks.issue(GUID, 0.0, 0.0)
    assert acks.poll(GUID, 600.5, [0]) == {0: told}
    assert acks.issue(GUID, 1300.0, 0.0) == (first if told else 0)


def test_use_keeps_a_channel() -> None:
    """A poll is use: the channel lives on 600 s from there."""
    acks = Acks(Settings.of(), random.Random(0))
    acks.issue(GUID, 0.0, 2000.0)
    for now in (500.0, 1000.0, 1500.0):
        assert acks.poll(GUID, now, [0]) == {0: False}
    assert acks.poll(GUID, 2000.0, [0]) == {0: True}


def test_a_new_channel_for_every_post_does_not_fill_the_memory() -> None:
    """Idle channels go when new ones come, though nobody asks for them again."""
    acks = Acks(Settings.of(), random.Random(0))
    for number in range(10_000):
        acks.issue(f"{number:032}", float(number), 0.0)
    assert len(acks) < 2_000
    assert acks.open == len(acks)
