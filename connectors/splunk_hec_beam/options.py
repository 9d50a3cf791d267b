"""Pipeline options of the runnable pipelines: a flag for each setting of `WriteToSplunkHEC` they expose.

Not for reading a command line (`command_line`). Guarantees: the token itself is never taken, only where it
is; with `--on_reject=dead_letter` there is a place for dead letters, so that rejected events cannot vanish.
Non-obvious: a template's launcher passes every parameter as `--name=value`, booleans and empty ones
included, so booleans take a value and an empty text counts as not given.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import msgspec
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from splunk_hec.config import is_reference
from splunk_hec.errors import ConfigError
from splunk_hec_beam.dead_letter_files import WriteDeadLetters
from splunk_hec_beam.write import WriteToSplunkHEC

if TYPE_CHECKING:
    from collections.abc import Callable

    import apache_beam as beam

    from splunk_hec_beam.write import Delivery


def truth(text: str) -> bool:
    """For argparse: true, false, yes, no, 1, 0."""
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"must be true or false, not {text!r}")
    return known[text.lower()]


class SplunkHecOptions(PipelineOptions):
    """Where to send, as what, and what becomes of events that Splunk does not take."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument_group("Splunk").add_argument
        add("--hec_url", default="", metavar="URL", help="https://host:8088; several, separated by commas")
        add(
            "--hec_token",
            default="",
            metavar="REFERENCE",
            help="where the token is, read on the workers: env:NAME, file:PATH or "
            "gcp-secret:projects/P/secrets/S; never the token itself",
        )
        add("--index", default="", help="index of events that name none; default: the token's")
        add("--source", default="", help="source of events that name none")
        add("--sourcetype", default="", help="sourcetype of events that name none")
        add("--host", default="", help="host of events that name none")
        add(
            "--ack",
            default="required",
            metavar="MODE",
            help="required: delivered means acknowledged by the indexer; auto: if the token has "
            "acknowledgements; off: delivered means accepted. Default: required",
        )
        add(
            "--on_reject",
            default="dead_letter",
            metavar="MODE",
            help="what becomes of an event that Splunk will never take: dead_letter writes it to "
            "--dead_letters, fail fails its bundle. Default: dead_letter",
        )
        add(
            "--dead_letters",
            default="",
            metavar="PREFIX",
            help="folder and start of the name of the files of JSON lines that hold rejected events, "
            "e.g. gs://bucket/dead/app; required with --on_reject=dead_letter",
        )
        add(
            "--batching",
            default="bundle",
            metavar="MODE",
            help="bundle: a source keeps its events until they are indexed; stateful: gather events in the "
            "runner's state first, faster where bundles are tiny, but a job that is cancelled, not drained, "
            "loses what it gathered; auto: stateful where bundles are known to be tiny. Default: bundle",
        )
        add(
            "--bundle_deadline_s",
            type=float,
            default=240.0,
            metavar="SECONDS",
            help="longest wait for acknowledgements at the end of a bundle. Default: 240",
        )
        add(
            "--event_id_field",
            default="",
            metavar="NAME",
            help="add this indexed field with a hash of the event, the same in every retry, "
            "to tell duplicates",
        )
        add("--ca_file", default="", metavar="PATH", help="trust these CAs only (PEM, on the workers)")
        add(
            "--verify",
            type=truth,
            nargs="?",
            const=True,
            default=True,
            metavar="BOOL",
            help="verify TLS. Default: true",
        )
        add(
            "--hec_settings",
            default="",
            metavar="JSON",
            help='any further settings of the client, e.g. {"lanes": 4, "linger_s": 1}',
        )

    def sink(self, to_event: Callable[[Any], Any] | None = None) -> WriteToSplunkHEC:
        """The transform that these options describe.

        Args:
            to_event: See `WriteToSplunkHEC`.

        Raises:
            ConfigError: An option is missing or of the wrong form.
        """
        self.check()
        further = _object(self.hec_settings, "--hec_settings")
        try:
            return WriteToSplunkHEC(
                [url.strip() for url in self.hec_url.split(",") if url.strip()],
                self.hec_token,
                on_reject=self.on_reject,
                to_event=to_event,
                event_id_field=self.event_id_field or None,
                bundle_deadline_s=self.bundle_deadline_s,
                batching=self.batching,
                **{name: getattr(self, name) for name in ("index", "source", "sourcetype", "host")},
                **({"ack": self.ack, "ca_file": self.ca_file, "verify": self.verify} | further),
            )
        except TypeError as error:  # a name that stands for an option of its own
            raise ConfigError(f"--hec_settings: {error}") from None

    def deliver(
        self, events: beam.PCollection[Any], to_event: Callable[[Any], Any] | None = None
    ) -> Delivery:
        """Send elements to Splunk, and write those it does not take to files.

        Args:
            events: Elements.
            to_event: See `WriteToSplunkHEC`.

        Returns:
            Its outputs; the dead letters among them are already consumed.

        Raises:
            ConfigError: An option is missing or of the wrong form.
        """
        delivery: Delivery = events | "WriteToSplunkHEC" >> self.sink(to_event)
        if self.dead_letters:
            _ = delivery.dead_letters | "WriteDeadLetters" >> WriteDeadLetters(self.dead_letters)
        return delivery

    def check(self) -> None:
        """Refuse what is missing, and what cannot go together.

        Raises:
            ConfigError: With the option's name, and how to mend it.
        """
        if not self.hec_url:
            raise ConfigError("--hec_url is required, e.g. --hec_url=https://splunk.example:8088")
        if not self.hec_token:
            raise ConfigError("--hec_token is required, e.g. --hec_token=env:SPLUNK_HEC_TOKEN")
        if not is_reference(self.hec_token):
            raise ConfigError(
                "--hec_token takes env:NAME, file:PATH or gcp-secret:projects/P/secrets/S, "
                "not the token itself"
            )
        if self.on_reject == "dead_letter" and not self.dead_letters:
            raise ConfigError(
                "--dead_letters is required, e.g. --dead_letters=gs://bucket/dead/app: rejected events are "
                "written there; or give --on_reject=fail"
            )
        if self.on_reject == "fail" and self.dead_letters:
            raise ConfigError("--dead_letters goes with --on_reject=dead_letter: fail leaves no dead letters")


