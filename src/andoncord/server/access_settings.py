"""Settings of who may come in."""

from typing import Annotated, Literal

import msgspec

from andoncord.kernel.access import Role


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `access.oidc`: people sign in at a provider of yours, by OpenID Connect."""

    issuer: str
    """The provider's address, as its tokens name it."""
    client_id: str
    client_secret_file: str = ""
    """Holds the secret of a confidential client; relative to the settings file."""
    label: str = "Single sign-on"
    """What the button says."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    """The claim that names people in the record."""
    role_claim: str = "groups"
    """The claim that `roles` looks at; a list, or one word."""
    roles: dict[str, Role] = {}
    """Which role each value of that claim gives; the furthest-reaching one counts."""
    otherwise: Literal["refuse", "viewer"] = "refuse"
    """What becomes of who has none of them."""


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `access` of `andon.yaml`."""

    session_hours: Annotated[float, msgspec.Meta(gt=0, le=168)] = 12.0
    """A session ends after so long, however busy it is."""
    idle_minutes: Annotated[float, msgspec.Meta(gt=0, le=1_440)] = 60.0
    """A session ends when it was not used for so long."""
    requests_per_s: Annotated[float, msgspec.Meta(gt=0)] = 500.0
    """Requests a second that one person's tokens and sessions may go on making. Chosen: far beyond what a script needs."""
    burst: Annotated[int, msgspec.Meta(ge=10)] = 5_000
    """Requests at once, likewise."""
    url: str = ""
    """How people reach the console, such as `https://andon.example.org`, where that is not the address it listens on."""
    oidc: OidcSettings | None = None
