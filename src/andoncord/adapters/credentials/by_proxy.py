"""Tokens of an agent's runs, for our own MCP proxy: revoked in the folder that the proxy looks into, and tried at the proxy."""

import asyncio
from pathlib import Path

import httpx2

from andoncord.respond.credential import Said, Subject
from andoncord_sdk.run_tokens import PREFIX, RunTokens

TIMEOUT_S = 5.0
UNAUTHORIZED = 401
TRIED_MAX = 20
NEVER_GIVEN = f"{PREFIX}never-given"
"""Tried where an agent had no token: a proxy that takes this one asks nobody for a token."""
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class ProxyBroker:
    """Revokes every token that runs of an agent hold, and tries the latest of them.

    Args:
        folder: where the tokens are; the same that the proxy and the supervisors name.
        url: the proxy, as its clients reach it.
    """

    def __init__(self, *, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url

    async def revoke(self, subject: Subject) -> Said:
        """Revoked is what is no longer in the folder as in force."""
        try:
            await asyncio.to_thread(lambda: RunTokens(self._folder).revoke_agent(subject.agent))
        except (OSError, ValueError) as fault:
            return Said(holds=False, why=str(fault))
        return Said(holds=True)

    async def probe(self, subject: Subject) -> Said:
        """Refused is what the proxy answers 401 to, for every token that is tried."""
        try:
            revoked = await asyncio.to_thread(lambda: RunTokens(self._folder).revoked(subject.agent))
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
                for token in revoked[-TRIED_MAX:] or [NEVER_GIVEN]:
                    answer = await client.post(self._url, json=PING, headers={"Authorization": f"Bearer {token}"})
                    if answer.status_code != UNAUTHORIZED:
                        return Said(holds=False, why=f"the proxy answered {answer.status_code} to a token that was revoked")
        except (httpx2.HTTPError, OSError, ValueError) as lost:
            return Said(holds=None, why=f"the attempt showed nothing: {type(lost).__name__}: {lost}")
        return Said(holds=True)
