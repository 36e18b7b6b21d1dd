"""Passwords, hashed with scrypt, which the standard library has."""

import hashlib
import hmac
from base64 import b64decode, b64encode

from andoncord.kernel.errors import CallerError

LOG_N, BLOCK, PARALLEL = 15, 8, 3
"""32 MiB and about a quarter of a second. Source: OWASP Password Storage Cheat Sheet (N = 2^15, r = 8, p = 3)."""
SALT_BYTES, HASH_BYTES = 16, 32
MAX_MEMORY = 64 * 1024 * 1024
MIN_LENGTH, MAX_LENGTH = 12, 200
"""Source of the lower one: NIST SP 800-63B asks for 8 beside a second factor, and there is none here."""


def check_password(password: str, *, name: str) -> None:
    """Whether a password may be set.

    Raises:
        CallerError: says why not.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise CallerError(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters", place="password")
    if len(set(password)) < MIN_LENGTH // 2 or name.lower() in password.lower():
        raise CallerError(
            "the password is too easy to guess", place="password", remedy="use several words, without the account's name"
        )


def hashed(password: str, *, salt: bytes, log_n: int = LOG_N) -> str:
    """What is kept of a password. Cost: 32 MiB, a quarter of a second; not for the event loop.

    Args:
        log_n: how much it costs; what was hashed at another cost is still compared.
    """
    return _kept(_scrypt(password, salt=salt, log_n=log_n, block=BLOCK, parallel=PARALLEL), salt=salt, log_n=log_n)


def of_nobody(*, log_n: int = LOG_N) -> str:
    """What no password belongs to; comparing with it costs as much as with any other."""
    return _kept(bytes(HASH_BYTES), salt=bytes(SALT_BYTES), log_n=log_n)


def _kept(made: bytes, *, salt: bytes, log_n: int) -> str:
    return "$".join(("scrypt", str(log_n), str(BLOCK), str(PARALLEL), _text(salt), _text(made)))


def matches(password: str, kept: str) -> bool:
    """Whether this is the password that was hashed, in a time that does not depend on where they differ. Cost: as `hashed`.

    >>> matches("correct horse battery", hashed("correct horse battery", salt=b"0123456789abcdef", log_n=4))
    True
    """
    kind, log_n, block, parallel, salt, wanted = kept.split("$")
    assert kind == "scrypt"
    made = _scrypt(password, salt=b64decode(salt), log_n=int(log_n), block=int(block), parallel=int(parallel))
    return hmac.compare_digest(made, b64decode(wanted))


def _scrypt(password: str, *, salt: bytes, log_n: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=1 << log_n,
        r=block,
        p=parallel,
        maxmem=MAX_MEMORY,
        dklen=HASH_BYTES,
    )


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
