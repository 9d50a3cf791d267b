"""`check`: what each answer means, and that nothing is indexed or shown that must not be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from kafka_tools import produce

from splunk_hec import Outcome, OutcomeKind, Probe
from splunk_hec_emulator import Emulator
from splunk_hec_kafka import check_rules as rules
from splunk_hec_kafka.check import run_checks
from splunk_hec_kafka.config import Hec, load
from splunk_hec_kafka.dead_letter_topic import TopicFinding
from splunk_hec_kafka.failures import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from splunk_hec_kafka._mock_kafka import MockKafka

SECRET = "s3cret-token-value"
LETTERS = "hec-kafka-sink.dead-letters"
HEC = Hec(url="https://splunk.example:8088", token="env:TOKEN")


class Site:
    """An embedded Kafka with topics, and whatever HEC a test names."""

    def __init__(self, bootstrap: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.bootstrap = bootstrap
        self._capsys = capsys

    def check(
        self,
        url: str,
        token: str = SECRET,
        sets: tuple[str, ...] = (),
        *,
        flags: dict[str, Any] | None = None,
        file: Path | None = None,
        offline: bool = False,
        probe_event: bool = False,
    ) -> tuple[int, dict[str, dict[str, str]]]:
        """Run all checks; the exit code and the findings by name."""
        given = {
            "kafka.bootstrap_servers": self.bootstrap,
            "kafka.topics": ["logs"],
            "kafka.group_id": "group",
            "hec.url": url,
            "hec.token": "env:CHECKED_TOKEN",
        }
        given |= flags or {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHECKED_TOKEN", token)
            code = run_checks(
                lambda: load(file, {}, sets, given), offline=offline, probe_event=probe_event, output="json"
            )
        out = self._capsys.readouterr().out
        assert SECRET not in out
        findings = json.loads(out)
        assert [one["name"] for one in findings] == list(rules.NAMES)
        assert all(set(one) == {"name", "status", "text", "fix"} for one in findings)
        return code, {one["name"]: one for one in findings}


@pytest.fixture
def site(mock_kafka: MockKafka, capsys: pytest.CaptureFixture[str]) -> Site:
    """An embedded Kafka with the topics of a good configuration."""
    mock_kafka.create_topic("logs", 2)
    mock_kafka.create_topic(LETTERS, 1)
    return Site(mock_kafka.bootstrap, capsys)


def statuses(findings: dict[str, dict[str, str]]) -> dict[str, str]:
    """Name → status."""
    return {name: one["status"] for name, one in findings.items()}


def test_a_good_deployment_passes_and_indexes_nothing(site: Site, hec_emulator: Emulator) -> None:
    """All checks pass or warn, the exit code is 0, and Splunk has no event more than before."""
    code, found = site.check(hec_emulator.url, hec_emulator.token)
    assert code == 0
    assert "fail" not in statuses(found).values()
    assert found["hec.token"]["status"] == found["hec.acks"]["status"] == "ok"
    assert found["hec.index"]["status"] == "skip"
    assert hec_emulator.stats()["events_indexed"] == 0


def test_probe_event_indexes_one_event_and_says_so(site: Site, hec_emulator: Emulator) -> None:
    """With --probe-event exactly one event is indexed, and the finding names where."""
    code, found = site.check(hec_emulator.url, hec_emulator.token, probe_event=True)
    assert code == 0
    assert "one event was indexed" in found["hec.index"]["text"]
    assert len(hec_emulator.events()) == 1


@pytest.mark.hec_emulator(tokens=[f"{SECRET}:ack:index=main"])
def test_an_index_that_splunk_refuses_fails(site: Site, hec_emulator: Emulator) -> None:
    """Each index that a route names is tried; the refused one is named, with the curl line that shows it."""
    sets = ("route.0.index=main", 'route.0.topics=["a"]', "route.1.index=forbidden")
    code, found = site.check(hec_emulator.url, sets=sets, probe_event=True)
    assert code == ExitCode.HEC
    assert "'forbidden'" in found["hec.index"]["text"]
    assert '"index":"forbidden"' in found["hec.index"]["fix"]
    assert [event["index"] for event in hec_emulator.events()] == ["main"]


def test_a_wrong_token_fails_with_the_curl_line(site: Site, hec_emulator: Emulator) -> None:
    """A refused token ends in exit 5; the curl line names the variable, never the value."""
    code, found = site.check(hec_emulator.url)
    assert code == ExitCode.HEC
    assert statuses(found)["hec.token"] == "fail"
    assert "Splunk $CHECKED_TOKEN" in found["hec.token"]["fix"]
    assert {found[name]["status"] for name in ("hec.acks", "hec.channel", "hec.index")} == {"skip"}


def test_a_token_without_acks_fails_where_they_are_required(site: Site, hec_emulator: Emulator) -> None:
    """`required` fails, `auto` and `off` warn that Splunk may lose what it took."""
    token = hec_emulator.plain_token
    code, found = site.check(hec_emulator.url, token)
    assert (code, found["hec.acks"]["status"]) == (ExitCode.HEC, "fail")
    for ack in ("auto", "off"):
        code, found = site.check(hec_emulator.url, token, (f"hec.ack={ack}",))
        assert (code, found["hec.acks"]["status"]) == (0, "warn")


def test_an_unreachable_splunk_fails(site: Site) -> None:
    """A port where nobody listens, and a name that does not resolve, each fail at their own check."""
    code, found = site.check("http://127.0.0.1:1")
    assert code == ExitCode.HEC
    assert found["hec.tls"]["status"] == "fail"
    assert "curl -v" in found["hec.tls"]["fix"]
    code, found = site.check("https://no-such-host.invalid:8088")
    assert found["hec.dns"]["status"] == "fail"
    assert found["hec.token"]["status"] == "skip"


def test_a_proxy_hides_names_and_connections(site: Site) -> None:
    """Through a proxy neither name nor certificate can be looked at from here; the probe still tells."""
    sets = ('hec.proxy="http://127.0.0.1:1"',)
    code, found = site.check("http://splunk.invalid:8088", sets=sets)
    assert statuses(found)["hec.dns"] == statuses(found)["hec.tls"] == "skip"
    assert (code, found["hec.token"]["status"]) == (ExitCode.HEC, "fail")


def test_tls_is_looked_at(site: Site, tmp_path: Path) -> None:
    """A certificate that nobody vouches for fails; with its CA it passes; unverified, it is a warning."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    cert, key, ca = (str(tmp_path / name) for name in ("cert.pem", "key.pem", "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    with Emulator(ack_delay=0, tls=(cert, key)) as emulator:
        code, found = site.check(emulator.url, emulator.token)
        assert (code, found["hec.tls"]["status"]) == (ExitCode.HEC, "fail")
        assert "ca_file" in found["hec.tls"]["fix"]
        code, found = site.check(emulator.url, emulator.token, (f"hec.ca_file='{ca}'",))
        assert (code, found["hec.tls"]["status"]) == (0, "ok")
        sets = ("hec.verify=false", f"hec.client_cert='{cert}'", f"hec.client_key='{key}'")
        code, found = site.check(emulator.url, emulator.token, sets)
        assert found["hec.tls"]["status"] == "warn"


