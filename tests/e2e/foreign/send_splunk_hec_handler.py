"""Log as an application with PyPI's splunk-hec-handler does: argv is url, token, number of events."""

import logging
import sys
from urllib.parse import urlsplit

from splunk_hec_handler import SplunkHecHandler

url, token, count = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
handler = SplunkHecHandler(
    "127.0.0.1",
    token,
    port=url.port,
    proto="http",
    index="main",
    source="shop",
    sourcetype="_json",
    hostname="web-2",
)
log = logging.getLogger("shop")
log.addHandler(handler)
for number in range(count):
    log.warning({"number": number, "time": 1_700_000_000 + number, "fields": {"color": "yellow"}})
