"""Sealing evidence, and checking it without the server that sealed it."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.adapters.system.signing import PUBLIC_FILE, open_key, read_public, signature_problem
from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.respond.archive import MANIFEST, SIGNATURE, check, unpack
from andoncord.respond.evidence import Bundle
from andoncord.server import capture
from andoncord.server.capture import CapturePerformer, EvidenceFolder
from andoncord.telemetry.batch import Beat, event_key
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing.clock import OPENING
from andoncord.testing.system import HandClock

CAPTURE = Effect(kind=EffectKind.CAPTURE, target="a", incident="inc_1", key="k", deadline_ms=2_000, reversal="nothing to undo")


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[ParquetTelemetryReader]:
    """A store with a call of two agents each."""
    writer = ParquetTelemetryWriter(tmp_path / "telemetry.db")
    for agent in ("a", "b"):
        event = Event(kind=EventKind.TOOL_COMPLETED, agent=agent, trace_id=agent * 32, span_id="1", start_ns=OPENING - 5)
        beat = Beat(agent=agent, instance="i1", trusted=True, last_seen_ns=OPENING)
        writer.record(seq=None, events=[(event_key(event), event)], findings=(), beats=[beat], ledger=(), now_ns=0)
    reader = ParquetTelemetryReader(tmp_path / "telemetry.db")
    yield reader
    reader.close()


def seal(folder: EvidenceFolder, telemetry: Any) -> Receipt:
    performer = CapturePerformer(folder=folder, telemetry=telemetry, clock=HandClock(), state=State)
    return asyncio.run(performer.perform("inc_1.002", CAPTURE))


def facts(manifest: dict[str, Any]) -> dict[str, str]:
    return {each["fact"]: each["state"] for each in manifest["facts"]}


def test_evidence_is_sealed_and_whole(telemetry: ParquetTelemetryReader, tmp_path: Path) -> None:
    """The manifest names every file with its digest, the receipt has the manifest's, and doing it again changes nothing."""
    folder = EvidenceFolder(tmp_path / "evidence")
    receipt = seal(folder, telemetry)
    files = unpack(folder.archive("inc_1", "inc_1.002"))
    checked = check(files)

    assert (receipt.outcome, receipt.detail["sha256"]) == (Outcome.DONE, hashlib.sha256(files[MANIFEST]).hexdigest())
    assert (checked.sha256, checked.problems) == (receipt.detail["sha256"], ())
    assert [json.loads(line)["agent"] for line in files["events.jsonl"].splitlines()] == ["a"]
    assert facts(checked.manifest)["events"] == "recorded"
    assert facts(checked.manifest)["processes"] == facts(checked.manifest)["code"] == "unknown"
    assert seal(folder, telemetry) == receipt


def test_a_file_that_was_changed_added_or_taken_away_is_found(telemetry: ParquetTelemetryReader, tmp_path: Path) -> None:
    """Each is named; nothing else is."""
    folder = EvidenceFolder(tmp_path / "evidence")
    seal(folder, telemetry)
    files = folder.files("inc_1", "inc_1.002")
    changed = {**files, "events.jsonl": files["events.jsonl"].replace(b'"a"', b'"c"'), "more.json": b"{}"}
    del changed["resources.json"]

    assert set(check(changed).problems) == {
        "events.jsonl was changed after it was sealed",
        "resources.json is missing",
        "more.json is not in the manifest",
    }


def test_only_the_pinned_key_verifies(telemetry: ParquetTelemetryReader, tmp_path: Path) -> None:
    """A manifest signed by any other key, or changed under its signature, does not hold."""
    for home in ("ours", "theirs"):
        (tmp_path / home).mkdir()
    key, other = open_key(tmp_path / "ours"), open_key(tmp_path / "theirs")
    assert key is not None
    assert other is not None
    folder = EvidenceFolder(tmp_path / "evidence", signer=key)
    receipt = seal(folder, telemetry)
    files = folder.files("inc_1", "inc_1.002")
    pinned = read_public(tmp_path / "ours" / PUBLIC_FILE)

    assert receipt.detail["signed_by"] == key.fingerprint
    assert signature_problem(files[MANIFEST], files[SIGNATURE], pinned) == ""
    assert signature_problem(files[MANIFEST], other.sign(files[MANIFEST]), pinned) != ""
    assert signature_problem(files[MANIFEST] + b" ", files[SIGNATURE], pinned) != ""


