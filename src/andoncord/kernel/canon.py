"""One way to turn a record into bytes, and bytes into a chain of digests."""

import hashlib
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="sorted")

GENESIS = "0" * 64
"""The digest before the first entry of a chain."""


def canonical_json(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no spaces: the same value always gives the same bytes.

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    return _encoder.encode(value)


def digest(value: bytes) -> str:
    """SHA-256 in hexadecimal.

    >>> digest(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(value).hexdigest()


def short_digest(*parts: str, length: int = 16) -> str:
    """A stable id of `length` hexadecimal characters, made from `parts`.

    >>> short_digest("infinite_loop", "span-1") == short_digest("infinite_loop", "span-1")
    True
    >>> short_digest("ab", "c") == short_digest("a", "bc")
    False
    """
    return digest(canonical_json(parts))[:length]
