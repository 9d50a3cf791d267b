"""`hec-kafka-sink`, also as `python -m splunk_hec_kafka`: the commands and how the process ends.

Results go to stdout, logs and progress to stderr. What a command does stands in a module of its own, imported
when it runs. Guarantees: errors are one line with the fix, a traceback only with --debug; the exit codes are
those of `failures.ExitCode`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

for _needed in ("click", "confluent_kafka", "prometheus_client", "rich"):
    if find_spec(_needed) is None:
        sys.exit(f"hec-kafka-sink: {_needed} is not installed (fix: pip install 'splunk-hec-sink[kafka]')")

import click  # noqa: E402 -- after the look whether it is there

from splunk_hec_kafka.cli_dlq import dlq  # noqa: E402
from splunk_hec_kafka.cli_options import (  # noqa: E402
    CONTEXT,
    common,
    configured,
    configured_for_splunk,
    load_config,
    report,
    reporting,
    uses_color,
)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="splunk-hec-sink", prog_name="hec-kafka-sink")
def command() -> None:
    """Kafka to Splunk's HTTP Event Collector: an offset is committed when its record is indexed."""


@command.command()
@click.argument(
    "files", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--keep", is_flag=True, help="Leave Kafka and the HEC emulator running until Ctrl-C.")
@reporting
@common
def demo(files: tuple[Path, ...], *, keep: bool, output: str, **given: Any) -> int:
    """Run the whole way on this machine, with nothing to install, and audit it.

    Feeds the lines of FILE... (default: logs of this machine) and 1 % poison through an embedded Kafka, the
    real sink and an embedded HEC server with acknowledgements.
    """
    from splunk_hec_kafka.demo import run_demo  # noqa: PLC0415 -- --help answers at once

    return run_demo(files, keep=keep, output=output, is_quiet=given["quiet"], use_color=uses_color(given))


@command.command()
@configured
@click.option("--processes", type=click.IntRange(1), help="run.processes")
@click.option("--until-end", is_flag=True, help="End when all that is there now is delivered and committed.")
@click.option("--print", "print_count", type=click.IntRange(1), metavar="N",
              help="Show the first N envelopes it would send; no HEC, no commit.")  # fmt: skip
@click.option("--report-to", type=int, hidden=True, help="File descriptor of a supervisor.")
@reporting
@common
def run(*, until_end: bool, print_count: int | None, report_to: int | None, output: str, **given: Any) -> int:
    """Run the sink."""
    loaded = load_config(given)
    if print_count:
        from splunk_hec_kafka.preview import print_envelopes  # noqa: PLC0415 -- as above

        return print_envelopes(loaded.config, print_count)
    from splunk_hec_kafka.cli_run import run_sink  # noqa: PLC0415 -- as above

    return run_sink(
        loaded,
        until_end=until_end,
        report_to=report_to,
        output=output,
        use_color=uses_color(given),
        is_quiet=given["quiet"],
    )


def check_options(function: Any) -> Any:
    """The options of `check` and its alias."""
    for option in (
        common,
        reporting,
        click.option("--probe-event", is_flag=True, help="Index one event for each configured index."),
        click.option("--offline", is_flag=True, help="Check the configuration alone."),
        configured,
    ):
        function = option(function)
    return function


@command.command()
@check_options
def check(*, offline: bool, probe_event: bool, output: str, **given: Any) -> int:
    """Check configuration, Kafka, dead-letter topic and Splunk, and say how to mend what is wrong."""
    import logging  # noqa: PLC0415 -- as above

    from splunk_hec_kafka.check import run_checks  # noqa: PLC0415 -- as above

    logging.disable(logging.CRITICAL)  # the findings say it all

    return run_checks(
        lambda: load_config(given),
        offline=offline,
        probe_event=probe_event,
        output=output,
        use_color=uses_color(given),
    )


command.add_command(click.Command("validate", callback=check.callback, params=check.params,
                                  help="The same as check.", context_settings=CONTEXT))  # fmt: skip


@command.group(context_settings=CONTEXT)
def config() -> None:
    """Show the configuration."""


@config.command()
@configured
@reporting
@common
def show(*, output: str, **given: Any) -> int:
    """Show every effective value and where it came from; secrets are hidden."""
    from splunk_hec_kafka.config_show import show_json, show_toml  # noqa: PLC0415 -- as above

    loaded = load_config(given)
    report(output, show_json(loaded), show_toml(loaded))
    return 0


@config.command()
@common
def schema(**_: Any) -> int:
    """Print the JSON Schema of the configuration file."""
    from splunk_hec_kafka.config_show import json_schema  # noqa: PLC0415 -- as above

    report("json", json_schema(), "")
    return 0


@config.command()
@common
def table(**_: Any) -> int:
    """Print every key with its default and meaning, as a Markdown table."""
    from splunk_hec_kafka.config_show import markdown_table  # noqa: PLC0415 -- as above

    report("text", None, markdown_table())
    return 0


@command.command()
@configured
@reporting
@common
def lag(*, output: str, **given: Any) -> int:
    """Show how far the group is behind, as kafka-consumer-groups prints it."""
    from splunk_hec_kafka.lag import group_lag, lag_json, lag_text  # noqa: PLC0415 -- as above

    rows = group_lag(load_config(given).config)
    report(output, lag_json(rows), lag_text(rows))
    return 0


@command.command()
@configured_for_splunk
@click.option("--events", type=click.IntRange(1), default=200_000, show_default=True,
              help="At most so many, with acknowledgements and without.")  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="At most so long."
)
@click.option("--size", type=click.IntRange(1), default=512, show_default=True, help="Bytes of each event.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Send the lines of this file instead, again and again.")  # fmt: skip
@click.option("--acks", type=click.Choice(["on", "off", "both"]), default="both", show_default=True,
              help="Measure with acknowledgements, without, or one after the other.")  # fmt: skip
