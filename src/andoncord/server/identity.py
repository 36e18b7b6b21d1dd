"""Everything that knows people, in one piece, for who connects the server."""

from collections.abc import Callable
from dataclasses import dataclass

from andoncord.server.access_log import AccessLog
from andoncord.server.access_settings import AccessSettings
from andoncord.server.accounts import Accounts
from andoncord.server.auth import Auth
from andoncord.server.elsewhere import Elsewhere, Provider
from andoncord.server.figures import Misuse
from andoncord.server.gate import Gate
from andoncord.server.passwords import LOG_N
from andoncord.server.ports import AccessRecord, AccessStore, AccountStore, Entropy, ServerClock
from andoncord.server.signing_in import SigningIn
from andoncord.server.throttle import RequestThrottle


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Accounts, tokens and sessions, the gate before every route, and the record of who was let through."""

    auth: Auth
    accounts: Accounts
    log: AccessLog
    signing_in: SigningIn
    elsewhere: Elsewhere | None
    """Signing in at a provider, where the settings name one."""
    settings: AccessSettings
    gate: Gate


def identity(
    *,
    store: AccessStore,
    people: AccountStore,
    record: AccessRecord,
    settings: AccessSettings,
    clock: ServerClock,
    entropy: Entropy,
    device_key: bytes,
    on_revoked: Callable[[str], None],
    provider: Provider | None = None,
    hash_log_n: int = LOG_N,
    on_misuse: Callable[[Misuse], None] = lambda misuse: None,
) -> Identity:
    """Connect what knows people.

    Args:
        hash_log_n: what hashing a password costs.
    """

    def end_account(name: str) -> None:
        auth.end_account(name)

    accounts = Accounts(store=people, clock=clock, entropy=entropy, on_ended=end_account, log_n=hash_log_n)
    auth = Auth(
        store=store,
        accounts=accounts,
        settings=settings,
        clock=clock,
        entropy=entropy,
        on_revoked=on_revoked,
        on_misuse=on_misuse,
    )
    log = AccessLog(record, clock=clock)
    throttle = RequestThrottle(per_s=settings.requests_per_s, burst=settings.burst, now_ns=clock.monotonic_ns)
    signing_in = SigningIn(auth=auth, accounts=accounts, log=log, entropy=entropy, device_key=device_key)
    elsewhere = None
    if provider is not None:
        elsewhere = Elsewhere(
            provider=provider,
            settings=settings,
            accounts=accounts,
            signing_in=signing_in,
            log=log,
            clock=clock,
            entropy=entropy,
            key=device_key,
            is_token=lambda name: any(each.name == name and not each.agent and not each.revoked_ns for each in store.tokens()),
        )
    return Identity(
        auth=auth,
        accounts=accounts,
        log=log,
        signing_in=signing_in,
        elsewhere=elsewhere,
        settings=settings,
        gate=Gate(auth=auth, log=log, throttle=throttle),
    )
