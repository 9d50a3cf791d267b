"""The dashboard and the alert rules ask for what a running sink really shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import promql_parser
import pytest
import yaml
from kafka_tools import produce, wait_for
from prometheus_client.parser import text_string_to_metric_families
from sink_tools import LETTERS, RunningSink, lines, sink_config

from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.server import StatusServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docker/observability/grafana/dashboards/hec-kafka-sink.json"
ALERTS = ROOT / "docker/observability/prometheus/alerts.yaml"
TARGET_LABELS = {"instance", "job"}
"""Prometheus adds these when it scrapes, and with them the metric `up`."""
Series = dict[str, dict[str, set[str]]]
"""Name of a series → its labels → their values."""


def expressions() -> Iterator[tuple[str, str]]:
    """Where, and each PromQL expression of dashboard and rules; Grafana's variables are filled in."""
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            filled = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            yield f"panel: {panel['title']}", filled
    for rule in rules():
        yield f"alert: {rule['alert']}", rule["expr"]


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


class Asked(NamedTuple):
    """What an expression asks for: selectors, and label names that it groups by with the series below."""

    selectors: list[Any]
    grouped: list[tuple[set[str], list[str]]]


def asked(expression: Any) -> Asked:
    """What is asked for in an expression, whole tree."""
    found = Asked([], [])

    def selectors_of(node: Any) -> list[Any]:
        inner: list[Any] = []
        promql_parser.walk(node, lambda one: inner.append(one) or True)
        return [one for one in inner if isinstance(one, promql_parser.VectorSelector)]

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.grouped.append((set(node.modifier.labels), [one.name for one in selectors_of(node.expr)]))
        return True

    promql_parser.walk(expression, visit)
    found.selectors.extend(selectors_of(expression))
    return found


def problems(expression: str, shown: Series) -> list[str]:
    """What an expression asks for that is not shown."""
    wrong: list[str] = []
    tree = asked(promql_parser.parse(expression))
    for selector in tree.selectors:
        labels = {"job": set(), "instance": set()} if selector.name == "up" else shown.get(selector.name)
        if labels is None:
            wrong.append(f"no metric {selector.name}")
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name in TARGET_LABELS:
                continue
            values = labels.get(matcher.name, set())
            is_regex = matcher.op in (promql_parser.MatchOp.Re, promql_parser.MatchOp.NotRe)
            if not any(
                re.fullmatch(matcher.value, one) if is_regex else matcher.value == one for one in values
            ):
                wrong.append(f"no {matcher.name}={matcher.value!r} of {selector.name}")
    for names, series in tree.grouped:
        known = TARGET_LABELS | {"le"} | {name for one in series for name in shown.get(one, {})}
        wrong += [f"no label {name} of {series}" for name in names - known]
    return wrong


@pytest.fixture(scope="module")
def shown() -> Series:
    """What `/metrics` shows of a sink that met a dead letter, a tombstone and a failed request."""
    with MockKafka() as kafka, Emulator(ack_delay="0.1s", faults=["error500,count=3"]) as hec:
        kafka.create_topic("logs", 1)
        kafka.create_topic(LETTERS, 1)
        produce(kafka.bootstrap, "logs", [*lines(50), b"", None])
        with RunningSink(sink_config(kafka, hec)) as running:
            server = StatusServer("127.0.0.1:0", running.metrics, lambda: True, running.sink.readiness)
            server.start()
            try:
                wait_for(lambda: running.metrics.total("committed_offset") == 52, "the last commit", 60)
                wait_for(lambda: running.metrics.total("dead_letters", reason="blank"), "the dead letter")
                assert running.metrics.resends()["unknown_reply"]
                with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as page:
                    text = page.read().decode()
            finally:
                server.close()
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = series.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return series


WRONG = {
    "rate(hec_sink_resend_total[5m])": ["no metric hec_sink_resend_total"],
    'hec_sink_paused{reason="hec"} == 1': ["no reason='hec' of hec_sink_paused"],
    "sum by (topics) (hec_sink_lag_records)": ["no label topics of ['hec_sink_lag_records']"],
    'deriv(sum(hec_sink_lag_records{a="b"})[5m:1m])': ["no a='b' of hec_sink_lag_records"],
}


def test_every_expression_asks_for_what_is_there(shown: Series) -> None:
    """No panel stays empty and no alert silent because of a name, a label or a value that does not exist.

    And the check finds a wrong metric, value or group label, and what is inside a subquery.
    """
    assert {one: problems(one, shown) for one in WRONG} == WRONG
    asked_for = [*expressions()]
    assert len(asked_for) > 30
    assert [(where, wrong) for where, one in asked_for if (wrong := problems(one, shown))] == []


def test_the_dashboard_fits_any_data_source(shown: Series) -> None:
    """Every panel and variable takes the data source that the viewer chose, and variables ask for what is."""
    board = json.loads(DASHBOARD.read_text())
    by_name = {one["name"]: one for one in board["templating"]["list"]}
    assert by_name["datasource"]["type"] == "datasource"
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", by_name["instance"]["query"]["query"])
    assert found is not None
    assert found[1] in shown
    assert found[2] in TARGET_LABELS
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_the_panels_lie_beside_each_other() -> None:
    """No panel hides another, and each has an id of its own."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_says_what_and_where_to_read_on() -> None:
    """Who is woken reads what is wrong, how bad it is, and which section of the runbook helps."""
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"connectors/RUNBOOK.md#{rule['alert'].lower()}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules() -> None:
    """Prometheus' own checker finds no fault in the rules, templates of the annotations included."""
    done = subprocess.run(
        ["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
