"""Rows 1 to 43 of the conformance vectors: routes, health and authentication."""

import base64
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Serve

E = "/services/collector/event"
R = "/services/collector/raw"
A = "/services/collector/ack"
H = "/services/collector/health"
T = "10000000-0000-0000-0000-000000000000"
TA = "20000000-0000-0000-0000-000000000000"
TD = "40000000-0000-0000-0000-000000000000"
TQ = "50000000-0000-0000-0000-000000000000"
TX = "99999999-0000-0000-0000-000000000000"
C1 = "c1c1c1c1-0000-4000-8000-000000000001"
OK = b'{"text":"Success","code":0}'
LOST = b'{"text":"The requested URL was not found on this server.","code":404}'
HEALTHY = b'{"text":"HEC is healthy","code":17}'
NO_DATA = b'{"text":"No data","code":5}'
REQUIRED = b'{"text":"Token is required","code":2}'
INVALID = b'{"text":"Invalid authorization","code":3}'
UNKNOWN = b'{"text":"Invalid token","code":4}'
NOT_IN_QUERY = b'{"text":"Query string authorization is not enabled","code":16}'
ONE = b'{"event":"a"}'


def splunk(token: str) -> dict[str, str]:
    """Return the usual authorization."""
    return {"Authorization": f"Splunk {token}"}


def basic(token: str) -> dict[str, str]:
    """Return the authorization of a client that only knows passwords."""
    return {"Authorization": "Basic " + base64.b64encode(f"x:{token}".encode()).decode()}


ROWS: list[tuple[str, str, str, bytes, dict[str, str], int, bytes]] = [
    ("1", "POST", E, ONE, splunk(T), 200, OK),
    ("2", "POST", "/services/collector", ONE, splunk(T), 200, OK),
    ("3", "POST", E + "/1.0", ONE, splunk(T), 200, OK),
    ("4", "GET", E, b"", splunk(T), 405, LOST),
    ("5", "GET", R, b"", splunk(T), 405, LOST),
    ("6", "GET", A, b"", splunk(TA), 405, LOST),
    ("7", "PUT", E, ONE, splunk(T), 405, LOST),
    ("7", "DELETE", E, b"", splunk(T), 405, LOST),
    ("8", "POST", H, b"", splunk(T), 405, LOST),
    ("9", "POST", "/services/collector/nope", ONE, splunk(T), 404, LOST),
    ("10", "GET", "/services/collector/not-a-real-endpoint", b"", {}, 404, LOST),
    ("11", "POST", "/services/collector/validate", ONE, splunk(T), 404, LOST),
    ("12", "POST", E + "/", ONE, splunk(T), 404, LOST),
    ("12", "POST", "/services/collectorevent", ONE, splunk(T), 404, LOST),
    ("13", "OPTIONS", E + "/1.0", b"", {}, 200, b""),
    ("13", "OPTIONS", R, b"", {}, 200, b""),
    ("13", "OPTIONS", A, b"", {}, 200, b""),
    ("14", "OPTIONS", H, b"", {}, 200, b""),
    ("15", "HEAD", H, b"", {}, 200, b""),
    ("16", "GET", H, b"", {}, 200, HEALTHY),
    ("17", "GET", H, b"", splunk(TX), 200, HEALTHY),
    ("17", "GET", H + "/1.0", b"", splunk(TX), 200, HEALTHY),
    ("18", "GET", f"{H}?ack=true&token={T}", b"", {}, 200, HEALTHY),
    ("19", "GET", f"{H}?token={TX}", b"", {}, 200, HEALTHY),
    ("19", "GET", f"{H}?token={TD}", b"", {}, 200, HEALTHY),
    (
        "24",
        "POST",
        "/services/collector/mint",
        b'{"not":"mint"}',
        {**splunk(TA), "X-Splunk-Request-Channel": C1},
        400,
        NO_DATA,
    ),
    (
        "25",
        "POST",
        "/services/collector/s2s",
        b"junk",
        splunk(T),
        400,
        b'{"text":"Invalid data format","code":6}',
    ),
    ("26", "POST", R, ONE, {}, 401, REQUIRED),
    ("27", "POST", E, ONE, {"Authorization": ""}, 401, REQUIRED),
    ("28", "POST", E, ONE, {"Authorization": f"Bearer {T}"}, 401, INVALID),
    ("29", "POST", E, ONE, {"Authorization": T}, 401, INVALID),
    ("30", "POST", E, ONE, splunk(TX), 403, UNKNOWN),
    ("31", "POST", E, ONE, splunk(TD), 403, b'{"text":"Token disabled","code":1}'),
    ("32", "POST", E, ONE, basic(T), 200, OK),
    ("33", "POST", E, ONE, basic(TX), 403, UNKNOWN),
    ("34", "POST", E, ONE, {"Authorization": "Basic *"}, 401, INVALID),
    ("35", "POST", f"{E}?token={TX}", ONE, {}, 403, UNKNOWN),
    ("35", "POST", f"{E}?token=", ONE, splunk(T), 403, UNKNOWN),
    ("36", "POST", f"{E}?token={T}", ONE, {}, 400, NOT_IN_QUERY),
    ("37", "POST", f"{E}?token={T}", ONE, splunk(T), 400, NOT_IN_QUERY),
    ("38", "POST", f"{E}?token={TQ}", ONE, {}, 200, OK),
    ("39", "POST", f"{E}?token={TX}", ONE, splunk(T), 403, UNKNOWN),
    ("40", "POST", E, ONE, {"authorization": f"splunk {T}"}, 200, OK),
    ("42", "POST", E, b"{bad", {}, 401, REQUIRED),
    ("43", "POST", A, b'{"acks":[0]}', {}, 401, REQUIRED),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "expected"),
    [pytest.param(*row[1:], id=f"{row[0]}-{row[1]}-{row[2][-20:]}") for row in ROWS],
)
def test_a_request_gets_the_recorded_reply(
    serve: "Serve",
    *,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    expected: bytes,
) -> None:
    """Routes, health and authorization answer byte for byte as recorded on a real server."""
    reply = serve().ask(method, path, body, headers)
    assert (reply.status, reply.body) == (status, expected)


