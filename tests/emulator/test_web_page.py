"""The page in a real Chromium: what a developer sees and does, with the mouse and without.

Debian's Chromium is driven by Playwright. The run leaves screenshots of every part, light and dark, in
`screenshots/` beside this file, for whoever wants to look.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from conftest import Serve, Site

SHOTS = Path(__file__).parent / "screenshots"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
HAS_CHROMIUM = Path(CHROMIUM).exists()
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TABS = ("events", "faults", "tokens", "channels")
PLAIN = "10000000-0000-0000-0000-000000000000"  # the tokens T and TA of the fixture
ACKING = "20000000-0000-0000-0000-000000000000"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("chromium"),
    pytest.mark.skipif(
        not HAS_CHROMIUM, reason="THE PAGE WAS NOT TESTED: there is no Chromium (apt-get install chromium)"
    ),
]
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file; each gets a context of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def said() -> list[str]:
    """What the page put on the console; a test that makes a request fail takes that out again."""
    return []


@pytest.fixture
def page(browser: Browser, serve: Serve, said: list[str]) -> Iterator[Page]:
    """A page that fails its test by any message on the console and any request to elsewhere."""
    context = browser.new_context(viewport={"width": 1440, "height": 960}, color_scheme="light")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    yield page
    context.close()  # before the server ends, which the page would complain of
    assert said == []
    assert len(hosts) <= 1, hosts


def forget_failed_requests(said: list[str]) -> None:
    """Take out what the browser itself says of a request that failed, as the test meant it to."""
    said[:] = [text for text in said if not text.startswith("error: Failed to load resource")]


def visit(page: Page, site: Site, tab: str = "events") -> None:
    """Open the page at a tab, and wait until it is fed."""
    page.goto(f"{site.emulator.url}/#{tab}")
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("[data-card=requests] dd").first).to_have_text(re.compile("[0-9]"))


def send(site: Site, count: int, first: int = 0) -> None:
    """Index events that look like a real application's."""
    site.post(
        "".join(
            json.dumps(
                {
                    "event": {"message": f"GET /orders/{n} completed", "ms": n * 7 % 431, "level": "info"},
                    "host": f"web-{n % 4}",
                    "sourcetype": "app",
                    "source": "kafka:app-logs",
                    "fields": {"kafka_partition": n % 3, "kafka_offset": n},
                }
            )
            for n in range(first, first + count)
        ),
        "TA",
        "C1",
    )


def numbers(page: Page) -> list[int]:
    """Return the sequence numbers in the table."""
    return [int(text.replace(",", "")) for text in page.locator("#rows .opener").all_inner_texts()]


def test_events_appear_while_one_looks(page: Page, serve: Serve) -> None:
    """Without a reload new events come to the top, and the counters and replies follow."""
    site = serve()
    visit(page, site)
    expect(page.locator("#none")).to_contain_text("Nothing is indexed yet")
    send(site, 3)
    expect(page.locator("#rows .opener")).to_have_count(3)
    send(site, 1, first=3)
    site.post("{", "TA", "C1")
    expect(page.locator("#rows .preview").first).to_contain_text("/orders/3 ")
    expect(page.locator("[data-card=events_indexed] dd").first).to_have_text("4")
    expect(page.locator("[data-card=acks_pending] dd").first).to_have_text("2")
    expect(page.locator("#replies")).to_contain_text("Invalid data format")


def test_pages_lead_to_every_event(page: Page, serve: Serve) -> None:
    """Older, Newer, Newest and a number lead where they say; new events do not move what is being read."""
    site = serve()
    send(site, 120)
    visit(page, site)
    expect(page.locator("#range")).to_have_text("#119 to #70 of 120")
    page.get_by_role("button", name="Older").click()
    expect(page.locator("#range")).to_have_text("#69 to #20 of 120")
    send(site, 1, first=120)
    expect(page.locator("#fresh")).to_have_text("1 new")
    assert numbers(page) == list(range(69, 19, -1))
    page.get_by_role("button", name="Older").click()
    expect(page.locator("#range")).to_contain_text("#19 to #0 of ")
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    page.get_by_role("button", name="Newer").click()
    expect(page.locator("#range")).to_contain_text("#69 to #20 of ")
    page.get_by_label("Go to #").fill("42")
    page.get_by_label("Go to #").press("Enter")
    expect(page.locator("#rows .opener").first).to_have_text("42")
    page.get_by_role("button", name="Newest").click()
    expect(page.locator("#rows .opener").first).to_have_text("120")


