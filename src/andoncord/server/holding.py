"""What supervisors report of the process trees that they hold, and which guards are inside."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from andoncord.respond.verify import Tree
from andoncord.server.points import Guard


def tree_in(state: Mapping[str, Any]) -> Tree | None:
    """The process tree in a supervisor's report; None in that of a guard.

    >>> tree_in({"rung": "pause", "tree": {"frozen": True, "empty": False, "looks": 2}})
    Tree(frozen=True, empty=False, looks=2)
    """
    seen = state.get("tree")
    if not isinstance(seen, Mapping):
        return None
    looks = seen.get("looks")
    return Tree(
        frozen=seen.get("frozen") is True, empty=seen.get("empty") is True, looks=looks if isinstance(looks, int) else 0
    )


def covered(
    guards: Sequence[Guard], holders: Sequence[Guard], reports: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> dict[str, Tree]:
    """The tree that each guard is in, where its process is one of those that a supervisor on its host froze or ended.

    Args:
        reports: state and detail of each supervisor's acknowledgement that it enforced the order, by instance.
    """
    inside: dict[str, Tree] = {}
    for holder in holders:
        state, detail = reports.get(holder.instance, ({}, {}))
        tree = tree_in(state)
        if tree is None or not (tree.frozen or tree.empty):
            continue
        pids = _pids(detail.get("signalled") if tree.empty else state["tree"].get("pids"))
        for guard in guards:
            if guard.registration.host == holder.registration.host and guard.registration.pid in pids:
                inside[guard.instance] = tree
    return inside


def _pids(listed: Any) -> Collection[int]:
    return {pid for pid in listed if isinstance(pid, int)} if isinstance(listed, list) else ()
