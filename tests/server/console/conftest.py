"""Fixtures of the console's tests: the sample fleet, and a browser-like client that is signed in to it."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.server.console.sample import COOKIE, GOOD_COOKIE, SampleConsole

from andoncord.server.console.routes import console_router


@pytest.fixture
def console() -> SampleConsole:
    """The port over the four failures."""
    return SampleConsole()


@pytest.fixture
def stranger(console: SampleConsole) -> Iterator[TestClient]:
    """A client without a session; it does not follow redirects, so that tests see them."""
    app = FastAPI()
    app.include_router(console_router(console))
    with TestClient(app, base_url="http://127.0.0.1:8420", follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """The same client, signed in."""
    stranger.cookies.set(COOKIE, GOOD_COOKIE)
    return stranger
