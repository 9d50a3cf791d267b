"""Faults: the grammar of rules, when they strike, and what each does to the wire."""

import contextlib
import http.client
import random
import ssl
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from splunk_hec_emulator import SettingsError
from splunk_hec_emulator.faults import CATALOGUE, Faults, Rule

if TYPE_CHECKING:
    from conftest import Serve, Site

ONE = b'{"event":"a"}'
T = "10000000-0000-0000-0000-000000000000"
OK = b'{"text":"Success","code":0}'


def bytes_of(site: "Site", body: bytes = ONE) -> bytes:
    """Post over a bare socket and return every byte until the server closes."""
    with site.raw_socket() as link:
        head = (
            f"POST /services/collector HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nAuthorization: Splunk {T}\r\n"
        )
        link.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return link.makefile("rb").read()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nope", "unknown fault 'nope'"),
        ("", "unknown fault ''"),
        ("busy:x", "busy:[INDEX]"),
        ("busy:-1", "busy:[INDEX]"),
        ("throttle:soon", "throttle:[RETRY_AFTER][/INDEX]"),
        ("status", "status:CODE"),
        ("status:99", "status:CODE"),
        ("ack-error:x", "ack-error:STATUS"),
        ("empty200:1", "is not empty200["),
        ("restart:now", "restart:[reset]"),
        ("drip:x", "drip:[SECONDS]"),
        ("busy,on=s2s", "on=event|raw|ack|all"),
        ("busy,p", "p=0.05"),
        ("busy,p=2", "p=0.05"),
        ("busy,what=1", "count=N"),
        ("busy,count=x", "count=N"),
        ("busy,count=1=2", "count=N"),
    ],
)
def test_a_wrong_rule_is_refused_in_one_line_that_shows_the_right_form(text: str, shown: str) -> None:
    """Whatever is wrong with a rule, the message says what a right one looks like."""
    with pytest.raises(SettingsError) as caught:
        Rule.parse(text)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


def strikes(rules: list[str], asks: list[tuple[str, int, float]], seed: int = 0) -> list[str]:
    """Return the rule that strikes each (kind, node, second), or the empty text."""
    faults = Faults(rules, seed, 100.0)
    struck = [faults.strike(kind, node, 100.0 + at) for kind, node, at in asks]
    return [rule.text if rule else "" for rule in struck]


@pytest.mark.parametrize(
    ("rule", "asks", "expected"),
    [
        ("busy", [("event", 0, 0), ("raw", 0, 0), ("ack", 0, 0), ("health", 0, 0)], "xx.."),
        ("busy,on=raw", [("event", 0, 0), ("raw", 0, 0)], ".x"),
        ("busy,on=all", [("event", 0, 0), ("ack", 0, 0), ("health", 0, 0), ("", 0, 0)], "xxx."),
        ("ack-error:500", [("event", 0, 0), ("ack", 0, 0)], ".x"),
        ("busy,count=2", [("event", 0, 0)] * 3, "xx."),
        ("busy,node=1", [("event", 0, 0), ("event", 1, 0)], ".x"),
        ("busy,after_s=5", [("event", 0, 4.9), ("event", 0, 5), ("event", 0, 99)], ".xx"),
        ("busy,for_s=5", [("event", 0, 0), ("event", 0, 4.9), ("event", 0, 5)], "xx."),
        ("busy,after_s=2,for_s=5", [("event", 0, 1), ("event", 0, 6.9), ("event", 0, 7)], ".x."),
        ("busy,p=0", [("event", 0, 0)] * 3, "..."),
    ],
)
def test_a_rule_strikes_where_and_when_it_says(
    rule: str, asks: list[tuple[str, int, float]], expected: str
) -> None:
    """Scope, node, number and time window of a rule are exact."""
    assert ["x" if text else "." for text in strikes([rule], asks)] == list(expected)


