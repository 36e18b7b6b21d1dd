"""Signing evidence with Ed25519, where the package `cryptography` is installed (extra `evidence`)."""

import base64
import hashlib
import importlib.util
import os
from pathlib import Path

import msgspec

from andoncord.kernel.errors import CallerError

KEY_FILE = "evidence.key"
PUBLIC_FILE = "evidence.pub"
KEY_BYTES = 32
MAX_PUBLIC_CHARS = 4_096
CONTEXT = b"andoncord-evidence\0"
"""Before what is signed, so that a signature for this means nothing elsewhere."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """The file `manifest.sig`. Which key made it is a hint; who checks brings the key."""

    algorithm: str
    key: str
    """SHA-256 of the public key."""
    signature: str


class EvidenceKey:
    """The key of one data directory."""

    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  # an extra

        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> str:
        """What the key is called."""
        return hashlib.sha256(self.public).hexdigest()

    def sign(self, manifest: bytes) -> bytes:
        """The content of `manifest.sig`."""
        signature = base64.b64encode(self._key.sign(CONTEXT + manifest)).decode()
        return msgspec.json.encode(Signature(algorithm="ed25519", key=self.fingerprint, signature=signature))


def open_key(home: Path) -> EvidenceKey | None:
    """The key of a data directory, made at the first call; None where `cryptography` is not installed.

    Raises:
        CallerError: the file is there and is no key.
    """
    if importlib.util.find_spec("cryptography") is None:
        return None
    path = home / KEY_FILE
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
    try:
        secret = base64.b64decode(path.read_bytes(), validate=False)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise CallerError("is no key", place=str(path), remedy="put back the key, or delete the file: a new one is made")
    key = EvidenceKey(secret)
    (home / PUBLIC_FILE).write_text(f"ed25519 {base64.b64encode(key.public).decode()}\n", encoding="ascii")
    return key


def read_public(path: Path) -> bytes:
    """The key that signatures are checked with, from a file like `evidence.pub`.

    Raises:
        CallerError: the file is no such key.
    """
    try:
        with path.open(encoding="ascii") as file:
            words = file.read(MAX_PUBLIC_CHARS).split()
        public = base64.b64decode(words[1], validate=True) if words[:1] == ["ed25519"] else b""
    except (OSError, ValueError, IndexError) as error:
        raise CallerError(f"cannot be read as a key: {error}", place=str(path)) from None
    if len(public) != KEY_BYTES:
        raise CallerError("is no Ed25519 key", place=str(path), remedy="give the file evidence.pub of the data directory")
    return public


def signature_problem(manifest: bytes, signature: bytes, public: bytes) -> str:
    """Why `signature` is not this key's over `manifest`; empty where it is.

    Raises:
        CallerError: `cryptography` is not installed, so nobody can say.
    """
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415  # an extra
    except ImportError:
        raise CallerError("a signature cannot be checked here", remedy="install andoncord[evidence]") from None
    try:
        read = msgspec.json.decode(signature, type=Signature)
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(read.signature), CONTEXT + manifest)
    except (msgspec.MsgspecError, ValueError):
        return "the signature cannot be read"
    except InvalidSignature:
        return "the signature is not of the pinned key, or the manifest was changed"
    return ""
