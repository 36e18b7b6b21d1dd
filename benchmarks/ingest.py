"""How much telemetry one server takes in: over HTTP, masked, durable, decoded, through every rule, and stored.

The load generator is a process of its own on the same cores. A span counts when it is stored and was judged.
"""

import gzip
import http.client
import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from andoncord.adapters.system.server_process import ServerProcess, launch
from benchmarks.load import SPANS, Load
from benchmarks.peers.peer import measure as measure_peer
from benchmarks.result import Result, quantile

REQUESTS = 100
"""Requests of each kind; a long run shows what merging segments and retention cost."""
WARM_UP = 120
"""Requests with content sent before anything is measured: enough for the first segment, for which DuckDB is loaded."""
WARM_UP_LEAN = 12
PEER_REQUESTS = 12
CONNECTIONS = 4
STEADY_SHARE = 0.7
"""Share of the highest load at which acknowledgements are timed."""
DEADLINE_S = 300.0
PARSES = 20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Phase:
    """What one kind of load came to."""

    spans_per_s: float
    spans_per_cpu_s: float


def run(requests: int = REQUESTS, peers: int = 1) -> Result:
    """Send requests of 512 GenAI spans, with content and lean, and wait until each span is stored and was seen by every rule.

    Args:
        requests: of each kind.
        peers: 0 leaves out Phoenix and MLflow, while developing.
    """
    start_ns = time.time_ns() - 60 * 10**9
    content, lean = Load(has_content=True), Load(has_content=False)
    # Numbers, which ids are made from, are not used twice.
    with_content = [content.request(number, start_ns) for number in range(WARM_UP + 2 * requests)]
    without = [
        lean.request(number, start_ns) for number in range(len(with_content), len(with_content) + WARM_UP_LEAN + requests)
    ]
    packed = [gzip.compress(body, 1) for body in with_content]
    lean_packed = [gzip.compress(body, 1) for body in without]
    with tempfile.TemporaryDirectory() as folder, launch(Path(folder) / "home") as server:
        bench = Bench(server)
        bench.send_all(packed[:WARM_UP] + lean_packed[:WARM_UP_LEAN])
        bench.wait_stored()
        bench.wait_segment()
        full = bench.phase(packed[WARM_UP : WARM_UP + requests])
        waits = bench.paced(packed[WARM_UP + requests :], per_s=STEADY_SHARE * full.spans_per_s / SPANS)
        light = bench.phase(lean_packed[WARM_UP_LEAN:])
        rss_mb = bench.rss_mb()
    figures = {
        "spans_per_s": full.spans_per_s,
        "lean_spans_per_s": light.spans_per_s,
        "spans_per_cpu_s": full.spans_per_cpu_s,
        "lean_spans_per_cpu_s": light.spans_per_cpu_s,
        "ack_ms_p50": quantile(waits, 0.5),
        "ack_ms_p99": quantile(waits, 0.99),
        "rss_mb": rss_mb,
    }
    baselines = {"parse_spans_per_cpu_s": parse_rate(with_content[:PARSES])}
    if peers:
        for name in ("mlflow", "phoenix"):
            baselines[f"{name}_spans_per_cpu_s"] = measure_peer(name, with_content[:PEER_REQUESTS])
            figures[f"times_{name}"] = full.spans_per_cpu_s / baselines[f"{name}_spans_per_cpu_s"]
    return Result(
        figures=figures,
        baselines=baselines,
        notes=(
            f"{requests} requests of {SPANS} spans each: {len(with_content[0]) / SPANS / 1000:.2f} kB a span with content,",
            f"{len(without[0]) / SPANS / 1000:.2f} kB lean; {CONNECTIONS} connections, gzip. All share {os.cpu_count()} cores.",
            "A span counts when it is masked, durable, priced, judged by the built-in rules and stored.",
            "CPU and memory are those of the ingest worker and the processes it starts.",
            f"Acknowledgements are timed at {STEADY_SHARE:.0%} of the highest load with content, from when a request was due.",
            "The peers get the same requests with content; a span counts when it can be read back.",
            "parse: protobuf alone, nothing read out, nothing kept.",
        ),
    )


