"""Whether the server grows under a steady load: memory, open files and files on disk, at half of what it takes in."""

import gzip
import tempfile
import threading
import time
from pathlib import Path

from andoncord.adapters.system.server_process import launch
from benchmarks.ingest import CONNECTIONS, PAGE, Bench, family
from benchmarks.load import SPANS, Load
from benchmarks.result import Result

SECONDS = 60
PROBE = 24
"""Requests sent as fast as possible to learn the highest load."""
SHARE = 0.5
SAMPLES = 60


def run(seconds: int = SECONDS) -> Result:
    """Send content at half the highest load, and look at every process of the server meanwhile.

    Args:
        seconds: 1800 is the long form. A growth that a minute does not show, half an hour does.
    """
    load, start_ns = Load(has_content=True), time.time_ns() - 60 * 10**9
    with tempfile.TemporaryDirectory() as folder, launch(Path(folder) / "home") as server:
        bench = Bench(server)
        bench.send_all([gzip.compress(load.request(number, start_ns), 1) for number in range(PROBE)])
        bench.wait_stored()
        probe = [gzip.compress(load.request(number, start_ns), 1) for number in range(PROBE, 2 * PROBE)]
        per_s = SHARE * bench.phase(probe).spans_per_s / SPANS
        samples: list[tuple[float, float, int, int]] = []
        ended = threading.Event()

        def watch() -> None:
            began = time.perf_counter()
            while not ended.wait(seconds / SAMPLES):
                samples.append((time.perf_counter() - began, *look(server.pid, server.home)))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        sent, waits, end = 2 * PROBE, list[float](), time.perf_counter() + seconds
        while time.perf_counter() < end:
            count = max(CONNECTIONS, int(per_s * 5))
            # New texts each time, made between the pieces: equal ones would hide a cache that grows.
            bodies = [gzip.compress(load.request(number, time.time_ns() - 10**9), 1) for number in range(sent, sent + count)]
            waits += bench.paced(bodies, per_s=per_s)
            sent += count
        ended.set()
        watcher.join()
    # The first half is for caches to fill and for the allocator to settle.
    steady = samples[len(samples) // 2 :]
    minutes = [at / 60 for at, *_ in steady]
    return Result(
        figures={
            "rss_mb_start": samples[0][1],
            "rss_mb_end": samples[-1][1],
            "rss_mb_per_min": slope(minutes, [rss for _, rss, _, _ in steady]),
            "fds_per_min": slope(minutes, [float(fds) for _, _, fds, _ in steady]),
            "files_per_min": slope(minutes, [float(files) for *_, files in steady]),
            "spans": float(sent * SPANS),
            "ack_ms_max": max(waits),
        },
        baselines={},
        notes=(
            f"{seconds} s at {SHARE:.0%} of the highest load, {per_s * SPANS:,.0f} spans/s with content while sending.",
            "All processes of the server; slopes are those of the second half. Every span is stored, none twice.",
            "Segments of events are files: they come with the load, are merged, and go with retention.",
        ),
    )


def look(pid: int, home: Path) -> tuple[float, int, int]:
    """Memory in megabytes, open descriptors, and files in the data directory."""
    rss = fds = 0
    for process in family(pid):
        try:
            rss += int(Path(f"/proc/{process}/statm").read_text().split()[1])
            fds += sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
        except OSError:
            continue  # It ended meanwhile.
    return rss * PAGE / 1e6, fds, sum(1 for file in home.rglob("*") if file.is_file())


def slope(xs: list[float], ys: list[float]) -> float:
    """The least-squares slope.

    >>> slope([0, 1, 2], [5, 7, 9])
    2.0
    """
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0
