"""What a guard says of itself: at registration, with its telemetry, in every heartbeat."""

from dataclasses import dataclass
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.admission import Admission
from andoncord_sdk.orders import Epoch
from andoncord_sdk.otlp import Attributes, LogRecord
from andoncord_sdk.proctree import own_identity
from andoncord_sdk.versions import deployed

SDK_VERSION = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """A guard at one instant."""

    rung: str
    epoch: Epoch | None
    reason: str
    in_flight: int
    runs_active: int
    steps_started: int
    steps_ended: int
    is_connected: bool
    """The order stream is open."""
    lease_left_s: float | None
    """Seconds until the lease ends, negative once it has; None without a server."""
    records_dropped: int
    """Telemetry lost since the start."""


def hello(admission: Admission, *, instance: str, capabilities: tuple[str, ...]) -> dict[str, Any]:
    """The body of a registration; with it a lease is asked for."""
    order, lease = admission.gate.order, admission.lease
    epoch = order.epoch
    return {
        "agent": admission.agent,
        "instance": instance,
        "kind": "guard",
        "pid": _platform.pid(),
        "host": _platform.hostname(),
        "process": own_identity(),
        "sdk_version": SDK_VERSION,
        "capabilities": list(capabilities),
        "epoch": None if epoch is None else list(epoch),
        "rung": order.rung.word,
        "nonce": "" if lease is None else lease.ask(),
        "tools": dict(admission.tools or {}),
        "environment": admission.environment,
        "role": admission.role,
    }


def resource(admission: Admission, *, instance: str, system: str) -> Attributes:
    """The OpenTelemetry resource that all reports come from."""
    return {
        "service.name": system,
        "service.instance.id": instance,
        "service.version": deployed(),
        "gen_ai.agent.name": admission.agent,
        "deployment.environment.name": admission.environment,
        "telemetry.sdk.name": "andoncord",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": SDK_VERSION,
        "process.pid": _platform.pid(),
    }


def heartbeat(admission: Admission, now: GuardState, *, config_version: str | None, is_closed: bool) -> LogRecord:
    """How the guard is; the last one says goodbye, so that its silence afterwards is no alarm."""
    open_breakers = {} if admission.breaking is None else admission.breaking.breakers.not_closed()
    breakers = ",".join(f"{name}:{state}" for name, state in open_breakers.items())
    return LogRecord(
        event_name="andoncord.heartbeat",
        at_ns=_platform.now_ns(),
        attributes={
            "gen_ai.agent.name": admission.agent,
            "andoncord.guard.rung": now.rung,
            "andoncord.guard.epoch": "" if now.epoch is None else f"{now.epoch[0]}.{now.epoch[1]}",
            "andoncord.guard.in_flight": now.in_flight,
            "andoncord.guard.runs_active": now.runs_active,
            "andoncord.guard.steps_started": now.steps_started,
            "andoncord.guard.steps_ended": now.steps_ended,
            "andoncord.guard.records_dropped": now.records_dropped,
            "andoncord.guard.closed": is_closed,
            **({"andoncord.guard.breakers": breakers} if breakers else {}),
            "andoncord.config.version": config_version,
        },
    )
