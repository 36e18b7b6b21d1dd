"""The accounts of people: made, changed and disabled by administrators, signed in to with a password or elsewhere."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from andoncord.kernel.access import SCOPES_OF, Account, Actor, Role, covered
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.server.passwords import LOG_N, MAX_LENGTH, check_password, hashed, matches, of_nobody
from andoncord.server.ports import AccountStore, Entropy, ServerClock
from andoncord.server.throttle import LoginThrottle, TooManyError

MAX_NAME = 64
MAX_ACCOUNTS = 10_000
MAX_HASHING = 2
"""Passwords that are hashed at once: each takes 32 MiB and a core."""
MAX_QUEUED = 20
"""Sign-ins that wait for their turn; more are told to come back."""


class Accounts:
    """Who has an account, and what it is good for. This process is the only one that writes them.

    Args:
        log_n: what hashing a password costs.
        on_ended: told the name of an account that was disabled or whose password was changed, to end what it opened.
    """

    def __init__(
        self,
        *,
        store: AccountStore,
        clock: ServerClock,
        entropy: Entropy,
        on_ended: Callable[[str], None] = lambda name: None,
        log_n: int = LOG_N,
    ) -> None:
        self._log_n = log_n
        self._nobody = of_nobody(log_n=log_n)
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._on_ended = on_ended
        self._known = {account.name: account for account in store.accounts()}
        self._throttle = LoginThrottle(clock.monotonic_ns)
        self._hashing = asyncio.Semaphore(MAX_HASHING)
        self._queued = 0

    def all(self) -> list[Account]:
        """Every account, by name."""
        return sorted(self._known.values(), key=lambda account: account.name)

    def find(self, name: str) -> Account | None:
        """The account of this name, disabled or not."""
        return self._known.get(name)

    def get(self, name: str) -> Account:
        """The same.

        Raises:
            NotFoundError: there is none.
        """
        found = self._known.get(name)
        if found is None:
            raise NotFoundError(f"there is no account {name!r}", remedy="andon user list")
        return found

    def actor(self, name: str, *, via: str, address: str = "") -> Actor | None:
        """What the person of an account may do just now; None when there is no account of this name that is in force."""
        account = self._known.get(name)
        if account is None or account.disabled_ns:
            return None
        return Actor(name=name, may=covered(SCOPES_OF[account.role]), via=via, address=address)

    # Changing them.

    async def add(self, name: str, role: Role, *, password: str = "", subject: str = "") -> Account:
        """A new account. Without a password it signs in by one-time links or elsewhere only.

        Raises:
            CallerError: the name or the password will not do.
        """
        check_name(name)
        if name in self._known:
            raise ConflictError(f"there is an account {name!r} already", remedy=f"andon user role {name} {role.value}")
        if len(self._known) >= MAX_ACCOUNTS:
            raise ConflictError(f"there are {MAX_ACCOUNTS} accounts")
        account = Account(
            name=name, role=role, password=await self._hashed(password, name), subject=subject, created_ns=self._clock.now()
        )
        self._save(account)
        return account

    def set_role(self, name: str, role: Role) -> Account:
        """Change what an account is good for. It holds from the next request on."""
        account = msgspec.structs.replace(self.get(name), role=role)
        self._refuse_lockout(account)
        self._save(account)
        return account

    async def set_password(self, name: str, password: str) -> Account:
        """Change a password; what was opened with the old one ends."""
        account = msgspec.structs.replace(self.get(name), password=await self._hashed(password, name))
        self._save(account)
        self._on_ended(name)
        return account

    def disable(self, name: str) -> Account:
        """End an account: its sessions and tokens end with it. It stays in the list, and its name stays taken."""
        account = self.get(name)
        if account.disabled_ns:
            raise ConflictError(f"{name} is disabled already")
        account = msgspec.structs.replace(account, disabled_ns=self._clock.now())
        self._refuse_lockout(account)
        self._save(account)
        self._on_ended(name)
        return account

    def enable(self, name: str) -> Account:
        """Let a disabled account sign in again. Its tokens stay revoked."""
        account = msgspec.structs.replace(self.get(name), disabled_ns=0)
        self._save(account)
        return account

    def note_seen(self, name: str) -> None:
        """Somebody signed in."""
        self._save(msgspec.structs.replace(self.get(name), seen_ns=self._clock.now()))

    def _save(self, account: Account) -> None:
        self._store.save_account(account)
        self._known[account.name] = account

    def _refuse_lockout(self, changed: Account) -> None:
        """Where administrators sign in to accounts, one of them has to stay.

        Raises:
            ConflictError: it would be the last.
        """
        admins = [each for each in self._known.values() if each.role is Role.ADMIN and not each.disabled_ns]
        if [each.name for each in admins] == [changed.name] and (changed.disabled_ns or changed.role is not Role.ADMIN):
            raise ConflictError(f"{changed.name} is the last administrator", remedy="make somebody else one first")

    # Signing in.

    async def sign_in(self, name: str, password: str, *, address: str, device: str = "") -> Account | None:
        """The account that these belong to; None when there is none, whichever of the reasons it is.

        Args:
            device: names a browser that signed in to this account before.

        Raises:
            TooManyError: too many failed before; nothing was compared.
        """
        # Counted under a digest: the name may be anything that somebody typed, a password too.
        typed = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        self._throttle.check(typed, address, device=device)
        async with self._turn():
            # Again: others may have failed while this one waited for its turn.
            self._throttle.check(typed, address, device=device)
            return await self._compared(name, password, typed, address, device)

    async def _compared(self, name: str, password: str, typed: str, address: str, device: str) -> Account | None:
        account = self._known.get(name)
        is_usable = account is not None and bool(account.password) and not account.disabled_ns
        kept = account.password if account is not None and is_usable else self._nobody
        is_right = await asyncio.to_thread(matches, password[: MAX_LENGTH + 1], kept)
        if account is None or not is_usable or not is_right:
            self._throttle.failed(typed, address, device=device)
            return None
        self._throttle.succeeded(typed, address, device=device)
        return account

    async def _hashed(self, password: str, name: str) -> str:
        if not password:
            return ""
        check_password(password, name=name)
        salt = self._entropy.secret().encode()[-16:]
        async with self._turn():
            return await asyncio.to_thread(hashed, password, salt=salt, log_n=self._log_n)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """A turn to hash.

        Raises:
            TooManyError: too many wait for theirs.
        """
        if self._queued >= MAX_QUEUED:
            raise TooManyError("too many people sign in at once", retry_s=5)
        self._queued += 1
        try:
            async with self._hashing:
                yield
        finally:
            self._queued -= 1


def check_name(name: str) -> None:
    """Whether somebody may be called so.

    Raises:
        CallerError: says why not.
    """
    if not 0 < len(name) <= MAX_NAME or not all(each.isalnum() or each in "._-@+" for each in name) or name == "local":
        raise CallerError(f"a name is 1 to {MAX_NAME} letters, digits or any of . _ - @ +, and not 'local'", place="name")
