"""The Flex template's files agree with the pipeline they launch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from splunk_hec_beam.command_line import parser_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

TOP = Path(__file__).parents[2]
METADATA: dict[str, Any] = json.loads((TOP / "pipelines/flex/metadata.json").read_text("utf-8"))
PARAMETERS: dict[str, dict[str, Any]] = {one["name"]: one for one in METADATA["parameters"]}


def accepts(name: str, value: str) -> bool:
    """Whether the template lets a value through."""
    return all(re.search(one, value) for one in PARAMETERS[name].get("regexes", []))


def test_every_flag_is_a_parameter(script: Callable[[str], ModuleType]) -> None:
    """The template offers each flag of the pipeline and no other; on_reject stays dead_letter."""
    actions = parser_of(script("pubsub_to_splunk").OPTIONS)._actions
    flags = {one.dest for one in actions} - {"help", "on_reject"}
    assert set(PARAMETERS) == flags


def test_what_the_pipeline_requires_is_required() -> None:
    """Just the flags without which the pipeline refuses to start are not optional."""
    required = {name for name, one in PARAMETERS.items() if not one.get("isOptional")}
    assert required == {"subscription", "hec_url", "hec_token", "dead_letters"}
    assert METADATA["streaming"] is METADATA["supportsAtLeastOnce"] is True


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("hec_token", "gcp-secret:projects/p/secrets/s/versions/3", "11111111-2222-3333-4444-555555555555"),
        ("hec_token", "env:HEC", "plain"),
        ("hec_url", "https://a:8088, https://b:8088", "a:8088"),
        ("subscription", "projects/p/subscriptions/s", "projects/p/topics/t"),
        ("dead_letters", "gs://b/dead/x", "/tmp/x"),
        ("verify", "false", "no"),
        ("bundle_deadline_s", "240.5", "soon"),
        ("index", "main_2", "Main"),
    ],
)
def test_parameters_are_checked_before_a_job_starts(name: str, good: str, bad: str) -> None:
    """A literal token, a wrong address or name is refused by the template itself."""
    assert accepts(name, good)
    assert not accepts(name, bad)


def test_the_image_holds_what_it_launches() -> None:
    """The image's default pipeline exists, and everything it copies is in the checkout."""
    text = (TOP / "docker/flex-template.Dockerfile").read_text("utf-8")
    (pipeline,) = re.findall(r"^ARG PIPELINE=(\w+)$", text, re.MULTILINE)
    assert (TOP / "pipelines" / f"{pipeline}.py").exists()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    assert [one for names in copied for one in names.split() if not list(TOP.glob(one))] == []
