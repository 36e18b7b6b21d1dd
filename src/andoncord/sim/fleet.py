"""The simulated fleet: eight roles, and how they are declared to the server."""

from typing import Any

from andoncord.sim.failing import FAILING_ROLES
from andoncord.sim.script import Role
from andoncord.sim.steady import STEADY_ROLES

FLEET: dict[str, Role] = {role.name: role for role in (*FAILING_ROLES, *STEADY_ROLES)}

ENVIRONMENT = "demo"


WEEK_S = 7 * 24 * 3600


def runs_per_week(role: Role) -> int:
    """How many runs a week the role would make at its pace; its false alarms are budgeted over so many."""
    return round(WEEK_S / role.period_s)


def declarations() -> dict[str, Any]:
    """The `agents:` section of `andon.yaml` for the fleet."""
    return {
        role.name: {
            "tools": role.access,
            "objective": {"quality": role.quality, "false_alarms_per_week": 1, "runs_per_week": runs_per_week(role)},
            "budget_usd": role.budget_usd,
            "environment": ENVIRONMENT,
        }
        for role in FLEET.values()
    }