class _Stuck:
    """A store that does not answer until it is let go."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def beats(self) -> tuple[Beat, ...]:
        self.release.wait(20)
        return ()

    def of_agents(self, *args: Any, **more: Any) -> tuple[Event, ...]:
        return ()


def test_a_store_that_hangs_does_not_hold_up_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is sealed without what could not be read, and says so."""
    monkeypatch.setattr(capture, "READ_S", 0.05)
    store, folder = _Stuck(), EvidenceFolder(tmp_path / "evidence")
    performer = CapturePerformer(folder=folder, telemetry=store, clock=HandClock(), state=State)  # type: ignore[arg-type]

    async def perform() -> Receipt:
        try:
            return await performer.perform("inc_1.002", CAPTURE)
        finally:
            store.release.set()

    receipt = asyncio.run(perform())
    manifest = json.loads((tmp_path / "evidence/inc_1/inc_1.002" / MANIFEST).read_bytes())

    assert (receipt.outcome, receipt.detail["unknown"]) == (Outcome.DONE, ["events"])
    assert facts(manifest)["events"] == "unknown"


class _SlowFolder(EvidenceFolder):
    """A disk that does not come to its end until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.release = threading.Event()

    def write(self, incident: str, intent: str, bundle: Bundle) -> Path:
        self.release.wait(20)
        return super().write(incident, intent, bundle)


def test_a_disk_that_hangs_does_not_hold_up_the_stop_either(telemetry: ParquetTelemetryReader, tmp_path: Path) -> None:
    """The receipt says that nothing is sealed, when the time that the step states is over."""
    folder = _SlowFolder(tmp_path / "evidence")
    performer = CapturePerformer(folder=folder, telemetry=telemetry, clock=HandClock(), state=State)
    short = msgspec.structs.replace(CAPTURE, deadline_ms=50)

    async def perform() -> Receipt:
        try:
            return await performer.perform("inc_1.002", short)
        finally:
            folder.release.set()

    receipt = asyncio.run(perform())
    assert (receipt.outcome, receipt.detail["missing"]) == (
        Outcome.FAILED,
        "sealing took longer than 0.05 s; the stop did not wait for it",
    )


def test_only_some_bundles_are_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many are read as may be, another is sealed without events and says why; one that is given up leaves its turn."""
    monkeypatch.setattr(capture, "READ_S", 0.05)
    monkeypatch.setattr(capture, "READ_AT_ONCE", 1)
    store, folder = _Stuck(), EvidenceFolder(tmp_path / "evidence")
    performer = CapturePerformer(folder=folder, telemetry=store, clock=HandClock(), state=State)  # type: ignore[arg-type]

    async def perform() -> list[Receipt]:
        try:
            slow, crowded = await asyncio.gather(*(performer.perform(f"inc_1.00{number}", CAPTURE) for number in (2, 3)))
            cancelled = asyncio.create_task(performer.perform("inc_1.004", CAPTURE))
            await asyncio.sleep(0)
            cancelled.cancel()
        finally:
            store.release.set()
        async with performer._turns:
            pass
        return [slow, crowded, await performer.perform("inc_1.005", CAPTURE)]

    unknown = [receipt.detail["unknown"] for receipt in asyncio.run(perform())]
    manifest = json.loads((tmp_path / "evidence/inc_1/inc_1.003" / MANIFEST).read_bytes())

    assert unknown == [["events"], ["events"], []]
    assert "others were being captured" in json.dumps(manifest["facts"])