def test_a_search_finds_the_event_and_shows_all_of_it(page: Page, serve: Serve) -> None:
    """A search shows only what holds the text; an opened event shows every digit, and where it came from."""
    site = serve()
    send(site, 200)
    site.post('{"event":{"id":12345678901234567890,"id":1.50},"host":"odd"}', "TA", "C2")
    visit(page, site)
    page.get_by_label("Search events").fill("12345678901234567890")
    expect(page.locator("#rows .opener")).to_have_count(1)
    expect(page.locator("#range")).to_have_text("1 match")
    page.locator("#rows .preview").click()
    assert page.locator(".detail pre").inner_text() == '{\n  "id": 12345678901234567890,\n  "id": 1.50\n}'
    expect(page.locator(".facts")).to_contain_text("C2C2C2C2-0000-4000-8000-000000000002")
    expect(page.locator(".facts")).to_contain_text("odd")
    page.get_by_label("Search events").fill("nowhere at all")
    expect(page.locator("#none")).to_contain_text("No event contains this text")


def test_what_an_event_holds_stays_text(page: Page, serve: Serve) -> None:
    """Markup in an event, its metadata and its fields is shown as it is, never as part of the page."""
    site = serve()
    names = {"host": HOSTILE, "source": HOSTILE, "sourcetype": HOSTILE, "fields": {"f": HOSTILE}}
    for event in (HOSTILE, {HOSTILE: HOSTILE}):
        site.post(json.dumps({"event": event, **names}), "TO")
    visit(page, site)
    for opener in page.locator("#rows .opener").all():
        opener.click()
        opener.press("ArrowDown")
    expect(page.locator(".facts")).to_have_count(2)
    expect(page.locator(".detail pre").first).to_contain_text("onerror")
    assert page.locator("#main img, #main script").count() == 0
    assert page.title() == "hec-emulator"


def test_a_switch_changes_replies_at_once(page: Page, serve: Serve, said: list[str]) -> None:
    """A switch that is on is a rule in force, with its argument and chance; off, it is gone."""
    site = serve()
    visit(page, site, "faults")
    busy = page.get_by_role("switch", name="busy", exact=True)
    busy.click()
    expect(busy).to_have_attribute("aria-checked", "true")
    assert site.post('{"event":"a"}').status == 503
    expect(page.locator("#force .fired")).to_have_text("1")
    page.get_by_label("CODE of status").fill("418")
    page.get_by_role("switch", name="status", exact=True).click()
    expect(page.locator("#force code")).to_have_text(["busy", "status:418"])
    busy.click()
    expect(page.locator("#force code")).to_have_text(["status:418"])
    assert site.post('{"event":"a"}').status == 418
    page.get_by_label("Chance of status").select_option("0.01")
    expect(page.locator("#force code")).to_have_text(["status:418,p=0.01"])
    page.get_by_label("Add a rule").fill("nonsense")
    page.get_by_label("Add a rule").press("Enter")
    expect(page.locator("#fault-error")).to_contain_text("unknown fault 'nonsense'")
    forget_failed_requests(said)
    page.get_by_role("button", name="Remove status:418").click()
    expect(page.locator("#force")).to_contain_text("No fault is in force")
    assert site.post('{"event":"a"}').status == 200


def test_rules_that_others_set_are_shown(page: Page, serve: Serve) -> None:
    """A rule set by a test or by curl turns the page's switch, with its argument and chance."""
    site = serve()
    visit(page, site, "faults")
    site.emulator.set_faults("throttle:7,p=0.05,node=0")
    expect(page.get_by_role("switch", name="throttle")).to_have_attribute("aria-checked", "true")
    expect(page.get_by_label("Chance of throttle")).to_have_value("0.05")
    expect(page.locator("#force code")).to_have_text(["throttle:7,p=0.05,node=0"])


def test_a_token_is_shown_only_when_asked_for(page: Page, serve: Serve) -> None:
    """Nothing the page gets or shows holds a token, until its button is pressed; then only that one."""
    site = serve()
    bodies: list[Any] = []
    page.on("response", lambda reply: bodies.append(reply) if "/live" not in reply.url else None)
    visit(page, site, "tokens")
    expect(page.get_by_role("article")).to_have_count(5)
    sent = "".join(reply.text() for reply in bodies if reply.ok and reply.request.method == "GET")
    for value in (PLAIN, ACKING):
        assert value not in sent + page.content()
    acking = page.get_by_role("article", name="Token acking")
    acking.get_by_label("Show or hide").click()
    expect(acking.locator(".value")).to_have_text(ACKING)
    expect(acking.locator("pre").first).to_contain_text(f"Splunk {ACKING}")
    assert PLAIN not in page.content()
    acking.get_by_label("Show or hide").click()
    expect(acking.locator(".value")).not_to_have_text(ACKING)
    assert ACKING not in page.content()


def test_a_copied_curl_line_works(page: Page, serve: Serve) -> None:
    """What the Copy button of a line puts on the clipboard is complete, and the emulator takes it."""
    site = serve(tokens=["it's a token:ack:index=a\"b:name=odd"])
    visit(page, site, "tokens")
    page.get_by_role("button", name="Copy: Send an event, odd").click()
    expect(page.locator("#said")).to_have_text("Copied the line.")
    line = page.evaluate("navigator.clipboard.readText()")
    assert re.search(r"Splunk it'\\''s a token'", line)
    assert "it's a token" not in page.content()
    if shutil.which("curl") and shutil.which("sh"):
        import subprocess

        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout) == {"text": "Success", "code": 0, "ackId": 0}


