"""A start that no control plane allowed: what would have held the agent back was not there, and that is told afterwards."""

from andoncord_sdk import _platform
from andoncord_sdk.exporter import Exporter
from andoncord_sdk.introduction import SDK_VERSION
from andoncord_sdk.otlp import SEVERITY_WARN, Attributes, LogRecord
from andoncord_sdk.wire import Endpoint

CODE = "started_unheard"


def report_unheard(telemetry: Endpoint, *, agent: str, instance: str) -> Exporter:
    """Report that `agent` was started without an answer; the exporter tries until somebody listens or it is closed."""
    resource: Attributes = {
        "service.name": agent,
        "service.instance.id": instance,
        "gen_ai.agent.name": agent,
        "telemetry.sdk.name": "andoncord",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": SDK_VERSION,
        "process.pid": _platform.pid(),
    }
    exporter = Exporter(telemetry, resource)
    exporter.put(
        LogRecord(
            event_name="andoncord.guard.degraded",
            at_ns=_platform.now_ns(),
            severity=SEVERITY_WARN,
            attributes={
                "gen_ai.agent.name": agent,
                "andoncord.decision.code": CODE,
                "andoncord.decision.message": f"{agent} was started without an answer from its control plane, "
                "whatever was in force for it",
            },
        ),
        urgent=True,
    )
    return exporter