class Bench:
    """A load generator before one server."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._worker = worker_of(server.pid)
        self._sent = 0

    def phase(self, bodies: list[bytes]) -> Phase:
        """As fast as the server takes them, until all are stored."""
        cpu_before, began = cpu_s(self._worker), time.perf_counter()
        self.send_all(bodies)
        self.wait_stored()
        wall, cpu = time.perf_counter() - began, cpu_s(self._worker) - cpu_before
        return Phase(len(bodies) * SPANS / wall, len(bodies) * SPANS / cpu)

    def send_all(self, bodies: list[bytes]) -> None:
        """Send every body over a few connections."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda place: self._send(bodies[place::CONNECTIONS]), range(CONNECTIONS)))
        self._sent += len(bodies) * SPANS

    def paced(self, bodies: list[bytes], *, per_s: float) -> list[float]:
        """Each body when it is due, whether or not those before it are answered; milliseconds from then to the answer."""
        began = time.perf_counter()

        def send_due(place: int) -> list[float]:
            due = [began + number / per_s for number in range(place, len(bodies), 4 * CONNECTIONS)]
            return self._send(bodies[place :: 4 * CONNECTIONS], due)

        with ThreadPoolExecutor(4 * CONNECTIONS) as pool:
            waits = [wait for part in pool.map(send_due, range(4 * CONNECTIONS)) for wait in part]
        self._sent += len(bodies) * SPANS
        self.wait_stored()
        return waits

    def _send(self, bodies: list[bytes], due: list[float] | None = None) -> list[float]:
        """Send bodies one after the other, again where the server asks for it."""
        address = urlsplit(self._server.otlp_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE_S)
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        waits: list[float] = []
        pause = threading.Event()
        for place, body in enumerate(bodies):
            began = time.perf_counter()
            if due is not None:
                pause.wait(max(0.0, due[place] - began))
                began = due[place]
            status = 503
            while status == 503:
                connection.request("POST", "/v1/traces", body, headers)
                response = connection.getresponse()
                response.read()
                status = response.status
                if status == 503:
                    pause.wait(0.1)
            assert status == 200, status
            waits.append((time.perf_counter() - began) * 1_000)
        connection.close()
        return waits

    def wait_stored(self) -> None:
        """Wait until the ledger says that every span that was sent is stored, and none twice."""
        pause = threading.Event()
        end = time.perf_counter() + DEADLINE_S
        while time.perf_counter() < end:
            stored = self._stored()
            if stored >= self._sent:
                assert stored == self._sent, (stored, self._sent)
                return
            pause.wait(0.02)
        raise AssertionError(f"{self._sent} spans were not stored within {DEADLINE_S:g} s")

    def wait_segment(self) -> None:
        """Wait until the first segment was written."""
        pause, end = threading.Event(), time.perf_counter() + DEADLINE_S
        while not any((self._server.home / "segments").glob("*.parquet")):
            assert time.perf_counter() < end, "no segment was written"
            pause.wait(0.1)

    def _stored(self) -> int:
        request = Request(
            f"{self._server.api_url}/api/v1/ledger", headers={"Authorization": f"Bearer {self._server.admin_token}"}
        )
        with urlopen(request, timeout=DEADLINE_S) as answer:
            return sum(line["count"] for line in json.load(answer)["items"] if line["outcome"] == "stored")

    def rss_mb(self) -> float:
        """Memory of the ingest worker and what it started, megabytes."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in family(self._worker)) * PAGE / 1e6


def worker_of(pid: int) -> int:
    """The ingest worker of a server."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and all that it started have used."""
    used = 0
    for process in family(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / TICKS_PER_S


def parse_rate(bodies: list[bytes]) -> float:
    """Spans per CPU second of parsing alone."""
    began = time.process_time()
    for body in bodies:
        ExportTraceServiceRequest.FromString(body)
    return len(bodies) * SPANS / (time.process_time() - began)
