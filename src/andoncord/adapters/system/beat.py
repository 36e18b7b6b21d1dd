"""Where heartbeats go: a file that somebody watches, or an address."""

import asyncio
from pathlib import Path

import httpx2

TIMEOUT_S = 5.0


class FileBeat:
    """Replaces a file at each beat, so that a reader never sees half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    async def beat(self, body: bytes) -> str:
        """Write it; why that did not work, empty where it did."""
        return await asyncio.to_thread(self._write, body)

    def _write(self, body: bytes) -> str:
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.write_bytes(body + b"\n")
            beside.replace(self._path)
        except OSError as error:
            return str(error.strerror or error)
        return ""


class UrlBeat:
    """Posts to an address. It follows no redirect: where the sign of life goes is decided in the settings alone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = url.partition("?")[0]
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def beat(self, body: bytes) -> str:
        """Send it; why that did not work, empty where it did."""
        try:
            answer = await self._client.post(self._url, content=body, headers={"Content-Type": "application/json"})
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return "" if answer.is_success else f"answered {answer.status_code}"