def test_certificates_that_cannot_be_read_are_a_fault_of_the_configuration(site: Site) -> None:
    """A CA file that is not there ends in exit 3, with a proxy between as well."""
    sets = ("hec.ca_file='/nowhere.pem'",)
    code, found = site.check("https://127.0.0.1:1", sets=sets)
    assert (code, found["hec.tls"]["status"]) == (ExitCode.CONFIG, "fail")
    code, found = site.check("https://127.0.0.1:1", sets=(*sets, 'hec.proxy="http://127.0.0.1:1"'))
    assert (code, found["hec.token"]["status"]) == (ExitCode.CONFIG, "fail")


def test_a_group_that_may_not_be_read_fails(
    site: Site, mock_kafka: MockKafka, hec_emulator: Emulator
) -> None:
    """A group without permission is told before the sink would find out."""
    mock_kafka.push_errors(9, [30] * 10)
    code, found = site.check(hec_emulator.url, hec_emulator.token)
    assert (code, found["kafka.group"]["status"]) == (ExitCode.KAFKA, "fail")


@pytest.mark.hec_emulator(ack_delay="never")
def test_a_probe_event_that_nobody_confirms_fails(site: Site, hec_emulator: Emulator) -> None:
    """An indexer that never acknowledges is found out within the time for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("splunk_hec_kafka.check_hec.CONFIRM_S", 0.5)
        code, found = site.check(hec_emulator.url, hec_emulator.token, probe_event=True)
    assert (code, found["hec.index"]["status"]) == (ExitCode.HEC, "fail")
    assert "not confirmed" in found["hec.index"]["text"]


def test_an_unreachable_broker_fails_first(site: Site, hec_emulator: Emulator) -> None:
    """The first failure decides the exit code; what stands on the broker is skipped; Splunk is asked."""
    flags = {"kafka.bootstrap_servers": "127.0.0.1:1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("splunk_hec_kafka.check.ASK_S", 0.5)
        code, found = site.check(hec_emulator.url, flags=flags)
    assert code == ExitCode.KAFKA
    assert statuses(found)["kafka.brokers"] == "fail"
    assert "refused" in found["kafka.brokers"]["text"]
    assert statuses(found)["dead_letter.topic"] == "skip"
    assert statuses(found)["hec.token"] == "fail"


def test_an_unknown_property_is_a_fault_of_the_configuration(site: Site, hec_emulator: Emulator) -> None:
    """A property that librdkafka does not know is told as such."""
    sets = ('kafka.properties."no.such.property"=1',)
    code, found = site.check(hec_emulator.url, hec_emulator.token, sets)
    assert (code, found["kafka.brokers"]["status"]) == (ExitCode.CONFIG, "fail")


def test_missing_topics_fail(site: Site, hec_emulator: Emulator) -> None:
    """A named topic that is missing fails; an expression that matches nothing yet is a warning."""
    code, found = site.check(hec_emulator.url, hec_emulator.token, flags={"kafka.topics": ["nope"]})
    assert (code, found["kafka.topics"]["status"]) == (ExitCode.KAFKA, "fail")
    assert found["kafka.group"]["status"] == "skip"
    code, found = site.check(hec_emulator.url, hec_emulator.token, flags={"kafka.topics": ["^nope.*"]})
    assert (code, found["kafka.topics"]["status"]) == (0, "warn")


def test_a_missing_dead_letter_topic_fails(site: Site, hec_emulator: Emulator) -> None:
    """Without its topic the sink would not start; with on_reject = fail it needs none."""
    flags = {"dead_letter.topic": "nope"}
    code, found = site.check(hec_emulator.url, hec_emulator.token, flags=flags)
    assert (code, found["dead_letter.topic"]["status"]) == (ExitCode.DEAD_LETTER_TOPIC, "fail")
    assert found["dead_letter.size"]["status"] == "skip"
    code, found = site.check(
        hec_emulator.url, hec_emulator.token, flags=flags | {"dead_letter.on_reject": "fail"}
    )
    assert (code, found["dead_letter.topic"]["status"]) == (0, "skip")


def test_start_fail_needs_commits(site: Site, hec_emulator: Emulator) -> None:
    """With kafka.start = fail a partition without a commit is a failure before it is one at night."""
    produce(site.bootstrap, "logs", [b"a"])
    code, found = site.check(hec_emulator.url, hec_emulator.token, ("kafka.start=fail",))
    assert (code, found["kafka.group"]["status"]) == (ExitCode.KAFKA, "fail")


def test_offline_asks_nobody(site: Site) -> None:
    """With --offline the configuration alone is checked."""
    code, found = site.check("https://no-such-host.invalid:8088", offline=True)
    assert code == 0
    assert list(statuses(found).values()) == ["ok", *["skip"] * (len(rules.NAMES) - 1)]


def test_a_broken_configuration_fails_alone(site: Site) -> None:
    """All its mistakes are in one line; nobody is asked anything."""
    code, found = site.check("https://splunk.invalid:8088", sets=("hec.lanes=x", "kafka.strat=latest"))
    assert code == ExitCode.CONFIG
    assert "hec.lanes" in found["config"]["text"]
    assert "kafka.strat" in found["config"]["text"]
    assert set(list(statuses(found).values())[1:]) == {"skip"}


def test_a_token_that_is_nowhere_is_a_fault_of_the_configuration(site: Site) -> None:
    """A variable that is not set is told before anybody is asked."""
    code, found = site.check("https://splunk.invalid:8088", token="")
    assert code == ExitCode.CONFIG
    assert "CHECKED_TOKEN" in found["config"]["text"]


def test_a_literal_token_is_a_warning(site: Site, tmp_path: Path) -> None:
    """A token that stands in the file works, and is warned about; the curl line does not show it."""
    file = tmp_path / "sink.toml"
    file.write_text(f'[hec]\ntoken = "{SECRET}"\n')
    with Emulator(ack_delay=0) as emulator:
        code, found = site.check(emulator.url, flags={"hec.token": None}, file=file)
    assert code == ExitCode.HEC
    assert found["config"]["status"] == "warn"
    assert "$SPLUNK_HEC_TOKEN" in found["hec.token"]["fix"]


def test_text_is_one_line_a_check(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """As text, each finding is `status  NAME  text  fix: …` on one line."""
    code = run_checks(lambda: load(None, {}, ["x=1"]), offline=True, probe_event=False, output="text")
    lines = capsys.readouterr().out.splitlines()
    assert code == ExitCode.CONFIG
    assert len(lines) == len(rules.NAMES)
    assert lines[0].startswith("fail  config ")
    assert "  fix: " in lines[0]


def test_the_channel_that_posts_need_is_told(site: Site, hec_emulator: Emulator) -> None:
    """A token with acknowledgements needs a channel in each post, one without does not; both work."""
    _, found = site.check(hec_emulator.url, hec_emulator.token)
    assert found["hec.channel"]["text"].startswith("posts need a channel")
    _, found = site.check(hec_emulator.url, hec_emulator.plain_token, ("hec.ack=off",))
    assert found["hec.channel"]["text"].startswith("posts need no channel")


@pytest.mark.parametrize("wanted", [True, False])
def test_colours_are_for_terminals(
    wanted: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the status has a colour, if colours are wanted; a pipe gets none either way."""
    for is_terminal in (True, False):
        monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_, strips=not is_terminal: strips)
        run_checks(lambda: load(None, {}), offline=True, probe_event=False, output="text", use_color=wanted)
        out = capsys.readouterr().out
        assert ("\x1b[31mfail\x1b[0m  config" in out) is (wanted and is_terminal)
        assert ("\x1b" in out) is (wanted and is_terminal)


