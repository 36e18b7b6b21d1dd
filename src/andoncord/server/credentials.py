"""The performer of REVOKE: has whoever gave a credential revoke it, and then tries it. Only a refusal proves anything."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.ports import Performer
from andoncord.respond.credential import Said, Subject
from andoncord.server.ports import CredentialBroker, ServerClock

PROBE_TRIES = 3
PROBE_AGAIN_S = 1.0
"""A revocation takes a moment to reach everybody who accepts the credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A credential that agents hold, and who can revoke it."""

    agents: tuple[str, ...]
    broker: CredentialBroker


class RevokePerformer:
    """Revokes and tries one credential.

    Args:
        held: the credentials of the settings, by name.
    """

    def __init__(self, *, held: Mapping[str, Held], clock: ServerClock) -> None:
        self._held = held
        self._clock = clock

    def names_for(self, agent: str) -> list[str]:
        """The credentials that are declared for an agent."""
        return [name for name, held in self._held.items() if any(fnmatchcase(agent, pattern) for pattern in held.agents)]

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        name = str(effect.parameters["credential"])
        if (held := self._held.get(name)) is None:
            return self._receipt(intent, Outcome.FAILED, {"missing": f"the settings declare no credential {name!r} any more"})
        subject = Subject(credential=name, agent=effect.target, incident=effect.incident, key=intent)
        try:
            async with asyncio.timeout(effect.deadline_ms / 1_000):
                revoked = await held.broker.revoke(subject)
                tried = await self._try(held.broker, subject) if revoked.holds else Said(holds=None)
        except TimeoutError:
            why = f"no end within {effect.deadline_ms / 1_000:g} s"
            return self._receipt(intent, Outcome.FAILED, {"is_revoked": False, "is_refused": None, "why": why})
        detail = {"is_revoked": revoked.holds is True, "is_refused": tried.holds, "why": revoked.why or tried.why}
        outcome = Outcome.FAILED if not revoked.holds else Outcome.DONE if tried.holds else Outcome.PARTIAL
        return self._receipt(intent, outcome, detail)

    async def _try(self, broker: CredentialBroker, subject: Subject) -> Said:
        for left in range(PROBE_TRIES - 1, -1, -1):
            tried = await broker.probe(subject)
            if tried.holds is not False or not left:
                return tried
            await asyncio.sleep(PROBE_AGAIN_S)
        raise AssertionError("unreachable")

    def _receipt(self, intent: str, outcome: Outcome, detail: dict[str, Any]) -> Receipt:
        return Receipt(intent=intent, outcome=outcome, at_ns=self._clock.now(), detail=detail)


class NamingPerformer:
    """Adds to the receipt of a kill which credentials it makes necessary to revoke, so that the record says so.

    Args:
        orders: performs the order.
        revoking: knows the credentials.
    """

    def __init__(self, orders: Performer, revoking: RevokePerformer) -> None:
        self._orders = orders
        self._revoking = revoking

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        receipt = await self._orders.perform(intent, effect)
        names: Sequence[str] = self._revoking.names_for(effect.target) if effect.parameters.get("rung") == "kill" else ()
        return msgspec.structs.replace(receipt, detail={**receipt.detail, "credentials": list(names)}) if names else receipt
