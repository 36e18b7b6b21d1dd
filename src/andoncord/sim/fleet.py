"""The simulated fleet: eight roles, and how they are declared to the server."""

from typing import Any

from andoncord.sim.failing import FAILING_ROLES
from andoncord.sim.script import Role
from andoncord.sim.steady import STEADY_ROLES

FLEET: dict[str, Role] = {role.name: role for role in (*FAILING_ROLES, *STEADY_ROLES)}

ENVIRONMENT = "demo"


def declarations() -> dict[str, Any]:
    """The `agents:` section of `andon.yaml` for the fleet."""
    return {
        role.name: {
            "tools": role.access,
            "objective": {"quality": role.quality, "false_alarms_per_week": 1},
            "budget_usd": role.budget_usd,
            "environment": ENVIRONMENT,
        }
        for role in FLEET.values()
    }
