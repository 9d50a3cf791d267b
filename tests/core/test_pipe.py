"""`splunk_hec.pipe` without a process: lines, arguments, what `--help` loads."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec import pipe
from splunk_hec._pipe_lines import LineCutter


@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"0123456789", b"\xff"])),
    st.lists(st.integers(1, 7)),
)
def test_lines_do_not_depend_on_how_they_were_read(pieces: list[bytes], cuts: list[int]) -> None:
    """However a stream is cut into reads, its lines are the same, and each too long one is counted once."""
    data = b"".join(pieces)
    cutter = LineCutter(8)
    found: list[bytes] = []
    at = 0
    for cut in cuts:
        found += cutter.feed(data[at : at + cut])
        at += cut
    found += cutter.feed(data[at:]) + cutter.rest()
    ends = data.split(b"\n")
    wanted = [end.removesuffix(b"\r") for end in (ends if ends[-1] else ends[:-1])]
    assert found == [line for line in wanted if len(line) <= 8]
    assert cutter.too_long == len(wanted) - len(found)


def test_a_line_without_end_is_not_held() -> None:
    """A line over the limit is forgotten at once, however long it goes on."""
    cutter = LineCutter(1_000)
    for _ in range(100):
        assert cutter.feed(b"x" * 500) == []
        assert len(cutter._part) <= 1_001
    assert cutter.feed(b"y\nnext\n") == [b"next"]
    assert cutter.too_long == 1


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ([], 2, "--url is missing, e.g. --url https://"),
        (["--url", "http://h:1"], 2, "--token is missing, e.g. --token env:NAME"),
        (["--url", "http://h:1", "--token", "11111111-2222"], 2, "never the token itself"),
        (["--url", "h", "--token", "env:HOME"], 3, "url 'h' is not of the form"),
        (["--url", "http://h:1", "--token", "env:NO_SUCH"], 3, "NO_SUCH"),
        (
            ["--url", "http://h:1", "--token", "env:HOME", "--spill", "/nowhere/x"],
            3,
            "--spill /nowhere/x: No",
        ),
    ],
)
def test_wrong_usage_is_one_line(
    given: list[str],
    code: int,
    said: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong usage ends with its code and one line that says how to mend it, and shows no token."""
    for name in ("URL", "TOKEN"):
        monkeypatch.delenv(f"SPLUNK_HEC_{name}", raising=False)
    monkeypatch.setenv("HOME", "/root")
    assert pipe.main(given) == code
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert "11111111-2222" not in told


@pytest.mark.parametrize("given", [["--drain-s", "-1"], ["--drain-s", "nan"], ["--ack", "maybe"], ["--tokn"]])
def test_wrong_values_are_usage(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A value that cannot be is refused by the name of its option, with code 2."""
    with pytest.raises(SystemExit) as ended:
        pipe.main(given)
    assert ended.value.code == 2
    assert given[0] in capsys.readouterr().err


def test_help_is_light() -> None:
    """`--help` tells of every option and loads neither the client nor HTTP."""
    code = (
        "import sys\nfrom splunk_hec.pipe import main\n"
        "try: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert "--spill FILE" in done.stdout
    assert not set(done.stdout.split()) & {"requests", "urllib3", "msgspec", "logging", "splunk_hec.client"}
