"""Sealing evidence about a fenced agent: bounded in time, so that it never holds up the stop (RSP-4)."""

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from andoncord.detect.ports import TelemetryReader
from andoncord.engine.state import Intent, State
from andoncord.kernel.canon import digest
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.kernel.time import DAY_NS
from andoncord.respond.archive import MANIFEST, SIGNATURE, check, pack, safe_name
from andoncord.respond.evidence import MAX_EVENTS, Bundle, seal
from andoncord.server.casework import write_durably
from andoncord.server.hub import GuardHub
from andoncord.server.points import Guard
from andoncord.server.ports import ServerClock
from andoncord.telemetry.event import Event

logger = logging.getLogger(__name__)

ASK_S = 1.3
"""How long supervisors are waited for. What they would have said is then unknown, and the bundle says so."""
READ_S = 1.5
"""How long the store is waited for, from the same start. Sealing and writing come after it: under 2 s in all."""
READ_AT_ONCE = 4
"""Bundles whose events are in memory at once, each up to some 40 MB. What does not get its turn within the time is sealed
without events, which the incident holds in the store."""
LEAST_S = 0.1
"""How long sealing is given at least, however long the rest took."""
CAPTURES = "capture"
"""The capability of a supervisor that can look at its tree when asked."""


class Signer(Protocol):
    """Who signs manifests."""

    @property
    def fingerprint(self) -> str: ...

    def sign(self, manifest: bytes) -> bytes: ...


class EvidenceFolder:
    """Where bundles lie: `<folder>/<incident>/<intent>/`.

    Args:
        signer: signs every manifest; None where nobody can.
    """

    def __init__(self, folder: Path, *, signer: Signer | None = None) -> None:
        self._folder = folder
        self._signer = signer

    @property
    def signed_by(self) -> str:
        """The fingerprint of the key; empty where nothing is signed."""
        return self._signer.fingerprint if self._signer else ""

    def write(self, incident: str, intent: str, bundle: Bundle) -> Path:
        """Write a bundle so that its manifest is there only when all it names is on disk. Writing it again replaces it."""
        directory = self._folder / incident / intent
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in bundle.files:
            write_durably(directory / file.name, file.content)
        if self._signer:
            write_durably(directory / SIGNATURE, self._signer.sign(bundle.manifest))
        write_durably(directory / MANIFEST, bundle.manifest)
        return directory

    def files(self, incident: str, intent: str) -> dict[str, bytes]:
        """The files of a bundle as they are on disk now.

        Raises:
            NotFoundError: there is no bundle.
        """
        directory = self._folder / safe_name(incident) / safe_name(intent)
        found: dict[str, bytes] = {}
        for path in sorted(directory.glob("[!.]*")):
            if path.is_file() and not path.is_symlink():
                found[path.name] = path.read_bytes()
        if MANIFEST not in found:
            raise NotFoundError(f"the bundle {intent} is not on the disk of this server")
        return found

    def told(self, intent: Intent) -> dict[str, Any]:
        """A bundle, and whether it still is what was sealed: compared with itself and with the digest in the journal."""
        assert intent.receipt is not None
        detail = intent.receipt.detail
        told = {
            "intent": intent.id,
            "agent": intent.effect.target,
            "at_ns": intent.receipt.at_ns,
            "outcome": intent.receipt.outcome,
            "sha256": detail.get("sha256"),
            "signed_by": detail.get("signed_by") or None,
            "cut": detail.get("cut", []),
            "facts": [],
            "files": detail.get("files", []),
        }
        try:
            files = self.files(intent.incident, intent.id)
            checked = check(files)
        except CallerError as error:
            return {**told, "problems": [str(error)]}
        problems = list(checked.problems)
        if checked.sha256 != detail.get("sha256"):
            problems.append("the manifest is not the one whose digest is in the journal")
        return {**told, "facts": checked.manifest.get("facts", []), "problems": problems}

    def archive(self, incident: str, intent: str) -> bytes:
        """A bundle as one file, as it is on disk now: who gets it checks it.

        Raises:
            NotFoundError: there is no bundle.
        """
        return pack(self.files(incident, intent))