def test_everything_can_be_done_without_a_mouse(page: Page, serve: Serve) -> None:
    """Search, open, close, change the tab and turn a switch by keys alone; the focus never gets lost."""
    site = serve()
    send(site, 60)
    visit(page, site)
    expect(page.locator("#rows .opener")).to_have_count(50)
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("/orders/5")
    expect(page.locator("#rows .opener")).to_have_count(11)
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "opener":
            break
    expect(page.locator("#rows .opener").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".detail pre").first).to_contain_text("/orders/58 ")
    page.keyboard.press("Escape")
    expect(page.locator(".detail")).to_have_count(0)
    expect(page.locator("#rows .opener").nth(1)).to_be_focused()
    page.locator("#tab-events").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#faults")).to_be_visible()
    page.locator("#tab-faults").press("Tab")
    expect(page.get_by_label("Add a rule")).to_be_focused()
    page.get_by_role("switch", name="html503").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", name="html503")).to_have_attribute("aria-checked", "true")
    assert site.post('{"event":"a"}').status == 503


def test_a_reset_is_asked_for_twice(page: Page, serve: Serve) -> None:
    """Reset asks first; kept means kept, and after it the page is as new."""
    site = serve()
    send(site, 5)
    visit(page, site)
    page.get_by_role("button", name="Reset…").click()
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("button", name="Reset…").click()
    assert site.emulator.stats()["events_indexed"] == 5
    page.locator("#sure").get_by_role("button", name="Reset").click()
    expect(page.locator("#none")).to_contain_text("Nothing is indexed yet")
    assert site.emulator.stats()["events_indexed"] == 0


def test_the_page_finds_its_server_again(page: Page, serve: Serve, said: list[str]) -> None:
    """While the emulator is away the page says so, and when it is back it goes on by itself."""
    site = serve()
    visit(page, site)
    listen = f"127.0.0.1:{site.address[1]}"
    site.emulator.stop()
    expect(page.locator("#link")).to_contain_text("not reachable")
    again = serve(listen=listen)
    send(again, 2)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#rows .opener")).to_have_count(2)
    forget_failed_requests(said)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_read_it(page: Page, serve: Serve, scheme: Any) -> None:
    """No part has a serious or critical fault by axe, light and dark; screenshots are kept."""
    site = serve(ack_delay="0.2s", nodes=2, faults=["busy:1,p=0.5,count=3", "error500,count=1"])
    SHOTS.mkdir(exist_ok=True)
    visit(page, site)
    page.emulate_media(color_scheme=scheme)
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    expect(page.locator("#none")).to_be_visible()
    page.screenshot(path=SHOTS / f"empty-{scheme}.png")
    judge(page, "main", f"empty {scheme}")
    site.post('{"event":"x"}', "nobody")
    site.post('{"event":""}')
    for n in range(5):
        send(site, n, first=100 * n)
    expect(page.locator("#rows .opener")).to_have_count(events_indexed(site))
    page.locator("#rows .opener").nth(1).click()
    expect(page.locator(".facts")).to_be_visible()
    judge(page, "body", f"events {scheme}")
    for tab in TABS[1:]:
        page.locator(f"#tab-{tab}").click()
        expect(page.locator(f"#{tab}")).to_be_visible()
        page.screenshot(path=SHOTS / f"{tab}-{scheme}.png", full_page=True)
        judge(page, f"#{tab}", f"{tab} {scheme}")
    send(site, 90, first=1000)
    page.locator("#tab-events").click()
    page.locator("#fresh").click()
    expect(page.locator("#rows .opener")).to_have_count(50)
    page.locator("#rows .opener").nth(2).click()
    expect(page.locator(".facts")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SHOTS / f"events-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 420, "height": 900})
    page.screenshot(path=SHOTS / f"narrow-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def events_indexed(site: Site) -> int:
    """Wait until all that was accepted is durable, and return how many that is."""
    site.emulator.wait_for(lambda: site.emulator.stats()["events_waiting"] == 0, 60)
    return int(site.emulator.stats()["events_indexed"])


def judge(page: Page, part: str, where: str) -> None:
    """Fail by what axe finds serious or critical in a part of the page."""
    found = [
        (violation["id"], node["html"][:200], node["failureSummary"])
        for violation in Axe().run(page, context=part).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert found == [], where


def test_the_theme_can_be_chosen_and_is_kept(page: Page, serve: Serve) -> None:
    """The button goes from the system's theme to light and dark, and a reload keeps the choice."""
    site = serve()
    visit(page, site)
    page.locator("#theme").click()
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
