"""What a user gets from `pip install`: the wheel's contents, its commands, the client alone."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from foreign.registries import fresh_venv, must, run

if TYPE_CHECKING:
    from splunk_hec_emulator import Emulator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PACKAGES = sorted(path.parent for path in ROOT.glob("c*/*/__init__.py"))  # core, connectors
DELIVER = """\
import sys
from splunk_hec import Event, HecClient, HecConfig
with HecClient(HecConfig(url=sys.argv[1], token="env:TOKEN", ack="required", linger_s=0.01)) as hec:
    hec.submit(Event("from the wheel", sourcetype="app", ref=17))
    assert hec.flush(timeout_s=30) == 0
    [outcome] = hec.poll()
    print(outcome.kind, *outcome.refs)
"""


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel without extras."""
    return fresh_venv(tmp_path_factory.mktemp("plain"), wheel)


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """Every file of the packages is in the wheel, typed and licensed, and no test, page or cache is."""
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    sources = {
        f"{path.relative_to(package.parent)}"
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert not [name for name in sources if re.search(r"\.md$|\.pyc$|/test_|/tests/", name)]
    assert {f"{package.name}/py.typed" for package in PACKAGES} <= sources
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/core/LICENSE.md")
    assert names == sources | {f"{info}/{name}" for name in about}


def test_the_wheel_names_its_commands_and_what_it_needs(wheel: Path) -> None:
    """Commands and pytest fixture are entry points, and a plain install needs neither Kafka nor click."""
    with zipfile.ZipFile(wheel) as opened:
        [entries, metadata] = (
            opened.read(
                next(name for name in opened.namelist() if name.endswith(f".dist-info/{end}"))
            ).decode()
            for end in ("entry_points.txt", "METADATA")
        )
    assert re.findall(r"^(\S+) = (\S+)$", entries, re.MULTILINE) == [
        ("hec-emulator", "splunk_hec_emulator.__main__:main"),
        ("hec-kafka-sink", "splunk_hec_kafka.__main__:main"),
        ("splunk_hec_emulator", "splunk_hec_emulator.pytest_plugin"),
    ]
    needed = re.findall(r"^Requires-Dist: (\S+?)[<>=!~;](?!.*extra ==)", metadata, re.MULTILINE)
    assert sorted(needed) == ["isal", "msgspec", "requests", "urllib3"]
    assert "License-Expression: Apache-2.0" in metadata


def test_the_commands_answer(wheel: Path, tmp_path: Path) -> None:
    """With the extra of the sink both commands are there and say how they are used."""
    programs = fresh_venv(tmp_path / "venv", f"{wheel}[kafka]")
    for command in ("hec-kafka-sink", "hec-emulator"):
        assert must(programs / command, "--help").startswith(f"Usage: {command} ")
        assert VERSION in must(programs / command, "--version")


def test_a_plain_install_delivers(plain: Path, hec_emulator: Emulator) -> None:
    """The client needs no extra: it delivers an event and learns that it was acknowledged."""
    said = must(plain / "python", "-Ic", DELIVER, hec_emulator.url, TOKEN=hec_emulator.token)
    assert said == "delivered 17\n"
    [event] = hec_emulator.events()
    assert (event["event"], event["sourcetype"]) == ("from the wheel", "app")


@pytest.mark.parametrize(("command", "extra"), [("hec-kafka-sink", "kafka"), ("hec-emulator", "emulator")])
def test_a_command_without_its_extra_says_which_to_install(plain: Path, command: str, extra: str) -> None:
    """Without its extra a command ends with one line that names what to install, and no traceback."""
    done = run(plain / command, "--help")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert f"splunk-hec-sink[{extra}]" in done.stderr
