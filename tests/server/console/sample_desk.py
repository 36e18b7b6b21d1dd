"""A desk over which something of every kind waits, some of it hostile."""

from collections.abc import Collection
from typing import Any

AT = "2026-11-20T14:02:08.000Z"


class SampleDesk:
    """Fixed views."""

    def __init__(self, hostile: str = "") -> None:
        self._said = hostile or "refund order 17"

    def waiting(self, may: Collection[str] = ()) -> list[dict[str, Any]]:
        work: dict[str, Any] = {
            "agent": "refunds",
            "key": "k",
            "run_id": "r",
            "trace_id": "t",
            "task": self._said,
            "tool": "",
            "arguments": "",
        }
        work |= {"context": {"given": {"customer": self._said}, "steps": []}, "reason": f"fraud: {self._said}", "order": ""}
        times = {"received_at": AT, "changed_at": AT, "shown": "exact"}
        one = {"id": "hnd_000001", "work": work, "incident": "inc_000001", "status": "waiting", "by": "", "answer": "", **times}
        call = {**work, "tool": "mail.send", "arguments": '{"to":"c-4"}'}
        return [one, {**one, "id": "hnd_000002", "status": "taken", "by": "person:bob", "work": call}]

    def batches(self, may: Collection[str] = ()) -> list[dict[str, Any]]:
        effect = {"agent": "refunds", "run_id": "r", "tool": "payments.refund", "arguments": '{"order":"17","usd":10.5}'}
        held = {"effect": effect, "digest": "d" * 64, "incident": "inc_000001", "held_at": AT, "changed_at": AT}
        items = [
            {**held, "id": f"eff_00000{number}", "status": "held", "by": "", "came": "", "shown": "exact"} for number in (1, 2)
        ]
        return [{"agent": "refunds", "items": items, "digest": "e" * 64, "left_off": 0, "is_readable": True}]

    def lately(self) -> list[dict[str, Any]]:
        (batch,) = self.batches()
        return [{**batch["items"][0], "id": "eff_000009", "status": "unknown", "by": "person:ada", "came": "it is gone"}]

    def drafts(self) -> list[dict[str, Any]]:
        words = {"subject": "SEV-1: held", "text": f"What: {self._said}", "template": "executive v1", "to": ["board"]}
        return [{"incident": "inc_000001", "draft": "inc_000001.009", "audience": "executive", "why": None, **words}]

    def questions(self) -> list[dict[str, Any]]:
        asked = {"question": "Do those whose data it was have to be told?", "role": "legal", "default": "no", "until": AT}
        return [{"incident": "inc_000001", "step": "asked", **asked}]
