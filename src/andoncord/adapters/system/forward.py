"""From the control process to the ingest worker of the same server, the way every sender takes."""

import logging
from collections.abc import Mapping

import httpx2

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0


class Forwarder:
    """Sends log exports to the OTLP port.

    Args:
        url: base of the receiver.
        tokens: what each sender is trusted with.
    """

    def __init__(self, url: str, tokens: Mapping[str, str]) -> None:
        self._url = url
        self._tokens = tokens

    async def send(self, sender: str, body: bytes) -> bool:
        """Whether it was taken, durably."""
        headers = {"Content-Type": "application/json"}
        if sender in self._tokens:
            headers["Authorization"] = f"Bearer {self._tokens[sender]}"
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
                answer = await client.post(f"{self._url}/v1/logs", content=body, headers=headers)
        except httpx2.HTTPError as away:
            logger.warning("the ingest worker did not take an event of %s: %s", sender, type(away).__name__)
            return False
        if not answer.is_success:
            logger.warning("the ingest worker refused an event of %s with %d", sender, answer.status_code)
        return answer.is_success
