"""What the rig's files promise, read without an engine; `docker/test-rig.sh` runs them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from splunk_hec_kafka.config import SinkConfig, load

DOCKER = Path(__file__).parents[2] / "docker"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
OURS = ("producer", "sink", "splunk")
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]
TOKEN = "00000000-0000-0000-0000-000000000001"


def test_the_image_starts_the_sink_itself_as_nobody() -> None:
    """The sink is the first process, so that SIGTERM reaches it, and a number, not root, runs it."""
    assert '\nENTRYPOINT ["hec-kafka-sink"]\n' in LAST_STAGE
    [user] = re.findall(r"^USER (\d+):(\d+)$", LAST_STAGE, re.MULTILINE)
    assert "0" not in user


def test_the_image_is_made_of_a_base_that_can_be_chosen_and_one_layer_of_ours() -> None:
    """The base is a build argument, and the build's tools stay behind in its stage."""
    assert "\nARG BASE=python:3.13-slim\n" in DOCKERFILE
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert re.findall(r"^(?:COPY|ADD|RUN).*", LAST_STAGE, re.MULTILINE) == [
        "COPY --from=build /opt/venv /opt/venv"
    ]


def test_health_is_that_of_the_process() -> None:
    """An outage of Splunk restarts nothing: only /livez is asked, where the image listens."""
    health = re.search(r"HEALTHCHECK(.*?)\nENTRYPOINT", LAST_STAGE, re.DOTALL)
    assert health is not None
    assert ":9099/livez" in health[1]
    assert "HEC_SINK_SERVER__LISTEN=0.0.0.0:9099" in LAST_STAGE
    assert "healthcheck" not in SERVICES["sink"]  # or it would stand in the place of the image's


@pytest.mark.parametrize("name", OURS)
def test_our_services_can_change_nothing(name: str) -> None:
    """Each runs without capabilities on a read-only root file system, as the image's user."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"user", "privileged", "cap_add", "pid", "network_mode"}
    assert all(volume.endswith(":ro") for volume in service.get("volumes", []))


def test_the_rig_has_its_services_and_two_sinks() -> None:
    """`up` starts Kafka, the emulator, a producer and two sinks; what needs more stands under a profile."""
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert always == {"kafka", "topics", "splunk", "sink", "producer"}
    assert SERVICES["sink"]["deploy"]["replicas"] == 2
    assert SERVICES["prometheus"]["profiles"] == SERVICES["grafana"]["profiles"] == ["observability"]
    assert SERVICES["real-splunk"]["profiles"] == ["real-splunk"]


def test_the_grace_period_is_above_the_sinks_own() -> None:
    """Docker kills only after the sink has had all the time it takes to end in order."""
    grace_s = int(SERVICES["sink"]["stop_grace_period"].removesuffix("s"))
    assert grace_s >= rig_config().run.shutdown_s + 10


def test_what_is_published_is_published_to_this_machine_alone() -> None:
    """No port of the rig can be reached from another machine."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_token_stands_on_a_command_line() -> None:
    """Tokens go by environment: command lines are shown by `ps` and `docker ps` to everyone."""
    for name, service in SERVICES.items():
        said = str([service.get("entrypoint"), service.get("command"), service.get("healthcheck")])
        assert TOKEN not in said, name
        assert "TOKEN" not in said, name
        assert "PASSWORD" not in said, name


def test_the_sinks_configuration_is_sound() -> None:
    """The sink accepts the mounted file with what compose.yaml adds, and its topics are made."""
    config = rig_config()
    made = re.findall(r"--topic (\S+)", SERVICES["topics"]["command"][0])
    assert {*config.kafka.topics, config.dead_letter.topic} == set(made)


def test_every_file_that_is_mounted_is_there() -> None:
    """A name that is mounted from beside compose.yaml exists: Docker would make an empty folder of it."""
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    here = {mount.partition(":")[0] for mount in mounts if mount.startswith("./")}
    assert here
    assert [name for name in here if not (DOCKER / name).exists()] == []


def test_without_an_engine_the_rig_says_that_it_was_not_run(tmp_path: Path) -> None:
    """Where there is neither an engine nor a way to one, a loud line and 0; with --required 1."""
    (tmp_path / "docker").mkdir()
    script = tmp_path / "docker" / "test-rig.sh"
    script.write_bytes((DOCKER / "test-rig.sh").read_bytes())
    nothing = {"PATH": "/usr/bin:/bin", "DOCKER_HOST": f"unix://{tmp_path}/none", "HOME": str(tmp_path)}
    for options, code in (((), 0), (("--required",), 1), (("--else",), 2)):
        done = subprocess.run(
            ["bash", script, *options], env=nothing, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code
        assert ("THE RIG WAS NOT RUN" in done.stderr) is (code < 2)


def rig_config() -> SinkConfig:
    """The configuration of the rig's sink, as the sink reads it."""
    given = {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        for name, value in SERVICES["sink"]["environment"].items()
    }
    return load(DOCKER / "sink.toml", given).config
