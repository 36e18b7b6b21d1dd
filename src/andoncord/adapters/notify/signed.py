"""Signed webhooks: who is spoken to, and what shows that it is us."""

import asyncio
import base64
import hmac
import ipaddress
import socket
from urllib.parse import urlsplit, urlunsplit

import httpx2

from andoncord.kernel.time import SECOND_NS

TIMEOUT_S = 8.0


class PrivateAddressError(Exception):
    """A webhook would go to an address within this network."""


class SignedPost:
    """Posts bodies that are signed as Standard Webhooks 1.0 says.

    The name is resolved once and the address that was looked at is the one that is spoken to; redirects are not followed;
    addresses within the network are refused unless they are allowed.

    Args:
        secret: the key's bytes.
    """

    def __init__(self, *, url: str, secret: bytes, allow_private: bool) -> None:
        self._parts = urlsplit(url)
        self._secret = secret
        self._allow_private = allow_private

    @property
    def host(self) -> str:
        """The name in the address."""
        return self._parts.hostname or ""

    async def send(self, number: str, body: bytes, *, content_type: str, now_ns: int) -> httpx2.Response:
        """Post it; `number` is the same when it is sent again.

        Raises:
            PrivateAddressError: it would go to an address within the network, and that is not allowed.
            OSError: the host has no address.
            httpx2.HTTPError, httpx2.InvalidURL: nothing answered.
        """
        parts = self._parts
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await resolve(self.host, port, allow_private=self._allow_private)
        shown = f"[{address}]" if ":" in address else address
        pinned = urlunsplit((parts.scheme, f"{shown}:{port}", parts.path or "/", parts.query, ""))
        headers = {"Content-Type": content_type, "Host": parts.netloc, **self._signed(number, now_ns // SECOND_NS, body)}
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
            return await client.post(pinned, content=body, headers=headers, extensions={"sni_hostname": self.host})

    def _signed(self, number: str, now_s: int, body: bytes) -> dict[str, str]:
        signature = hmac.digest(self._secret, b".".join((number.encode(), str(now_s).encode(), body)), "sha256")
        return {
            "webhook-id": number,
            "webhook-timestamp": str(now_s),
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }


async def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """The address of a host that may be spoken to.

    Raises:
        PrivateAddressError: one of its addresses is within the network, and that is not allowed.
        OSError: it has none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = [str(each[4][0]) for each in found]
    if not allow_private:
        for address in addresses:
            if not ipaddress.ip_address(address.partition("%")[0]).is_global:
                raise PrivateAddressError(f"{host} is {address}, which is within this network; allow_private would allow it")
    return addresses[0]
