"""The store is killed between any two steps of its upkeep, and nothing is lost, doubled or left lying about."""

import subprocess
import sys
from pathlib import Path

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.testing.telemetry_contract import TRACE, a_span, record

STEPS = (
    "segment written",
    "keys written",
    "manifest open",
    "manifest changed",
    "merged segment written",
    "merged segment named",
    "merged keys written",
)
SPANS = 9

PROGRAM = """
import os, signal, sys
from pathlib import Path
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.testing.telemetry_contract import a_span, record

place, fatal, spans = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
seen = 0

def on_step(name):
    global seen
    seen += name == fatal
    # Not at the first segment, so that there is something before it.
    if name == fatal and (seen == 2 or name.startswith("merged")):
        os.kill(os.getpid(), signal.SIGKILL)

writer = ParquetTelemetryWriter(place, on_step=on_step)
for number in range(1, spans):
    record(writer, [a_span(number)], seq=number)
    writer.settle(now_ns=0, everything=True)
record(writer, [a_span(spans)], seq=spans)
while writer.compact(now_ns=0):
    pass
raise SystemExit("was not killed")
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_between_two_steps_changes_nothing(tmp_path: Path, step: str) -> None:
    """Whatever was recorded is there once after a restart, its keys are known, and no file is left that nothing names."""
    place = tmp_path / "telemetry.db"
    command = [sys.executable, "-c", PROGRAM, str(place), step, str(SPANS)]
    ended = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert ended.returncode == -9, ended.stderr.decode()

    writer, reader = ParquetTelemetryWriter(place), ParquetTelemetryReader(place)
    spans = [int(event.span_id, 16) for event in reader.trace(TRACE)]
    assert spans == list(range(1, spans[-1] + 1))
    assert spans[-1] == writer.read_out()
    assert record(writer, [a_span(number) for number in spans], seq=None) == 0

    while writer.settle(now_ns=0, everything=True) or writer.compact(now_ns=0):
        pass
    writer.sweep(now_ns=2**62)
    assert [int(event.span_id, 16) for event in reader.trace(TRACE)] == spans
    assert reader.storage().events == len(spans)
    assert reader.storage().damaged == ()
    segments = reader.storage().segments
    found = sorted(path.suffix for path in (tmp_path / "segments").iterdir() if path.is_file())
    assert found.count(".parquet") == found.count(".traces") == segments
    assert set(found) == {".keys", ".parquet", ".traces"}
    reader.close()
    writer.close()
