"""Routes with tokens of their own: what one token's refusal stops, and what goes on; broker and emulator."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from kafka_tools import committed, produce, read_all, wait_for
from sink_tools import GROUP, LETTERS, RunningSink, feed, indexed, lines, run_to_end, sink_config

from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.check import run_checks
from splunk_hec_kafka.config import Route, load
from splunk_hec_kafka.config_show import show_toml
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from splunk_hec_kafka.config import SinkConfig

MAIN = "11111111-0000-4000-8000-000000000001"
AUDIT = "22222222-0000-4000-8000-000000000002"
BOTH = (f"{MAIN}:ack:index=main", f"{AUDIT}:ack:index=audit")


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with a topic for each token."""
    with MockKafka({"app": 2, "audit-1": 2, LETTERS: 1}) as broker:
        yield broker


@pytest.fixture
def hec() -> Iterator[Emulator]:
    """An emulator with two tokens, each for one index."""
    with Emulator(ack_delay="0.1s", tokens=BOTH) as emulator:
        yield emulator


def config_of(kafka: MockKafka, hec: Emulator, **keys: object) -> SinkConfig:
    """Topics audit-* by the second token, all others by the first."""
    routes = (
        Route(topics=("audit-*",), token=AUDIT, index="audit"),
        Route(topics=("*",), index="main"),
    )
    return sink_config(kafka, hec, "app", "audit-1", route=routes, **{"hec_token": MAIN} | keys)


def commits(kafka: MockKafka, topic: str) -> list[int]:
    """The group's committed offsets of both partitions."""
    return [committed(kafka.bootstrap, GROUP, topic, range(2))[number] or 0 for number in range(2)]


def reasons(running: RunningSink) -> dict[str, str]:
    """Why the sink is not ready."""
    return {reason.code: reason.text for reason in running.sink.readiness().reasons}


def test_each_token_fills_its_own_index(kafka: MockKafka, hec: Emulator) -> None:
    """A route's records go by its own token: each token may write one index, and nothing is refused."""
    places = feed(kafka, "app", 2, 20) | feed(kafka, "audit-1", 2, 20)
    code, _ = run_to_end(config_of(kafka, hec))
    assert code == ExitCode.OK
    assert indexed(hec) == Counter(places)
    found = Counter((event["index"], event["fields"]["kafka_topic"]) for event in hec.events())
    assert found == {("main", "app"): 40, ("audit", "audit-1"): 40}
    assert not read_all(kafka.bootstrap, LETTERS)


@pytest.mark.e2e
@pytest.mark.parametrize("in_flight_max_events", [2_000_000, 60])
def test_a_refused_token_stops_its_topics_alone(
    kafka: MockKafka, hec: Emulator, in_flight_max_events: int
) -> None:
    """Others are read and committed as before, however small the budget; a token that heals loses nothing."""
    keys = {"hec_halt_patience_s": 300, "hec_in_flight_max_events": in_flight_max_events}
    with RunningSink(config_of(kafka, hec, **keys)) as running:
        feed(kafka, "app", 2, 10)
        feed(kafka, "audit-1", 2, 10)
        wait_for(lambda: commits(kafka, "app") + commits(kafka, "audit-1") == [10] * 4, "the first records")
        hec.set_tokens(BOTH[0], f"{AUDIT}:ack:disabled")
        feed(kafka, "audit-1", 2, 200)
        wait_for(lambda: "paused_endpoint" in reasons(running), "the pause")
        taken = running.metrics.total("records_consumed", topic="audit-1")
        feed(kafka, "audit-1", 2, 100)
        feed(kafka, "app", 2, 300)
        wait_for(lambda: commits(kafka, "app") == [310, 310], "the other topic")
        assert running.metrics.total("records_consumed", topic="audit-1") == taken
        assert commits(kafka, "audit-1") == [10, 10]
        text = reasons(running)["token_disabled"]
        assert text.startswith("route audit-* (route.0.token): ")
        assert AUDIT not in text
        assert running.metrics.total("halted") == 1
        hec.set_tokens(*BOTH)
        wait_for(lambda: commits(kafka, "audit-1") == [310, 310], "the rest", deadline_s=60)
        wait_for(lambda: running.sink.readiness().ready, "readiness")
        assert running.stopped() == ExitCode.OK
    assert indexed(hec).keys() == {
        (topic, number, offset)
        for topic, count in (("app", 310), ("audit-1", 310))
        for number in range(2)
        for offset in range(count)
    }
    assert not read_all(kafka.bootstrap, LETTERS)


def test_the_default_token_refused_leaves_other_routes_alone(kafka: MockKafka, hec: Emulator) -> None:
    """A halt of hec.token stops what is sent by it, and no route that has a token of its own."""
    hec.set_tokens(f"{MAIN}:ack:disabled", BOTH[1])
    feed(kafka, "app", 2, 10)
    with RunningSink(config_of(kafka, hec)) as running:
        wait_for(lambda: "token_disabled" in reasons(running), "the reason")
        feed(kafka, "audit-1", 2, 50)
        wait_for(lambda: commits(kafka, "audit-1") == [50, 50], "the other topic")
        assert reasons(running)["token_disabled"].startswith("routes with hec.token: ")
        assert commits(kafka, "app") == [0, 0]


