"""Who may post: the Authorization header, Basic passwords and the query's token.

Measured on 10.4.2: a token in the query is judged first and even while the feature is off (unknown: 4, known:
16); spec text: it takes precedence over the header.
"""

import base64
from collections.abc import Mapping

from splunk_hec_emulator._replies import Reply, hec
from splunk_hec_emulator._request import Request
from splunk_hec_emulator.settings import Token


def authorize(
    request: Request, tokens: Mapping[str, Token], age_s: float, *, scheme_is_case_sensitive: bool
) -> Token | Reply:
    """Find the request's token, or the refusal it deserves.

    Args:
        request: the request.
        tokens: the tokens by value.
        age_s: how long ago the tokens were configured; a token may become active later than that.
        scheme_is_case_sensitive: whether ``splunk`` in lower case is refused.
    """
    from_query = request.query.get("token")
    value = from_query if from_query is not None else _from_header(request, scheme_is_case_sensitive)
    if isinstance(value, Reply):
        return value
    token = tokens.get(value)
    if token is None or age_s < token.active_after_s:
        return hec(4)
    if token.is_disabled:
        return hec(1)
    if from_query is not None and not token.query:
        return hec(16)
    return token


def _from_header(request: Request, scheme_is_case_sensitive: bool) -> str | Reply:
    header = request.headers.get("authorization", "").strip()
    if not header:
        return hec(2)
    scheme, _, value = header.partition(" ")
    value = value.strip()
    is_splunk = scheme == "Splunk" or (not scheme_is_case_sensitive and scheme.lower() == "splunk")
    if scheme.lower() == "basic":
        value = _password(value)
    elif not is_splunk:
        value = ""
    return value or hec(3)


def _password(encoded: str) -> str:
    """Return the password of Basic credentials; the user may be anyone. Empty if they are malformed."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:  # not base64, not ASCII, or not UTF-8 inside
        return ""
