"""Credentials that another service revokes when it is asked over HTTP."""

from pathlib import Path

import httpx2
import msgspec

from andoncord.adapters.credentials.by_hook import Command, probe_by
from andoncord.respond.credential import Said, Subject

TIMEOUT_S = 10.0


class WebhookBroker:
    """Asks for a revocation by POST, and tries with a command.

    Args:
        url: where to ask.
        token_file: holds the bearer token to send; read anew each time, None for none.
    """

    def __init__(self, *, url: str, token_file: Path | None, probing: Command | None) -> None:
        self._url = url
        self._token_file = token_file
        self._probing = probing

    async def revoke(self, subject: Subject) -> Said:
        """Revoked is what the service answers 2xx for. It is not followed elsewhere: the token is for this address."""
        headers = {"Idempotency-Key": subject.key}
        try:
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
                answer = await client.post(
                    self._url, content=msgspec.json.encode(subject), headers={**headers, "Content-Type": "application/json"}
                )
        except (httpx2.HTTPError, OSError) as lost:
            return Said(holds=False, why=f"{type(lost).__name__}: {lost}")
        return Said(holds=True) if answer.is_success else Said(holds=False, why=f"HTTP {answer.status_code}")

    async def probe(self, subject: Subject) -> Said:
        """Try the old credential with the command of the settings."""
        return await probe_by(self._probing, subject)
