"""The registry: versions of prompts, models and settings that agents read at run time; a rollback deploys no code (RCV-1)."""

from typing import Any

import msgspec

from andoncord.kernel.errors import ConflictError, NotFoundError


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One set of values of an agent: prompt, model, tool settings and whatever else it reads by name."""

    version: str
    values: dict[str, Any]
    note: str = ""
    good: bool = False
    """Somebody, or a passed recovery, vouches for it: it may be rolled back to."""
    published_ns: int = 0
    by: str = ""


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """A version became the active one."""

    version: str
    at_ns: int
    by: str = ""


class AgentVersions(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of one agent in order of publication, and which was active when."""

    versions: tuple[Version, ...] = ()
    history: tuple[Activation, ...] = ()

    @property
    def active(self) -> str:
        """The active version, empty when there is none."""
        return self.history[-1].version if self.history else ""


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of all agents. Every act returns a new registry; nothing is ever taken out.

    >>> registry = Registry().publish("helpdesk", {"prompt": "Be kind."}, good=True, at_ns=1, by="person:ada")
    >>> registry = registry.publish("helpdesk", {"prompt": "Be quick."}, at_ns=2, by="person:bob")
    >>> registry = registry.activate("helpdesk", "v2", at_ns=3, by="person:bob")
    >>> registry.active("helpdesk").values["prompt"], registry.last_good("helpdesk").version
    ('Be quick.', 'v1')
    """

    agents: dict[str, AgentVersions] = {}

    def publish(
        self, agent: str, values: dict[str, Any], *, version: str = "", note: str = "", good: bool = False, at_ns: int, by: str
    ) -> "Registry":
        """Add a version; the first of an agent becomes active. Without a name it is called `v1`, `v2` and so on.

        Raises:
            ConflictError: the version exists with other values (with the same values, publishing it again changes nothing).
        """
        known = self._of(agent)
        name = version or _next_name(known)
        for existing in known.versions:
            if existing.version == name:
                if existing.values == values:
                    return self
                raise ConflictError(
                    f"version {name!r} of {agent!r} exists with other values",
                    remedy="publish under a new name; versions never change",
                )
        added = Version(version=name, values=values, note=note, good=good, published_ns=at_ns, by=by)
        history = known.history or (Activation(version=name, at_ns=at_ns, by=by),)
        return self._with(agent, AgentVersions(versions=(*known.versions, added), history=history))

    def activate(self, agent: str, version: str, *, at_ns: int, by: str) -> "Registry":
        """Make `version` the active one; activating the active version changes nothing."""
        self.get(agent, version)
        known = self._of(agent)
        if known.active == version:
            return self
        activation = Activation(version=version, at_ns=at_ns, by=by)
        return self._with(agent, msgspec.structs.replace(known, history=(*known.history, activation)))

    def mark_good(self, agent: str, version: str, good: bool = True) -> "Registry":
        """Vouch for a version, or take the word back."""
        self.get(agent, version)
        known = self._of(agent)
        marked = tuple(msgspec.structs.replace(each, good=good) if each.version == version else each for each in known.versions)
        return self._with(agent, msgspec.structs.replace(known, versions=marked))

    def versions(self, agent: str) -> tuple[Version, ...]:
        """All versions of an agent, oldest first; empty for an agent the registry does not know."""
        return self._of(agent).versions

    def get(self, agent: str, version: str) -> Version:
        """One version.

        Raises:
            NotFoundError: the registry has no such version.
        """
        for known in self._of(agent).versions:
            if known.version == version:
                return known
        have = ", ".join(each.version for each in self._of(agent).versions) or "none"
        raise NotFoundError(f"no version {version!r} of {agent!r}", remedy=f"known: {have}")

    def active(self, agent: str) -> Version | None:
        """The version that agents of this name read now."""
        name = self._of(agent).active
        return self.get(agent, name) if name else None

    def last_good(self, agent: str, before: str = "") -> Version | None:
        """The good version that was active most recently before `before` became active (default: before the active one).

        None when nothing good was ever active before: then there is nothing to roll back to.
        """
        known = self._of(agent)
        bad = before or known.active
        began = [index for index, activation in enumerate(known.history) if activation.version == bad]
        if not began:
            return None
        for activation in reversed(known.history[: began[-1]]):
            candidate = self.get(agent, activation.version)
            if candidate.good and candidate.version != bad:
                return candidate
        return None

    def _of(self, agent: str) -> AgentVersions:
        return self.agents.get(agent, AgentVersions())

    def _with(self, agent: str, versions: AgentVersions) -> "Registry":
        return Registry(agents={**self.agents, agent: versions})


def _next_name(known: AgentVersions) -> str:
    taken = {each.version for each in known.versions}
    number = len(known.versions) + 1
    while f"v{number}" in taken:
        number += 1
    return f"v{number}"