@pytest.mark.e2e
def test_a_token_refused_for_too_long_ends_with_5_and_names_its_route(
    kafka: MockKafka, hec: Emulator
) -> None:
    """The patience is each token's own; what the others settled meanwhile is committed."""
    feed(kafka, "app", 2, 30)
    feed(kafka, "audit-1", 2, 30)
    config = config_of(kafka, hec, hec_halt_patience_s=4)
    hec.set_tokens(BOTH[0], "another:ack")
    with RunningSink(config) as running:
        assert running.ended() == ExitCode.HEC
        assert "route audit-* (route.0.token)" in str(running.failure)
        assert "set route.0.token" in str(running.failure)
        assert AUDIT not in str(running.failure)
    assert commits(kafka, "app") == [30, 30]
    assert commits(kafka, "audit-1") == [0, 0]


def test_when_all_tokens_are_refused_at_the_start_the_group_is_not_joined(
    kafka: MockKafka, hec: Emulator
) -> None:
    """Without one token that works there is nothing to read for: it ends with 5 before it joins."""
    hec.set_tokens("another:ack")
    with RunningSink(config_of(kafka, hec, hec_halt_patience_s=0)) as running:
        assert running.ended() == ExitCode.HEC
        assert not running.sink._ledger.epochs


def test_a_changed_token_file_is_read_again(kafka: MockKafka, hec: Emulator, tmp_path: Path) -> None:
    """A route's token that is rotated on disk is picked up when the old one is refused."""
    place = tmp_path / "token"
    place.write_text("outdated")
    produce(kafka.bootstrap, "audit-1", lines(10), partition=0)
    routes = (Route(topics=("audit-*",), token=f"file:{place}", index="audit"),)
    config = sink_config(kafka, hec, "app", "audit-1", route=routes, hec_token=MAIN)
    with RunningSink(config) as running:
        wait_for(lambda: "invalid_token" in reasons(running), "the refusal")
        place.write_text(AUDIT)
        wait_for(lambda: commits(kafka, "audit-1") == [10, 0], "the records")


def test_routes_with_equal_tokens_share_their_clients() -> None:
    """One client for each endpoint and distinct token, named by the first key that holds it."""
    routes = [
        Route(topics=("a",), token="env:A"),
        Route(topics=("b",), token="env:A"),
        Route(topics=("c",), token="env:A", value="raw"),
        Route(topics=("d",), token="env:MAIN"),
    ]
    table = RouteTable(routes, "env:MAIN")
    assert table.destinations == (
        ("event", "route.0.token"),
        ("raw", "route.0.token"),
        ("event", "hec.token"),
    )
    assert table.label(table.for_topic("b").destination) == "route a, b (route.0.token): "
    assert RouteTable([Route(value="raw", topics=("a",))], "env:MAIN").label(table.destinations[2]) == ""


def test_check_asks_for_each_token_and_says_whose_it_is(
    kafka: MockKafka, hec: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A wrong token of a route fails hec.token with the route's name and its own curl line, unseen itself."""
    path = tmp_path / "sink.toml"
    path.write_text("[[route]]\ntopics = ['audit-*']\ntoken = 'env:AUDIT_TOKEN'\nindex = 'audit'\n")
    monkeypatch.setenv("MAIN_TOKEN", MAIN)
    flags = {
        "kafka.bootstrap_servers": kafka.bootstrap, "kafka.topics": ["app"], "kafka.group_id": GROUP,
        "hec.url": hec.url, "hec.token": "env:MAIN_TOKEN", "dead_letter.topic": LETTERS,
    }  # fmt: skip

    def check(token: str) -> tuple[int, list[dict[str, str]]]:
        monkeypatch.setenv("AUDIT_TOKEN", token)
        code = run_checks(lambda: load(path, {}, (), flags), offline=False, probe_event=True, output="json")
        out = capsys.readouterr().out
        assert AUDIT not in out
        return code, [one for one in json.loads(out) if one["name"] in ("hec.token", "hec.index")]

    code, (of_route, of_hec, of_index) = check("wrong-token")
    assert (code, of_route["status"], of_hec["status"]) == (ExitCode.HEC, "fail", "ok")
    assert of_route["text"].startswith("route audit-* (route.0.token): ")
    assert "set route.0.token" in of_route["fix"]
    assert "$AUDIT_TOKEN" in of_route["fix"]
    assert of_index["status"] == "skip"
    code, found = check(AUDIT)
    assert (code, [one["status"] for one in found]) == (0, ["ok", "ok", "ok"])
    assert [event["index"] for event in hec.events()] == ["audit"]


def test_config_show_hides_a_literal_token(tmp_path: Path) -> None:
    """Whoever shows a configuration to others shows no token of a route."""
    path = tmp_path / "sink.toml"
    path.write_text(f"[[route]]\ntoken = '{AUDIT}'\n")
    assert AUDIT not in show_toml(load(path, {}))
