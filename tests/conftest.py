"""Fixtures of all tests."""

from collections.abc import Iterator

import pytest

from andoncord.adapters.system.postgres_process import PostgresProcess


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresProcess]:
    """A PostgreSQL of our own, started when the first test needs it."""
    with PostgresProcess() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty control database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('control')}/control.db"
    running: PostgresProcess = request.getfixturevalue("postgres")
    return running.new_database()
