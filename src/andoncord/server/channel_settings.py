"""Settings of channels: how people and other systems are told. Section `channels` of `andon.yaml`."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from andoncord.kernel.errors import CallerError

NEEDED: dict[str, tuple[str, ...]] = {
    "email": ("to", "sender", "host"),
    "webhook": ("url", "secret_file"),
    "pagerduty": ("key_file",),
    "slack": ("key_file", "to"),
    "apprise": ("key_file",),
}
ALLOWED: dict[str, tuple[str, ...]] = {
    "email": ("port", "tls", "user", "key_file"),
    "webhook": ("allow_private",),
    "pagerduty": ("url",),
    "slack": ("url", "app_key_file", "people", "approvals"),
    "apprise": (),
}
SLACK_ID = re.compile("[UW][A-Z0-9]{2,}")
DEFAULT_PORTS = {"starttls": 587, "tls": 465, "none": 25}
HERE = ("127.0.0.1", "localhost", "::1")


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One channel. The key it stands under is its name."""

    kind: Literal["email", "webhook", "pagerduty", "slack", "apprise"]
    to: tuple[str, ...] = ()
    """E-mail addresses; for Slack one conversation, such as `#incidents`."""
    sender: str = msgspec.field(name="from", default="")
    host: str = ""
    """The mail server."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    """0 for the usual one: 587, with `tls` 465, with none 25."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    url: str = ""
    """Where a webhook goes; for PagerDuty and Slack another server than theirs."""
    secret_file: str = ""
    """Holds the `whsec_…` that a webhook is signed with; relative to the settings file."""
    key_file: str = ""
    """Holds a password, a routing key, a bot's token or an Apprise address; relative to the settings file."""
    allow_private: bool = False
    """A webhook may go to an address within this network."""
    app_key_file: str = ""
    """Slack: holds the app-level token (`xapp-…`); with it there are buttons. Relative to the settings file."""
    people: dict[str, str] = {}
    """Slack: who may click, by their ids there (`U024BE7LH`), and the names of their accounts."""
    approvals: bool = False
    """Slack: requests for approvals are shown here."""

    def check(self, name: str) -> None:
        """Whether it can be used as it is written.

        Raises:
            CallerError: with place and remedy.
        """
        place = f"channels.{name}"
        for field in NEEDED[self.kind]:
            if not getattr(self, field):
                raise CallerError(f"{self.kind} needs {'from' if field == 'sender' else field}", place=place)
        known = {"kind", *NEEDED[self.kind], *ALLOWED[self.kind]}
        for field in self.__struct_fields__:
            if field not in known and getattr(self, field) != getattr(ChannelSettings(kind=self.kind), field):
                raise CallerError(f"{field} does not go with {self.kind}", place=place, remedy="leave it out")
        if self.url:
            self._check_url(place)
        if (self.people or self.approvals) and not self.app_key_file:
            raise CallerError("needs app_key_file: without it there are no buttons", place=place)
        for person in self.people:
            if not SLACK_ID.fullmatch(person):
                remedy = "take the member ID out of the profile in Slack, such as U024BE7LH"
                raise CallerError(f"{person!r} is no id of a person in Slack", place=f"{place}.people", remedy=remedy)
        if self.kind == "email":
            if any("@" not in address or not address.isprintable() for address in (*self.to, self.sender)):
                raise CallerError("is no e-mail address", place=f"{place}.to")
            if self.user and not self.key_file:
                raise CallerError("user needs key_file with the password", place=place)
            if self.user and self.tls == "none" and self.host not in HERE:
                raise CallerError("would send a password over an open wire", place=f"{place}.tls", remedy="use starttls or tls")

    @property
    def smtp_port(self) -> int:
        return self.port or DEFAULT_PORTS[self.tls]

    def _check_url(self, place: str) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise CallerError("is no http(s) address", place=f"{place}.url")
        if parts.scheme == "http" and parts.hostname not in HERE and not self.allow_private:
            raise CallerError("would go over an open wire", place=f"{place}.url", remedy="use https")
