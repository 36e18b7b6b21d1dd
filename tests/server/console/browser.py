"""A Chromium for the browser tests, and the sample console behind a real port."""

import asyncio
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright
from starlette.responses import StreamingResponse
from tests.server.console.sample import SampleConsole

from andoncord.server.console.routes import console_router

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEADLINE_S = 20.0


class ServedConsole:
    """The sample console at `url`; `tell` sends a browser that listens the news that an incident changed."""

    def __init__(self, console: SampleConsole, url: str, loop: asyncio.AbstractEventLoop, news: asyncio.Queue[str]) -> None:
        self.console = console
        self.url = url
        self._loop = loop
        self._news = news

    def tell(self, incident: str) -> None:
        self._loop.call_soon_threadsafe(self._news.put_nowait, incident)


@contextmanager
def served(console: SampleConsole) -> Iterator[ServedConsole]:
    """Serve `console` on a free port of the loopback until the block is left."""
    news: asyncio.Queue[str] = asyncio.Queue()
    loops: list[asyncio.AbstractEventLoop] = []
    ready = threading.Event()
    stopping = asyncio.Event()

    async def stream() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            yield ": open\n\n"
            while not stopping.is_set():
                try:
                    incident = await asyncio.wait_for(news.get(), timeout=0.2)
                except TimeoutError:
                    continue
                yield f'event: incident\ndata: {{"id": "{incident}", "seq": 1}}\n\n'

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def announce() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()

    app = FastAPI()
    app.include_router(console_router(console))
    app.add_api_route("/api/v1/stream", stream)
    app.router.add_event_handler("startup", announce)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="sample-console")
    thread.start()
    try:
        assert ready.wait(DEADLINE_S), "the sample console did not start"
        yield ServedConsole(console, f"http://127.0.0.1:{listener.getsockname()[1]}", loops[0], news)
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        server.should_exit = True
        thread.join(DEADLINE_S)
        listener.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium of the system."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert path, "the browser tests need Chromium on the PATH: on Debian or Ubuntu, apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
