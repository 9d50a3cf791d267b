"""The pages for those who run the sink: complete, executed, and with numbers that are right."""

from __future__ import annotations

import configparser
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import cookbook
from kafka_tools import produce, wait_for
from sink_tools import RunningSink, lines

from splunk_hec import _protocol
from splunk_hec_emulator import Emulator
from splunk_hec_kafka import readying
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.config import Hec, load
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.metrics import PAUSES, REJECTIONS
from splunk_hec_kafka.server import StatusServer
from splunk_hec_kafka.stalls import TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CONNECTORS = ROOT / "connectors"
RUNBOOK, TUNING, SPLUNK = (CONNECTORS / f"{name}.md" for name in ("RUNBOOK", "TUNING", "SPLUNK"))
PAGES = (RUNBOOK, TUNING, SPLUNK, cookbook.PAGE)


def sections() -> dict[str, str]:
    """The runbook's third-level sections: heading → text."""
    found = re.split(r"(?m)^#{2,3} (.*)$", RUNBOOK.read_text())
    return dict(zip(found[1::2], found[2::2], strict=True))


def readyz_codes() -> set[str]:
    """Every reason code that the code can put on `/readyz`, by what is written in it."""
    code = "".join(
        path.read_text()
        for folder in ("core/splunk_hec", "connectors/splunk_hec_kafka")
        for path in sorted((ROOT / folder).glob("*.py"))
    )
    written = re.findall(r'\b(?:Reason|Halt)\(\s*"(\w+)"', code)
    written += re.findall(r'\.halt\(\s*"(\w+)"', code)
    written += re.findall(r'_starting[^=\n]*= \("(\w+)"', code)
    assert {"starting", "internal", "acks_never", "strange_replies", "redirected"} <= set(written)
    halts = {*_protocol._HALT_CODES.values(), *_protocol._HALT_STATUSES.values(), *readying._FIXES}
    return {*written, *halts, *(f"paused_{reason}" for reason in PAUSES)}


