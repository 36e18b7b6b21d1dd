"""The desk as the API and the console read it, and what the settings add to a person's word."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from andoncord.engine.desking import MAX_AT_ONCE
from andoncord.engine.stating import statements
from andoncord.kernel.access import Scope
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.time import rfc3339
from andoncord.respond.approval import ApprovalSettings
from andoncord.respond.desk import Held, Item, SideEffect, Work, batch_digest
from andoncord.server.control import Control
from andoncord.server.desk_settings import NoticeSettings, OutboxSettings
from andoncord.server.vault import MISSING, Shown, Vault


class DeskReads:
    """One over the running control process."""

    def __init__(
        self,
        control: Control,
        *,
        outbox: OutboxSettings,
        notices: NoticeSettings,
        approvals: ApprovalSettings,
        vault: Vault,
    ) -> None:
        self._control = control
        self._outbox = outbox
        self._notices = notices
        self._approvals = approvals
        self._vault = vault

    def completed(self, command: str, incident: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a wish with what the settings say: who is in which role, whom a notice goes to.

        Raises:
            ConflictError: a side effect is to be let go that nobody can read as it is.
        """
        more: dict[str, Any] = {}
        if command == "release_held":
            self._refuse_unreadable(parameters.get("ids"))
        if command in ("release_held", "discard_held"):
            more = {"role": self._outbox.role, "roles": self._approvals.roles}
        elif command == "answer_ask":
            more = {"roles": self._approvals.roles}
        elif command == "send_statement":
            drafted = [each for each in self.notices(incident) if each["draft"] == parameters.get("draft")]
            more = {"to": drafted[0]["to"] if drafted else []}
        return {**parameters, **more}

    def _refuse_unreadable(self, ids: Any) -> None:
        for each in ids if isinstance(ids, list) else ():
            held = self._control.state.desk.held.get(str(each))
            if held is not None and held.status == "held":
                self._vault.refuse_unreadable(self._vault.effect(held)[1], held.id)

    def waiting(self, may: Collection[str] = ()) -> list[dict[str, Any]]:
        """Work that nobody is done with, the oldest first; as it came for who may respond."""
        may_read = Scope.RESPOND.value in may
        return [item_view(each, *self._vault.work(each, may_read=may_read)) for each in self._control.state.desk.waiting()]

    def batches(self, may: Collection[str] = ()) -> list[dict[str, Any]]:
        """Held side effects by agent, as many as one word lets go, each batch with the digest of exactly these.

        They are as they came for who may approve. Those whose exact form is gone are a batch of their own.
        """
        may_read = Scope.APPROVE.value in may
        batches: dict[tuple[str, bool], list[tuple[Held, SideEffect, Shown]]] = {}
        for each in self._control.state.desk.still_held():
            effect, shown = self._vault.effect(each, may_read=may_read)
            batches.setdefault((each.effect.agent, shown != MISSING), []).append((each, effect, shown))
        return [
            {
                "agent": agent,
                "items": [effect_view(*each) for each in held[:MAX_AT_ONCE]],
                "digest": batch_digest(each for each, _, _ in held[:MAX_AT_ONCE]),
                "left_off": len(held[MAX_AT_ONCE:]),
                "is_readable": is_readable,
            }
            for (agent, is_readable), held in batches.items()
        ]

    def lately(self) -> list[dict[str, Any]]:
        """What became of side effects that were let go or dropped, the latest first."""
        over = [each for each in self._control.state.desk.held.values() if each.status != "held"]
        return [
            effect_view(each, *self._vault.effect(each, may_read=False))
            for each in sorted(over, key=lambda each: -each.changed_ns)[:20]
        ]

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


def item_view(item: Item, work: Work, how: Shown) -> dict[str, Any]:
    """An item as JSON, with the work as somebody sees it."""
    shown: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(item, work=work)) | {"shown": how}
    times = {"received_at": rfc3339(shown.pop("received_ns")), "changed_at": rfc3339(shown.pop("changed_ns"))}
    return {**shown, **times}


def effect_view(held: Held, effect: SideEffect, how: Shown) -> dict[str, Any]:
    """A held side effect as JSON, as somebody sees it."""
    shown: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(held, effect=effect)) | {"shown": how}
    times = {"held_at": rfc3339(shown.pop("held_ns")), "changed_at": rfc3339(shown.pop("changed_ns"))}
    return {**shown, **times}
