"""What a guard asks a person for, held against what is in force here: the order, the policy, and who answers for it."""

from typing import Any

from andoncord.kernel.access import Token
from andoncord.respond.approval import Asked
from andoncord.server.control import Control
from andoncord_sdk.policy import policy_digest


def outdated(control: Control, asked: Asked) -> str:
    """Why this action is not to be approved or used any more; empty while it is what is in force.

    A guard's own policies, which the server does not know, are the guard's to answer for.
    """
    in_force = control.force(asked.agent).epoch
    if asked.epoch is not None and tuple(asked.epoch) < tuple(in_force):
        return "another order is in force by now"
    known = _policy(control, asked)
    if known is not None and policy_digest(known) != asked.policy_digest:
        return "another version of the policy is in force by now"
    return ""


def people_needed(control: Control, asked: Asked) -> int:
    """How many have to approve it: what the guard says, and no fewer than the server's own version of the policy says."""
    known = _policy(control, asked)
    obligations = (known or {}).get("obligations") or ()
    wanted: list[int] = [each["require_approval"].get("people", 1) for each in obligations if "require_approval" in each]
    return max([asked.people, *wanted])


def answering_for(control: Control, agent: str, token: Token) -> tuple[str, ...]:
    """The people who answer for whoever asks: the owner of the guard's token, and the declared owner of the agent."""
    return tuple(dict.fromkeys(each for each in (token.owner, control.owner_of(agent)) if each))


def _policy(control: Control, asked: Asked) -> dict[str, Any] | None:
    return next((each for each in control.policies() if each.get("id") == asked.policy_id), None)
