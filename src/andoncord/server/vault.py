"""The exact form of what waits for people: sealed beside the journal, which has it masked, and opened for who decides.

It is sealed before the journal speaks of it: a server that dies in between leaves something sealed that nobody asks for, and
never an entry whose exact form is lost. What nobody needs any more is swept. Only what was masked is here: everything else the
journal has as it came.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from andoncord.engine.approvalbook import OPEN
from andoncord.engine.state import State
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.time import DAY_NS, SECOND_NS
from andoncord.respond.approval import Asked, Request
from andoncord.respond.desk import OPEN_ITEM, Held, Item, SideEffect, Work
from andoncord.respond.masked import masked_action, masked_effect, masked_work, work_digest
from andoncord.server.ports import Cipher, ServerClock, VaultStore

SWEEP_EVERY_S = 10.0
GRACE_NS = 60 * SECOND_NS
"""What was sealed so lately is not swept: the journal may be about to speak of it."""
RETURNED_NS = 7 * DAY_NS
"""Work that went back to its agent may come again, under its old id."""
MAX_KEPT = 25_000
"""Sealed at once: somewhat more than may wait for people at once. More is refused, as more that waits is."""
Shown = Literal["exact", "masked", "missing"]
"""Whether a thing is shown as it came, masked for who may not decide about it, or masked since its exact form is gone."""
EXACT: Shown = "exact"
MASKED: Shown = "masked"
MISSING: Shown = "missing"
WHY_MISSING = "cannot be shown whole: its exact form is gone, or was changed, or this server has not the key"
Exact = TypeVar("Exact", SideEffect, Asked, Work)

logger = logging.getLogger(__name__)


class Vault:
    """Seals, opens and sweeps.

    Args:
        state: the engine's state, read anew each time.
    """

    def __init__(self, *, store: VaultStore, cipher: Cipher, clock: ServerClock, state: Callable[[], State]) -> None:
        self._store = store
        self._cipher = cipher
        self._clock = clock
        self._state = state

    @contextlib.contextmanager
    def effect_kept(self, effect: SideEffect) -> Iterator[SideEffect]:
        """Seal a side effect before the block, which writes its masked form down; not for longer, where that is refused."""
        is_known = self._state().desk.effect_for(effect.digest) is not None
        with self._kept(_effect(effect.digest), effect, masked_effect(effect), is_known=is_known) as masked:
            yield masked

    @contextlib.contextmanager
    def action_kept(self, action: Asked) -> Iterator[Asked]:
        """Likewise a call that needs an approval."""
        is_known = self._state().approvals.open_for(action.digest) is not None
        with self._kept(_action(action.digest), action, masked_action(action), is_known=is_known) as masked:
            yield masked

    @contextlib.contextmanager
    def work_kept(self, work: Work) -> Iterator[tuple[Work, str]]:
        """Likewise handed-over work; and the digest of what came, empty where nothing of it was masked."""
        masked, exact = masked_work(work), work_digest(work)
        is_known = self._state().desk.item_for(masked.agent, masked.key) is not None
        with self._kept(_work(exact), work, masked, is_known=is_known):
            yield masked, "" if masked == work else exact

    def effect(self, held: Held, *, may_read: bool = True) -> tuple[SideEffect, Shown]:
        """A held side effect as somebody sees it."""
        if held.effect.digest == held.digest:
            return held.effect, EXACT
        return self._opened(_effect(held.digest), held.effect, lambda found: found.digest == held.digest, may_read)

    def action(self, request: Request, *, may_read: bool = True) -> tuple[Asked, Shown]:
        """Likewise a call that needs an approval."""
        if request.action.digest == request.digest:
            return request.action, EXACT
        return self._opened(_action(request.digest), request.action, lambda found: found.digest == request.digest, may_read)

    def work(self, item: Item, *, may_read: bool = True) -> tuple[Work, Shown]:
        """Likewise handed-over work."""
        if not item.digest:
            return item.work, EXACT
        return self._opened(_work(item.digest), item.work, lambda found: work_digest(found) == item.digest, may_read)

    def request(self, request: Request, *, may_read: bool = True) -> Request:
        """A request with the call as somebody sees it."""
        return msgspec.structs.replace(request, action=self.action(request, may_read=may_read)[0])

    def released(self, agent: str, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a process of the agent is sent to carry a side effect out, byte for byte as it came; None where it is gone."""
        masked = SideEffect(agent=agent, run_id=told["run_id"], tool=told["tool"], arguments=told["arguments"])
        if masked.digest == told["digest"]:
            return dict(told)
        name = _effect(str(told["digest"]))
        found, shown = self._opened(name, masked, lambda found: found.digest == told["digest"], may_read=True)
        return {**told, "run_id": found.run_id, "arguments": found.arguments} if shown == EXACT else None

    def refuse_unreadable(self, shown: Shown, name: str) -> None:
        """See that whoever decides can have read it.

        Raises:
            ConflictError: nobody can.
        """
        if shown != EXACT:
            raise ConflictError(f"{name} {WHY_MISSING}", remedy="what cannot be read is not let through; it can be refused")

    def sweep(self) -> None:
        """Remove what nobody needs any more, and what was sealed and never spoken of."""
        state, now = self._state(), self._clock.now()
        needed = {_action(each.digest) for each in state.approvals.requests.values() if each.status in OPEN}
        needed |= {_effect(each.digest) for each in state.desk.held.values() if each.status in ("held", "released")}
        for item in state.desk.items.values():
            if item.status in OPEN_ITEM or (item.status == "returned" and now < item.changed_ns + RETURNED_NS):
                needed.add(_work(item.digest))
        over = [name for name, at_ns in self._store.kept().items() if name not in needed and at_ns + GRACE_NS <= now]
        if over:
            self._store.remove(over)

    async def run(self) -> None:
        """Sweep again and again."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                self.sweep()
            except Exception:  # The next round sweeps it.
                logger.exception("what nobody needs any more could not be removed")

    @contextlib.contextmanager
    def _kept(self, name: str, exact: Exact, masked: Exact, *, is_known: bool) -> Iterator[Exact]:
        if masked == exact or is_known:
            yield masked
            return
        if len(self._store.kept()) >= MAX_KEPT:
            raise ConflictError(f"{MAX_KEPT} things wait for people already")
        self._store.put(name, self._cipher.seal(msgspec.json.encode(exact), about=name.encode()), now_ns=self._clock.now())
        try:
            yield masked
        except CallerError:  # It is refused, and nothing speaks of it.
            self._store.remove([name])
            raise

    def _opened(self, name: str, masked: Exact, is_it: Callable[[Exact], bool], may_read: bool) -> tuple[Exact, Shown]:
        if not may_read:
            return masked, MASKED
        sealed = self._store.get(name)
        text = None if sealed is None else self._cipher.open(sealed, about=name.encode())
        if text is None:
            return masked, MISSING
        found: Exact = msgspec.json.decode(text, type=type(masked))
        return (found, EXACT) if is_it(found) else (masked, MISSING)


def _effect(digest: str) -> str:
    return f"effect/{digest}"


def _action(digest: str) -> str:
    return f"approval/{digest}"


def _work(digest: str) -> str:
    return f"work/{digest}"