def test_the_runbook_has_a_section_for_each_alert() -> None:
    """Who is woken finds a page: no alert without a section, and no section for an alert that is gone."""
    text = (ROOT / "docker/observability/prometheus/alerts.yaml").read_text()
    alerts = {rule["alert"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}
    assert {heading for heading in sections() if heading.startswith("HecSink")} == alerts


def test_the_runbook_has_a_section_for_each_exit_code() -> None:
    """No process ends with a number that nobody explains."""
    told = {heading for heading in sections() if heading.startswith("Exit code ")}
    assert told == {f"Exit code {int(code)}" for code in ExitCode}


def test_the_runbook_has_a_section_for_each_reason() -> None:
    """Every pause and every reason that `/readyz` can name is in a heading."""
    assert set(TEXTS) == set(PAUSES)
    told = {name for heading in sections() for name in re.findall(r"`(\w+)`", heading)}
    assert readyz_codes() - told == set()
    assert "`forbidden`, `refused_with_…`, `http_…_code_…`" in sections()  # made of status and code


def test_the_runbook_speaks_of_each_dead_letter_reason() -> None:
    """What to do about a dead letter depends on its reason: each is named."""
    text = sections()["HecSinkDeadLettersArriving"]
    assert [reason for reason in REJECTIONS if f"`{reason}`" not in text] == []


def test_each_section_says_what_it_means_and_what_to_do() -> None:
    """A section without an action does not help at night."""
    for heading, text in sections().items():
        if heading.startswith(("HecSink", "Exit code ", "`")):
            assert "**Means:**" in text, heading
            assert "**Do:**" in text, heading


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_anchors_exist(page: Path) -> None:
    """A link into a page leads to a heading of it."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target).read_text() if target else page.read_text()
        headings = re.findall(r"(?m)^#+ (.*)$", text)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{page.name}: {target}#{anchor}"


class TestNumbers:
    """TUNING.md."""

    @pytest.mark.parametrize("name", ["latency", "sizing"])
    def test_each_number_is_that_of_its_formula(self, name: str) -> None:
        """Every computed line of a table follows from the lines above it, in each column."""
        table = TUNING.read_text().split(f"<!-- computed: {name} -->")[1].split("\n\n")[1]
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
        assert len(rows) >= 6
        for column in range(2, len(rows[0])):
            known: dict[str, float] = {}
            for row in rows:
                shown = float(row[column].replace(",", ""))
                key, formula = row[0].strip("`"), row[1].strip("`")
                known[key] = shown if formula == "given" else eval(formula, {"ceil": math.ceil}, known)
                assert round(known[key]) == shown, f"{key}: {known[key]}, the page says {shown}"

    def test_the_budget_shown_is_the_default(self) -> None:
        """The page reckons with the defaults that the sink has."""
        text, hec = TUNING.read_text(), Hec()
        assert f"| `in_flight_events` | given | {hec.in_flight_max_events:,} |" in text
        assert f"| `in_flight_bytes` | given | {hec.in_flight_max_bytes:,} |" in text
        assert f"(the\ndefault, {hec.lanes}, is enough here)" in text


class TestRoutes:
    """ROUTES.md."""

    def test_each_recipe_does_what_is_shown(self) -> None:
        """Every snippet is loaded and applied to the records beside it."""
        assert cookbook.PAGE.read_text() == cookbook.fresh()
        assert len(re.findall(r"```toml", cookbook.PAGE.read_text())) >= 10

    def test_what_a_record_becomes_is_really_computed(self) -> None:
        """A stale page would be found: another record gives another line."""
        toml = '[[route]]\ntopics = ["a"]\nindex = "x"\nprovenance = false\n'
        assert '"index":"x"' in cookbook.becomes(toml, {"topic": "a", "value": "v"})
        assert '"index"' not in cookbook.becomes(toml, {"topic": "b", "value": "v"})


def test_the_inputs_conf_is_one() -> None:
    """The stanza for Splunk parses, turns acknowledgement on and names a default index that is allowed."""
    found = re.search(r"```ini\n(.*?)```", SPLUNK.read_text(), re.DOTALL)
    assert found is not None
    conf = configparser.ConfigParser()
    conf.optionxform = str  # type: ignore[assignment] # Splunk's keys have capitals
    conf.read_string(found[1])
    token = conf["http://kafka"]
    assert token["useACK"] == "1"
    assert token["index"] in token["indexes"].split(", ")


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, str], int]]:
    """A sink that runs on this machine: the environment of who looks at it, and the port of its pages."""
    with MockKafka() as kafka, Emulator(ack_delay="0.1s") as hec:
        kafka.create_topic("app-logs", 2)
        kafka.create_topic("hec-kafka-sink.dead-letters", 1)
        produce(kafka.bootstrap, "app-logs", lines(20))
        path = tmp_path / "sink.toml"
        path.write_text(
            f'hec.url = "{hec.url}"\nhec.token = "env:SPLUNK_HEC_TOKEN"\n'
            f'kafka.bootstrap_servers = "{kafka.bootstrap}"\nkafka.topics = ["app-logs"]\n'
            'kafka.group_id = "splunk"\nhec.linger_s = 0.05\n[[route]]\nindex = "main"\n'
        )
        env = os.environ | {
            "HEC_SINK_CONFIG": str(path),
            "SPLUNK_HEC_TOKEN": hec.token,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        monkeypatch.setenv("SPLUNK_HEC_TOKEN", hec.token)
        with RunningSink(load(path, {}).config) as running:
            server = StatusServer("127.0.0.1:0", running.metrics, lambda: True, running.sink.readiness)
            server.start()
            try:
                wait_for(lambda: running.metrics.total("committed_offset") == 20, "the commits", 60)
                yield env, server.port
            finally:
                server.close()


FIRST_LOOK = ('{"ready":true,"reasons":[]}', "hec.acks", "CURRENT-OFFSET", "hec_sink_halted 0.0")


@pytest.mark.parametrize(
    ("page", "name", "shows"),
    [(RUNBOOK, "first look", FIRST_LOOK), (SPLUNK, "splunk", ("hec.acks", "hec.index"))],
    ids=["first look", "splunk"],
)
def test_the_commands_work_as_printed(
    rig: tuple[dict[str, str], int], page: Path, name: str, shows: tuple[str, ...]
) -> None:
    """Each command of the page runs against a sink that runs, and shows what the page says it shows."""
    env, port = rig
    found = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None
    script = found[1].replace("127.0.0.1:9099", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=env, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [text for text in shows if text not in done.stdout] == [], done.stdout
