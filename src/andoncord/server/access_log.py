"""The record of access decisions: changes that were allowed, sign-ins, and refusals."""

from andoncord.kernel.access import AccessEvent, Actor
from andoncord.server.ports import AccessRecord, ServerClock

MAX_WORD = 200
MAX_FOLDED = 10_000
"""Refusals that are told apart; beyond that the oldest count anew."""


class AccessLog:
    """Writes every decision down. A refusal that repeats is written the first time and at every power of two."""

    def __init__(self, record: AccessRecord, *, clock: ServerClock) -> None:
        self._record = record
        self._clock = clock
        self._refused: dict[tuple[str, ...], int] = {}

    def changed(self, actor: Actor, what: str, about: str) -> None:
        """Somebody was let in to change something. What came of it is in the journal."""
        self._add("change", actor.name, actor.via, actor.address, what, about, allowed=True)

    def signed_in(self, name: str, *, via: str, address: str) -> None:
        """A session began."""
        self._add("login", name, via, address, "sign in", "", allowed=True)

    def signed_out(self, name: str, *, address: str) -> None:
        """A session was ended by its person."""
        self._add("login", name, "console", address, "sign out", "", allowed=True)

    def sign_in_failed(self, account: str, *, via: str, address: str, why: str) -> None:
        """Somebody tried. Of the name only that of an account is kept: people type passwords there too."""
        self._refuse("login", "", via, address, "sign in", account, why)

    def refused(self, *, who: str, via: str, address: str, what: str, about: str, why: str) -> None:
        """Somebody wanted what they may not."""
        self._refuse("denied", who, via, address, what, about, why)

    def events(self, *, before: int = 0, limit: int, kind: str = "", who: str = "") -> list[tuple[int, AccessEvent]]:
        """What was written down, the newest first."""
        return self._record.events(before=before, limit=limit, kind=kind, who=who)

    def _refuse(self, kind: str, who: str, via: str, address: str, what: str, about: str, why: str) -> None:
        key = (kind, who, via, address, what, why)
        times = self._refused.pop(key, 0) + 1
        while len(self._refused) >= MAX_FOLDED:
            del self._refused[next(iter(self._refused))]
        self._refused[key] = times
        if times & (times - 1) == 0:
            self._add(kind, who, via, address, what, about, allowed=False, why=why, times=times)

    def _add(
        self,
        kind: str,
        who: str,
        via: str,
        address: str,
        what: str,
        about: str,
        *,
        allowed: bool,
        why: str = "",
        times: int = 1,
    ) -> None:
        self._record.add_event(
            AccessEvent(
                at_ns=self._clock.now(),
                kind=kind,
                who=who[:MAX_WORD],
                via=via[:MAX_WORD],
                address=address[:MAX_WORD],
                what=what[:MAX_WORD],
                about=about[:MAX_WORD],
                allowed=allowed,
                why=why[:MAX_WORD],
                times=times,
            )
        )
