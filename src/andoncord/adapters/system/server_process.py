"""Running the server as a process of its own: for the demo, for benchmarks, and for tests that need the real thing."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec

LOG_FILE = "serve.log"
TOKEN_FILE = "admin.token"
ADDRESS_FILE = "serve.json"


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What `andon serve --announce json` prints first."""

    api_url: str
    otlp_url: str
    login_url: str
    pid: int
    grpc_url: str = ""
    """OTLP/gRPC; empty in what an older server left behind."""


class ServerFailedError(Exception):
    """The server did not come up; the text is what it said."""


class ServerProcess:
    """A running `andon serve`. Leaving the `with` block stops it."""

    def __init__(self, child: "subprocess.Popen[bytes]", announcement: Announcement, home: Path) -> None:
        self._child = child
        self.home = home
        self.pid = child.pid
        self.api_url = announcement.api_url
        self.otlp_url = announcement.otlp_url
        self.grpc_url = announcement.grpc_url
        self.login_url = announcement.login_url

    @property
    def admin_token(self) -> str:
        """The token that the server keeps for its own user."""
        return (self.home / TOKEN_FILE).read_text(encoding="utf-8").strip()

    def log(self) -> str:
        """What it logged so far."""
        return (self.home / LOG_FILE).read_text(encoding="utf-8", errors="replace")

    def stop(self, *, deadline_s: float = 5.0) -> int:
        """Ask it to end, and make it when it does not; the exit code."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self._child.kill()
        return self._ended()

    def kill(self) -> None:
        """End it with SIGKILL: no goodbye, no cleaning up."""
        self._child.kill()
        self._ended()

    def _ended(self) -> int:
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        return self._child.wait()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


def launch(
    home: Path,
    *,
    config: Path | None = None,
    api_port: int = 0,
    otlp_port: int = 0,
    grpc_port: int = 0,
    environment: Mapping[str, str] | None = None,
    deadline_s: float = 60.0,
) -> ServerProcess:
    """Start a server and return once all of its ports answer. It ends with this process, even when that is killed.

    Args:
        home: its data directory, made when missing.
        config: a settings file; without one every default holds.
        api_port: 0 lets the system choose.
        otlp_port: 0 lets the system choose.
        grpc_port: 0 lets the system choose.
        environment: added to this process's environment.
        deadline_s: how long it may take to come up.

    Raises:
        ServerFailedError: it ended or took too long; with its log.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "andoncord.cli.main", "serve", "--home", str(home), "--announce", "json"]
    command.append("--while-stdin")
    command += ["--api-port", str(api_port), "--otlp-port", str(otlp_port), "--grpc-port", str(grpc_port)]
    if config is not None:
        command += ["--config", str(config)]
    with (home / LOG_FILE).open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # Nothing is ever written: it closes when this process is gone.
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    assert child.stdout is not None
    line = _first_line(child.stdout, deadline_s)
    if not line.endswith(b"\n"):
        child.kill()
        child.communicate()
        said = (home / LOG_FILE).read_text(encoding="utf-8", errors="replace")[-4_000:]
        raise ServerFailedError(f"the server did not come up within {deadline_s:g} s:\n{said}")
    return ServerProcess(child, msgspec.json.decode(line, type=Announcement), home)


def _first_line(stream: IO[bytes], deadline_s: float) -> bytes:
    """Up to and including the first line end; less when the stream ends or the time is up."""
    line = b""
    end_s = time.monotonic() + deadline_s
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, end_s - time.monotonic())):
                break
            byte = os.read(stream.fileno(), 1)
            if not byte:
                break
            line += byte
    return line