class InputOptions(PipelineOptions):
    """Which files to read."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument_group("Files").add_argument(
            "--input",
            action="append",
            default=[],
            metavar="GLOB",
            help="files to read, e.g. /var/log/app/*.log or gs://bucket/logs/**; may be given several times",
        )

    def patterns(self, *, may_be_empty: bool = False) -> list[str]:
        """The globs.

        Args:
            may_be_empty: Files may still come; otherwise each glob must match one now.

        Raises:
            ConfigError: There is none, or one matches nothing.
        """
        found = [one for one in self.input if one]
        if not found:
            raise ConfigError("--input is required, e.g. --input='/var/log/app/*.log'")
        if not may_be_empty:
            for pattern in found:
                _check_matches(pattern)
        return found


class LineOptions(PipelineOptions):
    """How to read a line."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument_group("Lines").add_argument(
            "--line_format",
            default="text",
            metavar="FORMAT",
            help="text: each line is an event; json: each line is one JSON value, indexed as such. "
            "Default: text",
        )

    @property
    def is_json(self) -> bool:
        """Whether lines are JSON.

        Raises:
            ConfigError: It is neither text nor json.
        """
        if self.line_format not in ("text", "json"):
            raise ConfigError(f"--line_format must be text or json, not {self.line_format!r}")
        return bool(self.line_format == "json")


def _check_matches(pattern: str) -> None:
    try:
        (match,) = FileSystems.match([pattern], limits=[1])
    except (BeamIOError, ValueError) as error:
        raise ConfigError(f"--input: {pattern} cannot be listed: {error}") from None
    if not match.metadata_list:
        raise ConfigError(f"--input: no file matches {pattern}")


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(f'{name} must be a JSON object such as {{"lanes": 4}}: {error}') from None
