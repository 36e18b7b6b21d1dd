"""Take docs/console.png: the incident room of the demo's worst incident, as a browser shows it.

Runs the demo, waits until its story has been told, opens the console and ends the demo again. `just screenshot` calls it.
"""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

PICTURE = Path(__file__).with_name("console.png")
WINDOW = ViewportSize(width=1280, height=1000)
STORY_DEADLINE_S = 90.0
ENDING_S = 20.0
LINK = re.compile(r"http://127\.0\.0\.1:\d+/login#code=[\w-]+")
OVER = "the fleet works on"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]


def told(output: IO[str], lines: "queue.Queue[str | None]") -> None:
    """Pass on what the demo prints, and None when it has ended."""
    for line in output:
        lines.put(line)
    lines.put(None)


def link_after_the_story(lines: "queue.Queue[str | None]") -> str:
    """Wait until the story is over; the login link that is printed then.

    Raises:
        SystemExit: the demo ended or fell silent before.
    """
    over = False
    while True:
        try:
            line = lines.get(timeout=STORY_DEADLINE_S)
        except queue.Empty:
            sys.exit(f"screenshot: the demo said nothing for {STORY_DEADLINE_S:g} s")
        if line is None:
            sys.exit("screenshot: the demo ended before its story was told")
        over = over or OVER in line
        if over and (link := LINK.search(line)):
            return link.group()


def photograph(page: Page, login: str) -> None:
    """Sign in, open the worst incident that has a picture of its own to give, and take it."""
    page.goto(login)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("navigation").get_by_role("link", name="Incidents").click()
    page.goto(page.url + "?state=all")
    rooms = page.locator("tbody th a")
    worst = rooms.first
    for row in page.locator("tbody tr").all():
        if "SEV-1" in row.inner_text():
            worst = row.locator("th a")
    worst.click()
    expect(page.locator("#link-state")).to_have_text("live")
    page.screenshot(path=PICTURE)


def main() -> None:
    """Run the demo and photograph it."""
    browser_path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser_path is None:
        sys.exit("screenshot: needs Chromium on the PATH")
    with tempfile.TemporaryDirectory() as home:
        demo = subprocess.Popen(
            [sys.executable, "-m", "andoncord.cli.main", "demo"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ANDON_HOME": home, "COLUMNS": "400", "NO_COLOR": "1"},  # noqa: TID251 (a script of its own)
        )
        assert demo.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=told, args=(demo.stdout, lines), daemon=True).start()
        try:
            login = link_after_the_story(lines)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
                photograph(browser.new_page(viewport=WINDOW, color_scheme="light"), login)
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
            try:
                demo.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                demo.kill()
                demo.wait()


if __name__ == "__main__":
    main()
