"""Credentials after a kill: each one that is declared for the agent is revoked, and tried, before the verdict (RSP-6).

The settings are the shell's: the receipt of the order names the credentials, so the journal says what had to be revoked.
"""

from typing import Any

from andoncord.engine.drafts import intent_draft
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import Draft

REVOKE_MS = 30_000
"""How long revoking and trying one credential may take; its hooks have limits of their own."""


def revoke(state: State, incident: Incident, key: str, order: Intent) -> tuple[list[Draft], bool]:
    """The drafts that revoke what a kill asks for, and whether every one has its receipt."""
    names = _credentials(order)
    issued = {name: state.step(incident.id, f"{key}/revoke/{name}") for name in names}
    missing = [name for name, intent in issued.items() if intent is None]
    drafts = [
        intent_draft(
            state,
            incident.id,
            f"{key}/revoke/{name}",
            EffectKind.REVOKE,
            order.effect.target,
            deadline_ms=REVOKE_MS,
            reversal="give the agent a new credential",
            parameters={"credential": name, "order": order.id},
            offset=offset,
        )
        for offset, name in enumerate(missing)
    ]
    return drafts, not missing and all(intent is not None and intent.receipt is not None for intent in issued.values())


def revoked(state: State, incident: Incident, order: Intent) -> list[dict[str, Any]]:
    """What became of each credential of a killed agent, as the receipts say."""
    found: dict[str, dict[str, Any]] = {name: {"name": name, "is_revoked": False} for name in _credentials(order)}
    for intent in state.intents_of(incident.id):
        is_about = intent.effect.kind is EffectKind.REVOKE and intent.effect.parameters["order"] == order.id
        if not is_about or intent.receipt is None:
            continue
        said = intent.receipt.detail
        found[intent.effect.parameters["credential"]] |= {
            "is_revoked": said.get("is_revoked") is True,
            "is_refused": said.get("is_refused"),
            "why": str(said.get("why") or said.get("missing") or ""),
            "at_ns": intent.receipt.at_ns,
        }
    return list(found.values())


def _credentials(order: Intent) -> list[str]:
    assert order.receipt is not None
    return list(order.receipt.detail.get("credentials", ())) if order.effect.parameters["rung"] == "kill" else []
