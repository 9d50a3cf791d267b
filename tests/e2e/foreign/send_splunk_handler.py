"""Log as an application with PyPI's splunk-handler does: argv is url, token, number of events."""

import logging
import sys
from urllib.parse import urlsplit

from splunk_handler import SplunkHandler, force_flush

url, token, count = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
handler = SplunkHandler(
    host="127.0.0.1",
    port=url.port,
    token=token,
    index="main",
    hostname="web-1",
    protocol="http",
    source="shop",
    sourcetype="app:log",
    verify=False,
)
handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
log = logging.getLogger("shop")
log.addHandler(handler)
for number in range(count):
    log.warning('line %d: "quoted", tab\t, ünïcödé ✓', number)
force_flush()