@click.option("--index", default="", help="Where to; default: the token's default index.")
@click.option("--yes", "is_agreed", is_flag=True, help="Index them: needed with --url.")
@reporting
@common
def bench(*, output: str, **given: Any) -> int:
    """Measure what Splunk takes from here, and name the limit that binds.

    Sends generated events through the real client: to an embedded HEC emulator, or to your Splunk, where they
    are indexed with sourcetype hec-kafka-sink:bench.
    """
    from splunk_hec_kafka.bench import plan_of, run_bench  # noqa: PLC0415 -- --help answers at once

    config = load_config(given).config
    return run_bench(
        config, plan_of(given), output=output, is_quiet=given["quiet"], use_color=uses_color(given)
    )


command.add_command(dlq)


@command.command()
@click.option(
    "--earliest", default="-24h@h", show_default=True, metavar="TIME", help="Splunk's time modifier."
)
@click.option("--latest", default="-5m", show_default=True, metavar="TIME",
              help="The same; leave out what may be on its way.")  # fmt: skip
@click.option("--index", "indexes", multiple=True, help="Search here instead of where the routes say.")
@configured
@reporting
@common
def audit(*, earliest: str, latest: str, indexes: tuple[str, ...], output: str, **given: Any) -> int:
    """Print the Splunk searches (SPL) that show lost and doubled records by their place in Kafka."""
    from splunk_hec_kafka.splunk_searches import searches, searches_text  # noqa: PLC0415 -- as above

    found = searches(load_config(given).config, earliest, latest, indexes)
    report(output, found, searches_text(found))
    return 0


@config.command("from-connect")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@common
def from_connect(*, file: Path, **_: Any) -> int:
    """Convert a configuration of Splunk Connect for Kafka: TOML on stdout, what is left to do on stderr.

    FILE is a .properties file, or JSON as Connect's REST interface takes and gives it; - reads stdin.
    """
    from splunk_hec_kafka.from_connect import converted  # noqa: PLC0415 -- as above

    with click.open_file(str(file), encoding="utf-8") as opened:
        toml, notes = converted(opened.read())
    report("text", None, toml)
    for note in notes:
        click.echo(f"{note.kind}  {note.key}: {note.text}", err=True)
    return 0


@command.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def completion(*, shell: str, **_: Any) -> int:
    """Print the script that completes commands and options; e.g. in ~/.bashrc:

    eval "$(hec-kafka-sink completion bash)"
    """  # noqa: D415 -- click makes one line of it
    from click.shell_completion import get_completion_class  # noqa: PLC0415 -- as above

    kind = get_completion_class(shell)
    assert kind is not None
    report("text", None, kind(command, {}, "hec-kafka-sink", "_HEC_KAFKA_SINK_COMPLETE").source())
    return 0


def main() -> None:
    """Run a command and end the process with its exit code."""
    is_debug = "--debug" in sys.argv[1:]
    try:
        code = command.main(prog_name="hec-kafka-sink", standalone_mode=False)
    except click.ClickException as error:
        where = (
            error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "hec-kafka-sink"
        )
        _say(f"{error.format_message()} (see {where} --help)")
        code = 2
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        code = 1
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads the result any more; so does head
        code = 1
    except Exception as error:
        if is_debug:
            raise
        code = _code_of(error)
    _let_go_of_stderr()
    sys.exit(code)


def _code_of(error: Exception) -> int:
    from splunk_hec.errors import ConfigError  # noqa: PLC0415 -- --help answers at once
    from splunk_hec_kafka.failures import ExitCode, SinkFailure  # noqa: PLC0415 -- as above

    if isinstance(error, SinkFailure):
        _say(str(error))
        return error.exit_code
    if isinstance(error, ConfigError):
        for line in str(error).splitlines():
            _say(line)
        return ExitCode.CONFIG
    _say(f"a fault of this program: {type(error).__name__}: {error} (fix: run it with --debug and report it)")
    return ExitCode.INTERNAL


def _say(line: str) -> None:
    from splunk_hec.errors import one_line  # noqa: PLC0415 -- as above

    with suppress(OSError):  # a full disk must not change how the process ends
        click.echo(f"hec-kafka-sink: {one_line(line)}", err=True)


def _let_go_of_stderr() -> None:
    """What cannot be written there any more is dropped, or Python would end with 120, whatever the code."""
    import os  # noqa: PLC0415 -- one use

    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if __name__ == "__main__":
    main()