class CapturePerformer:
    """Seals what is known about a fenced agent into a folder of its own.

    Args:
        hub: leads to the supervisors, who see the agent's processes and code from outside; None where there are none.
        versions: what else is in force on this server, by what it is.
        around: what the server says about its own machine.
    """

    def __init__(
        self,
        *,
        folder: EvidenceFolder,
        telemetry: TelemetryReader,
        clock: ServerClock,
        state: Callable[[], State],
        hub: GuardHub | None = None,
        versions: Callable[[], Mapping[str, Any]] = dict,
        around: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._folder = folder
        self._telemetry = telemetry
        self._clock = clock
        self._state = state
        self._hub = hub
        self._versions = versions
        self._around = around
        self._turns = asyncio.Semaphore(READ_AT_ONCE)

    def _sealed(self, intent: str, task: "asyncio.Task[Any]", *, has_turn: bool) -> None:
        """The bundle is written, or could not be; whoever waits for a turn may have it."""
        if has_turn:
            self._turns.release()
        if not task.cancelled() and task.exception() is not None:
            logger.warning("the bundle %s could not be written: %s", intent, task.exception())

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        began_s = asyncio.get_running_loop().time()
        now, agent = self._clock.now(), effect.target
        missing: dict[str, str] = {}
        turn = asyncio.create_task(self._turns.acquire())
        reading = asyncio.create_task(self._read_in_turn(turn, agent, now))
        asking = asyncio.create_task(self._ask(intent, agent, missing))
        try:
            await asyncio.wait((reading, asking), timeout=READ_S)
        except asyncio.CancelledError:
            turn.cancel()
            if turn.done() and not turn.cancelled():
                self._turns.release()
            raise
        supervised = asking.result() if asking.done() else []
        asking.cancel()
        events: Sequence[Event] | None = None
        liveness: Sequence[Mapping[str, Any]] = ()
        if not turn.done():
            missing["events"] = f"others were being captured for {READ_S:g} s; the incident holds them in the store"
            turn.cancel()
            reading.cancel()
        elif not reading.done():
            missing["events"] = f"the store did not answer within {READ_S:g} s; the incident holds them there"
            reading.add_done_callback(self._give_up)
        elif reading.exception() is not None:
            missing["events"] = f"the store did not answer: {reading.exception()}"
        else:
            events, liveness = reading.result()
        wanted = self._collected(intent, effect)

        def build() -> tuple[Bundle, Path]:
            bundle = seal(
                incident=effect.incident,
                agent=agent,
                now=now,
                acknowledgements=effect.parameters.get("acknowledgements", ()),
                liveness=liveness,
                events=events,
                supervised=supervised,
                missing=missing,
                **wanted,
            )
            return bundle, self._folder.write(effect.incident, intent, bundle)

        has_turn = reading.done() and not reading.cancelled()
        sealing = asyncio.create_task(asyncio.to_thread(build))
        sealing.add_done_callback(functools.partial(self._sealed, intent, has_turn=has_turn))
        left_s = max(LEAST_S, effect.deadline_ms / 1_000 - (asyncio.get_running_loop().time() - began_s))
        await asyncio.wait((sealing,), timeout=left_s)
        if not sealing.done():  # What comes after it is the end of the agent, which waits no longer than was said.
            why = f"sealing took longer than {effect.deadline_ms / 1_000:g} s; the stop did not wait for it"
            return Receipt(intent=intent, outcome=Outcome.FAILED, at_ns=self._clock.now(), detail={"missing": why})
        bundle, directory = sealing.result()
        detail = {
            "path": str(directory),
            "sha256": bundle.sha256,
            "signed_by": self._folder.signed_by,
            "files": [{"name": file.name, "sha256": file.sha256, "bytes": len(file.content)} for file in bundle.files],
            "cut": list(bundle.cut),
            "unknown": sorted(missing),
        }
        return Receipt(intent=intent, outcome=Outcome.DONE, at_ns=self._clock.now(), detail=detail)

    def _collected(self, intent: str, effect: Effect) -> dict[str, Any]:
        """What the engine and the hub know, as it is now: taken on the event loop, which nothing else changes meanwhile."""
        state = self._state()
        active = state.registry.active(effect.target)
        incident = state.incidents.get(effect.incident)
        control = state.controls.get(effect.target)
        points = [] if self._hub is None else [*self._hub.points(effect.target), *self._supervisors(effect.target)]
        decided = [
            {
                "intent": each.id,
                "step": each.step,
                "kind": each.effect.kind,
                "target": each.effect.target,
                "by": each.by,
                "issued_ns": each.issued_ns,
                "outcome": each.receipt.outcome if each.receipt else None,
            }
            for each in state.intents_of(effect.incident)
            if each.id != intent
        ]
        return {
            "configuration": msgspec.to_builtins(active) if active else None,
            "decided": decided,
            "surroundings": {
                "connected": [_point(guard) for guard in points],
                "control": msgspec.to_builtins(control) if control else None,
                "server": dict(self._around()),
            },
            "versions": {
                **self._versions(),
                "playbook": incident.playbook if incident else "",
                "playbooks": incident.book if incident else "",
                "configuration": active.version if active else None,
                "policies": {policy.id: digest(policy.yaml.encode()) for policy in state.policies.values()},
                "sdk": sorted({guard.registration.sdk_version for guard in points}),
            },
        }

    async def _read_in_turn(self, turn: "asyncio.Task[Any]", agent: str, now: int) -> tuple[Sequence[Event], list[Any]]:
        """Read once it is this one's turn, which goes on until the bundle is sealed: its events are in memory for so long."""
        await turn
        return await asyncio.to_thread(self._read, agent, now)

    def _give_up(self, reading: "asyncio.Task[Any]") -> None:
        _swallow(reading)
        self._turns.release()

    def _read(self, agent: str, now: int) -> tuple[Sequence[Event], list[Any]]:
        liveness = [msgspec.to_builtins(beat) for beat in self._telemetry.beats() if beat.agent == agent]
        # One more than fits, so that a bundle that was cut says so.
        return self._telemetry.of_agents([agent], since_ns=now - DAY_NS, until_ns=now, limit=MAX_EVENTS + 1), liveness

    def _supervisors(self, agent: str) -> list[Guard]:
        return [] if self._hub is None else self._hub.points(agent, kind="supervisor")

    async def _ask(self, intent: str, agent: str, missing: dict[str, str]) -> list[dict[str, Any]]:
        """What the agent's supervisors see of it; `missing` is told why where they see nothing."""
        supervisors = self._supervisors(agent)
        if self._hub is None or not supervisors:
            return []
        able = [guard for guard in supervisors if CAPTURES in guard.registration.capabilities and guard.is_connected]
        if not able:
            missing["supervisor"] = "the supervisor is of a version that cannot look when asked, or is not connected"
            return []
        self._hub.send(able, "capture", {"order_id": intent, "agent": agent})
        acks = await self._hub.answers.collect(intent, [guard.instance for guard in able], timeout_s=ASK_S)
        if not acks:
            missing["supervisor"] = f"the supervisor did not answer within {ASK_S:g} s"
        for instance, ack in acks.items():
            if ack.outcome != "enforced":
                missing["supervisor"] = f"{instance}: {ack.detail.get('error', ack.outcome)}"
        return [{"instance": instance, **ack.detail} for instance, ack in sorted(acks.items()) if ack.outcome == "enforced"]


def captures_of(state: State, incident: str) -> list[Intent]:
    """The bundles that were sealed for an incident, oldest first.

    Raises:
        NotFoundError: there is no such incident.
    """
    state.incident(incident)
    return [
        intent
        for intent in state.intents_of(incident)
        if intent.effect.kind is EffectKind.CAPTURE and intent.receipt is not None and intent.receipt.detail.get("sha256")
    ]


def _point(guard: Guard) -> dict[str, Any]:
    return {
        "instance": guard.instance,
        "kind": guard.registration.kind,
        "host": guard.registration.host,
        "pid": guard.registration.pid,
        "sdk_version": guard.registration.sdk_version,
        "capabilities": list(guard.registration.capabilities),
        "connected": guard.is_connected,
        "seen_ns": guard.seen_ns,
        "state": guard.state,
    }


def _swallow(task: "asyncio.Task[Any]") -> None:
    """Nobody waits for it any more: what went wrong with it is of no use."""
    if not task.cancelled():
        task.exception()
