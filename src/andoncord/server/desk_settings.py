"""Sections `handover`, `outbox` and `notices` of the settings: who gets what an agent may not do, and who is told of it."""

from typing import Annotated

import msgspec

Names = tuple[str, ...]


class HandoverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Work that is handed over to people."""

    to: Names = ()
    """Whom each item is told to, beside the inbox: people, rotas or channels, such as the webhook of a queue of your own."""


class OutboxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Side effects that are held for people."""

    to: Names = ()
    """Who is told when an agent's first one is held."""
    role: str = ""
    """The role of `approvals.roles` whose people let them go or drop them; empty for everybody who may approve."""


class NoticeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Notices to people outside the response: whom each kind goes to, once a person has read it."""

    templates: Annotated[tuple[str, ...], msgspec.Meta(max_length=50)] = ()
    """Files with templates of your own, relative to the settings file; each replaces the built-in one of its audience."""
    customer: Names = ()
    executive: Names = ()
    legal: Names = ()
    continuity: Names = ()

    def of(self, audience: str) -> Names:
        """Whom a kind of notice goes to."""
        found: Names = getattr(self, audience)
        return found
