"""Andoncord inside an agent: the guard, its orders and its telemetry. Standard library only."""

from andoncord_sdk.breaker import BreakerSettings
from andoncord_sdk.errors import (
    AgentStopped,
    CallDenied,
    CallHandedOver,
    CallHeld,
    GuardError,
    HandedOver,
    RunHandedOver,
    RunStopped,
)
from andoncord_sdk.guard import Guard
from andoncord_sdk.introduction import GuardState
from andoncord_sdk.run import Run, current_run
from andoncord_sdk.step import ModelStep, Step

__all__ = [
    "AgentStopped",
    "BreakerSettings",
    "CallDenied",
    "CallHandedOver",
    "CallHeld",
    "Guard",
    "GuardError",
    "GuardState",
    "HandedOver",
    "ModelStep",
    "Run",
    "RunHandedOver",
    "RunStopped",
    "Step",
    "current_run",
]