@pytest.mark.parametrize(("path", "methods"), [(E, "POST,OPTIONS"), (H, "GET,HEAD,OPTIONS")])
def test_options_tells_the_methods_without_a_token(serve: "Serve", path: str, methods: str) -> None:
    """OPTIONS names the methods of a route to anybody: Docker's log driver refuses to start otherwise."""
    assert serve().ask("OPTIONS", path).headers["Allow"] == methods


def test_replies_carry_the_headers_of_a_real_one(serve: "Serve") -> None:
    """The headers seen on a real 9.x are all there, and no others."""
    headers = dict(serve().post(ONE).headers)
    assert headers.pop("Date").endswith("GMT")
    assert headers == {
        "Content-Type": "application/json; charset=UTF-8",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": "27",
        "Vary": "Authorization",
        "Connection": "Keep-Alive",
        "X-Frame-Options": "SAMEORIGIN",
        "Server": "Splunkd",
    }


@pytest.mark.parametrize(
    ("row", "faults", "query", "code", "text"),
    [
        ("20", ["queue-full"], "", 18, "HEC is unhealthy, queues are full"),
        ("21", ["acks-down"], "?ack=true", 19, "HEC is unhealthy, ack service unavailable"),
        (
            "22",
            ["queue-full", "acks-down"],
            "?ack=true",
            20,
            "HEC is unhealthy, queues are full, ack service unavailable",
        ),
        ("23", ["shutting-down"], "", 23, "Server is shutting down"),
    ],
)
def test_health_is_red_for_its_reasons(
    serve: "Serve", *, row: str, faults: list[str], query: str, code: int, text: str
) -> None:
    """Health answers 503 with the documented code while the queue is full, acks are down or it stops."""
    reply = serve(faults=faults).ask("GET", H + query)
    assert (reply.status, reply.body) == (503, f'{{"text":"{text}","code":{code}}}'.encode())


def test_acks_that_are_down_leave_plain_health_green(serve: "Serve") -> None:
    """Health without ack=true does not look at the ack service (row 21)."""
    assert serve(faults=["acks-down"]).ask("GET", H).body == HEALTHY


def test_a_post_to_a_stopping_server_is_refused(serve: "Serve") -> None:
    """A server that shuts down answers posts with 503 code 23 (row 23)."""
    assert serve(faults=["shutting-down"]).post(ONE).json == {"text": "Server is shutting down", "code": 23}


def test_a_fresh_token_is_unknown_until_its_input_was_reloaded(serve: "Serve") -> None:
    """A token that was just created answers 403 code 4 at first and works later (row 41)."""
    site = serve(tokens=[f"{T}:after=3600"])
    assert site.post(ONE).body == UNKNOWN
    site.emulator.set_tokens(T)
    assert site.post(ONE).body == OK


UNKNOWNS: list[tuple[str, dict[str, Any], str, str, dict[str, str], int, bytes]] = [
    ("12", {"trailing_slash_is_route": True}, "POST", E + "/", splunk(T), 200, OK),
    (
        "19",
        {"health_checks_token": True},
        "GET",
        f"{H}?token={TX}",
        {},
        400,
        b'{"text":"Invalid token","code":21}',
    ),
    (
        "19",
        {"health_checks_token": True},
        "GET",
        f"{H}?token={TD}",
        {},
        400,
        b'{"text":"Token disabled","code":22}',
    ),
    ("19", {"health_checks_token": True}, "GET", f"{H}?token={T}", {}, 200, HEALTHY),
    (
        "40",
        {"scheme_is_case_sensitive": True},
        "POST",
        E,
        {"Authorization": f"splunk {T}"},
        401,
        INVALID,
    ),
]


@pytest.mark.parametrize(
    ("options", "method", "path", "headers", "status", "expected"),
    [pytest.param(*row[1:], id=f"{row[0]}-{row[5]}") for row in UNKNOWNS],
)
def test_an_unknown_can_be_tried_the_other_way(
    serve: "Serve",
    *,
    options: dict[str, Any],
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    expected: bytes,
) -> None:
    """What nobody has measured about routes and tokens is a setting."""
    body = ONE if method == "POST" else b""
    reply = serve(**options).ask(method, path, body, headers)
    assert (reply.status, reply.body) == (status, expected)
