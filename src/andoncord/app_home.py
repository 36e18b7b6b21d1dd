"""Wiring: the secrets in the data directory, and who may come in from where."""

from collections.abc import Callable
from pathlib import Path

from andoncord.adapters.oidc.provider import OidcProvider
from andoncord.adapters.sql.access import SqlAccess
from andoncord.adapters.sql.accounts import SqlAccounts
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.entropy import SystemEntropy
from andoncord.adapters.system.server_process import TOKEN_FILE
from andoncord.app_both import NODE_FILE
from andoncord.config import Config
from andoncord.kernel.access import Role, Scope, secret_digest
from andoncord.kernel.errors import CallerError
from andoncord.server.accounts import Accounts
from andoncord.server.auth import Auth
from andoncord.server.figures import Misuse
from andoncord.server.identity import Identity, identity
from andoncord.server.ports import AccessStore, Entropy
from andoncord.server.sources import Source

LEASE_SECRET_FILE = "lease.key"
VAULT_SECRET_FILE = "vault.key"
LOCAL_NAME = "local"
"""Who the local user is in the record: whoever can read the data directory."""
MIN_SECRET = 32


def open_identity(
    home: Path,
    config: Config,
    access: SqlAccess,
    people: SqlAccounts,
    *,
    clock: SystemClock,
    entropy: SystemEntropy,
    device_key: bytes,
    on_revoked: Callable[[str], None],
    on_misuse: Callable[[Misuse], None],
    beside: Path,
) -> Identity:
    """Who is known here, with the local user's token in the data directory.

    Raises:
        CallerError: everybody could come in.
    """
    opened = identity(
        store=access,
        people=people,
        record=people,
        settings=config.access,
        clock=clock,
        entropy=entropy,
        device_key=device_key,
        on_revoked=on_revoked,
        on_misuse=on_misuse,
        provider=_provider(config, clock, beside=beside),
    )
    refuse_open_doors(config, access, opened.accounts)
    ensure_local_token(home, opened.auth, access)
    return opened


def _provider(config: Config, clock: SystemClock, *, beside: Path) -> OidcProvider | None:
    """The identity provider that the settings name.

    Raises:
        CallerError: it cannot be used as it is set up.
    """
    oidc = config.access.oidc
    if oidc is None:
        return None
    secret = ""
    if oidc.client_secret_file:
        try:
            secret = (beside / oidc.client_secret_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CallerError(f"cannot be read: {error}", place="access.oidc.client_secret_file") from None
    return OidcProvider(
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        client_secret=secret,
        scopes=oidc.scopes,
        monotonic_ns=clock.monotonic_ns,
    )


def ensure_local_token(home: Path, auth: Auth, access: AccessStore) -> None:
    """Keep one admin token in the data directory, readable by its owner alone: the command line's key."""
    path = home / TOKEN_FILE
    if path.exists() and access.token(secret_digest(path.read_text(encoding="utf-8").strip())) is not None:
        return
    _, secret = auth.create_token(name=LOCAL_NAME, scopes=(Scope.ADMIN,))
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secret + "\n", encoding="utf-8")


def ensure_node_id(home: Path, entropy: Entropy) -> str:
    """What this data directory is called among those that share a database."""
    path = home / NODE_FILE
    if not path.exists():
        path.write_text(entropy.identifier("node") + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def ensure_lease_secret(home: Path, entropy: Entropy) -> bytes:
    """The secret that the keys of leases are derived from, readable by its owner alone.

    Raises:
        CallerError: the file is there and is not what it should be.
    """
    return _ensure_secret(home / LEASE_SECRET_FILE, entropy, "for leases")


def ensure_vault_secret(home: Path, entropy: Entropy) -> bytes:
    """The secret that seals the exact form of what waits for people, readable by its owner alone.

    Raises:
        CallerError: the file is there and is not what it should be.
    """
    return _ensure_secret(home / VAULT_SECRET_FILE, entropy, "of the vault")


def _ensure_secret(path: Path, entropy: Entropy, what: str) -> bytes:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(entropy.secret() + "\n", encoding="utf-8")
    secret = path.read_text(encoding="utf-8").strip()
    if len(secret) < MIN_SECRET:
        raise CallerError(f"the secret {what} is too short", place=str(path), remedy="delete the file; a new one is made")
    return secret.encode()


def renew_token(auth: Auth, access: AccessStore, source: Source) -> str:
    """What a source's events are passed on with: a token that only sends, for its agents, new at every start."""
    name = f"source:{source.name}"
    for token in access.tokens():
        if token.name == name and not token.revoked_ns:
            auth.revoke_token(token.id)
    access.forget_revoked(name)
    return auth.create_token(name=name, scopes=(Scope.INGEST,), agent=source.settings.agents)[1]


def refuse_open_doors(config: Config, access: AccessStore, accounts: Accounts) -> None:
    """Beyond loopback everybody needs a token, and somebody must have made one on purpose."""
    if config.server.is_loopback:
        return
    place = "server.bind"
    if not config.server.require_token:
        raise CallerError(
            f"{config.server.bind} can be reached from other machines, and telemetry needs no token",
            place=place,
            remedy="set server.require_token: true, or bind to 127.0.0.1",
        )
    tokens = (token for token in access.tokens() if token.name != LOCAL_NAME and not token.revoked_ns)
    people = (account for account in accounts.all() if account.role is Role.ADMIN and not account.disabled_ns)
    if not any(Scope.ADMIN in token.scopes for token in tokens) and not any(people):
        raise CallerError(
            f"{config.server.bind} can be reached from other machines, and nobody has a token",
            place=place,
            remedy="start once on 127.0.0.1 and run `andon user add NAME --role admin`",
        )
