"""Phoenix and MLflow taking in the same requests: each started from the environment of the peers, filled, counted, and stopped.

A span counts when it can be read back from the server's database, since both answer before, or long before, that.
"""

import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import SPANS

BIN = Path(__file__).resolve().parents[2] / ".venv" / "peers" / "bin"
START_S = 120.0
DEADLINE_S = 300.0
MIN_REQUESTS = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
HOW_TO_INSTALL = "the peers are not installed: run `python3 dev.py peers`, or leave them out with peers=0"

_COUNTS = {"mlflow": ("mlflow.db", "SELECT count(*) FROM spans"), "phoenix": ("phoenix.db", "SELECT count(*) FROM spans")}


def measure(name: str, bodies: list[bytes]) -> float:
    """Spans per CPU second of one peer, over as many of these requests as it takes in a reasonable time.

    Raises:
        SystemExit: it is not installed; says how to.
    """
    if not (BIN / name).exists():
        raise SystemExit(HOW_TO_INSTALL)
    with tempfile.TemporaryDirectory() as folder, _running(name, Path(folder)) as (pid, port):
        # Phoenix is two orders of magnitude slower than what it is compared with.
        count = MIN_REQUESTS if name == "phoenix" else len(bodies)
        _send(port, bodies[:1])
        _wait_stored(name, Path(folder), SPANS)
        before = _cpu_s(pid)
        _send(port, bodies[1 : 1 + count])
        _wait_stored(name, Path(folder), (1 + len(bodies[1 : 1 + count])) * SPANS)
        return len(bodies[1 : 1 + count]) * SPANS / (_cpu_s(pid) - before)


@contextmanager
def _running(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """One peer on ports of its own with an SQLite database in `folder`; its process id and its HTTP port."""
    port, grpc = _free_port(), _free_port()
    settings = dict(os.environ, HOME=str(folder))
    if name == "phoenix":
        settings |= {"PHOENIX_WORKING_DIR": str(folder), "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(grpc)}
        settings |= {"PHOENIX_HOST": "127.0.0.1", "PHOENIX_TELEMETRY_ENABLED": "false"}
        command = [str(BIN / "phoenix"), "serve"]
    else:
        settings |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        database = f"sqlite:///{folder / 'mlflow.db'}"
        command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", database, "--default-artifact-root", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, env=settings, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            _wait_up(child, port, folder / "log")
            yield child.pid, port
        finally:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_up(child: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    pause, end = threading.Event(), time.monotonic() + START_S
    while time.monotonic() < end and child.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health" if "mlflow" in str(child.args) else "/healthz")
            if connection.getresponse().status < 500:
                return
        except OSError:
            pause.wait(0.2)
    raise AssertionError(f"a peer did not start:\n{log.read_text(errors='replace')[-2_000:]}")


def _send(port: int, bodies: list[bytes]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "0"}
    for body in bodies:
        connection.request("POST", "/v1/traces", body, headers)
        response = connection.getresponse()
        said = response.read()
        assert response.status == 200, (response.status, said[:500])
    connection.close()


def _wait_stored(name: str, folder: Path, spans: int) -> None:
    file, query = _COUNTS[name]
    pause, end, found = threading.Event(), time.monotonic() + DEADLINE_S, 0
    while time.monotonic() < end:
        connection = sqlite3.connect(f"file:{folder / file}?mode=ro", uri=True, timeout=5)
        try:
            found = connection.execute(query).fetchone()[0]
        except sqlite3.OperationalError:  # Locked, or not made yet.
            pass
        finally:
            connection.close()
        if found >= spans:
            return
        pause.wait(0.1)
    raise AssertionError(f"{name} stored {found} of {spans} spans within {DEADLINE_S:g} s")


def _cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and all below it have used."""
    used = 0.0
    for process in (pid, *_below(pid)):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        used += sum(map(int, fields[11:15])) / TICKS_PER_S
    return used


def _below(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [process for child in children for process in (child, *_below(child))]
