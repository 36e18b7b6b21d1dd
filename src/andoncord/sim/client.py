"""The public HTTP API, as the director uses it: as any person could."""

from typing import Any

import httpx2

TIMEOUT_S = 10.0


class Api:
    """A person's client with a token.

    Raises:
        ApiError: on any answer that is not a success.
    """

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S)

    def get(self, path: str, **query: str) -> Any:
        """The JSON at `path`."""
        return self._answer(self._client.get(path, params=query))

    def post(self, path: str, body: dict[str, Any], *, key: str = "") -> Any:
        """Post JSON; `key` makes the act safe to repeat."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._answer(self._client.post(path, json=body, headers=headers))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @staticmethod
    def _answer(response: httpx2.Response) -> Any:
        if response.is_success:
            return response.json() if response.content else None
        raise ApiError(f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text[:300]}")


class ApiError(Exception):
    """The server refused, or could not."""
