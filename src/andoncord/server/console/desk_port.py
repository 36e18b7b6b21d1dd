"""What the console needs to know of the desk."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol


class DeskPort(Protocol):
    """Reads return the JSON views of the API."""

    def waiting(self, may: Collection[str] = ()) -> Sequence[Mapping[str, Any]]:
        """Work that nobody is done with, the oldest first; `shown` says whether it is as it came."""
        ...

    def batches(self, may: Collection[str] = ()) -> Sequence[Mapping[str, Any]]:
        """Held side effects by agent, with the digest of exactly those that are listed; `shown` as for `waiting`."""
        ...

    def lately(self) -> Sequence[Mapping[str, Any]]: ...

    def drafts(self) -> Sequence[Mapping[str, Any]]: ...

    def questions(self) -> Sequence[Mapping[str, Any]]: ...
