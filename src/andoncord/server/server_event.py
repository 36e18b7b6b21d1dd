"""Server-sent events as bytes."""

from typing import Any

import msgspec


def server_event(name: str, number: int, body: dict[str, Any]) -> bytes:
    r"""One server-sent event.

    >>> server_event("ping", 3, {})
    b'id: 3\nevent: ping\ndata: {}\n\n'
    """
    return encoded_event(name, number, msgspec.json.encode(body))


def encoded_event(name: str, number: int, body: bytes) -> bytes:
    """One server-sent event whose body is JSON already."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), body)
