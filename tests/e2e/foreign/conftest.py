"""Foreign clients made ready to run: each fixture is a command that takes url, token and count."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign.registries import fresh_venv, must, require

HERE = Path(__file__).parent


@pytest.fixture
def splunk_handler(tmp_path: Path) -> list[str]:
    """PyPI's splunk-handler."""
    programs = fresh_venv(tmp_path / "venv", "splunk-handler")
    return [f"{programs}/python", "-I", f"{HERE}/send_splunk_handler.py"]


@pytest.fixture
def splunk_hec_handler(tmp_path: Path) -> list[str]:
    """PyPI's splunk-hec-handler."""
    programs = fresh_venv(tmp_path / "venv", "splunk-hec-handler")
    return [f"{programs}/python", "-I", f"{HERE}/send_splunk_hec_handler.py"]


@pytest.fixture
def splunk_logging(tmp_path: Path) -> list[str]:
    """Splunk's own splunk-logging from npm."""
    require("node", "npm")
    quiet = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
    must("npm", "install", *quiet, "--prefix", tmp_path, "splunk-logging")
    (tmp_path / "send.js").write_text((HERE / "send_splunk_logging.js").read_text())
    return ["node", f"{tmp_path}/send.js"]


@pytest.fixture
def splunk_io(tmp_path: Path) -> list[str]:
    """Beam's Java SplunkIO from Maven on the direct runner, in a pipeline compiled here."""
    require("java", "javac", "mvn")
    jars, classes = f"{tmp_path}/jars", f"{tmp_path}/classes"
    copy = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}")
    must("mvn", "-B", "-q", "-f", HERE / "pom.xml", *copy)
    must("javac", "-cp", f"{jars}/*", "-d", classes, HERE / "SendSplunkIo.java")
    return ["java", "-cp", f"{classes}:{jars}/*", "SendSplunkIo"]
