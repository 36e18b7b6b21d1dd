"""The desk as the API and the console read it, and what the settings add to a person's word."""

from collections.abc import Mapping
from typing import Any

import msgspec

from andoncord.engine.desking import MAX_AT_ONCE
from andoncord.engine.stating import statements
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.time import rfc3339
from andoncord.respond.approval import ApprovalSettings
from andoncord.respond.desk import Held, Item, batch_digest
from andoncord.server.control import Control
from andoncord.server.desk_settings import NoticeSettings, OutboxSettings


class DeskReads:
    """One over the running control process."""

    def __init__(
        self, control: Control, *, outbox: OutboxSettings, notices: NoticeSettings, approvals: ApprovalSettings
    ) -> None:
        self._control = control
        self._outbox = outbox
        self._notices = notices
        self._approvals = approvals

    def completed(self, command: str, incident: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a wish with what the settings say: who is in which role, whom a notice goes to."""
        more: dict[str, Any] = {}
        if command in ("release_held", "discard_held"):
            more = {"role": self._outbox.role, "roles": self._approvals.roles}
        elif command == "answer_ask":
            more = {"roles": self._approvals.roles}
        elif command == "send_statement":
            drafted = [each for each in self.notices(incident) if each["draft"] == parameters.get("draft")]
            more = {"to": drafted[0]["to"] if drafted else []}
        return {**parameters, **more}

    def waiting(self) -> list[dict[str, Any]]:
        """Work that nobody is done with, the oldest first."""
        return [item_view(each) for each in self._control.state.desk.waiting()]

    def batches(self) -> list[dict[str, Any]]:
        """Held side effects by agent, as many as one word lets go, each batch with the digest of exactly these."""
        by_agent: dict[str, list[Held]] = {}
        for each in self._control.state.desk.still_held():
            by_agent.setdefault(each.effect.agent, []).append(each)
        return [
            {
                "agent": agent,
                "items": [effect_view(each) for each in held[:MAX_AT_ONCE]],
                "digest": batch_digest(held[:MAX_AT_ONCE]),
                "left_off": len(held) - len(held[:MAX_AT_ONCE]),
            }
            for agent, held in by_agent.items()
        ]

    def lately(self) -> list[dict[str, Any]]:
        """What became of side effects that were let go or dropped, the latest first."""
        over = [each for each in self._control.state.desk.held.values() if each.status != "held"]
        return [effect_view(each) for each in sorted(over, key=lambda each: -each.changed_ns)[:20]]

    def notices(self, incident: str) -> list[dict[str, Any]]:
        """The notices that were drafted for an incident, and whom each would go to."""
        found = statements(self._control.state, incident)
        return [{**each, "to": list(self._notices.of(each["audience"]))} for each in found]

    def drafts(self) -> list[dict[str, Any]]:
        """Notices that wait for a person, of every incident that is not reviewed."""
        state = self._control.state
        about = [each for each in dict.fromkeys(state.desk.drafted.values()) if not state.incidents[each].reviewed_ns]
        found = ({**each, "incident": incident} for incident in about for each in self.notices(incident))
        return [each for each in found if each["state"] in ("draft", "not sent")]

    def questions(self) -> list[dict[str, Any]]:
        """What playbooks ask and nobody has answered."""
        state = self._control.state
        asked = [each for each in map(state.intents.__getitem__, state.outstanding) if each.effect.kind is EffectKind.ASK]
        return [
            {
                "incident": each.incident,
                "step": each.effect.parameters["name"],
                "question": each.effect.parameters["question"],
                "role": each.effect.parameters["role"],
                "default": each.effect.parameters["default"],
                "until": rfc3339(int(each.effect.parameters["until_ns"])),
            }
            for each in asked
        ]


def item_view(item: Item) -> dict[str, Any]:
    """An item as JSON."""
    shown: dict[str, Any] = msgspec.to_builtins(item)
    times = {"received_at": rfc3339(shown.pop("received_ns")), "changed_at": rfc3339(shown.pop("changed_ns"))}
    return {**shown, **times}


def effect_view(held: Held) -> dict[str, Any]:
    """A held side effect as JSON."""
    shown: dict[str, Any] = msgspec.to_builtins(held)
    times = {"held_at": rfc3339(shown.pop("held_ns")), "changed_at": rfc3339(shown.pop("changed_ns"))}
    return {**shown, **times}