def test_chance_is_seeded_and_about_right() -> None:
    """p=0.3 strikes about three times in ten, at the same requests for the same seed."""
    runs = [strikes(["busy,p=0.3"], [("event", 0, 0)] * 1_000, seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert 200 < sum(map(bool, runs[0])) < 400


def test_the_first_rule_that_strikes_decides() -> None:
    """Rules are tried in order; one that does not strike leaves the request to the next."""
    assert strikes(["busy,count=1", "throttle"], [("event", 0, 0)] * 2) == ["busy,count=1", "throttle"]


def test_setting_rules_anew_starts_their_clocks_and_counts() -> None:
    """A rule that was used up strikes again after it was set again, and its window starts from there."""
    faults = Faults(["busy,count=1,for_s=5"], 0, 0.0)
    assert faults.strike("event", 0, 1.0)
    assert not faults.strike("event", 0, 1.0)
    faults.set(faults.describe(), 60.0)
    assert faults.strike("event", 0, 61.0)
    assert faults.fired == {"busy": 2}


def test_a_wrong_rule_leaves_the_old_ones() -> None:
    """Rules are replaced together or not at all."""
    faults = Faults(["busy"], 0, 0.0)
    with pytest.raises(SettingsError):
        faults.set(["throttle", "nope"], 0.0)
    assert faults.describe() == [{"rule": "busy", "fired": 0}]


def test_every_fault_of_the_catalogue_can_be_written_down() -> None:
    """The catalogue's names are the interface's, and each parses with its plainest argument."""
    plain = {"status": "418", "ack-error": "500"}
    rules = [Rule.parse(f"{name}:{plain[name]}" if name in plain else name) for name in CATALOGUE]
    assert [rule.name for rule in rules] == list(CATALOGUE)
    assert not any(rule.strikes("", 0, 0.0, random.Random(0)) for rule in rules)


@pytest.mark.parametrize(
    ("fault", "indexed"), [("reset-before", []), ("reset-after", ["a"]), ("restart:reset", [])]
)
def test_a_reset_is_a_reset(serve: "Serve", fault: str, indexed: list[str]) -> None:
    """The client sees ECONNRESET, before the request is served or after."""
    site = serve(faults=[f"{fault},count=1"])
    with pytest.raises(ConnectionResetError):
        bytes_of(site)
    assert site.indexed() == indexed
    assert site.post(ONE).body == OK


def test_reset_before_does_not_wait_for_the_body(serve: "Serve") -> None:
    """The reset comes on the headers alone."""
    site = serve(faults=["reset-before"])
    with site.raw_socket() as link:
        link.sendall(b"POST /services/collector HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            link.recv(1)


def test_cut_replies_end_where_they_say(serve: "Serve") -> None:
    """The reply ends inside its status line, headers or body, by an orderly close; the request was served."""
    site = serve(faults=["cut-status,count=1", "cut-headers,count=1", "cut-body,count=1"])
    status, headers, body = (bytes_of(site) for _ in range(3))
    assert status == b"HTTP/1.1 2"
    assert headers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in headers
    head, _, rest = body.partition(b"\r\n\r\n")
    assert b"Content-Length: 27" in head
    assert OK.startswith(rest)
    assert 0 < len(rest) < len(OK)
    assert site.indexed() == ["a"] * 3


@pytest.mark.parametrize("fault", ["cut-body", "cut-headers", "empty200", "html200", "reset-after"])
def test_replies_of_polls_can_be_broken_too(serve: "Serve", fault: str) -> None:
    """With on=ack the same faults strike polls; what the poll would have told depends on who answered."""
    site = serve(faults=[f"{fault},on=ack,count=1"])
    site.post(ONE, "TA", "C1")
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        reply = site.post(b'{"acks":[0]}', "TA", "C1", "/services/collector/ack")
        assert not reply.body.endswith(b"}}")
    was_served = not fault.endswith("200")
    assert site.poll(0) == {0: not was_served}


def test_false_successes_take_nothing(serve: "Serve") -> None:
    """200 with no body and 200 with a page come from something that is not HEC: nothing is indexed."""
    site = serve(faults=["empty200,count=1", "html200,count=1"])
    empty, page = site.post(ONE), site.post(ONE)
    assert (empty.status, empty.body) == (200, b"")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"<html>" in page.body
    assert site.indexed() == []


@pytest.mark.parametrize(
    ("fault", "status"),
    [("html503", 503), ("status:502", 502), ("status:301", 301), ("status:204", 204), ("status:599", 599)],
)
def test_a_proxy_may_answer_with_any_page(serve: "Serve", fault: str, status: int) -> None:
    """Replies that are not Splunk's, with any status; nothing is indexed."""
    site = serve(faults=[fault])
    reply = site.post(ONE)
    assert reply.status == status
    assert (b"<html>" in reply.body) == (status != 204)
    assert site.indexed() == []


def test_a_dripping_reply_is_whole_in_the_end(serve: "Serve") -> None:
    """Drip serves the request and sends every byte, one at a time."""
    site = serve(faults=["drip:0.0001,count=1"])
    assert bytes_of(site).endswith(OK)
    assert site.indexed() == ["a"]


def test_hang_never_answers(serve: "Serve") -> None:
    """The request is not served; the connection closes without a byte when the rule's time is up."""
    site = serve(faults=["hang:0.05,count=1"])
    assert bytes_of(site) == b""
    assert site.indexed() == []


def test_hang_lasts_until_the_client_goes(serve: "Serve") -> None:
    """Without a time the server waits; a client that leaves costs nothing more."""
    site = serve(faults=["hang,count=1"])
    link = site.raw_socket()
    link.sendall(b"POST /services/collector HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    site.emulator.wait_for(lambda: site.emulator.stats()["faults"] == {"hang": 1})
    link.close()
    assert site.post(ONE).body == OK


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 6), (401, 2), (403, 4), (404, 404), (429, 27), (500, 8), (503, 9), (502, None), (302, None)],
)
def test_ack_errors_speak_as_splunk_where_it_would(serve: "Serve", status: int, code: int | None) -> None:
    """/ack answers the status, in HEC's JSON where HEC has such a reply and as a page else."""
    site = serve(faults=[f"ack-error:{status}"])
    reply = site.post(b'{"acks":[0]}', "TA", "C1", "/services/collector/ack")
    assert reply.status == status
    assert reply.body.startswith(b"<!doctype") if code is None else reply.json["code"] == code
    assert site.post(ONE, "TA", "C1").status == 200


@pytest.mark.parametrize(("fault", "code"), [("busy,on=ack", 9), ("throttle:3,on=ack", 27), ("acks-down", 9)])
def test_polls_may_be_refused_as_busy(serve: "Serve", fault: str, code: int) -> None:
    """Capacity faults that name /ack refuse polls, and lose no ack."""
    site = serve(faults=[f"{fault},count=1"])
    site.post(ONE, "TA", "C1")
    reply = site.post(b'{"acks":[0]}', "TA", "C1", "/services/collector/ack")
    assert reply.json["code"] == code
    assert site.poll(0) == {0: True}


def test_retry_after_is_seconds_or_a_date(serve: "Serve") -> None:
    """A throttle rule sends the header as told; without an argument there is none."""
    site = serve(faults=["throttle:7,count=1", "throttle:date+3600,count=1", "throttle,count=1"])
    seconds, date, none = (site.post(ONE) for _ in range(3))
    assert seconds.headers["Retry-After"] == "7"
    ahead = parsedate_to_datetime(date.headers["Retry-After"]) - parsedate_to_datetime(date.headers["Date"])
    assert 3590 <= ahead.total_seconds() <= 3610
    assert "Retry-After" not in none.headers


def test_a_raw_body_is_refused_whole(serve: "Serve") -> None:
    """The raw endpoint has no objects: a number in a busy reply takes nothing."""
    site = serve(faults=["busy:1"])
    reply = site.post(b"line", path="/services/collector/raw")
    assert reply.json == {"text": "Server is busy", "code": 9, "invalid-event-number": 1}
    assert site.indexed() == []


def test_a_restart_fault_serves_the_request_on_the_new_server(serve: "Serve") -> None:
    """`restart`: what was not durable is gone and the request gets id 0 again."""
    site = serve(ack_delay=3600, faults=["restart,after_s=0,count=1"])
    site.emulator.set_faults()
    assert site.post(ONE, "TA", "C1").json["ackId"] == 0
    assert site.post(ONE, "TA", "C1").json["ackId"] == 1
    site.emulator.set_faults("restart,count=1")
    assert site.post(ONE, "TA", "C1").json["ackId"] == 0
    assert site.emulator.stats()["events_lost"] == 2


def test_neither_options_nor_a_wrong_method_uses_up_a_rule(serve: "Serve") -> None:
    """A rule's count is kept for requests it can strike."""
    site = serve(faults=["busy,count=1"])
    assert site.ask("OPTIONS", "/services/collector").status == 200
    assert site.ask("GET", "/services/collector").status == 405
    assert site.post(ONE).status == 503


def test_rules_can_be_read_and_replaced_over_http(serve: "Serve") -> None:
    """PUT takes what GET gives; GET counts how often each rule has struck."""
    site = serve()
    put: Any = site.ask("PUT", "/emulator/faults", b'["busy,count=1", {"rule": "throttle"}]')
    assert put.json == [{"rule": "busy,count=1", "fired": 0}, {"rule": "throttle", "fired": 0}]
    assert [site.post(ONE).status for _ in range(3)] == [503, 429, 429]
    shown = site.ask("GET", "/emulator/faults").json
    assert shown == [{"rule": "busy,count=1", "fired": 1}, {"rule": "throttle", "fired": 2}]
    assert site.ask("PUT", "/emulator/faults", site.ask("GET", "/emulator/faults").body).status == 200
    assert site.emulator.stats()["faults"] == {"busy": 1, "throttle": 2}
    for wrong in (b"[1]", b"{}", b'["nope"]', b"oops", b"\xff", b'[{"fired":1}]'):
        reply = site.ask("PUT", "/emulator/faults", wrong)
        assert (reply.status, reply.body.count(b"\n")) == (400, 1)
    assert len(site.emulator.faults) == 2


@pytest.fixture
def tls_site(serve: "Serve", tmp_path: Path) -> "tuple[Site, ssl.SSLContext]":
    """A server with a certificate, and a client's context that trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return serve(tls=(tmp_path / "cert", tmp_path / "key")), context


def test_faults_strike_with_tls_too(tls_site: "tuple[Site, ssl.SSLContext]") -> None:
    """A reset reaches a TLS client as such, and the next request is served."""
    site, context = tls_site
    site.emulator.set_faults("reset-after,count=1")
    assert site.emulator.url.startswith("https://")
    sent = {"Authorization": f"Splunk {T}", "User-Agent": "t"}
    for is_struck in (True, False):
        link = http.client.HTTPSConnection(*site.address, context=context, timeout=30)
        link.request("POST", "/services/collector", ONE, sent)
        if is_struck:
            with pytest.raises(ConnectionError):
                link.getresponse()
        else:
            assert link.getresponse().read() == OK
        link.close()


def test_a_refusal_over_tls_reaches_the_client(tls_site: "tuple[Site, ssl.SSLContext]") -> None:
    """413 is readable over TLS, where one side alone cannot be closed."""
    site, context = tls_site
    link = http.client.HTTPSConnection(*site.address, context=context, timeout=30)
    link.putrequest("POST", "/services/collector")
    link.putheader("Content-Length", "999999999")
    link.endheaders()
    assert link.getresponse().status == 413
    link.close()
