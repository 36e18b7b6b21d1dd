"""Wiring of the ingest worker. It stands apart from the control process's, so that a worker imports only what it uses."""

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.adapters.sqlite.tokens import SqliteTokens
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.logs import log_to_stderr
from andoncord.adapters.system.memory import MemoryFiles
from andoncord.app_both import CONTROL_FILE, TELEMETRY_FILE, WorkerSetup, load_detectors, load_prices, look_for_circles_seldom
from andoncord.config import Config
from andoncord.kernel.access import Token
from andoncord.server.appender import Appender
from andoncord.server.figures import FIGURES, FINDINGS, MISUSE
from andoncord.server.holds import HOLDS_FILE, read_holds
from andoncord.server.ingest import Ingest
from andoncord.server.keeping import Keeper
from andoncord.server.otlp_grpc import OtlpGrpc
from andoncord.server.otlp_http import OtlpHttp
from andoncord.server.pipeline import Pipeline
from andoncord.server.prepare import Setup
from andoncord.server.preparer import Preparer
from andoncord.server.worker import serve_worker, stop_self, tell_parent
from andoncord.server.worker_process import python_command
from andoncord.telemetry.prices import Pricing

MEMORY_FOLDER = "detectors"


def worker_main(arguments: Sequence[str]) -> int:
    """The ingest worker: reads its setup from standard input and serves on the socket it inherited."""
    log_to_stderr()
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerSetup)
    listener = socket.socket(fileno=int(arguments[0]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_worker(setup, listener))


async def _worker(setup: WorkerSetup, listener: socket.socket) -> int:
    """Connect the ingest worker and run it."""
    home, clock = Path(setup.home), SystemClock()
    writer = ParquetTelemetryWriter(home / TELEMETRY_FILE)
    appender = Appender(writer)
    prices = load_prices(setup.config, beside=Path(setup.beside))
    pipeline = Pipeline(
        writer=writer,
        bank=load_detectors(setup.config, beside=Path(setup.beside)),
        clock=clock,
        on_findings=lambda: tell_parent(FINDINGS),
        on_failure=stop_self,
        pricing=Pricing(prices),
        on_figures=lambda figures: tell_parent(FIGURES + figures + b"\n"),
        memory=MemoryFiles(home / MEMORY_FOLDER),
    )
    settings = setup.config.server
    preparer = Preparer(
        python_command("andoncord.server.prepare"), Setup(limit=settings.max_body_mib * 1024 * 1024, prices=prices)
    )
    preparer.start()
    ingest = Ingest(
        settings=settings,
        clock=clock,
        find_token=find_token(home, setup.config),
        appender=appender,
        pipeline=pipeline,
        preparer=preparer,
        on_misuse=lambda misuse: tell_parent(MISUSE + msgspec.json.encode(misuse) + b"\n"),
    )
    look_for_circles_seldom()
    http = OtlpHttp(ingest, hosts=settings.hosts).app()
    grpc = OtlpGrpc(ingest, target=setup.grpc_target)
    keeper = Keeper(
        writer=writer, clock=clock, settings=setup.config.telemetry, holds=lambda now: read_holds(home / HOLDS_FILE, now)
    )
    return await serve_worker(listener=listener, http=http, grpc=grpc, pipeline=pipeline, appender=appender, keeper=keeper)


def find_token(home: Path, config: Config) -> Callable[[str], Token | None]:
    """What finds a token by its digest, in the control database that the settings name."""
    if not config.database.url:
        return unexpired(SqliteTokens(home / CONTROL_FILE).token)
    # Only a database that is not the file in the data directory needs SQLAlchemy, which takes half a second to import.
    from andoncord.adapters.sql.access import SqlAccess  # noqa: PLC0415
    from andoncord.adapters.sql.database import Database  # noqa: PLC0415

    return unexpired(SqlAccess(Database(config.database.url, read_only=True)).token)


def unexpired(find: Callable[[str], Token | None]) -> Callable[[str], Token | None]:
    """The same, without tokens whose time is over."""
    clock = SystemClock()

    def found(secret_digest: str) -> Token | None:
        token = find(secret_digest)
        return token if token is None or not token.expires_ns or clock.now() < token.expires_ns else None

    return found


if __name__ == "__main__":
    raise SystemExit(worker_main(sys.argv[1:]))
