"""What the server needs from outside itself; the adapters provide it, `app.py` connects them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

from andoncord.kernel.access import AccessEvent, Account, Session, Token
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import Instant
from andoncord.respond.credential import Said, Subject


class ServerClock(Protocol):
    """The time, and a clock for measuring that never goes back."""

    def now(self) -> Instant: ...

    def monotonic_ns(self) -> int: ...


class Entropy(Protocol):
    """Where secrets and ids come from."""

    def secret(self) -> str: ...

    def identifier(self, prefix: str) -> str: ...


class Memory(Protocol):
    """What detectors have learned, by rule."""

    def keep(self, name: str, body: bytes) -> None: ...

    def kept(self) -> dict[str, bytes]: ...


class Flags(Protocol):
    """Flags in shared memory: how an order reaches guards on this machine before any message does."""

    def allot(self, guard: str) -> dict[str, Any] | None: ...

    def show(self, guard: str, order: dict[str, Any]) -> bool: ...

    def free(self, guard: str) -> None: ...


class Processes(Protocol):
    """The processes of this machine."""

    def is_here(self, registered: dict[str, Any]) -> bool: ...

    def is_gone(self, registered: dict[str, Any]) -> bool: ...


class CredentialBroker(Protocol):
    """Whoever gave an agent a credential, and can take it back."""

    async def revoke(self, subject: Subject) -> Said: ...

    async def probe(self, subject: Subject) -> Said: ...


class BudgetStore(Protocol):
    """What was spent of shared budgets, and what guards hold of them: records by key."""

    def load(self) -> dict[str, bytes]: ...

    def save(self, changes: Mapping[str, bytes | None]) -> None: ...


class AccessStore(Protocol):
    """Tokens, sessions, remembered answers and readers' places."""

    def add_token(self, token: Token) -> None: ...

    def token(self, secret_digest: str) -> Token | None: ...

    def tokens(self) -> tuple[Token, ...]: ...

    def revoke_token(self, token_id: str, *, now_ns: int) -> bool: ...

    def forget_revoked(self, name: str) -> None: ...

    def note_tokens_used(self, used_ns: dict[str, int]) -> None: ...

    def add_session(self, session: Session) -> None: ...

    def session(self, secret_digest: str, *, now_ns: int) -> Session | None: ...

    def end_session(self, secret_digest: str) -> None: ...

    def end_sessions_of(self, account: str) -> None: ...

    def note_session_used(self, secret_digest: str, *, now_ns: int) -> None: ...

    def remembered_answer(self, key: str) -> tuple[str, int, bytes] | None: ...

    def remember_answer(self, key: str, request_digest: str, status: int, body: bytes) -> None: ...

    def position(self, name: str) -> int: ...

    def set_position(self, name: str, position: int) -> None: ...


class VaultStore(Protocol):
    """Sealed bytes by name, each until it is removed."""

    def put(self, name: str, sealed: bytes, *, now_ns: int) -> None: ...

    def get(self, name: str) -> bytes | None: ...

    def kept(self) -> dict[str, int]: ...

    def remove(self, names: Collection[str]) -> None: ...


class Cipher(Protocol):
    """Seals a text for one purpose; opened, it is the same text for the same purpose, or nothing."""

    def seal(self, text: bytes, *, about: bytes) -> bytes: ...

    def open(self, sealed: bytes, *, about: bytes) -> bytes | None: ...


class AccountStore(Protocol):
    """The accounts of people."""

    def accounts(self) -> tuple[Account, ...]: ...

    def save_account(self, account: Account) -> None: ...


class AccessRecord(Protocol):
    """Who was let in and who was not."""

    def add_event(self, event: AccessEvent) -> None: ...

    def events(self, *, before: int, limit: int, kind: str = "", who: str = "") -> list[tuple[int, AccessEvent]]: ...


class JournalReader(Protocol):
    """Reading the journal back."""

    def read(self, after: int = 0) -> Iterable[Entry]: ...
