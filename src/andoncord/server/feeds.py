"""What flows from the worker into the engine: findings, and the digests of what was seen."""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence

from andoncord.detect.finding import Finding
from andoncord.detect.ports import TelemetryReader
from andoncord.engine.facts import FindingArrived, SystemNoted, TelemetryDigested
from andoncord.engine.run import Engine
from andoncord.server.ports import AccessStore

logger = logging.getLogger(__name__)

POLL_S = 0.25
"""Findings are looked for this often even when nobody rings: a lost ring costs a quarter of a second, not a finding."""
DIGEST_EVERY_S = 5.0
FINDINGS_PER_READ = 100
FINDINGS_PER_WRITE = 25
"""Findings that one write of the journal takes: more would keep orders and answers waiting."""
DIGESTS_PER_ENTRY = 10_000
FINDINGS = "findings"


POSITION_EVERY_S = 1.0
"""How often the place in the findings is written down while they keep coming. What is read again after a crash is known."""


class FindingFeed:
    """Hands findings to the engine in the order in which they were stored, each at least once; the engine knows them by id.

    How far it is is written down when it has come to rest, not between a decision and its effects: that flush would delay them.

    Args:
        log: whose findings, where several servers share a control database; empty where one has it for itself.
    """

    def __init__(self, *, telemetry: TelemetryReader, positions: AccessStore, engine: Engine, log: str = "") -> None:
        self._place = f"{FINDINGS}@{log}" if log else FINDINGS
        self._telemetry = telemetry
        self._positions = positions
        self._engine = engine
        self._bell = asyncio.Event()
        self._position = self._written = 0
        self._written_s = 0.0

    def ring(self) -> None:
        """Say that there are new findings."""
        self._bell.set()

    async def run(self) -> None:
        """Feed until cancelled."""
        self._position = self._written = self._positions.position(self._place)
        try:
            while True:
                self._bell.clear()
                await self._feed()
                try:
                    async with asyncio.timeout(POLL_S):
                        await self._bell.wait()
                except TimeoutError:
                    self._write()
        finally:
            self._write()

    async def _feed(self) -> None:
        while found := self._telemetry.findings(after=self._position, limit=FINDINGS_PER_READ):
            for start in range(0, len(found), FINDINGS_PER_WRITE):
                await self._take([finding for _, finding in found[start : start + FINDINGS_PER_WRITE]])
                await asyncio.sleep(0)  # What was decided begins before more is read.
            self._position = found[-1][0]
            if asyncio.get_running_loop().time() - self._written_s >= POSITION_EVERY_S:
                self._write()

    def _write(self) -> None:
        """Write down how far it is, unless that is written down."""
        if self._position != self._written:
            self._positions.set_position(self._place, self._position)
            self._written = self._position
        self._written_s = asyncio.get_running_loop().time()

    async def _take(self, findings: Sequence[Finding]) -> None:
        """Hand over findings that came together; where one of them cannot be taken, each by itself."""
        try:
            await self._engine.submit_all([FindingArrived(finding=finding) for finding in findings])
        except AssertionError:
            for finding in findings:
                await self._take_alone(finding)

    async def _take_alone(self, finding: Finding) -> None:
        try:
            await self._engine.submit(FindingArrived(finding=finding))
        except AssertionError:
            # Our own fault: the finding stays in its table and in the record, and the rest goes on.
            logger.exception("the engine could not take finding %s", finding.id)
            await self._engine.submit(
                SystemNoted(what="finding could not be taken", detail={"finding": finding.id, "rule": finding.rule})
            )


class DigestFeed:
    """Puts a digest over each stretch of the ingest log into the journal (INC-8).

    Args:
        log: whose ingest log, where several servers share a journal; empty where one has it for itself.
    """

    def __init__(self, *, telemetry: TelemetryReader, engine: Engine, log: str = "") -> None:
        self._log = log
        self._telemetry = telemetry
        self._engine = engine

    async def run(self) -> None:
        """Digest until cancelled."""
        while True:
            await self.digest()
            await asyncio.sleep(DIGEST_EVERY_S)

    async def digest(self) -> None:
        """Digest what came since the last time."""
        batches = self._telemetry.batch_digests(after=self._engine.state.digested.get(self._log, 0), limit=DIGESTS_PER_ENTRY)
        if batches:
            fact = TelemetryDigested(
                first_seq=batches[0][0],
                last_seq=batches[-1][0],
                sha256=digest_of(sha256 for _, sha256 in batches),
                log=self._log,
            )
            await self._engine.submit(fact)


def digest_of(digests: Iterable[str]) -> str:
    """One digest over the digests of batches, in order.

    >>> digest_of(["ab", "cd"]) == digest_of(["ab", "cd"]), digest_of(["ab"]) == digest_of(["cd"])
    (True, False)
    """
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