# ---- rules -------------------------------------------------------------------------------------------


def test_topics_that_the_broker_refuses_fail() -> None:
    """A topic that is there and may not be read is told as such, not as missing."""
    config = load(None, {}, flags={"kafka.topics": ["logs"]}).config
    found = rules.judge_topics(config, {}, {"logs": "Topic authorization failed"})
    assert found.status == "fail"
    assert "authorization" in found.text


def test_a_group_with_all_its_commits_is_fine() -> None:
    """The text counts commits; without any missing there is nothing to say about the start."""
    config = load(None, {}, flags={"kafka.group_id": "g"}).config
    assert rules.judge_group(config, [1, 2]).text == "g: 2 of 2 partitions have a commit"
    assert "earliest" in rules.judge_group(config, [1, None]).text


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (TopicFinding(topic="d", exists=True, retention_ms=604_800_000), "ok"),
        (TopicFinding(topic="d", exists=True, warning="not told"), "warn"),
        (TopicFinding(topic="d", exists=True, cleanup_policy="compact"), "fail"),
        (TopicFinding(topic="d", exists=False), "fail"),
        (TopicFinding(topic="d", exists=None, warning="no broker"), "fail"),
    ],
)
def test_dead_letters_need_a_place_that_keeps_them(found: TopicFinding, status: str) -> None:
    """A compacted topic, a missing one and one nobody can tell of fail with exit 8."""
    finding = rules.judge_letter_topic(found)
    assert finding.status == status
    assert finding.code == (ExitCode.DEAD_LETTER_TOPIC if status == "fail" else 0)


