"""Command lines of the pipelines: every flag is told, wrong usage is one line, nothing is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from splunk_hec import ConfigError
from splunk_hec_beam import SplunkHecOptions
from splunk_hec_beam.command_line import parser_of, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

NAMES = ["files_to_splunk", "gcs_to_splunk", "kafka_to_splunk", "pubsub_to_splunk", "replay_dead_letters"]
SINK = ["--hec_url=http://localhost:1", "--hec_token=env:T", "--dead_letters=/nowhere/x"]


@pytest.mark.parametrize("name", NAMES)
def test_help_names_each_flag(
    script: Callable[[str], ModuleType], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` ends with 0 and tells of every flag that the pipeline's options know, each with a text."""
    module = script(name)
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert module.__doc__.splitlines()[0] in told
    actions = [one for one in parser_of(module.OPTIONS)._actions if one.dest != "help"]
    assert len(actions) >= 15
    for action in actions:
        assert f"  {action.option_strings[0]} " in told
        assert action.help


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "--hec_url is required, e.g. --hec_url=https://"),
        (SINK[:1], "--hec_token is required, e.g. --hec_token=env:"),
        ([*SINK[:1], "--hec_token=11111111-2222"], "not the token itself"),
        (SINK[:2], "--dead_letters is required"),
        ([*SINK, "--on_reject=fail"], "--dead_letters goes with --on_reject=dead_letter"),
        ([*SINK, "--hec_ulr=x"], "unknown option --hec_ulr; did you mean --hec_url?"),
        ([*SINK, "--dead-letter=x"], "unknown option --dead-letter; did you mean --dead_letters?"),
        ([*SINK, "--bundle_deadline_s=soon"], "--bundle_deadline_s: invalid float value"),
        ([*SINK, "--verify=perhaps"], "--verify: must be true or false"),
        ([*SINK, "--hec_url"], "--hec_url: expected one argument"),
        (SINK, " is required, e.g. --"),
    ],
)
def test_wrong_usage_is_one_line(
    script: Callable[[str], ModuleType],
    name: str,
    given: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every pipeline answers wrong usage with exit code 2 and one line that says how to mend it."""
    assert script(name).main(given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("files_to_splunk", ["--input=/nowhere/*.log"], "--input: no file matches /nowhere/*.log"),
        ("files_to_splunk", ["--input=nosuch://x/y"], "--input: nosuch://x/y cannot be listed"),
        ("files_to_splunk", [f"--input={__file__}", "--line_format=xml"], "must be text or json, not 'xml'"),
        ("files_to_splunk", [f"--input={__file__}", "--ack=maybe"], "ack"),
        ("files_to_splunk", [f"--input={__file__}", "--hec_settings=[1]"], "--hec_settings must be a JSON"),
        ("files_to_splunk", [f"--input={__file__}", '--hec_settings={"lanse": 1}'], "lanse"),
        ("files_to_splunk", [f"--input={__file__}", '--hec_settings={"index": "x"}'], "--hec_settings"),
        ("files_to_splunk", [f"--input={__file__}", "--batching=never"], "batching must be one of"),
        ("files_to_splunk", [f"--input={__file__}", "--on_reject=drop"], "on_reject must be"),
        ("gcs_to_splunk", ["--input=x", "--watch_interval_s=-1"], "must be 0 or more"),
        ("pubsub_to_splunk", ["--subscription=mine"], "must be projects/P/subscriptions/S: "),
        (
            "kafka_to_splunk",
            ["--kafka_bootstrap_servers=b", "--kafka_topics=t"],
            "--kafka_group_id is required",
        ),
        (
            "kafka_to_splunk",
            ["--kafka_bootstrap_servers=b", "--kafka_topics=t", "--kafka_group_id=g", "--kafka_properties=x"],
            "--kafka_properties must be a JSON object",
        ),
    ],
)
def test_values_are_checked(
    script: Callable[[str], ModuleType],
    name: str,
    given: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A value that cannot be used ends with code 2 and a line that names its option, before anything runs."""
    assert script(name).main([*SINK, *given]) == 2
    assert said in capsys.readouterr().err


def test_replay_always_needs_a_place_for_dead_letters(
    script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    """A replay with on_reject=fail is refused: what may not be replayed any more would have no place."""
    given = [*SINK[:2], "--on_reject=fail", f"--input={__file__}"]
    assert script("replay_dead_letters").main(given) == 2
    assert "--dead_letters is required here" in capsys.readouterr().err


def test_flags_of_the_runner_are_left_to_it(script: Callable[[str], ModuleType]) -> None:
    """Flags of Beam and ones only a runner knows pass; in ours dashes and underscores mean the same."""
    parser = parser_of(script("files_to_splunk").OPTIONS)
    options = read(parser, [*SINK, "--streaming", "--checkpointing_interval=3000", "--line-format=json"])
    assert options.view_as(StandardOptions).streaming is True
    assert options.get_all_options(retain_unknown_options=True)["checkpointing_interval"] == "3000"
    assert options.get_all_options()["line_format"] == "json"


def test_a_template_passes_texts(script: Callable[[str], ModuleType]) -> None:
    """A launcher gives every parameter as text: booleans are read, empty ones count as not given."""
    parser = parser_of(script("pubsub_to_splunk").OPTIONS)
    given = [*SINK, "--verify=false", "--attributes_as_fields=TRUE", "--index=", "--event_id_field="]
    options = read(parser, given).view_as(SplunkHecOptions)
    assert options.verify is False
    assert options.get_all_options()["attributes_as_fields"] is True
    shown = options.sink().display_data()
    assert (shown["verify"], shown["index"]) == (False, "")


def test_every_option_reaches_the_sink() -> None:
    """Each flag changes what it names, and none is lost between command line and transform."""
    options = PipelineOptions(
        [
            "--hec_url=https://a:1, https://b:2",
            "--hec_token=file:/run/token",
            "--on_reject=fail",
            *("--index=i", "--source=s", "--sourcetype=st", "--host=h", "--ack=auto", "--batching=stateful"),
            *("--bundle_deadline_s=7", "--ca_file=/ca.pem", "--verify=false", '--hec_settings={"lanes": 3}'),
        ]
    ).view_as(SplunkHecOptions)
    shown = options.sink().display_data()
    expected = {
        "url": "https://a:1, https://b:2",
        "token": "file:/run/token",
        "on_reject": "fail",
        "index": "i",
        "source": "s",
        "sourcetype": "st",
        "host": "h",
        "ack": "auto",
        "batching": "stateful",
        "bundle_deadline_s": 7.0,
        "ca_file": "/ca.pem",
        "verify": False,
        "lanes": 3,
    }
    assert {name: shown[name] for name in expected} == expected


def test_a_literal_token_is_not_repeated() -> None:
    """The refusal of a literal token does not print it: logs are read by many."""
    options = PipelineOptions(["--hec_url=http://h:1", "--hec_token=my-secret"]).view_as(SplunkHecOptions)
    with pytest.raises(ConfigError) as caught:
        options.check()
    assert "my-secret" not in str(caught.value)


def test_all_pipelines_options_can_be_known_together(script: Callable[[str], ModuleType]) -> None:
    """No two options classes claim one flag: Beam puts all that were ever loaded into one parser."""
    for name in NAMES:
        script(name)
    assert "hec_url" in PipelineOptions([]).get_all_options()
