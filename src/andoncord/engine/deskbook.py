"""Everything that waits for a person at the desk: work that was handed over, side effects that are held."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from andoncord.kernel.effect import Effect, Receipt
from andoncord.kernel.errors import NotFoundError
from andoncord.kernel.journal import Entry
from andoncord.respond.desk import OPEN_ITEM, EffectStatus, Held, Item, SideEffect, Work

KEPT = 5_000
"""Of each kind that are over and still listed; the oldest are forgotten first."""
Record = TypeVar("Record", Item, Held)


@dataclass(slots=True)
class DeskBook:
    """Rebuilt from the journal like the state that holds it."""

    items: dict[str, Item] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    drafted: dict[str, str] = field(default_factory=dict)
    """The latest drafts of notices: their intents, and the incidents that they are about."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Drafts of notices that a person rejected, by their intents, and why."""
    received: int = 0
    kept: int = 0
    """Side effects held so far."""
    _items_by_key: dict[str, str] = field(default_factory=dict)
    _held_by_digest: dict[str, str] = field(default_factory=dict)

    def item(self, item_id: str) -> Item:
        """The item with this id.

        Raises:
            NotFoundError: there is none.
        """
        try:
            return self.items[item_id]
        except KeyError:
            raise NotFoundError(f"nothing was handed over as {item_id!r}", remedy="andon handover list") from None

    def effect(self, effect_id: str) -> Held:
        """The side effect with this id.

        Raises:
            NotFoundError: there is none.
        """
        try:
            return self.held[effect_id]
        except KeyError:
            raise NotFoundError(f"no side effect {effect_id!r} was held", remedy="andon held list") from None

    def item_for(self, agent: str, key: str) -> Item | None:
        """The item that an agent's work with this key became."""
        found = self._items_by_key.get(f"{agent}\n{key}")
        return self.items[found] if found else None

    def effect_for(self, digest: str) -> Held | None:
        """The held side effect with this digest."""
        found = self._held_by_digest.get(digest)
        return self.held[found] if found else None

    def waiting(self, *, agent: str = "") -> list[Item]:
        """Items that nobody is done with, the oldest first."""
        return [each for each in self.items.values() if each.status in OPEN_ITEM and agent in ("", each.work.agent)]

    def still_held(self, *, agent: str = "", incident: str = "") -> list[Held]:
        """Side effects that wait for a person, the oldest first."""
        return [
            each
            for each in self.held.values()
            if each.status == "held" and agent in ("", each.effect.agent) and incident in ("", each.incident)
        ]

    def apply(self, entry: Entry) -> None:
        """What an entry about the desk changes."""
        body = entry.body
        match entry.kind:
            case "handover.received":
                self._receive(entry)
            case "handover.taken" | "handover.done" | "handover.returned" | "handover.closed" | "handover.reopened":
                word = entry.kind.partition(".")[2].replace("reopened", "waiting")
                answer = str(body.get("answer") or "")
                known = self.items[body["id"]]
                self.items[known.id] = msgspec.structs.replace(
                    known, status=word, by=entry.by, answer=answer or known.answer, changed_ns=entry.at_ns
                )
            case "statement.rejected":
                self.rejected[body["draft"]] = body["reason"]
            case "effect.held":
                self._hold(entry)
            case "effect.released" | "effect.discarded":
                status: EffectStatus = "released" if entry.kind == "effect.released" else "discarded"
                for effect_id in body["ids"]:
                    self._change(effect_id, status=status, by=entry.by, reason=body["reason"], at_ns=entry.at_ns)

    def draft(self, intent: str, incident: str) -> None:
        """A notice is to be drafted."""
        self.drafted[intent] = incident
        while len(self.drafted) > KEPT:
            del self.drafted[next(iter(self.drafted))]

    def receive(self, effect: Effect, receipt: Receipt) -> None:
        """What came of letting side effects go. What the receipt does not name, nobody knows anything about."""
        came: dict[str, Any] = receipt.detail.get("effects") or {}
        for told in effect.parameters["effects"]:
            said = came.get(told["id"]) or {"state": "unknown", "why": str(receipt.detail.get("missing") or "no answer")}
            self._change(told["id"], status=said["state"], came=str(said.get("why") or ""), at_ns=receipt.at_ns)

    def _receive(self, entry: Entry) -> None:
        item = Item(
            id=entry.body["id"],
            work=msgspec.convert(entry.body["work"], Work),
            digest=entry.body.get("digest", ""),
            incident=entry.incident,
            received_ns=entry.at_ns,
            changed_ns=entry.at_ns,
        )
        self.items[item.id] = item
        self._items_by_key[f"{item.work.agent}\n{item.work.key}"] = item.id
        self.received += 1
        for over in _oldest(self.items.values(), ("done", "returned", "closed")):
            del self.items[over.id]
            self._items_by_key.pop(f"{over.work.agent}\n{over.work.key}", None)

    def _hold(self, entry: Entry) -> None:
        effect = msgspec.convert(entry.body["effect"], SideEffect)
        held = Held(
            id=entry.body["id"],
            effect=effect,
            digest=entry.body["digest"],
            incident=entry.incident,
            not_by=tuple(entry.body.get("not_by", ())),
            held_ns=entry.at_ns,
            changed_ns=entry.at_ns,
        )
        self.held[held.id] = held
        self._held_by_digest[held.digest] = held.id
        self.kept += 1
        for over in _oldest(self.held.values(), ("done", "failed", "unknown", "discarded")):
            del self.held[over.id]
            self._held_by_digest.pop(over.digest, None)

    def _change(
        self,
        effect_id: str,
        *,
        status: EffectStatus,
        at_ns: int,
        **changes: str,
    ) -> None:
        known = self.held[effect_id]
        self.held[effect_id] = msgspec.structs.replace(known, status=status, changed_ns=at_ns, **changes)


def _oldest(records: Iterable[Record], over: tuple[str, ...]) -> list[Record]:
    """Those that are over and beyond what is kept."""
    ended = [each for each in records if each.status in over]
    return ended[: max(0, len(ended) - KEPT)]