def test_dead_letters_need_room_for_their_headers() -> None:
    """A dead-letter topic with the limit of its source cannot take the source's largest record."""
    source = TopicFinding(topic="s", exists=True, max_message_bytes=1_000_000)
    same = TopicFinding(topic="d", exists=True, max_message_bytes=1_000_000)
    more = TopicFinding(topic="d", exists=True, max_message_bytes=2_000_000)
    assert rules.judge_letter_size(same, [source]).status == "warn"
    assert "1016384" in rules.judge_letter_size(same, [source]).fix
    assert rules.judge_letter_size(more, [source]).status == "ok"
    assert rules.judge_letter_size(TopicFinding(topic="d", exists=True), [source]).status == "skip"


def test_a_certificate_that_ends_soon_is_a_warning() -> None:
    """Ten days before its end there is still time; a year before there is nothing to say."""
    day_s = 86_400
    assert rules.judge_certificate("u", "TLSv1.3", 10 * day_s, HEC).status == "warn"
    assert rules.judge_certificate("u", "TLSv1.3", 365 * day_s, HEC).status == "ok"


def test_what_cannot_be_learnt_of_acks_is_a_warning() -> None:
    """An endpoint that takes the token but answers no ack query is not failed for it."""
    probe = Probe(True, None, False, "ok", HEC.url if isinstance(HEC.url, str) else "")
    acks = next(one for one in rules.judge_probe(probe, HEC) if one.name == "hec.acks")
    assert acks.status == "warn"


