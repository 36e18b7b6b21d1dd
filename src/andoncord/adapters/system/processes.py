"""The processes of this machine, as the kernel shows them: whether one that named itself is still there."""

from typing import Any

from andoncord_sdk.proctree import can_run, own_identity, read_process


class SystemProcesses:
    """Knows only processes that can be seen from here: of this boot, in this process's own pid namespace."""

    def __init__(self) -> None:
        own = own_identity()
        self._boot, self._namespace = own.get("boot"), own.get("namespace")

    def is_here(self, registered: dict[str, Any]) -> bool:
        """Whether the process that described itself so runs here now, under that number and since that time."""
        return self._can_see(registered) and not self._has_ended(registered)

    def is_gone(self, registered: dict[str, Any]) -> bool:
        """Whether it has ended. False also where that cannot be seen from here."""
        return self._can_see(registered) and self._has_ended(registered)

    def _can_see(self, registered: dict[str, Any]) -> bool:
        is_ours = (registered.get("boot"), registered.get("namespace")) == (self._boot, self._namespace)
        named = isinstance(registered.get("pid"), int) and isinstance(registered.get("started"), int)
        return bool(self._boot and self._namespace) and is_ours and named and registered["pid"] > 0

    def _has_ended(self, registered: dict[str, Any]) -> bool:
        now = read_process(registered["pid"])
        return now is None or now.started != registered["started"] or not can_run(now)
