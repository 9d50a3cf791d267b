"""Fixtures of the Beam connector's tests: a runner that is ready, a token by reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import runners
from beam_tools import TOKEN, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from splunk_hec_emulator import Emulator


@pytest.fixture
def runner(request: pytest.FixtureRequest) -> Iterator[runners.Runner]:
    """The runner that `runners.on` names; what its server wrote is shown when the test fails."""
    match request.param:
        case "fn_api":
            yield runners.Runner("fn_api", ("--runner=FnApiRunner",))
        case "bundle_based":
            yield runners.Runner("bundle_based", ("--runner=BundleBasedDirectRunner",))
        case name:
            server: runners.Server = request.getfixturevalue(f"{name}_server")
            yield runners.behind(name, server)
            print(server.log())


@pytest.fixture(scope="session")
def prism_server() -> Iterator[runners.Server]:
    """One Prism for the session; skipped loudly where it cannot be, demanded when CI is set."""
    runners.require("prism")
    with runners.started(runners.prism) as server:
        yield server


@pytest.fixture(scope="session")
def flink_server() -> Iterator[runners.Server]:
    """One Flink job server for the session; likewise."""
    runners.require("flink")
    with runners.started(runners.flink) as server:
        yield server


@pytest.fixture
def token(tmp_path: Path) -> str:
    """A reference to `TOKEN` that resolves in any process of this machine."""
    file = tmp_path / "token"
    file.write_text(TOKEN, encoding="utf-8")
    return f"file:{file}"


@pytest.fixture
def site(hec_emulator: Emulator, token: str, tmp_path: Path) -> Site:
    """A HEC server of the test's own, which must know `TOKEN`."""
    folder = tmp_path / "out"
    folder.mkdir()
    return Site(hec_emulator, token, folder)
