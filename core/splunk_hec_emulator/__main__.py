"""`hec-emulator`, also as `python -m splunk_hec_emulator`: the emulator as a process.

The first line on stdout is ``listening on URL``. SIGTERM and SIGINT end it orderly, with exit code 0; a wrong
option ends it with one line and exit code 2.
"""

import sys

try:
    import click
except ModuleNotFoundError as missing:
    sys.exit(f"hec-emulator: {missing.name} is not installed (fix: pip install 'splunk-hec-sink[emulator]')")

PROFILES = ("ent-10.4", "ent-9", "legacy-7", "cloud-10.5")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--listen", default="127.0.0.1:8088", show_default=True, help="HOST:PORT; port 0 picks one.")
@click.option(
    "--token",
    "tokens",
    multiple=True,
    envvar="HEC_EMULATOR_TOKEN",
    metavar="T[:ack][:query][:index=a,b][:disabled]",
    help="A token; may be given several times. HEC_EMULATOR_TOKEN in the environment, which fewer people can "
    "read, takes several with spaces between. Default: 00000000-0000-0000-0000-000000000001 with acks and "
    "00000000-0000-0000-0000-000000000002 without.",
)
@click.option("--profile", type=click.Choice(PROFILES), default="ent-10.4", show_default=True)
@click.option(
    "--ack-delay", default="1s", show_default=True, metavar="1s|0.2s..3s|never", help="From reply to durable."
)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Simulated indexers.")
@click.option("--balance", type=click.Choice(["sticky", "round-robin"]), default="sticky", show_default=True)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="RULE",
    help="NAME[:ARG][,on=event|raw|ack|all][,p=0.05][,count=N][,after_s=S][,for_s=S][,node=N]",
)
@click.option("--journal", default="", metavar="FILE", help="Append each event when it becomes durable.")
@click.option("--max-content-length", type=click.IntRange(1), default=838_860_800, show_default=True)
@click.option("--tls", nargs=2, metavar="CERT KEY", help="Serve https.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of delays and chances.")
@click.option("--keep-events/--count-only", default=True, help="Whether /emulator/events shows them.")
@click.option(
    "--set",
    "extra",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting of EMULATOR.md, e.g. ack_true=never.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log each refusal as splunkd does.")
@click.version_option(package_name="splunk-hec-sink")
def command(*, verbose: bool, extra: tuple[str, ...], **options: object) -> int:
    """Run a Splunk HTTP Event Collector emulator."""
    import logging  # noqa: PLC0415 - --help answers at once

    from splunk_hec_emulator.run import run  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR)
    return run(options, extra)


def main() -> None:
    """Run the command; click's own refusals become one line like all others."""
    try:
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"hec-emulator: {error.format_message()} (see hec-emulator --help)", err=True)
        code = 2
    except click.Abort:
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
