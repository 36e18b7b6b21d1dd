"""Sealing texts with AES-GCM: nobody reads or changes them without the key, or puts one in another's place."""

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
CONTEXT = b"andoncord vault 1\0"
"""Before the secret that the key is made from, so that the key is good for this alone."""


class AesGcmCipher:
    """A `Cipher`: a new nonce for every text, before what was sealed."""

    def __init__(self, secret: bytes) -> None:
        self._key = AESGCM(hashlib.sha256(CONTEXT + secret).digest())

    def seal(self, text: bytes, *, about: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._key.encrypt(nonce, text, about)

    def open(self, sealed: bytes, *, about: bytes) -> bytes | None:
        """The text; None where this key did not seal it for this, or a byte of it was changed."""
        try:
            return self._key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            return None