def test_a_probe_event_that_is_not_confirmed_fails() -> None:
    """No outcome in time, a rejection and a halt each fail with what is known."""
    rejected = Outcome(
        kind=OutcomeKind.REJECTED, refs=[0], count=1, reason="bad_index", text="Incorrect index"
    )
    assert "Incorrect index" in rules.judge_outcome(rejected, None, "i", HEC).text
    assert "not confirmed" in rules.judge_outcome(None, None, "", HEC).text
    assert "halted" in rules.judge_outcome(None, ("bad_index", "halted"), "i", HEC).text


@pytest.mark.parametrize(
    ("hec", "part"),
    [
        (Hec(url="u", token="env:T"), "$T"),
        (Hec(url="u", token="file:/a b"), "$(cat '/a b')"),
        (Hec(url="u", token=SECRET), "$SPLUNK_HEC_TOKEN"),
        (Hec(url="u", token="env:T", verify=False), " -k "),
        (Hec(url="u", token="env:T", ca_file="ca.pem"), "--cacert ca.pem"),
        (Hec(url="u", token="env:T", client_cert="c", client_key="k"), "--cert c --key k"),
        (Hec(url="u", token="env:T", proxy="http://me:pass@proxy:1"), "-x 'http://***@proxy:1'"),
        (Hec(url=("u", "v"), token="env:T"), "--noproxy"),
        (Hec(url="u", token="env:T", proxy="env"), "curl -i u/"),
    ],
)
def test_the_curl_line_goes_the_way_of_the_sink(hec: Hec, part: str) -> None:
    """The same proxy, CA and certificate; the token by its place; no secret."""
    line = rules.curl_event(hec, "")
    assert part in line
    assert SECRET not in line
    assert "pass@" not in line
