"""What the console needs to know of the desk."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class DeskPort(Protocol):
    """Reads return the JSON views of the API."""

    def waiting(self) -> Sequence[Mapping[str, Any]]:
        """Work that nobody is done with, the oldest first."""
        ...

    def batches(self) -> Sequence[Mapping[str, Any]]:
        """Held side effects by agent, with the digest of exactly those that are listed."""
        ...

    def lately(self) -> Sequence[Mapping[str, Any]]: ...

    def drafts(self) -> Sequence[Mapping[str, Any]]: ...

    def questions(self) -> Sequence[Mapping[str, Any]]: ...
