"""Reports that wait on disk: they outlive an outage and the agent, and take no more room than they may."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk.exporter import Exporter
from andoncord_sdk.otlp import LogRecord, SpanRecord
from andoncord_sdk.spill import Spill
from andoncord_sdk.wire import Endpoint


def record(number: int, text: str = "x") -> LogRecord:
    return LogRecord(event_name="e", at_ns=number, attributes={"text": text})


def away_url() -> str:
    with WireServer() as gone:
        return gone.url


def wait_for(spill: Spill, count: int) -> None:
    """Until so many records are on disk."""
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.02)):
        if sum(int(file.stem.rpartition("-")[2]) for file in spill.waiting()) >= count:
            return
        pause.wait(0.02)
    raise AssertionError([file.name for file in spill.waiting()])


def times(wire: WireServer) -> list[int]:
    return sorted(int(log["timeUnixNano"]) for log in wire.logs)


def test_an_outage_is_sat_out_on_disk(tmp_path: Path) -> None:
    """More than memory would hold is kept while the server is away, and all of it arrives when it is back, on the same port."""
    spill = Spill(tmp_path / "kept")
    with WireServer() as before:
        port = before.port
    exporter = Exporter(Endpoint(f"http://127.0.0.1:{port}"), {"service.name": "s"}, spill=spill)
    for number in range(1, 10_001):
        exporter.put(record(number))
        if number % 2_000 == 0:
            wait_for(spill, number)
    assert exporter.flush(0.05) is False
    with WireServer(port=port) as wire:
        assert exporter.flush(DEADLINE_S)
        assert times(wire) == list(range(1, 10_001))
        exporter.put(record(10_001))
        assert exporter.flush(DEADLINE_S)
    assert (spill.waiting(), exporter.dropped) == ([], 0)
    exporter.close(0.1)


def test_what_a_killed_agent_left_is_delivered_by_the_next(tmp_path: Path) -> None:
    """Kill -9 with the server away: what was on disk comes with the next process that names the folder, as it was told."""
    program = (
        "import sys, threading\n"
        "from andoncord_sdk import Guard\n"
        "guard = Guard('refunds', telemetry=sys.argv[1], spill=sys.argv[2], heartbeat_s=60)\n"
        "with guard.run('one'):\n"
        "    print('up', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    folder = tmp_path / "kept"
    child = subprocess.Popen([sys.executable, "-c", program, away_url(), str(folder)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        wait_for(Spill(folder), 1)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    with WireServer() as wire:
        exporter = Exporter(Endpoint(wire.url), {"service.name": "another"}, spill=Spill(folder))
        assert exporter.flush(DEADLINE_S)
        exporter.close(0.1)
        kinds = [log["eventName"] for log in wire.logs]
        services = {resource["service.name"] for resource in wire.resources}

    assert "andoncord.run.started" in kinds
    assert services == {"refunds"}


def test_closing_keeps_what_did_not_get_out(tmp_path: Path) -> None:
    """A process that ends while the server is away leaves its last words on disk, spans too."""
    spill = Spill(tmp_path / "kept")
    exporter = Exporter(Endpoint(away_url()), {}, spill=spill)
    exporter.put(record(1))
    exporter.put(SpanRecord(name="s", trace_id="ab" * 16, span_id="cd" * 8, start_ns=1, end_ns=2))

    assert exporter.close(0.0) is False
    wait_for(spill, 2)
    with WireServer() as wire:
        after = Exporter(Endpoint(wire.url), {}, spill=spill)
        assert after.flush(DEADLINE_S)
        after.close(0.1)
        assert ({span["spanId"] for span in wire.spans}, set(times(wire))) == ({"cd" * 8}, {1})


def test_room_on_disk_is_bounded_and_private(tmp_path: Path) -> None:
    """The oldest goes first and is counted; nobody else may read what is there."""
    spill = Spill(tmp_path / "kept", max_bytes=20_000)
    lost = sum(spill.keep("/v1/logs", {"text": "x" * 1_500}, 10) for _ in range(30))
    files = spill.waiting()

    assert sum(file.stat().st_size for file in files) <= 20_000
    assert lost == (30 - len(files)) * 10 > 0
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(spill.folder.stat().st_mode) == 0o700


def test_what_killed_processes_left_unfinished_goes_and_what_is_being_written_counts(tmp_path: Path) -> None:
    """Unfinished files are of nobody after a minute, and are room taken until then."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for name, age_s in (("1-1-1-1.part", 3_600), ("2-2-1-1.part", 0)):
        (folder / name).write_text("x" * 9_000, encoding="utf-8")
        then = time.time() - age_s
        os.utime(folder / name, (then, then))
    spill = Spill(folder, max_bytes=20_000)
    for _ in range(20):
        spill.keep("/v1/logs", {"text": "x" * 1_500}, 1)

    assert [file.name for file in folder.glob("*.part")] == ["2-2-1-1.part"]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 20_000


def test_a_broken_file_is_dropped_and_the_rest_goes_on(wire: WireServer, tmp_path: Path) -> None:
    """Half a file, as after a full disk, does not stop the delivery."""
    spill = Spill(tmp_path / "kept")
    spill.keep("/v1/logs", {"resourceLogs": []}, 0)
    (spill.folder / "00000-1-1-5.json").write_text('{"path": "/v1/lo')
    exporter = Exporter(Endpoint(wire.url), {}, spill=spill)

    assert exporter.flush(DEADLINE_S)
    assert spill.waiting() == []
    exporter.close(0.1)


def test_a_folder_that_cannot_be_written_leaves_memory(tmp_path: Path) -> None:
    """Without a place on disk records wait in memory, as they do without a folder, and arrive."""
    (tmp_path / "file").touch()
    with WireServer() as before:
        port = before.port
    exporter = Exporter(Endpoint(f"http://127.0.0.1:{port}"), {}, spill=Spill(tmp_path / "file" / "kept"))
    exporter.put(record(1))
    assert exporter.flush(0.3) is False
    with WireServer(port=port) as wire:
        exporter.put(record(2))
        assert exporter.flush(DEADLINE_S)
        assert times(wire) == [1, 2]
    exporter.close(0.1)
