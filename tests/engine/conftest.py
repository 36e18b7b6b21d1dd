"""Fixtures of the engine's tests."""

import pytest

from andoncord.testing.story import Story


@pytest.fixture
def story() -> Story:
    """A fresh story."""
    return Story()
