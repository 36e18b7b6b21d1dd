"""The console in a real browser, over the sample fleet: scripts off, scripts on, a phone, a keyboard."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect
from tests.server.console.browser import ServedConsole, chromium, served
from tests.server.console.sample import COOKIE, FOUR, GOOD_COOKIE, HOSTILE_VIEW, SampleConsole, order

PHONE = ViewportSize(width=390, height=844)
NARROW = ViewportSize(width=320, height=640)
DESK = ViewportSize(width=1360, height=900)
ROOMS = [f"/incidents/{view['id']}" for view in (*FOUR, HOSTILE_VIEW)]
PAGES = [
    "/",
    "/incidents?state=all",
    "/fleet",
    "/fleet/refund-agent",
    f"/traces/{'ab' * 16}",
    "/approvals/apr_000002",
    "/audit",
    *ROOMS,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def site() -> Iterator[ServedConsole]:
    with served(SampleConsole([*FOUR, HOSTILE_VIEW])) as running:
        yield running


def signed_in(browser: Browser, site: ServedConsole, viewport: ViewportSize, *, scripts: bool = True) -> BrowserContext:
    context = browser.new_context(viewport=viewport, java_script_enabled=scripts)
    context.set_default_timeout(10_000)
    context.add_cookies([{"name": COOKIE, "value": GOOD_COOKIE, "url": site.url}])
    return context


def complaints(page: Page) -> list[str]:
    """Errors that the browser reports from now on: of scripts, of the content policy, of missing files."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def test_an_agent_is_paused_without_scripts(browser: Browser, site: ServedConsole) -> None:
    """With JavaScript off the proposed pause is one click, and the next page shows who confirmed it."""
    with signed_in(browser, site, PHONE, scripts=False) as context:
        page = context.new_page()
        page.goto(f"{site.url}/incidents/inc_000003")
        page.locator("#do-now").get_by_role("button", name="Pause support-agent").click()

        expect(page.locator("#containment")).to_contain_text("1 of 1 confirmed")
        assert site.console.asked[0]["parameters"]["rung"] == "pause"


def test_the_dock_of_the_phone_acts(browser: Browser, site: ServedConsole) -> None:
    """The buttons at the bottom of a phone submit the same forms, also without scripts, and are 48 pixels high."""
    with signed_in(browser, site, PHONE, scripts=False) as context:
        page = context.new_page()
        page.goto(f"{site.url}/incidents/inc_000003")
        button = page.locator("#dock").get_by_role("button", name="Restrict")
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 48
        button.click()

        expect(page.get_by_role("status").first).to_contain_text("Ordered")
        assert site.console.asked[0]["parameters"]["rung"] == "restrict"


def test_kill_is_reached_from_the_dock_and_needs_the_name(browser: Browser, site: ServedConsole) -> None:
    """The Kill link opens the ladder at a field for the name; a wrong name kills nothing, the right one does."""
    with signed_in(browser, site, PHONE, scripts=False) as context:
        page = context.new_page()
        page.goto(f"{site.url}/incidents/inc_000003")
        page.locator("#dock").get_by_role("link", name="Kill…").click()
        field = page.locator("#kill input[name=confirm]")
        expect(field).to_be_visible()
        field.fill("support")
        page.locator("#kill").get_by_role("button", name="Kill").click()
        expect(page.get_by_role("alert")).to_contain_text("nothing was killed")
        assert site.console.asked == []

        page.locator("#kill input[name=confirm]").fill("support-agent")
        page.locator("#kill").get_by_role("button", name="Kill").click()
        expect(page.get_by_role("status").first).to_contain_text("Ordered")
        assert site.console.asked[0]["parameters"]["rung"] == "kill"


@pytest.mark.parametrize("viewport", [PHONE, NARROW, DESK], ids=["phone", "narrow", "desk"])
def test_nothing_overflows_and_nothing_complains(browser: Browser, site: ServedConsole, viewport: ViewportSize) -> None:
    """No page is wider than its window, and no page makes the browser report an error under the content policy."""
    with signed_in(browser, site, viewport) as context:
        page = context.new_page()
        found = complaints(page)
        for path in PAGES:
            page.goto(site.url + path)
            expect(page.locator("#link-state")).to_have_text("live")
            over = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over == 0, f"{path} is {over} px too wide"
        assert found == []


def test_news_arrives_without_reloading(browser: Browser, site: ServedConsole) -> None:
    """When the server says that the incident changed, the containment panel shows it and says it aloud; typed text stays."""
    with signed_in(browser, site, DESK) as context:
        page = context.new_page()
        page.goto(f"{site.url}/incidents/inc_000003")
        expect(page.locator("#link-state")).to_have_text("live")
        page.locator("#notes textarea").fill("half a note")
        site.console.views["inc_000003"]["orders"] = [order("support-agent", "pause", "13:59:59.000")]
        site.tell("inc_000003")

        expect(page.locator("#containment")).to_contain_text("1 of 1 confirmed")
        expect(page.locator("#announce")).to_contain_text("1 of 1 confirmed")
        expect(page.locator("#notes textarea")).to_have_value("half a note")


def test_what_is_in_use_does_not_move(browser: Browser, site: ServedConsole) -> None:
    """A panel that somebody fills in is not exchanged; a button offers the news."""
    with signed_in(browser, site, DESK) as context:
        page = context.new_page()
        page.goto(f"{site.url}/incidents/inc_000001")
        expect(page.locator("#link-state")).to_have_text("live")
        page.locator("#recovery input[name=reason]").fill("because")
        site.console.views["inc_000001"]["recovery"] = None
        site.tell("inc_000001")

        expect(page.locator("#fresh")).to_be_visible()
        expect(page.locator("#recovery input[name=reason]")).to_have_value("because")
        page.locator("#fresh button").click()
        expect(page.locator("#recovery")).to_contain_text("No plan yet")


def test_the_printed_link_signs_in(browser: Browser, site: ServedConsole) -> None:
    """The code in the fragment is put into the form and taken out of the address; signing in leads to Now."""
    context = browser.new_context(viewport=PHONE)
    context.set_default_timeout(10_000)
    with context:
        page = context.new_page()
        found = complaints(page)
        page.goto(f"{site.url}/login#code=good-code")
        expect(page.locator("#code")).to_have_value("good-code")
        assert "good-code" not in page.url
        page.get_by_role("button", name="Sign in").click()

        expect(page.get_by_role("heading", name="Now", exact=True)).to_be_visible()
        assert found == []


def test_the_first_stop_of_the_keyboard_skips_to_the_content(browser: Browser, site: ServedConsole) -> None:
    """Tab shows the skip link, and focus is never without an outline."""
    with signed_in(browser, site, DESK) as context:
        page = context.new_page()
        page.goto(f"{site.url}/incidents/inc_000003")
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.className") == "skip"
        for _ in range(12):
            page.keyboard.press("Tab")
            outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"


CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const text = element.textContent.trim().slice(0, 40);
    if (ratio < 4.5) poor.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${text}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(browser: Browser, site: ServedConsole, scheme: str) -> None:
    """Every visible text stands out from what is behind it by at least 4.5 to 1, in both colour schemes (WCAG 1.4.3)."""
    with signed_in(browser, site, DESK) as context:
        page = context.new_page()
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        for path in PAGES:
            page.goto(site.url + path)
            assert page.evaluate(CONTRAST) == [], path
