"""The command line: what every command has in common, and how each way of ending looks from outside."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kafka_tools import DEADLINE_S, committed, produce, read_all

from splunk_hec_kafka import __main__ as cli
from splunk_hec_kafka.cli_run import tell
from splunk_hec_kafka.config import SinkConfig, load
from splunk_hec_kafka.config_keys import KEYS, dotted
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.progress import live_line, progress_bar, sink_line
from splunk_hec_kafka.summary import summary_text

if TYPE_CHECKING:
    from splunk_hec_emulator import Emulator
    from splunk_hec_kafka._mock_kafka import MockKafka

COMMAND = [sys.executable, "-P", "-m", "splunk_hec_kafka"]
COMMANDS = (
    ["demo"],
    ["run"],
    ["check"],
    ["validate"],
    ["config", "show"],
    ["config", "schema"],
    ["config", "table"],
    ["lag"],
    ["bench"],
    ["dlq", "ls"],
    ["dlq", "show"],
    ["dlq", "replay"],
    ["audit"],
    ["config", "from-connect"],
    ["completion"],
)
PLAIN = ("schema", "table", "from-connect", "completion")
"""They print a text that is a file of its own."""
LETTERS = "hec-kafka-sink.dead-letters"
SUMMARY_KEYS = [
    *("records", "delivered", "dead_lettered", "skipped", "committed"),
    *("resends", "records_per_s", "ack_latency_s", "seconds"),
]


def clean_env(**more: str) -> dict[str, str]:
    """This process's environment without settings of a sink."""
    return {name: text for name, text in os.environ.items() if not name.startswith("HEC_SINK_")} | more


def run_cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], env=clean_env(**env), capture_output=True, text=True, timeout=60, check=False
    )


