"""The pages about dead letters and moving here: every command in them runs, every key in them exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kafka_tools import produce
from sink_tools import indexed

from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.config_keys import KEYS, dotted
from splunk_hec_kafka.dead_letter_record import OUR_HEADERS
from splunk_hec_kafka.stored_letter import REPLAY_OF, letters_text, rfc3339

ROOT = Path(__file__).parents[2]
CONNECTORS = ROOT / "connectors"
LETTERS = "hec-kafka-sink.dead-letters"
TEMPLATE_PARAMETERS = (
    *("inputSubscription", "url", "token", "tokenSource", "tokenSecretId", "tokenKMSEncryptionKey"),
    *("outputDeadletterTopic", "batchCount", "parallelism", "disableCertificateValidation"),
    *("rootCaCertificatePath", "enableGzipHttpCompression", "enableBatchLogs", "includePubsubMessage"),
    *("javascriptTextTransformGcsPath", "javascriptTextTransformFunctionName"),
    "javascriptTextTransformReloadIntervalMinutes",
)
KNOWN = {dotted(pattern).replace("route.*", "route[]") for pattern in KEYS}


def page(name: str) -> str:
    """A page of connectors/."""
    return (CONNECTORS / name).read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """The lines of its shell blocks."""
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a line as a reader would, in a folder of their own."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("HEC_SINK_")}
    script = f'hec-kafka-sink() {{ "{sys.executable}" -P -m splunk_hec_kafka "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.e2e
def test_the_way_of_a_dead_letter_is_as_its_page_says(tmp_path: Path) -> None:
    """Look, decide, mend, replay, verify: each command of the page works, and the record is indexed once."""
    text = page("DEAD_LETTERS.md").replace(
        "2026-03-01T10:00:00Z", rfc3339(int(time.time() * 1000) - 60_000) or ""
    )
    looking, mend, mending = text.partition("## Mend the route")
    mended = re.search(r"```toml\n(.*?)```", mending, re.DOTALL)
    assert mend
    assert mended
    broken = mended[1].replace('"text"', '"json"')
    assert broken != mended[1]
    with MockKafka({"app-logs": 1, LETTERS: 1}) as kafka, Emulator(ack_delay=0) as emulator:
        base = (
            f'[hec]\nurl = "{emulator.url}"\ntoken = "env:SPLUNK_HEC_TOKEN"\n[kafka]\ngroup_id = "g"\n'
            f'bootstrap_servers = "{kafka.bootstrap}"\ntopics = ["app-logs"]\n[server]\nlisten = ""\n'
        )
        produce(kafka.bootstrap, "app-logs", [b"GET / 200"])
        config, env = (
            tmp_path / "sink.toml",
            {"SPLUNK_HEC_TOKEN": emulator.token, "HEC_SINK_CONFIG": "sink.toml"},
        )
        config.write_text(base + broken)
        assert shell("hec-kafka-sink run --until-end", tmp_path, **env).returncode == 0
        ran = 0
        for part, route in ((looking, broken), (mending, mended[1])):
            config.write_text(base + route)
            for line in commands(part):
                done = shell(line, tmp_path, **env)
                assert done.returncode == 0, (line, done.stdout, done.stderr)
                ran += line.startswith("hec-kafka-sink ")
                if line == "hec-kafka-sink dlq ls":
                    shown = done.stdout.splitlines()
        assert ran >= 10
        assert indexed(emulator) == {("app-logs", 0, 0): 1}
    example = re.search(r"```\n(LETTER.*?)```", text, re.DOTALL)
    assert example
    told = example[1].splitlines()
    assert shown[0].split() == told[0].split() == letters_text([])[0].split()
    assert [re.split(r"  +", line)[2:] for line in shown[1:2]] == [re.split(r"  +", told[1])[2:]]
    assert shown[2:] == told[2:]


def test_moving_from_connect_is_as_its_page_says(tmp_path: Path) -> None:
    """What the page's commands make of a connector passes the check, from a file and from a pipe."""
    given = {"name": "n", "topics": "a", "splunk.hec.uri": "https://h:8088", "splunk.hec.token": "s3cret"}
    (tmp_path / "connector.properties").write_text(
        "".join(f"{name}={text}\n" for name, text in given.items())
    )
    for line in commands(page("MIGRATION.md")):
        done = shell(line, tmp_path, SPLUNK_HEC_TOKEN="t")
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert done.stdout.startswith("ok    config ")
    toml = (tmp_path / "sink.toml").read_text()
    (tmp_path / "given.json").write_text(json.dumps({"name": "n", "config": given}))
    piped = shell("cat given.json | hec-kafka-sink config from-connect -", tmp_path)
    assert piped.stdout == toml
    assert "look  splunk.hec.token: " in piped.stderr
    assert "s3cret" not in piped.stdout + piped.stderr
    refused = shell("echo a=b | hec-kafka-sink config from-connect -", tmp_path)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (3, 1)


@pytest.mark.parametrize("name", ["MIGRATION.md", "DEAD_LETTERS.md"])
def test_every_key_of_ours_in_a_page_exists(name: str) -> None:
    """A key, or a Beam option, that a page tells somebody to set is one that we take."""
    text = page(name)
    named = set(re.findall(r"`((?:hec|kafka|run|dead_letter)\.[a-z_]+|route\[\]\.[a-z_]+)", text))
    assert named - OUR_HEADERS - {REPLAY_OF} <= KNOWN, named - KNOWN
    pipelines = (ROOT / "connectors/splunk_hec_beam/options.py", ROOT / "pipelines/pubsub_to_splunk.py")
    options = "".join(path.read_text(encoding="utf-8") for path in pipelines)
    dataflow = text.partition("## Dataflow")[2]
    for option in re.findall(r"`(--[a-z_]+)", dataflow):
        assert f'"{option}"' in options, option


def test_every_parameter_of_the_template_has_an_answer() -> None:
    """Whoever starts the template today finds each of its parameters."""
    table = page("MIGRATION.md").partition("<!-- table: dataflow -->")[2]
    first = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert {name for name in TEMPLATE_PARAMETERS if f"`{name}" not in first} == set()


def test_every_reason_has_a_row() -> None:
    """Each reason that a dead letter may have says what to do."""
    reasons = re.search(r"Reasons: (.*?)\. More", page("README.md"), re.DOTALL)
    assert reasons
    names = re.findall(r"`(\w+)`", reasons[1])
    assert len(names) == 10
    decide = page("DEAD_LETTERS.md").partition("## Decide")[2].partition("## Mend")[0]
    rows = "".join(line.split("|")[1] for line in decide.splitlines() if line.startswith("|"))
    assert {name for name in names if f"`{name}`" not in rows} == set()
