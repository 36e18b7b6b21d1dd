"""The console over the real server, with a real guard in another process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import ViewportSize, expect
from tests.server.console.browser import chromium

from andoncord.adapters.system.server_process import ServerProcess, launch

PHONE = ViewportSize(width=390, height=844)
DEADLINE_MS = 15_000
CLERK = Path(__file__).with_name("clerk.py")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with launch(tmp_path / "home") as running:
        yield running


@contextmanager
def clerk(server: ServerProcess) -> Iterator[None]:
    """A guarded agent process that works until the block is left."""
    answer = httpx2.post(
        f"{server.api_url}/api/v1/tokens",
        headers={"Authorization": f"Bearer {server.admin_token}"},
        json={"name": "clerk", "scope": "agent", "agent": "clerk"},
    )
    assert answer.status_code == 201, answer.text
    command = [sys.executable, str(CLERK), server.api_url, server.otlp_url, answer.json()["token"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            yield
        finally:
            assert child.stdin is not None
            child.stdin.close()
            child.wait(10)


def test_a_person_stops_a_real_agent_without_scripts(server: ServerProcess) -> None:
    """With JavaScript off a person signs in, declares an incident, pauses the agent, sees who confirmed it and the verdict, and
    releases the agent again.
    """
    with clerk(server), chromium() as browser, browser.new_context(viewport=PHONE, java_script_enabled=False) as context:
        context.set_default_timeout(DEADLINE_MS)
        expect.set_options(timeout=DEADLINE_MS)
        page = context.new_page()
        page.goto(f"{server.api_url}/incidents")
        page.get_by_label("One-time code").fill(server.login_url)
        page.get_by_role("button", name="Sign in").click()

        page.get_by_text("Declare an incident").click()
        page.get_by_label("What goes wrong").fill("the clerk reads too much")
        page.get_by_label("Agent", exact=True).last.fill("clerk")
        page.get_by_label("What you saw").fill("hundreds of notes a minute")
        page.get_by_role("button", name="Declare").click()
        page.get_by_role("link", name="the clerk reads too much").click()

        page.locator("#do-now").get_by_role("button", name="Pause clerk").click()
        expect(page.locator("#containment .orders")).to_contain_text("1 of 1 confirmed")
        expect(page.locator("#containment .judgement")).to_contain_text("VERIFIED")
        expect(page.locator("#containment .judgement")).not_to_contain_text("UNVERIFIED")

        page.locator("#containment").get_by_label("Why is it safe?").fill("seen to stop")
        page.get_by_role("button", name="Release clerk").click()
        expect(page.locator("#containment .orders li").first).to_contain_text("Release clerk")
        expect(page.locator("#containment .orders li").first).to_contain_text("1 of 1 confirmed")