def in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command here; its exit code."""
    monkeypatch.setattr(sys, "argv", ["hec-kafka-sink", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


class Deployment:
    """An embedded Kafka with topics, an emulator, and the options that lead a sink to both."""

    def __init__(self, kafka: MockKafka, emulator: Emulator) -> None:
        self.kafka, self.emulator = kafka, emulator
        self.options = [
            *("-b", kafka.bootstrap, "-t", "logs", "-g", "group", "--hec-url", emulator.url),
            *(
                "--set",
                "hec.token=env:TOKEN",
                "--set",
                "server.listen=127.0.0.1:0",
                "--set",
                "log.format=json",
            ),
        ]
        self.env = {"TOKEN": emulator.token}

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the sink; the caller ends it."""
        return subprocess.Popen(
            [*COMMAND, "run", *self.options, *options],
            env=clean_env(**self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def deployment(mock_kafka: MockKafka, hec_emulator: Emulator) -> Deployment:
    """All that a sink needs."""
    mock_kafka.create_topic("logs", 2)
    mock_kafka.create_topic(LETTERS, 1)
    return Deployment(mock_kafka, hec_emulator)


# ---- what all commands share ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_the_common_options(command: list[str], capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """--help, --version, -v, -q, --no-color and --debug are everywhere, -o where something is reported."""
    assert in_process(monkeypatch, *command, "--help") == 0
    text = capsys.readouterr().out
    for option in ("--version", "-v, --verbose", "-q, --quiet", "--no-color", "--debug"):
        assert option in text
    assert ("-o" in text) is (command[-1] not in PLAIN)
    assert in_process(monkeypatch, *command, "--version") == 0
    assert re.match(r"hec-kafka-sink, version \d+\.\d+\.\d+", capsys.readouterr().out)


def test_help_imports_nothing_heavy() -> None:
    """Help answers at once: no Kafka, HTTP, metrics or terminal library is loaded for it."""
    script = (
        "import sys\nfrom splunk_hec_kafka.__main__ import command\n"
        f"for one in {COMMANDS}:\n    command.main([*one, '--help'], standalone_mode=False)\n"
        "print([name for name in ('confluent_kafka', 'requests', 'prometheus_client', 'rich', 'msgspec')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["--nope"], ["run", "--nope"], ["nope"], ["run", "--processes", "0"]])
def test_a_wrong_command_line_is_one_line_and_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what is wrong and where help is."""
    assert in_process(monkeypatch, *arguments) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "--help)" in error


def test_a_broken_configuration_is_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each mistake, and no traceback."""
    assert in_process(monkeypatch, "config", "show", "--set", "hec.lanes=x", "--set", "hec.urk=1") == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("hec-kafka-sink: ") for line in lines)


def test_no_broker_is_4_with_its_fix() -> None:
    """A failure of Kafka is one line with its fix and exit 4."""
    done = run_cli("lag", "-b", "127.0.0.1:1", "-t", "t", "-g", "g", "--set", "run.startup_timeout_s=1")
    assert done.returncode == ExitCode.KAFKA
    assert len(done.stderr.splitlines()) == 1
    assert "(fix: " in done.stderr


def test_a_fault_of_ours_is_1_and_shows_its_traceback_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --debug one line, with it the traceback."""

    def fail(_config: SinkConfig) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("splunk_hec_kafka.lag.group_lag", fail)
    assert in_process(monkeypatch, "lag") == ExitCode.INTERNAL
    assert "ZeroDivisionError: oh" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["hec-kafka-sink", "lag", "--debug"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_an_interrupt_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command without a traceback."""

    def interrupt(_config: SinkConfig) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("splunk_hec_kafka.lag.group_lag", interrupt)
    assert in_process(monkeypatch, "lag") == 1
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_log_disk_does_not_change_the_exit_code() -> None:
    """Python ends with 120 when standard error cannot be flushed; the code of the command is kept."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "run", "--set", "hec.lanes=0"], stderr=full, check=False)
    assert done.returncode == 3


def test_a_reader_that_goes_away_is_no_fault() -> None:
    """`config table | head -1` ends quietly."""
    script = f"set -o pipefail; {' '.join(COMMAND)} config table | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


# ---- config ------------------------------------------------------------------------------------------


def test_config_show_tells_values_and_origins(tmp_path: Path) -> None:
    """Every value with where it came from: flag over variable over file over default; secrets hidden."""
    file = tmp_path / "sink.toml"
    file.write_text('[hec]\ntoken = "a-secret-token"\nlanes = 3\nlinger_s = 9\n')
    env = {"HEC_SINK_CONFIG": str(file), "HEC_SINK_HEC__LINGER_S": "2", "HEC_SINK_KAFKA__GROUP_ID": "env"}
    done = run_cli("config", "show", "-o", "json", "-g", "flag", "-v", "--hec-url", "http://a", **env)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["hec.lanes"] == {"value": 3, "origin": f"file {file}"}
    assert shown["hec.linger_s"]["value"] == 2
    assert shown["kafka.group_id"] == {"value": "flag", "origin": "command line"}
    assert shown["hec.url"]["value"] == ["http://a"]
    assert shown["log.level"]["value"] == "debug"
    assert "a-secret-token" not in done.stdout + done.stderr
    text = run_cli("config", "show", "-c", str(file), "-q")
    assert tomllib.loads(text.stdout)["log"]["level"] == "warning"


def test_config_schema_and_table_know_every_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schema is JSON; the table has a row for each key."""
    assert in_process(monkeypatch, "config", "schema") == 0
    assert "SinkConfig" in json.loads(capsys.readouterr().out)["$defs"]
    assert in_process(monkeypatch, "config", "table") == 0
    table = capsys.readouterr().out
    assert all(f"`{dotted(key.pattern).replace('route.*', 'route[]')}`" in table for key in KEYS.values())


# ---- dead letters and completion -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--since", "yesterday"],
        ["show", "17"],
        ["show", "0:-1"],
        ["replay"],
        ["replay", "--to", "splunk", "--rate", "0"],
    ],
)
def test_a_wrong_filter_is_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times, places and rates that are none are told in one line, before anybody is asked."""
    assert in_process(monkeypatch, "dlq", *arguments) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_dead_letters_are_listed_and_replayed_from_the_command_line(deployment: Deployment) -> None:
    """`ls`, `show` and `replay` read the options they document; results on stdout, nothing else there."""
    produce(deployment.kafka.bootstrap, "logs", [b"\xff"], partition=0)
    assert run_cli("run", *deployment.options, "--until-end", **deployment.env).returncode == 0
    where = ["-b", deployment.kafka.bootstrap, "--hec-url", deployment.emulator.url, "--token", "env:TOKEN"]
    listed = run_cli("dlq", "ls", *where, "-o", "json", "--since", "1h", **deployment.env)
    told = json.loads(listed.stdout)
    assert (told["matched"], told["reasons"]) == (1, {"undecodable": 1})
    assert (told["letters"][0]["letter"], told["letters"][0]["topic"]) == ("0:0", "logs")
    shown = run_cli("dlq", "show", "0:0", *where, **deployment.env)
    assert "value    \\xff" in shown.stdout.splitlines()
    mend = ["--set", "route.0.invalid_utf8=replace"]
    done = run_cli("dlq", "replay", "--to", "splunk", *where, *mend, **deployment.env)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^replayed +1$", done.stdout, re.MULTILINE)
    assert [one["event"] for one in deployment.emulator.events()] == ["\ufffd"]


@pytest.mark.parametrize(
    ("within_s", "replayed", "code"),
    [
        pytest.param(1, 0, ExitCode.UNSETTLED, marks=pytest.mark.hec_emulator(ack_delay="never")),
        pytest.param(60, 1, ExitCode.OK, marks=pytest.mark.hec_emulator(ack_delay="2s")),
    ],
)
def test_a_replay_that_is_interrupted_says_what_is_open(
    deployment: Deployment, within_s: int, replayed: int, code: ExitCode
) -> None:
    """The first signal waits for outcomes for as long as a sink would; what has none is counted, exit 7."""
    produce(deployment.kafka.bootstrap, "logs", [b"\xff"], partition=0)
    assert run_cli("run", *deployment.options, "--until-end", **deployment.env).returncode == 0
    where = ["-b", deployment.kafka.bootstrap, "--hec-url", deployment.emulator.url, "--token", "env:TOKEN"]
    more = ["--set", "route.0.invalid_utf8=replace", "--set", f"run.shutdown_s={within_s}", "-o", "json"]
    with subprocess.Popen(
        [*COMMAND, "dlq", "replay", "--to", "splunk", *where, *more],
        env=clean_env(**deployment.env),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        deployment.emulator.wait_for(lambda: deployment.emulator.stats()["acks_issued"] > 0, DEADLINE_S)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    told = json.loads(out)
    assert (told["replayed"], told["unsettled"]) == (replayed, 1 - replayed)
    assert (told["next_since"] is None) is (code != ExitCode.OK)


def test_shells_complete(tmp_path: Path) -> None:
    """Each shell gets a script; with bash's, commands and options are completed by the installed command."""
    installed = Path(sys.executable).with_name("hec-kafka-sink")
    for name in ("zsh", "fish"):
        assert "_HEC_KAFKA_SINK_COMPLETE" in run_cli("completion", name).stdout
    script = tmp_path / "completion.bash"
    script.write_text(run_cli("completion", "bash").stdout)
    for words, found in (
        (("dlq", "re"), "replay"),
        (("config", "from"), "from-connect"),
        (("run", "--until"), "--until-end"),
    ):
        line = (
            f"source {script}; COMP_WORDS=({installed} {' '.join(words)}); COMP_CWORD={len(words)}; "
            f'_hec_kafka_sink_completion {installed}; echo "${{COMPREPLY[@]}}"'
        )
        done = subprocess.run(
            ["bash", "-c", line], env=clean_env(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.split() == [found], done.stderr


# ---- run ---------------------------------------------------------------------------------------------


def test_until_end_delivers_commits_and_sums_up(deployment: Deployment) -> None:
    """All that is there is indexed or dead-lettered and committed; stdout is the summary alone."""
    produce(deployment.kafka.bootstrap, "logs", [b"one", b"two", b"\xff", None], partition=0)
    done = run_cli("run", *deployment.options, "--until-end", "-o", "json", **deployment.env)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert list(summary) == SUMMARY_KEYS
    assert [summary[key] for key in SUMMARY_KEYS[:5]] == [4, 2, 1, 1, True]
    assert sorted(event["event"] for event in deployment.emulator.events()) == ["one", "two"]
    assert len(read_all(deployment.kafka.bootstrap, LETTERS)) == 1
    assert committed(deployment.kafka.bootstrap, "group", "logs", [0]) == {0: 4}
    assert all(json.loads(line)["level"] for line in done.stderr.splitlines())
    shown = run_cli("lag", *deployment.options, **deployment.env)
    assert shown.stdout.splitlines()[1].split() == ["group", "logs", "0", "4", "4", "0"]


def ask(port: int, path: str) -> tuple[int, str]:
    """A page of the sink's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def port_of(process: subprocess.Popen[str]) -> int:
    """The port that the sink logged."""
    assert process.stderr
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found:
            return int(found[1])
    raise AssertionError("it ended without serving pages")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_orderly(deployment: Deployment, number: signal.Signals) -> None:
    """It serves its pages while it runs; a signal drains, commits, sums up and ends with 0."""
    produce(deployment.kafka.bootstrap, "logs", [b"one"], partition=0)
    with deployment.start() as process:
        port = port_of(process)
        deployment.emulator.wait_for_events(1, DEADLINE_S)
        assert ask(port, "/livez") == (200, "ok\n")
        assert ask(port, "/readyz")[0] == 200
        assert "hec_sink_records_consumed_total" in ask(port, "/metrics")[1]
        assert ask(port, "/other")[0] == 404
        process.send_signal(number)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert re.search(r"^delivered +1$", out, re.MULTILINE)
    assert committed(deployment.kafka.bootstrap, "group", "logs", [0]) == {0: 1}


@pytest.mark.hec_emulator(ack_delay="never")
def test_a_second_signal_ends_it_at_once(deployment: Deployment) -> None:
    """Nothing is acknowledged: the first signal waits for it, the second ends with 7 and commits nothing."""
    produce(deployment.kafka.bootstrap, "logs", [b"one"], partition=0)
    with deployment.start("-o", "json", "--set", "run.shutdown_s=600") as process:
        port_of(process)
        deployment.emulator.wait_for(lambda: deployment.emulator.stats()["acks_issued"] > 0, DEADLINE_S)
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        assert any("ending" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == ExitCode.UNSETTLED
    assert json.loads(out)["committed"] is False
    assert (committed(deployment.kafka.bootstrap, "group", "logs", [0])[0] or 0) == 0


def test_a_refused_token_is_5_and_commits_nothing(deployment: Deployment) -> None:
    """A wrong token past the patience ends with 5, its fix, no commit, no dead letter and no token shown."""
    produce(deployment.kafka.bootstrap, "logs", [b"one"], partition=0)
    patience = ("--set", "hec.halt_patience_s=0")
    done = run_cli("run", *deployment.options, *patience, TOKEN="a-wrong-secret-token")
    assert done.returncode == ExitCode.HEC
    assert "(fix: set hec.token" in done.stderr.splitlines()[-1]
    assert "a-wrong-secret-token" not in done.stderr + done.stdout
    assert committed(deployment.kafka.bootstrap, "group", "logs", [0]) == {0: None}
    assert read_all(deployment.kafka.bootstrap, LETTERS) == []


def test_several_processes_end_with_the_code_of_the_first(deployment: Deployment) -> None:
    """A token that Splunk refuses ends all processes, and the supervisor, with 5; one summary is printed."""
    options = ("--processes", "2", "--set", "hec.halt_patience_s=0", "-o", "json")
    done = run_cli("run", *deployment.options, *options, TOKEN="a-wrong-secret-token")
    assert done.returncode == ExitCode.HEC, done.stderr
    assert json.loads(done.stdout)["records"] == 0
    assert done.stderr.count("metrics and health on") >= 2  # the first may end before the other has begun


def test_run_needs_its_keys() -> None:
    """What is missing is named, with the ways to give it; exit 3."""
    done = run_cli("run", "-t", "logs")
    assert done.returncode == ExitCode.CONFIG
    assert [line.split()[1] for line in done.stderr.splitlines()] == [
        "kafka.group_id:",
        "hec.url:",
        "hec.token:",
    ]


def test_without_a_listen_address_no_page_is_served(deployment: Deployment, tmp_path: Path) -> None:
    """An empty server.listen opens no port; a literal token in the file is warned about in the log."""
    file = tmp_path / "sink.toml"
    file.write_text(f'[hec]\ntoken = "{deployment.emulator.token}"\n[server]\nlisten = ""\n')
    produce(deployment.kafka.bootstrap, "logs", [b"one"], partition=0)
    options = [
        "-b",
        deployment.kafka.bootstrap,
        "-t",
        "logs",
        "-g",
        "group",
        "--hec-url",
        deployment.emulator.url,
    ]
    done = run_cli("run", "-c", str(file), *options, "--until-end")
    assert done.returncode == 0, done.stderr
    assert "/metrics" not in done.stderr
    assert "holds the secret itself" in done.stderr
    assert deployment.emulator.token not in done.stderr


def test_print_is_a_way_of_run(deployment: Deployment) -> None:
    """--print shows envelopes; Splunk gets none."""
    produce(deployment.kafka.bootstrap, "logs", [b"one"], partition=0)
    done = run_cli("run", *deployment.options, "--print", "5", **deployment.env)
    assert done.returncode == 0
    assert json.loads(done.stdout)["event"] == "one"
    assert deployment.emulator.stats()["requests"] == 0


def test_check_and_validate_are_the_same(deployment: Deployment) -> None:
    """Both print one line a check and nothing on stderr."""
    for name in ("check", "validate"):
        done = run_cli(name, *deployment.options, **deployment.env)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split()[0] for line in done.stdout.splitlines()].count("fail") == 0
        assert len(done.stdout.splitlines()) == 12


# ---- small parts ---------------------------------------------------------------------------------------


def test_the_summary_as_text_has_a_row_each() -> None:
    """The same keys as the JSON, numbers readable."""
    text = summary_text(
        {"records": 1_234_567, "committed": True, "resends": {}, "ack_latency_s": {"p50": 1.5}, "x": "y"}
    )
    assert text.splitlines() == [
        "records        1,234,567",
        "committed      yes",
        "resends        none",
        "ack_latency_s  p50 1.5",
        "x              y",
    ]


def test_progress_is_shown_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a line that says how far it is; a file gets nothing, nor does whoever wants none."""
    metrics = Metrics()
    metrics.consumed("logs", 1_500)

    class Screen(io.StringIO):
        is_terminal = True

        def isatty(self) -> bool:
            return self.is_terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with live_line(lambda: sink_line(metrics), use_color=False):
        pass
    assert "1,500 read" in screen.getvalue()
    with progress_bar("replay", 4, use_color=False) as advance:
        advance(4)
    assert "4/4" in screen.getvalue()
    for wanted, terminal in ((False, True), (True, False)):
        screen.truncate(0)
        screen.is_terminal = terminal
        with live_line(lambda: sink_line(metrics), is_wanted=wanted):
            pass
        with progress_bar("replay", 4, is_wanted=wanted) as advance:
            advance(4)
        assert screen.getvalue().strip("\0") == ""


def test_a_supervisor_that_does_not_listen_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A process whose supervisor is gone still ends orderly."""
    reading, writing = os.pipe()
    tell(writing, {"port": 1})
    assert os.read(reading, 100) == b'{"port": 1}\n'
    os.close(reading)
    try:
        tell(writing, {"port": 1})
    finally:
        os.close(writing)
    assert "does not listen" in caplog.text
    tell(None, {"port": 1})


def test_a_flag_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags that are not given change nothing."""
    given: dict[str, Any] = {"config": None, "sets": (), "quiet": False, "verbose": False, "topic": ()}
    monkeypatch.setenv("HEC_SINK_KAFKA__TOPICS", '["env"]')
    assert cli.load_config(given).config.kafka.topics == ("env",)
    assert cli.load_config(given | {"topic": ("flag",)}).config.kafka.topics == ("flag",)
    assert load(None, {}).config.kafka.topics == ()
