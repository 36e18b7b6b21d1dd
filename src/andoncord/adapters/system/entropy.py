"""The machine's source of chance: ids and secrets."""

import secrets

SECRET_BYTES = 32


class SystemEntropy:
    """Unguessable secrets and unique ids."""

    def secret(self) -> str:
        """256 random bits as 43 URL-safe characters."""
        return secrets.token_urlsafe(SECRET_BYTES)

    def identifier(self, prefix: str) -> str:
        """A unique id, `prefix_` and 80 random bits in hexadecimal."""
        return f"{prefix}_{secrets.token_hex(10)}"

    def fraction(self) -> float:
        """A number from 0 to 1, without 1."""
        return secrets.randbelow(1 << 53) / (1 << 53)
