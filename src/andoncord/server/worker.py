"""The ingest worker's side of the two processes: it serves OTLP until its parent says stop, or is gone."""

import asyncio
import os
import signal
import socket
import sys
from threading import Thread

from starlette.types import ASGIApp

from andoncord.server.appender import Appender
from andoncord.server.figures import READY
from andoncord.server.keeping import Keeper
from andoncord.server.listening import WebServer
from andoncord.server.otlp_grpc import OtlpGrpc
from andoncord.server.pipeline import Pipeline

PIPELINE_STOP_S = 1.0
KEEPER_STOP_S = 0.3
END_ANYWAY_S = 2
FAILED = 70


def tell_parent(line: bytes) -> None:
    """Ring the parent. A parent that does not listen is gone, and its absence is noticed elsewhere."""
    try:
        os.write(sys.stdout.fileno(), line)
    except OSError:
        pass


async def serve_worker(
    *, listener: socket.socket, http: ASGIApp, grpc: OtlpGrpc, pipeline: Pipeline, appender: Appender, keeper: Keeper
) -> int:
    """Serve until SIGTERM, until the parent is gone, or until the pipeline breaks; the exit code."""
    loop = asyncio.get_running_loop()
    server = WebServer(http)
    # Ctrl-C reaches the whole process group; the parent decides when the worker stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    Thread(target=_follow_parent, name="parent", daemon=True).start()
    pipeline.start()
    keeper.start()
    serving = asyncio.create_task(server.run_on(listener))
    await server.is_up()
    await grpc.start()
    tell_parent(READY)
    await serving
    await grpc.stop()
    appender.close()
    pipeline.stop(deadline_s=PIPELINE_STOP_S)
    keeper.stop(deadline_s=KEEPER_STOP_S)
    return FAILED if pipeline.has_failed else 0


def stop_self() -> None:
    """Ask this process to end; from any thread."""
    os.kill(os.getpid(), signal.SIGTERM)


def _follow_parent() -> None:
    """The parent holds the other end of standard input. When that closes, however the parent died, the worker ends too."""
    while os.read(sys.stdin.fileno(), 4_096):
        pass
    stop_self()
    # Ends the process even when the event loop is stuck.
    signal.alarm(END_ANYWAY_S)
