"""Fixtures for the tests of the SDK."""

from collections.abc import Iterator

import pytest
from sdk.tests.wire_server import WireServer


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A control plane and telemetry receiver on a free port."""
    with WireServer() as server:
        yield server
