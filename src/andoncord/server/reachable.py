"""Who would not be reached, or could not answer: found before the night, each with its remedy."""

from collections.abc import Iterator
from typing import Protocol

from andoncord.kernel.access import Actor, Scope
from andoncord.server.auth import ForbiddenError
from andoncord.server.notices import NotifyPerformer


class People(Protocol):
    """Whoever knows accounts."""

    def actor_named(self, name: str, *, via: str) -> Actor: ...


def doubts(notices: NotifyPerformer, people: People, *, now_ns: int) -> Iterator[tuple[str, str]]:
    """What will hurt: gaps in rotas, people who may not acknowledge, connections that do not stand."""
    yield from notices.oncall.doubts(now_ns)
    for name, why in notices.answerers.items():
        try:
            actor = people.actor_named(name, via="check")
        except ForbiddenError:
            yield f"{name} {why} and has no account in force", f"andon user add {name} --role responder"
            continue
        if Scope.RESPOND not in actor.may:
            yield f"{name} {why} and may not acknowledge anything", f"andon user role {name} responder"
    for name, standing in notices.connections.items():
        if why := standing():
            yield f"{name} is not connected: {why}", "look at its address and token"
