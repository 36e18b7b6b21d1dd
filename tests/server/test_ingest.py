"""Who is let in to send telemetry, and how much at once."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.detect.bank import Bank
from andoncord.kernel.access import Scope, Token, secret_digest
from andoncord.server import ingest as ingest_module
from andoncord.server.appender import Appender
from andoncord.server.figures import Misuse
from andoncord.server.ingest import Ingest, Refusal, RefusedError
from andoncord.server.pipeline import Pipeline
from andoncord.server.settings import ServerSettings
from andoncord.testing.system import HandClock


def _nothing() -> None:
    """What a pipeline that does not run has to tell."""


def _token(name: str, scope: Scope) -> Token:
    return Token(id=name, name=name, scopes=(scope,), agent="*", secret_digest=secret_digest(name), created_ns=1)


def test_one_token_leaves_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that has its share of requests open waits; others are let in, and so is it as soon as one of its own is done."""
    monkeypatch.setattr(ingest_module, "MAX_OPEN_OF_TOKEN", 2)
    told: list[Misuse] = []
    scopes = {"a": Scope.AGENT, "b": Scope.AGENT, "c": Scope.READ}
    tokens = {secret_digest(name): _token(name, scope) for name, scope in scopes.items()}
    writer, clock = ParquetTelemetryWriter(tmp_path / "telemetry.db"), HandClock()
    appender = Appender(writer)
    ingest = Ingest(
        settings=ServerSettings(),
        clock=clock,
        find_token=tokens.get,
        appender=appender,
        pipeline=Pipeline(writer=writer, bank=Bank(()), clock=clock, on_findings=_nothing, on_failure=_nothing),
        on_misuse=told.append,
    )

    with ExitStack() as open_ones:
        open_ones.enter_context(ingest.admit("Bearer a"))
        with ingest.admit("Bearer a"), pytest.raises(RefusedError) as refused, ingest.admit("Bearer a"):
            pass
        assert refused.value.why is Refusal.TOO_MANY
        for other in ("Bearer a", "Bearer b", ""):
            open_ones.enter_context(ingest.admit(other))
    for _ in range(5):
        with pytest.raises(RefusedError), ingest.admit("Bearer c"):
            pass
    appender.close()
    writer.close()

    assert [(each.token, each.scope, each.times) for each in told] == [("c", "read", 1), ("c", "read", 2), ("c", "read", 4)]
